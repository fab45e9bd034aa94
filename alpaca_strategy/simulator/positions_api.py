"""The trading host's pages about what the account holds: positions, and the account itself."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_DOWN, Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from alpaca_strategy.simulator import calendar, order_entry, wire
from alpaca_strategy.simulator.data_api import venue_of
from alpaca_strategy.simulator.exchange import Exchange
from alpaca_strategy.simulator.hours import at_ns, new_york_day
from alpaca_strategy.simulator.order_rules import BAD, amount, refused
from alpaca_strategy.simulator.orders import ZERO, number, stamp
from alpaca_strategy.simulator.orders_api import body_of, exchange_of, key_of
from alpaca_strategy.simulator.permissions import held_for_orders
from alpaca_strategy.simulator.portfolio import Position
from alpaca_strategy.simulator.trading_api import exchange_name
from alpaca_strategy.simulator.venue import Venue
from alpaca_strategy.simulator.wire import RefusedError

_CENTS = Decimal("1e-4")
_RATIO = Decimal("1e-12")
_CONFIGURATION = {
    "fractional_trading": True, "max_margin_multiplier": "4", "max_options_trading_level": None,
    "no_shorting": False, "ptp_no_exception_entry": False, "suspend_trade": False,
    "trade_confirm_email": "all", "disable_overnight_trading": False,
}  # fmt: skip


def position_json(venue: Venue, held: Position) -> dict[str, Any]:
    """Return one position as the venue's object."""
    exchange, symbol = venue.exchange, held.symbol
    price = exchange.mark(symbol) or held.average
    last = _last_close(exchange, symbol) or price
    value = held.qty * price
    profit = value - held.cost
    overnight = held.overnight if held.overnight * held.qty > 0 else ZERO
    kept = min(abs(overnight), abs(held.qty)) * (1 if held.qty > 0 else -1)
    today = kept * (price - last) + (held.qty - kept) * (price - held.average)
    basis = abs(kept * last + (held.qty - kept) * held.average)
    sign = 1 if held.qty > 0 else -1
    free = abs(held.qty) - held_for_orders(exchange.open[symbol].values())
    return {
        "asset_id": venue.asset_id(symbol),
        "symbol": symbol,
        "exchange": exchange_name(venue, symbol),
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": number(held.qty),
        "qty_available": number(sign * max(free, ZERO)),
        "avg_entry_price": number(held.average.quantize(Decimal("1e-9"))),
        "side": "long" if held.qty > 0 else "short",
        "market_value": _money(value),
        "cost_basis": _money(held.cost),
        "unrealized_pl": _money(profit),
        "unrealized_plpc": _ratio(profit, abs(held.cost)),
        "unrealized_intraday_pl": _money(today),
        "unrealized_intraday_plpc": _ratio(today, basis),
        "current_price": _money(price),
        "lastday_price": _money(last),
        "change_today": _ratio(price - last, last),
    }


def _last_close(exchange: Exchange, symbol: str) -> Decimal | None:
    """Return the close of the session before, in today's shares."""
    today = new_york_day(exchange.now_ns)
    before = calendar.next_session(today, -1).date
    close = exchange.quotes.close(symbol, before)
    for split in exchange.splits(symbol):
        if close is not None and before < split.ex_date <= today:
            close = close * split.old / split.new
    return close


def _money(value: Decimal) -> str | None:
    return number(value.quantize(_CENTS))


def _ratio(part: Decimal, whole: Decimal) -> str | None:
    return number((part / whole).quantize(_RATIO)) if whole else "0"


async def listing(request: Request) -> Response:
    """Serve every position."""
    exchange, venue = exchange_of(request), venue_of(request)
    held = exchange.ledger.positions
    return wire.answer([position_json(venue, held[symbol]) for symbol in sorted(held)])


def _named(request: Request) -> Position:
    """Return the position in the symbol or asset of the path."""
    exchange, venue = exchange_of(request), venue_of(request)
    wanted = request.path_params["asset"]
    for symbol, held in exchange.ledger.positions.items():
        if wanted in {symbol, venue.asset_id(symbol)}:
            return held
    raise refused(404, order_entry.NOT_FOUND, "position does not exist")


async def one(request: Request) -> Response:
    """Serve the position in one symbol."""
    return wire.answer(position_json(venue_of(request), _named(request)))


async def close(request: Request) -> Response:
    """Close a position, or a part of it."""
    held = _named(request)
    qty, percentage = (request.query_params.get(name) for name in ("qty", "percentage"))
    if qty and percentage:
        raise refused(422, BAD, "only one of qty or percentage is accepted")
    shares: Decimal | None = None
    if qty:
        shares = amount("qty", qty)
    elif percentage:
        part = amount("percentage", percentage)
        if part > 100:
            raise refused(422, BAD, "percentage must be between 0 and 100")
        shares = (abs(held.qty) * part / 100).quantize(Decimal("1e-9"), ROUND_DOWN)
    exchange = exchange_of(request)
    order = order_entry.close_position(exchange, held.symbol, shares, key=key_of(request))
    return wire.answer(order.json())


async def close_all(request: Request) -> Response:
    """Close every position, after cancelling the orders where that is asked for."""
    exchange = exchange_of(request)
    if request.query_params.get("cancel_orders", "").lower() == "true":
        for order in [o for found in list(exchange.open.values()) for o in found.values()]:
            exchange.finish(order, "canceled", "canceled_at")
    answers: list[dict[str, Any]] = []
    for symbol in sorted(exchange.ledger.positions):
        try:
            order = order_entry.close_position(exchange, symbol, key=key_of(request))
            answers.append({"symbol": symbol, "status": 200, "body": order.json()})
        except RefusedError as error:
            answers.append({"symbol": symbol, "status": error.status, "body": error.body})
    return wire.answer(answers, 207)


def account_json(venue: Venue) -> dict[str, Any]:
    """Return the account as the venue's object; it has no day-trading fields any more."""
    exchange = venue.exchange
    standing, now = exchange.standing, exchange.figures()
    power = exchange.buying_power()
    free = max(now.cash - exchange.reserved(), ZERO)
    today = new_york_day(exchange.now_ns)
    account: dict[str, Any] = {
        "id": venue.asset_id("account"),
        "account_number": "SIM000000001",
        "status": standing.status,
        "crypto_status": "ACTIVE",
        "currency": "USD",
        "buying_power": _money(power),
        "regt_buying_power": _money(min(now.regt_buying_power, power)),
        "effective_buying_power": _money(power),
        "options_buying_power": _money(free),
        "non_marginable_buying_power": _money(free),
        "cash": _money(now.cash),
        "portfolio_value": _money(now.equity),
        "equity": _money(now.equity),
        "last_equity": _money(exchange.ledger.last_equity),
        "long_market_value": _money(now.long),
        "short_market_value": _money(now.short),
        "position_market_value": _money(now.gross),
        "initial_margin": _money(now.initial_margin),
        "maintenance_margin": _money(now.maintenance_margin),
        "last_maintenance_margin": "0",
        "sma": "0",
        "accrued_fees": "0",
        "pending_transfer_in": "0",
        "pending_reg_taf_fees": "0",
        "intraday_adjustments": _money(-standing.margin_deficit),
        "trading_blocked": standing.trading_blocked,
        "transfers_blocked": standing.transfers_blocked,
        "account_blocked": standing.account_blocked,
        "trade_suspended_by_user": standing.trade_suspended_by_user,
        "shorting_enabled": standing.shorting_enabled and standing.multiplier > 1,
        "multiplier": str(now.multiplier),
        "created_at": stamp(at_ns(date(2020, 1, 2), 9, 30)),
        "balance_asof": calendar.next_session(today, -1).date.isoformat(),
        "crypto_tier": 0,
        "options_approved_level": 0,
        "options_trading_level": 0,
        "admin_configurations": {},
        "user_configurations": None,
    }
    return {name: value for name, value in account.items() if name not in standing.omit}


async def account(request: Request) -> Response:
    """Serve the account."""
    exchange_of(request)
    return wire.answer(account_json(venue_of(request)))


def _configuration(exchange: Exchange) -> dict[str, Any]:
    return {
        **_CONFIGURATION,
        "suspend_trade": exchange.standing.trade_suspended_by_user,
        "no_shorting": not exchange.standing.shorting_enabled,
        "max_margin_multiplier": str(exchange.standing.multiplier),
    }


async def configuration(request: Request) -> Response:
    """Serve what the account's owner has chosen."""
    return wire.answer(_configuration(exchange_of(request)))


async def configure(request: Request) -> Response:
    """Change what the account's owner may choose; unknown fields are let pass, as there."""
    body = await body_of(request)
    exchange = exchange_of(request)
    if not isinstance(body, dict):
        raise refused(400, 40010000, "request body format is invalid")
    changes: dict[str, Any] = {}
    if body.get("suspend_trade") is not None:
        changes["trade_suspended_by_user"] = body["suspend_trade"]
    if body.get("no_shorting") is not None:
        changes["shorting_enabled"] = body["no_shorting"] is False
    if body.get("max_margin_multiplier") is not None:
        if str(body["max_margin_multiplier"]) not in {"1", "2", "4"}:
            raise refused(422, BAD, "invalid max_margin_multiplier")
        changes["multiplier"] = int(str(body["max_margin_multiplier"]))
    try:
        exchange.standing.change(changes)
    except (TypeError, ValueError) as error:
        raise refused(422, BAD, str(error)) from error
    return wire.answer(_configuration(exchange))


ROUTES: list[BaseRoute] = [
    Route("/v2/positions", listing, methods=["GET"]),
    Route("/v2/positions", close_all, methods=["DELETE"]),
    Route("/v2/positions/{asset}", one, methods=["GET"]),
    Route("/v2/positions/{asset}", close, methods=["DELETE"]),
    Route("/v2/account", account, methods=["GET"]),
    Route("/v2/account/configurations", configuration, methods=["GET"]),
    Route("/v2/account/configurations", configure, methods=["PATCH"]),
]
