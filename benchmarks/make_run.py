"""How long `make run` takes: installed to UI up, again after a stop, the stop, the first data.

Runs the stack in a temporary home on ports of its own. `--quick` leaves the first backfill out.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UI_UP_S, AGAIN_S, PUBLISHED_S = 60, 60, 360
PATIENCE_S = 1800  # far beyond the goals: to tell a hang from a slow machine
PORTS = {"AIRFLOW": 18280, "POSTGRES": 18633, "SIMULATOR": 18290, "TENSORBOARD": 18206}


def environment(home: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ALPACA_", "AIRFLOW"))}
    ports = {f"ALPACA_STRATEGY_STACK__{name}_PORT": str(port) for name, port in PORTS.items()}
    return {**clean, **ports, "ALPACA_STRATEGY_HOME": str(home)}


def run_once(home: Path, until: str, *options: str) -> tuple[dict[str, float], float]:
    """Start the stack, wait for a moment, stop it; return the seconds of the steps, of the stop."""
    timings = home / "data/run/timings.json"
    timings.unlink(missing_ok=True)
    with (home / "up.out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "alpaca_strategy.stack", "up", *options],
            env=environment(home),
            stdout=output,
            stderr=output,
        )
        try:
            seconds: dict[str, float] = {}
            deadline = time.monotonic() + PATIENCE_S
            while until not in seconds:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit((home / "up.out").read_text())
                time.sleep(0.2)
                seconds = json.loads(timings.read_text()) if timings.exists() else {}
        finally:
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait()
    return seconds, round(time.monotonic() - begin, 2)


def figure(name: str, value: float, goal_s: float | None = None) -> dict[str, object]:
    goal = {} if goal_s is None else {"goal": f"at most {goal_s} s", "holds": value <= goal_s}
    return {"name": name, "value": value, "unit": "s", **goal}


def measure(*, quick: bool) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="make-run-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # Postgres' own user passes through when root runs this
        until, options = ("ready", ["--no-backfill"]) if quick else ("first_report", [])
        first, stop = run_once(home, until, *options)
        again, stop_again = run_once(home, "ready", "--no-backfill")
    figures = [
        figure("installed to UI up, first run", first["ui_up"], UI_UP_S),
        figure("UI up after a stop", again["ui_up"], AGAIN_S),
        figure("stop until no process is left", max(stop, stop_again)),
    ]
    if not quick:
        figures += [
            figure(
                "UI up to all sessions published", first["published"] - first["ui_up"], PUBLISHED_S
            ),
            figure(
                "published to a first model in service, by Airflow",
                first["first_model"] - first["published"],
            ),
            figure(
                "model in service to its backtest's report, by Airflow",
                first["first_report"] - first["first_model"],
            ),
        ]
    steps = ("postgres", "databases", "airflow", "dags")
    return figures + [figure(f"step of the first run: {name}", first[name]) for name in steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="without the first backfill")
    arguments = parser.parse_args()
    figures = measure(quick=arguments.quick)
    if arguments.json:
        print(json.dumps({"figures": figures}))
        return
    for row in figures:
        print(f"{row['name']:45} {row['value']:8.1f} s  {row.get('goal', '')}")


if __name__ == "__main__":
    main()
