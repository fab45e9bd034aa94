"""What commands print to: words, tables, and one progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# What a venue or a path says is never markup, and an address is never cut in two.
out, err = Console(markup=False, soft_wrap=True), Console(markup=False, soft_wrap=True, stderr=True)


def _not_empty(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("say why, in a few words")
    return text


Reason = Annotated[str, typer.Option("--reason", callback=_not_empty, help="Why; it is kept.")]


@contextmanager
def progress_bar(unit: str) -> Iterator[Any]:
    """Yield a callable (done, total, note) that moves one progress bar on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=err)
    task = progress.add_task("starting", total=None)

    def move(done: int, total: int, note: str) -> None:
        progress.start()  # not before there is work: a refusal needs no empty bar
        progress.update(task, completed=done, total=total, description=note)

    try:
        yield move
    finally:
        progress.stop()
