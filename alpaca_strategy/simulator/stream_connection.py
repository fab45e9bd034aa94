"""One websocket of the venue: what it was told, and what faults do to the telling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from alpaca_strategy.simulator.stream_encode import framed
from alpaca_strategy.simulator.stream_faults import StreamRule
from alpaca_strategy.simulator.stream_socket import StreamSocket
from alpaca_strategy.simulator.telling import Event, Telling

if TYPE_CHECKING:
    from alpaca_strategy.simulator.streams import Streams

NEVER_USED = 0xC1  # no MessagePack begins with it, nor does JSON


class Connection:
    """One websocket; its kinds differ in what they say and how events share messages.

    Attributes:
        stream: data or updates.
        endpoint: The path.
        serial: Counts all connections of the venue.
        ready: The client is authenticated and has asked for something.
        muted: Nothing is told.
        frames: Data messages sent so far: all but answers to the client.
    """

    stream = ""

    def __init__(self, streams: Streams, websocket: WebSocket, endpoint: str, opcode: int) -> None:
        self.streams, self.endpoint, self.opcode = streams, endpoint, opcode
        self.socket: StreamSocket = websocket.scope["extensions"]["simulator.socket"]
        self.telling = Telling(streams.faults, self.stream)
        self.serial = 0
        self.ready = False
        self.muted = False
        self.frames = 0
        self.place: tuple[str, str] | None = None
        self._websocket = websocket

    # What kinds of connections do in their own way

    def encode(self, content: object) -> bytes:
        """Return a whole message."""
        raise NotImplementedError

    def messages(self, items: Sequence[bytes]) -> list[bytes]:
        """Return events as messages."""
        raise NotImplementedError

    def padded(self, message: bytes, padding: str) -> bytes:
        """Return a data message made longer, with the same content."""
        raise NotImplementedError

    def error(self, code: int, *, close: bool) -> None:
        """Tell an error, and close if it is a grave one."""
        raise NotImplementedError

    def nonsense(self, rule: StreamRule) -> bytes:
        """Return a message that nobody expects."""
        raise NotImplementedError

    def halt(self, about: dict[str, Any], plan: Callable[[str], str]) -> None:
        """Tell that a halt has changed; connections without market data are not told."""

    async def serve(self) -> None:
        """Talk with the client until either side ends it."""
        raise NotImplementedError

    # What they have in common

    def report(self) -> dict[str, Any]:
        """Return what the judge wants to know."""
        return {
            "endpoint": self.endpoint,
            "serial": self.serial,
            "ready": self.ready,
            "frames": self.frames,
            "muted": self.muted,
            "backlog": self.socket.backlog,
        }

    def enter(self, key: str, limit: int) -> bool:
        """Take a place of the key if one is free."""
        place = (self.endpoint, key)
        if self.streams.slots.take(place, limit):
            self.place = place
            return True
        self.streams.turned_away[self.endpoint] += 1
        return False

    async def heard(self) -> str | bytes:
        """Return the client's next message.

        Raises:
            WebSocketDisconnect: There will be none.
        """
        message = await self._websocket.receive()
        if message["type"] != "websocket.receive":
            raise WebSocketDisconnect(message.get("code", 1006))
        raw: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
        return raw

    async def ignore(self) -> None:
        """Hear the client out and say nothing, until it gives up."""
        while True:
            await self.heard()

    def say(self, content: object) -> None:
        """Answer the client: a message that is not data."""
        if not self.muted:
            self.socket.say(self.encode(content), self.opcode)

    def tell(self, events: Sequence[Event], now_ns: int) -> None:
        """Tell events one by one, as the faults in force want them told."""
        told: list[bytes] = []
        for event in events:
            told += self.telling.pass_on(event, now_ns)
        self.send(told)

    def release(self, now_ns: int) -> None:
        """Tell what was held back until now."""
        self.send(self.telling.release(now_ns))

    def send(self, items: Sequence[bytes]) -> None:
        """Tell events as they are."""
        if items:
            self.send_messages(self.messages(items))

    def send_messages(self, messages: Sequence[bytes]) -> None:
        """Send data messages, cut or padded if a fault says so."""
        if self.muted or not self.socket.open:
            return
        self.frames += len(messages)
        if not self.streams.faults.rules and not self.streams.options.deflate:
            self.socket.push(b"".join([framed(m, self.opcode, None) for m in messages]))
            return
        for message in messages:
            self._send_strangely(message)

    def _send_strangely(self, message: bytes) -> None:
        """Send a message that faults or compression may change."""
        streams, now = self.streams, self.streams.now_ns()
        huge = streams.faults.take("huge_frame", self.stream, now)
        if huge is not None:
            message = self.padded(message, "x" * int(huge.options["bytes"]))
        split = streams.faults.take("split_frame", self.stream, now)
        if split is not None:
            piece = max(int(split.options["bytes"]), 1)
            self.socket.push(framed(message, self.opcode, piece))
        elif streams.options.deflate:
            self.socket.say(message, self.opcode)
        else:
            self.socket.push(framed(message, self.opcode, None))

    def strike(self, rule: StreamRule) -> None:
        """Do what a fault does to a connection at once."""
        options = rule.options
        if rule.action == "close":
            self.socket.shut(int(options["code"]), options["reason"])
        elif rule.action == "error":
            self.error(int(options["code"]), close=options["close"])
        elif rule.action == "garbage":
            noise = rule.draw.randbytes(max(int(options["bytes"]) - 1, 0))
            raw = bytes((NEVER_USED,)) + noise
            # Text has to be text, or the client's socket ends it before anyone reads it.
            self.send_messages([raw if self.opcode == 2 else b"{" + noise.hex().encode()])
        else:
            self.send_messages([self.nonsense(rule)])
