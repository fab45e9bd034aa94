"""What a trader is to do today, and what it does it with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from alpaca_strategy.domain.journal import TraderRun
from alpaca_strategy.domain.lease import Tenure
from alpaca_strategy.domain.market import Session
from alpaca_strategy.sections import RiskSettings, TradingSettings
from alpaca_strategy.strategy.limits import Limits
from alpaca_strategy.strategy.rules import Rules
from alpaca_strategy.trader.clocks import MINUTE_NS, SECOND_NS
from alpaca_strategy.trader.ports import Broker, Clock, History, Journal, Scorer, Streams


@dataclass(frozen=True, slots=True)
class Plan:
    """What stands for the whole session.

    Attributes:
        run: Who trades, for whom.
        session: When, by the venue's calendar.
        symbols: Among which names, in the order of the model.
        rules: Of the strategy.
        limits: Of the gate.
        trading: Of the trader itself.
        risk: What the limits were made from.
        checks_clock: Whether the machine's time is compared with the venue's; not where the
            venue's is used.
        tenure: The lease under which it works; None for a trader that a person started.
        ends_by: UTC, by this machine's clock, when it ends whatever the venue's clock says.
    """

    run: TraderRun
    session: Session
    symbols: tuple[str, ...]
    rules: Rules
    limits: Limits
    trading: TradingSettings
    risk: RiskSettings
    checks_clock: bool = True
    tenure: Tenure | None = None
    ends_by: datetime | None = None

    @property
    def opens_ns(self) -> int:
        """The open in nanoseconds since 1970 UTC."""
        return nanoseconds(self.session.opens_at)

    @property
    def closes_ns(self) -> int:
        """The close in nanoseconds since 1970 UTC."""
        return nanoseconds(self.session.closes_at)

    def ends_ns(self, minute: int) -> int:
        """Return when a minute of the session has ended."""
        return self.opens_ns + (minute + 1) * MINUTE_NS

    def due_ns(self, minute: int) -> int:
        """Return when its bars count as complete."""
        return self.ends_ns(minute) + int(self.trading.grace_s * SECOND_NS)

    def deadline_ns(self, minute: int) -> int:
        """Return when it is too late to act on it."""
        return self.due_ns(minute) + int(self.trading.decision_deadline_s * SECOND_NS)


@dataclass(frozen=True, slots=True)
class World:
    """What the trader is connected to."""

    clock: Clock
    broker: Broker
    history: History
    streams: Streams
    journal: Journal
    scorer: Scorer


def nanoseconds(at: datetime) -> int:
    """Return a time in nanoseconds since 1970 UTC, without a float in between."""
    return int(at.timestamp()) * SECOND_NS + at.microsecond * 1000


def moment(ns: int) -> datetime:
    """Return nanoseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(ns / SECOND_NS, UTC)
