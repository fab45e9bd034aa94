"""Patience with the Postgres of the wheel, which gives a server ten seconds to start."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def patiently(start: Callable[[], T]) -> T:
    """Return what starts a server, asked again while a busy machine takes longer than that.

    The server itself goes on starting meanwhile; asking again finds it.
    """
    for _ in range(6):
        with suppress(subprocess.TimeoutExpired):
            return start()
    return start()
