"""The market-data websockets: /v2/iex, /v2/sip and /v2/test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.websockets import WebSocket

from alpaca_strategy.simulator import stream_bars
from alpaca_strategy.simulator.data_requests import (
    AUTOMATIC,
    CHANNELS,
    ERRORS,
    FATAL,
    RefusedActionError,
    wanted_channels,
)
from alpaca_strategy.simulator.reel import BAR_DELAY, MINUTE, SymbolDay
from alpaca_strategy.simulator.store import new_york_day
from alpaca_strategy.simulator.stream_batch import TEST_FEED, TEST_SYMBOL, Batch, Reel, Shelf
from alpaca_strategy.simulator.stream_connection import Connection
from alpaca_strategy.simulator.stream_encode import JSON, MSGPACK
from alpaca_strategy.simulator.stream_faults import StreamRule
from alpaca_strategy.simulator.stream_status import status
from alpaca_strategy.simulator.telling import Event

if TYPE_CHECKING:
    from alpaca_strategy.simulator.streams import Streams


class DataConnection(Connection):
    """One client of a market-data feed."""

    stream = "data"

    def __init__(
        self, streams: Streams, websocket: WebSocket, shelf: Shelf, symbols: Iterable[str]
    ) -> None:
        kind = websocket.headers.get("content-type", "").lower()
        self.codec = MSGPACK if kind.startswith("application/msgpack") else JSON
        super().__init__(streams, websocket, websocket.url.path, self.codec.opcode)
        self._feed = feed = websocket.url.path.rsplit("/", 1)[-1]
        self._shelf = shelf
        self._symbols = {TEST_SYMBOL} if feed == TEST_FEED else set(symbols)
        self.channels: dict[str, set[str]] = {channel: set() for channel in CHANNELS}
        self._reel = Reel(shelf, feed, self.codec)
        self._daily: dict[str, tuple[SymbolDay, stream_bars.Daily]] = {}
        self._headers = (
            websocket.headers.get("apca-api-key-id"),
            websocket.headers.get("apca-api-secret-key"),
        )

    # Messages

    def encode(self, content: object) -> bytes:
        """Return an object alone in an array."""
        return self.codec.message([self.codec.item(content)])

    def messages(self, items: Sequence[bytes]) -> list[bytes]:
        """Return items as arrays of no more than the venue puts into one."""
        size = self.streams.options.frame_trades
        return [self.codec.message(items[n : n + size]) for n in range(0, len(items), size)]

    def padded(self, message: bytes, padding: str) -> bytes:
        """Return an array that begins with a large object of no known type."""
        return self.codec.prepend(self.codec.item({"T": "padding", "msg": padding}), message)

    def nonsense(self, rule: StreamRule) -> bytes:
        """Return an item of a type that nobody knows."""
        return self.encode({"T": "zz", "S": "AAPL", "v": rule.draw.randrange(100)})

    def error(self, code: int, *, close: bool) -> None:
        """Tell an error, and close if it is a grave one."""
        self.say({"T": "error", "code": code, "msg": ERRORS.get(code, "error")})
        if close or code in FATAL:
            self.socket.shut(1008, ERRORS.get(code, ""))

    # The conversation

    async def serve(self) -> None:
        """Welcome, authenticate, and take subscriptions."""
        streams = self.streams
        if streams.faults.take("no_welcome", self.stream, streams.now_ns()) is not None:
            await self.ignore()
        self.say({"T": "success", "msg": "connected"})
        try:
            if self._headers[0] is not None:
                self._authenticate(*self._headers)
            async with asyncio.timeout(streams.options.auth_timeout_s):
                while self.place is None:
                    self._attend(await self.heard())
            while True:
                self._attend(await self.heard())
        except TimeoutError:
            self.error(404, close=True)
        except RefusedActionError as refused:
            self.error(refused.args[0], close=True)
        await self.ignore()

    def _attend(self, raw: str | bytes) -> None:
        """Do what a client asks.

        Raises:
            RefusedActionError: It ends the conversation.
        """
        try:
            self._act(raw)
        except RefusedActionError as refused:
            if refused.args[0] in FATAL:
                raise
            self.error(refused.args[0], close=False)

    def _act(self, raw: str | bytes) -> None:
        try:
            asked = self.codec.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            asked = None
        if not isinstance(asked, dict):
            raise RefusedActionError(400)
        action = asked.get("action")
        if action == "auth":
            if self.place is not None:
                raise RefusedActionError(403)
            self._authenticate(asked.get("key"), asked.get("secret"))
        elif action not in {"subscribe", "unsubscribe"}:
            raise RefusedActionError(400)
        elif self.place is None:
            raise RefusedActionError(401)
        else:
            self._subscribe(action, asked)

    def _authenticate(self, key: object, secret: object) -> None:
        streams = self.streams
        failing = streams.faults.take("auth_fail", self.stream, streams.now_ns()) is not None
        if failing or not streams.knows(key, secret):
            raise RefusedActionError(402)
        if self._feed == "sip" and not streams.sip_allowed:
            raise RefusedActionError(409)
        if not self.enter(str(key), streams.options.max_connections):
            raise RefusedActionError(406)
        self.say({"T": "success", "msg": "authenticated"})

    def _subscribe(self, action: str, asked: dict[str, Any]) -> None:
        """Change what is told, wholly or not at all, and acknowledge all of it."""
        self.streams.catch_up()  # what is due already belongs to the subscription of before
        channels = {channel: set(symbols) for channel, symbols in self.channels.items()}
        for channel, symbols in wanted_channels(asked).items():
            if action == "subscribe":
                channels[channel] |= symbols
            else:
                channels[channel] -= symbols
        limit = self.streams.options.symbols_limit
        named = channels["trades"] | channels["quotes"]
        if limit and action == "subscribe" and ("*" in named or len(named) > limit):
            raise RefusedActionError(405)
        rule = self.streams.faults.take("short_ack", self.stream, self.streams.now_ns())
        if rule is not None:
            missing = rule.options["symbols"] or sorted(named)[: int(rule.options["count"])]
            channels = {channel: known - set(missing) for channel, known in channels.items()}
        self.channels = channels
        begin = self.streams.now_ns()
        self._reel.begin(self._all(channels["trades"]), self._all(channels["quotes"]), begin)
        acknowledged = {channel: sorted(symbols) for channel, symbols in channels.items()}
        acknowledged |= dict.fromkeys(AUTOMATIC, acknowledged["trades"])
        self.say({"T": "subscription", **acknowledged})
        self.streams.became_ready(self)

    def _all(self, symbols: set[str]) -> set[str]:
        """Return the symbols meant, of those that are listed here."""
        return self._symbols if "*" in symbols else symbols & self._symbols

    # What is told

    def next_row(self) -> int | None:
        """Return when the next trade or quote may be due."""
        return self._reel.next_due()

    def next_mark(self, after: int) -> int | None:
        """Return when the next bars are due."""
        channels, times = self.channels, []
        if channels["bars"] or channels["dailyBars"] or channels["lulds"]:
            times.append(MINUTE)
        if channels["updatedBars"]:
            times.append(stream_bars.HALF)
        since = after - BAR_DELAY
        return min(((since - part) // MINUTE * MINUTE + MINUTE + part + BAR_DELAY
                    for part in times), default=None)  # fmt: skip

    def jump(self, now_ns: int) -> None:
        """Go on from another time; what lies between is not told."""
        self._reel.jump(now_ns)

    def tell_until(self, now_ns: int) -> None:
        """Tell everything that is due up to a time, bars last."""
        since = self._reel.position
        disturbed = self.telling.disturbed(now_ns)
        found = self._reel.take(now_ns)
        if disturbed:
            for batch, first, end in found:
                self.tell(list(_events(batch, first, end)), now_ns)
        elif found and self.socket.open:
            self.send([row for batch, first, end in found for row in batch.rows[first:end]])
        mark = self.next_mark(since)
        if mark is not None and mark <= now_ns:
            events = [
                Event(self.codec.item(item), item["S"], item["T"]) for item in self._bars(mark)
            ]
            self.tell(events, now_ns)

    def _bars(self, mark: int) -> Iterator[dict[str, Any]]:
        """Return the bars that are told at a time."""
        end = mark - BAR_DELAY
        day = new_york_day(end - 1)
        channels = self.channels
        if end % MINUTE:
            for one in self._days(channels["updatedBars"], day):
                for start in stream_bars.revised(one, mark - MINUTE, mark):
                    bar = stream_bars.minute(one, start, mark)
                    if bar is not None:
                        yield stream_bars.item("u", one.symbol, bar)
            return
        for one in self._days(channels["bars"], day):
            bar = stream_bars.minute(one, end - MINUTE, mark)
            if bar is not None:
                yield stream_bars.item("b", one.symbol, bar)
        for one in self._days(channels["dailyBars"], day):
            bar = self._daily_of(one).at(end)
            if bar is not None:
                yield stream_bars.item("d", one.symbol, bar)
        for one in self._days(channels["lulds"], day):
            bar = stream_bars.minute(one, end - MINUTE, mark)
            if bar is not None:
                yield stream_bars.band(one, bar, end)

    def _days(self, symbols: set[str], day: Any) -> list[SymbolDay]:
        return [self._shelf.day(self._feed, symbol, day) for symbol in sorted(self._all(symbols))]

    def _daily_of(self, day: SymbolDay) -> stream_bars.Daily:
        """Return the daily bar in the making, a new one if the day is another."""
        known = self._daily.get(day.symbol)
        if known is None or known[0] is not day:
            known = self._daily[day.symbol] = (day, stream_bars.Daily(day))
        return known[1]

    def halt(self, about: dict[str, Any], plan: Callable[[str], str]) -> None:
        """Tell that trading in a symbol, or in all of them, is halted or goes on."""
        wanted = self._all(self.channels["statuses"])
        named = wanted if about["symbol"] is None else wanted & {about["symbol"]}
        events = []
        for symbol in sorted(named):
            item = status(about, symbol, plan(symbol))
            events.append(Event(self.codec.item(item), symbol, "s"))
        self.tell(events, self.streams.now_ns())

    def report(self) -> dict[str, Any]:
        """Return what the judge wants to know."""
        channels = {name: sorted(symbols) for name, symbols in self.channels.items() if symbols}
        return {**super().report(), "channels": channels}


def _events(batch: Batch, first: int, end: int) -> Iterator[Event]:
    for n in range(first, end):
        yield Event(batch.rows[n], batch.symbols[n], batch.kinds[n])
