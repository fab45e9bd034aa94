"""Threads for calls that block."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from alpaca_strategy.trader.hands import Hands


def test_one_hand_makes_calls_in_their_order() -> None:
    hands, made = Hands(1, "test"), list[int]()
    last = [hands.ask(lambda n=n: made.append(n)) for n in range(200)][-1]  # type: ignore[misc]
    last.result(10)
    assert made == list(range(200))
    hands.close()


def test_as_many_calls_are_made_at_once_as_there_are_hands() -> None:
    hands, meeting = Hands(3, "test"), threading.Barrier(3)
    for _ in range(3):  # and again with threads that are idle
        calls = [hands.ask(lambda: meeting.wait(10)) for _ in range(3)]
        assert sorted(one.result(10) for one in calls) == [0, 1, 2]
    before = {one.name for one in threading.enumerate()}
    assert len([name for name in before if name.startswith("test-")]) <= 3
    hands.close()


def test_error_goes_to_whoever_asked_and_the_hand_works_on() -> None:
    hands = Hands(1, "test")
    with pytest.raises(ZeroDivisionError):
        hands.ask(lambda: 1 // 0).result(10)
    assert hands.ask(lambda: 7).result(10) == 7
    hands.close()


def test_call_that_was_cancelled_is_not_made() -> None:
    hands, go, made = Hands(1, "test"), threading.Event(), list[str]()
    first = hands.ask(lambda: go.wait(10))
    second = hands.ask(lambda: made.append("second"))
    assert second.cancel()
    go.set()
    assert first.result(10)
    hands.ask(lambda: None).result(10)
    assert made == []
    hands.close()


def test_process_ends_while_a_call_hangs() -> None:
    code = (
        "import threading; from alpaca_strategy.trader.hands import Hands;"
        "hands = Hands(1, 'test'); hands.ask(threading.Event().wait); hands.close(); print('over')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "over\n"
