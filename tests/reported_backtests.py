"""Backtests to make reports of: the engine's own runs over seeded synthetic sessions.

Prices follow a market, a sector and themselves; volume is high at both ends of a session; some
minutes have no bar; scores know a little of the next ten minutes. Everything in a `Backtest` that
another room computes is computed here by plain arithmetic, so that these files need no other room.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from alpaca_strategy.backtest import ratios
from alpaca_strategy.backtest.content import Agreement, Backtest, Figure, Fold, GridPoint
from alpaca_strategy.backtest.doubts import warnings_of
from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.metrics import measure, session_returns
from alpaca_strategy.backtest.result import Run
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

CASH = 100_000.0
HORIZON = 10
_UNIVERSE = Path(__file__).resolve().parents[1] / "include" / "config" / "universe.csv"


def universe() -> dict[str, str]:
    """Return the sectors of the project's symbols."""
    with _UNIVERSE.open(encoding="utf-8") as file:
        return {row["symbol"]: row["sector"] for row in csv.DictReader(file)}


def make_history(
    sessions: int = 21,
    symbols: tuple[str, ...] | None = None,
    *,
    first: date = date(2024, 1, 2),
    skill: float = 0.1,
    quiet: float = 0.03,
    seed: int = 0,
) -> History:
    """Return sessions of minutes.

    Args:
        sessions: How many.
        symbols: In column order; the project's, where not given.
        first: Not later than the first session.
        skill: Correlation of the scores with what follows.
        quiet: Share of minutes without a bar.
        seed: Of everything.
    """
    rng = np.random.default_rng(seed)
    names = symbols or tuple(universe())
    days = exchange_calendar().sessions(first, date(first.year + 3, 12, 31))[:sessions]
    dates = tuple(session.day for session in days)
    minutes = np.array([session.minutes for session in days], int)
    first_row = np.concatenate([[0], np.cumsum(minutes)]).astype(np.int64)
    rows, count = int(first_row[-1]), len(names)
    place = np.concatenate([np.arange(n) / n for n in minutes])
    smile = 0.6 + 1.6 * (2 * place - 1) ** 2
    market = 2.2e-4 * smile * rng.standard_normal(rows)
    groups = rng.standard_normal((rows, 8)) * 1.6e-4
    own = rng.standard_normal((rows, count)) * rng.uniform(3e-4, 7e-4, count)
    moves = market[:, None] * rng.uniform(0.6, 1.5, count) + groups[:, np.arange(count) % 8] + own
    moves[first_row[:-1]] += 4e-3 * rng.standard_normal((sessions, count))
    close = np.round(rng.uniform(15, 400, count) * np.exp(np.cumsum(moves, axis=0)), 2)
    open_ = np.vstack([close[:1], close[:-1]]) * (1 + 5e-5 * rng.standard_normal((rows, count)))
    reach = np.abs(rng.standard_normal((2, rows, count))) * 2e-4
    high = np.maximum(open_, close) * (1 + reach[0])
    low = np.minimum(open_, close) * (1 - reach[1])
    volume = np.round(rng.lognormal(8.5, 0.7, (rows, count)) * smile[:, None])
    gone = rng.random((rows, count)) < quiet
    for panel in (open_, high, low, close):
        panel[gone] = np.nan
    volume[gone] = 0.0
    history = History(
        names, dates, first_row, np.round(open_, 2), np.round(high, 2), np.round(low, 2), close,
        volume, np.full((rows, count), np.nan), np.full((rows, count), np.nan),
        np.ones((sessions, count)),
    )  # fmt: skip
    signal = what_follows(history, HORIZON)
    spread = np.nanstd(signal) if np.isfinite(signal).any() else 1.0
    guess = np.nan_to_num(skill * signal / spread) + rng.standard_normal((rows, count)) * np.sqrt(
        max(0.0, 1 - skill**2)
    )
    history.scores[:] = 1 / (1 + np.exp(-guess))
    history.expected_bps[:] = guess * skill * spread * 1e4
    return history


def what_follows(history: History, horizon: int) -> np.ndarray:
    """Return the returns from the next open to the close a horizon later, within the session."""
    out = np.full(history.close.shape, np.nan)
    for begin, end in zip(history.first_row[:-1], history.first_row[1:], strict=True):
        if end - begin > horizon:
            entry = history.open[begin + 1 : end - horizon + 1]
            out[begin : end - horizon] = history.close[begin + horizon : end] / entry - 1
    return out


def rank_ic(history: History, horizon: int, begin: int = 0, end: int | None = None) -> float | None:
    """Return the mean rank correlation of scores and what follows, over every tenth minute.

    Args:
        history: Bars and scores.
        horizon: In minutes.
        begin: The first session that counts.
        end: The first one after it that does not.
    """
    rows = np.flatnonzero(history.minute_of_row % 10 == 9)
    rows = rows[(rows >= history.first_row[begin]) & (rows < history.first_row[end or -1])]
    both = np.stack([history.scores[rows], what_follows(history, horizon)[rows]])
    both[:, ~np.isfinite(both).all(axis=0)] = np.nan
    both = both[:, np.isfinite(both[0]).sum(axis=1) > 2]
    if not both.size:
        return None
    ranks = stats.rankdata(both, axis=2, nan_policy="omit")
    ranks -= np.nanmean(ranks, axis=2, keepdims=True)
    spread = np.sqrt(np.nansum(ranks**2, axis=2).prod(axis=0))
    return float((np.nansum(ranks.prod(axis=0), axis=1) / spread).mean())


def known(value: float) -> float | None:
    """Return a number, or None for none."""
    return value if np.isfinite(value) else None


def make_grid(
    history: History, rules: Rules, costs: Costs, sets: list[tuple[int, int, float]]
) -> tuple[GridPoint, ...]:
    """Run the engine with other parameters: names, minutes and bps."""
    points = []
    for top_k, hold, bps in sets:
        slots = min(rules.max_positions, top_k * max(1, -(-hold // rules.interval)))
        run = simulate(
            history,
            rules._replace(top_k=top_k, hold=hold, slots=slots),
            costs._replace(half_spread_bps=bps / 2, slippage_bps=bps / 2),
            cash=CASH,
        )
        returns = session_returns(history, run)
        total, sharpe = float(np.prod(1 + returns) - 1), known(ratios.sharpe(returns))
        points.append(GridPoint(top_k, hold, bps, total, sharpe, len(run.trades)))
    return tuple(points)


def make_folds(history: History, run: Run, size: int = 21) -> tuple[Fold, ...]:
    """Say that a model of its own scored each so many sessions."""
    returns = session_returns(history, run)
    of_trade = history.session_of_row[run.trades["entry_row"]]
    folds, calendar = [], exchange_calendar()
    for begin in range(0, len(history.sessions), size):
        end = min(begin + size, len(history.sessions))
        folds.append(
            Fold(
                model=f"{history.sessions[begin]}-{begin:04x}cafe",
                trained_until=calendar.previous_session(history.sessions[begin], 2).day,
                first=history.sessions[begin],
                last=history.sessions[end - 1],
                sessions=end - begin,
                trades=int(((of_trade >= begin) & (of_trade < end)).sum()),
                total_return=float(np.prod(1 + returns[begin:end]) - 1),
                sharpe=known(ratios.sharpe(returns[begin:end])),
                rank_ic=rank_ic(history, HORIZON, begin, end),
            )
        )
    return tuple(folds)


def make_backtest(
    history: History | None = None,
    *,
    rules: Rules = Rules(),  # noqa: B008 - a tuple of plain values
    costs: Costs = Costs(),  # noqa: B008
    figures: tuple[Figure, ...] | None = None,
    grid: bool = True,
    **changes: Any,
) -> Backtest:
    """Run the engine over a history and put together what a report needs.

    Args:
        history: What to run over; a month of thirty symbols where not given.
        rules: In force.
        costs: In force.
        figures: Of the run; measured where not given.
        grid: Whether to run other parameters too.
        changes: Fields of the `Backtest` that are to be different.
    """
    history = make_history() if history is None else history
    run = simulate(history, rules, costs, cash=CASH)
    ladder = [(rules.top_k, rules.hold, float(bps)) for bps in range(11)]
    sets = [(k, h, c) for k in (1, 2, 3, 5) for h in (10, 20, 30, 60) for c in (0.0, 2.0, 5.0)]
    sectors = universe()
    groups = sorted(set(sectors.values()))
    horizons = (1, 2, 5, 10, 20, 30, 60)
    decay = {h: ic for h in horizons if (ic := rank_ic(history, h)) is not None}
    backtest = Backtest(
        id=f"{history.sessions[-1]}-0badf00d" if history.sessions else "2024-01-02-0badf00d",
        made_at=datetime(2024, 12, 31, 23, 5, tzinfo=UTC),
        history=history,
        run=run,
        rules=rules,
        costs=costs,
        figures=(),
        warnings=(),
        agreement=Agreement(len(run.trades), len(run.trades), None),
        folds=make_folds(history, run) if history.sessions else (),
        ladder=make_grid(history, rules, costs, ladder) if grid else (),
        grid=make_grid(history, rules, costs, sets) if grid else (),
        returns=what_follows(history, HORIZON),
        decay=decay,
        sectors={
            name: sectors.get(name, groups[i % len(groups)])
            for i, name in enumerate(history.symbols)
        },
        simulated=True,
        in_sample=False,
        lineage={
            "models": {"2024-01-02-0000cafe": "sha256:4f1c0de", "2024-02-01-0015cafe": "sha256:77"},
            "lake": {"bars": 412, "trades": 398},
            "settings": {"interval": 10, "top_k": 3, "min_score": 0.6},
            "code": "0.1.0 (a1b2c3d)",
            "seed": 0,
        },
    )
    measured = measure(history, run, trials=48) if figures is None else figures
    warnings = warnings_of(measured, simulated=True, in_sample=False) if measured else ()
    return replace(backtest, **{"figures": measured, "warnings": warnings, **changes})
