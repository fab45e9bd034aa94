"""One page of trades: bytes of JSON into Arrow tables, with what is malformed set aside."""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alpaca_strategy.broker.rest import DecodeError
from alpaca_strategy.market.schema import TRADE_SCHEMA

_MAX_ID = 2**63 - 1  # the lake's type; the venue's has one bit more and does not use it
_MAX_SIZE = 2**32 - 1  # the venue's own type
_QUOTE = 200


class _Trade(msgspec.Struct, gc=False):
    t: str
    p: float
    s: int
    x: str
    i: int
    z: str
    c: list[str] | None = None
    u: str | None = None


class _Page(msgspec.Struct):
    # Neither may be missing: half an answer would look like the end of the tape.
    trades: dict[str, list[_Trade]]
    next_page_token: str | None


@dataclass(frozen=True, slots=True)
class SymbolTrades:
    """What a page says of one symbol.

    Attributes:
        symbol: The symbol.
        table: Its trades in TRADE_SCHEMA, in the venue's order.
        rejected: Why trades were set aside, one sentence each.
        repeated: Trades of the page before that came again and were dropped.
    """

    symbol: str
    table: pa.Table
    rejected: tuple[str, ...] = ()
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class TradePage:
    """One page of trades.

    Attributes:
        parts: One for each symbol on the page, sorted by symbol.
        next_token: Of the next page; None on the last.
    """

    parts: tuple[SymbolTrades, ...]
    next_token: str | None

    @property
    def table(self) -> pa.Table:
        """All trades of the page."""
        empty = TRADE_SCHEMA.empty_table()
        return pa.concat_tables([part.table for part in self.parts] or [empty])

    @property
    def rejected(self) -> tuple[str, ...]:
        """Why trades of the page were set aside."""
        return tuple(reason for part in self.parts for reason in part.rejected)

    @property
    def repeated(self) -> int:
        """Trades of the page before that came again."""
        return sum(part.repeated for part in self.parts)


def decode_page(body: bytes, symbols: AbstractSet[str]) -> TradePage:
    """Return the trades in a response body.

    Args:
        body: As the venue sent it.
        symbols: Those that were asked for.

    Raises:
        DecodeError: The body is not the JSON object that the venue documents.
    """
    parts: list[SymbolTrades]
    try:
        page = msgspec.json.decode(body, type=_Page)
        token = page.next_page_token
        parts = [_part(symbol, trades) for symbol, trades in page.trades.items()]
    except msgspec.MsgspecError:
        token, listings = _decode_tolerantly(body)
        parts = [_part(symbol, *_sort_out(items)) for symbol, items in listings.items()]
    strangers = sorted({part.symbol for part in parts} - symbols)
    if strangers:
        msg = f"trades of {strangers[0][:20]!r}, which was not asked for"
        raise DecodeError(msg)
    parts = [part for part in parts if part.table.num_rows or part.rejected]
    return TradePage(tuple(sorted(parts, key=lambda part: part.symbol)), token)


def _part(symbol: str, trades: list[_Trade], rejected: tuple[str, ...] = ()) -> SymbolTrades:
    """Check all trades at once; only where one is wrong, look for it."""
    try:
        times = pa.array([t.t for t in trades], pa.string()).cast(pa.timestamp("ns", "UTC"))
        prices = np.array([t.p for t in trades], np.float64)
        sizes = np.array([t.s for t in trades], np.int64)
        ids = np.array([t.i for t in trades], np.int64)
        sound = np.isfinite(prices) & (prices > 0) & (sizes > 0) & (sizes <= _MAX_SIZE) & (ids >= 0)
        fine = bool(sound.all())
    except (pa.ArrowInvalid, OverflowError):
        fine = False
    if not fine:
        faults = [_fault(trade) for trade in trades]
        wrong = [
            f"{fault}: {msgspec.json.encode(trade).decode()[:_QUOTE]}"
            for trade, fault in zip(trades, faults, strict=True)
            if fault is not None
        ]
        kept = [trade for trade, fault in zip(trades, faults, strict=True) if fault is None]
        return _part(symbol, kept, (*rejected, *wrong))
    columns = [
        pa.repeat(pa.scalar(symbol), len(trades)),
        times.cast(pa.int64()),
        pa.array(prices),
        pa.array(sizes),
        pa.array([t.x for t in trades], pa.string()),
        pa.array([",".join(t.c) if t.c else "" for t in trades], pa.string()),
        pa.array([t.z for t in trades], pa.string()),
        pa.array(ids),
        pa.array([t.u for t in trades], pa.string()),
    ]
    return SymbolTrades(symbol, pa.Table.from_arrays(columns, schema=TRADE_SCHEMA), rejected)


def _fault(trade: _Trade) -> str | None:
    """Return what is wrong with a trade, None for a sound one."""
    if not 0 < trade.p < float("inf"):
        return f"price {trade.p} is not a positive number"
    if not 0 < trade.s <= _MAX_SIZE:
        return f"size {trade.s} is not between 1 and {_MAX_SIZE}"
    if not 0 <= trade.i <= _MAX_ID:
        return f"id {trade.i} is not between 0 and {_MAX_ID}"
    try:
        pc.cast(pa.scalar(trade.t), pa.timestamp("ns", "UTC"))
    except pa.ArrowInvalid:
        return f"time {trade.t[:40]!r} is not RFC 3339 with a zone, between 1678 and 2261"
    return None


def _decode_tolerantly(body: bytes) -> tuple[str | None, dict[str, list[Any]]]:
    """Read a page of which something is malformed, without looking into its trades."""
    try:
        content = json.loads(body)  # accepts NaN, for which the strict decoder refuses the page
    except (ValueError, RecursionError) as error:
        msg = f"a body that is not JSON ({str(error)[:_QUOTE]})"
        raise DecodeError(msg) from error
    if not isinstance(content, dict) or not isinstance(content.get("trades"), dict):
        msg = "a body without the object `trades`"
        raise DecodeError(msg)
    token = content.get("next_page_token", 0)
    if not isinstance(token, str | None):
        msg = "a body whose `next_page_token` is missing, or neither text nor null"
        raise DecodeError(msg)
    for symbol, items in content["trades"].items():
        if not isinstance(items, list):
            msg = f"a body whose trades of {symbol[:20]!r} are not a list"
            raise DecodeError(msg)
    return token, content["trades"]


def _sort_out(items: list[Any]) -> tuple[list[_Trade], tuple[str, ...]]:
    """Return the trades that have all fields with their types, and why the others do not."""
    trades, rejected = [], []
    for item in items:
        try:
            trades.append(msgspec.convert(item, _Trade))
        except msgspec.ValidationError as error:
            rejected.append(f"{error}: {json.dumps(item)[:_QUOTE]}")
    return trades, tuple(rejected)
