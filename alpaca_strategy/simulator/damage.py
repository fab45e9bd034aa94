"""Damage to the data themselves: what quality checks must notice, and corrections of past days.

A damage names a kind, a symbol and a session; it changes the tape that would be served, whoever
asks and however often, until it is cleared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np

from alpaca_strategy.simulator import calendar, prints
from alpaca_strategy.simulator.tape import CANCELED, Flags, Floats, Ints, Tape

MINUTE = 60_000_000_000
_PLAIN = frozenset({" ", "@", "F"})


@dataclass(frozen=True, slots=True)
class Damage:
    """One damage.

    Attributes:
        kind: A name in `KINDS`.
        session: The New York date that is damaged.
        symbol: The symbol, or None for all.
        options: What the kind may be told; see its function.
    """

    kind: str
    session: date
    symbol: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def applies(self, symbol: str, day: date) -> bool:
        """Tell whether a tape is damaged by it."""
        later = self.kind == "unannounced_split" and day > self.session
        return self.symbol in {None, symbol} and (day == self.session or later)


@dataclass
class Damages:
    """The damages in force, in the order in which they were ordered."""

    orders: list[Damage] = field(default_factory=list)

    def apply(self, feed: str, symbol: str, day: date, tape: Tape) -> Tape:
        """Return the tape as it is served."""
        del feed
        for order in self.orders:
            if order.applies(symbol, day) and len(tape):
                tape = KINDS[order.kind](tape, day, order.options)
        return tape


def _minute(tape: Tape, day: date) -> Ints:
    """Return each trade's minute of the session; negative before the open."""
    session = calendar.session(day)
    opened = session.open_ns if session else int(tape.ts[0])
    minute: Ints = (tape.ts - opened) // MINUTE
    return minute


def _regular(tape: Tape, day: date) -> Flags:
    session = calendar.session(day)
    if session is None:
        return np.ones(len(tape), bool)
    return np.asarray((tape.ts >= session.open_ns) & (tape.ts < session.close_ns))


def _pricing(tape: Tape, day: date) -> Ints:
    """Return the rows of regular-hours trades that set a price under every condition table."""
    plain = np.array([set(marks) <= _PLAIN for marks in tape.conditions])
    return np.flatnonzero(plain[tape.condition] & _regular(tape, day) & (tape.update == 0))


def _some(rows: Ints, count: int) -> Ints:
    """Return `count` rows spread evenly over those given."""
    if not len(rows):
        return rows
    spread: Ints = rows[np.linspace(0, len(rows) - 1, min(count, len(rows)) + 2).astype(int)[1:-1]]
    return spread


def _chosen(tape: Tape, day: date, options: dict[str, Any], count: int = 1) -> Ints:
    """Return the rows that a damage hits: in a minute if one is given, else anywhere."""
    rows = _pricing(tape, day)
    if "minute" in options:
        rows = rows[_minute(tape, day)[rows] == int(options["minute"])]
    return _some(rows, int(options.get("count", count)))


def _with_price(tape: Tape, rows: Ints, price: Floats) -> Tape:
    changed = tape.price.copy()
    changed[rows] = price
    return replace(tape, price=changed)


def missing_symbol(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Drop every trade."""
    del day, options
    return tape.take(slice(0, 0))


def missing_minutes(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Drop `count` minutes (30) from minute `first` (100) on."""
    first = int(options.get("first", 100))
    minute = _minute(tape, day)
    return tape.take((minute < first) | (minute >= first + int(options.get("count", 30))))


def truncated_day(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """End the day at a minute (200)."""
    return tape.take(_minute(tape, day) < int(options.get("minute", 200)))


def duplicate_trades(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Serve `count` trades (20) twice, with the same id."""
    rows = _chosen(tape, day, options, 20)
    return tape.take(np.sort(np.concatenate([np.arange(len(tape)), rows])))


def spike(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Multiply `count` prices (1) by a `factor` (10)."""
    rows = _chosen(tape, day, options)
    return _with_price(tape, rows, tape.price[rows] * float(options.get("factor", 10)))


def negative_price(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Turn the sign of `count` prices (1)."""
    rows = _chosen(tape, day, options)
    return _with_price(tape, rows, -tape.price[rows])


def zero_price(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Set `count` prices (1) to zero."""
    rows = _chosen(tape, day, options)
    return _with_price(tape, rows, np.zeros(len(rows)))


def frozen_feed(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Repeat the price at a minute (60) until the close."""
    rows = np.flatnonzero(_minute(tape, day) >= int(options.get("minute", 60)))
    return _with_price(tape, rows, np.full(len(rows), tape.price[rows[0]])) if len(rows) else tape


def absurd_volume(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Give `count` trades (1) an absurd `size` (4,000,000,000 shares)."""
    size = tape.size.copy()
    size[_chosen(tape, day, options)] = int(options.get("size", 4_000_000_000))
    return replace(tape, size=size)


def unknown_condition(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Give `count` trades (20) a condition `mark` ("?") that no table knows."""
    rows = _chosen(tape, day, options, 20)
    condition = tape.condition.copy()
    condition[rows] = len(tape.conditions)
    marks = (*tape.conditions, ("@", str(options.get("mark", "?"))))
    return replace(tape, condition=condition, conditions=marks)


def shifted_time(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Print times shifted by `hours` (5): a wrong time zone."""
    del day
    shift = int(float(options.get("hours", 5)) * 3600e9)
    return replace(tape, shown_ts=tape.ts + shift)


def wrong_session(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Print the times of another day, `days` (-1) away."""
    return shifted_time(tape, day, {"hours": 24 * float(options.get("days", -1))})


def mixed_feed(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Mix in another venue: `share` (0.3) of the trades print on exchange Q."""
    del day
    every = max(1, round(1 / float(options.get("share", 0.3))))
    exchange = tape.exchange.copy()
    exchange[::every] = ord("Q")
    return replace(tape, exchange=exchange)


def unannounced_split(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Divide prices by a `factor` (4) from the session on, with no corporate action."""
    del day
    return replace(tape, price=np.round(tape.price / float(options.get("factor", 4)), 4))


def _one_trade(tape: Tape, day: date, options: dict[str, Any]) -> int:
    """Return the row of the trade `id`, or of the `nth` price-setting one (the middle one)."""
    if "id" in options:
        return int(np.flatnonzero(tape.trade_id == int(options["id"]))[0])
    rows = _pricing(tape, day)
    return int(rows[int(options.get("nth", len(rows) // 2))])


def cancel_trade(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Cancel a trade after the fact: it stays on the tape, marked `canceled`."""
    update = tape.update.copy()
    update[_one_trade(tape, day, options)] = CANCELED
    return replace(tape, update=update)


def correct_trade(tape: Tape, day: date, options: dict[str, Any]) -> Tape:
    """Correct a trade's `price` (one per cent more) or `size` after the fact."""
    row = _one_trade(tape, day, options)
    price = float(options.get("price", round(float(tape.price[row]) * 1.01, 2)))
    size = int(options.get("size", tape.size[row]))
    longer = prints.correct(tape, row, price, size)
    return longer.take(np.lexsort((longer.trade_id, longer.ts)))


KINDS: dict[str, Callable[[Tape, date, dict[str, Any]], Tape]] = {
    kind.__name__: kind
    for kind in (
        missing_symbol,
        missing_minutes,
        truncated_day,
        duplicate_trades,
        spike,
        negative_price,
        zero_price,
        frozen_feed,
        absurd_volume,
        unknown_condition,
        shifted_time,
        wrong_session,
        mixed_feed,
        unannounced_split,
        cancel_trade,
        correct_trade,
    )
}
