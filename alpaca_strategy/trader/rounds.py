"""One round after another: when a minute has closed, decide, write it down, and send."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar

import numpy as np
import structlog

from alpaca_strategy.domain.journal import Decision, Intent
from alpaca_strategy.domain.orders import OrderType, Ticket, client_order_id
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.trader.books import Books
from alpaca_strategy.trader.crash_points import pass_by
from alpaca_strategy.trader.deciding import (
    Situation,
    Wish,
    collared,
    coverage,
    hash_inputs,
    is_closing_time,
    objection_to_scores,
    resolve,
)
from alpaca_strategy.trader.desk import Desk
from alpaca_strategy.trader.feed import Feed
from alpaca_strategy.trader.holds import Hold, Holds
from alpaca_strategy.trader.plan import Plan, World, moment
from alpaca_strategy.trader.window import Windows
from alpaca_strategy.trader.work import Work

T = TypeVar("T")
log = structlog.get_logger(__name__)
_CLOSE: Final = BAR_COLUMNS.index("close")
#: Without these the scores would be of a market that nobody has seen.
_BLINDING: Final = (Hold.DATA, Hold.STALE)


@dataclass
class Rounds:
    """Makes decisions and has them carried out.

    Attributes:
        decided: Minutes for which a decision is recorded.
        stages: Seconds that each stage of the newest decision took, by name.
    """

    plan: Plan
    world: World
    feed: Feed
    windows: Windows
    books: Books
    desk: Desk
    holds: Holds
    work: Work
    confirm_lock: Callable[[], Awaitable[None]]
    decided: set[int] = field(default_factory=set)
    stages: dict[str, float] = field(default_factory=dict)
    on_decision: Callable[[Decision], None] = lambda _: None
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def warm_up(self) -> None:
        """Do once what a decision does, so that the first one does not wait for compilers."""
        minutes, count = 20, len(self.plan.symbols)
        values, observed = self.feed.tape.bars(minutes)
        nothing = np.full((minutes, count), np.nan)
        window = self.windows.at(values, observed)
        await self.work.thinking(self.world.scorer.score, window.features, window.usable)
        scores = np.linspace(0.0, 1.0, count)
        resolve(self._situation(minutes - 1, nothing, scores, scores), self.plan.rules)

    async def play(self, minute: int) -> None:
        """Decide on a minute that has just ended, once its bars are complete."""
        if minute in self.decided:
            return
        if self._one_at_a_time.locked():
            await self._carry_out(self._skipped(minute, "the round before still works"), ())
            return
        async with self._one_at_a_time:
            await self._prepare(minute)
            await self.confirm_lock()
            await self.work.until(self.plan.due_ns(minute))
            self.stages = {}
            started = monotonic()
            decision, wishes = await self._decide(minute)
            self._stage("decision", started)
            pass_by("decision_made")
            await self._carry_out(decision, wishes)
            if self.desk.last_sent > started:
                self.stages["last_order"] = self.desk.last_sent - started
                self.stages["last_order_without_venue"] = (
                    self.stages["last_order"] - self.desk.waited
                )
            log.info("round_played", minute=minute, orders=len(wishes),
                     ms={name: round(s * 1e3, 3) for name, s in self.stages.items()})  # fmt: skip

    async def _prepare(self, minute: int) -> None:
        """End what the decision before left, and compare books; closing waits for no answer."""
        closing = is_closing_time(minute, self.plan.session, self.plan.rules)
        until = self.plan.due_ns(minute) if closing else self.plan.deadline_ns(minute)
        await self._within(until, self.books.prepare(closing=closing))

    async def _within(self, until_ns: int, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what comes of some work, or None where that takes longer; it then goes on."""
        done, found = asyncio.Event(), []

        async def carry_on() -> None:
            found.append(await work)
            done.set()

        self.work.start(carry_on())
        await self.work.until(until_ns, done)
        return found[0] if found else None

    async def _carry_out(self, decision: Decision, wishes: Sequence[Wish]) -> None:
        intents = [self._intent(decision, wish) for wish in wishes]
        started = monotonic()
        try:
            await self.work.journal(self.world.journal.record_decision, decision, intents)
        except EnvironmentFaultError as error:
            self.holds.set(Hold.JOURNAL, str(error))
            log.warning("decision_not_written", minute=decision.minute, reason=str(error))
            return
        self._stage("journal", started)
        self.decided.add(decision.minute)
        self.on_decision(decision)
        pass_by("intents_committed")
        log.info(
            "decision_made", minute=decision.minute, skipped=decision.skipped,
            orders=[f"{i.ticket.side.value} {i.ticket.qty} {i.ticket.symbol}" for i in intents],
        )  # fmt: skip
        for intent in intents:
            self.desk.ledger.add_intent(intent)
        started = monotonic()
        await self.desk.carry_out(intents, self.plan.deadline_ns(decision.minute))
        self._stage("orders", started)

    async def _decide(self, minute: int) -> tuple[Decision, tuple[Wish, ...]]:
        """Return a decision, and what follows from it: nothing where it is skipped."""
        closing = is_closing_time(minute, self.plan.session, self.plan.rules)
        objection = self._objection(minute, closing=closing)
        if objection is not None:
            return self._skipped(minute, objection), ()
        count = len(self.plan.symbols)
        scores, expected = np.full(count, np.nan), np.full(count, np.nan)
        started = monotonic()
        values, observed = self.feed.tape.bars(minute + 1)
        self._stage("bars", started)
        closes = np.where(observed, values[:, :, _CLOSE], np.nan)
        inputs = b""
        if not closing:
            covered = coverage(observed, self.windows.recent)
            if covered < self.plan.trading.min_coverage:
                missing = f"only {covered:.0%} of the symbols have a bar of the last minutes"
                return self._skipped(minute, missing), ()
            started = monotonic()
            window = self.windows.at(values, observed)
            self._stage("features", started)
            started = monotonic()
            thought = await self._within(
                self.plan.deadline_ns(minute),
                self.work.thinking(self.world.scorer.score, window.features, window.usable),
            )
            self._stage("scores", started)
            if thought is None:
                return self._skipped(minute, "the model has not answered in time"), ()
            scores, expected = thought
            nonsense = objection_to_scores(scores, expected) or self._too_late(minute)
            if nonsense is not None:
                return self._skipped(minute, nonsense), ()
            inputs = hashlib.sha256(window.features.data).digest()
        started = monotonic()
        now = self._situation(minute, closes, scores, expected)
        names, wishes = resolve(now, self.plan.rules)
        self._stage("rules", started)
        decision = Decision(
            session=self.plan.session.day,
            minute=minute,
            due_at=moment(self.plan.due_ns(minute)),
            decided_at=self.desk.now(),
            watermark=self.feed.newest,
            input_hash=hash_inputs(now, self.plan.rules, [np.frombuffer(inputs, np.uint8)]),
            model_id=self.world.scorer.model_id,
            equity=now.equity,
            names=names,
        )
        return decision, wishes

    def _objection(self, minute: int, *, closing: bool) -> str | None:
        """Return why nothing may be decided now, or None."""
        late = self._too_late(minute)
        if late is not None:
            return late
        held = self.holds.first(entries=False)
        if held is not None:
            return f"{held[0].value}: {held[1]}"
        if closing:
            return None  # whatever is not known, everything is sold
        for hold in _BLINDING:
            if hold in self.holds:
                return f"{hold.value}: {self.holds.as_dict()[hold.value]}"
        return None if self.books.account else "the account is not known yet"

    def _too_late(self, minute: int) -> str | None:
        late_ns = self.world.clock.now_ns() - self.plan.deadline_ns(minute)
        return None if late_ns <= 0 else f"it comes {late_ns / 1e9:.1f} s after its deadline"

    def _skipped(self, minute: int, why: str) -> Decision:
        log.warning("decision_skipped", minute=minute, reason=why)
        return Decision(
            session=self.plan.session.day,
            minute=minute,
            due_at=moment(self.plan.due_ns(minute)),
            decided_at=self.desk.now(),
            watermark=self.feed.newest,
            input_hash="",
            model_id=self.world.scorer.model_id,
            equity=self.books.equity,
            skipped=why,
        )

    def _situation(
        self, minute: int, closes: np.ndarray, scores: np.ndarray, expected: np.ndarray
    ) -> Situation:
        ledger = self.desk.ledger
        return Situation(
            session=self.plan.session,
            minute=minute,
            symbols=self.plan.symbols,
            closes=closes,
            scores=scores,
            expected_bps=expected,
            shares=self.books.sellable(),
            entered=ledger.entered(),
            exited=ledger.exited(),
            pending=ledger.pending_sides(),
            excluded=self.books.excluded() | self.feed.halted,
            equity=self.books.equity,
        )

    def _intent(self, decision: Decision, wish: Wish) -> Intent:
        trading = self.plan.trading
        limit = None
        # What is closed at the end of the day must not wait for its price.
        closing = is_closing_time(decision.minute, self.plan.session, self.plan.rules)
        if trading.order_type == "limit" and wish.price is not None and not closing:
            limit = collared(wish.price, wish.side, trading.collar_bps)
        name = client_order_id(
            trading.name, decision.session, decision.minute, wish.symbol, wish.side
        )
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        return Intent(
            ticket=Ticket(name, wish.symbol, wish.side, wish.qty, kind, limit),
            session=decision.session,
            minute=decision.minute,
            reason=int(wish.reason),
            price=wish.price,
            created_at=decision.decided_at,
        )

    def _stage(self, name: str, started: float) -> None:
        self.stages[name] = monotonic() - started
