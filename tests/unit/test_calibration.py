from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alpaca_strategy.errors import TrainingError
from alpaca_strategy.model.calibration import REACH, Calibration, fit_calibration
from alpaca_strategy.model.predictions import Predictions

Floats = npt.NDArray[np.float64]
SESSIONS, DECISIONS, SYMBOLS = 10, 38, 30


def fold_of(logits: Floats, returns: Floats, sessions: int = SESSIONS) -> Predictions:
    decisions = len(logits) // sessions
    return Predictions(
        scores=logits,
        returns=returns,
        session_index=np.repeat(np.arange(sessions, dtype=np.int32), decisions),
        minute=np.tile(np.arange(decisions, dtype=np.int16), sessions),
        sessions=tuple(date(2026, 9, 1) + timedelta(i) for i in range(sessions)),
        symbols=tuple(f"S{i}" for i in range(logits.shape[1])),
        horizon=10,
    )


def fold(seed: int, *, bps: float, scale: float = 0.7, noise_bps: float = 20.0) -> Predictions:
    """Draw logits of one deviation `scale`, each deviation of which is worth so many bps."""
    draw = np.random.default_rng(seed)
    units = draw.standard_normal((SESSIONS * DECISIONS, SYMBOLS))
    market = 50 * draw.standard_normal((len(units), 1))
    returns = (bps * units + market + noise_bps * draw.standard_normal(units.shape)) / 1e4
    return fold_of(scale * units + 0.3, returns)


def test_logit_scale_is_the_mean_deviation_across_symbols() -> None:
    validation = fold(1, bps=0)
    validation.scores[::3, ::4] = np.nan
    frame = pd.DataFrame(validation.scores)
    expected = frame.std(axis=1, ddof=0).mean()
    assert fit_calibration(validation).logit_scale == pytest.approx(expected)


def test_a_score_is_the_sigmoid_of_the_scaled_logit() -> None:
    scores = Calibration(2.0, 0.0).score(np.array([0.0, 2.0, -1.0, np.nan]))
    np.testing.assert_allclose(scores[:3], [0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(0.5))])
    assert np.isnan(scores[3])


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=8))
def test_scores_and_expectations_never_contradict_the_logits(values: list[float]) -> None:
    logits = np.sort(np.array(values))
    calibration = Calibration(1.3, 0.4)
    scores = calibration.score(logits)
    assert ((scores > 0) & (scores < 1)).all()
    assert (np.diff(scores) >= 0).all()
    assert (np.diff(calibration.expected_bps(logits)) >= 0).all()


def test_expected_returns_are_those_that_come() -> None:
    validation, later = fold(2, bps=3.0), fold(3, bps=3.0)
    calibration = fit_calibration(validation)
    expected = calibration.expected_bps(later.scores)
    came = later.returns * 1e4
    line = stats.linregress(expected.ravel(), (came - came.mean(axis=1, keepdims=True)).ravel())
    assert line.slope == pytest.approx(1.0, abs=0.1)
    assert calibration.bps_per_unit == pytest.approx(3.0, abs=0.3)
    np.testing.assert_allclose(expected.mean(axis=1), 0.0, atol=0.2)


def test_a_slope_is_shrunk_by_what_it_may_owe_to_chance() -> None:
    validation = fold(4, bps=1.0)
    units = validation.scores / fit_calibration(validation).logit_scale
    x = (units - units.mean(axis=1, keepdims=True)).clip(-REACH, REACH)
    x = x - x.mean(axis=1, keepdims=True)
    y = validation.returns * 1e4
    y = y - y.mean(axis=1, keepdims=True)
    slope = (x * y).sum() / (x * x).sum()
    residuals = (x * (y - slope * x)).reshape(SESSIONS, -1).sum(axis=1)
    error = np.sqrt((residuals**2).sum() * SESSIONS / (SESSIONS - 1)) / (x * x).sum()
    t = slope / error
    assert t > 2.5
    found = fit_calibration(validation).bps_per_unit
    assert found == pytest.approx(slope * (1 - 1 / t**2))
    assert 0 < found < slope


def test_noise_promises_nothing_but_for_the_stated_chance() -> None:
    promises = [fit_calibration(fold(seed, bps=0.0)).bps_per_unit for seed in range(200)]
    found = np.count_nonzero(promises)
    low, high = stats.binom(200, 0.05).interval(0.999)
    assert low <= found <= high
    assert min(promises) == 0


def test_a_model_that_ranks_backwards_promises_nothing() -> None:
    assert fit_calibration(fold(5, bps=-3.0)).bps_per_unit == 0


def test_a_single_session_promises_nothing() -> None:
    whole = fold(6, bps=5.0)
    calibration = fit_calibration(fold_of(whole.scores[:30], whole.returns[:30], 1))
    assert calibration.logit_scale > 0
    assert calibration.bps_per_unit == 0


def test_returns_that_are_all_missing_promise_nothing() -> None:
    whole = fold(7, bps=5.0)
    found = fit_calibration(fold_of(whole.scores, np.full_like(whole.returns, np.nan)))
    assert found.bps_per_unit == 0


def test_extreme_logits_promise_no_more_than_those_at_the_end_of_the_reach() -> None:
    calibration = Calibration(1.0, 0.5)
    logits = np.array([100.0, *[0.0] * 98, -100.0])
    expected = calibration.expected_bps(logits)
    assert expected[0] == 0.5 * REACH
    assert expected[-1] == -0.5 * REACH


def test_expected_returns_of_one_decision_and_of_many_are_the_same_bits() -> None:
    logits = fold(8, bps=0).scores
    logits[::2, 3] = np.nan
    calibration = Calibration(0.7, 0.4)
    many = calibration.expected_bps(logits)
    one_by_one = np.array([calibration.expected_bps(row) for row in logits])
    np.testing.assert_array_equal(many, one_by_one)
    np.testing.assert_array_equal(
        calibration.score(logits), np.array([calibration.score(row) for row in logits])
    )


@pytest.mark.parametrize("logit", [0.1, np.nan])
def test_logits_that_rank_nothing_are_refused(logit: float) -> None:
    returns = fold(9, bps=0).returns
    with pytest.raises(TrainingError, match="380 validation decisions"):
        fit_calibration(fold_of(np.full_like(returns, logit), returns))


def test_a_calibration_is_plain_numbers() -> None:
    content = asdict(fit_calibration(fold(10, bps=3.0)))
    assert {type(value) for value in content.values()} == {float}
    assert Calibration(**content) == Calibration(content["logit_scale"], content["bps_per_unit"])
