"""The embedded stack from its start to its end, with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import psutil
import psycopg2
import pytest
from stack_runs import PORTS, PROGRAMS, READY_S, StackRun, interpreter_for, new_home, wait_for

from alpaca_strategy.stack import processes
from alpaca_strategy.stack.airflow_api import AirflowApi
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.state import read_state

pytestmark = [
    pytest.mark.integration,
    pytest.mark.stack,
    pytest.mark.timeout(900),  # several whole starts, on a machine that may be busy
]


@pytest.fixture
def stack() -> Iterator[StackRun]:
    run = StackRun(new_home(), ALPACA_API_KEY="TRADE", ALPACA_SECRET_KEY="TRADE-SECRET")
    yield run
    run.destroy()


def query(stack: StackRun, statement: str) -> list[tuple[object, ...]]:
    url = stack.state()["database_url"].replace("+psycopg2", "")
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def assert_nothing_is_left(stack: StackRun) -> None:
    assert [p.cmdline() for p in stack.living()] == []
    assert stack.mentioning_home() == []
    assert stack.listening() == set()


def test_up_answers_heals_stops_and_comes_back_with_its_data(stack: StackRun) -> None:
    stack.up_and_ready()

    state = read_state(stack.home, "simulator")
    assert state is not None
    api = AirflowApi(state.airflow_url, state.airflow_user, state.airflow_password)
    assert set(api.health().values()) == {"healthy"}
    assert api.import_errors() == {}
    assert stack.verb("status")[0] == 0
    wait_for(lambda: PORTS["tensorboard"] in stack.listening(), "TensorBoard listens")
    with urllib.request.urlopen(state.tensorboard_url, timeout=20) as page:
        assert page.status == 200
    with urllib.request.urlopen(f"{state.simulator_url}/_sim/health", timeout=20) as page:
        assert page.status == 200
    query(stack, "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('here')")

    private = [stack.home / "data/secrets.json", stack.home / "data/simulator/stack.json"]
    private += [stack.home / "data/airflow/passwords.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    environments = [
        p.environ() for p in stack.living() if p.username() == psutil.Process().username()
    ]
    assert not [e for e in environments if "TRADE" in str(e.values())]
    assert [e for e in environments if e.get("ALPACA_STRATEGY_VENUE") == "simulator"]

    status, said = stack.verb("up")
    assert status == 0
    assert "already running" in said
    assert state.airflow_password in said

    scheduler = psutil.Process(stack.program_pid("scheduler"))
    workers = scheduler.children()
    assert len(workers) == 8
    scheduler.kill()
    wait_for(lambda: not any(w.is_running() for w in workers), "idle workers end")
    wait_for(lambda: stack.program_pid("scheduler") not in {0, scheduler.pid}, "scheduler is back")
    stack.wait_until_said("scheduler had ended and was restarted")

    assert stack.verb("down") == (0, "The stack is down, no process is left; the data stay.")
    assert stack.up_process.wait(10) == 0
    assert_nothing_is_left(stack)
    assert "shut down" in (stack.home / "results/logs/stack/postgres.log").read_text()

    stack.up_and_ready()
    assert query(stack, "SELECT word FROM kept") == [("here",)]
    assert stack.state()["airflow_password"] == state.airflow_password
    seconds = json.loads((stack.home / "data/run/timings.json").read_text())
    assert {"postgres", "databases", "ui_up", "ready"} <= set(seconds)
    assert stack.signal(signal.SIGINT) == 0
    assert_nothing_is_left(stack)
    assert stack.verb("down") == (0, "The stack is not running.")


def test_a_killed_up_is_cleaned_up_after_and_a_dead_supervisor_ends_everything(
    stack: StackRun,
) -> None:
    stack.up_and_ready()
    left = stack.living()
    stack.signal(signal.SIGKILL)
    assert len([p for p in left if p.is_running()]) >= len(PROGRAMS)
    assert "was killed" in stack.verb("status")[1]

    stack.up_and_ready()
    assert "processes of a run that was killed are stopped first" in stack.said()
    assert not [p for p in left if p.is_running()]

    psutil.Process(int((stack.home / "data/run/supervisord.pid").read_text())).kill()
    assert stack.up_process.wait(READY_S) == 3
    assert "The supervisor has died" in stack.said()
    assert_nothing_is_left(stack)


def test_down_stops_what_a_killed_up_has_left(stack: StackRun) -> None:
    stack.up()
    stack.wait_until_said("✓ postgres")
    stack.signal(signal.SIGKILL)
    assert stack.living()
    assert stack.verb("down") == (0, "The stack is down, no process is left; the data stay.")
    assert_nothing_is_left(stack)


def test_a_home_too_deep_for_sockets_is_cleaned_up_after_as_well() -> None:
    home = new_home() / ("deep" * 20)
    home.mkdir()
    run = StackRun(home)
    try:
        for _ in range(2):
            run.up()
            run.wait_until_said("✓ postgres")
            run.signal(signal.SIGKILL)
        assert "processes of a run that was killed are stopped first" in run.said()
        assert run.verb("down")[0] == 0
        assert_nothing_is_left(run)
        assert not Layout(home, "simulator").sockets.exists()
    finally:
        run.destroy()
        home.parent.rmdir()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("starting with", signal.SIGHUP),
        ("✓ postgres", signal.SIGTERM),
        ("✓ databases", signal.SIGHUP),
    ],
)
def test_a_signal_in_the_middle_of_the_start_leaves_nothing(
    stack: StackRun, moment: str, number: signal.Signals
) -> None:
    stack.up()
    stack.wait_until_said(moment)
    assert stack.signal(number) == 0
    assert_nothing_is_left(stack)


def test_databases_come_up_as_an_ordinary_user() -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    home = new_home()
    shutil.chown(home, "nobody")
    try:
        python = interpreter_for("nobody", home / "venv")
        if python is None:
            pytest.skip("no Python with our packages that the user nobody may run")
        # Keys of an account that does not exist: the stack itself asks nothing of Alpaca.
        # pragma: allowlist nextline secret
        keys = {"ALPACA_DATA_KEY": "PKTEST", "ALPACA_DATA_SECRET": "not-a-secret"}
        run = StackRun(home, user="nobody", python=python, **keys)
        run.up()
        run.wait_until_said("✓ databases")
        users = {process.username() for process in run.living()}
        assert users == {"nobody"}
        assert {p.name() for p in run.living()} >= {"postgres"}
        assert PORTS["simulator"] not in run.listening()
        assert run.verb("down")[0] == 0
        assert run.up_process.wait(10) == 0
        assert_nothing_is_left(run)
    finally:
        processes.end_stack(home)
        shutil.rmtree(home)


def test_as_root_only_postgres_runs_as_somebody_else(stack: StackRun) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    stack.up()
    stack.wait_until_said("✓ postgres")
    servers = [p for p in stack.living() if p.name() == "postgres"]
    assert servers
    assert {p.username() for p in servers} == {"pgserver"}
    stack.signal(signal.SIGTERM)
    assert PORTS["postgres"] not in stack.listening()
