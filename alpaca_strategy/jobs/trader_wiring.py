"""The trader's wiring: settings and a venue in, a trader that is ready to run out."""

from __future__ import annotations

import asyncio
import os
import platform
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from alpaca_strategy.broker.budget import Budget, Lane
from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.broker.recent_trades import RecentTrades
from alpaca_strategy.broker.simulated_clock import SimulatedClock, lockstep
from alpaca_strategy.broker.streams import VenueStreams
from alpaca_strategy.broker.trading import TradingApi
from alpaca_strategy.config import Settings
from alpaca_strategy.domain.journal import Book, TraderRun
from alpaca_strategy.domain.lease import Tenure
from alpaca_strategy.domain.market import Session
from alpaca_strategy.domain.streams import Stream
from alpaca_strategy.errors import RateLimitedError
from alpaca_strategy.jobs.candidate import code_version
from alpaca_strategy.jobs.rules import rules_of
from alpaca_strategy.jobs.terms import config_hash
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.live_tape import LiveTape
from alpaca_strategy.storage.database import check_schema, connect
from alpaca_strategy.storage.journal import TradingJournal
from alpaca_strategy.strategy.limits import Limits
from alpaca_strategy.trader.clocks import SECOND_NS, LockstepClock, RatedClock, RealClock
from alpaca_strategy.trader.parts import Parts
from alpaca_strategy.trader.plan import Plan, World
from alpaca_strategy.trader.ports import Clock, Scorer
from alpaca_strategy.trader.trader import Trader
from alpaca_strategy.trader.window import SessionBefore, Windows
from alpaca_strategy.trader.work import Agenda, Work

#: In lock-step the venue's time moves so far at once; little while orders are on their way.
_STEP_NS: Final = 30 * SECOND_NS
_STEP_WITH_ORDERS_NS: Final = SECOND_NS // 4
#: A price that old is none; as old as the bars that a model wants.
_MAX_PRICE_AGE_S: Final = Decimal(600)
_DATA_WAIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where orders go and data come from, and with which keys.

    Attributes:
        mode: simulated, paper or live.
        url: Root of the REST interface of trading; None for Alpaca's paper host.
        key: Of the trading account.
        secret: Likewise.
        data_url: Root of the REST interface of data; None for Alpaca's.
        data_key: For market data.
        data_secret: Likewise.
        data_stream: Address of the data stream, with its path.
        updates_stream: Address of the trading stream, with its path.
        token: Opens the simulator's side door, and with it its clock.
    """

    mode: str
    url: str | None
    key: str
    secret: str
    data_url: str | None
    data_key: str
    data_secret: str
    data_stream: str
    updates_stream: str
    token: str | None = None


class _Pace:
    """The pace of data requests within this process: the database may be away."""

    def __init__(self, per_minute: int) -> None:
        self._budget = Budget(per_minute=per_minute)

    def acquire(self) -> None:
        if self._budget.acquire(Lane.READ, _DATA_WAIT_S) is None:
            msg = f"No request for market data could leave within {_DATA_WAIT_S:.0f} s."
            raise RateLimitedError(msg)

    def push_back(self, seconds: float) -> None:
        self._budget.hold(seconds)


def limits_of(settings: Settings) -> Limits:
    """Return the gate's limits."""
    risk = settings.risk
    return Limits(
        max_order_usd=_exact(risk.max_order_usd),
        max_order_shares=_exact(risk.max_order_shares),
        max_position_usd=_exact(risk.max_position_usd),
        max_gross_exposure=_exact(risk.max_gross_exposure),
        max_daily_loss=_exact(risk.max_daily_loss),
        max_orders_per_minute=risk.max_orders_per_minute,
        max_orders_per_session=risk.max_orders_per_session,
        price_collar=_exact(risk.price_collar),
        max_price_age_s=_MAX_PRICE_AGE_S,
        restricted=frozenset(risk.restricted),
    )


def market_of(settings: Settings, gateway: Gateway) -> MarketData:
    """Return the venue's market data, for the trader alone."""
    simulated = gateway.mode == "simulated"
    return MarketData(
        key=gateway.data_key,
        secret=gateway.data_secret,
        feed=settings.data.feed,
        url=gateway.data_url,
        trading_url=gateway.url,
        pace=_Pace((settings.simulator if simulated else settings.data).requests_per_minute),
        page_limit=settings.data.page_limit,
    )


def broker_of(settings: Settings, gateway: Gateway) -> TradingApi:
    """Return the trading account's REST interface."""
    simulated = gateway.mode == "simulated"
    per_minute = (settings.simulator if simulated else settings.trading).requests_per_minute
    return TradingApi(
        key=gateway.key,
        secret=gateway.secret,
        url=gateway.url,
        budget=Budget(per_minute=per_minute),
    )


def wire(
    settings: Settings, gateway: Gateway, *, account: str, database_url: str, session: Session,
    scorer: Scorer, before: Sequence[SessionBefore], broker: TradingApi, market: MarketData,
    logs: Path | None = None, tenure: Tenure | None = None, ends_by: datetime | None = None,
) -> Trader:  # fmt: skip
    """Put a trader together; called within its event loop. Only the database has been looked at.

    Raises:
        EnvironmentFaultError: The database has another schema than this code.
    """
    engine = connect(database_url)
    try:
        check_schema(engine)
    finally:
        engine.dispose()
    symbols = settings.symbols()
    rules, _ = rules_of(settings, symbols)
    run = TraderRun(
        id=uuid.uuid4().hex,
        book=Book(account, settings.trading.name),
        mode=gateway.mode,
        session=session.day,
        model_id=scorer.model_id,
        code_version=code_version(),
        config_hash=config_hash(settings),
        host=platform.node() or "unknown",
        pid=os.getpid(),
        started_at=datetime.now(UTC),
    )
    plan = Plan(
        run, session, symbols, rules, limits_of(settings), settings.trading, settings.risk,
        checks_clock=gateway.mode != "simulated", tenure=tenure, ends_by=ends_by,
    )  # fmt: skip
    streams = VenueStreams(
        data_url=gateway.data_stream, updates_url=gateway.updates_stream, symbols=symbols,
        data_keys=(gateway.data_key, gateway.data_secret), keys=(gateway.key, gateway.secret),
    )  # fmt: skip
    agenda = Agenda()
    settled = asyncio.Event()
    work = Work(agenda, settled=settled.set)
    parts: Parts | None = None

    def under_way() -> bool:
        return parts is not None and bool(parts.ledger.under_way())

    clock = _clock(gateway, streams, work, settled, under_way)
    world = World(
        clock=clock, broker=broker, history=RecentTrades(market), streams=streams,
        journal=TradingJournal(database_url, run.book, tenure=tenure), scorer=scorer,
    )  # fmt: skip
    conditions = load_condition_table(settings.data.condition_table)
    parts = Parts(
        plan, world, tape=LiveTape(session, symbols, conditions),
        windows=Windows(session, before), logs=logs, work=work, agenda=agenda,
    )  # fmt: skip
    return Trader(plan, world, parts)


def _clock(
    gateway: Gateway,
    streams: VenueStreams,
    work: Work,
    settled: asyncio.Event,
    under_way: Callable[[], bool],
) -> Clock:
    if gateway.token is None or gateway.url is None:
        return RealClock()
    side_door = SimulatedClock(gateway.url, gateway.token)
    reading = side_door.read()
    if not reading.paused:
        return RatedClock(reading.now_ns, reading.at_ns, reading.rate)

    async def received(stream: Stream, count: int) -> None:
        await streams.received(stream, count)

    def step_ns() -> int:
        return _STEP_WITH_ORDERS_NS if under_way() else _STEP_NS

    return LockstepClock(
        reading.now_ns, lockstep(side_door, received), busy=lambda: work.busy,
        step_ns=step_ns, settled=settled,
    )  # fmt: skip


def _exact(value: float) -> Decimal:
    return Decimal(str(value))
