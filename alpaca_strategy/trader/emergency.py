"""The kill switch: nothing is sent any more, what is open is cancelled, and seen to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Final

import structlog

from alpaca_strategy.domain.journal import Intent
from alpaca_strategy.domain.orders import Side, Ticket, VenueOrder, client_order_id
from alpaca_strategy.errors import EnvironmentFaultError, VenueError
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.trader.books import Books
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.desk import Desk
from alpaca_strategy.trader.holds import Hold
from alpaca_strategy.trader.plan import Plan
from alpaca_strategy.trader.work import FOREVER_NS

log = structlog.get_logger(__name__)
_LOOK_AGAIN_S: Final = 1
_SELL_AGAIN_S: Final = 15
#: By then the venue shows an order that was sent, or it has been looked up and is not there.
_ARRIVES_WITHIN: Final = timedelta(seconds=45)


@dataclass
class Emergency:
    """Carries out a kill.

    Attributes:
        flattening: The gate lets sales pass although the switch says kill: a person asked for it.
    """

    plan: Plan
    desk: Desk
    books: Books
    flattening: bool = False
    minute: Callable[[], int] = lambda: 0

    async def carry_out(self, *, flatten: bool) -> None:
        """Cancel the strategy's open orders until the venue shows none; sell if asked to."""
        rounds = 0
        while True:
            # Those that we know first: it needs no question, which may not be answered.
            known = {one.order_id for one in self.desk.ledger.open_orders() if one.order_id}
            await self.desk.cancel(sorted(known))
            ours = await self._open_orders()
            if ours is not None and not ours and not self._may_still_arrive():
                break
            await self.desk.cancel([one.id for one in ours or [] if one.id not in known])
            rounds += 1
            await self._pause()
        log.warning("open_orders_cancelled", rounds=rounds)
        if flatten and not self.flattening:
            await self._flatten()

    def _may_still_arrive(self) -> bool:
        """Whether an order is on its way that the venue may show in a moment."""
        since = self.desk.now() - _ARRIVES_WITHIN
        return any(
            one.sent_at is not None and one.sent_at > since for one in self.desk.ledger.unresolved()
        )

    async def _open_orders(self) -> list[VenueOrder] | None:
        """Return what is still open of ours, or None where nobody knows."""
        try:
            orders = await self.desk.work.venue(self.desk.broker.open_orders)
        except VenueError as error:
            log.warning("open_orders_unknown", reason=str(error))
            return None
        return [one for one in orders if self.books.is_ours(one.client_order_id)]

    def end_flattening(self) -> None:
        """A person allows trading again: a kill after this one lets no sale pass."""
        self.flattening = False

    async def _flatten(self) -> None:
        """Sell what the strategy holds, and again until nothing is left."""
        self.flattening = True
        await self.desk.work.until(FOREVER_NS, self.books.recovered)
        while self.flattening:
            if await self.books.compare("surprise") and not any(self.books.sellable().values()):
                self.flattening = False
                break
            if not self._is_held_back():
                await self._sell()
            await self._pause(_SELL_AGAIN_S)

    def _is_held_back(self) -> bool:
        """Whether nothing would pass the gate, whatever it is."""
        others = (hold for hold in self.books.holds if hold is not Hold.KILLED)
        return any(hold.stops_everything for hold in others)

    async def _sell(self) -> None:
        minute, pending = self.minute(), self.desk.ledger.pending_sides()
        intents = [
            self._sale(symbol, qty, minute)
            for symbol, qty in self.books.sellable().items()
            if qty > 0 and symbol not in pending
        ]
        try:
            await self.desk.work.journal(self.desk.journal.record_intents, intents)
        except EnvironmentFaultError as error:
            log.warning("flatten_not_written", reason=str(error))
            return
        for intent in intents:
            self.desk.ledger.add_intent(intent)
        for intent, denial in await self.desk.send(intents, flattening=True):
            self.desk.give_up(intent, denial.sentence)
        log.warning("flattened", orders=len(intents))

    def _sale(self, symbol: str, qty: Decimal, minute: int) -> Intent:
        attempts = (
            client_order_id(
                self.plan.trading.name, self.plan.session.day, minute, symbol, Side.SELL,
                attempt=number,
            )
            for number in count(1)
        )  # fmt: skip
        name = next(one for one in attempts if not self.desk.ledger.knows(one))
        return Intent(
            ticket=Ticket(name, symbol, Side.SELL, qty),
            session=self.plan.session.day,
            minute=minute,
            reason=int(Reason.FLATTEN),
            price=None,
            created_at=self.desk.now(),
        )

    async def _pause(self, seconds: int = _LOOK_AGAIN_S) -> None:
        until = self.desk.clock.now_ns() + seconds * SECOND_NS
        await self.desk.work.until(until)
