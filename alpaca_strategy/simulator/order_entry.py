"""Requests about orders: what is taken, cancelled or replaced, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from alpaca_strategy.simulator.exchange import Exchange
from alpaca_strategy.simulator.floor import UNSENT
from alpaca_strategy.simulator.hours import hours, new_york_day, trading_hours
from alpaca_strategy.simulator.order_rules import (
    BAD,
    MISSING,
    Wanted,
    amount,
    check_moment,
    parse,
    refused,
)
from alpaca_strategy.simulator.orders import ZERO, Order, number, stamp
from alpaca_strategy.simulator.permissions import (
    Circumstances,
    check_available,
    check_cost,
    held_for_orders,
    permit,
)
from alpaca_strategy.simulator.wire import RefusedError

NOT_FOUND = 40410000


def submit(exchange: Exchange, body: Any, *, key: str = "", source: str = "api") -> Order:
    """Take an order.

    Raises:
        RefusedError: It is not taken.
    """
    exchange.catch_up()
    given = body if isinstance(body, dict) else {}
    post: dict[str, Any] = {
        "at": stamp(exchange.now_ns),
        "at_ns": exchange.now_ns,
        "client_order_id": given.get("client_order_id"),
        "symbol": given.get("symbol"),
        "side": given.get("side"),
        "qty": given.get("qty"),
        "key": key,
        "source": source,
        "status": 200,
        "order_id": None,
    }
    exchange.posts.append(post)
    try:
        order = _take(exchange, body, source)
    except RefusedError as error:
        post |= {"status": error.status, "refusal": error.body}
        raise
    post |= {"order_id": order.id, "client_order_id": order.client_order_id}
    return order


def _take(exchange: Exchange, body: Any, source: str) -> Order:
    engine = exchange.engine
    if engine.refuse_next > 0 and source == "api":
        engine.refuse_next -= 1
        error = RefusedError(engine.refuse_status, "")
        error.body = dict(engine.refuse_body)
        raise error
    wanted = parse(body)
    asset_id = exchange.asset_id(wanted.symbol)
    if asset_id is None:
        raise refused(422, BAD, f'asset "{wanted.symbol}" not found')
    client_order_id = _client_order_id(exchange, wanted)
    check_moment(wanted, exchange.now_ns, elite=engine.elite)
    permission = permit(wanted, circumstances(exchange, wanted.symbol))
    order = _order(exchange, wanted, client_order_id, asset_id)
    order.position_intent, order.reserve = permission.intent, permission.reserve
    order.source = source
    if not _is_trading(exchange, extended=wanted.extended_hours):
        order.status = "accepted"
    exchange.admit(order)
    exchange.launch(order)
    return order


def _client_order_id(exchange: Exchange, wanted: Wanted) -> str:
    """Return the order's own id for the client, which nobody has used before."""
    given = wanted.client_order_id
    if given is not None and given in exchange.by_client_id:
        raise refused(422, MISSING, "client_order_id must be unique")
    return given or exchange.new_id("client order", exchange.sequence())


def _order(exchange: Exchange, wanted: Wanted, client_order_id: str, asset_id: str) -> Order:
    return Order(
        id=exchange.new_id("order", client_order_id),
        client_order_id=client_order_id,
        sequence=exchange.sequence(),
        symbol=wanted.symbol,
        asset_id=asset_id,
        side=wanted.side,
        type=wanted.type,
        time_in_force=wanted.time_in_force,
        qty=wanted.qty,
        notional=wanted.notional,
        limit_price=wanted.limit_price,
        stop_price=wanted.stop_price,
        extended_hours=wanted.extended_hours,
        order_class="",
        position_intent="",
        submitted_ns=exchange.now_ns,
        updated_ns=exchange.now_ns,
    )


def _is_trading(exchange: Exchange, *, extended: bool) -> bool:
    day = trading_hours(exchange.now_ns, extended=extended)
    return day.window(extended=extended)[0] <= exchange.now_ns


def circumstances(exchange: Exchange, symbol: str) -> Circumstances:
    """Return what decides whether an order in a symbol is taken."""
    today = hours(new_york_day(exchange.now_ns))
    session = "closed"
    if today is not None and today.early_ns <= exchange.now_ns < today.late_ns:
        regular = today.open_ns <= exchange.now_ns < today.close_ns
        session = "regular" if regular else "extended"
    return Circumstances(
        held=exchange.ledger.positions.get(symbol),
        open_orders=list(exchange.open[symbol].values()),
        quote=exchange.quotes.at(symbol, exchange.now_ns),
        session=session,
        buying_power=exchange.buying_power(),
        standing=exchange.standing,
        engine=exchange.engine,
    )


def find(exchange: Exchange, order_id: str) -> Order:
    """Return an order by its id.

    Raises:
        RefusedError: There is none.
    """
    exchange.catch_up()
    order = exchange.orders.get(order_id)
    if order is None:
        raise refused(404, NOT_FOUND, f"order not found for {order_id}")
    return order


def cancel(exchange: Exchange, order: Order) -> None:
    """Ask for an order's end; it comes later, unless a fill is first.

    Raises:
        RefusedError: The order is past that, or is being cancelled or replaced.
    """
    exchange.catch_up()
    if not order.is_open or order.status in {"pending_cancel", "pending_replace"}:
        raise refused(422, BAD, f'order is already in "{order.status}" state')
    if order.replaces is not None and order.status == "pending_new":
        raise refused(422, BAD, "order is pending replace")
    order.before = order.status
    order.times["cancel_requested_at"] = exchange.now_ns
    exchange.become(order, "pending_cancel")
    exchange.soon("cancel", order, "cancel_ms")


def cancel_all(exchange: Exchange) -> list[dict[str, Any]]:
    """Ask for the end of every open order; returns what came of each request."""
    exchange.catch_up()
    answers: list[dict[str, Any]] = []
    for order in [order for found in exchange.open.values() for order in found.values()]:
        try:
            cancel(exchange, order)
            answers.append({"id": order.id, "status": 200})
        except RefusedError as error:
            answers.append({"id": order.id, "status": error.status, "body": error.body})
    return sorted(answers, key=lambda answer: exchange.orders[answer["id"]].sequence)


def replace(exchange: Exchange, old: Order, body: Any) -> Order:
    """Ask for another order in the place of one; returns the new one, with an id of its own.

    The new order is for what its quantity leaves after the old one's executions.

    Raises:
        RefusedError: The order cannot be replaced now, or not by that.
    """
    exchange.catch_up()
    wanted = _replacement(old, body)
    client_order_id = _client_order_id(exchange, wanted)
    if old.status not in {"new", "partially_filled"}:
        if old.is_open:
            raise refused(422, BAD, f"cannot replace order in {old.status} status")
        raise refused(422, BAD, f'order is already in "{old.status}" state')
    qty = wanted.qty or ZERO
    if qty <= old.filled_qty:
        raise refused(422, BAD, f"qty must be > filled_qty {number(old.filled_qty)}")
    reserve = _affordable(exchange, old, wanted, qty)
    order = _order(exchange, wanted, client_order_id, old.asset_id)
    order.replaces, order.source = old.id, old.source
    order.position_intent, order.reserve = old.position_intent, reserve
    exchange.admit(order)
    day = trading_hours(exchange.now_ns, extended=order.extended_hours)
    exchange.limit_life(order, day.window(extended=order.extended_hours)[1])
    old.before = old.status
    exchange.become(old, "pending_replace")
    exchange.emit(order, "pending_new")
    exchange.soon("replace", order, "replace_ms")
    return order


def _replacement(old: Order, body: Any) -> Wanted:
    """Return the order that is wanted instead."""
    if not isinstance(body, dict):
        raise refused(400, 40010000, "request body format is invalid")
    if old.notional is not None:
        raise refused(422, BAD, "notional orders cannot be replaced")
    qty = body.get("qty")
    if qty is not None and amount("qty", qty) % 1:
        raise refused(422, MISSING, "qty must be integer")
    now = {
        "symbol": old.symbol, "side": old.side, "type": old.type,
        "time_in_force": old.time_in_force, "qty": number(old.qty),
        "limit_price": number(old.limit_price), "stop_price": number(old.stop_price),
        "extended_hours": old.extended_hours,
    }  # fmt: skip
    changes = ("qty", "limit_price", "stop_price", "time_in_force", "client_order_id", "trail")
    given = {name: body[name] for name in changes if body.get(name) is not None}
    return parse({**now, **given, "trail_price": given.get("trail")})


def _affordable(exchange: Exchange, old: Order, wanted: Wanted, qty: Decimal) -> Decimal:
    """Return what each share of a replacement holds back, if the account has that."""
    more = qty - old.filled_qty - old.leaves
    if not old.reserve:
        others = held_for_orders(exchange.open[old.symbol].values())
        if more > 0:
            check_available(wanted.symbol, more, exchange.ledger.qty(old.symbol), others)
        return ZERO
    reserve = wanted.limit_price or wanted.stop_price or old.reserve
    cost = reserve * (qty - old.filled_qty) - old.reserve * old.leaves
    if cost > 0:
        check_cost(cost, exchange.buying_power())
    return reserve


def close_position(
    exchange: Exchange, symbol: str, qty: Decimal | None = None, *, key: str = ""
) -> Order:
    """Send the market order that closes a position, or some shares of it.

    Raises:
        RefusedError: There is no position, or its shares are spoken for.
    """
    exchange.catch_up()
    held = exchange.ledger.positions.get(symbol)
    if held is None:
        raise refused(404, NOT_FOUND, "position does not exist")
    body = {
        "symbol": symbol, "side": "sell" if held.qty > 0 else "buy", "type": "market",
        "time_in_force": "day", "qty": number(abs(held.qty) if qty is None else qty),
    }  # fmt: skip
    return submit(exchange, body, key=key)


def at_once(exchange: Exchange, order: Order, price: Decimal) -> None:
    """Execute an order that was just taken, at a price that somebody has agreed on."""
    if order.status in UNSENT:
        exchange.become(order, "new")
    if order.notional is not None:
        order.target = (order.notional / price).quantize(Decimal("1e-9"))
    exchange.execute(order, order.leaves, price)
