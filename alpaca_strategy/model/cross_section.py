"""One decision's symbols beside each other: standard scores, ranks, and who is at the top.

Arrays are (decisions, symbols). Nothing here depends on the order of the symbols: equals share
their ranks and their places.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: A correlation of two symbols is always 1 or -1.
MIN_SYMBOLS = 3


def paired(scores: Floats, returns: Floats) -> Mask:
    """Return where both are known; nowhere in a decision with fewer than three such symbols."""
    known = np.isfinite(scores) & np.isfinite(returns)
    return np.asarray(known & (known.sum(axis=1, keepdims=True) >= MIN_SYMBOLS))


def standardize(x: Floats, known: Mask) -> Floats:
    """Take each decision to mean 0 and (population) standard deviation 1 over what is known.

    NaN where nothing is known, and in all of a decision whose values are equal.
    """
    centred = demean(x, known)
    # Relative to the decision's own size, so that the squares of tiny returns do not vanish.
    size = np.abs(np.where(known, centred, 0.0)).max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.where(_varies(x, known)[:, None], centred / size, np.nan)
        deviation = np.sqrt(_mean(shape**2, known))
        return np.asarray(shape / deviation[:, None])


def demean(x: Floats, known: Mask) -> Floats:
    """Subtract each decision's mean over what is known; NaN where nothing is."""
    return np.asarray(np.where(known, x, np.nan) - _mean(x, known)[:, None])


def ranks(x: Floats, known: Mask) -> Floats:
    """Return ranks from 1, the lowest first; equals share the mean of theirs; NaN where unknown."""
    value = np.where(known, x, np.nan)  # which sorting puts last
    order = np.argsort(value, axis=1, kind="stable")
    ordered = np.take_along_axis(value, order, axis=1)
    place = np.broadcast_to(np.arange(x.shape[1]), x.shape)
    new = np.ones(x.shape, np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(x.shape, np.bool_)
    ends[:, :-1] = new[:, 1:]
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    backwards = np.where(ends, place, x.shape[1])[:, ::-1]
    last = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    ranked = np.empty(x.shape)
    np.put_along_axis(ranked, order, (first + last) / 2 + 1.0, axis=1)
    return np.where(known, ranked, np.nan)


def top(scores: Floats, known: Mask, count: int) -> Floats:
    """Return each symbol's weight among the highest scores; a decision's weights sum to 1.

    Equals at the edge share the places left. At most half of the known symbols are chosen, so that
    top and bottom never overlap. All weights of a decision whose scores are equal are 0.
    """
    value = np.where(known & _varies(scores, known)[:, None], scores, -np.inf)
    places = np.minimum(count, known.sum(axis=1) // 2)
    highest_first = -np.sort(-value, axis=1)
    edge = np.take_along_axis(highest_first, np.maximum(places - 1, 0)[:, None], axis=1)
    above = value > edge
    level = (value == edge) & np.isfinite(value)
    left = (places - above.sum(axis=1))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = (above + np.where(level, left / level.sum(axis=1, keepdims=True), 0.0)) / places[
            :, None
        ]
    return np.where(np.isfinite(weight), weight, 0.0)


def _varies(x: Floats, known: Mask) -> Mask:
    highest = np.where(known, x, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(known, x, np.inf).min(axis=1, initial=np.inf)
    return np.asarray(highest > lowest)


def _mean(x: Floats, known: Mask) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(known, x, 0.0).sum(axis=1) / known.sum(axis=1))
