"""From pinned data and a recipe to a model's file: what a training and its repetition share.

`fit` is long because it names, once, all that a model was made from.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from alpaca_strategy.bootstrap import Services
from alpaca_strategy.config import Settings
from alpaca_strategy.config import home as home_folder
from alpaca_strategy.jobs.candidate import Candidate, Recipe, code_version
from alpaca_strategy.jobs.training_data import load_dataset
from alpaca_strategy.storage.registry_records import DataPin


@dataclass(frozen=True, slots=True)
class Traces:
    """What a training leaves on this machine.

    Attributes:
        checkpoints: A folder from which an interrupted training goes on.
        board: TensorBoard's logs.
    """

    checkpoints: Path
    board: Path

    def keep_as(self, model: str) -> None:
        """Call TensorBoard's logs by the model's name, and remove the checkpoints."""
        named = self.board.with_name(model)
        if self.board.exists() and not named.exists():
            self.board.rename(named)
        self.remove()

    def remove(self) -> None:
        """Remove both."""
        for folder in (self.checkpoints, self.board):
            shutil.rmtree(folder, ignore_errors=True)


def chosen_plan(settings: Settings) -> dict[str, int | float]:
    """Return what the settings say otherwise than a preset's training plan."""
    return settings.training.model_dump(
        include={"epochs", "patience", "learning_rate", "weight_decay"}, exclude_none=True
    )


def fit(
    home: Services,
    pins: Sequence[DataPin],
    recipe: Recipe,
    *,
    symbols: Sequence[str],
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[Candidate, bytes, Traces]:
    """Train by a recipe on pinned data; the same two give the same bytes on the same machine.

    Returns:
        The candidate, whose file has no address yet; the file; and what the training left, to be
        dealt with when both are safe.
    """
    from alpaca_strategy.model.calibration import fit_calibration
    from alpaca_strategy.model.checkpoint import Card, Model, dump_model
    from alpaca_strategy.model.dataset import decision_rows
    from alpaca_strategy.model.presets import Preset, network_shape, training_plan
    from alpaca_strategy.model.scorer import predict
    from alpaca_strategy.model.splits import split_sessions
    from alpaca_strategy.model.training import environment
    from alpaca_strategy.model.training import train as train_network

    dataset = load_dataset(home, pins, symbols=symbols, horizon=recipe.horizon)
    split = split_sessions(len(dataset.sessions))
    preset = Preset(recipe.preset)
    key = hashlib.sha256(repr((dataset.content_hash, recipe, code_version())).encode()).hexdigest()
    traces = Traces(
        Path(home.settings.location("data/{venue}/training")) / key[:16],
        home_folder() / "results" / "tensorboard_logs" / f"training-{key[:8]}",
    )
    trained = train_network(
        dataset,
        split,
        shape=network_shape(preset, len(dataset.symbols)),
        plan=replace(training_plan(preset), **recipe.plan),  # type: ignore[arg-type]
        seed=recipe.seed,
        folder=traces.checkpoints,
        board=traces.board,
        progress=progress,
    )
    validation = decision_rows(dataset, split.validation)
    calibration = fit_calibration(predict(trained.network, dataset, validation))
    training, stopping, holdout = (
        tuple(dataset.sessions[i] for i in part)
        for part in (split.training, split.validation, split.holdout)
    )
    card = Card(
        fingerprint=dataset.fingerprint,
        feed=home.settings.data.feed.value,
        symbols=dataset.symbols,
        horizon=recipe.horizon,
        preset=recipe.preset,
        seed=recipe.seed,
        dataset_hash=dataset.content_hash,
        training=_ends(training),
        validation=_ends(stopping),
        holdout=_ends(holdout),
        code_version=code_version(),
    )
    data = dump_model(Model(trained.network, calibration, card))
    candidate = Candidate(
        recipe=recipe,
        data=tuple(pins),
        symbols=dataset.symbols,
        training=training,
        validation=stopping,
        holdout=holdout,
        fingerprint=dataset.fingerprint,
        dataset_hash=dataset.content_hash,
        artifact_uri="",
        artifact_sha256=hashlib.sha256(data).hexdigest(),
        code_version=code_version(),
        environment=environment(),
        epochs=trained.epochs,
        best_epoch=trained.best_epoch + 1,
        validation_loss=trained.validation_loss,
    )
    return candidate, data, traces


def _ends(sessions: tuple[date, ...]) -> tuple[str, str]:
    return sessions[0].isoformat(), sessions[-1].isoformat()
