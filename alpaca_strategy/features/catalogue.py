"""The 30 features of a minute, as data: names, formulas, and how far back they look.

28 are the statistics that the tape gives of a minute, each in a form whose distribution does not
move with a share's price or its popularity; two tell the time. Moves are in basis points, like the
returns that they are to foretell; how far a minute ranged is told in the hour's own unit, so that
a large one is so on a quiet day and on a wild one. In the formulas:

- a bare name is a column of the minute's bar (see `market.schema`);
- ``sum10(x)`` and ``mean10(x)`` are over the last ten minutes of the session, this one included,
  observed or not; after the open there are fewer. Likewise ``sum60`` and ``mean60``;
- ``prior`` is the last observed close before this minute, at most 30 minutes old, else the open;
- ``reach`` is ln(max(high, prior) / min(low, prior)), and ``reach60`` its mean over the observed
  ones of the last 60 minutes;
- ``dollars`` is dollar_volume in whole dollars;
- 100 shares, one trade and one basis point keep quotients of small numbers tame.

What is missing counts as nothing: a price that is missing is the close (``price_mean``: the vwap),
a number that is missing is 0, and a quotient without denominator is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Raised when the kernel's numbers change although no formula here does.
KERNEL_VERSION: Final = 1
#: Minutes of the short and of the long window, and the age at which a close is no longer carried.
SHORT: Final = 10
LONG: Final = 60
CARRY: Final = 30

_REACH: Final = LONG - 1 + CARRY


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of a minute.

    Attributes:
        name: The statistic that it stands for.
        formula: How it is worked out, in the words of this module.
        lookback: Minutes before its own that it may depend on, at most.
        version: Raised when the formula changes.
    """

    name: str
    formula: str
    lookback: int
    version: int = 1


FEATURES: Final = (
    Feature("open", "1e4 * ln(open / prior)", CARRY),
    Feature("high", "ln(high / close) / reach60", _REACH),
    Feature("low", "ln(low / close) / reach60", _REACH),
    Feature("close", "1e4 * ln(close / prior)", CARRY),
    Feature("volume", "ln((100 + volume) / (100 + mean60(volume)))", LONG - 1),
    Feature("trade_count", "ln((1 + trade_count) / (1 + mean60(trade_count)))", LONG - 1),
    Feature("vwap", "1e4 * ln(vwap / close)", 0),
    Feature("mean", "1e4 * ln(price_mean / vwap)", 0),
    Feature("std", "price_std / (high - low)", 0),
    Feature(
        "dollar_volume",
        "ln((1e-4 + reach) / (1e-4 + reach60) * (1 + mean60(dollars)) / (1 + dollars))",
        _REACH,
    ),
    Feature(
        "cond_is_regular", "ln((1 + mean10(regular_count)) / (1 + mean60(regular_count)))", LONG - 1
    ),
    Feature("odd_lot_count", "sum10(odd_lot_count) / sum10(trade_count)", SHORT - 1),
    Feature("cnt_tiny", "tiny_count / trade_count", 0),
    Feature("cnt_small", "ln((1 + small_count) / (1 + mean60(small_count)))", LONG - 1),
    Feature("cnt_mid", "ln((1 + mid_count) / (1 + mean60(mid_count)))", LONG - 1),
    Feature("cnt_large", "ln((1 + large_count) / (1 + mean60(large_count)))", LONG - 1),
    Feature("buy_volume", "ln((100 + buy_volume) / (100 + mean60(volume) / 2))", LONG - 1),
    Feature("sell_volume", "ln((100 + sell_volume) / (100 + mean60(volume) / 2))", LONG - 1),
    Feature(
        "order_flow_imbalance", "(buy_volume - sell_volume) / (1 + mean60(volume))", LONG - 1
    ),
    Feature("buy_trade_count", "(buy_count - sell_count) / trade_count", 0),
    Feature(
        "sell_trade_count",
        "(1 + sum60(sell_count)) / (2 + sum60(buy_count) + sum60(sell_count))",
        LONG - 1,
    ),
    Feature(
        "avg_trade_size",
        "ln(sum10(volume) / sum10(trade_count) / (sum60(volume) / sum60(trade_count)))",
        LONG - 1,
    ),
    Feature("trade_size_std", "ln(1 + size_std / (volume / trade_count))", 0),
    Feature("max_trade_size", "size_max / volume", 0),
    Feature("intertrade_ms_mean", "ln((1000 + intertrade_ms_mean * trade_count) / 61000)", 0),
    Feature("order_flow_ratio", "(buy_volume - sell_volume) / volume", 0),
    Feature(
        "buy_sell_ratio", "ln((100 + sum10(buy_volume)) / (100 + sum10(sell_volume)))", SHORT - 1
    ),
    Feature("volatility_proxy", "ln(1 + 1e4 * price_std / price_mean)", 0),
    Feature("minute_of_day", "minutes since the open / 390", 0),
    Feature("day_of_week", "days since Monday / 4", 0),
)  # fmt: skip

NAMES: Final = tuple(feature.name for feature in FEATURES)
#: Minutes before its own that any feature may depend on, at most.
LOOKBACK: Final = max(feature.lookback for feature in FEATURES)
