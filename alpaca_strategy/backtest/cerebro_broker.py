"""What backtrader trades in: one feed a symbol, our fees, and its own broker.

Source:
    backtrader 1.9.78, as installed: `feed.py`, `cerebro.py`, `brokers/bbroker.py`, `comminfo.py`.
"""

from __future__ import annotations

from array import array
from typing import Any

import backtrader as bt
import numpy as np

from alpaca_strategy.backtest.history import Floats, History
from alpaca_strategy.strategy.costs import Costs, affordable, fee, fillable

#: Shares: what is left of an order after that many is what adding fractions leaves.
DUST = 1e-9
_MINUTES_A_DAY = 1440
_OPENING = 9 * 60 + 30  # in New York, on half-days too


def make_feeds(history: History) -> list[Feed]:
    """Return the feed of every symbol."""
    times = _times(history)
    close = history.last_prices()
    return [
        Feed(
            seat=seat,
            dataname={
                "open": history.open[:, seat],
                "high": history.high[:, seat],
                "low": history.low[:, seat],
                "close": close[:, seat],
                "volume": history.volume[:, seat],
                "datetime": times,
            },
        )
        for seat in range(len(history.symbols))
    ]


def _times(history: History) -> Floats:
    """Return backtrader's time of every row: days since the year 1, in New York."""
    days = np.array([day.toordinal() for day in history.sessions], np.float64)
    minutes = (_OPENING + history.minute_of_row) / _MINUTES_A_DAY
    return np.asarray(days[history.session_of_row] + minutes, np.float64)


class Feed(bt.feed.DataBase):  # type: ignore[misc]  # backtrader has no types
    """A symbol's bars, loaded at once.

    Every minute of the history is in it. The close of a minute without a bar is the last price, as
    the broker values positions at it; its open is NaN, and nothing is filled at that.

    backtrader fills a feed value by value, and at every bar moves each line and copies its values
    to the feed's attributes. That is most of its time with 30 feeds.
    """

    params = (("seat", 0), ("timeframe", bt.TimeFrame.Minutes))
    #: The broker looks for a half-finished bar here before it looks at the lines.
    tick_open = tick_high = tick_low = tick_close = None

    def preload(self) -> None:
        """Fill the lines."""
        columns: dict[str, Floats] = self.p.dataname
        self._moving: list[Any] = [getattr(self.lines, name) for name in columns]
        for line, values in zip(self._moving, columns.values(), strict=True):
            line.array = array("d", np.ascontiguousarray(values).tobytes())
        unread = self.lines.openinterest
        unread.array = array("d", bytes(8 * len(columns["datetime"])))
        self._peeks: list[float] = [*columns["datetime"].tolist(), float("inf")]
        self.home()

    def home(self) -> None:
        """Go back to before the first bar."""
        self._at = 0
        super().home()

    def __len__(self) -> int:
        return self._at

    def advance_peek(self) -> float:
        """Return the time of the next bar, infinity after the last one."""
        return self._peeks[self._at]

    def advance(self, size: int = 1, datamaster: Any = None, ticks: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - backtrader's signature
        """Go to the next bar."""
        for line in self._moving:
            line.idx = self._at
        self._at += size


class Fees(bt.CommInfoBase):  # type: ignore[misc]  # backtrader has no types
    """Commission and regulatory fees."""

    params = (("stocklike", True), ("commtype", bt.CommInfoBase.COMM_FIXED))

    def __init__(self, costs: Costs) -> None:
        super().__init__()
        self._costs = costs

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:  # noqa: ARG002, FBT001 - backtrader's signature
        return float(fee(abs(size), price, 1 if size > 0 else -1, self._costs))

    def get_credit_interest(self, data: Any, pos: Any, dt: Any) -> float:  # noqa: ARG002 - backtrader's signature
        """Return nothing: shares are paid for."""
        return 0.0


class Broker(bt.brokers.BackBroker):  # type: ignore[misc]  # backtrader has no types
    """backtrader's broker, with a filler, and exact about cash.

    It books a sale as what the shares were bought for, and profit. Rounded twice, that may leave a
    share too little, or refuse an order for lack of 1e-12 USD and cancel it.
    """

    def __init__(self, costs: Costs, *, whole_shares: bool) -> None:
        super().__init__()
        self._costs, self._whole = costs, whole_shares
        self._paid_from = 0.0
        # Past the high and low of the bar too: to stay within would make trading cheaper.
        slip = (costs.half_spread_bps + costs.slippage_bps) * 1e-4
        self.set_slippage_perc(slip, slip_open=True, slip_match=True, slip_out=True)
        self.set_filler(self._shares)
        # It would be checked against the close of the minute before the execution.
        self.set_checksubmit(False)
        self.addcommissioninfo(Fees(costs))

    def _shares(self, order: Any, price: float, ago: int) -> float:
        """Return how many shares of an order a minute fills."""
        data, wanted = order.data, abs(order.executed.remsize)
        if np.isnan(data.open[ago]):
            return 0.0
        shares = fillable(wanted, data.volume[ago], self._costs, self._whole)
        if order.isbuy():
            shares = min(shares, affordable(self._paid_from, price, self._costs, self._whole))
        elif wanted - shares <= DUST:
            shares = wanted  # a position is closed only when it is 0 to the last bit
        return float(shares)

    def _execute(self, order: Any, *args: Any, **kwargs: Any) -> None:
        before, executions = float(self.get_cash()), len(order.executed)
        self._paid_from, self.cash = before, before + 1.0  # so that no rounding refuses it
        super()._execute(order, *args, **kwargs)
        self.cash = before
        if len(order.executed) > executions:
            done = order.executed[-1]
            self.cash = before - (done.size * done.price + done.comm)
            if abs(order.executed.remsize) <= DUST:
                order.completed()
