"""Where the running stack can be reached: one file a venue, written by `up`, read by everyone.

The file lets a command typed into another shell reach the same database and simulator without any
environment. It holds passwords, so only its owner may read it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StackState:
    """The addresses and keys of one embedded stack."""

    venue: str
    database_url: str  # our database, as SQLAlchemy writes it
    airflow_url: str
    airflow_user: str
    airflow_password: str
    tensorboard_url: str
    simulator_url: str | None = None  # None unless the venue is the simulator
    simulator_key: str | None = None
    simulator_secret: str | None = None
    simulator_token: str | None = None  # opens the simulator's side door


def state_file(home: Path, venue: str) -> Path:
    """Return where the state of a venue's stack is kept."""
    return home / "data" / venue / "stack.json"


def read_state(home: Path, venue: str) -> StackState | None:
    """Return what `up` wrote last, or None where it never ran or the file is not usable.

    The stack may have stopped since; who connects finds out.
    """
    try:
        content = json.loads(state_file(home, venue).read_text(encoding="utf-8"))
        known = {field.name for field in fields(StackState)}
        return StackState(**{name: content[name] for name in known if name in content})
    except (OSError, ValueError, TypeError):
        return None


def write_state(home: Path, state: StackState) -> None:
    """Write the state whole or not at all, readable by its owner only."""
    target = state_file(home, state.venue)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_private(target, json.dumps(asdict(state), indent=1) + "\n")


def write_private(target: Path, text: str) -> None:
    """Replace a file in one step; nobody else can read it at any moment."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(target)
