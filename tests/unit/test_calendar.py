from __future__ import annotations

import csv
import gzip
import json
import runpy
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.errors import CalendarRangeError, NotASessionError
from alpaca_strategy.market.calendar import SESSIONS_FILE, exchange_calendar

GENERATOR = Path(__file__).resolve().parents[2] / "include/generate_calendar.py"
days = st.dates(date(1990, 1, 2), date(2027, 12, 31))


def test_every_published_session_opens_and_closes_when_it_says(shared_data: Path) -> None:
    with gzip.open(
        shared_data / "oracles/calendar_xnys_sessions_1990_2027.csv.gz", "rt", encoding="utf-8"
    ) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9505
    first, last = (date.fromisoformat(rows[i]["session"]) for i in (0, -1))

    found = exchange_calendar().sessions(first, last)

    assert [
        (s.day.isoformat(), f"{s.opens_at:%Y-%m-%dT%H:%MZ}", f"{s.closes_at:%Y-%m-%dT%H:%MZ}")
        for s in found
    ] == [(row["session"], row["open_utc"], row["close_utc"]) for row in rows]
    assert [s.minutes < 390 for s in found] == [row["early_close"] == "True" for row in rows]


def test_every_published_holiday_and_early_close_holds(shared_data: Path) -> None:
    oracle = json.loads((shared_data / "oracles/calendar_xnys_holidays.json").read_text())
    calendar = exchange_calendar()
    closed = [date.fromisoformat(d) for d in oracle["holidays_weekdays_closed"]]
    closed += [date.fromisoformat(d) for d in oracle["special_from_tests"]["adhoc_closures"]]
    assert len(closed) == 354
    for day in closed:
        assert not calendar.is_session(day), day
        with pytest.raises(NotASessionError):
            calendar.session(day)
    early = {date.fromisoformat(d): at for d, at in oracle["early_closes_et"].items()}
    assert len(early) == 79
    for day, at in early.items():
        closes = calendar.session(day).closes_at.astimezone(ZoneInfo("America/New_York"))
        assert f"{closes:%H:%M}" == at, day
    covered = calendar.sessions(date(1990, 1, 2), date(2027, 9, 30))
    assert {s.day for s in covered if s.minutes < 390} == set(early)
    weekdays = {
        date(1990, 1, 2) + timedelta(n)
        for n in range((date(2027, 9, 30) - date(1990, 1, 2)).days + 1)
        if (date(1990, 1, 2) + timedelta(n)).weekday() < 5
    }
    assert weekdays - {s.day for s in covered} == set(closed)


@pytest.mark.filterwarnings("ignore:Series.values returning")  # exchange_calendars on pandas 3.1
def test_the_packaged_file_equals_a_fresh_generation() -> None:
    fresh = runpy.run_path(str(GENERATOR))["sessions_csv"]()
    assert gzip.decompress(SESSIONS_FILE.read_bytes()).decode() == fresh


def test_minutes_follow_half_days_and_daylight_saving() -> None:
    calendar = exchange_calendar()
    assert calendar.session(date(2026, 11, 27)).minutes == 210
    assert calendar.session(date(2026, 11, 25)).minutes == 390
    assert calendar.session(date(2026, 3, 6)).opens_at == datetime(2026, 3, 6, 14, 30, tzinfo=UTC)
    assert calendar.session(date(2026, 3, 9)).opens_at == datetime(2026, 3, 9, 13, 30, tzinfo=UTC)


def test_a_closed_day_is_answered_with_its_neighbours() -> None:
    with pytest.raises(
        NotASessionError, match=r"2025-01-09 \(Thursday\) .* nearest are 2025-01-08 and 2025-01-10"
    ):
        exchange_calendar().session(date(2025, 1, 9))


@pytest.mark.parametrize("day", [date(1990, 1, 1), date(2028, 1, 3), date(1815, 6, 18)])
def test_past_either_end_it_says_so_instead_of_guessing(day: date) -> None:
    calendar = exchange_calendar()
    inside = date(2020, 6, 15)
    calls = [
        lambda: calendar.is_session(day),
        lambda: calendar.session(day),
        lambda: calendar.next_session(day),
        lambda: calendar.previous_session(day),
        lambda: calendar.sessions(min(day, inside), max(day, inside)),
    ]
    for call in calls:
        with pytest.raises(CalendarRangeError, match="known from 1990-01-02 to 2027-12-31"):
            call()


def test_steps_over_the_ends_are_refused() -> None:
    calendar = exchange_calendar()
    with pytest.raises(CalendarRangeError, match="No session after 2027-12-31"):
        calendar.next_session(calendar.last_day)
    with pytest.raises(CalendarRangeError, match="not 3 sessions before 1990-01-04"):
        calendar.previous_session(date(1990, 1, 4), 3)
    with pytest.raises(ValueError, match="at least 1 session, got 0"):
        calendar.previous_session(date(2020, 6, 15), 0)


def test_a_moment_is_not_a_day() -> None:
    with pytest.raises(TypeError, match="A day is wanted"):
        exchange_calendar().session(datetime(2026, 11, 27, tzinfo=UTC))


@given(days)
@settings(deadline=None)
def test_neighbours_have_no_session_between_them(day: date) -> None:
    calendar = exchange_calendar()
    if day < calendar.last_day:
        after = calendar.next_session(day)
        assert after.day > day
        assert calendar.sessions(day + timedelta(1), after.day) == (after,)
    if day > calendar.first_day:
        before = calendar.previous_session(day)
        assert before.day < day
        assert calendar.sessions(before.day, day - timedelta(1)) == (before,)


@given(days, st.integers(1, 400))
@settings(deadline=None)
def test_n_sessions_back_is_n_single_steps(day: date, n: int) -> None:
    calendar = exchange_calendar()
    known = calendar.sessions(calendar.first_day, day)
    earlier = [s for s in known if s.day < day]
    if len(earlier) < n:
        with pytest.raises(CalendarRangeError):
            calendar.previous_session(day, n)
    else:
        assert calendar.previous_session(day, n) == earlier[-n]


def test_it_loads_nothing_but_the_standard_library() -> None:
    """Airflow's scheduler, web server and DAG processor all load it at start."""
    script = (
        "import sys; from alpaca_strategy.market.calendar import exchange_calendar;"
        "exchange_calendar();"
        "print([m for m in sys.modules if '.' not in m and not m.startswith('_')"
        " and m not in sys.stdlib_module_names and m != 'alpaca_strategy'])"
    )
    run = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(GENERATOR.parents[1])!r});{script}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
