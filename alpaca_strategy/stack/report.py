"""What `up` tells a person while it works; a closed terminal must not stop the stopping."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.state import StackState, write_private


class Report:
    """Lines for the terminal, and the seconds that each step took."""

    def __init__(self, layout: Layout, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._layout = layout
        self._begin = time.monotonic()
        self.seconds: dict[str, float] = {}

    def say(self, text: str, style: str = "") -> None:
        """Print one line."""
        with suppress(OSError):  # the terminal was closed
            self._console.print(escape(text), style=style)

    def show(self, renderable: object) -> None:
        """Print a table or a panel."""
        with suppress(OSError):
            self._console.print(renderable)

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[None]:
        """Time a step and print a line when it is done."""
        begin = time.monotonic()
        yield
        self.done(f"{name}: {detail}" if detail else name, time.monotonic() - begin)

    def done(self, what: str, seconds: float) -> None:
        """Print a line for a step that succeeded, named by what stands before a colon."""
        self.seconds[what.partition(":")[0]] = round(seconds, 2)
        self.say(f"✓ {what} ({seconds:.1f} s)")

    def reached(self, name: str) -> None:
        """Note the seconds since the start, and keep all figures for the benchmark."""
        self.seconds[name] = round(time.monotonic() - self._begin, 2)
        write_private(self._layout.timings, json.dumps(self.seconds, indent=1) + "\n")


def panel(state: StackState, layout: Layout) -> Panel:
    """Return what a newcomer needs: the address, the login, what to look at, how to stop."""
    grid = Table.grid(padding=(0, 2))
    venue = "our exchange simulator" if state.simulator_url else "Alpaca's paper account, data only"
    rows = {
        "Airflow": f"[bold]{state.airflow_url}[/]",
        "login": f"[bold]{state.airflow_user}[/]  password [bold]{state.airflow_password}[/]",
        "venue": venue + (f" at {state.simulator_url}" if state.simulator_url else ""),
        "TensorBoard": state.tensorboard_url,
        "look at first": "Alpaca → Backtests, the newest report; Dags → market_data_nightly",
        "logs": str(layout.program_logs),
        "stop": "Ctrl-C here, or `make down` anywhere; the data stay",
    }
    for name, value in rows.items():
        grid.add_row(f"[dim]{name}[/]", value)
    return Panel(grid, title="alpaca-strategy is up", expand=False)
