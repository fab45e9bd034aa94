"""Words for orders: what we intend, what the venue says, and how the one follows the other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

#: The venue takes client order ids up to so many characters.
MAX_CLIENT_ORDER_ID: Final = 128


class Side(StrEnum):
    """Whether shares are bought or sold."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """1 to buy, -1 to sell."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """The two kinds of orders that are sent."""

    MARKET = "market"
    LIMIT = "limit"  # marketable, with a collar


class TimeInForce(StrEnum):
    """How long an order lives."""

    DAY = "day"
    IOC = "ioc"


class OrderStatus(StrEnum):
    """What the venue says of an order; OTHER is a word that we do not know."""

    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    DONE_FOR_DAY = "done_for_day"  # may still be filled or cancelled: not an end
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    PENDING_REVIEW = "pending_review"
    ACCEPTED = "accepted"
    PENDING_NEW = "pending_new"
    ACCEPTED_FOR_BIDDING = "accepted_for_bidding"
    STOPPED = "stopped"
    REJECTED = "rejected"
    SUSPENDED = "suspended"
    CALCULATED = "calculated"  # filled, the settlement is still worked out: not an end
    HELD = "held"
    OTHER = "other"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to the order any more."""
        return self in _FINAL

    @classmethod
    def read(cls, text: str) -> OrderStatus:
        """Return the status that a word of the venue means; a new word is no error."""
        try:
            return cls(text)
        except ValueError:
            return cls.OTHER


_FINAL = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REPLACED,
     OrderStatus.REJECTED}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order as it is sent.

    Attributes:
        client_order_id: Ours; see `client_order_id`.
        symbol: The symbol.
        side: Buy or sell.
        qty: Shares, positive.
        type: Market or limit.
        limit_price: In USD; None for a market order.
        time_in_force: How long it lives.
    """

    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.DAY


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as the venue describes it.

    Attributes:
        id: The venue's.
        client_order_id: Ours, or another's.
        symbol: The symbol.
        side: Buy or sell.
        qty: Shares ordered; None where the order is for an amount of money.
        filled_qty: Shares executed so far.
        filled_avg_price: Their mean price in USD; None before the first.
        status: The status.
        status_text: The venue's own word for it.
        submitted_at: When the venue took it, UTC.
        updated_at: When it changed last, UTC.
        type: The venue's word, such as market.
        limit_price: In USD, if it has one.
    """

    id: str
    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal | None
    filled_qty: Decimal
    filled_avg_price: Decimal | None
    status: OrderStatus
    status_text: str
    submitted_at: datetime | None
    updated_at: datetime | None
    type: str = "market"
    limit_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution.

    The pair of order and cumulative quantity names it: the stream's execution ids and the
    activities' ids differ.

    Attributes:
        order_id: The venue's id of the order.
        cum_qty: Shares of the order executed up to and including it.
        symbol: The symbol.
        side: Buy or sell.
        qty: Shares, positive.
        price: In USD.
        at: When, UTC.
        execution_id: The venue's, where it gave one.
    """

    order_id: str
    cum_qty: Decimal
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    at: datetime
    execution_id: str | None = None


@dataclass(frozen=True, slots=True)
class TradeUpdate:
    """What the trading stream says.

    Attributes:
        event: The venue's word, such as fill; an unknown one asks for a reconciliation.
        order: The order after it.
        fill: The execution, where the event is one.
        position_qty: Shares of the symbol that the account holds after it, signed, where told.
        at: When it happened, UTC.
    """

    event: str
    order: VenueOrder
    fill: Fill | None
    position_qty: Decimal | None
    at: datetime | None


class IntentState(StrEnum):
    """How far an intent has come."""

    PENDING = "pending"  # committed to the journal, not sent
    SENDING = "sending"  # a request may have left
    UNKNOWN = "unknown"  # it left, and nobody knows what became of it
    OPEN = "open"  # the venue has the order
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    ABANDONED = "abandoned"  # never reached the venue, and never will by our doing

    @property
    def is_final(self) -> bool:
        """Whether nothing is awaited any more."""
        return self not in _AWAITED


_AWAITED = frozenset(
    {IntentState.PENDING, IntentState.SENDING, IntentState.UNKNOWN, IntentState.OPEN}
)


class IntentEvent(StrEnum):
    """What happens to an intent."""

    SEND = "send"  # the request is about to leave
    ACK = "ack"  # the venue shows the order, alive
    REFUSE = "refuse"  # the venue says definitely no
    LOSE = "lose"  # no definite answer came
    ABANDON = "abandon"  # not sent, or not to be found at the venue, and too late to send again
    FILL = "fill"
    CANCEL = "cancel"
    EXPIRE = "expire"


S, E = IntentState, IntentEvent
#: Every change that is lawful. What is missing changes nothing: an end absorbs what comes late.
TRANSITIONS: Final[dict[tuple[IntentState, IntentEvent], IntentState]] = {
    (S.PENDING, E.SEND): S.SENDING,
    (S.PENDING, E.ABANDON): S.ABANDONED,
    (S.SENDING, E.ABANDON): S.ABANDONED,  # held back at the last moment: it certainly did not leave
    (S.SENDING, E.LOSE): S.UNKNOWN,
    (S.UNKNOWN, E.SEND): S.SENDING,  # the same id again: the venue takes it once
    (S.UNKNOWN, E.ABANDON): S.ABANDONED,
    **{
        (state, event): after
        for state in (S.SENDING, S.UNKNOWN)
        for event, after in ((E.ACK, S.OPEN), (E.REFUSE, S.REJECTED))
    },
    # The stream may tell of a fill before the POST is answered, or the answer may be lost.
    **{
        (state, event): after
        for state in (S.SENDING, S.UNKNOWN, S.OPEN)
        for event, after in ((E.FILL, S.FILLED), (E.CANCEL, S.CANCELED), (E.EXPIRE, S.EXPIRED))
    },
    (S.OPEN, E.REFUSE): S.REJECTED,  # rejected after it was accepted
    # What we gave up may turn up after all: a fact at the venue is stronger than our belief.
    **{
        (S.ABANDONED, event): after
        for event, after in (
            (E.ACK, S.OPEN), (E.FILL, S.FILLED), (E.CANCEL, S.CANCELED), (E.EXPIRE, S.EXPIRED),
        )
    },
}  # fmt: skip
del S, E


def advance(state: IntentState, event: IntentEvent) -> IntentState:
    """Return the state after an event; one that does not fit changes nothing."""
    return TRANSITIONS.get((state, event), state)


def event_of(status: OrderStatus) -> IntentEvent:
    """Return what the venue's status of an order means to its intent."""
    return {
        OrderStatus.FILLED: IntentEvent.FILL,
        OrderStatus.CANCELED: IntentEvent.CANCEL,
        OrderStatus.REPLACED: IntentEvent.CANCEL,  # by a person: the new order is not ours
        OrderStatus.EXPIRED: IntentEvent.EXPIRE,
        OrderStatus.REJECTED: IntentEvent.REFUSE,
    }.get(status, IntentEvent.ACK)


def client_order_id(
    strategy: str, session: date, minute: int, symbol: str, side: Side, *, attempt: int = 0
) -> str:
    """Return the id of an order; two traders that decide the same give it the same id.

    No quantity, target or process is in it: those change, and the venue's refusal of an id that it
    knows is the last fence against sending twice.

    Raises:
        ValueError: It would be too long for the venue.
    """
    text = f"{strategy}-{session:%Y%m%d}-{minute:03d}-{side.value[0]}{attempt}-{symbol}"
    if len(text) > MAX_CLIENT_ORDER_ID:
        msg = f"The client order id {text!r} has more than {MAX_CLIENT_ORDER_ID} characters."
        raise ValueError(msg)
    return text
