"""Where marks lie in the charts of figures; lengths are percent, so that a chart fits any width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from alpaca_strategy.jobs.model_figures import Figure, Part

_STEPS = 4  # about so many between the ends
_LETTERS = 40  # along an axis, at most; more would touch on a telephone
_ALONE = 0.01  # half the range where every figure is zero


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis that holds zero, with round ends.

    Attributes:
        low: Its lower end.
        high: Its upper end.
        ticks: Round numbers from end to end.
        digits: After the point, which tell the ticks apart.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    def at(self, value: float) -> float:
        """Return where a value lies: 0 at the lower end, 100 at the upper one."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    @property
    def marks(self) -> tuple[float, ...]:
        """The ends, and zero where there is room for its name between theirs."""
        return (self.low, *([0.0] if 20 < self.at(0) < 80 else []), self.high)


@dataclass(frozen=True, slots=True)
class Column:
    """A figure in a chart whose parts stand side by side.

    Attributes:
        part: What it shows.
        at: Its middle.
        label: What is written below it; empty where there is no room.
    """

    part: Part
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Figures side by side.

    Attributes:
        scale: Its upright axis.
        columns: From left to right.
        width: Of a column.
        whole: The figure over all parts, drawn as a line and a band; None for none.
    """

    scale: Scale
    columns: tuple[Column, ...]
    width: float
    whole: Figure | None


def scale_of(figures: Iterable[Figure]) -> Scale | None:
    """Return an axis for these figures and their intervals; None where there is no figure."""
    given = [x for f in figures if f.value is not None for x in (f.value, f.low, f.high)]
    known = [x for x in given if x is not None]
    if not known:
        return None
    low, high = min(0.0, *known), max(0.0, *known)
    if low == high:
        low, high = -_ALONE, _ALONE
    step = _round_step((high - low) / _STEPS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    ticks = tuple(round(i * step, digits) for i in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks, digits)


def plot_of(
    parts: Sequence[Part], whole: Figure | None = None, *, dates: bool = False
) -> Plot | None:
    """Return a chart of parts side by side; None where none of them has a figure.

    Args:
        parts: From left to right.
        whole: The figure over all of them, to be drawn behind.
        dates: Their labels are ISO dates, and are written short.
    """
    scale = scale_of([part.figure for part in parts])
    if scale is None:
        return None
    if whole is not None and whole.value is not None:
        scale = scale_of([*(part.figure for part in parts), whole]) or scale
    labels = [_short_date(part.label) if dates else part.label for part in parts]
    width = 100 / len(parts)
    every = math.ceil(len(parts) * (max(map(len, labels)) + 2) / _LETTERS)
    columns = (
        Column(part, round((i + 0.5) * width, 2), label if i % every == 0 else "")
        for i, (part, label) in enumerate(zip(parts, labels, strict=True))
    )
    return Plot(scale, tuple(columns), round(width, 4), whole)


def _short_date(label: str) -> str:
    day = date.fromisoformat(label)
    return f"{day:%b} {day.day}"


def _round_step(least: float) -> float:
    """Return the least of 1, 2 and 5 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= least * (1 - 1e-9))
