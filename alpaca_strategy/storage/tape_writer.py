"""One symbol's tape on its way into the staging area, page by page.

A tape is replaced, never changed: each attempt writes parts of its own generation, and the manifest
that names them is renamed into place last. Until then the tape before it is the one that is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from alpaca_strategy.errors import DamagedFileError
from alpaca_strategy.market.schema import TRADE_SCHEMA
from alpaca_strategy.storage.content import ContentHash
from alpaca_strategy.storage.whole import read_json, read_parquet, sync, write_json, write_parquet

MANIFEST, CHECKPOINT, FAILURE = "manifest.json", "checkpoint.json", "failure.txt"
#: Malformed trades quoted in a manifest.
MAX_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class FetchKey:
    """What a tape is of; a checkpoint of anything else is not gone on with."""

    feed: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a tape."""

    name: str
    rows: int
    bytes: int


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
        parts: Its files, in tape order.
        generation: Which attempt wrote it.
    """

    key: FetchKey
    trade_count: int
    tape_hash: str
    rejected_count: int
    rejected_examples: tuple[str, ...]
    repeated_count: int
    fetched_at: str
    parts: tuple[Part, ...]
    generation: int


@dataclass(slots=True)
class _Checkpoint:
    key: FetchKey
    generation: int
    started_at: str
    next_token: str | None = None
    chain: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    rejected_count: int = 0
    rejected_examples: tuple[str, ...] = ()
    repeated_count: int = 0


def read_manifest(folder: Path, remedy: str) -> Manifest | None:
    """Return the manifest of a complete tape, None while there is none.

    Raises:
        DamagedFileError: It cannot be read, or a part that it names is gone or has another size.
    """
    manifest = read_json(folder / MANIFEST, Manifest, remedy)
    if manifest is not None:
        for part in manifest.parts:
            _check_size(folder, part, remedy)
    return manifest


def _check_size(folder: Path, part: Part, remedy: str) -> None:
    path = folder / part.name
    size = path.stat().st_size if path.exists() else None
    if size != part.bytes:
        state = "missing" if size is None else f"{size} bytes long instead of {part.bytes}"
        msg = f"The staged file {path} is {state}; {remedy}."
        raise DamagedFileError(msg)


def read_parts(folder: Path, parts: tuple[Part, ...], remedy: str) -> Iterator[pa.Table]:
    """Yield the parts of a tape, one at a time.

    Raises:
        DamagedFileError: A part is missing or damaged.
    """
    for part in parts:
        table = read_parquet(folder / part.name, remedy)
        if table.num_rows != part.rows or table.schema != TRADE_SCHEMA:
            msg = f"The staged file {folder / part.name} holds something else; {remedy}."
            raise DamagedFileError(msg)
        yield table


class TapeWriter:
    """Writes one symbol's pages as they come; whoever writes holds the symbol's lock."""

    def __init__(
        self, folder: Path, key: FetchKey, *, remedy: str, now: datetime, afresh: bool = False
    ) -> None:
        """Go on where an interrupted attempt stopped, unless it was of something else.

        Args:
            folder: Of the symbol.
            key: What the tape is of.
            remedy: Ends the sentence about a damaged file.
            now: When this begins.
            afresh: Begin at the beginning, whatever there is.
        """
        self._folder, self._remedy = folder, remedy
        folder.mkdir(parents=True, exist_ok=True)
        self._before = self._readable_manifest()
        state = None if afresh else self._readable_checkpoint(key)
        self.resumed = state is not None
        self._state = state or _Checkpoint(key, self._next_generation(), now.isoformat())
        self._remove(keep={*self._names(self._before), *self._names(self._state), CHECKPOINT})

    @property
    def next_token(self) -> str | None:
        """Where to go on; None at the start."""
        return self._state.next_token

    @property
    def chain(self) -> tuple[str, ...]:
        """Symbols of the chain of pages that the token belongs to."""
        return self._state.chain

    @property
    def trade_count(self) -> int:
        """Trades written so far."""
        return sum(part.rows for part in self._state.parts)

    def last_part(self) -> pa.Table | None:
        """Return the trades that were written last, None at the start.

        Raises:
            DamagedFileError: They cannot be read.
        """
        last = self._state.parts[-1:]
        return next(read_parts(self._folder, last, self._remedy), None)

    def append(self, table: pa.Table, rejected: tuple[str, ...] = (), repeated: int = 0) -> None:
        """Write what a page holds of this symbol.

        Raises:
            DiskSpaceError: There is no room; the page is not written.
        """
        state = self._state
        if table.num_rows:
            name = f"part-{state.generation:03d}-{len(state.parts):05d}.parquet"
            write_parquet(self._folder / name, _in_time(table), durable=False)
            size = (self._folder / name).stat().st_size
            state.parts = (*state.parts, Part(name, table.num_rows, size))
        state.rejected_count += len(rejected)
        state.rejected_examples = (*state.rejected_examples, *rejected)[:MAX_EXAMPLES]
        state.repeated_count += repeated

    def checkpoint(self, next_token: str, chain: tuple[str, ...]) -> None:
        """Remember that everything before this token is written."""
        self._state.next_token, self._state.chain = next_token, chain
        write_json(self._folder / CHECKPOINT, self._state, durable=False)

    def finish(self, fetched_at: datetime) -> tuple[Manifest, Manifest | None]:
        """Declare the tape complete; return its manifest and the one before.

        Tables built from another tape are removed.

        Raises:
            DiskSpaceError: There is no room; the tape before stays.
            DamagedFileError: A part was damaged since it was written.
        """
        state, content = self._state, ContentHash(TRADE_SCHEMA)
        for table in read_parts(self._folder, state.parts, self._remedy):
            content.update(table)
        for part in state.parts:
            sync(self._folder / part.name)
        manifest = Manifest(
            key=state.key,
            trade_count=content.rows,
            tape_hash=content.hexdigest(),
            rejected_count=state.rejected_count,
            rejected_examples=state.rejected_examples,
            repeated_count=state.repeated_count,
            fetched_at=fetched_at.isoformat(),
            parts=state.parts,
            generation=state.generation,
        )
        before = self._before
        if before is None or before.tape_hash != manifest.tape_hash:
            tapes = {*self._names(before), *self._names(state)}
            self._remove(keep={*tapes, CHECKPOINT}, derived=True)
        write_json(self._folder / MANIFEST, manifest)
        self._remove(keep=self._names(manifest))
        (self._folder / FAILURE).unlink(missing_ok=True)
        return manifest, before

    def _readable_manifest(self) -> Manifest | None:
        try:
            return read_manifest(self._folder, self._remedy)
        except DamagedFileError:
            return None  # this attempt replaces it

    def _readable_checkpoint(self, key: FetchKey) -> _Checkpoint | None:
        try:
            state = read_json(self._folder / CHECKPOINT, _Checkpoint, self._remedy)
            if state is None or state.key != key:
                return None
            for part in state.parts:
                _check_size(self._folder, part, self._remedy)
        except DamagedFileError:
            return None  # what it knew is fetched again
        return state

    def _next_generation(self) -> int:
        """Return a number that no file of the folder carries."""
        used = [path.name.split("-")[1] for path in self._folder.glob("part-*-*.parquet")]
        return 1 + max((int(number) for number in used if number.isdigit()), default=0)

    @staticmethod
    def _names(of: Manifest | _Checkpoint | None) -> set[str]:
        return set() if of is None else {part.name for part in of.parts}

    def _remove(self, *, keep: set[str], derived: bool = False) -> None:
        """Remove parts, checkpoints and temporary files that are not kept; derived tables too."""
        for path in self._folder.iterdir():
            ours = path.name.startswith((".", "part-")) or path.name == CHECKPOINT
            built = derived and path.suffix == ".parquet"
            if (ours or built) and path.name not in keep:
                path.unlink(missing_ok=True)


def _in_time(table: pa.Table) -> pa.Table:
    """Return a page's trades oldest first; equal times keep the venue's order."""
    times = table["ts_ns"].to_numpy()
    if len(times) < 2 or bool((np.diff(times) >= 0).all()):
        return table
    return table.take(pa.array(np.argsort(times, kind="stable")))
