"""Keep the lake small and quick without taking anything from a reader."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import structlog

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.records import Pin, SessionRow, SessionStatus

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Maintained:
    """What maintenance did."""

    tapes_dropped: int
    sessions_compacted: int
    files_deleted: int
    bytes_freed: int


def maintain(
    *,
    lake: Lake,
    catalog: Catalog,
    keep: timedelta,
    keep_tape_sessions: int = 0,
    also_pinned: Collection[str] = (),
) -> Maintained:
    """Drop old tapes, compact, and delete files that nobody needs; safe beside readers and writers.

    Args:
        lake: The lake.
        catalog: What is published in it.
        keep: How long a file is kept after another one took its place; at least the longest
            publication, since staged files look like orphans.
        keep_tape_sessions: Raw tapes of that many newest sessions are kept; 0 keeps all.
        also_pinned: Further files to keep, as ``table/path``.

    Raises:
        BusyError: A session is being published for longer than we wait.
    """
    dropped = sum(drop_old_tapes(lake, catalog, feed, keep_tape_sessions) for feed in Feed)
    compacted = sum(compact(lake, catalog, feed) for feed in Feed)
    files, freed = vacuum(lake, catalog, keep=keep, also_pinned=also_pinned)
    for name in ("trades", "bars", "corporate_actions"):
        lake.tidy_log(name)
    done = Maintained(dropped, compacted, files, freed)
    log.info(
        "lake_maintained",
        tapes_dropped=dropped,
        sessions_compacted=compacted,
        files_deleted=files,
        bytes_freed=freed,
    )
    return done


def drop_old_tapes(lake: Lake, catalog: Catalog, feed: Feed, keep_sessions: int) -> int:
    """Let go of the raw trades of all but the newest sessions; return of how many.

    The catalog forgets them first, the table next, and vacuum deletes the files later, so that a
    reader who has just looked still finds them.
    """
    if keep_sessions <= 0:
        return 0
    published = [r for r in catalog.sessions(None, None, feed) if _is_published(r)]
    old = [row for row in published[:-keep_sessions] if row.trades_files]
    for row in old:
        with catalog.session_lock(row.session, feed) as lock:
            catalog.forget_tape(lock)
            lake.commit("trades", feed=feed, session=row.session, staged=())
    return len(old)


def compact(lake: Lake, catalog: Catalog, feed: Feed) -> int:
    """Rewrite sessions that lie in several files, or that the table holds otherwise than published.

    The second happens when a publication died between its commit and its row. The rows stay the
    same; the catalog's pins are restated in one transaction.

    Returns:
        Sessions rewritten.
    """
    count = 0
    current = {name: _by_session(lake, name, feed) for name in ("trades", "bars")}
    for known in catalog.sessions(None, None, feed):
        day = known.session.isoformat()
        if not _is_published(known) or all(
            _is_settled(files, current[name].get(day, set()))
            for name, files in (("trades", known.trades_files), ("bars", known.bars_files))
        ):
            continue
        with catalog.session_lock(known.session, feed) as lock:
            row = catalog.session(known.session, feed) or known  # what it is under the lock
            trades, bars = _rewrite(lake, row, "trades"), _rewrite(lake, row, "bars")
            catalog.restate(lock, trades=trades, bars=bars)
        count += 1
    return count


def _is_published(row: SessionRow) -> bool:
    return row.status is SessionStatus.PUBLISHED


def _is_settled(pinned: tuple[str, ...], current: set[str]) -> bool:
    return len(pinned) <= 1 and set(pinned) == current


def _by_session(lake: Lake, name: str, feed: Feed) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in lake.paths(lake.open(name)):
        folder, _, day = path.rpartition("/")[0].partition("/session=")
        if folder == f"feed={feed.value}":
            found.setdefault(day, set()).add(path)
    return found


def _rewrite(lake: Lake, row: SessionRow, name: str) -> Pin | None:
    """Make one file of a session's pinned files; None when it already is."""
    files = row.trades_files if name == "trades" else row.bars_files
    if _is_settled(files, set(lake.current_files(name, feed=row.feed, session=row.session))):
        return None
    if not files:  # the tape was let go of, or never kept, but a dead publication committed one
        lake.commit(name, feed=row.feed, session=row.session, staged=())
        return None
    staged = lake.stage(name, feed=row.feed, session=row.session, rows=lake.iter_files(name, files))
    try:
        return lake.commit(
            name, feed=row.feed, session=row.session, staged=staged, data_change=False
        )
    except BaseException:
        lake.discard(name, staged)
        raise


def vacuum(
    lake: Lake, catalog: Catalog, *, keep: timedelta, also_pinned: Collection[str] = ()
) -> tuple[int, int]:
    """Delete files that no newest table, kept revision or registered model is made of.

    Returns:
        How many files, and their bytes.
    """
    count = freed = 0
    for name in ("trades", "bars", "corporate_actions"):
        doomed = set(lake.stale_files(name, keep))
        doomed -= {p.removeprefix(f"{name}/") for p in also_pinned if p.startswith(f"{name}/")}
        if name != "corporate_actions":
            doomed -= catalog.pinned_files(name, keep=keep)
            catalog.unpin(name, doomed)
        sizes = lake.delete_files(name, doomed)
        freed += sum(sizes)
        count += len(sizes)
    return count, freed
