"""Start the supervisor and talk to it."""

from __future__ import annotations

import http.client
import os
import pwd
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor.xmlrpc import SupervisorTransport

from alpaca_strategy.config import PROJECT_ROOT, Settings
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.stack.layout import Layout

_UNREACHABLE = (OSError, http.client.HTTPException, xmlrpc.client.Error)
_ALREADY_STARTED, _NOT_RUNNING = 60, 70  # supervisor's own fault codes


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the supervisor knows of one program."""

    name: str
    state: str  # RUNNING, STARTING, BACKOFF, FATAL, EXITED, STOPPED, STOPPING
    pid: int
    log: Path
    description: str


class Supervisor:
    """The supervisor of one stack, seen through its Unix socket."""

    def __init__(self, layout: Layout) -> None:
        self._address = f"unix://{layout.supervisor_socket}"

    def _call(self, method: str, *arguments: object) -> object:
        # A connection of its own for each call: several threads talk to it.
        transport = SupervisorTransport(None, None, self._address)
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()

    def answers(self) -> bool:
        """Tell whether it is there."""
        try:
            return bool(self._call("getState"))
        except _UNREACHABLE:
            return False

    def pid(self) -> int:
        """Return its process id; 0 where it does not answer."""
        try:
            return int(str(self._call("getPID")))
        except _UNREACHABLE:
            return 0

    def start(self, name: str) -> None:
        """Ask for a program to be started; returns at once."""
        self._act("startProcess", name, _ALREADY_STARTED)

    def stop(self, name: str) -> None:
        """Ask for a program to be stopped; returns at once."""
        self._act("stopProcess", name, _NOT_RUNNING)

    def _act(self, method: str, name: str, tolerated: int) -> None:
        try:
            self._call(method, name, False)  # noqa: FBT003 - supervisor's signature
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != tolerated:
                msg = f"The supervisor refuses {method} {name}: {fault.faultString}."
                raise EnvironmentFaultError(msg) from fault

    def shutdown(self) -> None:
        """Ask it to stop everything and end."""
        try:
            self._call("shutdown")
        except _UNREACHABLE:
            return

    def programs(self) -> dict[str, ProgramInfo]:
        """Return all programs by name; empty where the supervisor does not answer."""
        try:
            answer = self._call("getAllProcessInfo")
        except _UNREACHABLE:
            return {}
        rows = answer if isinstance(answer, list) else []
        return {
            row["name"]: ProgramInfo(
                name=row["name"],
                state=row["statename"],
                pid=row["pid"],
                log=Path(row["stdout_logfile"]),
                description=row["description"],
            )
            for row in rows
        }


def launch(
    settings: Settings,
    layout: Layout,
    environment: Mapping[str, str],
    *,
    postgres_bin: Path,
    postgres_user: str,
) -> subprocess.Popen[bytes]:
    """Start the supervisor apart from this terminal, and wait until it answers.

    Raises:
        EnvironmentFaultError: It ends at once; its log says why.
    """
    variables = {
        "STACK_USER": pwd.getpwuid(os.geteuid()).pw_name,
        "STACK_RUN": str(layout.run),
        "STACK_LOGS": str(layout.program_logs),
        "STACK_SOCKET": str(layout.supervisor_socket),
        "STACK_PYTHON": sys.executable,
        "STACK_PROJECT": str(PROJECT_ROOT),
        "STACK_POSTGRES_BIN": str(postgres_bin),
        "STACK_POSTGRES_USER": postgres_user,
        "STACK_PGDATA": str(layout.postgres),
        "STACK_PGSOCKET": str(layout.postgres_socket),
        "STACK_POSTGRES_PORT": str(settings.stack.postgres_port),
        "STACK_SIMULATOR_PORT": str(settings.stack.simulator_port),
        "STACK_TENSORBOARD_PORT": str(settings.stack.tensorboard_port),
        "STACK_TENSORBOARD_LOGS": str(layout.tensorboard_logs),
    }
    command = [sys.executable, "-m", "supervisor.supervisord"]
    command += ["-c", str(layout.supervisor_configuration)]
    said = layout.program_logs / "supervisord.out"
    layout.supervisor_socket.unlink(missing_ok=True)
    with said.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own configuration
            command,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for `up`, which stops everything in order
        )
    if _comes_up(process, Supervisor(layout)):
        return process
    reason = said.read_text(errors="replace").strip()[-400:] or "it says nothing"
    log = layout.program_logs / "supervisord.log"
    msg = f"The supervisor did not start: {reason}; see {log}."
    raise EnvironmentFaultError(msg)


def _comes_up(process: subprocess.Popen[bytes], supervisor: Supervisor) -> bool:
    deadline = time.monotonic() + 60
    while not supervisor.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            return False
        time.sleep(0.05)
    return True
