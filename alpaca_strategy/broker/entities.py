"""The trading host's objects: JSON into words of the domain, without floats and without guesses.

What we do not need may be missing, new, or of a new kind. What we need and cannot read makes the
whole answer unusable: a list without one of its orders would be a lie about money.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from alpaca_strategy.broker.fields import (
    decoded,
    maybe,
    moment,
    price,
    shares,
    some_shares,
    some_usd,
    struct,
    text,
    usd,
    wrong,
)
from alpaca_strategy.domain.orders import Fill, OrderStatus, Side, VenueOrder
from alpaca_strategy.domain.portfolio import Account, Asset, Position, VenueClock

T = TypeVar("T")

#: The venue's ids; they become parts of addresses, so nothing else may stand in them.
ORDER_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_SIDES = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}


class _Order(msgspec.Struct):
    id: str
    client_order_id: str
    symbol: str
    side: str
    status: str
    filled_qty: Decimal
    qty: Decimal | None = None
    filled_avg_price: Decimal | None = None
    limit_price: Decimal | None = None
    submitted_at: datetime | None = None
    updated_at: datetime | None = None
    type: str | None = None


class _Position(msgspec.Struct):
    symbol: str
    qty: Decimal
    avg_entry_price: Decimal
    side: str | None = None
    current_price: Decimal | None = None
    market_value: Decimal | None = None


class _Account(msgspec.Struct):
    account_number: str
    status: str
    equity: Decimal
    cash: Decimal
    buying_power: Decimal
    last_equity: Decimal | None = None
    trading_blocked: bool | None = None
    account_blocked: bool | None = None
    trade_suspended_by_user: bool | None = None
    shorting_enabled: bool | None = None


class _Clock(msgspec.Struct):
    timestamp: datetime
    is_open: bool
    next_open: datetime
    next_close: datetime


class _Asset(msgspec.Struct):
    symbol: str
    status: str
    tradable: bool
    fractionable: bool = False


class _Fill(msgspec.Struct):
    id: str
    order_id: str
    symbol: str
    side: str
    qty: Decimal
    cum_qty: Decimal
    price: Decimal
    transaction_time: datetime


def decode_order(body: bytes) -> VenueOrder:
    """Return the order in a body.

    Raises:
        DecodeError: It is none.
    """
    return order(decoded(body, dict[str, Any]))


def decode_orders(body: bytes) -> list[VenueOrder]:
    """Return the orders in a body; likewise the others.

    Raises:
        DecodeError: One of them is none.
    """
    return _list(body, order)


def decode_positions(body: bytes) -> list[Position]:
    """Return the positions in a body, without those of no shares; raises DecodeError."""
    return [found for found in _list(body, _position) if found.qty]


def decode_account(body: bytes) -> Account:
    """Return the account in a body; raises DecodeError."""
    found = struct(decoded(body, dict[str, Any]), _Account)
    return Account(
        number=text(found.account_number, "account_number"),
        status=text(found.status, "status"),
        equity=usd(found.equity, "equity"),
        last_equity=maybe(found.last_equity, "last_equity", usd),
        cash=usd(found.cash, "cash"),
        buying_power=usd(found.buying_power, "buying_power"),
        trading_blocked=found.trading_blocked,
        account_blocked=found.account_blocked,
        trade_suspended_by_user=found.trade_suspended_by_user,
        shorting_enabled=found.shorting_enabled,
    )


def decode_clock(body: bytes) -> VenueClock:
    """Return the clock in a body; raises DecodeError."""
    found = struct(decoded(body, dict[str, Any]), _Clock)
    return VenueClock(
        now=moment(found.timestamp, "timestamp"),
        is_open=found.is_open,
        next_open=moment(found.next_open, "next_open"),
        next_close=moment(found.next_close, "next_close"),
    )


def decode_fills(body: bytes) -> list[tuple[str, Fill]]:
    """Return the executions in a body, each with its activity's id; raises DecodeError."""
    return _list(body, _fill)


def decode_assets(body: bytes, symbols: Collection[str]) -> dict[str, Asset]:
    """Return some symbols' assets of a body; raises DecodeError.

    The list holds thousands; what is wrong with those that nobody asked about is not our business.
    """
    rows = decoded(body, list[dict[str, Any]])
    wanted = [row for row in rows if str(row.get("symbol")) in symbols]
    return {found.symbol: found for found in map(_asset, wanted)}


def order(row: Mapping[str, Any]) -> VenueOrder:
    """Return an order that the venue describes in one of its objects.

    Numbers must be text, or Decimal as `msgspec` reads them.

    Raises:
        DecodeError: Something that we need is missing or nonsense.
    """
    found = struct(row, _Order)
    if not ORDER_ID.fullmatch(found.id):
        raise wrong("id", found.id)
    qty = maybe(found.qty, "qty", some_shares)
    filled = shares(found.filled_qty, "filled_qty")
    if filled < 0 or (qty is not None and filled > qty):
        raise wrong("filled_qty", f"{filled} of {qty}")
    return VenueOrder(
        id=found.id,
        client_order_id=text(found.client_order_id, "client_order_id"),
        symbol=text(found.symbol, "symbol"),
        side=_side(found.side),
        qty=qty,
        filled_qty=filled,
        filled_avg_price=maybe(found.filled_avg_price, "filled_avg_price", price),
        status=OrderStatus.read(found.status),
        status_text=text(found.status, "status"),
        submitted_at=maybe(found.submitted_at, "submitted_at", moment),
        updated_at=maybe(found.updated_at, "updated_at", moment),
        type=text(found.type or "", "type", empty=True),
        limit_price=maybe(found.limit_price, "limit_price", price),
    )


def _position(row: Mapping[str, Any]) -> Position:
    found = struct(row, _Position)
    qty = shares(found.qty, "qty")
    value = maybe(found.market_value, "market_value", usd)
    if found.side == "short" and qty > 0:  # both ways of writing a short position occur
        qty, value = -qty, None if value is None else -abs(value)
    if found.side == "long" and qty < 0:
        raise wrong("qty", f"{qty} {found.side}")
    return Position(
        symbol=text(found.symbol, "symbol"),
        qty=qty,
        avg_entry_price=price(found.avg_entry_price, "avg_entry_price"),
        current_price=maybe(found.current_price, "current_price", price),
        market_value=value,
    )


def _asset(row: Mapping[str, Any]) -> Asset:
    found = struct(row, _Asset)
    return Asset(found.symbol, found.tradable, found.fractionable, found.status == "active")


def _fill(row: Mapping[str, Any]) -> tuple[str, Fill]:
    found = struct(row, _Fill)
    qty, total = some_shares(found.qty, "qty"), some_shares(found.cum_qty, "cum_qty")
    if qty > total:
        raise wrong("cum_qty", f"{total}, less than qty {qty}")
    activity = text(found.id, "id")
    return activity, Fill(
        order_id=text(found.order_id, "order_id"),
        cum_qty=total,
        symbol=text(found.symbol, "symbol"),
        side=_side(found.side),
        qty=qty,
        price=some_usd(found.price, "price"),
        at=moment(found.transaction_time, "transaction_time"),
        execution_id=activity,
    )


def _list(body: bytes, read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    return [read(row) for row in decoded(body, list[dict[str, Any]])]


def _side(value: str) -> Side:
    found = _SIDES.get(value)
    if found is None:
        raise wrong("side", value)
    return found
