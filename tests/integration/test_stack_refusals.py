"""What stands in the way of a start is told in one sentence, and nothing is left running."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_runs import PORTS, StackRun, interpreter_for, new_home

from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.stack.environment import MARKER
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.postgres import system_user
from alpaca_strategy.stack.preflight import check_folders

pytestmark = [pytest.mark.integration]


@pytest.fixture
def stack() -> Iterator[StackRun]:
    run = StackRun(new_home())
    yield run
    living = run.living()
    run.destroy()
    assert living == []


def refusal(stack: StackRun, status: int = 3) -> str:
    """Return the one sentence with which `up` refuses."""
    ended, said = stack.verb("up", "--no-backfill")
    assert ended == status, said
    assert "Traceback" not in said
    assert said.count("error: ") == 1
    return said.split("error: ")[1]


@pytest.mark.parametrize("name", ["airflow", "postgres", "simulator", "tensorboard"])
def test_a_taken_port_is_named_with_who_has_it_and_what_to_do(stack: StackRun, name: str) -> None:
    with socket.create_server(("127.0.0.1", PORTS[name])):
        said = refusal(stack)
    assert (
        f"Port {PORTS[name]} of 127.0.0.1 ({name}_port) is taken by process {os.getpid()}" in said
    )
    assert f"ALPACA_STRATEGY_STACK__{name.upper()}_PORT" in said


def test_the_simulators_port_does_not_matter_when_alpaca_is_the_venue(stack: StackRun) -> None:
    # pragma: allowlist nextline secret
    keys = {"ALPACA_DATA_KEY": "PKTEST", "ALPACA_DATA_SECRET": "not-a-secret"}
    taken = {"ALPACA_STRATEGY_STACK__TENSORBOARD_PORT": str(PORTS["airflow"])}
    stack.environment |= keys | taken
    with socket.create_server(("127.0.0.1", PORTS["simulator"])):
        said = refusal(stack)
    assert said.startswith(f"airflow_port and tensorboard_port are both {PORTS['airflow']}")


def test_too_little_disk_is_told_with_both_figures(stack: StackRun) -> None:
    stack.environment["ALPACA_STRATEGY_STACK__MIN_FREE_GIB"] = "1000000"
    said = refusal(stack)
    free = shutil.disk_usage(stack.home).free / 2**30
    assert f"Only {free:.0f}"[:6] in said
    assert "wants 1e+06 GiB" in said


def test_databases_of_another_postgres_are_not_touched(stack: StackRun) -> None:
    folder = stack.home / "data/postgres"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("16\n")
    said = refusal(stack)
    assert "was made by Postgres 16, and this stack runs Postgres 18" in said
    assert [path.name for path in folder.iterdir()] == ["PG_VERSION"]


def test_a_folder_that_is_no_database_is_not_touched(stack: StackRun) -> None:
    folder = stack.home / "data/postgres"
    folder.mkdir(parents=True)
    (folder / "holiday.jpg").write_text("a picture")
    assert "is not a Postgres data directory (it holds holiday.jpg)" in refusal(stack)
    assert (folder / "holiday.jpg").read_text() == "a picture"


def test_half_a_pair_of_keys_is_refused(stack: StackRun) -> None:
    stack.environment["ALPACA_DATA_KEY"] = "PKTEST"
    said = refusal(stack, status=2)
    assert "Only one of ALPACA_DATA_KEY and ALPACA_DATA_SECRET is set" in said


def test_damaged_secrets_are_told_and_not_replaced(stack: StackRun) -> None:
    (stack.home / "data").mkdir()
    secrets = stack.home / "data/secrets.json"
    secrets.write_text("{half")
    assert f"The generated secrets in {secrets} cannot be read" in refusal(stack)
    assert secrets.read_text() == "{half"


def test_a_stack_is_stopped_although_the_settings_have_become_nonsense(stack: StackRun) -> None:
    orphan = "sleep 600 >/dev/null 2>&1 &"
    subprocess.run(["/bin/sh", "-c", orphan], env={MARKER: str(stack.home)}, check=True)
    assert len(stack.living()) == 1
    done = subprocess.run(
        [sys.executable, "-m", "alpaca_strategy", "down"],
        env=stack.environment | {"ALPACA_STRATEGY_DATA__PAGE_LIMIT": "many"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The stack is down, no process is left; the data stay.\n"
    assert stack.living() == []


def test_a_folder_for_sockets_that_somebody_else_has_laid_out_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder that belongs to somebody else")
    layout = Layout(tmp_path / ("deep" * 25), "simulator")
    layout.home.mkdir()
    layout.sockets.mkdir()
    try:
        check_folders(layout)
        shutil.chown(layout.sockets, "nobody")
        with pytest.raises(EnvironmentFaultError, match=f"{layout.sockets} belongs to nobody"):
            check_folders(layout)
    finally:
        layout.sockets.rmdir()


def test_a_user_without_a_name_is_told_that_postgres_needs_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)  # as containers do
    with pytest.raises(EnvironmentFaultError, match="The user id 54321 has no name"):
        system_user()


def test_a_folder_of_another_user_is_named() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder that belongs to somebody else")
    home = new_home()
    try:
        (home / "data").mkdir()
        python = interpreter_for("nobody", home / "venv")
        if python is None:
            pytest.skip("no Python with our packages that the user nobody may run")
        said = refusal(StackRun(home, user="nobody", python=python))
        assert said.startswith(f"{home} belongs to root and cannot be written by this user")
    finally:
        shutil.rmtree(home)
