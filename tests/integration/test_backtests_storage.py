"""Backtests in Postgres and object storage: whole or not at all, once, and never changed."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from recorded_backtests import ABOUT, CASH, PAGE, TRADES, a_backtest, a_fold
from registered_models import add
from reported_backtests import make_history
from sqlalchemy import Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from alpaca_strategy.backtest.content import Agreement, Backtest, Figure
from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.metrics import measure
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.errors import (
    BusyError,
    DamagedFileError,
    EnvironmentFaultError,
    ServiceUnavailableError,
    UserError,
)
from alpaca_strategy.storage import database
from alpaca_strategy.storage.backtest_records import BacktestMetric, Origin, TradeRow
from alpaca_strategy.storage.backtest_tables import metadata
from alpaca_strategy.storage.backtests import Backtests
from alpaca_strategy.storage.database import MIGRATIONS, connect, migrate
from alpaca_strategy.storage.objects import ObjectStore
from alpaca_strategy.storage.registry import Registry
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

pytestmark = pytest.mark.integration

DIGEST = hashlib.sha256(PAGE).hexdigest()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


@pytest.fixture
def backtests(engine: Engine, objects: ObjectStore) -> Backtests:
    return Backtests(engine, objects)


@pytest.fixture
def model(engine: Engine) -> str:
    return add(Registry(engine), "a")


def named(digit: str) -> str:
    return f"2024-01-03-{digit * 8}"


def counts(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            table: int(
                connection.execute(text(f"SELECT count(*) FROM report.{table}")).scalar_one()
            )
            for table in ("backtest", "metric", "fold", "trade")
        }


NOTHING = {"backtest": 0, "metric": 0, "fold": 0, "trade": 0}


# ---------------------------------------------------------------------------- what is kept


def test_what_is_recorded_comes_back_whole(
    backtests: Backtests, objects: ObjectStore, model: str
) -> None:
    figures = (
        Figure("sharpe", 1.5, -0.5, 3.5),
        Figure("calmar", float("nan")),
        Figure("profit_factor", float("inf")),
        Figure("win_rate", None),
    )
    made = a_backtest(model, figures=figures)
    rules = made.rules._replace(min_score=float("-inf"))
    made = replace(made, rules=rules)
    assert backtests.record(made, PAGE, **ABOUT, made_by="ann") is True

    row = backtests.read(made.id)
    assert (row.id, row.made_at) == ("2024-01-03-0badf00d", made.made_at)
    assert (row.venue, row.feed, row.origin) == (Venue.SIMULATOR, Feed.IEX, Origin.COMMAND)
    assert (row.models, row.symbols) == ((model,), ("TSLA", "F"))
    assert (row.first_session, row.last_session) == (date(2024, 1, 2), date(2024, 1, 3))
    assert (row.sessions, row.cash, row.in_sample) == (2, 100_000.0, False)
    assert (row.trades, row.agreed, row.difference, row.agrees) == (2, 2, None, True)
    assert row.warnings == ("Only 2 sessions.",)
    assert (row.code_version, row.made_by) == ("0.1.0+abc", "ann")
    assert row.rules["top_k"] == 3
    assert row.rules["min_score"] is None  # minus infinity: the rule is off
    assert row.costs["sec_per_million"] == 27.8
    assert backtests.lineage(made.id) == {"code": "0.1.0+abc", "bars": 412}
    assert backtests.metrics(made.id) == [
        BacktestMetric("calmar", None, None, None),
        BacktestMetric("profit_factor", None, None, None),
        BacktestMetric("sharpe", 1.5, -0.5, 3.5),
        BacktestMetric("win_rate", None, None, None),
    ]
    (fold,) = backtests.folds(made.id)
    assert (fold.position, fold.model, fold.trained_until) == (1, model, date(2023, 12, 28))
    assert (fold.sharpe, fold.rank_ic, fold.total_return) == (None, 0.02, 0.01)

    assert row.report_sha256 == DIGEST
    assert objects.name_of(row.report_uri) == f"backtests/{made.id}-{DIGEST}.html"
    assert objects.get(objects.name_of(row.report_uri)) == PAGE
    assert backtests.page(made.id) == backtests.page() == (made.id, PAGE)


def test_a_trade_is_told_in_time_and_not_in_rows(backtests: Backtests, model: str) -> None:
    """Trading began at 14:30 UTC; a session has 390 minutes, and the row after is the next's."""
    made = a_backtest(model)
    backtests.record(made, PAGE, **ABOUT)
    day = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    assert backtests.trades(made.id) == [
        TradeRow(1, "F", day + timedelta(minutes=10), day + timedelta(minutes=20), 100.0, 10.5,
                 10.25, 1.5, -26.5, 0.75, "close"),
        TradeRow(2, "TSLA", datetime(2024, 1, 2, 20, 59, tzinfo=UTC),
                 datetime(2024, 1, 3, 14, 30, tzinfo=UTC), 7.5, 200.0, 201.0, 0.25, 7.25, None,
                 "flatten"),
    ]  # fmt: skip


def test_what_an_engine_made_is_what_is_kept(backtests: Backtests, model: str) -> None:
    """The figures shown are those stored, so nothing may be lost or rounded on the way."""
    history = make_history(2, ("TSLA", "F", "NVDA", "MSFT"))
    run = simulate(history, Rules(), Costs(), cash=CASH)
    assert len(run.trades) > 20
    agreed = Agreement(len(run.trades), len(run.trades), None)
    figures = measure(history, run)
    made = a_backtest(model, history=history, run=run, agreement=agreed, figures=figures)
    backtests.record(made, PAGE, **ABOUT)
    kept = backtests.trades(made.id)
    for name in ("shares", "entry_price", "exit_price", "cost", "profit", "entry_score"):
        assert [getattr(one, name) for one in kept] == made.run.trades[name].tolist()
    found = {one.name: one for one in backtests.metrics(made.id)}
    for figure in made.figures:
        one = found[figure.name]
        assert (one.value, one.low, one.high) == (figure.value, figure.low, figure.high)


def test_no_trades_are_a_backtest_too(backtests: Backtests, model: str) -> None:
    made = a_backtest(model, TRADES[:0])
    assert backtests.record(made, PAGE, **ABOUT)
    assert backtests.trades(made.id) == []
    assert backtests.read(made.id).trades == 0


def test_symbols_that_were_never_scored_are_not_said_to_have_been_traded(
    backtests: Backtests, model: str
) -> None:
    made = a_backtest(model)
    scores = made.history.scores.copy()
    scores[:, 0] = np.nan
    backtests.record(replace(made, history=replace(made.history, scores=scores)), PAGE, **ABOUT)
    assert backtests.read(made.id).symbols == ("F",)


def test_walk_forward_keeps_every_model_once_and_its_folds_in_order(
    backtests: Backtests, engine: Engine
) -> None:
    one, two = (add(Registry(engine), digit) for digit in "ab")
    day = date(2024, 1, 3)
    folds = (
        a_fold(one, last=date(2024, 1, 2), sessions=1, trades=1),
        a_fold(two, first=day, sessions=1, trades=1, total_return=float("nan")),
    )
    made = a_backtest(one, folds=folds)
    backtests.record(made, PAGE, **ABOUT)
    assert backtests.read(made.id).models == (one, two)
    kept = backtests.folds(made.id)
    assert [(fold.position, fold.model) for fold in kept] == [(1, one), (2, two)]
    assert kept[1].total_return is None
    for model in (one, two):
        assert [row.id for row in backtests.recent(model=model)] == [made.id]


def test_a_hundred_thousand_trades_are_kept_in_seconds(
    backtests: Backtests, model: str, record_property: Any
) -> None:
    many = np.repeat(TRADES[:1], 100_000)
    many["profit"] = np.arange(100_000)
    made = a_backtest(model, many)
    began = time.monotonic()
    backtests.record(made, PAGE, **ABOUT)
    took = time.monotonic() - began
    record_property("seconds", round(took, 2))
    assert took < 20
    kept = backtests.trades(made.id)
    assert [one.position for one in kept] == list(range(1, 100_001))
    assert [one.profit for one in kept] == list(range(100_000))


# ---------------------------------------------------------------------------- once


def test_the_same_backtest_is_one_row_and_keeps_its_first_report(
    backtests: Backtests, objects: ObjectStore, engine: Engine, model: str
) -> None:
    made = a_backtest(model)
    assert backtests.record(made, PAGE, **ABOUT) is True
    later = replace(made, made_at=made.made_at + timedelta(days=1))
    assert backtests.record(later, b"another", **ABOUT) is False
    assert counts(engine) == {"backtest": 1, "metric": 1, "fold": 1, "trade": 2}
    assert backtests.read(made.id).made_at == made.made_at
    assert backtests.page(made.id) == (made.id, PAGE)
    assert len(objects.list("backtests")) == 1


def test_of_runs_that_record_the_same_at_once_one_does(
    database_url: str, engine: Engine, objects: ObjectStore, model: str
) -> None:
    made = a_backtest(model)
    together = threading.Barrier(4)

    def attempt(i: int) -> bool:
        own = connect(database_url)
        together.wait()
        try:
            return Backtests(own, objects).record(made, PAGE + bytes([i]), **ABOUT)
        finally:
            own.dispose()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [False, False, False, True]
    assert counts(engine) == {"backtest": 1, "metric": 1, "fold": 1, "trade": 2}
    backtests = Backtests(engine, objects)
    page = backtests.page(made.id)[1]
    backtests.delete_orphans()
    assert backtests.page(made.id)[1] == page
    assert len(objects.list("backtests")) == 1


# ---------------------------------------------------------------------------- both or neither


def test_without_room_for_the_report_no_row_is_written(
    engine: Engine, tmp_path: Path, model: str
) -> None:
    (tmp_path / "objects").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentFaultError, match="cannot be written"):
        Backtests(engine, ObjectStore(tmp_path / "objects")).record(
            a_backtest(model), PAGE, **ABOUT
        )
    assert counts(engine) == NOTHING


def test_when_object_storage_does_not_answer_no_row_is_written(
    engine: Engine, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    backtests = Backtests(engine, ObjectStore("s3://market/objects"))
    with pytest.raises(ServiceUnavailableError, match="does not answer"):
        backtests.record(a_backtest(model), PAGE, **ABOUT)
    assert counts(engine) == NOTHING


@pytest.fixture
def breaking(engine: Engine, request: pytest.FixtureRequest) -> Iterator[None]:
    """Cut this engine's connection at the server when it comes to the table of a parameter."""

    def cut(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if f"INTO report.{request.param}" not in statement:
            return
        other = connect(engine.url.render_as_string(False))
        with other.begin() as killer:
            killer.execute(
                text("SELECT pg_terminate_backend(:pid, 10000)"),
                {"pid": cursor.connection.info.backend_pid},
            )
        other.dispose()

    event.listen(engine, "before_cursor_execute", cut)
    yield
    event.remove(engine, "before_cursor_execute", cut)


@pytest.mark.parametrize("breaking", ["backtest", "metric", "trade"], indirect=True)
def test_when_postgres_fails_after_the_report_nothing_is_recorded_and_the_report_goes(
    backtests: Backtests, objects: ObjectStore, engine: Engine, model: str,
    breaking: None, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    made = a_backtest(model)
    with pytest.raises(ServiceUnavailableError, match="does not answer"):
        backtests.record(made, PAGE, **ABOUT)
    assert counts(engine) == NOTHING
    assert len(objects.list("backtests")) == 1  # nobody can come across it
    with pytest.raises(UserError, match=f"There is no backtest {made.id}"):
        backtests.page(made.id)
    assert backtests.delete_orphans() == 1
    assert objects.list("backtests") == []


def _die_while_recording(database_url: str, objects: ObjectStore, made: Backtest, at: str) -> int:
    """Record in a process that kills itself at a statement; return how it ended."""
    child = os.fork()
    if child == 0:
        engine = connect(database_url)

        def die(connection: Any, cursor: Any, statement: str, *_: object) -> None:
            if at in statement:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(engine, "before_cursor_execute", die)
        Backtests(engine, objects).record(made, PAGE, **ABOUT)
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize(
    "at", ["pg_advisory_xact_lock_shared", "INTO report.backtest", "INTO report.trade"]
)
def test_a_killed_run_leaves_nothing_that_anybody_sees_and_can_be_repeated(
    database_url: str, backtests: Backtests, objects: ObjectStore, engine: Engine, model: str,
    at: str,
) -> None:  # fmt: skip
    made = a_backtest(model)
    assert _die_while_recording(database_url, objects, made, at) == signal.SIGKILL
    assert objects.list("backtests") == [f"backtests/{made.id}-{DIGEST}.html"]
    assert counts(engine) == NOTHING
    assert backtests.record(made, PAGE, **ABOUT) is True
    assert counts(engine) == {"backtest": 1, "metric": 1, "fold": 1, "trade": 2}
    assert backtests.delete_orphans() == 0
    assert backtests.page(made.id) == (made.id, PAGE)


def test_a_report_that_maintenance_took_for_an_orphan_is_there_all_the_same(
    backtests: Backtests, objects: ObjectStore, engine: Engine, model: str
) -> None:
    """Maintenance comes after the report was written and before its row is."""
    made, deleted = a_backtest(model), []

    def maintain(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if "pg_advisory_xact_lock_shared" in statement:
            other = connect(engine.url.render_as_string(False))
            deleted.append(Backtests(other, objects).delete_orphans())
            other.dispose()

    event.listen(engine, "before_cursor_execute", maintain)
    backtests.record(made, PAGE, **ABOUT)
    assert deleted == [1]
    assert backtests.page(made.id) == (made.id, PAGE)


def test_maintenance_waits_for_who_records_and_says_so_when_that_does_not_end(
    backtests: Backtests, objects: ObjectStore, engine: Engine, model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 1)
    other = connect(engine.url.render_as_string(False))
    said = []

    def maintain(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if "INTO report.trade" in statement:
            with pytest.raises(BusyError, match="holds the reports of backtests") as refused:
                Backtests(other, objects).delete_orphans()
            said.append(str(refused.value))

    event.listen(engine, "before_cursor_execute", maintain)
    made = a_backtest(model)
    backtests.record(made, PAGE, **ABOUT)
    other.dispose()
    assert len(said) == 1
    assert backtests.page(made.id) == (made.id, PAGE)


def test_maintenance_keeps_every_report_that_a_row_names(
    backtests: Backtests, objects: ObjectStore, engine: Engine, model: str, tmp_path: Path
) -> None:
    made = a_backtest(model)
    backtests.record(made, PAGE, **ABOUT)
    objects.put(f"backtests/{made.id}-{'0' * 64}.html", b"of an earlier attempt")
    objects.put("quality/2024-01-02/report.html", b"of another kind")
    assert backtests.delete_orphans() == 1
    assert len(objects.list()) == 2
    # A store that was moved has other addresses; its reports belong to their rows as before.
    (tmp_path / "objects").rename(tmp_path / "moved")
    moved = Backtests(engine, ObjectStore(tmp_path / "moved"))
    assert moved.delete_orphans() == 0
    assert moved.page(made.id) == (made.id, PAGE)


def test_without_the_tables_no_report_is_deleted(
    backtests: Backtests, objects: ObjectStore, engine: Engine
) -> None:
    """A database that was not migrated cannot tell what belongs to it."""
    objects.put("backtests/x.html", PAGE)
    _move(engine, "0002")
    with pytest.raises(ServiceUnavailableError, match="lacks our tables"):
        backtests.delete_orphans()
    assert objects.list() == ["backtests/x.html"]


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_damaged_report_is_told_and_never_shown(
    backtests: Backtests, objects: ObjectStore, model: str, damage: str
) -> None:
    made = a_backtest(model)
    backtests.record(made, PAGE, **ABOUT)
    name = f"backtests/{made.id}-{DIGEST}.html"
    if damage == "gone":
        objects.delete(name)
        objects.delete(name)  # again is fine
    else:
        objects.put(name, PAGE + b" ")
    with pytest.raises(
        DamagedFileError, match=r"is (gone|not as it was recorded); restore .* from"
    ):
        backtests.page(made.id)
    assert len(backtests.trades(made.id)) == 2


# ---------------------------------------------------------------------------- finding them


def test_the_newest_come_first_and_may_be_asked_for_by_model_feed_and_origin(
    backtests: Backtests, engine: Engine
) -> None:
    one, two = (add(Registry(engine), digit) for digit in "ab")
    sip = add(Registry(engine), "c", feed=Feed.SIP)
    day = datetime(2026, 11, 1, tzinfo=UTC)
    for digit, model, days, about in (
        ("1", one, 1, {"origin": Origin.NEW_MODEL}),
        ("2", two, 3, {"origin": "by_hand"}),
        ("3", one, 2, {}),
        ("4", sip, 0, {"feed": Feed.SIP}),
    ):
        made = replace(a_backtest(model), id=named(digit), made_at=day + timedelta(days=days))
        backtests.record(made, PAGE, **ABOUT | about)

    def ids(rows: list[Any]) -> str:
        return "".join(row.id[-1] for row in rows)

    assert ids(backtests.recent()) == "2314"
    assert ids(backtests.recent(2)) == "23"
    assert ids(backtests.recent(feed=Feed.IEX)) == "231"
    assert ids(backtests.recent(model=one)) == "31"
    newest = [
        backtests.newest(),
        backtests.newest(one),
        backtests.newest(one, origin=Origin.NEW_MODEL),
        backtests.newest(two, origin=Origin.NEW_MODEL),
    ]
    assert [row and row.id[-1] for row in newest] == ["2", "3", "1", None]
    assert backtests.page() == (named("2"), PAGE)
    assert set(backtests.metrics_of([named("1"), named("9")], ["sharpe"])) == {named("1")}
    assert backtests.metrics_of([named("1")], ["calmar"]) == {}


def test_what_is_not_there_is_said_in_a_sentence(backtests: Backtests) -> None:
    with pytest.raises(UserError, match=r"There is no backtest yet; make one: alpaca-strategy"):
        backtests.page()
    for question in (backtests.read, backtests.page):
        with pytest.raises(UserError, match=rf"There is no backtest {named('1')}; the console"):
            question(named("1"))
    assert backtests.newest() is None
    assert backtests.recent() == []
    assert backtests.lineage(named("1")) == {}
    assert backtests.metrics(named("1")) == []


# ---------------------------------------------------------------------------- what Postgres asks


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"id": "2024-01-03-nothexad"}, "id_is_day_and_hash"),
        ({"agreement": Agreement(2, 3, None)}, "agreed_on_some_trades"),
        ({"agreement": Agreement(2, 1, None)}, "agrees_or_says_where"),
        ({"agreement": Agreement(2, 1, "")}, "agrees_or_says_where"),
        ({"folds": ()}, "somebody_scored"),
        ({"warnings": ("",)}, "says_what_it_warns_of"),
        ({"lineage": {"code": ""}}, "says_with_what_and_who"),
        ({"figures": (Figure("sharpe", 1.0, 2.0, 1.0),)}, "bounds_are_ordered"),
        ({"figures": (Figure("sharpe", 1.0, 0.0, None),)}, "both_bounds_or_none"),
    ],
)
def test_nonsense_is_refused_and_nothing_of_it_stays(
    backtests: Backtests, engine: Engine, model: str, changes: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        backtests.record(a_backtest(model, **changes), PAGE, **ABOUT)
    assert counts(engine) == NOTHING


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("shares", 0.0, "has_shares"),
        ("shares", np.nan, "has_shares"),
        ("entry_price", -1.0, "has_prices"),
        ("exit_price", np.inf, "has_prices"),
        ("cost", -0.01, "costs_something_or_nothing"),
        ("profit", np.nan, "profit_is_a_number"),
        ("entry_score", 1.5, "score_is_a_fraction"),
        ("exit_row", 5, "ends_after_it_began"),
        ("exit_reason", 1, "reason_is_known"),
    ],
)
def test_an_impossible_trade_is_refused(
    backtests: Backtests, engine: Engine, model: str, column: str, value: float, constraint: str
) -> None:
    trades = TRADES.copy()
    trades[column][0] = value
    with pytest.raises(IntegrityError, match=constraint):
        backtests.record(a_backtest(model, trades), PAGE, **ABOUT)
    assert counts(engine) == NOTHING


def test_a_difference_between_the_engines_is_kept(backtests: Backtests, model: str) -> None:
    agreement = Agreement(2, 2, "The other engine made one more.")
    made = a_backtest(model, agreement=agreement)
    backtests.record(made, PAGE, **ABOUT)
    row = backtests.read(made.id)
    assert (row.trades, row.agreed, row.agrees) == (2, 2, False)
    assert row.difference == "The other engine made one more."


@pytest.mark.parametrize("about", [{}, {"feed": Feed.SIP}, {"venue": Venue.PAPER}])
def test_a_model_that_is_not_registered_here_has_no_backtests(
    backtests: Backtests, engine: Engine, model: str, about: dict[str, Any]
) -> None:
    made = a_backtest(model if about else "2024-01-01-deadbeef")
    with pytest.raises(IntegrityError, match="is not registered for"):
        backtests.record(made, PAGE, **ABOUT | about)
    assert counts(engine) == NOTHING


@pytest.mark.parametrize("table", ["backtest", "metric", "fold", "trade"])
def test_what_was_recorded_is_never_rewritten_even_by_the_owner(
    backtests: Backtests, engine: Engine, model: str, table: str
) -> None:
    backtests.record(a_backtest(model), PAGE, **ABOUT)
    column = {"backtest": "cash = 1", "metric": "value = 9", "fold": "trades = 9"}.get(
        table, "profit = 1e6"
    )
    for change in ("UPDATE {} SET {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
        with (
            engine.connect() as connection,
            pytest.raises(DBAPIError, match=f"rows of report.{table} are never changed"),
        ):
            connection.execute(text(change.format(f"report.{table}", column)))


COPY_OF_IT = (
    "INSERT INTO report.backtest SELECT '2024-01-03-bbbbbbbb', made_at, venue, feed, models,"
    " first_session, last_session, sessions, symbols, rules, costs, cash, in_sample, origin,"
    " {trades}, {trades}, NULL, warnings, lineage, report_uri, report_sha256, code_version,"
    " made_by FROM report.backtest"
)


def test_a_backtest_comes_with_all_of_its_trades(
    backtests: Backtests, engine: Engine, model: str
) -> None:
    """Checked at the end of the transaction, whoever writes."""
    backtests.record(a_backtest(model), PAGE, **ABOUT)
    with (
        pytest.raises(IntegrityError, match="2024-01-03-bbbbbbbb has 1 trades and brings 0"),
        engine.begin() as connection,
    ):
        connection.execute(text(COPY_OF_IT.format(trades=1)))
    with engine.begin() as connection:
        connection.execute(text(COPY_OF_IT.format(trades=0)))


# ---------------------------------------------------------------------------- migrations and roles


def _move(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_migrations_make_the_tables_that_queries_expect(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == "report",
                "include_object": lambda thing, name, kind, *_: (
                    kind != "table" or thing.schema == "report"
                ),
            },
        )
        assert compare_metadata(context, metadata) == []
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names("report")
        assert set(tables) == {"backtest", "metric", "fold", "trade"}


def test_the_way_down_leaves_the_models_and_the_way_up_works_again(
    backtests: Backtests, engine: Engine, model: str
) -> None:
    backtests.record(a_backtest(model), PAGE, **ABOUT)
    _move(engine, "0002")
    with engine.connect() as connection:
        assert "report" not in inspect(connection).get_schema_names()
    assert Registry(engine).version(model).id == model
    migrate(engine)
    assert backtests.recent() == []
    assert backtests.record(a_backtest(model), PAGE, **ABOUT) is True


@pytest.mark.parametrize(
    ("role", "allowed", "denied"),
    [
        (
            "strategy_reader",
            ["SELECT * FROM report.backtest, report.metric, report.fold, report.trade"],
            [COPY_OF_IT.format(trades=0), "DELETE FROM report.trade"],
        ),
        (
            "strategy_trainer",
            ["SELECT * FROM report.backtest, report.metric, report.fold, report.trade",
             COPY_OF_IT.format(trades=0)],
            ["UPDATE report.backtest SET cash = 1", "DELETE FROM report.metric",
             "TRUNCATE report.trade", "CREATE TABLE report.mine (x int)", "DROP TABLE report.fold"],
        ),
        (
            "strategy_ingest",
            ["SELECT id, report_sha256 FROM report.backtest"],
            ["SELECT * FROM report.trade", COPY_OF_IT.format(trades=0)],
        ),
    ],
)  # fmt: skip
def test_roles_may_do_their_work_and_no_more(
    backtests: Backtests, engine: Engine, model: str, role: str, allowed: list[str],
    denied: list[str],
) -> None:  # fmt: skip
    backtests.record(a_backtest(model), PAGE, **ABOUT)
    for statement in (*allowed, *denied):
        with engine.connect() as connection:
            connection.execute(text(f"SET ROLE {role}"))
            if statement in allowed:
                connection.execute(text(statement))
                continue
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
                connection.execute(text(statement))


@pytest.mark.parametrize(
    ("role", "work"),
    [("strategy_trainer", "record"), ("strategy_ingest", "maintain"), ("strategy_reader", "read")],
)
def test_each_role_can_do_the_whole_of_its_work(
    database_url: str, backtests: Backtests, objects: ObjectStore, model: str, role: str, work: str
) -> None:
    """Least privilege is worth something only where the work succeeds with it."""
    engine = connect(database_url)

    @event.listens_for(engine, "connect")
    def _become_it(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")
        connection.commit()

    own, made = Backtests(engine, objects), a_backtest(model)
    if work == "record":
        assert own.record(made, PAGE, **ABOUT) is True
        assert own.record(made, PAGE, **ABOUT) is False
    elif work == "maintain":
        objects.put("backtests/x.html", PAGE)
        assert own.delete_orphans() == 1
    else:
        backtests.record(made, PAGE, **ABOUT)
        assert own.page() == (made.id, PAGE)
        assert len(own.trades(made.id)) == 2
        assert len(own.folds(made.id)) == len(own.metrics(made.id)) == 1
    engine.dispose()
