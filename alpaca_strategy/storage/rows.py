"""Rows of schema ``market`` into records, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from alpaca_strategy.domain.market import Feed, Severity, Venue
from alpaca_strategy.storage import tables as t
from alpaca_strategy.storage.records import (
    PublishedSession,
    QualityResult,
    SessionRow,
    SessionStatus,
    SymbolSession,
    SymbolStatus,
)


def fetch_session(
    connection: Connection, session: date, feed: Feed, *, lock_row: bool = False
) -> SessionRow | None:
    """Return the row of a session, locked against other writers on request."""
    query = select(t.session).filter_by(session=session, feed=feed.value)
    row = connection.execute(query.with_for_update() if lock_row else query).first()
    return None if row is None else session_row(row)


def session_row(row: Row[Any]) -> SessionRow:
    """Return a row of ``market.session`` as a record."""
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


def symbol_row(row: Row[Any]) -> SymbolSession:
    """Return a row of ``market.symbol_session`` as a record."""
    return SymbolSession(
        symbol=row.symbol,
        status=SymbolStatus(row.status),
        reason=row.reason,
        trade_count=row.trade_count,
        observed_minutes=row.observed_minutes,
        tape_hash=row.tape_hash,
    )


def session_values(record: PublishedSession, revision: int) -> dict[str, Any]:
    """Return what a publication writes to ``market.session``."""
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
        **({"tape_dropped_at": None} if record.trades else {}),
    }


def upsert_session(connection: Connection, values: dict[str, Any]) -> None:
    """Insert a session, or replace the given columns of the one that is there."""
    statement = upsert(t.session).values(values)
    changed = {name: value for name, value in values.items() if name not in {"session", "feed"}}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["session", "feed"], set_=changed)
    )


def replace_symbols(
    connection: Connection, session: date, feed: Feed, symbols: Sequence[SymbolSession]
) -> None:
    """Write what became of each symbol, in place of what was there."""
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


def result_values(run_id: int, position: int, result: QualityResult) -> dict[str, Any]:
    """Return what an expectation writes to ``market.quality_result``."""
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


def result_row(row: Row[Any]) -> QualityResult:
    """Return a row of ``market.quality_result`` as a record."""
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
