from __future__ import annotations

from math import isnan, log, nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from alpaca_strategy.features.labels import log_returns, top_k

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def slowly(opened: Any, close: Any, observed: Any, horizon: int) -> list[float]:
    """Return one symbol's log returns, straight from what they are said to be."""
    returns = []
    for m in range(len(close)):
        after = [j for j in range(m + 1, m + horizon + 1) if j < len(close) and observed[j]]
        whole = m + horizon < len(close) and after
        returns.append(log(close[after[-1]] / opened[after[0]]) if whole else nan)
    return returns


@st.composite
def sessions(draw: st.DrawFn) -> tuple[Floats, Floats, Flags]:
    minutes, symbols = draw(st.integers(1, 60)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    opened, close = 10 * np.exp(random.standard_normal((2, minutes, symbols)))
    observed = random.random((minutes, symbols)) < draw(st.sampled_from([0.03, 0.2, 0.7, 1.0]))
    opened[~observed] = close[~observed] = np.nan
    return opened, close, observed


@given(sessions(), st.integers(1, 12))
def test_returns_are_what_a_plain_loop_makes_them(
    session: tuple[Floats, Floats, Flags], horizon: int
) -> None:
    opened, close, observed = session
    expected = [
        slowly(*columns, horizon) for columns in zip(opened.T, close.T, observed.T, strict=True)
    ]
    returns = log_returns(opened, close, observed, horizon)
    assert returns.dtype == np.float32
    np.testing.assert_allclose(returns, np.transpose(expected), rtol=1e-5, atol=1e-6)


@given(sessions(), st.integers(1, 12), st.data())
def test_a_return_knows_its_own_horizon_only(
    session: tuple[Floats, Floats, Flags], horizon: int, data: st.DataObject
) -> None:
    minute = data.draw(st.integers(0, len(session[0]) - 1))
    before = log_returns(*session, horizon)
    opened, close, observed = (array.copy() for array in session)
    for rows in (slice(minute + horizon + 1, None), slice(0, minute + 1)):
        opened[rows], close[rows], observed[rows] = 55.0, 77.0, ~observed[rows]
    after = log_returns(opened, close, observed, horizon)
    if minute + horizon < len(close):
        np.testing.assert_array_equal(after[minute], before[minute])


def test_a_horizon_ends_with_the_session() -> None:
    close = np.linspace(100, 110, 390)[:, None]
    opened, observed = close - 0.01, np.ones((390, 1), np.bool_)
    returns = log_returns(opened, close, observed, 10)
    assert np.isnan(returns[-10:]).all()
    assert np.isfinite(returns[:-10]).all()
    assert returns[379, 0] == pytest.approx(log(close[389, 0] / opened[380, 0]), rel=1e-5)
    assert np.isnan(log_returns(opened[:10], close[:10], observed[:10], 10)).all()


def test_a_price_that_nobody_renews_earns_nothing_known() -> None:
    close, observed = np.full((40, 1), np.nan), np.zeros((40, 1), np.bool_)
    for minute, price in ((0, 10.0), (5, 11.0), (8, 12.0)):
        close[minute], observed[minute] = price, True
    returns = log_returns(close - 0.5, close, observed, 10)[:, 0]
    assert np.flatnonzero(~np.isnan(returns)).tolist() == list(range(8))
    assert returns[0] == pytest.approx(log(12 / 10.5), rel=1e-5)
    assert returns[6] == pytest.approx(log(12 / 11.5), rel=1e-5)


@pytest.mark.parametrize("damage", [0.0, -1.0, nan, float("inf")])
def test_a_bar_without_a_price_is_passed_over(damage: float) -> None:
    close = np.array([[10.0], [damage], [12.0], [13.0], [damage]])
    opened = np.array([[9.0], [11.0], [11.0], [12.0], [12.0]])
    returns = log_returns(opened, close, np.ones((5, 1), np.bool_), 2)
    expected = [log(12 / 11), log(13 / 11), log(13 / 12)]
    np.testing.assert_allclose(returns[:3, 0], expected, rtol=1e-6)


def test_a_horizon_of_nothing_is_refused() -> None:
    close, observed = np.ones((5, 2)), np.ones((5, 2), np.bool_)
    with pytest.raises(ValueError, match="1 or more"):
        log_returns(close, close, observed, 0)
    with pytest.raises(ValueError, match="shapes"):
        log_returns(close, close[:4], observed, 1)
    with pytest.raises(ValueError, match="at least 1"):
        top_k(close.astype(np.float32), 0)


values = st.sampled_from([-0.5, -0.0, 0.0, 0.25, 1.0, float("inf"), nan])
rows = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=values
)


@given(rows, st.integers(1, 8))
def test_the_best_k_are_those_of_a_sorted_list(returns: npt.NDArray[np.float32], k: int) -> None:
    labels = top_k(returns, k)
    assert labels.dtype == np.float32
    for row, label in zip(returns.tolist(), labels.tolist(), strict=True):
        known = [column for column, value in enumerate(row) if not isnan(value)]
        best = sorted(known, key=lambda column: (-row[column], column))[:k]
        assert [c for c, one in enumerate(label) if one == 1] == sorted(best)
        assert [c for c, one in enumerate(label) if not isnan(one)] == known
        assert sum(one for one in label if not isnan(one)) == min(k, len(known))
