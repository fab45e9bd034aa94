"""The figures of a backtest, from what the engine left.

Ratios are annualised from session returns. Drawdowns follow the equity minute by minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alpaca_strategy.backtest import ratios
from alpaca_strategy.backtest.catalogue import CATALOGUE, FEW_SESSIONS, Description, Unit
from alpaca_strategy.backtest.content import Figure
from alpaca_strategy.backtest.history import Floats, History, Ints
from alpaca_strategy.backtest.intervals import interval
from alpaca_strategy.backtest.result import Run

__all__ = [
    "CATALOGUE", "Description", "Unit", "benchmark_equity", "gross_returns", "measure",
    "session_returns",
]  # fmt: skip

_DUST = 1e-7  # shares, a tenth of the smallest order: what adding fractions leaves
_WIPED_OUT = -1.0 + 1e-12  # the least return that has a logarithm

_Values = dict[str, float]
_Ends = tuple[float, float]


def session_returns(history: History, run: Run) -> Floats:
    """Return what each session earned on the equity of the end of the one before.

    0 after a run has lost everything. Shape (sessions,).
    """
    return _over(run.cash, _closes(history, run.equity))


def gross_returns(history: History, run: Run) -> Floats:
    """Return `session_returns` with the fees and the impact of each session added back to it.

    What a session's costs would have earned later is left out.
    """
    spent = _by_session(history, run.fills["row"], run.fills["fee"] + run.fills["impact"])
    return _over(run.cash, _closes(history, run.equity), spent)


def _over(cash: float, close: Floats, added: Floats | float = 0.0) -> Floats:
    before = np.concatenate([[cash], close[:-1]])[: len(close)]
    gain: Floats = close + added - before
    out = np.zeros(len(close))
    np.divide(gain, before, out=out, where=before > 0.0)
    return out


def benchmark_equity(history: History, cash: float) -> Floats:
    """Return the equity of somebody who holds the universe in equal parts, shape (rows,).

    Bought at the first close, brought back to equal parts at the first close of every session,
    held overnight, free of cost. A symbol takes part from the first session on in whose first
    minute it has a price.
    """
    price = history.last_prices()
    equity = np.full(len(price), float(cash))
    shares = np.zeros(len(history.symbols))
    first = history.first_row
    for begin, end, factor in zip(first[:-1], first[1:], history.split_factor, strict=True):
        at, shares = price[begin], shares * factor
        priced = at > 0.0
        if not priced.any():
            continue
        value = float(shares[shares > 0.0] @ at[shares > 0.0]) if shares.any() else float(cash)
        shares = np.where(priced, value / priced.sum() / np.where(priced, at, 1.0), 0.0)
        equity[begin:end] = price[begin:end, priced] @ shares[priced]
    return equity


def measure(
    history: History, run: Run, *, trials: int = 1, trial_sharpes: Sequence[float | None] = ()
) -> tuple[Figure, ...]:
    """Return all figures of a run, in the order of `CATALOGUE`.

    Args:
        history: What it ran over.
        run: What came of it.
        trials: Parameter sets that were tried before this one was chosen, itself included.
        trial_sharpes: Their annualised Sharpe ratios, None where one has none. Of fewer than two,
            chance alone is taken to have spread them.
    """
    returns = session_returns(history, run)
    market = _over(run.cash, _closes(history, benchmark_equity(history, run.cash)))
    values: _Values = {"sessions": len(returns)}
    values |= _returns(returns) | _drawdown(run) | _trades(run) | _traded(history, run)
    values |= _against(returns, market) | _certainty(returns, trials, trial_sharpes)
    gross = gross_returns(history, run)
    values |= {"gross_return": ratios.total_return(gross), "gross_sharpe": ratios.sharpe(gross)}
    values["carried_overnight"] = _carried(history, run)
    if len(returns) < FEW_SESSIONS:
        values |= {"annual_return": np.nan, "calmar": np.nan, "alpha": np.nan}
    ends = _intervals(history, run, returns)
    return tuple(_figure(name, values[name], ends.get(name)) for name in CATALOGUE)


def _figure(name: str, value: float, ends: _Ends | None) -> Figure:
    return Figure(name, float(value), *(ends or ())) if np.isfinite(value) else Figure(name, None)


def _closes(history: History, equity: Floats) -> Floats:
    return equity[history.first_row[1:] - 1]


def _by_session(history: History, rows: Ints, amounts: Floats) -> Floats:
    """Return sums of what happened in some rows, by session."""
    session = np.searchsorted(history.first_row, rows, side="right") - 1
    return np.bincount(session, amounts, len(history.sessions)).astype(np.float64)


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0.0 else np.nan


def _returns(returns: Floats) -> _Values:
    return {
        "annual_return": ratios.annual_return(returns),
        "annual_volatility": ratios.annual_volatility(returns),
        "sharpe": ratios.sharpe(returns),
        "sortino": ratios.sortino(returns),
        "calmar": ratios.calmar(returns),
        "value_at_risk": ratios.value_at_risk(returns),
        "conditional_value_at_risk": ratios.conditional_value_at_risk(returns),
    }


def _drawdown(run: Run) -> _Values:
    final = float(run.equity[-1]) if len(run.equity) else run.cash
    falls = ratios.drawdowns(run.equity, run.cash)
    deepest = min(falls, key=lambda fall: fall.depth, default=None)
    return {
        "final_value": final,
        "total_return": final / run.cash - 1.0,
        "max_drawdown": deepest.depth if deepest else 0.0,
        "max_drawdown_minutes": deepest.length if deepest else 0,
    }


def _trades(run: Run) -> _Values:
    profit, n = run.trades["profit"], len(run.trades)
    held = run.trades["exit_row"] - run.trades["entry_row"]
    won, lost = float(profit[profit > 0.0].sum()), float(profit[profit < 0.0].sum())
    return {
        "trades": n,
        "win_rate": _ratio(float(np.sum(profit > 0.0)), n),
        "profit_factor": _ratio(won, -lost),
        "mean_profit": _ratio(float(profit.sum()), n),
        "best_trade": float(profit.max()) if n else np.nan,
        "worst_trade": float(profit.min()) if n else np.nan,
        "mean_minutes_held": _ratio(float(held.sum()), n),
    }


def _traded(history: History, run: Run) -> _Values:
    """Return how much was traded and invested, and what that cost."""
    traded = float(np.sum(np.abs(run.fills["shares"]) * run.fills["price"]))
    cost = float(np.sum(run.fills["fee"] + run.fills["impact"]))
    earned = float(run.equity[-1]) - run.cash if len(run.equity) else 0.0
    alive = run.equity > 0.0
    mean = float(run.equity.mean()) if len(run.equity) else 0.0
    return {
        "turnover": _ratio(_ratio(traded, len(history.sessions)), mean),
        "exposure": _ratio(float(np.sum(run.invested[alive] / run.equity[alive])), alive.sum()),
        "total_cost": cost,
        "cost_bps": _ratio(1e4 * cost, traded),
        "break_even_bps": _ratio(1e4 * (earned + cost), traded),
    }


def _against(returns: Floats, market: Floats) -> _Values:
    return {
        "benchmark_return": ratios.total_return(market),
        "benchmark_sharpe": ratios.sharpe(market),
        "beta": ratios.beta(returns, market),
        "alpha": ratios.alpha(returns, market),
    }


def _certainty(returns: Floats, trials: int, trial_sharpes: Sequence[float | None]) -> _Values:
    record = ratios.record(returns)
    known = np.array([x for x in trial_sharpes if x is not None and np.isfinite(x)])
    # The Sharpe ratio of n sessions that are worth nothing has a variance of about 1 / n.
    by_chance = _ratio(1.0, record.sessions - 1.0)
    variance = float(np.var(known, ddof=1)) / ratios.YEAR if len(known) > 1 else by_chance
    return {
        "probabilistic_sharpe": ratios.probabilistic_sharpe(record),
        "deflated_sharpe": ratios.deflated_sharpe(
            record, max(trials, len(trial_sharpes)), variance
        ),
        "minimum_track_record": ratios.minimum_track_record(record),
    }


def _carried(history: History, run: Run) -> int:
    """Return how many positions were held at the end of a session, summed over sessions."""
    bought = np.zeros(history.split_factor.shape)
    session = np.searchsorted(history.first_row, run.fills["row"], side="right") - 1
    np.add.at(bought, (session, run.fills["symbol"]), run.fills["shares"])
    held, carried = np.zeros(len(history.symbols)), 0
    for i, shares in enumerate(bought):
        held = held * history.split_factor[i] + shares
        carried += int(np.sum(held > _DUST))
    return carried


def _intervals(history: History, run: Run, returns: Floats) -> Mapping[str, _Ends | None]:
    """Return the ends of those figures that have an interval."""
    one, n, year = np.ones(len(returns)), len(returns), ratios.YEAR
    logs = np.log1p(np.maximum(returns, _WIPED_OUT))
    growth = np.stack([logs, one], axis=1)
    row, profit = run.trades["exit_row"], run.trades["profit"]
    trips = _by_session(history, row, np.ones(len(row)))
    earned = np.stack([_by_session(history, row, profit), trips], axis=1)
    won = np.stack([_by_session(history, row, (profit > 0.0).astype(np.float64)), trips], axis=1)
    return {
        "sharpe": interval(np.stack([returns, returns**2, one], axis=1), _sharpe),
        "total_return": interval(growth, lambda sums: np.expm1(n * _mean(sums))),
        "annual_return": interval(growth, lambda sums: np.expm1(year * _mean(sums))),
        "mean_profit": interval(earned, _mean),
        "win_rate": interval(won, _mean),
    }


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _sharpe(sums: Floats) -> Floats:
    total, squares, n = np.moveaxis(sums, -1, 0)
    variance = (squares - total**2 / n) / (n - 1.0)
    # What is left of equal returns is rounding.
    variance = np.where(variance > 1e-12 * squares / n, variance, np.nan)
    return np.asarray(total / n / np.sqrt(variance / ratios.YEAR))
