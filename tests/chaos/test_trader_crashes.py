"""The trader is killed, everywhere and at any time; no order is doubled, and none is lost."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from trading_floor import Floor, trading_floor

from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.trader.crash_points import CRASH_POINTS

#: What becomes of the first orders' requests: answered, taken and unanswered, or lost on the way.
ANSWERS = {
    "answered": None,
    "taken_unanswered": {"action": "rst", "after": True},
    "lost": {"action": "drop_before"},
}


@pytest.fixture
def trading_database(database_url: str) -> str:
    engine = connect(database_url)
    migrate(engine)
    engine.dispose()
    return database_url


def killed_at(floor: Floor, label: str, nth: int) -> None:
    """Start a trader that is killed at a place, and another that goes on."""
    first = floor.start(TRADER_CRASH_AT=f"{label}:{nth}")
    first.wait(120)
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


@pytest.mark.integration
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


def kill_at_random(floor: Floor, seed: int) -> int:
    """Kill traders at random moments until one comes to its end; return how many were killed."""
    draw = random.Random(seed)
    killed = 0
    while True:
        process = floor.start()
        if killed < 3:
            try:
                process.wait(1.0 + draw.expovariate(1 / 2.0))
            except Exception:  # it lives on, so it is killed  # noqa: BLE001
                process.kill()
                process.wait()
                killed += 1
                time.sleep(draw.random() * 0.3)
                continue
        ending = floor.finish(process)
        assert ending["flat"], floor.log()
        return killed


def play_random(database: str, folder: Path, seed: int) -> int:
    with trading_floor(database, folder, rate=60.0, start="15:35", seed=seed) as floor:
        killed = kill_at_random(floor, seed)
        assert floor.judge() == [], floor.log()
        assert floor.simulator.truth()["fills"]
    return killed


@pytest.mark.integration
def test_restarts_after_kills_at_random_moments(trading_database: str, tmp_path: Path) -> None:
    assert play_random(trading_database, tmp_path, seed=1) > 0
