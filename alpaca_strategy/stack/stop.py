"""Stop everything in order: Airflow and its tasks, then the simulator, Postgres last."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.stack import processes
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.supervisor import Supervisor

#: Stopped together and first; what they need goes on until they are gone.
FRONT = ("scheduler", "triggerer", "dag-processor", "api-server", "tensorboard")
BACK = ("simulator", "postgres")
_ENDED = {"STOPPED", "EXITED", "FATAL"}


def stop_stack(layout: Layout) -> None:
    """Stop a stack until none of its processes is left; safe to call at any moment.

    Raises:
        EnvironmentFaultError: A process cannot be ended.
    """
    supervisor = Supervisor(layout)
    if supervisor.answers():
        _stop_programs(supervisor, FRONT, timeout_s=45)
        keep = _needed(supervisor)
        tasks = [p for p in processes.of_stack(layout.home) if p.pid not in keep]
        processes.end(tasks, grace_s=5)
        _stop_programs(supervisor, BACK, timeout_s=75)
        supervisor.shutdown()
        processes.wait_until_gone(layout.home, timeout_s=5)
    stop_at_once(layout)


def stop_at_once(layout: Layout) -> None:
    """End what is left without waiting for work in progress; Postgres still writes everything.

    Raises:
        EnvironmentFaultError: A process cannot be ended.
    """
    try:
        processes.end_stack(layout.home)
    except psutil.AccessDenied as error:
        msg = f"Process {error.pid} belongs to another user; stop it as that user."
        raise EnvironmentFaultError(msg) from error
    if left := processes.of_stack(layout.home):
        names = ", ".join(processes.describe(process) for process in left)
        msg = f"These processes did not end: {names}; look at them with ps."
        raise EnvironmentFaultError(msg)
    layout.supervisor_socket.unlink(missing_ok=True)
    if layout.sockets != layout.run:
        with suppress(OSError):
            layout.sockets.rmdir()


def _stop_programs(supervisor: Supervisor, names: Iterable[str], *, timeout_s: float) -> None:
    """Ask for all at once and wait; the supervisor kills each after its own patience."""
    programs = supervisor.programs()
    wanted = {name for name in names if programs and programs[name].state not in _ENDED}
    for name in wanted:
        supervisor.stop(name)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        programs = supervisor.programs()
        if not programs or all(programs[name].state in _ENDED for name in wanted):
            return
        time.sleep(0.1)


def _needed(supervisor: Supervisor) -> set[int]:
    """Return the processes that must outlive the tasks: supervisor, simulator, Postgres."""
    programs = supervisor.programs()
    keep = {supervisor.pid()}
    for name in BACK:
        if name in programs and programs[name].pid:
            children = processes.descendants_of(programs[name].pid)
            keep |= {programs[name].pid, *(process.pid for process in children)}
    return keep
