"""Calls that end in time even where the other side is frozen: a thread shuts their sockets."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Watched:
    """A call that is being watched.

    Attributes:
        ends_at: By the monotonic clock, in seconds.
        expired: Whether its time was over before it ended.
    """

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.expired = False
        self._sockets: list[socket.socket] = []

    def watch(self, descriptor: int) -> None:
        """Let a socket be shut when the time is over.

        A copy of the descriptor is kept: the number itself may belong to another file by then.
        """
        self._sockets.append(socket.socket(fileno=os.dup(descriptor)))

    def shut(self) -> None:
        """Wake whoever waits for these sockets: libpq takes it for a connection that was closed."""
        self.expired = True
        for one in self._sockets:
            with suppress(OSError):  # it is closed already
                one.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Close the copies; the sockets themselves stay as they are."""
        for one in self._sockets:
            one.close()
        self._sockets.clear()


class Watchdog:
    """Watches calls from a thread of its own, which starts with the first one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: set[Watched] = set()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def watching(self, seconds: float) -> Iterator[Watched]:
        """Shut the sockets of a call that takes longer than this."""
        call = Watched(time.monotonic() + seconds)
        with self._changed:
            self._calls.add(call)
            self._begin()
            if call.ends_at < self._wakes_at:  # else the thread looks in time anyway
                self._changed.notify()
        try:
            yield call
        finally:
            with self._changed:
                self._calls.discard(call)
                call.forget()

    def close(self) -> None:
        """End the thread; what is being called at this moment is not watched any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for call in self._calls:
                    if call.ends_at <= now and not call.expired:
                        call.shut()
                ends = [call.ends_at for call in self._calls if not call.expired]
                self._wakes_at = min(ends, default=float("inf"))
                self._changed.wait(self._wakes_at - now if ends else None)
