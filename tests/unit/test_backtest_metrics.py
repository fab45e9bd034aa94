"""The figures of a backtest: hand calculations, how sure they are, and what must always hold."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alpaca_strategy.backtest import ratios
from alpaca_strategy.backtest.content import Figure
from alpaca_strategy.backtest.doubts import warnings_of
from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.intervals import interval
from alpaca_strategy.backtest.metrics import (
    CATALOGUE,
    _mean,
    _sharpe,
    benchmark_equity,
    gross_returns,
    measure,
    session_returns,
)
from alpaca_strategy.backtest.result import FILL, TRADE, Run
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

CASH = 100_000.0
NAN = np.nan
#: Every name may be bought, whatever its price did.
EAGER = Rules(min_score=0.0, trend=False, momentum=False, min_rsi=0.0)


def history_of(
    close: Any,
    minutes: Any = None,
    *,
    scores: Any = None,
    splits: dict[tuple[int, int], float] | None = None,
) -> History:
    """Build a history whose bars open where the minute before closed."""
    close = np.array(close, np.float64)
    minutes = [len(close)] if minutes is None else minutes
    opened = np.concatenate([close[:1], close[:-1]])
    opened = np.where(np.isnan(close), NAN, np.where(np.isnan(opened), close, opened))
    names, days = close.shape[1], len(minutes)
    factor = np.ones((days, names))
    for (session, symbol), value in (splits or {}).items():
        factor[session, symbol] = value
        opened[sum(minutes[:session]), symbol] = close[sum(minutes[:session]), symbol]
    return History(
        symbols=tuple(f"S{i}" for i in range(names)),
        sessions=tuple(date(2026, 1, 5) + timedelta(days=i) for i in range(days)),
        first_row=np.concatenate([[0], np.cumsum(minutes)]).astype(np.int64),
        open=opened,
        high=np.fmax(opened, close),
        low=np.fmin(opened, close),
        close=close,
        volume=np.where(np.isnan(close), 0.0, 1e6),
        scores=np.full(close.shape, NAN) if scores is None else np.asarray(scores, np.float64),
        expected_bps=np.full(close.shape, NAN),
        split_factor=factor,
    )


def walk(seed: int, days: int, names: int, *, minutes: int = 390) -> History:
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 5e-4, (days * minutes, names))
    close = np.round(rng.uniform(60, 400, names) * np.exp(steps.cumsum(axis=0)), 2)
    return history_of(close, [minutes] * days, scores=rng.random(close.shape))


def run_of(equity: Any, fills: Any = (), trades: Any = (), invested: Any = None) -> Run:
    equity = np.array(equity, np.float64)
    return Run(
        cash=CASH,
        fills=np.array(list(fills), FILL),
        trades=np.array(list(trades), TRADE),
        equity=equity,
        invested=np.zeros(len(equity)) if invested is None else np.array(invested, np.float64),
    )


def by_name(figures: tuple[Figure, ...]) -> dict[str, Figure]:
    assert [figure.name for figure in figures] == list(CATALOGUE)
    return {figure.name: figure for figure in figures}


# --------------------------------------------------------------------------------- intervals


def test_the_interval_of_a_mean_is_about_students() -> None:
    x = np.random.default_rng(1).normal(2.0, 3.0, 25)
    ends = interval(np.stack([x, np.ones(25)], axis=1), _mean)
    assert ends is not None
    low, high = stats.t.interval(0.95, 24, x.mean(), x.std(ddof=1) / 5)
    assert ends == (pytest.approx(low, abs=0.2), pytest.approx(high, abs=0.2))


def test_the_interval_of_a_sharpe_ratio_is_about_the_one_that_theory_gives() -> None:
    close = CASH * np.cumprod(1 + np.random.default_rng(2).normal(0.001, 0.01, 252))
    history = history_of(np.full((252, 1), 50.0), [1] * 252)
    figure = by_name(measure(history, run_of(close)))["sharpe"]
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    # Lo (2002), The Statistics of Sharpe Ratios, equation 9: of independent normal returns.
    error = np.sqrt((1 + 0.5 * (figure.value**2 / 252)) / 252) * np.sqrt(252)
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * error, rel=0.2)
    assert figure.low < figure.value < figure.high


@pytest.mark.parametrize(("sessions", "least"), [(10, 0.90), (60, 0.92), (150, 0.92)])
def test_intervals_hold_the_truth_about_as_often_as_they_promise(
    sessions: int, least: float
) -> None:
    held = 0
    for seed in range(400):
        x = np.random.default_rng(seed).standard_t(6, sessions) * 0.01 + 0.001
        ends = interval(np.stack([x, np.ones(sessions)], axis=1), _mean)
        held += ends is not None and ends[0] <= 0.001 <= ends[1]
    assert least <= held / 400 <= 0.985


def test_weeks_are_drawn_of_many_sessions_so_that_what_lasts_for_days_counts() -> None:
    # Each week is all gain or all loss: 40 weeks say no more than 40 sessions do.
    weeks = np.random.default_rng(4).normal(0.0, 0.01, 40)
    apart, together = (
        interval(np.stack([x, np.ones(len(x))], axis=1), _mean)
        for x in (weeks, np.repeat(weeks, 5))
    )
    assert apart is not None
    assert together is not None
    assert together == (pytest.approx(apart[0], rel=0.05), pytest.approx(apart[1], rel=0.05))


def test_the_ratio_that_is_drawn_is_the_ratio_that_is_shown() -> None:
    returns = np.random.default_rng(6).normal(0.001, 0.01, 40)
    sums = np.array([returns.sum(), (returns**2).sum(), 40.0])
    assert _sharpe(sums) == pytest.approx(ratios.sharpe(returns), rel=1e-12)


def test_sessions_without_trades_make_a_mean_profit_no_surer() -> None:
    x = np.random.default_rng(7).normal(2.0, 3.0, 12)
    traded = np.stack([x, np.ones(12)], axis=1)
    idle = np.zeros((12, 2))
    ends = [interval(rows, _mean) for rows in (traded, np.concatenate([idle, traded, idle]))]
    assert ends[0] == ends[1] is not None


def test_what_no_draw_can_change_has_no_interval() -> None:
    assert interval(np.empty((0, 2)), _mean) is None
    assert interval(np.ones((1, 2)), _mean) is None
    assert interval(np.ones((20, 2)), _mean) is None  # every trade won


# ------------------------------------------------------------------------- figures by hand


@pytest.fixture
def hand_made() -> tuple[History, Run]:
    """Two sessions of four minutes; one trade that wins 390 USD, and one that loses 210."""
    close = [
        [100.0, 50.0], [101.0, 50.0], [102.0, 50.0], [104.0, 49.0],
        [104.0, NAN], [104.0, 49.0], [104.0, 48.0], [104.0, 48.0],
    ]  # fmt: skip
    fills = [
        (1, 0, 200.0, 100.0, 0.0, 4.0), (3, 0, -200.0, 102.0, 6.0, 4.0),
        (5, 1, 200.0, 49.0, 0.0, 2.0), (7, 1, -200.0, 48.0, 8.0, 2.0),
    ]  # fmt: skip
    trades = [
        (0, 1, 3, 200.0, 100.0, 102.0, 14.0, 394.0, 0.9, 4),
        (1, 5, 7, 200.0, 49.0, 48.0, 12.0, -208.0, 0.8, 4),
    ]
    equity = [100_000, 100_200, 100_400, 100_394, 100_394, 100_394, 100_194, 100_186]
    invested = [0, 20_200, 20_400, 0, 0, 9_800, 9_600, 0]
    return history_of(close, [4, 4]), run_of(equity, fills, trades, invested)


def test_every_figure_of_a_run_that_can_be_followed_by_hand(hand_made: Any) -> None:
    history, run = hand_made
    figures = by_name(measure(history, run))
    traded = 200 * (100 + 102 + 49 + 48)
    first, second = 394 / 100_000, -208 / 100_394
    cost = (14 / 100_000, 12 / 100_394)
    # Half of 100,000 USD in each at 100 and 50; at 104 and 49 the next day, 101,000 in all.
    market = (0.01, 0.5 * (104 / 104) + 0.5 * (48 / 49) - 1)
    expected = {
        "final_value": 100_186.0,
        "total_return": 0.00186,
        "annual_volatility": np.std([first, second], ddof=1) * np.sqrt(252),
        "sharpe": np.mean([first, second]) / np.std([first, second], ddof=1) * np.sqrt(252),
        "sortino": np.mean([first, second]) / np.sqrt(second**2 / 2) * np.sqrt(252),
        "max_drawdown": 100_186 / 100_400 - 1,
        "max_drawdown_minutes": 5,
        "value_at_risk": second + 0.05 * (first - second),
        "conditional_value_at_risk": second,
        "trades": 2,
        "win_rate": 0.5,
        "profit_factor": 394 / 208,
        "mean_profit": 93.0,
        "best_trade": 394.0,
        "worst_trade": -208.0,
        "mean_minutes_held": 2.0,
        "turnover": traded / 2 / np.mean(run.equity),
        "exposure": (20_200 / 100_200 + 20_400 / 100_400 + 9_800 / 100_394 + 9_600 / 100_194) / 8,
        "gross_return": (1 + first + cost[0]) * (1 + second + cost[1]) - 1,
        "total_cost": 26.0,
        "cost_bps": 26 / traded * 1e4,
        "break_even_bps": (186 + 26) / traded * 1e4,
        "benchmark_return": (1 + market[0]) * (1 + market[1]) - 1,
        "benchmark_sharpe": np.mean(market) / np.std(market, ddof=1) * np.sqrt(252),
        "beta": (first - second) / (market[0] - market[1]),
        "carried_overnight": 0,
        "sessions": 2,
    }
    for name, value in expected.items():
        assert figures[name].value == pytest.approx(value, rel=1e-9), name
    for name in ("annual_return", "calmar", "alpha"):
        assert figures[name].value is None, name  # a year made of two days
    assert session_returns(history, run) == pytest.approx([first, second])


def test_a_run_without_trades_has_no_figure_of_trades() -> None:
    history = walk(1, 25, 2)
    run = simulate(history, EAGER._replace(min_score=2.0), Costs(), cash=CASH)
    figures = by_name(measure(history, run))
    assert figures["final_value"].value == CASH
    assert figures["total_return"].value == figures["gross_return"].value == 0.0
    assert figures["trades"].value == figures["turnover"].value == figures["exposure"].value == 0.0
    for name in (
        "sharpe", "sortino", "calmar", "win_rate", "profit_factor", "mean_profit", "best_trade",
        "worst_trade", "mean_minutes_held", "cost_bps", "break_even_bps", "probabilistic_sharpe",
    ):  # fmt: skip
        assert figures[name] == Figure(name, None), name
    assert warnings_of(measure(history, run), simulated=False, in_sample=False) == (
        "No trade was made, so there is nothing to judge.",
    )


def test_one_trade_has_figures_but_nothing_says_how_sure_they_are(hand_made: Any) -> None:
    history, run = hand_made
    one = Run(run.cash, run.fills[:2], run.trades[:1], run.equity, run.invested)
    figures = by_name(measure(history, one))
    assert figures["win_rate"] == Figure("win_rate", 1.0)
    assert figures["mean_profit"] == Figure("mean_profit", 394.0)
    assert figures["profit_factor"].value is None  # nothing was lost
    assert figures["best_trade"].value == figures["worst_trade"].value == 394.0


def test_one_session_has_returns_but_no_risk() -> None:
    history = walk(2, 1, 3)
    run = simulate(history, EAGER._replace(keep_chosen=False), Costs(), cash=CASH)
    figures = by_name(measure(history, run))
    assert len(run.trades) > 10
    assert figures["total_return"].value == pytest.approx(run.equity[-1] / CASH - 1)
    assert figures["total_return"].low is None
    for name in ("annual_return", "annual_volatility", "sharpe", "beta", "probabilistic_sharpe"):
        assert figures[name] == Figure(name, None), name


def test_a_history_without_sessions_has_figures_of_nothing() -> None:
    history = history_of(np.empty((0, 2)), [])
    figures = by_name(measure(history, run_of([])))
    assert figures["final_value"].value == CASH
    assert figures["benchmark_return"].value is None
    assert figures["turnover"].value is None


def test_no_figure_is_ever_nan_or_infinite_not_even_of_equity_that_is() -> None:
    history = walk(3, 3, 2)
    run = run_of(np.where(np.arange(1170) > 900, NAN, CASH))
    for figure in measure(history, run):
        for value in (figure.value, figure.low, figure.high):
            assert value is None or np.isfinite(value), figure


def test_a_bankrupt_run_says_so() -> None:
    close = np.full((390, 1), 100.0)
    close[200:] = 0.2
    history = history_of(close, scores=np.ones(close.shape))
    rules = EAGER._replace(exposure=1.0, slots=1, top_k=1)
    run = simulate(history, rules, Costs(participation=0.0), cash=CASH)
    figures = measure(history, run)
    assert by_name(figures)["total_return"].value == pytest.approx(-0.998, abs=1e-3)
    assert by_name(figures)["max_drawdown"].value == pytest.approx(-0.998, abs=1e-3)
    said = warnings_of(figures, simulated=False, in_sample=False)
    assert any(line.startswith("Bankrupt") for line in said)


def test_what_happens_after_everything_was_lost_is_no_return() -> None:
    history = history_of(np.full((4, 1), 10.0), [1, 1, 1, 1])
    assert session_returns(history, run_of([50_000, 0, 0, 0])) == pytest.approx([-0.5, -1, 0, 0])
    figures = by_name(measure(history, run_of([50_000, 0, 0, 0])))
    assert figures["total_return"].value == -1.0


def test_prices_that_end_before_the_session_leave_the_last_ones_in_force() -> None:
    close = np.array([[100.0, 10.0], [110.0, 10.0], [NAN, NAN], [NAN, NAN]])
    history = history_of(close, [4], scores=np.ones((4, 2)))
    figures = by_name(measure(history, run_of([CASH] * 4)))
    assert figures["benchmark_return"].value == pytest.approx(0.05)
    rules = EAGER._replace(interval=1, flat_minutes=0, top_k=1, slots=1)
    history = history_of(close[:, :1], [4], scores=np.ones((4, 1)))
    run = simulate(history, rules, Costs(participation=0.0), cash=CASH)
    figures = by_name(measure(history, run))
    assert figures["carried_overnight"].value == 1
    assert figures["final_value"].value == pytest.approx(run.equity[1])


def test_half_days_count_as_sessions_and_their_minutes_as_minutes() -> None:
    rng = np.random.default_rng(8)
    rows = 390 + 210 + 390
    close = 100 * np.exp(rng.normal(0, 1e-3, (rows, 2)).cumsum(axis=0))
    history = history_of(close, [390, 210, 390], scores=rng.random((rows, 2)))
    run = simulate(history, EAGER, Costs(), cash=CASH)
    ends = run.equity[[389, 599, 989]]
    assert session_returns(history, run) == pytest.approx(
        [ends[0] / CASH - 1, ends[1] / ends[0] - 1, ends[2] / ends[1] - 1]
    )
    assert by_name(measure(history, run))["carried_overnight"].value == 0


def test_positions_over_the_night_are_counted_by_night_and_through_splits() -> None:
    history = history_of(np.full((3, 2), 100.0), [1, 1, 1], splits={(1, 0): 3.0, (2, 1): 0.1})
    fills = [
        (0, 0, 7.0, 100.0, 0.0, 0.0),
        (0, 1, 10.0, 100.0, 0.0, 0.0),
        (1, 0, -21.0, 33.3, 0.0, 0.0),
        (2, 1, -1.0, 1000.0, 0.0, 0.0),
    ]
    # After the first session both, after the second the other one alone, then none.
    run = run_of([CASH] * 3, fills)
    assert by_name(measure(history, run))["carried_overnight"].value == 3
    # What is still held when history ends counts too.
    run = run_of([CASH] * 3, fills[:3])
    assert by_name(measure(history, run))["carried_overnight"].value == 4


# --------------------------------------------------------------------------------- benchmark


def test_the_benchmark_of_one_symbol_is_its_price_through_nights_and_splits() -> None:
    close = [[50.0], [55.0], [22.0], [20.0], [NAN], [30.0]]
    history = history_of(close, [2, 2, 2], splits={(1, 0): 2.5})
    equity = benchmark_equity(history, CASH)
    # 22 USD after the split is 55 before it; the minute without a price keeps the last one.
    assert equity == pytest.approx(CASH * np.array([1, 1.1, 1.1, 1.0, 1.0, 1.5]))


def test_the_benchmark_is_balanced_at_the_start_of_every_session() -> None:
    history = history_of([[10.0, 20.0], [20.0, 20.0], [20.0, 30.0], [40.0, 30.0]], [2, 2])
    equity = benchmark_equity(history, 100.0)
    # 5 and 2.5 shares; 150 USD at the close, 175 the next morning, half of which then doubles.
    assert equity == pytest.approx([100.0, 150.0, 175.0, 87.5 * 2 + 87.5])


def test_a_symbol_joins_the_benchmark_when_it_has_a_price_at_a_sessions_start() -> None:
    history = history_of([[10.0, NAN], [10.0, 50.0], [11.0, 100.0], [11.0, 200.0]], [2, 2])
    equity = benchmark_equity(history, 100.0)
    assert equity == pytest.approx([100.0, 100.0, 110.0, 55.0 + 110.0])


def test_the_benchmark_without_any_price_is_cash() -> None:
    assert benchmark_equity(history_of(np.full((3, 2), NAN)), 100.0) == pytest.approx([100.0] * 3)


# ------------------------------------------------------------------------ what always holds


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    days=st.integers(1, 5),
    names=st.integers(1, 6),
    minutes=st.sampled_from([210, 390]),
    flat=st.sampled_from([0, 5]),
    cost=st.floats(0.0, 20.0),
    whole=st.booleans(),
)
def test_figures_agree_with_each_other(
    seed: int, days: int, names: int, minutes: int, flat: int, cost: float, whole: bool
) -> None:
    history = walk(seed, days, names, minutes=minutes)
    rules = EAGER._replace(flat_minutes=flat, whole_shares=whole, top_k=2)
    run = simulate(history, rules, Costs(half_spread_bps=cost), cash=CASH)
    of = {figure.name: figure.value for figure in measure(history, run)}
    net, gross = session_returns(history, run), gross_returns(history, run)

    assert np.prod(1 + net) - 1 == pytest.approx(run.equity[-1] / CASH - 1, abs=1e-12)
    assert of["total_return"] == pytest.approx(run.equity[-1] / CASH - 1)
    before = np.concatenate([[CASH], run.equity[history.first_row[1:-1] - 1]])
    assert (gross - net) @ before == pytest.approx(of["total_cost"])
    assert np.all(gross >= net)
    assert of["gross_return"] >= of["total_return"]

    held = run.invested[history.first_row[1:] - 1] > 0
    assert (of["carried_overnight"] > 0) == held.any()
    if not held.any():
        assert run.trades["profit"].sum() == pytest.approx(run.equity[-1] - CASH, abs=1e-6)
        assert run.trades["cost"].sum() == pytest.approx(of["total_cost"])
    if of["trades"]:
        traded = np.sum(np.abs(run.fills["shares"]) * run.fills["price"])
        earned = (run.equity[-1] - CASH) / traded * 1e4
        assert of["break_even_bps"] - of["cost_bps"] == pytest.approx(earned, abs=1e-6)
    assert 0.0 <= of["exposure"] <= 1.0 + 1e-12
    assert -1.0 <= of["max_drawdown"] <= min(0.0, of["total_return"])
    assert 0 <= of["max_drawdown_minutes"] <= days * minutes


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=40))
def test_intervals_are_in_order(returns: list[float]) -> None:
    history = history_of(np.full((len(returns), 1), 10.0), [1] * len(returns))
    for figure in measure(history, run_of(CASH * np.cumprod(1 + np.array(returns)))):
        assert (figure.low is None) == (figure.high is None)
        if figure.low is not None:
            assert figure.value is not None
            assert figure.low <= figure.high  # type: ignore[operator]


def test_the_same_run_has_the_same_figures() -> None:
    history = walk(4, 6, 4)
    run = simulate(history, EAGER, Costs(), cash=CASH)
    assert measure(history, run) == measure(history, run)


# ------------------------------------------------------------------------------- many trials


def test_the_more_was_tried_the_less_a_sharpe_ratio_is_worth() -> None:
    equity = CASH * np.cumprod(1 + np.random.default_rng(2).normal(0.001, 0.01, 252))
    history, run = history_of(np.full((252, 1), 50.0), [1] * 252), run_of(equity)
    spread = tuple(np.random.default_rng(0).normal(0.0, 1.0, 100))
    once, often, known = (
        by_name(measure(history, run, **options))
        for options in ({}, {"trials": 100}, {"trials": 100, "trial_sharpes": (*spread, None)})
    )
    assert once["deflated_sharpe"].value == once["probabilistic_sharpe"].value
    record = ratios.record(session_returns(history, run))
    by_chance = ratios.deflated_sharpe(record, 100, 1 / 251)
    assert often["deflated_sharpe"].value == pytest.approx(by_chance)
    by_trials = ratios.deflated_sharpe(record, 101, np.var(spread, ddof=1) / 252)
    assert known["deflated_sharpe"].value == pytest.approx(by_trials)
    assert by_chance < once["probabilistic_sharpe"].value  # type: ignore[operator]


# --------------------------------------------------------------------------------- warnings


def figures_with(**values: float) -> tuple[Figure, ...]:
    good = {"sharpe": 1.5, "total_return": 0.1, "sessions": 60, "trades": 500}
    return tuple(Figure(name, (good | values).get(name)) for name in CATALOGUE)


def test_a_sound_run_is_shown_without_a_warning() -> None:
    assert warnings_of(figures_with(), simulated=False, in_sample=False) == ()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sharpe": 3.4}, "The Sharpe ratio of 3.4 is above 3, which is probably a leak: look for"),
        (
            {"gross_sharpe": 6.2},
            "The Sharpe ratio of 6.2 before costs is above 3, which",
        ),
        ({"sessions": 19}, "Only 19 sessions: fewer than 20"),
        ({"trades": 29}, "Only 29 trades: fewer than 30"),
        ({"trades": 0}, "No trade was made"),
        ({"carried_overnight": 2}, "Positions were held over a session's end, 2 in all"),
        ({"total_return": -0.995}, "Bankrupt: less than 1 % of the starting cash"),
    ],
)
def test_each_reason_to_doubt_is_said_once(values: dict[str, float], said: str) -> None:
    (line,) = warnings_of(figures_with(**values), simulated=False, in_sample=False)
    assert line.startswith(said)


def test_figures_in_sample_are_watermarked_first() -> None:
    said = warnings_of(figures_with(sharpe=9.0), simulated=False, in_sample=True)
    assert [line.split(":")[0][:9] for line in said] == ["In-sample", "The Sharp"]


@pytest.mark.parametrize("simulated", [True, False])
def test_a_strategy_that_is_given_tomorrows_scores_is_caught(simulated: bool) -> None:
    blind = walk(11, 25, 10)
    later = np.vstack([blind.close[12:], np.repeat(blind.close[-1:], 12, axis=0)])
    knowing = history_of(
        blind.close, [390] * 25, scores=1 / (1 + np.exp(-1e3 * (later / blind.close - 1)))
    )
    for history, caught in ((knowing, True), (blind, False)):
        figures = measure(history, simulate(history, Rules(), Costs(), cash=CASH))
        said = " ".join(warnings_of(figures, simulated=simulated, in_sample=False))
        assert ("look-ahead" in said) == caught
        assert ("planted signal" in said) == (caught and simulated)
        assert ("probably a leak" in said) == (caught and not simulated)


# ------------------------------------------------------------------------------ the catalogue


def test_every_figure_is_described_for_a_reader() -> None:
    for name, description in CATALOGUE.items():
        assert description.title[0].isupper(), name
        assert description.meaning.endswith("."), name
        assert ". " not in description.meaning, name  # one sentence
        assert 0 <= description.digits <= 4, name


def test_a_year_of_minutes_is_measured_in_three_seconds() -> None:
    history = walk(12, 252, 30)
    run = simulate(history, Rules(), Costs(), cash=CASH)
    begun = time.perf_counter()
    measure(history, run)
    assert time.perf_counter() - begun < 3.0
