"""Simulated time: moved by hand in lock-step, or followed at a rate; schedules in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest
import requests
from stream_clients import DataClient, UpdatesClient, listening, order, rest, subscribed

from alpaca_strategy.errors import ServiceUnavailableError
from alpaca_strategy.simulator.encode import parse_timestamp
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator

pytestmark = pytest.mark.integration
START = datetime(2026, 10, 5, 13, 30, tzinfo=UTC)
SYMBOLS = ["F", "GM", "TSLA", "AAPL", "MSFT"]


def at(**after: float) -> str:
    return (START + timedelta(**after)).isoformat()


def ns(**after: float) -> int:
    return parse_timestamp(at(**after))


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with running_simulator(seed=7, now=at(), paused=True, zombie_s=0) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: RunningSimulator) -> RunningSimulator:
    running.clear()
    running.clock(set=at(), paused=True, rate=1)
    running.reset_account()
    return running


SCHEDULE = """
- {at: "+00:01:00", do: ws, action: dup, stream: updates, for_s: 120}
- {at: "+00:02:00", do: ws, action: drop, stream: data, prob: 0.3, for_s: 30}
- {at: "+00:02:30", do: exchange, partial_prob: 0.9, cancel_race: fill}
- {at: 2026-10-05T09:33:00-04:00, do: trading_halt, symbol: F, halted: true}
- {at: "+00:03:10", do: damage, kind: spike, symbol: GM, session: "2026-10-05", count: 3}
- {at: "+00:03:20", do: trading_halt, symbol: F, halted: false}
- {at: "+00:03:30", do: external_order, symbol: TSLA, side: buy, qty: "3", fill_price: "100"}
- {at: "+00:03:40", do: ws, action: reorder, stream: updates, window: 4, for_s: 60}
- {at: "+00:04:00", do: account, trading_blocked: true}
- {at: "+00:04:30", do: account, trading_blocked: false}
- {at: "+00:05:00", do: ws, action: garbage}
"""


def a_run(seed: int, folder: Path) -> tuple[list[str], list[bytes], list[bytes], list[Any]]:
    """Return what a run told on both sockets, and what the exchange wrote down."""
    plan = folder / "schedule.yaml"
    plan.write_text(SCHEDULE)
    options: dict[str, Any] = {"seed": seed, "now": at(), "paused": True, "schedule": plan}
    with running_simulator(**options) as simulator, listening(simulator) as updates:
        channels = {"trades": SYMBOLS, "bars": SYMBOLS, "updatedBars": SYMBOLS, "quotes": ["F"]}
        with subscribed(simulator, **channels, statuses=["F"]) as data:
            for second in range(0, 360, 5):
                if second % 30 == 0:
                    symbol = SYMBOLS[second // 30 % 5]
                    with suppress(requests.HTTPError):  # the account is blocked for a while
                        order(simulator, symbol, 3 + second % 7, f"o-{second}")
                heard(data, updates, simulator.advance(at(seconds=second + 5)))
            truth = simulator.truth()
        outcomes = [item["outcome"] for item in simulator.schedule()]
    assert outcomes == ["done"] * len(outcomes)
    return outcomes, data.raw, updates.raw, [truth["orders"], truth["fills"], truth["posts"]]


def heard(data: DataClient, updates: UpdatesClient, told: dict[str, int]) -> None:
    """Read what a move of the clock told, garbage included."""
    while len(data.raw) < told["data_frames"]:
        raw = data.socket.recv(20)
        assert isinstance(raw, bytes)
        data.raw.append(raw)
    while len(updates.raw) < told["update_frames"]:
        raw = updates.socket.recv(20)
        assert isinstance(raw, bytes)
        updates.raw.append(raw)


def digest(messages: list[bytes]) -> str:
    return hashlib.sha256(b"".join(messages)).hexdigest()


def test_the_same_seed_schedule_and_requests_give_the_same_run(tmp_path: Path) -> None:
    first, second = a_run(7, tmp_path), a_run(7, tmp_path)
    assert digest(first[1]) == digest(second[1])
    assert digest(first[2]) == digest(second[2])
    assert first[3] == second[3]
    assert len(first[1]) > 50
    assert len(first[2]) > 20
    assert len(first[3][1]) > 5
    other = a_run(8, tmp_path)
    assert digest(first[1]) != digest(other[1])
    assert first[3] != other[3]


def test_a_move_tells_everything_up_to_its_end_and_nothing_beyond(
    simulator: RunningSimulator,
) -> None:
    with subscribed(simulator, packed=False, trades=["TSLA"]) as client:
        for minute in (1, 2, 3):
            told = simulator.advance(ns(minutes=minute))
            assert told["now_ns"] == ns(minutes=minute) == simulator.clock()["now_ns"]
            client.drain(told)
            assert len(client.raw) == told["data_frames"]
            assert all(parse_timestamp(one["t"]) <= told["now_ns"] for one in client.items)
        last = max(parse_timestamp(one["t"]) for one in client.items)
    tape = rest(simulator, "trades", "TSLA", start=at(), end=at(minutes=3))
    assert last == parse_timestamp(tape[-1]["t"])


def test_small_steps_and_great_ones_tell_the_same(simulator: RunningSimulator) -> None:
    runs = []
    for step in (1, 300):
        simulator.clock(set=at())
        with subscribed(simulator, trades=["F", "TSLA"], bars=["F"], quotes=["F"]) as client:
            for second in range(step, 301, step):
                client.drain(simulator.advance(at(seconds=second)))
        runs.append([json.dumps(item, default=str) for item in client.items])
    assert runs[0] == runs[1]
    assert len(runs[0]) > 200


def test_what_happens_between_is_in_order_of_time(simulator: RunningSimulator) -> None:
    simulator.schedule(
        {"at": "+00:00:10", "do": "external_order", "symbol": "F", "side": "buy", "qty": "1"},
        {"at": "+00:00:05", "do": "external_order", "symbol": "GM", "side": "buy", "qty": "1"},
    )
    with listening(simulator) as client:
        client.drain(simulator.advance(at(minutes=1)))
    told = [json.loads(raw)["data"] for raw in client.raw]
    times = [parse_timestamp(update["timestamp"]) for update in told]
    assert times == sorted(times)
    assert [update["order"]["symbol"] for update in told if update["event"] == "fill"] == [
        "GM", "F",
    ]  # fmt: skip
    submitted = {u["order"]["symbol"]: parse_timestamp(u["order"]["submitted_at"]) for u in told}
    assert submitted == {"F": ns(seconds=10), "GM": ns(seconds=5)}


def test_time_moves_only_forwards_and_only_when_it_stands_still(
    simulator: RunningSimulator,
) -> None:
    simulator.advance(at(minutes=1))
    with pytest.raises(ValueError, match="already"):
        simulator.advance(at(seconds=30))
    assert simulator.advance(at(minutes=1))["now_ns"] == ns(minutes=1)
    simulator.clock(paused=False)
    with pytest.raises(ValueError, match="pause it first"):
        simulator.advance(at(minutes=2))


def test_frames_are_counted_on_the_newest_connection(simulator: RunningSimulator) -> None:
    assert simulator.advance(at(seconds=1))["data_frames"] == 0
    with subscribed(simulator, trades=["F"]) as client:
        assert simulator.advance(at(minutes=1))["data_frames"] > 0
        client.socket.close()
    with subscribed(simulator, trades=["F"]) as client:
        told = simulator.advance(at(minutes=1))
        assert told["data_frames"] == 0
        client.drain(simulator.advance(at(minutes=2)))
        assert len(client.raw) > 0
    assert simulator.advance(at(minutes=2))["data_frames"] == 0


@pytest.mark.parametrize("size", [1, 7])
def test_trades_share_messages_as_far_as_allowed(size: int) -> None:
    with (
        running_simulator(now=at(), paused=True, frame_trades=size) as simulator,
        subscribed(simulator, trades=SYMBOLS) as client,
    ):
        for minute in range(1, 6):
            client.drain(simulator.advance(at(minutes=minute)))
    assert max(len(msgpack.unpackb(raw)) for raw in client.raw) == size


def test_setting_the_clock_jumps_over_what_lies_between(simulator: RunningSimulator) -> None:
    with subscribed(simulator, packed=False, trades=["TSLA"]) as client:
        order(simulator, "F", 1, "before", time_in_force="gtc", type="limit", limit_price="1")
        simulator.clock(set=at(hours=2))
        client.drain(simulator.advance(at(hours=2, minutes=1)))
        first = parse_timestamp(client.of("t")[0]["t"])
        assert first > ns(hours=2) - 10_000_000_000
        seen = len(client.items)
        simulator.clock(set=at())
        client.drain(simulator.advance(at(minutes=1)))
        assert parse_timestamp(client.items[seen]["t"]) < ns(minutes=1)
    assert simulator.truth()["orders"][0]["status"] == "new"


def test_a_running_clock_is_followed(simulator: RunningSimulator) -> None:
    channels = {"trades": ["TSLA"], "bars": ["TSLA"]}
    with listening(simulator) as updates, subscribed(simulator, packed=False, **channels) as client:
        simulator.clock(rate=120, paused=False)
        order(simulator, "TSLA", 1, "running")
        while len(client.of("b")) < 2:
            client.read()
            now = simulator.clock()["now_ns"]
            assert all(parse_timestamp(item["t"]) <= now for item in client.items)
        while "fill" not in updates.events:
            updates.read()
    simulator.clock(paused=True)
    bars = rest(simulator, "bars", "TSLA", start=at(), end=at(minutes=2), timeframe="1Min")
    # The second bar is out, so the first was told of every trade but late ones.
    assert client.of("b")[0]["o"] == bars[0]["o"]


def test_a_clock_set_going_in_the_middle_wakes_the_streams(simulator: RunningSimulator) -> None:
    with subscribed(simulator, packed=False, trades=["TSLA"]) as client:
        with pytest.raises(TimeoutError):
            client.socket.recv(0.2)
        simulator.clock(paused=False, rate=60)
        assert client.read()[0]["S"] == "TSLA"


def test_a_schedule_happens_at_its_time(simulator: RunningSimulator) -> None:
    simulator.schedule(
        {"at": at(minutes=1), "do": "fault", "action": "status", "code": 503, "times": 1},
        {"at": "+00:02:00", "do": "clear"},
        {"at": "+00:03:00", "do": "trading_halt", "symbol": "NOSUCH"},
    )
    simulator.advance(at(seconds=59))
    assert simulator.truth()["faults"] == []
    simulator.advance(at(minutes=1))
    assert [one["action"] for one in simulator.truth()["faults"]] == ["status"]
    simulator.advance(at(minutes=5))
    assert simulator.truth()["faults"] == []
    outcomes = [item["outcome"] for item in simulator.schedule()][-3:]
    assert outcomes[:2] == ["done", "done"]
    assert "NOSUCH" in outcomes[2]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- {at: noon, do: clear}", "is not a time"),
        ("- {at: 2026-10-05T10:15:00, do: clear}", "no time zone"),
        ("- {at: +00:45:00, do: dance}", "`do: dance` does not exist"),
        ("- {do: clear}", "needs `at` and `do`"),
        ("- {at: 2026-10-05T09:00:00-04:00, do: clear}", "lies before the start"),
        ("- {at: +00:45:00, do: ws, action: sing}", "action 'sing' does not exist"),
        ("at: now", "is a list of items"),
        ("- {at: [", "cannot be read"),
    ],
)
def test_a_wrong_schedule_is_refused_in_one_sentence(tmp_path: Path, text: str, why: str) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text)
    starting = running_simulator(now=at(), paused=True, schedule=plan)
    with pytest.raises(ServiceUnavailableError) as refused, starting:
        pass
    said = str(refused.value)
    assert why in said
    assert str(plan) in said
    assert "Traceback" not in said


def test_recorded_trades_are_late_by_the_same_lot_every_time(shared_data: Path) -> None:
    session = datetime(2013, 10, 7, 13, 30, tzinfo=UTC)
    runs = []
    options: dict[str, Any] = {"replay": shared_data / "tape", "paused": True, "recent_sip": True}
    for share in (0.05, 0.05, 0):
        with (
            running_simulator(now=session.isoformat(), late_share=share, **options) as simulator,
            subscribed(simulator, path="/v2/sip", trades=["AIG"]) as client,
        ):
            client.drain(simulator.advance((session + timedelta(minutes=10)).isoformat()))
        runs.append([(item["i"], item["t"]) for item in client.of("t")])
    assert runs[0] == runs[1]
    late, again, in_time = ([(t.seconds, t.nanoseconds) for _, t in run] for run in runs)
    assert sum(a > b for a, b in pairwise(late)) > 10
    assert late == again
    assert in_time == sorted(in_time)
