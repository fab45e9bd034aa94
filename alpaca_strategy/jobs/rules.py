"""Settings as the strategy's compiled code takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from alpaca_strategy.config import Settings, explain
from alpaca_strategy.errors import SettingsError
from alpaca_strategy.sections import CostSettings, StrategySettings
from alpaca_strategy.strategy.costs import Costs, round_trip_bps
from alpaca_strategy.strategy.rules import Rules, slots_of

_Section = TypeVar("_Section", StrategySettings, CostSettings)


def rules_of(
    settings: Settings, symbols: Sequence[str], changes: Mapping[str, Any] | None = None
) -> tuple[Rules, Costs]:
    """Return rules and costs in force.

    Args:
        settings: The settings.
        symbols: Among which names are chosen.
        changes: Values that replace those of the sections strategy and costs, by their names; and
            ``cost_bps``, what spread and slippage take on one side together.

    Raises:
        SettingsError: A value is nonsense, unknown, or more names would be chosen than there are.
    """
    asked = {name: value for name, value in (changes or {}).items() if value is not None}
    if (cost := asked.pop("cost_bps", None)) is not None:
        asked |= {"half_spread_bps": cost, "slippage_bps": 0.0}
    unknown = set(asked) - set(StrategySettings.model_fields) - set(CostSettings.model_fields)
    if unknown:
        known = (*StrategySettings.model_fields, *CostSettings.model_fields, "cost_bps")
        msg = (
            f"There is no parameter {', '.join(sorted(unknown))}; choose among {', '.join(known)}."
        )
        raise SettingsError(msg)
    strategy = _with(settings.strategy, asked)
    costs = _costs(_with(settings.costs, asked))
    if strategy.top_k > len(symbols):
        msg = (
            f"strategy.top_k is {strategy.top_k}, but names are chosen among {len(symbols)}; "
            f"lower it, or name more symbols."
        )
        raise SettingsError(msg)
    # Of few names fewer positions are held; else their slots would lie idle.
    most = min(strategy.max_positions, len(symbols))
    return _rules(strategy, most, round_trip_bps(costs)), costs


def _with(section: _Section, changes: Mapping[str, Any]) -> _Section:
    mine = {name: value for name, value in changes.items() if name in type(section).model_fields}
    try:
        return type(section).model_validate({**section.model_dump(), **mine})
    except ValidationError as error:
        msg = f"Parameters are not usable: {explain(error)}; correct them and try again."
        raise SettingsError(msg.replace(".;", ";")) from error


def _rules(chosen: StrategySettings, most: int, cost_bps: float) -> Rules:
    return Rules(
        interval=chosen.interval_minutes,
        top_k=chosen.top_k,
        min_score=float("-inf") if chosen.min_score is None else chosen.min_score,
        max_positions=most,
        hold=chosen.hold_minutes,
        keep_chosen=chosen.keep_chosen,
        cooldown=chosen.cooldown_minutes,
        trend=chosen.trend_filter,
        momentum=chosen.momentum_filter,
        min_rsi=chosen.min_rsi or 0.0,
        edge_over_cost=chosen.edge_over_cost,
        round_trip_bps=cost_bps,
        flat_minutes=chosen.flat_minutes_before_close,
        exposure=chosen.exposure,
        slots=slots_of(
            interval=chosen.interval_minutes,
            top_k=chosen.top_k,
            max_positions=most,
            hold=chosen.hold_minutes,
        ),
        whole_shares=chosen.whole_shares,
    )


def _costs(chosen: CostSettings) -> Costs:
    return Costs(
        half_spread_bps=chosen.half_spread_bps,
        slippage_bps=chosen.slippage_bps,
        commission_bps=chosen.commission_bps,
        commission_per_share=chosen.commission_per_share,
        sec_per_million=chosen.sec_fee_per_million,
        taf_per_share=chosen.taf_per_share,
        taf_cap=chosen.taf_cap,
        participation=chosen.participation,
    )
