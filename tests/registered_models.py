"""Models for tests of the registry."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from stored_sessions import SYMBOLS

from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.storage.registry import Registry
from alpaca_strategy.storage.registry_records import ModelVersion, new_version_id

HERE = (Venue.SIMULATOR, Feed.IEX)
SAID = {"reason": "because", "by": "me"}
NOW = datetime.now(UTC)


def a_version(digit: str = "a", **changes: Any) -> ModelVersion:
    """Return a model whose artifact's hash is one digit, repeated."""
    created_at = changes.get("created_at", NOW)
    digest = changes.get("artifact_sha256", digit * 64)
    values: dict[str, Any] = {
        "id": new_version_id(created_at, digest),
        "created_at": created_at,
        "venue": Venue.SIMULATOR,
        "feed": Feed.IEX,
        "preset": "demo",
        "fingerprint": "f" * 16,
        "seed": 7,
        "code_version": "0.1.0",
        "config": {"data": {"feed": "iex"}, "learning_rate": 1e-3},
        "environment": {"python": "3.11.9", "torch": "2.13.0"},
        "dataset_hash": "d" * 64,
        "horizon": 10,
        "symbols": SYMBOLS,
        "training": (date(2026, 9, 1), date(2026, 9, 2)),
        "validation": (date(2026, 9, 4),),
        "holdout": (date(2026, 9, 8), date(2026, 9, 9)),
        "artifact_uri": f"file:///models/{digit}.ckpt",
        "artifact_sha256": digest,
        "expires_at": created_at + timedelta(days=42),
    }
    return ModelVersion(**values | changes)


def add(registry: Registry, digit: str, **changes: Any) -> str:
    name, new = registry.register(a_version(digit, **changes), [], [])
    assert new
    return name


def serve(registry: Registry, digit: str, **changes: Any) -> str:
    """Register a model and make it the champion."""
    name = add(registry, digit, **changes)
    champion = registry.champion(*HERE)
    registry.promote(name, expected_champion=champion.version if champion else None, **SAID)
    return name


def expired(days: int = 50) -> dict[str, datetime]:
    made = NOW - timedelta(days=days)
    return {"created_at": made, "expires_at": made + timedelta(days=42)}


def in_force(registry: Registry) -> str | None:
    champion = registry.champion(*HERE)
    return champion.version if champion else None
