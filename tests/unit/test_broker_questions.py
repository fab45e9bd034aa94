"""What the trading host tells, over real sockets: all of it, to the last digit, or an error."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import scripted_venue as sv
from scripted_account import (
    FULL,
    KEY,
    LOST,
    ORDER_ID,
    SECRET,
    SINCE,
    TICKET,
    Connect,
    always,
    connections,
    order,
)

from alpaca_strategy.broker.recent_trades import RecentTrades
from alpaca_strategy.domain.orders import Fill, OrderStatus, Side
from alpaca_strategy.domain.portfolio import Account, Asset, Position, VenueClock
from alpaca_strategy.errors import (
    CredentialsError,
    MalformedResponseError,
    VenueError,
    VenueUnavailableError,
)


@pytest.fixture
def connect() -> Iterator[Connect]:
    with connections() as make:
        yield make


NOT_FOUND = sv.reply({"code": 40410000, "message": "order not found for as-1"}, 404)


def test_an_order_is_found_by_our_id(connect: Connect) -> None:
    with sv.scripted_venue(always(sv.reply(order(status="filled", filled_qty="3")))) as venue:
        found = connect(venue.url).order_by_client_id(TICKET.client_order_id)
        (request,) = venue.seen
    assert found is not None
    assert (found.id, found.status) == (ORDER_ID, OrderStatus.FILLED)
    assert request.path == "/v2/orders:by_client_order_id"
    assert request.query == {"client_order_id": TICKET.client_order_id}


def test_an_order_is_absent_only_where_the_venue_says_so(connect: Connect) -> None:
    with sv.scripted_venue(always(NOT_FOUND)) as venue:
        assert connect(venue.url).order_by_client_id("as-1") is None
        assert len(venue.seen) == 1


@pytest.mark.parametrize(
    "answer",
    [
        sv.page(404),
        sv.reply(b"", 404),
        sv.reply({"code": 40410000, "message": "endpoint not found."}, 404),
        sv.reply({"message": "Not Found"}, 404),
        sv.reply(b"null"),
        sv.reply(b""),
        sv.reply({}),
        sv.reply([]),
        sv.reply(order(client_order_id="another")),
        sv.page(502),
        sv.reply({"message": "unauthorized."}, 401),
        sv.reply({"code": 40310000, "message": "no"}, 403),
        sv.reply({"code": 42210000, "message": "no"}, 422),
        FULL,
        sv.hang,
        sv.reset,
    ],
)
def test_an_error_is_never_read_as_no_such_order(answer: sv.Answer, connect: Connect) -> None:
    with sv.scripted_venue(always(answer)) as venue, pytest.raises(VenueError) as caught:
        connect(venue.url).order_by_client_id("as-1")
    error: BaseException | None = caught.value
    assert str(error).count(". ") == 0
    assert "ALPACA_DATA_KEY" not in str(error)
    while error is not None:
        assert SECRET not in str(error)
        assert KEY not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("kind", ["reset", "502", "500", "200 with a page", "JSON cut short"])
def test_a_question_is_asked_again(kind: str, connect: Connect) -> None:
    def script(request: sv.Request, number: int) -> sv.Answer:
        return LOST[kind] if number == 0 else sv.reply([])

    with sv.scripted_venue(script) as venue:
        assert connect(venue.url).positions() == []
        assert len(venue.seen) == 2


def test_a_question_without_an_answer_ends_soon(connect: Connect) -> None:
    with sv.scripted_venue(always(sv.page(503))) as venue:
        with pytest.raises(VenueUnavailableError, match=r"within 0.6 s .*HTTP 503"):
            connect(venue.url).positions()
        assert len(venue.seen) > 2


def test_refused_keys_are_told_with_the_name_of_their_setting(connect: Connect) -> None:
    with sv.scripted_venue(always(sv.reply({"message": "unauthorized."}, 401))) as venue:
        with pytest.raises(CredentialsError, match=r"HTTP 401.*ALPACA_API_KEY and ALPACA_SECRET"):
            connect(venue.url).account()
        assert len(venue.seen) == 1


class Book:
    """A venue's list of orders, as it is documented; `most` caps a page in silence."""

    def __init__(self, rows: list[dict[str, Any]], most: int = 500) -> None:
        self.rows, self.most = rows, most

    def __call__(self, request: sv.Request, _: int) -> sv.Answer:
        query = request.query
        assert request.path == "/v2/orders"
        assert query["direction"] == "asc"
        limit = min(int(query.get("limit", 50)), self.most)
        rows = self.rows
        if "after_order_id" in query:
            assert "after" not in query
            rows = rows[1 + [row["id"] for row in rows].index(query["after_order_id"]) :]
        elif "after" in query:
            after = datetime.fromisoformat(query["after"])
            rows = [row for row in rows if datetime.fromisoformat(row["submitted_at"]) > after]
        return sv.reply(rows[:limit])


def rows_of(count: int, step: timedelta) -> list[dict[str, Any]]:
    return [
        order(
            id=f"order-{n}", client_order_id=f"mine-{n}",
            submitted_at=(SINCE + step * (n + 1)).isoformat(),
        )
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("most", [500, 50])
@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 499, 500, 501, 1203])
def test_no_order_is_left_out_or_told_twice_however_many_there_are(
    count: int, most: int, connect: Connect
) -> None:
    with sv.scripted_venue(Book(rows_of(count, timedelta(seconds=7)), most)) as venue:
        api = connect(venue.url)
        expected = [f"order-{n}" for n in range(count)]
        assert [one.id for one in api.open_orders()] == expected
        assert venue.seen[0].query["status"] == "open"
        assert [one.id for one in api.orders_since(SINCE)] == expected
        assert venue.seen[-1].query["status"] == "all"


def test_orders_of_the_same_moment_are_all_found(connect: Connect) -> None:
    with sv.scripted_venue(Book(rows_of(700, timedelta()))) as venue:
        assert len(connect(venue.url).open_orders()) == 700


def test_a_venue_that_overlooks_where_to_go_on_gets_no_list_cut_in_silence(
    connect: Connect,
) -> None:
    rows = rows_of(600, timedelta(seconds=7))
    with sv.scripted_venue(always(sv.reply(rows[:500]))) as venue:
        with pytest.raises(MalformedResponseError, match="orders repeat"):
            connect(venue.url).open_orders()
        assert len(venue.seen) == 2
    with sv.scripted_venue(always(sv.reply(rows[:499]))) as venue:
        assert len(connect(venue.url).open_orders()) == 499


def test_orders_from_before_are_left_out_even_if_the_venue_tells_them(connect: Connect) -> None:
    rows = rows_of(3, timedelta(seconds=7))
    with sv.scripted_venue(always(sv.reply(rows))) as venue:
        found = connect(venue.url).orders_since(SINCE + timedelta(seconds=7))
    assert [one.id for one in found] == ["order-1", "order-2"]


@pytest.mark.parametrize(
    "bad",
    [order(side=None), order(filled_qty="x"), order(qty="NaN"), {"id": "x"}, None, "order", []],
)
def test_one_order_that_cannot_be_read_makes_the_list_no_answer(bad: Any, connect: Connect) -> None:
    with (
        sv.scripted_venue(always(sv.reply([order(), bad]))) as venue,
        pytest.raises(MalformedResponseError),
    ):
        connect(venue.url).open_orders()


def test_orders_of_new_kinds_are_listed(connect: Connect) -> None:
    odd = order(status="of_tomorrow", order_class="swarm", asset_class="tulips", hwm=1, new=[None])
    with sv.scripted_venue(always(sv.reply([odd]))) as venue:
        (found,) = connect(venue.url).open_orders()
    assert (found.status, found.status_text) == (OrderStatus.OTHER, "of_tomorrow")


def activity(n: int, **fields: Any) -> dict[str, Any]:
    at = SINCE + timedelta(seconds=n)
    return {
        "id": f"20261001::{n:05d}", "activity_type": "FILL", "type": "partial_fill",
        "transaction_time": at.isoformat(), "price": "100.1", "qty": "1", "cum_qty": str(n + 1),
        "leaves_qty": "9", "side": "buy", "symbol": "SPY", "order_id": ORDER_ID,
        "order_status": "partially_filled", **fields,
    }  # fmt: skip


def activities(rows: list[dict[str, Any]], most: int = 100) -> sv.Script:
    def script(request: sv.Request, _: int) -> sv.Answer:
        query = request.query
        assert request.path == "/v2/account/activities/FILL"
        assert query["direction"] == "asc"
        after = datetime.fromisoformat(query["after"])
        found = [row for row in rows if datetime.fromisoformat(row["transaction_time"]) > after]
        token = query.get("page_token")
        if token:
            found = found[1 + [row["id"] for row in found].index(token) :]
        return sv.reply(found[: min(most, int(query["page_size"]))])

    return script


@pytest.mark.parametrize("most", [100, 50])
@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 350])
def test_every_execution_is_told_once(count: int, most: int, connect: Connect) -> None:
    rows = [activity(n) for n in range(count)]
    with sv.scripted_venue(activities(rows, most)) as venue:
        found = connect(venue.url).fills_since(SINCE - timedelta(seconds=1))
    assert [one.cum_qty for one in found] == [Decimal(n + 1) for n in range(count)]


def test_an_execution_keeps_what_names_it_and_earlier_ones_are_left_out(connect: Connect) -> None:
    sold = activity(5, side="sell_short", price="0.10000000000000001", leaves_qty=None)
    with sv.scripted_venue(activities([activity(4), sold])) as venue:
        (found,) = connect(venue.url).fills_since(SINCE + timedelta(seconds=4))
    assert found == Fill(
        order_id=ORDER_ID, cum_qty=Decimal(6), symbol="SPY", side=Side.SELL, qty=Decimal(1),
        price=Decimal("0.10000000000000001"), at=SINCE + timedelta(seconds=5),
        execution_id="20261001::00005",
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [{"cum_qty": None}, {"qty": "2", "cum_qty": "1"}, {"price": "0"}, {"side": "x"}, {"qty": "0"}],
)
def test_an_execution_that_cannot_be_read_makes_the_list_no_answer(
    fields: dict[str, Any], connect: Connect
) -> None:
    with (
        sv.scripted_venue(always(sv.reply([activity(1, **fields)]))) as venue,
        pytest.raises(MalformedResponseError),
    ):
        connect(venue.url).fills_since(SINCE)


def test_executions_whose_pages_repeat_are_not_an_answer(connect: Connect) -> None:
    rows = [activity(n) for n in range(100)]
    with (
        sv.scripted_venue(always(sv.reply(rows))) as venue,
        pytest.raises(MalformedResponseError, match="executions repeat"),
    ):
        connect(venue.url).fills_since(SINCE)


def position(**fields: Any) -> dict[str, Any]:
    return {
        "symbol": "SPY", "qty": "5", "side": "long", "avg_entry_price": "100.5",
        "current_price": "120.0", "market_value": "600.0", **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "qty", "value"),
    [
        ({}, "5", "600.0"),
        ({"qty": "-5", "side": "short", "market_value": "-600.0"}, "-5", "-600.0"),
        ({"qty": "5", "side": "short"}, "-5", "-600.0"),
        ({"qty": "0.123456789", "market_value": None}, "0.123456789", None),
        ({"side": None, "asset_class": "tulips", "exchange": "MOON"}, "5", "600.0"),
    ],
)
def test_a_position_has_a_sign(
    fields: dict[str, Any], qty: str, value: str | None, connect: Connect
) -> None:
    with sv.scripted_venue(always(sv.reply([position(**fields), position(qty="0")]))) as venue:
        found = connect(venue.url).positions()
    assert found == [
        Position(
            "SPY", Decimal(qty), Decimal("100.5"), Decimal("120.0"),
            None if value is None else Decimal(value),
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    "rows", [[position(qty=None)], [position(qty="-5")], [position(), {}], {}, None, [None]]
)
def test_positions_that_cannot_be_read_are_not_no_positions(rows: Any, connect: Connect) -> None:
    with sv.scripted_venue(always(sv.reply(rows))) as venue, pytest.raises(MalformedResponseError):
        connect(venue.url).positions()


def account(**fields: Any) -> dict[str, Any]:
    return {
        "account_number": "PA1", "status": "ACTIVE", "equity": "100000.01", "cash": "-5.5",
        "buying_power": "400000", "last_equity": "99000", "trading_blocked": False,
        "account_blocked": False, "trade_suspended_by_user": False, "shorting_enabled": True,
        "multiplier": "4", "admin_configurations": {}, **fields,
    }  # fmt: skip


def test_an_account_is_what_it_says(connect: Connect) -> None:
    with sv.scripted_venue(always(sv.reply(account()))) as venue:
        found = connect(venue.url).account()
    assert found == Account(
        number="PA1", status="ACTIVE", equity=Decimal("100000.01"), last_equity=Decimal(99000),
        cash=Decimal("-5.5"), buying_power=Decimal(400000), trading_blocked=False,
        account_blocked=False, trade_suspended_by_user=False, shorting_enabled=True,
    )  # fmt: skip
    assert found.objection is None


def test_what_an_account_does_not_say_is_no_permission(connect: Connect) -> None:
    left_out = ("trading_blocked", "account_blocked", "trade_suspended_by_user", "last_equity")
    row = {name: value for name, value in account().items() if name not in left_out}
    with sv.scripted_venue(always(sv.reply(row))) as venue:
        found = connect(venue.url).account()
    assert found.trading_blocked is found.account_blocked is found.last_equity is None
    assert found.objection is not None


@pytest.mark.parametrize(
    "fields",
    [{"equity": None}, {"equity": "NaN"}, {"trading_blocked": "false"}, {"trading_blocked": 0},
     {"buying_power": "1e308"}, {"status": None}, {"account_number": ""}],
)  # fmt: skip
def test_an_account_that_cannot_be_read_is_no_answer(
    fields: dict[str, Any], connect: Connect
) -> None:
    with (
        sv.scripted_venue(always(sv.reply(account(**fields)))) as venue,
        pytest.raises(MalformedResponseError),
    ):
        connect(venue.url).account()


def test_the_clock_is_aware_and_in_utc(connect: Connect) -> None:
    row = {
        "timestamp": "2026-10-01T10:15:22.123456789-04:00", "is_open": True,
        "next_open": "2026-10-02T09:30:00-04:00", "next_close": "2026-10-01T16:00:00-04:00",
    }  # fmt: skip
    with sv.scripted_venue(always(sv.reply(row))) as venue:
        found = connect(venue.url).clock()
    assert abs(found.now - datetime(2026, 10, 1, 14, 15, 22, 123_456, UTC)) <= timedelta(
        microseconds=1
    )
    assert found == VenueClock(
        now=found.now, is_open=True, next_open=datetime(2026, 10, 2, 13, 30, tzinfo=UTC),
        next_close=datetime(2026, 10, 1, 20, 0, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize("fields", [{"timestamp": "2026-10-01T10:15:22"}, {"is_open": "true"}])
def test_a_clock_without_zone_or_truth_is_no_answer(
    fields: dict[str, Any], connect: Connect
) -> None:
    row = dict.fromkeys(("timestamp", "next_open", "next_close"), "2026-10-01T10:15:22Z")
    with (
        sv.scripted_venue(always(sv.reply(row | {"is_open": True} | fields))) as venue,
        pytest.raises(MalformedResponseError),
    ):
        connect(venue.url).clock()


def test_assets_are_those_asked_for_and_the_others_faults_do_not_matter(connect: Connect) -> None:
    rows = [
        {"symbol": "SPY", "status": "active", "tradable": True, "fractionable": True, "new": 1},
        {"symbol": "F", "status": "inactive", "tradable": False},
        {"symbol": "ODD", "status": 7},
        {"symbol": ["LIST"]},
    ]
    with sv.scripted_venue(always(sv.reply(rows))) as venue:
        found = connect(venue.url).assets(["SPY", "F", "GONE"])
        (request,) = venue.seen
        assert request.query == {"status": "active", "asset_class": "us_equity"}
        with pytest.raises(MalformedResponseError):
            connect(venue.url).assets(["ODD"])
    assert found == {
        "SPY": Asset("SPY", tradable=True, fractionable=True, active=True),
        "F": Asset("F", tradable=False, fractionable=False, active=False),
    }


def test_no_symbols_and_no_time_are_no_question_about_trades() -> None:
    nobody: Any = None
    history = RecentTrades(nobody)
    assert history.trades([], SINCE, SINCE + timedelta(1)).num_rows == 0
    assert history.trades(["SPY"], SINCE, SINCE - timedelta(1)).num_rows == 0
