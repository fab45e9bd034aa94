"""The alarm of a model that loses what it knew: Welch's test, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alpaca_strategy.model.decay import decay_alarm

NOISE = 0.03  # of a session's rank IC: 39 decisions that rank 30 symbols by chance


def sessions(seed: int, mean: float, count: int, noise: float = NOISE) -> np.ndarray:
    return mean + noise * np.random.default_rng(seed).standard_normal(count)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    fall=st.floats(-0.05, 0.1),
    sizes=st.tuples(st.integers(3, 40), st.integers(3, 40)),
    noise=st.floats(0.01, 0.1),
    confidence=st.floats(0.8, 0.999),
)
def test_it_is_raised_exactly_when_welchs_test_says_so(
    seed: int, fall: float, sizes: tuple[int, int], noise: float, confidence: float
) -> None:
    then, now = sessions(seed, fall, sizes[0]), sessions(seed + 1, 0.0, sizes[1], noise)
    p = stats.ttest_ind(then, now, equal_var=False, alternative="greater").pvalue
    raised = decay_alarm(then, now, confidence=confidence) is not None
    assert raised == (p < 1 - confidence) or abs(p - (1 - confidence)) < 1e-9


@pytest.mark.parametrize(("then", "now"), [(21, 21), (21, 10), (21, 5), (60, 5)])
def test_a_model_that_does_not_decay_raises_it_as_rarely_as_promised(then: int, now: int) -> None:
    looks, chance = 3000, 0.01
    raised = sum(
        decay_alarm(sessions(2 * i, 0.03, then), sessions(2 * i + 1, 0.03, now)) is not None
        for i in range(looks)
    )
    # As many as a fair coin of 1 per cent gives in all but one of ten thousand such tests.
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], looks, chance)
    assert low <= raised <= high


def test_a_model_that_lost_what_it_knew_raises_it() -> None:
    raised = sum(
        decay_alarm(sessions(2 * i, 0.05, 21), sessions(2 * i + 1, 0.0, 21)) is not None
        for i in range(500)
    )
    # The power of a one-sided t test with these sizes, from the noncentral distribution.
    power = stats.nct.sf(stats.t.ppf(0.99, 40), 40, 0.05 / (NOISE * np.sqrt(2 / 21)))
    assert raised / 500 == pytest.approx(power, abs=0.04)


def test_it_says_what_fell_from_where_to_where() -> None:
    then = np.array([0.04, 0.06, np.nan, 0.05, 0.05])
    now = np.array([0.00, 0.01, -0.01, np.nan])
    said = decay_alarm(then, now)
    assert said is not None
    assert "from 0.050 on the 4 sessions" in said
    assert "to 0.000 on the newest 3" in said
    assert "by 0.050 ± 0.007" in said  # sqrt(0.0002 / 3 / 4 + 0.0002 / 2 / 3)
    assert "train" in said
    assert decay_alarm(now, then) is None  # better is no reason for alarm


def test_too_few_sessions_say_nothing() -> None:
    good, bad = np.array([0.05, 0.06, 0.055]), np.array([-0.05, -0.06])
    assert decay_alarm(good, bad) is None
    assert decay_alarm(good, np.array([-0.05, -0.06, np.nan])) is None
    assert decay_alarm(np.array([]), np.array([])) is None
    assert decay_alarm(good, np.append(bad, -0.055)) is not None


def test_sessions_without_any_spread_say_nothing() -> None:
    assert decay_alarm(np.full(5, 0.1), np.zeros(5)) is None


@pytest.mark.parametrize("confidence", [0.5, 1.0, 99.0])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"between 0\.5 and 1"):
        decay_alarm(np.zeros(3), np.ones(3), confidence=confidence)
