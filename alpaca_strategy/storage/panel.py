"""Bars as one array: minutes x symbols x columns, straight from the published files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import DamagedFileError, NotASessionError, NotPublishedError
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.storage import files as parquet
from alpaca_strategy.storage.actions import adjust, split_factors
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.lake import Lake, remedy
from alpaca_strategy.storage.records import SessionRow, SessionStatus

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of many sessions and symbols.

    Attributes:
        values: Shape (minutes, symbols, columns), C order, oldest first. What was not published
            for a symbol is NaN; so are the prices of minutes without a bar.
        observed: Shape (minutes, symbols): the minute has a bar.
        sessions: The sessions, oldest first.
        session_index: Shape (minutes,): position in ``sessions`` of each row.
        minute: Shape (minutes,): minute of the session, 0 at the open.
        symbols: The symbols, as asked for.
        columns: The columns, as asked for.
    """

    values: FloatArray
    observed: BoolArray
    sessions: tuple[date, ...]
    session_index: npt.NDArray[np.int32]
    minute: npt.NDArray[np.int16]
    symbols: tuple[str, ...]
    columns: tuple[str, ...]


def read_panel(
    *,
    lake: Lake,
    catalog: Catalog,
    feed: Feed,
    symbols: Sequence[str],
    columns: Sequence[str] = BAR_COLUMNS,
    sessions: Sequence[date] | None = None,
    start: date | None = None,
    end: date | None = None,
    adjusted: bool = False,
    as_of: date | None = None,
    threads: int | None = None,
) -> Panel:
    """Read published bars into one array.

    Args:
        lake: The lake.
        catalog: What is published in it.
        feed: The feed; feeds are never mixed.
        symbols: The symbols, in the order wanted.
        columns: Of BAR_COLUMNS, in the order wanted.
        sessions: Exactly these sessions; each must be published.
        start: Instead of sessions: the published ones from here,
        end: to here, both included.
        adjusted: Adjust for splits: prices divided and volumes multiplied before the ex-date.
        as_of: Splits up to this day count; the panel's last session when None, so that what is
            read does not depend on what happened later.
        threads: Files read at once; the machine's cores when None.

    Raises:
        NotPublishedError: Sessions are missing; names them and the command to publish them.
        DamagedFileError: A file cannot be read; names it and what to do.
        ValueError: An unknown column, or neither sessions nor start and end.
    """
    unknown = [name for name in columns if name not in BAR_COLUMNS]
    if unknown or (sessions is None and (start is None or end is None)):
        msg = f"Unknown columns {unknown}." if unknown else "Give sessions, or start and end."
        raise ValueError(msg)
    rows = published_rows(catalog, feed, sessions, start, end)
    lengths = [row.minutes or 0 for row in rows]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    total = int(starts[-1])
    values = np.empty((total, len(symbols), len(columns)), np.float64)
    observed = np.zeros((total, len(symbols)), np.bool_)

    def fill(i: int) -> None:
        block = slice(int(starts[i]), int(starts[i + 1]))
        _fill_session(
            lake,
            files=rows[i].bars_files,
            symbols=symbols,
            columns=columns,
            values=values[block],
            observed=observed[block],
        )

    workers = min(threads or os.cpu_count() or 1, len(rows))
    with ThreadPoolExecutor(workers, thread_name_prefix="panel") as pool:
        list(pool.map(fill, range(len(rows))))
    if adjusted:
        factors = split_factors(lake, symbols, [r.session for r in rows], as_of or rows[-1].session)
        adjust(values, columns, np.repeat(factors, lengths, axis=0))
    return Panel(
        values=values,
        observed=observed,
        sessions=tuple(row.session for row in rows),
        session_index=np.repeat(np.arange(len(rows), dtype=np.int32), lengths),
        minute=np.concatenate([np.arange(n, dtype=np.int16) for n in lengths]),
        symbols=tuple(symbols),
        columns=tuple(columns),
    )


def published_rows(
    catalog: Catalog,
    feed: Feed,
    sessions: Sequence[date] | None,
    start: date | None = None,
    end: date | None = None,
) -> list[SessionRow]:
    """Return the catalog's rows of published sessions, oldest first.

    Raises:
        NotPublishedError: One of the sessions, or all between start and end, are not published.
        NotASessionError: The exchange is closed from start to end.
    """
    wanted = None if sessions is None else sorted(set(sessions))
    if wanted is not None and not wanted:
        msg = "No session was asked for."
        raise ValueError(msg)
    if wanted is not None:
        start, end = wanted[0], wanted[-1]
    rows = [
        row
        for row in catalog.sessions(start, end, feed)
        if row.status is SessionStatus.PUBLISHED and (wanted is None or row.session in set(wanted))
    ]
    missing = sorted(set(wanted or ()) - {row.session for row in rows})
    if missing:
        few = ", ".join(map(str, missing[:5])) + (" and more" if len(missing) > 5 else "")
        raise NotPublishedError(
            _not_published(
                f"{len(missing)} of {len(wanted or ())} sessions", few, missing[0], missing[-1]
            )
        )
    if not rows and (start is None or end is None):
        since = f" from {start}" if start else f" up to {end}" if end else ""
        msg = f"No {feed.value} session{since} is published; publish some: alpaca-strategy backfill"
        raise NotPublishedError(msg)
    if not rows:
        if start and end and not exchange_calendar().sessions(start, end):
            msg = f"The exchange had no session from {start} to {end}; choose a longer range."
            raise NotASessionError(msg)
        what = f"{start} to {end}"
        raise NotPublishedError(_not_published("All sessions", what, start, end))
    return rows


def _not_published(count: str, which: str, start: date | None, end: date | None) -> str:
    return (
        f"{count} are not published ({which}); publish them: "
        f"alpaca-strategy backfill --start {start} --end {end}"
    )


def read_session(
    lake: Lake, files: Sequence[str], *, minutes: int, symbols: Sequence[str]
) -> tuple[FloatArray, BoolArray]:
    """Read the bars of one session from exactly these files, whatever is published now.

    Args:
        lake: The lake.
        files: Of one session's bars, as its catalog row pins them.
        minutes: Of the session.
        symbols: The symbols, in the order wanted.

    Returns:
        Values (minutes, symbols, columns of BAR_COLUMNS), and which minutes have a bar.

    Raises:
        DamagedFileError: A file is gone or cannot be read.
    """
    values = np.empty((minutes, len(symbols), len(BAR_COLUMNS)), np.float64)
    observed = np.zeros((minutes, len(symbols)), np.bool_)
    _fill_session(
        lake, files=files, symbols=symbols, columns=BAR_COLUMNS, values=values, observed=observed
    )
    return values, observed


def _fill_session(
    lake: Lake,
    *,
    files: Sequence[str],
    symbols: Sequence[str],
    columns: Sequence[str],
    values: FloatArray,
    observed: BoolArray,
) -> None:
    """Decode one session's files into its block of the panel."""
    seats = {name: i for i, name in enumerate(symbols)}
    wanted = list(dict.fromkeys(("symbol", "minute", *columns, "observed")))
    filled = np.zeros(len(symbols), np.bool_)
    for path in files:
        full = f"{lake.folder('bars')}/{path}"
        with parquet.reading(full, remedy(path)):
            file = parquet.open_file(lake.filesystem, full)
            groups = parquet.groups_with(file, symbols)
            table = file.read_row_groups(groups, columns=wanted, use_threads=False)
        runs = _dense_runs(table, len(values), full, path)
        seated = [(seats[name], i) for i, name in enumerate(runs) if name in seats]
        if not seated:
            continue
        seat, taken = (np.array(part) for part in zip(*seated, strict=True))
        filled[seat] = True
        for i, name in enumerate((*columns, "observed")):
            array = _numbers(table.column(name)).reshape(len(runs), len(values))
            target = observed if i == len(columns) else values[:, :, i]
            _place(target, array, seat, taken)
    values[:, ~filled] = np.nan


def _place(
    target: npt.NDArray[np.generic],
    array: npt.NDArray[np.generic],
    seat: npt.NDArray[np.intp],
    taken: npt.NDArray[np.intp],
) -> None:
    """Copy rows of ``array`` (symbols x minutes) into columns of ``target`` (minutes x symbols)."""
    ordered = np.arange(len(seat))
    if len(seat) == len(array) == target.shape[1] and (seat == ordered).all():
        target[...] = array.T
        return
    for place, source in zip(seat, taken, strict=True):
        target[:, place] = array[source]


def _dense_runs(table: pa.Table, minutes: int, full: str, path: str) -> list[str]:
    """Return the symbols of a table in which each has every minute once, in order.

    Raises:
        DamagedFileError: It is not so.
    """
    count, rest = divmod(table.num_rows, minutes)
    grid = _numbers(table.column("minute"))
    names = []
    dense = not rest
    if dense:
        dense = bool((grid.reshape(count, minutes) == np.arange(minutes, dtype=grid.dtype)).all())
        column = table.column("symbol").unify_dictionaries().combine_chunks()
        codes = column.indices.to_numpy(zero_copy_only=False).reshape(count, minutes)
        dense = dense and bool((codes == codes[:, :1]).all())
        words = column.dictionary.to_pylist()
        names = [words[code] for code in codes[:, 0]] if count else []
    if not dense:
        msg = f"The lake file {full} does not hold {minutes} minutes a symbol; {remedy(path)}."
        raise DamagedFileError(msg)
    return names


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    """Return a column as an array, without a copy where Arrow allows it."""
    chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    result: npt.NDArray[np.generic] = chunk.to_numpy(zero_copy_only=False)
    return result
