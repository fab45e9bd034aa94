"""The trader's parts, put together once, and what they have to say of themselves."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alpaca_strategy.domain.journal import Heartbeat, Intent, Switch
from alpaca_strategy.market.live_tape import LiveTape
from alpaca_strategy.strategy.limits import Denial
from alpaca_strategy.trader.books import Books
from alpaca_strategy.trader.desk import Desk
from alpaca_strategy.trader.emergency import Emergency
from alpaca_strategy.trader.feed import Feed
from alpaca_strategy.trader.gatekeeper import Gatekeeper
from alpaca_strategy.trader.holds import Hold, Holds
from alpaca_strategy.trader.ledger import Ledger
from alpaca_strategy.trader.paper_trail import PaperTrail
from alpaca_strategy.trader.plan import Plan, World, moment
from alpaca_strategy.trader.pulse import Pulse
from alpaca_strategy.trader.rounds import Rounds
from alpaca_strategy.trader.scribe import Scribe
from alpaca_strategy.trader.window import Windows
from alpaca_strategy.trader.work import Agenda, Work


class Parts:
    """Everything that works for one trader.

    Attributes:
        minute: Of the session that ended last; None before the first.
        phase: starting, waiting, trading, stopped.
        obey: Told of the switch as the journal has it.
        on_beat: Told of every heartbeat.
    """

    def __init__(
        self, plan: Plan, world: World, *, tape: LiveTape, windows: Windows, logs: Path | None,
        work: Work, agenda: Agenda,
    ) -> None:  # fmt: skip
        self.minute: int | None = None
        self.phase: str | None = None
        self.obey: Callable[[Switch | None], None] = lambda _: None
        self.on_beat: Callable[[Heartbeat], None] = lambda _: None
        self._held_since: dict[str, str] = {}
        self._plan = plan
        self._world = world
        self._counts: Counter[str] = Counter()
        self._started = time.monotonic()
        self.agenda, self.work = agenda, work
        work.on_journal_failure = lambda: self.count("journal_failures")
        self.holds, self.ledger, self.trail = Holds(), Ledger(), PaperTrail(logs)
        self.scribe = Scribe(world.journal, work, self.holds, self.trail)
        self.desk = Desk(
            world.clock, world.broker, world.journal, self.ledger, self.scribe, work,
            gate=self._judge,
            on_switch=self._switched,
            may_leave=self._may_leave,
        )  # fmt: skip
        self.books = Books(plan, world, self.desk, self.holds, self.trail)
        self.feed = Feed(
            plan.session, tape, clock=world.clock, history=world.history, streams=world.streams,
            work=work, holds=self.holds, stale_s=plan.trading.stale_data_s,
        )  # fmt: skip
        self.emergency = Emergency(plan, self.desk, self.books, minute=lambda: self.minute or 0)
        self.gatekeeper = Gatekeeper(plan, self.desk, self.books, self.feed, self.holds)
        self.gatekeeper.flattening = lambda: self.emergency.flattening
        self.pulse = Pulse(
            world.journal, work, self.holds, state=self.heartbeat,
            on_switch=self._switched,
        )  # fmt: skip
        self.rounds = Rounds(
            plan, world, self.feed, windows, self.books, self.desk, self.holds, work,
            confirm_lock=self.pulse.confirm,
        )  # fmt: skip

        self.holds.set(Hold.STARTING, "not yet recovered")
        self.holds.set(Hold.UPDATES, "the trading stream is not connected yet")
        for name, why in self.holds.as_dict().items():
            self._held(Hold(name), why)
        self.holds.on_change = self._held

    def _held(self, hold: Hold, why: str | None) -> None:
        """Note when a hold begins or ends, for whoever asks later why nothing was bought."""
        now = moment(self._world.clock.now_ns()).isoformat(timespec="seconds")
        began = self._held_since.pop(hold.value, None)
        if why is not None:
            self._held_since[hold.value] = now
        if self.pulse.begun:  # before, another trader may speak for the account
            kind, since = ("hold_ended", {"since": began}) if why is None else ("hold_began", {})
            detail = {"hold": hold.value, **({"why": why} if why else since), "venue_time": now}
            self.scribe.add(lambda: self._world.journal.record_event(kind, detail))

    def _judge(self, intent: Intent) -> Denial | None:
        self.pulse.watch_lock()
        return self.gatekeeper.judge(intent)

    def _may_leave(self) -> bool:
        """Asked by the thread that sends, right before an order leaves."""
        killed = Hold.KILLED in self.holds and not self.emergency.flattening
        stopped = killed or Hold.STOPPING in self.holds or Hold.LOCK in self.holds
        return not stopped and self.pulse.lock_is_fresh

    def _switched(self, switch: Switch | None) -> None:
        self.obey(switch)

    def count(self, what: str) -> None:
        """Count something that is worth knowing."""
        self._counts[what] += 1

    def heartbeat(self) -> Heartbeat:
        """Return what the trader has to say of itself now."""
        beat = Heartbeat(
            run_id=self._plan.run.id,
            at=datetime.now(UTC),
            venue_at=moment(self._world.clock.now_ns()),
            phase=self._phase(),
            holds=self.holds.as_dict(),
            minute=self.minute,
            last_data_at=self.feed.newest,
            detail=self.detail(),
        )
        self.on_beat(beat)
        return beat

    def _phase(self) -> str:
        if self.phase is not None:
            return self.phase
        if Hold.STARTING in self.holds:
            return "starting"
        return "waiting" if Hold.CLOSED in self.holds else "trading"

    def detail(self) -> dict[str, Any]:
        """Return figures for people: plain data."""
        books, tape = self.books, self.feed.tape.counts
        account = books.account
        return {
            "session": self._plan.session.day.isoformat(),
            "mode": self._plan.run.mode,
            "generation": self._plan.tenure.generation if self._plan.tenure else None,
            "model": self._world.scorer.model_id,
            "equity": None if account is None else str(account.equity),
            "day_return": books.day_return,
            "positions": {
                symbol: {
                    "qty": str(qty),
                    "since": _text(self.ledger.entered().get(symbol)),
                    "value": _value(books, symbol),
                }
                for symbol, qty in self.ledger.shares().items()
            },
            "foreign": {symbol: str(qty) for symbol, qty in (books.foreign or {}).items() if qty},
            "open_orders": [one.client_order_id for one in self.ledger.open_orders()],
            "unresolved_orders": [one.client_order_id for one in self.ledger.unresolved()],
            "orders_sent": self.gatekeeper.orders_sent,
            "decisions": len(self.rounds.decided),
            "stages_ms": {name: round(s * 1e3, 2) for name, s in self.rounds.stages.items()},
            "trades": tape.trades,
            "late_trades": tape.late,
            "rejected_trades": tape.rejected,
            "gaps": self.feed.gaps,
            "halted_symbols": dict(self.feed.halted),
            "counts": dict(self._counts),
            "holds_since": dict(self._held_since),
            "differences": list(books.differences),
            "uptime_s": round(time.monotonic() - self._started, 1),
        }

    def print_status(self) -> None:
        """Write the status to the terminal, as the quit key asks for."""
        beat = self.heartbeat()
        lines = {"phase": beat.phase, "venue_time": beat.venue_at.isoformat(timespec="seconds"),
                 "minute": beat.minute, "holds": dict(beat.holds), **beat.detail}  # fmt: skip
        sys.stderr.write("\n" + json.dumps(lines, indent=1, default=str) + "\n")


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def _value(books: Books, symbol: str) -> str | None:
    there = books.positions.get(symbol)
    return None if there is None or there.market_value is None else str(there.market_value)
