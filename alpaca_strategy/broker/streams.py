"""Both of the venue's streams, kept connected for as long as the trader runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from alpaca_strategy.broker.stream_connection import Connection, Dialogue
from alpaca_strategy.broker.stream_dialogues import DataDialogue, Keys, UpdatesDialogue, hidden
from alpaca_strategy.broker.stream_socket import Ailment, LostError, StreamTiming
from alpaca_strategy.domain.streams import Listener, Stream, StreamEvent, StreamLost, StreamReady
from alpaca_strategy.errors import SettingsError

__all__ = ["StreamTiming", "VenueStreams"]

log = structlog.get_logger(__name__)
_RECEIVE_S: Final = 60.0


class VenueStreams:
    """The market-data and the trading stream; `trader.ports.Streams` as far as Alpaca goes."""

    def __init__(
        self, *, data_url: str, updates_url: str, symbols: Sequence[str],
        data_keys: Keys, keys: Keys, channels: Sequence[str] = ("trades", "statuses"),
        timing: StreamTiming | None = None, packed: bool = True,
    ) -> None:  # fmt: skip
        """Take what is needed; nothing is connected yet.

        Args:
            data_url: Of the market-data stream, with its path, such as ``wss://host/v2/iex``.
            updates_url: Of the trading stream, with its path.
            symbols: That are followed.
            data_keys: Key and secret for market data.
            keys: Key and secret of the trading account.
            channels: Of the data stream. Corrections and cancels come with trades by themselves.
            timing: How patient to be.
            packed: Ask for MessagePack; otherwise for JSON.

        Raises:
            SettingsError: An address is none.
        """
        for url in (data_url, updates_url):
            _check(url)
        self._timing = timing or StreamTiming()
        self._data = DataDialogue(data_url, data_keys, symbols, channels, packed=packed)
        self._dialogues: Mapping[Stream, Dialogue[Any]] = {
            Stream.DATA: self._data,
            Stream.UPDATES: UpdatesDialogue(updates_url, keys),
        }
        self._keys = {Stream.DATA: data_keys, Stream.UPDATES: keys}
        self._live: dict[Stream, Connection] = {}

    async def run(self, listener: Listener) -> None:
        """Connect and stay connected until cancelled; the listener is called on the loop.

        It returns by itself only when both streams are lost for good.

        Raises:
            Exception: What the listener raised: it has not taken an event, and that is a defect.
        """
        tasks = [
            asyncio.create_task(self._keep(dialogue, listener), name=f"stream-{stream.value}")
            for stream, dialogue in self._dialogues.items()
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def reconnect(self, stream: str, reason: str) -> None:
        """Drop a connection that is no good, and connect anew; without one, nothing happens."""
        connection = self._live.get(Stream(stream))
        if connection is not None:
            connection.drop(reason)

    def frames(self, stream: Stream) -> int:
        """Return how many data frames the connection of now has brought; 0 without one."""
        connection = self._live.get(stream)
        return 0 if connection is None else connection.frames

    async def received(self, stream: Stream, count: int, timeout_s: float = _RECEIVE_S) -> None:
        """Return when the connection of now has brought so many data frames, or is lost.

        Raises:
            VenueUnavailableError: Neither happened in time.
        """
        connection = self._live.get(stream)
        if connection is not None and count > 0:
            await connection.received(count, timeout_s)

    @property
    def unknown(self) -> dict[str, int]:
        """How many market-data messages came of each kind that we do not know."""
        return dict(self._data.unknown)

    async def _keep(self, dialogue: Dialogue[Any], listener: Listener) -> None:
        """Connect again and again, until that is pointless."""
        stream, pauses = dialogue.stream, _Pauses(self._timing)

        def heard(event: StreamEvent) -> None:
            if isinstance(event, StreamReady):
                pauses.ready()
            listener(event)

        while True:
            connection = Connection(dialogue, self._timing, heard)
            self._live[stream] = connection
            try:
                await connection.run()
            except LostError as error:
                lost = error
            finally:
                del self._live[stream]
            final = pauses.lost(lost.ailment)
            reason = hidden(str(lost), self._keys[stream])
            listener(StreamLost(stream, reason, final=final))
            if final:
                return
            pause = pauses.next_s()
            log.info("stream_retry", stream=stream.value, reason=reason, pause_s=round(pause, 2))
            await asyncio.sleep(pause)


class _Pauses:
    """How long to wait between two tries."""

    def __init__(self, timing: StreamTiming) -> None:
        self._timing = timing
        self._random = random.Random()  # noqa: S311  # spreads retries; nothing secret
        self._tries = self._strained = self._refused = 0
        self._ready_at: float | None = None
        self._ever_ready = False
        self._is_strained = False

    def ready(self) -> None:
        """Note that a connection has come about."""
        self._ready_at = asyncio.get_running_loop().time()
        self._ever_ready = True
        self._refused = 0

    def lost(self, ailment: Ailment) -> bool:
        """Note how a connection ended; return whether there is no point in another."""
        now = asyncio.get_running_loop().time()
        if self._ready_at is not None and now - self._ready_at >= self._timing.steady_s:
            self._tries = self._strained = 0
        self._ready_at = None
        self._refused += ailment is Ailment.REFUSED
        # The first refusal may be the venue's own trouble.
        self._is_strained = ailment is Ailment.BUSY or (
            ailment is Ailment.REFUSED and self._refused > 1
        )
        self._strained += self._is_strained
        self._tries += not self._is_strained
        return self._refused >= self._timing.refusals and not self._ever_ready

    def next_s(self) -> float:
        """Return the seconds to wait: doubled with every failure, and never twice the same."""
        timing = self._timing
        first, longest, count = timing.pause_s, timing.longest_pause_s, self._tries
        if self._is_strained:
            first, longest = timing.strained_pause_s, timing.longest_strained_pause_s
            count = self._strained
            # The venue has said how long it is busy: never less than that.
            return min(first * 2.0 ** min(count - 1, 20), longest) * self._random.uniform(1.0, 1.1)
        return min(first * 2.0 ** min(count - 1, 20), longest) * self._random.uniform(0.5, 1.0)


def _check(url: str) -> None:
    """Raise SettingsError unless an address is a websocket's."""
    try:
        parts = urlsplit(url)
        if parts.scheme in {"ws", "wss"} and parts.hostname and parts.port != 0:
            return
    except ValueError:
        pass
    msg = f"The stream's address {url!r} is none; write wss://host/path, or ws:// on this machine."
    raise SettingsError(msg)
