"""The catalog: which sessions are published, from which files, and how good they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError

from alpaca_strategy.domain.market import Feed, Severity, Venue
from alpaca_strategy.errors import BusyError
from alpaca_strategy.storage import tables as t
from alpaca_strategy.storage.database import is_lock_timeout
from alpaca_strategy.storage.lake import Pin
from alpaca_strategy.storage.records import (
    PublishedSession,
    QualityResult,
    QualityRun,
    SessionRow,
    SessionStatus,
    SymbolSession,
    SymbolStatus,
)

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


class Catalog:
    """Queries and changes of schema ``market``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # ---------------------------------------------------------------- one run at a time

    @contextmanager
    def session_lock(
        self, session: date, feed: Feed, *, wait_s: float = LOCK_WAIT_S
    ) -> Iterator[SessionLock]:
        """Hold the only right to publish a session; released when the connection ends, however.

        Raises:
            BusyError: Another run holds it for longer than wait_s.
        """
        key = _lock_key(session, feed)
        with self.engine.connect() as connection:
            _acquire(connection, key, wait_s, f"{session} ({feed.value})")
            try:
                yield SessionLock(session, feed, connection)
            finally:
                _release(connection, key)

    # ---------------------------------------------------------------- writing

    def publish(self, record: PublishedSession, lock: SessionLock) -> tuple[int, bool]:
        """Make a session visible, as it is pinned; one transaction.

        Returns:
            The revision, and whether it is new: equal content keeps its revision and changes
            nothing.
        """
        _same(lock, record.session, record.feed)
        with lock.connection.begin():
            held = _row(lock.connection, record.session, record.feed, lock_row=True)
            if held and held.content_hash == record.content_hash:
                return held.revision, False
            revision = (held.revision if held else 0) + 1
            values = _values(record, revision)
            _upsert_session(lock.connection, values)
            _replace_symbols(lock.connection, record.session, record.feed, record.symbols)
            lock.connection.execute(
                insert(t.session_revision).values(
                    {c.name: values[c.name] for c in t.session_revision.columns if c.name in values}
                    | {"published_at": func.now()}
                )
            )
            return revision, True

    def restate(
        self, lock: SessionLock, *, trades: Pin | None = None, bars: Pin | None = None
    ) -> None:
        """Point the current revision at other files with the same rows; one transaction."""
        values: dict[str, Any] = {}
        for name, pin in (("trades", trades), ("bars", bars)):
            if pin is not None:
                values |= {f"{name}_version": pin.version, f"{name}_files": list(pin.files)}
        if not values:
            return
        with lock.connection.begin():
            held = _row(lock.connection, lock.session, lock.feed, lock_row=True)
            if held is None:
                return
            where = {"session": lock.session, "feed": lock.feed.value}
            lock.connection.execute(update(t.session).filter_by(**where).values(values))
            lock.connection.execute(
                update(t.session_revision).filter_by(**where, revision=held.revision).values(values)
            )

    def forget_tape(self, lock: SessionLock) -> None:
        """Say that the tape of a session is kept no longer, in all its revisions."""
        where = {"session": lock.session, "feed": lock.feed.value}
        none: dict[str, Any] = {"trades_version": None, "trades_files": []}
        with lock.connection.begin():
            lock.connection.execute(
                update(t.session).filter_by(**where).values(**none, tape_dropped_at=func.now())
            )
            lock.connection.execute(update(t.session_revision).filter_by(**where).values(none))

    def refuse(
        self,
        session: date,
        feed: Feed,
        *,
        venue: Venue,
        reason: str,
        symbols: Sequence[SymbolSession],
        report_uri: str | None = None,
    ) -> None:
        """Record that a session was not good enough.

        What was published before stays published: a refusal never takes good data away.
        """
        values = {
            "session": session,
            "feed": feed.value,
            "status": SessionStatus.REFUSED.value,
            "venue": venue.value,
            "symbols_asked": len(symbols),
            "symbols_published": 0,
            "quality_severity": Severity.CRITICAL.value,
            "report_uri": report_uri,
            "refused_at": func.now(),
            "refused_reason": reason,
        }
        with self.engine.begin() as connection:
            held = _row(connection, session, feed, lock_row=True)
            if held and held.status is SessionStatus.PUBLISHED:
                values = {"refused_at": func.now(), "refused_reason": reason}
                connection.execute(
                    update(t.session).filter_by(session=session, feed=feed.value).values(values)
                )
                return
            _upsert_session(connection, values)
            _replace_symbols(connection, session, feed, symbols)

    def record_quality(self, run: QualityRun) -> int:
        """Record a check with all its expectations; return its number."""
        with self.engine.begin() as connection:
            values = {
                "session": run.session,
                "feed": run.feed.value,
                "verdict": run.verdict,
                "critical_count": run.critical_count,
                "warning_count": run.warning_count,
                "report_uri": run.report_uri,
            }
            if run.run_at is not None:
                values["run_at"] = run.run_at
            number = connection.execute(
                insert(t.quality_run).values(values).returning(t.quality_run.c.id)
            ).scalar_one()
            rows = [_result_values(number, i, result) for i, result in enumerate(run.results)]
            if rows:
                connection.execute(insert(t.quality_result), rows)
            return int(number)

    # ---------------------------------------------------------------- reading

    def session(self, session: date, feed: Feed) -> SessionRow | None:
        """Return what is known about a session; None when nothing."""
        with self.engine.connect() as connection:
            return _row(connection, session, feed)

    def sessions(self, start: date | None, end: date | None, feed: Feed) -> list[SessionRow]:
        """Return the known sessions from start to end, both included, oldest first."""
        query = select(t.session).where(t.session.c.feed == feed.value)
        if start is not None:
            query = query.where(t.session.c.session >= start)
        if end is not None:
            query = query.where(t.session.c.session <= end)
        with self.engine.connect() as connection:
            return [_session_row(row) for row in connection.execute(query.order_by("session"))]

    def latest_published(self, feed: Feed) -> SessionRow | None:
        """Return the newest published session."""
        query = (
            select(t.session)
            .filter_by(feed=feed.value, status=SessionStatus.PUBLISHED.value)
            .order_by(t.session.c.session.desc())
            .limit(1)
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else _session_row(row)

    def symbol_sessions(
        self,
        start: date,
        end: date,
        feed: Feed,
        symbols: Sequence[str] | None = None,
    ) -> dict[tuple[date, str], SymbolSession]:
        """Return what became of each symbol in each session from start to end."""
        c = t.symbol_session.c
        query = select(t.symbol_session).where(c.feed == feed.value, c.session.between(start, end))
        if symbols is not None:
            query = query.where(c.symbol.in_(list(symbols)))
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(c.session, c.symbol)).all()
        return {(row.session, row.symbol): _symbol_row(row) for row in rows}

    def pinned_files(self, name: str) -> set[str]:
        """Return every file of a table that a revision, old or new, is made of."""
        column = t.session_revision.c[f"{name}_files"]
        current = t.session.c[f"{name}_files"]
        with self.engine.connect() as connection:
            rows = connection.execute(select(column).union_all(select(current))).all()
        return {path for row in rows for path in row[0]}

    def quality_runs(self, session: date, feed: Feed) -> list[QualityRun]:
        """Return the checks of a session, oldest first."""
        query = select(t.quality_run).filter_by(session=session, feed=feed.value)
        with self.engine.connect() as connection:
            runs = connection.execute(query.order_by(t.quality_run.c.id)).all()
            results = connection.execute(
                select(t.quality_result)
                .where(t.quality_result.c.run_id.in_([run.id for run in runs]))
                .order_by(t.quality_result.c.run_id, t.quality_result.c.position)
            ).all()
        return [
            QualityRun(
                session=run.session,
                feed=Feed(run.feed),
                verdict=run.verdict,
                critical_count=run.critical_count,
                warning_count=run.warning_count,
                report_uri=run.report_uri,
                results=tuple(_result_row(r) for r in results if r.run_id == run.id),
                run_at=run.run_at,
            )
            for run in runs
        ]


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


def _same(lock: SessionLock, session: date, feed: Feed) -> None:
    if (lock.session, lock.feed) != (session, feed):
        msg = f"The lock is for {lock.session} {lock.feed}, not for {session} {feed}."
        raise ValueError(msg)


def _row(
    connection: Connection, session: date, feed: Feed, *, lock_row: bool = False
) -> SessionRow | None:
    query = select(t.session).filter_by(session=session, feed=feed.value)
    row = connection.execute(query.with_for_update() if lock_row else query).first()
    return None if row is None else _session_row(row)


def _session_row(row: Row[Any]) -> SessionRow:
    values = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's documented name
    severity = values["quality_severity"]
    return SessionRow(
        **values
        | {
            "feed": Feed(values["feed"]),
            "venue": Venue(values["venue"]),
            "status": SessionStatus(values["status"]),
            "trades_files": tuple(values["trades_files"]),
            "bars_files": tuple(values["bars_files"]),
            "quality_severity": None if severity is None else Severity(severity),
        }
    )


def _symbol_row(row: Row[Any]) -> SymbolSession:
    return SymbolSession(
        symbol=row.symbol,
        status=SymbolStatus(row.status),
        reason=row.reason,
        trade_count=row.trade_count,
        observed_minutes=row.observed_minutes,
        tape_hash=row.tape_hash,
    )


def _values(record: PublishedSession, revision: int) -> dict[str, Any]:
    published = [s for s in record.symbols if s.status is SymbolStatus.PUBLISHED]
    return {
        "session": record.session,
        "feed": record.feed.value,
        "status": SessionStatus.PUBLISHED.value,
        "revision": revision,
        "venue": record.venue.value,
        "trades_version": record.trades.version if record.trades else None,
        "trades_files": list(record.trades.files) if record.trades else [],
        "bars_version": record.bars.version,
        "bars_files": list(record.bars.files),
        "minutes": record.minutes,
        "symbols_asked": len(record.symbols),
        "symbols_published": len(published),
        "trade_count": sum(s.trade_count for s in published),
        "bar_count": record.bars.rows,
        "observed_minutes": sum(s.observed_minutes for s in published),
        "content_hash": record.content_hash,
        "condition_table": record.condition_table,
        "condition_fingerprint": record.condition_fingerprint,
        "quality_severity": record.quality_severity.value if record.quality_severity else None,
        "report_uri": record.report_uri,
        "published_at": func.now(),
        "refused_at": None,
        "refused_reason": None,
        "tape_dropped_at": None,
    }


def _upsert_session(connection: Connection, values: dict[str, Any]) -> None:
    statement = upsert(t.session).values(values)
    changed = {name: value for name, value in values.items() if name not in {"session", "feed"}}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["session", "feed"], set_=changed)
    )


def _replace_symbols(
    connection: Connection, session: date, feed: Feed, symbols: Sequence[SymbolSession]
) -> None:
    connection.execute(delete(t.symbol_session).filter_by(session=session, feed=feed.value))
    rows = [
        {
            "session": session,
            "feed": feed.value,
            "symbol": s.symbol,
            "status": s.status.value,
            "reason": s.reason,
            "trade_count": s.trade_count,
            "observed_minutes": s.observed_minutes,
            "tape_hash": s.tape_hash,
        }
        for s in symbols
    ]
    if rows:
        connection.execute(insert(t.symbol_session), rows)


def _result_values(run_id: int, position: int, result: QualityResult) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "position": position,
        "suite": result.suite,
        "expectation": result.expectation,
        "column_name": result.column,
        "severity": result.severity.value,
        "success": result.success,
        "unexpected_count": result.unexpected_count,
        "unexpected_fraction": result.unexpected_fraction,
        "symbols": list(result.symbols),
    }


def _result_row(row: Row[Any]) -> QualityResult:
    return QualityResult(
        suite=row.suite,
        expectation=row.expectation,
        severity=Severity(row.severity),
        success=row.success,
        column=row.column_name,
        unexpected_count=row.unexpected_count,
        unexpected_fraction=row.unexpected_fraction,
        symbols=tuple(row.symbols),
    )
