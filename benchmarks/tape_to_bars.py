"""Tape to minute bars, all columns: our kernel against Polars and pandas on the same tape.

20 M trades of 30 symbols in 60 sessions lie in memory as an Arrow table in ``TRADE_SCHEMA``, with
conditions and symbols as plain strings. What is timed:

- ours: `build_session_bars` for each session, from the Arrow table to the finished Arrow bars
  (strings to codes, kernel, the full grid of minutes), in one thread;
- polars: the fastest formulation we know, once with POLARS_MAX_THREADS=1 and once with all cores:
  everything after `pl.from_arrow`, whose time is not counted, without filling the grid;
- pandas: a plain `groupby(...).agg(...)`, after `to_pandas`, whose time is not counted either.

Before timing, every column of every minute with a trade must be equal: counts, volumes and the
four prices exactly, sums and means of floats to 1e-9 of their size (they are added in another
order). Each engine lives in its own process, and they take turns.
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
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.conditions import (
    HIGH_LOW,
    ODD_LOT,
    REGULAR,
    TICK,
    VOLUME,
    load_condition_table,
)
from alpaca_strategy.market.schema import BAR_COLUMNS, TRADE_SCHEMA

SYMBOLS = [f"S{n:02d}" for n in range(30)]
SESSIONS = exchange_calendar().sessions(date(2026, 1, 5), date(2026, 3, 31))[:60]
MINUTE = 60_000_000_000
EXACT = {"open", "high", "low", "close", "size_max"} | {
    n for n in BAR_COLUMNS if n.endswith(("_count", "volume")) and n != "dollar_volume"
}
CONDITIONS = ["@", "@,I", "@,F", "@,F,I", "@,W", "@,4", "@,T", "@,T,I", " ", " ,I", " ,F", "B"]
TABLE = load_condition_table("alpaca")


def make_tape(trades: int) -> pa.Table:
    """Return a tape sorted by session, symbol and time; cheap to make, shaped like a day."""
    rng = np.random.default_rng(11)
    weight = 1 / np.arange(1, len(SYMBOLS) + 1) ** 0.5
    parts: dict[str, list[np.ndarray[Any, Any]]] = {n: [] for n in ("ts", "p", "s", "c", "y", "z")}
    for session in SESSIONS:
        opens = int(session.opens_at.timestamp()) * 10**9
        counts = rng.multinomial(trades // len(SESSIONS), weight / weight.sum())
        for symbol, n in enumerate(counts):
            at = (rng.beta(0.7, 0.8, n) * 390 * MINUTE).astype(np.int64)
            early = rng.random(n) < 0.02
            at[early] = rng.integers(-30 * MINUTE, 0, early.sum())
            at.sort()
            steps = rng.choice([0, 0, 0, 1, -1], n)
            odd = rng.random(n) < 0.4
            sweep = rng.random(n) < 0.15
            tape_a = symbol % 3 == 0
            code = np.where(tape_a, 8, 0) + odd + np.where(sweep & ~(tape_a & odd), 2, 0)
            code[at < 0] = 6
            rare = rng.random(n)
            code[rare < 0.004], code[rare < 0.002] = 4, 5
            code[rare > 0.999] = 11
            size = np.where(odd, rng.integers(1, 100, n), 100 * rng.geometric(0.5, n))
            parts["ts"].append(opens + at)
            parts["p"].append(np.round(20 + 10 * symbol + np.cumsum(steps) * 0.01, 2))
            parts["s"].append(size)
            parts["c"].append(code)
            parts["y"].append(np.full(n, symbol))
            parts["z"].append(np.full(n, 0 if tape_a else 1))
    a = {name: np.concatenate(values) for name, values in parts.items()}
    rows = len(a["ts"])

    def text(names: list[str], index: np.ndarray[Any, Any]) -> pa.Array:
        return pa.array(names).take(pa.array(index))

    return pa.table(
        [
            text(SYMBOLS, a["y"]),
            pa.array(a["ts"]),
            pa.array(np.maximum(a["p"], 1.0)),
            pa.array(a["s"]),
            text(["V"], np.zeros(rows, np.int64)),
            text(CONDITIONS, a["c"]),
            text(["A", "C"], a["z"]),
            pa.array(np.arange(rows)),
            pa.nulls(rows, pa.string()),
        ],
        schema=TRADE_SCHEMA,
    )


def by_session(tape: pa.Table) -> list[tuple[pa.Table, int]]:
    """Return each session's part of the tape, and when it opens."""
    day = np.asarray(tape["ts_ns"]) // (86400 * 10**9)
    cuts = [*np.flatnonzero(np.diff(day, prepend=-1)), len(tape)]
    opens = [int(s.opens_at.timestamp()) * 10**9 for s in SESSIONS]
    pieces = [tape.slice(a, b - a) for a, b in pairwise(cuts)]
    return list(zip(pieces, opens, strict=True))


# ------------------------------------------------------------------------------------------- ours
def ours(tape: pa.Table) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    import polars as pl

    from alpaca_strategy.market.bars import build_session_bars

    pieces = [piece for piece, _ in by_session(tape)]

    def run() -> list[pa.Table]:
        return [
            build_session_bars(piece, session, SYMBOLS, TABLE)
            for piece, session in zip(pieces, SESSIONS, strict=True)
        ]

    def frame(result: list[pa.Table]) -> Any:
        return (
            pl.from_arrow(pa.concat_tables(result))
            .filter(pl.col("trade_count") > 0)
            .select("symbol", pl.col("start_at").dt.timestamp("ms").alias("at"), *BAR_COLUMNS)
        )

    return run, frame


# ----------------------------------------------------------------------------------------- polars
def in_polars(tape: pa.Table) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Use all that is known of the tape; each of these choices was faster than its alternatives.

    Sorted input, so no `over`, but changes of symbol and one sorted integer key; conditions as an
    Enum into a table of bits; prepared columns instead of filtered aggregates; session by session,
    which stays in the cache (1.5 times as fast as all sessions at once); in memory, not streaming.
    """
    import polars as pl

    letters = pl.Enum(CONDITIONS)
    table = pl.Series([TABLE.updates(c, t) for t in "CA" for c in CONDITIONS], dtype=pl.UInt8)
    flag, price, size = pl.col("bits"), pl.col("price"), pl.col("size")
    ticks, first, last = (flag & TICK) != 0, pl.col("first"), pl.col("last")
    known = last.is_not_nan()  # to Polars NaN is greater than every price
    buy, sell = ticks & (pl.col("sign") > 0), ticks & (pl.col("sign") < 0)
    p = pl.when((flag & HIGH_LOW) != 0).then(price)
    nought = pl.lit(0, pl.UInt32)

    def bars(trades: pl.DataFrame, opens: int) -> pl.DataFrame:
        code = pl.col("conditions").cast(letters).to_physical().cast(pl.UInt32)
        return (
            trades.lazy()
            .select(
                "symbol",
                "price",
                "size",
                since=pl.col("ts_ns") - opens,
                bits=pl.lit(table).gather(
                    code + pl.when(pl.col("tape") == "C").then(nought).otherwise(len(CONDITIONS))
                ),
                group=pl.col("symbol").rle_id().cast(pl.Int32),
            )
            .filter(
                (pl.col("since") >= 0) & (pl.col("since") < 390 * MINUTE) & ((flag & VOLUME) != 0)
            )
            .with_columns(
                first=(pl.col("group").diff() != 0).fill_null(value=True),
                minute=(pl.col("since") // MINUTE).cast(pl.Int32),
            )
            .with_columns(
                key=pl.col("group") * 512 + pl.col("minute"),
                gap=pl.when(~first).then(pl.col("since").diff()),
                last=pl.when(ticks)
                .then(price)
                .when(first)
                .then(float("nan"))
                .forward_fill()
                .shift(1),
            )
            .with_columns(
                sign=pl.when(first)
                .then(0)
                .when(ticks & (price > last) & known)
                .then(1)
                .when(ticks & (price < last) & known)
                .then(-1)
                .cast(pl.Int8)
                .forward_fill(),
            )
            .select(
                pl.col("key").set_sorted(),
                "symbol",
                "minute",
                "size",
                "gap",
                p=p,
                priced_dollars=p * size,
                priced_volume=pl.when((flag & HIGH_LOW) != 0).then(size).otherwise(0),
                dollar_volume=price * size,
                regular_count=(flag & REGULAR) != 0,
                odd_lot_count=(flag & ODD_LOT) != 0,
                tiny_count=size < 100,
                small_count=(size >= 100) & (size < 500),
                mid_count=(size >= 500) & (size < 2000),
                buy_count=buy,
                sell_count=sell,
                buy_volume=pl.when(buy).then(size).otherwise(0),
                sell_volume=pl.when(sell).then(size).otherwise(0),
            )
            .group_by("key")
            .agg(
                pl.col("symbol", "minute").first(),
                pl.col("p").first(ignore_nulls=True).alias("open"),
                pl.col("p").max().alias("high"),
                pl.col("p").min().alias("low"),
                pl.col("p").last(ignore_nulls=True).alias("close"),
                pl.col(
                    "priced_dollars",
                    "priced_volume",
                    "dollar_volume",
                    "regular_count",
                    "odd_lot_count",
                    "tiny_count",
                    "small_count",
                    "mid_count",
                    "buy_count",
                    "sell_count",
                    "buy_volume",
                    "sell_volume",
                ).sum(),
                pl.len().alias("trade_count"),
                pl.col("size").sum().alias("volume"),
                pl.col("p").mean().alias("price_mean"),
                pl.col("p").std().alias("price_std"),
                pl.col("size").std().alias("size_std"),
                pl.col("size").max().alias("size_max"),
                pl.col("gap").mean().alias("gap"),
            )
            .with_columns(
                vwap=pl.col("priced_dollars") / pl.col("priced_volume"),
                intertrade_ms_mean=pl.col("gap") / 1e6,
                large_count=pl.col("trade_count")
                - pl.sum_horizontal("tiny_count", "small_count", "mid_count"),
                at=(opens + pl.col("minute").cast(pl.Int64) * MINUTE) // 1_000_000,
            )
            .collect()
        )

    pieces = [(pl.from_arrow(piece), opens) for piece, opens in by_session(tape)]
    return (
        lambda: [bars(trades, opens) for trades, opens in pieces],
        lambda frames: pl.concat(frames).select("symbol", "at", *BAR_COLUMNS),
    )


# ----------------------------------------------------------------------------------------- pandas
def in_pandas(tape: pa.Table) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    import pandas as pd
    import polars as pl

    trades = tape.drop_columns(["update", "exchange", "id"]).to_pandas()
    known = {t: {c: TABLE.updates(c, t) for c in CONDITIONS} for t in "AC"}

    def run() -> pd.DataFrame:
        f = trades
        of_c = f["conditions"].map(known["C"])
        bits = of_c.where(f["tape"] == "C", f["conditions"].map(known["A"]))
        minute = f["ts_ns"] // MINUTE
        day = f["ts_ns"] // (86400 * 10**9)
        into = minute - day.map({s.opens_at.timestamp() // 86400: s.opens_at.timestamp() // 60
                                 for s in SESSIONS})  # fmt: skip
        keep = into.between(0, 389) & (bits & VOLUME != 0)
        x = f.loc[keep, ["symbol", "ts_ns", "price", "size"]]
        bits, x["minute"], x["day"] = bits[keep], minute[keep], day[keep]
        group = ["symbol", "day"]
        ticks = bits & TICK != 0
        last = x["price"].where(ticks)
        before = last.groupby([x["symbol"], x["day"]], sort=False).ffill()
        before = before.groupby([x["symbol"], x["day"]], sort=False).shift()
        sign = np.sign(x["price"] - before).where(ticks)
        sign = sign.replace(0, np.nan).groupby([x["symbol"], x["day"]], sort=False).ffill()
        priced = bits & HIGH_LOW != 0
        x["p"], x["q"] = x["price"].where(priced), x["size"].where(priced)
        x["priced_dollars"] = x["p"] * x["size"]
        x["dollars"] = x["price"] * x["size"]
        x["ts_ns"] %= 86400 * 10**9  # diff works in floats, which cannot hold a whole time
        x["gap"] = x.groupby(group, sort=False)["ts_ns"].diff()
        x["regular"], x["odd"] = bits & REGULAR != 0, bits & ODD_LOT != 0
        x["tiny"], x["small"] = x["size"] < 100, x["size"].between(100, 499)
        x["mid"], x["large"] = x["size"].between(500, 1999), x["size"] >= 2000
        x["buy"], x["sell"] = ticks & (sign > 0), ticks & (sign < 0)
        x["bought"], x["sold"] = x["size"].where(x["buy"], 0), x["size"].where(x["sell"], 0)
        r = x.groupby(["symbol", "minute"], sort=False).agg(
            open=("p", "first"), high=("p", "max"), low=("p", "min"), close=("p", "last"),
            priced_dollars=("priced_dollars", "sum"), q=("q", "sum"), volume=("size", "sum"),
            trade_count=("size", "count"), price_mean=("p", "mean"), price_std=("p", "std"),
            dollar_volume=("dollars", "sum"), regular_count=("regular", "sum"),
            odd_lot_count=("odd", "sum"), tiny_count=("tiny", "sum"),
            small_count=("small", "sum"), mid_count=("mid", "sum"), large_count=("large", "sum"),
            buy_volume=("bought", "sum"), sell_volume=("sold", "sum"), buy_count=("buy", "sum"),
            sell_count=("sell", "sum"), size_std=("size", "std"), size_max=("size", "max"),
            intertrade_ms_mean=("gap", "mean"),
        )  # fmt: skip
        r["vwap"] = r["priced_dollars"] / r["q"]
        r["intertrade_ms_mean"] /= 1e6
        return r.reset_index()

    def frame(result: pd.DataFrame) -> Any:
        result["at"] = result["minute"] * 60_000
        return pl.from_pandas(result[["symbol", "at", *BAR_COLUMNS]])

    return run, frame


ENGINES = {"ours": ours, "polars": in_polars, "polars all cores": in_polars, "pandas": in_pandas}


# ---------------------------------------------------------------------------------- taking turns
def work(engine: str, folder: Path) -> None:
    """Serve one engine: a line in, a run, its seconds out; "save" writes the result instead."""
    import polars as pl

    tape = pa.ipc.open_file(pa.memory_map(str(folder / "tape.arrow"))).read_all()
    run, frame = ENGINES[engine](tape)
    result = run()  # compile, fault in, fill caches
    for line in sys.stdin:
        if line.strip() == "save":
            numbers = [pl.col(n).cast(pl.Float64).fill_null(float("nan")) for n in BAR_COLUMNS]
            keys = [pl.col("symbol").cast(pl.String), pl.col("at").cast(pl.Int64)]
            frame(result).select(*keys, *numbers).sort("symbol", "at").write_ipc(
                folder / f"{engine}.arrow"
            )
            print("saved", flush=True)
            continue
        result = None  # what a run leaves behind is not freed on the clock
        began = time.perf_counter()
        result = run()
        print(time.perf_counter() - began, flush=True)


def compare(folder: Path, engine: str) -> None:
    """Raise unless the engine's bars equal ours; see the module's text for what equal means."""
    import polars as pl

    a, b = pl.read_ipc(folder / "ours.arrow"), pl.read_ipc(folder / f"{engine}.arrow")
    if not a.select("symbol", "at").equals(b.select("symbol", "at")):
        raise SystemExit(f"{engine}: other minutes than ours ({len(b)} against {len(a)})")
    for name in BAR_COLUMNS:
        x, y = a[name].to_numpy(), b[name].to_numpy()
        # a deviation of equal values is 0 for us and rounding noise for the others
        slack = 0.0 if name in EXACT else 1e-6 if name.endswith("_std") else 1e-9
        if not np.allclose(x, y, rtol=0.0 if name in EXACT else 1e-9, atol=slack, equal_nan=True):
            bad = np.flatnonzero(~np.isclose(x, y, rtol=1e-9, atol=slack, equal_nan=True))
            raise SystemExit(f"{engine}: {name} differs in {len(bad)} bars, e.g. "
                             f"{x[bad[:3]]} against {y[bad[:3]]}")  # fmt: skip


def measure(trades: int, rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tape = make_tape(trades)
        with pa.ipc.new_file(folder / "tape.arrow", tape.schema) as file:
            file.write_table(tape)
        del tape
        workers: dict[str, subprocess.Popen[str]] = {}
        try:
            for engine in ENGINES:
                threads = {} if engine == "polars all cores" else {"POLARS_MAX_THREADS": "1"}
                workers[engine] = subprocess.Popen(
                    [sys.executable, __file__, "--work", engine, str(folder)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                    env={**os.environ, **threads},
                )  # fmt: skip
                tell(workers[engine], "save")  # one at a time: memory
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
    parser.add_argument("--trades", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", nargs=2, metavar=("ENGINE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work[0], Path(given.work[1]))
        return
    seconds = measure(given.trades, given.rounds)
    rate = {e: given.trades / statistics.median(s) / 1e6 for e, s in seconds.items()}
    goals = {"polars": 3.0, "polars all cores": None, "pandas": 25.0}
    figures = [
        {
            "name": f"tape to bars, {given.trades / 1e6:g} M trades, all columns, one core"
            + (" (peer: every core)" if engine == "polars all cores" else ""),
            "value": round(rate["ours"], 2),
            "unit": "M trades/s",
            "peer": engine,
            "peer_value": round(rate[engine], 3),
            "ratio": round(rate["ours"] / rate[engine], 2),
            "goal": goal and f">= {goal:g}x",
            "holds": None if goal is None else rate["ours"] / rate[engine] >= goal,
        }
        for engine, goal in goals.items()
    ]
    machine = {"cores": os.cpu_count(), "rounds": given.rounds, "seconds": seconds}
    print(json.dumps({"figures": figures, "machine": machine}, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
