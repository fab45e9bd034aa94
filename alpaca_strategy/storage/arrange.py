"""What is about to be published, put in order and held to its contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alpaca_strategy.market.schema import BAR_SCHEMA
from alpaca_strategy.storage.records import SymbolSession, SymbolStatus


def symbol_states(
    symbols: Sequence[str],
    quarantined: Mapping[str, str],
    failed: Mapping[str, str],
    bars: pa.Table,
) -> dict[str, SymbolSession]:
    """Say of each symbol asked for what becomes of it."""
    counts = bars.group_by("symbol").aggregate([("observed", "sum"), ("trade_count", "sum")])
    rows = {row["symbol"]: row for row in counts.to_pylist()}
    strangers = sorted({*rows, *quarantined, *failed} - set(symbols))
    if strangers:
        msg = f"Symbols that were not asked for: {', '.join(strangers)}."
        raise ValueError(msg)
    states = {}
    for name in sorted(symbols):
        row = rows.get(name, {})
        if name in failed:
            status, reason = SymbolStatus.FAILED, failed[name]
        elif name in quarantined:
            status, reason = SymbolStatus.QUARANTINED, quarantined[name]
        elif row:
            status, reason = SymbolStatus.PUBLISHED, None
        else:
            status, reason = SymbolStatus.MISSING, "no bars were built"
        states[name] = SymbolSession(
            name, status, reason, row.get("trade_count_sum") or 0, row.get("observed_sum") or 0
        )
    return states


def arrange_bars(bars: pa.Table, kept: Sequence[str]) -> pa.Table:
    """Return the bars of the kept symbols, sorted, every minute of the session exactly once.

    Raises:
        ValueError: A symbol lacks minutes or has them twice.
    """
    bars = bars.select(BAR_SCHEMA.names).cast(BAR_SCHEMA)
    bars = bars.filter(pc.is_in(bars.column("symbol"), pa.array(list(kept), pa.string())))
    bars = bars.sort_by([("symbol", "ascending"), ("minute", "ascending")]).combine_chunks()
    minutes, rest = divmod(bars.num_rows, len(kept))
    grid = bars.column("minute").to_numpy()
    if rest or not np.array_equal(grid, np.tile(np.arange(minutes, dtype=np.int16), len(kept))):
        msg = f"{bars.num_rows} bars are not every minute once for each of {len(kept)} symbols."
        raise ValueError(msg)
    return bars
