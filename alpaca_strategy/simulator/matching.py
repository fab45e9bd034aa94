"""How an order meets the quotes: trade now, wait for a later quote, or give up.

A market order takes the far side. What stands there is limited: what is left goes a tick deeper
for twice the shares a moment later, and starts anew when a new quote comes. A limit order that
cannot trade waits in the book and then trades at its own price, no better.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from alpaca_strategy.simulator.behaviour import Engine
from alpaca_strategy.simulator.hours import Hours, next_hours, trading_hours
from alpaca_strategy.simulator.order_rules import tick
from alpaca_strategy.simulator.orders import Order, chance
from alpaca_strategy.simulator.quotes import Quote, Quotes

_SHARE = Decimal("1e-9")
_DEEPEST = 40  # steps into the book, so that sizes stay numbers


@dataclass(frozen=True, slots=True)
class Trade:
    """Shares to execute now."""

    qty: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at a time."""

    until: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Cancel what is left."""


def step(order: Order, now: int, quotes: Quotes, engine: Engine, seed: int) -> Trade | Wait | Drop:
    """Return what happens to a working order at a time."""
    today = trading_hours(now, extended=order.extended_hours)
    start = today.window(extended=order.extended_hours)[0]
    if now < start:
        return Wait(start)
    standing = quotes.standing(order.symbol, now)
    if standing is None or standing[0] < start:  # nothing of this session stands yet
        return _later(order, quotes.next_change(order.symbol, now), today)
    since, quote = standing
    if order.stop_price is not None and not order.triggered:
        reached = quotes.next_beyond(order.symbol, order.side, order.stop_price, now)
        if reached is None or reached > now:
            return _later(order, reached, today)
        order.triggered = True
    if order.seen != since:
        order.seen, order.depth = since, 0
    price = _far(order, quote)
    if not order.allows(price):
        if order.time_in_force in {"ioc", "fok"}:
            return Drop()
        order.resting = True
        cap = order.cap or price
        return _later(order, quotes.next_within(order.symbol, order.side, cap, now), today)
    if order.resting and order.cap is not None:
        price = order.cap.quantize(tick(order.cap))
    return _part(order, quote, price, engine, seed)


def _later(order: Order, at: int | None, today: Hours) -> Wait:
    """Wait until a time on this day, else for the next session."""
    start, end = today.window(extended=order.extended_hours)
    if at is not None and at < end:
        return Wait(max(at, start))
    return Wait(next_hours(today.date).window(extended=order.extended_hours)[0])


def _far(order: Order, quote: Quote) -> Decimal:
    """Return the price on the other side, deeper with every part."""
    price = quote.ask if order.side == "buy" else quote.bid
    return max(price + order.sign * order.depth * tick(price), tick(price))


def _part(order: Order, quote: Quote, price: Decimal, engine: Engine, seed: int) -> Trade | Drop:
    """Return how many shares trade at a price that is allowed."""
    if order.notional is not None and order.target is None:
        order.target = (order.notional / price).quantize(_SHARE, ROUND_DOWN)
    shown = quote.ask_size if order.side == "buy" else quote.bid_size
    standing = max(int(shown * engine.size_factor), 1) << min(order.depth, _DEEPEST)
    qty = min(order.leaves, Decimal(standing))
    if order.time_in_force == "fok":
        return Trade(qty, price) if qty == order.leaves else Drop()
    return Trade(min(qty, _portion(order, engine, seed)), price)


def _portion(order: Order, engine: Engine, seed: int) -> Decimal:
    """Return the part of an order that chance lets through at once."""
    leaves, word = order.leaves, order.client_order_id
    partial = engine.concerns(order.symbol) and (
        chance(seed, word, "partial") < engine.partial_prob
    )
    if not partial:
        return leaves
    if engine.partial_parts:
        left = engine.partial_parts - order.parts
        part = leaves / left if left > 1 else leaves
    else:
        part = leaves if order.parts else leaves * Decimal(repr(chance(seed, word, "portion")))
    unit = Decimal(1) if leaves == leaves.to_integral_value() else _SHARE
    return min(max(part.quantize(unit, ROUND_DOWN), unit), leaves)
