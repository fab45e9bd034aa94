# ruff: noqa: PLR0917, SIM110 - compiled functions take arrays by position, and plain loops
"""From Arrow to the arrays that the kernel reads, without touching a trade in Python.

Numbers are read where Arrow holds them. Of the strings, symbols become runs (a tape is sorted by
symbol, so there are few), and pairs of conditions and tape become codes, numbered as they first
appear; only runs and codes, a handful each, are looked at from Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from alpaca_strategy.errors import DataError

IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.uint16]

#: Codes start here; a trade with code 0 (superseded, canceled) updates nothing.
EXCLUDED = 0
_SUPERSEDED = pa.array(["canceled", "incorrect"])
_BLOCK = 1024  # rows
_SLOTS = 4096  # of the hash table; at most half may be taken
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0x100000001B3)


@dataclass(frozen=True, slots=True)
class Strings:
    """An Arrow string column: the bytes of row i are ``data[offsets[i]:offsets[i + 1]]``."""

    offsets: npt.NDArray[Any]
    data: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Trades:
    """One batch of trades as arrays, in tape order within each symbol.

    Attributes:
        ts_ns: Shape (trades,), nanoseconds since 1970 UTC.
        price: Shape (trades,), USD.
        size: Shape (trades,), shares.
        codes: Shape (trades,), into ``conditions`` shifted by one; 0 is an excluded trade.
        conditions: The distinct pairs of conditions and tape.
        run_starts: Shape (runs + 1,), first row of each run of one symbol; the last is the end.
        run_symbols: The symbol of each run.
        exchange: One letter a trade.
    """

    ts_ns: IntArray
    price: npt.NDArray[np.float64]
    size: IntArray
    codes: CodeArray
    conditions: list[tuple[str, str]]
    run_starts: IntArray
    run_symbols: list[str]
    exchange: Strings


def read_batch(batch: pa.RecordBatch) -> Trades:
    """Return the arrays of a record batch in ``TRADE_SCHEMA``.

    Raises:
        DataError: A time, price or size is missing, or the batch has too many different
            combinations of conditions to be a tape.
    """
    symbols = _plain(batch["symbol"])
    symbol_text = _strings(symbols)
    starts = np.empty(len(batch) + 1, np.int64)
    starts = starts[: _runs(symbol_text.offsets, symbol_text.data, starts) + 1]
    codes, conditions = _encode(_plain(batch["conditions"]), _plain(batch["tape"]))
    if batch["update"].null_count != len(batch):
        superseded = pc.is_in(batch["update"].cast(pa.string()), _SUPERSEDED)
        codes[superseded.to_numpy(zero_copy_only=False)] = EXCLUDED
    return Trades(
        ts_ns=_numbers(batch, "ts_ns"),
        price=_numbers(batch, "price"),
        size=_numbers(batch, "size"),
        codes=codes,
        conditions=conditions,
        run_starts=starts,
        run_symbols=symbols.take(pa.array(starts[:-1])).to_pylist(),
        exchange=_strings(_plain(batch["exchange"])),
    )


def _numbers(batch: pa.RecordBatch, name: str) -> npt.NDArray[Any]:
    column = batch[name]
    if column.null_count:
        msg = (
            f"The tape lacks {name} in {column.null_count} of {len(column)} trades; "
            f"fetch the session again."
        )
        raise DataError(msg)
    array: npt.NDArray[Any] = column.to_numpy(zero_copy_only=True)
    return array


def _plain(column: pa.Array) -> pa.Array:
    """Return a text column as offsets and bytes, without nulls."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = column.cast(pa.string())
    return pc.fill_null(column, "") if column.null_count else column


def _strings(column: pa.Array) -> Strings:
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    _, offsets, data = column.buffers()
    if offsets is None or len(column) == 0:
        return Strings(np.zeros(len(column) + 1, width), np.zeros(0, np.uint8))
    return Strings(
        np.frombuffer(offsets, width)[column.offset : column.offset + len(column) + 1],
        np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8),
    )


def _encode(conditions: pa.Array, tape: pa.Array) -> tuple[CodeArray, list[tuple[str, str]]]:
    text, tape_text = _strings(conditions), _strings(tape)
    codes = np.empty(len(conditions), np.uint16)
    first_rows = np.empty(_SLOTS // 2, np.int64)
    words = text.data[: len(text.data) // 8 * 8].view(np.uint64)
    found = _codes(
        text.offsets, text.data, words, tape_text.offsets, tape_text.data, codes, first_rows
    )
    if found < 0:
        msg = (
            f"The tape has more than {_SLOTS // 2} different combinations of conditions in one "
            f"batch; it is damaged, fetch the session again."
        )
        raise DataError(msg)
    rows = pa.array(first_rows[:found])
    pairs = (column.take(rows).to_pylist() for column in (conditions, tape))
    return codes, [(c, t[:1]) for c, t in zip(*pairs, strict=True)]


@numba.njit(cache=True, nogil=True)
def _repeats(offsets: Any, data: Any) -> bool:
    """Tell whether every string equals the first; in two loops of vector instructions."""
    first, end = offsets[0], offsets[-1]
    length = offsets[1] - first
    other = 0
    for i in range(len(offsets) - 1):
        other |= (offsets[i + 1] - offsets[i]) ^ length
    if other:
        return False
    ahead, behind = data[first + length : end], data[first : end - length]
    differing = np.uint8(0)
    for i in range(len(ahead)):
        differing |= ahead[i] ^ behind[i]
    return bool(differing == 0)


@numba.njit(cache=True, nogil=True)
def _runs(offsets: Any, data: Any, starts: Any) -> int:
    """Write the first row of each run of equal strings, then the end; return how many runs."""
    rows, runs, i = len(offsets) - 1, 0, 0
    while i < rows:
        stop = min(i + _BLOCK, rows)
        if i and _repeats(offsets[i - 1 : stop + 1], data):
            i = stop
            continue
        for j in range(i, stop):
            if j == 0 or not _same(offsets, data, j, j - 1):
                starts[runs] = j
                runs += 1
        i = stop
    starts[runs] = rows
    return runs


@numba.njit(cache=True, nogil=True)
def _same(offsets: Any, data: Any, i: int, j: int) -> bool:
    a, b, size = offsets[i], offsets[j], offsets[i + 1] - offsets[i]
    if size != offsets[j + 1] - b:
        return False
    for k in range(size):
        if data[a + k] != data[b + k]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _codes(
    offsets: Any, data: Any, words: Any, tape_offsets: Any, tape_data: Any, codes: Any, firsts: Any
) -> int:
    """Number the distinct (conditions, tape) pairs from 1; return how many, or -1 for too many.

    Up to six bytes are compared as one word, read with two aligned loads; longer strings by a
    hash, then byte by byte with the first row of that code.
    """
    keys = np.zeros(_SLOTS, np.uint64)
    numbers = np.zeros(_SLOTS, np.uint16)
    found, last_word = 0, len(words) - 1
    at, tape_at = offsets[0], tape_offsets[0]
    for i in range(len(codes)):
        size, tape_size = offsets[i + 1] - at, tape_offsets[i + 1] - tape_at
        tape = np.uint64(tape_data[tape_at]) if tape_size > 0 else np.uint64(0)
        word = at >> 3
        short = size <= 6 and word < last_word
        if short:
            shift = np.uint64((at & 7) << 3)
            key = words[word] >> shift
            # in two steps, because shifting by 64 is undefined when the word is aligned
            key |= (words[word + 1] << np.uint64(1)) << (np.uint64(63) - shift)
            key &= (np.uint64(1) << np.uint64(size << 3)) - np.uint64(1)
        else:
            key = np.uint64(0)
            for j in range(size):
                if size <= 6:
                    key |= np.uint64(data[at + j]) << np.uint64(j << 3)
                else:
                    key = (key ^ np.uint64(data[at + j])) * _PRIME
            key &= np.uint64(0x0000FFFFFFFFFFFF)
        key |= np.uint64(255 if size > 254 else size + 1) << np.uint64(56) | tape << np.uint64(48)
        slot = (key * _MULTIPLIER) >> np.uint64(52)
        # keys are never 0, which marks a free slot
        while keys[slot] != key or not (short or _alike(offsets, data, i, firsts, numbers[slot])):
            if keys[slot] == 0:
                if found == len(firsts):
                    return -1
                firsts[found] = i
                found += 1
                keys[slot], numbers[slot] = key, found
                break
            slot = (slot + np.uint64(1)) & np.uint64(_SLOTS - 1)
        codes[i] = numbers[slot]
        at, tape_at = offsets[i + 1], tape_offsets[i + 1]
    return found


@numba.njit(cache=True, nogil=True)
def _alike(offsets: Any, data: Any, i: int, firsts: Any, number: int) -> bool:
    return bool(_same(offsets, data, i, firsts[number - 1]))
