"""A backtest's figures as pages show them: by name, with their intervals, and what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from alpaca_strategy.backtest.catalogue import CATALOGUE, Description, Unit
from alpaca_strategy.jobs.model_figures import Figure
from alpaca_strategy.storage.backtest_records import BacktestMetric

#: Those that a backtest is summed up by.
HEADLINES = (
    "total_return", "annual_return", "sharpe", "max_drawdown",
    "win_rate", "profit_factor", "break_even_bps", "deflated_sharpe",
)  # fmt: skip
#: Those whose sign says whether something was won or lost, so that a plus is written too.
SIGNED = frozenset(
    {
        "total_return", "annual_return", "gross_return", "benchmark_return", "alpha", "beta",
        "sharpe", "sortino", "calmar", "benchmark_sharpe", "max_drawdown", "value_at_risk",
        "conditional_value_at_risk", "mean_profit", "best_trade", "worst_trade", "break_even_bps",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure, and what a reader must know of it.

    Attributes:
        name: As it is recorded.
        about: What it is called and means.
        figure: The figure.
    """

    name: str
    about: Description
    figure: Figure

    @property
    def signed(self) -> bool:
        """Whether a plus is written too."""
        return self.name in SIGNED


class BacktestFigures:
    """All figures of one backtest."""

    def __init__(self, metrics: Iterable[BacktestMetric] = ()) -> None:
        self._known = {m.name: Figure(m.value, m.low, m.high) for m in metrics}

    def __bool__(self) -> bool:
        return bool(self._known)

    def get(self, name: str) -> Measured:
        """Return a figure; one without a value where there is none."""
        return Measured(name, _about(name), self._known.get(name, Figure()))

    def headlines(self) -> tuple[Measured, ...]:
        """Return those that the backtest is summed up by."""
        return tuple(self.get(name) for name in HEADLINES)

    def all(self) -> tuple[Measured, ...]:
        """Return all that are recorded, in the order of the catalogue."""
        order = {name: i for i, name in enumerate(CATALOGUE)}
        names = sorted(self._known, key=lambda name: (order.get(name, len(order)), name))
        return tuple(self.get(name) for name in names)


def _about(name: str) -> Description:
    """Return what a figure means; of one that only a later version knows, its name."""
    words = name.replace("_", " ").capitalize()
    return CATALOGUE.get(name, Description(words, Unit.NUMBER, 4, ""))
