"""Nothing that happens after a minute changes what was decided in it, in either engine.

The simulator's and the model's own tests show that scores know nothing of later minutes; here they
are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from backtest_worlds import FREE, FULL, HALF, World, make_history, randomised_after, worlds
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from alpaca_strategy.backtest.cerebro import run_cerebro
from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.result import Run
from alpaca_strategy.strategy.rules import Rules

ENGINES = [simulate, run_cerebro]
Engine = Callable[..., Run]
patient = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def run(engine: Engine, world: World, history: History) -> Run:
    return engine(history, world.rules, world.costs, cash=world.cash)


def assert_same_until(one: Run, other: Run, row: int) -> int:
    """Assert that two runs are the same bits until a row's close; return their executions."""
    past, others = (run.fills[run.fills["row"] <= row] for run in (one, other))
    assert past.tobytes() == others.tobytes()
    ended, also = (run.trades[run.trades["exit_row"] <= row] for run in (one, other))
    assert ended.tobytes() == also.tobytes()
    assert one.equity[: row + 1].tobytes() == other.equity[: row + 1].tobytes()
    assert one.invested[: row + 1].tobytes() == other.invested[: row + 1].tobytes()
    return len(past)


both_engines = pytest.mark.parametrize(
    ("engine", "examples"), [(simulate, 60), (run_cerebro, 15)], ids=["compiled", "backtrader"]
)


@both_engines
def test_the_future_changes_nothing_of_the_past(engine: Engine, examples: int) -> None:
    compared: list[int] = []

    @settings(patient, max_examples=examples)
    @given(worlds(), st.floats(0.1, 0.99), st.integers(0, 2**32 - 1))
    def compare(world: World, share: float, seed: int) -> None:
        row = int(share * len(world.history.close))
        other = randomised_after(world.history, row, seed)
        compared.append(
            assert_same_until(run(engine, world, world.history), run(engine, world, other), row)
        )

    compare()
    assert sum(compared) > 100


@both_engines
def test_what_a_minute_orders_does_not_depend_on_the_next_open(
    engine: Engine, examples: int
) -> None:
    """Orders show where they are filled: here in a next minute in which all are, at once."""

    @settings(patient, max_examples=examples)
    @given(worlds(), st.floats(0.0, 0.99), st.integers(0, 2**32 - 1))
    def compare(world: World, share: float, seed: int) -> None:
        # Few shares, so that no price of these makes them too dear for the cash.
        rules = world.rules._replace(exposure=0.3, slots=8)
        filled = simulate(world.history, rules, FREE, cash=1e7).fills["row"]
        assume(len(filled))
        row = int(filled[int(share * len(filled))]) - 1
        last = world.history.last_prices()[row]
        fills = []
        for prices in (seed, seed + 1):
            history = randomised_after(world.history, row, prices)
            factor = np.random.default_rng(prices).uniform(0.9, 1.1, len(last))
            for panel in (history.open, history.high, history.low, history.close):
                panel[row + 1] = np.where(np.isnan(last), 100.0, last) * factor
            after = engine(history, rules, FREE, cash=1e7).fills
            fills.append(after[after["row"] == row + 1])
        one, other = fills
        assert one[["symbol", "shares"]].tolist() == other[["symbol", "shares"]].tolist()
        assert len(one) > 0

    compare()


def test_randomising_the_future_does_change_the_future() -> None:
    """Otherwise the tests above would compare a history with itself."""
    history = make_history(2, [FULL, HALF], 4)
    rules = Rules(trend=False, momentum=False, min_rsi=0.0)
    one, other = (
        simulate(which, rules, FREE, cash=1e5)
        for which in (history, randomised_after(history, 99, 8))
    )
    with pytest.raises(AssertionError):
        assert_same_until(one, other, 150)


# ---------------------------------------------------------------------------- scores of tomorrow
def sharpe(history: History, run: Run) -> float:
    """Return the annualised Sharpe ratio of the sessions' returns, without interest."""
    closes = np.concatenate([[run.cash], run.equity[history.first_row[1:] - 1]])
    returns = closes[1:] / closes[:-1] - 1
    return float(returns.mean() / returns.std(ddof=1) * np.sqrt(252))


def foreseeing(history: History, minutes: int) -> Any:
    """Return scores that rank the names by what they will earn over the next minutes."""
    gain = np.full(history.close.shape, np.nan)
    gain[: -minutes - 1] = history.close[1 + minutes :] / history.open[1:-minutes] - 1
    return np.argsort(np.argsort(gain, axis=1), axis=1) / (gain.shape[1] - 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_strategy_that_knows_tomorrow_earns_what_nobody_earns(engine: Engine) -> None:
    history = make_history(4, [FULL] * 12, 10)
    rules = Rules(trend=False, momentum=False, min_rsi=0.0)
    honest = engine(history, rules, FREE, cash=1e6)
    history.scores[:] = foreseeing(history, 9)
    leaking = engine(history, rules, FREE, cash=1e6)
    assert sharpe(history, leaking) > 15
    assert leaking.equity[-1] > 1.5 * 1e6
    assert abs(sharpe(history, honest)) < 8
