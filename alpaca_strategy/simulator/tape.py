"""A symbol's trades of one day as columns, and the exchange's code tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int16]
Flags = npt.NDArray[np.bool_]

#: What happened to a trade after it was reported; the position is the code in `Tape.update`.
UPDATES = (None, "canceled", "incorrect", "corrected")
CANCELED, INCORRECT, CORRECTED = 1, 2, 3

EXCHANGES = {
    "A": "NYSE American (AMEX)",
    "B": "NASDAQ OMX BX",
    "C": "National Stock Exchange",
    "D": "FINRA ADF",
    "E": "Market Independent",
    "H": "MIAX",
    "I": "International Securities Exchange",
    "J": "Cboe EDGA",
    "K": "Cboe EDGX",
    "L": "Long Term Stock Exchange",
    "M": "Chicago Stock Exchange",
    "N": "New York Stock Exchange",
    "P": "NYSE Arca",
    "Q": "NASDAQ OMX",
    "S": "NASDAQ Small Cap",
    "T": "NASDAQ Int",
    "U": "Members Exchange",
    "V": "IEX",
    "W": "CBOE",
    "X": "NASDAQ OMX PSX",
    "Y": "Cboe BYX",
    "Z": "Cboe BZX",
}

TRADE_CONDITIONS = {
    " ": "Regular Sale",
    "@": "Regular Sale",
    "4": "Derivatively Priced",
    "5": "Market Center Reopening Trade",
    "6": "Market Center Closing Trade",
    "7": "Qualified Contingent Trade",
    "9": "Corrected Consolidated Close",
    "A": "Acquisition",
    "B": "Average Price Trade / Bunched Trade",
    "C": "Cash Sale",
    "D": "Distribution",
    "E": "Automatic Execution",
    "F": "Intermarket Sweep",
    "G": "Bunched Sold Trade",
    "H": "Price Variation Trade",
    "I": "Odd Lot Trade",
    "K": "Rule 155 Trade",
    "L": "Sold Last",
    "M": "Market Center Official Close",
    "N": "Next Day",
    "O": "Market Center Opening Trade",
    "P": "Prior Reference Price",
    "Q": "Market Center Official Open",
    "R": "Seller",
    "T": "Form T (Extended Hours)",
    "U": "Extended Hours, Sold Out of Sequence",
    "V": "Contingent Trade",
    "W": "Average Price Trade",
    "X": "Cross Trade",
    "Y": "Yellow Flag Regular Trade",
    "Z": "Sold, Out of Sequence",
}


@dataclass(frozen=True, slots=True)
class Tape:
    """Trades of one symbol and day in tape order: by time, then by id.

    Attributes:
        ts: Nanoseconds since 1970 UTC, shape (trades,), never decreasing.
        price: USD.
        size: Shares.
        exchange: ASCII code of the exchange letter.
        condition: Index into ``conditions``.
        trade_id: Unique within symbol and day; grows with the time of arrival.
        update: Index into ``UPDATES``.
        tape: The plan that publishes the symbol: A, B or C.
        conditions: The condition lists that occur.
        shown_ts: Times to print instead of ``ts``, where a damage asks for wrong ones.
    """

    ts: Ints
    price: Floats
    size: Ints
    exchange: Bytes
    condition: Codes
    trade_id: Ints
    update: Bytes
    tape: str
    conditions: tuple[tuple[str, ...], ...]
    shown_ts: Ints | None = None

    def __len__(self) -> int:
        return int(self.ts.shape[0])

    @property
    def nbytes(self) -> int:
        """Return the memory that the columns take."""
        return len(self) * 42 + 2048

    def take(self, which: Flags | Ints | slice) -> Tape:
        """Return some of the trades."""
        shown = None if self.shown_ts is None else self.shown_ts[which]
        return replace(
            self,
            ts=self.ts[which],
            price=self.price[which],
            size=self.size[which],
            exchange=self.exchange[which],
            condition=self.condition[which],
            trade_id=self.trade_id[which],
            update=self.update[which],
            shown_ts=shown,
        )

    def after(self, ts: int, trade_id: int) -> int:
        """Return the position of the first trade behind (time, id)."""
        low = int(np.searchsorted(self.ts, ts, "left"))
        high = int(np.searchsorted(self.ts, ts, "right"))
        return low + int(np.searchsorted(self.trade_id[low:high], trade_id, "right"))


def empty(tape: str = "C") -> Tape:
    """Return a tape without trades."""
    none = np.empty(0, np.int64)
    small = np.empty(0, np.uint8)
    return Tape(none, np.empty(0), none, small, none.astype(np.int16), none, small, tape, ((),))


def merge(first: Tape, second: Tape) -> Tape:
    """Merge two tapes that share one condition table, by time, then id."""
    ts = np.concatenate([first.ts, second.ts])
    ids = np.concatenate([first.trade_id, second.trade_id])
    order = np.lexsort((ids, ts))
    return replace(
        first,
        ts=ts[order],
        trade_id=ids[order],
        price=np.concatenate([first.price, second.price])[order],
        size=np.concatenate([first.size, second.size])[order],
        exchange=np.concatenate([first.exchange, second.exchange])[order],
        condition=np.concatenate([first.condition, second.condition])[order],
        update=np.concatenate([first.update, second.update])[order],
    )


def join(pieces: list[Tape]) -> Tape:
    """Join tapes that follow one another in time; empties the list to save memory."""
    if len(pieces) == 1:
        return pieces[0]
    first, rest = pieces[0].take(slice(0, 0)), list(pieces)
    pieces.clear()
    columns: dict[str, Any] = {}
    for name in ("ts", "price", "size", "exchange", "condition", "trade_id", "update"):
        columns[name] = np.concatenate([getattr(piece, name) for piece in rest])
    return replace(first, **columns)
