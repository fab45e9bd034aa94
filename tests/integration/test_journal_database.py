"""What Postgres itself keeps of the trading: history, numbers, tables, and who may do what."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from traded_books import (
    BOOK,
    DAY,
    NOON,
    a_beat,
    a_decision,
    a_fill,
    a_journal,
    a_step,
    an_intent,
    filled,
    opened,
    sending,
)

from alpaca_strategy.domain.journal import Adjustment, NameDecision, Reconciliation, SwitchKind
from alpaca_strategy.domain.orders import IntentState, OrderType, Side
from alpaca_strategy.storage.database import MIGRATIONS, connect, migrate
from alpaca_strategy.storage.journal import TradingJournal
from alpaca_strategy.storage.journal_tables import metadata
from alpaca_strategy.storage.trading_records import TradingReader

pytestmark = pytest.mark.integration
NAN, ENDLESS = Decimal("NaN"), Decimal("Infinity")


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


def fill_all(journal: TradingJournal) -> None:
    """Write a row into every table."""
    intent = an_intent()
    journal.record_decision(a_decision(), [intent])
    journal.begin_sending([sending(intent)])
    journal.record([opened(intent)], [a_fill(intent, 5)])
    journal.record_adjustments([Adjustment("AAA", Decimal(1), "split", NOON)])
    journal.record_reconciliation(Reconciliation(NOON, "start", (), {}, {}))
    journal.record_event("started", {})
    journal.switch(SwitchKind.HALT, reason="because", by="me")
    journal.beat(a_beat())


# ---------------------------------------------------------------------------- what stays

CHANGES = {
    "run": "mode = 'live'",
    "decision": "minute = 1",
    "decision_name": "denial = 'x'",
    "intent": "qty = 1",
    "intent_step": "state = 'filled'",
    "fill": "qty = 1",
    "adjustment": "qty = 1",
    "reconciliation": "cause = 'x'",
    "event": "kind = 'x'",
    "switch": "kind = 'rearm'",
}


@pytest.mark.parametrize("table", sorted(CHANGES))
def test_the_journal_is_never_rewritten_even_by_the_owner(
    engine: Engine, journal: TradingJournal, table: str
) -> None:
    fill_all(journal)
    for change in (f"UPDATE {{}} SET {CHANGES[table]}", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
        with (
            engine.connect() as connection,
            pytest.raises(DBAPIError, match=f"rows of trading.{table} are never changed"),
        ):
            connection.execute(text(change.format(f"trading.{table}")))


def test_all_tables_but_the_heartbeat_are_kept(engine: Engine) -> None:
    with engine.connect() as connection:
        tables = set(inspect(connection).get_table_names("trading"))
    assert tables == {*CHANGES, "heartbeat", "lease", "lease_event"}


# ---------------------------------------------------------------------------- what is refused

GOOD = an_intent()
LIMIT = {"type": OrderType.LIMIT, "limit_price": Decimal(10)}


@pytest.mark.parametrize(
    ("ticket", "constraint"),
    [
        ({"qty": Decimal(0)}, "orders_some_shares"),
        ({"qty": Decimal(-1)}, "orders_some_shares"),
        ({"qty": NAN}, "orders_some_shares"),
        ({"qty": ENDLESS}, "orders_some_shares"),
        ({"limit_price": Decimal(10)}, "only_a_limit_order_has_a_limit"),
        ({"type": OrderType.LIMIT}, "only_a_limit_order_has_a_limit"),
        (LIMIT | {"limit_price": Decimal(0)}, "limit_is_a_price"),
        (LIMIT | {"limit_price": NAN}, "limit_is_a_price"),
        ({"symbol": ""}, "symbol_is_named"),
        ({"client_order_id": "another-20260105-030-b0-AAA"}, "id_begins_with_the_strategy"),
        ({"client_order_id": "daytrade-" + "x" * 120}, "id_fits_the_venue"),
    ],
)
def test_an_intent_that_makes_no_sense_is_refused_by_name(
    journal: TradingJournal, ticket: dict[str, object], constraint: str
) -> None:
    bad = replace(GOOD, ticket=replace(GOOD.ticket, **ticket))
    with pytest.raises(IntegrityError, match=constraint):
        journal.record_decision(a_decision(), [bad])
    journal.record_decision(a_decision(), [GOOD])  # nothing of the other was written


@pytest.mark.parametrize("price", [NAN, ENDLESS, Decimal(0), Decimal(-1)])
def test_a_price_that_is_none_is_refused(journal: TradingJournal, price: Decimal) -> None:
    with pytest.raises(IntegrityError, match="price_is_a_price"):
        journal.record_intents([replace(GOOD, price=price)])


@pytest.mark.parametrize("filled_qty", [NAN, ENDLESS, Decimal(-1)])
def test_a_filled_quantity_that_is_none_is_refused(
    journal: TradingJournal, filled_qty: Decimal
) -> None:
    journal.record_intents([GOOD])
    with pytest.raises(IntegrityError, match="filled_is_a_number"):
        journal.record([replace(opened(GOOD), filled_qty=filled_qty)])


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"qty": Decimal(0)}, "fills_some_shares"),
        ({"qty": NAN}, "fills_some_shares"),
        ({"cum_qty": NAN}, "fills_some_shares"),
        ({"price": NAN}, "price_is_a_price"),
        ({"price": Decimal(-1)}, "price_is_a_price"),
    ],
)
def test_a_fill_that_makes_no_sense_is_refused(
    journal: TradingJournal, change: dict[str, Decimal], constraint: str
) -> None:
    journal.record_intents([GOOD])
    with pytest.raises(IntegrityError, match=constraint):
        journal.record([], [replace(a_fill(GOOD, 5), **change)])


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"score": float("nan")}, "score_is_a_fraction"),
        ({"score": 1.5}, "score_is_a_fraction"),
        ({"expected_bps": float("nan")}, "what_is_not_a_number_is_null"),
        ({"close": float("nan")}, "close_is_a_price"),
        ({"shares": NAN}, "shares_are_a_number"),
        ({"denial": ""}, "denied_says_why"),
    ],
)
def test_a_name_with_no_numbers_is_refused(
    journal: TradingJournal, change: dict[str, object], constraint: str
) -> None:
    name = replace(NameDecision("AAA", 1, 0.5, 1.0, 10.0, Decimal(0)), **change)
    with pytest.raises(IntegrityError, match=constraint):
        journal.record_decision(replace(a_decision(), names=(name,)), [])


def test_an_adjustment_of_nothing_and_an_equity_of_nothing_are_refused(
    journal: TradingJournal,
) -> None:
    for qty in (Decimal(0), NAN, ENDLESS):
        with pytest.raises(IntegrityError, match="changes_something"):
            journal.record_adjustments([Adjustment("AAA", qty, "split", NOON)])
    with pytest.raises(IntegrityError, match="equity_is_a_number"):
        journal.record_decision(replace(a_decision(), equity=NAN), [])


def test_every_state_of_an_intent_can_be_written_and_no_other(
    engine: Engine, journal: TradingJournal
) -> None:
    intents = [an_intent(minute=minute) for minute, _ in enumerate(IntentState)]
    journal.record_intents(intents)
    states = list(IntentState)
    journal.record([a_step(i, s, 1) for i, s in zip(intents, states, strict=True)])
    found = {one.last.state for one in journal.recover(DAY).intents}
    assert found == set(states)
    with engine.connect() as connection, pytest.raises(IntegrityError, match="state_is_known"):
        connection.execute(
            text(
                "INSERT INTO trading.intent_step SELECT account, strategy, client_order_id, 9,"
                " 'dreaming', at, order_id, status, 0, NULL, '', run_id FROM trading.intent_step"
            )
        )


# ---------------------------------------------------------------------------- migrations and roles


def _move(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def _is_the_journals(name: str | None, kind: str, _: object) -> bool:
    """Leave out the lease, which is asked for in words of its own."""
    if kind == "schema":
        return name == "trading"
    return kind != "table" or not str(name).startswith("lease")


def test_migrations_make_the_tables_that_queries_expect(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "compare_server_default": True,
                "include_name": _is_the_journals,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_the_way_down_leaves_the_rest_and_the_way_up_works_again(
    engine: Engine, journal: TradingJournal, database_url: str
) -> None:
    fill_all(journal)
    _move(engine, "0003")
    with engine.connect() as connection:
        assert "trading" not in inspect(connection).get_schema_names()
        for schema in ("market", "model"):
            granted = f"SELECT has_schema_privilege('strategy_trader', '{schema}', 'USAGE')"
            assert connection.execute(text(granted)).scalar() is False
    migrate(engine)
    with a_journal(database_url) as fresh:
        assert fresh.recover(DAY).intents == ()
        fill_all(fresh)


HALT = "INSERT INTO trading.switch VALUES ('PA123', 'daytrade', 2, 'halt', false, 'x', 'x')"


@pytest.mark.parametrize(
    ("role", "allowed", "denied"),
    [
        (
            "strategy_trader",
            [
                "SELECT * FROM market.session, model.version, model.champion_change",
                "SELECT * FROM trading.switch_in_force, trading.intent_step, trading.heartbeat",
                "UPDATE trading.heartbeat SET phase = 'x'",
                "INSERT INTO market.rate_limit VALUES ('x', now())",
                HALT,
            ],
            [
                *(f"UPDATE trading.{table} SET {change}" for table, change in CHANGES.items()),
                *(f"DELETE FROM trading.{table}" for table in CHANGES),
                "TRUNCATE trading.intent",
                "DELETE FROM trading.heartbeat",
                "DELETE FROM market.rate_limit",
                "INSERT INTO market.quality_run (session, feed) VALUES (now(), 'iex')",
                "UPDATE model.version SET status = 'retired'",
                "SELECT * FROM report.backtest",
                "CREATE TABLE trading.mine (x int)",
                "DROP TABLE trading.fill",
            ],
        ),
        (
            "strategy_reader",
            ["SELECT * FROM trading.switch_in_force, trading.decision_name, trading.heartbeat"],
            [HALT, "UPDATE trading.heartbeat SET phase = 'x'"],
        ),
        ("strategy_trainer", [], ["SELECT * FROM trading.intent", HALT]),
        ("strategy_ingest", [], ["SELECT * FROM trading.intent", HALT]),
    ],
)
def test_roles_may_do_their_work_and_no_more(
    engine: Engine, journal: TradingJournal, role: str, allowed: list[str], denied: list[str]
) -> None:
    fill_all(journal)
    for statement in (*allowed, *denied):
        with engine.connect() as connection:
            connection.execute(text(f"SET ROLE {role}"))
            if statement in allowed:
                connection.execute(text(statement))
                continue
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
                connection.execute(text(statement))


def test_a_trader_can_do_all_that_a_day_needs(engine: Engine, database_url: str) -> None:
    """Least privilege is worth something only where the work succeeds with it."""
    login = f"trader_{uuid.uuid4().hex[:8]}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {login} LOGIN IN ROLE strategy_trader"))
    url = make_url(database_url).set(username=login).render_as_string(hide_password=False)
    trader = connect(url)
    try:
        with a_journal(url) as journal:
            assert journal.take_lock()
            assert journal.holds_lock()
            fill_all(journal)
            intent = an_intent("BBB", Side.SELL)
            journal.record_intents([intent])
            journal.record([filled(intent)])
            journal._line.drop()  # the process of a lost connection is ended, which is allowed
            assert journal.recover(DAY).shares == {"AAA": 6, "BBB": -10}
        assert TradingReader(trader).heartbeat(BOOK) is not None
    finally:
        trader.dispose()
        with engine.begin() as connection:
            connection.execute(text(f"DROP ROLE {login}"))
