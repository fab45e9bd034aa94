"""The top of the report: what came of it in one sentence, and the figures that matter most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpaca_strategy.backtest.catalogue import CATALOGUE, FEW_SESSIONS, FEW_TRADES
from alpaca_strategy.backtest.content import Agreement, Backtest, Figure
from alpaca_strategy.backtest.doubts import TOO_GOOD
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import (
    clipped,
    counted,
    figure_text,
    interval_text,
    number,
    percent,
)

_RUIN = 0.01  # of the cash: less than this left is losing everything
#: On the tiles, each with a figure that is told beneath it where it has no interval.
_TILES = {
    "total_return": "",
    "benchmark_return": "benchmark_sharpe",
    "sharpe": "",
    "max_drawdown": "max_drawdown_minutes",
    "annual_return": "",
    "annual_volatility": "beta",
    "value_at_risk": "conditional_value_at_risk",
    "exposure": "turnover",
    "trades": "mean_minutes_held",
    "win_rate": "",
    "profit_factor": "mean_profit",
    "break_even_bps": "cost_bps",
}
_EARNED = {"total_return", "benchmark_return", "annual_return", "sharpe"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure at the top of the page."""

    name: str
    title: str
    meaning: str
    value: str
    note: str
    tone: str


def figures_of(backtest: Backtest) -> dict[str, Figure]:
    """Return the figures by name, also those that a backtest lacks: without a value."""
    given = {figure.name: figure for figure in backtest.figures}
    return {name: given.get(name, Figure(name, None)) for name in CATALOGUE}


def tiles(backtest: Backtest) -> list[Tile]:
    """Return the figures that matter most, as they are shown."""
    of = figures_of(backtest)
    return [_tile(of[name], of.get(beneath)) for name, beneath in _TILES.items()]


def _tile(figure: Figure, beneath: Figure | None) -> Tile:
    told = CATALOGUE[figure.name]
    earned = figure.name in _EARNED
    note = interval_text(figure)
    if not note and beneath is not None and beneath.value is not None:
        title = CATALOGUE[beneath.name].title
        note = f"{title[0].lower()}{title[1:]} {figure_text(beneath.name, beneath.value)}"
    lost = earned and figure.value is not None and figure.value < 0
    return Tile(
        name=figure.name,
        title=told.title,
        meaning=told.meaning,
        value=figure_text(figure.name, figure.value, plus=earned and figure.name != "sharpe"),
        note=note,
        tone="bad" if lost else "",
    )


def headline(view: View) -> str:
    """Return what came of it in one sentence."""
    sessions = counted(len(view.history.sessions), "session")
    run = view.backtest.run
    if not len(run.fills):
        return f"Nothing was traded in {sessions}"
    ruined = np.flatnonzero(view.ends < _RUIN * run.cash)
    if len(ruined):
        return f"It lost everything within {counted(int(ruined[0]) + 1, 'session')} of {sessions}"
    total = float(view.ends[-1] / run.cash - 1)
    word = "It earned" if total >= 0 else "It lost"
    return f"{word} {percent(abs(total))} in {sessions} after costs; {_how_sure(view)}"


def _how_sure(view: View) -> str:
    if view.backtest.in_sample:
        return "with sessions that the model had learned from, so that says nothing"
    if not view.backtest.agreement.holds:
        return "by one of two engines that do not agree, so that says nothing"
    figure = figures_of(view.backtest)["sharpe"]
    if figure.value is None:
        return "that is too little to tell skill from chance"
    if len(view.history.sessions) < FEW_SESSIONS or len(view.trades) < FEW_TRADES:
        return "over so little that nothing says how sure that is"
    if figure.value > TOO_GOOD:
        return f"a Sharpe ratio of {number(figure.value)} is too good to be believed"
    return _against_chance(figure)


def _against_chance(figure: Figure) -> str:
    ratio = f"a Sharpe ratio of {number(figure.value or 0.0)}"
    if figure.low is None or figure.high is None:
        return f"{ratio} over so few sessions says little"
    between = f"(95\u00a0%: {interval_text(figure)})"
    if figure.low > 0:
        return f"{ratio} is more than chance {between}"
    if figure.high < 0:
        return f"{ratio} is no bad luck either {between}"
    return f"{ratio} may be chance {between}"


def agreement_text(agreement: Agreement) -> str:
    """Return whether the two engines came to the same."""
    of = f"{agreement.agreed:,} of {counted(agreement.trades, 'trade')}"
    if agreement.holds:
        return f"Two engines agree on {of}: to the share, the minute and the price."
    return (
        f"The two engines agree on {of} only. The first difference: "
        f"{clipped(agreement.difference, 400)}"
    )


def verdict(backtest: Backtest) -> tuple[str, bool]:
    """Return what kind of backtest it is, and whether it must not be relied upon."""
    if not backtest.agreement.holds:
        return "Engines disagree", True
    if backtest.in_sample:
        return "In sample", True
    return ("Simulated prices" if backtest.simulated else "Real prices"), False
