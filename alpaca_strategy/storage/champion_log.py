"""The log that says which model is in service: who may follow whom, one change at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.domain.models import ChampionChange, VersionStatus
from alpaca_strategy.errors import (
    BusyError,
    EnvironmentFaultError,
    ModelRefusedError,
    SupersededError,
    UserError,
)
from alpaca_strategy.storage import registry_tables as t
from alpaca_strategy.storage.database import is_lock_timeout
from alpaca_strategy.storage.registry_records import ChangeRow, VersionRow
from alpaca_strategy.storage.registry_rows import change_row, fetch_versions


@contextmanager
def hold_retraining(engine: Engine, venue: Venue, feed: Feed) -> Iterator[None]:
    """Hold the right to retrain; see `Registry.retraining_lock`."""
    key = lock_key("retraining", venue, feed)
    with engine.connect() as connection:
        connection.detach()  # closed at the end, not pooled: no lock returns to the pool
        with connection.begin():
            query = text("SELECT pg_try_advisory_lock(:key)")
            taken = connection.execute(query, {"key": key}).scalar_one()
        if not taken:
            msg = (
                f"Another retraining on {feed.value} data of {venue.value} is running; wait for "
                "it, or stop it, then run this again."
            )
            raise BusyError(msg)
        try:
            yield
        finally:
            # A server takes note of a closed connection only a moment later.
            with suppress(SQLAlchemyError, EnvironmentFaultError), connection.begin():
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})


@contextmanager
def changing(engine: Engine, venue: Venue, feed: Feed) -> Iterator[ChampionLog]:
    """Open the log in a transaction in which nobody else changes it.

    Raises:
        BusyError: Another change does not end.
    """
    with engine.begin() as connection:
        try:
            query = text("SELECT pg_advisory_xact_lock(:key)")
            connection.execute(query, {"key": lock_key("champion", venue, feed)})
        except DBAPIError as error:
            if not is_lock_timeout(error):
                raise
            msg = (
                f"Another change of the {feed.value} champion does not end; look for what holds "
                "it, then run this again."
            )
            raise BusyError(msg) from error
        yield ChampionLog(connection, venue, feed)


def lock_key(purpose: str, venue: Venue, feed: Feed) -> int:
    """Return the number under which Postgres knows a lock of ours."""
    name = f"alpaca-strategy/{purpose}/{venue.value}/{feed.value}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


@dataclass(frozen=True, slots=True)
class Standing:
    """Who is champion, by the log.

    Attributes:
        terms: How each champion came to be it, oldest first, without those rolled back from; the
            last is in force.
        pinned: Whether it is pinned.
        position: Of the newest change; 0 when there is none.
    """

    terms: tuple[ChangeRow, ...]
    pinned: bool
    position: int

    @property
    def term(self) -> ChangeRow | None:
        """How the champion in force came to be it; None when there never was one."""
        return self.terms[-1] if self.terms else None


def standing_after(changes: list[ChangeRow]) -> Standing:
    """Return who is champion after these changes, oldest first."""
    terms: list[ChangeRow] = []
    for change in changes:
        if change.kind is ChampionChange.PROMOTE:
            terms.append(change)
        elif change.kind is ChampionChange.ROLLBACK:
            while terms and terms[-1].version != change.version:
                terms.pop()  # whoever was rolled back from is never rolled back to
            terms[-1:] = [change]
    last = changes[-1] if changes else None
    pinned = last is not None and last.kind is ChampionChange.PIN
    return Standing(tuple(terms), pinned, last.position if last else 0)


class ChampionLog:
    """The changes of one feed's champion, seen through one connection."""

    def __init__(self, connection: Connection, venue: Venue, feed: Feed) -> None:
        self._connection, self._venue, self._feed = connection, venue, feed
        self.standing = standing_after(self.changes())

    def changes(self) -> list[ChangeRow]:
        """Return every change, oldest first."""
        where = {"venue": self._venue.value, "feed": self._feed.value}
        query = select(t.champion_change).filter_by(**where)
        found = self._connection.execute(query.order_by(t.champion_change.c.position))
        return [change_row(row) for row in found]

    @property
    def connection(self) -> Connection:
        """The connection whose transaction the changes belong to."""
        return self._connection

    @property
    def champion(self) -> str | None:
        """The version in force."""
        term = self.standing.term
        return None if term is None else term.version

    def require_champion(self) -> ChangeRow:
        """Return how the champion came to be it.

        Raises:
            UserError: There never was one.
        """
        if self.standing.term is None:
            msg = f"No {self._feed.value} model is in service yet; train one: alpaca-strategy train"
            raise UserError(msg)
        return self.standing.term

    def check_succession(self, version_id: str, expected_champion: str | None) -> None:
        """Refuse a version that may not follow the champion, or not the one that was expected.

        Raises:
            SupersededError: Another one is champion than was expected.
            UserError: The champion is pinned, or the version is the champion.
            ModelRefusedError: The version may not serve.
        """
        if self.champion != expected_champion:
            msg = (
                f"The champion is {self.champion or 'none'} by now, not "
                f"{expected_champion or 'none'}; judge "
                f"again: clear the task `gate`, or look at it and promote by hand."
            )
            raise SupersededError(msg)
        if self.champion == version_id:
            msg = f"{version_id} is in service already; nothing was changed."
            raise UserError(msg)
        if self.standing.pinned:
            msg = (
                f"{self.champion} is pinned in service, so {version_id} cannot take its place; "
                "unpin it first."
            )
            raise UserError(msg)
        obstacle = self._obstacles([version_id]).get(version_id)
        if obstacle:
            msg = f"{obstacle}, so it cannot go into service; choose another, or train one."
            raise ModelRefusedError(msg)

    def append(
        self,
        kind: ChampionChange,
        version_id: str,
        *,
        provisional: bool,
        reason: str,
        by: str,
        decision: int | None = None,
    ) -> None:
        """Write the next change."""
        self._connection.execute(
            insert(t.champion_change).values(
                venue=self._venue.value,
                feed=self._feed.value,
                position=self.standing.position + 1,
                kind=kind.value,
                version_id=version_id,
                provisional=provisional,
                decision_id=decision,
                reason=reason,
                changed_by=by,
            )
        )

    def fallback(self) -> tuple[ChangeRow | None, list[str]]:
        """Return the newest earlier champion that may serve, and why newer ones may not."""
        earlier = [term for term in self.standing.terms[-2::-1] if term.version != self.champion]
        known = self._obstacles([term.version for term in earlier])
        passed: dict[str, None] = {}  # each once, newest first
        for term in earlier:
            if term.version not in known:
                return term, list(passed)
            passed[known[term.version]] = None
        return None, list(passed)

    def _obstacles(self, ids: list[str]) -> dict[str, str]:
        """Return why versions may not serve; nothing of those that may."""
        now = self._connection.execute(select(func.now())).scalar_one()
        found = fetch_versions(self._connection, ids).values()
        reasons = {version.id: _obstacle(version, now) for version in found}
        return {name: reason for name, reason in reasons.items() if reason}


def _obstacle(version: VersionRow, now: datetime) -> str | None:
    if version.status is not VersionStatus.REGISTERED:
        return f"{version.id} is {version.status.value}"
    if version.expires_at <= now:
        return f"{version.id} expired on {version.expires_at:%Y-%m-%d}"
    return None
