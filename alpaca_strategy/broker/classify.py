"""What an answer to an order means: done, refused, or nobody knows.

A refusal must be certain: a 4xx in the venue's own words. Everything else that is no well-formed
answer leaves open whether the order was taken: a 5xx, a gateway's page, half an object, an order
that is not the one that was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from alpaca_strategy.broker.answers import error_body, quoted
from alpaca_strategy.broker.entities import decode_order
from alpaca_strategy.broker.rest import DecodeError
from alpaca_strategy.domain.orders import Ticket, VenueOrder
from alpaca_strategy.domain.outcomes import Done, Outcome, Refusal, Refused, Unknown

_DUPLICATE: Final = 40010001  # and other things that are wrong with a request
_NOT_FOUND: Final = 40410000  # an order, or the page
_DAY_TRADING: Final = 40310100
#: A gateway's as well as the venue's, and none of them says that nothing happened.
_UNCERTAIN: Final = frozenset({408, 409, 425, 499})
#: A refusal does not describe an order; what does was taken in some way.
_OF_ORDERS: Final = frozenset({"client_order_id", "submitted_at", "filled_qty"})


def submitted(ticket: Ticket, status: int, body: bytes) -> Outcome[VenueOrder]:
    """Return what became of a new order.

    Args:
        ticket: As it was sent.
        status: HTTP status of the answer.
        body: The answer.
    """
    if status == 200:
        return _taken(ticket, body)
    no = _words(status, body)
    if no is None:
        return Unknown(_unclear(status, body))
    if _OF_ORDERS & no.keys():
        return Unknown(f"HTTP {status}, and yet an order in the answer")
    return _refused(_why_not_taken(status, no), status, no)


def cancelled(status: int, body: bytes) -> Outcome[None]:
    """Return what became of the wish to cancel an order."""
    if status == 204:
        return Done(None)
    no = _words(status, body)
    if no is None or (status == 404 and not is_absent(status, body)):
        return Unknown(_unclear(status, body))
    if status == 422 and no.get("code") != _DUPLICATE:
        return _refused(Refusal.NOT_CANCELABLE, status, no)
    return _refused(_common(status, no), status, no)


def is_absent(status: int, body: bytes) -> bool:
    """Tell whether the venue definitely says that it has no such thing.

    A page that does not exist has the same status, and at Alpaca the same code.
    """
    no = _words(status, body)
    if status != 404 or no is None:
        return False
    text = str(no.get("message", "")).lower()
    if any(word in text for word in ("endpoint", "route", "page")):
        return False
    return no.get("code") == _NOT_FOUND or "order not found" in text


def _taken(ticket: Ticket, body: bytes) -> Outcome[VenueOrder]:
    try:
        order = decode_order(body)
    except DecodeError as error:
        return Unknown(f"HTTP 200 with {error}")
    for name in ("client_order_id", "symbol", "side", "qty"):
        if getattr(order, name) != getattr(ticket, name):
            return Unknown(f"HTTP 200 with an order of another {name}")
    return Done(order)


def _words(status: int, body: bytes) -> Mapping[str, Any] | None:
    """Return a refusal's object, or None where the answer is no certain refusal."""
    if not 400 <= status < 500 or status in _UNCERTAIN:
        return None
    no = error_body(body.decode(errors="replace"))
    if no is None:
        return None
    code, message = no.get("code"), no.get("message")
    has_code = isinstance(code, int) and not isinstance(code, bool)
    return no if has_code or (isinstance(message, str) and message.strip()) else None


def _unclear(status: int, body: bytes) -> str:
    if body.lstrip()[:1] == b"<":
        return f"HTTP {status} with a web page"
    return f"HTTP {status}" if body else f"HTTP {status} without a word"


def _refused(why: Refusal, status: int, no: Mapping[str, Any]) -> Refused:
    code = no.get("code")
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    return Refused(why, quoted(no.get("message", "")), status, number)


def _common(status: int, no: Mapping[str, Any]) -> Refusal:
    """Return what a status alone says."""
    text = str(no.get("message", "")).lower()
    if status == 403 and text.startswith(("forbidden", "unauthorized")):
        return Refusal.CREDENTIALS  # other 403s are about the order
    return {
        401: Refusal.CREDENTIALS, 404: Refusal.NOT_FOUND, 429: Refusal.RATE_LIMIT,
    }.get(status, Refusal.OTHER)  # fmt: skip


def _why_not_taken(status: int, no: Mapping[str, Any]) -> Refusal:
    if status in {400, 403, 422}:
        text = str(no.get("message", "")).lower()
        for why, fits in _REASONS:
            if fits(no, text):
                return why
    return _common(status, no)


def _is_duplicate(no: Mapping[str, Any], text: str) -> bool:
    """Tell a known id from the other things that have its code, such as a missing field.

    Without a word of explanation it counts as known: that is looked up, and nothing is lost.
    """
    if "client_order_id" in text or "client order id" in text:
        return any(word in text for word in ("unique", "duplicate", "exist", "already"))
    return no.get("code") == _DUPLICATE and (not text.strip() or "unique" in text)


def _has_any(*words: str) -> Callable[[Mapping[str, Any], str], bool]:
    return lambda _, text: any(word in text for word in words)


#: The first that fits counts.
_REASONS: Final[tuple[tuple[Refusal, Callable[[Mapping[str, Any], str], bool]], ...]] = (
    (Refusal.DUPLICATE_ID, _is_duplicate),
    (Refusal.WASH_TRADE, _has_any("wash trade")),
    (Refusal.BUYING_POWER, lambda no, text: "buying power" in text or "buying_power" in no),
    (
        Refusal.SHARES_HELD,
        lambda no, text: "insufficient qty" in text or "held_for_orders" in no,
    ),
    (
        Refusal.DAY_TRADING,
        lambda no, text: no.get("code") == _DAY_TRADING or "day trad" in text,
    ),
    (Refusal.NOT_SHORTABLE, _has_any("sold short", "allowed to short", "short sale", "shortable")),
)
