"""Our orders and what the strategy holds, folded from whatever is heard, in whatever order.

What makes the fold independent of duplicates, order and loss:

- Of an order's executed quantity, the largest that anybody told is true: it never falls. Holdings
  are the sum of these, of what was taken over from the journal, and of adjustments.
- The mean price is the one that was told with that quantity, or not known.
- An end absorbs what comes late (`domain.orders.TRANSITIONS`).
- An execution is named by its order and the quantity executed up to it; it is news once.
- What is told of an order that is not ours, or contradicts what we sent, changes nothing; whether
  a name is ours `knows` tells.

Holdings may be negative for a moment, where a sale is heard of before the purchase.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from alpaca_strategy.domain.journal import Adjustment, Intent, Recovered, StateChange
from alpaca_strategy.domain.orders import (
    Fill,
    IntentEvent,
    IntentState,
    Side,
    TradeUpdate,
    VenueOrder,
    advance,
    event_of,
)
from alpaca_strategy.domain.outcomes import Done, Outcome, Refusal, Refused
from alpaca_strategy.trader.entries import Entry, Reached, entered_at

__all__ = ["Entry", "Ledger"]

_NOTHING: Final = Decimal(0)
_SAYS_NOTHING: Final = frozenset(
    {Refusal.SHARES_HELD, Refusal.RATE_LIMIT, Refusal.CREDENTIALS}
)  # of an order that was sent before
_NEVER_SENT: Final = frozenset({IntentState.REJECTED, IntentState.ABANDONED})


class Ledger:
    """The strategy's orders and holdings.

    What is returned as a step or a fill is news, and belongs into the journal.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}  # ours by the venue's
        self._shares: dict[str, Decimal] = {}
        self._adjusted: list[Adjustment] = []
        self._before = Recovered()
        self._fills: set[tuple[str, Decimal]] = set()

    def restore(self, left: Recovered) -> None:
        """Take up what an earlier trader left; the executions of its orders are in its shares."""
        for known in left.intents:
            last = known.last
            was_sent = last.state is not IntentState.PENDING
            self._entries[last.client_order_id] = Entry(
                known.intent, last.state, last.order_id, last.status, last.filled_qty,
                last.filled_avg_price, last.at if was_sent else None, int(was_sent),
                Reached(last.filled_qty),
            )  # fmt: skip
            if last.order_id is not None:
                self._names[last.order_id] = last.client_order_id
        self._before = left
        self._shares.update(left.shares)
        self._fills.update((fill.order_id, fill.cum_qty) for fill in left.fills)

    # ---------------------------------------------------------------- what happens

    def add_intent(self, intent: Intent) -> None:
        """Add an intent that the journal holds; it is pending.

        Raises:
            ValueError: Its name is that of another intent.
        """
        entry = self._entries.setdefault(intent.ticket.client_order_id, Entry(intent))
        if entry.intent != intent:
            msg = f"There is another intent of the name {entry.client_order_id}."
            raise ValueError(msg)

    def start_sending(self, name: str, at: datetime) -> StateChange:
        """Note that an order is about to leave.

        Raises:
            KeyError: There is no such intent.
            ValueError: It was refused or given up, and must never leave.
        """
        entry = self._entries[name]
        if entry.state in _NEVER_SENT:
            msg = f"The order {name} is {entry.state.value}, and must not be sent."
            raise ValueError(msg)
        entry.state = advance(entry.state, IntentEvent.SEND)
        entry.sent_at = at
        entry.sendings += 1
        return entry.step(at)

    def abandon(self, name: str, at: datetime, why: str) -> StateChange | None:
        """Note that an order has not left and will not; what the venue has stays as it is."""
        return self._move(name, IntentEvent.ABANDON, at, why)

    def apply_outcome(
        self, name: str, outcome: Outcome[VenueOrder], at: datetime
    ) -> StateChange | None:
        """Note what became of a sending."""
        if isinstance(outcome, Done):
            if outcome.value.client_order_id == name:
                return self.apply_order(outcome.value, at)
            detail = f"the venue answered with the order {outcome.value.client_order_id}"
            return self._move(name, IntentEvent.LOSE, at, detail)
        if not isinstance(outcome, Refused):
            return self._move(name, IntentEvent.LOSE, at, outcome.reason)
        entry = self._entries.get(name)
        if entry is None or entry.order_id is not None:
            return None  # the venue has the order, so it was some other sending that it refused
        detail = f"refused: {outcome.message}"
        # Known already, or held by the order itself: then an earlier sending has arrived. A request
        # that was not looked at says nothing of an earlier one.
        open_still = outcome.why is Refusal.DUPLICATE_ID or (
            entry.sendings > 1 and outcome.why in _SAYS_NOTHING
        )
        return self._move(name, IntentEvent.LOSE if open_still else IntentEvent.REFUSE, at, detail)

    def apply_order(self, order: VenueOrder, at: datetime) -> StateChange | None:
        """Note what the venue shows of an order; one that is not in the ledger changes nothing."""
        entry = self._entries.get(order.client_order_id)
        if entry is None or not entry.may_be(order):
            return None
        before = entry.known()
        entry.order_id = order.id
        self._names[order.id] = entry.client_order_id
        if order.status.is_final or not entry.state.is_final:
            entry.status = order.status_text
        entry.state = advance(entry.state, event_of(order.status))
        self._execute(entry, order.filled_qty, order.updated_at or at)
        price = order.filled_avg_price
        sound = order.filled_qty.is_finite() and price is not None and price.is_finite()
        if sound and order.filled_qty == entry.filled_qty and entry.filled_avg_price is None:
            entry.filled_avg_price = price
        return None if before == entry.known() else entry.step(at, order.status_text)

    def apply_update(
        self, update: TradeUpdate, at: datetime
    ) -> tuple[StateChange | None, Fill | None]:
        """Note what the trading stream tells; return the step and the execution that are news."""
        change = self.apply_order(update.order, at)
        entry, fill = self._entries.get(update.order.client_order_id), update.fill
        if entry is None or fill is None or not entry.may_be(update.order):
            return change, None
        if fill.order_id != update.order.id:
            return change, None
        after, news = self.apply_fill(fill, at)
        return after or change, news

    def apply_fill(self, fill: Fill, at: datetime) -> tuple[StateChange | None, Fill | None]:
        """Note an execution; return the step and the execution that are news."""
        entry = self._entries.get(self._names.get(fill.order_id, ""))
        if entry is None or not (fill.cum_qty.is_finite() and fill.cum_qty > 0):
            return None, None
        before = entry.known()
        self._execute(entry, fill.cum_qty, fill.at, exactly=True)
        if entry.filled_qty >= entry.intent.ticket.qty:
            entry.state = advance(entry.state, IntentEvent.FILL)
        change = None if before == entry.known() else entry.step(at, "fill")
        return change, fill if self.is_new(fill) else None

    def is_new(self, fill: Fill) -> bool:
        """Return whether an execution is told for the first time, and remember it."""
        key = (fill.order_id, fill.cum_qty)
        if key in self._fills:
            return False
        self._fills.add(key)
        return True

    def adjust(self, adjustment: Adjustment) -> None:
        """Change a holding by what is no execution, such as a split."""
        held = self._shares.get(adjustment.symbol, _NOTHING) + adjustment.qty
        self._shares[adjustment.symbol] = held
        self._adjusted.append(adjustment)

    def _move(self, name: str, event: IntentEvent, at: datetime, detail: str) -> StateChange | None:
        entry = self._entries.get(name)
        if entry is None or (after := advance(entry.state, event)) is entry.state:
            return None
        entry.state = after
        return entry.step(at, detail)

    def _execute(
        self, entry: Entry, cum_qty: Decimal, at: datetime, *, exactly: bool = False
    ) -> None:  # fmt: skip
        """Book what has been executed since."""
        if not cum_qty.is_finite() or cum_qty <= 0:
            return
        entry.reached.note(cum_qty, at, exactly=exactly)
        fresh = cum_qty - entry.filled_qty
        if fresh > 0:
            entry.filled_qty, entry.filled_avg_price = cum_qty, None
            ticket = entry.intent.ticket
            held = self._shares.get(ticket.symbol, _NOTHING)
            self._shares[ticket.symbol] = held + ticket.side.sign * fresh

    # ---------------------------------------------------------------- questions

    def state(self, name: str) -> IntentState | None:
        """Return how far an order has come; None for one that is not ours."""
        entry = self._entries.get(name)
        return None if entry is None else entry.state

    def knows(self, name: str) -> bool:
        """Return whether an order is in the ledger."""
        return name in self._entries

    def entry(self, name: str) -> Entry | None:
        """Return what is known of an order; None for one that is not ours."""
        return self._entries.get(name)

    def by_order_id(self, order_id: str) -> Entry | None:
        """Return our order of which the venue has told by this id of its own."""
        return self._entries.get(self._names.get(order_id, ""))

    def open_orders(self) -> list[Entry]:
        """Return the orders that the venue has and that may still be executed."""
        return [one for one in self._entries.values() if one.state is IntentState.OPEN]

    def unresolved(self) -> list[Entry]:
        """Return the orders that may have left, and of which nobody knows what became."""
        wanted = {IntentState.SENDING, IntentState.UNKNOWN}
        return [one for one in self._entries.values() if one.state in wanted]

    def under_way(self) -> list[Entry]:
        """Return everything that the venue has or may have, and that has not come to its end."""
        return [*self.open_orders(), *self.unresolved()]

    def sent(self) -> list[Entry]:
        """Return every order that has left, or may have."""
        return [one for one in self._entries.values() if one.sent_at is not None]

    def pending_sides(self) -> dict[str, Side]:
        """Return the symbols with an order that is awaited, and its side; a sale before all."""
        tickets = [one.intent.ticket for one in self._entries.values() if not one.state.is_final]
        tickets.sort(key=lambda one: one.side is Side.SELL)
        return {one.symbol: one.side for one in tickets}

    def shares(self) -> dict[str, Decimal]:
        """Return what the strategy holds, by symbol, without zeros."""
        return {symbol: qty for symbol, qty in self._shares.items() if qty}

    def entered(self) -> dict[str, datetime]:
        """Return when the positions were entered, UTC."""
        moves: dict[str, list[tuple[datetime, Decimal]]] = {name: [] for name in self.shares()}
        for entry in self._entries.values():
            ticket = entry.intent.ticket
            if ticket.symbol in moves:
                moves[ticket.symbol] += entry.reached.steps(ticket.side.sign)
        for one in self._adjusted:
            if one.symbol in moves:
                moves[one.symbol].append((one.at, one.qty))
        found = {
            name: entered_at(
                self._before.shares.get(name, _NOTHING), self._before.entered.get(name), steps
            )
            for name, steps in moves.items()
        }
        return {name: at for name, at in found.items() if at is not None}

    def exited(self) -> dict[str, datetime]:
        """Return when symbols were last sold, UTC."""
        found = dict(self._before.exited)
        for entry in self._entries.values():
            if entry.intent.ticket.side is Side.SELL and entry.reached.times:
                symbol, at = entry.intent.ticket.symbol, max(entry.reached.times.values())
                found[symbol] = max(at, found.get(symbol, at))
        return found
