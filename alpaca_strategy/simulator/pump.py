"""What makes the venue's time pass: everything happens at its simulated moment, in order.

The pump follows the venue's clock at any rate. When the clock stands still, whoever holds the
side door's token moves time step by step (`advance`), and what has happened is written to the
sockets before the answer: lock-step.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from alpaca_strategy.simulator.data_stream import DataConnection
from alpaca_strategy.simulator.reel import MINUTE
from alpaca_strategy.simulator.schedule import Schedule
from alpaca_strategy.simulator.store import new_york_day
from alpaca_strategy.simulator.stream_batch import Shelf
from alpaca_strategy.simulator.stream_connection import Connection
from alpaca_strategy.simulator.streams import Streams
from alpaca_strategy.simulator.updates_stream import UpdatesConnection
from alpaca_strategy.simulator.wire import answer

if TYPE_CHECKING:
    from alpaca_strategy.simulator.venue import Venue

STEP_NS = MINUTE  # simulated time that may pass before others get their turn
SHORTEST_S, LONGEST_S = 0.002, 0.5  # wall seconds between two looks at the clock
DRAIN_S = 30.0  # wall seconds that a client in lock-step may take to catch up


class Pump:
    """The venue's time, and the streams that it drives.

    Attributes:
        streams: The open websockets.
        schedule: What is planned to happen.
        position: Simulated time in ns up to which everything has happened and is told.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._clock = venue.clock
        self._exchange = venue.exchange
        self.position = self._clock.now_ns()
        self.streams = Streams(venue.options, venue.seed, self.now_ns, self._plan, self.catch_up)
        self.shelf = Shelf(
            venue.store.tape,
            self._exchange.quotes.book,
            late_share=venue.options.streams.late_share,
            recorded=venue.synthetic is None,
        )
        self.schedule = Schedule()
        self._woken = asyncio.Event()
        self._turn = asyncio.Lock()
        self._stepping = self._driven = self._jumped = False
        self.streams.heard = self._woken.set
        self._clock.watchers.append(self._clock_changed)
        self._exchange.poke = self._woken.set
        self._exchange.listeners.append(self.streams.update)
        self._exchange.halt_listeners.append(self._halted)

    def _plan(self, symbol: str) -> str:
        """Return the plan that publishes a symbol: A, B or C."""
        market = self._venue.synthetic
        if market is not None:
            return market.world.companies[symbol].tape
        return self.shelf.day("sip", symbol, new_york_day(self.position)).tape.tape

    # Time

    def now_ns(self) -> int:
        """Return the simulated time that everything has reached."""
        return self.position

    def catch_up(self) -> None:
        """Let everything happen that is due by the clock."""
        if not self._stepping:
            self.step(self._clock.now_ns())

    def _clock_changed(self, *, jumped: bool) -> None:
        """Go on from another time if somebody set the clock; what lies between is not told."""
        if jumped:
            self.position = self._clock.now_ns()
            self._jumped = True
            for connection in self._data():
                connection.jump(self.position)
            self.streams.refresh()
            self._exchange.catch_up()
        self._woken.set()

    def changed(self) -> None:
        """Make the days anew after tapes have changed."""
        self.shelf.changed(self.position)
        self._woken.set()

    def wake(self) -> None:
        """Look again at what is next."""
        self._woken.set()

    def _halted(self, about: dict[str, Any]) -> None:
        self.catch_up()
        self.streams.halt(about)

    def _data(self) -> list[DataConnection]:
        return [one for one in self.streams.live.values() if isinstance(one, DataConnection)]

    def step(self, to: int) -> None:
        """Let everything happen up to a time, in order."""
        if self._stepping:
            return
        self._stepping, self._jumped = True, False
        try:
            while not self._jumped:
                at = min(to, self._next_event() or to)
                self._pass(max(at, self.position))
                if at >= to:
                    return
        finally:
            self._stepping = False

    def _pass(self, at: int) -> None:
        """Let a stretch of time pass in which nothing happens but trades, up to its end."""
        exchange, streams = self._exchange, self.streams
        if self._driven:
            self._clock.stand_at(at)
        moved, self.position = at > self.position, at
        for connection in self._data():
            connection.tell_until(at)
        streams.release(at)
        if moved and streams.faults.rules:
            streams.refresh()
        if at >= exchange.now_ns:  # a request may have carried it further, and it must not go back
            exchange.run_until(at)
        for item in self.schedule.due(at):
            self.schedule.carry_out(item, self._venue)

    def _next_event(self) -> int | None:
        """Return the next moment after the position at which something happens."""
        times = [self._exchange.next_due(), self.schedule.next_due()]
        times.append(self.streams.next_due(self.position))
        times += [connection.next_mark(self.position) for connection in self._data()]
        return min((at for at in times if at is not None and at > self.position), default=None)

    # Following the clock

    async def run(self) -> None:
        """Follow the clock for ever."""
        while True:
            self._woken.clear()
            now = self._clock.now_ns()
            behind = now - self.position > STEP_NS
            self.step(self.position + STEP_NS if behind else now)
            self.streams.drop_slow()
            if behind:
                await asyncio.sleep(0)
            else:
                await self._rest()

    async def _rest(self) -> None:
        """Wait for the next thing to happen, or for somebody to change the clock."""
        rows = [connection.next_row() for connection in self._data()]
        times = [at for at in (*rows, self._next_event()) if at is not None]
        wait = None if self._clock.paused else LONGEST_S
        if wait is not None and times:
            wait = min(max(self._clock.wall_s_until(min(times)), SHORTEST_S), LONGEST_S)
        try:
            async with asyncio.timeout(wait):
                await self._woken.wait()
        except TimeoutError:
            pass

    # Lock-step

    async def advance(self, to: int) -> dict[str, int]:
        """Move a clock that stands still, and answer when everything is written to the sockets.

        Raises:
            ValueError: The clock runs by itself, or stands later already.
        """
        if not self._clock.paused:
            msg = "the clock runs by itself; pause it first"
            raise ValueError(msg)
        async with self._turn:
            if to < self._clock.now_ns():
                msg = f"the clock stands at {self._clock.now_ns()} already, not before {to}"
                raise ValueError(msg)
            self._driven = True
            try:
                while self.position < to and self._clock.paused and not await self._drive(to):
                    pass
            finally:
                self._driven = False
        return {
            "now_ns": self._clock.now_ns(),
            "data_frames": self.streams.frames("data"),
            "update_frames": self.streams.frames("updates"),
        }

    async def _drive(self, to: int) -> bool:
        """Move on by a step; return whether the schedule has set the clock meanwhile."""
        self.step(min(to, self.position + STEP_NS))
        for connection in self.streams.overloaded():
            try:
                async with asyncio.timeout(DRAIN_S):
                    await connection.socket.writable.wait()
            except TimeoutError:
                self.streams.drop_slow()
        if self.position < to:
            await asyncio.sleep(0)  # the sockets write, and others ask
        return self._jumped

    # Connections

    async def serve_data(self, websocket: WebSocket) -> None:
        """Serve a client of a market-data feed."""
        await self._serve(websocket, "data")

    async def serve_updates(self, websocket: WebSocket) -> None:
        """Serve a client of trade updates."""
        await self._serve(websocket, "updates")

    async def _serve(self, websocket: WebSocket, stream: str) -> None:
        self.catch_up()
        refused = self.streams.faults.take("handshake_429", stream, self.position)
        if refused is not None:
            body = {"message": "too many requests."}
            await websocket.send_denial_response(answer(body, int(refused.options["code"])))
            return
        await websocket.accept()
        connection: Connection
        if stream == "data":
            symbols = self._venue.source.symbols
            connection = DataConnection(self.streams, websocket, self.shelf, symbols)
        else:
            connection = UpdatesConnection(self.streams, websocket)
        self.streams.open(connection)
        self._woken.set()
        try:
            await connection.serve()
        except WebSocketDisconnect:
            pass
        finally:
            self.streams.closed(connection)
