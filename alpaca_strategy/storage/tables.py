"""The tables of schema ``market`` as queries see them; migrations create them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

metadata = MetaData(schema="market")


def _pins() -> list[Column[object]]:
    """Return the columns that say which lake files a revision consists of."""
    return [
        Column("trades_version", BigInteger),
        Column("trades_files", ARRAY(Text), nullable=False, server_default=text("'{}'")),
        Column("bars_version", BigInteger),
        Column("bars_files", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    ]


#: One row a session and feed: what readers may see. Written last of all.
session = Table(
    "session",
    metadata,
    Column("session", Date, primary_key=True),
    Column("feed", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("revision", Integer, nullable=False, server_default=text("0")),
    Column("venue", Text, nullable=False),
    *_pins(),
    Column("minutes", Integer),
    Column("symbols_asked", Integer, nullable=False),
    Column("symbols_published", Integer, nullable=False),
    Column("trade_count", BigInteger, nullable=False, server_default=text("0")),
    Column("bar_count", BigInteger, nullable=False, server_default=text("0")),
    Column("observed_minutes", BigInteger, nullable=False, server_default=text("0")),
    Column("content_hash", Text),
    Column("condition_table", Text),
    Column("condition_fingerprint", Text),
    Column("quality_severity", Text),
    Column("report_uri", Text),
    Column("published_at", DateTime(timezone=True)),
    Column("refused_at", DateTime(timezone=True)),
    Column("refused_reason", Text),
    Column("tape_dropped_at", DateTime(timezone=True)),
    CheckConstraint("status IN ('published', 'refused')", name="status_is_known"),
    CheckConstraint(
        "status <> 'published' OR (revision > 0 AND bars_version IS NOT NULL "
        "AND cardinality(bars_files) > 0 AND content_hash IS NOT NULL "
        "AND minutes IS NOT NULL AND published_at IS NOT NULL)",
        name="published_is_pinned",
    ),
    CheckConstraint("symbols_published BETWEEN 0 AND symbols_asked", name="published_were_asked"),
)

#: Every revision that was ever published: lineage, and what vacuum must keep.
session_revision = Table(
    "session_revision",
    metadata,
    Column("session", Date, primary_key=True),
    Column("feed", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    *_pins(),
    Column("content_hash", Text, nullable=False),
    Column("condition_fingerprint", Text),
    Column("published_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    ForeignKeyConstraint(
        ["session", "feed"], ["market.session.session", "market.session.feed"], ondelete="CASCADE"
    ),
)

#: What became of each symbol that was asked for.
symbol_session = Table(
    "symbol_session",
    metadata,
    Column("session", Date, primary_key=True),
    Column("feed", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("trade_count", BigInteger, nullable=False, server_default=text("0")),
    Column("observed_minutes", Integer, nullable=False, server_default=text("0")),
    Column("tape_hash", Text),
    ForeignKeyConstraint(
        ["session", "feed"], ["market.session.session", "market.session.feed"], ondelete="CASCADE"
    ),
    CheckConstraint(
        "status IN ('published', 'quarantined', 'failed', 'missing')", name="status_is_known"
    ),
    CheckConstraint(
        "status = 'published' OR reason IS NOT NULL", name="what_is_left_out_has_a_reason"
    ),
    Index("symbol_session_by_symbol", "symbol", "feed", "session"),
)

#: One row a check of a session, also of sessions that were refused.
quality_run = Table(
    "quality_run",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("session", Date, nullable=False),
    Column("feed", Text, nullable=False),
    Column("run_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("verdict", Text, nullable=False),
    Column("critical_count", Integer, nullable=False),
    Column("warning_count", Integer, nullable=False),
    Column("report_uri", Text),
    Index("quality_run_by_session", "session", "feed", "run_at"),
)

#: One row an expectation of a check.
quality_result = Table(
    "quality_result",
    metadata,
    Column("run_id", BigInteger, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("suite", Text, nullable=False),
    Column("expectation", Text, nullable=False),
    Column("column_name", Text),
    Column("severity", Text, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("unexpected_count", BigInteger, nullable=False, server_default=text("0")),
    Column("unexpected_fraction", Double, nullable=False, server_default=text("0")),
    Column("symbols", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    ForeignKeyConstraint(["run_id"], ["market.quality_run.id"], ondelete="CASCADE"),
    CheckConstraint("severity IN ('critical', 'warning', 'info')", name="severity_is_known"),
)

#: When the next request of a shared budget may leave.
rate_limit = Table(
    "rate_limit",
    metadata,
    Column("name", Text, primary_key=True),
    Column("next_at", DateTime(timezone=True), nullable=False),
)
