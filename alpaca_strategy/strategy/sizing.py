"""How many shares a slot buys."""

from __future__ import annotations

import math

from alpaca_strategy.compilation import njit
from alpaca_strategy.strategy.rules import Rules

_FRACTION = 1_000_000.0  # parts of a share that are traded; Alpaca takes nine digits


@njit
def shares_for(equity: float, price: float, rules: Rules) -> float:
    """Return the shares that one slot of the equity buys at a price in USD, rounded down.

    0 where there is no price, or no equity.
    """
    if not price > 0.0 or not equity > 0.0 or rules.slots < 1:
        return 0.0
    return round_down(rules.exposure * equity / rules.slots / price, rules.whole_shares)


@njit
def round_down(shares: float, whole: bool) -> float:  # noqa: FBT001 - compiled code has no keywords
    """Return shares rounded down to what can be ordered."""
    if whole:
        return float(math.floor(shares))
    return math.floor(shares * _FRACTION) / _FRACTION
