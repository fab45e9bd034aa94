"""Ratios of session returns: published cases, known traps, drawdowns, and how sure a ratio is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alpaca_strategy.backtest import ratios

CASH = 100_000.0
NAN = np.nan

# ----------------------------------------------------------------------------- published cases

#: Of metrics that we do not have.
ABSENT = {
    "simple_returns": 2,
    "cum_returns": 4,
    "aggregate_returns": 8,
    "omega_ratio": 9,
    "stability_of_timeseries": 4,
    "tail_ratio": 3,
    "capture": 4,
    "up_capture": 5,
    "down_capture": 5,
    "up_down_capture": 5,
}
PERIODS = {"daily": 252, "weekly": 52, "monthly": 12, "yearly": 1}


def windows(function: Callable[[Any], float], returns: Any, window: int) -> list[float]:
    return [function(returns[i : i + window]) for i in range(len(returns) - window + 1)]


PUBLISHED: dict[str, Callable[[Any, Any, dict[str, Any]], Any]] = {
    "cum_returns_final": lambda r, _, a: (
        ratios.total_return(r)
        if a["starting_value"] == 0
        else a["starting_value"] * (1 + ratios.total_return(r))
    ),
    "annual_return": lambda r, _, a: ratios.annual_return(r, a["year"]),
    "cagr": lambda r, _, a: ratios.annual_return(r, a["year"]),
    "annual_volatility": lambda r, _, a: ratios.annual_volatility(r, a["year"]),
    "sharpe_ratio": lambda r, _, a: ratios.sharpe(r),
    "excess_sharpe": lambda r, _, a: ratios.sharpe(r, 1),
    "downside_risk": lambda r, _, a: ratios.downside_risk(r, a["year"]),
    "sortino_ratio": lambda r, _, a: ratios.sortino(r, a["year"]),
    "max_drawdown": lambda r, _, a: ratios.max_drawdown(r),
    "calmar_ratio": lambda r, _, a: ratios.calmar(r, a["year"]),
    "value_at_risk": lambda r, _, a: ratios.value_at_risk(r, a["cutoff"]),
    "beta": lambda r, m, a: ratios.beta(r, m),
    "alpha": lambda r, m, a: ratios.alpha(r, m),
    "alpha_beta": lambda r, m, a: [ratios.alpha(r, m), ratios.beta(r, m)],
    "roll_sharpe_ratio": lambda r, _, a: windows(ratios.sharpe, r, a["window"]),
    "roll_max_drawdown": lambda r, _, a: windows(ratios.max_drawdown, r, a["window"]),
}


def published(shared_data: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    path = shared_data / "oracles" / "metrics_oracle_empyrical_tests.json"
    content = json.loads(path.read_text())
    return content["cases"], content["series"]


def series_of(value: Any, series: dict[str, Any]) -> Any:
    """Return an argument of a case as pandas has it: a series, a frame, or what it is."""
    if isinstance(value, list):
        return pd.Series(np.array(value, np.float64))
    if not isinstance(value, dict):
        return value
    stored = series[value["series"]]
    index = pd.to_datetime(stored["index"], utc=True)
    if "columns" in stored:
        frame = {name: np.array(x, np.float64) for name, x in stored["columns"].items()}
        return pd.DataFrame(frame, index=index)
    return pd.Series(np.array(stored["values"], np.float64), index=index)


def ours(case: dict[str, Any], series: dict[str, Any]) -> Any:
    """Return what our function says of a case; what is subtracted is so by date."""
    args = {name: series_of(value, series) for name, value in case["args"].items()}
    args["year"] = PERIODS[args.pop("period", "daily")]
    returns = args.pop("returns")
    for name in ("risk_free", "required_return"):
        if name in args:
            returns = returns - args[name]
    market = args.pop("factor_returns", None)
    if case["metric"] == "excess_sharpe":
        returns = returns - market
    elif market is not None:
        both = pd.concat([returns, market], axis=1, join="inner")
        returns, market = both.iloc[:, 0], both.iloc[:, 1].to_numpy()
    function = PUBLISHED[case["metric"]]
    if isinstance(returns, pd.DataFrame):
        return [function(returns[name].to_numpy(), market, args) for name in returns]
    return function(returns.to_numpy(), market, args)


def test_every_published_case_of_a_metric_that_we_have_passes(shared_data: Path) -> None:
    cases, series = published(shared_data)
    assert len(cases) == 144
    checked = 0
    for case in cases:
        if case["metric"] in ABSENT:
            continue
        expected = np.array(case["expected"], np.float64)
        tolerance = 1.5 * 10.0 ** -case["tolerance_decimals"]
        np.testing.assert_allclose(
            ours(case, series), expected, rtol=0, atol=tolerance, err_msg=str(case)[:300]
        )
        checked += 1
    assert checked == 95
    absent = Counter(case["metric"] for case in cases if case["metric"] in ABSENT)
    assert absent == ABSENT
    assert checked + absent.total() == 144


def real_series(shared_data: Path) -> list[dict[str, float]]:
    path = shared_data / "oracles" / "metrics_oracle_real_series.json"
    results = json.loads(path.read_text())["results"]
    return [entry["empyrical_reloaded_0_7_1"] for entry in results]


def test_annual_figures_of_nine_real_series_follow_from_their_length_return_and_fall(
    shared_data: Path,
) -> None:
    # The returns themselves are not published, but these figures depend on no more than this.
    for figures in real_series(shared_data):
        n, total, fall = int(figures["n"]), figures["total_return"], figures["max_drawdown"]
        path = np.zeros(n)
        path[[n // 3, n // 2]] = fall, (1 + total) / (1 + fall) - 1
        assert ratios.total_return(path) == pytest.approx(total, rel=1e-9)
        assert ratios.max_drawdown(path) == pytest.approx(fall, rel=1e-9)
        assert ratios.annual_return(path) == pytest.approx(figures["annual_return"], rel=1e-9)
        assert ratios.calmar(path) == pytest.approx(figures["calmar_ratio"], rel=1e-9)


def test_sharpe_ratios_of_nine_real_series_follow_from_their_mean_and_volatility(
    shared_data: Path,
) -> None:
    for figures in real_series(shared_data):
        n, volatility = int(figures["n"]), figures["annual_volatility"]
        noise = np.random.default_rng(n).standard_normal(n)
        noise = stats.zscore(noise, ddof=1) * volatility / np.sqrt(252)
        mean = figures["sharpe_ratio"] * volatility / 252
        assert ratios.annual_volatility(noise + mean) == pytest.approx(volatility, rel=1e-9)
        assert ratios.sharpe(noise + mean) == pytest.approx(figures["sharpe_ratio"], rel=1e-9)
        free = figures["sharpe_rf_2bp_per_day"]
        assert ratios.sharpe(noise + mean - 2e-4) == pytest.approx(free, rel=1e-9)


# ------------------------------------------------------------------------------------- traps

RATIOS = (
    ratios.total_return,
    ratios.annual_return,
    ratios.annual_volatility,
    ratios.sharpe,
    ratios.downside_risk,
    ratios.sortino,
    ratios.calmar,
    ratios.max_drawdown,
    ratios.value_at_risk,
    ratios.conditional_value_at_risk,
    lambda r: ratios.beta(r, r),
    lambda r: ratios.alpha(r, r),
    lambda r: ratios.probabilistic_sharpe(ratios.record(r)),
    lambda r: ratios.deflated_sharpe(ratios.record(r), 10, 0.01),
    lambda r: ratios.minimum_track_record(ratios.record(r)),
)


@pytest.mark.parametrize(
    "returns",
    [
        [],
        [NAN],
        [NAN, NAN, NAN],
        [0.01],
        [0.0, 0.0, 0.0],
        [0.1, 0.1, 0.1],
        [-0.1, -0.1, -0.1],
        [-1.0],
        [0.1, -1.0, 0.0, 0.0],
        [-1.5, 0.2],
        [1e300, 1e300],
        [50.0],
        [0.01, NAN, -0.02],
        [1e-17, -1e-17, 3e-17],
    ],
    ids=str,
)
def test_odd_returns_raise_and_warn_of_nothing_whatever_numpy_does_with_errors(
    returns: list[float],
) -> None:
    values = np.array(returns)
    for function in RATIOS:
        with np.errstate(all="raise"):
            assert isinstance(function(values), float)


@pytest.mark.parametrize("function", RATIOS)
def test_an_empty_series_has_no_figure(function: Callable[[Any], float]) -> None:
    assert np.isnan(function(np.empty(0)))
    assert np.isnan(function(np.full(3, NAN)))


def test_one_return_has_no_risk_figure() -> None:
    one = np.array([0.01])
    for function in (ratios.annual_volatility, ratios.sharpe, ratios.sortino, ratios.calmar):
        assert np.isnan(function(one))
    assert ratios.total_return(one) == pytest.approx(0.01)
    assert ratios.value_at_risk(one) == ratios.conditional_value_at_risk(one) == 0.01


def test_equity_that_grows_by_the_same_rate_has_no_dispersion_but_for_rounding() -> None:
    equity = CASH * 1.0007 ** np.arange(251)
    returns = equity[1:] / equity[:-1] - 1.0
    assert np.ptp(returns) > 0.0  # in the last bit
    assert ratios.annual_volatility(returns) == 0.0
    assert ratios.sharpe(returns) == np.inf
    assert np.isnan(ratios.probabilistic_sharpe(ratios.record(returns)))
    assert np.isnan(ratios.sharpe(returns - returns.mean()))


def test_everything_lost_is_minus_one_and_stays_so() -> None:
    lost = np.array([0.1, -1.0, 0.0, 0.0])
    assert ratios.total_return(lost) == ratios.annual_return(lost) == -1.0
    assert ratios.max_drawdown(lost) == ratios.calmar(lost) == -1.0


def test_value_at_risk_and_expected_shortfall_by_hand() -> None:
    returns = np.arange(-20, 21) / 1000.0  # 41 values: the third is the 5 % quantile
    assert ratios.value_at_risk(returns) == pytest.approx(-0.018)
    assert ratios.conditional_value_at_risk(returns) == pytest.approx(-0.019)
    shuffled = np.random.default_rng(0).permutation(np.append(returns, NAN))
    assert ratios.value_at_risk(shuffled) == pytest.approx(-0.018)


def test_beta_and_alpha_agree_with_a_regression() -> None:
    rng = np.random.default_rng(5)
    market = rng.normal(3e-4, 0.01, 300)
    returns = 0.4 * market + rng.normal(2e-4, 0.005, 300)
    line = stats.linregress(market, returns)
    assert ratios.beta(returns, market) == pytest.approx(line.slope)
    assert ratios.alpha(returns, market) == pytest.approx((1 + line.intercept) ** 252 - 1)


# --------------------------------------------------------------------------------- drawdowns


def test_drawdowns_by_hand() -> None:
    #          below the start   peak        trough       back        last one stays below
    wealth = [99.0, 98.0, 100.0, 110.0, 104.5, 99.0, 108.0, 110.0, 110.0, 112.0, 111.0, 109.2]
    first, second, third = ratios.drawdowns(np.array(wealth), 100.0)
    assert (first.peak, first.trough, first.recovery, first.length) == (-1, 1, 2, 3)
    assert first.depth == pytest.approx(-0.02)
    assert (second.peak, second.trough, second.recovery, second.length) == (3, 5, 7, 4)
    assert second.depth == pytest.approx(-0.1)
    assert (third.peak, third.trough, third.recovery, third.length) == (9, 11, None, 2)
    assert third.depth == pytest.approx(-0.025)
    assert ratios.underwater(np.array(wealth), 100.0)[:4] == pytest.approx([-0.01, -0.02, 0.0, 0.0])


def test_wealth_that_never_falls_has_no_drawdown() -> None:
    assert ratios.drawdowns(np.array([100.0, 100.0, 101.0]), 100.0) == ()
    assert ratios.drawdowns(np.empty(0), 100.0) == ()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.integers(1, 20))
def test_drawdowns_are_what_a_plain_loop_finds(wealth: list[int], start: int) -> None:
    expected, highest, since = [], start, -1
    for t, value in enumerate([*wealth, None]):
        if value is None or value >= highest:
            last = t - 1 if value is None else t
            fell = wealth[since + 1 : t]
            if fell:
                trough = since + 1 + fell.index(min(fell))
                back = None if value is None else t
                expected.append((since, trough, back, min(fell) / highest - 1, last - since))
            highest, since = value, t
    found = ratios.drawdowns(np.array(wealth, np.float64), float(start))
    assert [(d.peak, d.trough, d.recovery, d.length) for d in found] == [
        (*e[:3], e[4]) for e in expected
    ]
    assert [d.depth for d in found] == pytest.approx([e[3] for e in expected])


# ------------------------------------------------------------- how sure a Sharpe ratio is


def test_the_probabilistic_sharpe_ratio_of_the_papers_hedge_fund() -> None:
    # Bailey and López de Prado (2012): 24 months, Sharpe ratio 0.458 a month, skew -2.448,
    # kurtosis 10.164; 0.982 if the returns were normal.
    fund = ratios.Record(24, 0.458, -2.448, 10.164)
    assert ratios.probabilistic_sharpe(fund) == pytest.approx(0.913, abs=5e-4)
    normal = fund._replace(skew=0.0, kurtosis=3.0)
    assert ratios.probabilistic_sharpe(normal) == pytest.approx(0.982, abs=5e-4)


@pytest.mark.parametrize(("a_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_the_minimum_track_record_of_the_papers_example(a_year: int, years: float) -> None:
    # The same paper: years until an annual Sharpe ratio of 2 is known to be above 1, for normal
    # returns that are seen daily, weekly or monthly.
    normal = ratios.Record(0, 2.0 / np.sqrt(a_year), 0.0, 3.0)
    needed = ratios.minimum_track_record(normal, 1.0 / np.sqrt(a_year))
    assert needed / a_year == pytest.approx(years, abs=5e-3)


def test_the_deflated_sharpe_ratio_of_the_papers_example() -> None:
    # Bailey and López de Prado (2014): 100 trials whose annual Sharpe ratios have a variance of
    # 1/2, the best with 2.5 over five years of 250 days, skew -3, kurtosis 10.
    best = ratios.Record(1250, 2.5 / np.sqrt(250), -3.0, 10.0)
    variance = 0.5 / 250
    assert ratios.expected_maximum(100, variance) == pytest.approx(0.1132, abs=5e-5)
    assert ratios.deflated_sharpe(best, 100, variance) == pytest.approx(0.9004, abs=5e-4)
    assert ratios.deflated_sharpe(best, 46, variance) == pytest.approx(0.9505, abs=5e-4)
    assert ratios.deflated_sharpe(best, 1, variance) == ratios.probabilistic_sharpe(best)


def test_the_expected_maximum_is_about_what_drawn_trials_have() -> None:
    drawn = np.random.default_rng(0).standard_normal((20_000, 50)).max(axis=1)
    assert ratios.expected_maximum(50, 1.0) == pytest.approx(drawn.mean(), abs=0.03)
    assert ratios.expected_maximum(1, 1.0) == 0.0


def test_moments_are_scipys() -> None:
    returns = np.random.default_rng(3).standard_t(5, 200) * 0.01 + 0.001
    record = ratios.record(returns)
    assert record.sessions == 200
    assert record.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert record.skew == pytest.approx(stats.skew(returns))
    assert record.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))


def test_after_the_minimum_track_record_the_probability_is_what_was_asked() -> None:
    record = ratios.record(np.random.default_rng(3).normal(0.001, 0.01, 90))
    needed = ratios.minimum_track_record(record, confidence=0.9)
    longer = record._replace(sessions=needed)  # type: ignore[arg-type] - need not be whole here
    assert ratios.probabilistic_sharpe(longer) == pytest.approx(0.9)
    assert np.isnan(ratios.minimum_track_record(record._replace(sharpe=-0.1)))
