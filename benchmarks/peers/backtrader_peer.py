"""The rule of benchmarks/backtest.py in backtrader as users write it: a frame, a feed a symbol.

    python backtrader_peer.py FOLDER

FOLDER holds bars.npz; the outcome goes to backtrader.npz, the seconds to standard output.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import backtrader as bt
import numpy as np
import pandas as pd

MINUTES, INTERVAL, TOP_K, LEAST, PLACES, HOLD, COOLDOWN, SLIP, CASH = (
    390, 10, 3, 0.6, 6, 10, 15, 1e-4, 1e6,
)  # fmt: skip


class ScoredFrame(bt.feeds.PandasData):
    """A frame of bars with a column more."""

    lines = ("score",)
    params = (("openinterest", None), ("score", -1))


class Plain(bt.Strategy):
    """Buys the best, sells what is old."""

    def __init__(self):
        self.equity, self.done, self.held, self.sold = [], [], {}, {}

    def notify_order(self, order):
        if order.status != order.Completed:
            return
        name, row = int(order.data._name), len(self) - 1
        if order.isbuy():
            self.held[name] = (row, order.executed.size, order.executed.price)
        else:
            bought, shares, price = self.held.pop(name)
            self.sold[name] = row
            self.done.append((name, bought, row, shares, price, order.executed.price))

    def next(self):
        row = len(self) - 1
        minute = row % MINUTES
        if minute == 0:
            self.sold.clear()
        worth = self.broker.getvalue()
        self.equity.append(worth)
        ending = minute + 2 == MINUTES
        for name, (bought, shares, _) in self.held.items():
            if ending or row + 1 - bought >= HOLD:
                self.sell(data=self.datas[name], size=shares)
        if (minute + 1) % INTERVAL or minute + 2 >= MINUTES:
            return
        good = []
        for name, data in enumerate(self.datas):
            rested = row + 1 - self.sold.get(name, -MINUTES) >= COOLDOWN
            if name not in self.held and rested and data.score[0] >= LEAST:
                good.append((data.score[0], name))
        for _, name in sorted(good, reverse=True)[: min(TOP_K, PLACES - len(self.held))]:
            data = self.datas[name]
            self.buy(data=data, size=int(worth / PLACES / data.close[0]))


def main():
    """Run once."""
    folder = Path(sys.argv[1])
    with np.load(folder / "bars.npz") as file:
        bars = {name: file[name] for name in file.files}
    rows, symbols = bars["close"].shape
    days = pd.bdate_range("2020-01-02", periods=rows // MINUTES) + pd.Timedelta(hours=9.5)
    minutes = pd.to_timedelta(np.arange(MINUTES), unit="min")
    index = pd.DatetimeIndex(np.concatenate([(day + minutes).values for day in days]))
    start = time.perf_counter()
    cerebro = bt.Cerebro(stdstats=False)
    for s in range(symbols):
        frame = pd.DataFrame({name: panel[:, s] for name, panel in bars.items()}, index=index)
        cerebro.adddata(ScoredFrame(dataname=frame), name=str(s))
    cerebro.broker.setcash(CASH)
    cerebro.broker.set_slippage_perc(SLIP, slip_open=True, slip_match=True, slip_out=True)
    cerebro.addstrategy(Plain)
    strategy = cerebro.run()[0]
    print(time.perf_counter() - start, flush=True)
    np.savez(folder / "backtrader.npz", trades=strategy.done, equity=strategy.equity)


if __name__ == "__main__":
    main()
