"""Small worlds of minute bars with a known oracle, for proofs of what a model learns.

They are arrays, not tapes: a year of sessions takes a second. What can be known of the next ten
minutes' returns is a *signal* that shows in the order flow of the bars and nowhere else:

- ``linear``: the flow shows a slowly moving pressure, as in the exchange simulator;
- ``ordered``: the flow is white noise, and the signal is a sum over its last minutes with signs,
  arranged so that rolling means over 5, 15, 60 or 240 minutes show next to nothing of it;
- ``momentary``: the flow is white noise, is the signal, and moves the very next minute alone.

A session can be played backwards. Then every minute knows nothing of those before it but what the
flow did to the next one. In a momentary world, that is nothing at all: the backward window of a
decision ends with the flow and the move of one minute, of which the move follows from the minute
before; the label is made of the moves from there on, which follow from flows still further back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from alpaca_strategy.features.fingerprint import fingerprint
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.model.dataset import Dataset, SessionBars, build_dataset

Floats = npt.NDArray[np.float64]
HORIZON = 10
PERSISTENCE = 0.95
_VOL = 5e-4  # of a minute's return
_COLUMN = {name: i for i, name in enumerate(BAR_COLUMNS)}
#: What the last flows, lags 0 to 14, say of the next ten minutes. It sums to 0 over lags 0..4, 5..9
#: and 10..14. No regression on features of 1, 10 and 60 minutes and on their rolling means over 1,
#: 5, 15, 60 and 240 correlates with it by more than 0.22; returns betray about as much of it.
PATTERN = np.array([0, 0, -1, 0, 1, 0, 0, 0, 0, 0, -1, 0, 1, 1, -1], float) / np.sqrt(6)


@dataclass(frozen=True)
class World:
    """A world, and how large its signal is.

    Attributes:
        kind: ``linear``, ``ordered`` or ``momentary``.
        ic: Correlation of the signal with the ten-minute returns; 0 plants none, below 0 flips it.
        until: Sessions after which the signal is switched off.
        quiet: Share of minutes without a bar.
        symbols: How many.
        seed: Of everything.
        backwards: Play every session from its end to its start; the signal then means nothing.
    """

    kind: str = "linear"
    ic: float = 0.06
    until: int = 10**6
    quiet: float = 0.0
    symbols: int = 30
    seed: int = 0
    backwards: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return the symbols."""
        return tuple(f"S{i:02}" for i in range(self.symbols))

    def sessions(self, count: int) -> Iterator[tuple[SessionBars, Floats]]:
        """Yield bars and the signal (minutes, symbols) of so many sessions."""
        days = exchange_calendar().sessions(date(2024, 1, 2), date(2027, 6, 30))[:count]
        for index, day in enumerate(days):
            yield self._session(index, day.day, day.minutes)

    def dataset(self, count: int, *, horizon: int = HORIZON) -> Dataset:
        """Return so many sessions as a dataset."""
        bars = [one for one, _ in self.sessions(count)]
        return build_dataset(
            bars,
            minutes=[len(one.observed) for one in bars],
            symbols=self.names,
            fingerprint=fingerprint(
                feed="iex", condition_fingerprint="none", symbols=self.names, horizon=horizon
            ),
            horizon=horizon,
        )

    def signal(self, count: int) -> Floats:
        """Return the signal of so many sessions, shape (minutes, symbols)."""
        return np.concatenate([signal for _, signal in self.sessions(count)])

    def _session(self, index: int, day: date, minutes: int) -> tuple[SessionBars, Floats]:
        draw = np.random.default_rng([self.seed, index])
        shape = (minutes, self.symbols)
        flow, signal, push = self._flow(draw, shape)
        drift = _drift(self.kind, self.ic) if index < self.until else 0.0
        moves = draw.standard_normal(shape)
        moves[1:] += drift * push[:-1]
        level = 50.0 * np.exp(0.3 * np.random.default_rng([self.seed, 1]).standard_normal(shape[1]))
        close = level * np.exp(_VOL * np.cumsum(moves, axis=0))
        values = _bars(draw, close, flow)
        observed = draw.random(shape) >= self.quiet
        values[~observed] = np.nan
        if self.backwards:
            values, observed = _backwards(values), observed[::-1].copy()
        return SessionBars(day, values, observed), signal

    def _flow(self, draw: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, ...]:
        """Return the flow that shows, the signal, and what moves the next minute's price."""
        noise = draw.standard_normal(shape)
        if self.kind == "ordered":
            lags = [np.pad(noise, ((k, 0), (0, 0)))[: shape[0]] for k in range(len(PATTERN))]
            return noise, np.tensordot(PATTERN, lags, axes=1), np.tensordot(_push(), lags, axes=1)
        if self.kind == "momentary":
            return noise, noise, noise
        noise[1:] *= np.sqrt(1 - PERSISTENCE**2)
        weight = PERSISTENCE ** -np.arange(shape[0])[:, None].astype(float)
        pressure = np.cumsum(noise * weight, axis=0) / weight
        return pressure, pressure, pressure


def _push() -> Floats:
    """Return weights of flows in one minute's move whose sum over ten minutes is the pattern.

    The flow of lag m has its part in the minutes in which its lag is m to m + 9, and what is
    known is the sum of that: ``PATTERN[m] == sum(push[m : m + 10])``.
    """
    push = PATTERN - np.append(PATTERN[1:], 0.0)
    push[: len(push) - HORIZON] += push[HORIZON:]
    return push


def _drift(kind: str, ic: float) -> float:
    """Return the drift a minute, in volatilities, whose signal has that correlation.

    The ten-minute return is the sum of ten unit noises and of the drift times what pushes it, of
    which the signal knows one minute's worth, or as much as its persistence leaves of ten.
    """
    known = sum(PERSISTENCE**k for k in range(HORIZON)) if kind == "linear" else 1.0
    return ic * np.sqrt(HORIZON) / known


def _backwards(values: Floats) -> Floats:
    """Return a session's bars as a clock that runs backwards sees them."""
    turned = values[::-1].copy()
    opened, close = _COLUMN["open"], _COLUMN["close"]
    turned[:, :, [opened, close]] = turned[:, :, [close, opened]]
    return turned


def _bars(draw: np.random.Generator, close: Floats, flow: Floats) -> Floats:
    """Return bars around these closes, whose buys outweigh sells as the flow says."""
    shape = close.shape
    opened = np.concatenate([close[:1], close[:-1]])
    wick = np.abs(draw.standard_normal((2, *shape))) * _VOL * close
    count = 4 + draw.poisson(20, shape)
    volume = count * draw.integers(40, 160, shape)
    bought = np.clip(0.5 + 0.15 * flow + 0.05 * draw.standard_normal(shape), 0.02, 0.98)
    buys = np.rint(count * bought)
    high, low = np.maximum(opened, close) + wick[0], np.minimum(opened, close) - wick[1]
    values = np.zeros((*shape, len(BAR_COLUMNS)))
    columns: dict[str, Floats] = {
        "open": opened, "high": high, "low": low, "close": close,
        "vwap": (high + low + 2 * close) / 4, "price_mean": (high + low + opened + close) / 4,
        "price_std": (high - low) / 4, "volume": volume, "trade_count": count,
        "dollar_volume": volume * close, "regular_count": np.rint(count * 0.7),
        "odd_lot_count": np.rint(count * draw.uniform(0.2, 0.6, shape)),
        "tiny_count": np.rint(count * 0.5), "small_count": np.rint(count * 0.3),
        "mid_count": draw.poisson(1.0, shape), "large_count": draw.poisson(0.2, shape),
        "buy_volume": np.rint(volume * bought), "sell_volume": volume - np.rint(volume * bought),
        "buy_count": buys, "sell_count": count - buys,
        "size_std": draw.uniform(20, 200, shape), "size_max": draw.integers(100, 3000, shape),
        "intertrade_ms_mean": 60_000 / count,
    }  # fmt: skip
    for name, column in columns.items():
        values[:, :, _COLUMN[name]] = column
    return values
