"""One page of trades: bytes of JSON into an Arrow table, with what is malformed set aside."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from alpaca_strategy.broker.rest import DecodeError
from alpaca_strategy.market.schema import TRADE_SCHEMA

_MAX_SIZE = 2**32 - 1  # the venue's own type
_MAX_PRICE = 1e7  # USD; the dearest listed share costs a tenth of it


class _Trade(msgspec.Struct):
    t: str
    p: float
    s: int
    x: str
    i: int
    z: str
    c: list[str] | None = None
    u: str | None = None


class _Page(msgspec.Struct):
    trades: dict[str, list[_Trade] | None] | None
    next_page_token: str | None = None


@dataclass(frozen=True, slots=True)
class TradePage:
    """One page of one symbol's trades.

    Attributes:
        table: In TRADE_SCHEMA.
        next_token: Of the next page; None on the last.
        rejected: Why trades were set aside, one sentence each.
    """

    table: pa.Table
    next_token: str | None
    rejected: tuple[str, ...] = ()


def decode_page(body: bytes, symbol: str) -> TradePage:
    """Return the trades of a symbol in a response body.

    Raises:
        DecodeError: The body is not the JSON object that the venue documents.
    """
    rejected: tuple[str, ...] = ()
    try:
        page = msgspec.json.decode(body, type=_Page)
        trades = (page.trades or {}).get(symbol) or []
        token = page.next_page_token
        if not all(_is_sound(trade) for trade in trades):
            raise msgspec.ValidationError  # the tolerant way says which, and why
        table = _table(symbol, trades)
    except (msgspec.DecodeError, pa.ArrowInvalid, OverflowError):
        trades, rejected, token = _decode_tolerantly(body, symbol)
        table = _table(symbol, trades)
    return TradePage(table, token, rejected)


def _is_sound(trade: _Trade) -> bool:
    return 0 < trade.p < _MAX_PRICE and 0 < trade.s <= _MAX_SIZE and 0 <= trade.i < 2**63


def _table(symbol: str, trades: list[_Trade]) -> pa.Table:
    count = len(trades)
    columns = [
        pa.DictionaryArray.from_arrays(pa.nulls(0, pa.int32()), pa.array([symbol])).cast(
            pa.string()
        )
        if not count
        else pa.repeat(symbol, count),
        pa.array([t.t for t in trades], pa.string())
        .cast(pa.timestamp("ns", "UTC"))
        .view(pa.int64())
        if count
        else pa.array([], pa.int64()),
        pa.array([t.p for t in trades], pa.float64()),
        pa.array([t.s for t in trades], pa.int64()),
        pa.array([t.x for t in trades], pa.string()),
        pa.array([",".join(t.c) if t.c else "" for t in trades], pa.string()),
        pa.array([t.z for t in trades], pa.string()),
        pa.array([t.i for t in trades], pa.int64()),
        pa.array([t.u for t in trades], pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=TRADE_SCHEMA)


def _decode_tolerantly(
    body: bytes, symbol: str
) -> tuple[list[_Trade], tuple[str, ...], str | None]:
    """Judge trade by trade; slow, and only for pages that hold something malformed."""
    try:
        content = json.loads(body)  # accepts NaN, which the strict decoder refuses as a whole
    except ValueError as error:
        msg = f"a body that is not JSON ({error})"
        raise DecodeError(msg) from error
    if not isinstance(content, dict) or "trades" not in content:
        msg = "a body that is no object with `trades`"
        raise DecodeError(msg)
    token = content.get("next_page_token")
    by_symbol = content["trades"] or {}
    if not isinstance(by_symbol, dict) or not isinstance(token, str | None):
        msg = "`trades` or `next_page_token` of another type than documented"
        raise DecodeError(msg)
    listed = by_symbol.get(symbol) or []
    if not isinstance(listed, list):
        msg = f"trades of {symbol} that are no list"
        raise DecodeError(msg)
    trades, rejected = [], []
    for item in listed:
        fault = _fault(item)
        if fault is None:
            trades.append(msgspec.convert(item, _Trade))
        else:
            rejected.append(f"{fault}: {json.dumps(item)[:200]}")
    return trades, tuple(rejected), token


def _fault(item: Any) -> str | None:
    """Return what is wrong with a trade, None for a sound one."""
    if isinstance(item, dict) and isinstance(item.get("s"), float) and item["s"].is_integer():
        item["s"] = int(item["s"])
    try:
        trade = msgspec.convert(item, _Trade)
    except msgspec.ValidationError as error:
        return str(error)
    try:
        pa.array([trade.t]).cast(pa.timestamp("ns", "UTC"))
    except pa.ArrowInvalid:
        return f"time {trade.t!r} is not RFC 3339"
    if not math.isfinite(trade.p) or not 0 < trade.p < _MAX_PRICE:
        return f"price {trade.p} is not between 0 and {_MAX_PRICE:.0f}"
    if not 0 < trade.s <= _MAX_SIZE:
        return f"size {trade.s} is not between 1 and {_MAX_SIZE}"
    return None if 0 <= trade.i < 2**63 else f"id {trade.i} does not fit 63 bits"
