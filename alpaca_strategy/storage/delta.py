"""Delta tables under one root, changed only by compare-and-set.

A commit succeeds only on top of the version it was derived from, so concurrent writers cannot lose
each other's work: who is outrun derives the change anew from the version that won.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import structlog
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction
from pyarrow import fs as arrow_fs

from alpaca_strategy.errors import BusyError, DiskSpaceError, ServiceUnavailableError
from alpaca_strategy.market.schema import BAR_SCHEMA, CORPORATE_ACTION_SCHEMA, TRADE_SCHEMA
from alpaca_strategy.storage import files as parquet
from alpaca_strategy.storage.files import LakeFile

log = structlog.get_logger(__name__)

#: The tables, and the columns that their files hold; partition keys stand in the paths.
SCHEMAS: Mapping[str, pa.Schema] = {
    "trades": TRADE_SCHEMA,
    "bars": BAR_SCHEMA,
    "corporate_actions": CORPORATE_ACTION_SCHEMA,
}
_KEYS = [pa.field("feed", pa.string()), pa.field("session", pa.date32())]
_UNPARTITIONED = frozenset({"corporate_actions"})
#: Commits lost to other writers before giving up; each costs a few hundredths of a second.
COMMIT_ATTEMPTS = 60


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to a table, derived anew from each version it is tried on."""

    adds: Sequence[LakeFile]
    removes: Sequence[str]


class DeltaStore:
    """The tables of a lake; safe to use from many processes and threads.

    Args:
        root: A folder, or ``s3://bucket/prefix``.
        storage_options: For S3, in Delta's spelling: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
            AWS_REGION, AWS_ENDPOINT_URL. What is not given comes from the environment.
    """

    def __init__(self, root: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        text = str(root).rstrip("/")
        self.root = text if "://" in text else str(Path(text).absolute())
        self.storage_options = dict(storage_options or {})
        endpoint = {**os.environ, **self.storage_options}.get("AWS_ENDPOINT_URL", "")
        if endpoint.startswith("http://"):  # who names such an endpoint means it
            self.storage_options.setdefault("AWS_ALLOW_HTTP", "true")
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
            with parquet.writing(self.uri(name)):
                Path(self.folder(name)).mkdir(parents=True, exist_ok=True)
        try:
            DeltaTable.create(
                self.uri(name),
                pa.schema([*SCHEMAS[name], *_keys(name)]),
                mode="error",
                partition_by=[key.name for key in _keys(name)],
                # Maintenance decides by the catalog's pins what goes; Delta must not forget before.
                configuration={"delta.deletedFileRetentionDuration": "interval 365 days"},
                storage_options=self.storage_options or None,
                # Rebased, a second creation would follow the first as version 1.
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except DeltaError:  # another process created it just now, or the next open tells why not
            log.info("table_creation_lost", table=name)

    @staticmethod
    def paths(table: DeltaTable) -> list[str]:
        """Return the relative paths of all files of a version, from its log alone."""
        paths: list[str] = pa.table(table.get_add_actions(flatten=True)).column("path").to_pylist()
        return paths

    def stale_files(self, name: str, keep: timedelta) -> list[str]:
        """Return the files that left the newest version, or never were in it, before ``keep``.

        Some may be gone already: Delta remembers what it let go of.
        """
        hours = int(keep / timedelta(hours=1))
        stale: list[str] = self.open(name).vacuum(
            hours, dry_run=True, enforce_retention_duration=False, full=True
        )
        return [path for path in stale if path.endswith(".parquet")]

    def delete_files(self, name: str, paths: Iterable[str]) -> list[int]:
        """Delete files that nobody needs; return the bytes of each that was there."""
        folder = self.folder(name)
        found = self.filesystem.get_file_info([f"{folder}/{path}" for path in sorted(paths)])
        there = [info for info in found if info.type == arrow_fs.FileType.File]
        for info in there:
            parquet.discard(self.filesystem, info.path)
        return [int(info.size) for info in there]

    def tidy_log(self, name: str) -> None:
        """Gather a table's log into one checkpoint, and drop entries past their retention."""
        table = self.open(name)
        table.create_checkpoint()
        table.cleanup_metadata()


def _keys(name: str) -> list[pa.Field]:
    return [] if name in _UNPARTITIONED else _KEYS


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
