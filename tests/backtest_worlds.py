"""Small worlds to run the strategy over: sessions with all that bars can do, and any rules.

Prices are whole cents. A world is drawn by Hypothesis in its shape and filled by a generator of
random numbers from a seed, so that it shrinks to few sessions and symbols, not to dull prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from alpaca_strategy.backtest.history import History
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

Floats = npt.NDArray[np.float64]
FULL, HALF = 390, 210
FREE = Costs(
    half_spread_bps=0.0, slippage_bps=0.0, sec_per_million=0.0, taf_per_share=0.0, taf_cap=0.0,
    participation=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """What an engine is given."""

    history: History
    rules: Rules
    costs: Costs
    cash: float


@dataclass(frozen=True)
class Weather:
    """What may happen to bars, each as a share of symbols and sessions or of minutes.

    Attributes:
        quiet: Of minutes, without a bar.
        halts: Of symbol-sessions, with a run of minutes without a bar.
        absent: Of symbol-sessions, half or wholly without bars.
        splits: Of symbol-nights.
        volume: Shares in an average minute.
        scores: ``uniform``, ``tied``, ``extreme`` or ``rare``.
        unscored: Of scores.
    """

    quiet: float = 0.0
    halts: float = 0.0
    absent: float = 0.0
    splits: float = 0.0
    volume: float = 50_000.0
    scores: str = "uniform"
    unscored: float = 0.0


def make_history(
    seed: int, lengths: Sequence[int], symbols: int, weather: Weather | None = None
) -> History:
    """Return sessions of these lengths in minutes.

    Args:
        seed: Of everything.
        lengths: `FULL` or `HALF`, one a session.
        symbols: How many.
        weather: What happens; by default nothing.
    """
    weather = weather or Weather()
    draw = np.random.default_rng(seed)
    first_row = np.concatenate([[0], np.cumsum(lengths)])
    shape = (int(first_row[-1]), symbols)
    factor = _splits(draw, len(lengths), symbols, weather.splits)
    level = draw.uniform(5.0, 400.0, symbols) * np.exp(
        np.cumsum(draw.normal(0.0, 6e-4, shape), axis=0)
    )
    level /= np.repeat(np.cumprod(factor, axis=0), lengths, axis=0)
    close = np.maximum(np.round(level, 2), 0.01)
    gap = np.exp(draw.normal(0.0, 2e-4, shape))
    open_ = np.maximum(np.round(np.vstack([close[:1], close[:-1]]) * gap, 2), 0.01)
    for begin, split in zip(first_row[1:-1], factor[1:], strict=True):
        open_[begin] = np.maximum(np.round(open_[begin] / split, 2), 0.01)
    wick = np.abs(draw.normal(0.0, 2e-4, (2, *shape)))
    high = np.round(np.maximum(open_, close) * (1 + wick[0]), 2)
    low = np.round(np.minimum(open_, close) * (1 - wick[1]), 2)
    volume = np.floor(draw.exponential(weather.volume, shape))
    gone = _gone(draw, first_row, symbols, weather)
    for panel in (open_, high, low, close):
        panel[gone] = np.nan
    volume[gone] = 0.0
    return History(
        symbols=tuple(f"S{i:02}" for i in range(symbols)),
        sessions=tuple(_weekdays(len(lengths))),
        first_row=first_row,
        open=open_,
        high=np.maximum(high, np.fmax(open_, close)),
        low=np.minimum(low, np.fmin(open_, close)),
        close=close,
        volume=volume,
        scores=_scores(draw, shape, weather),
        expected_bps=np.where(draw.random(shape) < 0.1, np.nan, draw.normal(0.0, 20.0, shape)),
        split_factor=factor,
    )


def _weekdays(count: int) -> Iterator[date]:
    day = date(2024, 1, 2)
    for _ in range(count):
        yield day
        day += timedelta(days=3 if day.weekday() == 4 else 1)


def _splits(draw: np.random.Generator, sessions: int, symbols: int, share: float) -> Floats:
    factor = draw.choice([2.0, 4.0, 1.5, 0.5, 0.1, 1 / 3], (sessions, symbols))
    factor[draw.random(factor.shape) >= share] = 1.0
    factor[0] = 1.0
    return factor


def _gone(
    draw: np.random.Generator, first_row: Floats, symbols: int, weather: Weather
) -> npt.NDArray[np.bool_]:
    """Return which minutes have no bar."""
    gone = draw.random((int(first_row[-1]), symbols)) < weather.quiet
    for begin, end in pairwise(first_row.tolist()):
        for s in range(symbols):
            if draw.random() < weather.halts:
                halted = begin + draw.integers(0, end - begin)
                gone[halted : min(end, halted + draw.integers(1, 120)), s] = True
            if draw.random() < weather.absent:
                half = (begin + end) // 2
                part = [slice(begin, half), slice(half, end), slice(begin, end)]
                gone[part[draw.integers(0, 3)], s] = True
    return gone


def _scores(draw: np.random.Generator, shape: tuple[int, int], weather: Weather) -> Floats:
    scores = draw.random(shape)
    if weather.scores == "tied":
        scores = np.round(scores, 1)
    elif weather.scores == "extreme":
        scores = draw.choice([0.0, 0.6, 1.0], shape)
    elif weather.scores == "rare":
        scores **= 20.0
    scores[draw.random(shape) < weather.unscored] = np.nan
    return scores


def randomised_after(history: History, row: int, seed: int) -> History:
    """Return the same history with everything after a row's minute drawn anew."""
    other = make_history(
        seed,
        np.diff(history.first_row).tolist(),
        len(history.symbols),
        Weather(quiet=0.1, halts=0.3, splits=0.3, volume=3_000.0, unscored=0.1),
    )
    later = np.searchsorted(history.first_row, row, side="right")  # sessions begun until then
    panels = ("open", "high", "low", "close", "volume", "scores", "expected_bps")
    return replace(
        history,
        split_factor=np.concatenate([history.split_factor[:later], other.split_factor[later:]]),
        **{
            name: np.concatenate(
                [getattr(history, name)[: row + 1], getattr(other, name)[row + 1 :]]
            )
            for name in panels
        },
    )


weathers = st.builds(
    Weather,
    quiet=st.sampled_from([0.0, 0.02, 0.3]),
    halts=st.sampled_from([0.0, 0.5]),
    absent=st.sampled_from([0.0, 0.2]),
    splits=st.sampled_from([0.0, 0.6]),
    volume=st.sampled_from([100_000.0, 5_000.0, 300.0, 20.0]),
    scores=st.sampled_from(["uniform", "tied", "extreme", "rare"]),
    unscored=st.sampled_from([0.0, 0.3]),
)

rules = st.builds(
    Rules,
    interval=st.integers(1, 30),
    top_k=st.integers(1, 10),
    min_score=st.sampled_from([0.6, 0.0, -np.inf, 0.95]),
    max_positions=st.integers(1, 8),
    hold=st.integers(1, 60),
    keep_chosen=st.booleans(),
    cooldown=st.sampled_from([0, 15, 1, 120]),
    trend=st.booleans(),
    momentum=st.booleans(),
    min_rsi=st.sampled_from([0.0, 45.0, 60.0]),
    edge_over_cost=st.booleans(),
    round_trip_bps=st.sampled_from([0.0, 8.0]),
    flat_minutes=st.just(0) | st.integers(0, 10),  # 0 holds overnight
    exposure=st.sampled_from([0.95, 0.3, 1.0, 1.5]),
    slots=st.integers(1, 8),
    whole_shares=st.booleans(),
)

costs = st.builds(
    Costs,
    half_spread_bps=st.sampled_from([0.0, 1.0, 25.0]),
    slippage_bps=st.sampled_from([0.0, 1.0, 3.3]),
    commission_bps=st.sampled_from([0.0, 0.5, 50.0]),
    commission_per_share=st.sampled_from([0.0, 0.005]),
    sec_per_million=st.sampled_from([0.0, 27.80]),
    taf_per_share=st.sampled_from([0.0, 0.000166]),
    taf_cap=st.sampled_from([8.30, 0.01]),
    participation=st.sampled_from([0.1, 0.0, 0.01]),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a world of 2 to 5 sessions and 1 to 6 symbols."""
    history = make_history(
        draw(st.integers(0, 2**32 - 1)),
        draw(st.lists(st.sampled_from([FULL, HALF]), min_size=2, max_size=5)),
        draw(st.integers(1, 6)),
        draw(weathers),
    )
    cash = draw(st.sampled_from([100_000.0, 1e7, 2_500.0, 40.0]))
    return World(history, draw(rules), draw(costs), cash)
