"""What the baselines are fitted to: scaled columns, and targets, a few decisions at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpaca_strategy.errors import ModelRefusedError, TooFewSessionsError
from alpaca_strategy.model.aggregates import aggregate, check_rows, is_scored
from alpaca_strategy.model.cross_section import paired, standardize
from alpaca_strategy.model.dataset import Dataset
from alpaca_strategy.model.predictions import Predictions

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Scales = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Part of the training sessions, the newest, that the penalty and the trees are chosen by.
CHOICE_SHARE = 0.2
#: Sessions between those and the rest, which belong to neither.
EMBARGO = 1
MIN_SESSIONS = 4
#: Scaled features beyond it are taken for this much: one wild print must not set a coefficient.
LIMIT = 10.0
_BLOCK = 64  # decisions whose columns are held at a time


@dataclass(frozen=True, slots=True)
class Scaling:
    """How features are scaled, symbol by symbol.

    Attributes:
        mean: Shape (symbols, features), learnt on training rows only.
        std: Likewise; a feature whose deviation is 0 or unknown is only centred.
        symbols: The symbols, in the order of the arrays.
    """

    mean: Scales
    std: Scales
    symbols: tuple[str, ...]

    def columns(self, dataset: Dataset, rows: Rows) -> Singles:
        """Return scaled columns, shape (rows, symbols, columns); NaN where unknown.

        Raises:
            ModelRefusedError: The dataset has other symbols.
        """
        if dataset.symbols != self.symbols:
            msg = (
                f"The baseline was fitted to {len(self.symbols)} symbols, the dataset's "
                f"{len(dataset.symbols)} are others or stand in another order; fit it again."
            )
            raise ModelRefusedError(msg)
        columns = aggregate(dataset, rows)
        times = columns.shape[2] // self.mean.shape[1]
        std = np.where(self.std > 0.0, self.std, 1.0)
        scaled = (columns - np.tile(self.mean, times)) / np.tile(std, times)
        return np.asarray(np.clip(scaled, -LIMIT, LIMIT), np.float32)


def divide(dataset: Dataset, rows: Rows) -> tuple[Rows, Rows]:
    """Return the rows to learn from and, an embargo later, those to choose by.

    Raises:
        TooFewSessionsError: The rows lie in fewer than four sessions.
        ValueError: A row lacks the minutes before it, or lies outside the dataset.
    """
    check_rows(dataset, rows)
    session = dataset.session_index[rows]
    present = np.unique(session)
    if len(present) < MIN_SESSIONS:
        msg = (
            f"{len(present)} sessions are too few to fit a baseline to: {MIN_SESSIONS} are the "
            f"least; publish more with `alpaca-strategy backfill`."
        )
        raise TooFewSessionsError(msg)
    newest = max(1, round(len(present) * CHOICE_SHARE))
    learnt = present[: -newest - EMBARGO]
    return rows[session <= learnt[-1]], rows[session >= present[-newest]]


def parts(dataset: Dataset, rows: Rows) -> Iterator[Rows]:
    """Cut rows into pieces whose columns are held at a time.

    Raises:
        ValueError: A row lacks the minutes before it, or rows do not ascend.
    """
    check_rows(dataset, rows)
    if np.any(np.diff(rows) <= 0):
        msg = "Rows must ascend, so that predictions are oldest first."
        raise ValueError(msg)
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]


def samples(scaling: Scaling, dataset: Dataset, rows: Rows) -> tuple[Singles, Floats, Mask]:
    """Return columns (rows, symbols, columns), targets (rows, symbols) and where both are known."""
    returns = dataset.returns[rows].astype(np.float64)
    known = paired(np.where(is_scored(dataset, rows), 0.0, np.nan), returns)
    target = standardize(returns, known)
    return scaling.columns(dataset, rows), target, np.isfinite(target)


def centred(columns: Singles, known: Mask) -> Floats:
    """Subtract each decision's mean over known symbols; what is unknown becomes that mean, 0.

    Only differences between symbols rank them, so what all share would be noise to a regression.
    """
    there = np.isfinite(columns) & known[:, :, None]
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    middle = np.where(there, columns, 0.0).sum(axis=1, keepdims=True) / count
    return np.where(np.isfinite(columns), columns - middle, 0.0)


def predictions(dataset: Dataset, rows: Rows, blocks: list[Floats]) -> Predictions:
    """Return scores, made part by part, beside what followed; NaN for symbols not to be scored."""
    scores = np.concatenate([np.empty((0, len(dataset.symbols))), *blocks])
    return Predictions(
        scores=np.where(is_scored(dataset, rows), scores, np.nan),
        returns=dataset.returns[rows].astype(np.float64),
        session_index=dataset.session_index[rows],
        minute=dataset.minute[rows],
        sessions=dataset.sessions,
        symbols=dataset.symbols,
        horizon=dataset.horizon,
    )
