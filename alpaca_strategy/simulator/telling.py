"""Events on their way to one connection: told at once, or as the faults in force want them told."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import NamedTuple

from alpaca_strategy.simulator.stream_faults import EVENTS, StreamFaults, StreamRule

_SECOND = 1_000_000_000


class Event(NamedTuple):
    """One thing to tell: its bytes, its symbol, and its event or type."""

    content: bytes
    symbol: str
    event: str


@dataclass(slots=True)
class _Block:
    """Events that wait to be told in another order."""

    rule: StreamRule
    until: int
    events: list[bytes] = field(default_factory=list)


class Telling:
    """What one connection is told, in which order.

    Args:
        faults: The rules in force.
        stream: data or updates.
    """

    def __init__(self, faults: StreamFaults, stream: str) -> None:
        self._faults = faults
        self._stream = stream
        self._later: list[tuple[int, int, bytes]] = []
        self._blocks: dict[int, _Block] = {}
        self._count = 0

    def disturbed(self, now_ns: int) -> bool:
        """Tell whether events must pass here one by one."""
        return bool(self._faults.rules) and bool(self._faults.of(EVENTS, self._stream, now_ns))

    def pass_on(self, event: Event, now_ns: int) -> list[bytes]:
        """Return what is told now because of an event."""
        found = [event.content]
        for rule in self._faults.of(EVENTS, self._stream, now_ns):
            if not found:
                break
            if rule.hits(event.symbol, event.event):
                found = self._struck(rule, found, now_ns)
        return found

    def _struck(self, rule: StreamRule, events: list[bytes], now_ns: int) -> list[bytes]:
        """Return what a rule leaves to tell now."""
        options = rule.options
        if rule.action == "drop":
            if rule.draw.random() >= options["prob"]:
                return events
            rule.fired += 1
            return []
        if rule.action == "dup":
            copies = rule.draw.randint(int(options["min"]), int(options["max"]))
            rule.fired += copies != 1
            return events * copies
        rule.fired += 1
        wait = int(options["seconds"] * _SECOND)
        if rule.action == "delay":
            for content in events:
                self._count += 1
                heapq.heappush(self._later, (now_ns + wait, self._count, content))
            return []
        until = now_ns + wait if rule.dies_at is None else min(now_ns + wait, rule.dies_at)
        block = self._blocks.setdefault(id(rule), _Block(rule, until))
        block.events += events
        return self._close(block) if len(block.events) >= options["window"] else []

    def _close(self, block: _Block) -> list[bytes]:
        del self._blocks[id(block.rule)]
        block.rule.draw.shuffle(block.events)
        return block.events

    def release(self, now_ns: int) -> list[bytes]:
        """Return what was held back until now."""
        if not self._later and not self._blocks:
            return []
        found = []
        while self._later and self._later[0][0] <= now_ns:
            found.append(heapq.heappop(self._later)[2])
        for block in [b for b in self._blocks.values() if b.until <= now_ns]:
            found += self._close(block)
        return found

    def flush(self) -> list[bytes]:
        """Return everything that is still held back."""
        return self.release(1 << 63)

    def next_due(self) -> int | None:
        """Return when something held back is to be told."""
        times = [block.until for block in self._blocks.values()]
        times += [self._later[0][0]] if self._later else []
        return min(times, default=None)
