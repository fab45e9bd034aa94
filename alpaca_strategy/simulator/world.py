"""The synthetic market's companies: who they are, and their prices from day to day.

Everything here follows from the seed, the symbol and the date alone, so that no answer depends
on the order of requests. Adjusted log prices wander around a level of their own with a half-life
of about a year; splits divide the printed price, and a later reverse split brings it back.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import numpy as np

from alpaca_strategy.simulator import calendar
from alpaca_strategy.simulator.tape import Floats

FIRST_DAY = date(2000, 1, 3)
MARKET_DAILY_VOL = 0.010
SECTOR_DAILY_VOL = 0.006
OVERNIGHT_SHARE = 0.25  # of a day's variance
_REVERSION = 0.997  # a day

#: Listed on the New York Stock Exchange among the default universe; the rest is Nasdaq.
_NYSE = frozenset({"F", "GM", "CRM", "ORCL", "MPC", "DVN", "OXY", "HAL", "LLY", "BBWI", "TPR"})


def rng(*words: int | str) -> np.random.Generator:
    """Return a generator for one purpose, the same whenever it is asked for."""
    keys = [w if isinstance(w, int) else zlib.crc32(w.encode()) for w in words]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(keys)))


@dataclass(frozen=True, slots=True)
class Split:
    """A stock split: ``new`` shares for ``old`` ones from the morning of the ex-date on."""

    symbol: str
    ex_date: date
    new: int
    old: int


@dataclass(frozen=True, slots=True)
class Company:
    """What stays the same about a symbol.

    Attributes:
        level: Long-run price in USD.
        vol: Idiosyncratic daily volatility, a fraction.
        beta: Loading on the market.
        half_spread: Fraction of the price, before the tick's floor.
        tape: Plan: A or C.
    """

    symbol: str
    name: str
    sector: str
    level: float
    vol: float
    beta: float
    half_spread: float
    tape: str


@dataclass(frozen=True)
class Parameters:
    """What a user of the synthetic market may choose.

    Attributes:
        trades: Trades a full symbol-session has on the IEX feed, the default feed, about.
        iex_share: Share of all trades that print on IEX. The true share is about 0.025; a
            larger one keeps the SIP feed affordable.
        signal_ic: The planted signal (see `signal`); negative flips it, 0 removes it.
        signal_from: First session with the signal.
        signal_until: Last session with it.
        scheduled_splits: Splits in addition to those that chance brings.
    """

    seed: int = 7
    trades: int = 6000
    iex_share: float = 0.25
    signal_ic: float = 0.06
    signal_from: date = date.min
    signal_until: date = date.max
    scheduled_splits: tuple[Split, ...] = ()

    def ic(self, day: date) -> float:
        """Return the signal's size on a day."""
        return self.signal_ic if self.signal_from <= day <= self.signal_until else 0.0


@dataclass
class World:
    """The companies of a universe, and their daily paths.

    Attributes:
        universe: Rows with symbol, name and sector.
    """

    parameters: Parameters
    universe: Sequence[Mapping[str, str]]
    extra_splits: list[Split] = field(default_factory=list)
    _paths: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    _splits: dict[str, list[Split]] = field(default_factory=dict)

    @cached_property
    def companies(self) -> dict[str, Company]:
        """Return every company by its symbol."""
        rows = [self._company(row) for row in self.universe]
        return {company.symbol: company for company in rows}

    @cached_property
    def days(self) -> list[date]:
        """Return the sessions of the synthetic market."""
        return [day.date for day in calendar.sessions(FIRST_DAY, date(2035, 12, 31))]

    @cached_property
    def positions(self) -> dict[date, int]:
        """Return each session's place in `days`."""
        return {day: n for n, day in enumerate(self.days)}

    def _company(self, row: Mapping[str, str]) -> Company:
        draw = rng(self.parameters.seed, row["symbol"], "company")
        level = float(np.exp(draw.normal(np.log(150), 0.45)))
        return Company(
            symbol=row["symbol"],
            name=row["name"],
            sector=row["sector"],
            level=level,
            vol=0.016 * float(np.exp(0.25 * draw.standard_normal())),
            beta=float(draw.normal(1.0, 0.3)),
            half_spread=float(draw.uniform(0.8e-4, 1.8e-4)),
            tape="A" if row["symbol"] in _NYSE else "C",
        )

    @cached_property
    def factor_scale(self) -> Floats:
        """Return the market's volatility of each session relative to its mean."""
        shocks = rng(self.parameters.seed, "volatility").standard_normal(len(self.days))
        decay = 0.9
        state, path = 0.0, np.empty(len(shocks))
        for n, shock in enumerate(shocks):
            state = decay * state + 0.12 * shock
            path[n] = state
        scale: Floats = np.exp(path - 0.12**2 / (1 - decay**2))
        return scale

    def returns(self, name: str, vol: float) -> tuple[Floats, Floats]:
        """Return (overnight, intraday) log returns of every session for one source of risk."""
        if name not in self._paths:
            draw = rng(self.parameters.seed, name, "daily")
            count = len(self.days)
            scale = vol * (self.factor_scale if name == "market" else np.ones(count))
            fat = draw.standard_t(5, count) * np.sqrt(3 / 5)
            self._paths[name] = (
                fat * scale * np.sqrt(OVERNIGHT_SHARE),
                draw.standard_normal(count) * scale * np.sqrt(1 - OVERNIGHT_SHARE),
            )
        return self._paths[name]

    def factors(self, company: Company) -> list[tuple[str, float, float]]:
        """Return (source, loading, daily volatility) of what moves a company."""
        return [
            ("market", company.beta, MARKET_DAILY_VOL),
            (f"sector {company.sector}", 1.0, SECTOR_DAILY_VOL),
            (f"stock {company.symbol}", 1.0, company.vol),
        ]

    def opening_log_price(self, symbol: str, day: date) -> float:
        """Return the log of the split-adjusted price at a session's open."""
        return float(self._opening_path(symbol)[self.positions[day]])

    def _opening_path(self, symbol: str) -> Floats:
        key = f"path {symbol}"
        if key not in self._paths:
            company = self.companies[symbol]
            overnight, intraday = np.zeros(len(self.days)), np.zeros(len(self.days))
            for source, loading, vol in self.factors(company):
                night, session = self.returns(source, vol)
                overnight, intraday = overnight + loading * night, intraday + loading * session
            # Overnight the close is drawn towards the level, then the night's return is added;
            # within the session nothing is, so the tape's open-to-close return is `intraday`.
            weight = _REVERSION ** -np.arange(len(self.days))
            carried, nights = np.cumsum(intraday * weight), np.cumsum(overnight * weight)
            before = np.concatenate([[0.0], carried[:-1]])
            path = np.log(company.level) + (nights + before) / weight
            self._paths[key] = (path, path)
        return self._paths[key][0]

    @cached_property
    def _days_by_year(self) -> dict[int, list[date]]:
        years: dict[int, list[date]] = {}
        for day in self.days:
            years.setdefault(day.year, []).append(day)
        return years

    def splits(self, symbol: str) -> list[Split]:
        """Return a symbol's splits, oldest first."""
        if symbol not in self._splits:
            given = [*self.parameters.scheduled_splits, *self.extra_splits]
            found = [split for split in given if split.symbol == symbol]
            found += self._random_splits(symbol)
            self._splits[symbol] = sorted(found, key=lambda split: split.ex_date)
        return self._splits[symbol]

    def _random_splits(self, symbol: str) -> list[Split]:
        """Draw one about every fourth year; each forward split is undone by the next one."""
        found, pending = [], 1
        for year, days in self._days_by_year.items():
            draw = rng(self.parameters.seed, symbol, year, "split")
            if draw.random() < 0.25:
                day = days[int(draw.integers(len(days)))]
                ratio = int(draw.choice([2, 3, 4]))
                new, old = (ratio, 1) if pending == 1 else (1, pending)
                pending = ratio if pending == 1 else 1
                found.append(Split(symbol, day, new, old))
        return found

    def split_factor(self, symbol: str, day: date) -> float:
        """Return by what the adjusted price is divided on a day."""
        factor = 1.0
        for split in self.splits(symbol):
            if split.ex_date <= day:
                factor *= split.new / split.old
        return factor

    def add_split(self, split: Split) -> None:
        """Schedule one more split."""
        self.extra_splits.append(split)
        self._splits.clear()
