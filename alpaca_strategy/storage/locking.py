"""One run at a time on a session: an advisory lock in Postgres."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import BusyError
from alpaca_strategy.storage.database import is_lock_timeout

LOCK_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class SessionLock:
    """Proof that this process alone works on a session.

    Whatever is written through its connection is written only while the lock is held: when the
    connection is lost, so is the lock, and the write fails.
    """

    session: date
    feed: Feed
    connection: Connection

    def check(self, session: date, feed: Feed) -> None:
        """Refuse to work on another session than the one that is locked.

        Raises:
            ValueError: The lock is for another session.
        """
        if (self.session, self.feed) != (session, feed):
            msg = f"The lock is for {self.session} {self.feed}, not for {session} {feed}."
            raise ValueError(msg)


@contextmanager
def hold_session(engine: Engine, session: date, feed: Feed, wait_s: float) -> Iterator[SessionLock]:
    """Hold the lock of a session; see `Catalog.session_lock`."""
    key = _lock_key(session, feed)
    with engine.connect() as connection:
        _acquire(connection, key, wait_s, f"{session} ({feed.value})")
        try:
            yield SessionLock(session, feed, connection)
        finally:
            _release(connection, key)


def _lock_key(session: date, feed: Feed) -> int:
    digest = hashlib.sha256(f"alpaca-strategy/session/{feed.value}/{session}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _acquire(connection: Connection, key: int, wait_s: float, what: str) -> None:
    wait_ms = max(1, int(wait_s * 1000))  # 0 would mean: wait for ever
    try:
        with connection.begin():
            connection.execute(
                text(
                    "SELECT set_config('lock_timeout', :wait, true),"
                    " set_config('statement_timeout', :longer, true)"
                ),
                {"wait": f"{wait_ms}ms", "longer": f"{wait_ms + 5000}ms"},
            )
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
    except DBAPIError as error:
        if not is_lock_timeout(error):
            raise
        msg = (
            f"Another run is working on session {what} and did not finish within {wait_s:g} s; "
            "wait for it, or stop it, then run this again."
        )
        raise BusyError(msg) from error


def _release(connection: Connection, key: int) -> None:
    """Give the lock back; a connection that cannot even do that is closed, which does it too."""
    if connection.invalidated or connection.closed:
        return
    try:
        if connection.in_transaction():
            connection.rollback()
        with connection.begin():
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
    except Exception:  # noqa: BLE001  # whatever is wrong, the lock must not return to the pool
        connection.invalidate()
