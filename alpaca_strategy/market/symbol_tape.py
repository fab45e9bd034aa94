"""The trades of one symbol in memory, in tape order, each once."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from alpaca_strategy.market.stream_trades import RECORD, UPDATES, Records, Rows

_FIRST_ROOM = 256  # trades
_LONG_AGO = np.iinfo(np.int64).min


class SymbolTape:
    """Records by time, then id, then exchange; no two are alike in all three.

    Attributes:
        last: Time, id and exchange of the last one.
    """

    __slots__ = ("_count", "_room", "last")

    def __init__(self) -> None:
        self._room = np.empty(_FIRST_ROOM, RECORD)
        self._count = 0
        self.last: tuple[int, int, int] = (_LONG_AGO, 0, 0)

    def __len__(self) -> int:
        return self._count

    @property
    def records(self) -> Records:
        """The trades; a view that is good until the next change."""
        return self._room[: self._count]

    def append(self, records: Records) -> None:
        """Take trades in tape order, all of them after the last one."""
        self._replace_from(self._count, records)

    def merge(self, records: Records) -> tuple[int | None, npt.NDArray[np.bool_]]:
        """Take trades in tape order, wherever they belong.

        Of one that is there already only what happened to it is taken.

        Returns:
            The first position at which the tape is not what it was, None where it is; and which of
            the trades are new.
        """
        start = self.position(int(records["ts"][0]))
        both = np.concatenate([self.records[start:], records])
        came = np.arange(len(both)) - (self._count - start)  # below 0: was there
        order = np.lexsort((came, both["exchange"], both["id"], both["ts"]))
        both, came = both[order], came[order]
        repeats = np.zeros(len(both), np.bool_)
        repeats[1:] = _alike(both)
        again = np.flatnonzero(repeats)
        worse = again[both["update"][again] > both["update"][again - 1]]
        both["update"][worse - 1] = both["update"][worse]
        new = (came >= 0) & ~repeats
        changed = new.copy()
        changed[worse - 1] = True
        taken = np.zeros(len(records), np.bool_)
        taken[came[new]] = True
        if not changed.any():
            return None, taken
        first = start + int(np.argmax(changed[~repeats]))
        self._replace_from(start, both[~repeats])
        return first, taken

    def position(self, ts: int) -> int:
        """Return the position of the first trade at or after a time."""
        return bisect_left(self.records["ts"], ts)  # numpy's own would copy the column first

    def find(self, exchange: int, trade_id: int) -> list[int]:
        """Return the positions of a trade, without knowing its time: one or none in a sound day."""
        records = self.records
        found = np.flatnonzero((records["id"] == trade_id) & (records["exchange"] == exchange))
        return [int(position) for position in found]

    def note(self, position: int, update: int) -> bool:
        """Note what happened to a trade; return whether that is news, and not the lesser word."""
        news = int(self.records["update"][position]) < update
        if news:
            self.records["update"][position] = update
        return news

    def remove(self, position: int) -> None:
        """Forget a trade."""
        self._replace_from(position, self.records[position + 1 :].copy())

    def _replace_from(self, start: int, records: Records) -> None:
        self._count = start + len(records)
        if self._count > len(self._room):
            # Twice the room: what is not written to yet takes no memory.
            room = np.empty(max(self._count, 2 * len(self._room)), RECORD)
            room[:start] = self._room[:start]
            self._room = room
        self._room[start : self._count] = records
        if self._count:
            ts, trade_id, _, _, _, exchange, _ = self._room[self._count - 1].item()
            self.last = (ts, trade_id, exchange)
        else:
            self.last = (_LONG_AGO, 0, 0)


def _alike(records: Records) -> npt.NDArray[np.bool_]:
    """Return for each record but the first whether it is the same trade as the one before it."""
    same = np.ones(max(len(records) - 1, 0), np.bool_)
    for name in ("ts", "id", "exchange"):
        column = records[name]
        same &= column[1:] == column[:-1]
    return same


def arranged(rows: Rows, records: Records) -> tuple[Rows, Rows, Records]:
    """Return which trades to keep in tape order, with their rows and records; each once."""
    order = np.argsort(rows, kind="stable")
    rows_now, now = rows[order], records[order]
    ts, ids = now["ts"], now["id"]
    follows = (ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & (ids[1:] > ids[:-1]))
    if (follows | (rows_now[1:] != rows_now[:-1])).all():
        return order, rows_now, now
    worst_first = len(UPDATES) - records["update"]
    keys = (worst_first, records["exchange"], records["id"], records["ts"], rows)
    order = np.lexsort(keys)
    first = np.ones(len(order), np.bool_)
    first[1:] = ~(_alike(records[order]) & (rows[order][1:] == rows[order][:-1]))
    order = order[first]
    return order, rows[order], records[order]
