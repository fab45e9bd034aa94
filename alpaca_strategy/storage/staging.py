"""The staging area: what was fetched and built of a session before it is published.

<root>/<session>/<symbol>/part-001-00000.parquet …   pages as they came, each written once
                          checkpoint.json            where to go on after an interruption
                          manifest.json              the tape is complete; written last
                          bars.parquet               and other tables built from the tape
                          failure.txt                why there is no tape
                 <name>.json                         notes on the session
                 failed_symbols.txt                  the failures, for people
"""

from __future__ import annotations

import fcntl
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from alpaca_strategy.errors import BusyError, DamagedFileError, UserError
from alpaca_strategy.market.schema import TRADE_SCHEMA
from alpaca_strategy.storage.files import writing
from alpaca_strategy.storage.tape_writer import (
    FAILURE,
    MANIFEST,
    FetchKey,
    Manifest,
    TapeWriter,
    read_manifest,
    read_parts,
)
from alpaca_strategy.storage.whole import (
    read_json,
    read_parquet,
    write_json,
    write_parquet,
    write_text,
)

__all__ = ["FetchKey", "Manifest", "Staging", "TapeWriter"]

_LOCK_POLL_S = 0.1
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,19}")
_TABLE = re.compile(r"[a-z][a-z0-9_]{0,40}")


class Staging:
    """Files of sessions in the making, on a local disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, day: date, symbol: str) -> Path:
        """Return where a symbol's files are.

        Raises:
            UserError: The symbol cannot be the name of a folder.
        """
        if not _SYMBOL.fullmatch(symbol):
            msg = f"The symbol {symbol!r} is none: capitals, digits, dot and dash; correct it."
            raise UserError(msg)
        return self._session(day) / symbol

    def _session(self, day: date) -> Path:
        return self.root / day.isoformat()

    @staticmethod
    def _remedy(day: date) -> str:
        return f"fetch it again with `alpaca-strategy fetch --session {day} --rewrite`"

    @contextmanager
    def symbol_lock(self, day: date, symbol: str, *, wait_s: float = 600.0) -> Iterator[None]:
        """Hold the only right to write a symbol; it ends with the process at the latest.

        Raises:
            BusyError: Another run holds it for longer than wait_s.
        """
        folder = self.folder(day, symbol).parent
        with writing(str(folder)):
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
        """Return the manifest of a complete tape, None while there is none.

        Raises:
            DamagedFileError: It cannot be read, or a file of the tape is not as it says.
        """
        return read_manifest(self.folder(day, symbol), self._remedy(day))

    def symbols(self, day: date) -> list[str]:
        """Return the symbols whose tape is complete."""
        return sorted(path.parent.name for path in self._session(day).glob("*/manifest.json"))

    def sessions(self) -> list[date]:
        """Return the sessions that have anything staged, oldest first."""
        found = []
        for path in self.root.iterdir() if self.root.is_dir() else ():
            with suppress(ValueError):
                found.append(date.fromisoformat(path.name))
        return sorted(found)

    def writer(
        self, day: date, symbol: str, key: FetchKey, *, now: datetime | None = None,
        afresh: bool = False,
    ) -> TapeWriter:  # fmt: skip
        """Return a writer that goes on where an interrupted one stopped, unless afresh."""
        folder, now = self.folder(day, symbol), now or datetime.now(UTC)
        return TapeWriter(folder, key, remedy=self._remedy(day), now=now, afresh=afresh)

    def remove_tape(self, day: date, symbol: str) -> None:
        """Remove a symbol's tape and what was built from it; whoever calls holds its lock."""
        folder = self.folder(day, symbol)
        (folder / MANIFEST).unlink(missing_ok=True)  # first: a tape without it does not exist
        shutil.rmtree(folder, ignore_errors=True)

    def read_tape(self, day: date, symbol: str) -> pa.Table:
        """Return a symbol's trades in TRADE_SCHEMA, oldest first.

        Raises:
            DamagedFileError: There is no tape, or a part cannot be read.
        """
        batches = [*self.tape_batches(day, symbol)]
        return pa.concat_tables(batches or [TRADE_SCHEMA.empty_table()])

    def tape_batches(self, day: date, symbol: str) -> Iterator[pa.Table]:
        """Yield a symbol's trades part by part, oldest first, in bounded memory.

        Raises:
            DamagedFileError: There is no tape, or a part cannot be read.
        """
        folder, manifest = self.folder(day, symbol), self.manifest(day, symbol)
        if manifest is None:
            msg = f"There is no tape in {folder}; run `alpaca-strategy fetch --session {day}`."
            raise DamagedFileError(msg)
        yield from read_parts(folder, manifest.parts, self._remedy(day))

    def write_table(self, day: date, symbol: str, name: str, table: pa.Table) -> None:
        """Write a table built from a symbol's tape; a corrected tape removes it."""
        write_parquet(self._table(day, symbol, name), table)

    def read_table(self, day: date, symbol: str, name: str) -> pa.Table | None:
        """Return a table of a symbol, None where there is none.

        Raises:
            DamagedFileError: It cannot be read.
        """
        path = self._table(day, symbol, name)
        remedy = f"build it again with `alpaca-strategy {name} --session {day}`"
        return read_parquet(path, remedy) if path.exists() else None

    def _table(self, day: date, symbol: str, name: str) -> Path:
        if not _TABLE.fullmatch(name):
            msg = f"{name!r} cannot name a table; use lower-case letters."
            raise ValueError(msg)
        return self.folder(day, symbol) / f"{name}.parquet"

    def write_note(self, day: date, name: str, content: dict[str, Any]) -> None:
        """Write a note on a session."""
        write_json(self._session(day) / f"{name}.json", content)

    def read_note(self, day: date, name: str) -> dict[str, Any] | None:
        """Return a note on a session, None where there is none.

        Raises:
            DamagedFileError: It cannot be read.
        """
        remedy = f"write it again with `alpaca-strategy {name} --session {day}`"
        return read_json(self._session(day) / f"{name}.json", dict[str, Any], remedy)

    def remove_note(self, day: date, name: str) -> None:
        """Remove a note on a session, if there is one."""
        with writing(str(self._session(day))):
            (self._session(day) / f"{name}.json").unlink(missing_ok=True)

    def note_failures(self, day: date, failed: dict[str, str]) -> None:
        """Remember why symbols could not be fetched; a complete tape takes it back."""
        for symbol, reason in failed.items():
            write_text(self.folder(day, symbol) / FAILURE, reason)
        known, file = self.failures(day), self._session(day) / "failed_symbols.txt"
        if known or file.exists():
            write_text(file, "".join(f"{name}\t{why}\n" for name, why in known.items()))

    def failures(self, day: date) -> dict[str, str]:
        """Return the symbols that have no tape because of a failure, each with its reason."""
        found = {}
        for path in sorted(self._session(day).glob(f"*/{FAILURE}")):
            with suppress(FileNotFoundError):  # taken back meanwhile
                found[path.parent.name] = path.read_text(encoding="utf-8")
        return found

    def discard(self, day: date) -> None:
        """Remove everything of a session: out of sight in one step, then file by file."""
        gone = self.root / f".{day}.{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            self._session(day).rename(gone)
        for path in self.root.glob(".*-*.*"):  # also what a killed process left
            shutil.rmtree(path, ignore_errors=True)
