"""What is due on a connection, a few minutes at a time and only for the symbols asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from alpaca_strategy.simulator.quotes import Book
from alpaca_strategy.simulator.reel import MINUTE, SECOND, SymbolDay, arrivals, test_tape
from alpaca_strategy.simulator.store import new_york_day
from alpaca_strategy.simulator.stream_encode import Codec, Columns, Moment
from alpaca_strategy.simulator.tape import Tape, empty

WINDOW = 5 * MINUTE  # midnight in New York lies on its edge
TEST_FEED, TEST_SYMBOL = "test", "FAKEPACA"
_QUOTE_EVERY = SECOND // 4  # quotes of a symbol are told no more often
_COLUMNS = ("price", "size", "exchange", "trade_id")


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded events in the order in which they are due.

    Attributes:
        due: When, increasing.
        rows: The encoded objects.
        symbols: Whose they are.
        kinds: Their T.
        stop: The batch is complete up to here.
    """

    due: list[int]
    rows: list[bytes]
    symbols: list[str]
    kinds: list[str]
    stop: int


class Shelf:
    """The days that streams tell at the moment, shared by all connections.

    Args:
        tape: Gives a symbol's trades as served, by feed, symbol and day.
        book: Gives a symbol's quotes by symbol and day.
        late_share: See `reel.arrivals`.
        recorded: The trades are recorded ones.
    """

    def __init__(
        self,
        tape: Callable[[str, str, date], Tape],
        book: Callable[[str, date], Book],
        *,
        late_share: float,
        recorded: bool,
    ) -> None:
        self._tape, self._book = tape, book
        self._late_share, self._recorded = late_share, recorded
        self._days: dict[tuple[str, str], SymbolDay] = {}
        self._before: dict[tuple[str, str], SymbolDay] = {}
        self._changed_at = 0
        self.version = 0

    def changed(self, now_ns: int) -> None:
        """Make every day anew, after tapes have changed at a time."""
        self._before |= self._days
        self._days.clear()
        self._changed_at = now_ns
        self.version += 1

    def day(self, feed: str, symbol: str, day: date) -> SymbolDay:
        """Return a symbol's day."""
        key = (feed, symbol)
        found = self._days.get(key)
        if found is not None and found.day == day:
            return found
        before = self._before.pop(key, None)
        if before is not None and before.day != day:
            before = None
        if feed == TEST_FEED:
            tape = test_tape(day) if symbol == TEST_SYMBOL else empty()
            known = tape.ts
        else:
            tape = self._tape(feed, symbol, day)
            known = arrivals(tape, day, symbol, self._late_share, recorded=self._recorded)
        made = SymbolDay(symbol, day, tape, known, before=before, now_ns=self._changed_at)
        self._days[key] = made
        return made

    def quotes(self, feed: str, symbol: str, start: int, stop: int) -> list[tuple[int, Any]]:
        """Return (due, object) of the quotes that begin in (start, stop]."""
        day = new_york_day(start)
        tape = self.day(feed, symbol, day)
        if feed == TEST_FEED:
            return _test_quotes(tape, start, stop)
        book = self._book(symbol, day)
        low, high = np.searchsorted(book.ts, (start, stop), "right").tolist()
        venue = "V" if feed == "iex" else "Q"
        found, last = [], -1
        for row in range(low, high):
            due = int(book.ts[row])
            if due // _QUOTE_EVERY != last:
                last = due // _QUOTE_EVERY
                bid = venue, int(book.bid[row]), int(book.bid_size[row])
                ask = venue, int(book.ask[row]), int(book.ask_size[row])
                found.append((due, _quote(tape, due, bid, ask)))
        return found


def _quote(
    day: SymbolDay, at: int, bid: tuple[str, int, int], ask: tuple[str, int, int]
) -> dict[str, Any]:
    """Return a quote's object of venue, ten-thousandths of a dollar and shares of each side."""
    return {
        "T": "q", "S": day.symbol,
        "bx": bid[0], "bp": bid[1] / 10_000, "bs": bid[2],
        "ax": ask[0], "ap": ask[1] / 10_000, "as": ask[2],
        "c": ["R"], "t": Moment(at), "z": day.tape.tape,
    }  # fmt: skip


def _test_quotes(day: SymbolDay, start: int, stop: int) -> list[tuple[int, Any]]:
    """Return a quote a second around the last price."""
    low, high = np.searchsorted(day.due, (start, stop), "right").tolist()
    found = []
    for row in day.told[low:high].tolist():
        cents = round(float(day.tape.price[row]) * 10_000)
        at = int(day.tape.ts[row])
        found.append((at, _quote(day, at, ("N", cents - 100, 1), ("N", cents + 100, 1))))
    return found


def window_end(ns: int) -> int:
    """Return the end of the window behind a time."""
    return (ns // WINDOW + 1) * WINDOW


class Reel:
    """What is due of trades, corrections, cancels and quotes for a set of symbols.

    Args:
        shelf: Where the days stand.
        feed: iex, sip or test.
        codec: How items are encoded.
    """

    def __init__(self, shelf: Shelf, feed: str, codec: Codec) -> None:
        self._shelf, self._feed, self._codec = shelf, feed, codec
        self._trades: Sequence[str] = ()
        self._quotes: Sequence[str] = ()
        self._batch = Batch([], [], [], [], 0)
        self._at = 0
        self._version = -1
        self.position = 0

    def begin(self, trades: Iterable[str], quotes: Iterable[str], now_ns: int) -> None:
        """Tell these symbols from a time on."""
        self._trades, self._quotes = sorted(trades), sorted(quotes)
        self.position, self._version = now_ns, -1

    def jump(self, now_ns: int) -> None:
        """Go on from another time."""
        self.position, self._version = now_ns, -1

    def next_due(self) -> int | None:
        """Return when there may be something to tell; None if nothing is asked for."""
        if not self._trades and not self._quotes:
            return None
        self._load()
        return self._batch.due[self._at] if self._at < len(self._batch.due) else self._batch.stop

    def take(self, until: int) -> list[tuple[Batch, int, int]]:
        """Return what is due up to a time as batches with the first row and the end of each."""
        found = []
        if self._trades or self._quotes:
            while self.position < until:
                self._load()
                batch, first = self._batch, self._at
                self._at = bisect_right(batch.due, until, first)
                if self._at > first:
                    found.append((batch, first, self._at))
                self.position = min(until, batch.stop)
        self.position = until
        return found

    def _load(self) -> None:
        """Have the batch that covers the time behind the position."""
        if self._version == self._shelf.version and self.position < self._batch.stop:
            return
        self._version = self._shelf.version
        self._batch, self._at = self._make(self.position, window_end(self.position)), 0

    def _make(self, start: int, stop: int) -> Batch:
        """Encode what is due in (start, stop]."""
        day, shelf = new_york_day(start), self._shelf
        days = [shelf.day(self._feed, symbol, day) for symbol in self._trades]
        due, rows, symbols = self._encode(days, start, stop)
        kinds = ["t"] * len(rows)
        extra: list[tuple[int, dict[str, Any]]] = []
        for one in days:
            extra += [(a.due, a.item) for a in one.amendments if start < a.due <= stop]
        for symbol in self._quotes:
            extra += shelf.quotes(self._feed, symbol, start, stop)
        if not extra:
            return Batch(due, rows, symbols, kinds, stop)
        due += [at for at, _ in extra]
        rows += [self._codec.item(item) for _, item in extra]
        symbols += [item["S"] for _, item in extra]
        kinds += [item["T"] for _, item in extra]
        order = sorted(range(len(due)), key=due.__getitem__)
        return Batch(
            [due[n] for n in order],
            [rows[n] for n in order],
            [symbols[n] for n in order],
            [kinds[n] for n in order],
            stop,
        )

    def _encode(
        self, days: list[SymbolDay], start: int, stop: int
    ) -> tuple[list[int], list[bytes], list[str]]:
        """Return when trades are due, what is told, and of which symbol, in order of arrival."""
        spans = [np.searchsorted(d.due, (start, stop), "right").tolist() for d in days]
        days = [d for d, (low, high) in zip(days, spans, strict=True) if high > low]
        spans = [span for span in spans if span[1] > span[0]]
        if not days:
            return [], [], []
        due = np.concatenate([d.due[a:b] for d, (a, b) in zip(days, spans, strict=True)])
        which = np.repeat(np.arange(len(days)), [high - low for low, high in spans])
        order = np.lexsort((which, due))
        rows = [d.told[low:high] for d, (low, high) in zip(days, spans, strict=True)]
        columns = _columns(days, rows, which, order)
        names = [days[n].symbol for n in which[order].tolist()]
        return due[order].tolist(), self._codec.trades(columns), names


def _columns(days: list[SymbolDay], rows: list[Any], which: Any, order: Any) -> Columns:
    """Put the trades of several symbols together."""
    tapes = [day.tape for day in days]
    table: dict[tuple[str, ...], int] = {}
    codes = []
    for tape, chosen in zip(tapes, rows, strict=True):
        numbers = [table.setdefault(marks, len(table)) for marks in tape.conditions]
        codes.append(np.array(numbers, np.int16)[tape.condition[chosen]])
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(t, name)[r] for t, r in zip(tapes, rows, strict=True)])[order]
        for name in _COLUMNS
    }
    shown = [
        (t.ts if t.shown_ts is None else t.shown_ts)[r] for t, r in zip(tapes, rows, strict=True)
    ]
    return Columns(
        symbol=which[order],
        symbols=[day.symbol for day in days],
        plans=[tape.tape for tape in tapes],
        ts=np.concatenate(shown)[order],
        condition=np.concatenate(codes)[order],
        conditions=tuple(table),
        **joined,
    )
