"""Odd data train as far as they go, or are refused with one sentence; no weight is ever NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from alpaca_strategy.errors import TrainingError
from alpaca_strategy.features.fingerprint import fingerprint
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.model.calibration import fit_calibration
from alpaca_strategy.model.dataset import Dataset, SessionBars, build_dataset, decision_rows
from alpaca_strategy.model.predictions import Predictions
from alpaca_strategy.model.presets import NetworkShape, TrainingPlan
from alpaca_strategy.model.scorer import predict
from alpaca_strategy.model.splits import Split
from alpaca_strategy.model.training import Trained, train
from tests.worlds import World

Mask = npt.NDArray[np.bool_]
Change = Callable[[int, SessionBars], SessionBars]
SPLIT = Split(training=(0, 1, 2, 3), validation=(5, 6), holdout=(8,))
SESSIONS = 9
PLAN = TrainingPlan(epochs=2, patience=2, learning_rate=3e-3)
WORLD = World(symbols=5, ic=0.3, seed=4)


def dataset_of(change: Change, world: World = WORLD) -> Dataset:
    """Return a small world's sessions, each changed."""
    bars = [change(i, one) for i, (one, _) in enumerate(world.sessions(SESSIONS))]
    return as_dataset(bars, world.names)


def as_dataset(bars: Sequence[SessionBars], symbols: Sequence[str]) -> Dataset:
    made_of = fingerprint(feed="iex", condition_fingerprint="none", symbols=symbols, horizon=10)
    minutes = [len(one.observed) for one in bars]
    return build_dataset(bars, minutes=minutes, symbols=symbols, fingerprint=made_of)


def without(bars: SessionBars, gone: Mask) -> SessionBars:
    """Return a session of which these minutes (minutes, symbols) have no bar."""
    values = bars.values.copy()
    values[gone] = np.nan
    return SessionBars(bars.day, values, bars.observed & ~gone)


def without_symbols(bars: SessionBars, *places: int) -> SessionBars:
    gone = np.zeros_like(bars.observed)
    gone[:, list(places)] = True
    return without(bars, gone)


def trained_on(dataset: Dataset, folder: Path) -> Trained:
    """Train a tiny network, and see that it ended well."""
    count = len(dataset.symbols)
    done = train(
        dataset,
        SPLIT,
        shape=NetworkShape(count, hidden=8, heads=2, feedforward=16, minutes_per_token=24),
        plan=PLAN,
        seed=1,
        folder=folder / "training",
    )
    assert done.epochs == 2
    assert np.isfinite(done.validation_loss)
    for name, weights in done.network.state_dict().items():
        assert torch.isfinite(weights).all(), name
    return done


def asked(done: Trained, dataset: Dataset, sessions: Sequence[int]) -> Predictions:
    return predict(done.network, dataset, decision_rows(dataset, sessions))


def test_a_symbol_without_any_data_is_never_scored_and_harms_nobody(tmp_path: Path) -> None:
    dataset = dataset_of(lambda _, bars: without_symbols(bars, 2))
    scores = asked(trained_on(dataset, tmp_path), dataset, SPLIT.holdout).scores
    assert len(scores) == 38  # decisions of a whole session
    assert np.isnan(scores[:, 2]).all()
    assert np.isfinite(np.delete(scores, 2, axis=1)).all()


def test_a_newly_listed_symbol_is_scored_once_it_has_half_an_hour_of_bars(tmp_path: Path) -> None:
    dataset = dataset_of(lambda i, bars: without_symbols(bars, 1) if i < 8 else bars)
    done = trained_on(dataset, tmp_path)
    validated, later = (asked(done, dataset, part) for part in (SPLIT.validation, SPLIT.holdout))
    assert np.isnan(validated.scores[:, 1]).all()
    enough = later.minute >= 29
    assert enough.any()
    assert not enough.all()
    np.testing.assert_array_equal(np.isfinite(later.scores[:, 1]), enough)


def test_quarantined_symbol_sessions_are_passed_over(tmp_path: Path) -> None:
    quarantine = {1: (0, 3), 2: (0,), 5: (4,), 8: (1,)}
    dataset = dataset_of(lambda i, bars: without_symbols(bars, *quarantine.get(i, ())))
    done = trained_on(dataset, tmp_path)
    for session, places in quarantine.items():
        said = asked(done, dataset, (session,))
        for place in range(5):
            late = said.scores[said.minute >= 29, place]
            assert np.isnan(late if place in places else 0.0).all() == (place in places)
            assert np.isfinite(late).all() == (place not in places)


def test_a_session_quarantined_as_a_whole_is_passed_over(tmp_path: Path) -> None:
    dataset = dataset_of(lambda i, bars: without_symbols(bars, *range(5)) if i in {2, 6} else bars)
    assert np.isnan(asked(trained_on(dataset, tmp_path), dataset, (2,)).scores[5:]).all()


@pytest.mark.parametrize(
    "kept",
    [
        [name for name in BAR_COLUMNS if name != "price_std"],
        ["open", "high", "low", "close", "volume"],  # what most vendors' bars have
        ["open", "close"],
    ],
    ids=["without price_std", "with five columns", "with open and close alone"],
)
def test_bars_without_some_columns_train(tmp_path: Path, kept: list[str]) -> None:
    lost = [i for i, name in enumerate(BAR_COLUMNS) if name not in kept]

    def change(_: int, bars: SessionBars) -> SessionBars:
        values = bars.values.copy()
        values[:, :, lost] = np.nan
        return SessionBars(bars.day, values, bars.observed)

    dataset = dataset_of(change)
    assert np.isfinite(asked(trained_on(dataset, tmp_path), dataset, SPLIT.holdout).scores).all()


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    dataset = dataset_of(lambda _, bars: bars)
    broken = dataset.features.copy()
    broken[:, :, 8] = np.nan
    with pytest.raises(TrainingError, match="became no number in epoch 1"):
        trained_on(replace(dataset, features=broken), tmp_path)


def test_features_that_never_vary_train(tmp_path: Path) -> None:
    """One minute's bar again and again, but for the closes that labels are made of."""
    moving = [BAR_COLUMNS.index(name) for name in ("open", "high", "low", "close")]

    def change(_: int, bars: SessionBars) -> SessionBars:
        values = np.broadcast_to(bars.values[:1], bars.values.shape).copy()
        values[:, :, moving] = bars.values[:, :, moving]
        return SessionBars(bars.day, values, bars.observed)

    dataset = dataset_of(change)
    assert np.isfinite(asked(trained_on(dataset, tmp_path), dataset, SPLIT.holdout).scores).all()


def test_prices_that_never_move_give_no_weight_that_is_no_number(tmp_path: Path) -> None:
    dataset = dataset_of(
        lambda _, bars: SessionBars(
            bars.day, np.broadcast_to(bars.values[:1], bars.values.shape).copy(), bars.observed
        )
    )
    assert not np.nanmax(np.abs(dataset.returns))
    trained_on(dataset, tmp_path)


def test_half_days_between_whole_ones_train(tmp_path: Path) -> None:
    around = exchange_calendar().sessions(date(2024, 11, 21), date(2024, 12, 4))
    lengths = [day.minutes for day in around]
    assert lengths.count(210) == 1  # the day after Thanksgiving
    assert len(lengths) == SESSIONS
    whole = [bars for bars, _ in WORLD.sessions(SESSIONS)]
    cut = [
        SessionBars(day.day, bars.values[: day.minutes], bars.observed[: day.minutes])
        for day, bars in zip(around, whole, strict=True)
    ]
    cut[2] = SessionBars(cut[2].day, cut[2].values[:210], cut[2].observed[:210])  # and in training
    dataset = as_dataset(cut, WORLD.names)
    scores = asked(trained_on(dataset, tmp_path), dataset, (2, 6)).scores
    # A half day's decisions are as far apart as a whole one's, and end ten minutes before it does.
    assert len(scores) == sum((n - 10) // 10 for n in (210, lengths[6]))
    assert np.isfinite(scores).all()


def test_bars_in_three_minutes_of_ten_train(tmp_path: Path) -> None:
    dataset = dataset_of(lambda _, bars: bars, replace(WORLD, quiet=0.7))
    assert dataset.usable.mean() == pytest.approx(0.3, abs=0.01)
    scores = asked(trained_on(dataset, tmp_path), dataset, SPLIT.holdout).scores
    assert np.isfinite(scores).mean() > 0.9  # ten minutes without a bar are rare: 0.7 ** 10


TOO_FEW = "three symbols"


def test_a_universe_of_two_symbols_is_refused(tmp_path: Path) -> None:
    dataset = dataset_of(lambda _, bars: bars, replace(WORLD, symbols=2))
    with pytest.raises(TrainingError, match=r"None of the \d+ training decisions") as caught:
        trained_on(dataset, tmp_path)
    assert TOO_FEW in str(caught.value)
    assert not (tmp_path / "training").exists()


@pytest.mark.parametrize(
    ("left", "sessions", "part"),
    [
        (0, range(SESSIONS), "training"),
        (2, range(SESSIONS), "training"),
        (2, (5, 6), "validation"),
        (2, (1, 2, 3), "training"),  # the first session gives no decisions, but for its history
    ],
)
def test_fewer_than_three_symbols_with_data_are_refused(
    tmp_path: Path, left: int, sessions: Sequence[int], part: str
) -> None:
    dataset = dataset_of(
        lambda i, bars: without_symbols(bars, *range(left, 5)) if i in sessions else bars
    )
    with pytest.raises(TrainingError, match=rf"None of the \d+ {part} decisions") as caught:
        trained_on(dataset, tmp_path)
    assert TOO_FEW in str(caught.value)


def test_too_few_minutes_to_score_anybody_are_refused(tmp_path: Path) -> None:
    dataset = dataset_of(lambda _, bars: bars, replace(WORLD, quiet=0.95))
    with pytest.raises(TrainingError, match="None of the"):
        trained_on(dataset, tmp_path)


def test_three_symbols_are_enough(tmp_path: Path) -> None:
    dataset = dataset_of(lambda _, bars: without_symbols(bars, 1, 3))
    said = asked(trained_on(dataset, tmp_path), dataset, SPLIT.validation)
    assert np.isfinite(said.scores[:, [0, 2, 4]]).all()
    assert fit_calibration(said).logit_scale > 0
