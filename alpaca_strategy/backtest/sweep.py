"""The same history with many parameters: how much of a result hangs on a choice.

The compiled loop runs beside other threads, so a sweep takes as many of them as it is given. Of
every run three numbers are kept; what it traded is let go at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from alpaca_strategy.backtest import ratios
from alpaca_strategy.backtest.content import GridPoint
from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.metrics import session_returns
from alpaca_strategy.strategy.costs import Costs, round_trip_bps
from alpaca_strategy.strategy.rules import Rules, slots_of

#: What the sensitivity table tries, each as far as the history allows.
TOP_K = (1, 2, 3, 5, 8)
HOLD = (5, 10, 20, 30, 60)
COST_BPS = (0.0, 1.0, 2.0, 5.0)
#: Costs of the ladder, half-spread and slippage together, in bps a side.
LADDER_BPS = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0)

Point = tuple[Rules, Costs]
#: Called with how many points are done, and how many there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one set of parameters.

    Attributes:
        total_return: A fraction.
        sharpe: Annualised, from session returns; None where it has none.
        trades: How many.
    """

    total_return: float
    sharpe: float | None
    trades: int


def sweep(
    history: History,
    points: Sequence[Point],
    *,
    cash: float,
    threads: int,
    progress: Progress | None = None,
) -> tuple[Outcome, ...]:
    """Run the strategy with many sets of parameters.

    Args:
        history: Bars and scores.
        points: The sets.
        cash: In USD, at the beginning of each run.
        threads: How many runs go on at once; each takes the memory of its trades.
        progress: Told, in the caller's thread, of each set that is done.

    Returns:
        What came of each, in the order of the points.
    """
    outcomes = []
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="sweep")
    try:
        for outcome in pool.map(lambda point: _outcome(history, point, cash), points):
            outcomes.append(outcome)
            if progress is not None:
                progress(len(outcomes), len(points))
    finally:
        # An interruption must not wait for a thousand runs that nobody will read.
        pool.shutdown(cancel_futures=True)
    return tuple(outcomes)


def _outcome(history: History, point: Point, cash: float) -> Outcome:
    run = simulate(history, *point, cash=cash)
    value = ratios.sharpe(session_returns(history, run))
    total = float(run.equity[-1]) / cash - 1.0 if len(run.equity) else 0.0
    return Outcome(total, value if np.isfinite(value) else None, len(run.trades))


def grid(
    history: History,
    rules: Rules,
    costs: Costs,
    *,
    cash: float,
    threads: int,
    top_k: Iterable[int] = TOP_K,
    hold: Iterable[int] = HOLD,
    cost_bps: Iterable[float] = COST_BPS,
    progress: Progress | None = None,
) -> tuple[GridPoint, ...]:
    """Return what other numbers of names, holds and costs come to; the rules' own are among them.

    Left out are numbers of names beyond the universe, holds shorter than the interval, after
    which nothing is decided any sooner, and holds that no session is long enough for. Fees stay
    as they are.

    Args:
        history: Bars and scores.
        rules: All that is not varied.
        costs: Likewise.
        cash: In USD, at the beginning of each run.
        threads: As in `sweep`.
        top_k: Names chosen by a decision.
        hold: Minutes.
        cost_bps: Half-spread and slippage together, in bps a side.
        progress: As in `sweep`.
    """
    longest = int(np.diff(history.first_row).max(initial=0)) - rules.flat_minutes
    names = {k for k in top_k if 1 <= k <= len(history.symbols)} | {rules.top_k}
    holds = {h for h in hold if rules.interval <= h < longest} | {rules.hold}
    prices = set(cost_bps) | {_side_bps(costs)}
    sets = [(k, h, c) for k in sorted(names) for h in sorted(holds) for c in sorted(prices)]
    return _points(history, rules, costs, sets, cash=cash, threads=threads, progress=progress)


def ladder(
    history: History,
    rules: Rules,
    costs: Costs,
    *,
    cash: float,
    threads: int,
    cost_bps: Iterable[float] = LADDER_BPS,
    progress: Progress | None = None,
) -> tuple[GridPoint, ...]:
    """Return what the same rules come to at other costs, cheapest first; see `grid`."""
    sets = [(rules.top_k, rules.hold, c) for c in sorted(cost_bps)]
    return _points(history, rules, costs, sets, cash=cash, threads=threads, progress=progress)


def _points(
    history: History,
    rules: Rules,
    costs: Costs,
    sets: Sequence[tuple[int, int, float]],
    *,
    cash: float,
    threads: int,
    progress: Progress | None,
) -> tuple[GridPoint, ...]:
    points = [_changed(rules, costs, k, hold, bps) for k, hold, bps in sets]
    outcomes = sweep(history, points, cash=cash, threads=threads, progress=progress)
    return tuple(
        GridPoint(k, hold, bps, outcome.total_return, outcome.sharpe, outcome.trades)
        for (k, hold, bps), outcome in zip(sets, outcomes, strict=True)
    )


def _changed(rules: Rules, costs: Costs, top_k: int, hold: int, cost_bps: float) -> Point:
    """Return rules and costs with other values, and with what follows from them."""
    costs = costs._replace(half_spread_bps=cost_bps, slippage_bps=0.0)
    slots = slots_of(
        interval=rules.interval, top_k=top_k, max_positions=rules.max_positions, hold=hold
    )
    rules = rules._replace(
        top_k=top_k, hold=hold, slots=slots, round_trip_bps=round_trip_bps(costs)
    )
    return rules, costs


def _side_bps(costs: Costs) -> float:
    return costs.half_spread_bps + costs.slippage_bps
