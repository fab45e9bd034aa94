"""What keeps the trader from trading now: every reason by name, with when it began and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class Hold(StrEnum):
    """A reason not to trade."""

    STARTING = "starting"  # not yet recovered
    KILLED = "killed"  # a person pulled the kill switch
    HALTED = "halted"  # the trader stopped itself; a person re-arms
    LOCK = "lock"  # another trader may be at work
    JOURNAL = "journal"  # what cannot be written down is not done
    STOPPING = "stopping"
    VENUE = "venue"  # the broker gives no usable answers
    DATA = "data"  # the market data stream is down, or its gap is not filled
    STALE = "stale"  # connected, but nothing comes
    UPDATES = "updates"  # nobody would tell us of fills
    BOOKS = "books"  # our books and the venue's differ
    ACCOUNT = "account"  # the account may not trade
    CLOCK = "clock"  # this machine and the venue do not agree on the time
    MARKET = "market"  # the whole market is halted
    CLOSED = "closed"  # outside of the regular session

    @property
    def stops_everything(self) -> bool:
        """Whether nothing is sent at all; else positions may still be closed."""
        return self in _EVERYTHING


_EVERYTHING = frozenset(
    {Hold.STARTING, Hold.KILLED, Hold.LOCK, Hold.JOURNAL, Hold.STOPPING, Hold.CLOSED}
)


@dataclass(slots=True)
class Holds:
    """The holds in force.

    Attributes:
        on_change: Told of every hold that begins, with why, and of every one that ends, with None.
    """

    on_change: Callable[[Hold, str | None], None] = lambda _hold, _why: None
    _details: dict[Hold, str] = field(default_factory=dict)

    def set(self, hold: Hold, detail: str) -> bool:
        """Put a hold in force, or tell more about it; return whether it is new."""
        new = hold not in self._details
        self._details[hold] = detail
        if new:
            self.on_change(hold, detail)
        return new

    def lift(self, hold: Hold) -> bool:
        """Take a hold away; return whether it was in force."""
        if self._details.pop(hold, None) is None:
            return False
        self.on_change(hold, None)
        return True

    def put(self, hold: Hold, detail: str | None) -> bool:
        """Set a hold, or lift it where there is nothing to say; return whether that changed it."""
        return self.lift(hold) if detail is None else self.set(hold, detail)

    def __contains__(self, hold: Hold) -> bool:
        return hold in self._details

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._details)

    def first(self, *, entries: bool) -> tuple[Hold, str] | None:
        """Return a hold that forbids sending, the gravest first, or None.

        Args:
            entries: Whether something is to be bought; else a position is to be closed.
        """
        for hold in sorted(self._details, key=lambda one: not one.stops_everything):
            if entries or hold.stops_everything:
                return hold, self._details[hold]
        return None

    def as_dict(self) -> dict[str, str]:
        """Return reason and detail of every hold."""
        return {hold.value: detail for hold, detail in self._details.items()}
