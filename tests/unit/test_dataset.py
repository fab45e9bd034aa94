"""Sessions become one array; windows are views on it; splits never share a session."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_strategy.errors import TooFewSessionsError
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.model.dataset import WINDOW, Dataset, build_dataset, decision_rows
from alpaca_strategy.model.splits import split_sessions, walk_forward
from alpaca_strategy.model.windows import Batches, Decisions, windows_of
from tests.worlds import World

OPEN, CLOSE = BAR_COLUMNS.index("open"), BAR_COLUMNS.index("close")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return World(symbols=4, quiet=0.1, seed=3).dataset(4)


def test_rows_follow_the_sessions_minute_by_minute(dataset: Dataset) -> None:
    assert dataset.features.shape == (4 * 390, 4, 30)
    assert dataset.features.dtype == np.float32
    assert dataset.sessions[0] == date(2024, 1, 2)
    np.testing.assert_array_equal(dataset.session_index, np.repeat(np.arange(4), 390))
    np.testing.assert_array_equal(dataset.minute, np.tile(np.arange(390), 4))
    assert np.isfinite(dataset.features[dataset.usable]).all()
    assert np.isnan(dataset.features[~dataset.usable]).all()


def test_a_label_is_the_return_of_the_next_ten_minutes_and_never_leaves_its_session() -> None:
    world = World(symbols=3, seed=5)
    dataset = world.dataset(2)
    values = np.concatenate([bars.values for bars, _ in world.sessions(2)])
    for row in (0, 100, 379, 390, 769):
        expected = np.log(values[row + 10, :, CLOSE] / values[row + 1, :, OPEN])
        np.testing.assert_allclose(dataset.returns[row], expected, rtol=1e-4, atol=1e-7)
    for first, last in ((380, 390), (770, 780)):
        assert np.isnan(dataset.returns[first:last]).all()


def test_equal_content_has_an_equal_hash_and_any_change_another(dataset: Dataset) -> None:
    again = World(symbols=4, quiet=0.1, seed=3).dataset(4)
    assert again.content_hash == dataset.content_hash
    assert World(symbols=4, quiet=0.1, seed=4).dataset(4).content_hash != dataset.content_hash
    assert World(symbols=4, quiet=0.1, seed=3).dataset(3).content_hash != dataset.content_hash


def test_half_days_have_their_own_length() -> None:
    world = World(symbols=2)
    bars = [one for one, _ in world.sessions(130)][-6:]  # 3 July 2024 is among them
    lengths = [len(one.observed) for one in bars]
    assert 210 in lengths
    dataset = build_dataset(bars, minutes=lengths, symbols=world.names, fingerprint="f", horizon=10)
    half = lengths.index(210)
    rows = decision_rows(dataset, [half])
    assert dataset.minute[rows].max() == 199
    assert np.isnan(dataset.returns[dataset.session_index == half][200:]).all()


def test_decisions_come_every_ten_minutes_with_a_whole_window_before_them(
    dataset: Dataset,
) -> None:
    rows = decision_rows(dataset, [0, 1, 2, 3])
    assert rows.min() >= WINDOW - 1
    assert set(dataset.minute[decision_rows(dataset, [1])]) == set(range(9, 380, 10))
    shifted = decision_rows(dataset, [2], phase=3)
    assert set(dataset.minute[shifted]) == set(range(3, 380, 10))
    assert list(dataset.session_index[decision_rows(dataset, [1, 3])]) == [1] * 38 + [3] * 38


def test_windows_are_views_and_batches_their_copies(dataset: Dataset) -> None:
    windows = windows_of(dataset)
    assert windows.features.data_ptr() == dataset.features.ctypes.data
    rows = np.array([500, 239, 1559])
    features, usable, returns = windows.take(rows)
    for i, row in enumerate(rows):
        block = slice(row - 239, row + 1)
        np.testing.assert_array_equal(features[i], dataset.features[block])
        np.testing.assert_array_equal(usable[i], dataset.usable[block])
        np.testing.assert_array_equal(returns[i], dataset.returns[row])
    assert features.data_ptr() != windows.features.data_ptr()


def test_batches_hold_every_row_of_their_epoch_once(dataset: Dataset) -> None:
    rows = decision_rows(dataset, [1, 2])
    epochs = iter([rows, rows, np.roll(rows, 7)])
    batches = Batches(lambda: next(epochs), 16, 5)
    assert [len(b) for b in batches] == [16, 16, 16, 16, 12]
    np.testing.assert_array_equal(np.concatenate(list(batches)), rows)
    np.testing.assert_array_equal(np.concatenate(list(batches)), np.roll(rows, 7))
    short = list(Batches(lambda: rows, 16, 3))  # an epoch has as many batches as it announced
    np.testing.assert_array_equal(np.concatenate(short), rows[:48])
    features, usable, returns = Decisions(windows_of(dataset))[rows[:3]]
    assert (features.shape, usable.shape, returns.shape) == ((3, 240, 4, 30), (3, 240, 4), (3, 4))


def test_what_comes_later_changes_no_row_before_it() -> None:
    world = World(symbols=3, seed=8)
    short, long = world.dataset(2), world.dataset(3)
    np.testing.assert_array_equal(short.features, long.features[:780])
    np.testing.assert_array_equal(short.returns, long.returns[:780])
    other = [bars for bars, _ in world.sessions(2)]
    changed = other[1].values.copy()
    changed[200:] *= 3.0
    other[1] = replace(other[1], values=changed)
    altered = build_dataset(other, minutes=[390, 390], symbols=world.names, fingerprint="f")
    np.testing.assert_array_equal(altered.features[: 390 + 200], short.features[: 390 + 200])
    np.testing.assert_array_equal(altered.returns[: 390 + 190], short.returns[: 390 + 190])


@given(st.integers(35, 600))
def test_parts_are_in_order_apart_and_cover_all_but_the_embargo(sessions: int) -> None:
    split = split_sessions(sessions)
    parts = (split.training, split.validation, split.holdout)
    every = [i for part in parts for i in part]
    assert every == sorted(set(every))
    assert len(every) == sessions - 2
    assert split.validation[0] - split.training[-1] == 2
    assert split.holdout[0] - split.validation[-1] == 2
    assert split.holdout[-1] == sessions - 1
    assert len(split.holdout) == 21
    assert len(split.training) >= 8
    assert len(split.validation) >= 3


def test_too_few_sessions_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(
        TooFewSessionsError, match="33 sessions are too few to train on: 34 are"
    ) as e:
        split_sessions(33)
    assert "alpaca-strategy backfill" in str(e.value)


def test_folds_walk_forward_without_overlap() -> None:
    folds = walk_forward(80, folds=3, test=10)
    tests = [i for fold in folds for i in fold.holdout]
    assert tests == list(range(50, 80))
    for fold in folds:
        assert fold.training[0] == 0
        assert max(fold.training) < min(fold.validation) < min(fold.holdout)
    with pytest.raises(TooFewSessionsError):
        walk_forward(80, folds=7, test=10)
