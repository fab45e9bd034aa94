"""The commands about models: train, look at them, put one into service, take it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from alpaca_strategy.terminal import Reason, err, out, progress_bar

models_app = typer.Typer(
    invoke_without_command=True,
    help="List the models, newest first; show one; train one again from its lineage.",
)

Model = Annotated[str, typer.Argument(help="A model's id, such as 2026-11-21-1a2b3c4d.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(models_app, name="models")
    for command in (train, evaluate, promote, rollback, pin, unpin):
        app.command()(command)


def train(
    until: Annotated[str, typer.Option(help="Last session to train on; default: the latest.")] = "",
    preset: Annotated[
        str, typer.Option(help="Size of the network: demo, cpu or full; default: model.preset.")
    ] = "",
    seed: Annotated[
        int,
        typer.Option(
            min=-1,
            show_default=False,
            help="Of weights, order and dropout; default: training.seed.",
        ),
    ] = -1,
    bars: Annotated[
        Path | None,
        typer.Option(
            help="Instead of the lake: a Parquet file of minute bars, to try the model on; what it "
            "trains is judged and shown, but not kept."
        ),
    ] = None,
) -> None:
    """Train a model on the newest sessions, judge it, and register it; it does not serve yet.

    Interrupted, it goes on where it stopped. The same sessions, settings and seed give the same
    model. `alpaca-strategy promote` puts it into service; Airflow's model_retrain_weekly does so by
    itself when it is better.
    """
    if bars is not None:
        _try_on_file(bars, preset or None, None if seed < 0 else seed)
        return
    from alpaca_strategy.jobs import judging, retrain

    chosen = retrain.window(until or None)
    out.print(f"training on {chosen['sessions']} sessions, {chosen['first']} to {chosen['last']}")
    with progress_bar("epochs") as move:
        candidate = retrain.train(
            chosen["first"],
            chosen["last"],
            preset or None,
            None if seed < 0 else seed,
            progress=move,
        )
    _judge(judging.evaluate_candidate(candidate))


def _try_on_file(path: Path, preset: str | None, seed: int | None) -> None:
    from alpaca_strategy.jobs import bars_file

    with progress_bar("epochs") as move:
        done = bars_file.train_on_file(path, preset=preset, seed=seed, progress=move)
    if done["missing"]:
        err.print(f"The file lacks {', '.join(done['missing'])}; features of them say nothing.")
    out.print(
        f"{done['sessions']} sessions of {done['symbols']} symbols, preset {done['preset']}\n"
    )
    out.print(done["table"])
    if done["suspicion"]:
        err.print(done["suspicion"])


def evaluate(model: Model) -> None:
    """Judge a model beside the champion on its held-out sessions; nothing changes."""
    from alpaca_strategy.jobs import deciding

    decided = deciding.decide(model)
    out.print(decided["reason"])


def promote(model: Model, reason: Reason = "by hand") -> None:
    """Put a model into service whatever the gate says; `rollback` takes it back."""
    from alpaca_strategy.jobs import models

    before = models.promote(model, reason)
    out.print(f"{model} is in service; before it: {before}.")


def rollback(reason: Reason = "by hand") -> None:
    """Put the model that served before back into service."""
    from alpaca_strategy.jobs import models

    out.print(f"{models.rollback(reason)} is in service again.")


def pin(reason: Reason = "by hand") -> None:
    """Keep the model in service whatever challenger comes, until `unpin`."""
    from alpaca_strategy.jobs import models

    out.print(f"{models.pin(reason, keep=True)} stays in service until it is unpinned.")


def unpin(reason: Reason = "by hand") -> None:
    """Let the gate replace the model in service again."""
    from alpaca_strategy.jobs import models

    out.print(f"{models.pin(reason, keep=False)} may be replaced again.")


@models_app.callback()
def _list(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 30,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from alpaca_strategy.jobs import models

    names = ("model", "service", "rank_ic", "decision")
    table = Table(box=None)
    for name in names:  # an id that is cut in two cannot be copied
        table.add_column(name.replace("_", " "), no_wrap=True)
    for row in models.list_models(limit):
        table.add_row(*(str(row[name]) for name in names))
    out.print(table)


@models_app.command("show")
def _show(model: Model) -> None:
    """Show what a model was made from, how good it is, and what was decided."""
    from alpaca_strategy.jobs import models

    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in models.show(model):
        table.add_row(name, words)
    out.print(table)


@models_app.command("retire")
def _retire(model: Model, reason: Reason = "by hand") -> None:
    """Say that nobody needs a model; maintenance may then drop the data that it was made from."""
    from alpaca_strategy.jobs import models

    models.retire(model, reason)
    out.print(f"{model} is retired.")


@models_app.command("reproduce")
def _reproduce(model: Model) -> None:
    """Train a model again from its lineage alone, and compare the two files bit by bit."""
    from alpaca_strategy.jobs import models

    with progress_bar("epochs") as move:
        same = models.reproduce(model, progress=move)
    if not same:
        err.print(f"{model} came out otherwise: another machine or PyTorch changes last bits.")
        raise typer.Exit(5)
    out.print(f"{model} came out the same, bit by bit.")


def _judge(judged: dict[str, object]) -> None:
    state = "registered" if judged["new"] else "was registered already"
    rank_ic = judged["rank_ic"]
    figure = "no rank IC" if rank_ic is None else f"rank IC {rank_ic:+.4f}"
    out.print(f"{judged['model']} {state}; {figure} on held-out sessions.")
    if judged["suspicion"]:
        err.print(str(judged["suspicion"]))
