"""Whether two engines came to the same, and where they first parted."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

import numpy as np

from alpaca_strategy.backtest.content import Agreement
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.result import Run
from alpaca_strategy.strategy.reasons import Reason

_OPENING = time(9, 30)  # in New York, on half-days too
_OURS, _THEIRS = "the compiled engine", "backtrader"
#: What two numbers may differ by: relative to their size, and in absolute terms. Scores are handed
#: through; a sum of money is added up in another order.
_EXACT, _PRICE, _SHARES, _MONEY = (0.0, 0.0), (1e-9, 0.0), (0.0, 1e-9), (0.0, 0.01)
_FILL = {
    "row": _EXACT, "symbol": _EXACT, "shares": _SHARES, "price": _PRICE, "fee": _MONEY,
    "impact": _MONEY,
}  # fmt: skip
_TRADE = {
    "symbol": _EXACT, "entry_row": _EXACT, "exit_row": _EXACT, "shares": _SHARES,
    "entry_price": _PRICE, "exit_price": _PRICE, "cost": _MONEY, "profit": _MONEY,
    "entry_score": _EXACT, "exit_reason": _EXACT,
}  # fmt: skip


def compare(ours: Run, theirs: Run, history: History) -> Agreement:
    """Compare two runs execution by execution, trade by trade, and minute by minute.

    Minutes, names and shares must be equal, prices to 1e-9 of their size, money to a cent.

    Args:
        ours: Of the compiled engine.
        theirs: Of backtrader.
        history: What both ran over.
    """
    difference = (
        _in_fills(ours.fills, theirs.fills, history)
        or _in_trades(ours.trades, theirs.trades, history)
        or _in_value(ours.equity, theirs.equity, "the account", history)
        or _in_value(ours.invested, theirs.invested, "the positions", history)
    )
    return Agreement(len(ours.trades), _agreed(ours.trades, theirs.trades), difference)


def _agreed(ours: Any, theirs: Any) -> int:
    """Return how many of our trades are theirs too, whatever else either of them did."""
    key = ["symbol", "entry_row", "exit_row"]
    places = {one: place for place, one in enumerate(theirs[key].tolist())}
    pairs = [
        (i, places[one]) for i, one in enumerate(ours[key].tolist()) if one in places
    ]  # fmt: skip
    if not pairs:
        return 0
    mine, other = np.array(pairs).T
    return int(np.count_nonzero(~_apart(ours[mine], theirs[other], _TRADE)))


def _apart(a: Any, b: Any, tolerances: dict[str, tuple[float, float]]) -> Any:
    """Return which of the records differ in any field; NaN only equals NaN."""
    differs = np.zeros(len(a), np.bool_)
    for name, (relative, absolute) in tolerances.items():
        x, y = a[name].astype(np.float64), b[name].astype(np.float64)
        close = np.isclose(x, y, rtol=relative, atol=absolute, equal_nan=True)
        differs |= ~close
    return differs


def _first(a: Any, b: Any, tolerances: dict[str, tuple[float, float]]) -> tuple[Any, Any] | None:
    """Return the first two records that differ; None in place of one where a list has ended."""
    n = min(len(a), len(b))
    apart = np.flatnonzero(_apart(a[:n], b[:n], tolerances))
    i = int(apart[0]) if len(apart) else n
    if i == len(a) == len(b):
        return None
    return (a[i] if i < len(a) else None), (b[i] if i < len(b) else None)


def _in_fills(ours: Any, theirs: Any, history: History) -> str | None:
    found = _first(ours, theirs, _FILL)
    if found is None:
        return None
    at = min((fill for fill in found if fill is not None), key=lambda f: (f["row"], f["symbol"]))
    mine, other = (_same_place(fills, at) for fills in (ours, theirs))
    where = f"{_symbol(at, history)} at {_clock(at['row'], history)}"
    if len(mine) and len(other) and not _apart(mine, other, _FILL)[0]:
        return f"First difference: {where} was not traded in the same order among the names."
    return _sentence(where, _fill(mine), _fill(other))


def _same_place(fills: Any, at: Any) -> Any:
    """Return the execution of the same name in the same minute: one, or none."""
    return fills[(fills["row"] == at["row"]) & (fills["symbol"] == at["symbol"])][:1]


def _in_trades(ours: Any, theirs: Any, history: History) -> str | None:
    found = _first(ours, theirs, _TRADE)
    if found is None:
        return None
    mine, other = found
    at = other if mine is None else mine
    where = f"the trade in {_symbol(at, history)} that ends at {_clock(at['exit_row'], history)}"
    return _sentence(where, _trade(mine, history), _trade(other, history))


def _in_value(ours: Any, theirs: Any, what: str, history: History) -> str | None:
    if len(ours) != len(theirs):
        return f"{_OURS.capitalize()} valued {len(ours)} minutes, {_THEIRS} {len(theirs)}."
    apart = np.flatnonzero(~np.isclose(ours, theirs, rtol=0.0, atol=_MONEY[1]))
    if not len(apart):
        return None
    row = int(apart[0])
    mine, other = (f"comes to {of[row]:,.2f} USD" for of in (ours, theirs))
    return _sentence(f"the value of {what} after {_clock(row, history)}", mine, other)


def _sentence(where: str, mine: str, other: str) -> str:
    return f"First difference: {where}. {_OURS.capitalize()} {mine}; {_THEIRS} {other}."


def _symbol(record: Any, history: History) -> str:
    return history.symbols[int(record["symbol"])]


def _clock(row: int, history: History) -> str:
    """Return the minute of a row as the clock in New York shows it, and its session."""
    session = int(np.searchsorted(history.first_row, row, side="right")) - 1
    day = history.sessions[session]
    at = datetime.combine(day, _OPENING)
    at += timedelta(minutes=int(row) - int(history.first_row[session]))
    return f"{at:%H:%M} in New York on {day}"


def _fill(found: Any) -> str:
    if not len(found):
        return "did nothing"
    fill = found[0]
    did = "bought" if fill["shares"] > 0 else "sold"
    return (
        f"{did} {abs(fill['shares']):,.10g} shares at {fill['price']:,.10g} USD, "
        f"with fees of {fill['fee']:,.4f} USD and an impact of {fill['impact']:,.4f} USD"
    )


def _trade(trade: Any, history: History) -> str:
    if trade is None:
        return "has none there"
    return (
        f"has one of {trade['shares']:,.10g} shares, bought from "
        f"{_clock(trade['entry_row'], history)} at {trade['entry_price']:,.10g} USD, sold at "
        f"{trade['exit_price']:,.10g} USD for {Reason(trade['exit_reason']).name}, with a profit "
        f"of {trade['profit']:,.4f} USD and costs of {trade['cost']:,.4f} USD"
    )
