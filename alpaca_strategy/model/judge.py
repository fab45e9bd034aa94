"""The figures of an evaluation, slice by slice; what they mean stands in `evaluation`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpaca_strategy.model.cross_section import demean, paired
from alpaca_strategy.model.outcomes import (
    BPS,
    CORRELATIONS,
    correlation_parts,
    decision_figures,
    row_means,
    symbol_parts,
)
from alpaca_strategy.model.predictions import Predictions
from alpaca_strategy.resampling import (
    NOTHING,
    Statistic,
    block_sums,
    bootstrap,
    clustered_columns,
    clustered_t,
    ratio,
)

Floats = npt.NDArray[np.float64]
_OPENS_AT = 9 * 60 + 30  # minute of New York's day


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a slice.

    Attributes:
        name: What it is; see `evaluation`.
        slice: Of what: `all`, `session 2026-10-01`, `hour 10` (New York), `symbol TSLA`,
            `sector Energy`, `horizon 30` (minutes).
        value: NaN when there is none.
        low: Lower end of its interval; NaN when a single block is all there is.
        high: Upper end of its interval.
        n: Decisions that it is a figure of.
    """

    name: str
    slice: str
    value: float
    low: float
    high: float
    n: int


class Judge:
    """Works out the figures of one set of predictions.

    Attributes:
        sessions: Those with decisions, oldest first.
    """

    def __init__(
        self, predictions: Predictions, *, top_k: int, block_sessions: int, draws: int, seed: int
    ) -> None:
        self._scores = np.asarray(predictions.scores, np.float64)
        self._returns = np.asarray(predictions.returns, np.float64)
        present, self._session = np.unique(predictions.session_index, return_inverse=True)
        self.sessions = tuple(predictions.sessions[i] for i in present)
        self._symbols = predictions.symbols
        self._hour = (_OPENS_AT + predictions.minute.astype(np.int64)) // 60
        self._block = self._session // block_sessions
        self._blocks = -(-len(self.sessions) // block_sessions)
        self._block_of_session = np.arange(len(self.sessions)) // block_sessions
        self._draws, self._seed = draws, seed
        self._parts = symbol_parts(self._scores, self._returns, top_k)
        self._figures = decision_figures(self._parts, self._session)

    def session_counts(self, name: str) -> npt.NDArray[np.int64]:
        """Return how many decisions of each session have this figure, shape (sessions,)."""
        known = np.isfinite(self._figures[name])
        return np.bincount(self._session[known], minlength=len(self.sessions)).astype(np.int64)

    def session_means(self, name: str) -> Floats:
        """Return the mean of a figure in each session, shape (sessions,); NaN where it has none."""
        values = self._figures[name]
        known = np.isfinite(values)
        total = np.bincount(self._session[known], values[known], minlength=len(self.sessions))
        with np.errstate(invalid="ignore"):
            return np.asarray(total / self.session_counts(name))

    def overall(self) -> Iterator[Metric]:
        """Work out the figures over everything."""
        for name, values in self._figures.items():
            yield self._mean(name, "all", values)
        for name in CORRELATIONS:
            columns = clustered_columns(self._sums(self._figures[name]))
            statistic = clustered_t(len(columns))
            yield self._metric(f"{name}_t", "all", self._figures[name], columns, statistic)
        yield self._icir()
        excess, turnover = self._figures["top_k_excess_bps"], self._figures["turnover"]
        columns = np.hstack([self._sums(excess), self._sums(turnover)])
        yield self._metric("break_even_bps", "all", turnover, columns, _ratio_of_ratios)

    def at_horizon(self, horizon: int, returns: Floats) -> Iterator[Metric]:
        """Work out the correlations with the returns over another horizon."""
        parts = correlation_parts(self._scores, np.asarray(returns, np.float64))
        for name in CORRELATIONS:
            yield self._mean(name, f"horizon {horizon}", row_means(parts[name]))

    def calibration(self, expected_bps: Floats) -> Metric:
        """Work out the slope of returns on expected returns."""
        known = paired(np.asarray(expected_bps, np.float64), self._returns)
        x, y = demean(expected_bps, known), demean(self._returns * BPS, known)
        # An expectation that is the same for all says nothing, but for its rounding.
        told = (known & (np.abs(x) > 1e-9 * np.abs(expected_bps))).any(axis=1)
        xy = np.where(told, np.nansum(x * y, axis=1), 0.0)
        xx = np.where(told, np.nansum(x * x, axis=1), 0.0)
        return self._ratio("calibration_slope", "all", xy, xx)

    def by_decision(self) -> Iterator[Metric]:
        """Work out the figures of sessions and of hours."""
        for i, day in enumerate(self.sessions):
            for name, values in self._figures.items():
                here = np.where(self._session == i, values, np.nan)
                yield self._mean(name, f"session {day}", here)
        for hour in np.unique(self._hour):
            for name, values in self._figures.items():
                yield self._mean(name, f"hour {hour}", np.where(self._hour == hour, values, np.nan))

    def by_symbol(self, sectors: Mapping[str, str]) -> Iterator[Metric]:
        """Work out the figures of symbols and of sectors."""
        for i, symbol in enumerate(self._symbols):
            yield from self._members(f"symbol {symbol}", np.arange(len(self._symbols)) == i)
        for sector in sorted({sectors[s] for s in self._symbols if s in sectors}):
            members = np.array([sectors.get(s) == sector for s in self._symbols])
            yield from self._members(f"sector {sector}", members)

    def _members(self, of: str, members: npt.NDArray[np.bool_]) -> Iterator[Metric]:
        parts = {name: values[:, members] for name, values in self._parts.items()}
        weight = parts["top"]
        for name in CORRELATIONS:
            known = np.isfinite(parts[name])
            total = np.where(known, parts[name], 0.0).sum(axis=1)
            yield self._ratio(name, of, total, known.sum(axis=1))
        for name, part in (("top_k_return_bps", "return_bps"), ("hit_rate", "hit")):
            total = np.where(weight > 0, parts[part] * weight, 0.0).sum(axis=1)
            yield self._ratio(name, of, total, weight.sum(axis=1))
        chosen = np.asarray(self._parts["top"].any(axis=1))
        yield self._ratio("top_k_share", of, weight.sum(axis=1), chosen)

    def _icir(self) -> Metric:
        means = self.session_means("ic")
        known = np.isfinite(means)
        x = np.where(known, means, 0.0)
        columns = np.stack([x, x * x, known], axis=1)
        sums = block_sums(columns, self._block_of_session, self._blocks)
        return self._metric("icir", "all", self._figures["ic"], sums, _mean_over_deviation)

    def _sums(self, values: Floats) -> Floats:
        known = np.isfinite(values)
        columns = np.stack([np.where(known, values, 0.0), known], axis=1)
        return block_sums(columns, self._block, self._blocks)

    def _mean(self, name: str, of: str, values: Floats) -> Metric:
        return self._metric(name, of, values, self._sums(values), ratio)

    def _ratio(self, name: str, of: str, over: npt.NDArray[Any], under: npt.NDArray[Any]) -> Metric:
        sums = block_sums(np.stack([over, under], axis=1), self._block, self._blocks)
        return self._metric(name, of, np.where(under > 0, 1.0, np.nan), sums, ratio)

    def _metric(
        self, name: str, of: str, values: Floats, sums: Floats, statistic: Statistic
    ) -> Metric:
        n = int(np.isfinite(values).sum())
        found = bootstrap(sums, statistic, draws=self._draws, seed=self._seed) if n else NOTHING
        return Metric(name, of, found.value, found.low, found.high, n)


def _ratio_of_ratios(sums: Floats) -> Floats:
    return np.asarray(ratio(sums[..., :2]) / ratio(sums[..., 2:]))


def _mean_over_deviation(sums: Floats) -> Floats:
    x, xx, n = np.moveaxis(sums, -1, 0)
    mean = x / n
    variance = (xx - n * mean**2) / (n - 1)
    return np.asarray(mean / np.sqrt(np.where(variance > 1e-12 * xx, variance, np.nan)))
