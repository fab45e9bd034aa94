"""The section of the report about the scores: what they foretell, how far ahead, by whose model."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from alpaca_strategy.backtest.history import Floats, Ints
from alpaca_strategy.backtest.report.parts import Cell, Chart, Section, Table, bars, level, line
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import (
    bps,
    clipped,
    counted,
    number,
    percent,
    plain,
    short_day,
)

_TENTHS = 10
_USELESS = 0.005  # rank IC: less than this is next to nothing


def signal_section(view: View) -> Section:
    """Return the section about the scores."""
    return Section(
        "signal", "Signal", _finding(view),
        "The rank IC is the rank correlation, among the symbols of a decision, of scores with "
        "what they returned after it: 0 says nothing, 0.03 is a good signal, above 0.10 suspect.",
        (_decay(view), _tenths(view), _folds(view)),
    )  # fmt: skip


def _finding(view: View) -> str:
    decay = view.backtest.decay
    known = {h: ic for h, ic in decay.items() if np.isfinite(ic)}
    if not known:
        return "Nothing was scored, or nothing followed"
    best = max(known, key=lambda h: known[h])
    if known[best] < max(_USELESS, _by_chance(view, best, len(known))):
        return (
            f"The scores foretell nothing that chance would not: their best rank IC is "
            f"{number(known[best], 3)}"
        )
    return (
        f"The scores foretell {counted(best, 'minute')} best, with a rank IC of "
        f"{number(known[best], 3)}"
    )


def _by_chance(view: View, horizon: int, horizons: int) -> float:
    """Return the mean rank IC that the best horizon of scores without any skill seldom exceeds.

    One rank IC of n names has a deviation of 1 / sqrt(n - 1); those of overlapping horizons say
    the same more than once.
    """
    known = np.isfinite(view.backtest.returns).sum(axis=1)
    known = known[known > 2]
    apart = max(1.0, horizon / view.backtest.rules.interval)
    if not len(known):
        return np.inf
    deviation = 1.0 / np.sqrt(known.mean() - 1.0) / np.sqrt(len(known) / apart)
    return float(deviation * ndtri(1.0 - 0.05 / horizons))


def _decay(view: View) -> Chart:
    known = sorted((h, ic) for h, ic in view.backtest.decay.items() if np.isfinite(ic))
    if not known:
        return Chart("decay", "Decay of the signal", nothing="There is nothing to show.", half=True)
    horizons, values = [h for h, _ in known], [ic for _, ic in known]
    return Chart(
        "decay",
        f"From {number(values[0], 3)} at {counted(horizons[0], 'minute')} to "
        f"{number(values[-1], 3)} at {counted(horizons[-1], 'minute')}",
        "Mean rank IC of the scores by how far ahead one looks.",
        traces=(
            line(
                plain(values, 4), "Rank IC", "blue", x=[f"{h}" for h in horizons], width=2,
                mode="lines+markers", marker={"size": 7, "color": "@blue"},
                hovertemplate="%{x} minutes: %{y:.4f}<extra></extra>",
            ),
        ),
        layout={
            "xaxis": {"type": "category", "title": {"text": "minutes ahead"}},
            "yaxis": {"title": {"text": "rank IC"}, "rangemode": "tozero"},
            "shapes": [level(0, dash="solid")],
        },
        half=True,
    )  # fmt: skip


def by_tenth(scores: Floats, returns: Floats) -> Floats:
    """Return what the tenths of each row's scores returned beyond the row's mean.

    Args:
        scores: Shape (rows, symbols), NaN where there are none.
        returns: Likewise.

    Returns:
        Fractions, shape (rows, 10), lowest scores first; NaN where a row has nothing of a tenth.
    """
    known = np.isfinite(scores) & np.isfinite(returns)
    count = known.sum(axis=1, keepdims=True)
    order = np.argsort(np.where(known, scores, np.inf), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(scores.shape[1])[None, :], axis=1)
    tenth = np.minimum((rank + 0.5) / np.maximum(count, 1) * _TENTHS, _TENTHS - 0.5).astype(int)
    gained = np.where(known, returns, 0.0)
    beyond = np.where(known, gained - gained.sum(axis=1, keepdims=True) / np.maximum(count, 1), 0.0)
    out = np.full((len(scores), _TENTHS), np.nan)
    for i in range(_TENTHS):
        chosen = known & (tenth == i)
        size = chosen.sum(axis=1)
        sums = np.where(chosen, beyond, 0.0).sum(axis=1)
        out[:, i] = np.divide(sums, size, out=np.full(len(scores), np.nan), where=size > 0)
    return out


def _tenths(view: View) -> Chart:
    """Return a chart of what the tenths of scores returned, with intervals over sessions."""
    name, title = "tenths", "Returns by score"
    interval = max(1, view.backtest.rules.interval)
    rows = np.flatnonzero((view.minute + 1) % interval == 0)
    tenths = by_tenth(view.history.scores[rows], view.backtest.returns[rows]) * 1e4
    sessions = _session_means(tenths, view.session[rows], len(view.history.sessions))
    seen = np.isfinite(sessions).sum(axis=0)
    if np.sum(seen > 0) < 2:
        return Chart(
            name, title, nothing="There is nothing to show: that takes two scores.", half=True
        )
    known = [i for i in range(_TENTHS) if seen[i]]
    means = np.array([np.nanmean(sessions[:, i]) for i in known])
    reach = [
        1.96 * float(np.nanstd(sessions[:, i], ddof=1)) / seen[i] ** 0.5 if seen[i] > 1 else 0.0
        for i in known
    ]
    spread = float(means[-1] - means[0])
    return Chart(
        name,
        f"The highest scores return {bps(spread, plus=True)} against the lowest",
        "Mean return over the model's horizon by tenth of the score within a decision, against the "
        "mean of all symbols; lines are 95 % intervals over sessions.",
        traces=(
            bars(
                [str(i + 1) for i in known], plain(means, 3), hover="tenth %{x}: %{y:+.2f} bps",
                error_y={
                    "type": "data", "array": plain(reach, 3), "width": 0, "thickness": 1.2,
                    "color": "@quiet",
                },
            ),
        ),
        layout={
            "xaxis": {"type": "category", "title": {"text": "tenth of the score, lowest first"}},
            "yaxis": {"title": {"text": "bps"}},
        },
        half=True,
    )  # fmt: skip


def _session_means(values: Floats, session: Ints, sessions: int) -> Floats:
    """Return means by session, shape (sessions, columns); NaN where a session has none."""
    known = np.isfinite(values)
    sums, counts = np.zeros((sessions, values.shape[1])), np.zeros((sessions, values.shape[1]))
    np.add.at(sums, session, np.where(known, values, 0.0))
    np.add.at(counts, session, known)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _folds(view: View) -> Table:
    folds = view.backtest.folds
    gained = sum(fold.total_return > 0 for fold in folds)
    rows = [
        (
            Cell(clipped(fold.model), "id"), short_day(fold.trained_until),
            f"{short_day(fold.first)} – {short_day(fold.last)}", f"{fold.sessions:,}",
            f"{fold.trades:,}",
            Cell(percent(fold.total_return, plus=True), "bad" if fold.total_return < 0 else "good"),
            number(fold.sharpe), number(fold.rank_ic, 3),
        )
        for fold in folds
    ]  # fmt: skip
    return Table(
        f"{gained:,} of {counted(len(folds), 'fold')} earned",
        "A fold is what one model scored: only sessions after those that it had learned from."
        if not view.backtest.in_sample
        else "A fold is what one model scored; at least one had learned from such sessions.",
        ("Model", "Learned until", "Scored", "#Sessions", "#Trades", "#Return", "#Sharpe",
         "#Rank IC"),
        rows,
        nothing="There is nothing to show: no model is named.",
    )  # fmt: skip
