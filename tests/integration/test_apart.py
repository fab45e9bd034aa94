"""A job in a process of its own answers, fails and ends as if it had run here."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest
from structlog.testing import capture_logs

from alpaca_strategy.errors import EnvironmentFaultError, ServiceUnavailableError, TrainingError
from alpaca_strategy.jobs import apart
from alpaca_strategy.jobs.apart import run_apart

pytestmark = pytest.mark.integration


def test_a_known_error_is_raised_here_as_it_was_there(home: Path) -> None:
    with pytest.raises(ServiceUnavailableError, match="start the stack with `make run`"):
        run_apart("retrain:window", until="2026-11-20")


def test_a_defect_is_called_one_and_its_traceback_is_passed_on(home: Path) -> None:
    with capture_logs() as logs, pytest.raises(TrainingError, match="status 1, a defect"):
        run_apart("retrain:window", nonsense=1)
    assert any("unexpected keyword argument" in str(entry) for entry in logs)


def test_who_stops_waiting_ends_the_child(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[str]] = []
    start = subprocess.Popen

    def sleeping(_command: list[str], **options: object) -> subprocess.Popen[str]:
        child = start([sys.executable, "-c", "import time; time.sleep(600)"], **options)  # type: ignore[call-overload]
        children.append(child)
        return child

    def time_limit(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    monkeypatch.setattr(apart.subprocess, "Popen", sleeping)
    before = signal.signal(signal.SIGALRM, time_limit)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(TimeoutError):
            run_apart("retrain:window")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert children[0].returncode == -signal.SIGTERM


def test_a_killed_child_is_told_apart_from_a_defect(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def dying(_command: list[str], **options: object) -> subprocess.Popen[str]:
        code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        return start([sys.executable, "-c", code], **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(apart.subprocess, "Popen", dying)
    with pytest.raises(EnvironmentFaultError, match="signal 9; if memory ran out"):
        run_apart("retrain:window")
