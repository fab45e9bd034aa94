"""The section of the report about trades: how they ended, and where they earn and lose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import ndtri

from alpaca_strategy.backtest.history import Ints
from alpaca_strategy.backtest.report_parts import (
    Cell,
    Chart,
    Part,
    Section,
    Table,
    TradeList,
    bars,
    line,
    note,
    upright,
)
from alpaca_strategy.backtest.report_replay import REASONS, WHY_SOLD
from alpaca_strategy.backtest.report_view import View
from alpaca_strategy.backtest.report_words import (
    bps,
    clipped,
    clock,
    counted,
    listed,
    number,
    percent,
    plain,
    short_day,
    usd,
)
from alpaca_strategy.resampling import block_sums, clustered_ratio
from alpaca_strategy.strategy.reasons import Reason

#: The page holds at most so many trades, those that earned or lost most.
MOST_TRADES = 25_000
_TOP = 10
_BINS = 41
_LISTED = 3  # groups that a title names
_CLOCK_STEP = 10
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DURATIONS = (0, 5, 10, 15, 20, 30, 60, 120, 390)
NO_TRADES = "There is nothing to show: no trade was made."


def trades_section(view: View) -> Section:
    """Return the section about trades."""
    parts: tuple[Part, ...] = (
        _profits(view),
        *_buckets(view),
        *_extremes(view),
        TradeList(
            f"All {counted(len(view.trades), 'trade')}" if len(view.trades) > 1 else "All trades",
            _list_reading(view),
            not len(view.trades),
            NO_TRADES,
        ),
    )
    return Section(
        "trades", "Trades", _finding(view),
        "A trade lasts from holding nothing of a symbol to holding nothing again; bps are "
        "hundredths of a percent of what was paid, after costs.",
        parts,
    )  # fmt: skip


def _finding(view: View) -> str:
    if not len(view.trades):
        return "No trade was made"
    won = view.trades["profit"] > 0
    parts = [f"{percent(float(won.mean()), 0)} of {counted(len(won), 'trade')} won"]
    if won.any():
        parts.append(f"winners made {bps(float(view.bps[won].mean()), plus=True)} on average")
    if not won.all():
        parts.append(f"losers {bps(float(view.bps[~won].mean()))}")
    return ", ".join(parts)


def _list_reading(view: View) -> str:
    count = len(view.trades)
    if count <= MOST_TRADES:
        return "Times are New York's; search for a symbol, a date or a reason, sort by any column."
    return f"Shown are the {MOST_TRADES:,} of {count:,} that earned or lost most."


def _profits(view: View) -> Chart:
    if not len(view.bps):
        return Chart("profits", "Distribution of profits", nothing=NO_TRADES)
    low, high = np.quantile(view.bps, [0.005, 0.995])
    edges = np.linspace(low, high, _BINS) if high > low else np.array([low - 0.5, low + 0.5])
    inside = np.clip(view.bps, edges[0], edges[-1])
    counts, _ = np.histogram(inside, edges)
    middle, mean = (edges[1:] + edges[:-1]) / 2, float(view.bps.mean())
    return Chart(
        "profits",
        f"A trade makes {bps(mean, plus=True)} on average, half of them more than "
        f"{bps(float(np.median(view.bps)), plus=True)}",
        "How many trades ended with how much. The outermost bars hold all beyond them. Dotted: "
        "the mean.",
        height=280,
        traces=(
            bars(
                plain(middle, 3), plain(counts, 0), hover="%{x:.1f} bps: %{y} trades",
                width=float(edges[1] - edges[0]) * 0.94,
                marker={"color": ["@bad" if m < 0 else "@blue" for m in middle]},
            ),
        ),
        layout={
            "xaxis": {"title": {"text": "profit of a trade, bps"}},
            "yaxis": {"title": {"text": "trades"}},
            "shapes": [upright(mean)],
            "annotations": [note("mean", x=mean, y=1, yref="paper", yanchor="bottom")],
            "margin": {"t": 26},
        },
    )  # fmt: skip


def _buckets(view: View) -> Sequence[Chart]:
    if not len(view.trades):
        return ()
    trades, entry = view.trades, view.minute[view.trades["entry_row"]]
    out = view.minute[trades["exit_row"]]
    weekday = np.array([s.weekday() for s in view.history.sessions])[view.session]
    hours = [f"{h:02}:00" for h in range(9, 16)]
    return (
        _clock_chart(entry, out),
        _bucket_chart(view, "hour of entry", (entry + 30) // 60, hours),
        _bucket_chart(view, "day of the week", weekday[trades["entry_row"]], _WEEKDAYS),
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


def _bucket_chart(
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
        f"{word if len(group) > 1 else word + 's'}"
        for group, word in ((earn, "earn"), (lose, "lose"))
        if group
    ]
    return "; ".join(parts) or "none stands out from 0"


def _duration_chart(view: View) -> Chart:
    held = view.trades["exit_row"] - view.trades["entry_row"]
    edges = np.array(_DURATIONS)
    names = [f"{a}–{b - 1}" for a, b in pairwise(edges)]
    of = np.searchsorted(edges, held, side="right") - 1
    return _bucket_chart(view, "minutes held", of, [*names, f"{edges[-1]}+"])


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
    return _bucket_chart(view, noun, np.where(known, of, -1), names, places=", from")


def _extremes(view: View) -> Sequence[Table]:
    order = np.argsort(view.trades["profit"], kind="stable")
    won = [i for i in order[::-1][:_TOP] if view.trades["profit"][i] > 0]
    lost = [i for i in order[:_TOP] if view.trades["profit"][i] <= 0]
    return (
        _trade_table(view, "The best", won, "No trade won."),
        _trade_table(view, "The worst", lost, "No trade lost."),
    )


def _trade_table(view: View, which: str, chosen: Sequence[int], nothing: str) -> Table:
    rows = [_trade_row(view, view.trades[i], float(view.bps[i])) for i in chosen]
    total = float(view.trades["profit"][list(chosen)].sum()) if chosen else 0.0
    finding = f"{which} {counted(len(rows), 'trade')} made {usd(total, plus=True)}"
    return Table(
        finding if rows else f"{which} trades", "", ("Symbol", "Entered", "#Held", "#bps", "#USD"),
        rows, half=True, nothing=nothing,
    )  # fmt: skip


def _trade_row(view: View, trade: Any, made: float) -> Sequence[Cell | str]:
    row = int(trade["entry_row"])
    tone = "bad" if trade["profit"] < 0 else "good"
    at = f"{short_day(view.history.sessions[view.session[row]])}, {clock(view.minute[row])}"
    return (
        Cell(clipped(view.history.symbols[trade["symbol"]]), "strong"), at,
        f"{int(trade['exit_row']) - row:,} min", Cell(bps(made, plus=True), tone),
        Cell(usd(float(trade["profit"]), 2, plus=True), tone),
    )  # fmt: skip


def trades_for_script(view: View) -> dict[str, Any]:
    """Return the trades by column, as the page's script lists them."""
    trades, made = view.trades, view.bps
    if len(trades) > MOST_TRADES:
        most = np.argsort(-np.abs(trades["profit"]), kind="stable")[:MOST_TRADES]
        trades, made = trades[np.sort(most)], made[np.sort(most)]
    digits = {
        "symbol": 0, "entry_row": 0, "exit_row": 0, "shares": 6, "entry_price": 4,
        "exit_price": 4, "cost": 2, "profit": 2, "entry_score": 4, "exit_reason": 0,
    }  # fmt: skip
    columns = {name: plain(trades[name], places) for name, places in digits.items()}
    return {
        **columns,
        "bps": plain(made, 1),
        "reasons": {int(r): WHY_SOLD.get(r, REASONS[r]) for r in Reason},
    }
