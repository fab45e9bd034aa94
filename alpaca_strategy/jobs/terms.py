"""What whoever starts a session and whoever trades it must agree on, or nobody trades."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import alpaca_strategy
from alpaca_strategy.config import Settings
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.storage.database import schema_revision

_WORDS = {
    "code": "code",
    "schema": "database schema",
    "configuration": "configuration (data, strategy, trading, risk)",
    "model": "model in service",
}


def terms_of(settings: Settings, model: str) -> dict[str, str]:
    """Return the versions of everything that decides what is traded.

    Args:
        settings: In force here.
        model: The model in service.
    """
    return {
        "code": _code(),
        "schema": schema_revision(),
        "configuration": config_hash(settings),
        "model": model,
    }


def check_terms(agreed: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Check that this process is what the session was started with.

    Raises:
        EnvironmentFaultError: It is not: something was deployed, or only in one place.
    """
    for name, version in agreed.items():
        if ours.get(name) != version:
            msg = (
                f"The {_WORDS.get(name, name)} here is {_short(ours.get(name))} and the session "
                f"was started with {_short(version)}, so this trader does not start; deploy the "
                f"same everywhere, then stop and start the session anew."
            )
            raise EnvironmentFaultError(msg)


def config_hash(settings: Settings) -> str:
    """Return the SHA-256 of the settings that decide what is traded."""
    parts = {
        name: getattr(settings, name).model_dump(mode="json")
        for name in ("data", "strategy", "trading", "risk")
    }
    del parts["trading"]["metrics_port"]  # decides nothing
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _code() -> str:
    package = Path(alpaca_strategy.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode())
        digest.update(file.read_bytes())
    return f"{alpaca_strategy.__version__}+{digest.hexdigest()[:12]}"


def _short(version: str | None) -> str:
    return "none" if version is None else version[:24]
