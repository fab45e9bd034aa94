"""The chart of one trade, from before its decision until after its end."""

from __future__ import annotations

from typing import Any

import numpy as np

from alpaca_strategy.backtest.history import Ints
from alpaca_strategy.backtest.report.parts import Chart, Layout, Trace, level, line, note, upright
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import clock, number, plain, usd

_BEFORE, _AFTER = 30, 15  # minutes
_MOST = 600  # rows: of a trade that was held longer, some are left out


def replay_chart(
    view: View, trade: Any, decided: int | None, fills: Any, *, name: str, finding: str
) -> Chart:  # fmt: skip
    """Return the chart of a trade.

    Args:
        view: The backtest.
        trade: Of dtype `TRADE`.
        decided: The row of the decision to enter; None where it cannot be told.
        fills: Its executions, of dtype `FILL`.
        name: Of the chart on its page.
        finding: What came of the trade.
    """
    rows = _rows(view, trade, decided, fills)
    symbol, several = trade["symbol"], view.session[rows[0]] != view.session[rows[-1]]
    labels = [_time(view, row, several=several) for row in rows]
    traces = (_candles(view, rows, labels, symbol), *_marks(rows, labels, fills))
    scores = view.history.scores[rows, symbol]
    scored = bool(np.isfinite(scores).any())
    if scored:
        traces += (
            line(
                plain(scores, 4), "Score", "series-1", x=labels, yaxis="y2", mode="lines+markers",
                marker={"size": 3, "color": "@series-1"}, hovertemplate="%{y:.3f}", width=1,
                connectgaps=False, showlegend=False,
            ),
        )  # fmt: skip
    return Chart(
        name, finding, height=470, traces=traces,
        layout=_layout(view, rows, labels, decided, scored=scored),
    )  # fmt: skip


def _rows(view: View, trade: Any, decided: int | None, fills: Any) -> Ints:
    entered, left = int(trade["entry_row"]), int(trade["exit_row"])
    begin = view.history.first_row[view.session[entered]]
    end = view.history.first_row[view.session[left] + 1]
    first = max(int(begin), (entered if decided is None else decided) - _BEFORE)
    rows = np.arange(first, min(int(end), left + _AFTER + 1))
    if len(rows) <= _MOST:
        return rows
    some = rows[:: -(-len(rows) // _MOST)]
    needed = [*fills["row"], *([] if decided is None else [decided])]
    return np.unique(np.concatenate([some, np.array(needed, np.int64)])).astype(np.int64)


def _time(view: View, row: int, *, several: bool) -> str:
    time = clock(view.minute[row])
    if not several:
        return time
    session = view.history.sessions[view.session[row]]
    return f"{session.day} {session:%b} {time}"


def _candles(view: View, rows: Ints, labels: list[str], symbol: int) -> Trace:
    history = view.history
    prices = {
        name: plain(getattr(history, name)[rows, symbol], 4)
        for name in ("open", "high", "low", "close")
    }
    return {
        "type": "candlestick", "x": labels, **prices, "name": "Price", "showlegend": False,
        "increasing": {"line": {"color": "@blue", "width": 1}, "fillcolor": "@page"},
        "decreasing": {"line": {"color": "@quiet", "width": 1}, "fillcolor": "@quiet"},
    }  # fmt: skip


def _marks(rows: Ints, labels: list[str], fills: Any) -> tuple[Trace, ...]:
    of = dict(zip(rows.tolist(), labels, strict=True))
    traces = []
    for side, word, shape, colour in ((1, "Bought", "triangle-up", "series-2"),
                                      (-1, "Sold", "triangle-down", "bad")):  # fmt: skip
        part = fills[np.sign(fills["shares"]) == side]
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": word,
                "x": [of[row] for row in part["row"].tolist()], "y": plain(part["price"], 4),
                "customdata": [
                    f"{number(abs(float(fill['shares'])), 0)} at {usd(float(fill['price']), 3)}"
                    for fill in part
                ],
                "hovertemplate": "%{customdata}",
                "marker": {
                    "symbol": shape, "size": 12, "color": f"@{colour}",
                    "line": {"width": 1.5, "color": "@page"},
                },
            }
        )  # fmt: skip
    return tuple(traces)


def _layout(
    view: View, rows: Ints, labels: list[str], decided: int | None, *, scored: bool
) -> Layout:  # fmt: skip
    step = max(1, round(len(rows) / 7 / 5) * 5)
    ticks = [i for i, row in enumerate(rows) if view.minute[row] % step == 0]
    if len(ticks) > 12 or len(ticks) < 2:
        ticks = list(range(0, len(rows), max(1, len(rows) // 4)))
    layout: Layout = {
        "hovermode": "x unified",
        "xaxis": {
            "type": "category", "rangeslider": {"visible": False}, "tickvals": ticks,
            "ticktext": [labels[i] for i in ticks], "tickangle": 0,
            "anchor": "y2" if scored else "y", "categoryarray": labels,
        },
        "yaxis": {"tickprefix": "$", "domain": [0.3, 1] if scored else [0, 1]},
        "shapes": [],
        "annotations": [],
    }  # fmt: skip
    if scored:
        layout["yaxis2"] = {"domain": [0, 0.2], "title": {"text": "score"}, "nticks": 4}
        least = view.backtest.rules.min_score
        if np.isfinite(least):
            layout["shapes"].append(level(least, "y2"))
    if decided is not None:
        # Decided when the minute had closed: between its bar and the next.
        at = int(np.searchsorted(rows, decided)) + 0.5
        layout["shapes"].append(upright(at))
        layout["annotations"].append(
            note("decided", x=at, y=1, yref="paper", xanchor="right", xshift=-5, yanchor="top")
        )
    return layout
