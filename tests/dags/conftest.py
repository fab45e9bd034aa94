"""A throw-away Airflow home; set before anything imports Airflow, which reads it at once."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_HOME = tempfile.TemporaryDirectory(prefix="airflow-")  # removed when the process ends

os.environ.update(
    {
        "AIRFLOW_HOME": _HOME.name,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME.name}/airflow.db",
    }
)
for folder in ("plugins", "dags"):  # as Airflow itself puts them on the path
    sys.path.append(str(ROOT / folder))


@pytest.fixture(scope="session")
def dagbag() -> Any:
    """Parse all DAG files once, as the DAG processor does."""
    from airflow.dag_processing.dagbag import DagBag

    with warnings.catch_warnings():
        # Airflow reads .airflowignore with a class that its own dependency has deprecated.
        warnings.filterwarnings("ignore", message="GitWildMatchPattern")
        return DagBag(ROOT / "dags", bundle_path=ROOT / "dags")


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Create Airflow's own tables in the throw-away home."""
    from airflow.utils.db import initdb

    with warnings.catch_warnings():  # Airflow's own use of what it has deprecated itself
        warnings.simplefilter("ignore")
        initdb()
