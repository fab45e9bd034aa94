"""Words for the market: feeds, venues, sessions, severities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class Venue(StrEnum):
    """Whom we talk to; each venue has its own lake, database and object store."""

    SIMULATOR = "simulator"
    PAPER = "paper"


class Feed(StrEnum):
    """The tape that prices come from; bars of different feeds are never mixed."""

    IEX = "iex"
    SIP = "sip"


class Severity(StrEnum):
    """What a failed expectation means: critical quarantines, the others show."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Session:
    """One day of the exchange.

    Attributes:
        day: The exchange's date.
        opens_at: First moment of regular trading, UTC.
        closes_at: First moment after it, UTC.
    """

    day: date
    opens_at: datetime
    closes_at: datetime

    @property
    def minutes(self) -> int:
        """Regular minutes: 390, or 210 on a half-day."""
        return int((self.closes_at - self.opens_at).total_seconds() // 60)
