"""A recorded day of the consolidated tape, streamed with disconnects: the bars of the whole tape.

The simulator replays the tape in lock-step, as fast as it is taken, with late trades as a real
stream has them. Again and again the connection is cut, and the venue lets nobody in for a while;
what was missed then comes from its history. The bars must be those of the recorded file itself,
bit for bit. The broker's clients are the real ones; what the trader does with them stands here in
a few lines.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scripted_streams import FAST, Ear

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.broker.recent_trades import RecentTrades
from alpaca_strategy.broker.streams import VenueStreams
from alpaca_strategy.domain.market import Feed
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
from tests.parity.test_vendor_2013_bars import SYMBOLS, recorded_tape

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
TABLE = load_condition_table("vendor-2013")
STEP = timedelta(seconds=20)
CUT_EVERY = 40  # steps
OVERLAP = timedelta(seconds=30)


class NoPace:
    def acquire(self) -> None:
        """Wait for nothing."""

    def push_back(self, seconds: float) -> None:
        """Wait for nothing."""


class Day:
    """Follows one recorded day."""

    def __init__(self, simulator: RunningSimulator, day: date) -> None:
        self.simulator = simulator
        self.session = exchange_calendar().session(day)
        self.tape = LiveTape(self.session, SYMBOLS, TABLE)
        self.ear = Ear()
        keys = (simulator.key, simulator.secret)
        root = simulator.url.replace("http", "ws")
        self.streams = VenueStreams(
            data_url=f"{root}/v2/sip", updates_url=f"{root}/stream", symbols=SYMBOLS,
            data_keys=keys, keys=keys, timing=FAST,
        )  # fmt: skip
        self._history = RecentTrades(
            MarketData(
                key=simulator.key, secret=simulator.secret, feed=Feed.SIP, pace=NoPace(),
                url=simulator.url, trading_url=simulator.url,
            )
        )  # fmt: skip
        self.streamed = self.filled = 0

    def hear(self, event: StreamEvent) -> None:
        if isinstance(event, MarketFrame):
            self.streamed += len(event.trades)
            self.tape.extend(event.trades)
        else:
            self.ear(event)

    async def advance(self, to: datetime) -> None:
        told = await asyncio.to_thread(self.simulator.advance, to.isoformat())
        await self.streams.received(Stream.DATA, told["data_frames"])

    async def follow(self, start: datetime, end: datetime) -> int:
        """Follow the day with disconnects; return how many there were."""
        draw = random.Random(3)
        cuts, now, steps = 0, start, 0
        while now < end:
            steps += 1
            if steps % CUT_EVERY:
                now += STEP
                await self.advance(now)
            else:
                cuts += 1
                now = await self._cut(cuts, now, draw.uniform(1, 300))
            if steps % 7 == 0:
                self.tape.bars(1)
        return cuts

    async def _cut(self, number: int, now: datetime, gap_s: float) -> datetime:
        """Lose the connection for a while, and fill the gap; return the time after it."""
        code = (1006, 1011, 1001)[number % 3]
        ready, lost = len(self.ear.of(StreamReady)), len(self.ear.of(StreamLost))
        await asyncio.to_thread(
            lambda: self.simulator.ws("handshake_429", "data", for_s=max(gap_s - 1, 0.5))
        )
        await asyncio.to_thread(lambda: self.simulator.ws("close", "data", code=code))
        await self.ear.until(StreamLost, lost + 1)
        back = now + timedelta(seconds=gap_s)
        await self.advance(back)
        await self.ear.until(StreamReady, ready + 1)
        missing = await asyncio.to_thread(self._history.trades, list(SYMBOLS), now - OVERLAP, back)
        self.filled += self.tape.extend_table(missing)
        return back


def bits(table: pa.Table, minutes: int) -> tuple[bytes, bytes]:
    shape = (len(SYMBOLS), minutes)
    values = np.stack(
        [np.asarray(table[name].cast(pa.float64())).reshape(shape) for name in BAR_COLUMNS], axis=-1
    )
    observed = np.asarray(table["observed"]).reshape(shape)
    return values.transpose(1, 0, 2).tobytes(), observed.T.tobytes()


@pytest.mark.parametrize(("day", "frame_trades"), [("2013-10-07", 50), ("2013-10-08", 200)])
def test_the_streamed_tape_has_the_bars_of_the_recorded_one(
    shared_data: Path, day: str, frame_trades: int, record_property: pytest.RecordProperty
) -> None:
    start = datetime.fromisoformat(day).replace(hour=13, minute=25, tzinfo=UTC)
    end = start.replace(hour=20, minute=30)
    recorded = recorded_tape(shared_data, date.fromisoformat(day))

    async def follow(simulator: RunningSimulator) -> tuple[Day, int]:
        one = Day(simulator, date.fromisoformat(day))
        task = asyncio.create_task(one.streams.run(one.hear))
        await one.ear.until(StreamReady, 2)
        cuts = await one.follow(start, end)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return one, cuts

    with running_simulator(
        replay=shared_data / "tape", now=start.isoformat(), paused=True, recent_sip=True,
        zombie_s=0, requests_per_minute=100_000, frame_trades=frame_trades,
    ) as simulator:  # fmt: skip
        one, cuts = asyncio.run(follow(simulator))

    counts = one.tape.counts
    for name, value in (("cuts", cuts), ("streamed", one.streamed), ("filled", one.filled),
                        ("late", counts.late), ("again", counts.duplicates)):  # fmt: skip
        record_property(name, value)
    assert cuts > 20
    assert one.filled > 1000
    assert counts.late > 100
    assert counts.duplicates > 100
    assert counts.rejected == 0
    assert not one.ear.of(StreamNonsense)
    wanted = build_session_bars(recorded, one.session, SYMBOLS, TABLE)
    values, observed = one.tape.bars()
    assert (values.tobytes(), observed.tobytes()) == bits(wanted, one.session.minutes)
