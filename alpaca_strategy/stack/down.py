"""`down`: stop the stack of this home from any terminal, and wait until it is gone."""

from __future__ import annotations

import psutil

from alpaca_strategy.config import home, load_settings
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
    layout = Layout(home(), load_settings().resolved_venue.value)
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
        process.wait(_PATIENCE_S)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        process.kill()
    except psutil.AccessDenied as error:
        msg = f"The stack was started by another user (process {pid}); stop it as that user."
        raise EnvironmentFaultError(msg) from error
