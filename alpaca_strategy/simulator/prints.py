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
class Body:
    """Regular trades before their marks: arrival (ns UTC), price, part and tape."""

    arrival: Ints
    price: Floats
    part: str
    tape: str


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


def finish(draw: np.random.Generator, body: Body, session: Day, ends: tuple[float, float]) -> Tape:
    """Give prints their marks, add auctions and extended hours, make a few mistakes."""
    count = len(body.arrival)
    size, condition = _marks(draw, count)
    price = body.price
    _rare(draw, price, condition)
    before, after, edge_price, edge_condition, edge_size = _edges(draw, body, session, ends, count)
    edge = len(before)
    arrival = np.concatenate([before, body.arrival, after])
    price = np.concatenate([edge_price[:edge], price, edge_price[edge:]])
    condition = np.concatenate([edge_condition[:edge], condition, edge_condition[edge:]])
    size = np.concatenate([edge_size[:edge], size, edge_size[edge:]])
    if body.part == "iex":
        exchange = np.full(len(arrival), ord("V"), np.uint8)
    else:
        exchange = _tables()[0][draw.integers(0, 65_536, len(arrival), np.uint16)]
    return _report(
        draw,
        body,
        session,
        arrival=arrival,
        price=price,
        size=size,
        exchange=exchange,
        condition=condition,
    )


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


def _edges(
    draw: np.random.Generator, body: Body, session: Day, ends: tuple[float, float], count: int
) -> tuple[Ints, Ints, Floats, Codes, Ints]:
    """Return the prints outside the session: extended hours, and the two auctions."""
    extended = int(draw.binomial(count, EXTENDED / 2)), int(draw.binomial(count, EXTENDED / 2))
    early = draw.integers(session.open_ns - 5400 * SECOND, session.open_ns, extended[0])
    late = draw.integers(
        session.close_ns + 2 * SECOND, session.close_ns + 3600 * SECOND, extended[1]
    )
    first, last = ends
    noise = np.exp(4e-4 * draw.standard_normal(sum(extended)))
    middle = np.repeat(ends, extended) * noise
    size, condition = _marks(draw, len(middle))
    condition += np.int16(4)
    opening, closing = round(first, 2), round(last, 2)
    auction = draw.integers(5, 60, 2) * 100
    marks = [_PLACE[m] for m in ("O", "Q", "6", "M", "9")]
    open_at = session.open_ns + int(draw.integers(1, SECOND // 2))
    close_at = session.close_ns + int(draw.integers(SECOND // 10, SECOND))
    before = np.concatenate([np.sort(early), [open_at, open_at + 2000]])
    after = np.concatenate([[close_at, close_at + 2000], np.sort(late), [close_at + 4000 * SECOND]])
    price = np.concatenate(
        [
            np.round(middle[: extended[0]], 2),
            [opening, opening, closing, closing],
            np.round(middle[extended[0] :], 2),
            [closing],
        ]
    )
    codes = np.concatenate(
        [condition[: extended[0]], marks[:4], condition[extended[0] :], marks[4:]]
    ).astype(np.int16)
    sizes = np.concatenate(
        [size[: extended[0]], np.repeat(auction, 2), size[extended[0] :], auction[1:]]
    )
    if draw.random() > 0.02 or body.part != "iex":  # a corrected close is rare
        after, price, codes, sizes = after[:-1], price[:-1], codes[:-1], sizes[:-1]
    return before, after, price, codes, sizes


def _report(
    draw: np.random.Generator,
    body: Body,
    session: Day,
    *,
    arrival: Ints,
    price: Floats,
    size: Ints,
    exchange: Bytes,
    condition: Codes,
) -> Tape:
    """Number the prints by arrival, delay some, cancel and correct a few, sort by time."""
    order = np.argsort(arrival, kind="stable")
    arrival = arrival[order]
    # One print a microsecond: an id is twice the microsecond of the day, odd away from IEX.
    micro = (arrival - (session.open_ns - 34_200 * SECOND)) // 1000
    rank = np.arange(len(micro))
    micro = np.maximum.accumulate(micro - rank) + rank
    trade_id = micro * 2 + (body.part != "iex")
    ts = _sweep_times(arrival)
    late = draw.integers(0, len(ts), int(draw.binomial(len(ts), LATE)))
    late = late[(ts[late] > session.open_ns + 11 * SECOND) & (ts[late] < session.close_ns)]
    ts[late] -= draw.integers(0, 10 * SECOND, len(late))
    update = np.zeros(len(ts), np.uint8)
    update[draw.integers(0, len(ts), int(draw.binomial(len(ts), CANCELS)))] = CANCELED
    tape = Tape(
        ts,
        price[order],
        size[order],
        exchange[order],
        condition[order],
        trade_id,
        update,
        body.tape,
        TABLES[body.tape],
    )
    wrong = draw.integers(0, len(ts), int(draw.binomial(len(ts), CORRECTIONS)))
    for place in wrong:
        tape = correct(tape, int(place), float(np.round(tape.price[place] * 1.002, 2)))
    return tape.take(np.lexsort((tape.trade_id, tape.ts)))


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
    result.trade_id[-1] = int(tape.trade_id.max()) + 2 * 60_000_000
    return result
