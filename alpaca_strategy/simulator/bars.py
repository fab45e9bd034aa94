"""Bars from trades by Alpaca's published table, written apart from the product's own kernel.

Source: Alpaca's Market Data FAQ. A trade with several conditions follows the strictest of them.
Minute and daily bars come from trades; every other timeframe is aggregated from those.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from alpaca_strategy.simulator.calendar import NEW_YORK
from alpaca_strategy.simulator.store import new_york_day
from alpaca_strategy.simulator.tape import CANCELED, INCORRECT, Tape

MINUTE = 60_000_000_000
_VOLUME_ONLY = frozenset("CHINRUVW7")
_DERIVED = frozenset("GPZ4")  # the day's extremes, and its open and close only if first
_OFFICIAL = frozenset("MQ")
NO, FIRST, YES = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Rule:
    """Whether a trade sets open and close (never, only when first, always), extremes, volume."""

    ends: int
    extremes: bool
    volume: bool

    def stricter(self, other: Rule) -> Rule:
        """Return what both allow."""
        return Rule(
            min(self.ends, other.ends),
            self.extremes and other.extremes,
            self.volume and other.volume,
        )


_ALL = Rule(YES, extremes=True, volume=True)
_VOLUME = Rule(NO, extremes=False, volume=True)
_NONE = Rule(NO, extremes=False, volume=False)
_FIRST = Rule(FIRST, extremes=True, volume=True)
_LATE_CLOSE = Rule(YES, extremes=True, volume=False)


def rule(marks: tuple[str, ...], tape: str, *, daily: bool) -> Rule:
    """Return how a trade with these conditions counts."""
    result = _ALL
    for mark in marks:
        result = result.stricter(_single(mark, tape, daily=daily))
    return result


def _single(mark: str, tape: str, *, daily: bool) -> Rule:
    if mark in _VOLUME_ONLY or (mark == "B" and tape != "C"):
        return _VOLUME
    if mark == "T":
        return _VOLUME if daily else _ALL
    if mark in _DERIVED:
        return _FIRST if daily else _VOLUME
    if mark in _OFFICIAL:
        return _NONE
    if mark == "9":
        return _LATE_CLOSE if daily else _NONE
    return _ALL


@dataclass(slots=True)
class Bar:
    """One bar in the making; prices in USD, volume in shares."""

    start: int
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    volume: int = 0
    count: int = 0
    turnover: float = 0.0
    weighed: int = 0
    _ends: bool = field(default=False)

    def add(self, price: float, size: int, how: Rule) -> None:
        """Count one trade."""
        if how.ends == YES or (how.ends == FIRST and not self._ends):
            if not self._ends:
                self.open = price
            self.close, self._ends = price, True
        if how.extremes:
            self.high = max(self.high, price)
            self.low = price if self.low == 0 else min(self.low, price)
        if how.volume:
            self.volume += size
            self.count += 1
            if how.extremes:
                self.turnover += price * size
                self.weighed += size

    def join(self, later: Bar) -> None:
        """Count a later bar into this one."""
        self.high, self.low = max(self.high, later.high), min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.count += later.count
        self.turnover += later.vwap * later.volume
        self.weighed += later.volume

    @property
    def vwap(self) -> float:
        """Return the volume-weighted price."""
        return self.turnover / self.weighed if self.weighed else self.close

    @property
    def whole(self) -> bool:
        """Tell whether the bar is published at all."""
        return bool(self.open and self.high and self.low and self.close and self.volume)

    def as_dict(self, timestamp: str, factor: float = 1.0) -> dict[str, object]:
        """Return the venue's object, prices divided by a split factor."""
        prices = (self.open, self.high, self.low, self.close, self.vwap)
        o, h, l, c, vw = (round(price / factor, 6) for price in prices)  # noqa: E741
        volume = round(self.volume * factor)
        return {
            "t": timestamp, "o": o, "h": h, "l": l, "c": c,
            "v": volume, "n": self.count, "vw": vw,
        }  # fmt: skip


def from_trades(tape: Tape, day: date, *, daily: bool) -> list[Bar]:
    """Return the minute bars of a day's tape, or its one daily bar."""
    rules = [rule(marks, tape.tape, daily=daily) for marks in tape.conditions]
    alive = (tape.update != CANCELED) & (tape.update != INCORRECT)
    starts = tape.ts - tape.ts % MINUTE
    midnight = midnight_ns(day)
    bars: dict[int, Bar] = {}
    columns = (starts[alive], tape.price[alive], tape.size[alive], tape.condition[alive])
    for start, price, size, marks in zip(*(c.tolist() for c in columns), strict=True):
        key = midnight if daily else start
        bar = bars.get(key)
        if bar is None:
            bar = bars[key] = Bar(key)
        bar.add(price, size, rules[marks])
    return [bar for _, bar in sorted(bars.items()) if bar.whole]


def midnight_ns(day: date) -> int:
    """Return midnight in New York, which labels daily bars."""
    moment = datetime.combine(day, time(), NEW_YORK)
    return int(moment.timestamp()) * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Timeframe:
    """A bar's length: an amount of Min, Hour, Day, Week or Month."""

    amount: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Timeframe:
        """Read a timeframe such as 5Min.

        Raises:
            ValueError: The venue has no such timeframe.
        """
        match = re.fullmatch(r"(\d{1,2})(Min|T|Hour|H|Day|D|Week|W|Month|M)", text)
        if match is None:
            raise ValueError(text)
        amount = int(match[1])
        unit = {"T": "Min", "H": "Hour", "D": "Day", "W": "Week", "M": "Month"}.get(
            match[2], match[2]
        )
        limits = {"Min": 59, "Hour": 23, "Day": 1, "Week": 1, "Month": 12}
        if not 1 <= amount <= limits[unit] or (
            unit == "Month" and amount not in {1, 2, 3, 4, 6, 12}
        ):
            raise ValueError(text)
        return cls(amount, unit)

    @property
    def from_daily(self) -> bool:
        """Tell whether bars of this length are made of daily bars."""
        return self.unit in {"Day", "Week", "Month"}

    def label(self, start: int) -> int:
        """Return the label of the bar that a minute's or day's bar belongs to."""
        day = new_york_day(start)
        if self.unit == "Week":
            return midnight_ns(day - timedelta(days=day.weekday()))
        if self.unit == "Month":
            month = (day.month - 1) // self.amount * self.amount + 1
            return midnight_ns(day.replace(month=month, day=1))
        if self.unit == "Day":
            return start
        length = self.amount * MINUTE * (60 if self.unit == "Hour" else 1)
        midnight = midnight_ns(day)
        return midnight + (start - midnight) // length * length


def regroup(bars: list[Bar], timeframe: Timeframe) -> list[Bar]:
    """Aggregate minute or daily bars, oldest first, into longer ones."""
    if timeframe.amount == 1 and timeframe.unit in {"Min", "Day"}:
        return bars
    result: list[Bar] = []
    for bar in bars:
        label = timeframe.label(bar.start)
        if not result or result[-1].start != label:
            result.append(Bar(label, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.count))
            result[-1].turnover, result[-1].weighed = bar.vwap * bar.volume, bar.volume
        else:
            result[-1].join(bar)
    return result
