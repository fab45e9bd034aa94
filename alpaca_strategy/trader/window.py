"""The last 240 minutes as a model takes them: of the session before, and of this one so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

from alpaca_strategy.domain.market import Session
from alpaca_strategy.features.catalogue import LOOKBACK
from alpaca_strategy.features.kernel import usable_features

Features = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

#: Minutes that a model looks back on; the same number as `model.dataset.WINDOW`.
WINDOW: Final = 240


@dataclass(frozen=True, slots=True)
class Window:
    """What scores are asked with.

    Attributes:
        features: Shape (240, symbols, 30), the newest minute last.
        usable: Shape (240, symbols).
    """

    features: Features
    usable: Flags


@dataclass(frozen=True, slots=True)
class SessionBefore:
    """The bars of a finished session.

    Attributes:
        day: The session.
        values: Shape (minutes, symbols, columns of BAR_COLUMNS).
        observed: Shape (minutes, symbols).
    """

    day: date
    values: Floats
    observed: Flags


class Windows:
    """Makes windows during a session; the same bits as a dataset of the finished session has."""

    def __init__(self, session: Session, before: Sequence[SessionBefore]) -> None:
        """Take what came before.

        Args:
            session: That is traded.
            before: The sessions before it, oldest first, with at least 240 minutes together; what
                they lack is not usable.
        """
        parts = [
            usable_features(
                one.values, one.observed, weekday=one.day.weekday(),
                session_minutes=len(one.observed),
            )
            for one in before
        ]  # fmt: skip
        features = np.concatenate([part for part, _ in parts])
        short = max(0, WINDOW - len(features))
        nothing = np.full((short, *features.shape[1:]), np.nan, np.float32)
        usable = np.concatenate([part for _, part in parts])
        #: Whether minutes before the open had a bar, shape (minutes, symbols).
        self.recent = before[-1].observed
        self._session = session
        self._features = np.concatenate([nothing, features])[-WINDOW:]
        self._usable = np.pad(usable, ((short, 0), (0, 0)))[-WINDOW:]

    def at(self, values: Floats, observed: Flags) -> Window:
        """Return the window that ends with the last minute given.

        Args:
            values: Of this session's minutes so far, shape (minutes, symbols, columns).
            observed: Shape (minutes, symbols).
        """
        minutes = len(observed)
        # Rows of the lookback come out as NaN, and are cut off.
        first = max(0, minutes - WINDOW - LOOKBACK)
        features, usable = usable_features(
            values[first:],
            observed[first:],
            weekday=self._session.day.weekday(),
            first_minute=first,
            session_minutes=self._session.minutes,
        )
        today = min(minutes, WINDOW)
        return Window(
            np.concatenate([self._features[today:], features[-today:]]),
            np.concatenate([self._usable[today:], usable[-today:]]),
        )
