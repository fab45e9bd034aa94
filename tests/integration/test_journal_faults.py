"""The trader's journal while Postgres is slow, frozen, killed, full or gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from own_server import OwnServer, own_server
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from traded_books import (
    DAY,
    NOON,
    PATIENT,
    a_beat,
    a_book,
    a_decision,
    a_fill,
    a_journal,
    an_intent,
    opened,
    sending,
)

from alpaca_strategy.domain.journal import Adjustment, Reconciliation, SwitchKind
from alpaca_strategy.errors import DiskSpaceError, EnvironmentFaultError, ServiceUnavailableError
from alpaca_strategy.storage.database import Deadlines, connect, migrate
from alpaca_strategy.storage.journal import TradingJournal
from alpaca_strategy.storage.line import Line

pytestmark = pytest.mark.integration

#: Short enough for a test, and in the same order as those of the trader.
HASTY = Deadlines(connect_s=2, statement_s=0.6, lock_s=0.3)
OLD, NEW = an_intent("OLD", minute=1), an_intent("NEW", minute=2)

#: Every call that writes: what it does, and the table that it cannot do without.
CALLS: dict[str, tuple[Callable[[TradingJournal], object], str]] = {
    "record_decision": (lambda j: j.record_decision(a_decision(), [NEW]), "decision_name"),
    "record_intents": (lambda j: j.record_intents([NEW]), "intent"),
    "begin_sending": (lambda j: j.begin_sending([sending(OLD)]), "intent_step"),
    "record": (lambda j: j.record([opened(OLD)], [a_fill(OLD, 5)]), "fill"),
    "record_adjustments": (
        lambda j: j.record_adjustments([Adjustment("AAA", Decimal(1), "split", NOON)]),
        "adjustment",
    ),
    "record_reconciliation": (
        lambda j: j.record_reconciliation(Reconciliation(NOON, "start", (), {}, {})),
        "reconciliation",
    ),
    "record_event": (lambda j: j.record_event("started", {}), "event"),
    "beat": (lambda j: j.beat(a_beat()), "heartbeat"),
    "switch": (lambda j: j.switch(SwitchKind.KILL, reason="x", by="me"), "switch"),
}
TABLES = sorted({table for _, table in CALLS.values()} | {"decision"})


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine: Engine, database_url: str) -> Iterator[TradingJournal]:
    with a_journal(database_url) as journal:
        journal.record_intents([OLD])
        yield journal


@pytest.fixture
def hasty(engine: Engine, database_url: str) -> Iterator[TradingJournal]:
    with a_journal(database_url, deadlines=HASTY, call_s=1.0) as journal:
        journal.record_intents([OLD])
        yield journal


def counts(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        queries = {table: text(f"SELECT count(*) FROM trading.{table}") for table in TABLES}
        return {
            table: int(connection.execute(query).scalar_one()) for table, query in queries.items()
        }


def until(what: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    ends_at = time.monotonic() + 60
    while not what():
        assert time.monotonic() < ends_at, "it did not happen"
        time.sleep(0.005)


def process_of(line: Line) -> int:
    assert line._process is not None
    return line._process[0]


def end(engine: Engine, pid: int) -> None:
    """Kill a server process, and wait until it is gone."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    until(lambda: not psutil.pid_exists(pid))


@contextmanager
def blocked(engine: Engine, table: str) -> Iterator[None]:
    """Keep everybody else from a table."""
    with engine.begin() as connection:
        connection.execute(text(f"LOCK TABLE trading.{table} IN ACCESS EXCLUSIVE MODE"))
        yield


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


# ---------------------------------------------------------------------------- killed


@pytest.mark.parametrize("name", CALLS)
def test_a_server_process_killed_within_a_call_leaves_nothing_and_the_call_can_be_repeated(
    journal: TradingJournal, engine: Engine, name: str
) -> None:
    call, table = CALLS[name]
    before = counts(engine)
    failures: list[Exception] = []

    def attempt() -> None:
        try:
            call(journal)
        except EnvironmentFaultError as error:
            failures.append(error)

    caller, pid = threading.Thread(target=attempt), process_of(journal._line)
    with blocked(engine, table):
        caller.start()
        waiting = text("SELECT count(*) FROM pg_locks WHERE pid = :pid AND NOT granted")
        with engine.connect() as connection:
            until(lambda: bool(connection.execute(waiting, {"pid": pid}).scalar()))
        end(engine, pid)
        caller.join()
    assert len(failures) == 1
    assert counts(engine) == before
    call(journal)
    changed = {name for name, number in counts(engine).items() if number != before[name]}
    assert table in changed


@pytest.mark.parametrize("name", CALLS)
def test_a_server_process_killed_between_two_calls_is_not_noticed(
    journal: TradingJournal, engine: Engine, name: str
) -> None:
    call, table = CALLS[name]
    before = counts(engine)[table]
    end(engine, process_of(journal._line))
    call(journal)
    assert counts(engine)[table] > before


def test_a_lock_that_was_lost_is_not_ours_until_it_is_taken_again(
    journal: TradingJournal, engine: Engine, database_url: str
) -> None:
    assert journal.take_lock()
    end(engine, process_of(journal._lock_line))
    assert not journal.holds_lock()
    assert journal.take_lock()
    end(engine, process_of(journal._lock_line))
    with a_journal(database_url) as quicker:
        assert quicker.take_lock()
        assert not journal.holds_lock()
        assert not journal.take_lock()


# ---------------------------------------------------------------------------- slow


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_has_to_wait_ends_with_an_error(
    hasty: TradingJournal, engine: Engine, name: str
) -> None:
    call, table = CALLS[name]
    before = counts(engine)
    with blocked(engine, table), pytest.raises(EnvironmentFaultError, match="lock timeout"):
        call(hasty)
    assert counts(engine) == before
    call(hasty)


def test_a_statement_that_takes_too_long_ends_with_an_error(
    hasty: TradingJournal, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';"
                "CREATE TRIGGER dawdles BEFORE INSERT ON trading.intent_step"
                " FOR EACH ROW EXECUTE FUNCTION dawdle()"
            )
        )
    with pytest.raises(ServiceUnavailableError, match=r"did not finish .* within 0\.6 s"):
        hasty.begin_sending([sending(OLD)])
    assert counts(engine)["intent_step"] == 0


def test_many_slow_statements_are_cut_as_one_call(hasty: TradingJournal, engine: Engine) -> None:
    """Each is quick enough for the server, which would let them all pass."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN PERFORM pg_sleep(0.55); RETURN NEW; END';"
                "CREATE TRIGGER dawdles BEFORE INSERT ON trading.intent_step"
                " FOR EACH ROW EXECUTE FUNCTION dawdle();"
                "CREATE TRIGGER dawdles BEFORE INSERT ON trading.fill"
                " FOR EACH ROW EXECUTE FUNCTION dawdle()"
            )
        )
    with pytest.raises(ServiceUnavailableError, match="did not answer within 1 s"):
        hasty.record([sending(OLD)], [a_fill(OLD, 5)])


# ---------------------------------------------------------------------------- frozen


def test_a_frozen_server_process_is_given_up_and_what_it_held_is_never_written(
    hasty: TradingJournal, engine: Engine
) -> None:
    before, pid = counts(engine), process_of(hasty._line)
    with frozen(pid):
        with pytest.raises(ServiceUnavailableError, match="did not answer within 1 s"):
            hasty.begin_sending([sending(OLD)])
        with pytest.raises(ServiceUnavailableError, match=f"Process {pid} .* may write yet"):
            hasty.beat(a_beat())
    hasty.beat(a_beat())
    assert not psutil.pid_exists(pid)
    assert counts(engine) == before | {"heartbeat": 1}


def test_a_lock_whose_server_process_froze_is_ours_again_and_nobody_elses(
    hasty: TradingJournal, engine: Engine, database_url: str
) -> None:
    assert hasty.take_lock()
    pid = process_of(hasty._lock_line)
    with frozen(pid), a_journal(database_url) as other:
        with pytest.raises(ServiceUnavailableError, match="did not answer"):
            hasty.holds_lock()
        assert not hasty.holds_lock()
        assert not other.take_lock()
    assert hasty.take_lock()  # although the frozen process may have held it until now
    assert hasty.holds_lock()


def test_a_wholly_frozen_server_hangs_nobody(
    engine: Engine, hasty: TradingJournal, database_url: str
) -> None:
    assert hasty.take_lock()
    with engine.connect() as connection:
        pid = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
    server = psutil.Process(pid).parent()
    assert server is not None
    everything = [server.pid, *(child.pid for child in server.children(recursive=True))]
    with (
        frozen(*everything),
        a_journal(database_url, a_book(), deadlines=HASTY, call_s=1.0, opened=False) as new,
    ):
        for attempt in (
            new.take_lock,
            new.read_switch,
            lambda: hasty.beat(a_beat()),
            hasty.holds_lock,
            lambda: hasty.begin_sending([sending(OLD)]),
        ):
            with pytest.raises(ServiceUnavailableError):
                attempt()
    until(lambda: _works(lambda: hasty.beat(a_beat())))
    assert not hasty.holds_lock()
    assert hasty.take_lock()
    assert counts(engine)["intent_step"] == 0


def _works(call: Callable[[], object]) -> bool:
    try:
        call()
    except EnvironmentFaultError:
        return False
    return True


# ---------------------------------------------------------------------------- lost answers


class Wire:
    """A wire between client and server that can be made to lose what the server answers."""

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self.losing = False
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                self._open += [client, server]
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.losing:
                    target.shutdown(socket.SHUT_RDWR)  # the server has done it, and nobody hears
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in (self._door, *self._open):
            one.close()


@pytest.fixture
def wire(database_url: str) -> Iterator[Wire]:
    folder = make_url(database_url).query["host"]
    assert isinstance(folder, str)
    wire = Wire(str(next(Path(folder).glob(".s.PGSQL.*[0-9]"))))
    yield wire
    wire.close()


def test_a_lost_answer_is_an_error_and_the_truth_can_be_asked_for(
    engine: Engine, database_url: str, wire: Wire
) -> None:
    url = make_url(database_url).set(host="127.0.0.1", port=wire.port, query={})
    with a_journal(url.render_as_string(hide_password=False)) as journal:
        wire.losing = True
        with pytest.raises(EnvironmentFaultError):
            journal.record_decision(a_decision(), [NEW])
        wire.losing = False
        assert [one.intent for one in journal.recover(DAY).intents] == [NEW]
        with pytest.raises(EnvironmentFaultError, match="one_decision_a_minute"):
            journal.record_decision(a_decision(), [NEW])
        for call in (
            lambda: journal.begin_sending([sending(NEW)]),
            lambda: journal.record([opened(NEW)], [a_fill(NEW, 5)]),
            lambda: journal.record_adjustments([Adjustment("AAA", Decimal(1), "split", NOON)]),
        ):
            wire.losing = True
            with pytest.raises(EnvironmentFaultError):
                call()
            wire.losing = False
            written = counts(engine)
            call()  # whoever repeats it changes nothing
            assert counts(engine) == written
        assert journal.recover(DAY).shares == {"NEW": 5, "AAA": 1}


# ---------------------------------------------------------------------------- full, stopped, unsafe


@pytest.mark.parametrize("table", ["decision", "decision_name", "intent"])
def test_a_disk_that_is_full_leaves_nothing_half_written(
    journal: TradingJournal, engine: Engine, table: str
) -> None:
    """A trigger raises what Postgres raises then; a disk that is really full costs too much."""
    before = counts(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION be_full() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN RAISE disk_full USING MESSAGE = ''No space left on device''; END';"
                f"CREATE TRIGGER is_full AFTER INSERT ON trading.{table}"
                " FOR EACH ROW EXECUTE FUNCTION be_full()"
            )
        )
    with pytest.raises(DiskSpaceError, match="No space left"):
        journal.record_decision(a_decision(), [NEW])
    with engine.begin() as connection:
        connection.execute(text("DROP FUNCTION be_full() CASCADE"))
    assert counts(engine) == before
    journal.record_decision(a_decision(), [NEW])


@pytest.fixture
def server() -> Iterator[OwnServer]:
    with own_server() as server:
        engine = connect(server.url)
        migrate(engine)
        engine.dispose()
        yield server


def test_after_a_crash_of_the_server_everything_confirmed_is_there(server: OwnServer) -> None:
    with a_journal(server.url) as journal:
        assert journal.take_lock()
        journal.record_intents([OLD])
        journal.begin_sending([sending(OLD)])
        journal.record([opened(OLD)], [a_fill(OLD, 5)])
        server.crash()
        for call, _ in CALLS.values():
            with pytest.raises(ServiceUnavailableError, match="does not answer"):
                call(journal)
        assert not journal.holds_lock()
        with pytest.raises(ServiceUnavailableError, match="does not answer"):
            journal.take_lock()
        server.start()
        assert journal.take_lock()
        found = journal.recover(DAY)
        assert [one.intent for one in found.intents] == [OLD]
        assert found.shares == {"OLD": 5}
        assert journal.read_switch() is None
        server.crash()
        server.start("-c", "fsync=off")
        with pytest.raises(EnvironmentFaultError, match="may lose what it has confirmed"):
            journal.beat(a_beat())


def test_commits_are_durable_whatever_the_database_has_as_its_habit(
    engine: Engine, database_url: str
) -> None:
    name = make_url(database_url).database
    with engine.begin() as connection:
        for setting in ("synchronous_commit = off", "default_transaction_read_only = on"):
            connection.execute(text(f"ALTER DATABASE {name} SET {setting}"))
    with a_journal(database_url) as journal:
        journal.record_intents([OLD])
        with journal._line.call() as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"


def test_a_database_without_our_tables_says_so(database_url: str) -> None:
    with (
        a_journal(database_url, opened=False) as journal,
        pytest.raises(ServiceUnavailableError, match="lacks our tables"),
    ):
        journal.recover(DAY)


# ---------------------------------------------------------------------------- our own death

DECIDE_FOR_EVER = """
import sys
sys.path[:0] = sys.argv[2:]
from traded_books import a_decision, a_journal, an_intent, sending
with a_journal(sys.argv[1]) as journal:
    for minute in range(100_000):
        intents = [an_intent(symbol, minute=minute) for symbol in ("AAA", "BBB", "CCC")]
        journal.record_decision(a_decision(minute), intents)
        journal.begin_sending([sending(one) for one in intents])
        print(minute, flush=True)
"""


def test_a_trader_killed_at_any_moment_leaves_whole_decisions(
    engine: Engine, database_url: str
) -> None:
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-W", "ignore", "-c", DECIDE_FOR_EVER, database_url, tests]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trader:
        assert trader.stdout is not None
        told = [trader.stdout.readline() for _ in range(20)]
        trader.kill()
        told += trader.stdout.readlines()
    confirmed = {int(line) for line in told if line.endswith("\n")}
    with a_journal(database_url, deadlines=PATIENT) as journal:
        found = journal.recover(DAY)
    assert confirmed <= found.decided
    assert len(found.intents) == 3 * len(found.decided)
    assert found.orders_today % 3 == 0
    assert found.orders_today >= 3 * len(confirmed)
