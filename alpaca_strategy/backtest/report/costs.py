"""The section of the report about costs: what they took, and how many more it would bear."""

from __future__ import annotations

from collections.abc import Sequence

from alpaca_strategy.backtest.content import GridPoint
from alpaca_strategy.backtest.report.parts import Chart, Section, bars, level, line, note, upright
from alpaca_strategy.backtest.report.summary import figures_of
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import bps, counted, percent, plain, usd

_NO_TRADING = "There is nothing to show: nothing was traded."


def costs_section(view: View) -> Section:
    """Return the section about costs."""
    return Section(
        "costs", "Costs", _finding(view),
        "Costs are fees, half the spread and slippage; a side is a purchase or a sale.",
        (_waterfall(view), _ladder(view)),
    )  # fmt: skip


def _taken(view: View) -> tuple[float, float, float]:
    """Return what was earned before costs, what prices took and what fees took, in USD."""
    run = view.backtest.run
    impact, fees = float(run.fills["impact"].sum()), float(run.fills["fee"].sum())
    return float(view.ends[-1] - run.cash + impact + fees), impact, fees


def _finding(view: View) -> str:
    if not len(view.backtest.run.fills):
        return "Nothing was traded, so nothing was paid"
    earned, impact, fees = _taken(view)
    cost = impact + fees
    even = figures_of(view.backtest)["break_even_bps"].value
    if earned <= 0:
        return f"It lost {usd(-earned)} before costs, and {usd(cost)} of costs came on top"
    share = (
        f"Costs take {percent(cost / earned, 0)} of what was earned"
        if cost <= earned
        else f"Costs of {usd(cost)} are more than the {usd(earned)} earned before them"
    )
    return share if even is None else f"{share}: it breaks even at {bps(even, 2)} a side"


def _waterfall(view: View) -> Chart:
    if not len(view.backtest.run.fills):
        return Chart("waterfall", "From gross to net", nothing=_NO_TRADING, half=True)
    earned, impact, fees = _taken(view)
    net = earned - impact - fees
    steps = (earned, -impact, -fees, net)
    labels = ("Before costs", "Spread, slippage", "Fees", "After costs")
    bases = (0.0, earned - impact, net, 0.0)
    heights = (earned, impact, fees, net)
    colours = [
        "@bad" if earned < 0 else "@blue",
        "@faint",
        "@faint",
        "@bad" if net < 0 else "@blue",
    ]
    return Chart(
        "waterfall",
        f"{usd(earned, plus=True)} before costs, {usd(net, plus=True)} after them",
        "What the trades made, what trading took, and what was left, in USD.",
        traces=(
            bars(
                list(labels), plain(heights, 2), hover="%{x}: %{customdata}",
                base=plain(bases, 2), customdata=[usd(step, 2, plus=True) for step in steps],
                marker={"color": colours}, text=[usd(step, plus=True) for step in steps],
                textposition="outside", textfont={"color": "@text"}, cliponaxis=False,
            ),
        ),
        layout={
            "xaxis": {"type": "category"}, "yaxis": {"tickformat": "$,.0f"}, "margin": {"t": 26},
        },
        half=True,
    )  # fmt: skip


def _ladder(view: View) -> Chart:
    points = sorted(view.backtest.ladder, key=lambda point: point.cost_bps)
    if not any(point.trades for point in points):
        nothing = _NO_TRADING if points else "There is nothing to show: no other costs were tried."
        return Chart("ladder", "At other costs", nothing=nothing, half=True)
    costs = view.backtest.costs
    charged = costs.half_spread_bps + costs.slippage_bps
    return Chart(
        "ladder",
        _ladder_finding(points),
        f"Total return of the same run at other spreads and slippage. Dotted: the {bps(charged)} "
        "charged in this backtest.",
        traces=(
            line(
                plain([point.total_return for point in points], 5), "Total return", "blue",
                mode="lines+markers", x=plain([point.cost_bps for point in points], 2), width=2,
                hovertemplate="%{x} bps: %{y:.2%}, %{customdata}<extra></extra>",
                customdata=[counted(point.trades, "trade") for point in points],
                marker={
                    "size": 7,
                    "color": ["@bad" if p.total_return < 0 else "@blue" for p in points],
                },
            ),
        ),
        layout={
            "xaxis": {"title": {"text": "bps a side"}, "dtick": 2, "zeroline": False},
            "yaxis": {"tickformat": ".2~%"},
            "shapes": [level(0, dash="solid"), upright(charged)],
            "margin": {"t": 26},
            "annotations": [
                note("charged", x=charged, y=1, yref="paper", yanchor="bottom")
            ],
        },
        half=True,
    )  # fmt: skip


def _ladder_finding(points: Sequence[GridPoint]) -> str:
    earning = [point.cost_bps for point in points if point.total_return > 0]
    if not earning:
        return "It loses at any cost that was tried"
    word = "even with" if len(earning) == len(points) else "with up to"
    return f"It earns {word} {bps(max(earning), 0)} of spread and slippage a side"
