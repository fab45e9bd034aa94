"""The staging area: what was fetched and built of a session before it is published.

    <root>/<session>/<symbol>/part-00000.parquet …   pages as they came, each written once
                              checkpoint.json        where to go on after an interruption
                              manifest.json          the symbol is complete; written last
                              bars.parquet           and other tables of the symbol
                     <name>.json                     notes on the session

Every file appears whole or not at all: written beside its place, flushed to disk, then renamed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alpaca_strategy.errors import BusyError, DamagedFileError
from alpaca_strategy.market.schema import TRADE_SCHEMA
from alpaca_strategy.storage.content import ContentHash
from alpaca_strategy.storage.files import writing

_EXAMPLES = 5
_LOCK_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class FetchKey:
    """What a tape is of; a checkpoint of anything else is not gone on with."""

    feed: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A complete tape.

    Attributes:
        key: What it is of.
        trade_count: Trades on it.
        tape_hash: Of its content, whatever the pages it came in.
        rejected_count: Malformed trades that were set aside.
        rejected_examples: Some of them, with the reason.
        repeated_count: Trades that pages repeated, kept once.
        fetched_at: When it was complete, ISO 8601.
    """

    key: FetchKey
    trade_count: int
    tape_hash: str
    rejected_count: int
    rejected_examples: tuple[str, ...]
    repeated_count: int
    fetched_at: str


@dataclass(slots=True)
class _Checkpoint:
    key: FetchKey
    parts: int = 0
    next_token: str | None = None
    complete: bool = False  # all pages are there, only the manifest is missing
    rejected_count: int = 0
    rejected_examples: tuple[str, ...] = ()


class Staging:
    """Files of sessions in the making, on a local disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, day: date, symbol: str) -> Path:
        """Return where a symbol's files are."""
        return self.root / day.isoformat() / symbol

    @contextmanager
    def symbol_lock(self, day: date, symbol: str, *, wait_s: float = 600.0) -> Iterator[None]:
        """Hold the only right to write a symbol; it ends with the process at the latest.

        Raises:
            BusyError: Another run holds it for longer than wait_s.
        """
        folder = self.root / day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        ends_at = time.monotonic() + wait_s
        with (folder / f".{symbol}.lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > ends_at:
                        msg = (
                            f"Another run has been fetching {symbol} of {day} for more than "
                            f"{wait_s:.0f} s; wait for it, or stop it."
                        )
                        raise BusyError(msg) from None
                    time.sleep(_LOCK_POLL_S)
            yield

    def manifest(self, day: date, symbol: str) -> Manifest | None:
        """Return the manifest of a complete tape, None while there is none."""
        content = _read_json(self.folder(day, symbol) / "manifest.json")
        return None if content is None else _manifest(content)

    def symbols(self, day: date) -> list[str]:
        """Return the symbols whose tape is complete."""
        return sorted(
            path.parent.name for path in (self.root / day.isoformat()).glob("*/manifest.json")
        )

    def sessions(self) -> list[date]:
        """Return the sessions that have anything staged, oldest first."""
        if not self.root.is_dir():
            return []
        return sorted(date.fromisoformat(p.name) for p in self.root.iterdir() if p.is_dir())

    def writer(self, day: date, symbol: str, key: FetchKey, *, afresh: bool = False) -> TapeWriter:
        """Return a writer that goes on where an interrupted one stopped, unless afresh."""
        return TapeWriter(self.folder(day, symbol), key, afresh=afresh)

    def read_tape(self, day: date, symbol: str) -> pa.Table:
        """Return a symbol's trades in TRADE_SCHEMA, oldest first.

        Raises:
            DamagedFileError: A part is missing or cannot be read.
        """
        folder = self.folder(day, symbol)
        return pa.concat_tables(_parts(folder, _count_parts(folder)))

    def tape_batches(self, day: date, symbol: str) -> Iterator[pa.Table]:
        """Yield a symbol's trades part by part, oldest first, in bounded memory."""
        folder = self.folder(day, symbol)
        yield from _parts(folder, _count_parts(folder))

    def write_table(self, day: date, symbol: str, name: str, table: pa.Table) -> None:
        """Write a table of a symbol."""
        _write_parquet(self.folder(day, symbol) / f"{name}.parquet", table)

    def read_table(self, day: date, symbol: str, name: str) -> pa.Table | None:
        """Return a table of a symbol, None where there is none.

        Raises:
            DamagedFileError: It cannot be read.
        """
        path = self.folder(day, symbol) / f"{name}.parquet"
        return _read_parquet(path) if path.exists() else None

    def write_note(self, day: date, name: str, content: dict[str, Any]) -> None:
        """Write a note on a session."""
        _write_text(self.root / day.isoformat() / f"{name}.json", json.dumps(content, indent=1))

    def read_note(self, day: date, name: str) -> dict[str, Any] | None:
        """Return a note on a session, None where there is none."""
        return _read_json(self.root / day.isoformat() / f"{name}.json")

    def note_failure(self, day: date, symbol: str, reason: str | None) -> None:
        """Remember why a symbol could not be fetched; None once it could."""
        path = self.folder(day, symbol) / "failure.txt"
        if reason is None:
            path.unlink(missing_ok=True)
        else:
            _write_text(path, reason)
        lines = [f"{name}\t{why}\n" for name, why in self.failures(day).items()]
        _write_text(self.root / day.isoformat() / "failed_symbols.txt", "".join(lines))

    def failures(self, day: date) -> dict[str, str]:
        """Return the symbols that could not be fetched, each with its reason."""
        paths = sorted((self.root / day.isoformat()).glob("*/failure.txt"))
        return {path.parent.name: path.read_text(encoding="utf-8") for path in paths}

    def discard(self, day: date) -> None:
        """Remove everything of a session."""
        shutil.rmtree(self.root / day.isoformat(), ignore_errors=True)


class TapeWriter:
    """Writes one symbol's pages as they come.

    Attributes:
        next_token: Where to go on; None at the start.
        complete: All pages were written before; only `finish` is missing.
        trade_count: Trades written so far.
    """

    def __init__(self, folder: Path, key: FetchKey, *, afresh: bool) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        found = _read_json(folder / "checkpoint.json")
        state = _checkpoint(found) if found else None
        if afresh or state is None or state.key != key:
            state = _Checkpoint(key)
            for path in folder.iterdir():
                path.unlink()
        for path in folder.glob(".*"):  # left by a process that was killed while writing
            path.unlink()
        self._state = state
        self._content = ContentHash(TRADE_SCHEMA)
        self.repeated = 0
        for table in _parts(folder, state.parts):
            self._content.update(table)

    @property
    def next_token(self) -> str | None:
        """Where to go on; None at the start."""
        return self._state.next_token

    @property
    def complete(self) -> bool:
        """Whether all pages were written before."""
        return self._state.complete

    @property
    def trade_count(self) -> int:
        """Trades written so far."""
        return self._content.rows

    def append(self, table: pa.Table, next_token: str | None, rejected: tuple[str, ...]) -> None:
        """Write a page, and where to go on after it.

        Raises:
            DiskSpaceError: There is no room; the page is not written.
        """
        state = self._state
        _write_parquet(_part(self._folder, state.parts), table)
        self._content.update(table)
        state.parts += 1
        state.next_token, state.complete = next_token, next_token is None
        state.rejected_count += len(rejected)
        state.rejected_examples = (*state.rejected_examples, *rejected)[:_EXAMPLES]
        _write_text(self._folder / "checkpoint.json", json.dumps(asdict(state)))

    def finish(self, fetched_at: datetime) -> Manifest:
        """Declare the tape complete."""
        state = self._state
        manifest = Manifest(
            key=state.key,
            trade_count=self._content.rows,
            tape_hash=self._content.hexdigest(),
            rejected_count=state.rejected_count,
            rejected_examples=tuple(state.rejected_examples),
            repeated_count=self.repeated,
            fetched_at=fetched_at.isoformat(),
        )
        _write_text(self._folder / "manifest.json", json.dumps(asdict(manifest), indent=1))
        return manifest


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def _count_parts(folder: Path) -> int:
    found = _read_json(folder / "checkpoint.json")
    if found is None:
        msg = f"There is no tape in {folder}; run `alpaca-strategy fetch` for its session."
        raise DamagedFileError(msg)
    return _checkpoint(found).parts


def _parts(folder: Path, count: int) -> list[pa.Table]:
    return [_read_parquet(_part(folder, number)) for number in range(count)]


def _checkpoint(content: dict[str, Any]) -> _Checkpoint:
    return _Checkpoint(**(content | {"key": FetchKey(**content["key"])}))


def _manifest(content: dict[str, Any]) -> Manifest:
    examples = tuple(content["rejected_examples"])
    return Manifest(
        **(content | {"key": FetchKey(**content["key"]), "rejected_examples": examples})
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedFileError(_remedy(path, error)) from error
    return content


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DamagedFileError(_remedy(path, error)) from error


def _remedy(path: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or ["no reason given"])[0][:120]
    day = path.parent.parent.name if path.parent.name.isupper() else path.parent.name
    return (
        f"The staged file {path} cannot be read ({reason}); fetch it again with "
        f"`alpaca-strategy fetch --session {day} --rewrite`."
    )


def _write_parquet(path: Path, table: pa.Table) -> None:
    with _replacing(path) as temporary, writing(str(path.parent)):
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def _write_text(path: Path, text: str) -> None:
    with _replacing(path) as temporary, writing(str(path.parent)):
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with writing(str(path.parent)):
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
