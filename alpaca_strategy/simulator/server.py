"""The process: options become a venue, the venue becomes a server on one port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from alpaca_strategy.errors import PortTakenError, SettingsError
from alpaca_strategy.simulator import (
    activities_api,
    corporate,
    data_api,
    door,
    orders_api,
    positions_api,
    schedule,
    trading_api,
    wire,
)
from alpaca_strategy.simulator.gate import Gate
from alpaca_strategy.simulator.store import Source
from alpaca_strategy.simulator.stream_socket import StreamSocket
from alpaca_strategy.simulator.synthetic import SyntheticMarket
from alpaca_strategy.simulator.venue import Options, Venue
from alpaca_strategy.simulator.wire import RefusedError
from alpaca_strategy.simulator.world import Parameters, World

LOOPBACK = "127.0.0.1"
log = structlog.get_logger(__name__)

_PAGES = {
    "/v2/stocks/trades": data_api.trades,
    "/v2/stocks/bars": data_api.bars,
    "/v2/stocks/trades/latest": data_api.latest_trades,
    "/v2/stocks/meta/conditions/{ticktype}": data_api.conditions,
    "/v2/stocks/meta/exchanges": data_api.exchanges,
    "/v2/stocks/{symbol}/trades": data_api.trades,
    "/v2/stocks/{symbol}/trades/latest": data_api.latest_trades,
    "/v2/stocks/{symbol}/bars": data_api.bars,
    "/v1/corporate-actions": corporate.actions,
    "/v2/clock": trading_api.clock,
    "/v2/calendar": trading_api.calendar_days,
    "/v2/assets": trading_api.assets,
    "/v2/assets/{asset}": trading_api.asset,
}


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which lets faults reach the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        reachable: Any = self.scope
        reachable["extensions"] = {"simulator.transport": self.transport}


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, RefusedError):
        return wire.refusal(error)
    raise error


async def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = {404: "endpoint not found.", 405: "method not allowed."}.get(status, str(error))
    code = 40410000 if status == 404 else 40500000
    return wire.answer({"code": code, "message": text}, status)


def application(venue: Venue) -> ASGIApp:
    """Return the ASGI application of a venue."""
    routes = [
        *door.ROUTES,
        *orders_api.ROUTES,
        *positions_api.ROUTES,
        *activities_api.ROUTES,
        *(Route(path, page) for path, page in _PAGES.items()),
        *(WebSocketRoute(f"/v2/{feed}", venue.pump.serve_data) for feed in ("iex", "sip", "test")),
        WebSocketRoute("/stream", venue.pump.serve_updates),
    ]
    handlers: dict[Any, Callable[[Request, Exception], Any]] = {
        RefusedError: _refused,
        HTTPException: _http_error,
    }
    pages = Starlette(routes=routes, exception_handlers=handlers)
    pages.state.venue = venue
    return Gate(pages, venue)


def build_venue(
    options: Options,
    parameters: Parameters,
    universe: list[dict[str, str]],
    replay: Path | None = None,
) -> Venue:
    """Return a venue of a synthetic market, or of recorded trades.

    Raises:
        SettingsError: The folder holds no recorded trades.
    """
    source: Source
    if replay is None:
        source = SyntheticMarket(World(parameters, universe))
    else:
        from alpaca_strategy.simulator.replay import Replay  # noqa: PLC0415  # pyarrow is slow to load

        source = Replay(replay)
    venue = Venue(options, source, universe)
    venue.pump.schedule.pages = door.DEEDS
    return venue


def plan(venue: Venue, path: Path) -> None:
    """Plan what a schedule's file says, from the venue's time on.

    Raises:
        SettingsError: It cannot be read, or something in it is wrong.
    """
    try:
        venue.pump.schedule.add(schedule.read(path), venue.clock.now_ns())
    except (ValueError, TypeError) as error:
        msg = f"The schedule {path} is wrong: {error}."
        raise SettingsError(msg) from error


def listen(host: str, port: int, *, allow_any_host: bool = False) -> socket.socket:
    """Return a listening socket.

    Raises:
        PortTakenError: Another process listens there.
        SettingsError: The host is not the loopback and nobody said it may be.
    """
    if host != LOOPBACK and not allow_any_host:
        msg = (
            f"The simulator refuses to listen on {host}: it would be open to others; use "
            f"{LOOPBACK}, or add --allow-any-host."
        )
        raise SettingsError(msg)
    # With the protocol named asyncio sends at once; without, each answer waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        msg = (
            f"Port {port} on {host} cannot be used ({error.strerror}); stop the process that "
            f"listens there, or choose another --port."
        )
        raise PortTakenError(msg) from error
    return listener


def serve(venue: Venue, listener: socket.socket) -> None:
    """Serve until the process is told to stop."""
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        application(venue),
        http=_Protocol,
        ws=StreamSocket,
        ws_ping_interval=None,  # the venue is not known to ping, and a deaf socket must not notice
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
    )
    log.info(
        "simulator_started", url=f"http://{host}:{port}", synthetic=venue.synthetic is not None
    )
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(uvicorn.Server(config), venue, listener))
    log.info("simulator_stopped")


async def _run(server: uvicorn.Server, venue: Venue, listener: socket.socket) -> None:
    """Serve, and let the venue's time pass; neither goes on without the other."""
    pump = asyncio.create_task(venue.pump.run())
    pump.add_done_callback(lambda _: setattr(server, "should_exit", True))
    await server.serve(sockets=[listener])
    if not pump.done():
        pump.cancel()
    with suppress(asyncio.CancelledError):
        await pump
