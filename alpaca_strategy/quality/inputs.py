"""What the gate looks at: one session's tape and bars, and what is known around them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa

from alpaca_strategy.domain.market import Feed, Session
from alpaca_strategy.errors import DataError
from alpaca_strategy.market.conditions import ConditionTable
from alpaca_strategy.market.schema import BAR_SCHEMA, TRADE_SCHEMA

#: Reads the tape of one symbol (TRADE_SCHEMA), or None where none was stored. Called once a
#: symbol, so that a session of any size is checked one symbol at a time.
TapeReader = Callable[[str], pa.Table | None]

#: Columns that make two sessions the same for a reader.
_PRINTED = ("minute", "open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class SymbolHistory:
    """What earlier published sessions of one symbol looked like.

    Attributes:
        last_close: Close of the last published session, USD, unadjusted.
        median_volume: Shares a session, split-adjusted to today.
        median_trade_count: Trades a session.
        bars_hash: ``bars_fingerprint`` of the last published session.
    """

    last_close: float | None = None
    median_volume: float | None = None
    median_trade_count: float | None = None
    bars_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Trades of one symbol that could not be read and were left out of the tape."""

    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckInput:
    """Everything the gate knows about one session.

    Attributes:
        session: The exchange's day.
        feed: Where the trades come from.
        symbols: Those asked for, in universe order.
        bars: BAR_SCHEMA, a row for every calendar minute and symbol.
        tape: A table or a reader; None where the tape is no longer kept, and then no rule about
            trades is evaluated.
        conditions: The table that the bars were built by; None where it is not known, and then
            conditions are not judged, nor bars held against the tape.
        failed: Symbols that could not be fetched, with the reason.
        rejected: Malformed trades, by symbol.
        history: Recent published sessions, by symbol.
        splits: New shares for one old, for those that take effect on this day: 4.0 is 4-for-1.
        as_of: Moment of the check; no trade may be younger.
    """

    session: Session
    feed: Feed
    symbols: tuple[str, ...]
    bars: pa.Table
    tape: pa.Table | TapeReader | None
    conditions: ConditionTable | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, Rejected] = field(default_factory=dict)
    history: Mapping[str, SymbolHistory] = field(default_factory=dict)
    splits: Mapping[str, float] = field(default_factory=dict)
    as_of: datetime | None = None


def conform(table: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    """Return a table with exactly the columns and types of a schema, in its order.

    Raises:
        DataError: A column is missing or holds another type.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        msg = f"The {what} lack the column {', '.join(missing)}; build them again from the tape."
        raise DataError(msg)
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        msg = f"The {what} do not follow the agreed schema ({error}); build them again."
        raise DataError(msg) from error


def split_by_symbol(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield each symbol's rows in their order of appearance, without copying where contiguous."""
    if not table.num_rows:
        return
    encoded = table["symbol"].combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    names = encoded.dictionary.to_pylist()
    borders = np.flatnonzero(np.diff(codes)) + 1
    if borders.size + 1 > len(names):  # a symbol's rows lie apart
        order = np.argsort(codes, kind="stable")
        table, codes = table.take(pa.array(order)), codes[order]
        borders = np.flatnonzero(np.diff(codes)) + 1
    starts = [0, *borders.tolist(), table.num_rows]
    for start, stop in pairwise(starts):
        yield str(names[codes[start]]), table.slice(start, stop - start)


def tape_reader(tape: pa.Table | TapeReader) -> TapeReader:
    """Return a reader of one symbol's tape, checking its columns on the way."""
    if isinstance(tape, pa.Table):
        tables = dict(split_by_symbol(conform(tape, TRADE_SCHEMA, "trades")))
        return tables.get

    def read(symbol: str) -> pa.Table | None:
        table = tape(symbol)
        return None if table is None else conform(table, TRADE_SCHEMA, "trades")

    return read


def bars_fingerprint(bars: pa.Table) -> str:
    """Return a hash of what one symbol's session printed, whatever day it claims to be.

    Args:
        bars: BAR_SCHEMA, one symbol.
    """
    seen = bars.filter(bars["observed"])
    digest = hashlib.sha256()
    for name in _PRINTED:
        column = seen[name].to_numpy()
        digest.update(np.ascontiguousarray(column, dtype=np.float64).tobytes())
    return digest.hexdigest()


def bars_fingerprints(bars: pa.Table) -> dict[str, str]:
    """Return ``bars_fingerprint`` of each symbol of a session."""
    parts = split_by_symbol(conform(bars, BAR_SCHEMA, "bars"))
    return {symbol: bars_fingerprint(table) for symbol, table in parts}
