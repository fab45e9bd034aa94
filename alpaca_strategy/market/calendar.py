"""The exchange's calendar: which days are sessions, and when they open and close.

Standard library only: the scheduler, the web server and the DAG processor all load this module,
and `exchange_calendars` would cost each of them a second and 100 MB. The sessions are written by
`include/generate_calendar.py`.
"""

from __future__ import annotations

import gzip
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from functools import lru_cache
from pathlib import Path

from alpaca_strategy.domain.market import Session
from alpaca_strategy.errors import CalendarRangeError, NotASessionError

SESSIONS_FILE = Path(__file__).with_name("xnys_sessions.csv.gz")


class Calendar:
    """The sessions of one exchange, first to last known.

    A day outside what is known is refused instead of guessed, in every method.
    """

    def __init__(self, name: str, rows: Sequence[tuple[date, time, time]]) -> None:
        """Take the sessions in order: day, opening and closing time of that day in UTC."""
        self.name = name
        self._days = [day for day, _, _ in rows]
        self._hours = [(opens, closes) for _, opens, closes in rows]

    @property
    def first_day(self) -> date:
        """The first session known."""
        return self._days[0]

    @property
    def last_day(self) -> date:
        """The last session known."""
        return self._days[-1]

    def is_session(self, day: date) -> bool:
        """Tell whether the exchange trades on that day.

        Raises:
            CalendarRangeError: The day lies outside the calendar.
        """
        return self._days[self._at_or_after(day)] == day

    def session(self, day: date) -> Session:
        """Return the session of that day.

        Raises:
            NotASessionError: The exchange is closed on that day.
            CalendarRangeError: The day lies outside the calendar.
        """
        index = self._at_or_after(day)
        if self._days[index] != day:
            before, after = self._days[index - 1], self._days[index]
            msg = (
                f"{day:%Y-%m-%d} ({day:%A}) is not a session of {self.name}; the nearest are "
                f"{before:%Y-%m-%d} and {after:%Y-%m-%d}."
            )
            raise NotASessionError(msg)
        return self._session(index)

    def sessions(self, start: date, end: date) -> tuple[Session, ...]:
        """Return the sessions from start to end, both included; none when start is after end.

        Raises:
            CalendarRangeError: A bound lies outside the calendar.
        """
        first = self._at_or_after(start)
        self._at_or_after(end)
        return tuple(self._session(i) for i in range(first, bisect_right(self._days, _day(end))))

    def next_session(self, day: date) -> Session:
        """Return the first session after that day, which need not be one itself.

        Raises:
            CalendarRangeError: The day or its next session lies outside the calendar.
        """
        self._at_or_after(day)
        index = bisect_right(self._days, _day(day))
        if index == len(self._days):
            msg = f"No session after {day:%Y-%m-%d} is known: {self._range()}"
            raise CalendarRangeError(msg)
        return self._session(index)

    def previous_session(self, day: date, n: int = 1) -> Session:
        """Return the n-th session before that day, which need not be one itself.

        Raises:
            ValueError: n is below 1.
            CalendarRangeError: The day or that session lies outside the calendar.
        """
        if n < 1:
            msg = f"n must be at least 1 session, got {n}."
            raise ValueError(msg)
        index = self._at_or_after(day) - n
        if index < 0:
            msg = f"There are not {n} sessions before {day:%Y-%m-%d}: {self._range()}"
            raise CalendarRangeError(msg)
        return self._session(index)

    def _session(self, index: int) -> Session:
        day, (opens, closes) = self._days[index], self._hours[index]
        return Session(
            day=day,
            opens_at=datetime.combine(day, opens, tzinfo=UTC),
            closes_at=datetime.combine(day, closes, tzinfo=UTC),
        )

    def _at_or_after(self, day: date) -> int:
        day = _day(day)
        if not self.first_day <= day <= self.last_day:
            msg = f"{day:%Y-%m-%d} lies outside the calendar of {self.name}: {self._range()}"
            raise CalendarRangeError(msg)
        return bisect_left(self._days, day)

    def _range(self) -> str:
        return (
            f"it is known from {self.first_day:%Y-%m-%d} to {self.last_day:%Y-%m-%d}; "
            f"extend it with include/generate_calendar.py."
        )


def _day(day: date) -> date:
    # a datetime is a date too, and would compare by an error from deep inside bisect
    if isinstance(day, datetime):
        msg = f"A day is wanted, not the moment {day.isoformat()}: its day depends on the zone."
        raise TypeError(msg)
    return day


@lru_cache(maxsize=1)
def exchange_calendar() -> Calendar:
    """Return the calendar of the New York Stock Exchange, read once a process."""
    with gzip.open(SESSIONS_FILE, "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()[1:]
    hours: dict[str, time] = {}  # eight different times in ten thousand lines

    def clock(text: str) -> time:
        return hours.setdefault(text, time.fromisoformat(text))

    return Calendar(
        "XNYS",
        [(date.fromisoformat(line[:10]), clock(line[11:16]), clock(line[17:22])) for line in lines],
    )
