"""The requests that an account may make: cancellations before orders, orders before questions.

A token bucket whose last tokens are kept for what matters more, and a brake for when the venue
says stop. It is one for a whole account, whichever threads ask. No minute ever sees more requests
than it allows: what the full bucket holds and what flows into it within a minute make its rate.
"""

from __future__ import annotations

import bisect
import math
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Final

_MINUTE_S: Final = 60.0
_FULL: Final = 0.25  # of the rate may go at once
_DUST: Final = 1e-9  # of a token; floating point's
_WINDOW_S: Final = 1.0  # the venue is tried at most so often while it refuses, whatever it says


class Lane(IntEnum):
    """What a request is; a lower number goes first."""

    CANCEL = 0
    ORDER = 1
    READ = 2


class Budget:
    """Hands out turns to make a request, from any thread."""

    def __init__(
        self,
        *,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> None:
        """Begin with a full bucket.

        Args:
            per_minute: Requests in any minute, at least 4.
            clock: Seconds that only go forward.
            wait: Waits on a held condition for at most so many seconds.

        Raises:
            ValueError: Too few requests to keep one for each lane.
        """
        if per_minute < 4:
            msg = f"A budget needs at least 4 requests a minute, not {per_minute}."
            raise ValueError(msg)
        self._full = max(3.0, math.floor(per_minute * _FULL))
        self._per_s = (per_minute - self._full) / _MINUTE_S
        cancels = max(1.0, self._full // 5)
        #: What a lane leaves to those before it.
        self._floors = {
            Lane.CANCEL: 0.0, Lane.ORDER: cancels, Lane.READ: max(cancels + 1, self._full // 2),
        }  # fmt: skip
        self._clock, self._wait = clock, wait
        self._tokens, self._filled_at = self._full, clock()
        self._turns = 0
        self._refused_turn: int | None = None  # the last turn given before the venue said 429
        self._tried_again_at = self._resumed_at = -math.inf
        self._window_s = _WINDOW_S
        self._waiting: list[tuple[Lane, int]] = []
        self._asked = 0
        self._changed = threading.Condition()

    def acquire(self, lane: Lane, within_s: float) -> int | None:
        """Wait for one's turn.

        Args:
            lane: What the request is.
            within_s: For how long at most.

        Returns:
            The number of the turn, for `answered`; None where none came in time.
        """
        with self._changed:
            self._asked += 1
            me = (lane, self._asked)
            bisect.insort(self._waiting, me)
            ends_at = self._clock() + within_s
            try:
                while True:
                    now = self._clock()
                    left = ends_at - now
                    pause = self._pause(lane, now) if self._waiting[0] == me else math.inf
                    if pause <= 0:
                        return self._take(now)
                    if left <= 0:
                        return None
                    self._wait(self._changed, min(pause, left))
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()

    def answered(self, turn: int) -> None:
        """Note that the venue answered a request of that turn, and not with 429."""
        with self._changed:
            if self._refused_turn is not None and turn > self._refused_turn:
                self._refused_turn = None
                self._changed.notify_all()

    def push_back(self, seconds: float) -> None:
        """Let nobody pass for so long: the venue answered 429.

        Then one request is let pass, and while it has no good answer, one for each such time:
        whatever goes first.
        """
        with self._changed:
            self._refused_turn = self._turns
            self._window_s = max(seconds, _WINDOW_S)
            self._tried_again_at = max(self._tried_again_at, self._clock() + seconds)

    def hold(self, seconds: float) -> None:
        """Let only cancellations pass for so long: the venue says that nothing is left."""
        with self._changed:
            self._resumed_at = max(self._resumed_at, self._clock() + seconds)

    def _pause(self, lane: Lane, now: float) -> float:
        """Return the seconds until a lane's first may pass, none or less for now."""
        self._tokens = min(self._full, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        missing = self._floors[lane] + 1 - self._tokens
        pause = missing / self._per_s if missing > _DUST else 0.0
        if self._refused_turn is not None:
            pause = max(pause, self._tried_again_at - now)
        if lane is not Lane.CANCEL:
            pause = max(pause, self._resumed_at - now)
        return pause

    def _take(self, now: float) -> int:
        self._tokens -= 1
        self._turns += 1
        if self._refused_turn is not None:
            self._tried_again_at = now + self._window_s
        return self._turns
