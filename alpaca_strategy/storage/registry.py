"""The registry: every model that was trained, how good it is, and which one is in service."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.domain.models import ChampionChange, VerdictKind, VersionStatus
from alpaca_strategy.errors import UserError
from alpaca_strategy.storage import registry_rows as rows
from alpaca_strategy.storage import registry_tables as t
from alpaca_strategy.storage.champion_log import changing, hold_retraining
from alpaca_strategy.storage.registry_reader import RegistryReader
from alpaca_strategy.storage.registry_records import DataPin, Decision, Metric, ModelVersion


class Registry(RegistryReader):
    """Queries and changes of schema ``model``."""

    # ---------------------------------------------------------------- one run at a time

    def retraining_lock(self, venue: Venue, feed: Feed) -> AbstractContextManager[None]:
        """Hold the only right to train a model of a feed; it ends with the connection, however.

        Raises:
            BusyError: Another retraining holds it; nothing is waited for, since one takes hours.
        """
        return hold_retraining(self.engine, venue, feed)

    # ---------------------------------------------------------------- versions

    def register(
        self, version: ModelVersion, metrics: Sequence[Metric], data: Sequence[DataPin]
    ) -> tuple[str, bool]:
        """Record a model whose artifact is already stored; one transaction.

        Args:
            version: The model.
            metrics: Its figures on the held-out sessions.
            data: What it read of each session; vacuum keeps these files from now on.

        Returns:
            The id, and whether it is new: an artifact that is registered already keeps its id,
            its age and its figures, so that a run may be repeated.
        """
        with self.engine.begin() as connection:
            new = connection.execute(
                upsert(t.version)
                .values(rows.version_values(version))
                .on_conflict_do_nothing(constraint="an_artifact_is_one_version")
                .returning(t.version.c.id)
            ).scalar()
            if new is None:
                query = select(t.version.c.id).filter_by(
                    venue=version.venue.value,
                    feed=version.feed.value,
                    artifact_sha256=version.artifact_sha256,
                )
                return str(connection.execute(query).scalar_one()), False
            for table, values in (
                (t.metric, [rows.metric_values(version.id, one) for one in metrics]),
                (t.version_data, [rows.data_values(version.id, one) for one in data]),
            ):
                if values:
                    connection.execute(insert(table), values)
            return str(new), True

    def mark(self, version_id: str, status: VersionStatus, *, reason: str, by: str) -> None:
        """Say whether a version may serve; a retired one lets go of the data that it pins.

        Raises:
            UserError: There is no such version, or it is the champion and would be retired.
        """
        version = self.version(version_id)
        with changing(self.engine, version.venue, version.feed) as log:
            if status is VersionStatus.RETIRED and log.champion == version_id:
                msg = (
                    f"{version_id} is in service and cannot be retired; promote another, or roll "
                    "back: alpaca-strategy rollback"
                )
                raise UserError(msg)
            _set_status(log.connection, version_id, status, reason, by)

    # ---------------------------------------------------------------- the champion

    def decide(self, decision: Decision) -> int:
        """Record a decision and, when the challenger is to serve, do it; one transaction.

        Returns:
            The decision's number.

        Raises:
            SupersededError: The champion is not the one that the challenger was judged against.
            UserError: The champion is pinned, or the challenger is the champion.
            ModelRefusedError: The challenger may not serve.
        """
        version, verdict = self.version(decision.challenger), decision.verdict
        with changing(self.engine, version.venue, version.feed) as log:
            if verdict.serves:
                log.check_succession(version.id, decision.champion)
            statement = insert(t.decision).values(rows.decision_values(decision, version))
            number = int(log.connection.execute(statement.returning(t.decision.c.id)).scalar_one())
            if verdict.serves:
                log.append(
                    ChampionChange.PROMOTE,
                    version.id,
                    provisional=verdict is VerdictKind.PROVISIONAL,
                    reason=decision.reason,
                    by=decision.decided_by,
                    decision=number,
                )
            elif verdict is VerdictKind.REFUSED:
                reason, by = decision.reason, decision.decided_by
                _set_status(log.connection, version.id, VersionStatus.REFUSED, reason, by)
            return number

    def promote(
        self,
        version_id: str,
        *,
        reason: str,
        by: str,
        expected_champion: str | None,
        decision: int | None = None,
    ) -> None:
        """Make a version the champion because a person wants it.

        Args:
            version_id: The version.
            reason: Why.
            by: Who.
            expected_champion: The champion that the person saw; None when there was none.
            decision: The gate's decision that asked the person.

        Raises:
            SupersededError: Another one has become champion meanwhile.
            UserError: The champion is pinned, the version is the champion, or there is no such.
            ModelRefusedError: The version may not serve.
        """
        version = self.version(version_id)
        with changing(self.engine, version.venue, version.feed) as log:
            log.check_succession(version_id, expected_champion)
            log.append(
                ChampionChange.PROMOTE,
                version_id,
                provisional=False,
                reason=reason,
                by=by,
                decision=decision,
            )

    def rollback(self, venue: Venue, feed: Feed, *, reason: str, by: str) -> str:
        """Return to the newest earlier champion that may serve, and lift a pin; return its id.

        Raises:
            UserError: There is none.
        """
        with changing(self.engine, venue, feed) as log:
            log.require_champion()
            target, passed = log.fallback()
            if target is None:
                why = f" ({'; '.join(passed)})" if passed else ""
                msg = (
                    f"There is no earlier {feed.value} model to roll back to{why}; train another: "
                    "alpaca-strategy train"
                )
                raise UserError(msg)
            log.append(
                ChampionChange.ROLLBACK,
                target.version,
                provisional=target.provisional,
                reason=reason,
                by=by,
            )
            return target.version

    def pin(self, venue: Venue, feed: Feed, *, reason: str, by: str) -> str:
        """Keep the champion, whatever challenger comes, until it is unpinned; return its id.

        Raises:
            UserError: There is no champion.
        """
        return self._set_pin(venue, feed, ChampionChange.PIN, reason, by)

    def unpin(self, venue: Venue, feed: Feed, *, reason: str, by: str) -> str:
        """Let the gate replace the champion again; return its id.

        Raises:
            UserError: There is no champion.
        """
        return self._set_pin(venue, feed, ChampionChange.UNPIN, reason, by)

    def _set_pin(self, venue: Venue, feed: Feed, kind: ChampionChange, reason: str, by: str) -> str:
        with changing(self.engine, venue, feed) as log:
            term = log.require_champion()
            if log.standing.pinned is not (kind is ChampionChange.PIN):
                log.append(kind, term.version, provisional=term.provisional, reason=reason, by=by)
            return term.version


def _set_status(
    connection: Connection, version_id: str, status: VersionStatus, reason: str, by: str
) -> None:
    connection.execute(
        update(t.version)
        .filter_by(id=version_id)
        .values(status=status.value, status_reason=reason, status_at=func.now(), status_by=by)
    )
