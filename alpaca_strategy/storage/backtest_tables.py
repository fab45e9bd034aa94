"""The tables of schema ``report`` as queries see them; migrations create them."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from alpaca_strategy.storage.registry_tables import version

metadata = MetaData(schema="report")
version.to_metadata(metadata)  # folds refer to it

#: One row a backtest whose page is stored. Insert-only, as are the others.
backtest = Table(
    "backtest",
    metadata,
    Column("id", Text, primary_key=True),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("venue", Text, nullable=False),
    Column("feed", Text, nullable=False),
    Column("models", ARRAY(Text), nullable=False),
    Column("first_session", Date, nullable=False),
    Column("last_session", Date, nullable=False),
    Column("sessions", Integer, nullable=False),
    Column("symbols", ARRAY(Text), nullable=False),
    Column("rules", JSONB, nullable=False),
    Column("costs", JSONB, nullable=False),
    Column("cash", Double, nullable=False),
    Column("in_sample", Boolean, nullable=False),
    Column("origin", Text, nullable=False),
    Column("trades", Integer, nullable=False),
    Column("agreed", Integer, nullable=False),
    Column("difference", Text),
    Column("warnings", ARRAY(Text), nullable=False),
    Column("lineage", JSONB, nullable=False),
    Column("report_uri", Text, nullable=False),
    Column("report_sha256", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("backtest_by_age", "feed", "made_at"),
    Index("backtest_by_model", "models", postgresql_using="gin"),
)

#: What came of a backtest, figure by figure.
metric = Table(
    "metric",
    metadata,
    Column("backtest_id", Text, ForeignKey("report.backtest.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Double),
    Column("low", Double),
    Column("high", Double),
)

#: Which model scored which of its sessions, oldest first.
fold = Table(
    "fold",
    metadata,
    Column("backtest_id", Text, ForeignKey("report.backtest.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("model", Text, ForeignKey("model.version.id"), nullable=False),
    Column("trained_until", Date, nullable=False),
    Column("first_session", Date, nullable=False),
    Column("last_session", Date, nullable=False),
    Column("sessions", Integer, nullable=False),
    Column("trades", Integer, nullable=False),
    Column("total_return", Double),
    Column("sharpe", Double),
    Column("rank_ic", Double),
)

#: Its round trips, in the order in which they ended.
trade = Table(
    "trade",
    metadata,
    Column("backtest_id", Text, ForeignKey("report.backtest.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("symbol", Text, nullable=False),
    Column("entered_at", DateTime(timezone=True), nullable=False),
    Column("exited_at", DateTime(timezone=True), nullable=False),
    Column("shares", Double, nullable=False),
    Column("entry_price", Double, nullable=False),
    Column("exit_price", Double, nullable=False),
    Column("cost", Double, nullable=False),
    Column("profit", Double, nullable=False),
    Column("entry_score", Double),
    Column("exit_reason", Text, nullable=False),
)
