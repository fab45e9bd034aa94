"""Compiled functions, kept between processes for as long as none of their sources changes.

Numba renews what it kept only when the file of the outermost function changes, not when another
file's function or constant does that was compiled into it: an engine would go on with the decision
code of yesterday. So what is kept lies in a folder named by a hash of every source that compiles
here; where no such folder can be written, nothing is kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])
_PACKAGE = Path(__file__).resolve().parent
#: Where functions are compiled by `njit` of this module.
_ROOMS = ("strategy", "backtest")
_MARK = "compiled-"
_UNUSED_DAYS = 30


def _digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for room in _ROOMS:
        for file in sorted((_PACKAGE / room).glob("*.py")):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _places() -> Iterator[Path]:
    """Yield folders in which compiled functions may be kept, the best first."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        folder = Path(given)
        # Of the process that started this one; its sources need not be ours.
        yield folder.parent if folder.name.startswith(_MARK) else folder
    yield _PACKAGE / "__pycache__"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    yield Path(cache) / "alpaca-strategy"


def _folder() -> Path | None:
    """Return the folder of these sources, created, or None where none can be written."""
    for place in _places():
        folder = place / f"{_MARK}{_digest()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)  # in use: see _sweep
            (probe := folder / f".{os.getpid()}").touch()
            probe.unlink()
        except (OSError, RuntimeError):  # RuntimeError: there is no home folder
            continue
        _sweep(place)
        return folder
    return None


def _sweep(place: Path) -> None:
    """Delete what belongs to sources that nobody has run for long."""
    oldest = time.time() - _UNUSED_DAYS * 86_400
    for folder in place.glob(f"{_MARK}*"):
        try:
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # another process was quicker
            continue


_KEPT_IN = _folder()
if _KEPT_IN is not None:
    # Both: numba reads its settings anew whenever one of its variables has changed.
    os.environ["NUMBA_CACHE_DIR"] = str(_KEPT_IN)
    numba.config.CACHE_DIR = str(_KEPT_IN)  # type: ignore[attr-defined]  # set when it is imported


def njit(function: _Function) -> _Function:
    """Compile a function of arrays and scalars; it runs beside other threads."""
    compiled: Any = numba.njit(cache=_KEPT_IN is not None, nogil=True)(function)
    return compiled  # type: ignore[no-any-return]  # called as the function is
