"""The chart of how alike the symbols move."""

from __future__ import annotations

import numpy as np

from alpaca_strategy.backtest.history import Floats, Ints
from alpaca_strategy.backtest.report.parts import Chart, name_axis
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import labels, number, plain

_LEAST = 4  # sessions
_NOTHING = "There is nothing to show: that takes four sessions and two symbols that moved."


def correlation_chart(view: View, most: int = 40) -> Chart:
    """Return the chart of the symbols' correlations, at most so many symbols."""
    sectors = view.sectors
    shown = np.array(sorted(view.busiest(most), key=lambda i: (sectors[i], i)), np.int64)
    matrix = _matrix(_moves(view, shown))
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    if not np.isfinite(pairs).any():
        return Chart("correlation", "Correlation of the symbols", nothing=_NOTHING)
    names = labels(view.history.symbols[i] for i in shown)
    return Chart(
        "correlation",
        _finding(float(np.nanmean(pairs)), len(shown)),
        "Correlation of session returns, close to close, symbols ordered by sector.",
        traces=(
            {
                "type": "heatmap", "z": [plain(row, 2) for row in matrix[::-1]],
                "x": names, "y": names[::-1], "colorscale": "@diverging", "zmin": -1, "zmax": 1,
                "xgap": 1, "ygap": 1,
                "hovertemplate": "%{y} and %{x}: %{z:.2f}<extra></extra>",
                "colorbar": {"thickness": 10, "outlinewidth": 0},
            },
        ),
        layout={"yaxis": name_axis(names[::-1]), "xaxis": {**name_axis(names), "tickangle": -90}},
        height=150 + 17 * max(len(shown), 8),
    )  # fmt: skip


def _moves(view: View, shown: Ints) -> Floats:
    """Return what symbols returned from one session's close to the next, (sessions - 1, shown)."""
    history = view.history
    closes = history.last_prices()[history.first_row[1:] - 1][:, shown]
    with np.errstate(all="ignore"):
        return np.asarray(
            closes[1:] * history.split_factor[1:][:, shown] / closes[:-1] - 1, np.float64
        )


def _matrix(moves: Floats) -> Floats:
    """Return correlations, each over the sessions that both symbols have; NaN where too few."""
    symbols = moves.shape[1]
    if len(moves) + 1 < _LEAST or symbols < 2:
        return np.full((symbols, symbols), np.nan)
    with np.errstate(all="ignore"):
        seen = np.ma.masked_invalid(moves)
        found = np.ma.corrcoef(seen, rowvar=False)  # type: ignore[no-untyped-call]
        return np.asarray(found.filled(np.nan), np.float64)


def _finding(correlation: float, symbols: int) -> str:
    """Return what a mean correlation means for somebody who holds all symbols equally."""
    text = f"Two symbols correlate by {number(correlation)} on average"
    if correlation <= 0 or symbols < 3:
        return text
    alike = symbols / (1 + (symbols - 1) * correlation)
    return f"{text}: {symbols:,} spread risk like {number(alike, 1)} that do not"
