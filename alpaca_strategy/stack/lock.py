"""One `up` a home: a lock that the kernel releases when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from typing import TextIO

from alpaca_strategy.stack.layout import Layout


@dataclass(frozen=True, slots=True)
class Holder:
    """The `up` that is running."""

    pid: int
    venue: str


def acquire(layout: Layout) -> TextIO | None:
    """Take the lock for as long as the returned file stays open; None where another has it."""
    layout.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    file = os.fdopen(descriptor, "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate()
    json.dump({"pid": os.getpid(), "venue": layout.venue}, file)
    file.flush()
    return file


def holder(layout: Layout) -> Holder | None:
    """Return who holds the lock; None where nobody does."""
    try:
        with layout.lock.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(file)
    except FileNotFoundError:
        pass
    return None


def _read(file: TextIO) -> Holder:
    for _ in range(50):  # the holder may be about to write it
        file.seek(0)
        try:
            return Holder(**json.load(file))
        except ValueError:
            time.sleep(0.02)
    return Holder(pid=0, venue="unknown")
