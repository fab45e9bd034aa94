"""Trades as the venue's stream tells them, and as records: 32 bytes each.

A stream brings a message for every trade. They are decoded into small objects, which is all that
happens to them as they arrive; many at once are then turned into records, a few array operations
for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import field
from msgspec.msgpack import Ext

Rows = npt.NDArray[np.int64]
Records = npt.NDArray[Any]

#: What happened to a trade; of two words on the same trade the higher one stands.
UPDATES: Final = (None, "corrected", "incorrect", "canceled")
CORRECTED: Final = 1
INCORRECT: Final = 2
CANCELED: Final = 3

RECORD: Final = np.dtype(
    [
        ("ts", np.int64),  # nanoseconds since 1970 UTC
        ("id", np.int64),
        ("price", np.float64),
        ("size", np.uint32),  # the venue's own type
        ("code", np.uint16),  # of conditions and tape, see `Codes`; 0 is none
        ("exchange", np.uint8),  # ASCII, 0 for none
        ("update", np.uint8),  # into UPDATES
    ]
)
_MAX_SIZE: Final = 2**32 - 1
_MAX_INT: Final = 2**63 - 1
_MAX_CODES: Final = 4096  # distinct pairs of conditions and tape; a real day has some fifty
_NO_TIME: Final = b"\xff" * 8
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class StreamTrade(msgspec.Struct, tag_field="T", tag="t", gc=False):
    """A trade. Its time is a MessagePack timestamp or RFC 3339 text, with nanoseconds."""

    symbol: str = field(name="S")
    id: int = field(name="i")
    price: float = field(name="p")
    size: int = field(name="s")
    at: Ext | str = field(name="t")
    tape: str = field(name="z", default="")
    exchange: str = field(name="x", default="")
    conditions: tuple[str, ...] | None = field(name="c", default=None)


class TradeCorrection(msgspec.Struct, tag_field="T", tag="c", gc=False):
    """A trade was reported wrongly, and this is how it was."""

    symbol: str = field(name="S")
    exchange: str = field(name="x")
    original_id: int = field(name="oi")
    id: int = field(name="ci")
    price: float = field(name="cp")
    size: int = field(name="cs")
    at: Ext | str = field(name="t")
    tape: str = field(name="z", default="")
    conditions: tuple[str, ...] | None = field(name="cc", default=None)

    def trade(self) -> StreamTrade:
        """Return the trade as it was; its time is when the correction was told."""
        return StreamTrade(
            symbol=self.symbol, id=self.id, price=self.price, size=self.size, at=self.at,
            tape=self.tape, exchange=self.exchange, conditions=self.conditions,
        )  # fmt: skip


class TradeCancel(msgspec.Struct, tag_field="T", tag="x", gc=False):
    """A trade was reported in error, or is undone."""

    symbol: str = field(name="S")
    exchange: str = field(name="x")
    original_id: int = field(name="i")


class RowOf(dict[str, int]):
    """The row of each symbol; -1 for those that are not followed."""

    def __missing__(self, symbol: str) -> int:
        return -1


class Codes(dict[tuple[Any, str], int]):
    """Numbers for the pairs of conditions and tape that occur, from 1.

    Attributes:
        pairs: The pairs by number, the first at 0; conditions comma-joined.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[str, str]] = []
        self._known: dict[tuple[str, str], int] = {}

    def __missing__(self, key: tuple[Any, str]) -> int:
        marks, tape = key
        text = marks if isinstance(marks, str) else ",".join(marks or ())
        pair = (text, tape[:1])
        code = self._known.get(pair)
        if code is None:
            if len(self.pairs) == _MAX_CODES:
                return 0
            self.pairs.append(pair)
            code = self._known[pair] = len(self.pairs)
        self[key] = code
        return code


def records_of_stream(
    trades: Sequence[StreamTrade], row_of: RowOf, codes: Codes
) -> tuple[Rows, Records]:
    """Return the rows and records of trades, in their order; what is wrong stays so, see `sound`.

    A number that does not fit becomes -1 or 0, an unreadable time lies outside every session.
    """
    count = len(trades)
    rows = np.fromiter(map(row_of.__getitem__, [t.symbol for t in trades]), np.int64, count)
    records = np.empty(count, RECORD)
    records["ts"] = nanoseconds([t.at for t in trades])
    records["id"] = _integers([t.id for t in trades])
    records["price"] = [t.price for t in trades]
    sizes = _integers([t.size for t in trades])
    records["size"] = np.where((sizes > 0) & (sizes <= _MAX_SIZE), sizes, 0)
    pairs = zip([t.conditions for t in trades], [t.tape for t in trades], strict=True)
    records["code"] = np.fromiter(map(codes.__getitem__, pairs), np.uint16, count)
    records["exchange"] = _letters([t.exchange for t in trades])
    records["update"] = 0
    return rows, records


def records_of_table(table: pa.Table, row_of: RowOf, codes: Codes) -> tuple[Rows, Records]:
    """Return the rows and records of trades in ``TRADE_SCHEMA``, in their order; see `sound`."""
    table = table.combine_chunks()
    records = np.empty(len(table), RECORD)
    for name, column, absent in (("ts", "ts_ns", -1), ("id", "id", -1), ("price", "price", np.nan)):
        records[name] = pc.fill_null(table[column], absent).to_numpy()
    sizes = pc.fill_null(table["size"], 0).to_numpy()
    records["size"] = np.where((sizes > 0) & (sizes <= _MAX_SIZE), sizes, 0)
    names, which = _coded(table["symbol"])
    rows = np.array([row_of[name] for name in names], np.int64)[which]
    marks, mark = _coded(table["conditions"])
    tapes, tape = _coded(table["tape"])
    pairs, pair = np.unique(mark * len(tapes) + tape, return_inverse=True)
    coded = [codes[marks[n // len(tapes)], tapes[n % len(tapes)]] for n in pairs.tolist()]
    records["code"] = np.array(coded, np.uint16)[pair]
    letters, letter = _coded(table["exchange"])
    records["exchange"] = _letters(letters)[letter]
    words, word = _coded(table["update"])
    known = {text: code for code, text in enumerate(UPDATES) if text is not None}
    records["update"] = np.array([known.get(text, 0) for text in words], np.uint8)[word]
    return rows, records


def sound(records: Records, first_ns: int, last_ns: int) -> npt.NDArray[np.bool_]:
    """Return which records are trades at all, and of a time within bounds."""
    price, ts = records["price"], records["ts"]
    fine: npt.NDArray[np.bool_] = (
        (price > 0)  # not true of NaN either
        & (price < np.inf)
        & (records["size"] > 0)
        & (records["id"] >= 0)
        & (records["code"] > 0)
        & (ts >= first_ns)
        & (ts <= last_ns)
    )
    return fine


def nanoseconds(stamps: Sequence[Ext | str]) -> npt.NDArray[np.int64]:
    """Return times as nanoseconds since 1970 UTC; -1 for one that cannot be read.

    Source:
        The MessagePack specification, timestamp extension type: seconds in 32 bits, or nanoseconds
        in 30 and seconds in 34 bits, or nanoseconds in 32 and seconds in 64 bits.
    """
    data: list[Any]
    try:
        data = [stamp.data for stamp in stamps]  # type: ignore[union-attr]
        plain = set(map(len, data)) == {8}
    except AttributeError:
        plain = False
    if not plain:
        data = [_eight_bytes(stamp) for stamp in stamps]
    words = np.frombuffer(b"".join(data), ">u8").astype(np.uint64)
    seconds, rest = words & np.uint64(2**34 - 1), words >> np.uint64(34)
    ts = (seconds * np.uint64(10**9) + rest).astype(np.int64)
    fits = (rest < 10**9) & (seconds < 2**33)  # later ones are not nanoseconds in 64 bits
    return np.where(fits, ts, -1)


def _eight_bytes(stamp: Ext | str) -> bytes:
    """Return a time as it is written in eight bytes."""
    if isinstance(stamp, str):
        try:
            ts = pc.cast(pa.scalar(stamp), pa.timestamp("ns", "UTC")).value
        except pa.ArrowInvalid:
            return _NO_TIME
        seconds, rest = divmod(ts, 10**9)
    else:
        data = bytes(stamp.data)
        if len(data) in {4, 8}:
            return data.rjust(8, b"\0")
        if len(data) != 12:
            return _NO_TIME
        rest = int.from_bytes(data[:4], "big")
        seconds = int.from_bytes(data[4:], "big", signed=True)
    if not (0 <= seconds < 2**34 and rest < 10**9):
        return _NO_TIME
    return int(rest << 34 | seconds).to_bytes(8, "big")


def _integers(values: list[int]) -> npt.NDArray[np.int64]:
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return np.array([v if -1 <= v <= _MAX_INT else -1 for v in values], np.int64)


def _letters(texts: list[str]) -> npt.NDArray[np.uint8]:
    joined = "".join(texts)
    if len(joined) != len(texts) or "" in texts:
        joined = "".join(text[:1] or "\0" for text in texts)
    return np.frombuffer(joined.encode("ascii", "replace"), np.uint8)


def _coded(column: pa.ChunkedArray) -> tuple[list[str], Rows]:
    """Return the distinct texts of a column, and which of them each row has; no text is ""."""
    encoded = pc.fill_null(column.cast(pa.string()), "").combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
