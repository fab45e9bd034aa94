"""Scores beside what happened: what every judgement of a model starts from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Predictions:
    """Scores of decisions, and the returns that followed.

    Attributes:
        scores: Shape (decisions, symbols), oldest first; the higher the better. NaN where a
            symbol was not scored.
        returns: Shape (decisions, symbols), log returns over the horizon, as fractions. NaN where
            there is none.
        session_index: Shape (decisions,), position in ``sessions``, never falling.
        minute: Shape (decisions,), minute of the session that had just closed, 0 at the open.
        sessions: The sessions, oldest first.
        symbols: The symbols, in the order of the columns.
        horizon: Minutes over which the returns are taken.
    """

    scores: npt.NDArray[np.float64]
    returns: npt.NDArray[np.float64]
    session_index: npt.NDArray[np.int32]
    minute: npt.NDArray[np.int16]
    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    horizon: int
