"""Sections of the report about equity and returns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise

import numpy as np

from alpaca_strategy.backtest.ratios import Drawdown, drawdowns
from alpaca_strategy.backtest.report.parts import (
    Cell,
    Chart,
    Choice,
    Part,
    Section,
    Table,
    Trace,
    bars,
    line,
    note,
    upright,
)
from alpaca_strategy.backtest.report.summary import figures_of
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import (
    NOTHING,
    clock,
    counted,
    day,
    number,
    percent,
    plain,
    short_day,
    usd,
)

_FEW_SESSIONS = 63  # up to three months, every session has a cell of its own
_DEEPEST = 8
_BINS = 31
_NO_SESSIONS = "There is nothing to show: there were no sessions."


def equity_section(view: View) -> Section:
    """Return the section about the equity and how far it fell."""
    return Section(
        "equity",
        "Equity",
        _equity_finding(view),
        f"All after costs, but for the line that says otherwise. One point every {view.step} "
        "minutes; the drawdown is the deepest since the point before.",
        (_equity_chart(view), _drawdown_table(view)),
    )


def _equity_finding(view: View) -> str:
    if not len(view.ends):
        return "There were no sessions"
    end, other = float(view.ends[-1]), float(view.benchmark[-1])
    beside = (end - other) / view.backtest.run.cash
    word = "more" if beside >= 0 else "less"
    return (
        f"{usd(view.backtest.run.cash)} became {usd(end)} by {day(view.history.sessions[-1])}, "
        f"{percent(abs(beside))} of the cash {word} than the equal-weighted universe"
    )


def _equity_chart(view: View) -> Chart:
    cash = view.backtest.run.cash
    deepest = figures_of(view.backtest)["max_drawdown"].value
    return Chart(
        "equity",
        f"At worst it was {percent(abs(deepest))} below its highest"
        if deepest
        else "It never fell below its highest",
        "Above, the change since the start; below, how far the equity was under its highest so "
        "far. Drag over a stretch to look closer; a double click shows all.",
        height=470,
        axis="curve",
        ranges=True,
        nothing=_NO_SESSIONS,
        layout={
            "hovermode": "x unified",
            "xaxis": {"anchor": "y2"},
            "yaxis": {"domain": [0.34, 1], "tickformat": ".2~%"},
            "yaxis2": {"domain": [0, 0.26], "tickformat": ".2~%", "rangemode": "tozero"},
        },
        choices=_lines(view, cash) if len(view.shown) else (),
        asked="Lines",
    )


def _lines(view: View, cash: float) -> tuple[Choice, ...]:
    """Return what can be drawn; first what shows the strategy best.

    Where costs took most of it, the line without them is so far away that it flattens the others.
    """
    market, gross, *others = _curves(view, cash)
    choices = [
        Choice("with and without costs", (market, gross, *others)),
        Choice("after costs only", (market, *others)),
    ]
    spans = [float(np.ptp(values)) for values in (view.gross, view.backtest.run.equity)]
    return tuple(choices if spans[0] <= 3 * spans[1] else choices[::-1])


def _curves(view: View, cash: float) -> tuple[Trace, ...]:
    hover = {"hovertemplate": "%{y:.2%}"}
    edges = np.concatenate([[0], view.shown[:-1] + 1])
    deepest = np.minimum.reduceat(view.underwater, edges)
    return (
        line(
            plain(view.benchmark[view.shown] / cash - 1, 5), "Equal-weighted universe", "faint",
            width=1.2, **hover,
        ),
        line(
            plain(view.gross[view.shown] / cash - 1, 5), "Strategy without costs", "series-1",
            width=1.2, dash="dot", **hover,
        ),
        line(
            plain(view.backtest.run.equity[view.shown] / cash - 1, 5), "Strategy", "blue",
            width=2, **hover,
        ),
        line(
            plain(deepest, 5), "Drawdown", "bad", width=1, yaxis="y2", fill="tozeroy",
            fillcolor="@bad-panel", showlegend=False, **hover,
        ),
    )  # fmt: skip


def _drawdown_table(view: View) -> Table:
    found = sorted(drawdowns(view.backtest.run.equity, view.backtest.run.cash), key=_depth)
    rows = [_drawdown_row(view, one) for one in found[:_DEEPEST]]
    longest = max((one.length for one in found), default=0)
    return Table(
        f"The longest of {counted(len(found), 'drawdown')} lasted {_duration(longest)}"
        if found
        else "It was never below its highest",
        "The deepest, by minute: from the peak before it to the first minute that was back there.",
        ("#Depth", "Peak", "Trough", "Recovered", "#Lasted"),
        rows,
    )


def _depth(drawdown: Drawdown) -> float:
    return drawdown.depth


def _drawdown_row(view: View, one: Drawdown) -> Sequence[Cell | str]:
    back = _moment(view, one.recovery) if one.recovery is not None else Cell("not yet", "quiet")
    peak = _moment(view, one.peak) if one.peak >= 0 else "the start"
    return (
        Cell(percent(one.depth, 2), "bad"), peak, _moment(view, one.trough), back,
        _duration(one.length),
    )  # fmt: skip


def _moment(view: View, row: int) -> str:
    at = short_day(view.history.sessions[view.session[row]])
    return f"{at}, {clock(view.minute[row] + 1)}"


def _duration(minutes: int) -> str:
    return f"{minutes:,} min" if minutes < 780 else counted(round(minutes / 390), "session")


def returns_section(view: View) -> Section:
    """Return the section about the returns of sessions, months and years."""
    gained = int(np.sum(view.returns > 0))
    finding = (
        f"{gained:,} of {counted(len(view.returns), 'session')} gained; {_extremes(view)}"
        if len(view.returns)
        else "There were no sessions"
    )
    few = len(view.returns) <= _FEW_SESSIONS
    parts: tuple[Part, ...] = (_days(view) if few else _months(view), _distribution(view))
    return Section("returns", "Returns", finding, "Returns of sessions, after costs.", parts)


def _extremes(view: View) -> str:
    best, worst = int(np.argmax(view.returns)), int(np.argmin(view.returns))
    if view.returns[best] == view.returns[worst]:
        return f"each made {percent(float(view.returns[best]), plus=True)}"
    of = [
        f"{percent(view.returns[i], plus=True)} on {day(view.history.sessions[i])}"
        for i in (best, worst)
    ]
    return f"the best made {of[0]}, the worst {of[1]}"


def _heat(value: float, largest: float) -> Cell:
    return Cell(number(value * 100, 2, plus=True), heat=value / largest if largest > 0 else 0.0)


def _months(view: View) -> Table:
    """Return a table of months: a year a row, and the year's return at its end."""
    sums: dict[tuple[int, int], float] = {}
    for session, gain in zip(view.history.sessions, view.returns, strict=True):
        for key in ((session.year, session.month), (session.year, 0)):
            sums[key] = (1 + sums.get(key, 0.0)) * (1 + gain) - 1
    months = {key: value for key, value in sums.items() if key[1]}
    largest = max((abs(value) for value in months.values()), default=0.0)
    rows: list[list[Cell | str]] = []
    for year in sorted({key[0] for key in sums}):
        cells = [
            _heat(months[year, m], largest) if (year, m) in months else Cell("")
            for m in range(1, 13)
        ]
        rows.append([str(year), *cells, Cell(number(sums[year, 0] * 100, 2, plus=True), "strong")])
    names = tuple(f"#{date(2000, m, 1):%b}" for m in range(1, 13))
    lost = sum(value < 0 for value in months.values())
    return Table(
        f"{counted(len(months) - lost, 'month')} gained, {lost:,} lost",
        "Percent by month; blue gained, orange lost, deeper means more.",
        ("Year", *names, "#Year"),
        rows,
    )


def _days(view: View) -> Table:
    """Return a calendar: a week a row."""
    of = dict(zip(view.history.sessions, view.returns, strict=True))
    largest = max((abs(value) for value in of.values()), default=0.0)
    weeks = sorted({session - timedelta(days=session.weekday()) for session in of})
    rows: list[list[Cell | str]] = []
    for monday in weeks:
        days = [monday + timedelta(days=i) for i in range(5)]
        cells: list[Cell | str] = [
            _heat(of[d], largest) if d in of else Cell(NOTHING, "quiet") for d in days
        ]
        whole = float(np.prod([1 + of[d] for d in days if d in of]) - 1)
        rows.append([short_day(monday), *cells, Cell(number(whole * 100, 2, plus=True), "strong")])
    return Table(
        "Day by day",
        "Percent by session, a week a row; blue gained, orange lost, deeper means more.",
        ("Week of", "#Mon", "#Tue", "#Wed", "#Thu", "#Fri", "#Week"),
        rows,
        nothing=_NO_SESSIONS,
    )


def _distribution(view: View) -> Chart:
    of = figures_of(view.backtest)
    risk, beyond = of["value_at_risk"].value, of["conditional_value_at_risk"].value
    known = view.returns[np.isfinite(view.returns)]
    if len(known) < 2 or np.ptp(known) == 0 or risk is None or beyond is None:
        return Chart(
            "distribution", "Distribution of session returns",
            nothing="There is nothing to show: that takes two sessions that differ.",
        )  # fmt: skip
    counts, edges = np.histogram(known, bins=min(_BINS, max(5, len(known) // 2)))
    middle = (edges[1:] + edges[:-1]) / 2
    marks = ((risk, "one in twenty", "left", 4), (beyond, "mean of those", "right", -4))
    return Chart(
        "distribution",
        f"One session in twenty loses more than {percent(abs(min(risk, 0.0)))}; "
        f"those lose {percent(abs(min(beyond, 0.0)))} on average",
        "How many sessions returned how much. Dotted: value at risk and expected shortfall at "
        "95 %.",
        height=280,
        traces=(
            bars(
                plain(middle, 6), plain(counts, 0), hover="%{customdata}: %{y} sessions",
                width=float(edges[1] - edges[0]) * 0.94,
                marker={"color": ["@bad" if m < 0 else "@blue" for m in middle]},
                customdata=[
                    f"{percent(a)} to {percent(b)}"
                    for a, b in pairwise(edges)
                ],
            ),
        ),
        layout={
            "xaxis": {"tickformat": ".2~%", "title": {"text": "return of a session"}},
            "yaxis": {"title": {"text": "sessions"}},
            "shapes": [upright(mark[0]) for mark in marks],
            "annotations": [
                note(text, x=value, xanchor=anchor, xshift=shift, y=1, yref="paper", yanchor="top")
                for value, text, anchor, shift in marks
            ],
        },
    )  # fmt: skip
