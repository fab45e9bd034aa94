"""A venue's two websockets on real sockets, doing exactly what a test scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgpack
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from alpaca_strategy.broker.streams import StreamTiming, VenueStreams
from alpaca_strategy.domain.streams import StreamEvent

Act = Callable[[ServerConnection], Awaitable[None]]
KEY, SECRET = "PKDATAKEY0123", "data-secret-0123"  # pragma: allowlist secret
OTHER_KEY, OTHER_SECRET = "PKTRADEKEY0123", "trade-secret-0123"  # pragma: allowlist secret
SYMBOLS = ("AAPL", "MSFT")
PATIENCE_S = 20.0
FAST = StreamTiming(
    pause_s=0.01, longest_pause_s=0.02, strained_pause_s=0.02, longest_strained_pause_s=0.04,
    close_s=0.2,
)  # fmt: skip


def trade(number: int, symbol: str = "AAPL") -> dict[str, Any]:
    return {"T": "t", "S": symbol, "i": number, "x": "V", "p": 10.0, "s": 100, "c": ["@"],
            "t": msgpack.Timestamp(1_789_479_000 + number, 5), "z": "C"}  # fmt: skip


def pack(*items: dict[str, Any]) -> bytes:
    frame: bytes = msgpack.packb(list(items))
    return frame


async def hear(socket: ServerConnection) -> Any:
    """Return what the client says, decoded."""
    message = await socket.recv()
    return json.loads(message) if isinstance(message, str) else msgpack.unpackb(message)


async def say(socket: ServerConnection, content: Any) -> None:
    """Say something in the encoding that the client asked for."""
    assert socket.request is not None
    kind = socket.request.headers.get("Content-Type", "")
    await socket.send(msgpack.packb(content) if "msgpack" in kind else json.dumps(content))


async def log_in(socket: ServerConnection) -> Any:
    """Welcome and authenticate a client of market data; return what it subscribes to."""
    await say(socket, [{"T": "success", "msg": "connected"}])
    asked = await hear(socket)
    assert asked == {"action": "auth", "key": KEY, "secret": SECRET}
    await say(socket, [{"T": "success", "msg": "authenticated"}])
    return await hear(socket)


async def acknowledge(socket: ServerConnection, asked: dict[str, Any]) -> None:
    channels = {name: symbols for name, symbols in asked.items() if name != "action"}
    await say(socket, [{"T": "subscription", **channels}])


async def greet(socket: ServerConnection) -> None:
    """Do all that leads to a stream that is ready."""
    await acknowledge(socket, await log_in(socket))


async def stay(socket: ServerConnection) -> None:
    """Greet, and say nothing more."""
    await greet(socket)
    await socket.wait_closed()


async def authorize(socket: ServerConnection) -> None:
    asked = await hear(socket)
    assert asked == {
        "action": "authenticate", "data": {"key_id": OTHER_KEY, "secret_key": OTHER_SECRET},
    }  # fmt: skip
    data = {"status": "authorized", "action": "authenticate"}
    await socket.send(json.dumps({"stream": "authorization", "data": data}).encode())


async def listen(socket: ServerConnection) -> None:
    """Do all that leads to a trading stream that is ready."""
    await authorize(socket)
    asked = await hear(socket)
    assert asked == {"action": "listen", "data": {"streams": ["trade_updates"]}}
    data = {"streams": ["trade_updates"]}
    await socket.send(json.dumps({"stream": "listening", "data": data}).encode())


async def listen_and_stay(socket: ServerConnection) -> None:
    await listen(socket)
    await socket.wait_closed()


class Ear:
    """Keeps what a listener is told."""

    def __init__(self) -> None:
        self.events: list[StreamEvent] = []
        self._more = asyncio.Event()

    def __call__(self, event: StreamEvent) -> None:
        self.events.append(event)
        self._more.set()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

    async def until(self, kind: type[Any], count: int = 1) -> list[Any]:
        """Return the events of a kind once there are so many."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.of(kind)) < count:
                self._more.clear()
                await self._more.wait()
        return self.of(kind)


class Venue:
    """Both streams; each connection does the next act, the last one over and over."""

    def __init__(self, data: Sequence[Act], updates: Sequence[Act]) -> None:
        self.acts = {"/v2/iex": list(data), "/stream": list(updates)}
        self.opened = {"/v2/iex": 0, "/stream": 0}
        self.closes: list[int | None] = []
        self.failures: list[BaseException] = []
        self.url = ""
        self._closed = asyncio.Event()

    async def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        path = socket.request.path
        acts, number = self.acts[path], self.opened[path]
        self.opened[path] += 1
        try:
            await acts[min(number, len(acts) - 1)](socket)
        except ConnectionClosed:
            pass
        except BaseException as error:
            self.failures.append(error)
            raise
        finally:
            self.closes.append(socket.close_code)
            self._closed.set()

    async def until_closed(self, count: int) -> list[int | None]:
        """Return the codes of the connections that are closed, once there are so many."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.closes) < count:
                self._closed.clear()
                await self._closed.wait()
        return self.closes

    def streams(self, timing: StreamTiming = FAST, **more: Any) -> VenueStreams:
        return VenueStreams(
            **{
                "data_url": f"{self.url}/v2/iex", "updates_url": f"{self.url}/stream",
                "symbols": SYMBOLS, "data_keys": (KEY, SECRET), "keys": (OTHER_KEY, OTHER_SECRET),
                "timing": timing, **more,
            }
        )  # fmt: skip


@asynccontextmanager
async def venue(
    *data: Act, updates: Sequence[Act] = (listen_and_stay,), **options: Any
) -> AsyncIterator[Venue]:
    """Run a scripted venue; what its acts assert must hold."""
    scripted = Venue(data or (stay,), updates)
    async with serve(scripted, "127.0.0.1", 0, **options) as server:
        assert isinstance(server, Server)
        scripted.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield scripted
    assert not [e for e in scripted.failures if not isinstance(e, asyncio.CancelledError)]


@asynccontextmanager
async def following(streams: VenueStreams, ear: Callable[[StreamEvent], None]) -> AsyncIterator[
    asyncio.Task[None]
]:  # fmt: skip
    """Run both streams until the block ends."""
    task = asyncio.create_task(streams.run(ear))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
