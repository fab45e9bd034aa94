"""The section of the report that shows some decisions bar by bar, and decides them once more.

Nothing of a decision is stored. Its book follows from the executions before it, its scores and
closes from the history; so the kernel is asked again, and says of every name what it said then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alpaca_strategy.backtest.content import Backtest
from alpaca_strategy.backtest.report.parts import Cell, Replay, Section, Table, Words
from alpaca_strategy.backtest.report.replay_chart import replay_chart
from alpaca_strategy.backtest.report.view import View, shares_at
from alpaca_strategy.backtest.report.words import (
    bps,
    clipped,
    clock,
    counted,
    number,
    short_day,
    usd,
)
from alpaca_strategy.strategy.decide import decide, is_due
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.strategy.rules import empty_book

_REPLAYS = 6
_NAMES = 7
_DUST = 1e-9  # shares: what adding fractions leaves

#: What a decision did with a name, in words.
REASONS: Mapping[Reason, str] = {
    Reason.BUY: "bought",
    Reason.KEEP: "kept, chosen again",
    Reason.YOUNG: "kept, held too briefly",
    Reason.CLOSE: "sold, not chosen again",
    Reason.FLATTEN: "sold, the session ends",
    Reason.LEAVING: "being sold",
    Reason.ORDERED: "being bought",
    Reason.NO_SCORE: "no score",
    Reason.LOW_SCORE: "score too low",
    Reason.COOLING: "sold too recently",
    Reason.SHORT_HISTORY: "too few prices",
    Reason.WEAK_TREND: "price not above its means",
    Reason.WEAK_MOMENTUM: "price did not rise",
    Reason.WEAK_RSI: "RSI too low",
    Reason.SMALL_EDGE: "edge below costs",
    Reason.OUTRANKED: "others scored higher",
    Reason.NO_ROOM: "no position free",
    Reason.TOO_LATE: "too late to buy",
}


#: Why a trade ended, in words.
WHY_SOLD: Mapping[Reason, str] = {
    Reason.CLOSE: "not chosen again",
    Reason.FLATTEN: "the session ended",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided at a row: a `Reason` for every name, and which to buy, best first."""

    reasons: Any
    buys: Any


def replay_section(view: View) -> Section:
    """Return the section that shows some decisions bar by bar."""
    chosen = _sample(view)
    parts = tuple(_replay(view, which, place) for place, which in enumerate(chosen))
    finding = "No trade was made, so there is nothing to replay"
    if chosen:
        best, worst = (bps(float(view.bps[i]), plus=True) for i in (chosen[0], chosen[-1]))
        finding = f"From {best} to {worst}, bar by bar"
    if len(chosen) == 1:
        finding = f"The only trade made {best}, bar by bar"
    return Section(
        "decisions", "Decisions", finding,
        "The best trade, the worst, and some between them: what the decision saw, what was filled, "
        "and what it chose from. Each was decided once more for this page, by the same code.",
        parts or (Words("", ("There is nothing to show: no trade was made.",)),),
    )  # fmt: skip


def _sample(view: View) -> list[int]:
    """Return some trades from the best to the worst."""
    order = np.argsort(-view.bps, kind="stable")
    places = np.linspace(0, len(order) - 1, min(_REPLAYS, len(order))).round().astype(int)
    return [int(order[place]) for place in places]


def decisions(backtest: Backtest, session: int) -> dict[int, Decision]:
    """Return what was decided in a session, by row.

    Args:
        backtest: With its executions.
        session: Its position.
    """
    history, rules, fills = backtest.history, backtest.rules, backtest.run.fills
    begin, end = (int(row) for row in history.first_row[session : session + 2])
    book = empty_book(len(history.symbols))
    if begin:
        before = shares_at(backtest, np.array([begin - 1]))[0]
        book.shares[:] = before * history.split_factor[session]
    leaving = np.zeros(len(history.symbols), bool)
    out = {}
    for t in range(begin, end):
        for fill in fills[slice(*np.searchsorted(fills["row"], [t, t + 1]))]:
            _apply(book, int(fill["symbol"]), float(fill["shares"]), t - begin)
        # A position is sold as a whole, so its order lives for as long as something is left;
        # purchases have been cancelled by the time that something is decided.
        leaving &= book.shares > 0.0
        if is_due(t - begin, end - begin, rules):
            book.pending[:] = np.where(leaving, -1, 0)
            reasons, buys = decide(
                history.scores[t], history.expected_bps[t], history.close[begin : t + 1], book,
                t - begin, end - begin, rules,
            )  # fmt: skip
            leaving |= (reasons == Reason.CLOSE) | (reasons == Reason.FLATTEN)
            out[t] = Decision(reasons, buys)
    return out


def _apply(book: Any, symbol: int, shares: float, minute: int) -> None:
    if shares > 0.0:
        if book.shares[symbol] == 0.0:
            book.entered[symbol] = minute
        book.shares[symbol] += shares
        return
    left = book.shares[symbol] + shares
    book.shares[symbol] = left if left > _DUST else 0.0
    book.exited[symbol] = minute


def _replay(view: View, which: int, place: int) -> Replay:
    trade, history = view.trades[which], view.history
    session = int(view.session[trade["entry_row"]])
    found = decisions(view.backtest, session)
    decided = max((row for row in found if row < trade["entry_row"]), default=None)
    name = clipped(history.symbols[trade["symbol"]])
    made = bps(float(view.bps[which]), plus=True)
    finding = (
        f"{name}, {short_day(history.sessions[session])}: {made}, "
        f"{usd(float(trade['profit']), 2, plus=True)}"
    )
    fills = _fills_of(view, trade)
    return Replay(
        finding,
        tuple(_facts(view, trade, decided, fills)),
        replay_chart(view, trade, decided, fills, name=f"replay-{place}", finding=finding),
        _names_table(view, trade, decided, found),
    )


def _fills_of(view: View, trade: Any) -> Any:
    fills = view.backtest.run.fills
    part = fills[slice(*np.searchsorted(fills["row"], [trade["entry_row"], trade["exit_row"] + 1]))]
    return part[part["symbol"] == trade["symbol"]]


def _facts(view: View, trade: Any, decided: int | None, fills: Any) -> list[tuple[str, str]]:
    bought, sold = fills[fills["shares"] > 0], fills[fills["shares"] < 0]
    facts = []
    if decided is not None:
        begin = view.history.first_row[view.session[decided]]
        closes = view.history.close[begin : decided + 1, trade["symbol"]]
        known = closes[np.isfinite(closes)]
        last = f", last close {usd(float(known[-1]), 2)}" if len(known) else ""
        facts.append(("Decided", clock(view.minute[decided] + 1) + last))
    facts += [
        ("Score", number(float(trade["entry_score"]), 3)),
        ("Bought", _execution(view, bought, float(trade["entry_price"]))),
        ("Sold", _execution(view, sold, float(trade["exit_price"]))),
        ("Why sold", WHY_SOLD.get(Reason(int(trade["exit_reason"])), "not known")),
        ("Slippage", f"{_slippage(bought)} buying, {_slippage(sold)} selling"),
        ("Costs", f"{usd(float(trade['cost']), 2)} in all"),
    ]
    return facts


def _execution(view: View, fills: Any, price: float) -> str:
    if not len(fills):
        return "–"
    times = list(dict.fromkeys(clock(view.minute[row]) for row in fills["row"]))
    when = times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}"
    parts = "" if len(fills) == 1 else f" in {counted(len(fills), 'part')}"
    return f"{when}, {number(float(abs(fills['shares'].sum())), 0)} at {usd(price, 2)}{parts}"


def _slippage(fills: Any) -> str:
    traded = float(np.abs(fills["shares"] * fills["price"]).sum())
    return bps(float(fills["impact"].sum()) / traded * 1e4 if traded > 0 else None)


def _names_table(
    view: View, trade: Any, decided: int | None, found: Mapping[int, Decision]
) -> Table:  # fmt: skip
    head = ("Symbol", "#Score", "What was done")
    if decided is None:
        return Table("What it chose from", "", head, (), nothing="The decision cannot be told.")
    scores, reasons = view.history.scores[decided], found[decided].reasons
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
    shown = [int(s) for s in order[:_NAMES]]
    if trade["symbol"] not in shown:
        shown[-1] = int(trade["symbol"])
    rest = Counter(REASONS[Reason(int(reasons[s]))] for s in order if s not in shown)
    rows = [
        (
            Cell(clipped(view.history.symbols[s]), "strong" if s == trade["symbol"] else ""),
            number(float(scores[s]), 3),
            Cell(
                REASONS[Reason(int(reasons[s]))],
                "good" if reasons[s] == Reason.BUY else "" if s == trade["symbol"] else "quiet",
            ),
        )
        for s in shown
    ]
    others = "; ".join(f"{word} ({count:,})" for word, count in rest.most_common())
    return Table(
        f"What it chose from at {clock(view.minute[decided] + 1)}",
        f"The others: {others}." if rest else "",
        head,
        rows,
    )
