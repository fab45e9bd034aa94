"""One run for every session of the exchange, at its open or its close, give or take some minutes.

Cron cannot say this: half-days close at 13:00, holidays do not open, and both move in UTC when New
York changes its clocks. The hours come from the packaged calendar. Where that ends, no run is
planned and an error is logged, for a guessed session would be a wrong one.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import Any, Literal, NoReturn
from zoneinfo import ZoneInfo

import pendulum
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable

from alpaca_strategy.domain.market import Session
from alpaca_strategy.errors import CalendarRangeError
from alpaca_strategy.market.calendar import Calendar, exchange_calendar

log = logging.getLogger(__name__)

Anchor = Literal["open", "close"]

_NEW_YORK = ZoneInfo("America/New_York")
_MAX_OFFSET_MINUTES = 720


class SessionsUnknownError(CalendarRangeError, ValueError):
    """The calendar does not reach that far; a ValueError too, so that Airflow's API answers 400."""


class SessionTimetable(Timetable):
    """Runs once a session of the exchange.

    The data interval is the session, open to close; the logical date is its open. A run starts at
    the anchor plus the offset. Without catch-up the first run is, for the close, the latest session
    whose run is due, and for the open the oldest session that has not closed: never "the next event
    from now", which loses a run when a DAG file is read again between the event and the scheduler.
    """

    def __init__(self, anchor: Anchor, offset_minutes: int = 0) -> None:
        if anchor not in {"open", "close"}:
            msg = f"anchor must be 'open' or 'close', got {anchor!r}."
            raise ValueError(msg)
        if abs(offset_minutes) > _MAX_OFFSET_MINUTES:
            msg = (
                f"offset_minutes must lie within half a day ({_MAX_OFFSET_MINUTES}) of the "
                f"{anchor}, got {offset_minutes}."
            )
            raise ValueError(msg)
        self.anchor: Anchor = anchor
        self.offset_minutes = offset_minutes
        self.description = (
            f"Once a session of the New York Stock Exchange, {self._when()}; half-days, holidays "
            f"and daylight saving time included; sessions known until {self.calendar.last_day}"
        )

    @property
    def calendar(self) -> Calendar:
        """The exchange's calendar."""
        return exchange_calendar()

    @property
    def summary(self) -> str:
        """What the list of DAGs shows."""
        return f"{self.calendar.name} {self._when()}"

    def serialize(self) -> dict[str, Any]:
        """Return what another process needs to plan the same runs."""
        return {"anchor": self.anchor, "offset_minutes": self.offset_minutes}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> SessionTimetable:
        """Return the timetable that was serialised."""
        return cls(data["anchor"], data["offset_minutes"])

    def infer_manual_data_interval(self, *, run_after: dt.datetime) -> DataInterval:
        """Return the session that a run by hand is about: what "now" means for the anchor.

        Raises:
            SessionsUnknownError: The moment lies outside the calendar.
        """
        if self.anchor == "close":
            return _interval(self._latest(run_after, lambda session: session.closes_at))
        return _interval(self._oldest_unfinished(run_after))

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the run that follows, or None where there is none, or none is known."""
        try:
            session = self._next(last_automated_data_interval, restriction)
        except CalendarRangeError as error:
            if (
                restriction.latest is not None
                and _day(restriction.latest) <= self.calendar.last_day
            ):
                return None  # all of the range that was asked for is known
            log.error("No further run is planned: %s", error)  # noqa: TRY400 - the sentence says all
            return None
        if session is None or _is_beyond(session, restriction.latest):
            return None
        return DagRunInfo(
            run_after=pendulum.instance(self._due_at(session)), data_interval=_interval(session)
        )

    def generate_run_id(
        self,
        *,
        run_type: Any,
        run_after: dt.datetime,
        data_interval: DataInterval | None,
        **extra: Any,
    ) -> str:
        """Name a scheduled or backfilled run after its session; a run by hand after its time."""
        if data_interval is not None and str(run_type) in {"scheduled", "backfill"}:
            return f"{run_type}__{data_interval.start.date()}"
        return super().generate_run_id(
            run_type=run_type, run_after=run_after, data_interval=data_interval, **extra
        )

    def _now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    def _next(self, last: DataInterval | None, restriction: TimeRestriction) -> Session | None:
        starts = [] if restriction.earliest is None else [restriction.earliest]
        if last is not None:
            starts.append(last.end)
        if not restriction.catchup:
            now = self._now()
            closing = self.anchor == "close"
            floor = self._latest(now, self._due_at) if closing else self._oldest_unfinished(now)
            starts.append(floor.opens_at)
        # None: catch-up from no date at all
        return self._first_from(max(starts)) if starts else None

    def _due_at(self, session: Session) -> dt.datetime:
        anchor = session.opens_at if self.anchor == "open" else session.closes_at
        return anchor + dt.timedelta(minutes=self.offset_minutes)

    def _first_from(self, moment: dt.datetime) -> Session:
        """Return the first session that opens at that moment or later."""
        session = self._at_or_after(max(_exchange_day(moment), self.calendar.first_day))
        return session if session.opens_at >= moment else self._after(session.day)

    def _oldest_unfinished(self, now: dt.datetime) -> Session:
        session = self._at_or_after(_exchange_day(now))
        return session if now < session.closes_at else self._after(session.day)

    def _latest(self, now: dt.datetime, moment_of: Callable[[Session], dt.datetime]) -> Session:
        """Return the latest session whose moment has come."""
        session = self._at_or_after(_exchange_day(now))
        while moment_of(session) > now:  # two steps at most
            session = self._before(session.day)
        return session

    def _at_or_after(self, day: dt.date) -> Session:
        if not self.calendar.first_day <= day <= self.calendar.last_day:
            self._unknown(day)
        return self.calendar.session(day) if self.calendar.is_session(day) else self._after(day)

    def _after(self, day: dt.date) -> Session:
        if day >= self.calendar.last_day:
            self._unknown(day + dt.timedelta(days=1))
        return self.calendar.next_session(day)

    def _before(self, day: dt.date) -> Session:
        if day <= self.calendar.first_day:
            self._unknown(day - dt.timedelta(days=1))
        return self.calendar.previous_session(day)

    def _unknown(self, day: dt.date) -> NoReturn:
        known = self.calendar
        msg = (
            f"The sessions of {known.name} are known from {known.first_day} to {known.last_day}, "
            f"not for {day}; upgrade alpaca-strategy, or extend the calendar with `make calendar`."
        )
        raise SessionsUnknownError(msg)

    def _when(self) -> str:
        if not self.offset_minutes:
            return f"at the {self.anchor}"
        hours, minutes = divmod(abs(self.offset_minutes), 60)
        length = " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min")) if n)
        return f"{length} {'before' if self.offset_minutes < 0 else 'after'} the {self.anchor}"


def _interval(session: Session) -> DataInterval:
    return DataInterval(
        start=pendulum.instance(session.opens_at), end=pendulum.instance(session.closes_at)
    )


def _is_beyond(session: Session, latest: dt.datetime | None) -> bool:
    # By day: whoever asks for a backfill "to 2026-11-20" gives its midnight and means the day.
    return latest is not None and session.day > _day(latest)


def _day(bound: dt.datetime) -> dt.date:
    return bound.astimezone(dt.UTC).date()


def _exchange_day(moment: dt.datetime) -> dt.date:
    # Not the UTC day: a run due at 20:15 in New York on the calendar's last day would be outside.
    return moment.astimezone(_NEW_YORK).date()


class SessionTimetablePlugin(AirflowPlugin):
    """Registers the timetable with Airflow."""

    name = "alpaca_session_timetable"
    timetables = [SessionTimetable]  # noqa: RUF012 - Airflow's own form
