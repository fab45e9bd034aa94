"""What turns a time and a price into a print: size, venue, conditions, auctions, mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from alpaca_strategy.simulator.calendar import Day
from alpaca_strategy.simulator.tape import (
    CANCELED,
    CORRECTED,
    INCORRECT,
    Bytes,
    Codes,
    Floats,
    Ints,
    Tape,
)

SECOND = 1_000_000_000
LATE = 2e-3  # share of trades that are reported late
CORRECTED_AFTER_IDS = 4 * 60_000_000 + 2  # a minute later, by a number of its own
CANCELS, CORRECTIONS = 2e-5, 1e-5
EXTENDED = 0.02  # trades before the open and after the close, of the regular ones
ODD_LOTS, SWEEPS, RARE = 0.55, 0.35, 1.5e-3
_RARE = ("4", "7", "B", "W", "Z", "P")

#: Venues apart from IEX with their shares of what IEX does not trade.
_AWAY = {
    "D": 0.43,
    "Q": 0.17,
    "N": 0.10,
    "P": 0.09,
    "Z": 0.08,
    "K": 0.06,
    "J": 0.03,
    "Y": 0.02,
    "U": 0.02,
}


@dataclass(frozen=True, slots=True)
class Prints:
    """Trades before they are reported: arrival in ns UTC, and the marks they carry."""

    arrival: Ints
    price: Floats
    size: Ints
    condition: Codes

    def then(self, later: Prints) -> Prints:
        """Return these trades and later ones."""
        return Prints(
            np.concatenate([self.arrival, later.arrival]),
            np.concatenate([self.price, later.price]),
            np.concatenate([self.size, later.size]),
            np.concatenate([self.condition, later.condition]),
        )


def _in_order(prints: Prints) -> Prints:
    """Return prints by arrival: the opening auction may come after the first trades."""
    order = np.argsort(prints.arrival, kind="stable")
    return Prints(
        prints.arrival[order], prints.price[order], prints.size[order], prints.condition[order]
    )


def _build_table(regular: str) -> tuple[tuple[str, ...], ...]:
    """Return every condition list: sweep, odd lot, extended in binary; then the special ones."""
    basic = []
    for bits in range(8):
        marks = [regular]
        marks += ["F"] * (bits & 1) + ["T"] * (bits >> 2 & 1) + ["I"] * (bits >> 1 & 1)
        basic.append(tuple(marks))
    special = [(regular, mark) for mark in ("O", "Q", "6", "M", "9", *_RARE)]
    odd = [(regular, mark, "I") for mark in ("O", "Q", "6", "M", "9", *_RARE)]
    return (*basic, *special, *odd)


TABLES = {"C": _build_table("@"), "A": _build_table(" "), "B": _build_table(" ")}
_PLACE = {mark: 8 + n for n, mark in enumerate(("O", "Q", "6", "M", "9", *_RARE))}
_SPECIALS = len(_PLACE)


@lru_cache(maxsize=1)
def _tables() -> tuple[Bytes, Ints, Ints]:
    """Return lookup tables for venues, odd sizes and round sizes, indexed by a random byte pair."""
    draw = np.random.Generator(np.random.PCG64(20_000))
    letters = np.frombuffer("".join(_AWAY).encode(), np.uint8)
    venues = np.repeat(letters, np.round(np.array(list(_AWAY.values())) * 65_536).astype(int))
    venues = draw.permutation(np.resize(venues, 65_536))
    odd = np.ceil(99 * draw.random(65_536) ** 2.2).astype(np.int64)
    round_lots = 100 * draw.geometric(0.55, 65_536)
    return venues, np.clip(odd, 1, 99), round_lots


def body(draw: np.random.Generator, arrival: Ints, price: Floats) -> Prints:
    """Give regular-hours trades their sizes and conditions."""
    size, condition = _marks(draw, len(arrival))
    _rare(draw, price, condition)
    return Prints(arrival, price, size, condition)


def _marks(draw: np.random.Generator, count: int) -> tuple[Ints, Codes]:
    """Draw sizes, and the sweep and odd-lot marks that go with them."""
    _, odd, round_lots = _tables()
    pick = draw.integers(0, 65_536, count, np.uint16)
    chance = draw.integers(0, 65_536, (2, count), np.uint16)
    is_odd = chance[0] < int(ODD_LOTS * 65_536)
    size = np.where(is_odd, odd[pick], round_lots[pick])
    condition = (chance[1] < int(SWEEPS * 65_536)).astype(np.int16)
    condition += is_odd.astype(np.int16) * np.int16(2)
    return size, condition


def _rare(draw: np.random.Generator, price: Floats, condition: Codes) -> None:
    """Mark a few trades with rare conditions; their prices lie off the market."""
    count = int(draw.binomial(len(price), RARE))
    where = draw.integers(0, len(price), count)
    odd_lot = (condition[where] & 2) > 0
    codes = draw.integers(0, len(_RARE), count) + _PLACE["4"]
    condition[where] = codes + odd_lot * _SPECIALS
    price[where] = np.round(price[where] * (1 + 1e-3 * draw.standard_normal(count)), 4)


def edges(
    draw: np.random.Generator, session: Day, ends: tuple[float, float], count: int
) -> tuple[Prints, Prints]:
    """Return what prints before and after the session: extended hours and the auctions.

    Args:
        draw: Random numbers of this purpose.
        session: The day.
        ends: The efficient price at the open and at the close.
        count: Trades in regular hours.
    """
    opening, closing = round(ends[0], 2), round(ends[1], 2)
    open_at = session.open_ns + int(draw.integers(1, SECOND // 2))
    close_at = session.close_ns + int(draw.integers(SECOND // 10, SECOND))
    early = (session.open_ns - 5400 * SECOND, session.open_ns)
    late = (session.close_ns + 2 * SECOND, session.close_ns + 3600 * SECOND)
    before = _extended(draw, early, ends[0], count).then(_auction(draw, open_at, opening, "OQ"))
    after = _auction(draw, close_at, closing, "6M").then(_extended(draw, late, ends[1], count))
    if draw.random() < 0.02:  # now and then the consolidated close is corrected
        after = after.then(_auction(draw, close_at + 4000 * SECOND, closing, "9"))
    return before, after


def _extended(
    draw: np.random.Generator, hours: tuple[int, int], price: float, count: int
) -> Prints:
    """Return trades outside the session, marked T."""
    found = int(draw.binomial(count, EXTENDED / 2))
    arrival = np.sort(draw.integers(*hours, found))
    size, condition = _marks(draw, found)
    prices = np.round(price * np.exp(4e-4 * draw.standard_normal(found)), 2)
    return Prints(arrival, prices, size, condition + np.int16(4))


def _auction(draw: np.random.Generator, at: int, price: float, marks: str) -> Prints:
    """Return an auction's prints, such as the cross and the official price of the same size."""
    count = len(marks)
    return Prints(
        at + 2000 * np.arange(count),
        np.full(count, price),
        np.full(count, 100 * draw.integers(5, 60)),
        np.array([_PLACE[mark] for mark in marks], np.int16),
    )


def report(
    draw: np.random.Generator, prints: Prints, part: str, tape: str, hours: tuple[int, int]
) -> Tape:
    """Number prints by arrival, delay some, cancel and correct a few, sort by time.

    Args:
        draw: Random numbers of this purpose.
        prints: Trades, all but in order of arrival.
        part: ``iex`` or ``away``.
        tape: The symbol's plan.
        hours: Reports are late within these limits only, ns UTC.
    """
    prints, count = _in_order(prints), len(prints.arrival)
    # One print a microsecond. An id is four times the microsecond since 1970's midnight of the
    # day in UTC, odd away from IEX; two more are left for a correction.
    micro = prints.arrival // 1000 % 86_400_000_000
    micro += (prints.arrival // (86_400 * SECOND) - prints.arrival[0] // (86_400 * SECOND)) * (
        86_400_000_000
    )
    rank = np.arange(count)
    trade_id = (np.maximum.accumulate(micro - rank) + rank) * 4 + (part != "iex")
    ts = _sweep_times(prints.arrival)
    late = draw.integers(0, count, int(draw.binomial(count, LATE)))
    late = late[(ts[late] > hours[0] + 11 * SECOND) & (ts[late] < hours[1])]
    ts[late] -= draw.integers(0, 10 * SECOND, len(late))
    update = np.zeros(count, np.uint8)
    update[draw.integers(0, count, int(draw.binomial(count, CANCELS)))] = CANCELED
    if part == "iex":
        exchange = np.full(count, ord("V"), np.uint8)
    else:
        exchange = _tables()[0][draw.integers(0, 65_536, count, np.uint16)]
    price, size, condition = prints.price, prints.size, prints.condition
    made = Tape(
        ts, price, size, exchange, condition, trade_id, update, tape, TABLES[tape]
    )  # fmt: skip
    for place in draw.integers(0, count, int(draw.binomial(count, CORRECTIONS))):
        made = correct(made, int(place), float(np.round(made.price[place] * 1.002, 2)))
    return made.take(np.lexsort((made.trade_id, made.ts)))


def _sweep_times(arrival: Ints) -> Ints:
    """Give prints within 50 µs of each other one time: a sweep's legs share it."""
    starts = np.diff(arrival, prepend=-SECOND) > 50_000
    return arrival[np.maximum.accumulate(np.where(starts, np.arange(len(arrival)), 0))]


def correct(tape: Tape, place: int, price: float, size: int | None = None) -> Tape:
    """Supersede one trade: it becomes `incorrect`, a new one with the same time `corrected`."""
    both = np.append(np.arange(len(tape)), place)
    result = tape.take(both)
    result.update[place], result.update[-1] = INCORRECT, CORRECTED
    result.price[-1] = price
    result.size[-1] = tape.size[place] if size is None else size
    result.trade_id[-1] += CORRECTED_AFTER_IDS
    return result
