"""Reports, models and the like, by name, on a local disk or in an S3 bucket."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from upath import UPath

from alpaca_strategy.errors import DamagedFileError, DiskSpaceError, ServiceUnavailableError
from alpaca_strategy.storage.files import is_full, writing


class ObjectStore:
    """Bytes under names such as ``quality/2024-01-02/report.html``.

    An object appears whole or not at all, also to those who read it at that moment.

    Args:
        root: A folder, or ``s3://bucket/prefix``.
        storage_options: For S3, as s3fs takes them; from the environment when None.
    """

    def __init__(self, root: str | Path, storage_options: Mapping[str, Any] | None = None) -> None:
        text = str(root).rstrip("/")
        self.root = text if "://" in text else str(Path(text).absolute())
        self._local = "://" not in self.root
        options = {} if self._local else _s3_options() | dict(storage_options or {})
        self._root = UPath(self.root, **options)

    def put(self, name: str, data: bytes) -> str:
        """Write an object, replacing what was there, and return its address.

        Raises:
            DiskSpaceError: No room; the object is as before.
            ServiceUnavailableError: The object storage does not answer.
        """
        target = self._at(name)
        try:
            if self._local:
                with writing(self.root):
                    _write_whole(Path(str(target)), data)
            else:
                target.write_bytes(data)
        except OSError as error:
            raise self._translated(name, error) from error
        except Exception as error:
            if not _is_remote(error):
                raise
            raise self._translated(name, error) from error
        return self.uri(name)

    def get(self, name: str) -> bytes:
        """Return an object.

        Raises:
            DamagedFileError: There is no such object.
            ServiceUnavailableError: The object storage does not answer.
        """
        try:
            return bytes(self._at(name).read_bytes())
        except FileNotFoundError as error:
            msg = f"There is no object {name} under {self.root}; make it again."
            raise DamagedFileError(msg) from error
        except Exception as error:
            if not isinstance(error, OSError) and not _is_remote(error):
                raise
            raise self._translated(name, error) from error

    def exists(self, name: str) -> bool:
        """Return whether an object is there."""
        try:
            return bool(self._at(name).is_file())
        except Exception as error:
            if not isinstance(error, OSError) and not _is_remote(error):
                raise
            raise self._translated(name, error) from error

    def delete(self, name: str) -> None:
        """Delete an object; that it is gone already is fine.

        Raises:
            ServiceUnavailableError: The object storage does not answer.
        """
        try:
            self._at(name).unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except Exception as error:
            if not isinstance(error, OSError) and not _is_remote(error):
                raise
            raise self._translated(name, error) from error

    def list(self, prefix: str = "") -> list[str]:
        """Return the names of all objects under a folder, sorted."""
        folder = self._at(prefix) if prefix else self._root
        try:
            found = [path for path in folder.rglob("*") if path.is_file()]
        except FileNotFoundError:
            return []
        except Exception as error:
            if not isinstance(error, OSError) and not _is_remote(error):
                raise
            raise self._translated(prefix, error) from error
        start = len(self._root.path.rstrip("/")) + 1
        names = (str(path.path)[start:] for path in found)
        return sorted(name for name in names if not PurePosixPath(name).name.startswith("."))

    def uri(self, name: str) -> str:
        """Return the address of an object: ``file://…`` or ``s3://…``."""
        self._at(name)
        return Path(self.root, name).as_uri() if self._local else f"{self.root}/{name}"

    def name_of(self, uri: str) -> str:
        """Return the name behind an address that `uri` gave.

        Raises:
            DamagedFileError: The address lies outside this store.
        """
        start = (Path(self.root).as_uri() if self._local else self.root) + "/"
        if not uri.startswith(start):
            msg = f"{uri} does not lie under {self.root}; set storage.objects back, or move it."
            raise DamagedFileError(msg)
        return uri.removeprefix(start)

    def _at(self, name: str) -> UPath:
        parts = PurePosixPath(name)
        if not name or parts.is_absolute() or ".." in parts.parts or str(parts) != name:
            msg = f"{name!r} is not an object's name; write it as folder/name.suffix."
            raise ValueError(msg)
        found: UPath = self._root / name
        return found

    def _translated(self, name: str, error: BaseException) -> Exception:
        if is_full(error):
            return DiskSpaceError(
                f"There is no room left to write {name} under {self.root}; free space, then run it "
                "again."
            )
        if self._local:
            return error if isinstance(error, Exception) else RuntimeError(str(error))
        return ServiceUnavailableError(
            f"The object storage at {self.root} does not answer ({error}); check its address and "
            "keys."
        )


def _s3_options() -> dict[str, Any]:
    """Return deadlines, and what makes s3fs share neither clients nor listings by mistake."""
    options: dict[str, Any] = {
        "use_listings_cache": False,  # other processes write too
        "config_kwargs": {
            "connect_timeout": 5,
            "read_timeout": 60,
            "retries": {"max_attempts": 2, "mode": "standard"},
        },
    }
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        options["endpoint_url"] = endpoint  # part of the key under which s3fs keeps its clients
    return options


def _is_remote(error: BaseException) -> bool:
    """Return whether an error comes from the S3 client, whose errors share no base with ours."""
    return type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp"))


def _write_whole(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
