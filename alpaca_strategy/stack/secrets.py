"""Keys and passwords of the embedded stack: generated once, kept in one private file."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.state import write_private


def _token() -> str:
    return secrets.token_hex(32)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class Secrets:
    """Everything that must stay the same from run to run, and that nobody chooses."""

    fernet_key: str = field(default_factory=_fernet_key)  # encrypts Airflow's connections
    jwt_secret: str = field(default_factory=_token)  # signs the tokens of API users and tasks
    api_secret_key: str = field(default_factory=_token)  # signs the sessions of the Airflow UI
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    postgres_password: str = field(default_factory=_token)  # the superuser; used by `up` alone
    airflow_db_password: str = field(default_factory=_token)
    strategy_db_password: str = field(default_factory=_token)
    simulator_key: str = field(default_factory=lambda: "SIM" + secrets.token_hex(9).upper())
    simulator_secret: str = field(default_factory=_token)
    simulator_token: str = field(default_factory=_token)  # the side door: faults and the clock


def load_secrets(path: Path) -> Secrets:
    """Return the secrets of this home, generating those that do not exist yet.

    Raises:
        EnvironmentFaultError: The file exists and cannot be read.
    """
    known = {item.name for item in fields(Secrets)}
    content: dict[str, str] = {}
    if path.exists():
        try:
            content = {k: str(v) for k, v in json.loads(path.read_text()).items() if k in known}
        except (OSError, ValueError, AttributeError) as error:
            msg = (
                f"The generated secrets in {path} cannot be read ({error}); restore the file, or "
                f"move it away together with {path.parent} to start anew."
            )
            raise EnvironmentFaultError(msg) from error
    loaded = Secrets(**content)
    if set(content) != known:
        write_private(path, json.dumps(asdict(loaded), indent=1) + "\n")
    return loaded
