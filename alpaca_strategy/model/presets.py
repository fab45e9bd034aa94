"""Sizes of the network and of its training, under three names.

`full` has the mission's sizes and wants a GPU: some 38 s a step on two cores. `cpu` has all of its
parts and all 240 minutes at sizes that retrain on 60 sessions within two hours on two cores; what
makes that possible is `minutes_per_token`: a token of the temporal encoder then stands for several
minutes. `demo` trains in minutes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from alpaca_strategy.errors import SettingsError
from alpaca_strategy.features.catalogue import FEATURES
from alpaca_strategy.model.dataset import WINDOW


class Preset(StrEnum):
    """The named sizes."""

    FULL = "full"
    CPU = "cpu"
    DEMO = "demo"


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Everything that gives the network's parameters their sizes.

    Attributes:
        symbols: Symbols that it has embeddings and scalers for.
        features: Of a symbol's minute.
        window: Minutes that it looks back on.
        minutes_per_token: Minutes that the stem folds into one token; divides the window.
        hidden: Width of everything after the stem; a multiple of 2 and of ``heads``.
        heads: Of every attention.
        temporal_layers: Layers of the transformer over time.
        cross_layers: Layers of the transformer over symbols.
        feedforward: Width of the transformers' inner layer.
        time_dimensions: Of Time2Vec.
        dropout: Chance that an activation is dropped in training.
    """

    symbols: int
    features: int = len(FEATURES)
    window: int = WINDOW
    minutes_per_token: int = 1
    hidden: int = 256
    heads: int = 8
    temporal_layers: int = 2
    cross_layers: int = 1
    feedforward: int = 1024
    time_dimensions: int = 8
    dropout: float = 0.1


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How a network of a preset is trained.

    Attributes:
        epochs: At most so many.
        patience: Epochs without a better validation loss after which training ends.
        batch_decisions: Decisions (cross-sections) in a step.
        stride_minutes: Between two decisions of a session in one epoch; every epoch shifts them.
            It divides 10, so that every epoch has as many.
        learning_rate: Base rate; OneCycleLR goes up to three times it.
        weight_decay: Of AdamW.
        gradient_clip: Largest norm of a gradient.
        averaging: Of the weights over steps, by which what noise did to each step averages out:
            0.99 looks back on some 100 steps. The averages are what is validated and kept.
    """

    epochs: int = 300
    patience: int = 10
    batch_decisions: int = 16
    stride_minutes: int = 10
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    averaging: float = 0.99


_SHAPES = {
    Preset.FULL: NetworkShape(symbols=0),
    Preset.CPU: NetworkShape(symbols=0, minutes_per_token=8, hidden=64, feedforward=256),
    Preset.DEMO: NetworkShape(symbols=0, minutes_per_token=15, hidden=16, feedforward=32),
}
_PLANS = {
    Preset.FULL: TrainingPlan(),
    Preset.CPU: TrainingPlan(epochs=60, patience=10, learning_rate=3e-4),
    # Slowly, and by more minutes in fewer epochs: at 1e-3 the steps follow their own noise, and 22
    # sessions teach a fifth less. It never stops early: a few validation sessions cannot say when.
    Preset.DEMO: TrainingPlan(
        epochs=3, patience=3, stride_minutes=2, learning_rate=3e-4, averaging=0.995
    ),
}


def preset_named(name: str) -> Preset:
    """Return a preset by its name.

    Raises:
        SettingsError: There is none of that name.
    """
    if name not in set(Preset):
        msg = f"There is no preset {name!r}; choose {', '.join(Preset)}."
        raise SettingsError(msg)
    return Preset(name)


def network_shape(preset: Preset, symbols: int) -> NetworkShape:
    """Return the sizes of a preset for so many symbols."""
    return replace(_SHAPES[preset], symbols=symbols)


def training_plan(preset: Preset) -> TrainingPlan:
    """Return how a preset is trained."""
    return _PLANS[preset]
