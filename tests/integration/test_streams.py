"""The streams' client against the simulator's websockets, with every fault that they know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scripted_streams import FAST, PATIENCE_S, Ear
from stream_clients import order

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.broker.recent_trades import RecentTrades
from alpaca_strategy.broker.streams import StreamTiming, VenueStreams
from alpaca_strategy.domain.market import Feed
from alpaca_strategy.domain.orders import TradeUpdate
from alpaca_strategy.domain.streams import (
    MarketFrame,
    Stream,
    StreamEvent,
    StreamLost,
    StreamNonsense,
    StreamReady,
)
from alpaca_strategy.market.bars import build_session_bars
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.live_tape import LiveTape
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator

pytestmark = pytest.mark.integration
START = datetime(2026, 10, 5, 13, 30, tzinfo=UTC)
SESSION = exchange_calendar().session(date(2026, 10, 5))
SYMBOLS = ("F", "GM", "TSLA", "AAPL", "MSFT")
TABLE = load_condition_table("alpaca")


def at(**after: float) -> str:
    return (START + timedelta(**after)).isoformat()


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*given: Any, **named: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(6 * PATIENCE_S):
                await test(*given, **named)

        asyncio.run(bounded())

    return run


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    options: dict[str, Any] = {"trades": 4000, "requests_per_minute": 100_000}
    with running_simulator(
        seed=7, now=at(), paused=True, zombie_s=0, partial_prob=0, **options
    ) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: RunningSimulator) -> RunningSimulator:
    running.clear()
    running.clock(set=at(), paused=True)
    running.reset_account()
    return running


class NoPace:
    """Lets every request pass."""

    def acquire(self) -> None:
        """Wait for nothing."""

    def push_back(self, seconds: float) -> None:
        """Wait for nothing."""


class Follower:
    """A client of both streams in lock-step, with a tape that its data go to."""

    def __init__(self, simulator: RunningSimulator, timing: StreamTiming, **more: Any) -> None:
        keys = (simulator.key, simulator.secret)
        root = simulator.url.replace("http", "ws")
        self.simulator = simulator
        self.streams = VenueStreams(
            **{
                "data_url": f"{root}/v2/iex", "updates_url": f"{root}/stream", "symbols": SYMBOLS,
                "data_keys": keys, "keys": keys, "timing": timing, **more,
            }
        )  # fmt: skip
        self.ear = Ear()
        self.tape = LiveTape(SESSION, SYMBOLS, TABLE)
        self._history = RecentTrades(
            MarketData(
                key=simulator.key, secret=simulator.secret, feed=Feed.IEX, pace=NoPace(),
                url=simulator.url, trading_url=simulator.url,
            )
        )  # fmt: skip

    def hear(self, event: StreamEvent) -> None:
        self.ear(event)
        if isinstance(event, MarketFrame):
            self.tape.extend(event.trades)
            self.tape.correct(event.corrections)
            self.tape.cancel(event.cancels)

    async def advance(self, **after: float) -> None:
        """Move the venue's time; return when all that it sent has arrived."""
        told = await asyncio.to_thread(self.simulator.advance, at(**after))
        await self.streams.received(Stream.DATA, told["data_frames"])
        await self.streams.received(Stream.UPDATES, told["update_frames"])

    async def fault(self, action: str, stream: str | None = None, **options: Any) -> None:
        await asyncio.to_thread(lambda: self.simulator.ws(action, stream, **options))

    async def history(self, **until: float) -> pa.Table:
        """Return the venue's tape from the open to a moment."""
        end = START + timedelta(**until)
        return await asyncio.to_thread(self._history.trades, list(SYMBOLS), START, end)

    async def ready(self, count: int) -> None:
        await self.ear.until(StreamReady, count)

    def lost(self, stream: Stream) -> list[str]:
        return [event.reason for event in self.ear.of(StreamLost) if event.stream is stream]

    async def must_have_the_bars_of_the_history(self, minutes: int) -> None:
        """Compare the first minutes, bit for bit."""
        whole = build_session_bars(await self.history(minutes=minutes), SESSION, SYMBOLS, TABLE)
        shape = (len(SYMBOLS), SESSION.minutes)
        wanted = np.stack(
            [np.asarray(whole[n].cast(pa.float64())).reshape(shape) for n in BAR_COLUMNS], axis=-1
        ).transpose(1, 0, 2)
        observed = np.asarray(whole["observed"]).reshape(shape).T
        values, seen = self.tape.bars(minutes)
        assert seen.any(axis=0).all()
        assert seen.tobytes() == observed[:minutes].tobytes()
        assert values.tobytes() == wanted[:minutes].tobytes()


@asynccontextmanager
async def following(
    simulator: RunningSimulator, timing: StreamTiming = FAST, **more: Any
) -> AsyncIterator[Follower]:
    """Follow both streams, from when they are ready until the block ends."""
    follower = Follower(simulator, timing, **more)
    task = asyncio.create_task(follower.streams.run(follower.hear))
    try:
        await follower.ready(2)
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("packed", [True, False])
@asynchronous
async def test_streamed_trades_make_the_bars_of_the_venues_history(
    simulator: RunningSimulator, packed: bool
) -> None:
    async with following(simulator, packed=packed) as follower:
        for minute in range(1, 7):
            await follower.advance(minutes=minute)
        await follower.must_have_the_bars_of_the_history(4)  # corrections take a minute
        assert follower.tape.counts.rejected == follower.tape.counts.duplicates == 0
    assert not follower.ear.of(StreamLost)
    assert not follower.ear.of(StreamNonsense)


@asynchronous
async def test_corrections_and_cancels_reach_the_tape(simulator: RunningSimulator) -> None:
    simulator.damage("correct_trade", "F", "2026-10-05", nth=20, price=99.0)
    simulator.damage("cancel_trade", "TSLA", "2026-10-05", nth=10)
    async with following(simulator) as follower:
        for minute in range(1, 9):
            await follower.advance(minutes=minute)
        await follower.must_have_the_bars_of_the_history(5)
        frames = follower.ear.of(MarketFrame)
        assert any(frame.corrections for frame in frames)
        assert any(frame.cancels for frame in frames)
        updates = follower.tape.table()["update"].to_pylist()
        assert {"incorrect", "corrected", "canceled"} <= set(updates)


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ("dup", {"min": 1, "max": 3}),
        ("reorder", {"window": 10}),
        ("delay", {"seconds": 8.0}),
        ("split_frame", {"bytes": 11, "for_s": 600}),
        ("huge_frame", {"bytes": 1_500_000, "times": 3}),
    ],
)
@asynchronous
async def test_a_strange_telling_makes_the_same_bars(
    simulator: RunningSimulator, action: str, options: dict[str, Any]
) -> None:
    async with following(simulator) as follower:
        await follower.fault(action, "data", **options)
        for half in range(1, 11):
            await follower.advance(seconds=30 * half)
        await follower.must_have_the_bars_of_the_history(3)
        counts = follower.tape.counts
        assert (counts.duplicates > 0) == (action == "dup")
        assert (action not in {"reorder"}) or counts.late > 0
    assert not follower.ear.of(StreamLost)


@asynchronous
async def test_what_is_not_told_comes_from_the_history(simulator: RunningSimulator) -> None:
    async with following(simulator) as follower:
        await follower.fault("drop", "data", prob=0.3)
        for minute in range(1, 6):
            await follower.advance(minutes=minute)
        before = follower.tape.counts.trades
        added = follower.tape.extend_table(await follower.history(minutes=5))
        assert added > before / 10
        await follower.must_have_the_bars_of_the_history(3)


@pytest.mark.parametrize("code", [1006, 1011, 4000])
@asynchronous
async def test_a_gap_is_filled_from_the_history(simulator: RunningSimulator, code: int) -> None:
    async with following(simulator) as follower:
        await follower.advance(minutes=1)
        await follower.fault("handshake_429", "data", for_s=100)
        await follower.fault("close", "data", code=code)
        await follower.ear.until(StreamLost)
        await follower.advance(minutes=3)
        await follower.ready(3)
        await follower.advance(minutes=6)
        assert follower.streams.frames(Stream.DATA) > 0
        assert follower.tape.extend_table(await follower.history(minutes=3)) > 0
        await follower.must_have_the_bars_of_the_history(4)


@asynchronous
async def test_a_black_hole_is_found_and_left(simulator: RunningSimulator) -> None:
    timing = replace(FAST, ping_s=0.1, pong_s=0.2)
    async with following(simulator, timing) as follower:
        await follower.advance(minutes=1)
        await follower.fault("blackhole")
        await follower.ready(4)
        for stream in Stream:
            assert follower.lost(stream)[0].endswith("the line is dead")
        await follower.advance(minutes=2)
        assert follower.streams.frames(Stream.DATA) > 0


@asynchronous
async def test_a_mute_stream_is_dropped_by_whoever_notices(simulator: RunningSimulator) -> None:
    timing = replace(FAST, ping_s=0.05, pong_s=PATIENCE_S)
    async with following(simulator, timing) as follower:
        await follower.fault("mute", "data")
        before = follower.streams.frames(Stream.DATA)
        await follower.advance(minutes=3)
        assert follower.streams.frames(Stream.DATA) == before
        assert not follower.ear.of(StreamLost)  # its pongs come
        follower.streams.reconnect(Stream.DATA, "mute")
        await follower.ready(3)
        await follower.advance(minutes=4)
        assert follower.streams.frames(Stream.DATA) > 0
        assert follower.lost(Stream.DATA) == ["mute"]


@pytest.mark.parametrize(
    ("action", "options", "reason"),
    [
        ("handshake_429", {}, "HTTP 429"),
        ("no_welcome", {}, "left us waiting"),
        ("auth_fail", {}, "refuses the keys"),
    ],
)
@asynchronous
async def test_a_venue_that_does_not_let_us_in_is_tried_again(
    simulator: RunningSimulator, action: str, options: dict[str, Any], reason: str
) -> None:
    simulator.ws(action, times=2, **options)
    async with following(simulator, replace(FAST, greeting_s=0.5)) as follower:
        await follower.advance(minutes=1)
        assert follower.streams.frames(Stream.DATA) > 0
    for stream in Stream:
        assert len(follower.lost(stream)) == 2
        assert all(reason in told for told in follower.lost(stream))


@asynchronous
async def test_a_subscription_granted_in_part_is_asked_for_again(
    simulator: RunningSimulator,
) -> None:
    simulator.ws("short_ack", symbols=["GM"])
    async with following(simulator) as follower:
        assert follower.lost(Stream.DATA) == [
            "the venue granted trades of 4 of 5 symbols, without GM"
        ]


@asynchronous
async def test_too_many_symbols_are_given_up() -> None:
    options: dict[str, Any] = {"stream_symbols_limit": 3, "zombie_s": 0}
    with running_simulator(now=at(), paused=True, **options) as small:
        follower = Follower(small, FAST)
        task = asyncio.create_task(follower.streams.run(follower.hear))
        await follower.ear.until(StreamLost, FAST.refusals)
        task.cancel()
    assert all("so many symbols (405" in told for told in follower.lost(Stream.DATA))
    assert follower.ear.of(StreamLost)[-1].final


@asynchronous
async def test_a_place_that_is_taken_is_waited_for(simulator: RunningSimulator) -> None:
    async with following(simulator) as first:
        second = Follower(simulator, FAST)
        task = asyncio.create_task(second.streams.run(second.hear))
        await second.ear.until(StreamLost, 4)
        assert not second.ear.of(StreamReady)
        assert not any(event.final for event in second.ear.of(StreamLost))
        assert "406" in second.lost(Stream.DATA)[0]
        assert "limit" in second.lost(Stream.UPDATES)[0]
        assert not first.ear.of(StreamLost)
        first.streams.reconnect(Stream.DATA, "makes room")
        await second.ear.until(StreamLost, 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynchronous
async def test_nonsense_is_told_of_and_nothing_else_is_lost(simulator: RunningSimulator) -> None:
    async with following(simulator) as follower:
        await asyncio.to_thread(order, simulator, "F", 5, "mine-2")
        await follower.advance(seconds=30)
        for action in ("garbage", "null_data", "unknown_type", "unknown_event"):
            await follower.fault(action)
        await follower.fault("error", "data", code=500)
        for minute in range(1, 5):
            await follower.advance(minutes=minute)
        await follower.must_have_the_bars_of_the_history(2)
        assert follower.streams.unknown == {"zz": 1}
        of = [event.stream for event in follower.ear.of(StreamNonsense)]
        # Random bytes on both; an error on the one, an update without content on the other.
        assert (of.count(Stream.DATA), of.count(Stream.UPDATES)) == (2, 2)
        events = [update.event for update in follower.ear.of(TradeUpdate)]
        assert events[-1] == "struck_by_lightning"
    assert not follower.ear.of(StreamLost)


@asynchronous
async def test_a_slow_client_is_told_and_comes_back(simulator: RunningSimulator) -> None:
    async with following(simulator) as follower:
        await follower.fault("error", "data", code=407)
        await follower.ready(3)
        assert "too slowly" in follower.lost(Stream.DATA)[0]


@asynchronous
async def test_halts_are_told(simulator: RunningSimulator) -> None:
    async with following(simulator) as follower:
        halts: list[tuple[str, bool, bool]] = []
        steps: list[tuple[str | None, bool, dict[str, str]]] = [
            ("F", True, {"code": "H", "reason": "T1"}),
            ("F", False, {}),
            ("AAPL", True, {"code": "P", "reason": "LUDP"}),
            ("AAPL", False, {}),
            (None, True, {"code": "H", "reason": "MWC1"}),
            (None, False, {}),
        ]
        for number, (symbol, halted, about) in enumerate(steps, 1):
            await asyncio.to_thread(simulator.halt, symbol, halted=halted, **about)
            await follower.advance(seconds=number)
        for frame in follower.ear.of(MarketFrame):
            halts += [(halt.symbol, halt.halted, halt.market_wide) for halt in frame.halts]
    single = [halt for halt in halts if not halt[2]]
    assert single[:4] == [
        ("F", True, False), ("F", False, False), ("AAPL", True, False), ("AAPL", False, False),
    ]  # fmt: skip
    assert sorted(single[4:9]) == [(symbol, True, False) for symbol in sorted(SYMBOLS)]
    assert [halt[1] for halt in halts if halt[2]] == [True] * len(SYMBOLS) + [False]


@asynchronous
async def test_the_life_of_an_order_is_told(simulator: RunningSimulator) -> None:
    async with following(simulator) as follower:
        answer = await asyncio.to_thread(order, simulator, "F", 5, "mine-1")
        await follower.advance(minutes=1)
        updates: list[TradeUpdate] = follower.ear.of(TradeUpdate)
        assert {update.order.id for update in updates} == {answer["id"]}
        assert {update.order.client_order_id for update in updates} == {"mine-1"}
        last = updates[-1]
        assert (last.event, last.position_qty) == ("fill", 5)
        assert last.fill is not None
        assert (last.fill.qty, last.fill.cum_qty, last.fill.symbol) == (5, 5, "F")
        truth = await asyncio.to_thread(simulator.truth)
        (fill,) = truth["fills"]
        assert str(last.fill.price) == str(fill["price"])
    assert not follower.ear.of(StreamNonsense)
