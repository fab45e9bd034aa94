"""Run a whole embedded stack in a home and on ports of its own, as its user would."""

from __future__ import annotations

import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from alpaca_strategy.stack import processes
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.supervisor import Supervisor


def _free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """Return ports that nobody listens on, neither another test run nor a user's stack."""
    ports: dict[str, int] = {}
    while len(ports) < len(names):
        port = random.SystemRandom().randrange(18000, 19000)
        with socket.socket() as probe:
            if port not in ports.values() and probe.connect_ex(("127.0.0.1", port)) != 0:
                ports[names[len(ports)]] = port
    return ports


PORTS = _free_ports(("airflow", "postgres", "simulator", "tensorboard"))
PROGRAMS = (
    "postgres",
    "simulator",
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
    "tensorboard",
)
READY_S = 300  # a machine that is doing other things as well


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """Return what the condition returns once it is true; fail with a name after the time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.1)
    return value


def interpreter_for(user: str, folder: Path) -> str | None:
    """Return a Python with our packages that a user may run; None where there is none.

    Ours may lie in root's closed home; then the system's own is taught where our packages are.
    """
    packages = [path for path in sys.path if path.endswith("site-packages")]
    project = str(Path(__file__).resolve().parents[2])
    for python in (sys.executable, shutil.which("python3.11", path="/usr/bin:/usr/local/bin")):
        if python is None or not _runs(user, python):
            continue
        if python == sys.executable:
            return python
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
        hint = folder / "lib/python3.11/site-packages/ours.pth"
        hint.write_text("\n".join([*packages, project]) + "\n")
        taught = str(folder / "bin/python")
        return taught if _runs(user, taught, "import airflow, alpaca_strategy.stack") else None
    return None


def _runs(user: str, python: str, code: str = "pass") -> bool:
    entry = pwd.getpwnam(user)
    try:
        done = subprocess.run(
            [python, "-c", code],
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
            env={"HOME": "/tmp", "AIRFLOW_HOME": "/nonexistent"},
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _hear_hang_ups() -> None:
    """Undo what a test run started with nohup hands down."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def new_home() -> Path:
    """Return an empty folder that Postgres' own user may pass through.

    Not pytest's: every other test run on the machine closes its root to other users again.
    """
    home = Path(tempfile.mkdtemp(prefix="stack-"))
    home.chmod(0o755)
    return home


class StackRun:
    """One home in which stacks are started and stopped."""

    def __init__(
        self,
        home: Path,
        *,
        user: str | None = None,
        python: str = sys.executable,
        **settings: str,
    ) -> None:
        self.home, self.user, self.python = home, user, python
        self.output = home / "up.out"
        self._up: subprocess.Popen[bytes] | None = None
        names = {f"ALPACA_STRATEGY_STACK__{k.upper()}_PORT": str(v) for k, v in PORTS.items()}
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ALPACA_", "AIRFLOW", "APCA_"))
        }
        self.environment = {
            **clean,
            **names,
            "ALPACA_STRATEGY_HOME": str(home),
            "HOME": str(home),
            **settings,
        }

    def command(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a verb of the stack."""
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            options |= {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [self.python, "-m", "alpaca_strategy.stack", *arguments],
            env=self.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_hear_hang_ups,  # noqa: PLW1509  # no other thread at this moment
            **options,
        )

    def verb(self, *arguments: str) -> tuple[int, str]:
        """Run a verb to its end and return its exit status and what it said."""
        process = self.command(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = process.communicate(timeout=READY_S)
        return process.returncode, " ".join(said.decode().split())

    def up(self) -> None:
        """Start `up` in the background."""
        with self.output.open("wb") as output:
            self._up = self.command("up", "--no-backfill", stdout=output, stderr=output)

    @property
    def up_process(self) -> subprocess.Popen[bytes]:
        """The last `up`."""
        assert self._up is not None
        return self._up

    def said(self) -> str:
        """Return what the last `up` has printed so far."""
        return self.output.read_text(errors="replace")

    def wait_until_said(self, text: str, timeout_s: float = READY_S) -> None:
        """Wait for a text of `up`, which must not end before."""

        def heard() -> bool:
            if text in self.said():
                return True
            assert self.up_process.poll() is None, f"up ended before {text!r}: {self.said()}"
            return False

        wait_for(heard, text, timeout_s)

    def up_and_ready(self) -> None:
        """Start `up` and wait for its panel."""
        self.up()
        self.wait_until_said("is up ─")

    def signal(self, number: signal.Signals) -> int:
        """Send `up` a signal and return its exit status."""
        self.up_process.send_signal(number)
        return self.up_process.wait(READY_S)

    def living(self) -> list[psutil.Process]:
        """Return the stack's processes."""
        return processes.of_stack(self.home)

    def mentioning_home(self) -> list[str]:
        """Return all processes of the machine whose command line names the home.

        Another way to look than the marker which the stack itself uses.
        """
        found = []
        for process in psutil.process_iter(["cmdline", "pid"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self.home) in line and process.pid != os.getpid():
                found.append(f"{process.pid} {line}")
        return found

    def listening(self) -> set[int]:
        """Return which of the stack's ports somebody listens on."""
        return {
            connection.laddr.port
            for connection in psutil.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port in PORTS.values()
        }

    def state(self) -> dict[str, Any]:
        """Return what `up` wrote for commands in other shells."""
        content: dict[str, Any] = json.loads((self.home / "data/simulator/stack.json").read_text())
        return content

    def program_pid(self, name: str) -> int:
        """Return the process of a program; 0 where it does not run."""
        programs = Supervisor(Layout(self.home, "simulator")).programs()
        return programs[name].pid if name in programs else 0

    def destroy(self) -> None:
        """Leave nothing behind, whatever a test did."""
        if self._up is not None and self._up.poll() is None:
            self._up.kill()
            self._up.wait()
        processes.end_stack(self.home)
        shutil.rmtree(self.home, ignore_errors=True)
