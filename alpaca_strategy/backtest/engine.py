# ruff: noqa: PLR0917 - compiled functions take arrays by position
"""The compiled engine: a loop over minutes that fills orders, values positions and asks `decide`.

Pessimistic where a choice had to be made. An order that a minute's close leads to is filled at the
next open of its symbol at the earliest, at a price moved against it, and at most up to a share of
that minute's volume. Purchases live until the next decision, sales until the session ends; what is
left of both is cancelled. Nothing is bought on credit. What cannot be sold before the close is held
overnight, and shown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.result import FILL, TRADE, Run
from alpaca_strategy.compilation import njit
from alpaca_strategy.strategy.costs import Costs, affordable, fee, fill_price, fillable
from alpaca_strategy.strategy.decide import decide, is_due
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.strategy.rules import NEVER, Book, Rules
from alpaca_strategy.strategy.sizing import shares_for

_CLOSE, _FLATTEN = int(Reason.CLOSE), int(Reason.FLATTEN)
_FILL, _TRADE = len(FILL.names or ()), len(TRADE.names or ())
_DUST = 1e-9  # shares: what adding fractions leaves
#: Columns of the round trips that are under way.
_BEGAN, _BOUGHT, _PAID, _SOLD, _GOT, _FEES, _IMPACT, _SCORE, _WHY = range(9)
#: Places in the counters.
_QUEUED, _FILLED, _TRADED = range(3)


class _State(NamedTuple):
    """What the loop changes in place; arrays by symbol unless said otherwise."""

    book: Book
    last: Any  # prices at which positions are valued
    wanted: Any  # shares still to be executed, negative to sell
    queue: Any  # symbols with orders, in the order of their submission
    trip: Any  # round trips under way, (symbols, 9)
    count: Any  # orders in the queue, fills and trades so far
    cash: Any  # one number


def simulate(history: History, rules: Rules, costs: Costs, *, cash: float) -> Run:
    """Run the strategy over history.

    Args:
        history: Bars and scores.
        rules: The rules.
        costs: The costs.
        cash: In USD, at the beginning.
    """
    fills, trades, equity, invested = _loop(
        history.first_row, history.open, history.close, history.volume, history.scores,
        history.expected_bps, history.split_factor, rules, costs, cash,
    )  # fmt: skip
    return Run(cash, _records(fills, FILL), _records(trades, TRADE), equity, invested)


def _records(table: Any, dtype: Any) -> Any:
    out = np.empty(len(table), dtype)
    for i, name in enumerate(dtype.names):
        out[name] = table[:, i]
    return out


@njit
def _loop(
    first_row: Any, open_: Any, close: Any, volume: Any, scores: Any, expected_bps: Any,
    split_factor: Any, rules: Rules, costs: Costs, cash: float,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    rows, symbols = close.shape
    state = _begin(symbols, cash)
    fills, trades = np.empty((1024, _FILL)), np.empty((1024, _TRADE))
    equity, invested = np.empty(rows), np.empty(rows)
    for session in range(len(first_row) - 1):
        begin, end = first_row[session], first_row[session + 1]
        _start_session(state, split_factor[session])
        for t in range(begin, end):
            minute = t - begin
            if state.count[_QUEUED]:
                fills = _room(fills, state.count[_FILLED] + symbols)
                trades = _room(trades, state.count[_TRADED] + symbols)
                _execute(state, t, minute, open_[t], volume[t], rules, costs, fills, trades)
            invested[t] = _value(state, close[t])
            equity[t] = state.cash[0] + invested[t]
            if is_due(minute, end - begin, rules):
                _cancel_purchases(state)
                seen = close[begin : t + 1]
                reason, buys = decide(
                    scores[t], expected_bps[t], seen, state.book, minute, end - begin, rules
                )
                _submit(state, reason, buys, equity[t], seen, scores[t], rules)
    return fills[: state.count[_FILLED]], trades[: state.count[_TRADED]], equity, invested


@njit
def _begin(symbols: int, cash: float) -> _State:
    book = Book(
        np.zeros(symbols), np.full(symbols, NEVER, np.int64),
        np.full(symbols, NEVER, np.int64), np.zeros(symbols, np.int8),
    )  # fmt: skip
    return _State(
        book, np.full(symbols, np.nan), np.zeros(symbols), np.zeros(symbols, np.int64),
        np.zeros((symbols, 9)), np.zeros(3, np.int64), np.full(1, cash),
    )  # fmt: skip


@njit
def _start_session(state: _State, factor: Any) -> None:
    """Forget orders and cool-downs of the session before; split what was held overnight."""
    book = state.book
    book.entered[:] = NEVER
    book.exited[:] = NEVER
    book.pending[:] = 0
    state.wanted[:] = 0.0
    state.count[_QUEUED] = 0
    for s in range(len(factor)):
        if book.shares[s] > 0.0 and factor[s] != 1.0:
            book.shares[s] *= factor[s]
            state.last[s] /= factor[s]
            state.trip[s, _BOUGHT] *= factor[s]
            state.trip[s, _SOLD] *= factor[s]


@njit
def _execute(
    state: _State, t: int, minute: int, open_: Any, volume: Any, rules: Rules, costs: Costs,
    fills: Any, trades: Any,
) -> None:  # fmt: skip
    """Fill what a minute fills of the orders, in the order of their submission."""
    for i in range(state.count[_QUEUED]):
        s = state.queue[i]
        if np.isnan(open_[s]):
            continue  # no trade in this minute, so nothing to trade with
        side = 1 if state.wanted[s] > 0.0 else -1
        price = fill_price(open_[s], side, costs)
        shares = fillable(abs(state.wanted[s]), volume[s], costs, rules.whole_shares)
        if side > 0:
            shares = min(shares, affordable(state.cash[0], price, costs, rules.whole_shares))
        if shares <= 0.0:
            continue
        fees = fee(shares, price, side, costs)
        impact = shares * abs(price - open_[s])
        state.cash[0] -= side * shares * price + fees
        state.wanted[s] -= side * shares
        row = fills[state.count[_FILLED]]
        row[0], row[1], row[2], row[3], row[4], row[5] = t, s, side * shares, price, fees, impact
        state.count[_FILLED] += 1
        _book(state, s, minute, t, side, shares, price)
        state.trip[s, _FEES] += fees
        state.trip[s, _IMPACT] += impact
        if state.book.shares[s] == 0.0:
            _write_trade(trades[state.count[_TRADED]], state.trip[s], s, t)
            state.count[_TRADED] += 1
    _drop_filled(state)


@njit
def _book(
    state: _State, s: int, minute: int, t: int, side: int, shares: float, price: float
) -> None:
    book, trip = state.book, state.trip[s]
    if side > 0:
        if book.shares[s] == 0.0:
            trip[:_SCORE] = 0.0
            trip[_BEGAN] = t
            book.entered[s] = minute
        trip[_BOUGHT] += shares
        trip[_PAID] += shares * price
        book.shares[s] += shares
    else:
        trip[_SOLD] += shares
        trip[_GOT] += shares * price
        left = book.shares[s] - shares
        book.shares[s] = left if left > _DUST else 0.0
        book.exited[s] = minute


@njit
def _write_trade(out: Any, trip: Any, s: int, t: int) -> None:
    # The impact is in the prices already; of the costs only fees come off the profit.
    out[0], out[1], out[2], out[3] = s, trip[_BEGAN], t, trip[_SOLD]
    out[4], out[5] = trip[_PAID] / trip[_BOUGHT], trip[_GOT] / trip[_SOLD]
    out[6], out[7] = trip[_FEES] + trip[_IMPACT], trip[_GOT] - trip[_PAID] - trip[_FEES]
    out[8], out[9] = trip[_SCORE], trip[_WHY]


@njit
def _value(state: _State, close: Any) -> float:
    """Return what the positions are worth at the last prices."""
    shares, last = state.book.shares, state.last
    value = 0.0
    for s in range(len(close)):
        if shares[s] > 0.0:
            if not np.isnan(close[s]):
                last[s] = close[s]
            value += shares[s] * last[s]
    return value


@njit
def _submit(
    state: _State, reason: Any, buys: Any, equity: float, seen: Any, scores: Any, rules: Rules
) -> None:  # fmt: skip
    """Order what was decided: sales first, as they pay for the purchases; these best first."""
    for s in range(len(reason)):
        if reason[s] == _CLOSE or reason[s] == _FLATTEN:
            state.trip[s, _WHY] = reason[s]
            _order(state, s, -state.book.shares[s])
    for s in buys:
        shares = shares_for(equity, _last_close(seen, s), rules)
        if shares > 0.0:
            state.trip[s, _SCORE] = scores[s]
            _order(state, s, shares)


@njit
def _last_close(seen: Any, s: int) -> float:
    for t in range(len(seen) - 1, -1, -1):
        if not np.isnan(seen[t, s]):
            return float(seen[t, s])
    return np.nan


@njit
def _order(state: _State, s: int, shares: float) -> None:
    state.wanted[s] = shares
    state.book.pending[s] = 1 if shares > 0.0 else -1
    state.queue[state.count[_QUEUED]] = s
    state.count[_QUEUED] += 1


@njit
def _cancel_purchases(state: _State) -> None:
    for i in range(state.count[_QUEUED]):
        state.wanted[state.queue[i]] = min(state.wanted[state.queue[i]], 0.0)
    _drop_filled(state)


@njit
def _drop_filled(state: _State) -> None:
    kept = 0
    for i in range(state.count[_QUEUED]):
        s = state.queue[i]
        if abs(state.wanted[s]) <= _DUST:
            state.wanted[s] = 0.0
            state.book.pending[s] = 0
        else:
            state.queue[kept] = s
            kept += 1
    state.count[_QUEUED] = kept


@njit
def _room(table: Any, needed: int) -> Any:
    """Return a table with room for so many rows."""
    if needed <= len(table):
        return table
    larger = np.empty((2 * needed, table.shape[1]))
    larger[: len(table)] = table
    return larger
