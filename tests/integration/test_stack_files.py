"""What the embedded stack is made from: options, programs, pools, secrets, the state file."""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import re
import stat
from pathlib import Path

import pytest
import yaml

from alpaca_strategy.config import PROJECT_ROOT, load_settings
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.stack.environment import (
    TRADING_KEYS,
    airflow_options,
    child_environment,
    stack_state,
)
from alpaca_strategy.stack.first_run import announcement
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.secrets import Secrets, load_secrets
from alpaca_strategy.state import read_state, state_file, write_state

pytestmark = pytest.mark.integration


def known_airflow_options() -> set[str]:
    """Return the options that the installed Airflow reads, from its own list of them."""
    spec = importlib.util.find_spec("airflow")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "config_templates/config.yml"
    sections = yaml.safe_load(file.read_text())
    return {
        f"{section}__{option}".upper()
        for section in sections
        for option in sections[section]["options"]
    }


def environment(home: Path, **parent: str) -> dict[str, str]:
    settings = load_settings()
    layout = Layout(home, settings.resolved_venue.value)
    return child_environment(settings, layout, Secrets(), parent)


def test_every_option_exists_in_the_installed_airflow(home: Path) -> None:
    options = airflow_options(load_settings(), Layout(home, "simulator"), Secrets())
    assert set(options) - known_airflow_options() == set()


def test_no_process_of_the_stack_gets_the_trading_keys(home: Path) -> None:
    child = environment(home, **dict.fromkeys(TRADING_KEYS, "trade"), PATH="/bin")
    assert "trade" not in child.values()


def test_an_airflow_of_the_users_shell_does_not_leak_into_ours(home: Path) -> None:
    theirs = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://production/airflow",
        "AIRFLOW__CORE__FERNET_KEY_CMD": "theirs",  # no option that we set
        "AIRFLOW__API__SSL_CERT": "/theirs.pem",
        "AIRFLOW_CONN_VENUE": "http://theirs",
        "AIRFLOW_CONFIG": "/opt/airflow/airflow.cfg",
        "AIRFLOW_HOME": "/opt/airflow",
    }
    child = environment(home, **theirs)
    assert set(theirs.values()).isdisjoint(child.values())
    assert child["AIRFLOW_HOME"] == str(home / "data/airflow")


def test_children_use_the_simulator_and_nothing_of_alpaca(home: Path) -> None:
    child = environment(home)
    assert child["ALPACA_STRATEGY_VENUE"] == "simulator"
    assert child["ALPACA_DATA_KEY"].startswith("SIM")
    assert child["ALPACA_STRATEGY_DATA_URL"].startswith("http://127.0.0.1:")


def test_children_of_paper_get_the_data_keys_and_no_simulator(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_DATA_KEY", "PKREAL")
    monkeypatch.setenv("ALPACA_DATA_SECRET", "real-secret")
    child = environment(home)
    assert child["ALPACA_STRATEGY_VENUE"] == "paper"
    assert (child["ALPACA_DATA_KEY"], child["ALPACA_DATA_SECRET"]) == ("PKREAL", "real-secret")
    assert not [value for value in child.values() if "8090" in value]


def test_paper_is_announced_with_requests_and_minutes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_DATA_KEY", "PKREAL")
    monkeypatch.setenv("ALPACA_DATA_SECRET", "real-secret")
    said = announcement(load_settings())
    # 50 sessions x 30 symbols x 2 pages of 10,000; 200 requests a minute.
    assert "about 3,000 requests" in said
    assert "about 15 minutes" in said
    assert "nothing is traded" in said


def test_every_program_is_started_by_up_alone_and_leaves_no_group_behind() -> None:
    parser = configparser.RawConfigParser(inline_comment_prefixes=None)
    parser.read(PROJECT_ROOT / "supervisord.conf")
    programs = [section for section in parser.sections() if section.startswith("program:")]
    assert len(programs) == 7
    for program in programs:
        assert parser[program]["autostart"] == "false"
        assert parser[program]["autorestart"] == "true"
        # Postgres' children end by themselves, and must not be killed.
        assert parser[program].get("killasgroup") == (
            None if program == "program:postgres" else "true"
        )


def test_pools_are_what_airflow_imports() -> None:
    pools = json.loads((PROJECT_ROOT / "include/pools.json").read_text())
    assert pools["alpaca_api"]["slots"] >= 1
    assert all(isinstance(pool["description"], str) for pool in pools.values())


def test_secrets_are_generated_once_and_for_their_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    first = load_secrets(file)
    assert load_secrets(file) == first
    assert first != Secrets()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(set(json.loads(file.read_text()).values())) == len(Secrets.__slots__)


def test_a_secret_that_came_with_a_newer_version_is_added(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    first = load_secrets(file)
    content = json.loads(file.read_text())
    del content["simulator_token"]
    file.write_text(json.dumps(content))
    assert load_secrets(file).admin_password == first.admin_password
    assert json.loads(file.read_text())["simulator_token"]


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_damaged_secrets_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secrets.json"
    file.write_text(content)
    with pytest.raises(EnvironmentFaultError, match="cannot be read"):
        load_secrets(file)


def test_the_state_is_read_back_as_written(home: Path) -> None:
    state = stack_state(load_settings(), Secrets())
    write_state(home, state)
    assert read_state(home, "simulator") == state
    assert read_state(home, "paper") is None
    assert stat.S_IMODE(state_file(home, "simulator").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"venue": "simulator"}'])
def test_a_damaged_state_is_no_state(home: Path, content: str) -> None:
    file = state_file(home, "simulator")
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert read_state(home, "simulator") is None


def test_sockets_have_a_short_path_even_below_a_deep_home(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    layout = Layout(deep, "simulator")
    assert len(os.fsencode(layout.supervisor_socket)) < 100
    assert len(os.fsencode(layout.postgres_socket)) < 100
    assert layout.supervisor_socket != Layout(deep / "other", "simulator").supervisor_socket


def test_the_example_names_settings_that_exist() -> None:
    text = (PROJECT_ROOT / ".env.example").read_text()
    for name in re.findall(r"^#?ALPACA_STRATEGY_(\w+)=", text, re.MULTILINE):
        node: object = load_settings()
        for part in name.lower().split("__"):
            node = getattr(node, part)
