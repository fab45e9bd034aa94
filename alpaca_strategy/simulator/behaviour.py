"""The exchange's switches: how its engine behaves, and what it does to the account."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Self

_MILLISECOND = 1_000_000


class _Switches:
    """Fields that a JSON object may change; every one has its own type."""

    def change(self, given: dict[str, Any]) -> None:
        """Set what is given.

        Raises:
            ValueError: A switch does not exist, or a number is none; nothing changes.
            TypeError: A value is of another kind; nothing changes.
        """
        known = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        unknown = set(given) - set(known)
        if unknown:
            msg = f"there is no switch {sorted(unknown)}; there are {', '.join(sorted(known))}"
            raise ValueError(msg)
        read = {name: _read(name, value, known[name]) for name, value in given.items()}
        for name, value in read.items():
            setattr(self, name, value)

    def reset(self) -> None:
        """Put every switch back."""
        fresh = type(self)()
        for name in (f.name for f in fields(self)):  # type: ignore[arg-type]
            setattr(self, name, getattr(fresh, name))

    def as_json(self) -> dict[str, Any]:
        """Return every switch."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {k: str(v) if isinstance(v, Decimal) else v for k, v in values.items()}


def _read(name: str, value: Any, like: Any) -> Any:
    """Return a value as the kind that a switch has."""
    wanted: type | tuple[type, ...] = type(like)
    if name in _AMOUNTS:
        try:
            return None if value is None else Decimal(str(value))
        except InvalidOperation as error:
            msg = f"{name} must be a number, got {value!r}"
            raise ValueError(msg) from error
    if isinstance(like, float):
        wanted = (int, float)
    if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(like, bool)):
        msg = f"{name} must be {type(like).__name__}, got {value!r}"
        raise TypeError(msg)
    return value


_AMOUNTS = frozenset({"buying_power", "margin_deficit"})


@dataclass
class Engine(_Switches):
    """How orders fare.

    Attributes:
        ack_ms: Until an order is new; up to as much again is added by chance.
        fill_delay_ms: From new to the first execution, likewise.
        part_delay_ms: Between the parts of an order larger than the quote, likewise.
        cancel_ms: Until a cancel is done, likewise.
        replace_ms: Until a replacement is done, likewise.
        partial_prob: Chance that an order is first filled in part.
        partial_parts: Parts that it then comes in; 0 is a first part of random size.
        size_factor: Multiplies the shares that stand at every quote.
        hold_pending: Orders stay pending_new (or accepted) until this is switched off.
        hold_new: Orders stay new until this is switched off.
        cancel_race: What a cancel meets: ``fill`` wins, the venue may ``reject`` it, or the order
            is ``stuck`` in pending_cancel until this changes; "" is no race.
        cancel_race_prob: Chance of it.
        replace_race: What a replacement meets: ``fill`` or ``reject``; "" is no race.
        reject_prob: Chance that an order is rejected after it was taken.
        reject_next: So many of the next orders are rejected after they were taken.
        refuse_next: So many of the next orders are refused at the door.
        refuse_status: HTTP status of that.
        refuse_body: The answer's body.
        only: Symbols that partial fills, holds, races and rejections apply to; [] is all.
        elite: ioc, fok, opg and cls are allowed.
        assets: Fields of assets that differ, by symbol, such as shortable.
        ssr: Symbols under the short-sale restriction.
    """

    ack_ms: float = 3.0
    fill_delay_ms: float = 20.0
    part_delay_ms: float = 50.0
    cancel_ms: float = 10.0
    replace_ms: float = 10.0
    partial_prob: float = 0.1
    partial_parts: int = 0
    size_factor: float = 1.0
    hold_pending: bool = False
    hold_new: bool = False
    cancel_race: str = ""
    cancel_race_prob: float = 1.0
    replace_race: str = ""
    reject_prob: float = 0.0
    reject_next: int = 0
    refuse_next: int = 0
    refuse_status: int = 403
    refuse_body: dict[str, Any] = field(
        default_factory=lambda: {"code": 40310000, "message": "order refused"}
    )
    only: list[str] = field(default_factory=list)
    elite: bool = True
    assets: dict[str, Any] = field(default_factory=dict)
    ssr: list[str] = field(default_factory=list)

    def concerns(self, symbol: str) -> bool:
        """Tell whether the switches apply to a symbol."""
        return not self.only or symbol in self.only

    def delay(self, name: str, luck: float) -> int:
        """Return one of the delays in nanoseconds; luck from 0 to 1 adds up to as much again."""
        return int(getattr(self, name) * (1 + luck) * _MILLISECOND)

    def changed(self, given: dict[str, Any]) -> Self:
        """Return a copy with changes, to see whether they are lawful."""
        copy = type(self)(**{f.name: getattr(self, f.name) for f in fields(self)})
        copy.change(given)
        for name, allowed in _WORDS.items():
            if getattr(copy, name) not in allowed:
                msg = f"{name} must be one of {allowed}, got {getattr(copy, name)!r}"
                raise ValueError(msg)
        return copy


_WORDS = {
    "cancel_race": ("", "fill", "reject", "stuck"),
    "replace_race": ("", "fill", "reject"),
}


@dataclass
class Standing(_Switches):
    """What the venue says the account may do, whatever it holds.

    Attributes:
        status: ACTIVE, or another word of the venue.
        trading_blocked: Every order is refused.
        account_blocked: Every order is refused.
        transfers_blocked: Shown only.
        trade_suspended_by_user: Every order is refused at the owner's wish.
        closing_only: Only orders that reduce a position are taken.
        shorting_enabled: Short sales are allowed.
        multiplier: 4, 2 or 1 (a cash account).
        buying_power: Shown and applied instead of the true one.
        margin_deficit: An intraday margin deficit in USD: nothing may be opened until it is met.
        day_trading: The rule of before June 2026: ``entry``, ``exit`` or ``both`` refuse orders
            that open a position, or that would complete a day trade.
        omit: Account fields that are left out of answers.
    """

    status: str = "ACTIVE"
    trading_blocked: bool = False
    account_blocked: bool = False
    transfers_blocked: bool = False
    trade_suspended_by_user: bool = False
    closing_only: bool = False
    shorting_enabled: bool = True
    multiplier: int = 4
    buying_power: Decimal | None = None
    margin_deficit: Decimal = Decimal(0)
    day_trading: str = ""
    omit: list[str] = field(default_factory=list)
