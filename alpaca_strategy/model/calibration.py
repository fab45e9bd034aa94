"""What turns a logit into a score and into an expected return, learnt on a validation fold.

The expected return is a straight line through the middle of the cross-section, not an isotonic
fit: a validation fold has some ten sessions, and 0.5 bps for one deviation of the logits are looked
for among returns of 20 bps, so one slope is about all that can be known. Isotonic steps would fit
noise, most of all at the ends, which are what is traded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from alpaca_strategy.errors import TrainingError
from alpaca_strategy.model.cross_section import MIN_SYMBOLS, demean, paired
from alpaca_strategy.model.outcomes import BPS
from alpaca_strategy.model.predictions import Predictions
from alpaca_strategy.resampling import block_sums, clustered_ratio

Floats = npt.NDArray[np.float64]
#: Units of logit / logit_scale up to which the line is followed; beyond lie too few to know.
REACH = 3.0
#: The slope counts when one-sided chance of so steep a slope in noise is below this.
SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns a logit into a score and into an expected return.

    Attributes:
        logit_scale: Mean cross-sectional standard deviation of the logits on the validation fold.
        bps_per_unit: Expected return over the horizon, relative to the cross-section, for one unit
            of logit / logit_scale; 0 where the validation fold shows none.
    """

    logit_scale: float
    bps_per_unit: float

    def score(self, logits: Floats) -> Floats:
        """Return scores in (0, 1), the sigmoid of logit / logit_scale; NaN stays NaN."""
        return np.asarray(
            0.5 + 0.5 * np.tanh(np.asarray(logits, np.float64) / self.logit_scale / 2)
        )

    def expected_bps(self, logits: Floats) -> Floats:
        """Return expected returns over the horizon less the cross-section's, in bps.

        Args:
            logits: Shape (..., symbols); NaN where a symbol was not scored.

        Returns:
            The same shape. Within a cross-section the higher logit never has the lower one.
        """
        return np.asarray(
            self.bps_per_unit * _units(np.asarray(logits, np.float64), self.logit_scale)
        )


def fit_calibration(validation: Predictions) -> Calibration:
    """Learn a calibration.

    The slope is that of returns on logits, both relative to the cross-section, errors clustered by
    session. It is shrunk by 1 - 1 / t², the empirical Bayes estimate when slopes of either sign are
    thinkable, and 0 when it is not significantly above 0: also when it is negative, since a model
    that ranks backwards has nothing to expect.

    Args:
        validation: Logits of sessions that no weight was fitted to, beside their returns. Where
            they stopped the training, the slope is somewhat flattered.

    Raises:
        TrainingError: No decision has three symbols with different logits.
    """
    logits = np.asarray(validation.scores, np.float64)
    scale = _mean_deviation(logits)
    if not scale > 0.0:
        msg = (
            f"The logits of all {len(logits)} validation decisions are equal or missing, so the "
            f"model ranks nothing; look at the training's losses, then train again."
        )
        raise TrainingError(msg)
    known = paired(logits, validation.returns)
    unit = _units(np.where(known, logits, np.nan), scale)
    unit, excess = demean(unit, known), demean(validation.returns, known) * BPS
    sums = np.stack([np.nansum(a * b, axis=1) for a, b in ((unit, excess), (unit, unit))], axis=1)
    present, block = np.unique(validation.session_index, return_inverse=True)
    slope, t = clustered_ratio(block_sums(sums, block, len(present)))
    if not t > stdtrit(max(len(present) - 1, 1), 1.0 - SIGNIFICANCE):  # NaN counts as no evidence
        return Calibration(scale, 0.0)
    return Calibration(scale, slope * (1.0 - 1.0 / t**2))


def _units(logits: Floats, scale: float) -> Floats:
    """Return distances from the cross-section's middle in units of the scale, within reach."""
    known = np.isfinite(logits)
    with np.errstate(invalid="ignore"):
        middle = np.where(known, logits, 0.0).sum(axis=-1, keepdims=True) / known.sum(
            axis=-1, keepdims=True
        )
        return np.asarray(np.clip((logits - middle) / scale, -REACH, REACH))


def _mean_deviation(logits: Floats) -> float:
    known = np.isfinite(logits)
    known &= known.sum(axis=1, keepdims=True) >= MIN_SYMBOLS
    judged = known.any(axis=1)
    centred = demean(logits, known)[judged]
    if not len(centred):
        return 0.0
    scale = float(np.sqrt(np.nanmean(centred**2, axis=1)).mean())
    # A network that says the same of all symbols still differs in its last digits.
    return scale if scale > 1e-9 * float(np.abs(logits[known]).max()) else 0.0
