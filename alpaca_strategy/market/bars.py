"""Minute bars from the tape: all at once, in chunks, or trade by trade, to the same bits.

Which trades enter which column:

- The condition table says what a trade may update. *Counting* trades update volume; *pricing*
  trades may set high and low (and, in every table so far, open and close); *ticking* trades are
  at the market's price of that moment, and move the tick rule.
- open, high, low, close, vwap, price_mean, price_std: pricing trades. vwap weighs them by size,
  so it lies within low and high, and differs from dollar_volume / volume where others counted.
- volume, trade_count, dollar_volume, the counts by kind and size, size_std, size_max and
  intertrade_ms_mean: counting trades. The time between two trades belongs to the minute of the
  later one; the first trade of the session has none before it.
- buy and sell volume and count: ticking trades that count. A trade above the last price is a buy,
  below it a sell, at it as the one before; the first prices of the session are neither. A trade
  that counts but does not tick (an average price, a late report) is neither, so buys and sells
  need not add up to the volume.
- Trades outside the regular session enter nothing, not even the tick rule; the only exception is
  a closing auction that the table books into the last minute.
- Canceled and superseded trades (`update` "canceled" or "incorrect") enter nothing.

A minute without pricing trades has no bar: `observed` is false and every price is NaN. Its counts
stand as they are (a lone odd lot is volume without a bar), unless the table moves them to the bar
before it; then size_std and intertrade_ms_mean stay those of that bar's own minute.

Tape order is time, then the order in which the tape holds the trades. A table may come in any
order; a builder refuses a trade older than the last one of its symbol: a late trade, a correction
or a cancel changes what follows it too, so bars are built again, from the start or from a mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from alpaca_strategy.domain.market import Session
from alpaca_strategy.errors import LateTradeError, SettingsError
from alpaca_strategy.market import kernel
from alpaca_strategy.market.bar_table import bar_table, opening_ns
from alpaca_strategy.market.conditions import ConditionTable
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.market.tape import Strings, Trades, read_batch

_LONG_AGO = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a symbol's bars stood after some of its trades, so that they can go on from there.

    Attributes:
        newest: Time of the last trade, nanoseconds since 1970 UTC.
        first: The first minute that later trades may write.
        last_bar: The minute before it that they may still add to, with its columns; or -1.
    """

    newest: int
    first: int
    last_bar: int
    columns: npt.NDArray[np.float64]
    floats: npt.NDArray[np.float64]
    integers: npt.NDArray[np.int64]


def build_session_bars(
    tape: pa.Table, session: Session, symbols: Sequence[str], table: ConditionTable
) -> pa.Table:
    """Return every minute of the session for every symbol, as the tape has it.

    Args:
        tape: Trades in ``TRADE_SCHEMA``, in any order; other symbols are passed over.
        session: Whose minutes are wanted.
        symbols: In the order wanted; one without trades gets unobserved minutes.
        table: Which trades make a bar.

    Returns:
        ``BAR_SCHEMA``, sorted by symbol as given, then minute; ``session.minutes`` rows a symbol.

    Raises:
        DataError: A trade lacks its time, price or size.
        SettingsError: The table needs a symbol's primary exchange and does not know it.
    """
    builder = BarBuilder(session, symbols, table)
    try:
        builder.push(tape)
    except LateTradeError:
        builder = BarBuilder(session, symbols, table)
        builder.push(tape.take(pc.sort_indices(tape, [("ts_ns", "ascending")])))  # stable
    return builder.close()


class BarBuilder:
    """The bars of one session in the making; the same trades give the same bits, however pushed.

    Attributes:
        session: Whose minutes are built.
        symbols: In the order of the arrays.
        unknown_conditions: How many trades carried each condition that the table does not know.
    """

    def __init__(self, session: Session, symbols: Sequence[str], table: ConditionTable) -> None:
        """Start before the first trade.

        Raises:
            SettingsError: The table needs a symbol's primary exchange and does not know it.
        """
        self.session = session
        self.symbols = tuple(symbols)
        self.unknown_conditions: dict[str, int] = {}
        self._table = table
        self._row_of = {symbol: row for row, symbol in enumerate(self.symbols)}
        if len(self._row_of) != len(self.symbols):
            msg = f"Symbols must differ, got {', '.join(self.symbols)}."
            raise ValueError(msg)
        self._primary = self._primary_exchanges()
        self._opens_ns = opening_ns(session)
        shape = (len(self.symbols), session.minutes)
        self._values = np.zeros((len(BAR_COLUMNS), *shape))
        self._values[list(kernel.NAN_COLUMNS)] = np.nan
        self._observed = np.zeros(shape, np.bool_)
        self._floats, self._integers = kernel.new_state(len(self.symbols))
        self._closed = False
        self._newest = np.full(len(self.symbols), _LONG_AGO)

    def push(self, trades: pa.Table | pa.RecordBatch) -> None:
        """Take trades in ``TRADE_SCHEMA``, of any symbols, in tape order within each.

        Raises:
            LateTradeError: A trade is older than the one before it; its batch is not taken.
            DataError: A trade lacks its time, price or size.
        """
        for batch in trades.to_batches() if isinstance(trades, pa.Table) else [trades]:
            if len(batch):
                self.push_arrays(read_batch(batch))

    def push_trade(
        self,
        *,
        symbol: str,
        ts_ns: int,
        price: float,
        size: int,
        conditions: str,
        tape: str,
        exchange: str = "",
    ) -> None:
        """Take one trade, as a stream delivers it.

        Raises:
            LateTradeError: It is older than the last one of its symbol; it is not taken.
        """
        letter = np.frombuffer(exchange.encode(), np.uint8)
        self.push_arrays(
            Trades(
                ts_ns=np.array([ts_ns], np.int64),
                price=np.array([price], np.float64),
                size=np.array([size], np.int64),
                codes=np.ones(1, np.uint16),
                conditions=[(conditions, tape)],
                run_starts=np.array([0, 1], np.int64),
                run_symbols=[symbol],
                exchange=Strings(np.array([0, len(letter)], np.int32), letter),
            )
        )

    def values(self, minutes: int | None = None) -> npt.NDArray[np.float64]:
        """Return the numbers so far, shape (minutes, symbols, columns of ``BAR_COLUMNS``).

        Args:
            minutes: Only so many from the open; the one still open shows what it has so far.
        """
        return self.snapshot(minutes)[0]

    def snapshot(
        self, minutes: int | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return what `values` does, and which minutes have a bar, shape (minutes, symbols)."""
        minutes = self.session.minutes if minutes is None else minutes
        values, observed = self._finished(minutes)
        # In this order: a copy that turns the array twice is far slower.
        turned = np.ascontiguousarray(values[:, :, :minutes].transpose(2, 1, 0))
        return turned, np.ascontiguousarray(observed[:, :minutes].T)

    def mark(self, symbol: str) -> Mark:
        """Return where a symbol's bars stand now."""
        row = self._row_of[symbol]
        first = max(kernel.open_minute(self._integers[row]), 0)
        last = kernel.last_bar(self._integers[row])
        return Mark(
            newest=int(self._newest[row]),
            first=first,
            last_bar=last,
            columns=self._values[:, row, last].copy(),
            floats=self._floats[row].copy(),
            integers=self._integers[row].copy(),
        )

    def rewind(self, symbol: str, mark: Mark | None = None) -> None:
        """Forget a symbol's trades since a mark, or all of them; other symbols stay as they are.

        `unknown_conditions` still counts what is forgotten.
        """
        row, first = self._row_of[symbol], 0 if mark is None else mark.first
        self._values[:, row, first:] = 0.0
        self._values[list(kernel.NAN_COLUMNS), row, first:] = np.nan
        self._observed[row, first:] = False
        if mark is None:
            floats, integers = kernel.new_state(1)
            self._floats[row], self._integers[row] = floats[0], integers[0]
            self._newest[row] = _LONG_AGO
            return
        self._floats[row], self._integers[row] = mark.floats, mark.integers
        self._newest[row] = mark.newest
        if mark.last_bar >= 0:
            self._values[:, row, mark.last_bar] = mark.columns

    def rows(self) -> pa.Table:
        """Return every minute of the session in ``BAR_SCHEMA``, those to come as unobserved."""
        return bar_table(self.session, self.symbols, *self._finished(self.session.minutes))

    def close(self) -> pa.Table:
        """Return what `rows` does without taking a copy; nothing may be pushed afterwards."""
        kernel.finish(self._table.joins_previous, *self._state())
        self._closed = True
        return bar_table(self.session, self.symbols, self._values, self._observed)

    def _state(self) -> tuple[npt.NDArray[Any], ...]:
        return self._floats, self._integers, self._values, self._observed

    def _finished(self, minutes: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return copies of at least so many minutes, the open one of every symbol written."""
        floats, integers = self._floats.copy(), self._integers.copy()
        # Also the open minutes themselves, which may come after those that are asked for.
        end = max([minutes, *(kernel.open_minute(state) + 1 for state in integers)])
        values, observed = self._values[:, :, :end].copy(), self._observed[:, :end].copy()
        kernel.finish(self._table.joins_previous, floats, integers, values, observed)
        return values, observed

    def push_arrays(self, trades: Trades) -> None:
        """Take trades that are arrays already; runs of unknown symbols are passed over.

        Raises:
            LateTradeError: A trade is older than the one before it; nothing is taken.
        """
        if self._closed:
            msg = "The bars are closed: a session that goes on needs a new builder."
            raise ValueError(msg)
        run_rows = np.array([self._row_of.get(s, -1) for s in trades.run_symbols], np.int64)
        late = kernel.first_late(trades.ts_ns, trades.run_starts, run_rows, self._newest)
        if late >= 0:
            run = int(np.searchsorted(trades.run_starts, late, side="right")) - 1
            msg = (
                f"A trade of {trades.run_symbols[run]} at {trades.ts_ns[late]} ns is older than "
                f"the one before it; rebuild the session from the tape."
            )
            raise LateTradeError(msg)
        bits = np.zeros(len(trades.conditions) + 1, np.uint8)
        for code, (conditions, tape) in enumerate(trades.conditions, start=1):
            bits[code] = self._table.updates(conditions, tape)
            for unknown in self._table.unknown(conditions, tape):
                found = int(np.count_nonzero(trades.codes == code))
                self.unknown_conditions[unknown] = self.unknown_conditions.get(unknown, 0) + found
        kernel.feed(
            _frozen(trades.ts_ns),
            _frozen(trades.price),
            _frozen(trades.size),
            trades.codes,
            bits,
            _frozen(trades.exchange.offsets),
            _frozen(trades.exchange.data),
            trades.run_starts,
            run_rows,
            self._primary,
            self._opens_ns,
            self._table.joins_previous,
            *self._state(),
        )

    def _primary_exchanges(self) -> npt.NDArray[np.uint8]:
        known = self._table.primary_exchange
        missing = [s for s in self.symbols if s not in known]
        if known and missing:
            msg = (
                f"The condition table {self._table.name} does not know the primary exchange of "
                f"{', '.join(missing)}; set data.condition_table to alpaca, or add them to it."
            )
            raise SettingsError(msg)
        return np.array([ord(known[s]) if known else 0 for s in self.symbols], np.uint8)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # Arrow's arrays are read-only, and numba would compile the kernel again for one that is not
    view = array.view()
    view.flags.writeable = False
    return view
