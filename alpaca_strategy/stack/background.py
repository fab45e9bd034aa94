"""Work beside the main thread that never keeps it from answering a signal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """A function running in a daemon thread: an interrupted start need not wait for it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._value: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._error = error

    @property
    def done(self) -> bool:
        """Whether the function has returned or failed."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """Wait for the function; a signal is handled meanwhile. Raises what the function raised."""
        while self._thread.is_alive():
            self._thread.join(0.1)
        if self._error is not None:
            raise self._error
        return self._value
