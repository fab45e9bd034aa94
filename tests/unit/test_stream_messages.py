"""What the two streams say becomes typed words; only what cannot be read is lost, and told of."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_strategy.broker.stream_messages import (
    Answer,
    DataMessages,
    Refusal,
    Subscription,
    Success,
)
from alpaca_strategy.broker.update_messages import Reply, UpdateMessages
from alpaca_strategy.domain.orders import Fill, OrderStatus, Side, TradeUpdate
from alpaca_strategy.domain.streams import HaltNotice, MarketFrame, StreamEvent, StreamNonsense
from alpaca_strategy.market.stream_trades import nanoseconds

NS = 1_789_479_000_123_456_789
TIME = "2026-09-15T13:30:00.123456789Z"
TRADE = {"T": "t", "S": "AAPL", "i": 6142, "x": "V", "p": 177.79, "s": 90, "c": ["@", "I"],
         "z": "C"}  # fmt: skip
CANCEL = {"T": "x", "S": "DJT", "i": 4868, "x": "D", "p": 36.18, "s": 31800, "a": "C", "z": "C"}
CORRECTION = {"T": "c", "S": "EEM", "x": "M", "oi": 52983525033527, "op": 39.1582, "os": 440000,
              "oc": [" ", "7"], "ci": 52983525034326, "cp": 39.1809, "cs": 440000,
              "cc": [" ", "7"], "z": "A"}  # fmt: skip


def packed(*items: dict[str, Any]) -> bytes:
    timed = [{**item, "t": msgpack.Timestamp.from_unix_nano(NS)} for item in items]
    frame: bytes = msgpack.packb(timed)
    return frame


def text(*items: dict[str, Any]) -> bytes:
    return json.dumps([{**item, "t": TIME} for item in items]).encode()


def read(frame: bytes, messages: DataMessages) -> tuple[list[StreamEvent], Sequence[Answer]]:
    events, answers = messages.read(frame)
    return [*events, *messages.held()], answers


def only(frame: bytes, messages: DataMessages | None = None) -> MarketFrame:
    (event,), answers = read(frame, messages or DataMessages())
    assert isinstance(event, MarketFrame)
    assert not answers
    return event


@pytest.mark.parametrize("encode", [packed, text])
def test_trades_corrections_and_cancels_are_read_to_the_nanosecond(encode: Any) -> None:
    frame = only(encode(TRADE, CORRECTION, CANCEL, {**TRADE, "i": 2**64 - 1, "c": None, "p": 178}))
    trade, huge = frame.trades
    assert (trade.symbol, trade.id, trade.exchange, trade.price) == ("AAPL", 6142, "V", 177.79)
    assert (trade.size, trade.conditions, trade.tape) == (90, ("@", "I"), "C")
    assert (huge.id, huge.conditions, huge.price) == (2**64 - 1, None, 178.0)
    (right,) = frame.corrections
    assert (right.symbol, right.exchange, right.original_id) == ("EEM", "M", 52983525033527)
    assert (right.id, right.price, right.size) == (52983525034326, 39.1809, 440000)
    assert right.conditions == (" ", "7")
    (gone,) = frame.cancels
    assert (gone.symbol, gone.exchange, gone.original_id) == ("DJT", "D", 4868)
    assert nanoseconds([trade.at, right.at]).tolist() == [NS, NS]


def test_payloads_that_the_venues_own_client_is_tested_with(shared_data: Path) -> None:
    with gzip.open(shared_data / "oracles/alpaca_payloads.json.gz") as file:
        fixtures = json.load(file)["fixtures"]
    messages, seen = DataMessages(), set()
    for fixture in fixtures:
        payload = fixture["payload"]
        if fixture["kind"] != "ws_data" or not isinstance(payload.get("t"), dict):
            continue
        frame: bytes = msgpack.packb([{**payload, "t": msgpack.Timestamp(10, 10)}])
        events, answers = read(frame, messages)
        assert not answers
        assert not any(isinstance(event, StreamNonsense) for event in events)
        seen.add(payload["T"])
    assert seen == {"b", "t", "q", "o", "s", "x"}
    assert messages.unknown == {"o": 1}  # order books are of another asset class


def test_what_is_known_and_not_wanted_is_passed_over() -> None:
    messages = DataMessages()
    others = [{"T": kind, "S": "AAPL"} for kind in "qbudli"]
    assert messages.read(packed(*others)) == ([], [])
    assert only(packed(*others, TRADE), messages).trades[0].id == 6142
    assert not messages.unknown
    assert messages.read(b"\x90") == ([], [])


def test_an_unknown_message_is_counted_and_the_rest_of_its_frame_is_read() -> None:
    messages = DataMessages()
    frame = only(packed(TRADE, {"T": "zz", "S": "AAPL"}, {"T": "zz"}, TRADE), messages)
    assert len(frame.trades) == 2
    assert messages.unknown == {"zz": 2}
    for number in range(500):
        messages.read(packed({"T": f"new {number}"}))
    assert len(messages.unknown) <= 101
    assert messages.unknown.total() == 502


@pytest.mark.parametrize("encode", [packed, text])
def test_a_wrong_message_is_told_of_and_the_rest_of_its_frame_is_read(encode: Any) -> None:
    wrong = [{**TRADE, "s": "many"}, {**TRADE, "p": None}, {"S": "AAPL"}]
    events, answers = DataMessages().read(encode(TRADE, *wrong, CANCEL))
    assert not answers
    frame, nonsense = events
    assert isinstance(frame, MarketFrame)
    assert isinstance(nonsense, StreamNonsense)
    assert (len(frame.trades), len(frame.cancels)) == (1, 1)
    assert nonsense.what.startswith("3 of 5 messages")


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xc1", b"\xc1 and more", b"[", b"[1,", b"{}", b"null", b"\xc0", packed(TRADE)[:-1],
     packed(TRADE) + b"\x00", b"[" * 10_000, b"\x91" * 10_000, b"\xdd\xff\xff\xff\xff",
     b'[{"T":"t","S":"\xff"}]'],
)  # fmt: skip
def test_a_frame_that_is_garbage_is_told_of(frame: bytes) -> None:
    (nonsense,), answers = DataMessages().read(frame)
    assert isinstance(nonsense, StreamNonsense)
    assert len(nonsense.what) <= 160
    assert not answers


@given(st.binary(max_size=200))
def test_no_frame_is_fatal(frame: bytes) -> None:
    DataMessages().read(frame)
    UpdateMessages().read(frame)


def test_trades_of_many_frames_are_told_together_and_before_what_came_after_them() -> None:
    messages = DataMessages()
    for number in range(3):
        assert messages.read(packed({**TRADE, "i": number})) == ((), ())
    events, _ = messages.read(packed(CANCEL))
    first, second = events
    assert isinstance(first, MarketFrame)
    assert isinstance(second, MarketFrame)
    assert [trade.id for trade in first.trades] == [0, 1, 2]
    assert len(second.cancels) == 1
    messages.read(packed(TRADE))
    (first, nonsense), _ = messages.read(b"\xc1")
    assert isinstance(first, MarketFrame)
    assert isinstance(nonsense, StreamNonsense)
    assert messages.held() == ()


def test_answers_are_told_apart_from_data() -> None:
    messages = DataMessages()
    frame = msgpack.packb([{"T": "success", "msg": "connected"}])
    assert messages.read(frame) == ([], [Success("connected")])
    frame = msgpack.packb([{"T": "error", "code": 406, "msg": "connection limit exceeded"}])
    assert messages.read(frame) == ([], [Refusal(406, "connection limit exceeded")])
    frame = json.dumps([{"T": "subscription", "trades": ["A"], "cancelErrors": ["A"], "new": []}])
    (granted,) = messages.read(frame.encode())[1]
    assert isinstance(granted, Subscription)
    assert granted.lacks("trades", ("A", "B")) == ["B"]
    assert granted.lacks("statuses", ("A",)) == ["A"]
    assert Subscription(trades=["*"]).lacks("trades", ("A", "B")) == []


# Halts


def status(code: str, reason: str = "", symbol: str = "A", tape: str = "C") -> bytes:
    return packed({"T": "s", "S": symbol, "sc": code, "sm": "words", "rc": reason, "rm": "",
                   "z": tape})  # fmt: skip


def told(*frames: bytes) -> list[tuple[str, bool, bool]]:
    messages, found = DataMessages(), []
    for frame in frames:
        events, _ = messages.read(frame)
        for event in events:
            assert isinstance(event, MarketFrame)
            found += [(h.symbol, h.halted, h.market_wide) for h in event.halts]
    return found


@pytest.mark.parametrize(
    ("code", "reason", "tape"),
    [("H", "T1", "C"), ("P", "LUDP", "C"), ("2", "D", "A"), ("2", "M", "B"), ("F", "M", "A"),
     ("1", "", "A"), ("4", "", "B")],
)  # fmt: skip
def test_a_symbol_is_halted(code: str, reason: str, tape: str) -> None:
    assert told(status(code, reason, tape=tape)) == [("A", True, False)]


@pytest.mark.parametrize("code", ["Q", "5", "6", "7", "8", "9", "A", "C", "D", "E", "F"])
def test_other_statuses_halt_nothing_and_end_no_halt(code: str) -> None:
    assert told(status(code)) == []


@pytest.mark.parametrize(("halt", "end", "tape"), [("H", "T", "C"), ("2", "3", "A")])
def test_a_halt_ends(halt: str, end: str, tape: str) -> None:
    frames = [status(halt, "T1", tape=tape), status(end, tape=tape)]
    assert told(*frames) == [("A", True, False), ("A", False, False)]


@pytest.mark.parametrize(
    ("code", "reason", "tape", "end"),
    [("H", "MWC1", "C", "T"), ("H", "MWC3", "C", "T"), ("H", "MWC0", "C", "T"),
     ("2", "1", "A", "3"), ("2", "3", "B", "3")],
)  # fmt: skip
def test_the_first_symbol_that_trades_again_ends_a_market_wide_halt(
    code: str, reason: str, tape: str, end: str
) -> None:
    frames = [status(code, reason, symbol, tape) for symbol in "AB"]
    frames += [status(end, "MWCQ", symbol, tape) for symbol in "BA"]
    assert told(*frames) == [
        ("A", True, False), ("A", True, True), ("B", True, False), ("B", True, True),
        ("B", False, False), ("B", False, True), ("A", False, False),
    ]  # fmt: skip


def test_the_codes_of_the_plans_are_not_mixed_up() -> None:
    """1, 2 and 3 are reasons of CTA alone, MWC1 to MWC3 of UTP alone."""
    assert told(status("H", "1"), status("2", "MWC1", tape="A")) == [
        ("A", True, False), ("A", True, False),
    ]  # fmt: skip


def test_an_unknown_status_is_told_of() -> None:
    (nonsense,), _ = DataMessages().read(status("ZZ"))
    assert isinstance(nonsense, StreamNonsense)
    assert "ZZ" in nonsense.what


def test_a_halt_says_why() -> None:
    frame = only(packed({"T": "s", "S": "A", "sc": "H", "sm": "Trading Halt", "rc": "T12",
                         "rm": "Information\x1b Requested", "z": "C"}))  # fmt: skip
    assert frame.halts == [
        HaltNotice("A", True, False, "Trading Halt, H, Information Requested, T12")
    ]


# Trade updates

ORDER = {
    "id": "61e69015-8549-4bfd-b9c3-01e75843f47d", "client_order_id": "as-20260915-030-b0-AAPL",
    "symbol": "AAPL", "side": "sell", "type": "market", "qty": "3", "filled_qty": "2.5",
    "filled_avg_price": "179.08", "status": "partially_filled", "legs": None,
    "submitted_at": "2026-09-15T13:30:00Z", "updated_at": "2026-09-15T13:30:01.5Z",
    "limit_price": None,
}  # fmt: skip
UPDATE = {
    "event": "partial_fill", "execution_id": "7922ab44", "order": ORDER, "price": "179.1",
    "qty": "1.5", "position_qty": "-4", "timestamp": "2026-09-15T09:30:01.1234564-04:00",
}  # fmt: skip


def update(**changes: Any) -> bytes:
    data = {name: value for name, value in {**UPDATE, **changes}.items() if value != "gone"}
    return json.dumps({"stream": "trade_updates", "data": data}).encode()


def heard(frame: bytes) -> TradeUpdate:
    (event,), answers = UpdateMessages().read(frame)
    assert isinstance(event, TradeUpdate)
    assert not answers
    return event


def test_an_execution_is_read_exactly() -> None:
    event = heard(update())
    at = datetime(2026, 9, 15, 13, 30, 1, 123456, tzinfo=UTC)
    assert event.event == "partial_fill"
    assert event.order.status is OrderStatus.PARTIALLY_FILLED
    assert event.position_qty == Decimal(-4)
    assert event.at == at
    assert event.fill == Fill(
        order_id=ORDER["id"], cum_qty=Decimal("2.5"), symbol="AAPL", side=Side.SELL,
        qty=Decimal("1.5"), price=Decimal("179.1"), at=at, execution_id="7922ab44",
    )  # fmt: skip


def test_numbers_instead_of_text_keep_their_digits() -> None:
    raw = update().replace(b'"179.1"', b"179.10000000000000001")
    event = heard(raw)
    assert event.fill is not None
    assert event.fill.price == Decimal("179.10000000000000001")


@pytest.mark.parametrize(
    "event",
    ["new", "canceled", "expired", "order_cancel_rejected", "struck_by_lightning", "trade_bust"],
)
def test_other_events_pass_with_their_word(event: str) -> None:
    found = heard(update(event=event, price="gone", qty="gone", position_qty="gone"))
    assert (found.event, found.fill, found.position_qty) == (event, None, None)
    assert found.order.id == ORDER["id"]


def test_an_unknown_status_passes_with_its_word() -> None:
    found = heard(update(order={**ORDER, "status": "thinking"}))
    assert (found.order.status, found.order.status_text) == (OrderStatus.OTHER, "thinking")


@pytest.mark.parametrize(
    "frame",
    [
        b'{"stream":"trade_updates","data":null}', b'{"stream":"trade_updates"}', b"", b"{", b"[]",
        b'{"data":{}}', b'{"stream":7}', b"\xff\xfe", b"[" * 10_000,
        update(order=None), update(order={}), update(event=None), update(price=None),
        update(qty="0"), update(qty="-1"), update(price="NaN"), update(price="1e400"),
        update(qty="2.6"), update(timestamp=None), update(timestamp="noon"),
        update(position_qty="many"), update(order={**ORDER, "filled_qty": None}),
        update(order={**ORDER, "side": "hold"}),
    ],
)  # fmt: skip
def test_an_update_that_is_not_whole_is_nonsense(frame: bytes) -> None:
    (event,), answers = UpdateMessages().read(frame)
    assert isinstance(event, StreamNonsense)
    assert not answers


def test_answers_of_the_trading_stream() -> None:
    data = {"status": "authorized", "action": "authenticate"}
    frame = json.dumps({"stream": "authorization", "data": data}).encode()
    assert UpdateMessages().read(frame) == ((), (Reply("authorization", data),))
