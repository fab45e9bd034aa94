"""One pass over a symbol's bars that counts what breaks a rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from alpaca_strategy.quality.inputs import CheckInput
from alpaca_strategy.quality.rules import Measured
from alpaca_strategy.quality.tape_gauge import MinuteCounts
from alpaca_strategy.quality.thresholds import limit

_ROUNDING = 1e-9  # relative; a mean of equal prices may differ from them in the last bits


@dataclass(frozen=True, slots=True)
class BarArrays:
    """One symbol's rows as arrays of shape (rows,)."""

    minute: np.ndarray
    start_us: np.ndarray
    observed: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    vwap: np.ndarray
    volume: np.ndarray
    trade_count: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> BarArrays:
        """Take the columns of a BAR_SCHEMA table; nulls become NaN, or 0 in counts."""

        def floats(name: str) -> np.ndarray:
            return np.asarray(table[name].to_numpy(), dtype=np.float64)

        def whole(column: pa.ChunkedArray) -> np.ndarray:
            return np.asarray(column.fill_null(-1).to_numpy(), dtype=np.int64)

        observed = table["observed"].fill_null(pa.scalar(value=False))
        return cls(
            minute=whole(table["minute"]),
            start_us=whole(table["start_at"].cast(pa.int64())),
            observed=np.asarray(observed.to_numpy(), dtype=bool),
            open=floats("open"),
            high=floats("high"),
            low=floats("low"),
            close=floats("close"),
            vwap=floats("vwap"),
            volume=whole(table["volume"]),
            trade_count=whole(table["trade_count"]),
        )


def measure_bars(bars: BarArrays, data: CheckInput, counts: MinuteCounts | None) -> Measured:
    """Return what a symbol's bars are like.

    Args:
        bars: The symbol's rows.
        data: The session they belong to.
        counts: What the tape holds by minute; None where the tape is not kept.
    """
    seen = bars.observed
    prices = np.stack([bars.open, bars.high, bars.low, bars.close, bars.vwap])
    finite = np.isfinite(prices)
    sound = seen & finite.all(axis=0) & (prices > 0).all(axis=0)
    masks = _grid_masks(bars, data)
    masks |= {
        "incomplete": seen & ~finite.all(axis=0),
        "phantom": ~seen & finite[:4].any(axis=0),
        "bad_price": seen & (prices <= 0).any(axis=0),
        "crossed": seen & (bars.high < bars.low),
        "out_of_range": seen & _outside_range(bars),
        "bad_volume": (seen & ((bars.volume < 1) | (bars.trade_count < 1)))
        | (bars.volume < 0)
        | (bars.trade_count < 0),
    }
    masks |= _vwap_masks(bars, sound, limit("vwap_far", data.feed))
    masks |= _spike_masks(bars, sound, data)
    masks |= _tape_masks(bars, data, counts)
    values = {
        "rows": float(seen.size),
        "minutes": float(data.session.minutes),
        "observed": float(seen.sum()),
    }
    return Measured.of(values | _runs(bars, sound), masks)


def _grid_masks(bars: BarArrays, data: CheckInput) -> dict[str, np.ndarray]:
    opens = int(data.session.opens_at.timestamp()) * 1_000_000
    closes = int(data.session.closes_at.timestamp()) * 1_000_000
    away = (bars.start_us < opens) | (bars.start_us >= closes)
    nowhere = (bars.minute < 0) | (bars.minute >= data.session.minutes)
    first = np.zeros(bars.minute.size, bool)
    first[np.unique(bars.minute, return_index=True)[1]] = True
    misplaced = bars.start_us != opens + bars.minute * 60_000_000
    return {
        "repeated_minute": ~first,
        "other_session": away,
        "off_grid": nowhere | (misplaced & ~away),
    }


def _outside_range(bars: BarArrays) -> np.ndarray:
    top, bottom = np.fmax(bars.open, bars.close), np.fmin(bars.open, bars.close)
    return np.asarray((bars.high >= bars.low) & ((top > bars.high) | (bottom < bars.low)))


def _vwap_masks(bars: BarArrays, sound: np.ndarray, far: float) -> dict[str, np.ndarray]:
    beyond = np.ones(sound.size)
    vwap = bars.vwap[sound]
    beyond[sound] = np.maximum(vwap / bars.high[sound], bars.low[sound] / vwap)
    return {"vwap_outside": beyond > 1 + _ROUNDING, "vwap_far": beyond > 1 + far}


def _spike_masks(bars: BarArrays, sound: np.ndarray, data: CheckInput) -> dict[str, np.ndarray]:
    """Mark bars that leave the closes on both sides; the first and last have one side only."""
    reach = np.ones(sound.size)
    rows = np.flatnonzero(sound)
    if rows.size >= 3:
        close = bars.close[rows]
        before = np.concatenate(([close[1]], close[:-1]))
        after = np.concatenate((close[1:], [close[-2]]))
        above = bars.high[rows] / np.maximum(before, after)
        below = np.minimum(before, after) / bars.low[rows]
        reach[rows] = np.maximum(above, below)
    return {
        "spike": reach > limit("spike_factor", data.feed),
        "rough": reach > limit("rough_factor", data.feed),
    }


def _tape_masks(
    bars: BarArrays, data: CheckInput, counts: MinuteCounts | None
) -> dict[str, np.ndarray]:
    table = data.conditions
    if counts is None or table is None:
        return {}
    minute = np.clip(bars.minute, 0, counts.counted.size - 1)
    if table.joins_previous or table.primary_exchange:
        # Volume wanders to other minutes, and the closing auction into the last: only the sum is
        # bounded.
        excess = bars.volume.sum() > counts.day_volume
        wrong = bars.observed & excess
    else:
        trades, volume = counts.counted[minute], counts.volume[minute]
        wrong = (bars.trade_count != trades) | (bars.volume != volume)
    return {"miscounted": wrong, "unbarred": ~bars.observed & (counts.plain[minute] > 0)}


def _runs(bars: BarArrays, sound: np.ndarray) -> dict[str, float]:
    close, volume = bars.close[sound], bars.volume[sound]
    flat = bars.high[sound] == bars.low[sound]
    stale = close[1:] == close[:-1]
    stuck = stale & flat[1:] & flat[:-1]
    frozen = stale & (volume[1:] == volume[:-1])
    for column in (bars.open, bars.high, bars.low):
        frozen &= column[sound][1:] == column[sound][:-1]
    middle = float(np.median(volume)) if volume.size else 0.0
    return {
        "frozen_run": longest_run(frozen),
        "stuck_run": longest_run(stuck),
        "stale_run": longest_run(stale),
        "volume_burst": float(volume.max()) / middle if middle > 0 else float("nan"),
    }


def longest_run(mask: np.ndarray) -> float:
    """Return the length of the longest unbroken stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False]))))
    return float((edges[1::2] - edges[::2]).max()) if edges.size else 0.0
