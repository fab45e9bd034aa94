"""A process that publishes; run by the chaos tests, which kill it at labelled points.

    python publishing.py DATABASE_URL LAKE JOBS [CRASH_POINT]

JOBS is JSON: a list of [session, seed]. At the crash point the process kills itself with SIGKILL,
so that nothing, no `finally` and no `atexit`, is run. The points are put around the real code from
outside; production code knows nothing of them.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import event

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stored_sessions import SYMBOLS, make_tape, publish

from alpaca_strategy.storage import delta
from alpaca_strategy.storage import lake as lake_module
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.database import connect
from alpaca_strategy.storage.lake import Lake

#: Every labelled point, in the order in which a publication passes them.
POINTS = (
    "lock held",
    "half the tape written",
    "tape staged",
    "bars staged",
    "tape commit: before",
    "tape commit: after",
    "bars commit: before",
    "bars commit: after",
    "row: before the transaction",
    "row: before its commit",
    "row: after its commit",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def around(
    owner: Any, name: str, *, before: Callable[..., None], after: Callable[..., None]
) -> None:
    """Call ``before`` and ``after`` around a function, with its arguments."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        result = original(*args, **kwargs)
        after(*args, **kwargs)
        return result

    setattr(owner, name, wrapped)


def arm(point: str, catalog: Catalog) -> None:
    """Make the process die when it passes the point."""

    def at(label: str) -> Callable[..., None]:
        return lambda *_, **__: die() if label == point else None

    def at_table(label: str) -> Callable[..., None]:
        def check(table: Any, *_: Any, **__: Any) -> None:
            name = "tape" if str(table.table_uri).rstrip("/").endswith("trades") else "bars"
            if f"{name} {label}" == point:
                die()

        return check

    def staged(_: Lake, name: str, **__: Any) -> None:
        if f"{'tape' if name == 'trades' else 'bars'} staged" == point:
            die()

    around(lake_module.Lake, "stage", before=at("lock held"), after=staged)
    around(delta, "_try_commit", before=at_table("commit: before"), after=at_table("commit: after"))
    around(
        Catalog,
        "publish",
        before=at("row: before the transaction"),
        after=at("row: after its commit"),
    )

    if point == "row: before its commit":

        @event.listens_for(catalog.engine, "after_cursor_execute")
        def _inserted(*args: Any) -> None:
            if "INSERT INTO market.session_revision" in args[2]:
                event.listen(catalog.engine, "commit", lambda _: die())


def dying_tape(seed: int) -> Iterator[pa.Table]:
    """Yield half a tape, and die."""
    yield from list(make_tape(SYMBOLS, seed))[:2]
    die()


def main() -> None:
    url, root, jobs, *point = sys.argv[1:]
    catalog, lake = Catalog(connect(url)), Lake(root)
    if point:
        if point[0] not in POINTS:
            raise SystemExit(f"unknown point {point[0]}")
        arm(point[0], catalog)
    for day, seed in json.loads(jobs):
        more = {"tape": dying_tape(seed)} if point == ["half the tape written"] else {}
        publish(lake, catalog, seed, day=date.fromisoformat(day), **more)


if __name__ == "__main__":
    main()
