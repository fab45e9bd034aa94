"""What came of each decision, and each symbol's part in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alpaca_strategy.model.cross_section import demean, paired, ranks, standardize, top

Floats = npt.NDArray[np.float64]
BPS = 1e4
#: Parts of a symbol of which the decision's figure is the mean over symbols.
CORRELATIONS = ("ic", "rank_ic")


def correlation_parts(scores: Floats, returns: Floats) -> dict[str, Floats]:
    """Return products of standard scores, by name; a decision's correlation is their mean.

    Args:
        scores: Shape (decisions, symbols).
        returns: Likewise, of any horizon.
    """
    known = paired(scores, returns)
    score_ranks, return_ranks = ranks(scores, known), ranks(returns, known)
    return {
        "ic": standardize(scores, known) * standardize(returns, known),
        "rank_ic": standardize(score_ranks, known) * standardize(return_ranks, known),
    }


def symbol_parts(scores: Floats, returns: Floats, top_k: int) -> dict[str, Floats]:
    """Return every symbol's part in every decision, arrays of shape (decisions, symbols).

    `ic` and `rank_ic` are `correlation_parts`; `top` and `bottom` weights of which each sums to 1
    or, where nothing could be chosen, to 0; `return_bps` and `excess_bps` (over the decision's
    mean) log returns; `hit` 1 above the decision's median, 0.5 at it, else 0. NaN where unknown.
    """
    known = paired(scores, returns)
    return {
        **correlation_parts(scores, returns),
        "top": top(scores, known, top_k),
        "bottom": top(-scores, known, top_k),
        "return_bps": np.where(known, returns, np.nan) * BPS,
        "excess_bps": demean(returns, known) * BPS,
        "hit": _hits(returns, known),
    }


def decision_figures(parts: dict[str, Floats], session: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """Return the figures of every decision by name, arrays of shape (decisions,).

    Args:
        parts: Of its symbols.
        session: Shape (decisions,), the session of each.
    """
    best = _weighted(parts["return_bps"], parts["top"])
    return {
        **{name: row_means(parts[name]) for name in CORRELATIONS},
        "top_k_return_bps": best,
        "top_k_excess_bps": _weighted(parts["excess_bps"], parts["top"]),
        "long_short_bps": best - _weighted(parts["return_bps"], parts["bottom"]),
        "hit_rate": _weighted(parts["hit"], parts["top"]),
        "turnover": _turnover(parts["top"], session),
    }


def row_means(parts: Floats) -> Floats:
    """Return each decision's mean over what is known."""
    known = np.isfinite(parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(known, parts, 0.0).sum(axis=1) / known.sum(axis=1))


def _weighted(values: Floats, weights: Floats) -> Floats:
    chosen = weights.sum(axis=1) > 0
    return np.where(chosen, np.where(weights > 0, values * weights, 0.0).sum(axis=1), np.nan)


def _hits(returns: Floats, known: npt.NDArray[np.bool_]) -> Floats:
    hits = np.full(returns.shape, np.nan)
    judged = known.any(axis=1)
    values = np.where(known, returns, np.nan)[judged]
    median = np.nanmedian(values, axis=1, keepdims=True) if len(values) else values[:, :1]
    hits[judged] = np.where(known[judged], 0.5 + 0.5 * np.sign(values - median), np.nan)
    return hits


def _turnover(weights: Floats, session: npt.NDArray[np.int64]) -> Floats:
    """Return the share of the top that was not in it one decision before, in the same session."""
    turnover = np.full(len(weights), np.nan)
    chosen = weights.sum(axis=1) > 0
    follows = (session[1:] == session[:-1]) & chosen[1:] & chosen[:-1]
    changed = np.abs(np.diff(weights, axis=0)).sum(axis=1) / 2.0
    turnover[1:] = np.where(follows, changed, np.nan)
    return turnover
