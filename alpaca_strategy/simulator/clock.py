"""The one clock of the simulated venue: wall time, or an epoch that runs at a rate."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from math import inf, isfinite
from typing import Protocol

from alpaca_strategy.simulator.calendar import NEW_YORK

BILLION = 1_000_000_000
MAX_RATE = 1e5  # simulated seconds per second


class Watcher(Protocol):
    """What is told of changes."""

    def __call__(self, *, jumped: bool) -> None:
        """Take note."""


@dataclass(slots=True)
class SimClock:
    """Simulated time = epoch + rate * wall seconds since it was set; the default is wall time.

    Attributes:
        epoch_ns: Simulated time at the moment of setting, nanoseconds since 1970 UTC.
        rate: Simulated seconds per wall second.
        paused: The time stands still.
        watchers: Called after every change from outside; jumped tells that another time was set.
    """

    epoch_ns: int = field(default_factory=time.time_ns)
    rate: float = 1.0
    paused: bool = False
    watchers: list[Watcher] = field(default_factory=list)
    _set_ns: int = field(default_factory=time.time_ns)

    def now_ns(self) -> int:
        """Return simulated nanoseconds since 1970 UTC."""
        if self.paused:
            return self.epoch_ns
        passed = time.time_ns() - self._set_ns
        return self.epoch_ns + (passed if self.rate == 1.0 else int(passed * self.rate))

    def now(self) -> datetime:
        """Return the simulated time in New York."""
        return datetime.fromtimestamp(self.now_ns() / BILLION, NEW_YORK)

    def set(
        self,
        *,
        now_ns: int | None = None,
        rate: float | None = None,
        paused: bool | None = None,
        advance_s: float = 0.0,
    ) -> None:
        """Change what is given and let the rest run on from where it stands.

        Raises:
            ValueError: A rate or a number of seconds makes no sense; nothing is changed.
        """
        if rate is not None and not 0 < rate <= MAX_RATE:  # NaN too
            msg = f"rate must be above 0 and at most {MAX_RATE:g}, got {rate}"
            raise ValueError(msg)
        if not isfinite(advance_s):
            msg = f"advance_s must be a number of seconds, got {advance_s}"
            raise ValueError(msg)
        start = self.now_ns() if now_ns is None else now_ns
        self.epoch_ns = start + int(advance_s * BILLION)
        self._set_ns = time.time_ns()
        self.rate = self.rate if rate is None else rate
        self.paused = self.paused if paused is None else paused
        for watcher in self.watchers:
            watcher(jumped=now_ns is not None or advance_s != 0)

    def stand_at(self, now_ns: int) -> None:
        """Move a clock that stands still, by whoever drives the venue's time; nobody is told."""
        self.epoch_ns = now_ns

    def wall_s_until(self, ns: int) -> float:
        """Return the wall seconds until a simulated time; never, when the clock stands still."""
        if self.paused:
            return inf
        return (ns - self.now_ns()) / BILLION / self.rate
