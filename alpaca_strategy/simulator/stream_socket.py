"""The connection below a websocket: frames written whole, and ears that can be closed.

uvicorn's protocol does the handshake, the parsing and the pongs. Data are written straight to
its transport as finished frames, many at once; what is said rarely goes through the protocol and
is compressed if the client agreed to that.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

_KEPT = 1 << 20  # bytes that a deaf socket remembers


class StreamSocket(WebSocketsSansIOProtocol):
    """A server's side of one websocket, within reach of the application."""

    deaf = False

    async def run_asgi(self) -> None:
        """Let the application find the socket in its scope."""
        self._unheard = bytearray()
        extensions: Any = self.scope["extensions"]
        extensions["simulator.socket"] = self
        await super().run_asgi()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent, unless it is not to be heard: not even pings are, then."""
        if not self.deaf:
            super().data_received(data)
        elif len(self._unheard) < _KEPT:
            self._unheard += data

    def listen(self, *, deaf: bool) -> None:
        """Hear the client or not; what it sent meanwhile is heard late, as after lost packets."""
        was, self.deaf = self.deaf, deaf
        if was and not deaf and self._unheard:
            late, self._unheard = bytes(self._unheard), bytearray()
            super().data_received(late)

    @property
    def open(self) -> bool:
        """Tell whether anything can be written."""
        return (
            self.handshake_complete
            and not self.close_sent
            and not self.transport.is_closing()
            and self.conn.state is State.OPEN
        )

    @property
    def backlog(self) -> int:
        """Return the bytes that the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    @property
    def parted(self) -> bool:
        """Tell whether either side said that it closes; a connection that just ends is unclean."""
        return self.close_sent or self.conn.close_rcvd is not None

    def push(self, frames: bytes) -> None:
        """Write finished frames."""
        if self.open:
            self.transport.write(frames)

    def say(self, payload: bytes, opcode: int) -> None:
        """Send one message, compressed if that was agreed."""
        if not self.open:
            return
        if opcode == 1:
            self.conn.send_text(payload)
        else:
            self.conn.send_binary(payload)
        self.transport.write(b"".join(self.conn.data_to_send()))

    def shut(self, code: int, reason: str = "") -> None:
        """Close with a code; 1006 means without any word."""
        if code == 1006:
            self.transport.abort()
        if not self.open:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:  # so that the client's own closing frame is read
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)
