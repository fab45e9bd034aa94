"""The trader's lease: every change compares first, and no order passes one that has returned."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from traded_books import (
    PATIENT,
    a_beat,
    a_run,
    an_intent,
    pause_sendings,
    sending,
    until,
    waiting,
)

from alpaca_strategy.domain.journal import Book
from alpaca_strategy.domain.lease import Desired, Lease, LeaseEventKind, Tenure
from alpaca_strategy.errors import LeaseEndedError
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.journal import TradingJournal
from alpaca_strategy.storage.lease import Leases

pytestmark = pytest.mark.integration
DAY = date(2026, 1, 5)
LATER = datetime(2026, 1, 5, 21, 5, tzinfo=UTC)
BOOK = Book("PA123", "as")
HOUR = timedelta(hours=1)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def leases(engine: Engine, database_url: str) -> Iterator[Leases]:
    leases = Leases(database_url, BOOK.strategy)
    yield leases
    leases.close()


def granted(leases: Leases, owner: str = "task-1") -> Lease:
    now = leases.read().generation
    lease = leases.grant(
        DAY, deadline_at=LATER, owner=owner, by="the DAG", reason="the session", after=now
    )
    assert lease is not None
    return lease


def restarted(
    leases: Leases, generation: int, owner: str = "task-1", most: int = 5
) -> Lease | None:
    return leases.restart(
        generation=generation, owner=owner, by="trigger", reason="it died", most=most, within=HOUR
    )


def working(database_url: str, generation: int) -> TradingJournal:
    journal = TradingJournal(
        database_url, BOOK, tenure=Tenure("as", generation), deadlines=PATIENT, call_s=60
    )
    journal.open_run(a_run(BOOK))
    return journal


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(text(f"SELECT count(*) FROM trading.{table}")).scalar_one()
        return found


def test_lease_that_nobody_asked_for_wants_nothing(leases: Leases) -> None:
    lease = leases.read()
    assert (lease.desired, lease.generation, lease.process, lease.beat) == (
        Desired.STOP, 0, None, None,
    )  # fmt: skip


def test_grant_counts_and_compares(leases: Leases) -> None:
    first = granted(leases)
    assert (first.generation, first.desired, first.session) == (1, Desired.RUN, DAY)
    assert (first.deadline_at, first.owner) == (LATER, "task-1")
    assert first.terms == {}
    stale = leases.grant(DAY, deadline_at=LATER, owner="x", by="x", reason="x", after=0)
    assert stale is None
    assert leases.read().generation == 1
    assert [one.kind for one in leases.events()] == [LeaseEventKind.GRANTED]


def test_terms_of_a_grant_stand_over_restarts(leases: Leases) -> None:
    terms = {"code": "1.0+abc", "model": "2026-01-01-aaaaaaaa"}
    leases.grant(
        DAY, deadline_at=LATER, owner="task-1", by="x", reason="x", after=leases.read().generation,
        terms=terms,
    )  # fmt: skip
    again = restarted(leases, 1)
    assert again is not None
    assert again.terms == terms


def test_two_who_restart_the_same_trader_start_one(leases: Leases) -> None:
    granted(leases)
    assert restarted(leases, 1) is not None
    assert restarted(leases, 1) is None
    assert leases.read().generation == 2


def test_many_who_restart_at_once_start_one(leases: Leases, database_url: str) -> None:
    granted(leases)
    others = [Leases(database_url, "as") for _ in range(6)]
    found: list[Lease | None] = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(restarted(one, 1))) for one in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.close()
    assert sum(one is not None for one in found) == 1
    assert leases.read().generation == 2


def test_only_the_owner_restarts_and_only_what_is_to_run(leases: Leases) -> None:
    granted(leases)
    assert restarted(leases, 1, owner="another") is None
    assert leases.adopt(generation=1, owner="another", by="clear", reason="cleared") is not None
    assert restarted(leases, 1) is None
    assert restarted(leases, 1, owner="another") is not None
    assert leases.release(generation=2, by="a person", reason="enough") is not None
    assert restarted(leases, 2, owner="another") is None


def test_budget_of_restarts_is_kept_by_the_database(leases: Leases) -> None:
    granted(leases)
    assert [restarted(leases, n, most=2) is not None for n in (1, 2, 3)] == [True, True, False]
    assert leases.read().generation == 3


def test_release_leaves_younger_generations_and_other_owners_alone(leases: Leases) -> None:
    granted(leases)
    granted(leases, owner="task-2")
    assert leases.release(generation=1, by="x", reason="an old task ends") is None
    assert leases.release(generation=2, owner="task-1", by="x", reason="killed") is None
    assert leases.read().desired is Desired.RUN
    assert leases.release(generation=2, owner="task-2", by="x", reason="done") is not None
    assert leases.release(generation=2, by="x", reason="once more") is None
    assert leases.read().desired is Desired.STOP


def test_processes_are_recorded_once_and_only_for_the_generation_that_is_wanted(
    leases: Leases,
) -> None:
    granted(leases)
    now = datetime.now(UTC)
    assert leases.started(generation=1, pid=7, started_at=now, by="agent")
    assert restarted(leases, 1) is not None
    assert not leases.started(generation=1, pid=8, started_at=now, by="agent")
    ended = {"generation": 1, "pid": 7, "exit_code": -9, "last_words": "oh\0", "by": "agent"}
    assert leases.exited(**ended, reason="killed by signal 9")  # type: ignore[arg-type]
    assert not leases.exited(**ended, reason="again")  # type: ignore[arg-type]
    process = leases.read().process
    assert process is not None
    assert (process.generation, process.exit_code, process.last_words) == (1, -9, "oh�")
    assert process.exited_at is not None


def test_heartbeat_counts_only_if_the_leases_own_trader_told_it(
    leases: Leases, database_url: str
) -> None:
    lease = granted(leases)
    leases.agent_seen("host:1", BOOK.account)
    journal = working(database_url, 1)
    journal.beat(replace(a_beat(), detail={"generation": 1}))
    beat = leases.read().beat
    assert beat is not None
    assert beat.phase == "trading"
    assert 0 <= beat.age_s < 60
    assert restarted(leases, lease.generation) is not None
    assert leases.read().beat is None
    journal.close()


@pytest.mark.parametrize("how", ["another generation", "stop"])
def test_after_a_change_nothing_is_sent_and_the_trader_hears_of_it(
    leases: Leases, database_url: str, engine: Engine, how: str
) -> None:
    lease = granted(leases)
    journal = working(database_url, lease.generation)
    first, second = an_intent("AAA", book=BOOK), an_intent("BBB", book=BOOK)
    journal.record_intents([first, second])
    assert journal.begin_sending([sending(first)]) is None
    assert count(engine, "intent_step") == 1
    if how == "stop":
        leases.release(generation=1, by="a person", reason="enough")
    else:
        restarted(leases, 1)
    with pytest.raises(LeaseEndedError, match="time is over"):
        journal.begin_sending([sending(second)])
    with pytest.raises(LeaseEndedError):
        journal.beat(a_beat())
    assert count(engine, "intent_step") == 1
    assert count(engine, "heartbeat") == 1  # it still shows that it lives
    journal.close()


def test_trader_without_a_lease_is_ended_by_none(
    leases: Leases, database_url: str, engine: Engine
) -> None:
    granted(leases)
    journal = TradingJournal(database_url, BOOK, deadlines=PATIENT, call_s=60)
    journal.open_run(a_run(BOOK))
    intent = an_intent(book=BOOK)
    journal.record_intents([intent])
    leases.release(generation=1, by="x", reason="x")
    assert journal.begin_sending([sending(intent)]) is None
    assert count(engine, "intent_step") == 1
    journal.close()


def test_stop_returns_only_after_a_sending_that_has_not_seen_it(
    leases: Leases, database_url: str, engine: Engine
) -> None:
    granted(leases)
    journal = working(database_url, 1)
    intent = an_intent(book=BOOK)
    journal.record_intents([intent])
    pause_sendings(engine)
    seen: list[int] = []

    def stop() -> None:
        while leases.read().desired is Desired.RUN:
            try:
                leases.release(generation=1, by="x", reason="x")
            except Exception:  # noqa: BLE001  # it waits for a lock for a second only
                continue
        seen.append(count(engine, "intent_step"))

    sender = threading.Thread(target=journal.begin_sending, args=([sending(intent)],))
    stopper = threading.Thread(target=stop)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(7)"))
        sender.start()
        until(lambda: waiting(engine) == 1)
        stopper.start()
        until(lambda: waiting(engine) == 2 or bool(seen))
    sender.join()
    stopper.join()
    assert seen == [1]
    journal.close()


def test_one_agent_at_a_time(leases: Leases, database_url: str) -> None:
    other = Leases(database_url, "as")
    assert leases.take_agent_lock()
    assert not other.take_agent_lock()
    assert leases.holds_agent_lock()
    leases.close()
    until(other.take_agent_lock)
    other.close()


def test_newest_question_is_answered(leases: Leases) -> None:
    leases.ask("one")
    leases.ask("two")
    leases.answer("one", {"ok": True})
    assert leases.read().answered is None
    leases.answer("two", {"ok": False, "why": "blocked"})
    lease = leases.read()
    assert (lease.answered, lease.answer) == ("two", {"ok": False, "why": "blocked"})


def test_events_are_kept_and_generations_never_come_back(leases: Leases, engine: Engine) -> None:
    granted(leases)
    leases.tell(LeaseEventKind.TOLD, "a word", by="test", detail={"n": 1})
    assert [(one.kind, one.reason) for one in leases.events()] == [
        (LeaseEventKind.TOLD, "a word"), (LeaseEventKind.GRANTED, "the session"),
    ]  # fmt: skip
    for statement in (
        "DELETE FROM trading.lease_event",
        "UPDATE trading.lease_event SET reason = 'no'",
        "UPDATE trading.lease SET generation = 0",
    ):
        with pytest.raises(DBAPIError), engine.begin() as connection:
            connection.execute(text(statement))
