"""The side door: the clock, faults, damage and the truth, for whoever holds the token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import msgspec
import yaml
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from alpaca_strategy.simulator import calendar, encode, signal, trading_door, wire
from alpaca_strategy.simulator.damage import KINDS, Damage
from alpaca_strategy.simulator.data_api import venue_of
from alpaca_strategy.simulator.faults import Rule
from alpaca_strategy.simulator.gate import requests_by_key
from alpaca_strategy.simulator.venue import Venue
from alpaca_strategy.simulator.wire import RefusedError
from alpaca_strategy.simulator.world import Split

Handler = Callable[[Request], Awaitable[Response]]


def _guarded(handler: Callable[[Venue, dict[str, Any]], object]) -> Handler:
    """Ask for the token, read the body, and answer with what the handler returns."""

    async def guarded(request: Request) -> Response:
        venue = venue_of(request)
        given = request.headers.get("x-sim-token", "")
        if not hmac.compare_digest(given.encode(), venue.options.token.encode()):
            raise RefusedError(403, "the side door needs the header X-Sim-Token")
        raw = await request.body()
        try:
            body = msgspec.json.decode(raw, type=dict[str, Any]) if raw else {}
            body |= dict(request.query_params)
            told = handler(venue, body)
            return wire.answer(await told if isinstance(told, Awaitable) else told)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise RefusedError(400, f"{type(error).__name__}: {error}") from error

    return guarded


async def health(request: Request) -> Response:
    """Tell that the venue is up; the only page without a token."""
    venue = venue_of(request)
    kind = "replay" if venue.synthetic is None else "synthetic"
    return wire.answer({"status": "ok", "venue": "SIMULATED", "source": kind})


def get_clock(venue: Venue, _: dict[str, Any]) -> object:
    """Return the clock's reading."""
    clock = venue.clock
    now = clock.now_ns()
    return {
        "now": encode.timestamp(now), "now_ns": now, "rate": clock.rate, "paused": clock.paused,
    }  # fmt: skip


def set_clock(venue: Venue, body: dict[str, Any]) -> object:
    """Change the clock: set, rate, paused, advance_s."""
    unknown = set(body) - {"set", "rate", "paused", "advance_s"}
    if unknown:
        msg = f"the clock knows set, rate, paused, advance_s and not {sorted(unknown)}"
        raise ValueError(msg)
    given, paused = body.get("set"), body.get("paused")
    if not isinstance(paused, bool | None):  # the text "false" would count as true
        msg = f"paused must be true or false, got {paused!r}"
        raise TypeError(msg)
    venue.clock.set(
        now_ns=None if given is None else encode.parse_timestamp(str(given)),
        rate=None if "rate" not in body else float(body["rate"]),
        paused=paused,
        advance_s=float(body.get("advance_s", 0)),
    )
    return get_clock(venue, {})


def add_fault(venue: Venue, body: dict[str, Any]) -> object:
    """Put a fault rule in force."""
    venue.faults.rules.append(Rule.parse(body))
    return {"rules": len(venue.faults.rules)}


def add_damage(venue: Venue, body: dict[str, Any]) -> object:
    """Damage a symbol's session, correct or cancel a trade, or schedule a split."""
    options = dict(body)
    kind, symbol = str(options.pop("kind", "")), options.pop("symbol", None)
    session = date.fromisoformat(str(options.pop("session")))
    if symbol is not None:
        venue.check((symbol,))
    if kind == "split":
        if venue.synthetic is None or symbol is None:
            msg = "a split needs a symbol of the synthetic market"
            raise ValueError(msg)
        split = Split(symbol, session, int(options.get("new", 2)), int(options.get("old", 1)))
        venue.synthetic.world.add_split(split)
    elif kind in KINDS:
        venue.damages.orders.append(Damage(kind, session, symbol, options))
    else:
        msg = f"kind {kind!r} does not exist; there are split, {', '.join(sorted(KINDS))}"
        raise ValueError(msg)
    venue.changed()
    return {"damages": len(venue.damages.orders)}


def clear(venue: Venue, _: dict[str, Any]) -> object:
    """Remove faults and damage, put switches back, end halts, and forget the counts.

    The clock, splits, orders and positions stay.
    """
    venue.faults.clear()
    venue.pump.streams.clear()
    trading_door.put_back(venue)
    venue.meter.clear()
    if venue.damages.orders:
        venue.damages.orders.clear()
        venue.changed()
    return {}


def truth(venue: Venue, body: dict[str, Any]) -> object:
    """Tell what was asked, what was refused, and what is planted."""
    meter = venue.meter
    report: dict[str, object] = {
        "requests": dict(meter.served),
        "requests_by_key": requests_by_key(meter.served),
        "rate_limited": dict(meter.refused),
        "faults": [{"action": rule.action, "fired": rule.fired} for rule in venue.faults.rules],
        "damages": len(venue.damages.orders),
        "connections": venue.pump.streams.report(),
        **trading_door.ledger(venue),
    }
    market = venue.synthetic
    if market is not None:
        parameters = market.world.parameters
        calibration = market.calibration(390)
        report["signal"] = {
            "oracle_ic": parameters.signal_ic,
            "tick_rule_ic": parameters.signal_ic * signal.VISIBILITY,
            "from": parameters.signal_from.isoformat(),
            "until": parameters.signal_until.isoformat(),
            "horizon_minutes": signal.HORIZON,
            "break_even_round_trip_bps": calibration.break_even_bps(parameters.signal_ic),
            "cross_sectional_spread_bps": calibration.spread_bps,
        }
        report["seed"] = parameters.seed
    if "symbol" in body and "session" in body:
        report["pressure"] = _pressure(venue, body)
    return report


def _pressure(venue: Venue, body: dict[str, Any]) -> list[float]:
    """Return the latent pressure z of every minute of a symbol's session."""
    session = calendar.session(date.fromisoformat(body["session"]))
    if venue.synthetic is None or session is None:
        msg = "there is no planted signal on that day"
        raise ValueError(msg)
    world = venue.synthetic.world
    position = world.positions[session.date]
    z = signal.pressure(world, body["symbol"], position, session.minutes)
    return [float(value) for value in z]


async def advance(venue: Venue, body: dict[str, Any]) -> object:
    """Let time pass up to `to` (ns or RFC 3339) while the clock stands still."""
    to = body["to"]
    return await venue.pump.advance(to if isinstance(to, int) else encode.parse_timestamp(str(to)))


def add_stream_fault(venue: Venue, body: dict[str, Any]) -> object:
    """Put a fault of the websockets in force; see `stream_faults`."""
    streams = venue.pump.streams
    streams.add_fault(body)
    return {"faults": streams.faults.report()}


def add_schedule(venue: Venue, body: dict[str, Any]) -> object:
    """Plan more: `items` as in a schedule's file, or its text as `yaml`."""
    pump = venue.pump
    items = yaml.safe_load(str(body["yaml"])) if "yaml" in body else body["items"]
    pump.schedule.add(items, venue.clock.now_ns())
    pump.wake()
    return {"items": pump.schedule.report()}


def get_schedule(venue: Venue, _: dict[str, Any]) -> object:
    """Return what is planned, and what came of it."""
    return {"items": venue.pump.schedule.report()}


#: What a schedule may do: the pages that change something.
DEEDS: dict[str, Callable[[Venue, dict[str, Any]], object]] = {
    "fault": add_fault,
    "ws": add_stream_fault,
    "damage": add_damage,
    "clock": set_clock,
    "clear": clear,
    **trading_door.PAGES,
}

ROUTES: list[BaseRoute] = [
    Route("/_sim/health", health),
    Route("/_sim/clock", _guarded(get_clock), methods=["GET"]),
    Route("/_sim/clock", _guarded(set_clock), methods=["POST"]),
    Route("/_sim/fault", _guarded(add_fault), methods=["POST"]),
    Route("/_sim/market", _guarded(add_damage), methods=["POST"]),
    Route("/_sim/clear", _guarded(clear), methods=["POST"]),
    Route("/_sim/truth", _guarded(truth), methods=["GET"]),
    Route("/_sim/advance", _guarded(advance), methods=["POST"]),
    Route("/_sim/ws", _guarded(add_stream_fault), methods=["POST"]),
    Route("/_sim/schedule", _guarded(get_schedule), methods=["GET"]),
    Route("/_sim/schedule", _guarded(add_schedule), methods=["POST"]),
    *(
        Route(f"/_sim/{name}", _guarded(page), methods=["POST"])
        for name, page in trading_door.PAGES.items()
    ),
]
