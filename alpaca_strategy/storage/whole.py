"""Local files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from alpaca_strategy.errors import DamagedFileError
from alpaca_strategy.storage.files import writing

T = TypeVar("T")


def write_whole(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Let ``write`` fill a temporary file, then put it in its place.

    Args:
        path: Where it belongs.
        write: Told where to write.
        durable: Wait until the disk has it. A process that is killed loses nothing either way; a
            machine that loses power may keep the name of a file without its content.

    Raises:
        DiskSpaceError: There is no room; nothing appears.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writing(str(path.parent)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            if durable:
                sync(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the disk has a file.

    Raises:
        DiskSpaceError: It has no room for what was accepted before.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with writing(str(path.parent)):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes.

    Raises:
        DiskSpaceError: There is no room; nothing appears.
    """
    write_whole(path, lambda temporary: _write_bytes(temporary, data))


def write_json(path: Path, content: object, *, durable: bool = True) -> None:
    """Write a value as JSON, indented for people."""
    text = msgspec.json.format(msgspec.json.encode(content), indent=1)
    write_whole(path, lambda temporary: _write_bytes(temporary, text), durable=durable)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def write_parquet(path: Path, table: pa.Table, *, durable: bool = True) -> None:
    """Write a table with checksums."""

    def write(temporary: Path) -> None:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)

    write_whole(path, write, durable=durable)


def read_json(path: Path, kind: type[T], remedy: str) -> T | None:
    """Return a value written as JSON, None where there is none.

    Raises:
        DamagedFileError: It cannot be read; the message ends with the remedy.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, OSError) as error:
        raise _damaged(path, error, remedy) from error


def read_parquet(path: Path, remedy: str) -> pa.Table:
    """Return a table, its checksums verified.

    Raises:
        DamagedFileError: It is missing or cannot be read; the message ends with the remedy.
    """
    try:
        return pq.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error, remedy) from error


def _damaged(path: Path, error: Exception, remedy: str) -> DamagedFileError:
    reason = (str(error).splitlines() or ["no reason given"])[0][:120].rstrip(".")
    return DamagedFileError(f"The staged file {path} cannot be read ({reason}); {remedy}.")
