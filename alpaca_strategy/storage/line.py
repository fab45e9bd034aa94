"""One lasting connection to Postgres on which every call ends in time, done or not."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alpaca_strategy.errors import EnvironmentFaultError, ServiceUnavailableError
from alpaca_strategy.storage.database import Deadlines, connect, where
from alpaca_strategy.storage.watchdog import Watchdog, Watched

_DURABLE = {
    "synchronous_commit": "on",
    "idle_session_timeout": "0",
    "default_transaction_isolation": r"read\ committed",
    "default_transaction_read_only": "off",
    # The server, too, notices a peer that vanished without a word, and gives back what it locked.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_ABOUT = text("""
    SELECT current_setting('synchronous_commit') AS synchronous_commit,
        current_setting('fsync') AS fsync, pid, backend_start
    FROM pg_stat_activity WHERE pid = pg_backend_pid()
""")
#: The server process of a lost connection may still carry out what it was sent, long afterwards.
_END_LOST = text("""
    SELECT pid, pg_terminate_backend(pid, :wait_ms) AS ended FROM pg_stat_activity
    WHERE pid = :pid AND backend_start = :since
""")
_END_LOST_MS = 500
_OURS = ("22", "23")  # classes of SQLSTATE: what was to be written is wrong
_KNOWN_ALREADY, _NOT_THERE = "23505", "23503"


class Line:
    """A connection that is opened when it is needed, and again when it was lost.

    What is sent in one message without BEGIN is one transaction: Postgres commits all of it or
    nothing, and a client that freezes or dies in between holds no lock.
    """

    def __init__(self, url: str, *, name: str, deadlines: Deadlines, call_s: float) -> None:
        """Prepare; nothing is connected yet.

        Args:
            url: Of the database.
            name: What `pg_stat_activity` shows.
            deadlines: For the server, which is to end what it cannot do in time.
            call_s: For a whole call, where the server does not even do that.
        """
        self._engine = connect(
            url, application_name=name, deadlines=deadlines, settings=_DURABLE, pooled=False
        )
        self._call_s, self._connect_s = call_s, deadlines.connect_s
        self._watchdog = Watchdog()
        self._turn = threading.RLock()
        self._connection: Connection | None = None
        self._process: tuple[int, datetime] | None = None
        self._lost: list[tuple[int, datetime]] = []
        self._watched: Watched | None = None
        _watch_new_connections(self._engine, self)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that has not been lost as far as one can see from here."""
        with self._turn:
            self._drop_if_dead()
            return self._connection is not None

    @contextmanager
    def call(self, seconds: float | None = None) -> Iterator[Connection]:
        """Lend the connection for one call.

        Args:
            seconds: For all of it, if not as usual.

        Raises:
            EnvironmentFaultError: It could not be done. Whether something that was being written
                stands is not known; nothing is half-written.
        """
        patience = seconds or self._call_s
        if not self._turn.acquire(timeout=patience + self._connect_s):
            msg = f"Postgres at {self._place} is still busy with an earlier call."
            raise ServiceUnavailableError(msg)
        try:
            self._drop_if_dead()
            with self._watchdog.watching(patience) as watched:
                self._watched = watched
                try:
                    if self._connection is None:
                        self._connection = self._open()
                    else:
                        watched.watch(_descriptor(self._connection))
                    yield self._connection
                except Exception as error:
                    if not _is_ours(error):
                        self.drop()
                    fault = self._fault(error, watched, patience)
                    if fault is None:
                        raise
                    raise fault from error
                finally:
                    self._watched = None
        finally:
            self._turn.release()

    def run(
        self, statements: str, values: Mapping[str, Any], *, seconds: float | None = None
    ) -> Any:
        """Send statements in one message; return the first row of the last, if it has any.

        Raises:
            EnvironmentFaultError: As `call`.
        """
        with self.call(seconds) as connection:
            result = connection.execute(text(statements), values)
            return result.first() if result.returns_rows else None

    def drop(self) -> None:
        """Close the connection, and with it give back all that it locked."""
        with self._turn:
            connection, self._connection = self._connection, None
            if self._process is not None:
                self._lost.append(self._process)
                self._process = None
            if connection is not None:
                with suppress(SQLAlchemyError, EnvironmentFaultError):
                    connection.invalidate()
                    connection.close()

    def close(self) -> None:
        """Close the connection and end the watch."""
        self.drop()
        self._watchdog.close()
        self._engine.dispose()

    @property
    def _place(self) -> str:
        return where(self._engine.url)

    def guard(self, descriptor: int) -> None:
        """Have a new connection watched from its first byte on."""
        if self._watched is not None:
            self._watched.watch(descriptor)

    def _open(self) -> Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            process = self._check_durable(connection)
            self._end_lost(connection)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        self._process = process
        return connection

    def _check_durable(self, connection: Connection) -> tuple[int, datetime]:
        about = connection.execute(_ABOUT).one()
        if "off" in {about.synchronous_commit, about.fsync}:
            msg = (
                f"Postgres at {self._place} may lose what it has confirmed (synchronous_commit "
                f"{about.synchronous_commit}, fsync {about.fsync}); set both to on."
            )
            raise EnvironmentFaultError(msg)
        return about.pid, about.backend_start

    def _end_lost(self, connection: Connection) -> None:
        """See to it that nothing is written any more by calls that were given up.

        Raises:
            ServiceUnavailableError: Such a call is still at work.
        """
        while self._lost:
            pid, since = self._lost[-1]
            values = {"pid": pid, "since": since, "wait_ms": _END_LOST_MS}
            found = connection.execute(_END_LOST, values).first()
            if found is not None and not found.ended:
                msg = (
                    f"Process {pid} of Postgres at {self._place} still works on a call that was "
                    "given up, and may write yet; end it if it does not end."
                )
                raise ServiceUnavailableError(msg)
            self._lost.pop()

    def _drop_if_dead(self) -> None:
        """Drop a connection on which the server spoke unasked: it said good-bye."""
        if self._connection is None:
            return
        poll = select.poll()
        try:
            poll.register(_descriptor(self._connection), select.POLLIN)
            spoke = bool(poll.poll(0))
        except (OSError, ValueError, SQLAlchemyError, psycopg2.Error):
            spoke = True
        if spoke:
            self.drop()

    def _fault(self, error: Exception, watched: Watched, seconds: float) -> Exception | None:
        """Return what an error of a call means to whoever called; None where it says so itself."""
        if watched.expired:
            return ServiceUnavailableError(
                f"Postgres at {self._place} did not answer within {seconds:g} s; look for what "
                "holds it up. Whether the last write stands is not known."
            )
        code = getattr(getattr(error, "orig", None), "pgcode", None) or ""
        if not isinstance(error, DBAPIError) or (
            code.startswith(_OURS) and code not in {_KNOWN_ALREADY, _NOT_THERE}
        ):
            return None
        reason = str(error.orig).strip().splitlines()[0].rstrip(".")
        return EnvironmentFaultError(f"Postgres at {self._place} refused ({reason}).")


def _watch_new_connections(engine: Engine, line: Line) -> None:
    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _: object, arguments: Any, options: Any) -> Any:
        connection = dialect.connect(*arguments, **options)
        line.guard(connection.fileno())
        return connection


def _descriptor(connection: Connection) -> int:
    return int(connection.connection.dbapi_connection.fileno())  # type: ignore[union-attr]


def _is_ours(error: Exception) -> bool:
    """Whether the connection is as good as before, and only what was to be written is not."""
    code = getattr(getattr(error, "orig", None), "pgcode", None) or ""
    return isinstance(error, DBAPIError) and code.startswith(_OURS)
