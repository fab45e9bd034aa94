"""What a gate looks at: figures of the same sessions, and how certain their means are."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from alpaca_strategy.errors import SettingsError
from alpaca_strategy.model.splits import HOLDOUT

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SessionScores:
    """How well a model ranked in each session that judges it.

    Attributes:
        sessions: The sessions, oldest first.
        rank_ic: Shape (sessions,), mean rank IC of each; NaN where it has none.
        ic: Shape (sessions,), mean IC of each; NaN where it has none.

    Raises:
        ValueError: The arrays are not one figure a session, or the sessions are not in order.
    """

    sessions: tuple[date, ...]
    rank_ic: Floats
    ic: Floats

    def __post_init__(self) -> None:
        count = (len(self.sessions),)
        if self.rank_ic.shape != count or self.ic.shape != count:
            msg = (
                f"{count[0]} sessions need as many figures, not {self.rank_ic.shape} rank ICs and "
                f"{self.ic.shape} ICs."
            )
            raise ValueError(msg)
        if any(a >= b for a, b in zip(self.sessions, self.sessions[1:], strict=False)):
            msg = "The sessions must be given oldest first, each once."
            raise ValueError(msg)

    def last(self, count: int) -> SessionScores:
        """Return those of the last sessions."""
        if len(self.sessions) <= count:
            return self
        return SessionScores(self.sessions[-count:], self.rank_ic[-count:], self.ic[-count:])


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a gate asks for; `gate` says why the defaults are what they are.

    Attributes:
        holdout_sessions: The last sessions that are looked at.
        min_sessions: Fewer with a figure judge nothing.
        confidence: Of each bound of an interval; both together make one of 2 * confidence - 1.
        margin: Rank IC that a challenger may lack, for all one knows, where it need not be better.
        expiry_days: How long a model may serve.
        near_expiry_days: With fewer left, a challenger need not be better, only not worse.
        serving_days: With fewer left, the champion cannot serve until the next gate.
        suspicious_ic: A mean above it has, on real intraday data, always meant a leak.
        simulated: The data are made, with whatever IC they were made with: nothing is suspicious.
        ask_person: Ask a person about borderline cases; otherwise the champion stays.
        ask_confidence: A case is borderline when it would pass with this confidence.

    Raises:
        SettingsError: A value makes no sense, or not beside another.
    """

    holdout_sessions: int = HOLDOUT
    min_sessions: int = 15
    confidence: float = 0.95
    margin: float = 0.01
    expiry_days: float = 42
    near_expiry_days: float = 21
    serving_days: float = 6
    suspicious_ic: float = 0.10
    simulated: bool = False
    ask_person: bool = False
    ask_confidence: float = 0.80

    def __post_init__(self) -> None:
        for rule, holds in (
            (
                "2 <= min_sessions <= holdout_sessions",
                2 <= self.min_sessions <= self.holdout_sessions,
            ),
            (
                "0.5 < ask_confidence <= confidence < 1",
                0.5 < self.ask_confidence <= self.confidence < 1,
            ),
            (
                "0 <= serving_days <= near_expiry_days <= expiry_days",
                0 <= self.serving_days <= self.near_expiry_days <= self.expiry_days,
            ),
            ("margin >= 0", self.margin >= 0),
            ("suspicious_ic > 0", self.suspicious_ic > 0),
        ):
            if not holds:
                given = {name: value for name, value in asdict(self).items() if name in rule}
                msg = f"The gate needs {rule}, not {given}; correct the settings of the gate."
                raise SettingsError(msg)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over sessions and its bounds, each of which holds with the policy's confidence.

    NaN where there are too few sessions; low and high are infinite for a single one.
    """

    mean: float
    low: float
    high: float
    n: int


def interval(values: Floats, confidence: float) -> Interval:
    """Return the mean of figures of sessions with Student's bounds; NaN are left out."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        mean = float(known[0]) if len(known) else math.nan
        return Interval(mean, -math.inf, math.inf, len(known))
    mean, low, high = (float(x) for x in bounds(known, confidence))
    return Interval(mean, low, high, len(known))


def bounds(values: Floats, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Return means over the last axis and their one-sided lower and upper bounds.

    Args:
        values: Shape (..., sessions), at least two sessions, finite.
        confidence: Of each bound.

    Source:
        Student, The Probable Error of a Mean, Biometrika 6 (1908).
    """
    count = values.shape[-1]
    mean = values.mean(axis=-1)
    reach = stdtrit(count - 1, confidence) * values.std(axis=-1, ddof=1) / math.sqrt(count)
    return mean, mean - reach, mean + reach
