"""What the quality gate is told about a session's past: earlier sessions, and splits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from alpaca_strategy.bootstrap import Services
from alpaca_strategy.errors import DamagedFileError
from alpaca_strategy.market.schema import BAR_SCHEMA
from alpaca_strategy.quality.inputs import SymbolHistory, bars_fingerprints
from alpaca_strategy.storage.actions import split_factors
from alpaca_strategy.storage.records import SessionRow, SessionStatus

_SESSIONS = 5  # a week: short enough to follow a change, long enough for a median
_DAYS = timedelta(days=15)  # holds five sessions, whatever the holidays


def recent_history(home: Services, day: date, symbols: Sequence[str]) -> dict[str, SymbolHistory]:
    """Return what the last published sessions before a day looked like, by symbol.

    A damaged file of the past is not a fault of the session being checked: it is left out here,
    and its own readers are told.
    """
    feed = home.settings.data.feed
    rows = home.catalog.sessions(day - _DAYS, day - timedelta(days=1), feed)
    rows = [row for row in rows if row.status is SessionStatus.PUBLISHED][-_SESSIONS:]
    read = [(row, table) for row in rows if (table := _bars(home, row)) is not None]
    if not read:
        return {}
    factors = split_factors(home.lake, symbols, [row.session for row, _ in read], day)
    volumes: dict[str, list[float]] = {symbol: [] for symbol in symbols}
    counts: dict[str, list[float]] = {symbol: [] for symbol in symbols}
    for position, (_, table) in enumerate(read):
        sums = table.group_by("symbol").aggregate([("volume", "sum"), ("trade_count", "sum")])
        for row in sums.to_pylist():
            if row["symbol"] in volumes:
                factor = factors[position, symbols.index(row["symbol"])]
                volumes[row["symbol"]].append(row["volume_sum"] * factor)
                counts[row["symbol"]].append(row["trade_count_sum"])
    newest = read[-1][1]
    seen = newest.filter(newest["observed"])
    closes = seen.group_by("symbol", use_threads=False).aggregate([("close", "last")])
    last = dict(zip(closes["symbol"].to_pylist(), closes["close_last"].to_pylist(), strict=True))
    prints = bars_fingerprints(newest)
    return {
        symbol: SymbolHistory(
            last_close=last.get(symbol),
            median_volume=float(np.median(volumes[symbol])),
            median_trade_count=float(np.median(counts[symbol])),
            bars_hash=prints.get(symbol),
        )
        for symbol in symbols
        if volumes[symbol]
    }


def _bars(home: Services, row: SessionRow) -> pa.Table | None:
    try:
        return home.lake.read_files("bars", row.bars_files, columns=BAR_SCHEMA.names)
    except DamagedFileError:
        return None


def splits_on(home: Services, day: date, symbols: Sequence[str]) -> dict[str, float]:
    """Return new shares for one old, for the splits that take effect on a day."""
    before = split_factors(home.lake, symbols, [day - timedelta(days=1)], day)[0]
    after = split_factors(home.lake, symbols, [day], day)[0]
    ratios = before / after
    return {s: float(r) for s, r in zip(symbols, ratios, strict=True) if r != 1.0}
