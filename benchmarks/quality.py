"""Check one session with the quality gate: seconds by number of symbols, and by size of the tape.

    python benchmarks/quality.py [--json] [--runs 5] [--quick]

Sessions are random with the shape of real ones and nothing wrong in them; bars are built by our
kernel. The peer is Great Expectations alone on the same trades and bars as data frames, with those
of our rules that its core expectations can state on rows (16 of 54); both must find nothing. Times
are processor seconds of one process, which other work on the machine disturbs least. The last
session has 30 symbols of a million trades each, read one symbol at a time in a process of its own,
so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
from run import peak_mib

from alpaca_strategy.domain.market import Feed, Session
from alpaca_strategy.market.bars import build_session_bars
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.schema import BAR_SCHEMA, TRADE_SCHEMA
from alpaca_strategy.quality.gate import check_session
from alpaca_strategy.quality.inputs import CheckInput
from alpaca_strategy.quality.report import render
from alpaca_strategy.quality.suites import auditor

SESSION = Session(
    date(2024, 3, 5), datetime(2024, 3, 5, 14, 30, tzinfo=UTC), datetime(2024, 3, 5, 21, tzinfo=UTC)
)
TABLE = load_condition_table("alpaca")
GOAL_S = 1.5
OPEN_NS = int(SESSION.opens_at.timestamp()) * 10**9
LENGTH_NS = SESSION.minutes * 60 * 10**9


def tape_of(symbol: str, count: int, seed: int) -> pa.Table:
    """Return one symbol's clean tape."""
    random = np.random.default_rng(seed)
    when = np.sort(OPEN_NS + (random.beta(0.7, 0.7, count) * (LENGTH_NS - 1)).astype(np.int64))
    path = np.exp(np.cumsum(random.standard_normal(count)) * 0.01 / np.sqrt(count))
    odd = random.random(count) < 0.55
    columns = {
        "symbol": pa.repeat(pa.scalar(symbol), count),
        "ts_ns": when,
        "price": np.round(100 * path, 2),
        "size": np.where(odd, random.integers(1, 100, count), 100 * random.geometric(0.6, count)),
        "exchange": pa.repeat(pa.scalar("V"), count),
        "conditions": pa.array(["@", "@,I"]).take(pa.array(odd.astype(np.int8))),
        "tape": pa.repeat(pa.scalar("C"), count),
        "id": np.arange(count, dtype=np.int64) + 10**9,
        "update": pa.nulls(count, pa.string()),
    }
    return pa.table(columns).cast(TRADE_SCHEMA)


def session_of(symbols: int, count: int) -> CheckInput:
    names = tuple(f"S{n:03}" for n in range(symbols))
    tape = pa.concat_tables([tape_of(name, count, seed) for seed, name in enumerate(names)])
    bars = build_session_bars(tape, SESSION, names, TABLE)
    return CheckInput(
        session=SESSION,
        feed=Feed.IEX,
        symbols=names,
        bars=bars,
        tape=tape,
        conditions=TABLE,
        as_of=SESSION.closes_at + timedelta(hours=8),
    )


def check(data: CheckInput) -> int:
    """Return how many expectations failed."""
    return sum(result.success is False for result in check_session(data).results)


class Peer:
    """Great Expectations on rows, as its documentation shows it."""

    def __init__(self) -> None:
        auditor(Feed.IEX)  # imports it, and quietens its imports
        import great_expectations as gx  # after its noise has been dealt with
        from great_expectations import expectations as gxe
        from great_expectations.data_context.types.base import (
            ProgressBarsConfig,
        )

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("peer").add_dataframe_asset("rows")
        self.batches = asset.add_batch_definition_whole_dataframe("all")
        last = OPEN_NS + LENGTH_NS - 1
        self.trades = gx.ExpectationSuite(
            name="trades",
            expectations=[
                gxe.ExpectCompoundColumnsToBeUnique(column_list=["symbol", "exchange", "id"]),
                gxe.ExpectColumnValuesToBeBetween(column="price", min_value=0, strict_min=True),
                gxe.ExpectColumnValuesToBeBetween(column="size", min_value=1, max_value=5_000_000),
                gxe.ExpectColumnValuesToBeBetween(
                    column="ts_ns", min_value=OPEN_NS, max_value=last
                ),
                gxe.ExpectColumnValuesToBeInSet(column="exchange", value_set=["V"]),
                gxe.ExpectColumnValuesToBeInSet(column="conditions", value_set=["@", "@,I"]),
            ],
        )
        pairs = [("high", "low"), ("high", "open"), ("high", "close"), ("open", "low")]
        pairs += [("close", "low"), ("high", "vwap"), ("vwap", "low")]
        self.bars = gx.ExpectationSuite(
            name="bars",
            expectations=[
                gxe.ExpectCompoundColumnsToBeUnique(column_list=["symbol", "minute"]),
                gxe.ExpectColumnValuesToBeBetween(column="low", min_value=0, strict_min=True),
                gxe.ExpectColumnValuesToBeBetween(column="volume", min_value=0),
                *(
                    gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                        column_A=a,
                        column_B=b,
                        or_equal=True,
                        ignore_row_if="either_value_is_missing",
                    )
                    for a, b in pairs
                ),
            ],
        )

    def check(self, data: CheckInput) -> int:
        """Return how many expectations failed."""
        failed = 0
        seen = data.bars.filter(data.bars["observed"])
        for suite, table in ((self.trades, data.tape), (self.bars, seen)):
            batch = self.batches.get_batch(batch_parameters={"dataframe": table.to_pandas()})
            failed += batch.validate(suite, result_format="BOOLEAN_ONLY").statistics[
                "unsuccessful_expectations"
            ]
        return failed


def timed(action: Callable[[CheckInput], int], data: CheckInput) -> float:
    begin = time.process_time()
    if action(data):
        raise SystemExit("a clean session failed an expectation; the figures would mean nothing")
    return time.process_time() - begin


def stream(symbols: int, count: int, pipe: object) -> None:
    """Check a large session from a reader; send seconds, the reader's seconds and peak memory."""
    names = tuple(f"S{n:03}" for n in range(symbols))
    first = tape_of(names[0], count, 1)
    one = build_session_bars(first, SESSION, names[:1], TABLE)
    spent = [0.0]

    def named(table: pa.Table, name: str) -> pa.Table:
        return table.set_column(0, "symbol", pa.repeat(pa.scalar(name), table.num_rows))

    def read(symbol: str) -> pa.Table:
        begin = time.process_time()
        tape = named(first, symbol)
        spent[0] += time.process_time() - begin
        return tape

    bars = pa.concat_tables([named(one, name) for name in names]).cast(BAR_SCHEMA)
    data = CheckInput(
        session=SESSION, feed=Feed.IEX, symbols=names, bars=bars, tape=read, conditions=TABLE
    )
    auditor(Feed.IEX)
    seconds = timed(check, data) - spent[0]
    peak = peak_mib()
    pipe.send((seconds, peak))  # type: ignore[attr-defined]  # a Connection


def streamed(symbols: int, count: int) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=stream, args=(symbols, count, theirs))
    process.start()
    theirs.close()
    answer = ours.recv()
    process.join()
    return answer


def measure(runs: int, *, quick: bool) -> list[dict[str, object]]:
    begin = time.process_time()
    auditor(Feed.IEX)
    figures: list[dict[str, object]] = [
        {
            "name": "import and suites, once a process",
            "unit": "s",
            "value": time.process_time() - begin,
        }
    ]
    peer = Peer()
    for symbols in (30,) if quick else (30, 120, 500):
        data = session_of(symbols, 6000)
        pairs = [(timed(check, data), timed(peer.check, data)) for _ in range(runs)]
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        figure: dict[str, object] = {
            "name": f"check a session of {symbols} symbols x 6,000 trades",
            "value": ours,
            "unit": "s",
            "peer": "Great Expectations on rows, 16 of 54 rules",
            "peer_value": theirs,
            "ratio": theirs / ours,
        }
        if symbols == 30:
            figure |= {"goal": f"at most {GOAL_S} s", "holds": ours <= GOAL_S}
            result = check_session(data)
            begin = time.process_time()
            page = render(
                result, session=SESSION, feed=Feed.IEX, generated_at=SESSION.closes_at, version="1"
            )
            figures.append(
                {"name": "render its report", "unit": "s", "value": time.process_time() - begin}
            )
            figures.append({"name": "size of its report", "unit": "kB", "value": len(page) / 1000})
        figures.append(figure)
    if not quick:
        seconds, peak = streamed(30, 1_000_000)
        figures += [
            {"name": "check 30 symbols x 1 M trades, streamed", "value": seconds, "unit": "s"},
            {"name": "peak memory of that process", "value": peak, "unit": "MB"},
        ]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="30 symbols only")
    options = parser.parse_args()
    figures = measure(options.runs, quick=options.quick)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    if options.json:
        print(json.dumps({"figures": figures, "machine": machine}))
        return
    for figure in figures:
        peer = f"  (peer {figure['peer_value']:.3f})" if "peer_value" in figure else ""
        print(f"{figure['name']}: {figure['value']:.3f} {figure['unit']}{peer}")


if __name__ == "__main__":
    main()
