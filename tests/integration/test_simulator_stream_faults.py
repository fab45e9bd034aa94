"""What the simulator's websockets do when they are told to be faulty; the ledger stays true."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack
import pytest
from stream_clients import (
    DataClient,
    UpdatesClient,
    data_client,
    listening,
    order,
    rest,
    subscribed,
    updates_client,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.simulator.stream_faults import StreamFaults
from alpaca_strategy.simulator.telling import Event, Telling

pytestmark = pytest.mark.integration
START = datetime(2026, 10, 5, 13, 30, tzinfo=UTC)
SECOND = 1_000_000_000


def at(**after: float) -> str:
    return (START + timedelta(**after)).isoformat()


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with running_simulator(seed=7, now=at(), paused=True, zombie_s=0, partial_prob=0) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: RunningSimulator) -> RunningSimulator:
    running.clear()
    running.clock(set=at(), paused=True)
    running.reset_account()
    return running


@pytest.fixture
def data(simulator: RunningSimulator) -> Iterator[DataClient]:
    with subscribed(simulator, trades=["F", "GM"]) as client:
        yield client


@pytest.fixture
def updates(simulator: RunningSimulator) -> Iterator[UpdatesClient]:
    with listening(simulator) as client:
        yield client


def tape(simulator: RunningSimulator, symbol: str, first: str, last: str) -> list[int]:
    """Return the ids of the trades of a time, from the venue's own pages."""
    found = rest(simulator, "trades", symbol, start=first, end=last)
    return [trade["i"] for trade in found if trade.get("u") != "corrected"]


def ids(client: DataClient) -> list[int]:
    return [item["i"] for item in client.of("t")]


def fired(simulator: RunningSimulator) -> dict[str, int]:
    return {
        f"{one['action']} {one['stream']}": one["fired"]
        for one in simulator.truth()["connections"]["faults"]
    }


# Silence


def test_a_mute_stream_answers_pings_and_goes_on_when_its_time_is_over(
    simulator: RunningSimulator, data: DataClient
) -> None:
    simulator.ws("mute", "data", for_s=60)
    assert simulator.advance(at(seconds=59))["data_frames"] == 0
    assert data.socket.ping().wait(10)
    data.drain(simulator.advance(at(seconds=120)))
    told = ids(data)
    assert set(tape(simulator, "F", at(seconds=60, milliseconds=1), at(seconds=100))) <= set(told)
    assert not set(tape(simulator, "F", at(), at(seconds=45))) & set(told)
    with pytest.raises(TimeoutError):
        data.socket.recv(0.05)


def test_a_muted_connection_is_healed_by_a_new_one(
    simulator: RunningSimulator, data: DataClient
) -> None:
    simulator.ws("mute", "data")
    data.socket.close()
    with subscribed(simulator, trades=["F"]) as again:
        again.drain(simulator.advance(at(minutes=1)))
        assert ids(again)


def test_a_mute_venue_does_not_even_welcome_new_connections(simulator: RunningSimulator) -> None:
    simulator.ws("mute", "data", connections="all")
    with data_client(simulator) as client, pytest.raises(TimeoutError):
        client.socket.recv(0.2)


def test_a_black_hole_answers_nothing_and_hears_late(
    simulator: RunningSimulator, data: DataClient
) -> None:
    simulator.ws("blackhole", "data", for_s=60)
    pong = data.socket.ping()
    data.send(action="subscribe", bars=["F"])
    simulator.advance(at(seconds=30))
    assert not pong.wait(0.2)
    simulator.advance(at(seconds=61))
    assert pong.wait(10)  # the network is back, and what was sent arrives after all
    while data.read()[0]["T"] != "subscription":
        pass


def test_a_half_open_connection_keeps_its_place() -> None:
    with running_simulator(now=at(), paused=True, zombie_s=60) as simulator:
        with subscribed(simulator, trades=["F"]) as client:
            simulator.ws("blackhole", "data")
            client.socket.close_timeout = 0.1
            client.socket.close()
            while simulator.truth()["connections"]["live"]:
                pass
            with data_client(simulator) as second:
                second.read()
                answer = second.answer(action="auth", key=simulator.key, secret=simulator.secret)
        assert answer["code"] == 406


# Ends


@pytest.mark.parametrize("code", [1001, 1011, 4000])
def test_connections_are_closed_with_a_code(
    simulator: RunningSimulator, data: DataClient, updates: UpdatesClient, code: int
) -> None:
    simulator.ws("close", code=code, reason="so be it")
    for client in (data, updates):
        with pytest.raises(ConnectionClosed) as closed:
            client.read()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "so be it")
    assert fired(simulator) == {"close data": 1, "close updates": 1}


def test_a_connection_ends_without_a_word(simulator: RunningSimulator, data: DataClient) -> None:
    simulator.ws("close", "data", code=1006)
    with pytest.raises(ConnectionClosed) as closed:
        data.read()
    assert closed.value.rcvd is None


def test_a_fault_without_a_connection_waits_for_one(simulator: RunningSimulator) -> None:
    simulator.ws("close", "data", times=2)
    for _ in range(2):
        with subscribed(simulator, trades=["F"]) as client, pytest.raises(ConnectionClosed):
            client.read()
    with subscribed(simulator, trades=["F"]) as client:
        client.drain(simulator.advance(at(minutes=1)))
        assert ids(client)


@pytest.mark.parametrize(("code", "ends"), [(500, False), (407, True), (409, True)])
def test_errors_are_told(
    simulator: RunningSimulator, data: DataClient, code: int, ends: bool
) -> None:
    simulator.ws("error", "data", code=code)
    assert data.read()[0]["code"] == code
    if ends:
        with pytest.raises(ConnectionClosed):
            data.read()
    else:
        data.drain(simulator.advance(at(minutes=1)))
        assert ids(data)


# Entry


def test_handshakes_are_refused(simulator: RunningSimulator) -> None:
    simulator.ws("handshake_429", "data", times=2)
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused, data_client(simulator):
            pass
        assert refused.value.response.status_code == 429
    with data_client(simulator) as client:
        client.log_in(simulator)


def test_no_welcome_is_said(simulator: RunningSimulator) -> None:
    simulator.ws("no_welcome")
    with data_client(simulator) as client, pytest.raises(TimeoutError):
        client.socket.recv(0.2)
    with updates_client(simulator) as client:
        client.send({"action": "authenticate", "data": {}})
        with pytest.raises(TimeoutError):
            client.socket.recv(0.2)
    with data_client(simulator) as client:
        client.log_in(simulator)


def test_good_keys_are_refused_once(simulator: RunningSimulator) -> None:
    simulator.ws("auth_fail")
    with data_client(simulator) as client:
        client.read()
        answer = client.answer(action="auth", key=simulator.key, secret=simulator.secret)
        assert answer["code"] == 402
    with updates_client(simulator) as client, pytest.raises(AssertionError):
        client.log_in(simulator)
    with subscribed(simulator, trades=["F"]), listening(simulator):
        assert fired(simulator) == {"auth_fail data": 1, "auth_fail updates": 1}


def test_a_subscription_is_granted_in_part(simulator: RunningSimulator) -> None:
    simulator.ws("short_ack", symbols=["GM"])
    with data_client(simulator) as client:
        client.log_in(simulator)
        assert client.subscribe(trades=["F", "GM"])["trades"] == ["F"]
        client.drain(simulator.advance(at(minutes=1)))
        assert {item["S"] for item in client.of("t")} == {"F"}
        assert client.subscribe(trades=["GM"])["trades"] == ["F", "GM"]


# Events


def test_events_are_told_none_to_three_times(simulator: RunningSimulator, data: DataClient) -> None:
    simulator.ws("dup", "data", symbol="F")
    data.drain(simulator.advance(at(minutes=10, seconds=15)))
    told = Counter(ids(data))
    copies = [told[one] for one in tape(simulator, "F", at(seconds=1), at(minutes=10))]
    assert set(copies) == {0, 1, 2, 3}
    assert {told[one] for one in tape(simulator, "GM", at(seconds=1), at(minutes=10))} == {1}


def test_events_are_dropped_by_chance(simulator: RunningSimulator, data: DataClient) -> None:
    simulator.ws("drop", "data", prob=0.5, seed=3)
    data.drain(simulator.advance(at(minutes=10, seconds=15)))
    wanted = tape(simulator, "F", at(seconds=1), at(minutes=10))
    told = len(set(wanted) & set(ids(data)))
    assert 0.3 * len(wanted) < told < 0.7 * len(wanted)


def test_events_come_late_but_all_of_them(simulator: RunningSimulator, data: DataClient) -> None:
    simulator.ws("delay", "data", seconds=30)
    assert simulator.advance(at(seconds=29))["data_frames"] == 0
    simulator.clear()  # what is held back is told
    data.drain(simulator.advance(at(seconds=29)))
    assert set(tape(simulator, "F", at(milliseconds=1), at(seconds=15))) <= set(ids(data))


def test_events_change_their_order(simulator: RunningSimulator, data: DataClient) -> None:
    simulator.ws("reorder", "data", window=8, seconds=60)
    data.drain(simulator.advance(at(minutes=3)))
    simulator.clear()
    data.drain(simulator.advance(at(minutes=3)))
    told = [item["i"] for item in data.of("t") if item["S"] == "F"]
    assert told != sorted(told)
    assert len(told) == len(set(told))
    assert set(tape(simulator, "F", at(milliseconds=1), at(minutes=2, seconds=45))) <= set(told)


def test_a_lost_fill_is_lost_only_to_the_listener(
    simulator: RunningSimulator, updates: UpdatesClient
) -> None:
    simulator.ws("drop", "updates", event="fill")
    order(simulator, "F", 2, "lost")
    updates.drain(simulator.advance(at(minutes=1)))
    assert "new" in updates.events
    assert "fill" not in updates.events
    truth = simulator.truth()
    assert [fill["qty"] for fill in truth["fills"]] == ["2"]
    assert truth["connections"]["updates_told"] == len(updates.events) + 1


def test_a_fill_told_twice_is_one_execution(
    simulator: RunningSimulator, updates: UpdatesClient
) -> None:
    simulator.ws("dup", "updates", event="fill", min=2, max=2)
    order(simulator, "F", 2, "twice")
    updates.drain(simulator.advance(at(minutes=1)))
    fills = [json.loads(raw)["data"] for raw in updates.raw if b'"event":"fill"' in raw]
    assert [fill["execution_id"] for fill in fills] == [
        simulator.truth()["fills"][0]["execution_id"]
    ] * 2


def test_updates_come_late_and_in_another_order(
    simulator: RunningSimulator, updates: UpdatesClient
) -> None:
    simulator.ws("delay", "updates", event="fill", seconds=20)
    order(simulator, "F", 1, "one")
    simulator.advance(at(seconds=10))
    order(simulator, "GM", 1, "two", type="limit", limit_price="1")
    updates.drain(simulator.advance(at(seconds=15)))
    assert "fill" not in updates.events
    updates.drain(simulator.advance(at(seconds=25)))
    assert updates.events[-1] == "fill"


# Strange voices


def test_garbage_is_sent_between_good_messages(
    simulator: RunningSimulator, data: DataClient, updates: UpdatesClient
) -> None:
    simulator.ws("garbage", bytes=40)
    noise = data.socket.recv(10)
    assert len(noise) == 40
    with pytest.raises((ValueError, msgpack.UnpackException)):
        msgpack.unpackb(noise)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="decode"):
        json.loads(updates.socket.recv(10))
    told = simulator.advance(at(minutes=1))
    data.raw.append(b"")  # the garbage counts as a data message
    data.drain(told)
    assert ids(data)


@pytest.mark.parametrize("packed", [True, False])
def test_messages_come_in_many_frames(simulator: RunningSimulator, packed: bool) -> None:
    with subscribed(simulator, packed=packed, trades=["F"]) as client:
        simulator.ws("split_frame", "data", bytes=7)
        simulator.advance(at(minutes=1))
        pieces = list(client.socket.recv_streaming())
        assert len(pieces) > 10
        assert all(len(piece) <= 7 for piece in pieces)
        whole = b"".join(p if isinstance(p, bytes) else p.encode() for p in pieces)
        found = msgpack.unpackb(whole) if packed else json.loads(whole)
        assert found[0]["S"] == "F"


@pytest.mark.parametrize("packed", [True, False])
def test_a_huge_message_holds_what_it_should(simulator: RunningSimulator, packed: bool) -> None:
    with subscribed(simulator, packed=packed, trades=["F"]) as client:
        simulator.ws("huge_frame", "data")
        client.drain(simulator.advance(at(minutes=2)))
    assert len(client.raw[0]) > 1 << 20
    assert all(len(raw) < 1 << 20 for raw in client.raw[1:])
    wanted = tape(simulator, "F", at(milliseconds=1), at(minutes=1, seconds=45))
    assert set(wanted) <= set(ids(client))


def test_a_huge_update_is_an_update(simulator: RunningSimulator, updates: UpdatesClient) -> None:
    simulator.ws("huge_frame", "updates", bytes=1_200_000)
    order(simulator, "F", 1, "huge")
    updates.drain(simulator.advance(at(minutes=1)))
    assert len(updates.raw[0]) > 1_200_000
    assert updates.events[-1] == "fill"


def test_updates_without_data_and_of_no_known_kind(
    simulator: RunningSimulator, updates: UpdatesClient
) -> None:
    order(simulator, "F", 1, "known")
    updates.drain(simulator.advance(at(minutes=1)))
    simulator.ws("null_data")
    assert updates.read() == {"stream": "trade_updates", "data": None}
    simulator.ws("unknown_event")
    strange = updates.read()["data"]
    assert strange["event"] == "struck_by_lightning"
    assert strange["order"]["client_order_id"] == "known"
    assert simulator.truth()["connections"]["updates_told"] == len(updates.raw) - 2


def test_data_of_no_known_type(simulator: RunningSimulator, data: DataClient) -> None:
    simulator.ws("unknown_type", times=2)
    assert [data.read()[0]["T"] for _ in range(2)] == ["zz", "zz"]


# Rules


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"action": "sing"}, "does not exist"),
        ({"action": "null_data", "stream": "data"}, "happens on updates"),
        ({"action": "mute", "stream": "radio"}, "not on 'radio'"),
        ({"action": "drop", "chance": 1}, r"not \['chance'\]"),
        ({"action": "drop", "prob": "often"}, "must be float"),
        ({"action": "delay", "seconds": -1}, "must not be negative"),
        ({"action": "dup", "min": 4}, "min must not exceed max"),
        ({"action": "mute", "connections": "some"}, "live or all"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_reason(
    simulator: RunningSimulator, rule: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        simulator.ws(**rule)
    assert fired(simulator) == {}


def test_the_same_seed_strikes_the_same_events() -> None:
    def told(seed: int) -> list[bytes]:
        faults = StreamFaults(seed=1)
        faults.add({"action": "dup", "stream": "data", "seed": seed}, 0)
        faults.add({"action": "reorder", "stream": "data", "seed": seed, "window": 3}, 0)
        telling = Telling(faults, "data")
        found = []
        for n in range(50):
            found += telling.pass_on(Event(b"%d" % n, "F", "t"), n)
        return found + telling.flush()

    assert told(3) == told(3)
    assert told(3) != told(4)


def test_a_rule_ends_by_number_and_by_time() -> None:
    faults = StreamFaults()
    faults.add({"action": "drop", "stream": "updates", "times": 2}, 0)
    faults.add({"action": "drop", "stream": "updates", "event": "late", "for_s": 10}, 0)
    telling = Telling(faults, "updates")
    early = [telling.pass_on(Event(b"x", "F", "new"), n) for n in range(4)]
    assert early == [[], [], [b"x"], [b"x"]]
    assert telling.pass_on(Event(b"x", "F", "late"), 10 * SECOND - 1) == []
    assert telling.pass_on(Event(b"x", "F", "late"), 10 * SECOND) == [b"x"]
    assert faults.next_end(0) == 10 * SECOND


def test_what_waits_for_another_order_does_not_wait_for_ever() -> None:
    faults = StreamFaults()
    faults.add({"action": "reorder", "stream": "data", "window": 9, "seconds": 2}, 0)
    telling = Telling(faults, "data")
    assert telling.pass_on(Event(b"x", "F", "t"), SECOND) == []
    assert telling.next_due() == 3 * SECOND
    assert telling.release(3 * SECOND - 1) == []
    assert telling.release(3 * SECOND) == [b"x"]
