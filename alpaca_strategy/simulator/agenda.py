"""What is going to happen, in order of time; nothing happens between two events."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from alpaca_strategy.simulator.clock import SimClock


class Agenda:
    """Future events by time, and in the order in which they were planned.

    Attributes:
        poke: Called when `next_due` may have become earlier.
        now_ns: The time of the event that is being processed, else the time last seen.
    """

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.now_ns = clock.now_ns()
        self.poke: Callable[[], None] = lambda: None
        self._events: list[tuple[int, int, str, str]] = []
        self._sequence = 0

    def sequence(self) -> int:
        """Return the next number of a count that orders what happens."""
        self._sequence += 1
        return self._sequence

    def catch_up(self) -> int:
        """Process what is due by the clock, and return its time."""
        now = self.clock.now_ns()
        self.run_until(now)
        return now

    def run_until(self, now_ns: int) -> None:
        """Process every event due up to a time, in order."""
        if now_ns < self.now_ns:
            self.now_ns = now_ns
            self.went_back()
        while self._events and self._events[0][0] <= now_ns:
            at, _, kind, subject = heapq.heappop(self._events)
            self.now_ns = at
            self.happen(kind, subject)
        self.now_ns = now_ns

    def next_due(self) -> int | None:
        """Return the time of the next event."""
        return self._events[0][0] if self._events else None

    def plan(self, at_ns: int, kind: str, subject: str = "") -> None:
        """Let something happen at a time, or at once if that has passed."""
        at_ns, first = max(at_ns, self.now_ns), self.next_due()
        heapq.heappush(self._events, (at_ns, self.sequence(), kind, subject))
        if first is None or at_ns < first:
            self.poke()

    def drop(self, *kinds: str) -> None:
        """Forget every event of some kinds."""
        self._events = [event for event in self._events if event[2] not in kinds]
        heapq.heapify(self._events)

    def clear(self) -> None:
        """Forget every event, and count anew."""
        self._events.clear()
        self._sequence = 0

    def happen(self, kind: str, subject: str) -> None:
        """Let an event happen."""
        raise NotImplementedError

    def went_back(self) -> None:
        """Plan anew after somebody set the clock back."""
        raise NotImplementedError
