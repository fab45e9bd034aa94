"""The tables of schema ``model`` as queries see them; migrations create them."""

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
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(schema="model")

_VERSION = ["model.version.id", "model.version.venue", "model.version.feed"]

#: One row a trained model whose artifact is stored. Only its status ever changes.
version = Table(
    "version",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("venue", Text, nullable=False),
    Column("feed", Text, nullable=False),
    Column("preset", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("environment", JSONB, nullable=False),
    Column("dataset_hash", Text, nullable=False),
    Column("horizon", Integer, nullable=False),
    Column("symbols", ARRAY(Text), nullable=False),
    Column("training_sessions", ARRAY(Date), nullable=False),
    Column("validation_sessions", ARRAY(Date), nullable=False),
    Column("holdout_sessions", ARRAY(Date), nullable=False),
    Column("artifact_uri", Text, nullable=False),
    Column("artifact_sha256", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("status", Text, nullable=False, server_default=text("'registered'")),
    Column("status_reason", Text),
    Column("status_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("status_by", Text),
    UniqueConstraint("id", "venue", "feed", name="version_of_one_tape"),
    UniqueConstraint("venue", "feed", "artifact_sha256", name="an_artifact_is_one_version"),
    Index("version_by_age", "venue", "feed", "created_at"),
)

#: The session revisions and bar files that a version was made from. Insert-only.
version_data = Table(
    "version_data",
    metadata,
    Column("version_id", Text, ForeignKey("model.version.id"), primary_key=True),
    Column("session", Date, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("bars_version", BigInteger, nullable=False),
    Column("bars_files", ARRAY(Text), nullable=False),
)

#: How good a version was, over all of the hold-out and over slices of it. Insert-only.
metric = Table(
    "metric",
    metadata,
    Column("version_id", Text, ForeignKey("model.version.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("slice", Text, primary_key=True, server_default=text("'all'")),
    Column("value", Double),
    Column("low", Double),
    Column("high", Double),
    Column("n", BigInteger, nullable=False),
)

#: One row a judgement of a challenger. Insert-only.
decision = Table(
    "decision",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("venue", Text, nullable=False),
    Column("feed", Text, nullable=False),
    Column("challenger", Text, nullable=False),
    Column("champion", Text),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("difference", Double),
    Column("low", Double),
    Column("high", Double),
    Column("evidence", JSONB, nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("decided_by", Text, nullable=False),
    ForeignKeyConstraint(["challenger", "venue", "feed"], _VERSION),
    ForeignKeyConstraint(["champion", "venue", "feed"], _VERSION),
    Index("decision_by_challenger", "challenger", "id"),
)

#: Every change of the champion; the one with the highest position is in force. Insert-only.
#: Positions follow each other, so of two changes at once the key lets only one in.
champion_change = Table(
    "champion_change",
    metadata,
    Column("venue", Text, primary_key=True),
    Column("feed", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("version_id", Text, nullable=False),
    Column("provisional", Boolean, nullable=False),
    Column("decision_id", BigInteger, ForeignKey("model.decision.id")),
    Column("reason", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("changed_by", Text, nullable=False),
    ForeignKeyConstraint(["version_id", "venue", "feed"], _VERSION),
)
