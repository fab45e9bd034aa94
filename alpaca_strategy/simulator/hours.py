"""When orders may trade: the regular session, and the hours before and after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache

from alpaca_strategy.simulator import calendar
from alpaca_strategy.simulator.calendar import NEW_YORK

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Hours:
    """One exchange day in nanoseconds since 1970 UTC.

    Attributes:
        date: The New York date.
        early_ns: Trading before the session begins.
        open_ns: The session opens.
        close_ns: The session closes.
        late_ns: Trading after the session ends.
    """

    date: date
    early_ns: int
    open_ns: int
    close_ns: int
    late_ns: int

    def window(self, *, extended: bool) -> tuple[int, int]:
        """Return from when until when an order may trade on the day; the end is excluded."""
        return (self.early_ns, self.late_ns) if extended else (self.open_ns, self.close_ns)


def at_ns(day: date, hour: int, minute: int = 0) -> int:
    """Return the nanoseconds since 1970 of a New York wall time."""
    moment = datetime.combine(day, time(hour, minute), NEW_YORK)
    return int(moment.astimezone(UTC).timestamp()) * SECOND


@lru_cache(maxsize=4096)
def hours(day: date) -> Hours | None:
    """Return the hours of a day, or None when the exchange is closed."""
    session = calendar.session(day)
    if session is None:
        return None
    late = at_ns(day, 17 if session.closes_at.hour < 16 else 20)
    return Hours(day, at_ns(day, 4), session.open_ns, session.close_ns, late)


def new_york_day(ns: int) -> date:
    """Return the New York date of a time."""
    return datetime.fromtimestamp(ns // SECOND, NEW_YORK).date()


def next_hours(day: date) -> Hours:
    """Return the hours of the first session after a day."""
    found = hours(calendar.next_session(day).date)
    if found is None:
        msg = f"the calendar has no session after {day}"
        raise LookupError(msg)
    return found


def trading_hours(ns: int, *, extended: bool) -> Hours:
    """Return the day on which an order sent at a time trades: this one, or the next session."""
    today = hours(new_york_day(ns))
    if today is not None and ns < today.window(extended=extended)[1]:
        return today
    return next_hours(new_york_day(ns))
