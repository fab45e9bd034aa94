"""Fields of the trading host's objects: each is what it must be, or the answer is unusable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from alpaca_strategy.broker.rest import DecodeError

T = TypeVar("T")
A = TypeVar("A")
S = TypeVar("S", bound=msgspec.Struct)

_MOST_SHARES: Final = Decimal(10) ** 12
_MOST_USD: Final = Decimal(10) ** 15
_FINEST: Final = -30  # no share and no price has more digits behind the point
_MAX_TEXT: Final = 256


def decoded(body: bytes, kind: type[T]) -> T:
    """Read JSON strictly, with the digits of numbers as they are; raises DecodeError."""
    try:
        return msgspec.json.Decoder(kind, float_hook=Decimal).decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError, ArithmeticError) as error:
        msg = f"a body that is not the documented JSON ({str(error)[:_MAX_TEXT]})"
        raise DecodeError(msg) from error


def struct(row: Mapping[str, Any], kind: type[S]) -> S:
    """Return an object as what it must be; raises DecodeError."""
    try:
        return msgspec.convert(row, kind)
    except (msgspec.MsgspecError, ArithmeticError, ValueError) as error:
        name = kind.__name__.strip("_").lower()
        msg = f"an object that is no {name} ({str(error)[:_MAX_TEXT]})"
        raise DecodeError(msg) from error


def maybe(value: A | None, name: str, read: Callable[[A, str], T]) -> T | None:
    """Return a field that may be missing, checked where it is not."""
    return None if value is None else read(value, name)


def text(value: str, name: str, *, empty: bool = False) -> str:
    """Return a text that can be printed, and is not absurdly long; raises DecodeError."""
    if (not value and not empty) or len(value) > _MAX_TEXT or not value.isprintable():
        raise wrong(name, value)
    return value


def shares(value: Decimal, name: str) -> Decimal:
    """Return a number of shares, of either sign; raises DecodeError."""
    return _number(value, name, _MOST_SHARES)


def some_shares(value: Decimal, name: str) -> Decimal:
    """Return a positive number of shares; raises DecodeError."""
    if shares(value, name) <= 0:
        raise wrong(name, value)
    return value


def usd(value: Decimal, name: str) -> Decimal:
    """Return an amount of money, of either sign; raises DecodeError."""
    return _number(value, name, _MOST_USD)


def some_usd(value: Decimal, name: str) -> Decimal:
    """Return a positive amount of money; raises DecodeError."""
    if usd(value, name) <= 0:
        raise wrong(name, value)
    return value


def price(value: Decimal, name: str) -> Decimal:
    """Return a price, which may be nothing; raises DecodeError."""
    if _number(value, name, _MOST_USD) < 0:
        raise wrong(name, value)
    return value


def _number(value: Decimal, name: str, most: Decimal) -> Decimal:
    """Check that a number is one, and of this world."""
    exponent = value.as_tuple().exponent
    # The size first: comparing would overflow.
    if not isinstance(exponent, int) or exponent < _FINEST or value.adjusted() > most.adjusted():
        raise wrong(name, value)
    return value


def moment(value: datetime, name: str) -> datetime:
    """Return an aware time, in UTC; raises DecodeError."""
    if value.tzinfo is None or not 1970 <= value.year < 2262:
        raise wrong(name, value)
    return value.astimezone(UTC)


def wrong(name: str, value: object) -> DecodeError:
    """Return the error for a field that cannot be used."""
    return DecodeError(f"an object whose {name} is {str(value)[:40]!r}")
