"""What the console shows about market data: sessions, their symbols, and the reports of checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.domain.market import Severity
from alpaca_strategy.errors import CalendarRangeError, NotPublishedError
from alpaca_strategy.market.calendar import Calendar, exchange_calendar
from alpaca_strategy.storage.records import (
    QualityResult,
    QualityRun,
    SessionRow,
    SessionStatus,
    SymbolSession,
)

WEEKS = 13  # a quarter a page
_WARN_BEFORE_END = timedelta(days=60)


class DayState(StrEnum):
    """What the overview shows of a weekday."""

    PUBLISHED = "published"  # every symbol that was asked for
    PARTIAL = "partial"  # published, with symbols left out
    REFUSED = "refused"
    MISSING = "missing"  # a gap: sessions before it are known, it is over, and nothing is known
    UNFETCHED = "unfetched"  # earlier than everything that was ever fetched
    AHEAD = "ahead"  # not over yet
    CLOSED = "closed"  # the exchange is closed
    UNKNOWN = "unknown"  # beyond the calendar


@dataclass(frozen=True, slots=True)
class Day:
    """A weekday of the overview.

    Attributes:
        day: The date.
        state: What became of its session.
        minutes: Minutes of trading; 0 when closed.
        row: What the catalog holds.
        checks: How often it was checked.
        warnings: Of the latest check.
    """

    day: date
    state: DayState
    minutes: int = 0
    row: SessionRow | None = None
    checks: int = 0
    warnings: int = 0


@dataclass(frozen=True, slots=True)
class Overview:
    """The sessions of a quarter, newest week first."""

    venue: str
    feed: str
    weeks: tuple[tuple[Day, ...], ...]
    newest: SessionRow | None
    calendar_ends: date
    calendar_is_short: bool
    later: date | None  # where the next page starts; None on the newest
    earlier: date

    @property
    def days(self) -> tuple[Day, ...]:
        """All sessions about which something is known, newest first."""
        known = [day for week in self.weeks for day in week if day.row is not None]
        return tuple(sorted(known, key=lambda day: day.day, reverse=True))

    def count(self, *states: str) -> int:
        """Return how many days are in one of these states."""
        return sum(day.state in states for week in self.weeks for day in week)


@dataclass(frozen=True, slots=True)
class SessionPage:
    """All about one session."""

    day: Day
    symbols: tuple[SymbolSession, ...]
    checks: tuple[QualityRun, ...]  # newest first
    findings: tuple[QualityResult, ...]  # what the newest check found, worst first
    previous: date | None
    following: date | None


def overview(until: date | None = None, *, now: datetime | None = None) -> Overview:
    """Return the quarter of sessions that ends with the week of `until`, or of today.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    home, now = services(), now or datetime.now(UTC)
    today = now.date()
    last = min(until or today, today)
    monday = last - timedelta(days=last.weekday())
    first = monday - timedelta(weeks=WEEKS - 1)
    feed, calendar = home.settings.data.feed, exchange_calendar()
    end = monday + timedelta(days=4)
    rows = {row.session: row for row in home.catalog.sessions(first, end, feed)}
    weeks = []
    for week in range(WEEKS):
        start = monday - timedelta(weeks=week)
        days = (start + timedelta(days=offset) for offset in range(5))
        weeks.append(tuple(_day(home, calendar, day, rows.get(day), now) for day in days))
    if not home.catalog.sessions(None, first - timedelta(days=1), feed):
        weeks = _without_gaps_before(min(rows, default=end + timedelta(days=1)), weeks)
    return Overview(
        venue=home.settings.resolved_venue.value,
        feed=feed.value,
        weeks=tuple(weeks),
        newest=home.catalog.latest_published(feed),
        calendar_ends=calendar.last_day,
        calendar_is_short=calendar.last_day - today < _WARN_BEFORE_END,
        later=monday + timedelta(weeks=WEEKS) if monday + timedelta(weeks=1) <= today else None,
        earlier=first - timedelta(days=3),
    )


def session_page(day: date, *, now: datetime | None = None) -> SessionPage:
    """Return all about one session.

    Raises:
        NotASessionError: The exchange is closed on that day.
        CalendarRangeError: The day lies outside the calendar.
        ServiceUnavailableError: Postgres does not answer.
    """
    home, calendar = services(), exchange_calendar()
    calendar.session(day)
    feed = home.settings.data.feed
    row = home.catalog.session(day, feed)
    checks = home.catalog.quality_runs(day, feed)
    symbols = home.catalog.symbol_sessions(day, day, feed)
    failed = [r for r in checks[-1].results if not r.success] if checks else []
    failed.sort(key=lambda r: list(Severity).index(r.severity))
    return SessionPage(
        day=_described(calendar, day, row, checks, now or datetime.now(UTC)),
        symbols=tuple(symbols.values()),
        checks=tuple(reversed(checks)),
        findings=tuple(failed),
        previous=_neighbour(calendar, day, -1),
        following=_neighbour(calendar, day, 1),
    )


def quality_report(day: date, check: int | None = None) -> bytes:
    """Return the stored report of a check as HTML.

    Args:
        day: The session.
        check: Which check of it, counted from 1; the newest when None.

    Raises:
        NotASessionError: The exchange is closed on that day.
        NotPublishedError: There is no such check.
        DamagedFileError: The report is no longer in object storage.
        ServiceUnavailableError: Postgres or object storage does not answer.
    """
    exchange_calendar().session(day)
    home = services()
    runs = home.catalog.quality_runs(day, home.settings.data.feed)
    wanted = len(runs) if check is None else check
    uri = runs[wanted - 1].report_uri if 1 <= wanted <= len(runs) else None
    if uri is None:
        number = "" if check is None else f"number {check} "
        msg = (
            f"There is no check {number}of session {day} (feed {home.settings.data.feed}); run "
            f"`alpaca-strategy check --session {day}`, or the DAG market_data_nightly."
        )
        raise NotPublishedError(msg)
    return home.objects.get(home.objects.name_of(uri))


def _day(
    home: Services, calendar: Calendar, day: date, row: SessionRow | None, now: datetime
) -> Day:
    checks = home.catalog.quality_runs(day, home.settings.data.feed) if row else []
    return _described(calendar, day, row, checks, now)


def _described(
    calendar: Calendar,
    day: date,
    row: SessionRow | None,
    checks: Sequence[QualityRun],
    now: datetime,
) -> Day:
    try:
        session = calendar.session(day) if calendar.is_session(day) else None
    except CalendarRangeError:
        return Day(day, DayState.UNKNOWN)
    if session is None:
        return Day(day, DayState.CLOSED)
    if row is not None and row.status is SessionStatus.REFUSED:
        state = DayState.REFUSED
    elif row is not None:
        whole = row.symbols_published == row.symbols_asked
        state = DayState.PUBLISHED if whole else DayState.PARTIAL
    else:
        state = DayState.MISSING if session.closes_at <= now else DayState.AHEAD
    return Day(
        day=day,
        state=state,
        minutes=session.minutes,
        row=row,
        checks=len(checks),
        warnings=checks[-1].warning_count if checks else 0,
    )


def _without_gaps_before(day: date, weeks: list[tuple[Day, ...]]) -> list[tuple[Day, ...]]:
    """Say of sessions before the first one known that they were never meant to be there."""

    def told(other: Day) -> Day:
        early = other.day < day and other.state is DayState.MISSING
        return replace(other, state=DayState.UNFETCHED) if early else other

    return [tuple(told(other) for other in week) for week in weeks]


def _neighbour(calendar: Calendar, day: date, step: int) -> date | None:
    try:
        found = calendar.next_session(day) if step > 0 else calendar.previous_session(day)
    except CalendarRangeError:
        return None
    return found.day
