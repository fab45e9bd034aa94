"""A trader's parts in the test's own process, between a venue and a journal that do as told."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from alpaca_strategy.config import load_settings
from alpaca_strategy.domain.journal import Book, Intent, Recovered, Switch, SwitchKind, TraderRun
from alpaca_strategy.domain.market import Session
from alpaca_strategy.domain.orders import Fill, OrderStatus, Side, Ticket, TradeUpdate, VenueOrder
from alpaca_strategy.domain.outcomes import Done, Outcome, Refusal, Refused
from alpaca_strategy.domain.portfolio import Account, Asset, Position, VenueClock
from alpaca_strategy.errors import VenueUnavailableError
from alpaca_strategy.jobs.rules import rules_of
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.live_tape import LiveTape
from alpaca_strategy.sections import RiskSettings, TradingSettings
from alpaca_strategy.strategy.limits import Limits
from alpaca_strategy.trader.clocks import RealClock
from alpaca_strategy.trader.parts import Parts
from alpaca_strategy.trader.plan import Plan, World
from alpaca_strategy.trader.trader import Trader
from alpaca_strategy.trader.work import Agenda, Work

SYMBOLS = ("AAPL", "MSFT", "SPY")
PRICE = Decimal(100)


class ActingVenue:
    """A venue of one account.

    Attributes:
        holdings: By symbol.
        orders: By our name for them.
        fills: Executions, oldest first.
        calls: What was asked and sent, in order.
        broken: Questions without a usable answer.
        hooks: Called, by name of the call, before it is answered.
    """

    def __init__(self) -> None:
        self.holdings: dict[str, Decimal] = {}
        self.orders: dict[str, VenueOrder] = {}
        self.fills: list[Fill] = []
        self.calls: list[str] = []
        self.broken: set[str] = set()
        self.hooks: dict[str, Callable[[], object]] = {}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.hooks:
            self.hooks[name]()
        if name in self.broken:
            msg = f"{name}: no answer."
            raise VenueUnavailableError(msg)

    def account(self) -> Account:
        self._called("account")
        money = Decimal(100_000)
        return Account("PA1", "ACTIVE", money, money, money, 2 * money, False, False, False)

    def positions(self) -> list[Position]:
        shown = [Position(name, qty, PRICE, PRICE) for name, qty in self.holdings.items() if qty]
        self._called("positions")
        return shown

    def open_orders(self) -> list[VenueOrder]:
        self._called("open_orders")
        return [one for one in self.orders.values() if not one.status.is_final]

    def order_by_client_id(self, client_order_id: str) -> VenueOrder | None:
        self._called("lookup")
        return self.orders.get(client_order_id)

    def fills_since(self, after: datetime) -> list[Fill]:
        self._called("fills")
        return list(self.fills)

    def assets(self, symbols: Sequence[str]) -> Mapping[str, Asset]:
        return {name: Asset(name, True, True, True) for name in symbols}

    def clock(self) -> VenueClock:
        now = datetime.now(UTC)
        return VenueClock(now, True, now, now)

    def submit(self, ticket: Ticket, may_leave: Callable[[], bool]) -> Outcome[VenueOrder]:
        self._called(f"submit {ticket.symbol}")
        if not may_leave():
            return Refused(Refusal.OTHER, "not sent", 0)
        order = venue_order(ticket)
        self.orders[ticket.client_order_id] = order
        return Done(order)

    def cancel(self, order_id: str) -> Outcome[None]:
        self._called("cancel")
        for name, one in self.orders.items():
            if one.id == order_id:
                status = OrderStatus.CANCELED
                self.orders[name] = replace(one, status=status, status_text=status.value)
        return Done(None)

    def fill(self, name: str) -> TradeUpdate:
        """Execute an order whole; return what the stream would tell of it."""
        ticket = self.orders[name]
        order = venue_order(ticket, OrderStatus.FILLED, ticket.qty, ticket.id)
        now = datetime.now(UTC)
        fill = Fill(order.id, ticket.qty, ticket.symbol, ticket.side, ticket.qty, PRICE, now)
        self.orders[name] = order
        self.fills.append(fill)
        held = self.holdings.get(ticket.symbol, Decimal(0)) + ticket.side.sign * ticket.qty
        self.holdings[ticket.symbol] = held
        return TradeUpdate("fill", order, fill, held, now)


def venue_order(
    about: Ticket | VenueOrder, status: OrderStatus = OrderStatus.NEW,
    filled: Decimal = Decimal(0), order_id: str | None = None,
) -> VenueOrder:  # fmt: skip
    now = datetime.now(UTC)
    return VenueOrder(
        order_id or str(uuid.uuid4()), about.client_order_id, about.symbol, about.side, about.qty,
        filled, PRICE if filled else None, status, status.value, now, now,
    )  # fmt: skip


class ActingJournal:
    """A journal in memory."""

    def __init__(self) -> None:
        self.standing: Switch | None = None

    def switch(
        self, kind: SwitchKind, *, reason: str, by: str, flatten: bool = False
    ) -> Switch:  # fmt: skip
        position = self.standing.position + 1 if self.standing else 1
        self.standing = Switch(kind, flatten, reason, by, datetime.now(UTC), position)
        return self.standing

    def begin_sending(self, changes: object, *, flattening: bool = False) -> Switch | None:
        return self.standing

    def beat(self, heartbeat: object) -> Switch | None:
        return self.standing

    def read_switch(self) -> Switch | None:
        return self.standing

    def take_lock(self) -> bool:
        return True

    def holds_lock(self) -> bool:
        return True

    def recover(self, session: object) -> Recovered:
        return Recovered()

    def _written(self, *_: object, **__: object) -> None:
        return None

    open_run = record_decision = record_intents = record = _written
    record_adjustments = record_reconciliation = record_event = _written


class ActingWorld:
    """History that is told, streams that are silent, and a model that is asked."""

    model_id = "m"

    def __init__(self) -> None:
        self.history_fails: list[Exception] = []
        self.asked = 0  # for history
        self.thinking = threading.Event()

    def trades(self, *_: object) -> Any:
        self.asked += 1
        if self.history_fails:
            raise self.history_fails.pop(0)
        from alpaca_strategy.market.schema import TRADE_SCHEMA

        return TRADE_SCHEMA.empty_table()

    def splits(self, *_: object) -> dict[str, Decimal]:
        return {}

    async def run(self, listener: object) -> None:
        await asyncio.Event().wait()

    def reconnect(self, *_: object) -> None:
        return None

    def score(self, features: object, usable: object) -> Any:
        self.thinking.wait(60)
        raise AssertionError


class Stage:
    """Everything that a test looks at."""

    def __init__(self, **trading: Any) -> None:
        now = datetime.now(UTC)
        settings = load_settings()
        self.venue, self.journal, self.around = ActingVenue(), ActingJournal(), ActingWorld()
        session = Session(
            now.date(), now - timedelta(minutes=100, seconds=1), now + timedelta(minutes=290)
        )
        big = Decimal(1_000_000)
        limits = Limits(
            big, big, big, Decimal(4), Decimal("0.5"), 60, 1000, Decimal("0.5"), Decimal(600)
        )  # fmt: skip
        rules, _ = rules_of(settings, SYMBOLS)
        run = TraderRun("r", Book("PA1", "as"), "paper", session.day, "m", "c", "h", "h", 1, now)
        plan = Plan(
            run, session, SYMBOLS, rules, limits, TradingSettings(**trading), RiskSettings(),
            checks_clock=False,
        )  # fmt: skip
        agenda = Agenda()
        world: Any = World(
            RealClock(), self.venue, self.around, self.around, self.journal, self.around
        )  # type: ignore[arg-type]
        tape = LiveTape(session, SYMBOLS, load_condition_table(settings.data.condition_table))
        windows: Any = object()
        self.parts = Parts(
            plan, world, tape=tape, windows=windows, logs=None, work=Work(agenda), agenda=agenda
        )
        self.trader = Trader(plan, world, self.parts)
        for hold in list(self.parts.holds):
            self.parts.holds.lift(hold)
        self.parts.gatekeeper.assets = self.venue.assets(SYMBOLS)
        self.parts.books.recovered.set()

    def intend(self, symbol: str, side: Side, qty: int, name: str | None = None) -> Intent:
        """Put an intent into the ledger."""
        now = datetime.now(UTC)
        name = name or f"as-20260105-1-{side.value[0]}0-{symbol}"
        intent = Intent(Ticket(name, symbol, side, Decimal(qty)), now.date(), 1, 1, PRICE, now)
        self.parts.ledger.add_intent(intent)
        return intent

    def place(self, symbol: str, side: Side, qty: int) -> str:
        """Have an order open at the venue, and known."""
        ledger, now = self.parts.ledger, self.parts.desk.now()
        ticket = self.intend(symbol, side, qty).ticket
        order = self.venue.orders[ticket.client_order_id] = venue_order(ticket)
        ledger.start_sending(ticket.client_order_id, now)
        ledger.apply_outcome(ticket.client_order_id, Done(order), now)
        return ticket.client_order_id

    def hold(self, symbol: str, qty: int) -> None:
        """Hold shares that the strategy has bought earlier, at the venue and in the books."""
        name = self.place(symbol, Side.BUY, qty)
        self.trader.hear(self.venue.fill(name))

    async def until(self, what: Callable[[], object], within_s: float = 30) -> None:
        """Wait until something is the case."""
        async with asyncio.timeout(within_s):
            while not what():  # noqa: ASYNC110  # what is looked at tells nobody
                await asyncio.sleep(0.01)


@asynccontextmanager
async def stage(**trading: Any) -> AsyncIterator[Stage]:
    """Set a stage, with the agenda fired and the lock confirmed meanwhile."""
    found = Stage(**trading)
    work = found.parts.work

    over = asyncio.Event()

    async def turn() -> None:
        while not over.is_set():
            work.changed.clear()
            found.parts.pulse._locked_at = asyncio.get_running_loop().time()
            found.parts.agenda.fire(found.parts.desk.clock.now_ns())
            with suppress(TimeoutError):
                await asyncio.wait_for(work.changed.wait(), 0.02)

    turning = asyncio.create_task(turn())
    try:
        yield found
        assert work.defect is None, work.defect
    finally:
        over.set()  # a wait with a time limit may swallow a cancellation
        found.around.thinking.set()
        await asyncio.gather(turning, return_exceptions=True)
        await work.close()
