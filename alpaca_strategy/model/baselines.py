"""What the network must beat: ridge and LightGBM on features and their rolling means.

Both learn returns less the decision's mean, divided by the decision's standard deviation: what the
network ranks, with no decision weighing more because its minutes were wild. Both choose how much
to believe (the penalty; the number of trees) by the mean IC on the last sessions of their training
rows, and then learn from all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from alpaca_strategy.errors import EnvironmentFaultError, TrainingError
from alpaca_strategy.model.aggregates import is_scored
from alpaca_strategy.model.baseline_samples import (
    Floats,
    Rows,
    Scales,
    Scaling,
    Singles,
    centred,
    divide,
    parts,
    predictions,
    samples,
)
from alpaca_strategy.model.dataset import Dataset
from alpaca_strategy.model.outcomes import correlation_parts, row_means
from alpaca_strategy.model.predictions import Predictions

if TYPE_CHECKING:
    import lightgbm

#: Penalties tried, relative to a standardised column's mean square.
PENALTIES = np.logspace(-4, 2, 13)
#: Numbers of trees tried.
TREES = (10, 20, 40, 80, 160)
_SAME = 1e-4
# LightGBM's threads wait for each other at every leaf, and spin meanwhile: beside other work on two
# cores two of them take several times as long as one, and alone they save less than half.
_THREADS = 1
_TREE_SETTINGS = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_col_wise": True,  # one way to sum, which determinism needs
    "num_threads": _THREADS,
    "verbose": -1,
}


class Baseline(Protocol):
    """A model that can be asked as the network is."""

    def predict(self, dataset: Dataset, rows: Rows) -> Predictions:
        """Return scores of these decisions beside the returns that followed."""


@dataclass(frozen=True, slots=True)
class RidgeBaseline:
    """A linear ranking.

    Attributes:
        coefficients: Shape (columns,), for scaled columns.
        penalty: The one chosen, relative to a standardised column's mean square.
        scaling: Of the features.
    """

    coefficients: Floats
    penalty: float
    scaling: Scaling

    def predict(self, dataset: Dataset, rows: Rows) -> Predictions:
        """Return scores of these decisions beside the returns that followed.

        Raises:
            ModelRefusedError: The dataset has other symbols.
            ValueError: A row lacks the minutes before it, or rows do not ascend.
        """
        blocks = [
            centred(self.scaling.columns(dataset, part), is_scored(dataset, part))
            @ self.coefficients
            for part in parts(dataset, rows)
        ]
        return predictions(dataset, rows, blocks)


@dataclass(frozen=True, slots=True)
class LightGBMBaseline:
    """Boosted trees.

    Attributes:
        booster: The trees.
        trees: How many were chosen.
        scaling: Of the features.
    """

    booster: lightgbm.Booster
    trees: int
    scaling: Scaling

    def predict(self, dataset: Dataset, rows: Rows) -> Predictions:
        """Return scores of these decisions beside the returns that followed.

        Raises:
            ModelRefusedError: The dataset has other symbols.
            ValueError: A row lacks the minutes before it, or rows do not ascend.
        """
        blocks = [
            _ask(self.booster, self.scaling.columns(dataset, part), self.trees)
            for part in parts(dataset, rows)
        ]
        return predictions(dataset, rows, blocks)


def fit_ridge(dataset: Dataset, rows: Rows, *, mean: Scales, std: Scales) -> RidgeBaseline:
    """Fit a ridge regression with a fixed effect for each decision.

    Args:
        dataset: The dataset.
        rows: Ascending rows of training decisions; every one, or a stride of them.
        mean: Shape (symbols, features), of the training rows.
        std: Likewise.

    Raises:
        TooFewSessionsError: Fewer than four sessions.
        TrainingError: There is nothing to learn from.
        ValueError: A row lacks the minutes before it, or rows do not ascend.
    """
    scaling = Scaling(mean, std, dataset.symbols)
    learning, choosing = divide(dataset, rows)
    tried = _solve(_moments(scaling, dataset, learning), PENALTIES)
    good = []
    for part in parts(dataset, choosing):
        x, target, known = samples(scaling, dataset, part)
        scores = centred(x, known) @ tried
        good.append([_mean_ic(scores[:, :, i], target) for i in range(len(PENALTIES))])
    penalty = float(PENALTIES[_best(np.concatenate(good, axis=1))])
    coefficients = _solve(_moments(scaling, dataset, rows), np.array([penalty]))[:, 0]
    return RidgeBaseline(coefficients, penalty, scaling)


def fit_lightgbm(
    dataset: Dataset, rows: Rows, *, mean: Scales, std: Scales, seed: int = 0
) -> LightGBMBaseline:
    """Fit boosted trees; the same input and seed give the same trees.

    All columns of all rows are held at once, 600 bytes for each row and symbol.

    Args:
        dataset: The dataset.
        rows: Ascending rows of training decisions; every one, or a stride of them.
        mean: Shape (symbols, features), of the training rows.
        std: Likewise.
        seed: Of the draws of rows and columns.

    Raises:
        EnvironmentFaultError: LightGBM does not load.
        TooFewSessionsError: Fewer than four sessions.
        TrainingError: There is nothing to learn from.
        ValueError: A row lacks the minutes before it, or rows do not ascend.
    """
    library, scaling = _load_lightgbm(), Scaling(mean, std, dataset.symbols)
    learning, choosing = divide(dataset, rows)
    tried = _grow(library, scaling, dataset, learning, trees=max(TREES), seed=seed)
    good = []
    for part in parts(dataset, choosing):
        x, target, _ = samples(scaling, dataset, part)
        scores = [_ask(tried, x, trees) for trees in TREES]
        good.append([_mean_ic(one, target) for one in scores])
    trees = TREES[_best(np.concatenate(good, axis=1))]
    return LightGBMBaseline(
        _grow(library, scaling, dataset, rows, trees=trees, seed=seed), trees, scaling
    )


def _moments(scaling: Scaling, dataset: Dataset, rows: Rows) -> tuple[Floats, Floats]:
    """Return means over samples of products: columns with columns, columns with the target."""
    squares: Any = 0.0
    products: Any = 0.0
    count = 0
    for part in parts(dataset, rows):
        columns, target, known = samples(scaling, dataset, part)
        x, y = centred(columns, known)[known], target[known]
        squares, products, count = squares + x.T @ x, products + x.T @ y, count + len(y)
    if not count:
        raise _nothing(rows)
    return squares / count, products / count


def _solve(moments: tuple[Floats, Floats], penalties: Floats) -> Floats:
    """Return the coefficients under each penalty, shape (columns, penalties)."""
    squares, products = moments
    scale = np.sqrt(np.diag(squares))
    scale[scale < _SAME] = np.inf  # what is the same for all symbols, but for rounding, gets 0
    values, vectors = np.linalg.eigh(squares / np.outer(scale, scale))
    turned = (vectors.T @ (products / scale))[:, None]
    solved = vectors @ (turned / (np.maximum(values, 0.0)[:, None] + penalties))
    return np.asarray(solved / scale[:, None])


def _grow(
    library: Any, scaling: Scaling, dataset: Dataset, rows: Rows, *, trees: int, seed: int
) -> lightgbm.Booster:
    columns, targets = [], []
    for part in parts(dataset, rows):
        x, target, known = samples(scaling, dataset, part)
        columns.append(x[known])
        targets.append(target[known])
    y = np.concatenate(targets) if targets else np.empty(0)
    if not len(y):
        raise _nothing(rows)
    data = library.Dataset(np.concatenate(columns), y, params={"verbose": -1})
    booster: lightgbm.Booster = library.train({**_TREE_SETTINGS, "seed": seed}, data, trees)
    return booster


def _ask(booster: lightgbm.Booster, columns: Singles, trees: int) -> Floats:
    flat = columns.reshape(-1, columns.shape[2])
    answer = booster.predict(flat, num_iteration=trees, num_threads=_THREADS)
    return np.asarray(answer, np.float64).reshape(columns.shape[:2])


def _mean_ic(scores: Floats, target: Floats) -> Floats:
    return row_means(correlation_parts(scores, target)["ic"])


def _best(ics: Floats) -> int:
    """Return which choice, of shape (choices, decisions), has the highest mean IC."""
    means = row_means(ics)
    return int(np.argmax(np.where(np.isfinite(means), means, -np.inf)))


def _load_lightgbm() -> Any:
    try:
        import lightgbm  # noqa: PLC0415 - it takes a second, and may not load at all
    except (ImportError, OSError) as error:
        msg = (
            f"LightGBM does not load ({error}); it needs the system's OpenMP library: install "
            f"libgomp1 (Debian, Ubuntu) or libgomp (Fedora), or leave this baseline out."
        )
        raise EnvironmentFaultError(msg) from error
    return lightgbm


def _nothing(rows: Rows) -> TrainingError:
    return TrainingError(
        f"None of {len(rows)} training decisions has three symbols with history and returns that "
        f"differ, so there is nothing to learn; look at the sessions with `alpaca-strategy check`."
    )
