"""Reading the registry: what a console, a trader or a command asks of it."""

from __future__ import annotations

from sqlalchemy import Engine, select

from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.errors import UserError
from alpaca_strategy.storage import registry_rows as rows
from alpaca_strategy.storage import registry_tables as t
from alpaca_strategy.storage.champion_log import ChampionLog
from alpaca_strategy.storage.registry_records import (
    ChampionRow,
    ChangeRow,
    DataPin,
    DecisionRow,
    Metric,
    VersionRow,
)


class RegistryReader:
    """Queries of schema ``model``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def champion(self, venue: Venue, feed: Feed) -> ChampionRow | None:
        """Return the version in force; None when none ever was."""
        with self.engine.connect() as connection:
            log = ChampionLog(connection, venue, feed)
            term = log.standing.term
            if term is None:
                return None
            version = rows.fetch_versions(connection, [term.version])[term.version]
            fallback, _ = log.fallback()
            position = log.changes()[-1].position
        return ChampionRow(
            version=term.version,
            since=term.changed_at,
            provisional=term.provisional,
            pinned=log.standing.pinned,
            status=version.status,
            expires_at=version.expires_at,
            previous=fallback.version if fallback else None,
            reason=term.reason,
            changed_by=term.changed_by,
            position=position,
        )

    def changes(self, venue: Venue, feed: Feed) -> list[ChangeRow]:
        """Return every change of the champion, oldest first."""
        with self.engine.connect() as connection:
            return ChampionLog(connection, venue, feed).changes()

    def version(self, version_id: str) -> VersionRow:
        """Return a version.

        Raises:
            UserError: There is no such version.
        """
        with self.engine.connect() as connection:
            found = rows.fetch_versions(connection, [version_id])
        if version_id not in found:
            msg = f"There is no model {version_id}; those there are: alpaca-strategy models"
            raise UserError(msg)
        return found[version_id]

    def versions(self, limit: int = 50, *, feed: Feed | None = None) -> list[VersionRow]:
        """Return the newest versions, newest first."""
        c = t.version.c
        query = select(t.version).order_by(c.created_at.desc(), c.id.desc()).limit(limit)
        if feed is not None:
            query = query.where(c.feed == feed.value)
        with self.engine.connect() as connection:
            return [rows.version_row(row) for row in connection.execute(query)]

    def data(self, version_id: str) -> list[DataPin]:
        """Return what a version read of each session, oldest first."""
        query = select(t.version_data).filter_by(version_id=version_id)
        with self.engine.connect() as connection:
            found = connection.execute(query.order_by(t.version_data.c.session))
            return [rows.data_row(row) for row in found]

    def metrics(self, version_id: str, *, slice_of: str | None = None) -> list[Metric]:
        """Return the figures of a version, by name and slice; on request, those of one slice."""
        query = select(t.metric).filter_by(version_id=version_id)
        if slice_of is not None:
            query = query.where(t.metric.c.slice == slice_of)
        with self.engine.connect() as connection:
            found = connection.execute(query.order_by(t.metric.c.name, t.metric.c.slice))
            return [rows.metric_row(row) for row in found]

    def decisions(self, challenger: str | None = None, *, limit: int = 50) -> list[DecisionRow]:
        """Return the newest decisions, newest first; on request, of one challenger."""
        query = select(t.decision).order_by(t.decision.c.id.desc()).limit(limit)
        if challenger is not None:
            query = query.where(t.decision.c.challenger == challenger)
        with self.engine.connect() as connection:
            return [rows.decision_row(row) for row in connection.execute(query)]

    def pinned_bars(self, feed: Feed) -> set[str]:
        """Return the bar files that models of a feed were made from, relative to the table."""
        with self.engine.connect() as connection:
            found = connection.execute(rows.pinned_bars_query(feed)).all()
        return {path for row in found for path in row[0]}
