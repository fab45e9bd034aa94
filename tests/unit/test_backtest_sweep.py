"""Many parameters over the same history: what is tried, in how many threads, and what is kept."""

from __future__ import annotations

import threading
import tracemalloc
from datetime import date, timedelta
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.metrics import measure
from alpaca_strategy.backtest.sweep import grid, ladder, sweep
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

CASH = 100_000.0
#: Without fees of the state, so that half-spread and slippage are all there is.
UNTAXED = Costs(sec_per_million=0.0, taf_per_share=0.0)


def walk(seed: int, days: int, names: int, *, knowing: float = 0.0, minutes: int = 390) -> History:
    """Build a random walk whose scores know a share of what comes in the next ten minutes."""
    rng = np.random.default_rng(seed)
    rows = days * minutes
    steps = rng.normal(0, 5e-4, (rows + 11, names))
    close = rng.uniform(60, 400, names) * np.exp(steps.cumsum(axis=0))
    coming = np.log(close[11:] / close[1:-10])
    coming = coming / (5e-4 * np.sqrt(10))
    blind = rng.standard_normal(coming.shape)
    scores = 1 / (1 + np.exp(-(knowing * coming + np.sqrt(1 - knowing**2) * blind)))
    close = close[:rows]
    opened = np.concatenate([close[:1], close[:-1]])
    return History(
        symbols=tuple(f"S{i}" for i in range(names)),
        sessions=tuple(date(2026, 1, 5) + timedelta(days=i) for i in range(days)),
        first_row=np.arange(days + 1) * minutes,
        open=opened,
        high=np.maximum(opened, close),
        low=np.minimum(opened, close),
        close=close,
        volume=np.full(close.shape, 1e6),
        scores=scores[:rows],
        expected_bps=np.full(close.shape, 7.0),
        split_factor=np.ones((days, names)),
    )


@pytest.fixture(scope="module")
def world() -> History:
    return walk(1, 8, 6, knowing=0.1)


POINTS = [
    (Rules(top_k=k, hold=hold, min_score=score, slots=k), Costs(half_spread_bps=bps))
    for k, hold, score, bps in product((1, 3), (10, 30), (0.5, 0.7, 2.0), (0.0, 4.0))
]


# ------------------------------------------------------------------------------------- sweep


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_a_sweep_finds_what_one_run_after_the_other_finds(world: History, threads: int) -> None:
    outcomes = sweep(world, POINTS, cash=CASH, threads=threads)
    assert len(outcomes) == len(POINTS)
    for (rules, costs), outcome in zip(POINTS, outcomes, strict=True):
        run = simulate(world, rules, costs, cash=CASH)
        figures = {figure.name: figure.value for figure in measure(world, run)}
        assert outcome.total_return == run.equity[-1] / CASH - 1
        assert outcome.trades == len(run.trades)
        assert outcome.sharpe == figures["sharpe"]
    assert {outcome.trades for outcome in outcomes if outcome.sharpe is None} == {0}


def test_no_points_and_no_sessions_come_to_nothing(world: History) -> None:
    assert sweep(world, [], cash=CASH, threads=2) == ()
    empty = walk(1, 0, 2)
    (outcome,) = sweep(empty, POINTS[:1], cash=CASH, threads=2)
    assert (outcome.total_return, outcome.sharpe, outcome.trades) == (0.0, None, 0)


def test_progress_is_told_in_the_callers_thread_and_in_order(world: History) -> None:
    told: list[Any] = []

    def note(done: int, of: int) -> None:
        told.append((done, of, threading.current_thread()))

    sweep(world, POINTS, cash=CASH, threads=2, progress=note)
    here = threading.current_thread()
    assert told == [(i + 1, len(POINTS), here) for i in range(len(POINTS))]


def test_an_interrupted_sweep_runs_no_more_of_its_points(world: History) -> None:
    ran: list[int] = []

    class Watched(tuple[Any, ...]):
        """A point that notes when it is taken apart, which its run does."""

        __slots__ = ()

        def __iter__(self) -> Any:
            ran.append(1)
            return super().__iter__()

    def stop(_done: int, _of: int) -> None:
        raise KeyboardInterrupt

    points: Any = [Watched(POINTS[0])] * 2000
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        sweep(world, points, cash=CASH, threads=2, progress=stop)
    assert 1 <= len(ran) < 1000
    assert threading.active_count() == before


def test_what_a_run_traded_is_not_kept(world: History) -> None:
    def peak(points: Any) -> int:
        tracemalloc.start()
        sweep(world, points, cash=CASH, threads=2)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    busy = (Rules(min_score=0.0, keep_chosen=False), Costs())
    run = simulate(world, *busy, cash=CASH)
    peak([busy] * 4)
    size = run.fills.nbytes + run.trades.nbytes + run.equity.nbytes + run.invested.nbytes
    assert peak([busy] * 200) - peak([busy] * 20) < 5 * size


# ------------------------------------------------------------------------------------- grids


def test_the_grid_holds_every_sensible_choice_and_the_one_that_was_made(world: History) -> None:
    points = grid(world, Rules(top_k=4, hold=15), Costs(), cash=CASH, threads=2)
    # Eight names of six cannot be chosen; a hold of five minutes is over before the next decision.
    expected = product((1, 2, 3, 4, 5), (10, 15, 20, 30, 60), (0.0, 1.0, 2.0, 5.0))
    assert [(p.top_k, p.hold, p.cost_bps) for p in points] == list(expected)


def test_holds_longer_than_a_session_are_left_out() -> None:
    short = walk(2, 2, 3, minutes=30)
    points = grid(short, Rules(interval=5, hold=5), Costs(), cash=CASH, threads=1)
    assert {p.hold for p in points} == {5, 10, 20}


def test_the_grids_own_point_is_the_run_itself(world: History) -> None:
    rules, costs = Rules(), Costs(half_spread_bps=0.7, slippage_bps=0.6, commission_bps=0.1)
    run = simulate(world, rules, costs, cash=CASH)
    (own,) = (
        p
        for p in grid(world, rules, costs, cash=CASH, threads=2)
        if (p.top_k, p.hold, p.cost_bps) == (3, 10, 0.7 + 0.6)
    )
    assert own.total_return == run.equity[-1] / CASH - 1
    assert own.trades == len(run.trades) > 0


def test_each_point_has_the_slots_that_follow_from_it(world: History) -> None:
    rules = Rules(interval=10, max_positions=6, slots=99)
    points = grid(world, rules, UNTAXED, cash=CASH, threads=2, cost_bps=(2.0,))
    for point in points:
        # A name is held for hold / 10 decisions, each of which chooses top_k, of six at most.
        slots = min(6, point.top_k * -(-point.hold // 10))
        chosen = rules._replace(top_k=point.top_k, hold=point.hold, slots=slots)
        run = simulate(world, chosen, UNTAXED, cash=CASH)
        assert point.total_return == pytest.approx(run.equity[-1] / CASH - 1, abs=1e-12), point


def test_the_no_trade_band_follows_the_cost(world: History) -> None:
    # Every name is expected to earn 7 bps: more than a round trip at 3 bps a side, less at 5.
    rules = Rules(edge_over_cost=True, min_score=0.0)
    points = ladder(world, rules, UNTAXED, cash=CASH, threads=2)
    assert [p.trades > 0 for p in points] == [p.cost_bps <= 3 for p in points]


def test_the_ladder_asks_the_same_rules_at_every_cost(world: History) -> None:
    points = ladder(world, Rules(), Costs(half_spread_bps=9.0), cash=CASH, threads=2)
    assert [p.cost_bps for p in points] == [0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0]
    assert {(p.top_k, p.hold) for p in points} == {(3, 10)}
    for point in points:
        costs = Costs(half_spread_bps=0.0, slippage_bps=point.cost_bps)
        run = simulate(world, Rules(), costs, cash=CASH)
        assert point.total_return == pytest.approx(run.equity[-1] / CASH - 1, abs=1e-12)
    returns = [p.total_return for p in points]
    assert returns == sorted(returns, reverse=True)


def test_the_ladder_crosses_nothing_earned_at_the_break_even_cost() -> None:
    history = walk(3, 20, 10, knowing=0.15)
    run = simulate(history, Rules(min_score=0.0), UNTAXED, cash=CASH)
    figures = {figure.name: figure.value for figure in measure(history, run)}
    at = figures["break_even_bps"]
    assert at is not None
    assert at > 0.5
    below, even, above = ladder(
        history,
        Rules(min_score=0.0),
        UNTAXED,
        cash=CASH,
        threads=2,
        cost_bps=(0.5 * at, at, 1.5 * at),
    )
    assert below.total_return > 0 > above.total_return
    # First order: what costs take from what could be invested later is left out.
    assert abs(even.total_return) < 0.1 * (below.total_return - above.total_return)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    top_k=st.integers(1, 12),
    hold=st.integers(1, 500),
    interval=st.integers(1, 60),
)
def test_any_rules_have_a_grid_with_their_own_point(
    seed: int, top_k: int, hold: int, interval: int
) -> None:
    history = walk(seed, 1, 3, minutes=210)
    rules = Rules(interval=interval, top_k=top_k, hold=hold)
    points = grid(history, rules, Costs(), cash=CASH, threads=2, cost_bps=())
    own = [p for p in points if (p.top_k, p.hold, p.cost_bps) == (top_k, hold, 2.0)]
    assert len(own) == 1
    assert all(p.top_k <= max(3, top_k) for p in points)
    assert all(np.isfinite(p.total_return) for p in points)
