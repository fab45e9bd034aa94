"""Who may make a request, and when: a clock that only waiting moves, and real threads beside it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.broker.budget import Budget, Lane


@dataclass
class Time:
    """Stands still, but for waits."""

    now: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def wait(self, _: threading.Condition, seconds: float) -> None:
        assert seconds > 0
        self.waits.append(seconds)
        self.now += seconds


def make(per_minute: int = 60) -> tuple[Budget, Time]:
    time = Time()
    return Budget(per_minute=per_minute, clock=time, wait=time.wait), time


def drain(budget: Budget, lane: Lane) -> int:
    """Take turns of a lane until none is left now."""
    turns = 0
    while budget.acquire(lane, 0) is not None:
        turns += 1
    return turns


def test_questions_leave_the_share_of_orders_and_orders_that_of_cancellations() -> None:
    budget, _ = make(60)  # 15 at once
    questions, orders, cancels = (drain(budget, lane) for lane in reversed(Lane))
    assert questions + orders + cancels == 15
    assert questions == 8
    assert orders == 4
    assert cancels == 3


@pytest.mark.parametrize("per_minute", [4, 10, 180, 1000])
def test_every_lane_has_a_share_at_any_rate(per_minute: int) -> None:
    budget, _ = make(per_minute)
    assert all(drain(budget, lane) >= 1 for lane in reversed(Lane))


def test_a_rate_too_low_for_three_lanes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 requests a minute, not 3"):
        Budget(per_minute=3)


def test_who_waits_gets_a_turn_as_soon_as_there_is_one() -> None:
    budget, time = make(60)
    drain(budget, Lane.CANCEL)
    assert budget.acquire(Lane.CANCEL, 10) is not None
    assert time.now - 1000 == pytest.approx(60 / 45)  # 45 a minute flow in


def test_who_cannot_get_a_turn_in_time_is_told_and_takes_nothing() -> None:
    budget, time = make(60)
    drain(budget, Lane.CANCEL)
    assert budget.acquire(Lane.ORDER, 0.5) is None
    assert time.now == 1000.5
    assert budget.acquire(Lane.CANCEL, 1) is not None


LANES = st.sampled_from(list(Lane))


@settings(max_examples=200, deadline=None)
@given(
    per_minute=st.integers(4, 500),
    steps=st.lists(st.tuples(LANES, st.floats(0, 20), st.floats(0, 5)), max_size=200),
)
def test_no_minute_sees_more_requests_than_allowed(
    per_minute: int, steps: list[tuple[Lane, float, float]]
) -> None:
    budget, time = make(per_minute)
    passed = []
    for lane, pause, within_s in steps:
        time.now += pause
        if budget.acquire(lane, within_s) is not None:
            passed += [time.now] * (1 + drain(budget, lane))
    for n, at in enumerate(passed):
        assert sum(at <= other < at + 60 for other in passed[n:]) <= per_minute


@settings(max_examples=200, deadline=None)
@given(
    per_minute=st.integers(4, 500),
    steps=st.lists(st.tuples(st.sampled_from([Lane.ORDER, Lane.READ]), st.floats(0, 3))),
)
def test_a_cancellation_always_finds_a_turn_whatever_else_was_asked(
    per_minute: int, steps: list[tuple[Lane, float]]
) -> None:
    budget, time = make(per_minute)
    for lane, pause in steps:
        time.now += pause
        drain(budget, lane)
    assert budget.acquire(Lane.CANCEL, 0) is not None


def test_while_limited_one_request_passes_a_window_and_a_good_answer_ends_it() -> None:
    budget, time = make(600)
    turn = budget.acquire(Lane.READ, 0)
    budget.push_back(30)
    assert [budget.acquire(lane, 9.9) for lane in Lane] == [None, None, None]
    time.now = 1030.0
    tried = budget.acquire(Lane.READ, 0)
    assert tried is not None
    assert budget.acquire(Lane.CANCEL, 29) is None  # nobody knows yet how it went
    assert turn is not None
    budget.answered(turn)  # a late answer from before the limit says nothing
    assert budget.acquire(Lane.CANCEL, 0.5) is None
    budget.answered(tried)
    assert budget.acquire(Lane.READ, 0) is not None


@settings(max_examples=200, deadline=None)
@given(
    resets=st.lists(st.floats(0.1, 60), min_size=1, max_size=20),
    asking=st.lists(st.tuples(LANES, st.floats(0, 30), st.floats(0, 40)), max_size=60),
)
def test_a_storm_of_429_sees_at_most_one_request_a_window(
    resets: list[float], asking: list[tuple[Lane, float, float]]
) -> None:
    budget, time = make(600)
    windows = iter(resets)
    ends_at = -1.0
    for lane, pause, within_s in asking:
        time.now += pause
        if budget.acquire(lane, within_s) is None:
            continue
        assert time.now >= ends_at - 1e-6
        wait = next(windows, None)
        if wait is None:
            return
        budget.push_back(wait)
        ends_at = time.now + wait


def test_a_try_that_is_never_answered_is_followed_by_one_in_the_next_window() -> None:
    budget, time = make(600)
    budget.acquire(Lane.READ, 0)
    budget.push_back(5)
    passed = []
    for _ in range(4):
        assert budget.acquire(Lane.CANCEL, 100) is not None
        passed.append(time.now)
    assert [b - a for a, b in pairwise([1000.0, *passed])] == pytest.approx([5] * 4)


def test_a_reset_in_no_time_does_not_let_everybody_pass_at_once() -> None:
    budget, time = make(600)
    budget.acquire(Lane.READ, 0)
    budget.push_back(0.05)
    assert budget.acquire(Lane.READ, 1) is not None
    before = time.now
    assert budget.acquire(Lane.READ, 10) is not None
    assert time.now - before >= 1


def test_a_venue_that_has_nothing_left_still_gets_cancellations() -> None:
    budget, time = make(600)
    budget.hold(20)
    assert budget.acquire(Lane.CANCEL, 0) is not None
    assert budget.acquire(Lane.ORDER, 19) is None
    assert budget.acquire(Lane.READ, 5) is not None
    assert time.now == 1020.0


def test_a_shorter_reset_does_not_take_back_a_longer_one() -> None:
    budget, time = make(600)
    budget.acquire(Lane.READ, 0)
    budget.push_back(30)
    budget.push_back(1)
    assert budget.acquire(Lane.CANCEL, 60) is not None
    assert time.now == 1030.0


def test_whoever_asks_last_but_matters_more_goes_first() -> None:
    clock = [0.0]
    queued = threading.Semaphore(0)

    def wait(condition: threading.Condition, _: float) -> None:
        queued.release()
        condition.wait(20)  # woken by the one before, or by the test

    budget = Budget(per_minute=60, clock=lambda: clock[0], wait=wait)
    drain(budget, Lane.CANCEL)
    passed: dict[int, Lane] = {}

    def ask(lane: Lane) -> None:
        turn = budget.acquire(lane, 1000)
        assert turn is not None
        passed[turn] = lane

    lanes = [Lane.READ, Lane.ORDER, Lane.READ, Lane.CANCEL, Lane.ORDER, Lane.CANCEL]
    threads = []
    for lane in lanes:
        threads.append(threading.Thread(target=ask, args=(lane,)))
        threads[-1].start()
        assert queued.acquire(timeout=20)
    clock[0] = 600.0
    with budget._changed:
        budget._changed.notify_all()
    for thread in threads:
        thread.join(20)
    assert [passed[turn] for turn in sorted(passed)] == sorted(lanes)


def test_whoever_does_not_wait_does_not_go_before_who_does() -> None:
    waiting = threading.Event()

    def wait(condition: threading.Condition, _: float) -> None:
        waiting.set()
        condition.wait(20)

    clock = [0.0]
    budget = Budget(per_minute=60, clock=lambda: clock[0], wait=wait)
    drain(budget, Lane.CANCEL)
    turns: list[int | None] = []
    thread = threading.Thread(target=lambda: turns.append(budget.acquire(Lane.ORDER, 1000)))
    thread.start()
    assert waiting.wait(20)
    with budget._changed:  # nobody can be woken meanwhile
        clock[0] = 600.0
        assert budget.acquire(Lane.READ, 0) is None
    thread.join(20)
    assert turns == [16]


def test_many_threads_share_what_there_is() -> None:
    budget = Budget(per_minute=400, clock=lambda: 0.0)
    passed: list[int] = []
    begin = threading.Barrier(8)

    def ask() -> None:
        begin.wait(20)
        for _ in range(50):
            turn = budget.acquire(Lane.CANCEL, 0)
            if turn is not None:
                passed.append(turn)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(passed) == list(range(1, 101))
