"""The section of the report about what was held, and what it earned by symbol and sector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alpaca_strategy.backtest.history import Floats
from alpaca_strategy.backtest.report.correlation import correlation_chart
from alpaca_strategy.backtest.report.palette import SERIES
from alpaca_strategy.backtest.report.parts import Chart, Section, Trace, bars, name_axis
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import (
    clipped,
    counted,
    label,
    labels,
    percent,
    plain,
    usd,
)

#: Symbols that a chart has room for: those that were traded most.
_MOST = 40
#: Up to so many sessions each is shown by itself, beyond them means over a week are.
_FEW, _WEEK = 63, 5
_NOTHING = "There is nothing to show: nothing was held."


def allocation_section(view: View) -> Section:
    """Return the section about what was held, and what it earned."""
    held = _held(view)
    parts = (
        _sectors_over_time(view, held),
        _symbols_over_time(view, held),
        _by_symbol(view),
        _by_sector(view),
        correlation_chart(view),
    )
    return Section(
        "allocation", "Allocation", _finding(view),
        "Shares are of the equity; what a symbol earned is the profit of its trades after costs.",
        parts,
    )  # fmt: skip


def _finding(view: View) -> str:
    if not len(view.trades):
        return "Nothing was held to its end"
    profit = _profits(view)
    best, worst = int(np.argmax(profit)), int(np.argmin(profit))
    names = [clipped(view.history.symbols[i]) for i in (best, worst)]
    if len(np.unique(view.trades["symbol"])) == 1:
        return f"Only {names[0] if profit[best] else names[1]} was traded"
    made = [usd(float(profit[i]), plus=True) for i in (best, worst)]
    if profit[worst] >= 0:
        return f"{names[0]} made most with {made[0]}, and no symbol lost"
    if profit[best] <= 0:
        return f"No symbol earned; {names[1]} did worst with {made[1]}"
    return f"{names[0]} made most with {made[0]}, {names[1]} lost most with {made[1]}"


def _profits(view: View) -> Floats:
    trades = view.trades
    sums = np.bincount(trades["symbol"], trades["profit"], minlength=len(view.history.symbols))
    return np.asarray(sums, np.float64)


def _held(view: View) -> Floats:
    """Return the mean share of the equity in each symbol by session, shape (sessions, symbols)."""
    equity = view.backtest.run.equity[view.shown][:, None]
    shares = np.divide(view.holdings, equity, out=np.zeros_like(view.holdings), where=equity > 0)
    if not len(shares):
        return shares
    ends = view.last_shown + 1
    sums = np.add.reduceat(shares, np.concatenate([[0], ends[:-1]]))
    return np.asarray(sums / np.diff(ends, prepend=0)[:, None], np.float64)


def _sectors_over_time(view: View, held: Floats) -> Chart:
    sums: dict[str, Floats] = {}
    for i, sector in enumerate(view.sectors):
        sums[sector] = sums.get(sector, np.zeros(len(held))) + held[:, i]
    if not len(held) or not held.any():
        return Chart("sectors", "Sector exposure over time", nothing=_NOTHING)
    order = sorted(sums, key=lambda sector: -float(sums[sector].sum()))
    largest = float(sums[order[0]].mean())
    rest = order[SERIES - 1 :]
    groups = [(label(s), _smooth(sums[s])) for s in order[: SERIES - 1]]
    if len(rest) == 1:
        groups.append((label(rest[0]), _smooth(sums[rest[0]])))
    elif rest:
        both = np.sum([sums[s] for s in rest], axis=0)
        groups.append((f"{len(rest)} others", _smooth(both)))
    traces = tuple(_layer(name, values, i) for i, (name, values) in enumerate(groups))
    return Chart(
        "sectors",
        f"{clipped(order[0])} held {percent(largest)} of the equity on average, "
        "more than any other sector",
        "Mean share of the equity in each sector, one upon the other; the rest is cash."
        + (f" Means over the last {_WEEK} sessions." if len(held) > _FEW else ""),
        traces=traces,
        layout={
            "hovermode": "x unified", "barmode": "stack", "legend": {"traceorder": "normal"},
            "yaxis": {"tickformat": ".0%", "rangemode": "tozero"},
        },
        axis="sessions",
        height=340,
    )  # fmt: skip


def _layer(name: str, values: Floats, place: int) -> Trace:
    """Return one of the things that lie upon each other: areas where there are many sessions."""
    common = {"name": name, "y": plain(values, 4), "hovertemplate": "%{y:.1%}"}
    if len(values) <= _FEW:
        return {"type": "bar", "marker": {"color": f"@series-{place}"}, **common}
    return {
        "type": "scatter", "mode": "lines", "stackgroup": "one", "fillcolor": f"@series-{place}",
        "line": {"width": 0.6, "color": "@page"}, **common,
    }  # fmt: skip


def _smooth(values: Floats) -> Floats:
    """Return means over the last sessions where there are many, as single ones are a flicker."""
    if len(values) <= _FEW:
        return values
    total = np.cumsum(np.concatenate([np.zeros(1), values]))
    begin = np.maximum(np.arange(len(values)) - _WEEK + 1, 0)
    end = np.arange(1, len(values) + 1)
    return np.asarray((total[end] - total[begin]) / (end - begin), np.float64)


def _symbols_over_time(view: View, held: Floats) -> Chart:
    if not len(held) or not held.any():
        return Chart("symbols", "Allocation by symbol over time", nothing=_NOTHING)
    shown = view.busiest(_MOST)[::-1]
    top = float(held.max())
    symbol = int(np.argmax(held.max(axis=0)))
    more = len(view.history.symbols) - len(shown)
    names = labels(view.history.symbols[i] for i in shown)
    return Chart(
        "symbols",
        f"The largest session's mean in one symbol was {percent(top)}: "
        f"{clipped(view.history.symbols[symbol])}",
        "Mean share of the equity in each symbol by session; deeper is more."
        + (f" {counted(more, 'symbol')} that were traded least are left out." if more else ""),
        traces=(
            {
                "type": "heatmap", "z": [plain(held[:, i], 4) for i in shown],
                "y": names, "colorscale": "@rising", "zmin": 0, "zmax": round(top, 4),
                "hovertemplate": "%{y}, %{x}: %{z:.1%}<extra></extra>", "xgap": 0, "ygap": 1,
                "colorbar": {"tickformat": ".0%", "thickness": 10, "outlinewidth": 0},
            },
        ),
        layout={"yaxis": name_axis(names)},
        axis="sessions",
        height=90 + 15 * max(len(shown), 6),
    )  # fmt: skip


def _by_symbol(view: View) -> Chart:
    profit = _profits(view)
    traded = np.unique(view.trades["symbol"])
    if not len(traded):
        return Chart("attribution", "Profit by symbol", nothing=_NOTHING, half=True)
    order = traded[np.argsort(profit[traded], kind="stable")]
    if len(order) > _MOST:
        order = np.concatenate([order[: _MOST // 2], order[-_MOST // 2 :]])
    count = np.bincount(view.trades["symbol"], minlength=len(profit))
    lost = int(np.sum(profit[traded] < 0))
    names = labels(view.history.symbols[i] for i in order)
    return Chart(
        "attribution",
        f"{counted(len(traded) - lost, 'symbol')} earned, {lost:,} lost",
        "Profit by symbol in USD, after costs."
        + (" Those in between are left out." if len(traded) > _MOST else ""),
        traces=(
            _sideways(names, profit[order], [counted(int(count[i]), "trade") for i in order]),
        ),
        layout={"yaxis": name_axis(names), "xaxis": {"tickformat": "$,.0f", "nticks": 6}},
        height=90 + 15 * max(len(order), 6),
        half=True,
    )  # fmt: skip


def _sideways(names: list[str], values: Floats, notes: Sequence[str]) -> dict[str, object]:
    return bars(
        plain(values, 2), names, hover="%{y}: %{x:$,.2f}, %{customdata}", orientation="h",
        customdata=list(notes),
        marker={"color": ["@bad" if value < 0 else "@blue" for value in values]},
    )  # fmt: skip


def _by_sector(view: View) -> Chart:
    if not len(view.trades):
        return Chart("by-sector", "Profit by sector", nothing=_NOTHING, half=True)
    sectors = np.array(view.sectors)[view.trades["symbol"]]
    names = np.unique(sectors)
    sums = np.array([view.trades["profit"][sectors == name].sum() for name in names])
    counts = [int(np.sum(sectors == name)) for name in names]
    order = np.argsort(sums, kind="stable")[-_MOST:]
    shown = labels((names[i] for i in order), 24)
    return Chart(
        "by-sector",
        f"{clipped(names[order[-1]])} did best with {usd(float(sums[order[-1]]), plus=True)}",
        "Profit by sector in USD, after costs.",
        traces=(_sideways(shown, sums[order], [counted(counts[i], "trade") for i in order]),),
        layout={"yaxis": name_axis(shown), "xaxis": {"tickformat": "$,.0f", "nticks": 5}},
        height=110 + 26 * max(len(order), 3),
        half=True,
    )  # fmt: skip
