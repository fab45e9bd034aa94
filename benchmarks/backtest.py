"""Backtests: our compiled engine against vectorbt, and our backtrader path against a plain one.

Work: 60 sessions of 30 symbols, 702,000 symbol-bars, scores given. Every 10 minutes the best 3 with
a score of at least 0.6 are bought at the next open, at most 6 positions, each a sixth of the
equity; all are sold after 10 minutes and cool down for 15; flat before the close; 1 bp a side.

- compiled: `simulate`, from arrays to executions, round trips and the equity of every minute,
  against the fastest of vectorbt's paths (see peers/vectorbt_peer.py), from arrays to its trades
  and equity. Each engine lives in its own process, and they take turns. vectorbt has its own
  environment, .venv-peers, made here where it is missing; without it, the figure has no peer.
- growth: the same with ten times the sessions, and with 500 symbols.
- backtrader: `run_cerebro`, with its analyzers, against the plain run of peers/backtrader_peer.py,
  once each, as the latter takes more than a minute.

Before timing, all trades of every engine must be ours: names, rows and shares exactly, prices to
1e-9, and the equity of every minute to a cent.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from run import machine

from alpaca_strategy.backtest.cerebro import run_cerebro
from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.parity import compare
from alpaca_strategy.backtest.result import Run
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

HERE = Path(__file__).resolve().parent
PEERS = HERE / ".venv-peers"
PACKAGES = ("vectorbt==1.2.0", "vectorbt-rust==1.2.0")
PATHS = ("rule", "numba", "rust")
MINUTES, SESSIONS, SYMBOLS, CASH = 390, 60, 30, 1e6
TRADES = 6839  # of the 60 sessions, as every engine that we know makes them
VECTORBT_GOAL, BACKTRADER_GOAL, GROWTH_GOAL = 20.0, 2.0, 0.5
RULES = Rules(
    keep_chosen=False, trend=False, momentum=False, min_rsi=0.0, flat_minutes=1, exposure=1.0,
    slots=6,
)  # fmt: skip
COSTS = Costs(
    half_spread_bps=1.0, slippage_bps=0.0, sec_per_million=0.0, taf_per_share=0.0, taf_cap=0.0,
    participation=0.0,
)  # fmt: skip
Array = np.ndarray[Any, Any]
Outcome = dict[str, Array]


def make_bars(sessions: int, symbols: int) -> dict[str, Array]:
    """Return open, high, low, close in cents, volume, and score; each (rows, symbols)."""
    draw = np.random.default_rng(7)
    shape = (sessions * MINUTES, symbols)
    level = draw.uniform(60, 400, symbols)
    close = level * np.exp(np.cumsum(draw.normal(0, 5e-4, shape), axis=0))
    open_ = np.empty_like(close)
    open_[0] = level
    open_[1:] = close[:-1] * np.exp(draw.normal(0, 5e-5, (shape[0] - 1, symbols)))
    close, open_ = np.round(close, 2), np.round(open_, 2)
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    high = np.round(top * (1 + np.abs(draw.normal(0, 2e-4, shape))), 2)
    low = np.round(bottom * (1 - np.abs(draw.normal(0, 2e-4, shape))), 2)
    return {
        "open": open_,
        "high": np.maximum(high, top),
        "low": np.minimum(low, bottom),
        "close": close,
        "volume": draw.integers(1_000, 200_000, shape).astype(np.float64),
        "score": draw.random(shape),
    }


def history_of(bars: dict[str, Array]) -> History:
    rows, symbols = bars["close"].shape
    days: list[date] = []
    while len(days) < rows // MINUTES:
        day = days[-1] + timedelta(days=1) if days else date(2020, 1, 2)
        days.append(day if day.weekday() < 5 else day + timedelta(days=7 - day.weekday()))
    prices = {name: panel for name, panel in bars.items() if name != "score"}
    return History(
        symbols=tuple(f"S{s:03}" for s in range(symbols)),
        sessions=tuple(days),
        first_row=np.arange(len(days) + 1) * MINUTES,
        **prices,
        scores=bars["score"],
        expected_bps=bars["score"],  # no rule reads it
        split_factor=np.ones((len(days), symbols)),
    )


def outcome_of(run: Run) -> Outcome:
    names = ("symbol", "entry_row", "exit_row", "shares", "entry_price", "exit_price")
    return {"trades": np.column_stack([run.trades[n] for n in names]), "equity": run.equity}


def check(engine: str, ours: Outcome, theirs: Outcome) -> None:
    """End unless another engine's trades and equity are ours."""
    a, b = (of["trades"][np.lexsort(of["trades"][:, 2::-1].T)] for of in (ours, theirs))
    if a.shape != b.shape or not np.array_equal(a[:, :4], b[:, :4]):
        raise SystemExit(f"{engine} made {len(b)} trades, and we {len(a)}; or other ones")
    if not np.allclose(a[:, 4:], b[:, 4:], rtol=1e-9, atol=0.0):
        raise SystemExit(f"{engine} traded at other prices")
    apart = np.abs(ours["equity"] - theirs["equity"]).max()
    if not apart <= 0.01:
        raise SystemExit(f"{engine}'s equity is up to {apart:.4f} USD apart")


# ------------------------------------------------------------------------------------------ workers
def work(folder: Path) -> None:
    """Obey standard input as the peers do, with our engine."""
    with np.load(folder / "bars.npz") as file:
        history = history_of({name: file[name] for name in file.files})
    for line in sys.stdin:
        start = time.perf_counter()
        run = simulate(history, RULES, COSTS, cash=CASH)
        seconds = time.perf_counter() - start
        if line.strip() == "save":
            np.savez(folder / "ours.npz", **outcome_of(run))
        print(seconds, flush=True)


def peer_python() -> Path | None:
    """Return the Python that has vectorbt; install it where it is missing, None where we cannot."""
    python = PEERS / "bin" / "python"
    try:
        if not python.exists():
            sys.stderr.write(f"installing {', '.join(PACKAGES)} into {PEERS} …\n")
            subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        if subprocess.run([python, "-c", "import vectorbt_rust"], check=False).returncode:
            install = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
            subprocess.run(install, check=True, timeout=900, stdout=sys.stderr)
    except (subprocess.SubprocessError, OSError) as error:
        sys.stderr.write(f"no peer: {error}\n")
        return None
    return python


def tell(worker: subprocess.Popen[str], line: str) -> str:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{line}\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit("a worker ended before its time; its message is above")
    return answer


def in_turn(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every round of our engine and of vectorbt's paths."""
    commands: dict[str, list[str | Path]] = {"ours": [sys.executable, __file__, "--work", folder]}
    python = peer_python()
    if python:
        script = HERE / "peers" / "vectorbt_peer.py"
        commands |= {f"vectorbt {path}": [python, script, path, folder] for path in PATHS}
    workers: dict[str, subprocess.Popen[str]] = {}
    seconds: dict[str, list[float]] = {engine: [] for engine in commands}
    try:
        for engine, command in commands.items():
            workers[engine] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            tell(workers[engine], "save")
            with np.load(folder / f"{engine}.npz") as file:
                outcome = dict(file)
            if engine == "ours":
                first = outcome
                np.save(folder / "orders.npy", orders_of(first))
                continue
            check(engine, first, outcome)
        for _ in range(rounds):
            for engine, worker in workers.items():
                seconds[engine].append(float(tell(worker, "run")))
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait()
    return seconds


def orders_of(outcome: Outcome) -> Array:
    """Return the sizes ordered, NaN where nothing is; shape (rows, symbols)."""
    trades = outcome["trades"]
    symbol, bought, sold = trades[:, :3].astype(int).T
    orders = np.full((len(outcome["equity"]), SYMBOLS), np.nan)
    orders[bought, symbol] = trades[:, 3]
    orders[sold, symbol] = -trades[:, 3]
    return orders


# ------------------------------------------------------------------------------------------ figures
def compiled(folder: Path, rounds: int) -> tuple[dict[str, Any], dict[str, list[float]]]:
    seconds = in_turn(folder, rounds)
    taken = {engine: statistics.median(values) for engine, values in seconds.items()}
    ours = taken.pop("ours")
    figure: dict[str, Any] = {
        "name": f"compiled engine, {SESSIONS} sessions x {SYMBOLS} symbols, {TRADES:,} trades",
        "value": round(ours, 5),
        "unit": "s",
        "goal": f">= {VECTORBT_GOAL:g}x",
    }
    if taken:
        peer = min(taken, key=taken.__getitem__)
        figure |= {
            "peer": peer,
            "peer_value": round(taken[peer], 4),
            "ratio": round(taken[peer] / ours, 1),
            "holds": taken[peer] / ours >= VECTORBT_GOAL,
        }
    return figure, seconds


def growth(rounds: int) -> list[dict[str, Any]]:
    """Return symbol-bars a second of larger work, beside those of the work above."""
    shapes = ((SESSIONS, SYMBOLS), (10 * SESSIONS, SYMBOLS), (SESSIONS, 500))
    histories = {shape: history_of(make_bars(*shape)) for shape in shapes}
    seconds: dict[tuple[int, int], list[float]] = {shape: [] for shape in shapes}
    for _ in range(rounds + 1):
        for shape, history in histories.items():
            start = time.perf_counter()
            simulate(history, RULES, COSTS, cash=CASH)
            seconds[shape].append(time.perf_counter() - start)
    rates = {
        shape: histories[shape].close.size / statistics.median(taken[1:]) / 1e6
        for shape, taken in seconds.items()
    }
    base = rates.pop((SESSIONS, SYMBOLS))
    return [
        {
            "name": f"compiled engine, {sessions} sessions x {symbols} symbols",
            "value": round(rate, 1),
            "unit": "M symbol-bars/s",
            "peer": f"{SESSIONS} x {SYMBOLS}",
            "peer_value": round(base, 1),
            "ratio": round(rate / base, 2),
            "goal": f">= {GROWTH_GOAL:g}x",
            "holds": rate / base >= GROWTH_GOAL,
        }
        for (sessions, symbols), rate in rates.items()
    ]


def backtrader(folder: Path, bars: dict[str, Array]) -> dict[str, Any]:
    """Return our backtrader path's seconds beside the plain run's."""
    history = history_of(bars)
    run_cerebro(history_of(make_bars(1, 2)), RULES, COSTS, cash=CASH)  # compiles
    start = time.perf_counter()
    ours = run_cerebro(history, RULES, COSTS, cash=CASH)
    taken = time.perf_counter() - start
    compiled = simulate(history, RULES, COSTS, cash=CASH)
    agreement = compare(compiled, ours, history)
    if not agreement.holds or agreement.trades != TRADES:
        raise SystemExit(f"{agreement.trades} trades; {agreement.difference}")
    script = HERE / "peers" / "backtrader_peer.py"
    done = subprocess.run(
        [sys.executable, script, folder], capture_output=True, text=True, check=True
    )
    with np.load(folder / "backtrader.npz") as file:
        check("backtrader", outcome_of(compiled), dict(file))
    plain = float(done.stdout)
    return {
        "name": f"our backtrader path, {SESSIONS} sessions x {SYMBOLS} symbols, {TRADES:,} trades",
        "value": round(taken, 2),
        "unit": "s",
        "peer": "backtrader, plain",
        "peer_value": round(plain, 1),
        "ratio": round(plain / taken, 1),
        "goal": f">= {BACKTRADER_GOAL:g}x",
        "holds": plain / taken >= BACKTRADER_GOAL,
    }


def measure(rounds: int) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bars = make_bars(SESSIONS, SYMBOLS)
        np.savez(folder / "bars.npz", **bars)
        first, seconds = compiled(folder, rounds)
        return [first, *growth(rounds), backtrader(folder, bars)], seconds


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work)
        return
    figures, seconds = measure(given.rounds)
    about = {**machine(), "rounds": given.rounds, "seconds": seconds}
    print(json.dumps({"figures": figures, "machine": about}, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
