"""Bring the parts up in the order in which they need each other, side by side where they do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from alpaca_strategy.config import PROJECT_ROOT, Settings
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.errors import EnvironmentFaultError, ServiceUnavailableError
from alpaca_strategy.stack import postgres, supervisor
from alpaca_strategy.stack.airflow_api import AirflowApi, answers
from alpaca_strategy.stack.background import Background
from alpaca_strategy.stack.environment import child_environment, stack_state
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.report import Report
from alpaca_strategy.stack.secrets import Secrets, load_secrets
from alpaca_strategy.state import StackState, write_private, write_state

AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
#: As the health page of Airflow names them.
_HEALTHY = {"metadatabase", "scheduler", "triggerer", "dag_processor"}
_PATIENCE_S = 480


class Starter:
    """One start of the stack; each method is a step."""

    def __init__(self, settings: Settings, layout: Layout, report: Report) -> None:
        self._settings, self._layout, self._report = settings, layout, report
        self._secrets: Secrets = load_secrets(layout.secrets)
        self.state: StackState = stack_state(settings, self._secrets)
        self.environment: Mapping[str, str] = child_environment(
            settings, layout, self._secrets, os.environ
        )
        self.supervisor = supervisor.Supervisor(layout)
        self.api = AirflowApi(
            self.state.airflow_url, self.state.airflow_user, self.state.airflow_password
        )

    def run(self) -> None:
        """Start everything and return when Airflow's page is up and the DAG files are read."""
        report, settings = self._report, self._settings
        write_state(self._layout.home, self.state)
        write_private(
            self._layout.airflow_home / "passwords.json",
            json.dumps({self.state.airflow_user: self.state.airflow_password}) + "\n",
        )
        user = postgres.system_user()
        data_directory = Background(lambda: postgres.initialise(self._layout, self._secrets))
        supervisor.launch(
            settings,
            self._layout,
            self.environment,
            postgres_bin=postgres.binaries(),
            postgres_user=user,
        )
        simulated = settings.resolved_venue is Venue.SIMULATOR
        if simulated:
            self.supervisor.start("simulator")
        with report.step("postgres", f"version {postgres.MAJOR} on port {self._postgres_port}"):
            for folder in data_directory.result():
                report.say(f"  the user {user} may now pass through {folder} (chmod o+x)")
            self._start_postgres()
        with report.step("databases", "migrated"):
            self._migrate()
        with report.step("airflow", self.state.airflow_url):
            for name in AIRFLOW:
                self.supervisor.start(name)
            self._wait(self._airflow_is_healthy, "Airflow", AIRFLOW)
        report.reached("ui_up")
        if simulated:
            with report.step("simulator", str(self.state.simulator_url)):
                page = f"{self.state.simulator_url}/_sim/health"
                self._wait(lambda: answers(page), "the simulator", ("simulator",))
        self.api.import_pools(PROJECT_ROOT / "include" / "pools.json")
        with report.step("dags", "read"):
            self._wait_for_dags()
        self.supervisor.start("tensorboard")
        report.reached("ready")

    @property
    def _postgres_port(self) -> int:
        return self._settings.stack.postgres_port

    def _start_postgres(self) -> None:
        self.supervisor.start("postgres")
        log = self._layout.program_logs / "postgres.log"
        ready = Background(lambda: postgres.wait_ready(self._settings, log))
        self._wait(lambda: ready.done, "Postgres", ("postgres",))
        ready.result()
        postgres.prepare_databases(self._settings, self._layout, self._secrets)

    def _migrate(self) -> None:
        ours = Background(lambda: migrate_strategy_database(self.state.database_url))
        self._migrate_airflow()
        ours.result()

    def _migrate_airflow(self) -> None:
        """Migrate Airflow's database unless it already is what this version made of it."""
        stamp = self._layout.stamp("airflow-migration")
        if stamp.exists() and stamp.read_text() == self._airflow_revision():
            return
        log = self._layout.program_logs / "airflow-db-migrate.log"
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode != 0:
            msg = f"Airflow's database cannot be migrated; {postgres.last_lines(log)}"
            raise ServiceUnavailableError(msg)
        write_private(stamp, self._airflow_revision())

    def _airflow_revision(self) -> str:
        """Return Airflow's version and the revision of its database; empty where it has none."""
        statement = "SELECT version_num FROM alembic_version;"
        database = f"airflow_{self._settings.resolved_venue.value}"
        try:
            rows = postgres.query(
                self._settings, self._layout, self._secrets, database, statement
            ).split()
        except ServiceUnavailableError:  # the table does not exist
            rows = []
        return f"{version('apache-airflow')} {' '.join(rows)}" if rows else ""

    def _airflow_is_healthy(self) -> bool:
        health = self.api.health()
        return all(health.get(name) == "healthy" for name in _HEALTHY)

    def _wait_for_dags(self) -> None:
        """Wait until every DAG file has been read; one that cannot be read is told, not fatal."""
        files = {path.stem for path in self._layout.dags.glob("*.py")}

        def read() -> bool:
            failed = {Path(name).stem for name in self.api.import_errors()}
            return files <= self.api.dag_ids() | failed

        self._wait(read, "the DAG files", ("dag-processor",), every_s=0.5)
        for name, reason in sorted(self.api.import_errors().items()):
            self._report.say(f"  dags/{name} cannot be read: {reason}", style="red")

    def _wait(
        self, ready: Callable[[], bool], what: str, needs: tuple[str, ...], every_s: float = 0.25
    ) -> None:
        """Wait for something, and give up as soon as a program that it needs has.

        Raises:
            EnvironmentFaultError: A program ends again and again, or the time is over.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not ready():
            programs = self.supervisor.programs()
            for name in needs:
                if name not in programs or programs[name].state == "FATAL":
                    log = self._layout.program_logs / f"{name}.log"
                    msg = f"{name} does not stay up; {postgres.last_lines(log)}"
                    raise EnvironmentFaultError(msg)
            if time.monotonic() > deadline:
                states = ", ".join(f"{name} {programs[name].state}" for name in needs)
                msg = (
                    f"{what} is not ready after {_PATIENCE_S} s ({states}); the logs are in "
                    f"{self._layout.program_logs}."
                )
                raise EnvironmentFaultError(msg)
            time.sleep(every_s)


def migrate_strategy_database(url: str) -> None:
    """Bring our own database to the newest revision."""
    from alpaca_strategy.storage import database  # noqa: PLC0415 - not while the first things start

    engine = database.connect(url)
    try:
        database.migrate(engine)
    finally:
        engine.dispose()
