"""One connection's life: greeting, frames, and why it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from websockets.exceptions import ConnectionClosed

from alpaca_strategy.broker.stream_socket import (
    LostError,
    StreamSocket,
    StreamTiming,
    ending,
    open_socket,
)
from alpaca_strategy.domain.streams import Listener, Stream, StreamEvent, StreamReady
from alpaca_strategy.errors import VenueUnavailableError

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)

_FRAGMENT: Final = 32_768  # bytes; the venue's own client cuts long messages so


class Talk(Protocol[A_co]):
    """The greeting's side of a connection."""

    async def send(self, message: bytes | str) -> None:
        """Say something."""

    async def answer(self) -> A_co:
        """Return the next thing that the venue says about us."""


class Dialogue(Protocol[A]):
    """What one of the two streams speaks."""

    stream: Stream
    url: str
    headers: Mapping[str, str]

    async def greet(self, talk: Talk[A]) -> None:
        """Authenticate and subscribe; raises LostError where the venue refuses."""

    def read(self, frame: bytes) -> tuple[Sequence[StreamEvent], Sequence[A]]:
        """Return what a frame tells, and what in it answers us."""

    def held(self) -> Sequence[StreamEvent]:
        """Return what was read and not told yet."""

    def heed(self, answer: A) -> Sequence[StreamEvent]:
        """Return what an answer means that nobody asked for; raises LostError if it is the end."""


class Connection:
    """One connection of one stream.

    Attributes:
        frames: Data frames taken so far: all but answers to us.
    """

    def __init__(self, dialogue: Dialogue[Any], timing: StreamTiming, listener: Listener) -> None:
        self.frames = 0
        self._dialogue = dialogue
        self._timing = timing
        self._listener = listener
        self._socket: StreamSocket | None = None
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._held_bytes = 0
        self._early: list[StreamEvent] = []
        self._answers: list[Any] = []
        self._end: Exception | None = None
        self._over = False
        self._closing: asyncio.Task[None] | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    async def run(self) -> None:
        """Connect, greet, and hand over what comes until the connection ends.

        Raises:
            LostError: It has ended, or never came about.
            Exception: What the listener raised.
        """
        dialogue = self._dialogue
        dialogue.held()  # of a connection that ended before it was ready
        try:
            self._socket = socket = await open_socket(
                dialogue.url, dialogue.headers, self._timing, take=self._put_by, ended=self._ended
            )
            await self._greet(socket)
            await socket.wait_closed()
            raise self._end or ending(socket)
        finally:
            self._end = self._end or LostError("we close the connection")
            self._over = True
            self._wake()
            if self._socket is not None:
                # Also when we are cancelled: unless it hears goodbye, the venue keeps our place.
                await self._socket.close()

    def drop(self, reason: str) -> None:
        """End a connection that is no good; one that has not come about yet is left alone."""
        if self._socket is not None:
            self._finish(LostError(reason))

    async def received(self, count: int, timeout_s: float) -> None:
        """Return when so many data frames have been taken, or the connection has ended.

        Raises:
            VenueUnavailableError: Neither happened in time.
        """
        if self.frames >= count or self._over:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((count, waiter))
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError as error:
            msg = (
                f"The {self._dialogue.stream.value} stream brought {self.frames} frames in "
                f"{timeout_s:g} s, and {count} were sent."
            )
            raise VenueUnavailableError(msg) from error

    async def send(self, message: bytes | str) -> None:
        """Say something; long messages in fragments."""
        assert self._socket is not None  # noqa: S101  # only the greeting sends
        size = len(message)
        pieces = [message[n : n + _FRAGMENT] for n in range(0, size, _FRAGMENT)]
        await self._socket.send(message if size <= _FRAGMENT else pieces)

    async def answer(self) -> Any:
        """Return the next answer of the venue; what it tells meanwhile is kept for later."""
        while not self._answers:
            frame = await self._inbox.get()
            if frame is None:
                assert self._socket is not None  # noqa: S101  # it has just ended
                raise self._end or ending(self._socket)
            events, answers = self._dialogue.read(frame)
            self._answers += answers
            self._early += events
            self.frames += not answers
        return self._answers.pop(0)

    async def _greet(self, socket: StreamSocket) -> None:
        if self._end is not None:
            raise self._end
        try:
            async with asyncio.timeout(self._timing.greeting_s):
                await self._dialogue.greet(self)
        except TimeoutError as error:
            msg = f"the venue left us waiting for {self._timing.greeting_s:g} s after the handshake"
            raise LostError(msg) from error
        except ConnectionClosed as error:
            raise self._end or ending(socket) from error
        # From here to the end without a pause: nothing may come in between.
        for event in (StreamReady(self._dialogue.stream), *self._early):
            self._listener(event)
        socket.take, socket.rest = self._deliver, self._tell_held
        while not self._inbox.empty():
            frame = self._inbox.get_nowait()
            if frame is not None:
                self._deliver(frame)
        self._tell_held()

    def _put_by(self, frame: bytes) -> None:
        """Keep a frame for the greeting."""
        self._held_bytes += len(frame)
        if self._held_bytes <= self._timing.max_bytes:
            self._inbox.put_nowait(frame)
        else:
            self._finish(LostError("the venue sends data before we have asked for any"))

    def _deliver(self, frame: bytes) -> None:
        """Hand a frame over; what goes wrong in that ends the connection, and `run` raises it."""
        if self._end is not None:
            return
        try:
            events, answers = self._dialogue.read(frame)
            for event in events:
                self._listener(event)
            if not answers:
                self.frames += 1
                return
            for answer in answers:
                for event in self._dialogue.heed(answer):
                    self._listener(event)
        except LostError as error:
            self._finish(error)
        except Exception as error:  # noqa: BLE001  # raised again by run, whose loop then ends
            self._finish(error)

    def _tell_held(self) -> None:
        """Hand over what the frames so far have left, when there are no more for now."""
        if self._end is None:
            try:
                for event in self._dialogue.held():
                    self._listener(event)
            except Exception as error:  # noqa: BLE001  # likewise
                self._finish(error)
        if self._waiters:
            self._wake()

    def _finish(self, error: Exception) -> None:
        """End the connection from our side, for a reason."""
        self._end = self._end or error
        if self._socket is not None and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._socket.close())

    def _ended(self) -> None:
        """The socket is closed."""
        self._inbox.put_nowait(None)

    def _wake(self) -> None:
        for waiting in self._waiters.copy():
            count, waiter = waiting
            if self.frames >= count or self._over or waiter.done():
                self._waiters.remove(waiting)
                if not waiter.done():
                    waiter.set_result(None)
