"""The section of the report about how sure all that is: other parameters, and all intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alpaca_strategy.backtest.catalogue import CATALOGUE
from alpaca_strategy.backtest.content import GridPoint
from alpaca_strategy.backtest.report.parts import Cell, Chart, Choice, Section, Table, Trace, Words
from alpaca_strategy.backtest.report.summary import figures_of
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import (
    counted,
    figure_text,
    interval_text,
    number,
    percent,
    plain,
)


def robustness_section(view: View) -> Section:
    """Return the section about how sure all that is."""
    return Section(
        "robustness", "Robustness", _finding(view),
        "What holds only at one setting was probably found by luck; what holds around it may stay.",
        (_sensitivity(view), _certainty(view), _all_figures(view)),
    )  # fmt: skip


def _finding(view: View) -> str:
    grid = view.backtest.grid
    if not grid:
        return "No other parameters were tried"
    charged = [point for point in grid if point.cost_bps == _charged(view)]
    earning = sum(point.total_return > 0 for point in charged)
    return (
        f"At the costs charged it earns with {earning:,} of "
        f"{counted(len(charged), 'setting')} that were tried"
    )


def _charged(view: View) -> float:
    """Return what spread and slippage take on one side, in bps."""
    return view.backtest.costs.half_spread_bps + view.backtest.costs.slippage_bps


def _sensitivity(view: View) -> Chart:
    grid = view.backtest.grid
    if not any(point.trades for point in grid):
        nothing = "no setting traded" if grid else "none were tried"
        return Chart("grid", "Other parameters", nothing=f"There is nothing to show: {nothing}.")
    names, holds = sorted({p.top_k for p in grid}), sorted({p.hold for p in grid})
    of = {(p.cost_bps, p.top_k, p.hold): p for p in grid}
    charged = _charged(view)
    costs = sorted({p.cost_bps for p in grid}, key=lambda cost: abs(cost - charged))
    return Chart(
        "grid",
        _best([p for p in grid if p.cost_bps == costs[0]]),
        "Names chosen by a decision, against minutes held: total return on the left, Sharpe ratio "
        "on the right. The frame marks the setting of this backtest.",
        height=130 + 42 * max(len(names), 3),
        choices=tuple(
            Choice(f"{number(cost, 1)} bps a side", _maps(of, cost, names, holds)) for cost in costs
        ),
        asked="Costs",
        layout={**_axes(names, holds), "shapes": _frames(view, names, holds)},
    )


def _best(points: Sequence[GridPoint]) -> str:
    best = max(points, key=lambda p: p.total_return)
    return (
        f"At {number(best.cost_bps, 1)} bps a side, {counted(best.top_k, 'name')} held for "
        f"{counted(best.hold, 'minute')} would have done best: "
        f"{percent(best.total_return, plus=True)}"
    )


def _maps(
    of: dict[tuple[float, int, int], GridPoint], cost: float, names: Sequence[int],
    holds: Sequence[int],
) -> tuple[Trace, ...]:  # fmt: skip
    points = [[of.get((cost, k, hold)) for hold in holds] for k in names]
    trades = [[counted(p.trades, "trade") if p else "" for p in row] for row in points]
    hover = "%{y} names, %{x} minutes: %{text}<br>%{customdata}<extra></extra>"
    common = {
        "type": "heatmap", "colorscale": "@soft", "xgap": 2, "ygap": 2, "showscale": False,
        "x": [str(hold) for hold in holds], "y": [str(k) for k in names], "customdata": trades,
        "texttemplate": "%{text}", "textfont": {"color": "@text"}, "hovertemplate": hover,
    }  # fmt: skip
    returns = [[p.total_return if p else np.nan for p in row] for row in points]
    sharpes = [
        [np.nan if p is None or p.sharpe is None else p.sharpe for p in row] for row in points
    ]
    return (
        {
            **common, **_shades(returns),
            "text": [[percent(value, plus=True) for value in row] for row in returns],
        },
        {
            **common, **_shades(sharpes), "xaxis": "x2", "yaxis": "y2",
            "text": [[number(value) for value in row] for row in sharpes],
        },
    )  # fmt: skip


def _shades(values: Sequence[Sequence[float]]) -> Trace:
    """Return values with ends of the colour scale that are as far from 0."""
    known = np.abs(np.array(values))[np.isfinite(values)]
    largest = float(known.max()) if len(known) and known.max() > 0 else 1.0
    return {"z": [plain(row, 5) for row in values], "zmin": -largest, "zmax": largest}


def _axes(names: Sequence[int], holds: Sequence[int]) -> dict[str, object]:
    common = {"type": "category", "showgrid": False, "zeroline": False}
    across = {
        **common, "categoryarray": [str(h) for h in holds], "range": [-0.5, len(holds) - 0.5],
        "title": {"text": "minutes held"},
    }  # fmt: skip
    down = {
        **common, "categoryarray": [str(k) for k in names], "range": [-0.5, len(names) - 0.5],
    }  # fmt: skip
    return {
        "xaxis": {**across, "domain": [0, 0.46]},
        "xaxis2": {**across, "domain": [0.54, 1], "anchor": "y2"},
        "yaxis": {**down, "title": {"text": "names chosen"}},
        "yaxis2": {**down, "anchor": "x2"},
    }


def _frames(view: View, names: Sequence[int], holds: Sequence[int]) -> list[dict[str, object]]:
    rules = view.backtest.rules
    if rules.top_k not in names or rules.hold not in holds:
        return []
    x, y = holds.index(rules.hold), names.index(rules.top_k)
    return [
        {
            "type": "rect", "x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5,
            "xref": f"x{axis}", "yref": f"y{axis}", "line": {"color": "@text", "width": 2},
        }
        for axis in ("", "2")
    ]  # fmt: skip


def _certainty(view: View) -> Words:
    of = figures_of(view.backtest)
    probable, deflated = of["probabilistic_sharpe"].value, of["deflated_sharpe"].value
    needed, sessions = of["minimum_track_record"].value, len(view.returns)
    texts = []
    if probable is not None:
        texts.append(
            f"Probabilistic Sharpe ratio: with {percent(probable, 1)} probability the true Sharpe "
            f"ratio is above 0, given {counted(sessions, 'session')} and their skew and tails."
        )
    if deflated is not None:
        texts.append(
            f"Deflated Sharpe ratio: with {percent(deflated, 1)} probability it is more than the "
            "best of as many tries would have reached by luck."
        )
    if needed is not None:
        texts.append(
            f"It takes {counted(round(needed), 'session')} to be 95 % sure of such a ratio; this "
            f"record has {sessions:,}."
        )
    if not texts:
        texts.append("There is nothing to show: a Sharpe ratio takes two sessions that differ.")
    alone = probable is not None and probable > 0.95
    sure = alone and deflated is not None and deflated > 0.95
    return Words(
        "It loses, and chance does not explain that"
        if probable is not None and probable < 0.05
        else "It is more than chance"
        if sure
        else "By itself it is more than chance, as the best of many tries not"
        if alone
        else "It may be chance",
        tuple(texts),
        points=len(texts) > 1,
    )


def _all_figures(view: View) -> Table:
    of = figures_of(view.backtest)
    rows = [
        (
            Cell(told.title, "strong"), figure_text(name, of[name].value),
            Cell(interval_text(of[name]), "quiet"), Cell(told.meaning, "quiet"),
        )
        for name, told in CATALOGUE.items()
    ]  # fmt: skip
    return Table(
        "Every figure",
        "Intervals hold the true figure with 95 % confidence: sessions drawn again and again.",
        ("Figure", "#Value", "#95 % interval", "Meaning"),
        rows,
    )
