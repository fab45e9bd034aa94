"""Compiled functions, kept between processes for as long as none of their sources changes.

Numba renews what it kept only when the file of the outermost function changes, not when another
file's function or constant does that was compiled into it: an engine would go on with the decision
code of yesterday. So what is kept lies in a folder named by a hash of every source that compiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])
_PACKAGE = Path(__file__).resolve().parent
#: Where compiled functions are written.
_ROOMS = ("market", "features", "model", "strategy", "backtest")


def _digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for room in _ROOMS:
        for file in sorted((_PACKAGE / room).glob("*.py")):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


numba.config.CACHE_DIR = str(_PACKAGE / "__pycache__" / f"compiled-{_digest()}")  # type: ignore[attr-defined]  # set when numba is imported


def njit(function: _Function) -> _Function:
    """Compile a function of arrays and scalars; it runs beside other threads."""
    compiled: Any = numba.njit(cache=True, nogil=True)(function)
    return compiled  # type: ignore[no-any-return]  # called as the function is
