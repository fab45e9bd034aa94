"""The simulator's websockets: what they say, to whom, and in which order."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from alpaca.data.live import StockDataStream
from alpaca.trading.stream import TradingStream
from stream_clients import (
    DataClient,
    data_client,
    get,
    headers,
    listening,
    order,
    rest,
    subscribed,
    updates_client,
)
from websockets.exceptions import ConnectionClosed

from alpaca_strategy.simulator.encode import parse_timestamp
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.simulator.stream_encode import JSON, MSGPACK, Columns, Moment

pytestmark = pytest.mark.integration
START = datetime(2026, 10, 5, 13, 30, tzinfo=UTC)
BAR_FIELDS = ("o", "h", "l", "c", "v", "n", "vw")


def at(**after: float) -> str:
    return (START + timedelta(**after)).isoformat()


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    options: dict[str, Any] = {"zombie_s": 0, "auth_timeout_s": 1.0, "partial_prob": 0}
    with running_simulator(seed=7, now=at(), paused=True, **options) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: RunningSimulator) -> RunningSimulator:
    running.clear()
    running.clock(set=at(), paused=True)
    running.reset_account()
    return running


def nanoseconds(moment: Any) -> int:
    """Return a time as either encoding tells it."""
    if isinstance(moment, msgpack.Timestamp):
        return moment.seconds * 1_000_000_000 + moment.nanoseconds
    return parse_timestamp(moment)


# What is told


@pytest.mark.parametrize("packed", [True, False])
def test_every_trade_of_the_tape_is_told_once_in_order_of_arrival(
    simulator: RunningSimulator, packed: bool
) -> None:
    with subscribed(simulator, packed=packed, trades=["F", "TSLA"]) as client:
        client.drain(simulator.advance(at(hours=2, seconds=15)))
    hour = {"start": at(), "end": at(hours=2)}
    for symbol in ("F", "TSLA"):
        told = [item for item in client.of("t") if item["S"] == symbol]
        ids = [item["i"] for item in told]
        assert ids == sorted(ids)  # an id grows with the time of arrival
        times = [nanoseconds(item["t"]) for item in told]
        assert times != sorted(times)  # some were late
        by_id = {item["i"]: item for item in told}
        tape = [trade for trade in rest(simulator, "trades", symbol, **hour)
                if trade.get("u") != "corrected"]  # fmt: skip
        # A report may be for a trade of before the subscription, and only those are not told.
        assert len(tape) > 1000
        for trade in tape:
            item = by_id[trade["i"]]
            assert nanoseconds(item["t"]) == parse_timestamp(trade["t"])
            assert {k: item[k] for k in "pscxz"} == {k: trade[k] for k in "pscxz"}


def test_streamed_bars_with_their_updates_are_the_bars_that_the_venue_serves(
    simulator: RunningSimulator,
) -> None:
    session = "2026-10-05"
    simulator.damage("cancel_trade", "F", session, nth=900)
    simulator.damage("correct_trade", "F", session, nth=950)
    channels = {"bars": ["F", "AAPL"], "updatedBars": ["F", "AAPL"], "dailyBars": ["F"]}
    with subscribed(simulator, **channels) as client:
        client.drain(simulator.advance(at(hours=9)))
    revised = client.of("u")
    assert len(revised) > 2
    for symbol in ("F", "AAPL"):
        final = {}
        for item in client.items:
            if item["S"] == symbol and item["T"] in {"b", "u"}:
                final[nanoseconds(item["t"])] = item
        served = rest(simulator, "bars", symbol, start=at(), end=at(hours=8), timeframe="1Min")
        assert len(served) > 300
        for bar in served:
            item = final[parse_timestamp(bar["t"])]
            assert [item[k] for k in BAR_FIELDS] == [bar[k] for k in BAR_FIELDS]
    day = rest(simulator, "bars", "F", start=session, end=session, timeframe="1Day")[0]
    last = client.of("d")[-1]
    assert [last[k] for k in BAR_FIELDS] == [day[k] for k in BAR_FIELDS]
    assert nanoseconds(last["t"]) == parse_timestamp(day["t"])


def test_a_late_trade_changes_its_bar_at_the_half_minute(simulator: RunningSimulator) -> None:
    channels = {"trades": ["F"], "bars": ["F"], "updatedBars": ["F"]}
    with subscribed(simulator, **channels) as client:
        for half_minute in range(1, 2 * 390):
            seen = len(client.items)
            client.drain(simulator.advance(at(seconds=30 * half_minute, milliseconds=60)))
            fresh = [item["T"] for item in client.items[seen:]]
            if half_minute % 2:
                assert "b" not in fresh
            else:
                assert "u" not in fresh
    assert client.of("u")


def test_corrections_and_cancels_come_by_themselves_a_minute_later(
    simulator: RunningSimulator,
) -> None:
    simulator.damage("cancel_trade", "F", "2026-10-05", nth=30)
    simulator.damage("correct_trade", "F", "2026-10-05", nth=40, price=1.25)
    with subscribed(simulator, trades=["F"]) as client:
        client.drain(simulator.advance(at(minutes=10)))
    trades = {item["i"]: item for item in client.of("t")}
    (cancel,) = client.of("x")
    gone = trades[cancel["i"]]
    assert [cancel[k] for k in "xpstz"] == [gone[k] for k in "xpstz"]
    assert cancel["a"] == "C"
    (correction,) = client.of("c")
    old = trades[correction["oi"]]
    assert [correction[f"o{k}"] for k in "psc"] == [old[k] for k in "psc"]
    assert correction["cp"] == 1.25
    assert correction["ci"] not in trades
    served = rest(simulator, "trades", "F", start=at(), end=at(minutes=10))
    assert [trade["i"] for trade in served if trade.get("u") == "corrected"] == [correction["ci"]]


def test_a_trade_cancelled_after_the_fact_is_taken_back_at_once(
    simulator: RunningSimulator,
) -> None:
    with subscribed(simulator, trades=["F"], updatedBars=["F"]) as client:
        client.drain(simulator.advance(at(minutes=20)))
        simulator.damage("cancel_trade", "F", "2026-10-05", nth=30)
        client.drain(simulator.advance(at(minutes=20, seconds=1)))
        (cancel,) = client.of("x")
        client.drain(simulator.advance(at(minutes=20, seconds=31)))
    (trade,) = [item for item in client.of("t") if item["i"] == cancel["i"]]
    assert cancel["t"] == trade["t"]
    minute = nanoseconds(trade["t"]) // 60_000_000_000 * 60_000_000_000
    assert minute in {nanoseconds(item["t"]) for item in client.of("u")}


def test_quotes_are_those_that_orders_are_filled_at(simulator: RunningSimulator) -> None:
    with subscribed(simulator, quotes=["F"]) as client:
        client.drain(simulator.advance(at(minutes=5)))
        order(simulator, "F", 1, "cheap")
        client.drain(simulator.advance(at(minutes=6)))
    quotes = client.of("q")
    assert len(quotes) > 50
    assert all(0 < item["bp"] < item["ap"] for item in quotes)
    assert all(min(item["bs"], item["as"]) > 0 for item in quotes)
    (fill,) = simulator.truth()["fills"]
    assert float(fill["price"]) in {item["ap"] for item in quotes}


def test_halts_are_told_as_statuses_in_the_plans_own_words(simulator: RunningSimulator) -> None:
    with subscribed(simulator, statuses=["F", "TSLA"]) as client:  # tape A and tape C
        simulator.halt("F", code="H", reason="T1")
        simulator.halt("TSLA", code="P", reason="LUDP")
        simulator.halt("AAPL")
        simulator.halt("TSLA", halted=False)
        simulator.halt(None, code="H", reason="MWC1")
        while len(client.of("s")) < 5:
            client.read()
    told = [(item["S"], item["sc"], item["rc"], item["z"]) for item in client.of("s")]
    assert told == [
        ("F", "2", "P", "A"), ("TSLA", "P", "LUDP", "C"), ("TSLA", "T", "R4", "C"),
        ("F", "2", "1", "A"), ("TSLA", "H", "MWC1", "C"),
    ]  # fmt: skip


def test_price_bands_surround_the_price(simulator: RunningSimulator) -> None:
    with subscribed(simulator, lulds=["F"], bars=["F"]) as client:
        client.drain(simulator.advance(at(minutes=3)))
    bands, bars = client.of("l"), client.of("b")
    assert len(bands) == len(bars) == 2 or len(bands) == len(bars) == 3
    assert all(band["d"] < bar["c"] < band["u"] for band, bar in zip(bands, bars, strict=True))


def test_the_test_feed_trades_day_and_night(simulator: RunningSimulator) -> None:
    simulator.clock(set="2026-10-04T06:00:00Z")  # a Sunday
    channels = {"trades": ["FAKEPACA"], "bars": ["FAKEPACA"], "quotes": ["FAKEPACA"]}
    with subscribed(simulator, path="/v2/test", **channels) as client:
        client.drain(simulator.advance("2026-10-04T06:02:01Z"))
    assert len(client.of("t")) == len(client.of("q")) == 121
    # The minute that had just ended is told too: bars come a moment after the minute.
    assert [item["n"] for item in client.of("b")] == [60, 60, 60]


# How clients are treated


@pytest.mark.parametrize("packed", [True, False])
def test_a_subscription_is_acknowledged_whole(simulator: RunningSimulator, packed: bool) -> None:
    with data_client(simulator, packed=packed) as client:
        client.log_in(simulator)
        client.subscribe(trades=["F"], bars=["*"])
        whole = client.subscribe(quotes=["GM"], trades=["TSLA"])
        assert whole == {
            "T": "subscription", "trades": ["F", "TSLA"], "quotes": ["GM"], "bars": ["*"],
            "updatedBars": [], "dailyBars": [], "statuses": [], "lulds": [],
            "corrections": ["F", "TSLA"], "cancelErrors": ["F", "TSLA"],
        }  # fmt: skip
        less = client.answer(action="unsubscribe", trades=["F"], bars=["*"])
        assert (less["trades"], less["bars"], less["quotes"]) == (["TSLA"], [], ["GM"])


def test_a_subscription_of_thousands_comes_in_fragments(simulator: RunningSimulator) -> None:
    letters = {str(n): chr(65 + n) for n in range(10)}
    names = ["Z" + "".join(letters.get(c, c) for c in f"{n:05d}") for n in range(8000)]
    message = msgpack.packb({"action": "subscribe", "bars": [*names, "F"]})
    with data_client(simulator) as client:
        client.log_in(simulator)
        client.socket.send(message[n : n + 32_768] for n in range(0, len(message), 32_768))
        (acknowledged,) = client.read()
        assert len(acknowledged["bars"]) == 8001
        client.drain(simulator.advance(at(minutes=5)))
    assert {item["S"] for item in client.of("b")} == {"F"}  # nobody else is listed


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"action": "dance"}, 400),
        ({"action": "subscribe", "trades": "F"}, 400),
        ({"action": "subscribe", "trades": ["f$"]}, 400),
        ({"action": "subscribe", "candles": ["F"]}, 400),
        ({"action": "subscribe", "news": ["F"]}, 410),
        ({"action": "auth", "key": "a", "secret": "b"}, 403),
        ({"action": "subscribe", "trades": [f"Z{chr(65 + n)}" for n in range(26)], "quotes":
          ["A", "B", "C", "D", "E"]}, 405),
        ({"action": "subscribe", "trades": ["*"]}, 405),
    ],
)  # fmt: skip
def test_mistakes_have_their_codes_and_change_nothing(
    simulator: RunningSimulator, sent: dict[str, Any], code: int
) -> None:
    with subscribed(simulator, trades=["F"]) as client:
        answer = client.answer(**sent)
        assert (answer["T"], answer["code"]) == ("error", code)
        assert client.subscribe(bars=["F"])["trades"] == ["F"]


def test_what_cannot_be_read_is_invalid_syntax(simulator: RunningSimulator) -> None:
    with data_client(simulator, packed=False) as client:
        client.log_in(simulator)
        client.socket.send("{")
        assert client.read()[0]["code"] == 400


def test_nothing_is_told_before_the_keys_are_shown(simulator: RunningSimulator) -> None:
    with data_client(simulator) as client:
        client.read()
        assert client.answer(action="subscribe", trades=["F"])["code"] == 401
        refused = client.answer(action="auth", key=simulator.key, secret=simulator.key)
        assert refused["code"] == 402
        with pytest.raises(ConnectionClosed):
            client.read()


def test_keys_in_the_handshake_are_enough(simulator: RunningSimulator) -> None:
    with data_client(simulator, headers=headers(simulator)) as client:
        assert client.read()[0]["msg"] == "connected"
        assert client.read()[0]["msg"] == "authenticated"
        assert client.answer(action="auth", key="a", secret="b")["code"] == 403
    wrong = headers(simulator) | {"APCA-API-SECRET-KEY": "wrong"}
    with data_client(simulator, headers=wrong) as client:
        client.read()
        assert client.read()[0]["code"] == 402


def closed_by_the_venue(client: DataClient) -> ConnectionClosed:
    """Read until the venue closes the connection, and return how it did."""
    with pytest.raises(ConnectionClosed) as closed:
        client.socket.recv(20)
    return closed.value


def test_who_shows_no_keys_is_shown_out(simulator: RunningSimulator) -> None:
    with data_client(simulator) as client:
        client.read()
        assert client.read()[0]["code"] == 404
        assert closed_by_the_venue(client).rcvd is not None
    with data_client(simulator, "/stream", packed=False) as client:
        ended = closed_by_the_venue(client).rcvd
        assert ended is not None
        assert ended.reason == "authentication timed out"


def test_the_consolidated_feed_needs_a_subscription(simulator: RunningSimulator) -> None:
    with data_client(simulator, "/v2/sip") as client:
        client.read()
        answer = client.answer(action="auth", key=simulator.key, secret=simulator.secret)
        assert answer["code"] == 409
    with running_simulator(now=at(), paused=True, recent_sip=True) as generous:
        with subscribed(generous, path="/v2/sip", trades=["F"]) as client:
            client.drain(generous.advance(at(minutes=2)))
        assert len({item["x"] for item in client.of("t")}) > 3


def log_in_code(client: DataClient, simulator: RunningSimulator) -> int | None:
    """Return the error that a log-in meets, or None."""
    client.read()
    answer = client.answer(action="auth", key=simulator.key, secret=simulator.secret)
    return answer.get("code")


def test_a_key_has_one_connection_to_each_stream(simulator: RunningSimulator) -> None:
    with subscribed(simulator, trades=["F"]) as first:
        with data_client(simulator) as second:
            assert log_in_code(second, simulator) == 406
        with data_client(simulator, "/v2/test") as other:
            assert log_in_code(other, simulator) is None
        assert first.subscribe(bars=["F"])["trades"] == ["F"]
    with data_client(simulator) as third:
        assert log_in_code(third, simulator) is None


def test_a_connection_lost_without_a_word_keeps_its_place_for_a_while() -> None:
    with running_simulator(now=at(), paused=True, zombie_s=1.5) as simulator:
        with data_client(simulator, close_timeout=0) as client:
            assert log_in_code(client, simulator) is None
            client.socket.socket.shutdown(2)
        codes = []
        while not codes or codes[-1] is not None:
            with data_client(simulator) as client:
                codes.append(log_in_code(client, simulator))
        assert set(codes[:-1]) == {406}
        assert simulator.truth()["connections"]["turned_away"] == {"/v2/iex": len(codes) - 1}


def test_all_symbols_are_one_star_where_nothing_limits_them() -> None:
    with (
        running_simulator(now=at(), paused=True, stream_symbols_limit=0) as simulator,
        subscribed(simulator, trades=["*"]) as client,
    ):
        client.drain(simulator.advance(at(seconds=30)))
    assert len({item["S"] for item in client.of("t")}) > 25


def test_compression_is_agreed_to_and_used_where_asked_for() -> None:
    with (
        running_simulator(now=at(), paused=True, deflate=True) as simulator,
        subscribed(simulator, packed=False, trades=["F"]) as client,
    ):
        names = [one.name for one in client.socket.protocol.extensions]
        client.drain(simulator.advance(at(minutes=1)))
    assert names == ["permessage-deflate"]
    assert {item["S"] for item in client.of("t")} == {"F"}


def read_for_ever(client: DataClient) -> None:
    while True:
        client.read()


def test_a_client_that_does_not_read_is_dropped() -> None:
    options = {"send_buffer": 65_536, "rate": 1e5, "stream_symbols_limit": 0, "seed": 7}
    with running_simulator(now=at(), paused=True, **options) as simulator:
        with subscribed(simulator, packed=False, trades=["*"], quotes=["*"]) as client:
            simulator.clock(paused=False)
            while not simulator.truth()["connections"]["dropped"]:
                pass
            with pytest.raises(ConnectionClosed):
                read_for_ever(client)
        assert simulator.truth()["connections"]["live"] == []


# Trade updates


@pytest.mark.parametrize("spelling", ["authenticate", "auth"])
def test_updates_tell_what_becomes_of_an_order(simulator: RunningSimulator, spelling: str) -> None:
    key, secret = simulator.key, simulator.secret
    said: dict[str, Any] = {"action": "auth", "key": key, "secret": secret}
    if spelling == "authenticate":
        said = {"action": "authenticate", "data": {"key_id": key, "secret_key": secret}}
    with updates_client(simulator) as client:
        client.send(said)
        assert client.read() == {
            "stream": "authorization", "data": {"status": "authorized", "action": "authenticate"},
        }  # fmt: skip
        client.listen()
        order(simulator, "F", 5, "one")
        client.drain(simulator.advance(at(minutes=1)))
    assert client.events[-2:] == ["new", "fill"]
    fill = json.loads(client.raw[-1])["data"]
    assert (fill["qty"], fill["position_qty"], fill["order"]["status"]) == ("5", "5", "filled")
    assert fill["order"]["client_order_id"] == "one"
    ledger = simulator.truth()["fills"]
    assert [one["execution_id"] for one in ledger] == [fill["execution_id"]]


def test_nobody_listens_without_keys(simulator: RunningSimulator) -> None:
    with updates_client(simulator) as client:
        client.send({"action": "listen", "data": {"streams": ["trade_updates"]}})
        assert client.read()["data"] == {"status": "unauthorized", "action": "listen"}
        client.send({"action": "authenticate", "data": {"key_id": "a", "secret_key": "b"}})
        assert client.read()["data"] == {"status": "unauthorized", "action": "authenticate"}
        order(simulator, "F", 1, "unheard")
        assert simulator.advance(at(minutes=1))["update_frames"] == 0


def test_a_second_listener_of_a_key_is_closed(simulator: RunningSimulator) -> None:
    with (
        listening(simulator),
        updates_client(simulator) as second,
        pytest.raises(ConnectionClosed, match="connection limit exceeded"),
    ):
        second.log_in(simulator)
    with listening(simulator):
        pass


# The genuine client


def stream_in_thread(stream: Any) -> threading.Thread:
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    return thread


def until(simulator: RunningSimulator, endpoint: str, good: Callable[[Any], bool]) -> None:
    """Wait until a connection is as wanted."""
    while not any(
        one["endpoint"] == endpoint and good(one)
        for one in simulator.truth()["connections"]["live"]
    ):
        pass


@pytest.mark.parametrize("raw_data", [True, False])
def test_alpaca_py_hears_the_market(simulator: RunningSimulator, raw_data: bool) -> None:
    simulator.damage("cancel_trade", "F", "2026-10-05", nth=20)
    simulator.damage("correct_trade", "F", "2026-10-05", nth=25)
    stream = StockDataStream(
        simulator.key,
        simulator.secret,
        raw_data=raw_data,
        url_override=simulator.url.replace("http", "ws") + "/v2/iex",
    )
    heard: dict[str, list[Any]] = {}
    done = threading.Event()

    def hear(kind: str) -> Callable[[Any], Any]:
        async def handler(item: Any) -> None:
            heard.setdefault(kind, []).append(item)
            if kind == "status":
                done.set()

        return handler

    stream.subscribe_trades(hear("trade"), "F")
    stream.subscribe_quotes(hear("quote"), "F")
    stream.subscribe_bars(hear("bar"), "F")
    stream.subscribe_updated_bars(hear("updated"), "F")
    stream.subscribe_daily_bars(hear("daily"), "F")
    stream.subscribe_trading_statuses(hear("status"), "F")
    stream._handlers["corrections"]["F"] = hear("correction")
    stream._handlers["cancelErrors"]["F"] = hear("cancel")
    thread = stream_in_thread(stream)
    until(simulator, "/v2/iex", lambda one: one["ready"])
    simulator.advance(at(minutes=6))
    simulator.halt("F")
    assert done.wait(20)
    stream.stop()
    simulator.halt("F", halted=False)  # the client looks up only when something comes
    thread.join(20)
    served = rest(simulator, "trades", "F", start=at(), end=at(minutes=5))
    if raw_data:
        told = {item["i"]: item["p"] for item in heard["trade"]}
    else:
        told = {item.id: item.price for item in heard["trade"]}
    assert len(served) > 20
    assert all(told[t["i"]] == t["p"] for t in served if t.get("u") != "corrected")
    for kind in ("quote", "bar", "updated", "daily", "correction", "cancel"):
        first = heard[kind][0]
        assert (first["S"] if raw_data else first.symbol) == "F"


@pytest.mark.parametrize("raw_data", [True, False])
def test_alpaca_py_hears_of_orders(simulator: RunningSimulator, raw_data: bool) -> None:
    stream = TradingStream(
        simulator.key,
        simulator.secret,
        raw_data=raw_data,
        url_override=simulator.url.replace("http", "ws") + "/stream",
    )
    heard: list[Any] = []
    done = threading.Event()

    async def handler(update: Any) -> None:
        heard.append(update["data"] if raw_data else update.model_dump(mode="json"))
        if heard[-1]["event"] == "fill":
            done.set()

    stream.subscribe_trade_updates(handler)
    thread = stream_in_thread(stream)
    until(simulator, "/stream", lambda one: one["ready"])
    order(simulator, "F", 3, "heard")
    simulator.advance(at(minutes=1))
    assert done.wait(20)
    fill = heard[-1]
    stream.stop()
    order(simulator, "GM", 3, "nudge", type="limit", limit_price="1")
    thread.join(20)
    assert fill["order"]["client_order_id"] == "heard"
    assert float(fill["position_qty"]) == 3
    orders = get(simulator, "/v2/orders", status="all", symbols="F")
    assert [one["status"] for one in orders] == ["filled"]


def fixtures(shared_data: Path, category: str) -> list[dict[str, Any]]:
    with gzip.open(shared_data / "oracles" / "alpaca_payloads.json.gz") as file:
        found = json.load(file)["fixtures"]
    return [one for one in found if one["category"] == category]


@pytest.mark.parametrize("category", ["ws_b", "ws_t", "ws_q", "ws_s", "ws_x"])
def test_payloads_written_by_others_survive_both_encodings(
    shared_data: Path, category: str
) -> None:
    for one in fixtures(shared_data, category):
        payload = one["payload"]
        time = payload["t"]["__msgpack_timestamp__"]
        ns = time["seconds"] * 1_000_000_000 + time["nanoseconds"]
        sent = {**payload, "t": Moment(ns)}
        packed = MSGPACK.message([MSGPACK.item(sent)])
        theirs = msgpack.unpackb(base64.b64decode(one["msgpack_b64_reencoded_by_us"]))
        assert msgpack.unpackb(packed) == theirs
        assert theirs[0]["t"] == msgpack.Timestamp(time["seconds"], time["nanoseconds"])
        (text,) = json.loads(JSON.message([JSON.item(sent)]))
        assert parse_timestamp(text.pop("t")) == ns
        assert text == {key: value for key, value in payload.items() if key != "t"}


def test_trades_laid_out_many_at_once_are_those_encoded_one_by_one(shared_data: Path) -> None:
    (one,) = fixtures(shared_data, "ws_t")
    payload = one["payload"]
    columns = Columns(
        symbol=np.array([0, 1, 0]),
        symbols=[payload["S"], "BRK.B"],
        plans=[payload["z"], "A"],
        ts=np.array([10_000_000_010, 1_790_000_000_123_456_789, 2_000_000_000]),
        price=np.array([payload["p"], -0.0001, 123456.789]),
        size=np.array([payload["s"], 4_000_000_000, 0]),
        exchange=np.array([ord(payload["x"])] * 3, np.uint8),
        condition=np.array([0, 1, 2], np.int16),
        conditions=[tuple(payload["c"]), (), ("@", "+suspicious")],
        trade_id=np.array([payload["i"], 2**62, 0]),
    )
    rows = [msgpack.unpackb(row) for row in MSGPACK.trades(columns)]
    assert rows == [msgpack.unpackb(MSGPACK.item(columns.row(n))) for n in range(3)]
    expected = msgpack.unpackb(base64.b64decode(one["msgpack_b64_reencoded_by_us"]))
    assert rows[0] == expected[0]
    texts = [json.loads(row) for row in JSON.trades(columns)]
    assert texts == [json.loads(JSON.item(columns.row(n))) for n in range(3)]


async def _many(simulator: RunningSimulator, count: int) -> list[Any]:
    return await asyncio.gather(*(asyncio.to_thread(simulator.clock) for _ in range(count)))


def test_the_side_door_answers_while_time_is_moved(simulator: RunningSimulator) -> None:
    with subscribed(simulator, trades=["F"]) as client:
        moved: list[dict[str, int]] = []
        mover = threading.Thread(target=lambda: moved.append(simulator.advance(at(hours=3))))
        mover.start()
        readings = asyncio.run(_many(simulator, 8))
        mover.join(20)
        client.drain(moved[0])
    assert all(reading["paused"] for reading in readings)
    assert simulator.clock()["now_ns"] == moved[0]["now_ns"]


def test_the_recorded_tape_is_told_whole(shared_data: Path) -> None:
    opened = datetime(2013, 10, 7, 13, 30, tzinfo=UTC)
    options: dict[str, Any] = {"replay": shared_data / "tape", "recent_sip": True, "late_share": 0}
    with (
        running_simulator(now=opened.isoformat(), paused=True, **options) as simulator,
        subscribed(simulator, path="/v2/sip", trades=["AIG", "FB"]) as client,
    ):
        client.drain(simulator.advance((opened + timedelta(minutes=30)).isoformat()))
        range_ = {
            "start": (opened + timedelta(microseconds=1)).isoformat(),
            "end": (opened + timedelta(minutes=30)).isoformat(),
        }
        symbols = {item["S"] for item in client.of("t")}
        assert "AIG" in symbols
        for symbol in symbols:
            page = get(
                simulator, f"/v2/stocks/{symbol}/trades", feed="sip", limit=10_000, **range_
            )  # fmt: skip
            told = [item for item in client.of("t") if item["S"] == symbol]
            served = page["trades"]
            assert len(served) > 500
            for item, trade in zip(told, served, strict=page["next_page_token"] is None):
                assert nanoseconds(item["t"]) == parse_timestamp(trade["t"])
                assert {k: item[k] for k in "pscxzi"} == {k: trade[k] for k in "pscxzi"}
