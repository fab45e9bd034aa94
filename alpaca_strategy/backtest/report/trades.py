"""The section of the report about trades: how they ended, and where they earn and lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alpaca_strategy.backtest.report.groups import group_charts
from alpaca_strategy.backtest.report.parts import (
    Cell,
    Chart,
    Part,
    Section,
    Table,
    TradeList,
    bars,
    note,
    upright,
)
from alpaca_strategy.backtest.report.replay import REASONS, WHY_SOLD
from alpaca_strategy.backtest.report.view import View
from alpaca_strategy.backtest.report.words import (
    bps,
    clipped,
    clock,
    counted,
    percent,
    plain,
    short_day,
    usd,
)
from alpaca_strategy.strategy.reasons import Reason

#: The page holds at most so many trades, those that earned or lost most.
MOST_TRADES = 25_000
_TOP = 10
_BINS = 41
NO_TRADES = "There is nothing to show: no trade was made."


def trades_section(view: View) -> Section:
    """Return the section about trades."""
    parts: tuple[Part, ...] = (
        _profits(view),
        *group_charts(view),
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
        return (
            "Times are New York's; search for a symbol, a date or a reason, sort by any column. "
            "What was paid and got includes spread and slippage; USD is after fees too."
        )
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
