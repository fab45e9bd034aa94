"""The rule of benchmarks/backtest.py in vectorbt, by three paths; has an environment of its own.

    python vectorbt_peer.py PATH FOLDER

- `rule`: vectorbt calls a compiled function before every row, which decides and says what to order;
- `numba` and `rust`: every order's size is given, found beforehand by somebody else; vectorbt fills
  the orders and values the account, in either of its two engines. It has less to do than we have.

FOLDER holds bars.npz and, for the last two, orders.npy (rows, symbols). Each line of standard input
is `save` or `run`; see benchmarks/backtest.py.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import vectorbt as vbt
from numba import njit
from vectorbt.portfolio import nb
from vectorbt.portfolio.enums import NoOrder

MINUTES, INTERVAL, TOP_K, LEAST, PLACES, HOLD, COOLDOWN, SLIP, CASH = (
    390, 10, 3, 0.6, 6, 10, 15, 1e-4, 1e6,
)  # fmt: skip


@njit
def before_row(c, close, score, bought, sold, wanted):
    """Decide on what the row before has left, and order sales ahead of purchases."""
    wanted[:] = 0.0
    t = c.i - 1
    if t < 0:
        return (wanted,)
    minute = t % MINUTES
    if minute == 0:
        sold[:] = -MINUTES
    equity, held = c.last_cash[c.group], 0
    for s in range(len(wanted)):
        shares = c.last_position[s]
        if shares > 0.0:
            equity += shares * close[t, s]
            held += 1
            if bought[s] < 0:
                bought[s] = t
        elif bought[s] >= 0:
            bought[s], sold[s] = -1, t
    ending = minute + 2 == MINUTES
    for s in range(len(wanted)):
        if c.last_position[s] > 0.0 and (ending or c.i - bought[s] >= HOLD):
            wanted[s] = -c.last_position[s]
    if (minute + 1) % INTERVAL == 0 and minute + 2 < MINUTES:
        for _ in range(min(TOP_K, PLACES - held)):
            best = -1
            for s in range(len(wanted)):
                free = c.last_position[s] == 0.0 and wanted[s] == 0.0 and c.i - sold[s] >= COOLDOWN
                if free and score[t, s] >= (LEAST if best < 0 else score[t, best]):
                    best = s
            if best < 0:
                break
            wanted[best] = np.floor(equity / PLACES / close[t, best])
    place = 0
    for sells in (True, False):
        for s in range(len(wanted)):
            if (wanted[s] < 0.0) == sells:
                c.call_seq_now[place] = s
                place += 1
    return (wanted,)


@njit
def order(c, wanted, open_):
    """Order what was decided, at this row's open."""
    if wanted[c.col] == 0.0:
        return NoOrder
    return nb.order_nb(size=wanted[c.col], price=open_[c.i, c.col], slippage=SLIP)


def by_rule(bars):
    """Return a run that decides for itself."""
    symbols = bars["close"].shape[1]
    orders = 2 * TOP_K * (len(bars["close"]) // INTERVAL) + 100

    def run():
        return vbt.Portfolio.from_order_func(
            bars["close"], order, bars["open"], pre_segment_func_nb=before_row,
            pre_segment_args=(
                bars["close"], bars["score"], np.full(symbols, -1), np.full(symbols, -MINUTES),
                np.zeros(symbols),
            ),
            init_cash=CASH, cash_sharing=True, group_by=True, max_orders=orders, freq="1min",
        )  # fmt: skip

    return run


def by_orders(bars, sizes, engine):
    """Return a run that fills given orders."""
    orders = int(np.isfinite(sizes).sum()) + 100

    def run():
        return vbt.Portfolio.from_orders(
            bars["close"], size=sizes, price=bars["open"], slippage=SLIP, init_cash=CASH,
            cash_sharing=True, group_by=True, call_seq="auto", max_orders=orders, freq="1min",
            engine=engine,
        )  # fmt: skip

    return run


def outcome(portfolio):
    """Return round trips (symbol, entry row, exit row, shares, entry and exit price) and equity."""
    equity = np.asarray(portfolio.value()).ravel()
    found = portfolio.trades.records
    names = ("col", "entry_idx", "exit_idx", "size", "entry_price", "exit_price")
    return np.column_stack([found[name] for name in names]), equity


def main():
    """Obey standard input."""
    path, folder = sys.argv[1], Path(sys.argv[2])
    with np.load(folder / "bars.npz") as file:
        bars = {name: file[name] for name in file.files}
    run = by_rule(bars) if path == "rule" else None
    run = run or by_orders(bars, np.load(folder / "orders.npy"), path)
    for line in sys.stdin:
        if line.strip() == "save":
            trades, equity = outcome(run())
            np.savez(folder / f"vectorbt {path}.npz", trades=trades, equity=equity)
            print("saved", flush=True)
        else:
            start = time.perf_counter()
            outcome(run())
            print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
