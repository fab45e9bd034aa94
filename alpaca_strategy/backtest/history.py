"""What a backtest runs over: bars and scores of consecutive sessions, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class History:
    """Sessions one after the other; a row is a minute.

    Prices are raw, in USD; NaN, with volume 0, where a minute has no bar.

    Attributes:
        symbols: In the order of the columns.
        sessions: Oldest first.
        first_row: Where each session begins, and where the last one ends; shape (sessions + 1,).
        open: Shape (rows, symbols), as are the next four.
        high: Likewise.
        low: Likewise.
        close: Likewise.
        volume: Shares.
        scores: From 0 to 1, of the decision at the close of the row's minute; NaN where there is
            none. Shape (rows, symbols).
        expected_bps: Expected return of that decision, likewise.
        split_factor: Shares that one share became over the night before a session, 1 without a
            split; shape (sessions, symbols).
    """

    symbols: tuple[str, ...]
    sessions: tuple[date, ...]
    first_row: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    scores: Floats
    expected_bps: Floats
    split_factor: Floats

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ValueError: They do not fit each other.
        """
        rows, names, days = int(self.first_row[-1]), len(self.symbols), len(self.sessions)
        panels = ("open", "high", "low", "close", "volume", "scores", "expected_bps")
        for name in panels:
            if getattr(self, name).shape != (rows, names):
                msg = f"{name} has shape {getattr(self, name).shape}, not {(rows, names)}."
                raise ValueError(msg)
        if len(self.first_row) != days + 1 or self.split_factor.shape != (days, names):
            msg = f"first_row and split_factor must be of {days} sessions."
            raise ValueError(msg)

    @property
    def session_of_row(self) -> Ints:
        """The position of each row's session, shape (rows,)."""
        return np.repeat(np.arange(len(self.sessions)), np.diff(self.first_row))

    @property
    def minute_of_row(self) -> Ints:
        """The minute of each row within its session, from 0; shape (rows,)."""
        return np.arange(self.first_row[-1]) - np.repeat(
            self.first_row[:-1], np.diff(self.first_row)
        )

    @property
    def traded(self) -> tuple[str, ...]:
        """The symbols that have a score anywhere, so that they may be traded."""
        seats = np.flatnonzero(np.isfinite(self.scores).any(axis=0))
        return tuple(self.symbols[seat] for seat in seats)

    def last_prices(self) -> Floats:
        """Return the last close of each symbol until each row, shape (rows, symbols).

        NaN before its first one. A price of before a split is stated in shares of after it.
        """
        out = self.close.copy()
        for i, begin in enumerate(self.first_row[:-1]):
            if begin:
                carried = out[begin - 1] / self.split_factor[i]
                out[begin] = np.where(np.isnan(out[begin]), carried, out[begin])
            part = out[begin : self.first_row[i + 1]]
            where = np.where(np.isnan(part), 0, np.arange(len(part))[:, None])
            np.maximum.accumulate(where, axis=0, out=where)
            part[:] = np.take_along_axis(part, where, axis=0)
        return out
