"""How fast the simulator generates trades and serves pages of them."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import sys
import time
from datetime import date

import psutil

from alpaca_strategy.config import load_settings
from alpaca_strategy.simulator import calendar
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.simulator.synthetic import SyntheticMarket
from alpaca_strategy.simulator.world import Parameters, World

DAYS = [day.date for day in calendar.sessions(date(2026, 9, 1), date(2026, 9, 11))]


def generation() -> float:
    """Return trades generated a second by one core: 30 symbols, a week, 6,000 trades each.

    Processor time is taken, not the wall's: other work on the machine is not ours.
    """
    rates = []
    for seed in range(6):
        market = SyntheticMarket(World(Parameters(seed=seed), load_settings().universe()))
        for symbol in market.symbols:
            market.world.opening_log_price(symbol, DAYS[0])
        started, count = time.process_time(), 0
        for day in DAYS:
            count += sum(len(market.tape("iex", symbol, day)) for symbol in market.symbols)
        rates.append(count / (time.process_time() - started))
    return statistics.median(rates[1:])


class Client:
    """A connection that asks for pages and does nothing with them."""

    def __init__(self, simulator: RunningSimulator) -> None:
        port = int(simulator.url.rsplit(":", 1)[1])
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = {"APCA-API-KEY-ID": simulator.key, "APCA-API-SECRET-KEY": simulator.secret}

    def page(self, query: str) -> tuple[float, bytes]:
        """Return the milliseconds that a page took, and the page."""
        started = time.perf_counter()
        self._connection.request("GET", f"/v2/stocks/trades?{query}", headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise SystemExit(body.decode())
        return (time.perf_counter() - started) * 1000, body


def pages(trades: int, rounds: int) -> tuple[float, float, float]:
    """Return (p95 of warm pages, p95 of first pages, memory in MB) for pages of 10,000 trades."""
    first, warm = [], []
    with running_simulator(trades=trades, now="2026-10-05T14:00:00Z", paused=True) as simulator:
        client = Client(simulator)
        client.page("symbols=AAPL&feed=iex&limit=10&start=2026-08-03&end=2026-08-03")
        for number in range(rounds):
            day = DAYS[number % len(DAYS)]
            symbols = ("AAPL,F", "MSFT,TSLA", "NVDA,ORCL", "META,GM")[number // len(DAYS) % 4]
            query = f"symbols={symbols}&feed=iex&limit=10000&start={day}&end={day}"
            took, body = client.page(query)
            if len(json.loads(body)["trades"]) == 0:
                raise SystemExit(f"no trades on {day}")
            first.append(took)
            warm += [client.page(query)[0] for _ in range(5)]
        memory = psutil.Process(simulator.pid).memory_info().rss / 2**20
    return _p95(warm), _p95(first), memory


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def startup() -> float:
    """Return the median time from starting the process to its first answer, in seconds."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        with running_simulator():
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def figure(name: str, value: float, unit: str, goal: float, *, at_least: bool) -> dict[str, object]:
    """Return a figure with its goal and whether it holds."""
    holds = value >= goal if at_least else value <= goal
    return {"name": name, "value": round(value, 2), "unit": unit, "goal": goal, "holds": holds}


def measure() -> list[dict[str, object]]:
    """Measure everything."""
    warm, first, memory = pages(6000, 28)
    _, heavy_first, heavy_memory = pages(1_000_000, 3)
    return [
        figure("generation, one core", generation(), "trades/s", 1_000_000, at_least=True),
        figure("page of 10,000 trades, warm, p95", warm, "ms", 50, at_least=False),
        figure("page never asked for before, p95", first, "ms", 100, at_least=False),
        figure("memory", memory, "MB", 500, at_least=False),
        figure("first page of a day with 1 M trades", heavy_first, "ms", 2000, at_least=False),
        figure("memory, days with 1 M trades", heavy_memory, "MB", 500, at_least=False),
        figure("process started to first answer", startup(), "s", 2, at_least=False),
    ]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    figures = measure()
    machine = {"cores": os.cpu_count(), "system": platform.platform()}
    if as_json:
        print(json.dumps({"figures": figures, "machine": machine}))
        return
    for item in figures:
        print(f"{item['name']}: {item['value']:,} {item['unit']} (goal {item['goal']:,})")


if __name__ == "__main__":
    sys.exit(main())
