"""The simulator's clock, as a trader keeps it: read once, or moved by the trader itself.

Alpaca has no such thing, so nothing but an address of this machine is ever asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from alpaca_strategy.domain.streams import Stream
from alpaca_strategy.errors import ServiceUnavailableError, SettingsError

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TIMEOUT_S = 60.0  # a long move with many trades takes its time


@dataclass(frozen=True, slots=True)
class Reading:
    """The simulator's clock at a moment.

    Attributes:
        now_ns: Its time, nanoseconds since 1970 UTC.
        at_ns: This machine's time then.
        rate: Simulated seconds a second.
        paused: It stands still, and is moved from outside.
    """

    now_ns: int
    at_ns: int
    rate: float
    paused: bool


class SimulatedClock:
    """The side door of a simulator, as far as it is about time."""

    def __init__(self, url: str, token: str) -> None:
        """Take the simulator's root and what opens its side door.

        Raises:
            SettingsError: It is not on this machine.
        """
        if urlsplit(url).hostname not in _LOOPBACK:
            msg = f"{url} is not on this machine, and only a simulator here has a clock to follow."
            raise SettingsError(msg)
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["X-Sim-Token"] = token

    def read(self) -> Reading:
        """Return its time.

        Raises:
            ServiceUnavailableError: The simulator does not answer.
        """
        before = time.time_ns()
        clock = self._ask("GET", "clock")
        at = (before + time.time_ns()) // 2
        return Reading(int(clock["now_ns"]), at, float(clock["rate"]), bool(clock["paused"]))

    def move(self, to_ns: int) -> tuple[int, dict[Stream, int]]:
        """Let the venue's time pass up to a moment.

        Returns:
            Its time, and how many data frames each live connection has been sent so far.

        Raises:
            ServiceUnavailableError: The simulator does not answer.
        """
        moved = self._ask("POST", "advance", {"to": to_ns})
        counts = {Stream.DATA: moved["data_frames"], Stream.UPDATES: moved["update_frames"]}
        return int(moved["now_ns"]), counts

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _ask(self, method: str, page: str, body: dict[str, int] | None = None) -> dict[str, Any]:
        try:
            answer = self._session.request(
                method, f"{self._url}/_sim/{page}", json=body, timeout=_TIMEOUT_S
            )
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        except (requests.RequestException, msgspec.MsgspecError) as error:
            msg = (
                f"The simulator at {self._url} does not answer about its clock "
                f"({type(error).__name__}); start it, then try again."
            )
            raise ServiceUnavailableError(msg) from error


def lockstep(
    clock: SimulatedClock, received: Callable[[Stream, int], Awaitable[None]]
) -> Callable[[int], Awaitable[int]]:
    """Return what moves the venue's time, and comes back when all that it sent has arrived.

    Args:
        clock: The side door.
        received: Returns when a stream has brought so many data frames, or is lost.
    """

    async def advance(to_ns: int) -> int:
        now_ns, counts = await asyncio.to_thread(clock.move, to_ns)
        for stream, count in counts.items():
            await received(stream, count)
        return now_ns

    return advance
