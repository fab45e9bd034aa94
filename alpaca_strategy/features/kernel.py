"""The features of a session's minutes, the same for a backtest, a training and a live decision."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alpaca_strategy.features.catalogue import NAMES
from alpaca_strategy.features.compiled import fill
from alpaca_strategy.market.schema import BAR_COLUMNS

Features = npt.NDArray[np.float32]

#: Symbol-minutes that are worth a thread of their own.
_WORTH_A_THREAD: Final = 50_000


def session_features(
    values: npt.NDArray[np.float64],
    observed: npt.NDArray[np.bool_],
    *,
    weekday: int,
    first_minute: int = 0,
    session_minutes: int = 390,
    out: Features | None = None,
) -> Features:
    """Return the features of consecutive minutes of one session.

    A symbol's row follows from its own minutes up to it, at most LOOKBACK before it; so the last
    row of the last LOOKBACK + 1 minutes has the bits that it has in the whole session.

    Args:
        values: Shape (minutes, symbols, columns of BAR_COLUMNS), oldest first. NaN is nothing.
        observed: Shape (minutes, symbols): the minute has a bar.
        weekday: Of the session, 0 is Monday.
        first_minute: Minutes from the open to the first row.
        session_minutes: Minutes of the session: 390, or 210 on a half-day.
        out: Where to write them, C order; a new array when None.

    Returns:
        Shape (minutes, symbols, 30), finite where observed, NaN elsewhere. If the minutes do not
        begin with the session, the first LOOKBACK rows see too little and are NaN as well.

    Raises:
        ValueError: Shapes do not fit, or minutes lie outside the session.
    """
    minutes, symbols = observed.shape
    if values.shape != (minutes, symbols, len(BAR_COLUMNS)):
        msg = f"Bars have shape {values.shape}, not {(minutes, symbols, len(BAR_COLUMNS))}."
        raise ValueError(msg)
    if first_minute < 0 or first_minute + minutes > session_minutes:
        last = first_minute + minutes - 1
        msg = f"Minutes {first_minute} to {last} are not within {session_minutes} of a session."
        raise ValueError(msg)
    if out is None:
        out = np.empty((minutes, symbols, len(NAMES)), np.float32)
    _check_target(out, (minutes, symbols, len(NAMES)))
    bars, seen, target = _frozen(values, np.float64), _frozen(observed, np.bool_), out

    def work(first: int, stop: int) -> None:
        fill(bars, seen, first, stop, first_minute, weekday, target)

    parts = max(1, min(os.cpu_count() or 1, symbols, minutes * symbols // _WORTH_A_THREAD))
    if parts == 1:
        work(0, symbols)
        return out
    # Threads of our own, not numba's: theirs end a process that forks, or calls from two threads.
    cuts = [symbols * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts, thread_name_prefix="features") as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))
    return out


def usable_features(
    values: npt.NDArray[np.float64],
    observed: npt.NDArray[np.bool_],
    *,
    weekday: int,
    first_minute: int = 0,
    session_minutes: int = 390,
    out: Features | None = None,
) -> tuple[Features, npt.NDArray[np.bool_]]:
    """Return what `session_features` does, and where it is good for anything.

    Returns:
        Features, NaN where they are not usable; and usable, shape (minutes, symbols): the minute
        was observed and every feature is a number. A bar that lacks a price has no features: its
        minute is as good as none.
    """
    found = session_features(
        values, observed, weekday=weekday, first_minute=first_minute,
        session_minutes=session_minutes, out=out,
    )  # fmt: skip
    usable: npt.NDArray[np.bool_] = observed & np.isfinite(found).all(axis=2)
    found[~usable] = np.nan
    return found, usable


def _check_target(out: Features, shape: tuple[int, ...]) -> None:
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        msg = f"Features go into a C-ordered float32 array of shape {shape}, not {out.shape}."
        raise ValueError(msg)


def _frozen(array: npt.NDArray[Any], dtype: type) -> npt.NDArray[Any]:
    # Numba would compile the kernel again for an array that is read-only, or laid out otherwise.
    view: npt.NDArray[Any] = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view
