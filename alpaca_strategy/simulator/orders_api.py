"""The trading host's pages about orders."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from alpaca_strategy.simulator import order_entry, wire
from alpaca_strategy.simulator.data_api import venue_of
from alpaca_strategy.simulator.exchange import Exchange
from alpaca_strategy.simulator.order_rules import MISSING, refused
from alpaca_strategy.simulator.orders import Order

_STATUSES = ("open", "closed", "all")


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that serves a request, brought up to the present."""
    exchange: Exchange = venue_of(request).exchange
    exchange.catch_up()
    return exchange


def key_of(request: Request) -> str:
    """Return the key id that a request was sent with."""
    return request.headers.get("apca-api-key-id", "")


async def body_of(request: Request) -> Any:
    """Return the decoded body of a request.

    Raises:
        RefusedError: It is no JSON.
    """
    try:
        return msgspec.json.decode(await request.body())
    except msgspec.DecodeError as error:
        raise refused(400, 40010000, "request body format is invalid") from error


async def listing(request: Request) -> Response:
    """Serve orders by status, time, side and symbol."""
    exchange = exchange_of(request)
    status = wire.choice(request, "status", "open", _STATUSES)
    limit = wire.integer(request, "limit", 50, 1, 500)
    after = wire.moment(request, "after", -1)
    until = wire.moment(request, "until", 1 << 62)
    newest_first = wire.choice(request, "direction", "desc", ("asc", "desc")) == "desc"
    side = request.query_params.get("side")
    symbols = wire.text_list(request, "symbols")
    found: list[Order] = list(exchange.orders.values())
    if status == "open":
        found = [order for group in exchange.open.values() for order in group.values()]
    first = _sequence(exchange, request, "after_order_id", 0)
    last = _sequence(exchange, request, "before_order_id", 1 << 62)
    chosen = [
        order
        for order in found
        if after < order.submitted_ns < until
        and first < order.sequence < last
        and (status != "closed" or not order.is_open)
        and side in {None, "", order.side}
        and (not symbols or order.symbol in symbols)
    ]
    chosen.sort(key=lambda order: order.sequence, reverse=newest_first)
    return wire.answer([order.json() for order in chosen[:limit]])


def _sequence(exchange: Exchange, request: Request, name: str, default: int) -> int:
    """Return the place of the order that a parameter names."""
    order_id = request.query_params.get(name)
    return default if not order_id else order_entry.find(exchange, order_id).sequence


async def submit(request: Request) -> Response:
    """Take an order."""
    body = await body_of(request)
    order = order_entry.submit(exchange_of(request), body, key=key_of(request))
    return wire.answer(order.json())


async def cancel_all(request: Request) -> Response:
    """Ask for the end of every open order."""
    return wire.answer(order_entry.cancel_all(exchange_of(request)), 207)


async def one(request: Request) -> Response:
    """Serve an order by its id."""
    return wire.answer(_named(request).json())


def _named(request: Request) -> Order:
    return order_entry.find(exchange_of(request), request.path_params["order_id"])


async def by_client_order_id(request: Request) -> Response:
    """Serve an order by its client's id."""
    exchange = exchange_of(request)
    wanted = request.query_params.get("client_order_id")
    if not wanted:
        raise refused(422, MISSING, "client_order_id is required")
    order = exchange.by_client_id.get(wanted)
    if order is None:
        raise refused(404, order_entry.NOT_FOUND, f"order not found for {wanted}")
    return wire.answer(order.json())


async def replace(request: Request) -> Response:
    """Ask for another order in the place of one."""
    body = await body_of(request)
    order = order_entry.replace(exchange_of(request), _named(request), body)
    return wire.answer(order.json())


async def cancel(request: Request) -> Response:
    """Ask for an order's end."""
    order_entry.cancel(exchange_of(request), _named(request))
    return Response(status_code=204)


ROUTES: list[BaseRoute] = [
    Route("/v2/orders", listing, methods=["GET"]),
    Route("/v2/orders", submit, methods=["POST"]),
    Route("/v2/orders", cancel_all, methods=["DELETE"]),
    Route("/v2/orders:by_client_order_id", by_client_order_id, methods=["GET"]),
    Route("/v2/orders/{order_id}", one, methods=["GET"]),
    Route("/v2/orders/{order_id}", replace, methods=["PATCH"]),
    Route("/v2/orders/{order_id}", cancel, methods=["DELETE"]),
]
