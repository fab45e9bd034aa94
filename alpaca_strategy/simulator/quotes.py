"""The exchange's own quotes, worked out from the tape: what orders are filled against.

The middle is the mean of the last few prices, so that buyers' and sellers' prices cancel; bid and
ask lie half a spread away on the tick. Sizes are drawn from the seed, the symbol and the day.
Damage to the data that are served does not touch them: a wrong print is not a price to deal at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from alpaca_strategy.simulator import calendar
from alpaca_strategy.simulator.hours import hours, new_york_day
from alpaca_strategy.simulator.tape import Flags, Floats, Ints, Tape
from alpaca_strategy.simulator.world import rng

_UNITS = 10_000  # prices are kept as whole ten-thousandths of a dollar
_MEAN_OF = 4  # prices in the middle
_PLAIN = frozenset({"@", " ", "F", "I", "T", "O", "5", "6"})
_BOOKS_KEPT = 256
_LOOK_BACK = 10  # sessions


class Quote(NamedTuple):
    """Bid and ask in USD, and the shares that stand there."""

    bid: Decimal
    ask: Decimal
    bid_size: int
    ask_size: int

    @property
    def mid(self) -> Decimal:
        """Return the price in the middle."""
        return (self.bid + self.ask) / 2


@dataclass(frozen=True, slots=True)
class Book:
    """A symbol's quotes of one day; each stands until the next one.

    Attributes:
        ts: When each quote begins, ns since 1970 UTC, increasing.
        bid: Ten-thousandths of a dollar.
        ask: Ten-thousandths of a dollar.
        bid_size: Shares.
        ask_size: Shares.
        opening: Time and price of the opening auction, if it printed.
        closing: Time and price of the closing auction, if it printed.
    """

    ts: Ints
    bid: Ints
    ask: Ints
    bid_size: Ints
    ask_size: Ints
    opening: tuple[int, Decimal] | None
    closing: tuple[int, Decimal] | None

    def row(self, ns: int) -> int:
        """Return the row of the quote that stands at a time; -1 before the first."""
        return int(np.searchsorted(self.ts, ns, "right")) - 1

    def quote(self, row: int) -> Quote:
        """Return one quote."""
        return Quote(
            usd(self.bid[row]), usd(self.ask[row]), int(self.bid_size[row]), int(self.ask_size[row])
        )

    def first(self, good: Flags, since: int) -> int | None:
        """Return when the first good row at or behind `since` begins."""
        found = int(np.argmax(good[since:])) if since < len(good) else 0
        return int(self.ts[since + found]) if since < len(good) and good[since + found] else None


def usd(units: np.integer | int) -> Decimal:
    """Return dollars of whole ten-thousandths."""
    return Decimal(int(units)) / _UNITS


def units(price: Decimal) -> int:
    """Return whole ten-thousandths of a price."""
    return int(price * _UNITS)


class Quotes:
    """Quotes of every symbol, each day's made when it is first asked for.

    Args:
        seed: Of the sizes.
        tape: Gives a symbol's undamaged trades of a day on a feed.
        half_spread: Gives half of a symbol's spread as a fraction of its price.
    """

    def __init__(
        self,
        seed: int,
        tape: Callable[[str, str, date], Tape],
        half_spread: Callable[[str], float],
    ) -> None:
        self._seed = seed
        self._tape = tape
        self._half_spread = half_spread
        self._books: OrderedDict[tuple[str, date], Book] = OrderedDict()

    def forget(self) -> None:
        """Drop what is cached, after the market itself has changed."""
        self._books.clear()

    def book(self, symbol: str, day: date) -> Book:
        """Return the quotes of a symbol and day."""
        key = (symbol, day)
        if key in self._books:
            self._books.move_to_end(key)
            return self._books[key]
        # IEX has a fair share of a synthetic tape and is made quickly; a recording may lack it.
        tape = self._tape("iex", symbol, day)
        if not len(tape):
            tape = self._tape("sip", symbol, day)
        draw = rng(self._seed, symbol, day.toordinal(), "quotes")
        book = self._books[key] = _book(tape, draw, self._half_spread(symbol))
        if len(self._books) > _BOOKS_KEPT:
            self._books.popitem(last=False)
        return book

    def standing(self, symbol: str, ns: int) -> tuple[int, Quote] | None:
        """Return when the quote that stands at a time began, and the quote; None before any."""
        day = new_york_day(ns)
        for _ in range(_LOOK_BACK):
            if hours(day) is not None:
                book = self.book(symbol, day)
                row = book.row(ns)
                if row >= 0:
                    return int(book.ts[row]), book.quote(row)
            day = calendar.next_session(day, -1).date
        return None

    def at(self, symbol: str, ns: int) -> Quote | None:
        """Return (bid, ask, bid size, ask size) as they stand at a time."""
        found = self.standing(symbol, ns)
        return None if found is None else found[1]

    def next_change(self, symbol: str, after: int) -> int | None:
        """Return when the next quote of the day begins."""
        book = self.book(symbol, new_york_day(after))
        row = book.row(after) + 1
        return int(book.ts[row]) if row < len(book.ts) else None

    def next_within(self, symbol: str, side: str, limit: Decimal, after: int) -> int | None:
        """Return when, later that day, a new quote lets a limit order trade."""
        book = self.book(symbol, new_york_day(after))
        level = units(limit)
        good = book.ask <= level if side == "buy" else book.bid >= level
        return book.first(good, book.row(after) + 1)

    def next_beyond(self, symbol: str, side: str, stop: Decimal, after: int) -> int | None:
        """Return when, from then on that day, a quote reaches a stop price."""
        book = self.book(symbol, new_york_day(after))
        level = units(stop)
        good = book.ask >= level if side == "buy" else book.bid <= level
        found = book.first(good, max(book.row(after), 0))
        return None if found is None else max(found, after)

    def close(self, symbol: str, day: date) -> Decimal | None:
        """Return a session's closing price: the auction's, else the middle at the close."""
        session = hours(day)
        if session is None:
            return None
        book = self.book(symbol, day)
        if book.closing is not None:
            return book.closing[1]
        row = book.row(session.close_ns)
        return book.quote(row).mid if row >= 0 else None


def _book(tape: Tape, draw: np.random.Generator, half_spread: float) -> Book:
    """Work out a day's quotes."""
    plain = np.array([set(marks) <= _PLAIN for marks in tape.conditions], bool)
    good = np.flatnonzero(plain[tape.condition] & (tape.update == 0) & (tape.price > 0))
    ts, price = tape.ts[good], tape.price[good]
    last = np.ones(len(ts), bool)
    last[:-1] = ts[1:] != ts[:-1]  # one quote for each moment
    mid = _rolling_mean(price)[last]
    bid, ask = _sides(mid, half_spread, draw)
    return Book(
        ts=ts[last],
        bid=bid,
        ask=ask,
        bid_size=100 * draw.geometric(0.3, len(mid)),
        ask_size=100 * draw.geometric(0.3, len(mid)),
        opening=_auction(tape, "OQ"),
        closing=_auction(tape, "6M"),
    )


def _rolling_mean(price: Floats) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(price)])
    end = np.arange(1, len(price) + 1)
    start = np.maximum(end - _MEAN_OF, 0)
    mean: Floats = (total[end] - total[start]) / (end - start)
    return mean


def _sides(mid: Floats, half_spread: float, draw: np.random.Generator) -> tuple[Ints, Ints]:
    """Return bids and asks on the tick: a cent, below one dollar a hundredth of one.

    They are as far apart as buyers' and sellers' prices on the tape. Where one tick is spread
    enough and the middle lies on it, a coin says whether it is the bid or the ask.
    """
    tick = np.where(mid >= 1, 100, 1)
    wide = np.maximum(mid * half_spread * _UNITS / tick - 0.5, 0)
    middle = mid * _UNITS / tick
    bid = np.maximum(np.floor(middle - wide + 1e-6), 1).astype(np.int64)
    ask = np.ceil(middle + wide - 1e-6).astype(np.int64)
    coin = draw.integers(0, 2, len(mid))
    bid -= (ask <= bid) & (coin == 1) & (bid > 1)
    return bid * tick, np.maximum(ask, bid + 1) * tick


def _auction(tape: Tape, marks: str) -> tuple[int, Decimal] | None:
    """Return time and price of the first print with one of the marks."""
    wanted = np.array([bool(set(listed) & set(marks)) for listed in tape.conditions], bool)
    rows = np.flatnonzero(wanted[tape.condition] & (tape.update == 0) & (tape.price > 0))
    if not len(rows):
        return None
    return int(tape.ts[rows[0]]), usd(round(float(tape.price[rows[0]]) * _UNITS))
