"""Small sessions for tests of storage, and a fresh database and lake to put them in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.market.schema import BAR_COLUMNS, BAR_SCHEMA, COUNT_COLUMNS, TRADE_SCHEMA
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.publish import Published, publish_session

DAY = date(2024, 1, 2)
SYMBOLS = ("AAA", "BBB", "CCC")


def make_bars(
    symbols: Sequence[str], seed: int = 1, *, day: date = DAY, minutes: int = 390
) -> pa.Table:
    """Return bars whose every close is the seed, and whose other numbers follow from it."""
    random = np.random.default_rng(seed)
    rows = len(symbols) * minutes
    opens_us = int(datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC).timestamp() * 1e6)
    starts = opens_us + np.arange(minutes) * 60_000_000
    columns: dict[str, Any] = {
        "symbol": np.repeat(np.array(symbols), minutes),
        "minute": np.tile(np.arange(minutes, dtype=np.int16), len(symbols)),
        "start_at": pa.array(np.tile(starts, len(symbols)), pa.timestamp("us", tz="UTC")),
        "observed": random.random(rows) < 0.8,
    }
    for name in BAR_COLUMNS:
        counts = name in COUNT_COLUMNS
        columns[name] = (
            random.integers(0, 500, rows) if counts else np.round(random.random(rows), 4)
        )
    columns["close"] = np.full(rows, float(seed))
    return pa.table(columns).select(BAR_SCHEMA.names).cast(BAR_SCHEMA)


def make_tape(symbols: Sequence[str], seed: int = 1, *, trades: int = 500) -> Iterator[pa.Table]:
    """Yield one table a symbol; every price is the seed."""
    for symbol in symbols:
        random = np.random.default_rng([seed, *symbol.encode()])
        yield pa.table(
            {
                "symbol": [symbol] * trades,
                "ts_ns": np.sort(random.integers(0, 10**15, trades)),
                "price": np.full(trades, float(seed)),
                "size": random.integers(1, 1000, trades),
                "exchange": ["V"] * trades,
                "conditions": random.choice(["@", "@,I", " "], trades),
                "tape": ["C"] * trades,
                "id": np.arange(trades),
                "update": pa.array([None] * trades, pa.string()),
            }
        ).cast(TRADE_SCHEMA)


def publish(
    lake: Lake, catalog: Catalog, seed: int = 1, *, day: date = DAY, **changes: Any
) -> Published:
    """Publish a session made from a seed."""
    symbols = changes.get("symbols", SYMBOLS)
    arguments: dict[str, Any] = {
        "session": day,
        "feed": Feed.IEX,
        "venue": Venue.SIMULATOR,
        "tape": make_tape(symbols, seed),
        "bars": make_bars(symbols, seed, day=day),
        "symbols": symbols,
        "condition_table": "alpaca",
        "condition_fingerprint": "0" * 16,
        "lock_wait_s": 60,
    }
    return publish_session(lake=lake, catalog=catalog, **arguments | changes)
