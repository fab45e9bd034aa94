"""What an account holds and may come to hold, in USD; the unknown is None, never zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Final

from alpaca_strategy.domain.orders import OrderType, Side, Ticket
from alpaca_strategy.domain.portfolio import Position

NOTHING: Final = Decimal(0)
#: Nothing that is traded here comes near it; greater numbers are nonsense, and would overflow.
_ABSURD: Final = Decimal(10) ** 15
_WHOLE: Final = Decimal(1)
_FRACTION: Final = Decimal("0.000001")  # as `strategy.sizing` rounds


@dataclass(frozen=True, slots=True)
class Holding:
    """Shares of one symbol that the account holds, negative when short, and their price in USD."""

    qty: Decimal
    price: Decimal | None


@dataclass(frozen=True, slots=True)
class InFlight:
    """An order of the account that may still be filled.

    Attributes:
        client_order_id: Its sender's.
        symbol: The symbol.
        side: Buy or sell.
        remaining: Shares not yet filled.
        price: What a share may cost: its limit, or the price at which it was decided.
    """

    client_order_id: str
    symbol: str
    side: Side
    remaining: Decimal
    price: Decimal | None


@dataclass(frozen=True, slots=True)
class LastPrice:
    """What a symbol costs.

    Attributes:
        price: Of the last trade in USD; None without one.
        age_s: Seconds since then.
        close: Of its last bar in USD; None without one.
    """

    price: Decimal | None
    age_s: float
    close: Decimal | None


def number(value: Decimal | None) -> Decimal | None:
    """Return a value that can be reckoned with, or None."""
    if value is None or not value.is_finite() or abs(value) > _ABSURD:
        return None
    return value


def positive(value: Decimal | None) -> Decimal | None:
    """Return a value that is a positive number, or None."""
    known = number(value)
    return known if known is not None and known > 0 else None


def dearest(*prices: Decimal | None) -> Decimal | None:
    """Return the highest of the known prices, or None."""
    return max((one for one in map(positive, prices) if one is not None), default=None)


def price_of(ticket: Ticket, last: Decimal | None) -> Decimal | None:
    """Return what a share of a purchase may cost, and what it is worth then, or None.

    A limit above the last price may be paid; one below it is paid for shares that are worth more.
    """
    limit = ticket.limit_price if ticket.type is OrderType.LIMIT else None
    return dearest(limit, last)


def purchases_usd(orders: Iterable[InFlight], prices: Mapping[str, LastPrice]) -> Decimal | None:
    """Return what open purchases may come to, all of them filled; None where one has no price."""
    total = NOTHING
    for order in orders:
        if order.side is Side.SELL:
            continue  # credited once it is filled, not before
        last = prices.get(order.symbol)
        price = dearest(order.price, None if last is None else last.price)
        remaining = number(order.remaining)
        if price is None or remaining is None:
            return None
        total += max(remaining, NOTHING) * price
    return total


def held_usd(positions: Iterable[Holding]) -> Decimal | None:
    """Return what positions are worth, short ones too; None where one has no price."""
    total = NOTHING
    for one in positions:
        qty, price = number(one.qty), positive(one.price)
        if qty == 0:
            continue
        if qty is None or price is None:
            return None
        total += abs(qty) * price
    return total


def holdings(
    positions: Mapping[str, Position],
    held: Mapping[str, Decimal],
    foreign: Mapping[str, Decimal],
    prices: Mapping[str, LastPrice],
) -> dict[str, Holding]:
    """Return what the account holds now.

    What the venue listed is older than the newest fills; what the strategy holds and what is not
    its own together are not.

    Args:
        positions: As the venue listed them; read for their prices.
        held: What the strategy holds, by symbol.
        foreign: What else the account holds, by symbol.
        prices: The newest, by symbol.
    """
    found = {}
    for symbol in held.keys() | foreign.keys():
        last, listed = prices.get(symbol), positions.get(symbol)
        price = None if last is None else positive(last.price)
        if price is None and listed is not None:
            price = positive(listed.current_price) or positive(listed.avg_entry_price)
        qty = held.get(symbol, NOTHING) + foreign.get(symbol, NOTHING)
        found[symbol] = Holding(qty, price)
    return found


def affordable_qty(
    qty: Decimal, buying_power: Decimal, price: Decimal, *, whole: bool
) -> Decimal:  # fmt: skip
    """Return as many of the wanted shares as may be paid, rounded down; 0 where none or unknown.

    Args:
        qty: Wanted.
        buying_power: In USD.
        price: In USD.
        whole: Whether only whole shares are bought.
    """
    wanted, money, each = positive(qty), positive(buying_power), positive(price)
    if wanted is None or money is None or each is None:
        return NOTHING
    step = _WHOLE if whole else _FRACTION
    if wanted * each <= money:
        return wanted
    return min(wanted, money / each).quantize(step, ROUND_DOWN)
