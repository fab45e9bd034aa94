"""Mean and deviation of each symbol's features, from training sessions only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from alpaca_strategy.features.catalogue import NAMES

#: A symbol with fewer usable minutes is scaled as all symbols together are.
FEWEST_ROWS: Final = 390
#: Deviations from the mean beyond which a feature says nothing more.
CLIP: Final = 8.0
_CHUNK_BYTES: Final = 16 * 2**20
#: Of the mean, or of 1 where that is smaller; what varies less is a constant and its rounding.
_LEAST_DEVIATION: Final = 1e-6

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scaler:
    """What takes features to mean 0 and deviation 1.

    Attributes:
        mean: Shape (symbols, 30).
        std: Shape (symbols, 30); 1 where there is no deviation to divide by.
        degenerate: (position of the symbol, feature) of those that never vary, or are never known.
        pooled: Positions of symbols with too few rows of their own: they have everybody's.
    """

    mean: Features
    std: Features
    degenerate: tuple[tuple[int, str], ...] = ()
    pooled: tuple[int, ...] = ()

    def apply(self, features: Features) -> Features:
        """Return features (…, symbols, 30) scaled and clipped; what is NaN stays so."""
        scaled: Features = np.clip((features - self.mean) / self.std, -CLIP, CLIP)
        return scaled


def fit(features: Features, usable: npt.NDArray[np.bool_]) -> Scaler:
    """Work out the scaler of these minutes.

    Args:
        features: Shape (minutes, symbols, 30), of training sessions and no others.
        usable: Shape (minutes, symbols): the minute counts.

    Raises:
        ValueError: Shapes do not fit.
    """
    if features.shape != (*usable.shape, len(NAMES)):
        msg = f"Features have shape {features.shape}, not {(*usable.shape, len(NAMES))}."
        raise ValueError(msg)
    shape = features.shape[1:]
    count, total, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for chunk, counts in _chunks(features, usable):
        count += counts.sum(axis=0)
        total += np.where(counts, chunk, 0.0).sum(axis=0)
    mean = _ratio(total, count)
    # A second pass, as a difference of large sums would lose the deviation of what hardly varies.
    for chunk, counts in _chunks(features, usable):
        squares += (np.where(counts, chunk - mean, 0.0) ** 2).sum(axis=0)
    few = np.count_nonzero(usable, axis=0) < FEWEST_ROWS
    everyone = count.sum(axis=0)
    pooled_mean = _ratio(total.sum(axis=0), everyone)
    # Deviations from one's own mean, and of that from the mean of all: they add up.
    spread = squares.sum(axis=0) + (count * (mean - pooled_mean) ** 2).sum(axis=0)
    mean[few] = pooled_mean
    std = np.sqrt(_ratio(squares, count))
    std[few] = np.sqrt(_ratio(spread, everyone))
    constant = std <= _LEAST_DEVIATION * np.maximum(np.abs(mean), 1.0)
    std[constant] = 1.0
    return Scaler(
        mean=mean.astype(np.float32),
        std=std.astype(np.float32),
        degenerate=tuple((int(s), NAMES[f]) for s, f in np.argwhere(constant)),
        pooled=tuple(int(s) for s in np.flatnonzero(few)),
    )


def _chunks(
    features: Features, usable: npt.NDArray[np.bool_]
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """Yield a few rows at a time in float64, and which of their numbers count."""
    rows = max(1, _CHUNK_BYTES // max(1, 8 * features[:1].size))
    for start in range(0, len(features), rows):
        chunk = features[start : start + rows].astype(np.float64)
        yield chunk, usable[start : start + rows, :, None] & np.isfinite(chunk)


def _ratio(
    sums: npt.NDArray[np.float64], count: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    ratio: npt.NDArray[np.float64] = sums / np.maximum(count, 1.0)
    return ratio
