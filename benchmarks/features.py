"""The 30 features: our kernel against the same formulas in Polars, on the same bars.

60 sessions of 30 symbols, 702,000 symbol-bars with some minutes unobserved, lie in memory: for us
as arrays of each session, for Polars as one frame of float columns, sorted by session, symbol and
minute. What is timed is everything from there to 30 columns of float32:

- ours: `session_features` for each session into its place in one array, in one thread, and with as
  many threads as there are cores, a session each;
- polars: the fastest formulation we know (see `in_polars`), with POLARS_MAX_THREADS=1 and with all
  cores.

Before timing, every feature of every observed minute must agree to 1e-4 of its size or of 1, as
Polars adds in another order; and each minute worked out from the last LOOKBACK + 1 alone, as live
trading does, must have the bits of the whole session. Each engine lives in its own process, and
they take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from alpaca_strategy.features.catalogue import LOOKBACK, NAMES
from alpaca_strategy.market.schema import BAR_COLUMNS

SYMBOLS, MINUTES = 30, 390
ENGINES = {"ours": 1, "ours all cores": 0, "polars": 1, "polars all cores": 0}
GOAL = 2.0
Array = np.ndarray[Any, Any]


def make_bars(sessions: int) -> tuple[Array, Array]:
    """Return (values, observed) of shapes (minutes, symbols, columns) and (minutes, symbols)."""
    draw = np.random.default_rng(23)
    shape = (sessions * MINUTES, SYMBOLS)
    close = np.round(80 * np.exp(np.cumsum(draw.standard_normal(shape) * 4e-4, axis=0)), 2)
    spread = np.round(draw.exponential(0.03, shape), 2)
    trades = draw.poisson(draw.gamma(4, 4, shape)) + 1
    tiny = draw.binomial(trades, 0.55)
    large = draw.binomial(trades - tiny, 0.003)
    mid = draw.binomial(trades - tiny - large, 0.04)
    small = trades - tiny - large - mid
    volume = 40 * tiny + 150 * small + 700 * mid + 2500 * large + draw.integers(1, 60, shape)
    buys = draw.binomial(trades, np.clip(0.5 + 0.2 * draw.standard_normal(shape), 0, 1))
    bought = np.round(volume * buys / trades)
    several = trades > 1
    c: dict[str, Array] = {
        "open": close + spread * draw.choice([-1, 0, 1], shape),
        "high": close + spread,
        "low": close - spread,
        "close": close,
        "vwap": close + spread * draw.uniform(-0.5, 0.5, shape),
        "volume": volume,
        "trade_count": trades,
        "price_mean": close + spread * draw.uniform(-0.5, 0.5, shape),
        "price_std": np.where(several, spread / 2, np.nan),
        "dollar_volume": volume * close,
        "regular_count": draw.binomial(trades, 0.97),
        "odd_lot_count": tiny,
        "tiny_count": tiny,
        "small_count": small,
        "mid_count": mid,
        "large_count": large,
        "buy_volume": bought,
        "sell_volume": volume - bought,
        "buy_count": buys,
        "sell_count": trades - buys,
        "size_std": np.where(several, draw.exponential(90, shape), np.nan),
        "size_max": np.ceil(volume * draw.uniform(0.2, 1, shape)),
        "intertrade_ms_mean": 60_000 / trades,
    }
    values = np.stack([c[name] for name in BAR_COLUMNS], axis=-1).astype(np.float64)
    observed = draw.random(shape) < 0.95
    priced = [BAR_COLUMNS.index(n) for n in ("open", "high", "low", "close", "vwap")]
    priced += [BAR_COLUMNS.index(n) for n in ("price_mean", "price_std")]
    values[np.ix_(*map(np.arange, shape), priced)] = np.where(
        observed[..., None], values[..., priced], np.nan
    )
    return values, observed


# ------------------------------------------------------------------------------------------- ours
def ours(
    values: Array, observed: Array, cores: int
) -> tuple[Callable[[], Any], Callable[..., Any]]:
    from alpaca_strategy.features.kernel import session_features

    parts = [slice(i, i + MINUTES) for i in range(0, len(values), MINUTES)]

    def run() -> Array:
        features = np.empty((*observed.shape, len(NAMES)), np.float32)

        def one(i: int) -> None:
            part = parts[i]
            session_features(values[part], observed[part], weekday=i % 5, out=features[part])

        if cores == 1:
            for i in range(len(parts)):
                one(i)
        else:
            with ThreadPoolExecutor(cores) as pool:
                list(pool.map(one, range(len(parts))))
        return features

    return run, lambda features: features


def check_live(values: Array, observed: Array) -> None:
    """End unless the last minutes alone give the bits of the session."""
    from alpaca_strategy.features.kernel import session_features

    values, observed = values[:MINUTES], observed[:MINUTES]
    whole = session_features(values, observed, weekday=0)
    for minute in range(MINUTES):
        first = max(0, minute - LOOKBACK)
        rows = slice(first, minute + 1)
        live = session_features(values[rows], observed[rows], weekday=0, first_minute=first)
        if live[-1].tobytes() != whole[minute].tobytes():
            raise SystemExit(f"live differs from batch in minute {minute}")


# ----------------------------------------------------------------------------------------- polars
def in_polars(values: Array, observed: Array) -> tuple[Callable[[], Any], Callable[..., Any]]:
    """Use all that is known of the bars; each of these choices was faster than its alternatives.

    No `over`, but sums over windows as differences of running sums, gathered from where the window
    starts; float columns from the beginning; every intermediate named once; logarithms of prices
    taken once; the whole frame in memory, not streaming, nor in pieces that fit the cache; without
    the optimizer, which finds nothing left to do. Bars are taken to be sound: what is guarded is
    NaN, and no more.
    """
    import polars as pl

    c, nan = pl.col, float("nan")
    longs = ("volume", "trade_count", "dollars", "regular_count", "small_count", "mid_count")
    longs += ("large_count", "buy_count", "sell_count", "reach", "seen")
    shorts = (
        "volume",
        "trade_count",
        "regular_count",
        "odd_lot_count",
        "buy_volume",
        "sell_volume",
    )

    def surprise(name: str) -> pl.Expr:
        return ((1.0 + c(name)) / (1.0 + c(f"{name}60") * c("one"))).log()

    def features(frame: pl.DataFrame) -> pl.DataFrame:
        first = c("minute") == 0
        lazy = (
            frame.lazy()
            .with_columns(
                row=pl.int_range(0, pl.len(), dtype=pl.Int32),
                into=c("minute") + 1,
                # the session's first minute stops what is carried from the one before
                carried=pl.when("observed").then("close").when(first).then(nan)
                .forward_fill(limit=29).shift(1),
                dollars=c("dollar_volume").round(0),
                seen=c("observed").cast(pl.Float64),
                deviation=c("price_std").fill_nan(0.0),
            )
            .with_columns(
                prior=pl.when(first | c("carried").is_nan() | c("carried").is_null())
                .then("open").otherwise("carried").log(),
                o=c("open").log(), h=c("high").log(), l=c("low").log(), k=c("close").log(),
                v=c("vwap").log(), m=c("price_mean").log(),
                n60=c("into").clip(upper_bound=60), n10=c("into").clip(upper_bound=10),
            )
            .with_columns(
                reach=pl.when("observed").then(
                    pl.when(c("h") > c("prior")).then("h").otherwise("prior")
                    - pl.when(c("l") < c("prior")).then("l").otherwise("prior")
                ).otherwise(0.0),
                i60=pl.when(c("row") >= c("n60")).then(c("row") - c("n60")),
                i10=pl.when(c("row") >= c("n10")).then(c("row") - c("n10")),
                one=1.0 / c("n60").cast(pl.Float64), one10=1.0 / c("n10").cast(pl.Float64),
            )
            .with_columns(**{f"{n}+": c(n).cum_sum() for n in dict.fromkeys(longs + shorts)})
            .with_columns(
                **{f"{n}60": c(f"{n}+") - c(f"{n}+").gather(c("i60")).fill_null(0.0)
                   for n in longs},
                **{f"{n}10": c(f"{n}+") - c(f"{n}+").gather(c("i10")).fill_null(0.0)
                   for n in shorts},
            )
            .with_columns(
                usual=100.0 + c("volume60") * c("one"),
                half=100.0 + 0.5 * c("volume60") * c("one"),
                reach60=c("reach60") / c("seen60"),
                flow=c("buy_volume") - c("sell_volume"),
            )
            .with_columns(unit=pl.when(c("reach60") > 0).then(1.0 / c("reach60")).otherwise(0.0))
        )  # fmt: skip
        found = {
            "open": (c("o") - c("prior")) * 1e4,
            "high": (c("h") - c("k")) * c("unit"),
            "low": (c("l") - c("k")) * c("unit"),
            "close": (c("k") - c("prior")) * 1e4,
            "volume": ((100.0 + c("volume")) / c("usual")).log(),
            "trade_count": surprise("trade_count"),
            "vwap": (c("v") - c("k")) * 1e4,
            "mean": (c("m") - c("v")) * 1e4,
            "std": (c("deviation") / (c("high") - c("low"))).fill_nan(0.0),
            "dollar_volume": (
                (1e-4 + c("reach")) * (1.0 + c("dollars60") * c("one"))
                / ((1e-4 + c("reach60")) * (1.0 + c("dollars")))
            ).log(),
            "cond_is_regular": (
                (1.0 + c("regular_count10") * c("one10"))
                / (1.0 + c("regular_count60") * c("one"))
            ).log(),
            "odd_lot_count": c("odd_lot_count10") / c("trade_count10"),
            "cnt_tiny": c("tiny_count") / c("trade_count"),
            "cnt_small": surprise("small_count"),
            "cnt_mid": surprise("mid_count"),
            "cnt_large": surprise("large_count"),
            "buy_volume": ((100.0 + c("buy_volume")) / c("half")).log(),
            "sell_volume": ((100.0 + c("sell_volume")) / c("half")).log(),
            "order_flow_imbalance": c("flow") / (c("usual") - 99.0),
            "buy_trade_count": (c("buy_count") - c("sell_count")) / c("trade_count"),
            "sell_trade_count": (1.0 + c("sell_count60"))
            / (2.0 + c("buy_count60") + c("sell_count60")),
            "avg_trade_size": (
                c("volume10") * c("trade_count60") / (c("trade_count10") * c("volume60"))
            ).log(),
            "trade_size_std": (
                1.0 + c("size_std").fill_nan(0.0) * c("trade_count") / c("volume")
            ).log(),
            "max_trade_size": c("size_max") / c("volume"),
            "intertrade_ms_mean": (
                (1000.0 + c("intertrade_ms_mean") * c("trade_count")) / 61_000.0
            ).log().fill_nan(0.0),
            "order_flow_ratio": c("flow") / c("volume"),
            "buy_sell_ratio": ((100.0 + c("buy_volume10")) / (100.0 + c("sell_volume10"))).log(),
            "volatility_proxy": (1.0 + 1e4 * c("deviation") / c("price_mean")).log(),
            "minute_of_day": c("minute") / 390.0,
            "day_of_week": c("weekday") / 4.0,
        }  # fmt: skip
        return lazy.select(**{n: e.cast(pl.Float32) for n, e in found.items()}).collect(
            optimizations=pl.QueryOptFlags.none()
        )

    sessions = len(values) // MINUTES
    order = (sessions, MINUTES, SYMBOLS)

    def sorted_column(array: Array) -> Array:
        return np.ascontiguousarray(array.reshape(order).transpose(0, 2, 1)).reshape(-1)

    rows = sessions * SYMBOLS * MINUTES
    frame = pl.DataFrame(
        {
            **{n: sorted_column(values[..., i]) for i, n in enumerate(BAR_COLUMNS)},
            "observed": sorted_column(observed),
            "minute": np.tile(np.arange(MINUTES, dtype=np.int32), sessions * SYMBOLS),
            "weekday": np.arange(rows) // (SYMBOLS * MINUTES) % 5,
        }
    )

    def back(result: pl.DataFrame) -> Array:
        table = result.select(NAMES).to_numpy()
        return table.reshape(sessions, SYMBOLS, MINUTES, -1).transpose(0, 2, 1, 3).reshape(
            *observed.shape, -1
        )  # fmt: skip

    return lambda: features(frame), back


# ------------------------------------------------------------------------------------ measurement
def work(engine: str, folder: Path) -> None:
    """Do what standard input says: save the result, or run and tell the seconds."""
    values, observed = np.load(folder / "values.npy"), np.load(folder / "observed.npy")
    if engine.startswith("ours"):
        run, array = ours(values, observed, ENGINES[engine] or os.cpu_count() or 1)
    else:
        run, array = in_polars(values, observed)
    for line in sys.stdin:
        if line.strip() == "save":
            np.save(folder / f"{engine}.npy", array(run()))
            if engine == "ours":
                check_live(values, observed)
            print("saved", flush=True)
        else:
            start = time.perf_counter()
            result = run()
            print(time.perf_counter() - start, flush=True)
            del result


def compare(folder: Path, engine: str) -> None:
    """End unless the engine's features are ours."""
    mine, theirs = (np.load(folder / f"{name}.npy") for name in ("ours", engine))
    observed = np.load(folder / "observed.npy")
    if np.isfinite(mine).all(axis=-1).tobytes() != observed.tobytes():
        raise SystemExit("features are not finite exactly where a bar was observed")
    for place, name in enumerate(NAMES):
        x, y = mine[..., place][observed], theirs[..., place][observed]
        wrong = np.flatnonzero(~(np.abs(x - y) <= 1e-4 * np.maximum(np.abs(x), 1.0)))
        if len(wrong) or (engine == "ours all cores" and x.tobytes() != y.tobytes()):
            raise SystemExit(f"{engine}: {name} differs in {len(wrong)} bars, e.g. "
                             f"{x[wrong[:3]]} against {y[wrong[:3]]}")  # fmt: skip


def measure(sessions: int, rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values, observed = make_bars(sessions)
        np.save(folder / "values.npy", values)
        np.save(folder / "observed.npy", observed)
        del values, observed
        workers: dict[str, subprocess.Popen[str]] = {}
        try:
            for engine, threads in ENGINES.items():
                limit = {"POLARS_MAX_THREADS": "1"} if threads == 1 else {}
                workers[engine] = subprocess.Popen(
                    [sys.executable, __file__, "--work", engine, str(folder)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                    env={**os.environ, **limit},
                )  # fmt: skip
                tell(workers[engine], "save")
                if engine != "ours":
                    compare(folder, engine)
            for _ in range(rounds):
                for engine, worker in workers.items():
                    seconds[engine].append(float(tell(worker, "run")))
        finally:
            for worker in workers.values():
                worker.kill()
                worker.wait()
    return seconds


def tell(worker: subprocess.Popen[str], line: str) -> str:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{line}\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit("a worker ended before its time; its message is above")
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--work", nargs=2, metavar=("ENGINE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work[0], Path(given.work[1]))
        return
    seconds = measure(given.sessions, given.rounds)
    rows = given.sessions * MINUTES * SYMBOLS
    rate = {engine: rows / statistics.median(taken) / 1e6 for engine, taken in seconds.items()}
    figures = [
        {
            "name": f"30 features of {rows:,} symbol-bars, {where}",
            "value": round(rate[engine], 2),
            "unit": "M symbol-bars/s",
            "peer": peer,
            "peer_value": round(rate[peer], 2),
            "ratio": round(rate[engine] / rate[peer], 2),
            "goal": f">= {GOAL:g}x",
            "holds": rate[engine] / rate[peer] >= GOAL,
        }
        for where, engine, peer in (
            ("one core", "ours", "polars"),
            ("all cores", "ours all cores", "polars all cores"),
        )
    ]
    machine = {"cores": os.cpu_count(), "rounds": given.rounds, "seconds": seconds}
    print(json.dumps({"figures": figures, "machine": machine}, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
