"""Published sessions as a dataset, read from exactly the files that lineage names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from alpaca_strategy.bootstrap import Services
from alpaca_strategy.errors import DataError, NotPublishedError
from alpaca_strategy.features.fingerprint import fingerprint
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.model.dataset import Dataset, SessionBars, build_dataset, returns_of
from alpaca_strategy.storage.panel import published_rows, read_session
from alpaca_strategy.storage.records import SessionRow, SessionStatus
from alpaca_strategy.storage.registry_records import DataPin


def newest_sessions(home: Services, until: date, count: int) -> tuple[date, ...]:
    """Return the newest sessions up to a day, all of which must be published.

    Fewer than asked for are returned where the lake begins later.

    Raises:
        NotPublishedError: Nothing is published until then, or one of them is not.
    """
    calendar = exchange_calendar()
    last = until if calendar.is_session(until) else calendar.previous_session(until).day
    feed = home.settings.data.feed
    first = calendar.previous_session(last, count - 1).day if count > 1 else last
    rows = home.catalog.sessions(None, last, feed)
    published = {row.session for row in rows if row.status is SessionStatus.PUBLISHED}
    begin = max(first, min(published)) if published else first
    wanted = [session.day for session in calendar.sessions(begin, last)]
    missing = [day for day in wanted if day not in published]
    if missing:
        few = ", ".join(map(str, missing[:5])) + (" and more" if len(missing) > 5 else "")
        msg = (
            f"{len(missing)} of {len(wanted)} sessions from {begin} to {last} are not published "
            f"({few}), and a gap would teach the model wrong; publish them: alpaca-strategy "
            f"backfill --start {missing[0]} --end {missing[-1]}"
        )
        raise NotPublishedError(msg)
    return tuple(wanted)


def pins_of(home: Services, sessions: Sequence[date]) -> tuple[DataPin, ...]:
    """Return the files that hold these sessions now.

    Raises:
        NotPublishedError: One is not published.
        DataError: One was built by other trade conditions than those in force.
    """
    rows = published_rows(home.catalog, home.settings.data.feed, sessions)
    for row in rows:
        if row.condition_fingerprint != home.conditions.sha256:
            msg = (
                f"The bars of {row.session} were built by the trade conditions "
                f"{row.condition_table}, not those in force; build them anew: alpaca-strategy "
                f"backfill --rewrite --start {row.session} --end {row.session}"
            )
            raise DataError(msg)
    return tuple(_pin(row) for row in rows)


def _pin(row: SessionRow) -> DataPin:
    return DataPin(
        session=row.session,
        revision=row.revision,
        content_hash=row.content_hash or "",
        bars_version=row.bars_version or 0,
        bars_files=row.bars_files,
    )


def load_dataset(
    home: Services, pins: Sequence[DataPin], *, symbols: Sequence[str], horizon: int
) -> Dataset:
    """Build the dataset of pinned sessions, one session in memory at a time.

    Raises:
        DamagedFileError: A pinned file is gone or cannot be read.
    """
    return build_dataset(
        read_bars(home, pins, symbols),
        minutes=[_minutes(pin) for pin in pins],
        symbols=symbols,
        fingerprint=features_fingerprint(home, symbols, horizon),
        horizon=horizon,
    )


def load_returns(
    home: Services, pins: Sequence[DataPin], *, symbols: Sequence[str], horizon: int
) -> npt.NDArray[np.float64]:
    """Return labels of another horizon, row for row those of `load_dataset`."""
    parts = (returns_of(one, horizon) for one in read_bars(home, pins, symbols))
    return np.concatenate(list(parts)).astype(np.float64)


def read_bars(
    home: Services, pins: Sequence[DataPin], symbols: Sequence[str]
) -> Iterator[SessionBars]:
    """Yield the bars of pinned sessions, oldest first.

    Raises:
        DamagedFileError: A pinned file is gone or cannot be read.
    """
    for pin in pins:
        values, observed = read_session(
            home.lake, pin.bars_files, minutes=_minutes(pin), symbols=symbols
        )
        yield SessionBars(pin.session, values, observed)


def _minutes(pin: DataPin) -> int:
    return exchange_calendar().session(pin.session).minutes


def features_fingerprint(home: Services, symbols: Sequence[str], horizon: int) -> str:
    """Return the fingerprint of the features in force."""
    return fingerprint(
        feed=home.settings.data.feed.value,
        condition_fingerprint=home.conditions.sha256,
        symbols=symbols,
        horizon=horizon,
    )
