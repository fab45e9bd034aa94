"""Orders over real sockets: one request each, whatever comes back, from however many threads."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import scripted_venue as sv
from hypothesis import given
from hypothesis import strategies as st
from scripted_account import (
    FULL,
    HEAD,
    KEY,
    LOST,
    ORDER_ID,
    SECRET,
    SHORT,
    TICKET,
    Connect,
    always,
    connections,
    order,
)

from alpaca_strategy.broker.budget import Budget, Lane
from alpaca_strategy.broker.lines import Lines
from alpaca_strategy.broker.tickets import order_body
from alpaca_strategy.broker.trading import TRADING_LIMITS
from alpaca_strategy.domain.orders import OrderType, Side, TimeInForce
from alpaca_strategy.domain.outcomes import Done, Refusal, Refused, Unknown
from alpaca_strategy.errors import (
    RateLimitedError,
    SettingsError,
)


@pytest.fixture
def connect() -> Iterator[Connect]:
    with connections() as make:
        yield make


def test_an_order_is_one_request_of_the_genuine_client_with_text_for_numbers(
    connect: Connect,
) -> None:
    ticket = replace(
        TICKET, type=OrderType.LIMIT, limit_price=Decimal("100.129"), qty=Decimal("3.50"),
        time_in_force=TimeInForce.IOC,
    )  # fmt: skip
    with sv.scripted_venue(always(sv.reply(order(qty="3.5")))) as venue:
        done = connect(venue.url + "/").submit(ticket)
        (request,) = venue.seen
    assert isinstance(done, Done)
    assert done.value.id == ORDER_ID
    assert (request.method, request.path, request.query) == ("POST", "/v2/orders", {})
    assert json.loads(request.body) == {
        "client_order_id": "as-20261001-010-b0-SPY", "symbol": "SPY", "side": "buy", "qty": "3.5",
        "type": "limit", "time_in_force": "ioc", "limit_price": "100.12",
    }  # fmt: skip
    assert request.headers["APCA-API-KEY-ID"] == KEY
    assert request.headers["APCA-API-SECRET-KEY"] == SECRET
    assert request.headers["User-Agent"].startswith("APCA-PY/")


@pytest.mark.parametrize(
    ("price", "side", "sent"),
    [
        ("290.123", Side.BUY, "290.12"),
        ("290.123", Side.SELL, "290.13"),
        ("290.12", Side.BUY, "290.12"),
        ("290.12", Side.SELL, "290.12"),
        ("0.123456", Side.BUY, "0.1234"),
        ("0.123456", Side.SELL, "0.1235"),
        ("0.99999", Side.SELL, "1"),
        ("1.001", Side.SELL, "1.01"),
        ("1.009", Side.BUY, "1"),
        ("1E+2", Side.BUY, "100"),
        ("700000.005", Side.BUY, "700000"),
    ],
)
def test_a_limit_goes_to_the_tick_that_is_not_worse(price: str, side: Side, sent: str) -> None:
    ticket = replace(TICKET, side=side, type=OrderType.LIMIT, limit_price=Decimal(price))
    assert order_body(ticket)["limit_price"] == sent


@given(st.floats(0.001, 1e6), st.sampled_from(Side))
def test_no_price_that_came_from_a_float_breaks_the_sub_penny_rule(
    price: float, side: Side
) -> None:
    asked = Decimal(price)
    body = order_body(replace(TICKET, side=side, type=OrderType.LIMIT, limit_price=asked))
    sent = Decimal(body["limit_price"])
    digits = -int(sent.as_tuple().exponent)
    assert digits <= (2 if sent >= 1 else 4)
    assert sent <= asked if side is Side.BUY else sent >= asked
    assert abs(sent - asked) < (Decimal("0.01") if asked >= 1 else Decimal("0.0001"))


@pytest.mark.parametrize(
    "fields",
    [
        {"qty": Decimal(0)},
        {"qty": Decimal(-1)},
        {"qty": Decimal("NaN")},
        {"qty": Decimal("Infinity")},
        {"qty": Decimal("1e-10")},
        {"limit_price": Decimal(5)},
        {"type": OrderType.LIMIT},
        {"type": OrderType.LIMIT, "limit_price": Decimal("NaN")},
        {"type": OrderType.LIMIT, "limit_price": Decimal(0)},
        {"type": OrderType.LIMIT, "limit_price": Decimal("0.00001")},
        {"client_order_id": ""},
        {"client_order_id": "a" * 129},
        {"symbol": ""},
    ],
)
def test_an_order_that_makes_no_sense_is_refused_and_not_sent(
    fields: dict[str, Any], connect: Connect
) -> None:
    with sv.scripted_venue(always(sv.reply(order()))) as venue:
        found = connect(venue.url).submit(replace(TICKET, **fields))
        assert venue.seen == []
    assert isinstance(found, Refused)
    assert found.message.startswith("not sent: ")
    assert (found.why, found.status) == (Refusal.OTHER, 0)


@pytest.mark.parametrize("kind", LOST)
def test_a_lost_answer_is_unknown_and_the_order_is_not_sent_again(
    kind: str, connect: Connect
) -> None:
    with sv.scripted_venue(always(LOST[kind])) as venue:
        api = connect(venue.url)
        found = api.submit(TICKET)
        assert isinstance(found, Unknown)
        assert [(one.method, one.path) for one in venue.seen] == [("POST", "/v2/orders")]
        assert api.orders_sent == 1
    assert 0 < len(found.reason) < 500
    assert KEY not in found.reason
    assert SECRET not in found.reason


@pytest.mark.parametrize("kind", LOST.keys() - {"204"})
def test_a_lost_answer_to_a_cancellation_is_unknown_and_it_is_not_sent_again(
    kind: str, connect: Connect
) -> None:
    with sv.scripted_venue(always(LOST[kind])) as venue:
        assert isinstance(connect(venue.url).cancel(ORDER_ID), Unknown)
        assert len(venue.seen) == 1


def test_a_body_of_100_mb_is_not_taken_in(connect: Connect) -> None:
    def flood(sock: Any, _: threading.Event) -> None:
        sock.sendall(HEAD + b"Content-Length: 104857600\r\n\r\n")
        for _ in range(100):
            sock.sendall(b" " * (1 << 20))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with sv.scripted_venue(always(flood)) as venue:
        found = connect(venue.url, limits=TRADING_LIMITS).submit(TICKET)
    assert found == Unknown("a body of more than 16,777,216 bytes")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64_000  # KiB


def test_keys_and_orders_do_not_follow_a_redirect(connect: Connect) -> None:
    with sv.scripted_venue(always(sv.reply(order()))) as thief:
        there = sv.reply(b"", 307, {"Location": thief.url + "/v2/orders"})
        with sv.scripted_venue(always(there)) as venue:
            assert connect(venue.url).submit(TICKET) == Unknown("a redirect (HTTP 307)")
        assert thief.seen == []


def test_without_a_connection_the_order_is_unknown_and_it_is_told_that_none_came_about(
    connect: Connect,
) -> None:
    with sv.scripted_venue(always(sv.hang)) as venue:
        gone = venue.url
    found = connect(gone).submit(TICKET)
    assert isinstance(found, Unknown)
    assert found.reason.endswith(", before it was sent")


def test_a_known_id_is_a_refusal_of_its_own(connect: Connect) -> None:
    body = {"code": 40010001, "message": "client_order_id must be unique"}
    with sv.scripted_venue(always(sv.reply(body, 422))) as venue:
        found = connect(venue.url).submit(TICKET)
        assert len(venue.seen) == 1
    assert found == Refused(Refusal.DUPLICATE_ID, "client_order_id must be unique", 422, 40010001)


def test_a_cancellation_names_one_order(connect: Connect) -> None:
    gone = sv.raw(b"HTTP/1.1 204 No Content\r\n\r\n")
    with sv.scripted_venue(always(gone)) as venue:
        assert connect(venue.url).cancel(ORDER_ID) == Done(None)
        (request,) = venue.seen
    assert (request.method, request.path) == ("DELETE", f"/v2/orders/{ORDER_ID}")


@pytest.mark.parametrize("order_id", ["", "..", "a/b", "a?b", "%2e", "a" * 65, "ä"])
def test_what_is_no_id_never_becomes_the_cancellation_of_something_else(
    order_id: str, connect: Connect
) -> None:
    with sv.scripted_venue(always(sv.reply(b"[]", 207))) as venue:
        found = connect(venue.url).cancel(order_id)
        assert venue.seen == []
    assert isinstance(found, Refused)
    assert found.why is Refusal.NOT_FOUND


def test_an_order_that_gets_no_turn_in_time_was_not_sent(connect: Connect) -> None:
    budget = Budget(per_minute=100)
    while budget.acquire(Lane.ORDER, 0) is not None:
        pass
    with sv.scripted_venue(always(sv.reply(order()))) as venue:
        api = connect(venue.url, budget, order_wait_s=0.05)
        found = api.submit(TICKET)
        assert venue.seen == []
        assert api.orders_sent == 0
    assert found == Refused(Refusal.RATE_LIMIT, "not sent: no request was free within 0.05 s", 0)


def test_when_orders_and_questions_have_used_all_a_cancellation_still_leaves(
    connect: Connect,
) -> None:
    budget = Budget(per_minute=100)
    while budget.acquire(Lane.READ, 0) or budget.acquire(Lane.ORDER, 0):
        pass
    gone = sv.raw(b"HTTP/1.1 204 No Content\r\n\r\n")
    with sv.scripted_venue(always(gone)) as venue:
        api = connect(venue.url, budget, limits=replace(SHORT, patience_s=0.02))
        assert api.cancel(ORDER_ID) == Done(None)
        with pytest.raises(RateLimitedError, match=r"within 0.02 s.*trading.requests_per_minute"):
            api.positions()
        assert [one.method for one in venue.seen] == ["DELETE"]


def test_after_429_nothing_leaves_until_the_reset_and_no_order_is_sent_twice(
    connect: Connect,
) -> None:
    with sv.scripted_venue(always(FULL)) as venue:
        api = connect(venue.url, limits=replace(SHORT, patience_s=0.02), order_wait_s=0.02)
        assert api.submit(TICKET) == Refused(
            Refusal.RATE_LIMIT, "rate limit exceeded", 429, 42910000
        )
        again = api.submit(TICKET)
        assert isinstance(again, Refused)
        assert (again.why, again.status) == (Refusal.RATE_LIMIT, 0)
        for ask in (api.positions, api.account, api.clock, api.open_orders):
            with pytest.raises(RateLimitedError):
                ask()
        assert len(venue.seen) == 1


def test_a_question_that_meets_429_stops_orders_too(connect: Connect) -> None:
    with sv.scripted_venue(always(FULL)) as venue:
        api = connect(venue.url, order_wait_s=0.02)
        with pytest.raises(RateLimitedError, match="429"):
            api.account()
        assert isinstance(api.submit(TICKET), Refused)
        assert len(venue.seen) == 1


def test_after_the_reset_one_good_answer_lets_everybody_pass_again(connect: Connect) -> None:
    full = sv.reply({"message": "too many requests."}, 429, {"Retry-After": "0.2"})

    def script(request: sv.Request, number: int) -> sv.Answer:
        return full if number == 0 else sv.reply(order())

    with sv.scripted_venue(script) as venue:
        api = connect(venue.url, order_wait_s=5)
        assert isinstance(api.submit(TICKET), Refused)
        assert isinstance(api.submit(TICKET), Done)

        assert len(venue.seen) == 2


def test_when_the_venue_says_that_nothing_is_left_only_cancellations_leave(
    connect: Connect,
) -> None:
    headers = {
        "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790861440",
        "Date": "Thu, 01 Oct 2026 13:30:00 GMT",
    }  # fmt: skip

    def script(request: sv.Request, _: int) -> sv.Answer:
        if request.method == "DELETE":
            return sv.raw(b"HTTP/1.1 204 No Content\r\n\r\n")
        return sv.reply(order(), headers=headers)

    with sv.scripted_venue(script) as venue:
        api = connect(venue.url, order_wait_s=0.02, limits=replace(SHORT, patience_s=0.02))
        assert isinstance(api.submit(TICKET), Done)
        assert isinstance(api.submit(TICKET), Refused)
        with pytest.raises(RateLimitedError):
            api.account()
        assert api.cancel(ORDER_ID) == Done(None)
        assert [one.method for one in venue.seen] == ["POST", "DELETE"]


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(connect: Connect) -> None:
    together = threading.Barrier(8)

    def script(request: sv.Request, _: int) -> sv.Answer:
        sent = json.loads(request.body)

        def answer(sock: Any, stopped: threading.Event) -> None:
            together.wait(20)  # all eight are on their way at the same time
            sv.reply(order(client_order_id=sent["client_order_id"], qty=sent["qty"]))(sock, stopped)

        return answer

    found: dict[int, object] = {}
    with sv.scripted_venue(script) as venue:
        api = connect(venue.url, limits=TRADING_LIMITS)

        def send(n: int) -> None:
            for turn in range(3):
                ticket = replace(TICKET, client_order_id=f"id-{n}-{turn}", qty=Decimal(n + 1))
                found[n * 10 + turn] = api.submit(ticket)

        threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(venue.seen) == api.orders_sent == 24
    assert len(found) == 24
    assert all(isinstance(one, Done) for one in found.values())


class FakeLine:
    def __init__(self) -> None:
        self.hung_up = 0
        self.closed = 0
        self.rest = self

    def hang_up(self) -> None:
        self.hung_up += 1

    def close(self) -> None:
        self.closed += 1


def test_a_line_is_used_again_but_an_old_connection_is_not() -> None:
    now = [0.0]
    made: list[FakeLine] = []

    def new() -> Any:
        made.append(FakeLine())
        return made[-1]

    lines = Lines(new, clock=lambda: now[0])
    with lines.take() as first, lines.take() as second:
        assert first is not second
    now[0] = 29.0
    with lines.take() as again:
        assert again is first
    assert made[0].hung_up == 0
    now[0] = 60.0
    with lines.take() as again:
        assert again is first
        assert made[0].hung_up == 1
        lines.close()
        assert (made[0].closed, made[1].closed) == (0, 1)
    assert made[0].closed == 1


def test_an_address_that_is_no_url_is_a_setting_to_correct(connect: Connect) -> None:
    with pytest.raises(SettingsError, match=r"is no URL.*trading_url"):
        connect("localhost:8090")
