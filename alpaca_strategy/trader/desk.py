"""The desk that sends orders: written first, sent once, and followed until their end is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, count
from time import monotonic
from typing import Final

import structlog

from alpaca_strategy.domain.journal import Intent, StateChange, Switch, SwitchKind
from alpaca_strategy.domain.orders import IntentState, OrderType, Side, VenueOrder
from alpaca_strategy.domain.outcomes import Outcome, Refused, Unknown
from alpaca_strategy.errors import EnvironmentFaultError, LeaseEndedError, VenueError
from alpaca_strategy.strategy.limits import Denial
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.crash_points import pass_by
from alpaca_strategy.trader.ledger import Ledger
from alpaca_strategy.trader.ports import Broker, Clock, Journal
from alpaca_strategy.trader.scribe import Scribe
from alpaca_strategy.trader.work import FOREVER_NS, Work

log = structlog.get_logger(__name__)
#: Seconds after a lost answer at which the venue is asked whether it has the order, and then the
#: number of seconds between further questions. An order unknown for 30 s has not arrived.
LOOKUPS_S: Final = (0.5, 1.5, 3.5, 7.5, 15.5, 30.5)
_LATER_S: Final = 15.0
_ABSENT_S: Final = 30.0
#: How long cancelled orders may take to end before a decision no longer waits for them.
_CANCEL_S: Final = 2


@dataclass
class Desk:
    """Sends orders.

    Attributes:
        clock: The venue's time.
        broker: The venue.
        journal: Written to before anything leaves.
        ledger: What is known of our orders.
        scribe: Writes down what became of them.
        work: Threads and waits.
        gate: The last judgement before the wire, made anew for every order.
        on_switch: Told of the switch as the journal has it, at every sending.
        may_leave: Asked by the thread that sends, right before an order leaves.
        news: Set whenever an order has changed, so that what waits for room looks again.
        last_sent: When the newest order left, by this machine's monotonic clock in seconds.
        waited: Seconds that were spent waiting for the venue until then, since they were reset.
    """

    clock: Clock
    broker: Broker
    journal: Journal
    ledger: Ledger
    scribe: Scribe
    work: Work
    gate: Callable[[Intent], Denial | None]
    on_switch: Callable[[Switch | None], None]
    may_leave: Callable[[], bool]
    news: asyncio.Event = field(default_factory=asyncio.Event)
    last_sent: float = 0.0
    waited: float = 0.0
    _waiting: float = 0.0

    def now(self) -> datetime:
        """Return the venue's time."""
        return datetime.fromtimestamp(self.clock.now_ns() / SECOND_NS, UTC)

    async def carry_out(self, intents: Sequence[Intent], deadline_ns: int) -> None:
        """Send what is pending: sales, then purchases as the sales make room for them.

        Args:
            intents: Written to the journal, and in the ledger.
            deadline_ns: What has not left by then is given up.
        """
        self.waited = self._waiting = 0.0
        sales = [one for one in intents if one.ticket.side is Side.SELL]
        waiting = [one for one in intents if one.ticket.side is Side.BUY]
        refused = await self.send(sales)
        for intent, denial in refused:
            self.give_up(intent, denial.sentence)
        reasons = dict.fromkeys(waiting, "it was too late to buy")
        while waiting:
            if self.clock.now_ns() >= deadline_ns:
                for intent in waiting:
                    self.give_up(intent, reasons[intent])
                return
            self.news.clear()
            refused = await self.send(waiting, until_ns=deadline_ns)
            for intent, denial in refused:
                reasons[intent] = denial.sentence
                if not denial.passes_with_room:
                    self.give_up(intent, denial.sentence)
            waiting = [one for one, _ in refused if self._is_pending(one)]
            if waiting:
                began = monotonic()
                await self.work.until(deadline_ns, self.news)
                self._waiting += monotonic() - began

    async def send(
        self, intents: Sequence[Intent], *, flattening: bool = False, until_ns: int = FOREVER_NS
    ) -> list[tuple[Intent, Denial]]:
        """Send those that the gate lets through now; return the others, with why not.

        Args:
            intents: In the ledger and in the journal.
            flattening: They are the sales that a kill asked for.
            until_ns: When it is too late for them.
        """
        admitted, refused, changes = [], [], []
        for intent in intents:
            denial = self.gate(intent)
            if denial is None:
                # In the ledger at once, so that the next one is judged with it.
                changes.append(self.ledger.start_sending(intent.ticket.client_order_id, self.now()))
                admitted.append(intent)
            else:
                refused.append((intent, denial))
        if not admitted:
            return refused
        objection = await self._commit(changes, flattening=flattening)
        if objection is None and self.clock.now_ns() > until_ns:
            objection = "it was too late to buy"
        if objection is not None:
            for intent in admitted:
                self._hold_back(intent, objection)
            return refused
        # The commit took a moment: whatever happened meanwhile counts.
        late = [(intent, self.gate(intent)) for intent in admitted]
        for intent, denial in late:
            if denial is not None:
                self._hold_back(intent, denial.sentence)
        began = monotonic()
        await asyncio.gather(*(self._post(intent) for intent, denial in late if denial is None))
        self._waiting += monotonic() - began
        return refused

    async def _commit(self, changes: Sequence[StateChange], *, flattening: bool) -> str | None:
        """Write that orders are about to leave; return why they must not, or None."""
        try:
            switch = await self.work.journal(
                self.journal.begin_sending, changes, flattening=flattening
            )
        except EnvironmentFaultError as error:
            log.warning("orders_not_sent", reason=str(error), orders=len(changes))
            return "the journal could not be written"
        except LeaseEndedError as error:
            return str(error)
        pass_by("sending_committed")
        self.on_switch(switch)
        if switch is not None and switch.kind is SwitchKind.KILL and not flattening:
            return f"killed: {switch.reason}"  # nothing was written, so nothing may leave
        return None

    def give_up(self, intent: Intent, why: str) -> None:
        """Drop an intent that has not left."""
        log.info("order_dropped", client_order_id=intent.ticket.client_order_id, reason=why)
        self._note(self.ledger.abandon(intent.ticket.client_order_id, self.now(), why))

    def _hold_back(self, intent: Intent, why: str) -> None:
        """Do not send what was about to leave; what left before may still be on its way."""
        entry = self.ledger.entry(intent.ticket.client_order_id)
        if entry is not None and entry.sendings > 1:
            self.lose(intent, why)
            self.follow(intent)
        else:
            self.give_up(intent, why)

    async def _post(self, intent: Intent) -> None:
        ticket = intent.ticket
        self.last_sent, self.waited = monotonic(), self._waiting
        outcome = await self.work.sending(self.broker.submit, ticket, self.may_leave)
        pass_by("order_answered")
        log.info(
            "order_sent", client_order_id=ticket.client_order_id, symbol=ticket.symbol,
            side=ticket.side.value, qty=str(ticket.qty), outcome=type(outcome).__name__,
            said=getattr(outcome, "message", None) or getattr(outcome, "reason", None),
        )  # fmt: skip
        self._take(intent, outcome)

    def _take(self, intent: Intent, outcome: Outcome[VenueOrder]) -> None:
        """Note what became of a sending, and look further where nobody knows."""
        if isinstance(outcome, Refused) and outcome.status == 0:
            self._hold_back(intent, outcome.message)  # this time it has not left
            return
        self._note(self.ledger.apply_outcome(intent.ticket.client_order_id, outcome, self.now()))
        if self.ledger.state(intent.ticket.client_order_id) is IntentState.UNKNOWN:
            self.follow(intent)

    def follow(self, intent: Intent) -> None:
        """Ask the venue about an order of which nobody knows what became, until it is known."""
        self.work.start(self._resolve(intent, self.clock.now_ns()))

    async def _resolve(self, intent: Intent, since_ns: int) -> None:
        name = intent.ticket.client_order_id
        later = (LOOKUPS_S[-1] + _LATER_S * n for n in count(1))
        for seconds in chain(LOOKUPS_S, later):
            await self.work.until(since_ns + int(seconds * SECOND_NS))
            if self.ledger.state(name) is not IntentState.UNKNOWN:
                return  # the stream has told
            try:
                order = await self.work.venue(self.broker.order_by_client_id, name)
            except VenueError as error:
                log.warning("order_not_looked_up", client_order_id=name, reason=str(error))
                continue
            if order is not None:
                self.adopt(order)
            if self.ledger.state(name) is not IntentState.UNKNOWN:
                return
            if seconds > _ABSENT_S and await self._sent_again_or_dropped(intent):
                return

    async def _sent_again_or_dropped(self, intent: Intent) -> bool:
        """Deal with an order that the venue does not have; return whether that is done.

        A sale is sent again under its id, which the venue takes once: under another id both might
        arrive, and the account would be short. A purchase is stale by now.
        """
        if intent.ticket.side is Side.BUY:
            self.give_up(intent, "the venue never had it, and it is too late to buy")
            return True
        refused = await self.send([intent])
        log.info("order_sent_again", client_order_id=intent.ticket.client_order_id,
                 denied=refused[0][1].sentence if refused else None)  # fmt: skip
        return not refused

    def lose(self, intent: Intent, why: str) -> None:
        """Note that nobody knows what became of an order."""
        self._note(
            self.ledger.apply_outcome(intent.ticket.client_order_id, Unknown(why), self.now())
        )

    def adopt(self, order: VenueOrder) -> None:
        """Take over what the venue shows of an order of ours."""
        self._note(self.ledger.apply_order(order, self.now()))

    async def cancel(self, order_ids: Sequence[str]) -> None:
        """Ask for cancellations, all at once; the stream or the next comparison tells the end."""
        outcomes = await asyncio.gather(
            *(self.work.sending(self.broker.cancel, one) for one in order_ids)
        )
        pass_by("cancel_answered")
        for order_id, outcome in zip(order_ids, outcomes, strict=True):
            log.info("cancel_sent", order_id=order_id, outcome=type(outcome).__name__)

    async def cancel_open(self, *, limits: bool = False) -> None:
        """Cancel what is left of open purchases, and wait a moment for their end.

        Args:
            limits: And of limit orders, whatever their side.
        """
        until_ns = self.clock.now_ns() + _CANCEL_S * SECOND_NS
        wanted = [
            one.order_id
            for one in self.ledger.open_orders()
            if one.order_id is not None
            and (one.intent.ticket.side is Side.BUY
                 or (limits and one.intent.ticket.type is OrderType.LIMIT))
        ]  # fmt: skip
        if not wanted:
            return
        await self.cancel(wanted)
        while self.clock.now_ns() < until_ns and any(
            one.order_id in wanted for one in self.ledger.open_orders()
        ):
            self.news.clear()
            await self.work.until(until_ns, self.news)

    def _note(self, change: StateChange | None) -> None:
        if change is not None:
            self.scribe.note([change])
            self.news.set()

    def _is_pending(self, intent: Intent) -> bool:
        return self.ledger.state(intent.ticket.client_order_id) is IntentState.PENDING
