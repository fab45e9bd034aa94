"""Many sessions as one array, of which windows are views."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

from alpaca_strategy.features.catalogue import FEATURES
from alpaca_strategy.features.kernel import usable_features
from alpaca_strategy.features.labels import log_returns
from alpaca_strategy.market.schema import BAR_COLUMNS

#: Minutes that the network looks back on.
WINDOW = 240
#: Minutes between two decisions, and of a label: returns of one decision do not overlap the next's.
HORIZON = 10
#: A symbol is scored when so many minutes of its window are usable,
MIN_USABLE_MINUTES: Final = 30
#: and at least one of the last so many.
RECENT_MINUTES: Final = 10
_OPEN, _CLOSE = BAR_COLUMNS.index("open"), BAR_COLUMNS.index("close")


@dataclass(frozen=True, slots=True)
class SessionBars:
    """One session's published bars.

    Attributes:
        day: The session.
        values: Shape (minutes, symbols, columns of BAR_COLUMNS).
        observed: Shape (minutes, symbols): the minute has a bar; false where nothing is published.
    """

    day: date
    values: npt.NDArray[np.float64]
    observed: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Features and labels of consecutive sessions.

    Row i is the minute after row i - 1 or, at a session's start, after the end of the one before.

    Attributes:
        features: Shape (minutes, symbols, 30), float32, unscaled; NaN where ``usable`` is false.
        usable: Shape (minutes, symbols): the minute was observed, its symbol published, and every
            feature is a number.
        returns: Shape (minutes, symbols), float32: log return from the next bar's open to the end
            of the horizon; NaN where there is none, always in a session's last minutes.
        session_index: Shape (minutes,), position in ``sessions``.
        minute: Shape (minutes,), minute of the session, 0 at the open.
        sessions: The sessions, oldest first.
        symbols: The symbols, in the order of the arrays.
        horizon: Minutes of a label.
        fingerprint: Of features and data; see `features.fingerprint`.
        content_hash: SHA-256 over everything above.
    """

    features: npt.NDArray[np.float32]
    usable: npt.NDArray[np.bool_]
    returns: npt.NDArray[np.float32]
    session_index: npt.NDArray[np.int32]
    minute: npt.NDArray[np.int16]
    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    horizon: int
    fingerprint: str
    content_hash: str


def build_dataset(
    bars: Iterable[SessionBars],
    *,
    minutes: Sequence[int],
    symbols: Sequence[str],
    fingerprint: str,
    horizon: int = HORIZON,
) -> Dataset:
    """Compute features and labels session by session, straight into their place.

    Args:
        bars: The sessions, oldest first; one at a time is held.
        minutes: Of each session.
        symbols: In the order of the bars' arrays.
        fingerprint: Of features and data.
        horizon: Minutes of a label.
    """
    total, width = sum(minutes), len(symbols)
    features = np.empty((total, width, len(FEATURES)), np.float32)
    usable = np.empty((total, width), np.bool_)
    returns = np.empty((total, width), np.float32)
    days, row = [], 0
    for one in bars:
        block = slice(row, row + len(one.observed))
        _, usable[block] = usable_features(
            one.values,
            one.observed,
            weekday=one.day.weekday(),
            session_minutes=len(one.observed),
            out=features[block],
        )
        returns[block] = returns_of(one, horizon)
        days.append(one.day)
        row = block.stop
    session_index = np.repeat(np.arange(len(days), dtype=np.int32), minutes)
    minute = np.concatenate([np.arange(n, dtype=np.int16) for n in minutes])
    digest = hashlib.sha256(repr((days, tuple(symbols), horizon, fingerprint)).encode())
    for array in (features, usable, returns, minute):
        digest.update(array.data)
    return Dataset(
        features=features,
        usable=usable,
        returns=returns,
        session_index=session_index,
        minute=minute,
        sessions=tuple(days),
        symbols=tuple(symbols),
        horizon=horizon,
        fingerprint=fingerprint,
        content_hash=digest.hexdigest(),
    )


def returns_of(bars: SessionBars, horizon: int) -> npt.NDArray[np.float32]:
    """Return a session's labels, shape (minutes, symbols)."""
    opened, close = bars.values[:, :, _OPEN], bars.values[:, :, _CLOSE]
    return log_returns(opened, close, bars.observed, horizon)


def decision_rows(
    dataset: Dataset, sessions: Sequence[int], *, stride: int = HORIZON, phase: int = -1
) -> npt.NDArray[np.int64]:
    """Return the rows at which decisions of these sessions are made, oldest first.

    A row has the whole window before it, and the horizon after it lies in its own session.

    Args:
        dataset: The dataset.
        sessions: Positions in ``dataset.sessions``.
        stride: Minutes between decisions.
        phase: Which minutes: those that leave this rest when divided by the stride. The default
            makes a decision whenever a round number of minutes has passed since the open.
    """
    lengths = np.bincount(dataset.session_index, minlength=len(dataset.sessions))
    left = lengths[dataset.session_index] - 1 - dataset.minute
    due = dataset.minute % stride == phase % stride
    wanted = np.isin(dataset.session_index, np.asarray(sessions, np.int64))
    rows = np.flatnonzero(due & wanted & (left >= dataset.horizon))
    return rows[rows >= WINDOW - 1]
