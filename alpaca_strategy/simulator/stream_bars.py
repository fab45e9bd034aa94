"""Bars as the stream tells them: of what is known at a moment, by the simulator's own builder."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import Any

import numpy as np

from alpaca_strategy.simulator.bars import Bar, midnight_ns
from alpaca_strategy.simulator.reel import BAR_DELAY, MINUTE, SymbolDay
from alpaca_strategy.simulator.stream_encode import Moment

HALF = MINUTE // 2
_BAND = 0.05  # of a price: how far off the limits lie


def item(kind: str, symbol: str, bar: Bar) -> dict[str, Any]:
    """Return a bar's object; kind is b, u or d."""
    return {"T": kind, "S": symbol, **bar.as_dict(""), "t": Moment(bar.start)}


def minute(day: SymbolDay, start: int, known_at: int) -> Bar | None:
    """Return a minute's bar of the trades known at a time, or None if they make none."""
    bar = Bar(start)
    low, high = np.searchsorted(day.tape.ts, (start, start + MINUTE)).tolist()
    _count(day, bar, (low, high), known_at, daily=False)
    return bar if bar.whole else None


def _count(day: SymbolDay, bar: Bar, rows: tuple[int, int], known_at: int, *, daily: bool) -> None:
    """Count the trades of some rows that are known, and not taken back, at a time."""
    tape, rules = day.tape, day.rules(daily=daily)
    low, high = rows
    valid = (day.born[low:high] <= known_at) & (known_at < day.dies[low:high])
    columns = (tape.price[low:high], tape.size[low:high], tape.condition[low:high])
    for price, size, marks in zip(*(c[valid].tolist() for c in columns), strict=True):
        bar.add(price, size, rules[marks])


def band(day: SymbolDay, bar: Bar, at: int) -> dict[str, Any]:
    """Return the prices between which a symbol may trade after a minute's bar."""
    return {
        "T": "l", "S": day.symbol, "u": round(bar.vwap * (1 + _BAND), 2),
        "d": round(bar.vwap * (1 - _BAND), 2), "i": "B", "t": Moment(at), "z": day.tape.tape,
    }  # fmt: skip


def revised(day: SymbolDay, since: int, until: int) -> list[int]:
    """Return the minutes whose bars changed after they were sent, in (since, until]."""
    changes = day.revisions
    first = bisect_right(changes, since, key=lambda c: c[0])
    last = bisect_right(changes, until, key=lambda c: c[0])
    return sorted({start for _, start in changes[first:last]})


class Daily:
    """A symbol's daily bar, minute by minute; begun anew when an earlier trade changes."""

    def __init__(self, day: SymbolDay) -> None:
        self._day = day
        self._bar = Bar(midnight_ns(day.day))
        self._rows = 0  # of the tape, counted
        self._known_at = 0

    def at(self, end: int) -> Bar | None:
        """Return the bar of what happened before a minute's end, as known when it is sent."""
        day, known_at = self._day, end + BAR_DELAY
        if revised(day, self._known_at, known_at):
            self._bar, self._rows = Bar(midnight_ns(day.day)), 0
        stop = int(np.searchsorted(day.tape.ts, end))
        _count(day, self._bar, (self._rows, stop), known_at, daily=True)
        self._rows, self._known_at = stop, known_at
        return replace(self._bar) if self._bar.whole else None
