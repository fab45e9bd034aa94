"""Worlds in which a gate is tried: what models can do, and how noisily sessions show it.

A session's rank IC is what the model can do plus noise of 0.03: that of 39 decisions that rank 30
symbols by chance, 1 / sqrt(29) / sqrt(39). Two models of the same days share much of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpaca_strategy.model.gate_figures import Floats

SESSION_NOISE = 0.03
#: Of the session ICs of two trainings whose sessions mostly overlap.
CORRELATION = 0.7
WEEK_SESSIONS = 5


@dataclass(frozen=True, slots=True)
class World:
    """What retraining every week brings.

    Attributes:
        name: For people.
        rank_ic: What a good training can do.
        spread: Standard deviation between trainings.
        decay: Rank IC that a model loses a week.
        failures: Share of trainings that end as much as ``failure`` worse.
        failure: By how much.
    """

    name: str
    rank_ic: float = 0.02
    spread: float = 0.0
    decay: float = 0.0
    failures: float = 0.0
    failure: float = 0.03


WORLDS = (
    World("all trainings equal"),
    World("nothing to learn", rank_ic=0.0),
    World("trainings differ by 0.005", spread=0.005),
    World("trainings differ by 0.01", spread=0.01),
    World("models lose 0.002 a week", spread=0.005, decay=0.002),
    World("one training in ten fails", spread=0.005, failures=0.1),
)


def train(draw: np.random.Generator, world: World, trials: int) -> Floats:
    """Return the true rank IC of one training in each of so many trials."""
    failed = draw.random(trials) < world.failures
    spread = world.spread * draw.standard_normal(trials)
    return np.asarray(world.rank_ic + spread - np.where(failed, world.failure, 0.0))


def session_noise(
    draw: np.random.Generator, shape: tuple[int, int], correlation: float
) -> tuple[Floats, Floats, Floats]:
    """Return what two models share, and what each has to itself, of these (trials, sessions)."""
    shared = SESSION_NOISE * np.sqrt(correlation) * draw.standard_normal(shape)
    alone = SESSION_NOISE * np.sqrt(1.0 - correlation) * draw.standard_normal((2, *shape))
    return shared, alone[0], alone[1]


def next_week(
    draw: np.random.Generator, shared: Floats, luck: Floats, correlation: float
) -> tuple[Floats, Floats]:
    """Return what is shared, and what one model has to itself, a week later."""
    new, own, _ = session_noise(draw, (len(shared), WEEK_SESSIONS), correlation)
    return (
        np.concatenate([shared[:, WEEK_SESSIONS:], new], axis=1),
        np.concatenate([luck[:, WEEK_SESSIONS:], own], axis=1),
    )
