"""A fingerprint of what a table says, whatever the chunks, encodings or files it came in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: Part of every hash; raise it when the way of hashing changes.
HASH_VERSION = 1


class ContentHash:
    """The hash of a table that arrives in pieces.

    Equal rows in equal order give an equal hash: chunk borders, dictionary encoding, the width of
    string offsets and the bits under nulls do not count.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._values = [hashlib.sha256() for _ in schema]
        self._shapes = [hashlib.sha256() for _ in schema]
        self.rows = 0

    def update(self, table: pa.Table) -> None:
        """Add rows; columns are taken by the names of the schema."""
        for position, field in enumerate(self._schema):
            for chunk in table.column(field.name).chunks:
                self._add(position, field.type, chunk)
        self.rows += table.num_rows

    def _add(self, position: int, kind: pa.DataType, chunk: pa.Array) -> None:
        if pa.types.is_dictionary(chunk.type):
            chunk = chunk.dictionary_decode()
        if chunk.type != kind:
            chunk = chunk.cast(kind)
        values, shapes = self._values[position], self._shapes[position]
        nulls = chunk.is_null().to_numpy(zero_copy_only=False) if chunk.null_count else None
        if pa.types.is_string(kind):
            lengths = pc.fill_null(pc.binary_length(chunk), -1)
            shapes.update(lengths.to_numpy(zero_copy_only=False).astype(np.int32))
            values.update(_text_bytes(chunk.drop_null() if chunk.null_count else chunk))
            return
        # One byte a row tells null from zero, whether or not this chunk has any.
        mask = np.zeros(len(chunk), np.uint8) if nulls is None else nulls.astype(np.uint8)
        shapes.update(mask.data)
        values.update(_number_bytes(chunk, kind))

    def hexdigest(self) -> str:
        """Return the hash of everything added so far."""
        total = hashlib.sha256(f"{HASH_VERSION}:{self.rows}".encode())
        for field, values, shapes in zip(self._schema, self._values, self._shapes, strict=True):
            total.update(f"|{field.name}:{field.type}|".encode())
            total.update(values.digest())
            total.update(shapes.digest())
        return total.hexdigest()


def _text_bytes(chunk: pa.Array) -> bytes | memoryview:
    """Return the characters of a string array without nulls, one after the other."""
    if not len(chunk):
        return b""
    offsets = np.frombuffer(chunk.buffers()[1], np.int32)[
        chunk.offset : chunk.offset + len(chunk) + 1
    ]
    data = chunk.buffers()[2]
    return b"" if data is None else memoryview(data)[int(offsets[0]) : int(offsets[-1])]


def _number_bytes(chunk: pa.Array, kind: pa.DataType) -> memoryview:
    """Return the values of a fixed-width array, zero under nulls, one bit pattern for NaN."""
    if pa.types.is_boolean(kind):
        chunk = chunk.cast(pa.uint8())
    elif not pa.types.is_floating(kind):
        chunk = chunk.view(
            {8: pa.int8(), 16: pa.int16(), 32: pa.int32()}.get(kind.bit_width, pa.int64())
        )
    if chunk.null_count:
        chunk = chunk.fill_null(0)
    values = chunk.to_numpy(zero_copy_only=False)
    if pa.types.is_floating(kind):
        values = np.where(np.isnan(values), np.nan, values)  # a NaN has many bit patterns
    return np.ascontiguousarray(values).data


def hash_table(table: pa.Table, schema: pa.Schema | None = None) -> str:
    """Return the content hash of a whole table."""
    content = ContentHash(schema or table.schema)
    content.update(table)
    return content.hexdigest()


def hash_facts(facts: Mapping[str, object]) -> str:
    """Return the hash of a mapping that JSON can hold, whatever the order of its keys."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def split_by_symbol(tables: Iterable[pa.Table | pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
    """Yield (symbol, rows) runs in the order met; long symbols come in several pieces.

    Raises:
        ValueError: A symbol comes back after another one began, so the tape is not sorted.
    """
    done: set[str] = set()
    current: str | None = None
    for item in tables:
        table = pa.Table.from_batches([item]) if isinstance(item, pa.RecordBatch) else item
        for symbol, start, stop in symbol_runs(table):
            if symbol != current:
                if symbol in done:
                    msg = f"Trades of {symbol} are not together; sort the tape by symbol."
                    raise ValueError(msg)
                if current is not None:
                    done.add(current)
                current = symbol
            yield symbol, table.slice(start, stop - start)


def symbol_runs(table: pa.Table) -> list[tuple[str, int, int]]:
    """Return (symbol, first row, past the last row) of each run of equal symbols."""
    if not table.num_rows:
        return []
    encoded = table.column("symbol").combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    starts = np.concatenate(([0], np.flatnonzero(codes[1:] != codes[:-1]) + 1))
    stops = np.concatenate((starts[1:], [len(codes)]))
    names = encoded.dictionary.to_pylist()
    return [(names[codes[a]], int(a), int(b)) for a, b in zip(starts, stops, strict=True)]
