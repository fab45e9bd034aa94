"""Our Postgres: connections with deadlines, migrations, and faults told in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, NullPool, create_engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError

from alpaca_strategy.config import PROJECT_ROOT
from alpaca_strategy.errors import (
    DiskSpaceError,
    EnvironmentFaultError,
    ServiceUnavailableError,
    SettingsError,
)

MIGRATIONS = PROJECT_ROOT / "include" / "migrations"
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 60
LOCK_TIMEOUT_S = 10
#: A transaction left open longer than this by a frozen process is ended by the server.
IDLE_IN_TRANSACTION_TIMEOUT_S = 60
_MIGRATION_LOCK = 0x616C7061  # any constant; "alpa"

_LOST = frozenset({"57P01", "57P02", "57P03", "53300"})  # shut down, crashed, starting, full house
_LOCK_NOT_AVAILABLE = "55P03"  # the caller knows what it waited for


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long something may take at Postgres.

    Attributes:
        connect_s: To connect; whole seconds.
        statement_s: A statement.
        lock_s: To wait for a lock.
    """

    connect_s: int
    statement_s: float
    lock_s: float


def connect(
    url: str,
    *,
    application_name: str = "alpaca-strategy",
    deadlines: Deadlines | None = None,
    settings: Mapping[str, str] | None = None,
    pooled: bool = True,
) -> Engine:
    """Return an engine whose every wait has an end; nothing is connected yet.

    Args:
        url: A Postgres URL in any of SQLAlchemy's spellings.
        application_name: What `pg_stat_activity` shows.
        deadlines: The ends of the waits; long ones when None.
        settings: Further settings of the server for these connections.
        pooled: Keep connections for the next who asks; without it, the caller keeps its own.

    Raises:
        SettingsError: The URL is not a Postgres URL.
    """
    address = _parse(url)
    ends = deadlines or Deadlines(CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S, LOCK_TIMEOUT_S)
    limits = {
        "statement_timeout": ends.statement_s,
        "lock_timeout": ends.lock_s,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_S,
    }
    values = {name: f"{round(value * 1000)}ms" for name, value in limits.items()}
    arguments: dict[str, Any] = {
        "connect_timeout": ends.connect_s,
        "application_name": application_name,
        "options": " ".join(
            f"-c {name}={value}" for name, value in (values | dict(settings or {})).items()
        ),
        # A peer that vanished without a word is noticed within half a minute.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    engine = (
        create_engine(address, pool_pre_ping=True, connect_args=arguments)
        if pooled
        else create_engine(address, poolclass=NullPool, connect_args=arguments)
    )

    @event.listens_for(engine, "handle_error", retval=True)
    def _translate(context: ExceptionContext) -> BaseException | None:
        return _fault(context, where(address), ends.statement_s)

    return engine


def _parse(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:  # ValueError: the port is no number
        # pragma: allowlist nextline secret
        msg = "The database URL cannot be parsed; write it as postgresql://user:password@host/name."
        raise SettingsError(msg) from error
    if address.get_backend_name() not in {"postgresql", "postgres"}:
        msg = f"The database must be Postgres, not {address.get_backend_name()}; correct the URL."
        raise SettingsError(msg)
    return address.set(drivername="postgresql+psycopg2")


def where(address: URL) -> str:
    """Return host, port and database of a URL, and never its password."""
    host = address.host or address.query.get("host") or "the local socket"
    port = f":{address.port}" if address.port else ""
    return f"{host}{port}/{address.database or ''}"


def _fault(context: ExceptionContext, place: str, statement_s: float) -> BaseException | None:
    """Return our error for a fault of the service; None for a defect of ours."""
    original = context.original_exception
    code = getattr(original, "pgcode", None) or ""
    reason = str(original).strip().splitlines()[0] if str(original).strip() else "no reason given"
    reason = reason.rpartition("failed: ")[2].removeprefix("FATAL:").strip().rstrip(".?")
    fault: Exception | None = None
    if code == "57014":
        fault = ServiceUnavailableError(
            f"Postgres at {place} did not finish a statement within {statement_s:g} s; "
            "look for a blocked query, then try again."
        )
    elif code.startswith("53") and code != "53300":
        fault = DiskSpaceError(
            f"Postgres at {place} is out of room ({reason}); free space, then try again."
        )
    elif code in {"42P01", "3F000", "42703"}:
        fault = ServiceUnavailableError(
            f"The database at {place} lacks our tables ({reason}); run `alpaca-strategy up`, "
            "which applies the migrations."
        )
    elif (
        context.is_disconnect or code in _LOST or code.startswith("08") or _cannot_connect(context)
    ):
        fault = ServiceUnavailableError(
            f"Postgres at {place} does not answer ({reason}); start it with `make run`, or correct "
            "ALPACA_STRATEGY_DATABASE_URL."
        )
    if fault is not None:
        fault.__cause__ = original
    return fault


def _cannot_connect(context: ExceptionContext) -> bool:
    if context.connection is not None:
        return False
    return type(context.original_exception).__name__ == "OperationalError"


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema, in one transaction; safe to call at once.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS market"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def schema_revision() -> str:
    """Return the revision of the schema that this code was written for."""
    return str(ScriptDirectory(str(MIGRATIONS)).get_current_head())


def check_schema(engine: Engine) -> None:
    """Check that the database has the schema that this code was written for.

    Raises:
        EnvironmentFaultError: It has an older or a newer one, or none; or Postgres does not answer.
    """
    wanted = schema_revision()
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM market.schema_version")).scalar()
    if found != wanted:
        msg = (
            f"The database at {where(engine.url)} has schema {found}, and this code was written "
            f"for {wanted}; run `alpaca-strategy up` of the version that is to trade."
        )
        raise EnvironmentFaultError(msg)


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether a statement gave up waiting for a lock."""
    return getattr(getattr(error, "orig", None), "pgcode", None) == _LOCK_NOT_AVAILABLE
