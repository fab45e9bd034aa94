"""Reading the journal: what a status page, a console or a command asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, Row, Select, func, select, text

from alpaca_strategy.domain.journal import (
    Adjustment,
    Book,
    Decision,
    Heartbeat,
    KnownIntent,
    NameDecision,
    Reconciliation,
    Switch,
    TraderRun,
)
from alpaca_strategy.domain.orders import Fill
from alpaca_strategy.storage import journal_tables as t
from alpaca_strategy.storage.journal_fold import read_fills, read_orders, read_shares
from alpaca_strategy.storage.journal_rows import decision_of, name_of, switch_of
from alpaca_strategy.storage.journal_statements import READ_SWITCH


@dataclass(frozen=True, slots=True)
class LastBeat:
    """The newest heartbeat of a book.

    Attributes:
        book: Whose.
        heartbeat: What the trader told.
        run: The run that told it; None where it was never recorded.
        age_s: Seconds since it was written, both by the database's clock. A trader that beats once
            a second and has not for several is dead, or hangs.
    """

    book: Book
    heartbeat: Heartbeat
    run: TraderRun | None
    age_s: float


@dataclass(frozen=True, slots=True)
class NameAt:
    """What a decision did with a name, and which decision it was.

    Attributes:
        session: Of the decision.
        minute: Of the decision.
        name: What it did.
    """

    session: date
    minute: int
    name: NameDecision


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that a person may ask about.

    Attributes:
        at: When it was written, UTC.
        kind: What happened.
        detail: The facts.
        run_id: Of the trader; None where none was open.
    """

    at: datetime
    kind: str
    detail: Mapping[str, Any]
    run_id: str | None


class TradingReader:
    """Queries of schema ``trading``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # ---------------------------------------------------------------- who trades

    def heartbeats(self) -> list[LastBeat]:
        """Return the newest heartbeat of every book, the freshest first."""
        age = func.extract("epoch", func.clock_timestamp() - t.heartbeat.c.written_at)
        query = select(t.heartbeat, age.label("age_s")).order_by(t.heartbeat.c.written_at.desc())
        with self.engine.connect() as connection:
            beats = connection.execute(query).all()
            ids = {row.run_id for row in beats}
            found = connection.execute(select(t.run).where(t.run.c.id.in_(ids)))
            known = {row.id: _run_of(row) for row in found}
        return [_beat_of(row, known.get(row.run_id)) for row in beats]

    def heartbeat(self, book: Book) -> LastBeat | None:
        """Return the newest heartbeat of a book; None where no trader of it ever lived."""
        return next((beat for beat in self.heartbeats() if beat.book == book), None)

    def runs(self, book: Book, *, limit: int = 50) -> list[TraderRun]:
        """Return the newest lives of a book's trader, newest first."""
        query = _of(book, t.run).order_by(t.run.c.started_at.desc(), t.run.c.id).limit(limit)
        return [_run_of(row) for row in self._all(query)]

    # ---------------------------------------------------------------- what was traded

    def sessions(self, book: Book, *, limit: int = 50) -> list[date]:
        """Return the newest sessions with a decision or an order, newest first."""
        days = [
            select(table.c.session).filter_by(account=book.account, strategy=book.strategy)
            for table in (t.decision, t.intent)
        ]
        found = days[0].union(days[1]).subquery()
        query = select(found.c.session).order_by(found.c.session.desc()).limit(limit)
        return [row.session for row in self._all(query)]

    def orders(self, book: Book, session: date) -> list[KnownIntent]:
        """Return the orders of a session with what became of them, oldest first."""
        with self.engine.connect() as connection:
            return read_orders(connection, book, session)

    def fills(self, book: Book, session: date) -> list[Fill]:
        """Return the executions of a session's orders, in the order they were recorded in."""
        with self.engine.connect() as connection:
            return read_fills(connection, book, session)

    def positions(self, book: Book) -> dict[str, Decimal]:
        """Return what the strategy holds by its journal, by symbol, without zeros."""
        with self.engine.connect() as connection:
            return read_shares(connection, book)

    def adjustments(self, book: Book, *, limit: int = 50) -> list[Adjustment]:
        """Return the newest changes of positions that are no fills, newest first."""
        query = _of(book, t.adjustment).order_by(t.adjustment.c.id.desc()).limit(limit)
        return [
            Adjustment(row.symbol, row.qty, row.reason, row.at.astimezone(UTC))
            for row in self._all(query)
        ]

    # ---------------------------------------------------------------- what was decided

    def decisions(self, book: Book, session: date) -> list[Decision]:
        """Return the decisions of a session without their names, oldest first."""
        query = _of(book, t.decision).filter_by(session=session).order_by(t.decision.c.minute)
        return [decision_of(row, ()) for row in self._all(query)]

    def decision(self, book: Book, session: date, minute: int) -> Decision | None:
        """Return a decision with all of its names; None where there is none."""
        query = _of(book, t.decision).filter_by(session=session, minute=minute)
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
            if row is None:
                return None
            names = select(t.decision_name).filter_by(decision_id=row.id)
            found = connection.execute(names.order_by(t.decision_name.c.position))
            return decision_of(row, [name_of(name) for name in found])

    def name(self, book: Book, session: date, symbol: str) -> list[NameAt]:
        """Return what every decision of a session did with one name, oldest first."""
        c = t.decision.c
        query = (
            select(c.session, c.minute, t.decision_name)
            .join(t.decision_name, t.decision_name.c.decision_id == c.id)
            .where(c.account == book.account, c.strategy == book.strategy, c.session == session)
            .where(t.decision_name.c.symbol == symbol)
            .order_by(c.minute)
        )
        return [NameAt(row.session, row.minute, name_of(row)) for row in self._all(query)]

    # ---------------------------------------------------------------- what went wrong

    def events(self, book: Book, *, kind: str | None = None, limit: int = 100) -> list[EventRow]:
        """Return the newest events, newest first; on request, of one kind."""
        query = _of(book, t.event).order_by(t.event.c.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(t.event.c.kind == kind)
        return [
            EventRow(row.recorded_at.astimezone(UTC), row.kind, row.detail, row.run_id)
            for row in self._all(query)
        ]

    def reconciliations(
        self, book: Book, *, differing: bool = False, limit: int = 50
    ) -> list[Reconciliation]:
        """Return the newest comparisons, newest first; on request, those that did not agree."""
        c = t.reconciliation.c
        query = _of(book, t.reconciliation).order_by(c.id.desc()).limit(limit)
        if differing:
            query = query.where(func.cardinality(c.differences) > 0)
        return [_reconciliation_of(row) for row in self._all(query)]

    def switch(self, book: Book) -> Switch | None:
        """Return the switch as it stands now; None where it was never turned."""
        key = {"account": book.account, "strategy": book.strategy}
        with self.engine.connect() as connection:
            row = connection.execute(text(READ_SWITCH), key).first()
        return None if row is None else switch_of(row)

    def turns(self, book: Book, *, limit: int = 50) -> list[Switch]:
        """Return the newest turns of the switch, newest first."""
        query = _of(book, t.switch).order_by(t.switch.c.position.desc()).limit(limit)
        return [switch_of(row) for row in self._all(query)]

    def _all(self, query: Select[Any]) -> list[Row[Any]]:
        with self.engine.connect() as connection:
            return list(connection.execute(query))


def _of(book: Book, table: Any) -> Select[Any]:
    return select(table).filter_by(account=book.account, strategy=book.strategy)


def _run_of(row: Row[Any]) -> TraderRun:
    values = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's documented name
    del values["recorded_at"]
    values["book"] = Book(values.pop("account"), values.pop("strategy"))
    values["started_at"] = values["started_at"].astimezone(UTC)
    return TraderRun(**values)


def _beat_of(row: Row[Any], run: TraderRun | None) -> LastBeat:
    last = row.last_data_at
    heartbeat = Heartbeat(
        run_id=row.run_id,
        at=row.at.astimezone(UTC),
        venue_at=row.venue_at.astimezone(UTC),
        phase=row.phase,
        holds=row.holds,
        minute=row.minute,
        last_data_at=None if last is None else last.astimezone(UTC),
        detail=row.detail,
    )
    return LastBeat(Book(row.account, row.strategy), heartbeat, run, float(row.age_s))


def _reconciliation_of(row: Row[Any]) -> Reconciliation:
    return Reconciliation(
        at=row.at.astimezone(UTC),
        cause=row.cause,
        differences=tuple(row.differences),
        positions={symbol: Decimal(qty) for symbol, qty in row.positions.items()},
        foreign={symbol: Decimal(qty) for symbol, qty in row.foreign_shares.items()},
    )
