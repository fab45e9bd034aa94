"""`status`: which parts of the stack run, and where."""

from __future__ import annotations

from rich.table import Table

from alpaca_strategy.config import home, load_settings
from alpaca_strategy.errors import ServiceUnavailableError
from alpaca_strategy.stack import lock, processes
from alpaca_strategy.stack.airflow_api import AirflowApi
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.report import Report, panel
from alpaca_strategy.stack.supervisor import Supervisor
from alpaca_strategy.state import read_state


def status() -> None:
    """Print the state of every program and Airflow's own opinion of its health.

    Raises:
        ServiceUnavailableError: The stack does not run, or not all of it.
    """
    running = lock.holder(Layout(home(), load_settings().resolved_venue.value))
    venue = running.venue if running else load_settings().resolved_venue.value  # .env may differ
    layout = Layout(home(), venue)
    report = Report(layout)
    programs = Supervisor(layout).programs()
    if not programs:
        stray = processes.of_stack(layout.home)
        hint = (
            f", but {len(stray)} of its processes are; end them with `make down`" if stray else ""
        )
        msg = f"The stack is not running{hint or '; start it with `make run`'}."
        raise ServiceUnavailableError(msg)
    table = Table("program", "state", "process", "", box=None)
    for program in programs.values():
        table.add_row(program.name, program.state, str(program.pid or ""), program.description)
    report.show(table)
    state = read_state(layout.home, layout.venue)
    if state is not None:
        health = AirflowApi(state.airflow_url, "", "", timeout_s=5).health()
        words = ", ".join(f"{name} {value}" for name, value in sorted(health.items()))
        report.say(f"Airflow's health: {words or 'no answer'}")
        report.show(panel(state, layout))
    if running is None:
        report.say("The `up` that started it was killed; `make down` stops what is left.")
    expected = [p for p in programs.values() if p.name != "simulator" or _simulated(layout)]
    if broken := [p.name for p in expected if p.state not in {"RUNNING", "STARTING"}]:
        msg = f"Not running: {', '.join(broken)}; the logs are in {layout.program_logs}."
        raise ServiceUnavailableError(msg)


def _simulated(layout: Layout) -> bool:
    state = read_state(layout.home, layout.venue)
    return state is not None and state.simulator_url is not None
