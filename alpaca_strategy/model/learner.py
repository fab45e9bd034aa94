"""How the network learns, as PyTorch Lightning wants it told."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pytorch_lightning as lightning
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader

from alpaca_strategy.errors import TrainingError
from alpaca_strategy.model.dataset import Dataset, decision_rows
from alpaca_strategy.model.losses import ranking_loss
from alpaca_strategy.model.network import Ranker, is_scored
from alpaca_strategy.model.presets import NetworkShape, TrainingPlan
from alpaca_strategy.model.splits import Split
from alpaca_strategy.model.windows import Batches, Decisions, Windows, windows_of

Batch = tuple[Tensor, Tensor, Tensor]
Rows = npt.NDArray[np.int64]


class DecisionData(lightning.LightningDataModule):
    """Decisions of the training sessions in a new order every epoch, and those of validation."""

    def __init__(self, dataset: Dataset, split: Split, plan: TrainingPlan, seed: int) -> None:
        super().__init__()
        self.dataset, self.split, self.plan, self.seed = dataset, split, plan, seed
        self.windows: Windows = windows_of(dataset)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the training sessions' batches: every epoch other minutes, in another order."""
        # The trainer's epoch, not the one that Lightning tells samplers: after an interruption it
        # tells that when the first batch has been fetched already.
        return self._loader(
            lambda: self.training_rows(self.trainer.current_epoch if self.trainer else 0),
            self.steps_per_epoch(),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation sessions' decisions, oldest first."""
        rows = decision_rows(self.dataset, self.split.validation)
        return self._loader(lambda: rows, -(-len(rows) // self.plan.batch_decisions))

    def training_rows(self, epoch: int) -> Rows:
        """Return the rows of an epoch, which depend on seed and epoch alone."""
        draw = np.random.default_rng([self.seed, epoch])
        phase = int(draw.integers(self.plan.stride_minutes))
        # The first session gives the second its history: the number of rows is then always equal.
        sessions = self.split.training[1:]
        rows = decision_rows(self.dataset, sessions, stride=self.plan.stride_minutes, phase=phase)
        return draw.permutation(rows)

    def steps_per_epoch(self) -> int:
        """Return how many batches an epoch has.

        Where horizon or half-days do not divide evenly, some phases have one more; it is left out,
        because an epoch that ends before its announced length would never be validated.
        """
        stride = self.plan.stride_minutes
        rows = (
            decision_rows(self.dataset, self.split.training[1:], stride=stride, phase=phase)
            for phase in range(stride)
        )
        return -(-min(len(r) for r in rows) // self.plan.batch_decisions)

    def _loader(self, rows: Callable[[], Rows], count: int) -> DataLoader[Batch]:
        batches = Batches(rows, self.plan.batch_decisions, count)
        # A batch is one copy out of memory: workers would only add another.
        return DataLoader(Decisions(self.windows), batch_size=None, sampler=batches, num_workers=0)


class Learner(lightning.LightningModule):
    """The network with its loss, its optimiser, and what TensorBoard shows of it."""

    def __init__(
        self, shape: NetworkShape, plan: TrainingPlan, *, steps_per_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.save_hyperparameters({**asdict(shape), **asdict(plan), "seed": seed})
        self.network = Ranker(shape)
        self.plan, self.steps_per_epoch, self.seed = plan, steps_per_epoch, seed
        self._validated: list[tuple[Tensor, Tensor]] = []

    def on_fit_start(self) -> None:
        """Show TensorBoard the network's graph."""
        if not isinstance(self.logger, TensorBoardLogger):
            return
        shape = self.network.shape
        example = (
            torch.zeros(1, shape.window, shape.symbols, shape.features, device=self.device),
            torch.ones(1, shape.window, shape.symbols, dtype=torch.bool, device=self.device),
        )
        self.network.eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is deprecated, and TensorBoard knows no other
            # Unchecked: the check takes names that differ between two traces for a difference.
            traced = torch.jit.trace(self.network, example, check_trace=False)  # type: ignore[no-untyped-call]
            self.logger.experiment.add_graph(traced, example)
        self.network.train()

    def forward(self, features: Tensor, usable: Tensor) -> Tensor:
        """Return logits (B, S)."""
        logits: Tensor = self.network(features, usable)
        return logits

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Draw each step's dropout from its own seed, so that a resumed run repeats it."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch."""
        features, usable, returns = batch
        logits = self(features, usable)
        self._check_numbers(logits, usable)
        losses = ranking_loss(logits, returns)
        if not torch.isfinite(losses.total):
            raise self._no_number()
        count = max(losses.decisions, 1)
        self.log("train/loss", losses.total, on_step=False, on_epoch=True, batch_size=count)
        self.log("train/spearman", losses.spearman, on_step=False, on_epoch=True, batch_size=count)
        self.log("train/mse", losses.mse, on_step=False, on_epoch=True, batch_size=count)
        self.log("train/ic", losses.ic, on_step=False, on_epoch=True, batch_size=count)
        return losses.total

    def validation_step(self, batch: Batch, _: int) -> None:
        """Remember what was said of a batch."""
        features, usable, returns = batch
        logits = self(features, usable)
        self._check_numbers(logits, usable)
        self._validated.append((logits.float(), returns.float()))

    def on_validation_epoch_end(self) -> None:
        """Judge the validation sessions as a whole."""
        logits = torch.cat([said for said, _ in self._validated])
        losses = ranking_loss(logits, torch.cat([returns for _, returns in self._validated]))
        self._validated.clear()
        for name, value in (
            ("val/loss", losses.total),
            ("val/rank_ic_soft", 1.0 - losses.spearman),
            ("val/mse", losses.mse),
            ("val/ic", losses.ic),
        ):
            self.log(name, value, sync_dist=True)
        if isinstance(self.logger, TensorBoardLogger) and not self.trainer.sanity_checking:
            board = self.logger.experiment
            board.add_histogram(
                "val/scores", torch.sigmoid(logits[torch.isfinite(logits)]), self.current_epoch
            )

    def _check_numbers(self, logits: Tensor, usable: Tensor) -> None:
        """Refuse a logit that is no number: it looks like a symbol that is not scored."""
        if bool((torch.isnan(logits) & is_scored(usable)).any()):
            raise self._no_number()

    def _no_number(self) -> TrainingError:
        return TrainingError(
            f"The loss became no number in epoch {self.current_epoch + 1}, so the champion stays; "
            f"lower training.learning_rate, or look for damaged features."
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and one cycle of the learning rate, up to three times the base."""
        plan = self.plan
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=3 * plan.learning_rate, total_steps=plan.epochs * self.steps_per_epoch
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
