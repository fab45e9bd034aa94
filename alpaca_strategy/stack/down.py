"""`down`: stop the stack of this home from any terminal, and wait until it is gone."""

from __future__ import annotations

import psutil

from alpaca_strategy.config import home
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.stack import lock, processes, stop
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.report import Report

_PATIENCE_S = 150  # longer than an orderly stop may take


def down() -> None:
    """Stop everything and return when no process is left; the data stay.

    Raises:
        EnvironmentFaultError: The stack belongs to another user, or a process does not end.
    """
    # No settings are read: what is running must stop even when .env has become nonsense. A home
    # has one stack, so the venue does not matter.
    layout = Layout(home(), Venue.SIMULATOR.value)
    report = Report(layout)
    running = lock.holder(layout)
    if running is None and not processes.of_stack(layout.home):
        report.say("The stack is not running.")
        return
    if running is not None and running.pid:
        _end(running.pid)
    stop.stop_stack(layout)
    report.say("The stack is down, no process is left; the data stay.")


def _end(pid: int) -> None:
    """Ask `up` to stop everything, and wait for it; one that hangs is killed."""
    try:
        process = psutil.Process(pid)
        process.terminate()
        processes.kill(processes.wait([process], timeout_s=_PATIENCE_S))
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        msg = f"The stack was started by another user (process {pid}); stop it as that user."
        raise EnvironmentFaultError(msg) from error
