"""Trainings on planted worlds, judged beside those who know, and those who should know less."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alpaca_strategy.model.baselines import fit_lightgbm, fit_ridge
from alpaca_strategy.model.dataset import Dataset, decision_rows
from alpaca_strategy.model.evaluation import Evaluation, evaluate
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.predictions import Predictions
from alpaca_strategy.model.presets import (
    NetworkShape,
    Preset,
    TrainingPlan,
    network_shape,
    training_plan,
)
from alpaca_strategy.model.scorer import predict
from alpaca_strategy.model.splits import Split, split_sessions
from alpaca_strategy.model.training import fit_scaler, train
from tests.worlds import World

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Contest:
    """What everybody made of the held-out sessions of a world.

    Attributes:
        judged: Evaluations of ``oracle``, ``network``, ``ridge`` and ``lightgbm``.
        seconds: Of processor time that the network's training took.
    """

    judged: dict[str, Evaluation]
    seconds: float

    def ic(self, name: str) -> float:
        """Return somebody's mean IC."""
        return self.judged[name].metric("ic").value

    def lead(self, over: str) -> tuple[float, float]:
        """Return how far the network is ahead, and the standard error, paired by session."""
        return paired(self.judged["network"].ic - self.judged[over].ic)

    def figures(self) -> dict[str, str]:
        """Return everything as words, by name."""
        said = {name: words(one) for name, one in self.judged.items()}
        for other in ("oracle", "ridge", "lightgbm"):
            lead, error = self.lead(other)
            said[f"ahead of {other} by"] = f"{lead:.4f} ± {error:.4f}"
        return {**said, "training_s": f"{self.seconds:.0f}"}


@cache
def contest(world: World, sessions: int, seed: int) -> Contest:
    """Train everybody on the world's first sessions, and judge them on its last 21."""
    dataset, split = world.dataset(sessions), split_sessions(sessions)
    rows = decision_rows(dataset, split.holdout)
    started = time.process_time()
    network = trained(dataset, split, seed=seed)
    seconds = time.process_time() - started
    # The baselines learn of all that the network learns and stops on, as they do in service.
    seen = (*split.training, *split.validation)
    scaler, known = fit_scaler(dataset, seen), decision_rows(dataset, seen)
    oracle = replace(predict(network, dataset, rows), scores=world.signal(sessions)[rows])
    said = {
        "oracle": oracle,
        "network": predict(network, dataset, rows),
        "ridge": fit_ridge(dataset, known, mean=scaler.mean, std=scaler.std).predict(dataset, rows),
        "lightgbm": fit_lightgbm(dataset, known, mean=scaler.mean, std=scaler.std).predict(
            dataset, rows
        ),
    }
    return Contest({name: evaluate(one) for name, one in said.items()}, seconds)


def trained(
    dataset: Dataset,
    split: Split,
    *,
    seed: int = 1,
    shape: NetworkShape | None = None,
    plan: TrainingPlan | None = None,
) -> Ranker:
    """Return a network trained as the ``demo`` preset says, unless told otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        return train(
            dataset,
            split,
            shape=shape or network_shape(Preset.DEMO, len(dataset.symbols)),
            plan=plan or training_plan(Preset.DEMO),
            seed=seed,
            folder=Path(folder) / "checkpoints",
        ).network


def judged(network: Ranker, dataset: Dataset, sessions: range | tuple[int, ...]) -> Evaluation:
    """Return how good the network is on these sessions."""
    return evaluate(predict(network, dataset, decision_rows(dataset, tuple(sessions))))


def judged_on_other_returns(predictions: Predictions, returns: Floats) -> Evaluation:
    """Return how good scores are for other returns than they were made beside."""
    return evaluate(replace(predictions, returns=returns))


def paired(differences: Floats) -> tuple[float, float]:
    """Return the mean of sessions' differences and its standard error."""
    return float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))


def words(evaluation: Evaluation) -> str:
    """Return an IC with its interval and its t."""
    ic, t = evaluation.metric("ic"), evaluation.metric("ic_t")
    return f"{ic.value:.4f} [{ic.low:.4f}, {ic.high:.4f}] t {t.value:.1f}"
