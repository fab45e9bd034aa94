"""Find and end the processes of a stack, whoever their parent is by now.

Airflow's idle executor workers and task processes outlive the scheduler when it is killed, and
tasks lead process groups of their own. Every process of a stack carries the stack's home in its
environment, so they are found all the same.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from alpaca_strategy.stack.environment import MARKER


def of_stack(home: Path) -> list[psutil.Process]:
    """Return the living processes of a home's stack, and all that descend from them."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid != os.getpid() and _belongs(process, home):
            found[process.pid] = process
    for process in list(found.values()):
        for child in descendants(process):
            found.setdefault(child.pid, child)
    found.pop(os.getpid(), None)
    return [process for process in found.values() if alive(process)]


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return bool(process.environ().get(MARKER) == str(home))
    except (psutil.Error, OSError):  # of another user, or gone meanwhile
        return False


def alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that only its parent has not reaped yet does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Return all children of children; empty where the process is gone."""
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def descendants_of(pid: int) -> list[psutil.Process]:
    """Return all children of children of a process id; empty where it is gone."""
    try:
        return descendants(psutil.Process(pid))
    except psutil.Error:
        return []


def is_postgres(process: psutil.Process) -> bool:
    """Tell whether this is a Postgres server, which must not be killed without need."""
    try:
        return bool(process.name() == "postgres")
    except psutil.Error:
        return False


def end(processes: Iterable[psutil.Process], *, grace_s: float) -> None:
    """Ask processes to end, then make them; returns when none is left."""
    asked = [process for process in processes if _send(process, signal.SIGTERM)]
    kill(wait(asked, timeout_s=grace_s))


def wait(processes: Iterable[psutil.Process], *, timeout_s: float) -> list[psutil.Process]:
    """Wait for processes to end and return those that did not.

    Unlike psutil's own wait, it takes for ended what only a slow parent has not reaped: in a
    container without an init that is every orphan.
    """
    deadline, left = time.monotonic() + timeout_s, list(processes)
    while (left := [process for process in left if alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def kill(processes: Sequence[psutil.Process]) -> None:
    """End processes at once."""
    killed = [process for process in processes if _send(process, signal.SIGKILL)]
    wait(killed, timeout_s=5)


def end_stack(home: Path, *, grace_s: float = 10) -> list[str]:
    """End everything that is left of a stack and return what it was; Postgres comes last.

    The supervisor goes first, or it would restart what is ended after it.
    """
    ended: list[str] = []
    supervisors = [p for p in of_stack(home) if _is_supervisor(p)]
    strays = [p for p in of_stack(home) if not is_postgres(p) and p not in supervisors]
    ended += [describe(process) for process in (*supervisors, *strays)]
    kill(supervisors)
    end(strays, grace_s=grace_s)
    kill([p for p in of_stack(home) if not is_postgres(p)])
    servers = [p for p in of_stack(home) if is_postgres(p)]
    ended += [describe(process) for process in servers]
    _stop_postgres(servers)
    return ended


def _is_supervisor(process: psutil.Process) -> bool:
    try:
        return any("supervisord" in part for part in process.cmdline()[:4])
    except psutil.Error:
        return False


def _stop_postgres(servers: Sequence[psutil.Process]) -> None:
    """Shut down fast, which writes everything; killing is for a server that does not answer."""
    pids = {process.pid for process in servers}
    for process in servers:
        try:
            if process.ppid() not in pids:
                _send(process, signal.SIGINT)
        except psutil.Error:
            continue
    kill(wait(servers, timeout_s=60))


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def describe(process: psutil.Process) -> str:
    """Return a process as a person recognises it."""
    try:
        return f"{process.pid} ({' '.join(process.cmdline())[:60] or process.name()})"
    except psutil.Error:
        return str(process.pid)


def listener(port: int) -> str | None:
    """Return who listens on a port of this machine, as far as this user may know."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):  # macOS lets only root look
        return None
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr.port == port
            and connection.pid
        ):
            return describe(psutil.Process(connection.pid))
    return None


def wait_until_gone(home: Path, *, timeout_s: float) -> bool:
    """Wait until no process of a stack is left; False when the time is over."""
    deadline = time.monotonic() + timeout_s
    while of_stack(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
