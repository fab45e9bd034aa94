"""What a backtest leaves: executions, round trips, and the equity of every minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: One execution. `row` is the minute at whose open it happened; `shares` is negative for a sale;
#: `price` is what was paid or got, `fee` in USD, and `impact` what spread and slippage took, in
#: USD: shares times the distance between price and open.
FILL = np.dtype(
    [
        ("row", np.int64),
        ("symbol", np.int64),
        ("shares", np.float64),
        ("price", np.float64),
        ("fee", np.float64),
        ("impact", np.float64),
    ]
)

#: One round trip, from holding nothing to holding nothing. `entry_row` and `exit_row` are those of
#: its first and last execution; prices are means by shares, and in shares of the exit's day;
#: `cost` is fees and impact of all its executions; `profit` is after all of it, both in USD.
#: `entry_score` is that of the decision behind the first execution; `exit_reason` a `Reason`.
TRADE = np.dtype(
    [
        ("symbol", np.int64),
        ("entry_row", np.int64),
        ("exit_row", np.int64),
        ("shares", np.float64),
        ("entry_price", np.float64),
        ("exit_price", np.float64),
        ("cost", np.float64),
        ("profit", np.float64),
        ("entry_score", np.float64),
        ("exit_reason", np.int64),
    ]
)


@dataclass(frozen=True, slots=True)
class Run:
    """The outcome of an engine.

    Attributes:
        cash: At the beginning, in USD.
        fills: In the order in which they happened, dtype `FILL`.
        trades: In the order in which they ended, dtype `TRADE`; a position that is still held at
            the end is in none.
        equity: Cash and positions at the close of every row, in USD; shape (rows,).
        invested: Positions alone, likewise.
    """

    cash: float
    fills: npt.NDArray[Any]
    trades: npt.NDArray[Any]
    equity: Floats
    invested: Floats
