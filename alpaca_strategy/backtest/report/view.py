"""What several sections of the report need of a backtest, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alpaca_strategy.backtest.content import Backtest
from alpaca_strategy.backtest.history import Floats, History, Ints
from alpaca_strategy.backtest.metrics import benchmark_equity, gross_returns, session_returns
from alpaca_strategy.backtest.ratios import underwater

#: Curves have at most about so many points; between them, minutes are left out.
_POINTS = 11_000
_STEPS = (1, 2, 5, 10, 15, 30, 65, 130, 390)
_LEAST_STEP = 10


@dataclass(frozen=True, slots=True)
class View:
    """A backtest with what follows from it.

    Attributes:
        backtest: As it was made.
        session: The position of each row's session.
        minute: The minute of each row within it.
        step: Minutes between the points of a curve.
        underwater: How far the equity is below its highest so far, negative fractions, by row.
        shown: The rows of those points.
        gross: The equity without costs, each session's added back to it, in USD; shape (rows,).
        benchmark: The same money spread equally over all symbols, likewise.
        ends: Equity at the end of each session.
        returns: Of each session, fractions.
        holdings: What each position is worth at the rows shown, in USD; shape (shown, symbols).
        paid: For each trade, in USD.
        bps: Profit of each trade, of what was paid.
    """

    backtest: Backtest
    session: Ints
    minute: Ints
    step: int
    shown: Ints
    gross: Floats
    benchmark: Floats
    underwater: Floats
    ends: Floats
    returns: Floats
    holdings: Floats
    paid: Floats
    bps: Floats

    @property
    def trades(self) -> Any:
        """The trades, dtype `TRADE`."""
        return self.backtest.run.trades

    @property
    def history(self) -> History:
        """What it ran over."""
        return self.backtest.history

    @property
    def last_shown(self) -> Ints:
        """The position among the rows shown at which each session ends."""
        return np.searchsorted(self.shown, self.history.first_row[1:] - 1).astype(np.int64)

    @property
    def sectors(self) -> list[str]:
        """The sector of each symbol."""
        return [self.backtest.sectors.get(name, "Other") for name in self.history.symbols]

    def busiest(self, most: int) -> Ints:
        """Return the symbols that were traded most, in their own order."""
        fills, symbols = self.backtest.run.fills, len(self.history.symbols)
        traded = np.bincount(fills["symbol"], np.abs(fills["shares"] * fills["price"]), symbols)
        return np.sort(np.argsort(-traded, kind="stable")[:most]).astype(np.int64)

    def by_session(self, values: Floats, how: Any = np.add) -> Floats:
        """Return a sum, or another reduction, of what is given by row for each session."""
        if not len(self.history.sessions):
            return np.empty(0)
        return np.asarray(how.reduceat(values, self.history.first_row[:-1]), np.float64)


def view_of(backtest: Backtest) -> View:
    """Return a backtest with what follows from it."""
    history, run = backtest.history, backtest.run
    session, minute = history.session_of_row, history.minute_of_row
    step = _step(len(session))
    is_last = np.zeros(len(session), bool)
    is_last[history.first_row[1:] - 1] = True
    shown = np.flatnonzero(((minute + 1) % step == 0) | is_last).astype(np.int64)
    paid = run.trades["shares"] * run.trades["entry_price"]
    return View(
        backtest=backtest,
        session=session,
        minute=minute,
        step=step,
        shown=shown,
        gross=_gross(backtest, session),
        benchmark=benchmark_equity(history, run.cash),
        underwater=underwater(run.equity, run.cash),
        ends=run.equity[history.first_row[1:] - 1],
        returns=session_returns(history, run),
        holdings=shares_at(backtest, shown) * np.nan_to_num(history.last_prices()[shown]),
        paid=paid,
        bps=run.trades["profit"] / paid * 1e4,
    )


def _gross(backtest: Backtest, session: Ints) -> Floats:
    """Return the equity by row that `gross_returns` compounds to."""
    history, run = backtest.history, backtest.run
    if not len(session):
        return np.empty(0)
    spent = np.bincount(run.fills["row"], run.fills["fee"] + run.fills["impact"], len(session))
    total = np.cumsum(spent)
    until = np.concatenate([[0.0], total[history.first_row[1:-1] - 1]])
    begun = np.concatenate([[run.cash], run.equity[history.first_row[1:-1] - 1]])
    grown = np.cumprod(1.0 + gross_returns(history, run))
    grown = np.concatenate([[1.0], grown[:-1]])
    with np.errstate(all="ignore"):
        within = (run.equity + total - until[session]) / begun[session]
    return np.asarray(np.where(begun[session] > 0.0, within, 1.0) * grown[session] * run.cash)


def _step(rows: int) -> int:
    fit = [step for step in _STEPS if step >= _LEAST_STEP and rows / step <= _POINTS]
    return fit[0] if fit else _STEPS[-1]


def shares_at(backtest: Backtest, rows: Ints) -> Floats:
    """Return the shares held at the close of rows, oldest first; shape (rows, symbols).

    They are counted in shares of before the first session and stated in those of their own day.
    """
    history, fills = backtest.history, backtest.run.fills
    split = np.cumprod(history.split_factor, axis=0)
    session = history.session_of_row
    changes = np.zeros((len(rows) + 1, len(history.symbols)))
    at = np.searchsorted(rows, fills["row"])
    old = fills["shares"] / split[session[fills["row"]], fills["symbol"]]
    np.add.at(changes, (at, fills["symbol"]), old)
    held = np.cumsum(changes, axis=0)[: len(rows)] * split[session[rows]]
    held[np.abs(held) < 1e-7] = 0.0  # what adding fractions leaves
    return held
