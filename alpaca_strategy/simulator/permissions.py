"""What the account may order: the rules that look at its books, its open orders, its standing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from alpaca_strategy.simulator.behaviour import Engine, Standing
from alpaca_strategy.simulator.order_rules import BAD, DENIED, Wanted, refused
from alpaca_strategy.simulator.orders import ZERO, Order, number
from alpaca_strategy.simulator.portfolio import Position
from alpaca_strategy.simulator.quotes import Quote
from alpaca_strategy.simulator.wire import RefusedError

_PRICED = {"limit", "stop_limit"}
_SHORT_ROOM = Decimal("1.03")
_DAY_TRADING = 40310100


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Everything that decides whether an order is taken.

    Attributes:
        held: The position in the symbol, or None.
        open_orders: Of the symbol.
        quote: As it stands.
        session: ``regular``, ``extended`` or ``closed``.
        buying_power: Left for new orders.
    """

    held: Position | None
    open_orders: Iterable[Order]
    quote: Quote | None
    session: str
    buying_power: Decimal
    standing: Standing
    engine: Engine

    @property
    def qty(self) -> Decimal:
        """Return the shares held."""
        return ZERO if self.held is None else self.held.qty


@dataclass(frozen=True, slots=True)
class Permission:
    """An order may be taken.

    Attributes:
        intent: What it does to the position.
        reserve: USD held back for each of its shares.
    """

    intent: str
    reserve: Decimal


def permit(wanted: Wanted, around: Circumstances) -> Permission:
    """Return how an order is taken.

    Raises:
        RefusedError: It is not.
    """
    closing = around.qty * (1 if wanted.side == "buy" else -1) < 0
    check_standing(around.standing, closing=closing)
    _check_asset(wanted, around)
    intent = f"{wanted.side}_to_{'close' if closing else 'open'}"
    if wanted.position_intent not in {None, intent}:
        raise refused(422, BAD, f"position intent mismatch, inferred: {intent}, specified: "
                                f"{wanted.position_intent}")  # fmt: skip
    price = _price(wanted, around)
    qty = wanted.qty if wanted.qty is not None else (wanted.notional or ZERO) / price
    if closing:
        _check_day_trade(around)
        check_available(wanted.symbol, qty, around.qty, held_for_orders(around.open_orders))
    elif wanted.side == "sell":
        _check_short(wanted, around)
    _check_wash(wanted, around.open_orders)
    if closing:
        return Permission(intent, ZERO)
    cost = qty * price
    if cost < 1:
        raise refused(403, DENIED, "cost basis must be >= minimal amount of order 1")
    check_cost(cost, around.buying_power)
    return Permission(intent, price)


def check_standing(standing: Standing, *, closing: bool) -> None:
    """Check what the venue says of the account.

    Raises:
        RefusedError: The account may not send such an order.
    """
    if standing.trade_suspended_by_user:
        raise refused(403, DENIED, "new orders are rejected by user request")
    if standing.account_blocked or standing.trading_blocked or standing.status != "ACTIVE":
        raise refused(403, DENIED, "account is not authorized to trade")
    if closing:
        return
    if standing.closing_only:
        raise refused(403, DENIED, "your account is set to liquidation only")
    if standing.margin_deficit > 0:
        raise refused(403, DENIED, "account has an intraday margin deficit: only closing orders "
                                   "are accepted")  # fmt: skip
    if standing.day_trading in {"entry", "both"}:
        raise _day_trading()


def _day_trading() -> RefusedError:
    return refused(403, _DAY_TRADING, "trade denied due to pattern day trading protection")


def _check_day_trade(around: Circumstances) -> None:
    """Refuse to close what was opened today, where the old rule is still in force."""
    if around.standing.day_trading in {"exit", "both"} and around.held is not None:
        today = abs(around.held.qty) > abs(around.held.overnight)
        if today or around.held.qty * around.held.overnight < 0:
            raise _day_trading()


def _check_asset(wanted: Wanted, around: Circumstances) -> None:
    asset = around.engine.assets.get(wanted.symbol, {})
    if asset.get("status", "active") != "active":
        raise refused(422, BAD, f'asset "{wanted.symbol}" is not active')
    if not asset.get("tradable", True):
        raise refused(422, BAD, f'asset "{wanted.symbol}" is not tradable')
    if wanted.is_fractional and not asset.get("fractionable", True):
        raise refused(403, DENIED, f'asset "{wanted.symbol}" is not fractionable')


def _price(wanted: Wanted, around: Circumstances) -> Decimal:
    """Return what each share is reckoned at.

    Source:
        Buying-power rule: the far side in session, the middle in extended hours and when closed;
        short sales the larger of the limit and 1.03 times the ask.
    """
    quote = around.quote
    if quote is None:
        raise refused(422, BAD, f'no quote is available for asset "{wanted.symbol}"')
    if wanted.side == "sell":
        return max(wanted.limit_price or ZERO, _SHORT_ROOM * quote.ask)
    if wanted.limit_price is not None:
        return wanted.limit_price
    if wanted.stop_price is not None:
        return wanted.stop_price
    return quote.ask if around.session == "regular" else quote.mid


def held_for_orders(open_orders: Iterable[Order]) -> Decimal:
    """Return the shares that open closing orders have spoken for."""
    mine = [order for order in open_orders if order.position_intent.endswith("_to_close")]
    return sum((spoken(order, mine) for order in mine), ZERO)


def spoken(order: Order, among: Iterable[Order]) -> Decimal:
    """Return an order's shares; of an order and its replacement only the larger counts."""
    leaves = order.leaves
    for other in among:
        if other.id == order.replaces and other.is_open:
            leaves -= min(leaves, other.leaves)
    return leaves


def check_available(symbol: str, qty: Decimal, held: Decimal, spoken_for: Decimal) -> None:
    """Check that a closing order finds its shares.

    Raises:
        RefusedError: It is for more than the position has left.
    """
    available = max(abs(held) - spoken_for, ZERO)
    if qty <= available:
        return
    more: dict[str, Any] = {
        "available": number(available),
        "existing_qty": number(abs(held)),
        "held_for_orders": number(spoken_for),
        "symbol": symbol,
    }
    text = f"requested: {number(qty)}, available: {number(available)}"
    raise refused(403, DENIED, f"insufficient qty available for order ({text})", **more)


def _check_short(wanted: Wanted, around: Circumstances) -> None:
    symbol, asset = wanted.symbol, around.engine.assets.get(wanted.symbol, {})
    if wanted.is_fractional:
        raise refused(422, BAD, "fractional orders cannot be sold short")
    if not (asset.get("shortable", True) and asset.get("easy_to_borrow", True)):
        raise refused(422, BAD, f'asset "{symbol}" cannot be sold short')
    if not around.standing.shorting_enabled or around.standing.multiplier == 1:
        raise refused(403, DENIED, "account is not allowed to short")
    quote = around.quote
    low = wanted.limit_price is None or (quote is not None and wanted.limit_price <= quote.bid)
    if symbol in around.engine.ssr and low:
        text = f'asset "{symbol}" is under the short sale restriction: the price must be above'
        raise refused(422, BAD, f"{text} the bid")


def _check_wash(wanted: Wanted, open_orders: Iterable[Order]) -> None:
    """Refuse to trade with oneself.

    Source:
        Alpaca's wash-trade matrix: opposite sides never, unless both have limits that cannot meet.
    """
    for order in open_orders:
        if order.side == wanted.side:
            continue
        if order.type in _PRICED and wanted.type in _PRICED:
            prices = {order.side: order.limit_price, wanted.side: wanted.limit_price}
            if (prices["buy"] or ZERO) < (prices["sell"] or ZERO):
                continue
        raise refused(
            403,
            DENIED,
            "potential wash trade detected. use complex orders",
            existing_order_id=order.id,
            reject_reason=f"opposite side {order.type} order exists",
        )


def check_cost(cost: Decimal, buying_power: Decimal) -> None:
    """Check that an order can be paid.

    Raises:
        RefusedError: It costs more than the buying power.
    """
    if cost > buying_power:
        raise refused(
            403,
            DENIED,
            "insufficient buying power",
            buying_power=number(buying_power),
            cost_basis=number(cost.quantize(Decimal("0.0001"))),
        )
