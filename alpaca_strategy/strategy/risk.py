"""The last gate before the wire: what it denies is not sent, whoever asks.

It judges one order by a snapshot, keeps nothing and never raises: what it cannot make out it
denies. A purchase is an entry, a sale of what the strategy holds reduces; there are no others. The
rules are asked in this order, and the first that denies answers:

| rule | kind | purchases | sales | denied when |
|---|---|---|---|---|
| hold of everything | HOLD | yes | yes | one is in force: kill, no lock, no journal, … |
| sanity | MALFORMED | yes | yes | quantity or limit price is no positive number |
| market | CLOSED | yes | yes | the regular session is not on |
| order rate | RATE | yes | yes | it would be one too many in the minute or the session; latches |
| duplicate | DUPLICATE | yes | yes | the venue has had its id, or the symbol has an open order |
| halt | HALTED | yes | yes | the exchange has halted the symbol |
| never short | OVERSOLD | – | yes | it is of more than the strategy holds, or reduces nothing |
| hold of entries | HOLD | yes | no | one is in force: no data, books differ, … |
| account | ACCOUNT | yes | no | it is not active, or blocked |
| restricted | RESTRICTED | yes | no | a person has said never to buy the symbol |
| asset | ASSET | yes | no | unknown, not tradable, or a fraction of what has none |
| price | PRICE | yes | no | none, too old, or too far from the last close |
| order size | ORDER_SIZE | yes | no | too many shares, or worth too much |
| daily loss | DAILY_LOSS | yes | no | the loss has reached its limit, or is unknown |
| position | POSITION | yes | no | worth too much once every purchase of the symbol is filled |
| exposure | EXPOSURE | yes | no | positions and open purchases are too much for the equity |
| buying power | BUYING_POWER | yes | no | it costs more than may be spent |

A sale is bounded by what is held and by no size: a position that has grown must be sold whole. Nor
has it a collar: one must be able to leave when prices fall. Whether it is tradable the venue says.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeAlias

from alpaca_strategy.domain.orders import OrderType, Side, Ticket
from alpaca_strategy.strategy.exposure import (
    NOTHING,
    InFlight,
    held_usd,
    number,
    positive,
    price_of,
    purchases_usd,
)
from alpaca_strategy.strategy.gate_state import Block, GateState
from alpaca_strategy.strategy.limits import Denial, DenialKind, Limits

__all__ = ["Block", "Denial", "DenialKind", "GateState", "Limits", "check"]

_Rule: TypeAlias = Callable[[Ticket, GateState, Limits], Denial | None]


def check(ticket: Ticket, *, reduces: bool, state: GateState, limits: Limits) -> Denial | None:
    """Return why an order may not be sent, or None.

    Args:
        ticket: The order.
        reduces: It is meant to close what the strategy holds. A purchase never is.
        state: What is the case now.
        limits: Of the session.
    """
    denial = _first(_ALWAYS, ticket, state, limits)
    if denial is not None or (ticket.side is Side.SELL and reduces):
        return denial
    if ticket.side is Side.SELL:
        sentence = f"Selling {ticket.symbol} would close nothing; the strategy is never short."
        return Denial(DenialKind.OVERSOLD, sentence)
    return _first(_ENTRIES, ticket, state, limits)


def _first(
    rules: tuple[_Rule, ...], ticket: Ticket, state: GateState, limits: Limits
) -> Denial | None:
    return next((no for rule in rules if (no := rule(ticket, state, limits)) is not None), None)


def _stopped(_ticket: Ticket, state: GateState, _limits: Limits) -> Denial | None:
    for reason, block in state.holds.items():
        if not block.entries_only:
            return Denial(DenialKind.HOLD, f"Nothing is sent: {reason}, {block.detail}.")
    return None


def _malformed(ticket: Ticket, _state: GateState, _limits: Limits) -> Denial | None:
    if positive(ticket.qty) is None:
        return Denial(DenialKind.MALFORMED, f"{ticket.qty} shares cannot be ordered.")
    limited = ticket.type is OrderType.LIMIT
    if limited and positive(ticket.limit_price) is None:
        return Denial(DenialKind.MALFORMED, f"{ticket.limit_price} is no limit price.")
    if not limited and ticket.limit_price is not None:
        return Denial(DenialKind.MALFORMED, "A market order has no limit price.")
    return None


def _closed(_ticket: Ticket, state: GateState, _limits: Limits) -> Denial | None:
    return None if state.market_open else Denial(DenialKind.CLOSED, "The market is closed.")


def _rate(_ticket: Ticket, state: GateState, limits: Limits) -> Denial | None:
    for sent, most, span in (
        (state.sent_in_minute, limits.max_orders_per_minute, "minute"),
        (state.sent_in_session, limits.max_orders_per_session, "session"),
    ):
        if sent >= most:
            return Denial(DenialKind.RATE, f"{sent} orders were sent in a {span}; {most} may be.")
    return None


def _duplicate(ticket: Ticket, state: GateState, _limits: Limits) -> Denial | None:
    name, symbol = ticket.client_order_id, ticket.symbol
    if name in state.spent_ids:
        return Denial(DenialKind.DUPLICATE, f"The venue has had the order {name} already.")
    for order in state.in_flight:
        itself = order.client_order_id == name
        if itself and (order.symbol, order.side) != (symbol, ticket.side):
            sentence = f"{name} is the id of an order to {order.side.value} {order.symbol}."
            return Denial(DenialKind.DUPLICATE, sentence)
        if order.symbol == symbol and not itself:
            sentence = (
                f"An order to {order.side.value} {order.remaining} {symbol} is open, and a symbol "
                f"has one at a time: {order.client_order_id}."
            )
            return Denial(DenialKind.DUPLICATE, sentence)
    return None


def _halted(ticket: Ticket, state: GateState, _limits: Limits) -> Denial | None:
    why = state.halted.get(ticket.symbol)
    return None if why is None else Denial(DenialKind.HALTED, f"{ticket.symbol} is halted: {why}.")


def _oversold(ticket: Ticket, state: GateState, _limits: Limits) -> Denial | None:
    if ticket.side is Side.BUY:
        return None
    held = number(state.held.get(ticket.symbol, NOTHING))
    if held is not None and ticket.qty <= held:
        return None
    has = "an unknown number" if held is None else held
    sentence = f"{ticket.qty} {ticket.symbol} are to be sold, and the strategy holds {has}."
    return Denial(DenialKind.OVERSOLD, sentence)


def _held_back(_ticket: Ticket, state: GateState, _limits: Limits) -> Denial | None:
    for reason, block in state.holds.items():
        return Denial(DenialKind.HOLD, f"Nothing is bought: {reason}, {block.detail}.")
    return None


def _objection(_ticket: Ticket, state: GateState, _limits: Limits) -> Denial | None:
    if state.objection is None:
        return None
    return Denial(DenialKind.ACCOUNT, f"Nothing is bought: {state.objection}.")


def _restricted(ticket: Ticket, _state: GateState, limits: Limits) -> Denial | None:
    if ticket.symbol not in limits.restricted:
        return None
    return Denial(DenialKind.RESTRICTED, f"{ticket.symbol} is restricted, and never bought.")


def _asset(ticket: Ticket, state: GateState, _limits: Limits) -> Denial | None:
    asset = state.assets.get(ticket.symbol)
    if asset is None or not (asset.tradable and asset.active):
        return Denial(DenialKind.ASSET, f"The venue does not say that {ticket.symbol} is tradable.")
    if not asset.fractionable and ticket.qty != ticket.qty.to_integral_value():
        sentence = f"{ticket.qty} {ticket.symbol} is no whole number, and it has no fractions."
        return Denial(DenialKind.ASSET, sentence)
    return None


def _price(ticket: Ticket, state: GateState, limits: Limits) -> Denial | None:
    symbol, found = ticket.symbol, state.prices.get(ticket.symbol)
    last = state.last(symbol)
    close = None if found is None else positive(found.close)
    if found is None or last is None or close is None:
        return Denial(DenialKind.PRICE, f"{symbol} has no last price, or no last close.")
    age_s = number(Decimal(found.age_s))
    if age_s is None or age_s > limits.max_price_age_s:
        sentence = (
            f"The last price of {symbol} is {found.age_s:.1f} s old, and may be "
            f"{limits.max_price_age_s} s."
        )
        return Denial(DenialKind.PRICE, sentence)
    paid = last if ticket.limit_price is None else ticket.limit_price
    if abs(paid - close) > limits.price_collar * close:
        sentence = (
            f"{paid} USD for {symbol} is further than {limits.price_collar:%} from its last close "
            f"of {close} USD."
        )
        return Denial(DenialKind.PRICE, sentence)
    return None


def _size(ticket: Ticket, state: GateState, limits: Limits) -> Denial | None:
    if ticket.qty > limits.max_order_shares:
        sentence = f"{ticket.qty} shares are more than the {limits.max_order_shares} of an order."
        return Denial(DenialKind.ORDER_SIZE, sentence)
    worth = _worth(ticket, state)
    if worth is None or worth > limits.max_order_usd:
        sentence = _too_much("The order", worth, limits.max_order_usd)
        return Denial(DenialKind.ORDER_SIZE, sentence)
    return None


def _loss(_ticket: Ticket, state: GateState, limits: Limits) -> Denial | None:
    equity, before = number(state.equity), positive(state.last_equity)
    if equity is None or before is None:
        sentence = "The equity, or that at the last close, is not known."
        return Denial(DenialKind.DAILY_LOSS, sentence)
    if before - equity < limits.max_daily_loss * before:
        return None
    sentence = (
        f"{before - equity:.2f} USD are lost since the last close, and buying ends at "
        f"{limits.max_daily_loss * before:.2f} USD."
    )
    return Denial(DenialKind.DAILY_LOSS, sentence)


def _position(ticket: Ticket, state: GateState, limits: Limits) -> Denial | None:
    symbol = ticket.symbol
    has = [state.positions[symbol]] if symbol in state.positions else []
    orders = [one for one in _others(ticket, state) if one.symbol == symbol]
    after = _sum(held_usd(has), purchases_usd(orders, state.prices), _worth(ticket, state))
    if after is not None and after <= limits.max_position_usd:
        return None
    sentence = _too_much(f"The position in {symbol} with the order", after, limits.max_position_usd)
    return Denial(DenialKind.POSITION, sentence)


def _exposure(ticket: Ticket, state: GateState, limits: Limits) -> Denial | None:
    orders = purchases_usd(_others(ticket, state), state.prices)
    after = _sum(held_usd(state.positions.values()), orders, _worth(ticket, state))
    most = limits.max_gross_exposure * (positive(state.equity) or NOTHING)
    if after is not None and after <= most:
        return None
    sentence = _too_much("Everything with the order", after, most)
    return Denial(DenialKind.EXPOSURE, sentence)


def _buying_power(ticket: Ticket, state: GateState, _limits: Limits) -> Denial | None:
    worth, power = _worth(ticket, state), number(state.buying_power)
    if worth is not None and power is not None and worth <= power:
        return None
    may = "is not known" if power is None else f"is {power:.2f} USD"
    cost = "an unknown amount" if worth is None else f"{worth:.2f} USD"
    return Denial(DenialKind.BUYING_POWER, f"The order costs {cost}; the buying power {may}.")


def _worth(ticket: Ticket, state: GateState) -> Decimal | None:
    price = price_of(ticket, state.last(ticket.symbol))
    return None if price is None else ticket.qty * price


def _others(ticket: Ticket, state: GateState) -> list[InFlight]:
    return [one for one in state.in_flight if one.client_order_id != ticket.client_order_id]


def _sum(*parts: Decimal | None) -> Decimal | None:
    known = [one for one in parts if one is not None]
    return sum(known, NOTHING) if len(known) == len(parts) else None


def _too_much(what: str, worth: Decimal | None, most: Decimal) -> str:
    if worth is None:
        return f"{what} is worth an unknown amount: a price is missing."
    return f"{what} is worth {worth:.2f} USD, and may be worth {most:.2f} USD."


_ALWAYS: Final[tuple[_Rule, ...]] = (
    _stopped, _malformed, _closed, _rate, _duplicate, _halted, _oversold,
)  # fmt: skip
_ENTRIES: Final[tuple[_Rule, ...]] = (
    _held_back, _objection, _restricted, _asset, _price, _size, _loss, _position, _exposure,
    _buying_power,
)  # fmt: skip
