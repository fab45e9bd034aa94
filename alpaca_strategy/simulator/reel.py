"""A symbol's day as a stream tells it: when each trade becomes known, and when it is taken back.

A tape is in order of the trades' own times. What a subscriber hears is in order of arrival:
late reports come after trades that happened later; a cancelled or corrected trade is told like
any other first, and taken back a minute later.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np

from alpaca_strategy.simulator.bars import Rule, rule
from alpaca_strategy.simulator.stream_encode import Moment
from alpaca_strategy.simulator.tape import CANCELED, CORRECTED, INCORRECT, Floats, Ints, Tape

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
AMENDED_AFTER = 60 * SECOND  # as `prints.correct` numbers a correction: a minute's ids later
LATE_BY = 10 * SECOND  # what participants are allowed
BAR_DELAY = SECOND // 20  # bars are sent that long after the minute
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Amendment:
    """A correction or cancel: when it is told, of which trade, and the object without times."""

    due: int
    trade_id: int
    item: dict[str, Any]


def arrivals(tape: Tape, day: date, symbol: str, late_share: float, *, recorded: bool) -> Ints:
    """Return when each trade becomes known, in tape order.

    Args:
        tape: The trades.
        day: Their New York date.
        symbol: Whose they are.
        late_share: Of recorded trades, so many are reported up to 10 s late, always the same
            ones; 0 means that nothing is late, in a synthetic market neither.
        recorded: The ids do not tell the time of arrival, as those of a synthetic market do.
    """
    if late_share <= 0 or not len(tape):
        return tape.ts.copy()
    if not recorded:  # see `prints.report`: an id is four times the microsecond of its UTC day
        midnight = int(datetime.combine(day, time(), UTC).timestamp()) * SECOND
        told: Ints = np.maximum(tape.ts, midnight + (tape.trade_id >> 2) * 1000)
        return told
    luck = _uniform(tape.trade_id, zlib.crc32(symbol.encode()))
    delay = np.where(luck < late_share, luck / late_share * LATE_BY, 0.0)
    due: Ints = tape.ts + delay.astype(np.int64)
    return due


def _uniform(ids: Ints, salt: int) -> Floats:
    """Return a number from 0 to 1 for each id. Source: the finalizer of splitmix64."""
    x = ids.astype(np.uint64) + np.uint64(salt) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    result: Floats = (x >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return result


class SymbolDay:
    """One symbol's trades of a day, by time and by arrival.

    Attributes:
        symbol: Whose day it is.
        day: The New York date.
        tape: The trades in tape order.
        born: When each becomes known, in tape order.
        dies: When each is taken back, in tape order; `NEVER` for nearly all.
        told: The rows that are told as trades, in order of arrival.
        due: When each of those is told, increasing.
        amendments: Corrections and cancels by time.
        revisions: (when, minute) of everything that changes a bar after it was sent, by time.
    """

    def __init__(
        self,
        symbol: str,
        day: date,
        tape: Tape,
        known: Ints,
        *,
        before: SymbolDay | None = None,
        now_ns: int = 0,
    ) -> None:
        """Take a tape.

        Args:
            symbol: Whose it is.
            day: Its date.
            tape: The trades.
            known: When each becomes known.
            before: The same day as it stood until the tape was changed: what is taken back only
                now, though its time has passed, is told now.
            now_ns: That moment.
        """
        self.symbol, self.day, self.tape = symbol, day, tape
        self.born, self.dies = known.copy(), np.full(len(tape), NEVER)
        self._old = None if before is None else before.amended
        self._now = now_ns
        self.amendments: list[Amendment] = sorted(self._amend(), key=lambda a: (a.due, a.trade_id))
        wire = np.flatnonzero(tape.update != CORRECTED)
        self.told = wire[np.argsort(self.born[wire], kind="stable")]
        self.due = self.born[self.told]
        self.revisions = self._revisions()
        self._rules: dict[bool, list[Rule]] = {}

    @property
    def amended(self) -> frozenset[int]:
        """Return the ids of the trades that are taken back at some time."""
        return frozenset(amendment.trade_id for amendment in self.amendments)

    def rules(self, *, daily: bool) -> list[Rule]:
        """Return how trades of each condition list count in a bar."""
        if daily not in self._rules:
            tape = self.tape
            self._rules[daily] = [rule(m, tape.tape, daily=daily) for m in tape.conditions]
        return self._rules[daily]

    def _amend(self) -> Iterator[Amendment]:
        """Set when trades die, and their corrections are born; tell what is told of it."""
        tape = self.tape
        replacements = np.flatnonzero(tape.update == CORRECTED).tolist()
        for row in np.flatnonzero((tape.update == CANCELED) | (tape.update == INCORRECT)).tolist():
            due = int(self.born[row]) + AMENDED_AFTER
            if self._old is not None and int(tape.trade_id[row]) not in self._old:
                due = max(due, self._now + 1)
            self.dies[row] = due
            new = None
            if tape.update[row] == INCORRECT:
                new = next((r for r in replacements if self._replaces(r, row)), None)
            if new is not None:
                replacements.remove(new)
                self.born[new] = due
            yield Amendment(due, int(tape.trade_id[row]), self._item(row, new))

    def _replaces(self, new: int, row: int) -> bool:
        tape = self.tape
        return bool(tape.ts[new] == tape.ts[row] and tape.exchange[new] == tape.exchange[row])

    def _item(self, row: int, new: int | None) -> dict[str, Any]:
        """Return a correction, or a cancel if nothing replaces the trade."""
        old = self._facts(row)
        ends = {"t": Moment(self._shown(row)), "z": self.tape.tape}
        head = {"S": self.symbol, "x": chr(self.tape.exchange[row])}
        if new is None:
            word = "C" if self.tape.update[row] == CANCELED else "E"
            gone = {name: old[name] for name in ("i", "p", "s")}
            return {"T": "x", **head, **gone, "a": word, **ends}
        both = {f"o{name}": value for name, value in old.items()}
        both |= {f"c{name}": value for name, value in self._facts(new).items()}
        return {"T": "c", **head, **both, **ends}

    def _facts(self, row: int) -> dict[str, Any]:
        tape = self.tape
        marks = list(tape.conditions[tape.condition[row]])
        price, size = float(tape.price[row]), int(tape.size[row])
        return {"i": int(tape.trade_id[row]), "p": price, "s": size, "c": marks}

    def _shown(self, row: int) -> int:
        tape = self.tape
        return int((tape.ts if tape.shown_ts is None else tape.shown_ts)[row])

    def _revisions(self) -> list[tuple[int, int]]:
        start = self.tape.ts - self.tape.ts % MINUTE
        sent = start + MINUTE + BAR_DELAY
        late, gone = self.born > sent, (self.dies < NEVER) & (self.dies > sent)
        found = zip(self.born[late].tolist(), start[late].tolist(), strict=True)
        lost = zip(self.dies[gone].tolist(), start[gone].tolist(), strict=True)
        return sorted([*found, *lost])


def test_tape(day: date) -> Tape:
    """Return a day of FAKEPACA, the symbol of the test feed: a trade a second, day and night."""
    midnight = int(datetime.combine(day, time(), UTC).timestamp()) * SECOND
    count = 2 * 86_400  # the New York day ends when the next day of UTC has begun
    rank = np.arange(count)
    return Tape(
        ts=midnight + rank * SECOND,
        price=np.round(134.5 + np.sin(rank / 60.0), 2),
        size=1 + rank % 300,
        exchange=np.full(count, ord("N"), np.uint8),
        condition=np.zeros(count, np.int16),
        trade_id=1 + rank,
        update=np.zeros(count, np.uint8),
        tape="C",
        conditions=(("@",),),
    )
