"""The kill switch: nothing is sent any more, what is open is cancelled, and seen to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import structlog

from alpaca_strategy.domain.journal import Intent
from alpaca_strategy.domain.orders import Side, Ticket, VenueOrder, client_order_id
from alpaca_strategy.errors import EnvironmentFaultError, VenueError
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.trader.books import Books
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.desk import Desk
from alpaca_strategy.trader.plan import Plan

log = structlog.get_logger(__name__)
_LOOK_AGAIN_S: Final = 1


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
            ours = await self._open_orders()
            if ours is not None and not ours:
                break
            await self.desk.cancel([order.id for order in ours or []])
            rounds += 1
            await self._pause()
        log.warning("open_orders_cancelled", rounds=rounds)
        if flatten:
            await self._flatten()

    async def _open_orders(self) -> list[VenueOrder] | None:
        """Return what is still open of ours, or None where nobody knows."""
        try:
            orders = await self.desk.work.venue(self.desk.broker.open_orders)
        except VenueError as error:
            log.warning("open_orders_unknown", reason=str(error))
            return None
        return [one for one in orders if self.books.is_ours(one.client_order_id)]

    async def _flatten(self) -> None:
        await self.books.compare("surprise")
        minute = self.minute()
        intents = [
            self._sale(symbol, qty, minute)
            for symbol, qty in self.books.sellable().items()
            if qty > 0
        ]
        try:
            await self.desk.work.journal(self.desk.journal.record_intents, intents)
        except EnvironmentFaultError as error:
            log.warning("flatten_not_written", reason=str(error))
            return
        for intent in intents:
            self.desk.ledger.add_intent(intent)
        self.flattening = True
        for intent, denial in await self.desk.send(intents, flattening=True):
            self.desk.give_up(intent, denial.sentence)
        log.warning("flattened", orders=len(intents))

    def _sale(self, symbol: str, qty: Decimal, minute: int) -> Intent:
        name = client_order_id(
            self.plan.trading.name, self.plan.session.day, minute, symbol, Side.SELL, attempt=1
        )
        return Intent(
            ticket=Ticket(name, symbol, Side.SELL, qty),
            session=self.plan.session.day,
            minute=minute,
            reason=int(Reason.FLATTEN),
            price=None,
            created_at=self.desk.now(),
        )

    async def _pause(self) -> None:
        until = self.desk.clock.now_ns() + _LOOK_AGAIN_S * SECOND_NS
        await self.desk.work.until(until)
