"""Start a simulator of one's own, for tests and trials."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from alpaca_strategy.errors import ServiceUnavailableError

LOOPBACK = "127.0.0.1"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator process.

    Attributes:
        url: Its root, for `url_override`.
        key: Key id that it accepts.
        secret: The key's secret.
        token: Opens the side door.
        pid: The process.
    """

    url: str
    key: str
    secret: str
    token: str
    pid: int

    def call(self, method: str, page: str, **body: Any) -> Any:
        """Ask the side door: a page under /_sim/; returns the decoded answer."""
        query = ""
        data = None
        if method == "GET":
            query = "?" + "&".join(f"{name}={value}" for name, value in body.items())
        else:
            data = json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  # our own loopback address
            f"{self.url}/_sim/{page}{query}", data, {"X-Sim-Token": self.token}, method=method
        )
        try:
            with _OPENER.open(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from error

    def fault(self, action: str, match: dict[str, Any] | None = None, **options: Any) -> None:
        """Put a fault in force; see `faults` for actions and options."""
        self.call("POST", "fault", action=action, match=match or {}, **options)

    def damage(self, kind: str, symbol: str | None, session: object, **options: Any) -> None:
        """Damage a session's data; see `damage` for kinds. `symbol` None damages all."""
        self.call("POST", "market", kind=kind, symbol=symbol, session=str(session), **options)

    def clock(self, **changes: Any) -> dict[str, Any]:
        """Read the clock, or change it: set (RFC 3339), rate, paused, advance_s."""
        reading: dict[str, Any] = self.call("POST" if changes else "GET", "clock", **changes)
        return reading

    def truth(self, **about: Any) -> dict[str, Any]:
        """Return counts of requests and what is planted; see `door.truth`."""
        report: dict[str, Any] = self.call("GET", "truth", **about)
        return report

    def exchange(self, **switches: Any) -> dict[str, Any]:
        """Change switches of the engine; see `behaviour.Engine`. `reset` puts them back first."""
        told: dict[str, Any] = self.call("POST", "exchange", **switches)
        return told

    def account(self, **switches: Any) -> dict[str, Any]:
        """Change what the account may do or has; see `trading_door.change_account`."""
        told: dict[str, Any] = self.call("POST", "account", **switches)
        return told

    def halt(self, symbol: str | None, *, halted: bool = True, **about: str) -> None:
        """Halt a symbol (None: all of them), or let it trade again; `code` and `reason`."""
        self.call("POST", "trading_halt", symbol=symbol, halted=halted, **about)

    def external_order(self, symbol: str, side: str, qty: object, **more: Any) -> dict[str, Any]:
        """Let a person trade on the same account; see `trading_door.external_order`."""
        body = {"symbol": symbol, "side": side, "qty": str(qty), **more}
        told: dict[str, Any] = self.call("POST", "external_order", **body)
        return told

    def reset_account(self, **about: Any) -> dict[str, Any]:
        """Open a new account, with `cash`."""
        told: dict[str, Any] = self.call("POST", "reset_account", **about)
        return told

    def advance(self, to: object) -> dict[str, int]:
        """Move a clock that stands still to a time (ns or RFC 3339); see `pump`."""
        told: dict[str, int] = self.call("POST", "advance", to=to)
        return told

    def ws(self, action: str, stream: str | None = None, **options: Any) -> None:
        """Put a fault of the websockets in force; see `stream_faults`."""
        where = {} if stream is None else {"stream": stream}
        self.call("POST", "ws", action=action, **where, **options)

    def schedule(self, *items: dict[str, Any]) -> list[dict[str, Any]]:
        """Plan items, if any, and return everything planned with what came of it."""
        body = {"items": list(items)} if items else {}
        told: dict[str, Any] = self.call("POST" if items else "GET", "schedule", **body)
        found: list[dict[str, Any]] = told["items"]
        return found

    def clear(self) -> None:
        """Remove faults and damage, put switches back, and forget the counts."""
        self.call("POST", "clear")


@contextmanager
def running_simulator(**options: Any) -> Iterator[RunningSimulator]:
    """Run a simulator on a free port until the block ends.

    Args:
        options: Command-line options with underscores: ``seed=7``, ``short_pages=True``,
            ``replay=folder``, ``requests_per_minute=200``, ``now="2026-10-01T20:00:00Z"``,
            ``split=["TSLA:2026-10-01:3/1"]``. ``key`` and ``secret`` set the key pair.

    Raises:
        ServiceUnavailableError: It ended, or did not come up within 20 s; says what it printed.
    """
    key = str(options.pop("key", "SIMKEY"))
    secret = str(options.pop("secret", secrets.token_hex(8)))
    token = secrets.token_hex(8)
    environment = {
        **os.environ, "SIMULATOR_KEY": key, "SIMULATOR_SECRET": secret, "SIMULATOR_TOKEN": token,
    }  # fmt: skip
    port = _free_port()
    first_key, first_secret = key.partition(",")[0], secret.partition(",")[0]
    with tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, "-m", "alpaca_strategy.simulator", "--port", str(port)]
        process = subprocess.Popen(  # noqa: S603  # our own module with our own options
            [*command, "--with-parent", *_arguments(options)],
            env=environment,
            stdin=subprocess.PIPE,  # closes with us, however we end, and it ends then
            stdout=output,
            stderr=output,
            start_new_session=True,  # keys that a terminal makes signals of are not for it
        )
        simulator = RunningSimulator(
            f"http://{LOOPBACK}:{port}", first_key, first_secret, token, process.pid
        )
        try:
            _wait(process, simulator, output)
            yield simulator
        finally:
            process.terminate()
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _arguments(options: dict[str, Any]) -> list[str]:
    """Return command-line arguments."""
    arguments: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            arguments.append(flag)
        elif value is not False and value is not None:
            for item in value if isinstance(value, list | tuple) else [value]:
                arguments += [flag, str(item)]
    return arguments


def _free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], simulator: RunningSimulator, output: Any) -> None:
    """Wait until the simulator answers."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with _OPENER.open(f"{simulator.url}/_sim/health", timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    output.seek(0)
    msg = f"The simulator did not start: {output.read()[-2000:].strip()}"
    raise ServiceUnavailableError(msg)
