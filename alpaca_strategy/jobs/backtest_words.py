"""The sentences of the pages about backtests: what was earned, how sure that is, who agrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alpaca_strategy.jobs.backtest_figures import BacktestFigures
from alpaca_strategy.jobs.model_figures import Side
from alpaca_strategy.jobs.model_words import Notice
from alpaca_strategy.storage.backtest_records import BacktestRow, Origin

_NO_BREAK = "\N{NO-BREAK SPACE}"
_THIN = "\N{NARROW NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"

#: Parameters of the strategy in words, in the order in which a reader meets them.
RULES = {
    "interval": "Minutes between decisions",
    "top_k": "Names chosen by a decision",
    "min_score": "Least score",
    "max_positions": "Positions at once, at most",
    "hold": "Minutes held",
    "keep_chosen": "Kept when chosen again",
    "cooldown": "Minutes of cool-down after a sale",
    "trend": "Trend filter",
    "momentum": "Momentum filter",
    "min_rsi": "Least RSI",
    "edge_over_cost": "Expected edge above cost",
    "round_trip_bps": "Cost of a round trip, bps",
    "flat_minutes": "Flat before the close, minutes",
    "exposure": "Equity invested, at most",
    "slots": "Slots",
    "whole_shares": "Whole shares only",
}
#: Likewise of its costs.
COSTS = {
    "half_spread_bps": "Half-spread, bps",
    "slippage_bps": "Slippage, bps",
    "commission_bps": "Commission, bps",
    "commission_per_share": "Commission a share, USD",
    "sec_per_million": "SEC fee a million USD sold",
    "taf_per_share": "FINRA fee a share sold, USD",
    "taf_cap": "… at most, USD",
    "participation": "Share of a minute's volume, at most",
}

_ORIGINS = {
    Origin.NEW_MODEL: "set off by a new model",
    Origin.BY_HAND: "asked for by hand",
    Origin.COMMAND: "by a command",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a backtest was run with.

    Attributes:
        words: What it is called.
        value: None where the rule was off.
    """

    words: str
    value: Any


def say_what_came_of_it(row: BacktestRow, figures: BacktestFigures) -> str:
    """Return what the strategy earned or lost, as a sentence."""
    when = f"in {counted(row.sessions, 'session')}"
    total = figures.get("total_return").figure.value
    if not row.trades and not total:
        did = f"made no trade {when}"
    elif total is None:
        did = f"traded {when}"
    elif f"{abs(total):.4f}" == "0.0000":
        did = f"neither gained nor lost {when}, after all costs"
    else:
        did = f"{'gained' if total > 0 else 'lost'} {_percent(abs(total))} {when}, after all costs"
    return f"In sample, the strategy {did}." if row.in_sample else f"The strategy {did}."


def say_how_sure(row: BacktestRow, figures: BacktestFigures) -> str:
    """Return what the interval of the Sharpe ratio says, as a sentence.

    Empty where it says nothing: without trades, and of what a model remembers.
    """
    if not row.trades or row.in_sample:
        return ""
    sharpe = figures.get("sharpe").figure
    if sharpe.value is None:
        return "Too few sessions for a Sharpe ratio, so nothing says how sure that is."
    told = f"Its Sharpe ratio of {_signed(sharpe.value)}"
    if sharpe.low is None or sharpe.high is None:
        return f"{told} has no interval, so nothing says how sure that is."
    reach = f"{_signed(sharpe.low)} and {_signed(sharpe.high)}"
    if sharpe.side is Side.OPEN:
        return f"{told} lies between {reach} (95 %): whether it is more than luck is open."
    side = "above" if sharpe.side is Side.ABOVE else "below"
    return f"{told} lies between {reach} (95 %), and so {side} zero."


def say_who_agrees(row: BacktestRow) -> str:
    """Return whether the two engines came to the same, as a sentence."""
    if row.difference is not None:
        agreed = f"{_number(row.agreed)} of {counted(row.trades, 'trade')}"
        return f"The two engines differ, and agree on {agreed} only: {row.difference}"
    if not row.trades:
        return "Two engines agree: neither made a trade."
    return f"Two engines agree on {_number(row.agreed)} of {counted(row.trades, 'trade')}."


def say_where_from(row: BacktestRow) -> str:
    """Return what set a backtest off, in a few words."""
    words = _ORIGINS[row.origin]
    return words if row.made_by == row.origin.value else f"{words} ({row.made_by})"


def say_what_was_asked(row: BacktestRow) -> str:
    """Return what tells a backtest from another one over the same sessions, in a few words."""
    rules, costs = row.rules, row.costs
    score = rules.get("min_score")
    return ", ".join(
        (
            f"{rules.get('top_k')} of {len(row.symbols)} names",
            "any score" if score is None else f"score from {score:g}",
            f"{rules.get('hold')} min",
            f"{costs.get('half_spread_bps', 0) + costs.get('slippage_bps', 0):g} bps a side",
        )
    )


def find_notices(row: BacktestRow) -> tuple[Notice, ...]:
    """Return what a reader must know before the figures, the worst first."""
    found = [] if row.agrees else [Notice(say_who_agrees(row), bad=True)]
    return (*found, *(Notice(sentence) for sentence in row.warnings))


def list_parameters(values: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Parameter, ...]:
    """Return parameters in words: those that have any in their order, then all others."""
    known = [Parameter(words, values[name]) for name, words in names.items() if name in values]
    others = sorted(set(values) - set(names))
    return (*known, *(Parameter(name.replace("_", " "), values[name]) for name in others))


def counted(count: int, noun: str) -> str:
    """Return a count and its noun: 1 trade, 1 204 trades."""
    return f"{_number(count)}{_NO_BREAK}{noun if count == 1 else noun + 's'}"


def _number(count: int) -> str:
    return f"{count:,}".replace(",", _THIN)


def _percent(value: float) -> str:
    return f"{value * 100:.2f}{_NO_BREAK}%"


def _signed(value: float) -> str:
    text = f"{abs(value):.2f}"
    if text == "0.00":
        return text
    return ("+" if value > 0 else _MINUS) + text
