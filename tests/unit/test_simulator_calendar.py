"""The simulator's own calendar against what others recorded."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, date
from pathlib import Path

import pytest

from alpaca_strategy.simulator import calendar
from alpaca_strategy.simulator.clock import SimClock


def test_every_session_from_1990_to_2027_has_the_recorded_open_and_close(shared_data: Path) -> None:
    path = shared_data / "oracles" / "calendar_xnys_sessions_1990_2027.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    wanted = {row["session"]: (row["open_utc"], row["close_utc"]) for row in rows}
    last = date.fromisoformat(rows[-1]["session"])
    ours = {
        str(day.date): tuple(
            moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
            for moment in (day.opens_at, day.closes_at)
        )
        for day in calendar.sessions(date(1990, 1, 1), last)
    }
    assert len(wanted) > 9000
    assert ours == wanted


@pytest.mark.parametrize(
    ("day", "minutes"),
    [
        (date(2026, 11, 27), 210),  # the day after Thanksgiving
        (date(2026, 12, 24), 210),
        (date(2026, 11, 25), 390),
        (date(2026, 3, 9), 390),  # the Monday after the clocks change
    ],
)
def test_a_session_has_its_minutes(day: date, minutes: int) -> None:
    session = calendar.session(day)
    assert session is not None
    assert session.minutes == minutes


@pytest.mark.parametrize(
    "day", [date(2026, 11, 26), date(2026, 11, 28), date(2025, 1, 9), date(1989, 6, 5)]
)
def test_a_closed_day_is_no_session(day: date) -> None:
    assert calendar.session(day) is None


def test_the_clock_runs_on_from_where_it_stands_when_its_rate_changes() -> None:
    clock = SimClock()
    clock.set(now_ns=1_000, paused=True)
    assert clock.now_ns() == 1_000
    clock.set(advance_s=2.5)
    assert clock.now_ns() == 2_500_001_000
    clock.set(rate=1e5, paused=False)
    first = clock.now_ns()
    assert 2_500_001_000 <= first <= clock.now_ns()
