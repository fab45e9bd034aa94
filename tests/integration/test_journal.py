"""The trader's journal: what it keeps, and what follows from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from traded_books import (
    BOOK,
    DAY,
    a_beat,
    a_book,
    a_decision,
    a_fill,
    a_journal,
    a_run,
    a_step,
    an_intent,
    at,
    filled,
    opened,
    order_of,
    pause_sendings,
    sending,
    until,
    waiting,
)

from alpaca_strategy.domain.journal import (
    Adjustment,
    Book,
    Intent,
    Reconciliation,
    StateChange,
    Switch,
    SwitchKind,
)
from alpaca_strategy.domain.orders import Fill, IntentState, OrderType, Side, TimeInForce
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.journal import TradingJournal
from alpaca_strategy.storage.trading_records import TradingReader

pytestmark = pytest.mark.integration
KILL, HALT, REARM = SwitchKind.KILL, SwitchKind.HALT, SwitchKind.REARM


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine: Engine, database_url: str) -> Iterator[TradingJournal]:
    with a_journal(database_url) as journal:
        yield journal


@pytest.fixture
def reader(engine: Engine) -> TradingReader:
    return TradingReader(engine)


def steps(engine: Engine, intent: Intent) -> list[tuple[int, str]]:
    query = text(
        "SELECT number, state FROM trading.intent_step WHERE client_order_id = :name"
        " ORDER BY number"
    )
    with engine.connect() as connection:
        found = connection.execute(query, {"name": intent.ticket.client_order_id})
        return [(row.number, row.state) for row in found]


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM trading.{table}")).scalar_one())


# ---------------------------------------------------------------------------- what is kept


def test_an_empty_journal_recovers_nothing(journal: TradingJournal) -> None:
    found = journal.recover(DAY)
    assert (found.intents, found.fills, found.orders_today) == ((), (), 0)
    assert not found.shares
    assert not found.entered
    assert not found.exited
    assert not found.decided


def test_a_decision_and_its_orders_come_back_as_they_were_written(
    journal: TradingJournal, reader: TradingReader
) -> None:
    market = an_intent("AAA", qty=Decimal("10.000000001"))
    limit = an_intent("BBB", Side.SELL)
    limit = replace(
        limit,
        price=None,
        ticket=replace(
            limit.ticket,
            type=OrderType.LIMIT,
            limit_price=Decimal("9.99"),
            time_in_force=TimeInForce.IOC,
        ),
    )
    journal.record_decision(a_decision(), [market, limit])
    found = journal.recover(DAY)
    assert [known.intent for known in found.intents] == [market, limit]
    assert {known.last.state for known in found.intents} == {IntentState.PENDING}
    assert found.decided == {30}
    assert found.orders_today == 0
    assert reader.decision(BOOK, DAY, 30) == a_decision()
    assert reader.decisions(BOOK, DAY) == [replace(a_decision(), names=())]


def test_a_skipped_decision_counts_as_decided(
    journal: TradingJournal, reader: TradingReader
) -> None:
    journal.record_decision(a_decision(31, skipped="too late"), [])
    assert journal.recover(DAY).decided == {31}
    assert reader.decision(BOOK, DAY, 31) == a_decision(31, skipped="too late")


def test_a_minute_is_decided_once_and_its_second_decision_leaves_no_order(
    journal: TradingJournal,
) -> None:
    journal.record_decision(a_decision(), [an_intent("AAA")])
    with pytest.raises(EnvironmentFaultError, match="one_decision_a_minute"):
        journal.record_decision(a_decision(), [an_intent("BBB")])
    with pytest.raises(EnvironmentFaultError, match="intent_pkey"):
        journal.record_decision(a_decision(31), [an_intent("BBB"), an_intent("AAA")])
    found = journal.recover(DAY)
    assert [known.intent.ticket.symbol for known in found.intents] == ["AAA"]
    assert found.decided == {30}


def test_a_step_that_changes_nothing_is_not_written(
    journal: TradingJournal, engine: Engine
) -> None:
    intent = an_intent()
    journal.record_intents([intent])
    journal.record([a_step(intent, IntentState.PENDING)])
    for _ in range(2):
        journal.begin_sending([sending(intent)])
        journal.record([opened(intent), opened(intent), opened(intent, 4)])
        journal.record([a_step(intent, IntentState.OPEN, 4)])  # without the id that is known
    assert steps(engine, intent) == [
        (1, "sending"),
        (2, "open"),
        (3, "open"),
        (4, "sending"),
        (5, "open"),
        (6, "open"),
    ]
    known = journal.recover(DAY).intents[0].last
    assert (known.order_id, known.filled_qty) == (order_of(intent), Decimal(4))


def test_several_steps_of_several_intents_are_numbered_each_for_itself(
    journal: TradingJournal, engine: Engine
) -> None:
    one, two = an_intent("AAA"), an_intent("BBB")
    journal.record_intents([one, two])
    journal.record([sending(one), sending(two), opened(two), opened(one), filled(one)])
    assert steps(engine, one) == [(1, "sending"), (2, "open"), (3, "filled")]
    assert steps(engine, two) == [(1, "sending"), (2, "open")]


def test_a_step_of_an_unknown_intent_is_refused_with_everything_beside_it(
    journal: TradingJournal, engine: Engine
) -> None:
    known, unknown = an_intent("AAA"), an_intent("BBB")
    journal.record_intents([known])
    with pytest.raises(EnvironmentFaultError, match="is_a_step_of_an_intent"):
        journal.begin_sending([sending(known), sending(unknown)])
    with pytest.raises(EnvironmentFaultError, match="is_a_step_of_an_intent"):
        journal.record([opened(unknown)], [a_fill(known, 5)])
    assert (count(engine, "intent_step"), count(engine, "fill")) == (0, 0)


def test_the_end_of_an_order_is_kept_with_its_price(journal: TradingJournal) -> None:
    intent = an_intent()
    journal.record_intents([intent])
    journal.record([sending(intent), filled(intent)], [a_fill(intent, 10)])
    found = journal.recover(DAY)
    assert found.intents[0].last == filled(intent)
    assert found.fills == (a_fill(intent, 10),)
    assert found.orders_today == 1


def test_an_order_sent_twice_under_its_id_is_one_order(journal: TradingJournal) -> None:
    intent, never = an_intent("AAA"), an_intent("BBB")
    journal.record_intents([intent, never])
    journal.record([sending(intent), a_step(intent, IntentState.UNKNOWN), sending(intent)])
    journal.record([a_step(never, IntentState.ABANDONED)])
    assert journal.recover(DAY).orders_today == 1


def test_nothing_is_written_before_a_run_is_open(database_url: str, engine: Engine) -> None:
    with a_journal(database_url, opened=False) as journal:
        with pytest.raises(RuntimeError, match="before open_run"):
            journal.record_intents([an_intent()])
        journal.record_event("refused_to_start", {"why": "no model"})
        with pytest.raises(ValueError, match="the journal of"):
            journal.open_run(a_run(Book("PA9", "other")))
        run = a_run()
        journal.open_run(run)
        journal.open_run(run)  # after an answer that was lost
        journal.record_intents([an_intent()])
    assert count(engine, "run") == 1


def test_times_without_a_zone_are_refused(journal: TradingJournal) -> None:
    naive = replace(an_intent(), created_at=datetime(2026, 1, 5, 17))  # noqa: DTZ001
    with pytest.raises(ValueError, match="no time zone"):
        journal.record_intents([naive])
    with pytest.raises(ValueError, match="no time zone"):
        journal.beat(replace(a_beat(), at=datetime(2026, 1, 5, 17)))  # noqa: DTZ001


def test_whatever_came_over_the_wire_can_be_kept(
    journal: TradingJournal, reader: TradingReader
) -> None:
    text_of_a_venue = "a\0b\ud800" + "x" * 10_000
    journal.record_event("nonsense", {"said": text_of_a_venue, "nan": float("nan"), "n": {1: "é"}})
    event = reader.events(BOOK)[0]
    assert event.detail == {"said": "a�b?" + "x" * 1996, "nan": None, "n": {"1": "é"}}
    intent = an_intent()
    journal.record_intents([intent])
    journal.record([replace(sending(intent), detail=text_of_a_venue, status="\0")])
    assert journal.recover(DAY).intents[0].last.status == "�"


# ---------------------------------------------------------------------------- what is held


def trade(
    journal: TradingJournal, intent: Intent, *fills: Fill, known: Sequence[StateChange] = ()
) -> None:
    """Write an intent, and that it has been sent and taken."""
    journal.record_intents([intent])
    journal.record([sending(intent), opened(intent), *known], fills)


def test_a_fill_counts_once_whoever_tells_of_it(journal: TradingJournal, engine: Engine) -> None:
    intent = an_intent()
    told = replace(a_fill(intent, 10), execution_id="other", at=at(99))
    trade(journal, intent, a_fill(intent, 10), told)
    journal.record([], [told])
    assert journal.recover(DAY).shares == {"AAA": 10}
    assert count(engine, "fill") == 1


def test_a_lost_fill_still_counts(journal: TradingJournal) -> None:
    middle, last = an_intent("AAA"), an_intent("BBB")
    trade(journal, middle, a_fill(middle, 3, 3), a_fill(middle, 10, 2))  # from 3 to 8 is lost
    trade(journal, last, a_fill(last, 3, 3), known=[filled(last)])
    found = journal.recover(DAY)
    assert found.shares == {"AAA": 10, "BBB": 10}
    assert {one.intent.ticket.symbol: one.last.filled_qty for one in found.intents} == found.shares


def test_a_fill_that_was_told_before_its_order_counts_when_the_order_is_known(
    journal: TradingJournal,
) -> None:
    intent = an_intent()
    journal.record_intents([intent])
    journal.record([sending(intent)], [a_fill(intent, 4)])
    assert journal.recover(DAY).shares == {}
    journal.record([opened(intent)])
    found = journal.recover(DAY)
    assert found.shares == {"AAA": 4}
    assert found.intents[0].last.filled_qty == 4
    assert found.fills == (a_fill(intent, 4),)


def test_fills_of_other_orders_are_not_ours(database_url: str, journal: TradingJournal) -> None:
    ours, theirs = an_intent("AAA"), an_intent("BBB")
    trade(journal, ours, a_fill(ours, 10), a_fill(theirs, 7))
    assert journal.recover(DAY).shares == {"AAA": 10}
    other = Book(BOOK.account, "other")
    with a_journal(database_url, other) as second:
        intent = an_intent("CCC", book=other)
        journal.record([], [a_fill(intent, 2)])  # of the same account, and told to us first
        trade(second, intent, a_fill(intent, 2))
        assert second.recover(DAY).shares == {"CCC": 2}
        assert [one.intent for one in second.recover(DAY).intents] == [intent]
    assert journal.recover(DAY).shares == {"AAA": 10}


def test_adjustments_count_once_and_change_what_is_held(
    journal: TradingJournal, reader: TradingReader
) -> None:
    intent = an_intent()
    trade(journal, intent, a_fill(intent, 10))
    split = Adjustment("AAA", Decimal(10), "split 2:1", at(60))
    given = Adjustment("BBB", Decimal("-2.5"), "taken over", at(61))
    for _ in range(2):  # after an answer that was lost
        journal.record_adjustments([split, given])
    assert journal.recover(DAY).shares == {"AAA": 20, "BBB": Decimal("-2.5")}
    assert reader.positions(BOOK) == {"AAA": 20, "BBB": Decimal("-2.5")}
    assert reader.adjustments(BOOK) == [given, split]


def test_a_position_was_entered_when_it_last_came_from_nothing(journal: TradingJournal) -> None:
    first = an_intent("AAA", minute=10)
    out = an_intent("AAA", Side.SELL, minute=20)
    again = an_intent("AAA", minute=30)
    more = an_intent("AAA", minute=40)
    lost = an_intent("BBB", minute=50)
    for intent in (first, out):
        trade(journal, intent, a_fill(intent, 10))
    trade(journal, again, a_fill(again, 4, after=1), a_fill(again, 10, 6, after=2))
    trade(journal, more, a_fill(more, 10))
    trade(journal, lost, known=[filled(lost, after=3)])
    found = journal.recover(DAY)
    assert found.shares == {"AAA": 20, "BBB": 10}
    assert found.entered == {"AAA": at(31), "BBB": at(53)}
    assert found.exited == {"AAA": at(20.15)}


def test_an_exit_belongs_to_its_session(journal: TradingJournal) -> None:
    yesterday = date(2026, 1, 2)
    bought = an_intent("AAA", session=yesterday, minute=10)
    sold = an_intent("AAA", Side.SELL, session=yesterday, minute=20)
    for intent in (bought, sold):
        trade(journal, intent, a_fill(intent, 10))
    assert journal.recover(DAY).exited == {}
    assert journal.recover(DAY).fills == ()
    assert journal.recover(yesterday).exited == {"AAA": at(20.15)}
    assert len(journal.recover(yesterday).fills) == 2


def test_of_other_sessions_what_is_not_over_comes_back(journal: TradingJournal) -> None:
    old = [
        an_intent(symbol, session=date(2026, 1, 2), minute=minute)
        for minute, symbol in enumerate(("PEN", "SND", "UNK", "OPN", "FIL", "ABN", "BCK", "END"))
    ]
    pending, sent, unknown, alive, full, dropped, back, over = old
    journal.record_intents(old)
    journal.record([sending(intent) for intent in old[1:]])
    journal.record([a_step(unknown, IntentState.UNKNOWN), opened(alive, 3), filled(full)])
    gone = IntentState.ABANDONED
    journal.record([a_step(intent, gone) for intent in (dropped, back, over)])
    journal.record([opened(back), opened(over), filled(over)])  # it had arrived after all
    today = an_intent("NOW")
    journal.record_intents([today])
    found = {one.intent.ticket.symbol: one.last for one in journal.recover(DAY).intents}
    assert {symbol: last.state.value for symbol, last in found.items()} == {
        "PEN": "pending",
        "SND": "sending",
        "UNK": "unknown",
        "OPN": "open",
        "BCK": "open",
        "NOW": "pending",
    }
    assert found["OPN"].filled_qty == 3
    assert pending.created_at == found["PEN"].at
    assert sent.ticket.client_order_id == found["SND"].client_order_id


Message = tuple[StateChange | None, Fill | None]


@st.composite
def told_badly(
    draw: st.DrawFn,
) -> tuple[list[Intent], list[list[Message]], Mapping[str, Decimal]]:
    """Draw orders, what is told of them in a bad order, twice or not at all, and the truth."""
    intents, messages = [], []
    truth: dict[str, Decimal] = {}
    for minute in range(draw(st.integers(1, 5))):
        symbol = draw(st.sampled_from(["AAA", "BBB"]))
        side = draw(st.sampled_from(list(Side)))
        parts = draw(st.lists(st.decimals("0.001", 50, places=3), min_size=1, max_size=4))
        intent = an_intent(symbol, side, sum(parts), minute=minute)
        intents.append(intent)
        cums = [sum(parts[: n + 1], Decimal(0)) for n in range(len(parts))]
        told: list[Message] = [(opened(intent, cum), None) for cum in cums]
        told += [(None, a_fill(intent, cum, qty)) for cum, qty in zip(cums, parts, strict=True)]
        last = draw(st.sampled_from([told[len(cums) - 1], told[-1]]))  # one of these arrives
        messages += [opened_first(intent), last, *draw(st.lists(st.sampled_from(told)))]
        truth[symbol] = truth.get(symbol, Decimal(0)) + side.sign * cums[-1]
    order = draw(st.permutations(messages))
    size = draw(st.integers(1, 5))
    batches = [order[n : n + size] for n in range(0, len(order), size)]
    return intents, batches, {symbol: qty for symbol, qty in truth.items() if qty}


def opened_first(intent: Intent) -> Message:
    return opened(intent), None


@pytest.fixture(scope="module")
def migrated(postgres_server: str) -> Iterator[str]:
    """One database for all examples; each writes in a book of its own."""
    import psycopg2
    from sqlalchemy.engine import make_url

    admin = make_url(postgres_server)
    connection = psycopg2.connect(admin.set(drivername="postgresql").render_as_string(False))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE examples_of_journals")
        url = admin.set(drivername="postgresql+psycopg2", database="examples_of_journals")
        engine = connect(url.render_as_string(False))
        migrate(engine)
        engine.dispose()
        yield url.render_as_string(False)
        cursor.execute("DROP DATABASE examples_of_journals WITH (FORCE)")
    connection.close()


@settings(max_examples=40, deadline=None)
@given(case=told_badly())
def test_what_is_held_does_not_depend_on_how_it_was_told(
    migrated: str, case: tuple[list[Intent], list[list[Message]], Mapping[str, Decimal]]
) -> None:
    intents, batches, truth = case
    with a_journal(migrated, a_book()) as journal:
        journal.record_intents(intents)
        for batch in batches:
            journal.record([one for one, _ in batch if one], [one for _, one in batch if one])
        found = journal.recover(DAY)
    assert found.shares == truth
    told = {one.intent.ticket.client_order_id: one.last.filled_qty for one in found.intents}
    assert told == {one.ticket.client_order_id: one.ticket.qty for one in intents}
    assert set(found.entered) == set(truth)
    keys = [(fill.order_id, fill.cum_qty) for fill in found.fills]
    assert len(keys) == len(set(keys))


# ---------------------------------------------------------------------------- the switch


def turn(
    journal: TradingJournal, kind: SwitchKind, *, flatten: bool = False, reason: str = "because"
) -> Switch:
    return journal.switch(kind, reason=reason, by="me", flatten=flatten)


@pytest.mark.parametrize(
    ("turns", "standing"),
    [
        ("k", 1),
        ("h", 1),
        ("r", 1),
        ("kh", 1),  # a halt takes nothing back from a kill
        ("hk", 2),
        ("hh", 2),
        ("kk", 2),
        ("fk", 1),  # nor does a kill that only stops from one that sells
        ("kf", 2),
        ("ff", 2),
        ("fhkh", 1),
        ("kr", 2),
        ("hr", 2),
        ("rr", 2),
        ("krh", 3),
        ("krhk", 4),
        ("frk", 3),
        ("krfhrhh", 7),
    ],
)
def test_the_strongest_turn_since_the_last_rearming_stands(
    journal: TradingJournal, reader: TradingReader, turns: str, standing: int
) -> None:
    kinds = {"k": (KILL, False), "f": (KILL, True), "h": (HALT, False), "r": (REARM, False)}
    assert journal.read_switch() is None
    for letter in turns:
        kind, flatten = kinds[letter]
        returned = turn(journal, kind, flatten=flatten)
    expected_kind, expected_flatten = kinds[turns[standing - 1]]
    stands = journal.read_switch()
    assert stands is not None
    assert (stands.position, stands.kind, stands.flatten) == (
        standing,
        expected_kind,
        expected_flatten,
    )
    assert stands == returned == journal.beat(a_beat()) == reader.switch(BOOK)
    assert [one.position for one in reader.turns(BOOK)] == list(range(len(turns), 0, -1))


def test_a_kill_needs_no_reason_but_a_rearming_does(journal: TradingJournal) -> None:
    assert turn(journal, KILL, reason="").reason == "no reason given"
    with pytest.raises(Exception, match="says_why_and_who"):
        turn(journal, REARM, reason="")
    assert turn(journal, REARM, reason="looked at it").by == "me"


def test_nothing_is_sent_after_a_kill(journal: TradingJournal, engine: Engine) -> None:
    intents = [an_intent(minute=minute) for minute in range(6)]
    journal.record_intents(intents)
    assert journal.begin_sending([sending(intents[0])]) is None
    halted = turn(journal, HALT)
    assert journal.begin_sending([sending(intents[1])]) == halted  # sales go on
    killed = turn(journal, KILL)
    assert journal.begin_sending([sending(intents[2])]) == killed
    assert journal.begin_sending([sending(intents[3])], flattening=True) == killed
    flattened = turn(journal, KILL, flatten=True)
    assert journal.begin_sending([sending(intents[4])]) == flattened
    assert journal.begin_sending([sending(intents[5])], flattening=True) == flattened
    sent = [bool(steps(engine, intent)) for intent in intents]
    assert sent == [True, True, False, False, False, True]
    rearmed = turn(journal, REARM)
    assert journal.begin_sending([sending(intents[2])]) == rearmed
    assert steps(engine, intents[2]) == [(1, "sending")]


def test_once_a_kill_has_returned_no_sending_is_written(
    database_url: str, journal: TradingJournal, engine: Engine
) -> None:
    """A sending that has looked at the switch, and not yet been written, keeps the kill waiting."""
    intent = an_intent()
    journal.record_intents([intent])
    pause_sendings(engine)
    written: list[int] = []

    def kill() -> None:
        with a_journal(database_url) as person:
            turn(person, KILL)
        written.append(count(engine, "intent_step"))

    sender = threading.Thread(target=journal.begin_sending, args=([sending(intent)],))
    killer = threading.Thread(target=kill)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(7)"))
        sender.start()
        until(lambda: waiting(engine) == 1)
        killer.start()
        until(lambda: waiting(engine) == 2 or bool(written))
    sender.join()
    killer.join()
    assert written == [count(engine, "intent_step")] == [1]


def test_turns_made_at_once_follow_each_other(
    database_url: str, journal: TradingJournal, reader: TradingReader
) -> None:
    def work(kind: SwitchKind) -> None:
        with a_journal(database_url) as other:
            for _ in range(10):
                turn(other, kind)

    workers = [threading.Thread(target=work, args=(kind,)) for kind in (KILL, HALT, KILL, HALT)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    positions = [one.position for one in reader.turns(BOOK, limit=100)]
    assert positions == list(range(40, 0, -1))
    stands = journal.read_switch()
    assert stands is not None
    assert stands.kind is KILL


def test_a_rearming_takes_back_only_what_was_there_when_it_began(
    journal: TradingJournal, engine: Engine
) -> None:
    turn(journal, HALT)
    failures: list[Exception] = []

    def rearm() -> None:
        try:
            turn(journal, REARM)
        except EnvironmentFaultError as error:
            failures.append(error)

    person = threading.Thread(target=rearm)
    with engine.begin() as connection:
        key = journal._lock_number("switch")
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        person.start()
        until(lambda: waiting(engine) == 1)
        connection.execute(
            text("INSERT INTO trading.switch VALUES ('PA123', 'daytrade', 2, 'kill', false, 'x',"
                 " 'another')")
        )  # fmt: skip
    person.join()
    assert [str(error) for error in failures] == [
        "The switch was turned meanwhile and is not re-armed; look at it, then re-arm."
    ]
    stands = journal.read_switch()
    assert stands is not None
    assert stands.kind is KILL


# ---------------------------------------------------------------------------- the lock


def test_a_book_has_one_trader(database_url: str, journal: TradingJournal) -> None:
    assert not journal.holds_lock()
    assert journal.take_lock()
    assert journal.take_lock()  # it is ours already, and stays so
    with a_journal(database_url) as second, a_journal(database_url, a_book()) as other_book:
        assert not second.take_lock()
        assert not second.holds_lock()
        assert other_book.take_lock()
        assert journal.holds_lock()
        journal.release()
        assert not journal.holds_lock()
        assert second.take_lock()
        assert not journal.take_lock()
    assert journal.take_lock()  # the second has closed


# ---------------------------------------------------------------------------- reading


def test_a_book_has_one_heartbeat_and_its_age_is_known(
    journal: TradingJournal, reader: TradingReader, engine: Engine
) -> None:
    assert reader.heartbeats() == []
    run_id = reader.runs(BOOK)[0].id
    assert journal.beat(a_beat("starting", run_id=run_id)) is None
    assert journal.beat(a_beat("trading", run_id=run_id)) is None
    assert count(engine, "heartbeat") == 1
    beat = reader.heartbeat(BOOK)
    assert beat is not None
    told = {"equity": "100000.50", "positions": {"AAA": 10}}
    assert beat.heartbeat == replace(a_beat("trading", run_id=run_id), detail=told)
    assert beat.run == reader.runs(BOOK)[0]
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE trading.heartbeat SET written_at = clock_timestamp() - interval '1 hour'")
        )
    beat = reader.heartbeat(BOOK)
    assert beat is not None
    assert 3600 <= beat.age_s < 3700
    assert reader.heartbeat(a_book()) is None


def test_why_a_name_was_refused_can_be_asked(
    journal: TradingJournal, reader: TradingReader
) -> None:
    for minute in (30, 45):
        journal.record_decision(a_decision(minute), [])
    journal.record_decision(a_decision(60, skipped="stale data"), [])
    told = reader.name(BOOK, DAY, "BBB")
    assert [(one.minute, one.name.denial) for one in told] == [(30, "too large"), (45, "too large")]
    assert reader.name(BOOK, DAY, "CCC") == []
    assert [one.skipped for one in reader.decisions(BOOK, DAY)] == [None, None, "stale data"]
    assert reader.decision(BOOK, DAY, 31) is None


def test_a_session_can_be_looked_at_afterwards(
    journal: TradingJournal, reader: TradingReader
) -> None:
    intent = an_intent()
    trade(journal, intent, a_fill(intent, 4), known=[opened(intent, 4)])
    journal.record_decision(a_decision(5, session=date(2026, 1, 6)), [])
    assert reader.sessions(BOOK) == [date(2026, 1, 6), DAY]
    orders = reader.orders(BOOK, DAY)
    assert [(one.intent, one.last) for one in orders] == [(intent, opened(intent, 4))]
    assert reader.fills(BOOK, DAY) == [a_fill(intent, 4)]
    assert reader.orders(BOOK, date(2026, 1, 6)) == []


def test_comparisons_and_events_are_read_newest_first(
    journal: TradingJournal, reader: TradingReader
) -> None:
    well = Reconciliation(at(1), "start", (), {"AAA": Decimal("10.5")}, {})
    ill = Reconciliation(
        at(2), "timer", ("AAA: 9, not 10",), {"AAA": Decimal(9)}, {"B": Decimal(1)}
    )
    journal.record_reconciliation(well)
    journal.record_reconciliation(ill)
    journal.record_reconciliation(replace(well, at=at(3)))
    assert reader.reconciliations(BOOK) == [replace(well, at=at(3)), ill, well]
    assert reader.reconciliations(BOOK, differing=True) == [ill]
    journal.record_event("stream_lost", {"stream": "data"})
    journal.record_event("late_fill", {"qty": Decimal("0.5"), "side": Side.BUY})
    assert [one.kind for one in reader.events(BOOK)] == ["late_fill", "stream_lost"]
    assert reader.events(BOOK, kind="late_fill")[0].detail == {"qty": "0.5", "side": "buy"}
    assert reader.events(a_book()) == []
