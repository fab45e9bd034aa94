"""The trader's lease in Postgres: every change compares first, and is told in the event log.

A lease gives one trader at a time the right to trade. A change of generation, or `stop`, takes
that right away: a sending asks for it in its own transaction, so that once a change has returned
no order of the trader before is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, Row

from alpaca_strategy.domain.lease import (
    Beat,
    Desired,
    Lease,
    LeaseEvent,
    LeaseEventKind,
    Process,
)
from alpaca_strategy.storage import journal_values as told
from alpaca_strategy.storage import lease_statements as sql
from alpaca_strategy.storage.database import Deadlines
from alpaca_strategy.storage.line import Line

DEADLINES: Final = Deadlines(connect_s=2, statement_s=2, lock_s=1)
CALL_S: Final = 3.0


def lease_key(name: str) -> int:
    """Return the number of the advisory lock that changes and sendings share."""
    digest = hashlib.sha256(f"alpaca-strategy/lease/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class Leases:
    """One lease, from any thread; calls are made one after the other and end within seconds.

    Every method raises EnvironmentFaultError where Postgres does not do it: then it is not known
    whether a change stands, and whoever asked reads again.
    """

    def __init__(self, database: Engine | str, name: str) -> None:
        """Prepare; nothing is connected yet."""
        url = (
            database
            if isinstance(database, str)
            else database.url.render_as_string(hide_password=False)
        )
        self.name = name
        self._line = Line(url, name="lease", deadlines=DEADLINES, call_s=CALL_S)
        self._agent_line = Line(url, name="agent-lock", deadlines=DEADLINES, call_s=CALL_S)

    def close(self) -> None:
        """Close all connections, and with them release the agent's lock."""
        self._line.close()
        self._agent_line.close()

    # ---------------------------------------------------------------- who wants a trader

    def read(self) -> Lease:
        """Return how things stand; a lease that nobody has asked for yet is made."""
        row = self._line.run(sql.READ, self._key())
        if row is None:
            self._line.run(sql.MAKE, self._key())
            row = self._line.run(sql.READ, self._key())
        return lease_of(row)

    def grant(
        self, session: date, *, deadline_at: datetime, owner: str, by: str, reason: str,
        after: int, terms: Mapping[str, str] | None = None,
    ) -> Lease | None:  # fmt: skip
        """Want a new trader, of the next generation.

        Args:
            session: Which it is to trade.
            deadline_at: UTC, by this machine's clock, when it ends by itself.
            owner: Who supervises it.
            by: Who asks, for people.
            reason: Why.
            after: The generation that stands now.
            terms: Versions that the trader must agree with to start.

        Returns:
            The lease, or None where another generation stands.
        """
        return self._change(
            sql.GRANT, by=by, reason=reason, session=session, deadline_at=deadline_at, owner=owner,
            after=after, terms=told.document(terms or {}),
        )  # fmt: skip

    def adopt(self, *, generation: int, owner: str, by: str, reason: str) -> Lease | None:
        """Supervise the trader that runs; None where it is another one, or none is wanted."""
        return self._change(sql.ADOPT, by=by, reason=reason, generation=generation, owner=owner)

    def restart(
        self, *, generation: int, owner: str, by: str, reason: str, most: int, within: timedelta,
    ) -> Lease | None:  # fmt: skip
        """Want a new trader for the same session and owner.

        Args:
            generation: Of the trader that is to be replaced.
            owner: Who asks; another owner's trader is not touched.
            by: Who asks, for people.
            reason: Why.
            most: Restarts of this session within the time before; beyond them nothing is done.
            within: That time.

        Returns:
            The lease, or None where something else was wanted meanwhile or the budget is spent.
        """
        values = {
            "generation": generation, "owner": owner, "most": most,
            "within_s": within.total_seconds(),
        }  # fmt: skip
        return self._change(sql.RESTART, by=by, reason=reason, **values)

    def release(
        self, *, generation: int, by: str, reason: str, owner: str | None = None
    ) -> Lease | None:
        """Want no trader any more, of this generation or an older one.

        Args:
            generation: A younger one is not touched.
            by: Who asks, for people.
            reason: Why.
            owner: If given, only where the lease is still this owner's.

        Returns:
            The lease, or None where there was nothing to release.
        """
        return self._change(sql.RELEASE, by=by, reason=reason, generation=generation, owner=owner)

    # ---------------------------------------------------------------- the agent

    def take_agent_lock(self) -> bool:
        """Become the lease's only agent; False where another is. Held while we live."""
        if self._agent_line.is_open:
            return True
        key = lease_key(f"{self.name}/agent")
        row = self._agent_line.run("SELECT pg_try_advisory_lock(:key)", {"key": key})
        if not row[0]:
            self._agent_line.drop()
        return bool(row[0])

    def holds_agent_lock(self) -> bool:
        """Return whether the lock is still ours; asks the database on the lock's connection."""
        if not self._agent_line.is_open:
            return False
        self._agent_line.run("SELECT 1", {})
        return True

    def agent_seen(self, agent: str, account: str | None) -> Lease:
        """Show that the agent lives; return how things stand."""
        self._line.run(sql.MAKE, self._key())
        self._line.run(sql.AGENT_SEEN, self._key() | {"agent": agent, "account": account})
        return self.read()

    def started(self, *, generation: int, pid: int, started_at: datetime, by: str) -> bool:
        """Record that a process was started; False where another generation is wanted by now."""
        values = {"generation": generation, "pid": pid, "started_at": started_at}
        return self._change(sql.STARTED, by=by, reason="", **values) is not None

    def exited(
        self, *, generation: int, pid: int, exit_code: int | None, last_words: str, by: str,
        reason: str,
    ) -> bool:  # fmt: skip
        """Record that a process has ended; False where that is known already."""
        values = {
            "generation": generation, "pid": pid, "exit_code": exit_code,
            "last_words": told.clean(last_words),
        }  # fmt: skip
        return self._change(sql.EXITED, by=by, reason=reason, **values) is not None

    # ---------------------------------------------------------------- questions, events

    def ask(self, question: str) -> None:
        """Ask the agent something of the account; a question that is newer replaces an older."""
        self._line.run(sql.MAKE, self._key())
        self._line.run(sql.ASK, self._key() | {"question": question})

    def answer(self, question: str, answer: Mapping[str, Any]) -> None:
        """Answer a question; credentials never are part of an answer."""
        values = {"question": question, "answer": told.document(answer)}
        self._line.run(sql.ANSWER, self._key() | values)

    def tell(
        self, kind: LeaseEventKind, reason: str, *, by: str,
        detail: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Write an event."""
        values = {
            "kind": kind.value, "reason": told.clean(reason), "by": told.clean(by),
            "detail": told.document(detail or {}),
        }  # fmt: skip
        self._line.run(sql.TELL, self._key() | values)

    def events(self, *, limit: int = 100, session: date | None = None) -> list[LeaseEvent]:
        """Return events, newest first."""
        with self._line.call() as connection:
            values = self._key() | {"limit": limit, "session": session}
            return [_event_of(row) for row in connection.execute(sql.EVENTS, values)]

    # ---------------------------------------------------------------- within

    def _change(self, statement: str, *, by: str, reason: str, **values: Any) -> Lease | None:
        everything = self._key() | values | {"by": told.clean(by), "reason": told.clean(reason)}
        row = self._line.run(statement, everything)
        return None if row is None else self.read()

    def _key(self) -> dict[str, Any]:
        return {"name": self.name, "lease_key": lease_key(self.name)}


def lease_of(row: Row[Any]) -> Lease:
    """Return a lease from a row of `READ`."""
    process = beat = None
    if row.process_generation is not None:
        process = Process(
            row.process_generation, row.pid, _utc(row.started_at), _known(row.exited_at),
            row.exit_code, row.last_words,
        )  # fmt: skip
    if row.beat_age_s is not None:
        beat = Beat(
            float(row.beat_age_s), row.phase, row.holds, _utc(row.venue_at),
            _known(row.last_data_at),
        )  # fmt: skip
    return Lease(
        name=row.name, desired=Desired(row.desired), generation=row.generation,
        session=row.session, owner=row.owner, deadline_at=_known(row.deadline_at), terms=row.terms,
        reason=row.reason, changed_by=row.changed_by, changed_at=_utc(row.changed_at),
        read_at=_utc(row.read_at), agent=row.agent,
        agent_age_s=None if row.agent_age_s is None else float(row.agent_age_s),
        account=row.account, process=process, beat=beat, question=row.question,
        answered=row.answered, answer=row.answer,
    )  # fmt: skip


def _event_of(row: Row[Any]) -> LeaseEvent:
    return LeaseEvent(
        row.generation, row.session, LeaseEventKind(row.kind), row.reason, row.caused_by,
        row.detail, _utc(row.at),
    )  # fmt: skip


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


def _known(at: datetime | None) -> datetime | None:
    return None if at is None else _utc(at)
