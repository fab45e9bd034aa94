"""A model's figures as pages show them: by name and slice, and never NaN."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from alpaca_strategy.storage.registry_records import Metric


class Side(StrEnum):
    """On which side of zero a figure lies."""

    ABOVE = "above"  # all of its interval
    BELOW = "below"  # all of its interval
    OPEN = "open"  # the interval holds zero, or there is none


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its interval.

    Attributes:
        value: None where there is none.
        low: Lower bound; None where it has none.
        high: Upper bound; None where it has none.
        n: How many decisions are behind it.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0

    @property
    def bounded(self) -> bool:
        """Whether it has an interval."""
        return self.low is not None and self.high is not None

    @property
    def side(self) -> Side:
        """On which side of zero it lies for certain."""
        if self.low is not None and self.low > 0:
            return Side.ABOVE
        return Side.BELOW if self.high is not None and self.high < 0 else Side.OPEN


@dataclass(frozen=True, slots=True)
class Part:
    """A figure of a part of the held-out decisions: an hour, a symbol, a horizon."""

    label: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Measure:
    """How a figure is called and written.

    Attributes:
        name: As in the registry.
        words: For people.
        digits: After the point.
        signed: Whether its sign means something, so that a plus is written too.
        note: What one must know to read it; may be empty.
    """

    name: str
    words: str
    digits: int
    signed: bool = True
    note: str = ""


MEASURES = (
    Measure("rank_ic", "Rank IC", 4, note="what the gate judges by"),
    Measure("rank_ic_t", "t of rank IC", 2, note="errors clustered by session"),
    Measure("ic", "IC", 4),
    Measure("ic_t", "t of IC", 2, note="errors clustered by session"),
    Measure("icir", "ICIR", 2, note="per session, not annualised"),
    Measure("top_k_return_bps", "Top-k return, bps", 2),
    Measure("top_k_excess_bps", "Top-k excess, bps", 2, note="over all symbols, a decision"),
    Measure("long_short_bps", "Long less short, bps", 2, note="k best less k worst"),
    Measure("hit_rate", "Hit rate", 3, signed=False, note="0.5 is chance"),
    Measure("turnover", "Turnover", 3, signed=False, note="of the top k, a decision"),
    Measure("break_even_bps", "Break-even, bps", 2, note="cost of a round trip"),
    Measure("calibration_slope", "Calibration slope", 2, note="1 is right"),
)
_HEADLINES = ("rank_ic", "ic", "rank_ic_t", "icir",
              "top_k_excess_bps", "turnover", "break_even_bps", "calibration_slope")  # fmt: skip
#: Those that a model is summed up by.
HEADLINES = tuple(next(m for m in MEASURES if m.name == name) for name in _HEADLINES)
#: Prefix in the registry, and what the column is called.
COLUMNS = (("", "Model"), ("ridge.", "Ridge"), ("lightgbm.", "LightGBM"))


class Figures:
    """All figures of one model."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._known = {(m.name, m.slice): figure_of(m) for m in metrics}

    def __bool__(self) -> bool:
        return bool(self._known)

    def get(self, name: str, of: str = "all") -> Figure:
        """Return a figure; one without a value where there is none."""
        return self._known.get((name, of), Figure())

    def columns(self) -> tuple[tuple[str, str], ...]:
        """Return prefix and name of the model and of each baseline that was trained."""
        return tuple(
            (prefix, words)
            for prefix, words in COLUMNS
            if not prefix or any(name.startswith(prefix) for name, _ in self._known)
        )

    def compared(self) -> tuple[tuple[Measure, tuple[Figure, ...]], ...]:
        """Return the figures of everything: a row a measure, a figure a column."""
        rows = (
            (measure, tuple(self.get(f"{prefix}{measure.name}") for prefix, _ in self.columns()))
            for measure in MEASURES
        )
        return tuple(row for row in rows if any(figure.value is not None for figure in row[1]))

    def parts(self, name: str, kind: str) -> tuple[Part, ...]:
        """Return a figure slice by slice.

        Args:
            name: Of the figure.
            kind: `session`, `hour` or `horizon`, in their order; `symbol` or `sector`, the best
                first and those without a figure last.
        """
        found = [
            Part(of.removeprefix(f"{kind} "), figure)
            for (known, of), figure in self._known.items()
            if known == name and of.startswith(f"{kind} ")
        ]
        if kind in {"symbol", "sector"}:
            return tuple(sorted(found, key=_best_first))
        return tuple(sorted(found, key=_by_number))

    def decay(self, horizon: int) -> tuple[Part, ...]:
        """Return the IC over every horizon, in minutes, the model's own among them.

        Empty where it was judged over its own only.
        """
        own = Part(str(horizon), self.get("ic"))
        others = [p for p in self.parts("ic", "horizon") if p.label != own.label]
        if not others:
            return ()
        return tuple(sorted([*others, own], key=_by_number))


def figure_of(metric: Metric) -> Figure:
    """Return a stored figure as pages show it."""
    return Figure(_known(metric.value), _known(metric.low), _known(metric.high), metric.n)


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _by_number(part: Part) -> tuple[int, str]:
    """Order whole numbers, and ISO dates, which all are of one length."""
    return len(part.label), part.label


def _best_first(part: Part) -> tuple[bool, float, str]:
    value = part.figure.value
    return value is None, -(value or 0.0), part.label
