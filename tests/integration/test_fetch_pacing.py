"""The shared rate limit: no window gets too many, no slot is lost, a 429 holds everybody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from alpaca_strategy.errors import ServiceUnavailableError
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.pacing import PostgresPace, ProcessPace, spacing

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = connect(database_url)
    migrate(made)
    yield made
    made.dispose()


def next_at(engine: Engine, name: str) -> datetime:
    with engine.connect() as connection:
        query = text("SELECT next_at FROM market.rate_limit WHERE name = :name")
        moment: datetime = connection.execute(query, {"name": name}).scalar_one()
        return moment


class Timeline:
    """A clock that only sleeping and working move; notes when requests leave."""

    def __init__(self, per_minute: int) -> None:
        self.now, self.sent = 1000.0, []
        self.pace = ProcessPace(per_minute=per_minute, sleep=self.pass_by, clock=lambda: self.now)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def ask(self, work_s: float = 0.0) -> None:
        self.pace.acquire()
        self.sent.append(self.now)
        self.now += work_s

    def most_in_a_window(self, window_s: float = 60.0) -> int:
        return max(sum(a <= b < a + window_s for b in self.sent) for a in self.sent)


@pytest.mark.parametrize("limit", [1, 2, 10, 50, 200, 1000])
def test_no_window_holds_more_than_the_limit_and_nearly_all_is_used(limit: int) -> None:
    line = Timeline(limit)
    while line.now < 1000 + 300:
        line.ask()
    assert line.most_in_a_window() <= limit
    assert len(line.sent) >= 0.95 * limit * 5


@settings(deadline=None, max_examples=30)
@given(st.integers(10, 300), st.lists(st.floats(0, 20), min_size=1, max_size=50))
def test_no_pattern_of_work_brings_a_window_above_the_limit(limit: int, work: list[float]) -> None:
    line = Timeline(limit)
    for number in range(3 * limit):
        line.ask(work[number % len(work)] if number % 7 == 0 else 0.0)
    assert line.most_in_a_window() <= limit


def test_a_hiccup_does_not_lower_the_rate() -> None:
    line = Timeline(200)
    for number in range(1000):
        line.ask(0.8 if number % 50 == 0 else 0.0)
    assert 1000 / (line.now - 1000) * 60 >= 0.95 * 200


def test_nobody_leaves_before_the_reset() -> None:
    line = Timeline(200)
    line.ask()
    line.pace.push_back(17)
    line.ask()
    assert line.sent[1] >= line.sent[0] + 17


def test_parallel_tasks_get_every_slot_once(engine: Engine) -> None:
    """Eight connections at once; nobody sleeps, so that the row is fought over."""
    interval, _ = spacing(6000, 60.0)
    slept: list[float] = []
    pace = PostgresPace(engine, name="data", per_minute=6000, sleep=slept.append)
    pace.push_back(60)  # slots ahead of the present, so that none passes by unused
    first, start = next_at(engine, "data"), threading.Barrier(8)

    def task(_: int) -> None:
        own = PostgresPace(engine, name="data", per_minute=6000, sleep=slept.append)
        start.wait()
        for _ in range(25):
            own.acquire()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(task, range(8)))
    moved = (next_at(engine, "data") - first).total_seconds()
    assert moved == pytest.approx(200 * interval, abs=1e-3)
    assert len(slept) == 200
    assert max(slept) - min(slept) <= 200 * interval


def test_a_429_holds_the_other_processes_too(engine: Engine) -> None:
    slept: list[float] = []
    one, other = (
        PostgresPace(engine, name="data", per_minute=200, sleep=slept.append) for _ in range(2)
    )
    one.acquire()
    assert slept == []
    one.push_back(40)
    for pace in (other, one, other):
        pace.acquire()
    assert 39 < slept[0] <= 40.001
    interval, _ = spacing(200, 60.0)
    assert all(b - a < interval + 1e-6 for a, b in pairwise(slept))  # one after the other
    assert slept == sorted(slept)


def test_hosts_have_budgets_of_their_own(engine: Engine) -> None:
    slept: list[float] = []
    PostgresPace(engine, name="data", per_minute=200, sleep=slept.append).push_back(40)
    PostgresPace(engine, name="trading", per_minute=200, sleep=slept.append).acquire()
    assert slept == []


def test_a_database_that_is_gone_is_said_so() -> None:
    gone = connect("postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(ServiceUnavailableError, match="Postgres at 127"):
        PostgresPace(gone, name="data", per_minute=200).acquire()
