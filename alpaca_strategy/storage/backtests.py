"""Backtests: their figures and every trade in Postgres, their reports in object storage.

A report is written first, under a name that holds its hash; then one transaction writes the rows.
Without its row nobody comes across a report, so both are there or neither is. What a run leaves
that died in between belongs to no row, and the next maintenance deletes it: not the run itself,
which cannot know whether a commit whose answer was lost took place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Connection, Engine, Select, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError

from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.errors import BusyError, DamagedFileError, UserError
from alpaca_strategy.storage import backtest_rows as rows
from alpaca_strategy.storage import backtest_tables as t
from alpaca_strategy.storage.backtest_records import (
    BacktestMetric,
    BacktestRow,
    FoldRow,
    Origin,
    TradeRow,
)
from alpaca_strategy.storage.database import is_lock_timeout
from alpaca_strategy.storage.objects import ObjectStore

if TYPE_CHECKING:  # importing it compiles; who only reads backtests need not wait for that
    from alpaca_strategy.backtest.content import Backtest

log = structlog.get_logger(__name__)

FOLDER = "backtests"
_LOCK = 0x7265706F  # any constant; "repo"
_COLUMNS = [column for column in t.backtest.c if column.name != "lineage"]


class Backtests:
    """Queries and changes of schema ``report``, and the reports.

    Args:
        engine: Postgres.
        objects: Where the reports are.
    """

    def __init__(self, engine: Engine, objects: ObjectStore) -> None:
        self.engine = engine
        self.objects = objects

    # ---------------------------------------------------------------- writing

    def record(
        self,
        backtest: Backtest,
        page: bytes,
        *,
        venue: Venue,
        feed: Feed,
        origin: Origin | str,
        made_by: str | None = None,
    ) -> bool:
        """Keep a backtest and its report; both, or neither.

        Args:
            backtest: The backtest.
            page: Its report as HTML.
            venue: Whose data it ran over.
            feed: Of the bars.
            origin: What set it off.
            made_by: Who or what did; the origin when None.

        Returns:
            Whether it is new: a known one stays as it is, with its own report.

        Raises:
            EnvironmentFaultError: Object storage or Postgres fails; nothing is recorded.
            BusyError: Another run is recording the same one, and does not end.
        """
        if self._is_known(backtest.id):
            return False
        digest = hashlib.sha256(page).hexdigest()
        name = _name(backtest.id, digest)
        about = {
            "venue": venue.value,
            "feed": feed.value,
            "origin": Origin(origin).value,
            "made_by": made_by or Origin(origin).value,
            "report_uri": self.objects.put(name, page),
            "report_sha256": digest,
        }
        with _holding_reports(self.engine, shared=True) as connection:
            values = rows.backtest_values(backtest) | about
            if not _insert_backtest(connection, values):
                return False
            if not self.objects.exists(name):  # maintenance came between and took it for an orphan
                self.objects.put(name, page)
            _insert_parts(connection, backtest)
        return True

    def delete_orphans(self) -> int:
        """Delete reports that belong to no recorded backtest; return how many.

        A report that belongs to one is never deleted, wherever it was when it was recorded.

        Raises:
            BusyError: A backtest is being recorded, and that does not end.
        """
        with _holding_reports(self.engine, shared=False) as connection:
            known = connection.execute(select(t.backtest.c.id, t.backtest.c.report_sha256))
            kept = {_name(row.id, row.report_sha256) for row in known}
            doomed = sorted(set(self.objects.list(FOLDER)) - kept)
            for name in doomed:
                self.objects.delete(name)
                log.info("orphaned_report_deleted", name=name)
        return len(doomed)

    # ---------------------------------------------------------------- reading

    def read(self, backtest_id: str) -> BacktestRow:
        """Return a backtest.

        Raises:
            UserError: There is no such backtest.
        """
        found = self._select(select(*_COLUMNS).filter_by(id=backtest_id))
        if not found:
            msg = (
                f"There is no backtest {backtest_id}; the console's page Backtests lists those "
                f"there are."
            )
            raise UserError(msg)
        return found[0]

    def recent(
        self, limit: int = 50, *, feed: Feed | None = None, model: str | None = None
    ) -> list[BacktestRow]:
        """Return the newest backtests, newest first; on request, those in which a model scored."""
        query = _newest_first(limit)
        if feed is not None:
            query = query.where(t.backtest.c.feed == feed.value)
        if model is not None:
            query = query.where(t.backtest.c.models.contains([model]))
        return self._select(query)

    def newest(
        self, model: str | None = None, *, origin: Origin | None = None
    ) -> BacktestRow | None:
        """Return the newest backtest; on request, in which a model scored, or of an origin."""
        query = _newest_first(1)
        if model is not None:
            query = query.where(t.backtest.c.models.contains([model]))
        if origin is not None:
            query = query.where(t.backtest.c.origin == origin.value)
        return next(iter(self._select(query)), None)

    def lineage(self, backtest_id: str) -> dict[str, Any]:
        """Return what a backtest came from, as plain values; empty where it is not known."""
        query = select(t.backtest.c.lineage).filter_by(id=backtest_id)
        with self.engine.connect() as connection:
            return dict(connection.execute(query).scalar_one_or_none() or {})

    def metrics(self, backtest_id: str) -> list[BacktestMetric]:
        """Return the figures of a backtest, by name."""
        return self.metrics_of([backtest_id]).get(backtest_id, [])

    def metrics_of(
        self, ids: Sequence[str], names: Sequence[str] | None = None
    ) -> dict[str, list[BacktestMetric]]:
        """Return the figures of each of several backtests, by name; on request, some of them."""
        c = t.metric.c
        query = select(t.metric).where(c.backtest_id.in_(ids)).order_by(c.backtest_id, c.name)
        if names is not None:
            query = query.where(c.name.in_(names))
        found: dict[str, list[BacktestMetric]] = {}
        with self.engine.connect() as connection:
            for row in connection.execute(query):
                found.setdefault(row.backtest_id, []).append(rows.metric_row(row))
        return found

    def folds(self, backtest_id: str) -> list[FoldRow]:
        """Return which model scored which of its sessions, oldest first."""
        query = select(t.fold).filter_by(backtest_id=backtest_id).order_by(t.fold.c.position)
        with self.engine.connect() as connection:
            return [rows.fold_row(row) for row in connection.execute(query)]

    def trades(self, backtest_id: str) -> list[TradeRow]:
        """Return its round trips, in the order in which they ended."""
        query = select(t.trade).filter_by(backtest_id=backtest_id).order_by(t.trade.c.position)
        with self.engine.connect() as connection:
            return [rows.trade_row(row) for row in connection.execute(query)]

    def page(self, backtest_id: str | None = None) -> tuple[str, bytes]:
        """Return the id and the report, as HTML, of a backtest; of the newest when None.

        Raises:
            UserError: There is none.
            DamagedFileError: The report is gone, or is not as it was recorded.
            ServiceUnavailableError: Postgres or object storage does not answer.
        """
        row = self.read(backtest_id) if backtest_id else self.newest()
        if row is None:
            msg = "There is no backtest yet; make one: alpaca-strategy backtest"
            raise UserError(msg)
        return row.id, self._report(row)

    def _report(self, row: BacktestRow) -> bytes:
        advice = (
            f"restore {row.report_uri} from a backup; its figures and trades are still in Postgres."
        )
        try:
            page = self.objects.get(_name(row.id, row.report_sha256))
        except DamagedFileError as error:
            msg = f"The report of backtest {row.id} is gone; {advice}"
            raise DamagedFileError(msg) from error
        if hashlib.sha256(page).hexdigest() != row.report_sha256:
            msg = f"The report of backtest {row.id} is not as it was recorded; {advice}"
            raise DamagedFileError(msg)
        return page

    def _is_known(self, backtest_id: str) -> bool:
        return bool(self._select(select(*_COLUMNS).filter_by(id=backtest_id)))

    def _select(self, query: Select[Any]) -> list[BacktestRow]:
        with self.engine.connect() as connection:
            return [rows.backtest_row(row) for row in connection.execute(query)]


def _name(backtest_id: str, digest: str) -> str:
    """Return the name of a report in object storage.

    It is made of what Postgres keeps and not of an address, so that a store may be moved.
    """
    return f"{FOLDER}/{backtest_id}-{digest}.html"


def _newest_first(limit: int) -> Select[Any]:
    c = t.backtest.c
    return select(*_COLUMNS).order_by(c.made_at.desc(), c.id.desc()).limit(limit)


def _insert_backtest(connection: Connection, values: dict[str, Any]) -> bool:
    """Insert a backtest, and return whether it was not there before."""
    statement = upsert(t.backtest).values(values).on_conflict_do_nothing(index_elements=["id"])
    return connection.execute(statement.returning(t.backtest.c.id)).scalar() is not None


def _insert_parts(connection: Connection, backtest: Backtest) -> None:
    for table, parts in (
        (t.metric, rows.metric_values(backtest)),
        (t.fold, rows.fold_values(backtest)),
    ):
        if parts:
            connection.execute(insert(table), parts)
    for chunk in rows.trade_chunks(backtest):
        connection.execute(rows.INSERT_TRADES, chunk)


@contextmanager
def _holding_reports(engine: Engine, *, shared: bool) -> Iterator[Connection]:
    """Open a transaction in which no report is deleted, or in which none is recorded."""
    lock = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SELECT {lock}(:key)"), {"key": _LOCK})
            yield connection
    except DBAPIError as error:
        if not is_lock_timeout(error):
            raise
        msg = (
            "Another run holds the reports of backtests and does not end; wait for it, or stop "
            "it, then run this again."
        )
        raise BusyError(msg) from error
