"""Whether a model in service still knows what it knew when it was judged."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

Floats = npt.NDArray[np.float64]
#: Sessions of either kind below which nothing is said: their spread is not known yet.
FEWEST_SESSIONS: Final = 3
_SAME: Final = 1e-12


def decay_alarm(then: Floats, now: Floats, *, confidence: float = 0.99) -> str | None:
    """Return a sentence when the newest sessions are worse than chance explains, else None.

    A model that does not decay raises it in one of a hundred looks by default; whoever looks every
    week at sessions that overlap is to expect a false alarm in some years.

    Args:
        then: Shape (sessions,), mean rank IC of each session that the model was judged on; NaN
            where there is none.
        now: Likewise, of the newest sessions, none of which is in ``then``.
        confidence: Share of models without decay that raise no alarm.

    Raises:
        ValueError: The confidence is not between 0.5 and 1.

    Source:
        Welch, The generalization of "Student's" problem when several different population
        variances are involved, Biometrika 34 (1947); one-sided.
    """
    if not 0.5 < confidence < 1.0:
        msg = f"The confidence is {confidence}; it must lie between 0.5 and 1."
        raise ValueError(msg)
    then, now = then[np.isfinite(then)], now[np.isfinite(now)]
    if min(len(then), len(now)) < FEWEST_SESSIONS:
        return None
    fall = float(then.mean() - now.mean())
    parts = np.array([then.var(ddof=1) / len(then), now.var(ddof=1) / len(now)])
    variance = float(parts.sum())
    if variance < _SAME:
        return None  # sessions that are all alike are no measurement
    freedom = variance**2 / float((parts**2 / [len(then) - 1, len(now) - 1]).sum())
    error = np.sqrt(variance)
    chance = float(stdtr(freedom, -fall / error))
    if chance >= 1.0 - confidence:
        return None
    return (
        f"The model's rank IC fell from {then.mean():.3f} on the {len(then)} sessions that it was "
        f"judged on to {now.mean():.3f} on the newest {len(now)}, by {fall:.3f} ± {error:.3f} "
        f"(chance explains that with probability {chance:.1g}): what it learnt may be gone, so "
        f"train a new one: alpaca-strategy train."
    )
