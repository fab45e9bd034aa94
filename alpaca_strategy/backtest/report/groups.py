"""Charts of where trades earn and lose: by time, by size, by how long they last, by score."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import ndtri

from alpaca_strategy.backtest.history import Ints
from alpaca_strategy.backtest.report.parts import Chart, bars, line
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import clock, counted, listed, number, plain
from alpaca_strategy.resampling import block_sums, clustered_ratio

_LISTED = 3  # groups that a title names
_CLOCK_STEP = 10
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DURATIONS = (0, 5, 10, 15, 20, 30, 60, 120, 390)


def group_charts(view: View) -> Sequence[Chart]:
    """Return a chart for each way to group trades."""
    if not len(view.trades):
        return ()
    trades, entry = view.trades, view.minute[view.trades["entry_row"]]
    out = view.minute[trades["exit_row"]]
    weekday = np.array([s.weekday() for s in view.history.sessions])[view.session]
    hours = [f"{h:02}:00" for h in range(9, 16)]
    return (
        _clock_chart(entry, out),
        _group_chart(view, "hour of entry", (entry + 30) // 60, hours),
        _group_chart(view, "day of the week", weekday[trades["entry_row"]], _WEEKDAYS),
        _duration_chart(view),
        _quantile_chart(view, "thousand USD paid", view.paid / 1e3, 5),
        _quantile_chart(view, "score", trades["entry_score"], 10),
    )  # fmt: skip


def _clock_chart(entry: Ints, out: Ints) -> Chart:
    slots = np.arange(0, 390, _CLOCK_STEP)
    traces, counts = [], {}
    for name, colour, minutes in (("Entries", "blue", entry), ("Exits", "series-1", out)):
        of = np.bincount(minutes // _CLOCK_STEP, minlength=len(slots))
        counts[name] = of[: len(slots)].astype(np.int64)
        traces.append(
            line(
                plain(counts[name], 0), name, colour, x=[clock(slot) for slot in slots.tolist()],
                line={"color": f"@{colour}", "width": 1.6, "shape": "hv"},
                hovertemplate="%{y}",
            )
        )  # fmt: skip
    peak = {name: clock(_CLOCK_STEP * int(np.argmax(count))) for name, count in counts.items()}
    return Chart(
        "clock",
        f"Most entries fall at {peak['Entries']}, most exits at {peak['Exits']}",
        f"Entries and exits by {_CLOCK_STEP} minutes of the day, New York time.",
        traces=tuple(traces),
        layout={
            "hovermode": "x unified",
            "xaxis": {
                "type": "category", "tickvals": list(range(0, 39, 6)),
                "ticktext": [clock(m) for m in range(0, 390, 60)],
            },
            "yaxis": {"title": {"text": "trades"}, "rangemode": "tozero"},
        },
        half=True,
    )  # fmt: skip


def _group_chart(
    view: View, noun: str, of: Ints, names: Sequence[str], *, places: str = ""
) -> Chart:
    """Return a chart of the mean profit of trades by group."""
    groups = [view.bps[of == i] for i in range(len(names))]
    kept = [i for i, group in enumerate(groups) if len(group)]
    means = [float(groups[i].mean()) for i in kept]
    reach = [_reach(view, of == i, len(kept)) for i in kept]
    shown = [names[i] for i in kept]
    return Chart(
        f"by-{noun.replace(' ', '-')}",
        f"By {noun}: {_standing_out(shown, means, reach)}",
        "Mean profit of a trade in bps, with intervals that hold all of them in 95 % of cases.",
        traces=(
            bars(
                shown, plain(means, 3), hover="%{x}: %{y:+.1f} bps<br>%{customdata}",
                customdata=[counted(len(groups[i]), "trade") for i in kept],
                error_y={
                    "type": "data", "array": plain(reach, 3), "width": 0, "thickness": 1.2,
                    "color": "@quiet",
                },
            ),
        ),
        layout={
            "xaxis": {
                "type": "category", "title": {"text": noun + places}, "tickangle": 0,
                "tickfont": {"size": 11},
            },
            "yaxis": {"title": {"text": "bps"}},
        },
        half=True,
    )  # fmt: skip


def _reach(view: View, chosen: Any, groups: int) -> float:
    """Return how far a mean may lie from the truth, 0 where that is not known.

    Trades of a session share its market, so errors are clustered by session; and of many groups
    some stand out by chance, so they share the 5 % (Bonferroni).
    """
    session = view.history.session_of_row[view.trades["entry_row"][chosen]]
    columns = np.stack([view.bps[chosen], np.ones(len(session))], axis=1)
    mean, t = clustered_ratio(block_sums(columns, session, len(view.history.sessions)))
    reach = float(ndtri(1.0 - 0.025 / groups)) * abs(mean / t) if t else np.nan
    return reach if np.isfinite(reach) else 0.0


def _standing_out(names: Sequence[str], means: Sequence[float], reach: Sequence[float]) -> str:
    """Return which groups earn or lose more than chance explains."""
    earn = [n for n, m, r in zip(names, means, reach, strict=True) if r and m - r > 0]
    lose = [n for n, m, r in zip(names, means, reach, strict=True) if r and m + r < 0]
    parts = [
        f"{listed(group) if len(group) <= _LISTED else f'{len(group)} of {len(names)}'} "
        f"{word if len(group) > 1 else word + 's'} beyond chance"
        for group, word in ((earn, "earn"), (lose, "lose"))
        if group
    ]
    return "; ".join(parts) or "none stands out from 0 beyond chance"


def _duration_chart(view: View) -> Chart:
    held = view.trades["exit_row"] - view.trades["entry_row"]
    edges = np.array(_DURATIONS)
    names = [f"{a}–{b - 1}" for a, b in pairwise(edges)]
    of = np.searchsorted(edges, held, side="right") - 1
    return _group_chart(view, "minutes held", of, [*names, f"{edges[-1]}+"])


def _quantile_chart(view: View, noun: str, values: Any, parts: int) -> Chart:
    """Return the chart of groups of equal size, each named by where it begins."""
    known = np.isfinite(values)
    edges = np.quantile(values[known], np.linspace(0, 1, parts + 1)) if known.any() else np.empty(0)
    edges = np.unique(edges)
    if len(edges) < 2:
        return Chart(
            f"by-{noun}", f"By {noun}", half=True,
            nothing="There is nothing to compare: all are equal.",
        )  # fmt: skip
    of = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    digits = next((d for d in (1, 2, 3) if len(set(np.round(edges, d))) == len(edges)), 4)
    names = [number(float(edge), digits) for edge in edges[:-1]]
    return _group_chart(view, noun, np.where(known, of, -1), names, places=", from")
