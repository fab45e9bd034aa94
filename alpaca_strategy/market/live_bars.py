"""Bars that follow tapes which also change further back.

Trades that follow what is there go straight to the builder. Where a tape changed further back, its
symbol's bars go back to the newest mark before the change, and what is on the tape since is fed
again. There is a mark at the beginning of each symbol's last few minutes, so an ordinary late trade
costs a minute or two of its symbol's trades.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from alpaca_strategy.domain.market import Session
from alpaca_strategy.market import kernel
from alpaca_strategy.market.bar_table import opening_ns
from alpaca_strategy.market.bars import BarBuilder, Mark
from alpaca_strategy.market.conditions import ConditionTable
from alpaca_strategy.market.stream_trades import CANCELED, INCORRECT, Codes, Records
from alpaca_strategy.market.symbol_tape import SymbolTape
from alpaca_strategy.market.tape import EXCLUDED, Strings, Trades

_MARKS: Final = 4  # of a symbol


class LiveBars:
    """The bars of one session, behind its tapes by what `refresh` has to do at most."""

    def __init__(
        self,
        session: Session,
        tapes: dict[str, SymbolTape],
        table: ConditionTable,
        codes: Codes,
    ) -> None:
        """Follow tapes, which are empty yet.

        Raises:
            SettingsError: The table needs a symbol's primary exchange and does not know it.
        """
        self._symbols = tuple(tapes)
        self._tapes = tuple(tapes.values())
        self._codes = codes
        self._builder = BarBuilder(session, self._symbols, table)
        self._opens_ns = opening_ns(session)
        #: Each with how many trades came before it.
        self._marks: list[list[tuple[int, Mark]]] = [[] for _ in self._symbols]
        self._behind: set[int] = set()

    def will_grow(self, row: int, ts: int) -> None:
        """Note that trades are about to be put at a tape's end, the first of them of that time."""
        marks, minute = self._marks[row], (ts - self._opens_ns) // kernel.MINUTE_NS
        size = len(self._tapes[row])
        if row in self._behind or (marks and self._minute(row, marks[-1][0]) >= minute):
            return
        if not marks or marks[-1][0] < size:
            marks.append((size, self._builder.mark(self._symbols[row])))
            del marks[:-_MARKS]

    def changed(self, row: int, position: int) -> None:
        """Note that a tape is not what it was from a position on."""
        self._behind.add(row)
        marks = self._marks[row]
        while marks and marks[-1][0] > position:
            marks.pop()

    def feed(self, records: Records, runs: Sequence[tuple[int, int, int]]) -> None:
        """Take what was put at the ends of tapes.

        Args:
            records: Of several symbols, one after another.
            runs: Row, first record and end of each symbol's, one after another.
        """
        # Runs of symbols that are behind are passed over: they are fed from the tape.
        names = ["" if row in self._behind else self._symbols[row] for row, _, _ in runs]
        if any(names):
            starts = np.array([first for _, first, _ in runs] + [len(records)], np.int64)
            self._builder.push_arrays(self._trades(records, starts, names))

    def snapshot(
        self, minutes: int | None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return the bars of the tapes as they are now; see `BarBuilder.snapshot`."""
        for row in sorted(self._behind):
            self._rebuild(row)
        self._behind.clear()
        return self._builder.snapshot(minutes)

    def _rebuild(self, row: int) -> None:
        symbol, tape, marks = self._symbols[row], self._tapes[row], self._marks[row]
        fed, mark = marks[-1] if marks else (0, None)
        self._builder.rewind(symbol, mark)
        if len(tape) == fed:
            return
        minute = (tape.last[0] - self._opens_ns) // kernel.MINUTE_NS
        cut = tape.position(self._opens_ns + minute * kernel.MINUTE_NS)
        if cut > fed:
            self._push(symbol, tape.records[fed:cut])
            marks.append((cut, self._builder.mark(symbol)))
            del marks[:-_MARKS]
            fed = cut
        self._push(symbol, tape.records[fed:])

    def _push(self, symbol: str, records: Records) -> None:
        starts = np.array([0, len(records)], np.int64)
        self._builder.push_arrays(self._trades(records, starts, [symbol]))

    def _minute(self, row: int, position: int) -> int:
        """Return the minute of a trade on a tape."""
        return int(self._tapes[row].records["ts"][position] - self._opens_ns) // kernel.MINUTE_NS

    def _trades(self, records: Records, starts: npt.NDArray[np.int64], names: list[str]) -> Trades:
        codes = records["code"].copy()
        update = records["update"]
        if update.any():
            codes[(update == CANCELED) | (update == INCORRECT)] = EXCLUDED
        return Trades(
            ts_ns=np.ascontiguousarray(records["ts"]),
            price=np.ascontiguousarray(records["price"]),
            size=records["size"].astype(np.int64),
            codes=codes,
            conditions=self._codes.pairs,
            run_starts=starts,
            run_symbols=names,
            exchange=Strings(
                np.arange(len(records) + 1, dtype=np.int32),
                np.ascontiguousarray(records["exchange"]),
            ),
        )
