"""Our books beside the venue's: compared at every occasion, never mended by trading."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final

import structlog

from alpaca_strategy.domain.journal import Adjustment, Reconciliation, SwitchKind
from alpaca_strategy.domain.orders import Side, TradeUpdate, VenueOrder
from alpaca_strategy.domain.portfolio import Account, Position
from alpaca_strategy.errors import VenueError
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.comparison import Result, compare, concede
from alpaca_strategy.trader.crash_points import pass_by
from alpaca_strategy.trader.desk import Desk
from alpaca_strategy.trader.holds import Hold, Holds
from alpaca_strategy.trader.paper_trail import PaperTrail
from alpaca_strategy.trader.plan import Plan, World
from alpaca_strategy.trader.work import FOREVER_NS

log = structlog.get_logger(__name__)
#: A difference that stands for so long is no delay between two answers of the venue.
_PATIENCE_S: Final = 10
#: How long cancelled purchases may take to end before a decision no longer waits for them.
_CANCEL_S: Final = 2
_OPEN_RETRY_S: Final = 5
_STILL_OPEN_S: Final = 30
_BEFORE_OPEN: Final = timedelta(hours=6)


@dataclass
class Books:
    """What the account holds, what of it is ours, and whether that agrees.

    Attributes:
        account: As the venue told last; None before the first time.
        positions: Likewise, by symbol.
        foreign: Shares that the strategy did not buy, by symbol; None before the first comparison,
            which takes what it finds as given.
        differences: What does not agree, in words.
        updates: How many the stream has told; one that comes during a comparison voids it.
        available: Shares that the venue shows of symbols of which it shows fewer than we think.
        opening_equity: At the close of the session before; the venue moves on when this one ends.
        asked_at: When the venue was asked for the account, by its own clock.
        proceeds: USD that sales have brought since.
        splits: Shares for one old one, of symbols that have split since the books agreed.
        recovered: Set when what an earlier trader left has been taken up.
    """

    plan: Plan
    world: World
    desk: Desk
    holds: Holds
    trail: PaperTrail
    account: Account | None = None
    positions: dict[str, Position] = field(default_factory=dict)
    foreign: Mapping[str, Decimal] | None = None
    differences: tuple[str, ...] = ()
    updates: int = 0
    available: Mapping[str, Decimal] = field(default_factory=dict)
    opening_equity: Decimal | None = None
    asked_at: datetime | None = None
    proceeds: Decimal = Decimal(0)
    _differs_since_ns: int | None = None
    splits: Mapping[str, Decimal] = field(default_factory=dict)
    recovered: asyncio.Event = field(default_factory=asyncio.Event)
    _fills_told: Decimal = Decimal(0)
    _comparing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def equity(self) -> Decimal:
        """The account's equity in USD; 0 while it is not known."""
        return self.account.equity if self.account else Decimal(0)

    @property
    def day_return(self) -> float | None:
        """What the account has earned since the session before closed, as a fraction."""
        if not self.opening_equity:
            return None
        return float(self.equity / self.opening_equity - 1)

    def is_ours(self, client_order_id: str) -> bool:
        """Return whether an order is this strategy's, whichever process sent it."""
        return client_order_id.startswith(f"{self.plan.trading.name}-")

    def excluded(self) -> dict[str, str]:
        """Return the symbols that are left alone, and why."""
        ours = self.desk.ledger.shares()
        found = dict.fromkeys(self.plan.risk.restricted, "it is restricted")
        for symbol, qty in (self.foreign or {}).items():
            if qty and not ours.get(symbol):
                found[symbol] = f"the account holds {qty} that the strategy did not buy"
        return found

    def sellable(self) -> dict[str, Decimal]:
        """Return what the strategy may sell, by symbol: no more than is there."""
        return {
            symbol: max(min(qty, self.available.get(symbol, qty)), Decimal(0))
            for symbol, qty in self.desk.ledger.shares().items()
        }

    def take(self, update: TradeUpdate) -> None:
        """Take what the trading stream tells of an order."""
        self.updates += 1
        if not self.is_ours(update.order.client_order_id):
            log.info("foreign_order", told=update.event, symbol=update.order.symbol)
            self.desk.work.start(self.compare("surprise"))
            return
        change, fill = self.desk.ledger.apply_update(update, self.desk.now())
        self.desk.scribe.note([change] if change else [], [fill] if fill else [])
        if fill is not None:
            if fill.side is Side.SELL:
                self.proceeds += fill.qty * fill.price
            log.info(
                "order_filled", client_order_id=update.order.client_order_id, symbol=fill.symbol,
                side=fill.side.value, qty=str(fill.qty), price=str(fill.price),
            )  # fmt: skip
        self.desk.news.set()

    async def updates_ready(self) -> None:
        """The trading stream tells again; what happened meanwhile is asked for."""
        await self.desk.work.until(FOREVER_NS, self.recovered)
        if await self.compare("reconnect"):
            self.holds.lift(Hold.UPDATES)

    async def compare(self, cause: str) -> bool:
        """Compare with the venue; return whether that could be done."""
        if cause != "start" and not self.recovered.is_set():
            return False  # the journal is not open yet
        async with self._comparing:
            try:
                result = await self._ask()
            except VenueError as error:
                if self.holds.set(Hold.VENUE, str(error)):
                    log.warning("books_not_compared", cause=cause, reason=str(error))
                return False
            self.holds.lift(Hold.VENUE)
            self._conclude(cause, result)
            return True

    async def _ask(self) -> Result:
        """Ask for positions, orders and account; again where something happened meanwhile."""
        work, broker = self.desk.work, self.world.broker
        for _ in range(3):
            heard, asked_at = self.updates, self.desk.now()
            account, positions, orders = await asyncio.gather(
                work.venue(broker.account),
                work.venue(broker.positions),
                work.venue(broker.open_orders),
            )
            await self._look_up(orders)
            if heard == self.updates:
                break
        self.opening_equity = self.opening_equity or account.last_equity
        self.account, self.asked_at, self.proceeds = account, asked_at, Decimal(0)
        self.positions = {one.symbol: one for one in positions}
        self.holds.put(Hold.ACCOUNT, account.objection)
        return compare(
            self.desk.ledger, positions, self.foreign, at=self.desk.now(), orders=orders,
            split_factors=self.splits,
        )  # fmt: skip

    async def _look_up(self, listed: list[VenueOrder]) -> None:
        """Ask for orders of ours that the venue no longer lists as open: they have ended."""
        ledger = self.desk.ledger
        for order in listed:
            if self.is_ours(order.client_order_id):
                self.desk.adopt(order)
        names = {order.client_order_id for order in listed}
        missing = [one for one in ledger.open_orders() if one.client_order_id not in names]
        found = await asyncio.gather(
            *(
                self.desk.work.venue(self.world.broker.order_by_client_id, one.client_order_id)
                for one in missing
            )
        )
        for ended in found:
            if ended is not None:
                self.desk.adopt(ended)
        await self._fetch_fills()

    async def _fetch_fills(self) -> None:
        """Ask for the executions of today; those that the stream has not told of are news."""
        since = self.plan.session.opens_at - _BEFORE_OPEN
        known = {one.order_id for one in self.desk.ledger.sent() if one.order_id}
        told = sum((one.filled_qty for one in self.desk.ledger.sent()), Decimal(0))
        if told == self._fills_told:
            return
        fills = await self.desk.work.venue(self.world.broker.fills_since, since)
        for fill in fills:
            if fill.order_id in known:
                change, new = self.desk.ledger.apply_fill(fill, self.desk.now())
                self.desk.scribe.note([change] if change else [], [new] if new else [])
        self._fills_told = told

    def _conclude(self, cause: str, result: Result) -> None:
        pass_by("reconciled")
        now_ns = self.world.clock.now_ns()
        self.foreign = result.foreign
        for one in result.adjustments:
            self._adjust(one)
        self.differences, self.available = result.differences, result.available
        ours = self.desk.ledger.shares()
        held = {symbol: one.qty for symbol, one in self.positions.items()}
        record = Reconciliation(self.desk.now(), cause, result.differences, held, result.foreign)
        self.desk.scribe.add(partial(self.world.journal.record_reconciliation, record))
        self.trail.positions(self.desk.now(), held, ours)
        if not result.differences:
            self._differs_since_ns = None
            self.holds.lift(Hold.BOOKS)
            return
        text = "; ".join(result.differences)
        if self.holds.set(Hold.BOOKS, text):
            log.warning("books_differ", cause=cause, differences=result.differences)
            self._differs_since_ns = now_ns
            self.desk.work.start(self._compare_again())
        elif now_ns - (self._differs_since_ns or now_ns) >= _PATIENCE_S * SECOND_NS:
            self.halt(text)

    async def _compare_again(self) -> None:
        await self.desk.work.until(self.world.clock.now_ns() + _PATIENCE_S * SECOND_NS)
        await self.compare("surprise")

    def halt(self, why: str) -> None:
        """Stop buying until a person has looked; that stands over restarts."""
        if self.holds.set(Hold.HALTED, why):
            log.error("trading_halted", reason=why)
            # The switch comes back with the next heartbeat.
            turn = partial(self.world.journal.switch, SwitchKind.HALT, reason=why, by="trader")
            self.desk.scribe.add(turn)

    def accept(self) -> None:
        """Take what the account holds as given: a person has looked at it."""
        if not self.recovered.is_set():
            return  # the first comparison does so
        why = "conceded at a re-arming"
        positions = list(self.positions.values())
        for one in concede(self.desk.ledger, positions, at=self.desk.now(), reason=why):
            self._adjust(one)
        self.foreign, self._differs_since_ns = None, None
        self.desk.work.start(self.compare("rearm"))

    def _adjust(self, adjustment: Adjustment) -> None:
        """Change our books by what is no execution."""
        log.warning("position_adjusted", symbol=adjustment.symbol, qty=str(adjustment.qty),
                    reason=adjustment.reason)  # fmt: skip
        self.desk.ledger.adjust(adjustment)
        self.desk.scribe.add(partial(self.world.journal.record_adjustments, [adjustment]))

    async def prepare(self) -> None:
        """Before a decision: purchases of the one before have ended, and books are compared."""
        await self.cancel_purchases()
        await self.compare("decision")

    async def cancel_purchases(self) -> None:
        """Cancel what is left of open purchases, and wait a moment for their end."""
        ledger, work = self.desk.ledger, self.desk.work
        until_ns = self.world.clock.now_ns() + _CANCEL_S * SECOND_NS
        wanted = [
            one.order_id
            for one in ledger.open_orders()
            if one.intent.ticket.side is Side.BUY and one.order_id is not None
        ]
        if not wanted:
            return
        await self.desk.cancel(wanted)
        while self.world.clock.now_ns() < until_ns and any(
            one.order_id in wanted for one in ledger.open_orders()
        ):
            self.desk.news.clear()
            await work.until(until_ns, self.desk.news)

    async def watch_open(self) -> None:
        """While the session should be on, ask the venue whether it is: it may close any time."""
        while self.world.clock.now_ns() < self.plan.closes_ns:
            why: str | None = "the venue says that it is closed"
            try:
                if (await self.desk.work.venue(self.world.broker.clock)).is_open:
                    why = None
            except VenueError as error:  # what it said last stands
                closed = Hold.CLOSED in self.holds
                why = f"the venue does not say whether it is open: {error}" if closed else None
            if self.world.clock.now_ns() < self.plan.closes_ns and self.holds.put(Hold.CLOSED, why):
                log.info("session_watched", closed=why)
            pause_s = _STILL_OPEN_S if why is None else _OPEN_RETRY_S
            await self.desk.work.until(self.world.clock.now_ns() + pause_s * SECOND_NS)
