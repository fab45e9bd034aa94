"""A training repeats itself, survives being killed, and ends well or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alpaca_strategy.errors import DiskSpaceError, TrainingError
from alpaca_strategy.model.dataset import Dataset
from alpaca_strategy.model.presets import NetworkShape, TrainingPlan
from alpaca_strategy.model.splits import Split
from alpaca_strategy.model.training import Trained, fit_scaler, train
from tests.worlds import World

SHAPE = NetworkShape(symbols=6, hidden=8, heads=2, feedforward=16, minutes_per_token=24)
PLAN = TrainingPlan(epochs=4, patience=4, learning_rate=3e-3)
ROOT = Path(__file__).resolve().parents[2]
WORLD = World(symbols=6, ic=0.3, seed=1)
SPLIT = Split(training=(0, 1, 2, 3), validation=(5, 6), holdout=(8,))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return WORLD.dataset(9)


def run(dataset: Dataset, folder: Path, **options: object) -> Trained:
    basis = {"shape": SHAPE, "plan": PLAN, "seed": 5, "folder": folder}
    return train(dataset, SPLIT, **{**basis, **options})  # type: ignore[arg-type]


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return dict(trained.network.state_dict())


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    dataset: Dataset, tmp_path: Path
) -> None:
    first, again = run(dataset, tmp_path / "a"), run(dataset, tmp_path / "b")
    assert (first.epochs, first.resumed) == (4, False)
    assert first.best_epoch == again.best_epoch
    for name, tensor in weights(first).items():
        assert torch.equal(tensor, weights(again)[name]), name
    other = run(dataset, tmp_path / "c", seed=6)
    assert not torch.equal(weights(other)["stem.of_features.weight"],
                           weights(first)["stem.of_features.weight"])  # fmt: skip


def train_until_killed(folder: str) -> None:
    """Die in the third epoch, whose checkpoint may not be there yet."""

    def die(done: int, _most: int, _said: str) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    run(WORLD.dataset(9), Path(folder), progress=die)


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(
    dataset: Dataset, tmp_path: Path
) -> None:
    whole = run(dataset, tmp_path / "whole")
    code = f"import {__name__} as t; t.train_until_killed({str(tmp_path / 'killed')!r})"
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(  # not a fork: PyTorch's threads do not survive one
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "last.ckpt").is_file()
    resumed = run(dataset, tmp_path / "killed")
    assert resumed.resumed
    assert resumed.best_epoch == whole.best_epoch
    assert resumed.validation_loss == whole.validation_loss
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_it_stops_when_the_validation_sessions_have_heard_enough(
    dataset: Dataset, tmp_path: Path
) -> None:
    hasty = replace(PLAN, epochs=40, patience=1, learning_rate=0.05)
    done = run(dataset, tmp_path / "t", plan=hasty)
    assert done.epochs < 40
    assert done.best_epoch < done.epochs


def test_a_loss_that_is_no_number_ends_it_with_a_sentence(dataset: Dataset, tmp_path: Path) -> None:
    broken = dataset.features.copy()
    broken[dataset.usable] = np.nan
    with pytest.raises(
        TrainingError, match="The loss became no number in epoch 1, so the champion stays"
    ):
        run(replace(dataset, features=broken), tmp_path / "t")


def test_a_full_disk_ends_it_with_a_sentence_and_keeps_what_was_there(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pytorch_lightning as lightning

    original = lightning.Trainer.save_checkpoint
    saved: list[str] = []

    def full(trainer: lightning.Trainer, filepath: str, *args: object, **options: object) -> None:
        if trainer.current_epoch >= 2:
            raise OSError(28, "No space left on device", filepath)
        saved.append(filepath)
        original(trainer, filepath, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(lightning.Trainer, "save_checkpoint", full)
        with pytest.raises(DiskSpaceError, match="no room for a checkpoint"):
            run(dataset, tmp_path / "t")
    assert saved
    resumed = run(dataset, tmp_path / "t")
    assert resumed.resumed
    whole = run(dataset, tmp_path / "whole")
    assert torch.equal(weights(resumed)["head.layers.1.weight"],
                       weights(whole)["head.layers.1.weight"])  # fmt: skip


def test_the_scaler_knows_the_training_sessions_only(dataset: Dataset) -> None:
    later = dataset.features.copy()
    later[dataset.session_index > SPLIT.training[-1]] *= 100
    ours, theirs = (
        fit_scaler(d, SPLIT.training) for d in (dataset, replace(dataset, features=later))
    )
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    np.testing.assert_array_equal(ours.std, theirs.std)
    rows = dataset.session_index <= SPLIT.training[-1]
    first = dataset.features[rows][:, 2][dataset.usable[rows][:, 2]]
    np.testing.assert_allclose(ours.mean[2], first.mean(axis=0), rtol=1e-3, atol=1e-4)


def test_tensorboard_shows_losses_rate_ic_scores_graph_and_hyperparameters(
    dataset: Dataset, tmp_path: Path
) -> None:
    run(dataset, tmp_path / "t", board=tmp_path / "board" / "model-1")
    (folder,) = {path.parent for path in (tmp_path / "board").rglob("events.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/ic", "val/loss", "val/ic"} <= set(tags["scalars"])
    assert any(name.startswith("lr-") for name in tags["scalars"])
    assert "val/scores" in tags["histograms"]
    assert tags["graph"]
    rates = [event.value for event in events.Scalars("lr-AdamW")]
    assert max(rates) == pytest.approx(3 * PLAN.learning_rate, rel=0.05)
    assert "hidden: 8" in (folder / "hparams.yaml").read_text()


def test_a_horizon_that_divides_nothing_evenly_is_validated_every_epoch(tmp_path: Path) -> None:
    uneven = World(symbols=6, ic=0.3, seed=1).dataset(9, horizon=15)
    told: list[str] = []
    run(uneven, tmp_path / "t", progress=lambda _d, _m, said: told.append(said))
    assert len(told) == 4
    assert len(set(told)) == 4


def test_numbers_that_are_none_in_validation_end_it_too(dataset: Dataset, tmp_path: Path) -> None:
    broken = dataset.features.copy()
    broken[(dataset.session_index >= SPLIT.validation[0])[:, None] & dataset.usable] = np.nan
    with pytest.raises(TrainingError, match="became no number"):
        run(replace(dataset, features=broken), tmp_path / "t")
    silent = dataset.returns.copy()
    silent[dataset.session_index >= SPLIT.validation[0]] = np.nan
    with pytest.raises(TrainingError, match="None of the 76 validation decisions"):
        run(replace(dataset, returns=silent), tmp_path / "t")


def test_a_checkpoint_that_was_cut_short_is_dropped(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    whole = run(dataset, folder)
    last = folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-500])
    again = run(dataset, folder)
    assert not again.resumed
    assert again.validation_loss == whole.validation_loss


def test_progress_is_told_epoch_by_epoch(dataset: Dataset, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    run(dataset, tmp_path / "t", progress=lambda *about: told.append(about))
    assert [(done, most) for done, most, _ in told] == [(n, 4) for n in (1, 2, 3, 4)]
    assert told[-1][2].startswith("validation IC +0.")
