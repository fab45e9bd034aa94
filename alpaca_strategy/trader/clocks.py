"""The venue's time: real, running at a rate, or moved by the trader itself in lock-step."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
_TURNS: Final = 5


class RealClock:
    """The machine's time, read once: whoever sets its clock moves no minute of the session.

    Whether the venue's is the same is checked, not assumed.
    """

    def __init__(self) -> None:
        self._began_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """Return nanoseconds since 1970 UTC."""
        return self._began_ns + time.monotonic_ns()

    async def wait(self, until_ns: int, wake: asyncio.Event) -> None:
        """Return when that time has come, or the event is set."""
        await wait_seconds((until_ns - self.now_ns()) / SECOND_NS, wake)


@dataclass(frozen=True, slots=True)
class RatedClock:
    """A simulated venue's time that runs at a rate of its own.

    Attributes:
        epoch_ns: The venue's time at a moment.
        at_ns: That moment by this machine's clock.
        rate: Simulated seconds a second.
    """

    epoch_ns: int
    at_ns: int
    rate: float

    def now_ns(self) -> int:
        """Return nanoseconds since 1970 UTC."""
        return self.epoch_ns + int((time.time_ns() - self.at_ns) * self.rate)

    async def wait(self, until_ns: int, wake: asyncio.Event) -> None:
        """Return when that time has come, or the event is set."""
        await wait_seconds((until_ns - self.now_ns()) / SECOND_NS / self.rate, wake)


@dataclass(slots=True)
class LockstepClock:
    """A simulated venue's time that stands still until the trader has nothing left to do.

    So a day takes as long as its work takes, and the same day always goes the same way.

    Attributes:
        advance: Moves the venue to a time at most; returns its time when everything that it sent
            until then has been received.
        busy: Whether the trader still awaits an answer; then the time stands still.
        step_ns: The longest move that the trader allows now: short while orders are under way.
        settled: Set whenever an answer has come.
    """

    time_ns: int
    advance: Callable[[int], Awaitable[int]]
    busy: Callable[[], bool]
    step_ns: Callable[[], int]
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def now_ns(self) -> int:
        """Return nanoseconds since 1970 UTC."""
        return self.time_ns

    async def wait(self, until_ns: int, wake: asyncio.Event) -> None:
        """Return when that time has come, or the event is set."""
        while not wake.is_set():
            if self.busy():
                self.settled.clear()
                await _either(wake, self.settled)
                continue
            if self.time_ns >= until_ns:
                return
            for _ in range(_TURNS):  # what has just been woken is not busy before it has its turn
                await asyncio.sleep(0)
            if self.busy() or wake.is_set():
                continue
            self.time_ns = await self.advance(min(until_ns, self.time_ns + self.step_ns()))


async def wait_seconds(seconds: float, wake: asyncio.Event) -> None:
    """Return after so many seconds of this machine's time, or when the event is set."""
    if wake.is_set():
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0.0)):
            await wake.wait()


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (first, second)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()
