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
from alpaca_strategy.errors import VenueError, VenueUnavailableError
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
_RETRY_S: Final = 2
#: Comparisons that take what others hold as given: nothing may move meanwhile.
_AS_GIVEN: Final = frozenset({"start", "rearm"})
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
    _connection: int = 0  # counts what the trading stream has come to
    _surprise_waits: bool = False
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
            self.surprised()
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

    def updates_lost(self, reason: str) -> None:
        """The trading stream tells nothing any more."""
        self._connection += 1
        self.holds.set(Hold.UPDATES, reason)

    def updates_ready(self) -> None:
        """The trading stream tells again; what happened meanwhile is asked for."""
        self._connection += 1
        self.desk.work.start(self._catch_up(self._connection))

    async def _catch_up(self, connection: int) -> None:
        """Compare until it succeeds, unless the stream is lost again meanwhile."""
        work = self.desk.work
        await work.until(FOREVER_NS, self.recovered)
        while connection == self._connection:
            if await self.compare("reconnect") and connection == self._connection:
                self.holds.lift(Hold.UPDATES)
                return
            await work.until(self.world.clock.now_ns() + _RETRY_S * SECOND_NS)

    def surprised(self) -> None:
        """Compare soon; however often that is asked for, one comparison runs and one waits."""
        if not self._surprise_waits:
            self._surprise_waits = True
            self.desk.work.start(self.compare("surprise"))

    async def compare(self, cause: str) -> bool:
        """Compare with the venue; return whether that could be done."""
        if cause != "start" and not self.recovered.is_set():
            self._surprise_waits = False
            return False  # the journal is not open yet
        async with self._comparing:
            if cause == "surprise":
                self._surprise_waits = False
            try:
                result = await self._ask(cause)
            except VenueError as error:
                if self.holds.set(Hold.VENUE, str(error)):
                    log.warning("books_not_compared", cause=cause, reason=str(error))
                return False
            self.holds.lift(Hold.VENUE)
            self._conclude(cause, result)
            return True

    async def _ask(self, cause: str) -> Result:
        """Ask for positions, orders and account; again where something happened meanwhile.

        Raises:
            VenueError: No usable answer; or what is to be taken as given does not stand still.
        """
        work, broker = self.desk.work, self.world.broker
        for _ in range(3):
            heard, executed, asked_at = self.updates, self._executed(), self.desk.now()
            account, positions, orders = await asyncio.gather(
                work.venue(broker.account),
                work.venue(broker.positions),
                work.venue(broker.open_orders),
            )
            await self._look_up(orders)
            if (heard, executed) == (self.updates, self._executed()):
                break
        else:
            if cause in _AS_GIVEN:  # an execution of ours would be taken for somebody else's
                msg = "The account's positions change while they are asked for; they are again."
                raise VenueUnavailableError(msg)
        self.opening_equity = self.opening_equity or account.last_equity
        self.account, self.asked_at, self.proceeds = account, asked_at, Decimal(0)
        self.positions = {one.symbol: one for one in positions}
        self.holds.put(Hold.ACCOUNT, account.objection)
        if cause == "rearm":
            self._concede(positions)
        return compare(
            self.desk.ledger, positions, self.foreign, at=self.desk.now(), orders=orders,
            split_factors=self.splits,
        )  # fmt: skip

    def _executed(self) -> Decimal:
        """Return all that our orders have executed, as far as we know."""
        return sum((one.filled_qty for one in self.desk.ledger.sent()), Decimal(0))

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
        told = self._executed()
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
        if self.recovered.is_set():  # else the first comparison does so
            self.desk.work.start(self._accept())

    async def _accept(self) -> None:
        while not await self.compare("rearm"):
            await self.desk.work.until(self.world.clock.now_ns() + _RETRY_S * SECOND_NS)

    def _concede(self, positions: list[Position]) -> None:
        """Give up what the venue does not show, now: what it showed earlier may have changed."""
        why = "conceded at a re-arming"
        for one in concede(self.desk.ledger, positions, at=self.desk.now(), reason=why):
            self._adjust(one)
        self.foreign, self._differs_since_ns = None, None

    def _adjust(self, adjustment: Adjustment) -> None:
        """Change our books by what is no execution."""
        log.warning("position_adjusted", symbol=adjustment.symbol, qty=str(adjustment.qty),
                    reason=adjustment.reason)  # fmt: skip
        self.desk.ledger.adjust(adjustment)
        self.desk.scribe.add(partial(self.world.journal.record_adjustments, [adjustment]))

    async def prepare(self, *, closing: bool = False) -> None:
        """Before a decision: orders of the one before have ended, and books are compared.

        Args:
            closing: Everything is to be sold; then a sale that waits for its price has to go, too.
        """
        await self.desk.cancel_open(limits=closing)
        await self.compare("decision")
