"""What each answer to an order means; the bodies are the venue's own, from its papers and tests."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.broker import classify, entities
from alpaca_strategy.broker.rest import DecodeError
from alpaca_strategy.domain.orders import OrderStatus, Side, Ticket, VenueOrder
from alpaca_strategy.domain.outcomes import Done, Refusal, Refused, Unknown

TICKET = Ticket("as-20261001-010-b0-SPY", "SPY", Side.BUY, Decimal(3))
ORDER_ID = "61e69015-8549-4bfd-b9c3-01e75843f47d"


def order(**fields: Any) -> dict[str, Any]:
    """Return an order as the venue writes it."""
    return {
        "id": ORDER_ID,
        "client_order_id": TICKET.client_order_id,
        "created_at": "2026-10-01T14:00:00.123456789Z",
        "updated_at": "2026-10-01T10:00:00.2-04:00",
        "submitted_at": "2026-10-01T14:00:00.1Z",
        "filled_at": None,
        "asset_class": "us_equity",
        "notional": None,
        "symbol": "SPY",
        "qty": "3",
        "filled_qty": "1.5",
        "filled_avg_price": "100.005",
        "order_type": "market",
        "type": "market",
        "side": "buy",
        "time_in_force": "day",
        "limit_price": None,
        "status": "partially_filled",
        "legs": None,
        **fields,
    }


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def submitted(status: int, body: object) -> object:
    return classify.submitted(
        TICKET, status, body if isinstance(body, bytes) else json.dumps(body).encode()
    )


def test_an_order_becomes_what_it_says_to_the_last_digit() -> None:
    assert submitted(200, order()) == Done(
        VenueOrder(
            id=ORDER_ID,
            client_order_id="as-20261001-010-b0-SPY",
            symbol="SPY",
            side=Side.BUY,
            qty=Decimal(3),
            filled_qty=Decimal("1.5"),
            filled_avg_price=Decimal("100.005"),
            status=OrderStatus.PARTIALLY_FILLED,
            status_text="partially_filled",
            submitted_at=datetime(2026, 10, 1, 14, 0, 0, 100_000, UTC),
            updated_at=datetime(2026, 10, 1, 14, 0, 0, 200_000, UTC),
            type="market",
        )
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "some_new_status"},
        {"type": None, "order_class": "of_tomorrow", "asset_class": ["new"], "legs": {"x": 1}},
        {"qty": 3, "filled_qty": 0, "filled_avg_price": None},
        {"qty": 3.0, "commission": 1.25},
        {"updated_at": None, "submitted_at": None},
        {"status": "rejected"},
    ],
)
def test_an_order_may_have_what_we_do_not_know_or_need(fields: dict[str, Any]) -> None:
    assert isinstance(submitted(200, order(**fields)), Done)


def test_an_order_may_lack_what_we_do_not_need() -> None:
    needed = {"id", "client_order_id", "symbol", "side", "status", "filled_qty", "qty"}
    assert isinstance(submitted(200, without(order(), *(order().keys() - needed))), Done)
    for name in needed:
        assert isinstance(submitted(200, without(order(), name)), Unknown), name


def test_a_new_status_keeps_its_word() -> None:
    done = submitted(200, order(status="some_new_status"))
    assert isinstance(done, Done)
    assert done.value.status is OrderStatus.OTHER
    assert done.value.status_text == "some_new_status"


def test_numbers_without_quotes_lose_no_digit() -> None:
    body = json.dumps(order()).replace('"100.005"', "0.1000000000000000055").encode()
    done = submitted(200, body)
    assert isinstance(done, Done)
    assert done.value.filled_avg_price == Decimal("0.1000000000000000055")


NONSENSE = {
    "empty": b"",
    "blank": b"  ",
    "cut short": json.dumps(order()).encode()[:-40],
    "two in one": json.dumps(order()).encode() * 2,
    "web page": b"<html>OK</html>",
    "null": None,
    "list": [order()],
    "text": "accepted",
    "no order": {},
    "only an id": {"id": ORDER_ID},
    "NaN": json.dumps(order(qty=float("nan"))).encode(),
    "infinite": json.dumps(order(filled_qty=float("inf"))).encode(),
    "NaN as text": order(filled_avg_price="NaN"),
    "signalling NaN": order(qty="sNaN"),
    "infinite text": order(qty="Infinity"),
    "1e308": json.dumps(order()).replace('"1.5"', "1e308").encode(),
    "1e308 as text": order(qty="1e308"),
    "1e999999999": order(filled_avg_price="1e999999999"),
    "1e-999999999": order(filled_avg_price="1e-999999999"),
    "endless integer": json.dumps(order()).replace('"1.5"', "1" * 100_000).encode(),
    "endless text": order(qty="1" * 100_000),
    "endless fraction": json.dumps(order()).replace('"1.5"', "0." + "1" * 100_000).encode(),
    "words for a number": order(qty="three"),
    "true for a number": order(filled_qty=True),
    "list for a number": order(filled_qty=[1]),
    "null filled_qty": order(filled_qty=None),
    "negative": order(filled_qty="-1"),
    "negative price": order(filled_avg_price="-1"),
    "more than ordered": order(filled_qty="4"),
    "number for a symbol": order(symbol=5),
    "number for an id": order(id=5),
    "id with a path": order(id="../orders"),
    "empty id": order(id=""),
    "endless id": order(id="a" * 65),
    "another side": order(side="hold"),
    "no time": order(submitted_at="yesterday"),
    "no zone": order(submitted_at="2026-10-01T14:00:00"),
    "line feed in the status": order(status="new\nfilled"),
    "deep": b"[" * 100_000,
    "bad UTF-8": b'{"id": "\xff"}',
    "another client order id": order(client_order_id="as-20261001-010-b0-F"),
    "another symbol": order(symbol="F"),
    "the other side": order(side="sell"),
    "another quantity": order(qty="4"),
    "an amount of money": order(qty=None),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_an_acceptance_that_is_not_our_order_leaves_it_unknown(kind: str) -> None:
    found = submitted(200, NONSENSE[kind])
    assert isinstance(found, Unknown)
    assert len(found.reason) < 500


SHARES_HELD = {
    "available": "0", "code": 40310000, "existing_qty": "3", "held_for_orders": "10",
    "message": "insufficient qty available for order (requested: 3, available: 0)",
    "symbol": "SPY",
}  # fmt: skip
REFUSALS = [
    (422, {"code": 40010001, "message": "client_order_id must be unique"}, Refusal.DUPLICATE_ID),
    (422, {"code": 40010001}, Refusal.DUPLICATE_ID),
    (422, {"message": "client_order_id must be unique"}, Refusal.DUPLICATE_ID),
    (422, {"code": 40010001, "message": "qty is required"}, Refusal.OTHER),
    (
        422,
        {"code": 40010001, "message": "client_order_id must be no more than 128 characters"},
        Refusal.OTHER,
    ),
    (
        403,
        {"buying_power": "0", "code": 40310000, "cost_basis": "9",
         "message": "insufficient buying power"},
        Refusal.BUYING_POWER,
    ),
    (
        403,
        {"code": 40310000, "message": "insufficient day trading buying power"},
        Refusal.BUYING_POWER,
    ),
    (403, SHARES_HELD, Refusal.SHARES_HELD),
    (
        403,
        {"code": 40310000, "existing_order_id": ORDER_ID,
         "message": "potential wash trade detected. use complex orders",
         "reject_reason": "opposite side limit order exists"},
        Refusal.WASH_TRADE,
    ),
    (
        422,
        {"code": 42210000, "message": 'asset "SPY" cannot be sold short'},
        Refusal.NOT_SHORTABLE,
    ),
    (403, {"code": 40310000, "message": "account is not allowed to short"}, Refusal.NOT_SHORTABLE),
    (
        403,
        {"code": 40310100, "message": "trade denied due to pattern day trading protection"},
        Refusal.DAY_TRADING,
    ),
    (
        403,
        {"code": 40310000, "message": "cost basis must be >= minimal amount of order 1"},
        Refusal.OTHER,
    ),
    (403, {"code": 40310000, "message": "account is not authorized to trade"}, Refusal.OTHER),
    (403, {"message": "forbidden."}, Refusal.CREDENTIALS),
    (401, {"message": "unauthorized."}, Refusal.CREDENTIALS),
    (429, {"code": 42910000, "message": "rate limit exceeded"}, Refusal.RATE_LIMIT),
    (429, {"message": "too many requests."}, Refusal.RATE_LIMIT),
    (404, {"code": 40410000, "message": "endpoint not found."}, Refusal.NOT_FOUND),
    (400, {"code": 40010000, "message": "request body format is invalid"}, Refusal.OTHER),
    (
        422,
        {"code": 42210000, "message": "invalid limit_price 290.123. sub-penny increment does not "
         "fulfill minimum pricing criteria"},
        Refusal.OTHER,
    ),
    (418, {"code": 41810000, "message": "a kind of tomorrow"}, Refusal.OTHER),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "why"), REFUSALS)
def test_a_refusal_in_the_venues_words_is_one(
    status: int, body: dict[str, Any], why: Refusal
) -> None:
    found = submitted(status, body)
    said = str(body.get("message", "")).rstrip(".")
    assert found == Refused(why, said, status, body.get("code"))


UNCERTAIN = [
    (500, {"code": 50010000, "message": "internal server error occurred"}),
    (502, b"<html>Bad Gateway</html>"),
    (503, b""),
    (504, {"message": "timeout"}),
    (429, b"<html>Too Many Requests</html>"),
    (429, b""),
    (403, b"<html>Forbidden</html>"),
    (403, b""),
    (403, {}),
    (403, {"error": "blocked by the proxy"}),
    (403, {"message": 5}),
    (403, {"message": "  "}),
    (403, {"code": "40310000"}),
    (403, {"code": True}),
    (403, ["insufficient buying power"]),
    (403, b'{"code": 40310000, "message": "insufficient buy'),
    (403, b'{"code": NaN, "message": "insufficient buying power"}'),
    (422, b'{"message": "\xff'),
    (408, {"message": "request timeout"}),
    (409, {"message": "conflict"}),
    (425, {"message": "too early"}),
    (499, {"message": "client closed request"}),
    (422, {"message": "client_order_id must be unique", **order()}),
    (429, {"message": "too many requests.", "client_order_id": TICKET.client_order_id}),
    (403, {"message": "no", "filled_qty": "1"}),
    (201, order()),
    (202, order()),
    (204, b""),
    (206, order()),
    (302, b""),
    (999, order()),
    (0, b""),
]


@pytest.mark.parametrize(("status", "body"), UNCERTAIN)
def test_everything_else_leaves_the_order_unknown(status: int, body: object) -> None:
    assert isinstance(submitted(status, body), Unknown)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
CHANGES = st.dictionaries(st.sampled_from(sorted(order())), JSON, max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    status=st.sampled_from([200, 204, 302, 400, 401, 403, 404, 408, 422, 429, 500, 504]),
    body=st.one_of(
        st.binary(max_size=200),
        JSON.map(lambda value: json.dumps(value).encode()),
        CHANGES.map(lambda changes: json.dumps(order(**changes)).encode()),
        CHANGES.map(
            lambda changes: json.dumps({"message": "no", "code": 42210000, **changes}).encode()
        ),
        st.integers(0, 400).map(lambda n: json.dumps(order()).encode()[:n]),
    ),
)
def test_whatever_comes_nothing_breaks_and_nothing_is_guessed(status: int, body: bytes) -> None:
    found = classify.submitted(TICKET, status, body)
    if isinstance(found, Done):
        sent = json.loads(body)
        assert status == 200
        assert sent["client_order_id"] == TICKET.client_order_id
        assert (sent["symbol"], sent["side"]) == ("SPY", "buy")
        assert found.value.qty == TICKET.qty
    elif isinstance(found, Refused):
        assert 400 <= status < 500
        assert isinstance(json.loads(body), dict)
        assert not {"client_order_id", "filled_qty", "submitted_at"} & json.loads(body).keys()
    classify.cancelled(status, body)
    classify.is_absent(status, body)
    for read in (
        entities.decode_orders, entities.decode_positions, entities.decode_account,
        entities.decode_clock, entities.decode_fills,
    ):  # fmt: skip
        with suppress(DecodeError):
            read(body)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (204, b"", Done(None)),
        (
            404,
            {"code": 40410000, "message": "order not found for x"},
            Refused(Refusal.NOT_FOUND, "order not found for x", 404, 40410000),
        ),
        (
            422,
            {"code": 42210000, "message": 'order is already in "filled" state'},
            Refused(Refusal.NOT_CANCELABLE, 'order is already in "filled" state', 422, 42210000),
        ),
        (
            422,
            {"code": 40010001, "message": "order_id is missing"},
            Refused(Refusal.OTHER, "order_id is missing", 422, 40010001),
        ),
        (
            401,
            {"message": "unauthorized."},
            Refused(Refusal.CREDENTIALS, "unauthorized", 401),
        ),
        (
            429,
            {"message": "too many requests."},
            Refused(Refusal.RATE_LIMIT, "too many requests", 429),
        ),
        (404, {"code": 40410000, "message": "endpoint not found."}, Unknown("HTTP 404")),
        (404, b"<html>Not Found</html>", Unknown("HTTP 404 with a web page")),
        (422, b"", Unknown("HTTP 422 without a word")),
        (200, b"{}", Unknown("HTTP 200")),
        (207, b"[]", Unknown("HTTP 207")),
        (500, {"message": "oops"}, Unknown("HTTP 500")),
        (504, b"<html>", Unknown("HTTP 504 with a web page")),
    ],
)
def test_a_cancellation_is_asked_for_refused_or_unknown(
    status: int, body: object, expected: object
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert classify.cancelled(status, content) == expected


@pytest.mark.parametrize(
    ("status", "body", "absent"),
    [
        (404, {"code": 40410000, "message": "order not found for as-1"}, True),
        (404, {"code": 40410000, "message": "Not found"}, True),
        (404, {"message": "order not found"}, True),
        (404, {"code": 40410000, "message": "endpoint not found."}, False),
        (404, {"message": "Not Found"}, False),
        (404, {"error": "order not found"}, False),
        (404, b"<html>order not found</html>", False),
        (404, b"", False),
        (200, {"code": 40410000, "message": "order not found"}, False),
        (410, {"code": 40410000, "message": "order not found"}, False),
        (500, {"code": 40410000, "message": "order not found"}, False),
    ],
)
def test_only_the_venue_itself_can_say_that_there_is_no_order(
    status: int, body: object, absent: bool
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert classify.is_absent(status, content) is absent


def test_what_others_recorded_of_the_venue_is_understood(shared_data: Path) -> None:
    """The venue's payloads from the tests of its own clients."""
    path = shared_data / "oracles" / "alpaca_payloads.json.gz"
    fixtures = json.loads(gzip.decompress(path.read_bytes()))["fixtures"]
    readers = {
        "orders": entities.decode_orders, "positions": entities.decode_positions,
        "account": lambda body: [entities.decode_account(body)],
        "clock": lambda body: [entities.decode_clock(body)],
    }  # fmt: skip
    read: dict[str, int] = {}
    for one in fixtures:
        kind, payload = one["category"], one["payload"]
        url = str(one.get("url"))
        ours = ("/v2/" in url and "configurations" not in url) or kind == "clock"
        if not ours or kind not in readers or (one["status"], one["method"]) != (200, "GET"):
            continue
        if isinstance(payload, dict) and kind in {"orders", "positions"}:
            payload = [payload]
        found = readers[kind](json.dumps(payload).encode())
        read[kind] = read.get(kind, 0) + len(found)
    assert read.keys() == readers.keys()
