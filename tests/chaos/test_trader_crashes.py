"""The trader is killed, everywhere and at any time; no order is doubled, and none is lost."""

from __future__ import annotations

import os
import random
import subprocess
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from order_histories import watched_wrongly
from trading_floor import Floor, trading_floor

from alpaca_strategy.trader.crash_points import CRASH_POINTS

pytestmark = pytest.mark.integration
#: What becomes of the first orders' requests: answered, taken and unanswered, or lost on the way.
ANSWERS = {
    "answered": None,
    "taken_unanswered": {"action": "rst", "after": True},
    "lost": {"action": "drop_before"},
}
#: Of kills at random moments; `make proof` asks for more than the shards, which run every day.
SEEDS = int(os.environ.get("KILL_SEEDS", "200"))


def killed_at(floor: Floor, label: str, nth: int) -> None:
    """Start a trader that is killed at a place, and another that goes on."""
    first = floor.start(TRADER_CRASH_AT=f"{label}:{nth}")
    first.wait(120)
    floor.simulator.clock(advance_s=5)  # whatever was sent is filled, and nobody hears of it
    ending = floor.finish(floor.start())
    assert ending["reason"] == "closed", floor.log()
    assert ending["flat"], floor.log()
    assert not ending["differences"], floor.log()


def play_crash(database: str, folder: Path, label: str, answer: str, nth: int, seed: int) -> Floor:
    with trading_floor(database, folder, seed=seed) as floor:
        if ANSWERS[answer] is not None:
            floor.simulator.fault(
                match={"method": "POST", "path": "/v2/orders", "nth": [1, 2, 4]}, **ANSWERS[answer]
            )
        killed_at(floor, label, nth)
        assert floor.judge() == [], floor.log()
        assert floor.simulator.truth()["fills"], "nothing was traded, so nothing is shown"
    return floor


@pytest.mark.parametrize("label", ["sending_committed", "order_answered"])
def test_restart_after_a_kill_doubles_and_loses_nothing(
    trading_database: str, tmp_path: Path, label: str
) -> None:
    floor = play_crash(trading_database, tmp_path, label, "answered", nth=2, seed=0)
    assert floor.processes[0].returncode == -9


@pytest.mark.proof
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("label", CRASH_POINTS)
def test_kill_at_every_place(
    trading_database: str, tmp_path: Path, label: str, nth: int, answer: str
) -> None:
    play_crash(trading_database, tmp_path, label, answer, nth=nth, seed=nth)


def kill_at_random(floor: Floor, draw: random.Random) -> list[float]:
    """Kill traders at random moments until one comes to its end; return how old they got."""
    ages = []
    for _ in range(3):
        process = floor.start()
        began = time.monotonic()
        if draw.random() < 0.7:  # most of them while they trade, some while they start
            floor.until(partial(is_under_way, floor, process))
        with suppress(subprocess.TimeoutExpired):
            process.wait(draw.expovariate(1.0))
            break  # it has come to its end before
        process.kill()
        process.wait()
        if floor.simulator.clock()["paused"]:
            floor.simulator.clock(advance_s=draw.random() * 20)  # and what happens is not heard
        ages.append(time.monotonic() - began)
    return ages


def is_under_way(floor: Floor, process: subprocess.Popen[str]) -> bool:
    """Tell whether the newest trader has begun to trade, or is at its end already."""
    return process.poll() is not None or '"event": "trader_ready"' in floor.log(1000)


def play_random(database: str, folder: Path, seed: int, rate: float = 0.0) -> int:
    """Kill traders at random moments, with some answers lost; return how many were killed."""
    draw = random.Random(seed)
    start = "15:40" if rate == 0 else "15:00"
    with trading_floor(
        database, folder, rate=rate, start=start, seed=seed, partial_prob=0.3
    ) as floor:
        post = {"method": "POST", "path": "/v2/orders", "prob": 0.15}
        floor.simulator.fault("rst", match=post, after=True)
        floor.simulator.fault("drop_before", match=post)
        killed = len(kill_at_random(floor, draw))
        if rate:
            floor.play_out(floor.processes[-1])
        elif floor.processes[-1].returncode != 0:
            floor.finish(floor.start())
        # A sale that is lost in the last minute is found lost when the market has closed.
        assert floor.judge(flat=False) == [], floor.log()
        assert list(watched_wrongly(floor)) == []
        assert floor.simulator.truth()["fills"]
    return killed


def test_restarts_after_kills_at_random_moments(trading_database: str, tmp_path: Path) -> None:
    assert play_random(trading_database, tmp_path, seed=4, rate=30.0) > 0


@pytest.mark.proof
@pytest.mark.parametrize("chunk", range(SEEDS // 5))
def test_kills_at_random_moments(
    trading_database: str, tmp_path: Path, chunk: int, record_property: Any
) -> None:
    """Five seeds in each part; one of them with the venue's clock running."""
    killed = [
        play_random(trading_database, tmp_path / str(seed), seed, 30.0 if seed % 5 == 4 else 0.0)
        for seed in range(chunk * 5, chunk * 5 + 5)
    ]
    record_property("killed", sum(killed))
    assert sum(killed) > 5
