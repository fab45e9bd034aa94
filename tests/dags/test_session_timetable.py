"""The timetable against the published calendar, and at its edges."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables.base import DataInterval, TimeRestriction
from airflow.utils.types import DagRunType
from session_timetable import SessionsUnknownError, SessionTimetable

from alpaca_strategy.market.calendar import exchange_calendar


class At(SessionTimetable):
    """The timetable at a moment of the test's choosing."""

    moment: datetime

    def _now(self) -> datetime:
        return self.moment


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def at(moment: str, anchor: str = "close", offset_minutes: int = 255) -> At:
    timetable = At(anchor, offset_minutes)
    timetable.moment = utc(moment)
    return timetable


def interval_of(day: str) -> DataInterval:
    session = exchange_calendar().session(date.fromisoformat(day))
    return DataInterval(session.opens_at, session.closes_at)


def first_run(timetable, *, earliest=None, latest=None, catchup=False, last=None):
    return timetable.next_dagrun_info(
        last_automated_data_interval=last, restriction=TimeRestriction(earliest, latest, catchup)
    )


def runs(timetable, earliest: datetime | None, latest: datetime | None):
    """Walk the runs as a backfill does."""
    last = None
    while info := first_run(timetable, earliest=earliest, latest=latest, catchup=True, last=last):
        yield info
        last = info.data_interval


@pytest.fixture
def published(shared_data: Path) -> list[tuple[date, datetime, datetime]]:
    with gzip.open(shared_data / "oracles/calendar_xnys_sessions_1990_2027.csv.gz", "rt") as file:
        return [
            (
                date.fromisoformat(row["session"]),
                utc(row["open_utc"].removesuffix("Z")),
                utc(row["close_utc"].removesuffix("Z")),
            )
            for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize(("anchor", "offset"), [("close", 255), ("open", -10), ("close", 0)])
def test_a_backfill_of_all_years_has_one_run_for_each_published_session(published, anchor, offset):
    first, last = published[0][1], published[-1][2]
    planned = list(runs(SessionTimetable(anchor, offset), first, last))
    delta = timedelta(minutes=offset)
    assert [
        (info.logical_date, info.data_interval.start, info.data_interval.end, info.run_after)
        for info in planned
    ] == [
        (opens, opens, closes, (opens if anchor == "open" else closes) + delta)
        for _, opens, closes in published
    ]


def test_no_run_is_planned_on_a_published_holiday(shared_data):
    facts = json.loads((shared_data / "oracles/calendar_xnys_holidays.json").read_text())
    holidays = {date.fromisoformat(day) for day in facts["holidays_weekdays_closed"]}
    planned = runs(SessionTimetable("close"), utc("1990-01-01"), utc("2027-09-30"))
    assert len(holidays) > 300
    assert not holidays & {info.data_interval.start.date() for info in planned}


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2026-11-25", "2026-11-25T14:30", "2026-11-25T21:00"),  # an ordinary day in winter
        ("2026-11-27", "2026-11-27T14:30", "2026-11-27T18:00"),  # half-day after Thanksgiving
        ("2026-12-24", "2026-12-24T14:30", "2026-12-24T18:00"),  # half-day before Christmas
        ("2026-03-06", "2026-03-06T14:30", "2026-03-06T21:00"),  # the last before summer time
        ("2026-03-09", "2026-03-09T13:30", "2026-03-09T20:00"),  # the first after
    ],
)
def test_half_days_and_clock_changes_move_the_run(day, opens, closes):
    info = first_run(
        SessionTimetable("close", 255), earliest=utc(day), latest=utc(day), catchup=True
    )
    assert info.data_interval == (utc(opens), utc(closes))
    assert info.run_after == utc(closes) + timedelta(minutes=255)


@pytest.mark.parametrize(
    ("now", "session"),
    [
        ("2026-11-25T14:00", "2026-11-24"),  # before the open
        ("2026-11-26T01:14", "2026-11-24"),  # closed, but its run is not due for a minute
        ("2026-11-26T01:15", "2026-11-25"),  # due this minute
        ("2026-11-26T20:00", "2026-11-25"),  # Thanksgiving
        ("2026-11-29T12:00", "2026-11-27"),  # a Sunday after a half-day
    ],
)
def test_without_catchup_the_first_run_is_the_latest_one_due(now, session):
    assert first_run(at(now)).data_interval == interval_of(session)


def test_reading_the_file_again_after_a_run_was_due_does_not_lose_it():
    before = at("2026-11-26T01:14")
    due = first_run(before, last=interval_of("2026-11-24"))
    after = at("2026-11-26T09:00")  # the scheduler was away, and the file is parsed again
    assert first_run(after, last=interval_of("2026-11-24")) == due
    assert due.data_interval == interval_of("2026-11-25")


def test_without_catchup_missed_sessions_are_skipped_but_the_latest():
    info = first_run(at("2026-11-21T12:00"), last=interval_of("2026-11-06"))
    assert info.data_interval == interval_of("2026-11-20")


def test_runs_never_overlap_or_repeat():
    info = first_run(at("2026-11-21T12:00"), last=interval_of("2026-11-20"))
    assert info.data_interval == interval_of("2026-11-23")


@pytest.mark.parametrize(
    ("now", "session"),
    [
        ("2026-11-25T14:00", "2026-11-25"),  # before the open
        ("2026-11-25T17:00", "2026-11-25"),  # a late start still serves the open session
        ("2026-11-25T21:00", "2026-11-27"),  # closed: the next, past Thanksgiving
    ],
)
def test_at_the_open_the_first_run_is_the_oldest_session_that_has_not_closed(now, session):
    assert first_run(at(now, "open", -10)).data_interval == interval_of(session)


def test_a_start_date_in_the_future_is_respected():
    info = first_run(at("2026-11-20T12:00"), earliest=utc("2026-12-25"))
    assert info.data_interval == interval_of("2026-12-28")


def test_both_bounds_of_a_backfill_are_days_and_included():
    planned = runs(SessionTimetable("close"), utc("2026-11-24"), utc("2026-11-27"))
    days = [info.data_interval.start.date().isoformat() for info in planned]
    assert days == ["2026-11-24", "2026-11-25", "2026-11-27"]


def test_catchup_from_no_date_at_all_plans_nothing():
    assert first_run(at("2026-11-20T12:00"), catchup=True) is None


@pytest.mark.parametrize(
    ("anchor", "run_after", "session"),
    [
        ("close", "2026-11-25T21:00", "2026-11-25"),  # by hand, as soon as the session is over
        ("close", "2026-11-25T20:59", "2026-11-24"),
        ("close", "2026-11-29T12:00", "2026-11-27"),
        ("open", "2026-11-25T20:59", "2026-11-25"),
        ("open", "2026-11-25T21:00", "2026-11-27"),
    ],
)
def test_a_run_by_hand_is_about_the_session_of_its_moment(anchor, run_after, session):
    interval = SessionTimetable(anchor, 30).infer_manual_data_interval(run_after=utc(run_after))
    assert interval == interval_of(session)


def test_the_last_known_session_still_runs_though_its_run_is_due_on_the_next_day():
    day = exchange_calendar().last_day
    session = exchange_calendar().session(day)
    timetable = at((session.closes_at + timedelta(minutes=255)).isoformat()[:19])
    before = exchange_calendar().previous_session(day)
    info = first_run(timetable, last=DataInterval(before.opens_at, before.closes_at))
    assert info.data_interval == (session.opens_at, session.closes_at)


def test_past_the_end_of_the_calendar_no_run_is_guessed_and_the_log_says_so(caplog):
    last = exchange_calendar().last_day
    timetable = at(f"{last + timedelta(days=5)}T12:00")
    assert first_run(timetable) is None
    assert "No further run is planned" in caplog.text
    assert f"to {last}" in caplog.text
    assert "make calendar" in caplog.text


def test_past_the_end_of_the_calendar_a_run_by_hand_is_refused():
    day = exchange_calendar().last_day + timedelta(days=5)
    with pytest.raises(SessionsUnknownError, match=f"not for {day}"):
        SessionTimetable("close").infer_manual_data_interval(run_after=utc(f"{day}T12:00"))


def test_a_backfill_that_ends_with_the_calendar_logs_no_error(caplog):
    last = exchange_calendar().last_day
    planned = list(runs(SessionTimetable("close"), utc(f"{last}"), utc(f"{last}")))
    assert [info.data_interval.start.date() for info in planned] == [last]
    assert not caplog.records


@pytest.mark.parametrize(
    ("anchor", "offset", "complaint"), [("noon", 0, "'open' or 'close'"), ("open", 721, "721")]
)
def test_nonsense_is_refused_at_once(anchor, offset, complaint):
    with pytest.raises(ValueError, match=complaint):
        SessionTimetable(anchor, offset)


def test_another_process_plans_the_same_runs():
    timetable = SessionTimetable("close", 255)
    copy = decode_timetable(json.loads(json.dumps(encode_timetable(timetable))))
    assert (copy.anchor, copy.offset_minutes) == ("close", 255)
    assert copy.summary == timetable.summary == "XNYS 4 h 15 min after the close"
    assert copy.description == timetable.description
    assert "half-days" in copy.description


def test_runs_are_named_after_their_session():
    timetable, interval = SessionTimetable("close", 255), interval_of("2026-11-20")
    names = {
        kind: timetable.generate_run_id(
            run_type=DagRunType(kind), run_after=utc("2026-11-21T01:15"), data_interval=interval
        )
        for kind in ("scheduled", "backfill", "manual")
    }
    assert names["scheduled"] == "scheduled__2026-11-20"
    assert names["backfill"] == "backfill__2026-11-20"
    assert names["manual"] == "manual__2026-11-21T01:15:00+00:00"
