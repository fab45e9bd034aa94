"""What the baselines see of a minute: its features, and their means over the minutes before.

The means are over usable minutes only. They are summed afresh for each row, in double precision,
instead of being differences of cumulative sums: those lose the digits of a small feature behind a
large sum, and would make a value depend on where its block began.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt

from alpaca_strategy.model.dataset import (
    MIN_USABLE_MINUTES,
    RECENT_MINUTES,
    WINDOW,
    Dataset,
)

Rows = npt.NDArray[np.int64]
#: Minutes of the rolling means, the last being all that the network sees.
ROLLING: Final = (5, 15, 60, WINDOW)


def aggregate(dataset: Dataset, rows: Rows) -> npt.NDArray[np.float32]:
    """Return features of these rows and their rolling means.

    Args:
        dataset: The dataset.
        rows: Shape (rows,), in any order. A mean reaches into the session before, never forward.

    Returns:
        Shape (rows, symbols, 5 x features): the row's own, then means over `ROLLING` minutes, the
        row's included; NaN where no minute of them is usable.

    Raises:
        ValueError: A row lacks the minutes before it, or lies outside the dataset.
    """
    check_rows(dataset, rows)
    _, symbols, features = dataset.features.shape
    out = np.empty((len(rows), symbols, features * (1 + len(ROLLING))), np.float32)
    _fill(dataset.features, dataset.usable, rows, np.array(ROLLING), out)
    return out


def column_names(features: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns that `aggregate` makes of these features."""
    means = (f"{name}_mean_{minutes}" for minutes in ROLLING for name in features)
    return (*features, *means)


def is_scored(dataset: Dataset, rows: Rows) -> npt.NDArray[np.bool_]:
    """Return which symbols have enough usable minutes to be scored, shape (rows, symbols).

    Raises:
        ValueError: A row lacks the minutes before it, or lies outside the dataset.
    """
    check_rows(dataset, rows)
    until = np.zeros((len(dataset.usable) + 1, dataset.usable.shape[1]), np.int32)
    np.cumsum(dataset.usable, axis=0, out=until[1:])
    enough = until[rows + 1] - until[rows + 1 - WINDOW] >= MIN_USABLE_MINUTES
    return np.asarray(enough & (until[rows + 1] > until[rows + 1 - RECENT_MINUTES]))


def check_rows(dataset: Dataset, rows: Rows) -> None:
    """Refuse rows without the whole window before them.

    Raises:
        ValueError: A row lacks the minutes before it, or lies outside the dataset.
    """
    wrong = rows[(rows < WINDOW - 1) | (rows >= len(dataset.usable))]
    if len(wrong):
        msg = (
            f"Row {wrong[0]} has not {WINDOW} minutes of history in {len(dataset.usable)} rows; "
            f"take rows from {WINDOW - 1} to {len(dataset.usable) - 1}."
        )
        raise ValueError(msg)


@numba.njit(cache=True, nogil=True)
def _fill(features: Any, usable: Any, rows: Any, rolling: Any, out: Any) -> None:
    _, symbols, width = features.shape
    total = np.empty((symbols, width), np.float64)
    count = np.empty((symbols, width), np.float64)
    for i in range(len(rows)):
        row = rows[i]
        total[:] = 0.0
        count[:] = 0.0
        done = 0
        for column, minutes in enumerate(rolling):
            for back in range(done, minutes):  # newest first: each window continues the shorter one
                _add(features[row - back], usable[row - back], total, count)
            done = minutes
            _mean(total, count, out[i, :, width * (1 + column) : width * (2 + column)])
        for s in range(symbols):
            for f in range(width):
                out[i, s, f] = features[row, s, f] if usable[row, s] else np.nan


@numba.njit(cache=True, nogil=True)
def _add(values: Any, usable: Any, total: Any, count: Any) -> None:
    symbols, width = values.shape
    for s in range(symbols):
        if usable[s]:
            for f in range(width):
                x = values[s, f]
                known = not np.isnan(x)
                total[s, f] += x if known else 0.0
                count[s, f] += 1.0 if known else 0.0


@numba.njit(cache=True, nogil=True)
def _mean(total: Any, count: Any, out: Any) -> None:
    symbols, width = total.shape
    for s in range(symbols):
        for f in range(width):
            out[s, f] = total[s, f] / count[s, f] if count[s, f] > 0.0 else np.nan
