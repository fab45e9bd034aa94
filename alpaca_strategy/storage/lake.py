"""The lake: trades and bars by feed and session, on a local disk or in an S3 bucket.

The Parquet files are ours: row groups end at symbol borders, pages carry checksums. Delta holds
which of them make up a table, so that any engine reads it; readers of ours open the files that the
catalog pins.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
from deltalake import DeltaTable

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import DiskSpaceError
from alpaca_strategy.storage import files as parquet
from alpaca_strategy.storage.content import split_by_symbol
from alpaca_strategy.storage.delta import SCHEMAS, Change, DeltaStore
from alpaca_strategy.storage.files import LakeFile
from alpaca_strategy.storage.records import Pin

#: Room that must be free before anything is written, beside what is about to be written.
SPARE_BYTES = 256 * 2**20

Rows: TypeAlias = pa.Table | pa.RecordBatchReader | Iterable[pa.Table | pa.RecordBatch]


class Lake(DeltaStore):
    """Sessions of trades and bars, written in one commit each and read by their pins."""

    # ---------------------------------------------------------------- writing

    def write_session(self, name: str, *, feed: Feed, session: date, rows: Rows) -> Pin:
        """Replace one session of a table in one commit.

        Args:
            name: ``trades`` or ``bars``.
            feed: The feed the rows come from.
            session: The session.
            rows: Sorted by symbol, then as readers shall see them; streamed, never all in memory.

        Raises:
            DiskSpaceError: No room; the table is as before.
            BusyError: Other writers won every one of our attempts.
            ServiceUnavailableError: The object storage does not answer.
        """
        staged = self.stage(name, feed=feed, session=session, rows=rows)
        try:
            return self.commit(name, feed=feed, session=session, staged=staged)
        except BaseException:
            self.discard(name, staged)
            raise

    def stage(
        self, name: str, *, feed: Feed, session: date, rows: Rows, expected_bytes: int = 0
    ) -> list[LakeFile]:
        """Write the file of a session without making it part of the table; see `commit`.

        Returns:
            The file; none when there is no row.
        """
        self.check_space(expected_bytes)
        tables = [rows] if isinstance(rows, pa.Table) else rows
        path = f"feed={feed.value}/session={session.isoformat()}/{uuid.uuid4().hex}.parquet"
        pieces = (piece for _, piece in split_by_symbol(tables))
        with parquet.writing(self.uri(name)):
            file = parquet.write_file(
                self.filesystem, self.folder(name), path, SCHEMAS[name], pieces
            )
        if file.rows:
            return [file]
        self.discard(name, [file])
        return []

    def commit(
        self,
        name: str,
        *,
        feed: Feed,
        session: date,
        staged: Sequence[LakeFile],
        data_change: bool = True,
    ) -> Pin:
        """Make staged files the content of a session, replacing whatever it held."""
        wanted = sorted(file.path for file in staged)

        def derive(table: DeltaTable) -> Change:
            present = _files_of(table, feed, session)
            if present == wanted:  # nothing to do, or a commit that we took for lost has landed
                return Change((), ())
            return Change(staged, present)

        partition = {"feed": feed.value, "session": session.isoformat()}
        version = self.change(name, partition, derive, data_change=data_change)
        rows = sum(file.rows for file in staged)
        return Pin(version, tuple(file.path for file in staged), rows)

    def discard(self, name: str, staged: Iterable[LakeFile]) -> None:
        """Delete staged files, but none that a commit of unknown outcome made part of the table."""
        paths = {file.path for file in staged}
        if paths:
            self.delete_files(name, paths - set(self.paths(self.open(name))))

    def check_space(self, expected_bytes: int = 0) -> None:
        """Refuse to begin what the disk cannot hold.

        Raises:
            DiskSpaceError: Less is free than expected_bytes and a reserve.
        """
        if not self.is_local:
            return
        folder = Path(self._base)
        while not folder.exists():
            folder = folder.parent
        free, needed = shutil.disk_usage(folder).free, expected_bytes + SPARE_BYTES
        if free < needed:
            msg = (
                f"Only {free / 2**20:,.0f} MiB are free at {self.root} and {needed / 2**20:,.0f} "
                "MiB are needed; free space, then run it again."
            )
            raise DiskSpaceError(msg)

    # ---------------------------------------------------------------- reading

    def current_files(self, name: str, *, feed: Feed, session: date) -> tuple[str, ...]:
        """Return the files of a session in the newest version."""
        return tuple(_files_of(self.open(name), feed, session))

    def read_files(
        self,
        name: str,
        files: Sequence[str],
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
    ) -> pa.Table:
        """Read pinned files: only the columns and, by row groups, only the symbols asked for.

        Raises:
            DamagedFileError: A file is missing or fails its checksums.
        """
        tables = list(self.iter_files(name, files, columns, symbols, whole_files=True))
        if not tables:
            schema = SCHEMAS[name]
            return (
                pa.schema([schema.field(c) for c in columns]) if columns else schema
            ).empty_table()
        return pa.concat_tables(tables)

    def iter_files(
        self,
        name: str,
        files: Sequence[str],
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        *,
        whole_files: bool = False,
    ) -> Iterator[pa.Table]:
        """Yield pinned files row group by row group, so that memory stays bounded."""
        schema = SCHEMAS[name]
        kinds = pa.schema([schema.field(c) for c in columns]) if columns else schema
        for path in files:
            full = f"{self.folder(name)}/{path}"
            with parquet.reading(full, remedy(path)):
                file = parquet.open_file(self.filesystem, full)
                groups = parquet.groups_with(file, symbols)
            for batch in [groups] if whole_files and groups else [[g] for g in groups]:
                with parquet.reading(full, remedy(path)):
                    table = parquet.read_groups(file, batch, columns, symbols)
                yield table.cast(kinds)


def remedy(path: str) -> str:
    """Return what to do about a damaged file of a session."""
    day = next((p[8:] for p in path.split("/") if p.startswith("session=")), None)
    if day is None:
        return "restore it from a backup"
    return (
        f"publish the session again: alpaca-strategy backfill --start {day} --end {day} --rewrite"
    )


def _files_of(table: DeltaTable, feed: Feed, session: date) -> list[str]:
    prefix = f"feed={feed.value}/session={session.isoformat()}/"
    return sorted(path for path in Lake.paths(table) if path.startswith(prefix))
