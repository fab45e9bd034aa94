"""Connections to a scripted venue on real sockets: greeting, frames, ends, and what comes after."""

from __future__ import annotations

import asyncio
import http
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest
from scripted_streams import (
    FAST,
    KEY,
    OTHER_KEY,
    OTHER_SECRET,
    PATIENCE_S,
    SECRET,
    SYMBOLS,
    Act,
    Ear,
    acknowledge,
    authorize,
    following,
    greet,
    hear,
    listen,
    log_in,
    pack,
    say,
    stay,
    trade,
    venue,
)
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from alpaca_strategy.broker.stream_socket import Ailment, StreamTiming
from alpaca_strategy.broker.streams import VenueStreams, _Pauses
from alpaca_strategy.domain.orders import TradeUpdate
from alpaca_strategy.domain.streams import (
    MarketFrame,
    Stream,
    StreamEvent,
    StreamLost,
    StreamNonsense,
    StreamReady,
)
from alpaca_strategy.errors import SettingsError, VenueUnavailableError

DATA_READY, UPDATES_READY = StreamReady(Stream.DATA), StreamReady(Stream.UPDATES)


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*given: Any, **named: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(3 * PATIENCE_S):
                await test(*given, **named)

        asyncio.run(bounded())

    return run


def sending(*frames: bytes | str | list[bytes]) -> Act:
    """Greet, send frames, and stay."""

    async def act(socket: ServerConnection) -> None:
        await greet(socket)
        for frame in frames:
            await socket.send(frame)
        await socket.wait_closed()

    return act


def refusing(code: int, words: str, *, when: str) -> Act:
    """Answer with an error at one step of the greeting."""

    async def act(socket: ServerConnection) -> None:
        error = [{"T": "error", "code": code, "msg": words}]
        if when == "welcome":
            await say(socket, error)
        elif when == "auth":
            await say(socket, [{"T": "success", "msg": "connected"}])
            await hear(socket)
            await say(socket, error)
        else:
            await log_in(socket)
            await say(socket, error)
        await socket.wait_closed()

    return act


def ids(ear: Ear) -> list[int]:
    return [t.id for frame in ear.of(MarketFrame) for t in frame.trades]


async def trades(ear: Ear, count: int) -> list[int]:
    """Return the ids of the trades once there are so many; frames may be told together."""
    frames = 0
    while len(ids(ear)) < count:
        frames += 1
        await ear.until(MarketFrame, frames)
    return ids(ear)


def lost_data(ear: Ear) -> list[StreamLost]:
    return [event for event in ear.of(StreamLost) if event.stream is Stream.DATA]


# Greeting


@pytest.mark.parametrize("packed", [True, False])
@asynchronous
async def test_a_stream_is_ready_when_its_subscription_is_acknowledged(packed: bool) -> None:
    asked: list[Any] = []
    subscribed, release = asyncio.Event(), asyncio.Event()

    async def act(socket: ServerConnection) -> None:
        assert socket.request is not None
        kind = "application/msgpack" if packed else "application/json"
        assert socket.request.headers["Content-Type"] == kind
        assert "Sec-WebSocket-Extensions" not in socket.request.headers
        asked.append(await log_in(socket))
        subscribed.set()
        await release.wait()
        await acknowledge(socket, asked[0])
        await socket.wait_closed()

    ear = Ear()
    async with venue(act) as scripted, following(scripted.streams(packed=packed), ear):
        await ear.until(StreamReady)
        await subscribed.wait()
        assert ear.events == [UPDATES_READY]
        release.set()
        await ear.until(StreamReady, 2)
        assert ear.events == [UPDATES_READY, DATA_READY]
    names = list(SYMBOLS)
    assert asked == [{"trades": names, "statuses": names, "action": "subscribe"}]


@asynchronous
async def test_what_comes_with_the_acknowledgement_follows_the_readiness() -> None:
    async def act(socket: ServerConnection) -> None:
        asked = await log_in(socket)
        with_ack = socket.protocol
        channels = {name: symbols for name, symbols in asked.items() if name != "action"}
        with_ack.send_binary(pack(trade(1)))  # before it, even
        with_ack.send_binary(pack({"T": "subscription", **channels}))
        for number in range(2, 3000):
            with_ack.send_binary(pack(trade(number)))
        socket.send_data()  # all in one write
        await socket.wait_closed()

    ear = Ear()
    streams: VenueStreams
    async with venue(act) as scripted:
        streams = scripted.streams()
        async with following(streams, ear):
            assert await trades(ear, 2999) == list(range(1, 3000))
            assert streams.frames(Stream.DATA) == 2999
            assert ear.events.index(DATA_READY) < ear.events.index(ear.of(MarketFrame)[0])


@asynchronous
async def test_a_long_subscription_arrives_whole() -> None:
    symbols = [f"SYMBOL{n}" for n in range(8000)]
    asked: list[Any] = []

    async def act(socket: ServerConnection) -> None:
        asked.append(await log_in(socket))
        await acknowledge(socket, asked[0])
        await socket.wait_closed()

    ear = Ear()
    async with (
        venue(act) as scripted,
        following(scripted.streams(symbols=symbols, channels=["trades"]), ear),
    ):
        await ear.until(StreamReady, 2)
    assert asked == [{"trades": symbols, "action": "subscribe"}]


@pytest.mark.parametrize(
    ("code", "when", "sentence"),
    [
        (400, "ack", "does not understand"),
        (401, "ack", "not authenticated"),
        (402, "auth", "refuses the keys"),
        (404, "auth", "too late"),
        (405, "ack", "so many symbols"),
        (406, "auth", "connections are all taken"),
        (409, "auth", "does not include this feed"),
        (410, "ack", "does not have what we asked for"),
        (429, "welcome", "tells an error"),
    ],
)
@asynchronous
async def test_a_refusal_is_told_in_one_sentence_and_tried_again(
    code: int, when: str, sentence: str
) -> None:
    ear = Ear()
    act = refusing(code, f"no {KEY} {SECRET}", when=when)
    async with venue(act, stay) as scripted, following(scripted.streams(), ear):
        await ear.until(StreamReady, 2)
    (lost,) = lost_data(ear)
    assert sentence in lost.reason
    assert str(code) in lost.reason
    assert not lost.final
    assert KEY not in lost.reason
    assert SECRET not in lost.reason


@asynchronous
async def test_keys_that_are_never_accepted_are_given_up() -> None:
    ear = Ear()
    act = refusing(402, "auth failed", when="auth")
    async with venue(act) as scripted, following(scripted.streams(), ear):
        await ear.until(StreamLost, FAST.refusals)
        assert [event.final for event in lost_data(ear)] == [False, False, False, False, True]
        assert scripted.opened["/v2/iex"] == FAST.refusals
        assert UPDATES_READY in ear.events


@asynchronous
async def test_keys_that_were_accepted_once_are_never_given_up() -> None:
    async def drop(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.close()

    ear = Ear()
    refusals = [refusing(402, "auth failed", when="auth")] * (FAST.refusals + 2)
    async with venue(drop, *refusals, stay) as scripted, following(scripted.streams(), ear):
        await ear.until(StreamReady, 3)
    assert len(lost_data(ear)) == len(refusals) + 1
    assert not any(event.final for event in lost_data(ear))


@asynchronous
async def test_both_streams_lost_for_good_end_the_run() -> None:
    async def unauthorized(socket: ServerConnection) -> None:
        await hear(socket)
        data = {"status": "unauthorized", "action": "authenticate"}
        await socket.send(json.dumps({"stream": "authorization", "data": data}))
        await socket.wait_closed()

    ear = Ear()
    act = refusing(402, "auth failed", when="auth")
    async with (
        venue(act, updates=[unauthorized]) as scripted,
        following(scripted.streams(), ear) as task,
    ):
        await task
    given_up = [event.stream for event in ear.of(StreamLost) if event.final]
    assert sorted(given_up) == [Stream.DATA, Stream.UPDATES]
    assert not ear.of(StreamReady)


@asynchronous
async def test_fewer_symbols_than_asked_for_are_not_enough() -> None:
    async def short(socket: ServerConnection) -> None:
        asked = await log_in(socket)
        await acknowledge(socket, {**asked, "trades": ["MSFT"]})
        await socket.wait_closed()

    async def without_statuses(socket: ServerConnection) -> None:
        asked = await log_in(socket)
        await acknowledge(socket, {"trades": asked["trades"]})
        await socket.wait_closed()

    ear = Ear()
    async with venue(short, without_statuses, stay) as scripted, following(scripted.streams(), ear):
        await ear.until(StreamReady, 2)
    first, second = lost_data(ear)
    assert first.reason == "the venue granted trades of 1 of 2 symbols, without AAPL"
    assert second.reason == "the venue granted statuses of 0 of 2 symbols, without AAPL, MSFT"


@pytest.mark.parametrize("packed", [True, False])
@asynchronous
async def test_a_venue_that_does_not_welcome_us_is_left(packed: bool) -> None:
    async def silent(socket: ServerConnection) -> None:
        await socket.wait_closed()

    ear = Ear()
    timing = replace(FAST, greeting_s=0.1)
    async with (
        venue(silent, stay, updates=[silent, listen]) as scripted,
        following(scripted.streams(timing, packed=packed), ear),
    ):
        await ear.until(StreamReady, 2)
    assert all("left us waiting for 0.1 s" in lost.reason for lost in ear.of(StreamLost)[:2])


@asynchronous
async def test_nonsense_in_the_greeting_is_no_welcome() -> None:
    async def wrong(socket: ServerConnection) -> None:
        await say(socket, [{"T": "success", "msg": "hello"}])
        await socket.wait_closed()

    ear = Ear()
    async with venue(wrong, stay) as scripted, following(scripted.streams(), ear):
        await ear.until(StreamReady, 2)
    assert lost_data(ear)[0].reason == "the venue sent something else where a welcome was due"


@asynchronous
async def test_a_venue_that_floods_us_before_we_ask_is_left() -> None:
    async def flood(socket: ServerConnection) -> None:
        while True:
            await socket.send(b"\x90" * 10_000)

    ear = Ear()
    timing = replace(FAST, max_bytes=200_000)
    async with venue(flood, stay) as scripted, following(scripted.streams(timing), ear):
        await ear.until(StreamReady, 2)
    assert "before we have asked" in lost_data(ear)[0].reason


@asynchronous
async def test_the_trading_stream_must_let_us_listen() -> None:
    async def deaf(socket: ServerConnection) -> None:
        await authorize(socket)
        await hear(socket)
        await socket.send(json.dumps({"stream": "listening", "data": {"streams": []}}))
        await socket.wait_closed()

    async def unauthorized(socket: ServerConnection) -> None:
        await hear(socket)
        data = {"status": "unauthorized", "action": "authenticate", "key": OTHER_KEY}
        await socket.send(json.dumps({"stream": "authorization", "data": data}))
        await socket.wait_closed()

    async def strange(socket: ServerConnection) -> None:
        await hear(socket)
        await socket.send(json.dumps({"stream": "error", "data": {"key": OTHER_SECRET}}))
        await socket.wait_closed()

    ear = Ear()
    acts = [deaf, unauthorized, strange, listen]
    async with venue(updates=acts) as scripted, following(scripted.streams(), ear):
        await ear.until(StreamReady, 2)
    reasons = [event.reason for event in ear.of(StreamLost)][:3]
    assert "does not let us listen" in reasons[0]
    assert reasons[1] == "the venue refuses the keys"
    assert "introduction" in reasons[2]
    assert not any(OTHER_SECRET in reason or OTHER_KEY in reason for reason in reasons)


# Handshake


@pytest.mark.parametrize(
    ("status", "location"),
    [(429, None), (401, None), (404, None), (503, None), (302, "/elsewhere")],
)
@asynchronous
async def test_a_refused_handshake_is_tried_again_at_the_same_address(
    status: int, location: str | None
) -> None:
    paths: list[str] = []

    def refuse(socket: ServerConnection, request: Request) -> Response | None:
        paths.append(request.path)
        if paths.count("/v2/iex") > 1 or request.path == "/stream":
            return None
        response = socket.respond(http.HTTPStatus(status), "no\n")
        if location is not None:
            response.headers["Location"] = location
        return response

    ear = Ear()
    async with venue(process_request=refuse) as scripted, following(scripted.streams(), ear):
        await ear.until(StreamReady, 2)
    assert lost_data(ear)[0].reason == f"the venue refuses the handshake with HTTP {status}"
    assert set(paths) == {"/v2/iex", "/stream"}


@asynchronous
async def test_a_line_that_answers_nothing_is_left() -> None:
    held: list[asyncio.StreamWriter] = []

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/iex"
    ear = Ear()
    timing = replace(FAST, open_s=0.1)
    async with venue() as scripted, following(scripted.streams(timing, data_url=url), ear):
        await ear.until(StreamLost, 2)
    assert lost_data(ear)[0].reason == "the venue did not answer the handshake within 0.1 s"
    for writer in held:
        writer.close()
    server.close()


@asynchronous
async def test_nobody_at_the_address_is_told_and_tried_again() -> None:
    gone = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{gone.sockets[0].getsockname()[1]}/v2/iex"
    gone.close()
    await gone.wait_closed()
    ear = Ear()
    async with venue() as scripted, following(scripted.streams(data_url=url), ear):
        await ear.until(StreamLost, 3)
    assert "no connection came about" in lost_data(ear)[0].reason
    assert not any(event.final for event in lost_data(ear))


@asynchronous
async def test_this_machine_is_reached_without_a_proxy() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
            patch.setenv(name, "http://127.0.0.1:9")
        for name in ("no_proxy", "NO_PROXY"):
            patch.delenv(name, raising=False)
        ear = Ear()
        async with venue() as scripted, following(scripted.streams(), ear):
            await ear.until(StreamReady, 2)
    assert not ear.of(StreamLost)


@pytest.mark.parametrize(
    "url", ["", "http://host/v2/iex", "ws://", "ws://host:99999/", "ws://h:0/"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="address"):
        VenueStreams(
            data_url=url, updates_url="ws://host/stream", symbols=(), data_keys=("", ""),
            keys=("", ""),
        )  # fmt: skip


# Frames


@asynchronous
async def test_messages_in_fragments_are_put_together() -> None:
    whole = pack(trade(1), trade(2))
    pieces = [whole[n : n + 7] for n in range(0, len(whole), 7)]
    act = sending(pieces, pack(trade(3)), pieces)
    ear = Ear()
    async with venue(act) as scripted, following(scripted.streams(), ear):
        assert await trades(ear, 5) == [1, 2, 3, 1, 2]
    assert not ear.of(StreamNonsense)


@asynchronous
async def test_nonsense_is_told_of_and_the_stream_goes_on() -> None:
    act = sending(b"\xc1garbage", pack(trade(1)), "not even packed", pack(trade(2)))

    async def updates(socket: ServerConnection) -> None:
        await listen(socket)
        await socket.send(b'{"stream":"trade_updates","data":null}')
        await socket.send(b"\xff")
        await socket.wait_closed()

    ear = Ear()
    async with venue(act, updates=[updates]) as scripted:
        streams = scripted.streams()
        async with following(streams, ear):
            assert await trades(ear, 2) == [1, 2]
            await ear.until(StreamNonsense, 4)
            # Nonsense is something that was sent too.
            assert streams.frames(Stream.DATA) == 4
            assert streams.frames(Stream.UPDATES) == 2
    assert not ear.of(StreamLost)


@asynchronous
async def test_errors_after_the_greeting() -> None:
    async def act(socket: ServerConnection) -> None:
        await greet(socket)
        await say(socket, [{"T": "error", "code": 500, "msg": f"internal error {KEY}"}])
        await socket.send(pack(trade(1)))
        await say(socket, [{"T": "error", "code": 407, "msg": "slow client"}])
        await socket.wait_closed()

    async def updates(socket: ServerConnection) -> None:
        await listen(socket)
        await socket.send(json.dumps({"stream": "error", "data": {"message": OTHER_SECRET}}))
        data = {"status": "unauthorized", "action": "listen"}
        await socket.send(json.dumps({"stream": "authorization", "data": data}))
        await socket.wait_closed()

    ear = Ear()
    streams: VenueStreams
    async with venue(act, stay, updates=[updates, listen]) as scripted:
        streams = scripted.streams()
        async with following(streams, ear):
            await ear.until(StreamReady, 4)
    assert ids(ear) == [1]
    assert "too slowly" in lost_data(ear)[0].reason
    told = " ".join(event.what for event in ear.of(StreamNonsense))
    assert "500 internal error" in told
    assert KEY not in told
    assert OTHER_SECRET not in told


@asynchronous
async def test_trade_updates_arrive_as_text_and_as_bytes() -> None:
    order = {"id": "a-1", "client_order_id": "c", "symbol": "AAPL", "side": "buy", "qty": "1",
             "filled_qty": "0", "status": "new"}  # fmt: skip
    content = {"stream": "trade_updates", "data": {"event": "new", "order": order}}

    async def act(socket: ServerConnection) -> None:
        await listen(socket)
        await socket.send(json.dumps(content))
        await socket.send(json.dumps(content).encode())
        await socket.wait_closed()

    ear = Ear()
    async with venue(updates=[act]) as scripted, following(scripted.streams(), ear):
        first, second = await ear.until(TradeUpdate, 2)
    assert first == second
    assert first.order.id == "a-1"


@asynchronous
async def test_a_message_beyond_all_measure_ends_the_connection() -> None:
    timing = replace(FAST, max_bytes=1000)
    ear = Ear()
    async with (
        venue(sending(pack(*map(trade, range(50)))), stay) as scripted,
        following(scripted.streams(timing), ear),
    ):
        await ear.until(StreamReady, 3)
    assert len(lost_data(ear)) == 1
    assert not ear.of(MarketFrame)


@pytest.mark.parametrize("when", ["ready", "frame", "early"])
@asynchronous
async def test_a_listener_that_fails_ends_the_run_with_its_error(when: str) -> None:
    async def early(socket: ServerConnection) -> None:
        asked = await log_in(socket)
        await socket.send(pack(trade(1)))
        await acknowledge(socket, asked)
        await socket.wait_closed()

    heard: list[StreamEvent] = []

    def listener(event: StreamEvent) -> None:
        heard.append(event)
        wanted = DATA_READY if when == "ready" else None
        if event == wanted or (wanted is None and isinstance(event, MarketFrame)):
            raise ZeroDivisionError

    act = early if when == "early" else sending(*(pack(trade(n)) for n in range(100)))
    async with venue(act) as scripted, following(scripted.streams(), listener) as task:
        with pytest.raises(ZeroDivisionError):
            await task
    assert sum(isinstance(event, MarketFrame) for event in heard) == (when != "ready")


# Ends


@asynchronous
async def test_a_half_open_line_is_found_by_its_missing_pongs() -> None:
    thaw = asyncio.Event()

    async def freeze(socket: ServerConnection) -> None:
        await greet(socket)
        socket.transport.pause_reading()
        await thaw.wait()
        socket.transport.abort()

    timing = replace(FAST, ping_s=0.05, pong_s=0.1)
    ear = Ear()
    async with venue(freeze, stay) as scripted, following(scripted.streams(timing), ear):
        await ear.until(StreamReady, 3)
        (lost,) = lost_data(ear)
        assert lost.reason == "the venue did not answer a ping: the line is dead"
        thaw.set()


def test_a_dead_line_is_found_within_fifteen_seconds_as_we_ship() -> None:
    shipped = StreamTiming()
    assert shipped.ping_s + shipped.pong_s + shipped.close_s < 15
    assert (shipped.ping_s, shipped.pong_s) == (5, 5)


@pytest.mark.parametrize(
    ("code", "words", "reason"),
    [
        (1011, "so be it", "the venue closed the connection with code 1011 (so be it)"),
        (1000, "", "the venue closed the connection with code 1000"),
        (4000, f"not {SECRET}", "the venue closed the connection with code 4000 (not …)"),
        (1008, "connection limit exceeded",
         "the venue closed the connection with code 1008 (connection limit exceeded)"),
    ],
)  # fmt: skip
@asynchronous
async def test_a_connection_that_the_venue_closes_is_made_anew(
    code: int, words: str, reason: str
) -> None:
    async def close(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.close(code, words)

    ear = Ear()
    async with venue(close, stay) as scripted, following(scripted.streams(), ear):
        await ear.until(StreamReady, 3)
    assert [event.reason for event in lost_data(ear)] == [reason]


@pytest.mark.parametrize("greeted", [True, False])
@asynchronous
async def test_a_connection_that_breaks_is_made_anew(greeted: bool) -> None:
    async def breaks(socket: ServerConnection) -> None:
        await (greet if greeted else log_in)(socket)
        socket.transport.abort()

    ear = Ear()
    async with venue(breaks, stay) as scripted, following(scripted.streams(), ear):
        await ear.until(StreamReady, 3 if greeted else 2)
    assert lost_data(ear)[0].reason.startswith("the connection broke")


@asynchronous
async def test_a_connection_is_dropped_on_request() -> None:
    ear = Ear()
    async with venue() as scripted:
        streams = scripted.streams()
        streams.reconnect(Stream.DATA, "there is none yet")
        async with following(streams, ear):
            await ear.until(StreamReady, 2)
            streams.reconnect("data", "no trade of any symbol for 90 s")
            streams.reconnect("data", "once more")
            await ear.until(StreamReady, 3)
            assert [event.reason for event in ear.of(StreamLost)] == [
                "no trade of any symbol for 90 s"
            ]
            assert scripted.opened == {"/v2/iex": 2, "/stream": 1}
            assert await scripted.until_closed(1) == [1000]


@asynchronous
async def test_cancelling_says_goodbye_to_the_venue() -> None:
    ear = Ear()
    async with venue() as scripted:
        task = asyncio.create_task(scripted.streams().run(ear))
        await ear.until(StreamReady, 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await scripted.until_closed(2) == [1000, 1000]
    assert not ear.of(StreamLost)


# Counting


@asynchronous
async def test_frames_can_be_waited_for() -> None:
    more = asyncio.Event()

    async def act(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.send(pack(trade(1), trade(2)))
        await more.wait()
        await say(socket, [{"T": "success", "msg": "an answer, not data"}])
        await socket.send(pack(trade(3)))
        await socket.send(pack(trade(4)))
        await socket.wait_closed()

    ear = Ear()
    async with venue(act) as scripted:
        streams = scripted.streams()
        await streams.received(Stream.DATA, 5)  # nothing is connected: nothing will come
        async with following(streams, ear):
            await ear.until(StreamReady, 2)
            await streams.received(Stream.DATA, 1)
            assert ids(ear) == [1, 2]
            waiting = asyncio.create_task(streams.received(Stream.DATA, 3))
            with pytest.raises(VenueUnavailableError, match=r"brought 1 frames in 0\.01 s, and 2"):
                await streams.received(Stream.DATA, 2, timeout_s=0.01)
            assert not waiting.done()
            more.set()
            await waiting
            assert ids(ear) == [1, 2, 3, 4]
            assert streams.frames(Stream.DATA) == 3
            assert streams.frames(Stream.UPDATES) == 0
            await streams.received(Stream.UPDATES, 0)


@asynchronous
async def test_waiting_for_frames_ends_when_the_connection_does() -> None:
    ear = Ear()
    async with venue() as scripted:
        streams = scripted.streams()
        async with following(streams, ear):
            await ear.until(StreamReady, 2)
            waiting = asyncio.create_task(streams.received(Stream.DATA, 3, PATIENCE_S))
            await asyncio.sleep(0)
            streams.reconnect(Stream.DATA, "no good")
            await waiting
            await ear.until(StreamReady, 3)
            assert streams.frames(Stream.DATA) == 0


# Pauses


@asynchronous
async def test_pauses_grow_and_only_a_steady_connection_makes_them_short_again() -> None:
    pauses = _Pauses(StreamTiming(pause_s=1, longest_pause_s=30, steady_s=3600))
    found = []
    for _ in range(8):
        pauses.ready()  # flapping
        pauses.lost(Ailment.PASSING)
        found.append(pauses.next_s())
    for pause, longest in zip(found, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
        assert longest / 2 <= pause <= longest
    steady = _Pauses(StreamTiming(pause_s=1, longest_pause_s=30, steady_s=0))
    for _ in range(8):
        steady.ready()
        steady.lost(Ailment.PASSING)
        assert steady.next_s() <= 1


@asynchronous
async def test_a_busy_venue_is_given_the_time_it_asks_for() -> None:
    pauses = _Pauses(StreamTiming())
    found = []
    for _ in range(5):
        assert not pauses.lost(Ailment.BUSY)
        found.append(pauses.next_s())
    for pause, least in zip(found, [15, 30, 60, 90, 90], strict=True):
        assert least <= pause <= least * 1.1
    pauses.lost(Ailment.PASSING)
    assert pauses.next_s() <= 0.5


@asynchronous
async def test_a_refusal_that_repeats_is_not_tried_again_quickly() -> None:
    pauses = _Pauses(StreamTiming())
    found = []
    for number in range(5):
        assert pauses.lost(Ailment.REFUSED) == (number == 4)
        found.append(pauses.next_s())
    assert found[0] <= 0.5
    assert all(pause >= 15 for pause in found[1:])


# Secrets


@asynchronous
async def test_no_log_at_any_level_holds_a_key() -> None:
    class Keeper(logging.Handler):
        def __init__(self) -> None:
            super().__init__(logging.DEBUG)
            self.lines: list[str] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.lines.append(record.getMessage())

    keeper, root = Keeper(), logging.getLogger()
    client = logging.getLogger("websockets.client")
    level, before = root.level, client.level
    root.addHandler(keeper)
    root.setLevel(logging.DEBUG)
    client.setLevel(logging.DEBUG)
    try:
        ear = Ear()
        async with venue(logger=logging.getLogger("quiet")) as scripted:
            logging.getLogger("quiet").setLevel(logging.CRITICAL)  # the venue's side
            async with following(scripted.streams(), ear):
                await ear.until(StreamReady, 2)
    finally:
        root.removeHandler(keeper)
        root.setLevel(level)
        client.setLevel(before)
    text = "\n".join(keeper.lines)
    for key in (KEY, SECRET, OTHER_KEY, OTHER_SECRET):
        assert key not in text
