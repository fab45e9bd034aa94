"""The exchange's days by the exchange's own rules, written apart from the product's calendar.

Known from 1990 on. Source: NYSE Rule 7.2 and the exchange's notices of special closures.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
FIRST_YEAR = 1990
_ONE = timedelta(days=1)

#: Mourning, terror and weather: whole days on which the exchange stayed closed.
SPECIAL_CLOSURES = frozenset(
    date.fromisoformat(day)
    for day in (
        "1994-04-27",  # Nixon
        "2001-09-11",
        "2001-09-12",
        "2001-09-13",
        "2001-09-14",
        "2004-06-11",  # Reagan
        "2007-01-02",  # Ford
        "2012-10-29",  # hurricane Sandy
        "2012-10-30",
        "2018-12-05",  # Bush
        "2025-01-09",  # Carter
    )
)
#: Half-days that no rule gives, with their New York closing hour.
_SPECIAL_HALF_DAYS = {date(1997, 12, 26): 13, date(1999, 12, 31): 13, date(2003, 12, 26): 13}


@dataclass(frozen=True, slots=True)
class Day:
    """One trading day: its date, and its open and close in New York time."""

    date: date
    opens_at: datetime
    closes_at: datetime

    @property
    def open_ns(self) -> int:
        """Return the open in nanoseconds since 1970 UTC."""
        return _nanoseconds(self.opens_at)

    @property
    def close_ns(self) -> int:
        """Return the close in nanoseconds since 1970 UTC."""
        return _nanoseconds(self.closes_at)

    @property
    def minutes(self) -> int:
        """Return the number of regular minutes."""
        return (self.close_ns - self.open_ns) // 60_000_000_000


def _nanoseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp()) * 1_000_000_000


def _nth(year: int, month: int, weekday: int, n: int) -> date:
    """Return the n-th weekday of a month; n = -1 is the last one."""
    if n > 0:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))
    last = date(year + month // 12, month % 12 + 1, 1) - _ONE
    return last - timedelta(days=(last.weekday() - weekday) % 7)


def _good_friday(year: int) -> date:
    """Return Good Friday. Source: the anonymous Gregorian algorithm for Easter (Meeus)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1) - 2 * _ONE


def _observed(day: date) -> date:
    """Return where a fixed holiday is kept: Saturday's on Friday, Sunday's on Monday."""
    return day + {5: -_ONE, 6: _ONE}.get(day.weekday(), timedelta())


@lru_cache(maxsize=256)
def holidays(year: int) -> frozenset[date]:
    """Return the weekdays of a year on which the exchange is closed all day."""
    new_year = date(year, 1, 1)
    days = {
        _nth(year, 2, 0, 3),
        _good_friday(year),
        _nth(year, 5, 0, -1),
        _observed(date(year, 7, 4)),
        _nth(year, 9, 0, 1),
        _nth(year, 11, 3, 4),
        _observed(date(year, 12, 25)),
    }
    if new_year.weekday() != 5:  # a Saturday's New Year is not kept: Friday ends the books' year
        days.add(_observed(new_year))
    if year >= 1998:
        days.add(_nth(year, 1, 0, 3))
    if year >= 2022:
        days.add(_observed(date(year, 6, 19)))
    days |= {day for day in SPECIAL_CLOSURES if day.year == year}
    return frozenset(days)


def _closing_hour(day: date) -> int:
    """Return the hour at which a session ends in New York."""
    if day in _SPECIAL_HALF_DAYS:
        return _SPECIAL_HALF_DAYS[day]
    early = 13 if day.year >= 1993 else 14
    if day == _nth(day.year, 11, 3, 4) + _ONE and day.year >= 1992:
        return early
    # Until 1992 and from 1996 on, apart from the years in which the rule was not applied.
    if (day.month, day.day) == (12, 24) and (day.year < 1993 or day.year >= 1996):
        return early
    eve = (day.month, day.day) == (7, 3) and day.weekday() in {0, 1, 3}
    if day.year >= 2013:
        eve = (day.month, day.day) == (7, 3) and day.weekday() != 4
    if eve and day.year >= 1995:
        return early
    if (day.month, day.day, day.weekday()) == (7, 5, 4) and day.year in {1996, 2002}:
        return early
    return 16


def is_session(day: date) -> bool:
    """Tell whether the exchange trades on a day."""
    return day.year >= FIRST_YEAR and day.weekday() < 5 and day not in holidays(day.year)


@lru_cache(maxsize=16_384)
def session(day: date) -> Day | None:
    """Return the session of a day, or None on a day without one."""
    if not is_session(day):
        return None
    return Day(
        day,
        datetime.combine(day, time(9, 30), NEW_YORK),
        datetime.combine(day, time(_closing_hour(day)), NEW_YORK),
    )


def sessions(first: date, last: date) -> list[Day]:
    """Return the sessions from first to last, both included."""
    found = (session(first + timedelta(days=n)) for n in range((last - first).days + 1))
    return [day for day in found if day is not None]


def next_session(day: date, step: int = 1) -> Day:
    """Return the nearest session after a day, or before it with a step of -1."""
    while True:
        day += timedelta(days=step)
        found = session(day)
        if found is not None:
            return found
