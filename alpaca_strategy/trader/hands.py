"""Threads for calls that block."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")
_Call = tuple[Future[Any], Callable[[], Any]]
_END: Final = None


class Hands:
    """A few threads that make calls in the order in which they were asked for.

    A process that ends does not wait for them, as it does for those of the standard pool: a venue
    that does not answer must not keep a trader that was told to stop.
    """

    def __init__(self, most: int, name: str) -> None:
        """Prepare; threads start as they are needed.

        Args:
            most: How many calls may be made at once.
            name: Of the threads.
        """
        self._most, self._name = most, name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    def ask(self, call: Callable[[], T]) -> Future[T]:
        """Have a call made; asked from one thread only."""
        done: Future[T] = Future()
        self._calls.put((done, call))
        if not self._idle.acquire(blocking=False) and self._threads < self._most:
            self._threads += 1
            threading.Thread(
                target=self._work, name=f"{self._name}-{self._threads}", daemon=True
            ).start()
        return done

    def close(self) -> None:
        """Let the threads end, each with the call that it is making."""
        for _ in range(self._threads):
            self._calls.put(_END)

    def _work(self) -> None:
        while (asked := self._calls.get()) is not _END:
            done, call = asked
            if done.set_running_or_notify_cancel():
                try:
                    answer = call()
                except BaseException as error:  # noqa: BLE001  # whoever asked is to have it
                    done.set_exception(error)
                else:
                    done.set_result(answer)
            self._idle.release()
