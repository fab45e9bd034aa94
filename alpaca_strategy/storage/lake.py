"""The lake: Delta tables on a local disk or in an S3 bucket.

``trades`` and ``bars`` are partitioned by feed and session; ``corporate_actions`` is one small
table. The Parquet files are ours (row groups end at symbol borders, pages carry checksums); Delta
holds which of them make up a table. A commit succeeds only on top of the version it was built on,
so concurrent writers cannot lose each other's work: the loser looks again and goes on.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import structlog
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction
from pyarrow import fs as arrow_fs

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import BusyError, DiskSpaceError, ServiceUnavailableError
from alpaca_strategy.market.schema import BAR_SCHEMA, CORPORATE_ACTION_SCHEMA, TRADE_SCHEMA
from alpaca_strategy.storage import files as parquet
from alpaca_strategy.storage.content import split_by_symbol
from alpaca_strategy.storage.files import LakeFile

log = structlog.get_logger(__name__)

SCHEMAS: Mapping[str, pa.Schema] = {
    "trades": TRADE_SCHEMA,
    "bars": BAR_SCHEMA,
    "corporate_actions": CORPORATE_ACTION_SCHEMA,
}
PARTITION = ["feed", "session"]
_KEYS = [pa.field("feed", pa.string()), pa.field("session", pa.date32())]
#: Commits lost to other writers before giving up; each costs a few hundredths of a second.
COMMIT_ATTEMPTS = 60
#: Room that must be free before anything is written, beside what is about to be written.
SPARE_BYTES = 256 * 2**20

Rows: TypeAlias = pa.Table | pa.RecordBatchReader | Iterable[pa.Table | pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Pin:
    """The exact files of one session in one table.

    Attributes:
        version: The Delta version whose commit made them current.
        files: Paths relative to the table's folder, in row order.
        rows: Rows in all of them.
    """

    version: int
    files: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to a table, derived anew from each version it is tried on."""

    adds: Sequence[LakeFile]
    removes: Sequence[str]


class Lake:
    """Delta tables under one root; safe to use from many processes and threads.

    Args:
        root: A folder, or ``s3://bucket/prefix``.
        storage_options: For S3, in Delta's spelling: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
            AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP. What is not given comes from the
            environment.
    """

    def __init__(self, root: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        text = str(root).rstrip("/")
        self.root = text if "://" in text else str(Path(text).absolute())
        self.storage_options = dict(storage_options or {})
        self.filesystem, self._base = _filesystem(self.root, self.storage_options)

    @property
    def is_local(self) -> bool:
        """Whether the lake lies on a disk of this machine."""
        return isinstance(self.filesystem, arrow_fs.LocalFileSystem)

    def uri(self, name: str) -> str:
        """Return the address of a table, for any engine that reads Delta."""
        return f"{self.root}/{name}"

    def folder(self, name: str) -> str:
        """Return the folder of a table on the lake's file system."""
        return f"{self._base}/{name}"

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

        def derive(table: DeltaTable) -> Change:
            return Change(staged, _files_of(table, feed, session))

        partition = {"feed": feed.value, "session": session.isoformat()}
        version = self.change(name, partition, derive, data_change=data_change)
        rows = sum(file.rows for file in staged)
        return Pin(version, tuple(file.path for file in staged), rows)

    def discard(self, name: str, staged: Iterable[LakeFile]) -> None:
        """Delete staged files that were not committed."""
        for file in staged:
            parquet.discard(self.filesystem, f"{self.folder(name)}/{file.path}")

    def change(
        self,
        name: str,
        partition: Mapping[str, str | None],
        derive: Callable[[DeltaTable], Change],
        *,
        data_change: bool = True,
    ) -> int:
        """Commit what ``derive`` makes of the newest version; again when that was outrun.

        Returns:
            The version committed, or the present one when there was nothing to do.
        """
        table = self.open(name)
        for attempt in range(COMMIT_ATTEMPTS):
            planned, base = derive(table), int(table.version())
            if not planned.adds and not planned.removes:
                return base
            try:
                with parquet.writing(self.uri(name)):
                    _try_commit(table, partition, planned, data_change=data_change)
            except CommitFailedError:
                time.sleep(random.uniform(0, 0.01 * min(attempt + 1, 20)))  # noqa: S311
                table = self.open(name)
                continue
            except DeltaError as error:
                raise self._translated(name, error) from error
            if self.is_local:
                _sync_commit(self.folder(name), base + 1)
            return base + 1
        msg = (
            f"The table {self.uri(name)} was changed by others {COMMIT_ATTEMPTS} times while we "
            "tried to commit; run it again when fewer writers are at work."
        )
        raise BusyError(msg)

    def _translated(self, name: str, error: DeltaError) -> Exception:
        if parquet.is_full(error):
            return DiskSpaceError(
                f"There is no room left to commit to {self.uri(name)}; free space, then run again."
            )
        if self.is_local:
            return error
        return ServiceUnavailableError(
            f"The object storage at {self.uri(name)} does not answer ({error}); check it."
        )

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

    def open(self, name: str) -> DeltaTable:
        """Return the newest version of a table, created empty when there is none."""
        for _ in range(3):
            try:
                return DeltaTable(self.uri(name), storage_options=self.storage_options or None)
            except TableNotFoundError:
                self._create(name)
            except (DeltaError, OSError) as error:
                if self.is_local:
                    raise
                msg = f"The object storage at {self.uri(name)} does not answer ({error}); check it."
                raise ServiceUnavailableError(msg) from error
        msg = f"The table {self.uri(name)} cannot be created; look into that folder."
        raise ServiceUnavailableError(msg)

    def _create(self, name: str) -> None:
        if self.is_local:
            Path(self.folder(name)).mkdir(parents=True, exist_ok=True)
        try:
            DeltaTable.create(
                self.uri(name),
                pa.schema([*SCHEMAS[name], *(_KEYS if _partition(name) else ())]),
                mode="error",
                partition_by=_partition(name),
                storage_options=self.storage_options or None,
            )
        except DeltaError:  # another process created it just now, or the next open tells why not
            log.info("table_creation_lost", table=name)

    def current_files(self, name: str, *, feed: Feed, session: date) -> tuple[str, ...]:
        """Return the files of a session in the newest version."""
        return tuple(_files_of(self.open(name), feed, session))

    @staticmethod
    def paths(table: DeltaTable) -> list[str]:
        """Return the relative paths of all files of a version, from its log alone."""
        paths: list[str] = pa.table(table.get_add_actions(flatten=True)).column("path").to_pylist()
        return paths

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


def _partition(name: str) -> list[str]:
    return [] if name == "corporate_actions" else PARTITION


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


def _try_commit(
    table: DeltaTable, partition: Mapping[str, str | None], planned: Change, *, data_change: bool
) -> None:
    now_ms = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [
        AddAction(
            path=file.path,
            size=file.size,
            partition_values=dict(partition),
            modification_time=now_ms,
            data_change=data_change,
            stats=json.dumps(
                {
                    "numRecords": file.rows,
                    "minValues": {name: low for name, (low, _) in file.stats.items()},
                    "maxValues": {name: high for name, (_, high) in file.stats.items()},
                    "nullCount": dict.fromkeys(file.stats, 0),
                }
            ),
        )
        for file in planned.adds
    ]
    actions += [
        RemoveAction(path, data_change, now_ms, partition_values=dict(partition))
        for path in planned.removes
    ]
    table.create_write_transaction(
        actions,
        mode="append",
        schema=table.schema(),
        partition_by=list(partition),
        # Only on top of the version the change was derived from: never rebased by Delta itself.
        commit_properties=CommitProperties(max_commit_retries=0),
    )


def _sync_commit(folder: str, version: int) -> None:
    for path, flags in (
        (f"{folder}/_delta_log/{version:020d}.json", os.O_RDONLY),
        (f"{folder}/_delta_log", os.O_DIRECTORY),
    ):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _filesystem(root: str, options: Mapping[str, str]) -> tuple[arrow_fs.FileSystem, str]:
    """Return the Arrow file system of a root, and the root's path on it."""
    if not root.startswith("s3://"):
        return arrow_fs.LocalFileSystem(), root
    given = {**os.environ, **options}
    arguments: dict[str, str] = {}
    if endpoint := given.get("AWS_ENDPOINT_URL"):
        scheme, _, host = endpoint.rpartition("://")
        arguments |= {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}
    for argument, name in (
        ("access_key", "AWS_ACCESS_KEY_ID"),
        ("secret_key", "AWS_SECRET_ACCESS_KEY"),
        ("session_token", "AWS_SESSION_TOKEN"),
        ("region", "AWS_REGION"),
    ):
        if value := given.get(name):
            arguments[argument] = value
    return arrow_fs.S3FileSystem(**arguments), root.removeprefix("s3://")
