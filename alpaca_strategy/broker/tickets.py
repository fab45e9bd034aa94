"""An order as it goes over the wire: text for numbers, and no price that the venue must refuse."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from alpaca_strategy.domain.orders import MAX_CLIENT_ORDER_ID, OrderType, Side, Ticket

_CENT: Final = Decimal("0.01")
_HUNDREDTH: Final = Decimal("0.0001")
_FINEST_SHARE: Final = Decimal("1e-9")
_MOST: Final = 10**9


def order_body(ticket: Ticket) -> dict[str, str]:
    """Return an order as it is sent: numbers as text, prices at the tick that is allowed.

    A limit is never made worse than it was asked for.

    Raises:
        ValueError: The venue could only refuse it, or would take another order than was meant.
    """
    qty, price = ticket.qty, ticket.limit_price
    if not qty.is_finite() or not 0 < qty < _MOST or qty % _FINEST_SHARE:
        msg = f"{qty} is no number of shares"
        raise ValueError(msg)
    if not 0 < len(ticket.client_order_id) <= MAX_CLIENT_ORDER_ID or not ticket.symbol:
        msg = "an order needs a symbol, and an id that the venue takes"
        raise ValueError(msg)
    if (ticket.type is OrderType.LIMIT) is not (price is not None):
        msg = f"a {ticket.type} order with the limit price {price}"
        raise ValueError(msg)
    body = {
        "client_order_id": ticket.client_order_id,
        "symbol": ticket.symbol,
        "side": ticket.side.value,
        "qty": _plain(qty),
        "type": ticket.type.value,
        "time_in_force": ticket.time_in_force.value,
    }
    return body if price is None else body | {"limit_price": _plain(_at_tick(price, ticket.side))}


def _at_tick(price: Decimal, side: Side) -> Decimal:
    """Return a limit at a price that the venue allows.

    Source:
        SEC rule 612: cents from one dollar on, hundredths of a cent below.
    """
    towards = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
    if not price.is_finite() or not 0 < price < _MOST:
        msg = f"{price} is no price"
        raise ValueError(msg)
    rounded = price.quantize(_CENT if price >= 1 else _HUNDREDTH, towards)
    if rounded <= 0:
        msg = f"{price} is below the smallest price"
        raise ValueError(msg)
    return rounded


def _plain(number: Decimal) -> str:
    """Return a number without an exponent or idle zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
