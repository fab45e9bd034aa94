"""What Postgres itself keeps of the models: history, data, tables, and who may do what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from registered_models import HERE, SAID, a_version, add, serve
from sqlalchemy import Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from stored_sessions import DAY, SYMBOLS, make_bars, publish

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.domain.models import VerdictKind, VersionStatus
from alpaca_strategy.errors import ServiceUnavailableError
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.database import MIGRATIONS, connect, migrate
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.maintenance import maintain, vacuum
from alpaca_strategy.storage.registry import Registry
from alpaca_strategy.storage.registry_records import DataPin, Decision, Metric
from alpaca_strategy.storage.registry_tables import metadata

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return Registry(engine)


# ---------------------------------------------------------------------------- what stays


@pytest.mark.parametrize("table", ["champion_change", "decision", "metric", "version_data"])
def test_history_is_never_rewritten_even_by_the_owner(
    engine: Engine, registry: Registry, table: str
) -> None:
    pin = DataPin(DAY, 1, "x", 1, ("a",))
    name, _ = registry.register(a_version(), [Metric("ic", 0.1)], [pin])
    registry.decide(Decision(name, None, VerdictKind.PROVISIONAL, "The first."))
    column = {"metric": "n = 1", "version_data": "revision = 2"}.get(table, "reason = 'x'")
    for change in ("UPDATE {} SET {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
        with (
            engine.connect() as connection,
            pytest.raises(DBAPIError, match=f"rows of model.{table} are never changed"),
        ):
            connection.execute(text(change.format(f"model.{table}", column)))


def test_of_a_version_only_the_status_ever_changes(engine: Engine, registry: Registry) -> None:
    name = add(registry, "a")
    for statement in (
        "UPDATE model.version SET artifact_sha256 = repeat('b', 64)",
        "UPDATE model.version SET expires_at = expires_at + interval '1 day'",
        "UPDATE model.version SET status_by = 'x', seed = 8",
        "DELETE FROM model.version",
        "TRUNCATE model.version CASCADE",
    ):
        with (
            engine.connect() as connection,
            pytest.raises(DBAPIError, match=r"only the status changes|never changed or deleted"),
        ):
            connection.execute(text(statement))
    registry.mark(name, VersionStatus.DAMAGED, **SAID)
    assert registry.version(name).status is VersionStatus.DAMAGED


def test_whoever_says_nothing_changes_nothing(registry: Registry) -> None:
    name = add(registry, "a")
    for said in ({"reason": "", "by": "me"}, {"reason": "because", "by": ""}):
        with pytest.raises(IntegrityError, match="says_why_and_who"):
            registry.promote(name, expected_champion=None, **said)
        with pytest.raises(IntegrityError, match="what_may_not_serve_has_a_reason"):
            registry.mark(name, VersionStatus.DAMAGED, **said)


# ---------------------------------------------------------------------------- what vacuum keeps


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def pin_of(catalog: Catalog) -> DataPin:
    """Return what a model that reads the session now has to pin."""
    row = catalog.session(DAY, Feed.IEX)
    assert row is not None
    assert row.content_hash is not None
    assert row.bars_version is not None
    return DataPin(DAY, row.revision, row.content_hash, row.bars_version, row.bars_files)


def test_vacuum_keeps_what_a_model_was_made_from_until_it_is_retired(
    lake: Lake, engine: Engine, registry: Registry
) -> None:
    catalog = Catalog(engine)
    publish(lake, catalog, 1)
    name, _ = registry.register(a_version(), [], [pin_of(catalog)])
    pinned = registry.data(name)[0].bars_files
    publish(lake, catalog, 2)
    publish(lake, catalog, 3)
    assert registry.pinned_bars(Feed.IEX) == set(pinned)
    assert registry.pinned_bars(Feed.SIP) == set()
    gone = maintain(lake=lake, catalog=catalog, keep=timedelta(0))
    assert gone.files_deleted == 3  # two tapes, and the bars that nobody read
    assert lake.read_files("bars", pinned).equals(make_bars(SYMBOLS, 1))
    for status in (VersionStatus.REFUSED, VersionStatus.DAMAGED):
        registry.mark(name, status, **SAID)
        assert vacuum(lake, catalog, keep=timedelta(0)) == (0, 0)
    registry.mark(name, VersionStatus.RETIRED, **SAID)
    assert registry.pinned_bars(Feed.IEX) == set()
    assert vacuum(lake, catalog, keep=timedelta(0))[0] == 1
    assert registry.data(name)[0].bars_files == pinned  # what it was made from stays on record


def test_data_that_two_models_share_stay_until_both_are_retired(
    lake: Lake, engine: Engine, registry: Registry
) -> None:
    catalog = Catalog(engine)
    publish(lake, catalog, 1)
    names = [registry.register(a_version(d), [], [pin_of(catalog)])[0] for d in "ab"]
    publish(lake, catalog, 2)
    registry.mark(names[0], VersionStatus.RETIRED, **SAID)
    vacuum(lake, catalog, keep=timedelta(0))
    pinned = registry.data(names[1])[0].bars_files
    assert lake.read_files("bars", pinned).equals(make_bars(SYMBOLS, 1))


def bar_files(lake: Lake) -> set[Path]:
    return set((Path(lake.root) / "bars").rglob("feed=*/**/*.parquet"))


def test_without_a_registry_no_bars_are_deleted(lake: Lake, engine: Engine) -> None:
    """A database that was not migrated cannot tell what models need."""
    catalog = Catalog(engine)
    for seed in (1, 2):
        publish(lake, catalog, seed)
    _move(engine, "0001")
    before = bar_files(lake)
    with pytest.raises(ServiceUnavailableError, match="lacks our tables"):
        vacuum(lake, catalog, keep=timedelta(0))
    assert bar_files(lake) == before


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
                "include_name": lambda name, kind, _: kind != "schema" or name == "model",
            },
        )
        assert compare_metadata(context, metadata) == []
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names("model")) == {
            "version",
            "version_data",
            "metric",
            "decision",
            "champion_change",
        }


def test_the_way_down_leaves_the_market_and_the_way_up_works_again(
    engine: Engine, registry: Registry
) -> None:
    serve(registry, "a")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO market.rate_limit VALUES ('x', now())"))
    _move(engine, "0001")
    with engine.connect() as connection:
        assert "model" not in inspect(connection).get_schema_names()
        assert connection.execute(text("SELECT count(*) FROM market.rate_limit")).scalar() == 1
        granted = "SELECT has_schema_privilege('strategy_trainer', 'market', 'USAGE')"
        assert connection.execute(text(granted)).scalar() is False
    migrate(engine)
    assert registry.versions() == []
    serve(registry, "b")


NEW_VERSION = (
    "INSERT INTO model.version SELECT '2026-01-01-bbbbbbbb', created_at, venue, feed, preset,"
    " fingerprint, seed, code_version, config, environment, dataset_hash, horizon, symbols,"
    " training_sessions, validation_sessions, holdout_sessions, artifact_uri, repeat('b', 64),"
    " expires_at FROM model.version"
)
NEW_CHANGE = (
    "INSERT INTO model.champion_change (venue, feed, position, kind, version_id, provisional,"
    " reason, changed_by) SELECT venue, feed, 1, 'promote', id, false, 'x', 'x' FROM model.version"
)


@pytest.mark.parametrize(
    ("role", "allowed", "denied"),
    [
        (
            "strategy_reader",
            [
                "SELECT * FROM model.version, model.metric, model.decision",
                "SELECT * FROM model.champion_change, model.version_data",
            ],
            ["UPDATE model.version SET status = 'registered'", NEW_VERSION, NEW_CHANGE],
        ),
        (
            "strategy_trainer",
            [
                "SELECT * FROM market.session, market.session_revision, model.champion_change",
                "UPDATE model.version SET status = 'registered'",
                NEW_CHANGE,
                NEW_VERSION,
            ],
            [
                "UPDATE model.version SET seed = 8",
                "DELETE FROM model.version",
                "UPDATE model.champion_change SET reason = 'x'",
                "DELETE FROM model.decision",
                "TRUNCATE model.metric",
                "INSERT INTO market.rate_limit VALUES ('x', now())",
                "CREATE TABLE model.mine (x int)",
                "DROP TABLE model.metric",
            ],
        ),
        (
            "strategy_ingest",
            ["SELECT bars_files, status FROM model.version_data, model.version"],
            ["SELECT * FROM model.champion_change", NEW_VERSION],
        ),
    ],
)
def test_roles_may_do_their_work_and_no_more(
    engine: Engine, registry: Registry, role: str, allowed: list[str], denied: list[str]
) -> None:
    add(registry, "a")
    for statement in (*allowed, *denied):
        with engine.connect() as connection:
            connection.execute(text(f"SET ROLE {role}"))
            if statement in allowed:
                connection.execute(text(statement))
                continue
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
                connection.execute(text(statement))


def test_a_trainer_can_do_all_that_a_retraining_does(engine: Engine, database_url: str) -> None:
    """Least privilege is worth something only where the work succeeds with it."""
    trainer = connect(database_url)

    @event.listens_for(trainer, "connect")
    def _become_the_trainer(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE strategy_trainer")
        connection.commit()

    registry = Registry(trainer)
    with registry.retraining_lock(*HERE):
        first = add(registry, "a")
        registry.decide(Decision(first, None, VerdictKind.PROVISIONAL, "The first."))
        second, metrics = a_version("b"), [Metric("ic", 0.1)]
        registry.register(second, metrics, [DataPin(DAY, 1, "x", 1, ("a",))])
        registry.decide(Decision(second.id, first, VerdictKind.PROMOTE, "Better."))
        registry.pin(*HERE, **SAID)
        assert registry.rollback(*HERE, **SAID) == first
        registry.mark(second.id, VersionStatus.RETIRED, **SAID)
    with trainer.connect() as connection:
        assert connection.execute(text("SELECT current_user")).scalar() == "strategy_trainer"
    trainer.dispose()
