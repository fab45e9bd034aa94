"""One websocket of the venue: how it is opened, what it hands over, and why it closed.

Messages are taken as the socket's bytes are parsed, on the loop, one after another: there is no
queue that could grow, and a venue that sends faster than we take finds its socket full. That is
half again as fast as awaiting each message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, cast
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

#: At debug level this logger prints frames, and with them the keys.
_QUIET: Final = logging.getLogger("websockets.client")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_POLICY_VIOLATION: Final = 1008
_MAX_QUOTE: Final = 120


@dataclass(frozen=True, slots=True)
class StreamTiming:
    """How patient a stream is; everything in seconds of this machine's time.

    Attributes:
        open_s: For the handshake.
        greeting_s: From the handshake until the subscription is acknowledged.
        ping_s: Between pings.
        pong_s: For the answer to a ping; with ping_s and close_s, how long a dead line goes unseen.
        close_s: For saying goodbye.
        pause_s: Before the second try; doubled with every one after it.
        longest_pause_s: The longest of these.
        strained_pause_s: Where the venue has no place for us, or has refused us again; doubled
            likewise.
        longest_strained_pause_s: The longest of these. A dead connection holds its place for 90 s.
        steady_s: A connection that lived so long makes the next pause the first again.
        refusals: So many in a row, before any success, are final.
        max_bytes: Of a message.
    """

    open_s: float = 5.0
    greeting_s: float = 10.0
    ping_s: float = 5.0
    pong_s: float = 5.0
    close_s: float = 1.0
    pause_s: float = 0.5
    longest_pause_s: float = 30.0
    strained_pause_s: float = 15.0
    longest_strained_pause_s: float = 90.0
    steady_s: float = 30.0
    refusals: int = 5
    max_bytes: int = 16 * 2**20


class Ailment(Enum):
    """What kind of end a connection came to."""

    PASSING = "passing"  # try again
    BUSY = "busy"  # the venue has no place for us now
    REFUSED = "refused"  # the venue does not want us as we are


class LostError(Exception):
    """A connection has ended; the message says why, without a full stop."""

    def __init__(self, reason: str, ailment: Ailment = Ailment.PASSING) -> None:
        super().__init__(reason)
        self.ailment = ailment


class _Connect(connect):
    """Opens connections, and follows nobody to another address."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Refuse: keys are not carried elsewhere."""
        return exc


class StreamSocket(ClientConnection):
    """Hands over whole messages as they are parsed.

    Attributes:
        take: Takes a message.
        rest: Is called when everything is taken that one read of the socket brought.
    """

    def __init__(
        self, take: Callable[[bytes], None], ended: Callable[[], None], *given: Any, **named: Any
    ) -> None:
        super().__init__(*given, **named)
        self.take = take
        self._ended = ended
        self.rest: Callable[[], None] = _rest
        self._pieces: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Take what a read of the socket brought."""
        super().data_received(data)
        self.rest()

    def process_event(self, event: Event) -> None:
        """Take a frame; pings, pongs and the handshake are the library's business."""
        opcode = event.opcode if isinstance(event, Frame) and self.response is not None else None
        if opcode is Opcode.BINARY or opcode is Opcode.TEXT or opcode is Opcode.CONT:
            self._take_frame(cast("Frame", event))
        else:
            super().process_event(event)

    def _take_frame(self, frame: Frame) -> None:
        data = bytes(frame.data)
        if self._pieces or not frame.fin:
            self._pieces.append(data)  # their sum is within max_size
            if not frame.fin:
                return
            data, self._pieces = b"".join(self._pieces), []
        self.take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that nothing more comes."""
        super().connection_lost(exc)
        self._ended()


async def open_socket(
    url: str,
    headers: Mapping[str, str],
    timing: StreamTiming,
    *,
    take: Callable[[bytes], None],
    ended: Callable[[], None],
) -> StreamSocket:
    """Open a connection.

    Args:
        url: Of the stream.
        headers: Of the handshake.
        timing: How patient to be.
        take: Takes each message, from the first on; may be replaced later.
        ended: Is called when nothing more comes.

    Raises:
        LostError: None came about.
    """

    def create(*given: Any, **named: Any) -> StreamSocket:
        return StreamSocket(take, ended, *given, **named)

    _QUIET.setLevel(logging.WARNING)
    connecting = _Connect(
        url,
        additional_headers=headers,
        proxy=None if urlsplit(url).hostname in _LOOPBACK else True,
        compression=None,  # costs more time than it saves, and lets a small frame become huge
        open_timeout=timing.open_s,
        ping_interval=timing.ping_s,
        ping_timeout=timing.pong_s,
        close_timeout=timing.close_s,
        max_size=timing.max_bytes,
        logger=_QUIET,
        create_connection=create,  # type: ignore[arg-type]  # a factory will do
    )
    try:
        socket = await connecting
    except InvalidStatus as error:
        raise _turned_away(error.response.status_code) from error
    except TimeoutError as error:
        msg = f"the venue did not answer the handshake within {timing.open_s:g} s"
        raise LostError(msg) from error
    except (OSError, InvalidHandshake, EOFError) as error:
        msg = f"no connection came about ({_words(error)})"
        raise LostError(msg) from error
    assert isinstance(socket, StreamSocket)  # noqa: S101  # our own factory made it
    return socket


def _rest() -> None:
    """Do nothing: nobody listens yet."""


def _turned_away(status: int) -> LostError:
    """Return what a refused handshake means."""
    if status == 429:
        return LostError("the venue refuses the handshake with HTTP 429", Ailment.BUSY)
    definite = status < 500 and status not in {408, 425}
    return LostError(
        f"the venue refuses the handshake with HTTP {status}",
        Ailment.REFUSED if definite else Ailment.PASSING,
    )


def ending(socket: ClientConnection) -> LostError:
    """Return why a socket closed."""
    closed = socket.protocol.close_exc
    if closed.sent is not None and "ping timeout" in closed.sent.reason:
        return LostError("the venue did not answer a ping: the line is dead")
    if closed.rcvd is None:
        return LostError(f"the connection broke ({_words(socket.close_exc.__cause__ or closed)})")
    reason = _printable(closed.rcvd.reason)
    words = f"the venue closed the connection with code {int(closed.rcvd.code)}"
    busy = closed.rcvd.code == _POLICY_VIOLATION and "limit" in reason
    return LostError(
        f"{words} ({reason})" if reason else words, Ailment.BUSY if busy else Ailment.PASSING
    )


def _words(error: BaseException) -> str:
    return _printable(str(error)) or type(error).__name__


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:_MAX_QUOTE].rstrip(".")
