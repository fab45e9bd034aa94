"""What became of something that was sent to a venue: done, refused, or nobody knows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")


class Refusal(StrEnum):
    """Why a venue says no."""

    DUPLICATE_ID = "duplicate_id"  # it knows this client order id already: look it up
    BUYING_POWER = "buying_power"
    SHARES_HELD = "shares_held"  # fewer shares are available than are to be sold
    WASH_TRADE = "wash_trade"  # an opposite order of ours is open
    NOT_SHORTABLE = "not_shortable"
    DAY_TRADING = "day_trading"  # the pattern-day-trader rule of before June 2026
    NOT_FOUND = "not_found"
    NOT_CANCELABLE = "not_cancelable"  # it has come to its end already
    CREDENTIALS = "credentials"
    RATE_LIMIT = "rate_limit"  # 429: the request was not looked at
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The venue did it, and this is what it answered."""

    value: T


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue definitely did not do it.

    Attributes:
        why: The kind of refusal.
        message: The venue's words.
        status: HTTP status.
        code: The venue's code, where it gave one.
    """

    why: Refusal
    message: str
    status: int
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request left, and no definite answer came: it may have been done.

    Attributes:
        reason: In a few words, without the request.
    """

    reason: str


Outcome: TypeAlias = Done[T] | Refused | Unknown
