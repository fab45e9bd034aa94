"""The commands about backtests: run one, try many parameters, take its report."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from alpaca_strategy.errors import UserError
from alpaca_strategy.terminal import err, out, progress_bar

Model = Annotated[
    str,
    typer.Option(
        help="A model's id; walk-forward: each session by the newest model that had not seen it; "
        "default: the model in service."
    ),
]
First = Annotated[
    str,
    typer.Option(help="First session, YYYY-MM-DD; default: the first that the model has not seen."),
]
Last = Annotated[str, typer.Option(help="Last session; default: the last published one.")]
Symbols = Annotated[str, typer.Option(help="Trade only these, as in TSLA,F; default: all.")]
InSample = Annotated[
    bool,
    typer.Option("--in-sample", help="Also over sessions that the model learned from; marked so."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (backtest, sweep, report):
        app.command()(command)


def backtest(
    model: Model = "",
    first: First = "",
    last: Last = "",
    symbols: Symbols = "",
    in_sample: InSample = False,
    top_k: Annotated[int | None, typer.Option(help="Names chosen by a decision.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Below it no name is chosen.")] = None,
    hold: Annotated[int | None, typer.Option(help="Minutes that a position is held.")] = None,
    interval: Annotated[int | None, typer.Option(help="Minutes between decisions.")] = None,
    cost_bps: Annotated[
        float | None, typer.Option(help="Half-spread and slippage together, of one side.")
    ] = None,
) -> None:
    """Run the strategy over history with two engines, which must agree, and write a report.

    Only sessions that the model has not seen are scored. Parameters that are not given are those
    of the settings (sections strategy, costs, backtest). The report is kept in Postgres and object
    storage, and the newest stands at results/backtest_report.html.
    """
    from alpaca_strategy.jobs import backtest as job

    planned = job.plan(
        _form(model, first, last, symbols, in_sample)
        | {
            "top_k": top_k,
            "min_score": min_score,
            "hold_minutes": hold,
            "interval_minutes": interval,
            "cost_bps": cost_bps,
        }
    )
    out.print(_what(planned))
    with progress_bar("done") as move:
        done = job.run(planned, progress=move)
    out.print(f"two engines agree on {done['agreed']} of {done['trades']} trades")
    out.print(
        f"{done['id']}{'' if done['new'] else ', which was there already'}: return "
        f"{_percent(done['total_return'])}, Sharpe {_two(done['sharpe'])}; its page: "
        f"alpaca-strategy report {done['id']}"
    )
    for sentence in done["warnings"]:
        err.print(sentence)


def sweep(
    model: Model = "",
    first: First = "",
    last: Last = "",
    symbols: Symbols = "",
    in_sample: InSample = False,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            help="A parameter and its values, as in top_k=1,2,3; may be repeated: every "
            "combination is tried. Names are those of the settings' sections strategy and costs, "
            "and cost_bps. [default: top_k, hold_minutes, cost_bps]",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows printed, best Sharpe first.")] = 20,
    table: Annotated[
        Path | None, typer.Option("--csv", help="Also write all of them to this file.")
    ] = None,
) -> None:
    """Try many parameters over the same history; the best of many is partly luck.

    Without --try: top_k 1, 2, 3, 5, hold_minutes 10, 20, 30, 60, cost_bps 0, 1, 2, 5.
    """
    from alpaca_strategy.jobs import backtest as job
    from alpaca_strategy.jobs import sweeps

    choices = _choices(values or ["top_k=1,2,3,5", "hold_minutes=10,20,30,60", "cost_bps=0,1,2,5"])
    planned = job.plan(_form(model, first, last, symbols, in_sample))
    out.print(_what(planned))
    with progress_bar("done") as move:
        rows = sweeps.run_sweep(planned, choices, progress=move)
    shown = Table(box=None)
    for name in rows[0]:
        shown.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for row in rows[:top]:
        words = {
            **row,
            "total_return": _percent(row["total_return"]),
            "sharpe": _two(row["sharpe"]),
        }
        shown.add_row(*(str(value) for value in words.values()))
    out.print(shown)
    out.print(f"{len(rows)} sets tried: the best of so many looks better than it is.")
    if table is not None:  # last: what was found must not be lost to a folder that is missing
        _write_csv(table, rows)


def report(
    backtest: Annotated[str, typer.Argument(help="A backtest's id; default: the newest.")] = "",
    file: Annotated[Path, typer.Option("--out", help="Where to write the page.")] = Path(
        "backtest_report.html"
    ),
) -> None:
    """Write the report of a backtest to a file that opens in any browser, without a network."""
    from alpaca_strategy.jobs import backtest as job

    out.print(f"{job.write_report(backtest or None, file)} is written to {file}")


def _form(model: str, first: str, last: str, symbols: str, in_sample: bool) -> dict[str, Any]:
    return {
        "model": model,
        "first": first,
        "last": last,
        "symbols": symbols,
        "in_sample": in_sample,
        "origin": "command",
    }


def _what(planned: dict[str, Any]) -> str:
    return (
        f"{planned['sessions']} sessions, {planned['first']} to {planned['last']}, "
        f"{len(planned['symbols'])} symbols, scored by {planned['model']}"
    )


def _choices(texts: list[str]) -> dict[str, list[Any]]:
    """Return values to try by parameter.

    Raises:
        UserError: A text is not of the form name=value,value.
    """
    choices: dict[str, list[Any]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        if name.strip() in choices:
            msg = f"{name.strip()} is tried twice; give all its values at once, as in top_k=1,2,3."
            raise UserError(msg)
        try:
            choices[name.strip()] = [_value(word) for word in listed.split(",")]
        except ValueError:
            msg = f"{text!r} names no values to try; write it as top_k=1,2,3."
            raise UserError(msg) from None
    return choices


def _value(word: str) -> Any:
    word = word.strip().lower()
    if word in {"true", "false"}:
        return word == "true"
    return float(word) if "." in word or "e" in word else int(word)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        msg = f"The table cannot be written to {path} ({error}); choose another file."
        raise UserError(msg) from error


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:+.2%}"


def _two(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
