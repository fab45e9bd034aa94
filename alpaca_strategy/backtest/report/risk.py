"""The section of the report about risk over time: rolling ratios, exposure and turnover."""

from __future__ import annotations

import numpy as np

from alpaca_strategy.backtest.history import Floats
from alpaca_strategy.backtest.ratios import YEAR
from alpaca_strategy.backtest.report.parts import Chart, Section, line
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import number, percent, plain

_WINDOW = 20  # sessions
_FEW = 5
_TOO_SHORT = f"There is nothing to show: that takes {_WINDOW} sessions."


def risk_section(view: View) -> Section:
    """Return the section about risk over time."""
    exposed, turned = _exposure(view), _turnover(view)
    finding = "There were no sessions"
    if len(view.returns):
        mean = float(view.by_session(exposed).sum() / max(len(exposed), 1))
        finding = (
            f"It was invested {percent(mean, 0)} on average and traded "
            f"{number(float(turned.mean()), 1)} times its equity a session"
        )
    return Section(
        "risk",
        "Risk over time",
        finding,
        "Steady lines mean that the figures above speak for the whole time, not for a lucky part.",
        (_rolling(view), _use(view, exposed, turned)),
    )


def _exposure(view: View) -> Floats:
    run = view.backtest.run
    out = np.zeros(len(run.equity))
    return np.divide(run.invested, run.equity, out=out, where=run.equity > 0)


def _turnover(view: View) -> Floats:
    """Return what each session bought and sold, in multiples of its mean equity."""
    fills, sessions = view.backtest.run.fills, len(view.history.sessions)
    traded = np.abs(fills["shares"]) * fills["price"]
    sums = np.bincount(view.session[fills["row"]], traded, minlength=sessions)
    minutes = np.diff(view.history.first_row)
    mean = view.by_session(view.backtest.run.equity) / minutes if sessions else np.empty(0)
    return np.divide(sums, mean, out=np.zeros(sessions), where=mean > 0)


def _rolling(view: View) -> Chart:
    name, finding = "rolling", f"Sharpe ratio and volatility of the last {_WINDOW} sessions"
    if len(view.returns) < _WINDOW:
        return Chart(name, finding, nothing=_TOO_SHORT)
    parts = np.lib.stride_tricks.sliding_window_view(view.returns, _WINDOW)
    deviation = parts.std(axis=1, ddof=1)
    with np.errstate(all="ignore"):
        sharpe = np.where(deviation > 0, parts.mean(axis=1) / deviation, np.nan) * np.sqrt(YEAR)
    before = [None] * (_WINDOW - 1)
    known = sharpe[np.isfinite(sharpe)]
    if not len(known):
        return Chart(name, finding, nothing="There is nothing to show: no session differs.")
    good = float(np.mean(known > 0))
    return Chart(
        name,
        f"The Sharpe ratio of {_WINDOW} sessions was above 0 for {percent(good, 0)} of the time",
        f"Above, the annualised Sharpe ratio of the last {_WINDOW} sessions; below, their "
        "annualised volatility.",
        height=380,
        axis="sessions",
        traces=(
            line([*before, *plain(sharpe, 3)], "Sharpe ratio", "blue", hovertemplate="%{y:.2f}"),
            line(
                [*before, *plain(deviation * np.sqrt(YEAR), 5)], "Volatility", "series-1",
                yaxis="y2", hovertemplate="%{y:.1%}",
            ),
        ),
        layout={
            "hovermode": "x unified",
            "xaxis": {"anchor": "y2"},
            "yaxis": {"domain": [0.46, 1], "title": {"text": "Sharpe ratio"}},
            "yaxis2": {
                "domain": [0, 0.34], "tickformat": ".0%", "rangemode": "tozero",
                "title": {"text": "volatility"},
            },
            "showlegend": False,
        },
    )  # fmt: skip


def _use(view: View, exposed: Floats, turned: Floats) -> Chart:
    if not turned.any() and not exposed.any():
        return Chart(
            "use", "Exposure and turnover", nothing="There is nothing to show: nothing was held."
        )
    most = view.by_session(exposed, np.maximum)
    # A line through one point is not seen.
    marked = {
        "mode": "lines+markers" if len(turned) < _FEW else "lines",
        "hovertemplate": "%{y:.0%}",
    }
    mean = view.by_session(exposed) / np.diff(view.history.first_row)
    return Chart(
        "use",
        f"At most {percent(float(most.max()), 1)} of the equity was invested",
        "Above, the share of the equity that is invested, mean and highest of each session; below, "
        "what a session bought and sold, in multiples of its equity.",
        height=380,
        axis="sessions",
        traces=(
            line(plain(most, 4), "Highest exposure", "faint", width=1, **marked),
            line(plain(mean, 4), "Mean exposure", "blue", **marked),
            {
                "type": "bar", "y": plain(turned, 2), "name": "Turnover", "yaxis": "y2",
                "marker": {"color": "@series-4"}, "hovertemplate": "%{y:.1f}×",
                "showlegend": False,
            },
        ),
        layout={
            "hovermode": "x unified",
            "xaxis": {"anchor": "y2"},
            "yaxis": {"domain": [0.46, 1], "tickformat": ".0%", "rangemode": "tozero"},
            "yaxis2": {"domain": [0, 0.34], "title": {"text": "turnover"}},
        },
    )  # fmt: skip
