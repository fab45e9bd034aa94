"""Figures of each symbol's session as a whole, and of all symbols together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from alpaca_strategy.quality.bar_gauge import BarArrays
from alpaca_strategy.quality.inputs import CheckInput, Rejected, SymbolHistory, bars_fingerprint
from alpaca_strategy.quality.rules import Values
from alpaca_strategy.quality.thresholds import SPLIT_RATIOS, limit

_NAN = float("nan")
_ENOUGH_BARS = 10  # fewer bars may repeat by chance


def measure_symbol(
    symbol: str, bars: BarArrays | None, table: pa.Table | None, trades: float, data: CheckInput
) -> Values:
    """Return the figures of one symbol's session.

    Args:
        symbol: Its name.
        bars: Its rows; None where there are none.
        table: The same rows, BAR_SCHEMA.
        trades: Rows on its tape; NaN where the tape is not kept.
        data: The session.
    """
    failed = symbol in data.failed
    rejected = data.rejected.get(symbol, Rejected(0)).count
    received = rejected + (0.0 if np.isnan(trades) else trades)
    values = {
        "not_fetched": float(failed),
        "unasked": float(symbol not in set(data.symbols)),
        "rejected": float(rejected),
        "rejected_share": rejected / received if received and not np.isnan(trades) else _NAN,
    }
    seen = bars.observed if bars is not None else np.zeros(0, bool)
    if bars is None or table is None or not seen.any():
        # A symbol that was not fetched says so once; that it has no bars follows.
        return values | {"silent": _NAN if failed else 1.0}
    history = data.history.get(symbol, SymbolHistory())
    values |= {"silent": 0.0, "coverage": float(seen.sum()) / data.session.minutes}
    values |= silence(_minutes_seen(bars, data.session.minutes), "silent")
    values |= _against_history(bars, trades, history)
    values |= _overnight(bars, history, data.splits.get(symbol, 1.0), data)
    comparable = history.bars_hash is not None and seen.sum() >= _ENOUGH_BARS
    same = comparable and history.bars_hash == bars_fingerprint(table)
    return values | {"repeated": float(same) if comparable else _NAN}


def measure_session(seen: np.ndarray) -> Values:
    """Return the figures of all symbols together.

    Args:
        seen: Which minutes have a bar, shape (symbols, minutes).
    """
    anywhere = np.asarray(seen.any(axis=0))
    return {"nothing_traded": float(not anywhere.any())} | silence(anywhere, "market")


def silence(seen: np.ndarray, prefix: str) -> Values:
    """Return how many bars were to be expected in the first, last and longest inner silence.

    A stretch's expectation is its length times the share of minutes with a bar outside it, so that
    a stock that trades every tenth minute may be silent ten times as long.
    """
    minutes = seen.size
    at = np.flatnonzero(seen)
    if not at.size:
        return {f"{prefix}_{part}": _NAN for part in ("head", "tail", "gap")}
    inner = int(np.diff(at).max()) - 1 if at.size > 1 else 0
    stretches = {"head": int(at[0]), "tail": minutes - 1 - int(at[-1]), "gap": inner}
    return {
        f"{prefix}_{part}": at.size / (minutes - length) * length
        for part, length in stretches.items()
    }


def _minutes_seen(bars: BarArrays, minutes: int) -> np.ndarray:
    seen = np.zeros(minutes, bool)
    at = bars.minute[bars.observed]
    seen[at[(at >= 0) & (at < minutes)]] = True
    return seen


def _against_history(bars: BarArrays, trades: float, history: SymbolHistory) -> Values:
    volume = float(bars.volume[bars.observed].sum())
    factor = volume / history.median_volume if history.median_volume else _NAN
    quiet = trades / history.median_trade_count if history.median_trade_count else _NAN
    return {"volume_factor": factor, "busy_factor": factor, "quiet_factor": quiet}


def _overnight(bars: BarArrays, history: SymbolHistory, split: float, data: CheckInput) -> Values:
    first = bars.open[bars.observed][0]
    if not history.last_close or not np.isfinite(first) or first <= 0:
        return {"unexplained_split": _NAN, "absent_split": _NAN, "overnight_move": _NAN}
    tolerance = 1 + limit("split_tolerance", data.feed)

    def near(ratio: float) -> bool:
        return 1 / tolerance < ratio < tolerance

    fall = history.last_close / first  # 4.0 on the day of a 4-for-1
    left = fall / split
    size = max(left, 1 / left)
    return {
        "unexplained_split": float(any(near(size / ratio) for ratio in SPLIT_RATIOS)),
        "absent_split": float(not near(split) and near(fall)),
        "overnight_move": abs(1 / left - 1),
    }
