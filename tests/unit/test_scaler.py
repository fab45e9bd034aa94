from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from alpaca_strategy.features.catalogue import NAMES
from alpaca_strategy.features.scaler import CLIP, FEWEST_ROWS, fit

Features = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
WIDTH = len(NAMES)


@pytest.fixture
def rows() -> tuple[Features, Flags]:
    """Four symbols with scales of their own, a third of the minutes unusable and NaN."""
    draw = np.random.default_rng(5)
    shape = (3000, 4, WIDTH)
    scale, level = 10.0 ** draw.uniform(-3, 3, shape[1:]), draw.normal(0, 5, shape[1:])
    features = (draw.standard_normal(shape) * scale + level).astype(np.float32)
    usable = draw.random(shape[:2]) < 0.66
    features[~usable] = np.nan
    return features, usable


def test_each_symbol_has_the_mean_and_deviation_of_its_own_rows(
    rows: tuple[Features, Flags],
) -> None:
    features, usable = rows
    scaler = fit(features, usable)
    assert scaler.mean.dtype == scaler.std.dtype == np.float32
    for symbol in range(4):
        own = features[usable[:, symbol], symbol].astype(np.float64)
        np.testing.assert_allclose(scaler.mean[symbol], own.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(scaler.std[symbol], own.std(axis=0), rtol=1e-5)
    assert scaler.degenerate == ()
    assert scaler.pooled == ()


def test_rows_that_are_not_usable_do_not_count(rows: tuple[Features, Flags]) -> None:
    features, usable = rows
    filled = np.where(usable[..., None], features, np.float32(1e9))
    first, second = fit(features, usable), fit(filled, usable)
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.std, second.std)


def test_a_level_far_from_zero_does_not_cost_the_deviation() -> None:
    draw = np.random.default_rng(1)
    features = (4000 + draw.standard_normal((2000, 1, WIDTH))).astype(np.float32)
    scaler = fit(features, np.ones((2000, 1), np.bool_))
    np.testing.assert_allclose(scaler.std, features.astype(float).std(axis=0), rtol=1e-6)


def test_scaled_rows_have_mean_zero_deviation_one_and_no_outliers(
    rows: tuple[Features, Flags],
) -> None:
    features, usable = rows
    features[0, 0], usable[0, 0] = 1e30, True
    features[0, 0, 1:] = features[1, 1, 1:]
    scaled = fit(*rows).apply(features)
    assert scaled.shape == features.shape
    assert scaled.dtype == np.float32
    assert np.isnan(scaled[~usable]).all()
    plain = scaled[usable[:, 2], 2]
    np.testing.assert_allclose(plain.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(plain.std(axis=0), 1, atol=1e-3)
    assert scaled[0, 0, 0] == np.float32(CLIP)


def test_what_never_varies_or_is_never_known_is_named_and_left_in_its_units(
    rows: tuple[Features, Flags],
) -> None:
    features, usable = rows
    features[:, 1, 3] = 0.1
    features[:, 2, 7] = np.nan
    features[~usable] = np.nan
    scaler = fit(features, usable)
    assert scaler.degenerate == ((1, NAMES[3]), (2, NAMES[7]))
    assert scaler.std[1, 3] == scaler.std[2, 7] == 1
    assert scaler.mean[1, 3] == np.float32(0.1)
    assert scaler.mean[2, 7] == 0
    np.testing.assert_allclose(scaler.apply(features)[usable[:, 1], 1, 3], 0, atol=1e-6)


def test_a_symbol_with_too_few_rows_is_scaled_as_all_together(
    rows: tuple[Features, Flags],
) -> None:
    features, usable = rows
    usable[np.flatnonzero(usable[:, 2])[FEWEST_ROWS - 1 :], 2] = False
    usable[:, 3] = False
    scaler = fit(features, usable)
    everyone = features[usable].astype(np.float64)
    assert scaler.pooled == (2, 3)
    for symbol in scaler.pooled:
        np.testing.assert_allclose(scaler.mean[symbol], everyone.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(scaler.std[symbol], everyone.std(axis=0), rtol=1e-5)
    own = features[usable[:, 1], 1].astype(np.float64)
    np.testing.assert_allclose(scaler.std[1], own.std(axis=0), rtol=1e-5)
    enough = usable.copy()
    enough[np.flatnonzero(~usable[:, 2])[0], 2] = True
    features[np.flatnonzero(~usable[:, 2])[0], 2] = 1.0
    assert fit(features, enough).pooled == (3,)


def test_no_rows_at_all_scale_nothing() -> None:
    features = np.full((50, 2, WIDTH), np.nan, np.float32)
    scaler = fit(features, np.zeros((50, 2), np.bool_))
    assert (scaler.mean == 0).all()
    assert (scaler.std == 1).all()
    assert len(scaler.degenerate) == 2 * WIDTH


def test_memory_does_not_grow_with_the_rows() -> None:
    peaks = []
    for minutes in (20_000, 80_000):
        features = np.zeros((minutes, 5, WIDTH), np.float32)
        usable = np.ones((minutes, 5), np.bool_)
        tracemalloc.start()
        fit(features, usable)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 100 * 2**20


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        fit(np.zeros((5, 2, 3), np.float32), np.ones((5, 2), np.bool_))
