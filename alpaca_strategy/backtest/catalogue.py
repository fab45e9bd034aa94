"""What the figures of a backtest are called, and what they mean: data, in the order of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

#: Fewer sessions, or trades, say little: nothing is reckoned up to a year, and nothing called sure.
FEW_SESSIONS, FEW_TRADES = 20, 30


class Unit(StrEnum):
    """What a figure counts."""

    FRACTION = "fraction"
    USD = "usd"
    COUNT = "count"
    MINUTES = "minutes"
    BPS = "bps"
    NUMBER = "number"
    SESSIONS = "sessions"


@dataclass(frozen=True, slots=True)
class Description:
    """What a reader must know of a figure.

    Attributes:
        title: In few words.
        unit: Of its value.
        digits: To be shown after the point; of a fraction once it stands as a percentage.
        meaning: One sentence.
    """

    title: str
    unit: Unit
    digits: int
    meaning: str


#: By name.
CATALOGUE: Mapping[str, Description] = MappingProxyType(
    {
        "final_value": Description(
            "Final value", Unit.USD, 2, "Cash and positions at the last close."
        ),
        "total_return": Description(
            "Total return", Unit.FRACTION, 2, "What the starting cash earned, after all costs."
        ),
        "annual_return": Description(
            "Annual return",
            Unit.FRACTION,
            2,
            "The total return compounded to 252 sessions; of fewer than 20 sessions there is none.",
        ),
        "annual_volatility": Description(
            "Annual volatility",
            Unit.FRACTION,
            2,
            "Standard deviation of the session returns, times the root of 252.",
        ),
        "sharpe": Description(
            "Sharpe ratio",
            Unit.NUMBER,
            2,
            "Mean over standard deviation of the session returns, times the root of 252.",
        ),
        "sortino": Description(
            "Sortino ratio",
            Unit.NUMBER,
            2,
            "As the Sharpe ratio, but only losses count as risk.",
        ),
        "calmar": Description(
            "Calmar ratio",
            Unit.NUMBER,
            2,
            "Annual return over the deepest drawdown of the sessions' closes.",
        ),
        "max_drawdown": Description(
            "Maximum drawdown",
            Unit.FRACTION,
            2,
            "The deepest fall of the equity below its highest so far, minute by minute.",
        ),
        "max_drawdown_minutes": Description(
            "Its length",
            Unit.MINUTES,
            0,
            "Minutes of trading from the peak before that fall until the equity was back, or until "
            "the end.",
        ),
        "value_at_risk": Description(
            "Value at risk",
            Unit.FRACTION,
            2,
            "One session in twenty was worse than this.",
        ),
        "conditional_value_at_risk": Description(
            "Expected shortfall",
            Unit.FRACTION,
            2,
            "Mean return of the worst session in twenty.",
        ),
        "trades": Description(
            "Trades", Unit.COUNT, 0, "Round trips, from holding nothing to holding nothing."
        ),
        "win_rate": Description(
            "Win rate", Unit.FRACTION, 1, "Share of the trades that earned more than they cost."
        ),
        "profit_factor": Description(
            "Profit factor",
            Unit.NUMBER,
            2,
            "What the winning trades earned over what the losing ones lost.",
        ),
        "mean_profit": Description("Mean profit", Unit.USD, 2, "Of a trade, after all its costs."),
        "best_trade": Description("Best trade", Unit.USD, 2, "The largest profit of a trade."),
        "worst_trade": Description("Worst trade", Unit.USD, 2, "The largest loss of a trade."),
        "mean_minutes_held": Description(
            "Mean time held",
            Unit.MINUTES,
            1,
            "Minutes of trading from a trade's first execution to its last.",
        ),
        "turnover": Description(
            "Turnover",
            Unit.NUMBER,
            2,
            "What a session bought and sold, in multiples of the mean equity.",
        ),
        "exposure": Description(
            "Exposure", Unit.FRACTION, 1, "Mean share of the equity that was invested."
        ),
        "gross_return": Description(
            "Gross return",
            Unit.FRACTION,
            2,
            "The total return with each session's costs added back to that session.",
        ),
        "gross_sharpe": Description(
            "Gross Sharpe ratio", Unit.NUMBER, 2, "The Sharpe ratio of that gross return."
        ),
        "total_cost": Description(
            "Total cost", Unit.USD, 2, "Fees, half-spread and slippage of all executions."
        ),
        "cost_bps": Description(
            "Cost a side", Unit.BPS, 2, "The total cost over what was bought and sold."
        ),
        "break_even_bps": Description(
            "Break-even cost a side",
            Unit.BPS,
            2,
            "The cost a side that would have left nothing: profit before costs over what was "
            "bought and sold.",
        ),
        "benchmark_return": Description(
            "Benchmark return",
            Unit.FRACTION,
            2,
            "Of the whole universe in equal parts, balanced at each session's start, free of cost.",
        ),
        "benchmark_sharpe": Description(
            "Benchmark Sharpe ratio", Unit.NUMBER, 2, "Of the same universe in equal parts."
        ),
        "beta": Description(
            "Beta", Unit.NUMBER, 2, "What the strategy gains when the benchmark gains 1."
        ),
        "alpha": Description(
            "Alpha",
            Unit.FRACTION,
            2,
            "The yearly return that the benchmark does not explain; of fewer than 20 sessions "
            "there is none.",
        ),
        "probabilistic_sharpe": Description(
            "Probabilistic Sharpe ratio",
            Unit.FRACTION,
            1,
            "Probability that the true Sharpe ratio is above 0, given how long and how skewed the "
            "record is.",
        ),
        "deflated_sharpe": Description(
            "Deflated Sharpe ratio",
            Unit.FRACTION,
            1,
            "Probability that the Sharpe ratio is more than the best of as many tries by luck.",
        ),
        "minimum_track_record": Description(
            "Sessions needed",
            Unit.SESSIONS,
            0,
            "Sessions after which such a Sharpe ratio is known to be above 0 with 95 % confidence.",
        ),
        "carried_overnight": Description(
            "Held overnight", Unit.COUNT, 0, "Positions that were held over a session's end."
        ),
        "sessions": Description("Sessions", Unit.SESSIONS, 0, "How many were traded."),
    }
)
