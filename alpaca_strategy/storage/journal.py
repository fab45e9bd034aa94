"""The trader's journal in Postgres: what it returned from is on disk, and nothing is half-written.

Every call is one transaction and ends within seconds. A call that fails may have written all of its
own or nothing; whichever it was, it is settled before the next call begins, so that asking again
tells the truth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any, Final

from sqlalchemy import Engine, text

from alpaca_strategy.domain.journal import (
    Adjustment,
    Book,
    Decision,
    Heartbeat,
    Intent,
    Reconciliation,
    Recovered,
    StateChange,
    Switch,
    SwitchKind,
    TraderRun,
)
from alpaca_strategy.domain.lease import Tenure
from alpaca_strategy.domain.orders import Fill
from alpaca_strategy.errors import EnvironmentFaultError, LeaseEndedError
from alpaca_strategy.storage import journal_statements as sql
from alpaca_strategy.storage import journal_values as told
from alpaca_strategy.storage.database import Deadlines
from alpaca_strategy.storage.journal_fold import read_recovered
from alpaca_strategy.storage.journal_rows import switch_of
from alpaca_strategy.storage.lease import lease_key
from alpaca_strategy.storage.line import Line

DEADLINES: Final = Deadlines(connect_s=2, statement_s=2, lock_s=1)
CALL_S: Final = 3.0
#: Recovery looks at the whole past, once, before anything is traded.
RECOVERY_S: Final = 60.0
_ONE_MOMENT = text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
_PATIENT = text("SELECT set_config('statement_timeout', :limit, true)")


class TradingJournal:
    """The journal of one book.

    It may be used from any thread; calls are made one after the other.
    """

    def __init__(
        self,
        database: Engine | str,
        book: Book,
        *,
        tenure: Tenure | None = None,
        deadlines: Deadlines = DEADLINES,
        call_s: float = CALL_S,
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            database: Where it is; the journal has connections of its own.
            book: Whose it is.
            tenure: The right under which the trader works; without one no lease can end it.
            deadlines: For Postgres.
            call_s: After which a call is given up, even if Postgres is frozen.
        """
        url = database if isinstance(database, str) else _url_of(database)
        self.book = book
        self._tenure = tenure
        self._line = Line(url, name="trader-journal", deadlines=deadlines, call_s=call_s)
        self._lock_line = Line(url, name="trader-lock", deadlines=deadlines, call_s=call_s)
        self._run: str | None = None

    # ---------------------------------------------------------------- the lock

    def take_lock(self) -> bool:
        """Become the book's only trader; False where another is. Held while we live.

        Raises:
            EnvironmentFaultError: Postgres does not tell.
        """
        if self.holds_lock():
            return True
        row = self._lock_line.run(sql.TAKE_LOCK, {"key": self._lock_number("trader")})
        if not row[0]:
            self._lock_line.drop()
        return bool(row[0])

    def holds_lock(self) -> bool:
        """Return whether the lock is still ours; asks the database, on the lock's connection.

        Raises:
            EnvironmentFaultError: Postgres does not tell; the lock must be taken again.
        """
        if not self._lock_line.is_open:
            return False
        key = self._lock_number("trader")
        parts = {"high": key >> 32 & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}
        return bool(self._lock_line.run(sql.HOLDS_LOCK, parts)[0])

    def release(self) -> None:
        """Let another trader take the lock; a lock that was lost is released already."""
        if self._lock_line.is_open:
            # A server takes note of a closed connection only a moment later.
            with suppress(EnvironmentFaultError):
                self._lock_line.run(sql.RELEASE_LOCK, {"key": self._lock_number("trader")})
        self._lock_line.drop()

    def close(self) -> None:
        """Release the lock and close all connections."""
        self.release()
        self._lock_line.close()
        self._line.close()

    # ---------------------------------------------------------------- writing

    def open_run(self, run: TraderRun) -> None:
        """Record that a trader starts; what follows belongs to this run. May be repeated.

        Raises:
            EnvironmentFaultError: It cannot be written.
            ValueError: The run is of another book.
        """
        if run.book != self.book:
            msg = f"The run is of {run.book}, the journal of {self.book}."
            raise ValueError(msg)
        self._line.run(sql.OPEN_RUN, self._key() | told.run_values(run))
        self._run = run.id

    def record_decision(self, decision: Decision, intents: Sequence[Intent]) -> None:
        """Write a decision and its intents, which are then pending, in one transaction.

        Raises:
            EnvironmentFaultError: It cannot be written, or the minute has been decided already.
        """
        values = told.decision_values(decision) | {"intents": told.intents_document(intents)}
        self._line.run(sql.RECORD_DECISION, self._signed() | values)

    def record_intents(self, intents: Sequence[Intent]) -> None:
        """Write intents that follow from no decision, such as a person's flatten.

        Raises:
            EnvironmentFaultError: They cannot be written, or one of them is there already.
        """
        if intents:
            values = {"intents": told.intents_document(intents)}
            self._line.run(sql.RECORD_INTENTS, self._signed() | values)

    def begin_sending(
        self, changes: Sequence[StateChange], *, flattening: bool = False
    ) -> Switch | None:
        """Write that these are about to be sent; return the switch as it stands now.

        Nothing is written where the switch says kill, or where the lease has ended.

        Args:
            changes: The steps.
            flattening: They are the sales that a kill asked for; then such a kill, and only such,
                does not stand in their way.

        Raises:
            EnvironmentFaultError: They cannot be written, or the journal has no such intent.
            LeaseEndedError: The lease wants another trader, or none.
        """
        keys = [self._lock_number("switch")]
        keys += [lease_key(self._tenure.name)] if self._tenure else []
        values = {
            "steps": told.steps_document(changes),
            "flattening": flattening,
            "keys": keys,
            **self._lease(),
        }
        return self._standing(self._line.run(sql.BEGIN_SENDING, self._signed() | values))

    def record(self, changes: Sequence[StateChange], fills: Sequence[Fill] = ()) -> None:
        """Write steps of intents, and fills.

        A fill that is known already is left out, and a step that changes nothing. May be repeated.

        Raises:
            EnvironmentFaultError: They cannot be written, or the journal has no such intent.
        """
        if changes or fills:
            values = {"steps": told.steps_document(changes), "fills": told.fills_document(fills)}
            self._line.run(sql.RECORD, self._signed() | values)

    def record_adjustments(self, adjustments: Sequence[Adjustment]) -> None:
        """Write changes of positions that are no fills; one that is known already counts once.

        Raises:
            EnvironmentFaultError: They cannot be written.
        """
        if adjustments:
            values = {"adjustments": told.adjustments_document(adjustments)}
            self._line.run(sql.RECORD_ADJUSTMENTS, self._signed() | values)

    def record_reconciliation(self, reconciliation: Reconciliation) -> None:
        """Write a comparison with the venue's books.

        Raises:
            EnvironmentFaultError: It cannot be written.
        """
        values = told.reconciliation_values(reconciliation)
        self._line.run(sql.RECORD_RECONCILIATION, self._signed() | values)

    def record_event(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Write something that a person may ask about later; also where no run is open.

        Raises:
            EnvironmentFaultError: It cannot be written.
        """
        values = {"kind": kind, "detail": told.document(detail), "run_id": self._run}
        self._line.run(sql.RECORD_EVENT, self._key() | values)

    def beat(self, heartbeat: Heartbeat) -> Switch | None:
        """Write the state of the trader; return the switch as it stands now.

        Raises:
            EnvironmentFaultError: It cannot be written.
            LeaseEndedError: The lease wants another trader, or none; it is written all the same.
        """
        values = told.heartbeat_values(heartbeat) | self._lease()
        return self._standing(self._line.run(sql.BEAT, self._key() | values))

    # ---------------------------------------------------------------- the switch

    def switch(self, kind: SwitchKind, *, reason: str, by: str, flatten: bool = False) -> Switch:
        """Turn the switch; return it as it stands then, which may be stronger than the turn.

        A re-arming takes back what was turned before. Otherwise the strongest turn since then
        stands: a kill with flatten before one without, a kill before a halt, and of equals the
        newest. No sending is written after a kill has returned.

        Raises:
            EnvironmentFaultError: It cannot be written, or somebody else turned the switch while
                it was being re-armed.
        """
        rearms = kind is SwitchKind.REARM
        # What nobody has seen yet must not be taken back.
        newest = self._line.run(sql.NEWEST_TURN, self._key())[0] if rearms else None
        values = {
            "kind": kind.value,
            "flatten": flatten,
            "reason": told.clean(reason) or ("" if rearms else "no reason given"),
            "by": told.clean(by) or ("" if rearms else "unknown"),
            "newest": newest,
            "switch_key": self._lock_number("switch"),
        }
        standing = self._switch(self._line.run(sql.TURN_SWITCH, self._key() | values))
        if standing is None or (
            newest is not None and (standing.kind, standing.position) != (kind, newest + 1)
        ):
            msg = "The switch was turned meanwhile and is not re-armed; look at it, then re-arm."
            raise EnvironmentFaultError(msg)
        return standing

    def read_switch(self) -> Switch | None:
        """Return the switch as it stands now; None where it was never turned.

        Raises:
            EnvironmentFaultError: Postgres does not tell.
        """
        return self._switch(self._line.run(sql.READ_SWITCH, self._key()))

    # ---------------------------------------------------------------- reading

    def recover(self, session: date) -> Recovered:
        """Return what earlier runs left, all of it as it was at one moment.

        Raises:
            EnvironmentFaultError: Postgres does not tell.
        """
        with self._line.call(RECOVERY_S) as connection:
            connection.execute(_ONE_MOMENT)
            connection.execute(_PATIENT, {"limit": f"{RECOVERY_S:g}s"})
            found = read_recovered(connection, self.book, session)
            connection.execute(text("COMMIT"))
            return found

    # ---------------------------------------------------------------- within

    @staticmethod
    def _switch(row: Any) -> Switch | None:
        return None if row is None else switch_of(row)

    def _standing(self, row: Any) -> Switch | None:
        if row.is_over:
            msg = (
                f"Lease {self._tenure and self._tenure.name} says {row.desired} of generation "
                f"{row.generation}, so this trader's time is over."
            )
            raise LeaseEndedError(msg)
        return None if row.kind is None else switch_of(row)

    def _lease(self) -> dict[str, Any]:
        known = self._tenure
        return {
            "lease": known.name if known else None,
            "generation": known.generation if known else 0,
        }

    def _key(self) -> dict[str, Any]:
        return {"account": self.book.account, "strategy": self.book.strategy}

    def _signed(self) -> dict[str, Any]:
        if self._run is None:
            msg = "Nothing is written before open_run: every row says which run wrote it."
            raise RuntimeError(msg)
        return self._key() | {"run_id": self._run}

    def _lock_number(self, purpose: str) -> int:
        name = f"alpaca-strategy/{purpose}/{self.book.account}/{self.book.strategy}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)
