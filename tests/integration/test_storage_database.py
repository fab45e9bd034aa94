"""Migrations, roles and faults of our Postgres."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError
from stored_sessions import DAY

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import BusyError, ServiceUnavailableError, SettingsError
from alpaca_strategy.storage import database
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.tables import metadata

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


def test_migrations_make_the_tables_that_queries_expect(engine: Engine) -> None:
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table": "schema_version",
                "version_table_schema": "market",
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "schema" or name in {None, "market"},
            },
        )
        assert compare_metadata(context, metadata) == []


def test_many_processes_may_migrate_at_once_and_from_anywhere(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _migrate_alone(engine), range(4)))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM market.schema_version")).scalar() == 1


_alembic = threading.Lock()


def _migrate_alone(engine: Engine) -> None:
    """Alembic keeps its context in a module, so threads of one process take turns."""
    with _alembic:
        migrate(engine)


@pytest.mark.parametrize(
    ("role", "statement", "allowed"),
    [
        ("strategy_reader", "SELECT * FROM market.session", True),
        ("strategy_reader", "DELETE FROM market.session", False),
        ("strategy_reader", "INSERT INTO market.rate_limit VALUES ('x', now())", False),
        ("strategy_ingest", "INSERT INTO market.rate_limit VALUES ('x', now())", True),
        ("strategy_ingest", "DELETE FROM market.session", False),
        ("strategy_ingest", "UPDATE market.quality_run SET verdict = 'passed'", False),
        ("strategy_ingest", "CREATE TABLE market.mine (x int)", False),
        ("strategy_ingest", "CREATE TABLE public.mine (x int)", False),
        ("strategy_ingest", "DROP TABLE market.session", False),
    ],
)
def test_roles_may_do_their_work_and_no_more(
    engine: Engine, role: str, statement: str, allowed: bool
) -> None:
    migrate(engine)
    with engine.connect() as connection:
        connection.execute(text(f"SET ROLE {role}"))
        if allowed:
            connection.execute(text(statement))
        else:
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
                connection.execute(text(statement))


def test_a_published_row_without_files_is_refused_by_the_database(engine: Engine) -> None:
    migrate(engine)
    with engine.connect() as connection, pytest.raises(Exception, match="published_is_pinned"):
        connection.execute(
            text(
                "INSERT INTO market.session (session, feed, status, venue, symbols_asked,"
                " symbols_published) VALUES ('2024-01-02', 'iex', 'published', 'paper', 1, 1)"
            )
        )


def test_an_unreachable_server_is_told_in_one_sentence_without_the_password() -> None:
    engine = connect("postgresql://me:s3cret@127.0.0.1:9/strategy")
    with pytest.raises(ServiceUnavailableError) as caught, engine.connect():
        pass
    assert "127.0.0.1:9/strategy does not answer" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite:///x", "mysql://me@host/x", "not a url", "postgresql://me@host:port/x"]
)
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        connect(url)


def test_a_database_without_our_tables_says_what_to_run(engine: Engine) -> None:
    with pytest.raises(ServiceUnavailableError, match="lacks our tables"):
        Catalog(engine).latest_published(Feed.IEX)


def test_a_statement_that_hangs_is_given_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STATEMENT_TIMEOUT_S", 1)
    engine = connect(database_url)
    with pytest.raises(ServiceUnavailableError, match="within 1 s"), engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    engine.dispose()


def test_a_second_run_of_a_session_is_told_to_wait(engine: Engine, database_url: str) -> None:
    other = connect(database_url)
    catalog = Catalog(engine)
    with catalog.session_lock(DAY, Feed.IEX):
        with (
            pytest.raises(BusyError, match=r"2024-01-02 \(iex\)"),
            Catalog(other).session_lock(DAY, Feed.IEX, wait_s=0.05),
        ):
            pass
        with Catalog(other).session_lock(DAY, Feed.SIP, wait_s=0.05):
            pass  # another feed is another session
    with Catalog(other).session_lock(DAY, Feed.IEX, wait_s=0.05):
        pass
    other.dispose()


def test_the_lock_ends_with_its_process(database_url: str, engine: Engine) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        manager = Catalog(connect(database_url)).session_lock(DAY, Feed.IEX)
        manager.__enter__()
        os.write(write, b"held")
        os.kill(os.getpid(), 9)
    assert os.read(read, 4) == b"held"
    os.waitpid(child, 0)
    with Catalog(engine).session_lock(DAY, Feed.IEX, wait_s=10):
        pass
    os.close(read)
    os.close(write)


def test_addresses_are_told_without_secrets() -> None:
    url = make_url("postgresql://me:s3cret@/strategy?host=/run/postgres")
    assert database.where(url) == "/run/postgres/strategy"
