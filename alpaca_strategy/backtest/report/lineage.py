"""The section of the report about what it was made from, and what was assumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from typing import Any

from alpaca_strategy.backtest.report.parts import Cell, Section, Table, Words
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import (
    clipped,
    clock,
    counted,
    number,
    percent,
    usd,
)
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

_LONGEST = 400
_MOST = 200  # rows
#: Of the lineage, what stands above it already.
_TOLD = frozenset({"rules", "costs", "cash", "traded"})


def lineage_section(view: View) -> Section:
    """Return the section about what it was made from, and what was assumed."""
    models = len({fold.model for fold in view.backtest.folds})
    return Section(
        "lineage", "Lineage",
        f"It was made from {counted(models, 'model')} over "
        f"{counted(len(view.history.sessions), 'session')} of "
        f"{counted(len(view.history.traded), 'symbol')}",
        "The same models, bars, settings and code give the same trades again.",
        (
            Words("What was assumed", tuple(_assumed(view)), points=True),
            _table("Rules", _flat(view.backtest.rules._asdict(), ""), half=True),
            _table("Costs", _flat(view.backtest.costs._asdict(), ""), half=True),
            _table("What it was made from", _facts(view)),
        ),
    )  # fmt: skip


def _table(finding: str, facts: Iterable[tuple[str, Any]], *, half: bool = False) -> Table:
    rows = [
        (Cell(clipped(name, 80)), Cell(clipped(value, _LONGEST), "code")) for name, value in facts
    ]
    more = len(rows) - _MOST
    reading = f"{more:,} more are left out." if more > 0 else ""
    return Table(finding, reading, ("Fact", "Value"), rows[:_MOST], half=half)


def _facts(view: View) -> Iterator[tuple[str, Any]]:
    backtest, history = view.backtest, view.history
    yield "backtest", backtest.id
    yield "made at", f"{backtest.made_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if history.sessions:
        yield "sessions", f"{history.sessions[0]} to {history.sessions[-1]}"
    yield "symbols", ", ".join(history.traded)
    yield "starting cash", usd(backtest.run.cash, 2)
    told = {name: value for name, value in backtest.lineage.items() if name not in _TOLD}
    yield from _flat(told, "")


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Return plain values with the path to them."""
    for name, value in values.items():
        path = f"{prefix} · {name}" if prefix else str(name)
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        elif isinstance(value, list) and value and all(isinstance(x, Mapping) for x in value):
            for number_, one in enumerate(value, 1):  # a model, or a session
                yield f"{path} {number_}", ", ".join(f"{k} {v}" for k, v in one.items())
        else:
            yield path, value


def _assumed(view: View) -> Iterator[str]:
    rules, costs = view.backtest.rules, view.backtest.costs
    yield (
        "A decision knows nothing after the close of its minute; its orders are filled at the next "
        "minute's open or later, where the symbol traded."
    )
    yield (
        f"A purchase pays, and a sale forgoes, {number(costs.half_spread_bps, 1)} bps of half the "
        f"spread and {number(costs.slippage_bps, 1)} bps of slippage; {_fees(costs)}"
    )
    yield (
        f"At most {percent(costs.participation, 0)} of a minute's volume is filled; what is left "
        "waits, purchases until the next decision and sales until the close."
        if costs.participation > 0
        else "Orders of any size are filled at once: the volume of a minute is not looked at."
    )
    yield "Nothing is bought on credit, nothing is sold short, and cash earns no interest."
    yield _leaving(rules)
    yield (
        "Prices are the simulator's: they say nothing about a real market."
        if view.backtest.simulated
        else "Bars come from the tape named below. IEX alone sees a few percent of the volume, so "
        "its opens differ from what the whole market would have filled at."
    )
    yield "Own orders move no prices beyond the slippage charged."


def _fees(costs: Costs) -> str:
    fees = [
        f"${costs.sec_per_million:,.2f} a million of sales to the SEC",
        f"${costs.taf_per_share:.6f} a share sold to FINRA",
    ]
    if costs.commission_bps or costs.commission_per_share:
        fees.append(
            f"{number(costs.commission_bps, 2)} bps and ${costs.commission_per_share:.4f} a share "
            "of commission"
        )
        return f"fees are {fees[0]}, {fees[1]} and {fees[2]}."
    return f"fees are {fees[0]} and {fees[1]}, and there is no commission."


def _leaving(rules: Rules) -> str:
    if rules.flat_minutes <= 0:
        return "Positions are held overnight, at the risk of what the morning brings."
    whole, half = (clock(minutes - rules.flat_minutes) for minutes in (390, 210))
    return (
        f"From {whole} on (on half-days {half}) everything is sold; what cannot be sold by "
        "the close is held overnight."
    )
