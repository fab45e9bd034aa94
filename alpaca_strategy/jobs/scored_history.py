"""Bars and scores of a backtest, read from the files that are published now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from alpaca_strategy.backtest.history import Floats, History, Ints
from alpaca_strategy.bootstrap import Services
from alpaca_strategy.jobs.scoring import load_version, positions_of, scorer_of
from alpaca_strategy.jobs.training_data import load_dataset, pins_of, read_bars
from alpaca_strategy.jobs.unseen import Share
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.model.dataset import WINDOW, Dataset, returns_of
from alpaca_strategy.model.outcomes import correlation_parts, row_means
from alpaca_strategy.storage.actions import split_factors
from alpaca_strategy.storage.records import SessionStatus
from alpaca_strategy.storage.registry_records import DataPin

Progress = Callable[[int, int, str], None]
_PRICES = ("open", "high", "low", "close", "volume")
#: Horizons, in minutes, over which the IC's decay is shown.
DECAY = (1, 5, 10, 20, 30, 60)
#: Decisions scored between two reports of progress.
_STEP = 200


@dataclass(frozen=True, slots=True)
class ScoredHistory:
    """A history, and what its scores are worth.

    Attributes:
        history: Bars and scores.
        returns: What followed each decision, shape (rows, symbols), as fractions; NaN where there
            was no decision.
        decay: Mean rank IC by minutes of horizon.
        rank_ic: Mean rank IC by model; None where it has none.
        pins: The files that were read, of the sessions and of the one before them.
    """

    history: History
    returns: Floats
    decay: dict[int, float]
    rank_ic: dict[str, float | None]
    pins: tuple[DataPin, ...]


def score_history(
    home: Services, shares: Sequence[Share], *, interval: int, progress: Progress | None = None
) -> ScoredHistory:
    """Read the sessions of a backtest and score every decision.

    Args:
        home: The services.
        shares: Which model scores which sessions; models of one universe.
        interval: Minutes between decisions.
        progress: Told of scored decisions.

    Raises:
        ModelRefusedError: A model was made for other features, symbols or another feed.
        DamagedFileError: A file is gone or cannot be read.
    """
    days = [day for share in shares for day in share.days]
    symbols, horizon = shares[0].version.symbols, shares[0].version.horizon
    pins = pins_of(home, [*_day_before(home, days[0]), *days])
    dataset = load_dataset(home, pins, symbols=symbols, horizon=horizon)
    first = len(pins) - len(days)  # position of the first session that is traded
    prices, later = _read_bars(home, pins, symbols, first)
    due = _decisions(dataset, interval, first)
    begin = int(np.searchsorted(dataset.session_index, first))
    scores, expected, returns = (np.full(prices["close"].shape, np.nan) for _ in range(3))
    rank_ic, done = {}, 0
    for share in shares:
        own = due[np.isin(dataset.session_index[due], positions_of(dataset, share.days))]
        model = load_version(home, share.version)
        scorer = scorer_of(home, model, dataset)
        logits = np.full((len(own), len(symbols)), np.nan)
        for i in range(0, len(own), _STEP):
            logits[i : i + _STEP] = scorer.predict(dataset, own[i : i + _STEP]).scores
            done += len(own[i : i + _STEP])
            if progress is not None:
                progress(done, len(due), "decisions scored")
        scores[own - begin] = model.calibration.score(logits)
        expected[own - begin] = model.calibration.expected_bps(logits)
        returns[own - begin] = np.expm1(dataset.returns[own].astype(np.float64))
        rank_ic[share.version.id] = _mean_rank_ic(logits, returns[own - begin])
    traded = due - begin
    decay = {m: _mean_rank_ic(scores[traded], values[traded]) for m, values in later.items()}
    return ScoredHistory(
        history=History(
            symbols=symbols,
            sessions=tuple(days),
            first_row=np.concatenate(([0], np.cumsum([_minutes(day) for day in days]))),
            **prices,
            scores=scores,
            expected_bps=expected,
            split_factor=_overnight(home, symbols, days),
        ),
        returns=returns,
        decay={minutes: value for minutes, value in decay.items() if value is not None},
        rank_ic=rank_ic,
        pins=pins,
    )


def _day_before(home: Services, first: date) -> list[date]:
    """Return the session before, into which the first windows reach, where it is published."""
    day = exchange_calendar().previous_session(first).day
    row = next(iter(home.catalog.sessions(day, day, home.settings.data.feed)), None)
    return [day] if row is not None and row.status is SessionStatus.PUBLISHED else []


def _read_bars(
    home: Services, pins: Sequence[DataPin], symbols: Sequence[str], first: int
) -> tuple[dict[str, Floats], dict[int, Floats]]:
    """Return prices, and returns over every horizon, of the sessions that are traded."""
    prices: dict[str, list[Floats]] = {name: [] for name in _PRICES}
    later: dict[int, list[Floats]] = {minutes: [] for minutes in DECAY}
    for bars in read_bars(home, pins[first:], symbols):
        for name, parts in prices.items():
            column = bars.values[:, :, BAR_COLUMNS.index(name)]
            nothing = 0.0 if name == "volume" else np.nan
            parts.append(np.where(bars.observed, column, nothing))
        for minutes, parts in later.items():
            parts.append(returns_of(bars, minutes).astype(np.float64))
    return (
        {name: np.concatenate(parts) for name, parts in prices.items()},
        {minutes: np.concatenate(parts) for minutes, parts in later.items()},
    )


def _decisions(dataset: Dataset, interval: int, first: int) -> Ints:
    """Return the rows at whose close something is decided, with a whole window before them."""
    due = (dataset.minute + 1) % interval == 0
    rows = np.flatnonzero(due & (dataset.session_index >= first))
    return rows[rows >= WINDOW - 1]


def _mean_rank_ic(scores: Floats, returns: Floats) -> float | None:
    each = row_means(correlation_parts(scores, returns)["rank_ic"])
    each = each[np.isfinite(each)]
    return float(each.mean()) if len(each) else None


def _minutes(day: date) -> int:
    return exchange_calendar().session(day).minutes


def _overnight(home: Services, symbols: Sequence[str], days: Sequence[date]) -> Floats:
    """Return shares that one share became over the night before each session."""
    since = split_factors(home.lake, symbols, days, days[-1])
    return np.concatenate((np.ones((1, len(symbols))), since[:-1] / since[1:]))
