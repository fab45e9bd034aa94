"""The first data and the first model: a backfill by the command line, then Airflow's own runs."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime

from alpaca_strategy.config import Settings
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.errors import AlpacaStrategyError
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.report import Report
from alpaca_strategy.stack.start import Starter

DAG_ID, TRAINING_DAG_ID = "market_data_nightly", "model_retrain_weekly"
REPORT_DAG_ID = "backtest_report"
_AIRFLOW_SESSIONS, _AIRFLOW_RUNS = 10, 4
_SOON_S = 30  # within which Airflow starts a run that an announcement asks for
#: Trades of a liquid symbol on one day, roughly; only to announce how long a backfill takes.
_TRADES = {Feed.IEX: 15_000, Feed.SIP: 250_000}


def announcement(settings: Settings) -> str:
    """Return what the first backfill will ask of the venue and how long that takes at least."""
    sessions, symbols = settings.data.first_backfill_sessions, len(settings.symbols())
    if settings.resolved_venue is Venue.SIMULATOR:
        return f"first backfill: {sessions} sessions of {symbols} symbols from the simulator"
    pages = math.ceil(_TRADES[settings.data.feed] / settings.data.page_limit)
    requests = sessions * symbols * pages
    minutes = requests / settings.data.requests_per_minute
    return (
        f"The venue is Alpaca's paper account, feed {settings.data.feed.value}; nothing is traded. "
        f"The first backfill of {sessions} sessions of {symbols} symbols takes about {requests:,} "
        f"requests ({pages} a symbol and session), at {settings.data.requests_per_minute} a minute "
        f"about {minutes:.0f} minutes. It can be interrupted: the next start goes on with it. "
        f"data.first_backfill_sessions makes it shorter."
    )


class FirstRun:
    """What only the first start does; each part is done until it succeeds once."""

    def __init__(
        self, settings: Settings, layout: Layout, report: Report, starter: Starter
    ) -> None:
        self._settings, self._layout = settings, layout
        self._report, self._starter = report, starter

    def run(self, meanwhile: Callable[[], None]) -> None:
        """Fetch the first sessions with a progress bar, then let Airflow train, report, and run.

        Args:
            meanwhile: Called about every second; it may raise to end all.
        """
        if not self._layout.stamp("first-backfill").exists():
            state = self._starter.state
            self._report.say(announcement(self._settings))
            self._report.say(
                f"meanwhile Airflow is at {state.airflow_url}, login {state.airflow_user}, "
                f"password {state.airflow_password}"
            )
            if not self._command_line_backfill(meanwhile):
                return
        if not self._layout.stamp("first-model").exists():
            self._first_model(meanwhile)
        if not self._layout.stamp("first-report").exists():
            self._first_report(meanwhile)
        if not self._layout.stamp("airflow-backfill").exists():
            self._airflow_backfill()

    def _command_line_backfill(self, meanwhile: Callable[[], None]) -> bool:
        sessions = str(self._settings.data.first_backfill_sessions)
        command = [sys.executable, "-m", "alpaca_strategy", "backfill", "--sessions", sessions]
        began = time.monotonic()
        child = subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=dict(self._starter.environment),
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for `up`, which ends it
        )
        while True:
            try:
                status = child.wait(timeout=1)
                break
            except subprocess.TimeoutExpired:
                meanwhile()
        if status == 0:
            self._mark("first-backfill")
            self._report.done("first backfill", time.monotonic() - began)
            self._report.reached("published")
            return True
        self._report.say(
            f"The first backfill ended with status {status}, the stack stays up; go on with "
            f"`.venv/bin/alpaca-strategy backfill --sessions {sessions}`, or at the next start.",
            style="red",
        )
        return False

    def _first_model(self, meanwhile: Callable[[], None]) -> None:
        """Let Airflow train a model of what was published, and wait for its verdict."""
        began, api = time.monotonic(), self._starter.api
        try:
            if TRAINING_DAG_ID not in api.dag_ids():
                return
            if REPORT_DAG_ID in api.dag_ids():
                api.unpause(REPORT_DAG_ID)  # so that the model's announcement starts its report
            api.unpause(TRAINING_DAG_ID)
            run = api.trigger(TRAINING_DAG_ID)
            self._report.say(f"Airflow runs {TRAINING_DAG_ID}: it trains and judges a first model")
            succeeded = self._wait(TRAINING_DAG_ID, run, meanwhile)
        except AlpacaStrategyError as error:
            self._report.say(f"The first model was not trained: {error}", style="red")
            return
        if succeeded:
            self._mark("first-model")
            self._report.done("first model", time.monotonic() - began)
            self._report.reached("first_model")

    def _first_report(self, meanwhile: Callable[[], None]) -> None:
        """Wait for the backtest that the new model set off."""
        if not self._layout.stamp("first-model").exists():
            return
        began, api = time.monotonic(), self._starter.api
        try:
            if REPORT_DAG_ID not in api.dag_ids():
                return
            while not (run := api.newest_run(REPORT_DAG_ID)):
                if time.monotonic() - began > _SOON_S:  # the model is older than this DAG
                    api.unpause(REPORT_DAG_ID)
                    run = api.trigger(REPORT_DAG_ID)
                    break
                meanwhile()
                time.sleep(1)
            self._report.say(f"Airflow runs {REPORT_DAG_ID}: a backtest by two engines")
            succeeded = self._wait(REPORT_DAG_ID, run, meanwhile)
        except AlpacaStrategyError as error:
            self._report.say(f"The first report was not made: {error}", style="red")
            return
        if succeeded:
            self._mark("first-report")
            self._report.done("first report", time.monotonic() - began)
            self._report.reached("first_report")

    def _wait(self, dag_id: str, run: str, meanwhile: Callable[[], None]) -> bool:
        """Return whether a run succeeds."""
        while (state := self._starter.api.run_state(dag_id, run)) not in {"success", "failed"}:
            meanwhile()
            time.sleep(1)
        if state == "failed":
            self._report.say(
                f"The run of {dag_id} failed; the log of its red task says why. Clear that task "
                f"when mended.",
                style="red",
            )
        return state == "success"

    def _airflow_backfill(self) -> None:
        """Give the Airflow UI runs to look at."""
        try:
            if DAG_ID not in self._starter.api.dag_ids():
                return
            days = published_sessions()[-_AIRFLOW_SESSIONS:]
            self._starter.api.unpause(DAG_ID)
            if days:
                self._starter.api.backfill(DAG_ID, days[0], days[-1], max_active_runs=_AIRFLOW_RUNS)
        except AlpacaStrategyError as error:
            self._report.say(f"Airflow's backfill was not started: {error}", style="red")
            return
        self._mark("airflow-backfill")
        self._report.say(
            f"Airflow runs {DAG_ID} for the last {len(days)} sessions; all green in some minutes"
        )

    def _mark(self, name: str) -> None:
        self._layout.stamp(name).write_text(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")


def published_sessions() -> list[date]:
    """Return the published sessions, oldest first."""
    from alpaca_strategy.jobs import lake, market_data  # noqa: PLC0415 - heavy, and not needed to start

    rows = lake.list_sessions(None, market_data.latest_session())
    return sorted(
        date.fromisoformat(str(row["session"])) for row in rows if row["status"] == "published"
    )
