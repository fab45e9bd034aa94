"""Where the embedded stack keeps its files; all of it under the ignored data/ and results/."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from alpaca_strategy.config import PROJECT_ROOT

#: A Unix socket's path holds 104 bytes on macOS and 108 on Linux; supervisor adds its process id.
_MAX_SOCKET_PATH = 90


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and files of one stack, derived from its home."""

    home: Path
    venue: str

    @property
    def data(self) -> Path:
        """What must survive: databases, the lake, secrets."""
        return self.home / "data"

    @property
    def run(self) -> Path:
        """What belongs to one run: the lock, the supervisor's process id, timings."""
        return self.data / "run"

    @property
    def sockets(self) -> Path:
        """Where the supervisor listens; a short path where the home's own is too long."""
        if len(str(self.run / "supervisor.sock")) <= _MAX_SOCKET_PATH:
            return self.run
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"alpaca-strategy-{os.getuid()}-{digest}"

    @property
    def supervisor_socket(self) -> Path:
        """The supervisor's own door."""
        return self.sockets / "supervisor.sock"

    @property
    def lock(self) -> Path:
        """Held by `up` for as long as it lives."""
        return self.run / "up.lock"

    @property
    def timings(self) -> Path:
        """How long each step of the last start took."""
        return self.run / "timings.json"

    @property
    def secrets(self) -> Path:
        """Everything generated once; readable by its owner only."""
        return self.data / "secrets.json"

    @property
    def postgres(self) -> Path:
        """Postgres' data directory; both venues have databases in it."""
        return self.data / "postgres"

    @property
    def postgres_socket(self) -> Path:
        """Where Postgres puts its own socket; beside its data, or where the path is short."""
        short = len(str(self.postgres / ".s.PGSQL.65535.lock")) <= _MAX_SOCKET_PATH
        return self.postgres if short else Path(tempfile.gettempdir())

    @property
    def airflow_home(self) -> Path:
        """Airflow's own files: its generated configuration and the password of its login."""
        return self.data / "airflow"

    @property
    def logs(self) -> Path:
        """All logs."""
        return self.home / "results" / "logs"

    @property
    def program_logs(self) -> Path:
        """One log for each program that the supervisor runs."""
        return self.logs / "stack"

    @property
    def tensorboard_logs(self) -> Path:
        """What TensorBoard shows."""
        return self.home / "results" / "tensorboard_logs"

    @property
    def dags(self) -> Path:
        """The DAG files, part of the checkout."""
        return PROJECT_ROOT / "dags"

    @property
    def plugins(self) -> Path:
        """The Airflow plugins, part of the checkout."""
        return PROJECT_ROOT / "plugins"

    @property
    def supervisor_configuration(self) -> Path:
        """What runs and how it is restarted, part of the checkout."""
        return PROJECT_ROOT / "supervisord.conf"

    def stamp(self, name: str) -> Path:
        """Return the file that tells that something was done once for this venue."""
        return self.data / self.venue / f"{name}.done"

    def make_folders(self) -> None:
        """Create what is missing; what holds secrets is closed to others."""
        for folder in (self.data, self.data / self.venue, self.program_logs, self.tensorboard_logs):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.run, self.sockets, self.airflow_home):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
