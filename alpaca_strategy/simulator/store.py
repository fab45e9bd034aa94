"""Tapes and their JSON, kept in bounded memory, and pages cut from them.

A page token names the last trade served (symbol, time, exchange, id), as the venue's does, so a
page can be asked for again at any time, by anyone, after a restart too.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol

import numpy as np

from alpaca_strategy.simulator import encode
from alpaca_strategy.simulator.calendar import NEW_YORK
from alpaca_strategy.simulator.tape import Ints, Tape

BLOCK = 8192  # trades encoded at once
TAPE_BYTES = 96 << 20
JSON_BYTES = 96 << 20
_OFFSET = 1 << 63


class Source(Protocol):
    """Where trades come from."""

    @property
    def symbols(self) -> list[str]:
        """Return the symbols that have trades, sorted."""

    def days(self, symbol: str, first: date, last: date) -> list[date]:
        """Return the New York dates with trades in a range, oldest first."""

    def tape(self, feed: str, symbol: str, day: date) -> Tape:
        """Return a symbol's trades of a day on a feed, ``iex`` or ``sip``."""


class BadTokenError(ValueError):
    """A page token that this venue never gave out."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a listing: the last item served."""

    symbol: str
    ts: int
    exchange: str
    trade_id: int

    def token(self) -> str:
        """Return the opaque text."""
        number = f"{self.trade_id + _OFFSET:020d}"
        text = f"{self.symbol}|{_nine_digits(self.ts)}|{self.exchange}|{number}"
        return base64.b64encode(text.encode()).decode()

    @classmethod
    def parse(cls, token: str) -> Place:
        """Read a token.

        Raises:
            BadTokenError: It was not written by `token`.
        """
        try:
            text = base64.b64decode(token, validate=True).decode()
            symbol, moment, exchange, number = text.split("|")
            return cls(symbol, encode.parse_timestamp(moment), exchange, int(number) - _OFFSET)
        except (ValueError, binascii.Error) as error:
            raise BadTokenError(token) from error


def _nine_digits(ns: int) -> str:
    moment = datetime.fromtimestamp(ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000:09d}Z"


@dataclass(frozen=True, slots=True)
class Query:
    """A range of trades: both ends included, nanoseconds since 1970 UTC."""

    feed: str
    symbols: tuple[str, ...]
    start: int
    end: int
    limit: int
    descending: bool = False
    place: Place | None = None


class Store:
    """Tapes and encoded blocks of one source, least recently used out first.

    Args:
        source: Where tapes come from.
        alter: Applied to every tape before it is served; damages stand here.
    """

    def __init__(self, source: Source, alter: Callable[[str, str, date, Tape], Tape]) -> None:
        self.source = source
        self._alter = alter
        self._tapes: OrderedDict[tuple[str, str, date], Tape] = OrderedDict()
        self._blocks: OrderedDict[tuple[str, str, date, int], tuple[bytes, Ints]] = OrderedDict()
        self._tape_bytes = self._json_bytes = 0

    def forget(self) -> None:
        """Drop what is cached, after the source or a damage has changed."""
        self._tapes.clear()
        self._blocks.clear()
        self._tape_bytes = self._json_bytes = 0

    def tape(self, feed: str, symbol: str, day: date) -> Tape:
        """Return a day's tape."""
        key = (feed, symbol, day)
        found = self._tapes.get(key)
        if found is not None:
            self._tapes.move_to_end(key)
            return found
        tape = self._alter(feed, symbol, day, self.source.tape(feed, symbol, day))
        self._tapes[key] = tape
        self._tape_bytes += tape.nbytes
        while self._tape_bytes > TAPE_BYTES and len(self._tapes) > 1:
            self._tape_bytes -= self._tapes.popitem(last=False)[1].nbytes
        return tape

    def _block(self, feed: str, symbol: str, day: date, number: int) -> tuple[bytes, Ints]:
        key = (feed, symbol, day, number)
        found = self._blocks.get(key)
        if found is not None:
            self._blocks.move_to_end(key)
            return found
        tape = self.tape(feed, symbol, day)
        block = encode.trades(tape.take(slice(number * BLOCK, (number + 1) * BLOCK)))
        self._blocks[key] = block
        self._json_bytes += len(block[0]) + block[1].nbytes
        while self._json_bytes > JSON_BYTES and len(self._blocks) > 1:
            body, offsets = self._blocks.popitem(last=False)[1]
            self._json_bytes -= len(body) + offsets.nbytes
        return block

    def text(self, feed: str, symbol: str, day: date, rows: range) -> list[bytes]:
        """Return JSON of consecutive trades, in pieces that end with a comma."""
        if rows.step < 0:
            pieces = []
            for row in rows:
                body, offsets = self._block(feed, symbol, day, row // BLOCK)
                pieces.append(body[offsets[row % BLOCK] : offsets[row % BLOCK + 1]])
            return pieces
        pieces, row = [], rows.start
        while row < rows.stop:
            number = row // BLOCK
            body, offsets = self._block(feed, symbol, day, number)
            stop = min(rows.stop, (number + 1) * BLOCK)
            pieces.append(body[offsets[row - number * BLOCK] : offsets[stop - number * BLOCK]])
            row = stop
        return pieces

    def spans(self, query: Query) -> Iterator[tuple[str, date, Tape, range]]:
        """Yield (symbol, day, tape, rows) of everything behind the query's place."""
        first, last = new_york_day(query.start), new_york_day(query.end)
        if query.end < query.start:
            return
        for symbol in sorted(query.symbols):
            if query.place is not None and symbol < query.place.symbol:
                continue
            place = query.place if query.place and query.place.symbol == symbol else None
            days = self.source.days(symbol, first, last)
            for day in reversed(days) if query.descending else days:
                if place is not None and _passed(place, day, descending=query.descending):
                    continue
                tape = self.tape(query.feed, symbol, day)
                rows = _rows(tape, query, place)
                if len(rows):
                    yield symbol, day, tape, rows

    def page(self, query: Query) -> tuple[dict[str, list[bytes]], str | None, int]:
        """Return JSON pieces by symbol, the token of the next page or None, and the count."""
        found: dict[str, list[bytes]] = {}
        left, last = query.limit, None
        for symbol, day, tape, rows in self.spans(query):
            if left == 0:
                return found, None if last is None else last.token(), query.limit
            taken = rows[:left]
            found.setdefault(symbol, []).extend(self.text(query.feed, symbol, day, taken))
            left -= len(taken)
            end = taken[-1]
            last = Place(
                symbol, int(tape.ts[end]), chr(tape.exchange[end]), int(tape.trade_id[end])
            )
            if len(taken) < len(rows):
                return found, last.token(), query.limit
        return found, None, query.limit - left


def _passed(place: Place, day: date, *, descending: bool) -> bool:
    """Tell whether a whole day lies before a place."""
    served = new_york_day(place.ts)
    return day > served if descending else day < served


def _rows(tape: Tape, query: Query, place: Place | None) -> range:
    low = int(np.searchsorted(tape.ts, query.start, "left"))
    high = int(np.searchsorted(tape.ts, query.end, "right"))
    if place is not None and len(tape):
        after = tape.after(place.ts, place.trade_id)
        if query.descending:
            # The trade served last stands right before `after`, unless it has been withdrawn.
            served = after > 0 and tape.trade_id[after - 1] == place.trade_id
            high = min(high, after - 1 if served else after)
        else:
            low = max(low, after)
    return range(high - 1, low - 1, -1) if query.descending else range(low, max(low, high))


def new_york_day(ns: int) -> date:
    """Return the New York date of a time."""
    return datetime.fromtimestamp(ns // 1_000_000_000, NEW_YORK).date()
