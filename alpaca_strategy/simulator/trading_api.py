"""The trading host, as far as it is about the market: clock, calendar, assets."""

from __future__ import annotations

from datetime import date

from starlette.requests import Request
from starlette.responses import Response

from alpaca_strategy.simulator import calendar, wire
from alpaca_strategy.simulator.calendar import Day
from alpaca_strategy.simulator.data_api import venue_of
from alpaca_strategy.simulator.venue import Venue
from alpaca_strategy.simulator.wire import RefusedError

_EXCHANGE_OF_TAPE = {"A": "NYSE", "B": "ARCA", "C": "NASDAQ"}


async def clock(request: Request) -> Response:
    """Serve the time and whether the market is open."""
    now = venue_of(request).clock.now()
    today = calendar.session(now.date())
    is_open = today is not None and today.opens_at <= now < today.closes_at
    before_open = today is not None and now < today.opens_at
    before_close = today is not None and now < today.closes_at
    following = calendar.next_session(now.date())
    next_open = today.opens_at if today and before_open else following.opens_at
    next_close = today.closes_at if today and before_close else following.closes_at
    return wire.answer(
        {
            "timestamp": now.isoformat(),
            "is_open": is_open,
            "next_open": next_open.isoformat(),
            "next_close": next_close.isoformat(),
        }
    )


async def calendar_days(request: Request) -> Response:
    """Serve the sessions of a range."""
    first = _day(request, "start", date(1990, 1, 1))
    last = _day(request, "end", date(date.today().year + 3, 12, 31))  # noqa: DTZ011  # a bound
    if last < first:
        raise RefusedError(422, "end must not be before start", 42210000)
    return wire.answer([_calendar_json(day) for day in calendar.sessions(first, last)])


def _calendar_json(day: Day) -> dict[str, str]:
    settles = calendar.next_session(day.date)
    if day.date < date(2024, 5, 28):  # settlement took two days, until the rule changed
        settles = calendar.next_session(settles.date)
    half = day.closes_at.hour < 16
    return {
        "date": day.date.isoformat(),
        "open": f"{day.opens_at:%H:%M}",
        "close": f"{day.closes_at:%H:%M}",
        "session_open": "0400",
        "session_close": "1700" if half else "2000",
        "settlement_date": settles.date.isoformat(),
    }


def _day(request: Request, name: str, default: date) -> date:
    raw = request.query_params.get(name)
    if not raw:
        return default
    try:
        return date.fromisoformat(raw[:10])
    except ValueError as error:
        raise RefusedError(422, f"invalid {name}: {raw}", 42210000) from error


async def assets(request: Request) -> Response:
    """Serve the list of assets."""
    venue = venue_of(request)
    status = request.query_params.get("status") or "active"
    kind = request.query_params.get("asset_class") or "us_equity"
    exchange = request.query_params.get("exchange")
    rows = [asset_json(venue, symbol) for symbol in venue.source.symbols]
    chosen = [
        row
        for row in rows
        if status in {"all", row["status"]}
        and kind == "us_equity"
        and exchange in {None, row["exchange"]}
    ]
    return wire.answer(chosen)


async def asset(request: Request) -> Response:
    """Serve one asset by symbol or identifier."""
    venue, wanted = venue_of(request), request.path_params["asset"]
    for symbol in venue.source.symbols:
        if wanted in {symbol, venue.asset_id(symbol)}:
            return wire.answer(asset_json(venue, symbol))
    raise RefusedError(404, f"asset not found for {wanted}", 40410000)


def asset_json(venue: Venue, symbol: str) -> dict[str, object]:
    """Return one asset as the venue's object."""
    names = {row["symbol"]: row["name"] for row in venue.universe}
    differs = venue.exchange.engine.assets.get(symbol, {})
    return {
        "id": venue.asset_id(symbol),
        "class": "us_equity",
        "exchange": exchange_name(venue, symbol),
        "symbol": symbol,
        "name": names.get(symbol, symbol),
        "status": "active",
        "tradable": True,
        "marginable": True,
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "shortable": True,
        "easy_to_borrow": True,
        "fractionable": True,
        "attributes": ["fractional_eh_enabled"],
        **differs,
    }


def exchange_name(venue: Venue, symbol: str) -> str:
    """Return the name of the exchange that lists a symbol."""
    market = venue.synthetic
    return _EXCHANGE_OF_TAPE["A" if market is None else market.world.companies[symbol].tape]
