"""The trader: one loop that hears the streams, keeps the time table, and shows that it lives."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from alpaca_strategy.domain.journal import Switch, SwitchKind
from alpaca_strategy.domain.orders import OrderStatus, Side, TradeUpdate
from alpaca_strategy.domain.streams import (
    MarketFrame,
    Stream,
    StreamEvent,
    StreamLost,
    StreamNonsense,
    StreamReady,
)
from alpaca_strategy.errors import AlpacaStrategyError, BusyError, EnvironmentFaultError
from alpaca_strategy.strategy.decide import is_due
from alpaca_strategy.trader.clocks import MINUTE_NS, SECOND_NS
from alpaca_strategy.trader.holds import Hold
from alpaca_strategy.trader.opening import watch_open
from alpaca_strategy.trader.parts import Parts
from alpaca_strategy.trader.plan import Plan, World
from alpaca_strategy.trader.recovery import check_clock, recover

log = structlog.get_logger(__name__)
#: After the close, for executions of the closing auction to arrive.
_AFTER_CLOSE_S: Final = 5
#: What the trading stream may tell of an order without making anybody wonder. A busted or corrected
#: trade does.
_EVENTS: Final = frozenset({
    "accepted", "calculated", "canceled", "done_for_day", "expired", "fill", "held", "new",
    "order_cancel_rejected", "order_replace_rejected", "partial_fill", "pending_cancel",
    "pending_new", "pending_replace", "rejected", "replaced", "stopped", "suspended",
})  # fmt: skip
#: Of this machine's time: what a stop may take, and the farewell after it.
_GRACEFUL_S: Final = 5.0
_FAREWELL_S: Final = 1.5
_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Ending:
    """How a trader's day ended.

    Attributes:
        reason: closed, stopped.
        flat: Whether the strategy holds nothing.
        differences: What does not agree with the venue's books at the end.
    """

    reason: str
    flat: bool
    differences: tuple[str, ...]


class Trader:
    """One trader on one session."""

    def __init__(self, plan: Plan, world: World, parts: Parts) -> None:
        self.plan = plan
        self.world = world
        self.parts = parts
        self._ending: str | None = None
        self._failure: AlpacaStrategyError | None = None
        self._turned = 0  # position of the switch that was obeyed last
        self._signalled = False  # a kill by signal is not in the journal yet
        parts.obey = self.obey

    async def run(self) -> Ending:
        """Trade until the session has ended, or somebody stops it.

        Raises:
            BusyError: Another trader is at work on this account.
            AlpacaStrategyError: It cannot start, or a stream is refused for good.
        """
        self._listen_to_signals()
        self._end_in_time()
        streams = asyncio.create_task(self.world.streams.run(self.hear))
        self._schedule()
        self.parts.work.start(self._start())
        try:
            await self._turn(streams)
        finally:
            streams.cancel()
            await asyncio.gather(streams, return_exceptions=True)
            await self._finish()
        if self._failure is not None:
            raise self._failure
        return Ending(
            self._ending or "stopped",
            not any(self.parts.ledger.shares().values()),
            self.parts.books.differences,
        )

    async def _turn(self, streams: asyncio.Task[None]) -> None:
        """Turn the main loop; whatever happens beside it, this is what lives or hangs."""
        parts, loop = self.parts, asyncio.get_running_loop()
        while self._ending is None and self._failure is None:
            parts.work.changed.clear()
            alarm = loop.call_at(parts.pulse.turn(), parts.work.changed.set)
            parts.agenda.fire(self.world.clock.now_ns())
            if parts.work.defect is not None:
                raise parts.work.defect
            if streams.done():
                streams.result()  # a defect, or it would run on
            if parts.pulse.usurped:
                msg = "Another trader has taken over this account; this one ends."
                self._failure = BusyError(msg)
                continue
            if parts.pulse.dismissed is not None:
                self._leave(parts.pulse.dismissed)
            await self.world.clock.wait(parts.agenda.next_ns(), parts.work.changed)
            alarm.cancel()

    async def _start(self) -> None:
        try:
            await self.parts.rounds.warm_up()
            self.parts.rounds.decided |= await recover(self.plan, self.world, self.parts)
        except AlpacaStrategyError as error:
            self._failure = error
            return
        self.parts.holds.lift(Hold.STARTING)
        log.info("trader_ready", holds=self.parts.holds.as_dict())

    def _schedule(self) -> None:
        """Note everything that the clock brings about."""
        agenda, plan, parts = self.parts.agenda, self.plan, self.parts
        now = self.world.clock.now_ns()
        parts.holds.set(Hold.CLOSED, f"the session opens at {plan.session.opens_at:%H:%M} UTC")
        agenda.at(
            max(plan.opens_ns, now),
            lambda: parts.work.start(watch_open(plan, self.world, parts.work, parts.holds)),
        )
        for minute in range(plan.session.minutes):
            if plan.ends_ns(minute) >= now - MINUTE_NS:
                agenda.at(plan.ends_ns(minute), self._minute_ended(minute))
        agenda.at(plan.closes_ns, lambda: parts.holds.set(Hold.CLOSED, "the session is over"))
        end = max(plan.closes_ns, now) + _AFTER_CLOSE_S * SECOND_NS
        agenda.at(end, lambda: parts.work.start(self._close_the_day()))
        every = int(plan.trading.reconcile_every_s * SECOND_NS)
        self._repeat(now + every, every, lambda: parts.work.start(parts.books.compare("timer")))
        self._repeat(now + every, every, self._check_clock)
        self._watch_the_tape()

    def _check_clock(self) -> None:
        if Hold.STARTING not in self.parts.holds:
            self.parts.work.start(check_clock(self.plan, self.world, self.parts))

    def _watch_the_tape(self) -> None:
        """Look whether the stream is mute, and again when it may be."""
        self.parts.agenda.at(self.parts.feed.check(), self._watch_the_tape)

    def _repeat(self, at_ns: int, every_ns: int, what: Callable[[], object]) -> None:
        def again() -> None:
            what()
            self._repeat(at_ns + every_ns, every_ns, what)

        self.parts.agenda.at(at_ns, again)

    def _minute_ended(self, minute: int) -> Callable[[], None]:
        def ended() -> None:
            self.parts.minute = minute
            starting = Hold.STARTING in self.parts.holds
            if is_due(minute, self.plan.session.minutes, self.plan.rules) and not starting:
                self.parts.work.start(self.parts.rounds.play(minute))

        return ended

    def hear(self, event: StreamEvent) -> None:
        """Take what a stream tells."""
        parts = self.parts
        if isinstance(event, MarketFrame):
            parts.feed.take(event)
            return
        if isinstance(event, TradeUpdate):
            parts.books.take(event)
            if event.event not in _EVENTS or event.order.status is OrderStatus.OTHER:
                words = f"an update {event.event!r} of an order {event.order.status_text!r}"
                self._nonsense(StreamNonsense(Stream.UPDATES, words))
        elif isinstance(event, StreamReady):
            log.info("stream_ready", stream=event.stream.value)
            if event.stream is Stream.DATA:
                parts.feed.ready()
            else:
                parts.books.updates_ready()
        elif isinstance(event, StreamLost):
            self._lost(event)
        elif isinstance(event, StreamNonsense):
            self._nonsense(event)
        parts.work.changed.set()

    def _nonsense(self, event: StreamNonsense) -> None:
        """Count what cannot be understood, and ask for what it may have told."""
        log.warning("stream_nonsense", stream=event.stream.value, what=event.what)
        self.parts.count("nonsense")
        if event.stream is Stream.UPDATES:
            self.parts.books.surprised()
        else:
            self.parts.feed.doubt()

    def _lost(self, event: StreamLost) -> None:
        self.parts.count(f"{event.stream.value}_lost")
        if event.stream is Stream.DATA:
            self.parts.feed.lost(event.reason)
        else:
            log.warning("updates_lost", reason=event.reason)
            self.parts.books.updates_lost(event.reason)
        if event.final:
            msg = f"The {event.stream.value} stream is refused: {event.reason}"
            self._failure = BusyError(msg)

    def obey(self, switch: Switch | None) -> None:
        """Be as the switch stands, and do once what each turn of it asks for."""
        parts, kind = self.parts, switch.kind if switch else SwitchKind.REARM
        why = f"{switch.reason}, says {switch.by}" if switch else ""
        if not self._signalled:  # else the journal does not know of the kill yet
            parts.holds.put(Hold.KILLED, why if kind is SwitchKind.KILL else None)
        if kind is SwitchKind.HALT:
            parts.holds.set(Hold.HALTED, why)
        if switch is None or switch.position == self._turned:
            return
        self._turned = switch.position
        log.warning("switch_turned", kind=kind.value, reason=switch.reason, by=switch.by)
        if kind is SwitchKind.REARM:
            parts.holds.lift(Hold.HALTED)
            parts.emergency.end_flattening()
            parts.books.accept()
        elif kind is SwitchKind.KILL:
            parts.work.start(parts.emergency.carry_out(flatten=switch.flatten))
        parts.work.changed.set()

    async def _close_the_day(self) -> None:
        await self.parts.books.compare("close")
        await self.parts.scribe.flush()
        self._ending = "closed"

    def _leave(self, why: str) -> None:
        """Begin to end early, once."""
        if Hold.STOPPING not in self.parts.holds:
            log.warning("trader_stops", reason=why)
            self.parts.work.start(self.stop(why))

    async def stop(self, why: str) -> None:
        """End early: nothing new is sent, open purchases are cancelled, sales stay."""
        self.parts.holds.set(Hold.STOPPING, why)
        try:
            async with asyncio.timeout(_GRACEFUL_S):
                await self._end_purchases()
                await self.parts.scribe.flush()
        except TimeoutError:
            log.warning("stopped_with_work_left")
        self._ending = "stopped"

    async def _end_purchases(self) -> None:
        """Cancel open purchases, those that are only just on their way included."""
        ledger = self.parts.ledger
        await self.parts.desk.cancel_open()
        while any(one.intent.ticket.side is Side.BUY for one in ledger.unresolved()):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)  # the ledger tells nobody
        await self.parts.desk.cancel_open()

    async def _finish(self) -> None:
        self.parts.phase = "stopped"
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await self.parts.pulse.confirm()
        except TimeoutError:
            log.warning("last_heartbeat_not_written")
        await self.parts.work.close()

    def _end_in_time(self) -> None:
        """End at the deadline by this machine's clock, whether anybody asks for it or not."""
        if self.plan.ends_by is not None:
            left = (self.plan.ends_by - datetime.now(UTC)).total_seconds()
            why = f"its time was over at {self.plan.ends_by:%H:%M:%S} UTC"
            asyncio.get_running_loop().call_later(left, lambda: self._leave(why))

    def _listen_to_signals(self) -> None:
        loop, work = asyncio.get_running_loop(), self.parts.work
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(name, lambda: self._leave("the trader was told to stop"))
        loop.add_signal_handler(signal.SIGUSR1, lambda: work.start(self._killed_by_signal()))
        loop.add_signal_handler(signal.SIGQUIT, self.parts.print_status)

    async def _killed_by_signal(self) -> None:
        """Stop sending at once, and only then write down who wanted it."""
        work, journal = self.parts.work, self.world.journal
        self._signalled = True
        self.parts.holds.set(Hold.KILLED, "signal USR1")
        work.start(self.parts.emergency.carry_out(flatten=False))
        while True:
            try:
                switch = await work.journal(
                    journal.switch, SwitchKind.KILL, reason="signal USR1", by="signal"
                )
            except EnvironmentFaultError:
                await asyncio.sleep(1.0)
                continue
            self._turned, self._signalled = switch.position, False
            return
