"""Why a decision did with a name what it did."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """One for every name at every decision."""

    BUY = 1  # chosen, and bought
    KEEP = 2  # held, and chosen again
    YOUNG = 3  # held for less than the hold, and not chosen
    CLOSE = 4  # held long enough, and not chosen
    FLATTEN = 5  # sold because the session ends
    LEAVING = 6  # its sale is under way
    ORDERED = 7  # its purchase is under way
    NO_SCORE = 8
    LOW_SCORE = 9
    COOLING = 10
    SHORT_HISTORY = 11  # the filter lacks closes
    WEAK_TREND = 12
    WEAK_MOMENTUM = 13
    WEAK_RSI = 14
    SMALL_EDGE = 15  # expected to earn less than its trading costs
    OUTRANKED = 16
    NO_ROOM = 17
    TOO_LATE = 18  # the session ends

    @property
    def sells(self) -> bool:
        """Whether a position is sold for it."""
        return self in {Reason.CLOSE, Reason.FLATTEN}
