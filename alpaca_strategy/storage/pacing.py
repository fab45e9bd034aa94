"""One rate limit for all processes: who wants to ask takes the next slot from a row in Postgres.

The generic cell rate algorithm in one statement: the row holds when the next request may leave;
taking a slot moves it on by one interval. Slots are given in the order of asking, so parallel tasks
share the rate fairly, and a process that dies wastes one slot.
"""

from __future__ import annotations

import threading
import time

from sqlalchemy import Engine, text

#: Slots are a little wider than the limit says, so that jitter in the network never puts one
#: request too many into the venue's window; 98 % of the rate is used.
_SHARE = 0.98

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


class PostgresPace:
    """A rate limit shared by every process that uses the same database and name."""

    def __init__(self, engine: Engine, *, name: str, per_minute: int) -> None:
        self._engine = engine
        self._name = name
        self._interval = 60.0 / (per_minute * _SHARE)

    def acquire(self) -> None:
        """Take the next slot and sleep until it comes."""
        with self._engine.begin() as connection:
            connection.execute(_FAST)
            pause = connection.execute(
                _TAKE, {"name": self._name, "interval": self._interval}
            ).scalar_one()
        if pause > 0:
            time.sleep(pause)

    def push_back(self, seconds: float) -> None:
        """Give nobody a slot for so long; the venue said so."""
        with self._engine.begin() as connection:
            connection.execute(_FAST)
            connection.execute(_HOLD, {"name": self._name, "seconds": seconds})


class ProcessPace:
    """The same within one process, where there is no database."""

    def __init__(self, *, per_minute: int) -> None:
        self._interval = 60.0 / (per_minute * _SHARE)
        self._next_at = 0.0
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Take the next slot and sleep until it comes."""
        with self._lock:
            now = time.time()
            slot = max(self._next_at, now)
            self._next_at = slot + self._interval
        if slot > now:
            time.sleep(slot - now)

    def push_back(self, seconds: float) -> None:
        """Give nobody a slot for so long; the venue said so."""
        with self._lock:
            self._next_at = max(self._next_at, time.time() + seconds)
