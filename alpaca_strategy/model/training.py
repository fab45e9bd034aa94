"""One training, from a dataset to a model; killed at any moment it goes on where it stopped."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
import structlog
import torch
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from pytorch_lightning.loggers import TensorBoardLogger

from alpaca_strategy.errors import DiskSpaceError, TrainingError
from alpaca_strategy.features.scaler import Scaler, fit
from alpaca_strategy.model.dataset import Dataset, decision_rows
from alpaca_strategy.model.learner import DecisionData, Learner
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.presets import NetworkShape, TrainingPlan
from alpaca_strategy.model.splits import Split

log = structlog.get_logger(__name__)

#: Told (epochs done, epochs at most, what is to be said).
Progress = Callable[[int, int, str], None]
_LAST = "last.ckpt"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to.

    Attributes:
        network: With the weights of its best epoch.
        epochs: How many it took.
        best_epoch: Whose weights they are, from 0.
        validation_loss: Of that epoch.
        resumed: Whether it went on from an interrupted one.
    """

    network: Ranker
    epochs: int
    best_epoch: int
    validation_loss: float
    resumed: bool


def train(
    dataset: Dataset,
    split: Split,
    *,
    shape: NetworkShape,
    plan: TrainingPlan,
    seed: int,
    folder: Path,
    board: Path | None = None,
    progress: Progress | None = None,
    bar: bool = False,
) -> Trained:
    """Train a network on the training sessions until the validation sessions say enough.

    The same dataset, split, sizes and seed give the same weights on the same machine, whether the
    training was interrupted or not.

    Args:
        dataset: The dataset.
        split: Which of its sessions train and validate.
        shape: Sizes of the network.
        plan: How it is trained.
        seed: Of weights, order and dropout.
        folder: Where its checkpoints are, of this training alone; gone on from when they are
            there. Who called removes it when what came of it is safe.
        board: Where TensorBoard's logs go; None writes none.
        progress: Told after every epoch.
        bar: Show a bar for each epoch.

    Raises:
        TrainingError: There is nothing to rank, the loss became no number, or no epoch came to an
            end.
        DiskSpaceError: No room for a checkpoint; what was trained until then is kept.
    """
    lightning.seed_everything(seed, verbose=False)
    data = DecisionData(dataset, split, plan, seed)
    _require_something_to_rank(data)
    learner = Learner(shape, plan, steps_per_epoch=data.steps_per_epoch(), seed=seed)
    scaler = fit_scaler(dataset, split.training)
    learner.network.standardize.mean.copy_(torch.from_numpy(scaler.mean))
    learner.network.standardize.std.copy_(torch.from_numpy(scaler.std))
    best = ModelCheckpoint(folder, "best", monitor="val/loss", save_on_train_epoch_end=True)
    told = _Told(progress)
    trainer = _trainer(plan, folder, board, [best, told], bar=bar)
    resumed = _is_whole(folder)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")  # advice, not faults
            trainer.fit(
                learner, data, ckpt_path=str(folder / _LAST) if resumed else None, weights_only=True
            )
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            msg = f"There is no room for a checkpoint in {folder}; free space, then train again."
            raise DiskSpaceError(msg) from error
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not best.best_model_path or best.best_model_score is None:
        msg = "No epoch gave a validation loss; publish more sessions, then train again."
        raise TrainingError(msg)
    state = torch.load(best.best_model_path, weights_only=True)
    learner.load_state_dict(state["state_dict"])
    learner.network.eval().requires_grad_(requires_grad=False)
    return Trained(
        learner.network.cpu(),
        trainer.current_epoch,
        int(state["epoch"]),
        float(best.best_model_score),
        resumed,
    )


def has_gpu() -> bool:
    """Return whether a GPU is at hand."""
    return torch.cuda.is_available()


def environment() -> dict[str, str | int]:
    """Return what, beside data and recipe, may change the last bits of a training."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if has_gpu() else "cpu",
    }


def fit_scaler(dataset: Dataset, sessions: Sequence[int]) -> Scaler:
    """Return the scaler of these sessions, which follow each other but for an embargo."""
    rows = np.flatnonzero(np.isin(dataset.session_index, np.asarray(sessions)))
    block = slice(int(rows[0]), int(rows[-1]) + 1)
    usable = dataset.usable[block] & np.isin(dataset.session_index[block], sessions)[:, None]
    scaler = fit(dataset.features[block], usable)
    for name, count in sorted(Counter(name for _, name in scaler.degenerate).items()):
        log.warning("feature_never_varies", feature=name, symbols=count)
    return scaler


def _require_something_to_rank(data: DecisionData) -> None:
    """Refuse what would cost nothing and teach nothing, and look like a perfect model.

    Raises:
        TrainingError: No decision of a part has three symbols with bars.
    """
    # The first session is only the second one's history.
    parts = {"training": data.split.training[1:], "validation": data.split.validation}
    for part, sessions in parts.items():
        rows = decision_rows(data.dataset, sessions)
        if not data.windows.rankable(rows):
            msg = (
                f"None of the {len(rows)} {part} decisions has three symbols with enough bars to "
                f"be ranked ({len(data.dataset.symbols)} are in the universe); add symbols, or "
                f"publish the quarantined ones."
            )
            raise TrainingError(msg)


def _is_whole(folder: Path) -> bool:
    """Return whether there is a checkpoint to go on from; one that was cut short is dropped."""
    try:
        torch.load(folder / _LAST, weights_only=True)
    except FileNotFoundError:
        return False
    except Exception as error:  # noqa: BLE001  # whatever a damaged file makes of the reader
        log.warning("checkpoint_dropped", folder=str(folder), reason=str(error).split("\n")[0])
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True


def _trainer(
    plan: TrainingPlan, folder: Path, board: Path | None, callbacks: list[Callback], *, bar: bool
) -> lightning.Trainer:
    logger = (
        TensorBoardLogger(board.parent, board.name, version="", default_hp_metric=False)
        if board
        else False
    )
    callbacks = [
        *callbacks,
        EarlyStopping("val/loss", patience=plan.patience, check_on_train_epoch_end=True),
        # Every epoch, whether it was a better one or not: what a kill may cost.
        ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False),
        EMAWeightAveraging(use_buffers=False, decay=plan.averaging),
    ]
    if board:
        callbacks.append(LearningRateMonitor("step"))
    if bar:
        callbacks.append(TQDMProgressBar(leave=False))
    gpu = has_gpu()
    return lightning.Trainer(
        max_epochs=plan.epochs,
        accelerator="gpu" if gpu else "cpu",
        devices=1,  # several would start this whole program once more each, lock and all
        precision="bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true",
        gradient_clip_val=plan.gradient_clip,
        deterministic=True,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=logger,
        callbacks=callbacks,
        enable_progress_bar=bar,
        enable_model_summary=False,
        enable_checkpointing=True,
        default_root_dir=os.fspath(folder),
    )


class _Told(Callback):
    """Tells how an epoch went, in the log and to whoever wants to know."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def on_train_epoch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002  # Lightning's signature
    ) -> None:
        """Say it."""
        figures = {
            name.replace("/", "_"): round(float(value), 4)
            for name, value in trainer.callback_metrics.items()
            if name in {"train/loss", "val/loss", "val/ic"}
        }
        done, most = trainer.current_epoch + 1, trainer.max_epochs or 0
        log.info("epoch_finished", epoch=done, of=most, **figures)
        if self._progress:
            self._progress(done, most, f"validation IC {figures.get('val_ic', 0.0):+.4f}")
