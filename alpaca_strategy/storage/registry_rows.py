"""Rows of schema ``model`` into records, and back."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.domain.models import ChampionChange, VerdictKind, VersionStatus
from alpaca_strategy.storage import registry_tables as t
from alpaca_strategy.storage.registry_records import (
    ChangeRow,
    DataPin,
    Decision,
    DecisionRow,
    Metric,
    ModelVersion,
    VersionRow,
)

_PARTS = {
    "training": "training_sessions",
    "validation": "validation_sessions",
    "holdout": "holdout_sessions",
}
_NUMBERS = ("difference", "low", "high")


def version_values(version: ModelVersion) -> dict[str, Any]:
    """Return what registering a model writes to ``model.version``."""
    same = {field.name for field in fields(ModelVersion)} & set(t.version.columns.keys())
    return (
        {name: getattr(version, name) for name in same}
        | {column: list(getattr(version, name)) for name, column in _PARTS.items()}
        | {
            "venue": version.venue.value,
            "feed": version.feed.value,
            "symbols": list(version.symbols),
            "config": plain(version.config),
            "environment": plain(version.environment),
        }
    )


def version_row(row: Row[Any]) -> VersionRow:
    """Return a row of ``model.version`` as a record."""
    values = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's documented name
    parts = {name: tuple(values.pop(column)) for name, column in _PARTS.items()}
    return VersionRow(
        **values
        | parts
        | {
            "venue": Venue(values["venue"]),
            "feed": Feed(values["feed"]),
            "symbols": tuple(values["symbols"]),
            "status": VersionStatus(values["status"]),
        }
    )


def data_values(version_id: str, pin: DataPin) -> dict[str, Any]:
    """Return what a session that a model read writes to ``model.version_data``."""
    return {
        "version_id": version_id,
        "session": pin.session,
        "revision": pin.revision,
        "content_hash": pin.content_hash,
        "bars_version": pin.bars_version,
        "bars_files": list(pin.bars_files),
    }


def data_row(row: Row[Any]) -> DataPin:
    """Return a row of ``model.version_data`` as a record."""
    return DataPin(
        session=row.session,
        revision=row.revision,
        content_hash=row.content_hash,
        bars_version=row.bars_version,
        bars_files=tuple(row.bars_files),
    )


def metric_values(version_id: str, metric: Metric) -> dict[str, Any]:
    """Return what a figure writes to ``model.metric``."""
    return {
        "version_id": version_id,
        "name": metric.name,
        "slice": metric.slice,
        "value": plain(metric.value),
        "low": plain(metric.low),
        "high": plain(metric.high),
        "n": metric.n,
    }


def metric_row(row: Row[Any]) -> Metric:
    """Return a row of ``model.metric`` as a record."""
    value = math.nan if row.value is None else row.value
    return Metric(row.name, value, row.low, row.high, row.n, row.slice)


def decision_values(decision: Decision, version: VersionRow) -> dict[str, Any]:
    """Return what a decision writes to ``model.decision``."""
    return {
        "venue": version.venue.value,
        "feed": version.feed.value,
        "challenger": decision.challenger,
        "champion": decision.champion,
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "evidence": plain(decision.evidence),
        "decided_by": decision.decided_by,
    } | {name: plain(getattr(decision, name)) for name in _NUMBERS}


def decision_row(row: Row[Any]) -> DecisionRow:
    """Return a row of ``model.decision`` as a record."""
    return DecisionRow(
        challenger=row.challenger,
        champion=row.champion,
        verdict=VerdictKind(row.verdict),
        reason=row.reason,
        difference=row.difference,
        low=row.low,
        high=row.high,
        evidence=row.evidence,
        decided_by=row.decided_by,
        id=row.id,
        decided_at=row.decided_at,
    )


def change_row(row: Row[Any]) -> ChangeRow:
    """Return a row of ``model.champion_change`` as a record."""
    return ChangeRow(
        position=row.position,
        kind=ChampionChange(row.kind),
        version=row.version_id,
        provisional=row.provisional,
        decision=row.decision_id,
        reason=row.reason,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )


def plain(value: Any) -> Any:
    """Return a value with every number that is none as None: JSON and constraints know no NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def fetch_versions(connection: Connection, ids: Collection[str]) -> dict[str, VersionRow]:
    """Return the versions of these ids that are registered."""
    rows = connection.execute(select(t.version).where(t.version.c.id.in_(list(ids))))
    return {row.id: version_row(row) for row in rows}


def pinned_bars_query(feed: Feed | None = None) -> Select[tuple[Any]]:
    """Return a query for the bar files that models were made from, one list a row.

    A retired model pins nothing.
    """
    query = (
        select(t.version_data.c.bars_files)
        .join(t.version, t.version.c.id == t.version_data.c.version_id)
        .where(t.version.c.status != VersionStatus.RETIRED.value)
    )
    return query if feed is None else query.where(t.version.c.feed == feed.value)
