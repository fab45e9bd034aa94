"""The tables of schema ``trading`` as queries see them; migrations create them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(schema="trading")


def _moment(name: str, *, known: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not known)


def _book(*, key: bool = False) -> list[Column[str]]:
    names = ("account", "strategy")
    return [Column(name, Text, primary_key=key, nullable=False) for name in names]


def _number() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _written() -> Column[object]:
    return Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _of_run(*, known: bool = True) -> list[Column[object] | Column[str] | ForeignKeyConstraint]:
    book = ["trading.run.id", "trading.run.account", "trading.run.strategy"]
    return [
        Column("run_id", Text, nullable=not known),
        _written(),
        ForeignKeyConstraint(["run_id", "account", "strategy"], book),
    ]


#: One row a life of a trader process. Insert-only, like all that follow but the heartbeat.
run = Table(
    "run",
    metadata,
    Column("id", Text, primary_key=True),
    *_book(),
    Column("mode", Text, nullable=False),
    Column("session", Date, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("config_hash", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    _moment("started_at"),
    _written(),
    UniqueConstraint("id", "account", "strategy", name="run_of_one_book"),
)

#: One row a decision, made or skipped.
decision = Table(
    "decision",
    metadata,
    _number(),
    *_book(),
    Column("session", Date, nullable=False),
    Column("minute", Integer, nullable=False),
    _moment("due_at"),
    _moment("decided_at"),
    _moment("watermark", known=False),
    Column("input_hash", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("equity", Numeric, nullable=False),
    Column("skipped", Text),
    *_of_run(),
    UniqueConstraint("account", "strategy", "session", "minute", name="one_decision_a_minute"),
)

#: What a decision did with each name. Rows and not one document: Postgres checks every number,
#: and why a name was refused over a day is one query.
decision_name = Table(
    "decision_name",
    metadata,
    Column("decision_id", BigInteger, ForeignKey("trading.decision.id"), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("symbol", Text, primary_key=True),
    Column("reason", SmallInteger, nullable=False),
    Column("score", Double),
    Column("expected_bps", Double),
    Column("close", Numeric),
    Column("shares", Numeric, nullable=False),
    Column("denial", Text),
)

#: An order that was to be sent. It is pending until its first step says otherwise.
intent = Table(
    "intent",
    metadata,
    *_book(key=True),
    Column("client_order_id", Text, primary_key=True),
    Column("session", Date, nullable=False),
    Column("minute", Integer, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("qty", Numeric, nullable=False),
    Column("type", Text, nullable=False),
    Column("limit_price", Numeric),
    Column("time_in_force", Text, nullable=False),
    Column("reason", SmallInteger, nullable=False),
    Column("price", Numeric),
    _moment("created_at"),
    *_of_run(),
    Index("intent_by_session", "session", "account", "strategy"),
)

_INTENT = ["account", "strategy", "client_order_id"]

#: The steps of an intent, counted from 1; only the trader that holds the lock writes them.
intent_step = Table(
    "intent_step",
    metadata,
    *_book(key=True),
    Column("client_order_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    _moment("at"),
    Column("order_id", Text),
    Column("status", Text),
    Column("filled_qty", Numeric, nullable=False),
    Column("filled_avg_price", Numeric),
    Column("detail", Text, nullable=False),
    *_of_run(),
    ForeignKeyConstraint(
        _INTENT, [f"trading.intent.{name}" for name in _INTENT], name="is_a_step_of_an_intent"
    ),
    Index("step_by_order", "account", "order_id", postgresql_where=text("order_id IS NOT NULL")),
)

#: Executions. The pair of order and cumulative quantity names one, whoever tells of it.
fill = Table(
    "fill",
    metadata,
    _number(),
    *_book(),
    Column("order_id", Text, nullable=False),
    Column("cum_qty", Numeric, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("qty", Numeric, nullable=False),
    Column("price", Numeric, nullable=False),
    _moment("at"),
    Column("execution_id", Text),
    *_of_run(),
    UniqueConstraint("account", "order_id", "cum_qty", name="a_fill_is_counted_once"),
)

#: Changes of positions that are no fills.
adjustment = Table(
    "adjustment",
    metadata,
    _number(),
    *_book(),
    Column("symbol", Text, nullable=False),
    Column("qty", Numeric, nullable=False),
    Column("reason", Text, nullable=False),
    _moment("at"),
    *_of_run(),
    UniqueConstraint(
        "account",
        "strategy",
        "symbol",
        "at",
        "qty",
        "reason",
        name="an_adjustment_is_counted_once",
    ),
)

#: Comparisons with the venue's books.
reconciliation = Table(
    "reconciliation",
    metadata,
    _number(),
    *_book(),
    _moment("at"),
    Column("cause", Text, nullable=False),
    Column("differences", ARRAY(Text), nullable=False),
    Column("positions", JSONB, nullable=False),
    Column("foreign_shares", JSONB, nullable=False),
    *_of_run(),
    Index("reconciliation_by_book", "account", "strategy", "id"),
)

#: What a person may ask about later.
event = Table(
    "event",
    metadata,
    _number(),
    *_book(),
    Column("kind", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    *_of_run(known=False),
    Index("event_by_book", "account", "strategy", "id"),
)

#: Every turn of the switch, counted from 1 a book.
switch = Table(
    "switch",
    metadata,
    *_book(key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("flatten", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("turned_by", Text, nullable=False),
    Column("turned_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

#: The newest state of a book's trader; the one table whose rows change.
heartbeat = Table(
    "heartbeat",
    metadata,
    *_book(key=True),
    Column("run_id", Text, nullable=False),
    _moment("at"),
    _moment("venue_at"),
    Column("phase", Text, nullable=False),
    Column("holds", JSONB, nullable=False),
    Column("minute", Integer),
    _moment("last_data_at", known=False),
    Column("detail", JSONB, nullable=False),
    Column("written_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
