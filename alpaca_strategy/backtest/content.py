"""A backtest as it is stored and shown: what was run, what came of it, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from alpaca_strategy.backtest.history import Floats, History
from alpaca_strategy.backtest.result import Run
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules


@dataclass(frozen=True, slots=True)
class Figure:
    """A number about a run.

    Attributes:
        name: As in `metrics.CATALOGUE`.
        value: None where there is none: the win rate of no trades.
        low: Lower end of its 95 % interval, None where there is no interval.
        high: Upper end.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether the two engines came to the same.

    Attributes:
        trades: Of the compiled engine.
        agreed: Of those, how many the other engine made too, to the share, minute and price.
        difference: The first difference in words; None where there is none.
    """

    trades: int
    agreed: int
    difference: str | None

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return self.difference is None


@dataclass(frozen=True, slots=True)
class Fold:
    """The sessions that one model scored.

    Attributes:
        model: Its id.
        trained_until: The last session that it learned from, validation included.
        first: Of its sessions here.
        last: Likewise.
        sessions: How many.
        trades: Entered in them.
        total_return: Of the strategy over them, a fraction.
        sharpe: Annualised; None where it has none.
        rank_ic: Mean over its decisions; None where it has none.
    """

    model: str
    trained_until: date
    first: date
    last: date
    sessions: int
    trades: int
    total_return: float
    sharpe: float | None
    rank_ic: float | None


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One set of parameters of the sensitivity table, and what came of it.

    Attributes:
        top_k: Names chosen by a decision.
        hold: Minutes.
        cost_bps: Half-spread and slippage together.
        total_return: A fraction.
        sharpe: Annualised; None where it has none.
        trades: How many.
    """

    top_k: int
    hold: int
    cost_bps: float
    total_return: float
    sharpe: float | None
    trades: int


@dataclass(frozen=True, slots=True)
class Backtest:
    """All that is known of one backtest.

    Attributes:
        id: ``YYYY-MM-DD-`` and eight hexadecimal digits.
        made_at: UTC.
        history: What it ran over.
        run: What the compiled engine made of it.
        rules: In force.
        costs: In force.
        figures: In the order of `metrics.CATALOGUE`.
        warnings: Sentences that stand at the top of the report.
        agreement: Of the two engines.
        folds: Which model scored which sessions.
        ladder: The same run at other costs, from 0 to 10 bps a side.
        grid: The same run with other parameters.
        returns: What followed each decision over the model's horizon, as fractions; shape (rows,
            symbols), NaN where nothing was scored or nothing followed.
        decay: Mean rank IC by minutes of horizon.
        sectors: By symbol.
        simulated: Whether the prices are the simulator's.
        in_sample: Whether a model scored sessions that it had learned from.
        lineage: Plain values by name: models, lake versions, configuration, code.
    """

    id: str
    made_at: datetime
    history: History
    run: Run
    rules: Rules
    costs: Costs
    figures: tuple[Figure, ...]
    warnings: tuple[str, ...]
    agreement: Agreement
    folds: tuple[Fold, ...]
    ladder: tuple[GridPoint, ...]
    grid: tuple[GridPoint, ...]
    returns: Floats
    decay: Mapping[int, float]
    sectors: Mapping[str, str]
    simulated: bool
    in_sample: bool
    lineage: Mapping[str, Any]

    def figure(self, name: str) -> Figure:
        """Return a figure by its name.

        Raises:
            KeyError: There is none.
        """
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(name)
