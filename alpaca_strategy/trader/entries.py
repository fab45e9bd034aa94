"""One of our orders as far as it is known, and since when what it moved is held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from alpaca_strategy.domain.journal import Intent, StateChange
from alpaca_strategy.domain.orders import IntentState, VenueOrder

_NOTHING: Final = Decimal(0)


@dataclass(slots=True)
class Reached:
    """The quantities that an order is known to have reached, and when.

    Attributes:
        before: What it had reached when it was taken over from the journal.
        times: By quantity, those beyond that.
    """

    before: Decimal = _NOTHING
    times: dict[Decimal, datetime] = field(default_factory=dict)

    def note(self, cum_qty: Decimal, at: datetime, *, exactly: bool) -> None:
        """Note a quantity; the time of an execution is exact, that of a snapshot is not."""
        if cum_qty > self.before and (exactly or cum_qty not in self.times):
            self.times[cum_qty] = at

    def steps(self, sign: int) -> list[tuple[datetime, Decimal]]:
        """Return the signed quantities by which it moved the position, and when."""
        found, last = [], self.before
        for cum_qty, at in sorted(self.times.items()):
            found.append((at, sign * (cum_qty - last)))
            last = cum_qty
        return found


@dataclass(slots=True)
class Entry:
    """One of our orders, as far as it is known.

    Attributes:
        intent: What we meant.
        state: How far it has come.
        order_id: The venue's, once known.
        status: The venue's word.
        filled_qty: Shares executed.
        filled_avg_price: Their mean price in USD; None while it is not known of all of them.
        sent_at: When it was about to leave, UTC; None before.
        sendings: How often it was about to leave.
        reached: When which quantity was executed.
    """

    intent: Intent
    state: IntentState = IntentState.PENDING
    order_id: str | None = None
    status: str | None = None
    filled_qty: Decimal = _NOTHING
    filled_avg_price: Decimal | None = None
    sent_at: datetime | None = None
    sendings: int = 0
    reached: Reached = field(default_factory=Reached)

    @property
    def client_order_id(self) -> str:
        """The name that we gave it."""
        return self.intent.ticket.client_order_id

    @property
    def remaining(self) -> Decimal:
        """Shares that may still be executed."""
        if self.state.is_final:
            return _NOTHING
        return max(self.intent.ticket.qty - self.filled_qty, _NOTHING)

    def step(self, at: datetime, detail: str = "") -> StateChange:
        """Return the entry as a step for the journal."""
        return StateChange(
            client_order_id=self.client_order_id,
            state=self.state,
            at=at,
            order_id=self.order_id,
            status=self.status,
            filled_qty=self.filled_qty,
            filled_avg_price=self.filled_avg_price,
            detail=detail,
        )

    def known(self) -> tuple[object, ...]:
        """Return what is worth writing down when it changes."""
        return self.state, self.order_id, self.filled_qty, self.filled_avg_price

    def may_be(self, order: VenueOrder) -> bool:
        """Return whether an order of the venue may be the one that we sent."""
        ticket = self.intent.ticket
        same = (order.symbol, order.side) == (ticket.symbol, ticket.side)
        return same and self.order_id in {None, order.id}


def entered_at(
    qty: Decimal, since: datetime | None, moves: Iterable[tuple[datetime, Decimal]]
) -> datetime | None:
    """Return when a position was entered; None where nothing is held.

    It is told by the times of what moved it, whenever that was heard of.

    Args:
        qty: Held before the moves.
        since: When that was entered.
        moves: Signed quantities and when they came, in any order. At the same moment sales come
            first, as in the journal's own fold.
    """
    for at, moved in sorted(moves):
        after = qty + moved
        if after and _sign(after) != _sign(qty):
            since = at
        qty = after
    return since if qty else None


def _sign(qty: Decimal) -> int:
    return (qty > 0) - (qty < 0)
