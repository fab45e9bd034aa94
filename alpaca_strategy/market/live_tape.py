"""The tape of a session while it is made, and its bars: the bits of the finished session's.

Trades come from a stream, late ones among them, and again from the venue's history where the
stream had a gap. Each is kept once, by symbol, exchange, id and time. Tape order is time, then id,
then exchange: the venue's history sorts trades of equal time by id, so the lake, which keeps the
history's order, has the same.

What arrives is put aside as it is, and taken up in one go when there is enough of it, or when
somebody looks.

A correction supersedes its original, and the corrected trade has the original's time: it is the
same execution, told rightly. Where the history gives it another time, the history is right. A
correction or a cancel that comes before its original waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alpaca_strategy.domain.market import Session
from alpaca_strategy.market import kernel
from alpaca_strategy.market.bar_table import opening_ns
from alpaca_strategy.market.conditions import ConditionTable
from alpaca_strategy.market.live_bars import LiveBars
from alpaca_strategy.market.schema import TRADE_SCHEMA
from alpaca_strategy.market.stream_trades import (
    CANCELED,
    CORRECTED,
    INCORRECT,
    UPDATES,
    Codes,
    Records,
    RowOf,
    Rows,
    StreamTrade,
    TradeCancel,
    TradeCorrection,
    records_of_stream,
    records_of_table,
    sound,
)
from alpaca_strategy.market.symbol_tape import SymbolTape, arranged

_ENOUGH: Final = 4096  # trades put aside before they are taken up
_AROUND_NS: Final = 12 * 3600 * 10**9  # a session's trades are this near to it
_MAX_WAITING: Final = 1000


@dataclass(frozen=True, slots=True)
class TapeCounts:
    """What came.

    Attributes:
        trades: On the tape, with those that do not count any more.
        late: Came from the stream when a later one of their symbol had come already.
        duplicates: Came again, and were dropped.
        rejected: Have a price, size, id or time that cannot be, and were set aside.
    """

    trades: int
    late: int
    duplicates: int
    rejected: int


class LiveTape:
    """The trades of the followed symbols on one session, and their bars.

    Attributes:
        session: The session.
        symbols: In the order of arrays; trades of others are passed over.
    """

    def __init__(self, session: Session, symbols: Sequence[str], table: ConditionTable) -> None:
        """Start before the first trade.

        Raises:
            SettingsError: The table needs a symbol's primary exchange and does not know it.
        """
        self.session = session
        self.symbols = tuple(symbols)
        self._row_of = RowOf({symbol: row for row, symbol in enumerate(self.symbols)})
        self._codes = Codes()
        self._tapes = [SymbolTape() for _ in self.symbols]
        tapes = dict(zip(self.symbols, self._tapes, strict=True))
        self._bars = LiveBars(session, tapes, table, self._codes)
        self._aside: list[StreamTrade] = []
        self._waiting: list[TradeCorrection | TradeCancel] = []
        opens_ns = opening_ns(session)
        self._first_ns = opens_ns - _AROUND_NS
        self._last_ns = opens_ns + session.minutes * kernel.MINUTE_NS + _AROUND_NS
        self._newest = np.full(len(self.symbols), self._first_ns - 1)
        self._late = self._duplicates = self._rejected = 0

    def extend(self, trades: Sequence[StreamTrade]) -> None:
        """Take trades as the stream brings them."""
        self._aside.extend(trades)
        if len(self._aside) >= _ENOUGH:
            self._take_up()

    def extend_table(self, table: pa.Table) -> int:
        """Take trades of the venue's history in ``TRADE_SCHEMA``; return how many were new."""
        self._take_up()
        rows, records = self._sift(*records_of_table(table, self._row_of, self._codes))
        self._displace_corrected(rows, records)
        new = len(self._absorb(rows, records))
        self._duplicates += len(rows) - new
        self._settle(records)
        return new

    def correct(self, corrections: Sequence[TradeCorrection]) -> None:
        """Supersede trades by what they should have been."""
        self._take_up()
        for told in corrections:
            self._apply(told)

    def cancel(self, cancels: Sequence[TradeCancel]) -> None:
        """Take trades back."""
        self._take_up()
        for told in cancels:
            self._apply(told)

    def bars(
        self, minutes: int | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return what `build_session_bars` makes of the tape so far.

        Args:
            minutes: Only so many from the open.

        Returns:
            Columns of ``BAR_COLUMNS``, shape (minutes, symbols, columns), and which minutes have a
            bar, shape (minutes, symbols).
        """
        self._take_up()
        return self._bars.snapshot(minutes)

    def table(self) -> pa.Table:
        """Return the trades so far in ``TRADE_SCHEMA``, by symbol as given, in tape order."""
        self._take_up()
        records = np.concatenate([tape.records for tape in self._tapes])
        rows = np.repeat(np.arange(len(self._tapes)), [len(tape) for tape in self._tapes])
        code = records["code"].astype(np.int64) - 1
        columns = {
            "symbol": _words(self.symbols, rows),
            "ts_ns": pa.array(np.ascontiguousarray(records["ts"])),
            "price": pa.array(np.ascontiguousarray(records["price"])),
            "size": pa.array(records["size"].astype(np.int64)),
            "exchange": _words(["", *map(chr, range(1, 128))], records["exchange"]),
            "conditions": _words([conditions for conditions, _ in self._codes.pairs], code),
            "tape": _words([tape for _, tape in self._codes.pairs], code),
            "id": pa.array(np.ascontiguousarray(records["id"])),
            "update": _words(UPDATES, records["update"]),
        }
        return pa.table(columns, schema=TRADE_SCHEMA)

    @property
    def newest_ns(self) -> int | None:
        """When the newest trade was made, nanoseconds since 1970 UTC; None before the first."""
        return max(self.newest_by_symbol().values(), default=None)

    def newest_by_symbol(self) -> dict[str, int]:
        """Return when the newest trade of each symbol that has one was made."""
        self._take_up()
        newest = zip(self.symbols, self._newest.tolist(), strict=True)
        return {symbol: ts for symbol, ts in newest if ts >= self._first_ns}

    def last_price(self, symbol: str) -> float | None:
        """Return the price of a symbol's newest trade in USD; None before the first."""
        self._take_up()
        tape = self._tapes[self._row_of[symbol]] if symbol in self._row_of else None
        return float(tape.records["price"][-1]) if tape is not None and len(tape) else None

    @property
    def counts(self) -> TapeCounts:
        """What came so far."""
        self._take_up()
        trades = sum(len(tape) for tape in self._tapes)
        return TapeCounts(trades, self._late, self._duplicates, self._rejected)

    def _take_up(self) -> None:
        """Take up the trades that were put aside."""
        if not self._aside:
            return
        trades, self._aside = self._aside, []
        rows, records = self._sift(*records_of_stream(trades, self._row_of, self._codes))
        late = self._came_late(rows, records["ts"])
        new = self._absorb(rows, records)
        self._late += int(np.count_nonzero(late[new]))
        self._duplicates += len(rows) - len(new)
        self._settle(records)

    def _sift(self, rows: Rows, records: Records) -> tuple[Rows, Records]:
        """Set aside what cannot be a trade, and pass over other symbols'."""
        followed = rows >= 0
        fine = sound(records, self._first_ns, self._last_ns)
        if fine.all() and followed.all():
            return rows, records
        self._rejected += int(np.count_nonzero(followed & ~fine))
        return rows[fine & followed], records[fine & followed]

    def _came_late(self, rows: Rows, ts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which trades came after a later one of their symbol."""
        order = np.argsort(rows, kind="stable")
        # Every row's times are lifted above those of the row before: one running maximum does.
        lift = rows[order] * (self._last_ns - self._first_ns + 2) - self._first_ns
        times, before = ts[order] + lift, self._newest[rows[order]] + lift
        before[1:] = np.maximum(before[1:], np.maximum.accumulate(times)[:-1])
        late = np.empty(len(rows), np.bool_)
        late[order] = times < before
        return late

    def _absorb(self, rows: Rows, records: Records) -> npt.NDArray[np.int64]:
        """Put sound trades on the tape, and see to the bars; return which of them were new."""
        order, rows, records = arranged(rows, records)
        starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
        runs = list(zip(rows[starts].tolist(), starts, [*starts[1:], len(rows)], strict=False))
        new = np.ones(len(rows), np.bool_)
        grown = [run for run in runs if self._grow(run, records)]
        for row, _, end in runs:
            self._newest[row] = max(self._newest[row], records["ts"][end - 1])
        if len(grown) == len(runs):
            self._bars.feed(records, grown)
        else:
            for row, first, end in grown:
                self._bars.feed(records[first:end], [(row, 0, end - first)])
            for row, first, end in set(runs) - set(grown):
                changed, new[first:end] = self._tapes[row].merge(records[first:end])
                if changed is not None:
                    self._bars.changed(row, changed)
        found: npt.NDArray[np.int64] = order[new]
        return found

    def _grow(self, run: tuple[int, int, int], records: Records) -> bool:
        """Put one symbol's trades at the end of its tape, if all of them belong there."""
        row, first, end = run
        tape = self._tapes[row]
        ts, trade_id, _, _, _, exchange, _ = records[first].item()
        if (ts, trade_id, exchange) <= tape.last:
            return False
        self._bars.will_grow(row, ts)
        tape.append(records[first:end])
        return True

    def _settle(self, records: Records) -> None:
        """Do what waited for trades that have come."""
        if self._waiting:
            wanted = [_original(told)[2] for told in self._waiting]
            if np.isin(records["id"], wanted).any():
                waiting, self._waiting = self._waiting, []
                for told in waiting:
                    self._apply(told)

    def _apply(self, told: TradeCorrection | TradeCancel) -> None:
        """Correct or cancel a trade, or let that wait until the trade comes."""
        symbol, letter, trade_id = _original(told)
        row = self._row_of[symbol]
        if row < 0:
            return
        tape = self._tapes[row]
        found = tape.find(letter, trade_id)
        if not found:
            self._waiting = [*self._waiting[1 - _MAX_WAITING :], told]
            return
        corrects = isinstance(told, TradeCorrection)
        for position in found:
            if tape.note(position, INCORRECT if corrects else CANCELED):
                self._bars.changed(row, position)
        if isinstance(told, TradeCorrection) and not tape.find(letter, told.id):
            rows, records = records_of_stream([told.trade()], self._row_of, self._codes)
            records["update"], records["ts"] = CORRECTED, tape.records["ts"][found[0]]
            self._absorb(*self._sift(rows, records))

    def _displace_corrected(self, rows: Rows, records: Records) -> None:
        """Forget the corrected trades to which the history gives another time."""
        for at in np.flatnonzero(records["update"] == CORRECTED).tolist():
            row, record = int(rows[at]), records[at]
            tape = self._tapes[row]
            for position in reversed(tape.find(int(record["exchange"]), int(record["id"]))):
                there = tape.records[position]
                if there["update"] == CORRECTED and there["ts"] != record["ts"]:
                    tape.remove(position)
                    self._bars.changed(row, position)


def _original(told: TradeCorrection | TradeCancel) -> tuple[str, int, int]:
    """Return the symbol, exchange and id of the trade that something is told about."""
    letter = ord(told.exchange[:1] or "\0") & 127
    return told.symbol, letter, told.original_id


def _words(words: Sequence[str | None], index: npt.NDArray[Any]) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(index))
