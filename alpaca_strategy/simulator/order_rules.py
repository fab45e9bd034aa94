"""What an order must look like: the rules that need no account."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from alpaca_strategy.simulator.hours import MINUTE, at_ns, hours, new_york_day
from alpaca_strategy.simulator.orders import TIMES_IN_FORCE, TYPES
from alpaca_strategy.simulator.wire import RefusedError

MAX_CLIENT_ORDER_ID = 128
BAD, MISSING, DENIED = 42210000, 40010001, 40310000
_NEEDS = {"limit": ("limit_price",), "stop": ("stop_price",),
          "stop_limit": ("limit_price", "stop_price")}  # fmt: skip
_INTENTS = ("buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close")
_FINEST = Decimal("1e-9")
_MOST = Decimal("1e12")


def refused(status: int, code: int, message: str, **more: Any) -> RefusedError:
    """Return a refusal whose body has more fields than code and message."""
    error = RefusedError(status, message, code)
    error.body |= more
    return error


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order as it was asked for, well formed."""

    client_order_id: str | None
    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    extended_hours: bool
    position_intent: str | None

    @property
    def is_fractional(self) -> bool:
        """Whether it is for parts of a share."""
        return self.qty is None or self.qty != self.qty.to_integral_value()

    @property
    def limits(self) -> bool:
        """Whether it trades at its price or better only."""
        return self.limit_price is not None


def parse(body: object) -> Wanted:
    """Read the body of an order.

    Raises:
        RefusedError: It is malformed, or such orders do not exist here.
    """
    if not isinstance(body, dict):
        raise refused(400, 40010000, "request body format is invalid")
    wanted = Wanted(
        client_order_id=_client_order_id(body),
        symbol=_text(body, "symbol", None),
        side=_text(body, "side", ("buy", "sell")),
        type=_type(body),
        time_in_force=_text(body, "time_in_force", TIMES_IN_FORCE),
        qty=_amount(body, "qty"),
        notional=_amount(body, "notional"),
        limit_price=_price(body, "limit_price"),
        stop_price=_price(body, "stop_price"),
        extended_hours=_flag(body, "extended_hours"),
        position_intent=_text(body, "position_intent", _INTENTS, needed=False) or None,
    )
    _check_class(body)
    _check_size(wanted)
    _check_prices(wanted)
    _check_combination(wanted)
    return wanted


def _is_missing(value: object) -> bool:
    return value is None or value == ""


def _text(
    body: dict[str, Any], name: str, allowed: tuple[str, ...] | None, *, needed: bool = True
) -> str:
    value = body.get(name)
    if _is_missing(value):
        if needed:
            raise refused(422, MISSING, f"{name} is required")
        return ""
    if not isinstance(value, str) or (allowed is not None and value not in allowed):
        raise refused(422, BAD, f"invalid {name}: {value}")
    return value


def _type(body: dict[str, Any]) -> str:
    kind = body.get("type") or body.get("order_type")
    if kind == "trailing_stop":
        raise refused(422, BAD, "trailing_stop orders are not supported by this venue")
    return _text({"type": kind}, "type", TYPES)


def _client_order_id(body: dict[str, Any]) -> str | None:
    value = body.get("client_order_id")
    if _is_missing(value):
        return None
    if not isinstance(value, str) or len(value) > MAX_CLIENT_ORDER_ID:
        text = f"client_order_id must be no more than {MAX_CLIENT_ORDER_ID} characters"
        raise refused(422, MISSING, text)
    return value


def amount(name: str, value: object) -> Decimal:
    """Return a positive number, given as text or as a number.

    Raises:
        RefusedError: It is none.
    """
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite() or abs(number) > _MOST:
        raise refused(422, BAD, f"invalid {name}: {value}")
    if number <= 0:
        raise refused(422, BAD, f"{name} must be > 0")
    return number


def _amount(body: dict[str, Any], name: str) -> Decimal | None:
    value = body.get(name)
    if _is_missing(value):
        return None
    number = amount(name, value)
    if number != number.quantize(_FINEST if name == "qty" else Decimal("0.01")):
        digits = 9 if name == "qty" else 2
        raise refused(422, BAD, f"{name} must be limited to {digits} decimal places")
    return number


def _price(body: dict[str, Any], name: str) -> Decimal | None:
    value = body.get(name)
    if _is_missing(value):
        return None
    price = amount(name, value)
    if price != price.quantize(tick(price)):
        text = f"invalid {name} {value}. sub-penny increment does not fulfill minimum pricing"
        raise refused(422, BAD, f"{text} criteria")
    return price


def tick(price: Decimal) -> Decimal:
    """Return the smallest step of a price: a cent from one dollar on, else a hundredth of one."""
    return Decimal("0.01") if price >= 1 else Decimal("0.0001")


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise refused(422, BAD, f"invalid {name}: {value}")
    return bool(value)


def _check_class(body: dict[str, Any]) -> None:
    kind = body.get("order_class") or "simple"
    if kind != "simple":
        raise refused(422, BAD, f"order class {kind} is not supported by this venue")
    for name in ("take_profit", "stop_loss", "legs", "trail_price", "trail_percent"):
        if body.get(name) is not None:
            raise refused(422, BAD, f"{name} is not supported by this venue")


def _check_size(wanted: Wanted) -> None:
    if wanted.qty is None and wanted.notional is None:
        raise refused(422, MISSING, "qty or notional is required")
    if wanted.qty is not None and wanted.notional is not None:
        raise refused(422, MISSING, "only one of qty or notional is accepted")


def _check_prices(wanted: Wanted) -> None:
    given = {"limit_price": wanted.limit_price, "stop_price": wanted.stop_price}
    needed = _NEEDS.get(wanted.type, ())
    for name, price in given.items():
        if name in needed and price is None:
            raise refused(422, MISSING, f"{wanted.type} orders require {name}")
        if name not in needed and price is not None:
            raise refused(422, BAD, f"{wanted.type} orders must not have {name}")


def _check_combination(wanted: Wanted) -> None:
    life = wanted.time_in_force
    if wanted.is_fractional and life != "day":
        raise refused(422, BAD, "fractional orders must be DAY orders")
    if wanted.extended_hours and (
        wanted.type != "limit" or life not in {"day", "gtc"} or wanted.is_fractional
    ):
        raise refused(422, BAD, "extended hours order must be DAY limit orders")
    if life not in {"day", "gtc"} and wanted.type not in {"market", "limit"}:
        raise refused(422, BAD, f"{wanted.type} orders must be day or gtc orders")


def check_moment(wanted: Wanted, now: int, *, elite: bool) -> None:
    """Check what depends on the time of day and on the account's plan.

    Raises:
        RefusedError: Such orders are not taken now, or not of this account.
    """
    life = wanted.time_in_force
    if life in {"day", "gtc"}:
        return
    if not elite:
        raise refused(422, BAD, f"{life} orders are not enabled for this account: contact sales")
    day = new_york_day(now)
    today = hours(day)
    if today is None:
        return
    shut, opens = today.open_ns - 2 * MINUTE, at_ns(day, 19)
    if life == "cls":
        shut = today.close_ns - 10 * MINUTE
    if life in {"opg", "cls"} and shut <= now < opens:
        raise refused(422, BAD, f"{life} orders are not accepted at this time of day")
