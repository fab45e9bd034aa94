"""How good a model is, out of sample, and how certain that is.

Figures of decisions (slices `all`, `session …`, `hour …`, and `horizon …` for the decay):

- `ic`, `rank_ic`: mean over decisions of the correlation, Pearson's or Spearman's, of scores and
  returns across symbols.
- `ic_t`, `rank_ic_t`: their t statistics, errors clustered by block of sessions.
- `icir`: mean over sessions of the session's mean IC, divided by its standard deviation over
  sessions. Per session, not annualised.
- `top_k_return_bps`, `top_k_excess_bps`: mean log return of the k best scores; the same less the
  mean of all symbols. `long_short_bps`: k best less k worst.
- `hit_rate`: share of the k best that beat the median symbol; equal to it counts half. Chance: 0.5.
- `turnover`: share of the top k that was not in it at the decision before, within a session.
- `break_even_bps`: what a round trip may cost before the top k's excess is gone: mean excess over
  mean turnover. A session's first purchase and last sale are not in it; NaN without turnover.
- `calibration_slope`: slope of returns on expected returns, both less the decision's mean. 1 is
  right; below 1 the model promises too much.

Figures of symbols (slices `symbol …`, `sector …`): `ic` and `rank_ic` are their part in it, the
mean product of standard scores, of which the mean over all symbols is the whole; the mean of their
returns and hits whenever they were in the top k; `top_k_share`, their share of its places.

The top k are chosen among the symbols that have a score and a return. A decision with fewer than
three of them is left out. A figure is NaN with n = 0 when there is nothing to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from alpaca_strategy.model.judge import Judge, Metric
from alpaca_strategy.model.predictions import Predictions

__all__ = ["Evaluation", "Metric", "evaluate", "suspicion"]

Floats = npt.NDArray[np.float64]
#: Lasting ICs of intraday models lie at a few hundredths: beyond this, real data are leaking until
#: somebody has shown that they are not.
SUSPICIOUS_IC = 0.10


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A judgement of predictions.

    Attributes:
        metrics: All figures.
        sessions: The sessions with decisions, oldest first.
        ic: Shape (sessions,), mean IC of each session; NaN where it has none.
        rank_ic: Likewise.
        decisions: Shape (sessions,), decisions with an IC.
        horizon: Minutes over which returns are taken.
        top_k: Symbols at the top, and at the bottom.
        block_sessions: Sessions that are drawn together.
        draws: Draws behind every interval.
    """

    metrics: tuple[Metric, ...]
    sessions: tuple[date, ...]
    ic: Floats
    rank_ic: Floats
    decisions: npt.NDArray[np.int64]
    horizon: int
    top_k: int
    block_sessions: int
    draws: int

    def metric(self, name: str, slice: str = "all") -> Metric:  # noqa: A002 - as in Metric
        """Return one figure.

        Raises:
            KeyError: There is none of that name and slice.
        """
        for one in self.metrics:
            if one.name == name and one.slice == slice:
                return one
        msg = f"The evaluation has no {name} of {slice}."
        raise KeyError(msg)


def evaluate(
    predictions: Predictions,
    *,
    top_k: int = 3,
    sectors: Mapping[str, str] | None = None,
    block_sessions: int = 1,
    draws: int = 1000,
    seed: int = 0,
    decay: Mapping[int, Floats] | None = None,
    expected_bps: Floats | None = None,
) -> Evaluation:
    """Judge predictions.

    Args:
        predictions: Scores beside the returns that followed.
        top_k: Symbols at the top, and at the bottom; at most half of those known are taken.
        sectors: Of the symbols; those without one are in none.
        block_sessions: Consecutive sessions that are drawn together.
        draws: Draws behind every interval.
        seed: Of the draws; one seed makes two evaluations of the same sessions comparable.
        decay: For other horizons, in minutes, the returns of the same decisions and symbols.
        expected_bps: Expected returns of the same decisions and symbols.

    Raises:
        ValueError: Arrays of other shapes than the scores', or numbers below 1.
    """
    for name, number in (("top_k", top_k), ("block_sessions", block_sessions), ("draws", draws)):
        if number < 1:
            msg = f"{name} is {number}; it must be 1 at least."
            raise ValueError(msg)
    others = dict(decay or {})
    for array in (*others.values(), *([] if expected_bps is None else [expected_bps])):
        if array.shape != predictions.scores.shape:
            msg = (
                f"An array of shape {array.shape} lies beside scores of {predictions.scores.shape}."
            )
            raise ValueError(msg)
    judge = Judge(predictions, top_k=top_k, block_sessions=block_sessions, draws=draws, seed=seed)
    metrics = [
        *judge.overall(),
        *(m for horizon in sorted(others) for m in judge.at_horizon(horizon, others[horizon])),
        *([] if expected_bps is None else [judge.calibration(expected_bps)]),
        *judge.by_decision(),
        *judge.by_symbol(sectors or {}),
    ]
    return Evaluation(
        metrics=tuple(metrics),
        sessions=judge.sessions,
        ic=judge.session_means("ic"),
        rank_ic=judge.session_means("rank_ic"),
        decisions=judge.session_counts("ic"),
        horizon=predictions.horizon,
        top_k=top_k,
        block_sessions=block_sessions,
        draws=draws,
    )


def suspicion(evaluation: Evaluation, *, simulated: bool) -> str | None:
    """Return a sentence when the IC is too good to be true, else None.

    Args:
        evaluation: The judgement.
        simulated: The data are; then any IC may have been planted.
    """
    if simulated:
        return None
    for name, words in (("ic", "IC"), ("rank_ic", "rank IC")):
        value = evaluation.metric(name).value
        if abs(value) > SUSPICIOUS_IC:
            return (
                f"The {words} of {value:.3f} lies beyond {SUSPICIOUS_IC:.2f}, more than real "
                f"intraday data give: a leak of the future is suspected, so before you trust this "
                f"model look for features that know the label, and for closes that are stale or "
                f"bounce between bid and ask, by judging it on returns from the next bar's open."
            )
    return None
