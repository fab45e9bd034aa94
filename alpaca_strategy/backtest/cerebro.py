"""The second engine: the same strategy in backtrader, to check the first one by.

Both ask the same functions what to buy, how much of it, and what it costs. All else is backtrader's
here: the clock, the queue of orders, their execution, positions, cash, value, round trips.

Source:
    backtrader 1.9.78, as installed: `strategy.py`, `order.py`, `trade.py`, `brokers/bbroker.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import numpy as np

from alpaca_strategy.backtest.cerebro_broker import Broker, make_feeds
from alpaca_strategy.backtest.history import Floats, History
from alpaca_strategy.backtest.result import FILL, TRADE, Run
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.decide import decide, is_due
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.strategy.rules import NEVER, Book, Rules, empty_book
from alpaca_strategy.strategy.sizing import shares_for

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Analysis:
    """What backtrader's own analyzers say of a run.

    Attributes:
        trades: Of its `TradeAnalyzer`.
        drawdown: Of its `DrawDown`, by the minute; percentages.
        returns: Of its `TimeReturn`, one a session, as fractions, by date and time.
    """

    trades: Any
    drawdown: Any
    returns: Any


def run_cerebro(
    history: History, rules: Rules, costs: Costs, *, cash: float, progress: Progress | None = None
) -> Run:
    """Run the strategy over history in backtrader.

    Args:
        history: Bars and scores.
        rules: The rules.
        costs: The costs.
        cash: In USD, at the beginning.
        progress: Is told rows done, rows in all, and the session that has just ended.

    Raises:
        ValueError: There is no cash to begin with.
    """
    return run_analysed(history, rules, costs, cash=cash, progress=progress)[0]


def run_analysed(
    history: History, rules: Rules, costs: Costs, *, cash: float, progress: Progress | None = None
) -> tuple[Run, Analysis]:
    """Run as `run_cerebro` does, and return what the analyzers found, too."""
    if not cash > 0.0:
        msg = f"cash is {cash}; backtrader needs some to begin with."
        raise ValueError(msg)
    cerebro = bt.Cerebro(stdstats=False)
    for feed, symbol in zip(make_feeds(history), history.symbols, strict=True):
        cerebro.adddata(feed, name=symbol)
    cerebro.broker = Broker(costs, whole_shares=rules.whole_shares)
    cerebro.broker.set_cash(cash)
    cerebro.addstrategy(_Strategy, history, rules, progress or (lambda *_: None))
    cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
    cerebro.addanalyzer(bt.analyzers.DrawDown, _name="drawdown")
    cerebro.addanalyzer(bt.analyzers.TimeReturn, _name="returns", timeframe=bt.TimeFrame.Days)
    strategy = cerebro.run()[0]
    run = Run(
        cash,
        np.array(strategy.fills, FILL),
        np.array(strategy.trades, TRADE),
        strategy.equity,
        strategy.invested,
    )
    found = (strategy.analyzers.getbyname(n).get_analysis() for n in Analysis.__slots__)
    return run, Analysis(*found)


@dataclass(slots=True)
class _Trip:
    """What backtrader does not keep of a round trip under way."""

    score: float
    sold: float = 0.0
    got: float = 0.0
    impact: float = 0.0
    why: int = 0


class _Strategy(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Asks `decide` and hands its orders to the broker; writes down what the broker tells."""

    def __init__(self, history: History, rules: Rules, progress: Progress) -> None:
        self.history, self.rules, self.progress = history, rules, progress
        rows, names = history.close.shape
        self.fills: list[tuple[float, ...]] = []
        self.trades: list[tuple[float, ...]] = []
        self.equity, self.invested = np.empty(rows), np.empty(rows)
        self.session_of, self.minute_of = history.session_of_row, history.minute_of_row
        self.lengths = np.diff(history.first_row)
        self.due = {
            int(n): [is_due(minute, int(n), rules) for minute in range(n)]
            for n in np.unique(self.lengths)
        }
        self.book = empty_book(names)
        self.orders: list[Any] = []
        self.trips: dict[int, _Trip] = {}

    # ------------------------------------------------------------------- what the broker tells
    def notify_order(self, order: Any) -> None:
        """Write down the executions that are news."""
        for execution in order.executed.iterpending():
            self._filled(order, execution)

    def _filled(self, order: Any, execution: Any) -> None:
        row, seat = len(self) - 1, order.data.p.seat
        size, price = execution.size, execution.price
        impact = abs(size) * abs(price - order.data.open[0])
        self.fills.append((row, seat, size, price, execution.comm, impact))
        if size > 0:
            if execution.psize == size:
                self.trips[seat] = _Trip(order.info.score)
                self.book.entered[seat] = self.minute_of[row]
        else:
            trip = self.trips[seat]
            trip.sold -= size
            trip.got -= size * price
            trip.why = order.info.why
            self.book.exited[seat] = self.minute_of[row]
        self.trips[seat].impact += impact

    def notify_trade(self, trade: Any) -> None:
        """Write down a round trip that has ended."""
        if not trade.isclosed:
            return
        seat = trade.data.p.seat
        trip = self.trips.pop(seat)
        self.trades.append(
            (
                seat, trade.baropen - 1, trade.barclose - 1, trip.sold, trade.price,
                trip.got / trip.sold, trade.commission + trip.impact, trade.pnlcomm,
                trip.score, trip.why,
            )
        )  # fmt: skip

    # --------------------------------------------------------------------------- every minute
    def next(self) -> None:
        """Value the account when a minute has closed, and decide when that is due."""
        row = len(self) - 1
        self.equity[row] = self.broker.getvalue()
        self.invested[row] = self.broker.getvalue(mkt=True)
        session, minute = int(self.session_of[row]), int(self.minute_of[row])
        minutes = int(self.lengths[session])
        if self.due[minutes][minute]:
            self._decide(row, minute, minutes)
        if minute + 1 == minutes:
            self._end(session)
            self.progress(row + 1, len(self.equity), self.history.sessions[session].isoformat())

    def _decide(self, row: int, minute: int, minutes: int) -> None:
        history = self.history
        for order in [order for order in self.orders if order.alive() and order.isbuy()]:
            self.cancel(order)
        book = self._positions()
        seen = history.close[row - minute : row + 1]
        reason, buys = decide(
            history.scores[row], history.expected_bps[row], seen, book, minute, minutes, self.rules
        )
        equity = self._worth(book)
        for seat in np.flatnonzero((reason == Reason.CLOSE) | (reason == Reason.FLATTEN)):
            size = float(book.shares[seat])
            order = self.sell(data=self.datas[seat], size=size, why=int(reason[seat]))
            self.orders.append(order)
        for seat in buys:
            size = float(shares_for(equity, _last(seen[:, seat]), self.rules))
            if size > 0.0:
                score = float(history.scores[row, seat])
                self.orders.append(self.buy(data=self.datas[seat], size=size, score=score))

    def _positions(self) -> Book:
        """Read positions and orders off the broker."""
        held = self.broker.positions
        for data in [data for data, position in held.items() if not position]:
            del held[data]  # backtrader values every symbol that ever was held, at every bar
        book = self.book
        book.shares[:] = 0.0
        for data, position in held.items():
            book.shares[data.p.seat] = position.size
        self.orders = [order for order in self.orders if order.alive()]
        book.pending[:] = 0
        for order in self.orders:
            book.pending[order.data.p.seat] = 1 if order.isbuy() else -1
        return book

    def _worth(self, book: Book) -> float:
        """Return the equity.

        The broker's value is that in another order of adding, and takes profits apart; where a slot
        buys a whole number of shares, the last bit decides whether it is one less.
        """
        value = 0.0
        for seat in np.flatnonzero(book.shares):
            value += float(book.shares[seat]) * self.datas[seat].close[0]
        return float(self.broker.getcash() + value)

    # ------------------------------------------------------------------------- every session
    def _end(self, session: int) -> None:
        """Cancel the orders of a session that has ended, and split over the night to the next."""
        for order in self.orders:
            self.cancel(order)
        self.orders = []
        self.book.entered[:] = NEVER
        self.book.exited[:] = NEVER
        if session + 1 == len(self.lengths):
            return
        for data, position in self.broker.positions.items():
            factor = float(self.history.split_factor[session + 1, data.p.seat])
            if position and factor != 1.0:
                position.fix(position.size * factor, position.price / factor)
                trade = self._trades[data][0][-1]
                trade.size, trade.price = trade.size * factor, trade.price / factor
                self.trips[data.p.seat].sold *= factor


def _last(closes: Floats) -> float:
    """Return the last close of a session until now, NaN where there is none."""
    seen = closes[~np.isnan(closes)]
    return float(seen[-1]) if len(seen) else float("nan")
