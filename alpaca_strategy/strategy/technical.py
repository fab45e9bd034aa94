"""The technical filter: a name is bought only while it rises.

Source:
    The formulas of the strategy that this one grew out of: moving averages over 5 and 15 closes,
    the return over 5 minutes, and a relative strength index whose averages are plain means over 14
    differences, not Wilder's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from alpaca_strategy.compilation import njit
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.strategy.rules import WINDOW, Rules

_SHORT_HISTORY, _TREND = int(Reason.SHORT_HISTORY), int(Reason.WEAK_TREND)
_MOMENTUM, _RSI = int(Reason.WEAK_MOMENTUM), int(Reason.WEAK_RSI)
_LEAST_LOSS = 1e-6  # USD a minute: keeps the index finite where nothing fell


@njit
def weakness(closes: Any, symbol: int, rules: Rules) -> int:
    """Return why a name does not pass the filter, or 0 where it does.

    Args:
        closes: Closes of this session in USD, shape (minutes, symbols), oldest first, NaN where
            unobserved; only the last `WINDOW` rows are read. A price is carried forward over
            minutes without one.
        symbol: The column.
        rules: Which conditions are asked for.
    """
    if not (rules.trend or rules.momentum or rules.min_rsi > 0.0):
        return 0
    rows = len(closes)
    if rows < WINDOW or np.isnan(closes[rows - WINDOW, symbol]):
        return _SHORT_HISTORY
    price = np.empty(WINDOW)
    last = np.nan
    for i in range(WINDOW):
        x = closes[rows - WINDOW + i, symbol]
        last = last if np.isnan(x) else x
        price[i] = last
    if rules.trend and not _rises(price):
        return _TREND
    if rules.momentum and not price[WINDOW - 1] > price[WINDOW - 6]:
        return _MOMENTUM
    if rules.min_rsi > 0.0 and not relative_strength(price) > rules.min_rsi:
        return _RSI
    return 0


@njit
def _rises(price: Any) -> bool:
    long = 0.0
    short = 0.0
    for i in range(WINDOW):
        long += price[i]
        if i >= WINDOW - 5:
            short += price[i]
    return bool(price[WINDOW - 1] > short / 5.0 > long / WINDOW)


@njit
def relative_strength(price: Any) -> float:
    """Return the relative strength index of `WINDOW` prices, from 0 to 100."""
    gain = 0.0
    loss = 0.0
    for i in range(1, WINDOW):
        change = price[i] - price[i - 1]
        if change > 0.0:
            gain += change
        else:
            loss -= change
    steps = WINDOW - 1
    return 100.0 - 100.0 / (1.0 + gain / steps / max(loss / steps, _LEAST_LOSS))
