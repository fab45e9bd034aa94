"""What trading costs: one model for both engines, the risk gate and the no-trade band."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from alpaca_strategy.compilation import njit
from alpaca_strategy.strategy.sizing import round_down


class Costs(NamedTuple):
    """What is charged, and how much of a minute's volume can be had.

    Attributes:
        half_spread_bps: Between the middle and the price that a market order gets.
        slippage_bps: Beyond the half-spread.
        commission_bps: Of what is traded.
        commission_per_share: In USD.
        sec_per_million: Of what is sold, in USD a million USD.
        taf_per_share: Of what is sold, in USD.
        taf_cap: At most so much an execution, in USD.
        participation: Share of a minute's volume that is filled at most; 0 knows no limit.
    """

    half_spread_bps: float = 1.0
    slippage_bps: float = 1.0
    commission_bps: float = 0.0
    commission_per_share: float = 0.0
    sec_per_million: float = 27.80
    taf_per_share: float = 0.000166
    taf_cap: float = 8.30
    participation: float = 0.1


@njit
def fill_price(price: float, side: int, costs: Costs) -> float:
    """Return what a market order gets for the open's price; side is 1 to buy and -1 to sell."""
    return price * (1.0 + side * (costs.half_spread_bps + costs.slippage_bps) * 1e-4)


@njit
def fee(shares: float, price: float, side: int, costs: Costs) -> float:
    """Return commission and regulatory fees of an execution in USD.

    Args:
        shares: Executed, positive.
        price: In USD.
        side: 1 bought, -1 sold. Only sales pay the fees of the SEC and of FINRA.
        costs: The costs.
    """
    traded = shares * price
    total = traded * costs.commission_bps * 1e-4 + shares * costs.commission_per_share
    if side < 0:
        total += traded * costs.sec_per_million * 1e-6
        total += min(shares * costs.taf_per_share, costs.taf_cap)
    return total


@njit
def fillable(wanted: float, volume: float, costs: Costs, whole: bool) -> float:  # noqa: FBT001
    """Return how many of the wanted shares a minute of this volume fills."""
    if costs.participation <= 0.0:
        return wanted
    if np.isnan(volume):
        return 0.0
    return min(wanted, round_down(volume * costs.participation, whole))


@njit
def affordable(cash: float, price: float, costs: Costs, whole: bool) -> float:  # noqa: FBT001
    """Return how many shares this cash buys, commission included."""
    each = price * (1.0 + costs.commission_bps * 1e-4) + costs.commission_per_share
    return max(0.0, round_down(cash / each, whole))


def round_trip_bps(costs: Costs, price: Any = 100.0) -> float:
    """Return what buying and selling at a price costs, in bps of what is bought."""
    once = 2.0 * (costs.half_spread_bps + costs.slippage_bps + costs.commission_bps)
    per_share = 2.0 * costs.commission_per_share + costs.taf_per_share
    return float(once + costs.sec_per_million * 1e-2 + per_share / price * 1e4)
