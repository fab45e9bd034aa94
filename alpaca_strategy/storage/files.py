"""Parquet files of the lake: written whole or not at all, checked when read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as arrow_fs

from alpaca_strategy.errors import (
    DamagedFileError,
    DiskSpaceError,
    EnvironmentFaultError,
    ServiceUnavailableError,
)

#: A row group ends at the first symbol border after this many rows, so that a reader of few
#: symbols skips the rest, and one of all symbols is not slowed by many small pieces.
GROUP_ROWS = 8_192
#: A symbol with more rows than this is cut, so that a writer's memory stays bounded.
MAX_GROUP_ROWS = 524_288

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT}
)
_FULL_TEXTS = ("No space left", "os error 28", "os error 27", "os error 122", "File too large")
#: Integers that mostly rise; differences take a fraction of the room.
_RISING = frozenset({"ts_ns", "id", "minute"})
#: The columns that readers prune by; statistics of the others cost a fifth of the writing.
_STATISTICS = ("symbol", "ts_ns", "minute")


@dataclass(frozen=True, slots=True)
class LakeFile:
    """A written file, not necessarily part of a table yet.

    Attributes:
        path: Relative to the table's folder.
        size: Bytes.
        rows: Rows.
        stats: Least and greatest values of the columns that readers prune by.
    """

    path: str
    size: int
    rows: int
    stats: Mapping[str, tuple[Any, Any]]


def is_full(error: BaseException) -> bool:
    """Return whether an error of the system, of Arrow or of Delta means: no room left."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(text in str(error) for text in _FULL_TEXTS)


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Translate faults of writing to ``place`` into ours."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if is_full(error):
            msg = f"There is no room left to write to {place}; free space, then run it again."
            raise DiskSpaceError(msg) from error
        if "://" in place:
            msg = (
                f"The object storage at {place} cannot be written ({_first_line(error)}); check it."
            )
            raise ServiceUnavailableError(msg) from error
        if isinstance(error, OSError) and error.errno in _FORBIDDEN:
            msg = (
                f"{place} cannot be written ({os.strerror(error.errno or 0)}); correct its rights, "
                f"or choose another place."
            )
            raise EnvironmentFaultError(msg) from error
        raise


@contextmanager
def reading(path: str, remedy: str) -> Iterator[None]:
    """Translate faults of reading ``path`` into ours; ``remedy`` says what to do."""
    try:
        yield
    except FileNotFoundError as error:
        msg = f"The lake file {path} is missing; {remedy}."
        raise DamagedFileError(msg) from error
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and "AWS Error" in str(error):
            msg = f"The object storage of {path} does not answer ({_first_line(error)}); try again."
            raise ServiceUnavailableError(msg) from error
        msg = f"The lake file {path} is damaged ({_first_line(error)}); {remedy}."
        raise DamagedFileError(msg) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")[:200]


def write_file(
    filesystem: arrow_fs.FileSystem,
    folder: str,
    path: str,
    schema: pa.Schema,
    pieces: Iterable[pa.Table],
) -> LakeFile:
    """Write pieces, each of one symbol and in order, as one Parquet file; sync it to the disk.

    Args:
        filesystem: Where.
        folder: The table's folder on that file system.
        path: The file, relative to the folder.
        schema: The columns; pieces are cast to it.
        pieces: Rows; a symbol may take several pieces in a row.
    """
    full = f"{folder}/{path}"
    local = isinstance(filesystem, arrow_fs.LocalFileSystem)
    if local:
        filesystem.create_dir(full.rpartition("/")[0], recursive=True)
    try:
        with _opened(filesystem, full, schema) as writer:
            for group in _row_groups(pieces, schema):
                writer.write_table(group, row_group_size=MAX_GROUP_ROWS)
        if local:
            _sync(full)
        size = filesystem.get_file_info(full).size
        metadata = pq.read_metadata(full, filesystem=filesystem)
    except BaseException:
        discard(filesystem, full)
        raise
    return LakeFile(path, size, metadata.num_rows, _statistics(metadata))


@contextmanager
def _opened(
    filesystem: arrow_fs.FileSystem, full: str, schema: pa.Schema
) -> Iterator[pq.ParquetWriter]:
    rising = [f.name for f in schema if f.name in _RISING and pa.types.is_integer(f.type)]
    writer = pq.ParquetWriter(
        full,
        schema,
        filesystem=filesystem,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in schema.names if name not in rising],
        column_encoding=dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        write_statistics=[name for name in schema.names if name in _STATISTICS],
        write_page_checksum=True,
    )
    try:
        yield writer
    except BaseException:
        with suppress(
            Exception
        ):  # closing a writer that failed fails again; the first cause counts
            writer.close()
        raise
    writer.close()


def _row_groups(pieces: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Gather pieces into row groups that end at symbol borders where they can."""
    held: list[pa.Table] = []
    rows = 0
    last = None
    for piece in pieces:
        if not piece.num_rows:
            continue
        piece = piece.select(schema.names).cast(schema)  # noqa: PLW2901  # same rows, our types
        symbol = piece.column("symbol")[0]
        border = symbol != last
        if held and ((border and rows >= GROUP_ROWS) or rows + len(piece) > MAX_GROUP_ROWS):
            yield pa.concat_tables(held)
            held, rows = [], 0
        held.append(piece)
        rows += len(piece)
        last = symbol
    if held:
        yield pa.concat_tables(held)


def _statistics(metadata: pq.FileMetaData) -> dict[str, tuple[Any, Any]]:
    names = {name: i for i, name in enumerate(metadata.schema.names) if name in _STATISTICS}
    found: dict[str, tuple[Any, Any]] = {}
    for name, column in names.items():
        groups = [
            metadata.row_group(g).column(column).statistics for g in range(metadata.num_row_groups)
        ]
        if groups and all(s is not None and s.has_min_max for s in groups):
            found[name] = (min(s.min for s in groups), max(s.max for s in groups))
    return found


def _sync(full: str) -> None:
    """Force a file and its name to the disk: a published row must never outlive its file."""
    for path, flags in ((full, os.O_RDONLY), (full.rpartition("/")[0], os.O_DIRECTORY)):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def discard(filesystem: arrow_fs.FileSystem, full: str) -> None:
    """Delete a file that no table names; that it is gone already is fine."""
    try:
        filesystem.delete_file(full)
    except FileNotFoundError:
        return
    except OSError:  # an object store answers in its own way for what was never written
        if filesystem.get_file_info(full).type != arrow_fs.FileType.NotFound:
            raise


def open_file(filesystem: arrow_fs.FileSystem, full: str) -> pq.ParquetFile:
    """Open a file of the lake, symbols as a dictionary, page checksums verified."""
    return pq.ParquetFile(
        full,
        filesystem=filesystem,
        read_dictionary=["symbol"],
        page_checksum_verification=True,
        pre_buffer=not isinstance(filesystem, arrow_fs.LocalFileSystem),
    )


def groups_with(file: pq.ParquetFile, symbols: Sequence[str] | None) -> list[int]:
    """Return the row groups that may hold one of the symbols, by their statistics."""
    metadata = file.metadata
    if symbols is None:
        return list(range(metadata.num_row_groups))
    column = metadata.schema.names.index("symbol")
    kept = []
    for group in range(metadata.num_row_groups):
        stats = metadata.row_group(group).column(column).statistics
        known = stats is not None and stats.has_min_max
        if not known or any(stats.min <= symbol <= stats.max for symbol in symbols):
            kept.append(group)
    return kept


def read_groups(
    file: pq.ParquetFile,
    groups: Sequence[int],
    columns: Sequence[str] | None,
    symbols: Sequence[str] | None,
    *,
    threads: bool = True,
) -> pa.Table:
    """Read columns of row groups; the rows of other symbols are left out."""
    wanted = None if columns is None else list(dict.fromkeys(("symbol", *columns)))
    table = file.read_row_groups(list(groups), columns=wanted, use_threads=threads)
    if symbols is not None and table.num_rows:
        kinds = pa.array(list(symbols), pa.string())
        table = table.filter(pc.is_in(table.column("symbol").cast(pa.string()), kinds))
    return table if columns is None else table.select(list(columns))
