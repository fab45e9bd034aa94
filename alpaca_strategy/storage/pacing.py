"""One rate limit for all processes: who wants to ask takes the next slot from a row in Postgres.

The generic cell rate algorithm in one statement: the row holds when the next slot begins; taking
one moves it on by an interval. Slots are given in the order of asking, so parallel tasks share the
rate fairly, and a process that dies wastes one slot. A few slots that nobody took in time may be
taken late, so that a hiccup does not lower the rate.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy import Engine, text

#: Of the rate is used, and of a window's requests may come early: together with the request that
#: begins a window they stay below the limit, and leave room for jitter in the network.
_SHARE, _EARLY = 0.975, 0.015

_TAKE = text("""
    INSERT INTO market.rate_limit AS r (name, next_at)
    VALUES (:name, clock_timestamp() + make_interval(secs => :interval))
    ON CONFLICT (name) DO UPDATE
    SET next_at = greatest(r.next_at, clock_timestamp()) + make_interval(secs => :interval)
    RETURNING extract(epoch FROM next_at - clock_timestamp())::float8 - :interval
""")
_HOLD = text("""
    INSERT INTO market.rate_limit AS r (name, next_at)
    VALUES (:name, clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (name) DO UPDATE
    SET next_at = greatest(r.next_at, clock_timestamp() + make_interval(secs => :seconds))
""")
_FAST = text("SET LOCAL synchronous_commit = off")  # a slot lost in a crash costs nothing


def spacing(limit: int, window_s: float) -> tuple[float, float]:
    """Return the seconds between slots, and how early a slot may be taken.

    Args:
        limit: Requests that the venue allows in a window.
        window_s: Its length in seconds.
    """
    interval = window_s / (limit * _SHARE)
    return interval, int(limit * _EARLY) * interval


class PostgresPace:
    """A rate limit shared by every process that uses the same database and name."""

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        per_minute: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine, self._name, self._sleep = engine, name, sleep
        self._interval, self._early = spacing(per_minute, 60.0)

    def acquire(self) -> None:
        """Take the next slot and sleep until it comes.

        Raises:
            ServiceUnavailableError: Postgres does not answer.
        """
        with self._engine.begin() as connection:
            connection.execute(_FAST)
            slot = {"name": self._name, "interval": self._interval}
            pause = connection.execute(_TAKE, slot).scalar_one() - self._early
        if pause > 0:
            self._sleep(pause)

    def push_back(self, seconds: float) -> None:
        """Give nobody a slot for so long; the venue said so.

        Raises:
            ServiceUnavailableError: Postgres does not answer.
        """
        with self._engine.begin() as connection:
            connection.execute(_FAST)
            connection.execute(_HOLD, {"name": self._name, "seconds": seconds + self._early})


class ProcessPace:
    """The same within one process, where there is no database."""

    def __init__(
        self,
        *,
        per_minute: int,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval, self._early = spacing(per_minute, 60.0)
        self._sleep, self._clock = sleep, clock
        self._next_at = 0.0
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Take the next slot and sleep until it comes."""
        with self._lock:
            now = self._clock()
            slot = max(self._next_at, now)
            self._next_at = slot + self._interval
        pause = slot - now - self._early
        if pause > 0:
            self._sleep(pause)

    def push_back(self, seconds: float) -> None:
        """Give nobody a slot for so long; the venue said so."""
        with self._lock:
            self._next_at = max(self._next_at, self._clock() + seconds + self._early)
