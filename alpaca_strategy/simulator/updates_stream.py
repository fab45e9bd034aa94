"""The websocket of trade updates, /stream: JSON in binary messages, as the paper venue sends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.websockets import WebSocket

from alpaca_strategy.simulator.stream_connection import Connection
from alpaca_strategy.simulator.stream_faults import StreamRule

if TYPE_CHECKING:
    from alpaca_strategy.simulator.streams import Streams

_BINARY = 2
_STREAMS = ("trade_updates",)


class UpdatesConnection(Connection):
    """One client that wants to hear of its orders."""

    stream = "updates"

    def __init__(self, streams: Streams, websocket: WebSocket) -> None:
        super().__init__(streams, websocket, websocket.url.path, _BINARY)

    def encode(self, content: object) -> bytes:
        """Return JSON."""
        return msgspec.json.encode(content)

    def messages(self, items: Sequence[bytes]) -> list[bytes]:
        """Return each update alone in a message."""
        return list(items)

    def padded(self, message: bytes, padding: str) -> bytes:
        """Return an update with a large field that nobody knows."""
        return message[:-1] + b',"padding":' + msgspec.json.encode(padding) + b"}"

    def error(self, code: int, *, close: bool) -> None:
        """Tell an error, and close if that is wanted."""
        self.say({"stream": "error", "data": {"code": code, "message": "internal server error"}})
        if close:
            self.socket.shut(1011, "internal server error")

    def nonsense(self, rule: StreamRule) -> bytes:
        """Return an update without data, or with an event that nobody knows."""
        data: dict[str, Any] | None = None
        if rule.action == "unknown_event":
            last = self.streams.last_update or {"order": {}, "timestamp": "1970-01-01T00:00:00Z"}
            data = {**last, "event": "struck_by_lightning"}
        return self.encode({"stream": "trade_updates", "data": data})

    async def serve(self) -> None:
        """Authenticate, and tell updates once the client listens."""
        streams = self.streams
        if streams.faults.take("no_welcome", self.stream, streams.now_ns()) is not None:
            await self.ignore()
        try:
            async with asyncio.timeout(streams.options.auth_timeout_s):
                while self.place is None:
                    self._act(await self.heard())
        except TimeoutError:
            self.socket.shut(1008, "authentication timed out")
        while True:
            self._act(await self.heard())

    def _act(self, raw: str | bytes) -> None:
        """Do what a client asks; what cannot be read is passed over, as the venue does."""
        try:
            asked = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if not isinstance(asked, dict):
            return
        data = asked.get("data")
        data = data if isinstance(data, dict) else {}
        action = asked.get("action")
        if action == "authenticate":
            self._authenticate(data.get("key_id"), data.get("secret_key"))
        elif action == "auth":
            self._authenticate(asked.get("key"), asked.get("secret"))
        elif action == "listen":
            self._listen(data.get("streams"))

    def _authenticate(self, key: object, secret: object) -> None:
        streams = self.streams
        failing = streams.faults.take("auth_fail", self.stream, streams.now_ns()) is not None
        if failing or not streams.knows(key, secret):
            self._answer("unauthorized", "authenticate")
        elif self.place is None and not self.enter(
            str(key), streams.options.max_update_connections
        ):
            self.socket.shut(1008, "connection limit exceeded")
        else:
            self._answer("authorized", "authenticate")

    def _answer(self, status: str, action: str) -> None:
        self.say({"stream": "authorization", "data": {"status": status, "action": action}})

    def _listen(self, wanted: object) -> None:
        if self.place is None:
            self._answer("unauthorized", "listen")
            return
        streams = [one for one in _STREAMS if isinstance(wanted, list) and one in wanted]
        self.say({"stream": "listening", "data": {"streams": streams}})
        if streams:
            self.streams.became_ready(self)
        else:
            self.ready = False
