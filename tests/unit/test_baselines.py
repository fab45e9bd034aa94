from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.errors import (
    EnvironmentFaultError,
    ModelRefusedError,
    TooFewSessionsError,
    TrainingError,
)
from alpaca_strategy.model.aggregates import aggregate, column_names, is_scored
from alpaca_strategy.model.baselines import Baseline, fit_lightgbm, fit_ridge
from alpaca_strategy.model.dataset import (
    MIN_USABLE_MINUTES,
    RECENT_MINUTES,
    Dataset,
    decision_rows,
)
from alpaca_strategy.model.evaluation import evaluate
from alpaca_strategy.model.predictions import Predictions

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Fit = Callable[..., Baseline]
FEATURES = 30
HORIZON = 10
#: Of a planted world's session: as few as leave room for windows over sessions.
MINUTES = 130
both = pytest.mark.parametrize("fit", [fit_ridge, fit_lightgbm], ids=["ridge", "lightgbm"])


def dataset_of(features: Any, usable: Any, returns: Any, minutes: int) -> Dataset:
    sessions = len(features) // minutes
    minute = np.tile(np.arange(minutes, dtype=np.int16), sessions)
    returns = np.where(minute[:, None] + HORIZON < minutes, returns, np.nan)
    return Dataset(
        features=np.where(usable[:, :, None], features, np.nan).astype(np.float32),
        usable=usable,
        returns=np.where(usable, returns, np.nan).astype(np.float32),
        session_index=np.repeat(np.arange(sessions, dtype=np.int32), minutes),
        minute=minute,
        sessions=tuple(date(2026, 9, 1) + timedelta(i) for i in range(sessions)),
        symbols=tuple(f"S{i}" for i in range(usable.shape[1])),
        horizon=HORIZON,
        fingerprint="test",
        content_hash="test",
    )


def small(seed: int, *, minutes: int = 150, sessions: int = 4, symbols: int = 3) -> Dataset:
    draw = np.random.default_rng(seed)
    shape = (minutes * sessions, symbols)
    return dataset_of(
        draw.standard_normal((*shape, FEATURES)),
        draw.random(shape) < 0.6,
        draw.standard_normal(shape),
        minutes,
    )


def signal_of(features: Floats) -> Floats:
    """Return what returns follow: a feature now, and the mean of another over 15 minutes."""
    flat = features[:, :, 7]
    mean = pd.DataFrame(flat).rolling(15, min_periods=1).mean().to_numpy()
    signal = features[:, :, 3] / features[:, :, 3].std() + 1.2 * mean / mean.std()
    return np.asarray(signal / signal.std())


def hidden_features(draw: np.random.Generator, rows: int, symbols: int) -> Floats:
    """Draw features that persist, as features do."""
    features = draw.standard_normal((rows, symbols, FEATURES))
    for row in range(1, rows):
        features[row] = 0.8 * features[row - 1] + 0.6 * features[row]
    return features


def world(seed: int, *, ic: float, sessions: int = 26, symbols: int = 10) -> Dataset:
    """Plant a linear signal in a world where each symbol's features have scales of their own."""
    draw = np.random.default_rng(seed)
    features = hidden_features(draw, MINUTES * sessions, symbols)
    noise = draw.standard_normal(features.shape[:2])
    returns = 2e-3 * (ic * signal_of(features) + np.sqrt(1 - ic**2) * noise)
    scaled = features * draw.uniform(0.5, 5, (symbols, 1)) + draw.uniform(-9, 9, (symbols, 1))
    return dataset_of(scaled, draw.random(noise.shape) < 0.97, returns, MINUTES)


def scaler(dataset: Dataset, sessions: int) -> dict[str, Floats]:
    rows = dataset.features[dataset.session_index < sessions].astype(float)
    return {"mean": np.nanmean(rows, axis=0), "std": np.nanstd(rows, axis=0)}


def learn_and_ask(fit: Fit, dataset: Dataset, *, training: int = 18) -> Predictions:
    """Fit on the first sessions, every third minute, and ask about the last seven."""
    rows = decision_rows(dataset, range(training), stride=3)
    model = fit(dataset, rows, **scaler(dataset, training))
    holdout = range(training + 1, len(dataset.sessions))
    return model.predict(dataset, decision_rows(dataset, holdout, stride=5))


# --- what the baselines see ---


def test_aggregates_are_pandas_rolling_means_over_usable_minutes() -> None:
    dataset = small(1)
    rows = np.arange(239, len(dataset.usable), 7)
    garbled = np.where(dataset.usable[:, :, None], dataset.features, 99).astype(np.float32)
    found = aggregate(replace(dataset, features=garbled), rows)
    assert found.shape == (len(rows), 3, 150)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :, :FEATURES], dataset.features[rows])
    for symbol in range(3):
        frame = pd.DataFrame(dataset.features[:, symbol].astype(float))
        for place, minutes in enumerate((5, 15, 60, 240), start=1):
            expected = frame.rolling(minutes, min_periods=1).mean().to_numpy()[rows]
            columns = slice(place * FEATURES, (place + 1) * FEATURES)
            np.testing.assert_allclose(found[:, symbol, columns], expected, rtol=1e-5, atol=1e-6)


def test_a_mean_without_a_usable_minute_is_unknown() -> None:
    dataset = small(2)
    dataset.usable[230:245, 1] = False
    dataset.features[230:245, 1] = np.nan
    found = aggregate(dataset, np.array([240]))[0, 1].reshape(5, FEATURES)
    assert np.isnan(found[:2]).all()  # now, and over five minutes
    assert np.isfinite(found[2:]).all()


def test_a_small_feature_after_a_huge_one_keeps_its_digits() -> None:
    dataset = small(3)
    dataset.features[:] = 1e-3
    dataset.usable[:] = True
    dataset.features[10] = 1e15  # cumulative sums would never get rid of it
    found = aggregate(dataset, np.array([400]))
    np.testing.assert_allclose(found, 1e-3, rtol=1e-6)


def test_columns_are_named_as_they_stand() -> None:
    names = column_names([f"f{i}" for i in range(FEATURES)])
    assert len(names) == 150
    assert (names[0], names[30], names[61], names[149]) == (
        "f0",
        "f0_mean_5",
        "f1_mean_15",
        "f29_mean_240",
    )


@settings(deadline=None, max_examples=25)
@given(cut=st.integers(239, 598), seed=st.integers(0, 5))
def test_nothing_after_a_row_changes_its_aggregates(cut: int, seed: int) -> None:
    dataset = small(seed)
    rows = np.arange(239, cut + 1)
    before, scored = aggregate(dataset, rows), is_scored(dataset, rows)
    dataset.features[cut + 1 :] = 1e6
    dataset.usable[cut + 1 :] ^= True
    np.testing.assert_array_equal(aggregate(dataset, rows), before)
    np.testing.assert_array_equal(is_scored(dataset, rows), scored)


def test_a_rows_aggregates_do_not_depend_on_the_rows_asked_with_it() -> None:
    dataset = small(4)
    rows = np.arange(239, 600)
    every = aggregate(dataset, rows)
    np.testing.assert_array_equal(aggregate(dataset, rows[::13]), every[::13])
    np.testing.assert_array_equal(aggregate(dataset, rows[::-1]), every[::-1])


@pytest.mark.parametrize("row", [0, 238, 600])
def test_rows_without_their_history_are_refused(row: int) -> None:
    dataset = small(5)
    for asked in (aggregate, is_scored):
        with pytest.raises(ValueError, match=f"Row {row} has not 240 minutes.*239 to 599"):
            asked(dataset, np.array([300, row]))
    for fit in (fit_ridge, fit_lightgbm):
        with pytest.raises(ValueError, match=f"Row {row} has not 240 minutes"):
            fit(dataset, np.array([300, row]), **scaler(dataset, 4))


def test_a_symbol_is_scored_by_its_usable_minutes() -> None:
    dataset = small(6)
    dataset.usable[:] = False
    row = 300
    oldest = row - 239
    dataset.usable[oldest : oldest + MIN_USABLE_MINUTES - 1, :] = True
    dataset.usable[row - RECENT_MINUTES + 1, 0] = True
    dataset.usable[row - RECENT_MINUTES, 1] = True
    dataset.usable[oldest - 5 : oldest, 2] = True  # too old to count
    dataset.usable[row, 2] = False
    np.testing.assert_array_equal(is_scored(dataset, np.array([row])), [[True, False, False]])


def test_the_network_scores_the_same_symbols() -> None:
    import torch

    from alpaca_strategy.model import network

    dataset = small(7)
    dataset.usable[:] = np.random.default_rng(7).random(dataset.usable.shape) < 0.12
    rows = np.arange(239, 600)
    windows = np.stack([dataset.usable[row - 239 : row + 1] for row in rows])
    expected = network.is_scored(torch.from_numpy(windows)).numpy()
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(is_scored(dataset, rows), expected)


# --- what they learn ---


def oracle(dataset: Dataset, predictions: Predictions, seed: int) -> float:
    """Return the IC of the planted signal itself at the same decisions."""
    features = hidden_features(np.random.default_rng(seed), *dataset.usable.shape)
    rows = predictions.session_index.astype(int) * MINUTES + predictions.minute
    known = np.isfinite(predictions.scores)
    scores = np.where(known, signal_of(features)[rows], np.nan)
    return evaluate(replace(predictions, scores=scores), draws=10).metric("ic").value


@both
def test_a_planted_linear_signal_is_found(
    fit: Fit, record_property: Callable[[str, object], None]
) -> None:
    dataset = world(11, ic=0.3, sessions=40)
    predictions = learn_and_ask(fit, dataset, training=26)
    found, best = evaluate(predictions).metric("ic"), oracle(dataset, predictions, 11)
    record_property("ic", f"{found.value:.4f} of the oracle's {best:.4f}")
    assert best == pytest.approx(0.3, abs=0.05)
    assert found.value > (0.8 if fit is fit_ridge else 0.7) * best
    assert found.value < best + (found.high - found.low)


def test_a_wild_print_does_not_hide_the_signal() -> None:
    dataset = world(12, ic=0.3, sessions=30)
    scale, rows = scaler(dataset, 20), decision_rows(dataset, range(20), stride=3)
    dataset.features[rows[::97], 4] *= 1e6
    model = fit_ridge(dataset, rows, **scale)
    predictions = model.predict(dataset, decision_rows(dataset, range(21, 30), stride=5))
    assert evaluate(predictions).metric("ic").value > 0.7 * oracle(dataset, predictions, 12)


def test_what_all_symbols_share_ranks_none_of_them() -> None:
    dataset = world(13, ic=0.3, sessions=10, symbols=6)
    plain = {"mean": np.zeros((6, FEATURES)), "std": np.full((6, FEATURES), 10.0)}
    rows, later = decision_rows(dataset, range(8), stride=3), decision_rows(dataset, [9], stride=3)
    dataset.usable[:] = True
    dataset.features[:] = np.nan_to_num(dataset.features)
    shared = np.random.default_rng(0).standard_normal((len(dataset.usable), 1, FEATURES)) * 20
    moved = replace(dataset, features=(dataset.features + shared).astype(np.float32))
    first, second = (fit_ridge(one, rows, **plain).predict(one, later) for one in (dataset, moved))
    np.testing.assert_allclose(second.scores, first.scores, atol=1e-4)
    assert first.scores.std() > 0.05


@both
def test_nothing_is_learnt_from_symbols_that_would_not_be_scored(fit: Fit) -> None:
    dataset = world(14, ic=0.3, sessions=10, symbols=6)
    dataset.usable[:, 2] = False
    dataset.returns[:, 2] = 0.05
    without = replace(dataset, returns=dataset.returns.copy())
    without.returns[:, 2] = np.nan
    first, second = (learn_and_ask(fit, one, training=8) for one in (dataset, without))
    np.testing.assert_array_equal(first.scores, second.scores)


@both
@pytest.mark.parametrize("seed", [21, 22])
def test_noise_gives_no_ic(fit: Fit, seed: int) -> None:
    assert abs(evaluate(learn_and_ask(fit, world(seed, ic=0.0))).metric("ic_t").value) < 3.5


@both
def test_shuffled_labels_give_no_ic(fit: Fit) -> None:
    dataset = world(23, ic=0.3)
    np.random.default_rng(0).permuted(dataset.returns, axis=1, out=dataset.returns)
    assert abs(evaluate(learn_and_ask(fit, dataset)).metric("ic_t").value) < 3.5


@both
def test_flipped_returns_flip_the_ranking(fit: Fit) -> None:
    dataset = world(24, ic=0.3, sessions=14)
    flipped = replace(dataset, returns=-dataset.returns)
    first, second = (learn_and_ask(fit, one, training=8) for one in (dataset, flipped))
    found = np.corrcoef(first.scores[np.isfinite(first.scores)],
                        second.scores[np.isfinite(second.scores)])[0, 1]  # fmt: skip
    assert found < -0.9


@both
def test_permuted_symbols_permute_the_scores(fit: Fit) -> None:
    dataset = world(25, ic=0.3, sessions=12, symbols=6)
    order = np.random.default_rng(1).permutation(6)
    permuted = replace(
        dataset,
        features=dataset.features[:, order],
        usable=dataset.usable[:, order],
        returns=dataset.returns[:, order],
        symbols=tuple(dataset.symbols[i] for i in order),
    )
    rows = decision_rows(dataset, [10, 11], stride=5)
    training = decision_rows(dataset, range(9), stride=5)
    scale = scaler(dataset, 9)
    turned = {name: values[order] for name, values in scale.items()}
    first = fit(dataset, training, **scale).predict(dataset, rows)
    second = fit(permuted, training, **turned).predict(permuted, rows)
    if fit is fit_ridge:
        np.testing.assert_allclose(second.scores, first.scores[:, order], rtol=1e-5, atol=1e-7)
    else:  # it draws rows by their place, so only what was learnt is alike
        known = np.isfinite(second.scores)
        np.testing.assert_array_equal(known, np.isfinite(first.scores[:, order]))
        assert np.corrcoef(second.scores[known], first.scores[:, order][known])[0, 1] > 0.8


@both
def test_a_second_fit_gives_the_same_bits(fit: Fit) -> None:
    dataset = world(26, ic=0.2, sessions=10, symbols=6)
    first, second = (learn_and_ask(fit, dataset, training=8).scores for _ in range(2))
    np.testing.assert_array_equal(first, second)


@both
def test_later_data_change_no_earlier_score(fit: Fit) -> None:
    dataset = world(27, ic=0.2, sessions=12, symbols=6)
    before = learn_and_ask(fit, dataset, training=8)
    last = int(before.session_index[-1]) * MINUTES + 60
    dataset.features[last + 1 :] = 77.0
    dataset.returns[last + 1 :] = 0.5
    after = learn_and_ask(fit, dataset, training=8)
    early = before.session_index * MINUTES + before.minute <= last
    assert early.any()
    assert not early.all()
    np.testing.assert_array_equal(before.scores[early], after.scores[early])


@both
def test_predictions_carry_what_followed(fit: Fit) -> None:
    dataset = world(28, ic=0.2, sessions=8, symbols=5)
    predictions = learn_and_ask(fit, dataset, training=6)
    rows = decision_rows(dataset, [7], stride=5)
    np.testing.assert_array_equal(predictions.returns, dataset.returns[rows])
    np.testing.assert_array_equal(predictions.minute, dataset.minute[rows])
    assert set(predictions.session_index) == {7}
    assert predictions.scores.shape == (len(rows), 5)
    np.testing.assert_array_equal(np.isfinite(predictions.scores), is_scored(dataset, rows))


@both
def test_a_symbol_that_fell_silent_is_not_scored(fit: Fit) -> None:
    dataset = world(29, ic=0.2, sessions=10, symbols=6)
    dataset.usable[MINUTES * 8 :, 2] = False
    dataset.features[MINUTES * 8 :, 2] = np.nan
    scores = learn_and_ask(fit, dataset, training=7).scores
    last = scores[-20:]
    assert np.isnan(last[:, 2]).all()
    assert np.isfinite(np.delete(last, 2, axis=1)).mean() > 0.99


@both
def test_a_symbol_without_training_data_and_a_constant_feature_are_no_error(fit: Fit) -> None:
    dataset = world(30, ic=0.2, sessions=10, symbols=6)
    dataset.features[:, :, 5] = np.where(dataset.usable, 4.0, np.nan)
    scale = scaler(dataset, 7)
    scale["mean"][1], scale["std"][1] = np.nan, np.nan
    assert (scale["std"][[0, 2], 5] == 0).all()
    model = fit(dataset, decision_rows(dataset, range(7), stride=5), **scale)
    scores = model.predict(dataset, decision_rows(dataset, [9], stride=5)).scores
    assert np.isfinite(scores).mean() > 0.99


@both
def test_other_symbols_are_refused(fit: Fit) -> None:
    dataset = world(31, ic=0.2, sessions=6, symbols=5)
    model = fit(dataset, decision_rows(dataset, range(5), stride=5), **scaler(dataset, 5))
    other = replace(dataset, symbols=dataset.symbols[::-1])
    with pytest.raises(ModelRefusedError, match="another order"):
        model.predict(other, decision_rows(dataset, [5]))


@both
def test_too_few_sessions_are_refused(fit: Fit) -> None:
    dataset = world(32, ic=0.2, sessions=6, symbols=5)
    with pytest.raises(TooFewSessionsError, match=r"^3 sessions are too few.*4 are the least"):
        fit(dataset, decision_rows(dataset, [2, 3, 4]), **scaler(dataset, 5))


@both
def test_returns_that_never_differ_teach_nothing(fit: Fit) -> None:
    dataset = world(33, ic=0.2, sessions=8, symbols=5)
    dataset.returns[:] = 0.0
    with pytest.raises(TrainingError, match="nothing to learn"):
        fit(dataset, decision_rows(dataset, range(8)), **scaler(dataset, 8))


@both
def test_rows_in_disorder_are_refused(fit: Fit) -> None:
    dataset = world(34, ic=0.2, sessions=8, symbols=5)
    rows = decision_rows(dataset, range(8))
    with pytest.raises(ValueError, match="ascend"):
        fit(dataset, rows[::-1], **scaler(dataset, 8))


def test_a_machine_without_openmp_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    broken = tmp_path / "lightgbm"
    broken.mkdir()
    missing = "libgomp.so.1: cannot open shared object file: No such file or directory"
    (broken / "__init__.py").write_text(f"raise OSError({missing!r})\n")
    for name in [n for n in sys.modules if n.split(".")[0] == "lightgbm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    dataset = world(35, ic=0.2, sessions=6, symbols=5)
    with pytest.raises(EnvironmentFaultError, match=r"libgomp\.so\.1.*install libgomp1"):
        fit_lightgbm(dataset, decision_rows(dataset, range(6)), **scaler(dataset, 6))
