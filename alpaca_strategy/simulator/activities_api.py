"""The trading host's pages about what has happened to the account: executions and equity."""

from __future__ import annotations

from bisect import bisect_right
from datetime import timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from alpaca_strategy.simulator import calendar, wire
from alpaca_strategy.simulator.data_api import venue_of
from alpaca_strategy.simulator.exchange import Exchange
from alpaca_strategy.simulator.hours import MINUTE, at_ns, hours, new_york_day
from alpaca_strategy.simulator.order_rules import BAD, refused
from alpaca_strategy.simulator.orders import ZERO, Execution, number, stamp
from alpaca_strategy.simulator.orders_api import exchange_of

_PERIODS = {"D": 1, "W": 7, "M": 31, "A": 366}
_STEPS = {"1Min": 1, "5Min": 5, "15Min": 15, "1H": 60, "1D": 0}
_MOST_POINTS = 4000


def activity_json(execution: Execution, account_id: str) -> dict[str, Any]:
    """Return an execution as the venue's account activity."""
    return {
        "id": execution.activity_id,
        "account_id": account_id,
        "activity_type": "FILL",
        "transaction_time": stamp(execution.at_ns),
        "type": execution.kind,
        "price": number(execution.price),
        "qty": number(execution.qty),
        "side": execution.side,
        "symbol": execution.symbol,
        "leaves_qty": number(execution.leaves_qty),
        "order_id": execution.order_id,
        "cum_qty": number(execution.cum_qty),
        "order_status": execution.order_status,
    }


async def listing(request: Request) -> Response:
    """Serve executions in pages; other kinds of activities do not occur here."""
    exchange = exchange_of(request)
    size = wire.integer(request, "page_size", 100, 1, 100)
    newest_first = wire.choice(request, "direction", "desc", ("asc", "desc")) == "desc"
    after, until = _range(request)
    kinds = request.path_params.get("kind") or request.query_params.get("activity_types") or "FILL"
    found = exchange.executions if "FILL" in kinds.split(",") else []
    rows = [e for e in found if after < e.at_ns < until]
    if newest_first:
        rows.reverse()
    token = request.query_params.get("page_token")
    if token:
        place = next((n for n, row in enumerate(rows) if row.activity_id == token), None)
        if place is None:
            raise refused(422, BAD, f"invalid page_token: {token}")
        rows = rows[place + 1 :]
    account_id = venue_of(request).asset_id("account")
    return wire.answer([activity_json(row, account_id) for row in rows[:size]])


def _range(request: Request) -> tuple[int, int]:
    """Return the times between which activities are wanted, both excluded."""
    day = request.query_params.get("date")
    if day:
        start = wire.moment(request, "date", 0)
        return start - 1, at_ns(new_york_day(start) + timedelta(days=1), 0)
    return wire.moment(request, "after", -1), wire.moment(request, "until", 1 << 62)


async def portfolio_history(request: Request) -> Response:
    """Serve the account's equity over time, worked out from its books and the quotes."""
    exchange = exchange_of(request)
    period = request.query_params.get("period") or "1M"
    if period[-1] not in _PERIODS or not period[:-1].isdigit() or not int(period[:-1]):
        raise refused(422, BAD, f"invalid period: {period}")
    days = int(period[:-1]) * _PERIODS[period[-1]]
    frame = request.query_params.get("timeframe") or ("1D" if days > 7 else "15Min")
    if frame not in _STEPS:
        raise refused(422, BAD, f"invalid timeframe: {frame}")
    points = _points(exchange, days, _STEPS[frame])
    if len(points) > _MOST_POINTS:
        raise refused(422, BAD, f"timeframe {frame} is too fine for period {period}")
    values = [_equity(exchange, ns) for ns in points]
    base = _equity(exchange, points[0] - 1) if points else exchange.ledger.opening
    return wire.answer(
        {
            "timestamp": [ns // 1_000_000_000 for ns in points],
            "equity": [float(value) for value in values],
            "profit_loss": [float(value - base) for value in values],
            "profit_loss_pct": [float((value - base) / base) if base else 0.0 for value in values],
            "base_value": float(base),
            "base_value_asof": new_york_day(points[0]).isoformat() if points else None,
            "timeframe": frame,
        }
    )


def _points(exchange: Exchange, days: int, step: int) -> list[int]:
    """Return the moments of a history: every so many minutes of sessions, or their ends."""
    today = new_york_day(exchange.now_ns)
    sessions = calendar.sessions(today - timedelta(days=days - 1), today)
    if not sessions:
        sessions = [calendar.next_session(today, -1)]
    points: list[int] = []
    for session in sessions:
        day = hours(session.date)
        if day is None:
            continue
        if step:
            points += range(day.open_ns, day.close_ns + 1, step * MINUTE)
        else:
            points.append(min(day.close_ns, max(exchange.now_ns, day.open_ns)))
    return points[: bisect_right(points, exchange.now_ns)]


def _equity(exchange: Exchange, ns: int) -> Decimal:
    cash, shares = exchange.ledger.at(ns)
    value = ZERO
    for symbol, qty in shares.items():
        quote = exchange.quotes.at(symbol, ns)
        value += qty * (quote.mid if quote is not None else ZERO)
    return (cash + value).quantize(Decimal("0.01"))


ROUTES: list[BaseRoute] = [
    Route("/v2/account/activities", listing, methods=["GET"]),
    Route("/v2/account/activities/{kind}", listing, methods=["GET"]),
    Route("/v2/account/portfolio/history", portfolio_history, methods=["GET"]),
]
