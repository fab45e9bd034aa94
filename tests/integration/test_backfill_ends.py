"""A backfill that is interrupted or loses a worker: no process left, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from alpaca_strategy.jobs import backfill
from tests.integration.conftest import House

pytestmark = pytest.mark.integration
COMMAND = ("backfill", "--start", "2026-11-18", "--end", "2026-11-19")
PATIENCE_S = 60


def start_and_wait_for_a_fetch(house: House) -> subprocess.Popen[str]:
    """Start a backfill whose trades never arrive, and wait until both workers ask for some."""
    house.simulator.fault("hang", {"path": "/v2/stocks/trades"})
    process = subprocess.Popen(
        [sys.executable, "-m", "alpaca_strategy", *COMMAND],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    ends_at = time.monotonic() + PATIENCE_S
    while len(list(house.home.glob("data/simulator/staging/*/.TSLA.lock"))) < 2:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < ends_at
        time.sleep(0.05)
    return process


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes of its pools."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
    return [pid for pid, command in found.items() if "spawn_main" in command]


@pytest.mark.parametrize("how", ["ctrl_c", "killed_worker"])
def test_an_interrupted_backfill_ends_cleanly_and_goes_on_later(house: House, how: str) -> None:
    process = start_and_wait_for_a_fetch(house)
    pids = workers(process)
    assert len(pids) == 2
    if how == "ctrl_c":
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(pids[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in output
    assert (process.returncode, "was killed" in output) == {
        "ctrl_c": (130, False),
        "killed_worker": (3, True),
    }[how]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    if how == "ctrl_c":
        return
    house.simulator.clear()
    done = backfill.backfill(date(2026, 11, 18), date(2026, 11, 19), workers=1)
    assert (done["published"], done["failed"]) == (2, {})
