"""Which minutes of which symbols have a bar, as levels that a picture can show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpaca_strategy.quality.bar_gauge import BarArrays

SILENT = 0
LEVELS = 5  # 1 to 5: from a quarter of the symbol's median minute, or less, to four times, or more
FLAGGED = 6


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """A matrix of minutes by symbol.

    Attributes:
        symbols: Its rows, in the order asked for.
        level: uint8, shape (symbols, minutes): SILENT, 1 to LEVELS by volume, or FLAGGED where a
            critical rule was broken in that minute.
    """

    symbols: tuple[str, ...]
    level: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """Which minutes have a bar; bool, shape (symbols, minutes)."""
        return np.asarray((self.level > SILENT) & (self.level != FLAGGED))

    @property
    def share(self) -> np.ndarray:
        """Share of the minutes that have a sound bar, by symbol; shape (symbols,)."""
        return np.asarray(self.seen.mean(axis=1))


def volume_levels(bars: BarArrays | None, minutes: int) -> np.ndarray:
    """Return one symbol's row: level by volume beside the symbol's own median minute."""
    level = np.zeros(minutes, np.uint8)
    if bars is None:
        return level
    use = bars.observed & (bars.minute >= 0) & (bars.minute < minutes)
    if not use.any():
        return level
    volume = np.maximum(bars.volume[use], 1).astype(np.float64)
    step = np.rint(np.log2(volume / np.median(volume))) + (LEVELS + 1) // 2
    level[bars.minute[use]] = np.clip(step, 1, LEVELS).astype(np.uint8)
    return level
