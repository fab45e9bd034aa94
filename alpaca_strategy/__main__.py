"""The command line: every job of the system, without Airflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from alpaca_strategy import __version__, backtest_commands, model_commands, trader_commands
from alpaca_strategy.errors import AlpacaStrategyError, UserError
from alpaca_strategy.terminal import err, out, progress_bar

app = typer.Typer(
    name="alpaca-strategy",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="""A scheduled machine-learning trading system for Alpaca accounts.

    Every job that Airflow runs is a command here. Dates are exchange sessions (YYYY-MM-DD, New \
York). Without ALPACA_DATA_KEY and ALPACA_DATA_SECRET in the environment or .env, everything talks \
to the exchange simulator that `make run` starts. Only `trade` trades, and on paper.

    Exit status: 0 done, 2 what you gave, 3 this machine or a service, 4 the venue, 5 the data.
    """,
)
config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration in force.")
app.add_typer(config_app, name="config")
SessionOption = Annotated[
    str, typer.Option("--session", "-s", help="The session: YYYY-MM-DD, or `latest`.")
]
SymbolsOption = Annotated[
    str, typer.Option("--symbols", help="Only these symbols, separated by commas.")
]


def _day(text: str) -> date:
    from alpaca_strategy.jobs.market_data import latest_session

    if text == "latest":
        return latest_session()
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  # a date has no zone
    except ValueError:
        msg = f"{text!r} is not a date; write it as YYYY-MM-DD, or `latest`."
        raise UserError(msg) from None


def _names(text: str) -> list[str] | None:
    return [name.strip().upper() for name in text.split(",") if name.strip()] or None


@app.callback()
def _setup(context: typer.Context) -> None:
    if context.invoked_subcommand == "down":
        return  # reads no settings, so that nonsense in them cannot keep a stack running
    from alpaca_strategy.config import load_settings
    from alpaca_strategy.logs import configure_logging

    configure_logging(load_settings().logging)


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)


@config_app.command("show")
def config_show() -> None:
    """Print every setting in force and where it comes from; secrets are masked."""
    from alpaca_strategy.config import explain_settings, load_settings

    table = Table("setting", "value", "from", box=None)
    for row in explain_settings():
        table.add_row(*row)
    out.print(table)
    out.print(f"\nvenue in force: {load_settings().resolved_venue.value}")


@app.command()
def up() -> None:
    """Bring up Postgres, Airflow, TensorBoard and the simulator, and stay until Ctrl-C."""
    from alpaca_strategy.stack.up import up as bring_up

    bring_up()


@app.command()
def down() -> None:
    """Stop the embedded stack and every process it started; the data stay."""
    from alpaca_strategy.stack.down import down as take_down

    take_down()


@app.command()
def status() -> None:
    """Tell which parts of the embedded stack run, and where."""
    from alpaca_strategy.stack.status import status as tell

    tell()


@app.command()
def fetch(
    session: SessionOption = "latest",
    symbols: SymbolsOption = "",
    rewrite: Annotated[bool, typer.Option(help="Fetch again what is already staged.")] = False,
) -> None:
    """Fetch the trades of a session from the venue into the staging area.

    What is already there is skipped, an interrupted symbol goes on where it stopped, and symbols
    that fail are listed with the reason: run the same command again to retry only those.
    """
    from alpaca_strategy.jobs import market_data

    day = _day(session).isoformat()
    with progress_bar("symbols") as move:
        done = market_data.fetch(day, _names(symbols), rewrite=rewrite, progress=move)
    out.print(
        f"{day}: {done['trades']:,} trades of {done['fetched']} symbols fetched, "
        f"{done['skipped']} were there already."
    )
    for symbol, reason in done["failed"].items():
        err.print(f"failed: {symbol}: {reason}")
    if done["failed"]:
        raise typer.Exit(4)


@app.command()
def bars(session: SessionOption = "latest", symbols: SymbolsOption = "") -> None:
    """Build the minute bars of a session from its staged trades."""
    from alpaca_strategy.jobs import market_data

    done = market_data.build_bars(_day(session).isoformat(), _names(symbols))
    out.print(
        f"{done['session']}: {done['bars']:,} bars of {done['symbols']} symbols, "
        f"{done['observed']:,} of them observed."
    )


@app.command()
def check(session: SessionOption = "latest") -> None:
    """Check a staged session against the expectations and write its quality report."""
    from alpaca_strategy.jobs import market_data

    done = market_data.check(_day(session).isoformat())
    out.print(
        f"{done['session']}: {done['verdict']}, {done['critical']} critical and "
        f"{done['warnings']} warnings; report: {done['report_uri']}"
    )
    for symbol in done["quarantined"]:
        err.print(f"quarantined: {symbol}")


@app.command()
def publish(session: SessionOption = "latest") -> None:
    """Publish a checked session to the lake; publishing the same content again changes nothing."""
    from alpaca_strategy.jobs import market_data

    done = market_data.publish(_day(session).isoformat())
    state = f"published as revision {done['revision']}" if done["changed"] else "is unchanged"
    out.print(f"{done['session']}: {done['symbols']} symbols, {state}.")


@app.command()
def backfill(
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")] = "",
    end: Annotated[str, typer.Option(help="Last day; default: the latest finished session.")] = "",
    sessions: Annotated[
        int, typer.Option(min=0, help="Instead of --start: how many sessions.")
    ] = 0,
    rewrite: Annotated[
        bool, typer.Option(help="Also sessions that are already published.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Sessions fetched at once.")] = 2,
) -> None:
    """Fetch, build, check and publish many sessions, oldest first, in order of publication.

    Sessions that are already published are skipped, so an interrupted backfill goes on where it
    stopped.
    """
    from alpaca_strategy.jobs import backfill as backfill_job

    first = _day(start) if start else None
    last = _day(end or "latest")
    with progress_bar("sessions") as move:
        done = backfill_job.backfill(
            first, last, sessions=sessions, rewrite=rewrite, workers=workers, progress=move
        )
    out.print(f"{done['published']} sessions published, {done['skipped']} were there already.")
    for day, reason in done["failed"].items():
        err.print(f"failed: {day}: {reason}")
    if done["failed"]:
        raise typer.Exit(5)


@app.command("sessions")
def list_sessions(
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")] = "",
    end: Annotated[str, typer.Option(help="Last day, YYYY-MM-DD.")] = "latest",
) -> None:
    """List the published and refused sessions with their quality."""
    from alpaca_strategy.jobs import lake

    names = ("session", "status", "symbols", "trades", "revision", "quality", "report")
    table = Table(*names, box=None)
    first = _day(start) if start else None
    for row in lake.list_sessions(first, _day(end)):
        table.add_row(*(str(row[name]) for name in names))
    out.print(table)


@app.command()
def export(
    symbol: Annotated[str, typer.Argument(help="The symbol, such as TSLA.")],
    path: Annotated[Path, typer.Argument(help="Where to write; .parquet or .csv.")],
    start: Annotated[str, typer.Option(help="First day; default: the first published.")] = "",
    end: Annotated[str, typer.Option(help="Last day; default: the latest.")] = "latest",
    adjusted: Annotated[bool, typer.Option(help="Adjust prices and volumes for splits.")] = False,
) -> None:
    """Write a symbol's published minute bars as one Parquet or CSV file."""
    from alpaca_strategy.jobs import lake

    first = _day(start) if start else None
    rows = lake.export(symbol.upper(), path, first, _day(end), adjusted=adjusted)
    out.print(f"{rows:,} bars of {symbol.upper()} written to {path}")


@app.command()
def maintain() -> None:
    """Compact the lake, drop files nobody pins, and apply the retention of raw trades."""
    from alpaca_strategy.jobs import lake

    out.print(lake.maintain())


model_commands.add_to(app)
backtest_commands.add_to(app)
trader_commands.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: one sentence for a known error, a traceback only for a defect."""
    try:
        app(args=arguments)
    except AlpacaStrategyError as error:
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
