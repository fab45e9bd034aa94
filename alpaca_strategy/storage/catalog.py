"""The catalog: which sessions are published, from which files, and how good they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Engine, Text, cast, func, insert, or_, select, union_all, update
from sqlalchemy.dialects.postgresql import ARRAY

from alpaca_strategy.domain.market import Feed, Severity, Venue
from alpaca_strategy.storage import tables as t
from alpaca_strategy.storage.locking import LOCK_WAIT_S, SessionLock, hold_session
from alpaca_strategy.storage.records import (
    Pin,
    PublishedSession,
    QualityRun,
    SessionRow,
    SessionStatus,
    SymbolSession,
)
from alpaca_strategy.storage.registry_rows import pinned_bars_query
from alpaca_strategy.storage.rows import (
    fetch_session,
    replace_symbols,
    result_row,
    result_values,
    session_row,
    session_values,
    symbol_row,
    upsert_session,
)


class Catalog:
    """Queries and changes of schema ``market``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # ---------------------------------------------------------------- one run at a time

    def session_lock(
        self, session: date, feed: Feed, *, wait_s: float = LOCK_WAIT_S
    ) -> AbstractContextManager[SessionLock]:
        """Hold the only right to publish a session; released when the connection ends, however.

        Raises:
            BusyError: Another run holds it for longer than wait_s.
        """
        return hold_session(self.engine, session, feed, wait_s)

    # ---------------------------------------------------------------- writing

    def publish(self, record: PublishedSession, lock: SessionLock) -> tuple[int, bool]:
        """Make a session visible, as it is pinned; one transaction.

        Returns:
            The revision, and whether it is new: equal content keeps its revision and changes
            nothing.
        """
        lock.check(record.session, record.feed)
        with lock.connection.begin():
            held = fetch_session(lock.connection, record.session, record.feed, lock_row=True)
            if held and held.content_hash == record.content_hash:
                return held.revision, False
            revision = (held.revision if held else 0) + 1
            values = session_values(record, revision)
            upsert_session(lock.connection, values)
            replace_symbols(lock.connection, record.session, record.feed, record.symbols)
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
            held = fetch_session(lock.connection, lock.session, lock.feed, lock_row=True)
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
            held = fetch_session(connection, session, feed, lock_row=True)
            if held and held.status is SessionStatus.PUBLISHED:
                values = {"refused_at": func.now(), "refused_reason": reason}
                connection.execute(
                    update(t.session).filter_by(session=session, feed=feed.value).values(values)
                )
                return
            upsert_session(connection, values)
            replace_symbols(connection, session, feed, symbols)

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
            rows = [result_values(number, i, result) for i, result in enumerate(run.results)]
            if rows:
                connection.execute(insert(t.quality_result), rows)
            return int(number)

    # ---------------------------------------------------------------- reading

    def session(self, session: date, feed: Feed) -> SessionRow | None:
        """Return what is known about a session; None when nothing."""
        with self.engine.connect() as connection:
            return fetch_session(connection, session, feed)

    def sessions(self, start: date | None, end: date | None, feed: Feed) -> list[SessionRow]:
        """Return the known sessions from start to end, both included, oldest first."""
        query = select(t.session).where(t.session.c.feed == feed.value)
        if start is not None:
            query = query.where(t.session.c.session >= start)
        if end is not None:
            query = query.where(t.session.c.session <= end)
        with self.engine.connect() as connection:
            return [session_row(row) for row in connection.execute(query.order_by("session"))]

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
        return None if row is None else session_row(row)

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
        return {(row.session, row.symbol): symbol_row(row) for row in rows}

    def pinned_files(self, name: str, *, keep: timedelta) -> set[str]:
        """Return the files of a table that readers may need, or that models were made from.

        Args:
            name: ``trades`` or ``bars``.
            keep: How long a revision is kept after another one took its place.
        """
        revision = t.session_revision.c
        superseded_at = func.lead(revision.published_at).over(
            partition_by=[revision.session, revision.feed], order_by=revision.revision
        )
        revisions = select(
            revision[f"{name}_files"].label("files"), superseded_at.label("superseded_at")
        ).subquery()
        old = select(revisions.c.files).where(
            or_(revisions.c.superseded_at.is_(None), revisions.c.superseded_at > func.now() - keep)
        )
        pins = [old, select(t.session.c[f"{name}_files"])]
        if name == "bars":
            pins.append(pinned_bars_query())
        with self.engine.connect() as connection:
            rows = connection.execute(union_all(*pins)).all()
        return {path for row in rows for path in row[0]}

    def unpin(self, name: str, files: Collection[str]) -> None:
        """Say that old revisions can no longer be read, because these files go."""
        column = t.session_revision.c[f"{name}_files"]
        gone = cast(list(files), ARRAY(Text))
        with self.engine.begin() as connection:
            connection.execute(
                update(t.session_revision)
                .where(column.overlap(gone))
                .values({f"{name}_files": [], f"{name}_version": None})
            )

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
                results=tuple(result_row(r) for r in results if r.run_id == run.id),
                run_at=run.run_at,
            )
            for run in runs
        ]
