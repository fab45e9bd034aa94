"""The genuine alpaca-py trading client, unmodified, against a running simulator's exchange."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.models import TradeActivity, TradeUpdate
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
)

from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator

pytestmark = pytest.mark.integration
NOW = "2026-10-05T14:00:00Z"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with running_simulator(
        seed=7, now=NOW, paused=True, partial_prob=0, split="TSLA:2026-10-06:3/1"
    ) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: RunningSimulator) -> RunningSimulator:
    running.clear()
    running.clock(set=NOW)
    running.reset_account()
    running.exchange(size_factor=1e6)
    return running


@pytest.fixture
def client(simulator: RunningSimulator) -> TradingClient:
    return TradingClient(simulator.key, simulator.secret, url_override=simulator.url)


@pytest.fixture
def raw(simulator: RunningSimulator) -> TradingClient:
    return TradingClient(simulator.key, simulator.secret, raw_data=True, url_override=simulator.url)


def market(symbol: str = "AAPL", side: str = "buy", qty: float = 10, **more: Any) -> Any:
    return MarketOrderRequest(
        symbol=symbol, side=OrderSide(side), qty=qty, time_in_force=TimeInForce.DAY, **more
    )


def resting(symbol: str = "AAPL", qty: float = 10, limit_price: float = 50.0, **more: Any) -> Any:
    return LimitOrderRequest(
        symbol=symbol, side=OrderSide.BUY, qty=qty, time_in_force=TimeInForce.DAY,
        limit_price=limit_price, **more,
    )  # fmt: skip


def ask(simulator: RunningSimulator, method: str, path: str, **more: Any) -> requests.Response:
    headers = {"APCA-API-KEY-ID": simulator.key, "APCA-API-SECRET-KEY": simulator.secret}
    return requests.request(method, simulator.url + path, headers=headers, timeout=10, **more)


def filled(simulator: RunningSimulator, client: TradingClient, request: Any) -> Any:
    """Send an order and let it be filled."""
    order = client.submit_order(request)
    simulator.clock(advance_s=1)
    order = client.get_order_by_id(order.id)
    assert order.status is OrderStatus.FILLED
    return order


def test_an_order_is_sent_filled_found_and_held(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    sent = client.submit_order(market(client_order_id="mine"))
    assert sent.status is OrderStatus.PENDING_NEW
    assert client.get_all_positions() == []
    simulator.clock(advance_s=1)
    order = client.get_order_by_id(sent.id, GetOrderByIdRequest(nested=True))
    assert (order.status, order.filled_qty) == (OrderStatus.FILLED, "10")
    assert order == client.get_order_by_client_id("mine")
    (position,) = client.get_all_positions()
    assert (position.qty, position.avg_entry_price) == ("10", order.filled_avg_price)
    assert position == client.get_open_position("AAPL")
    assert position == client.get_open_position(str(position.asset_id))
    account = client.get_account()
    spent = Decimal(100_000) - Decimal(str(account.cash))
    assert spent == 10 * Decimal(str(order.filled_avg_price))
    assert Decimal(str(account.equity)) == Decimal(str(account.cash)) + Decimal(
        str(position.market_value)
    )


def test_raw_answers_have_texts_for_numbers_and_nothing_of_day_trading(raw: TradingClient) -> None:
    order = raw.submit_order(market(qty=1.0))
    assert (order["qty"], order["filled_qty"], order["filled_avg_price"]) == ("1", "0", None)
    account = raw.get_account()
    gone = {
        "pattern_day_trader", "daytrade_count", "daytrading_buying_power", "bod_dtbp",
        "dtbp_check", "pdt_check",
    }  # fmt: skip
    assert not gone & set(account)
    assert not gone & set(raw.get_account_configurations())
    assert {type(account[name]) for name in ("cash", "equity", "buying_power")} == {str}
    assert raw.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL))[0] == order


def test_every_kind_of_order_is_taken(simulator: RunningSimulator, client: TradingClient) -> None:
    filled(simulator, client, market(qty=30))
    price = float(client.get_open_position("AAPL").current_price)
    sell = {"symbol": "AAPL", "side": OrderSide.SELL, "qty": 5, "time_in_force": TimeInForce.GTC}
    low = round(price * 0.9, 2)
    orders = [
        client.submit_order(LimitOrderRequest(**sell, limit_price=round(price * 1.2, 2))),
        client.submit_order(StopOrderRequest(**sell, stop_price=low)),
        client.submit_order(StopLimitOrderRequest(**sell, stop_price=low, limit_price=low)),
        client.submit_order(MarketOrderRequest(**{**sell, "qty": 0.5, "time_in_force": "day"})),
        client.submit_order(MarketOrderRequest(**{**sell, "time_in_force": "ioc"})),
        client.submit_order(MarketOrderRequest(**{**sell, "time_in_force": "fok"})),
        client.submit_order(MarketOrderRequest(**{**sell, "time_in_force": "cls", "qty": 1})),
    ]
    amount = MarketOrderRequest(
        symbol="F", side=OrderSide.BUY, notional=100, time_in_force=TimeInForce.DAY
    )
    bought = client.submit_order(amount)
    simulator.clock(advance_s=1)
    states = [client.get_order_by_id(order.id).status.value for order in orders]
    assert states == ["new", "new", "new", "filled", "filled", "filled", "new"]
    after = client.get_order_by_id(bought.id)
    assert (after.qty, after.notional, after.status.value) == (None, "100", "filled")
    assert 0 < 100 - float(after.filled_qty) * float(after.filled_avg_price) < 0.01
    assert client.get_open_position("AAPL").qty_available == "3.5"


def test_what_is_not_supported_is_refused_in_words(client: TradingClient) -> None:
    bracket = market(
        order_class="bracket",
        take_profit=TakeProfitRequest(limit_price=200),
        stop_loss=StopLossRequest(stop_price=5),
    )
    trailing = TrailingStopOrderRequest(
        symbol="AAPL", side=OrderSide.SELL, qty=1, time_in_force=TimeInForce.DAY, trail_percent=1
    )
    for request in (bracket, trailing):
        with pytest.raises(APIError, match="not supported") as refused:
            client.submit_order(request)
        assert (refused.value.status_code, refused.value.code) == (422, 42210000)


def test_orders_are_listed_by_state_time_side_symbol_and_place(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    start = datetime(2026, 10, 5, 14, tzinfo=UTC)
    for n in range(12):
        client.submit_order(resting(("AAPL", "F")[n % 2], 1 + n, 5.0, client_order_id=f"c{n}"))
        simulator.clock(advance_s=60)
    client.cancel_order_by_id(client.get_order_by_client_id("c4").id)
    simulator.clock(advance_s=1)

    def names(**asked: Any) -> list[str]:
        return [order.client_order_id for order in client.get_orders(GetOrdersRequest(**asked))]

    everything = [f"c{n}" for n in range(12)]
    still_open = [name for name in everything if name != "c4"]
    assert names() == still_open[::-1]
    assert names(status=QueryOrderStatus.CLOSED) == ["c4"]
    asked = {"status": QueryOrderStatus.ALL, "direction": "asc"}
    assert names(**asked, limit=5) == everything[:5]
    # Both ends are excluded.
    after = {"after": start + timedelta(minutes=4), "until": start + timedelta(minutes=9)}
    assert names(**asked, **after) == ["c5", "c6", "c7", "c8"]
    assert names(**asked, symbols=["F"]) == everything[1::2]
    assert names(**asked, side=OrderSide.SELL) == []
    place = client.get_order_by_client_id("c7").id
    page = ask(
        simulator, "GET", "/v2/orders", params={**asked, "status": "all", "after_order_id": place}
    ).json()
    assert [order["client_order_id"] for order in page] == everything[8:]


def test_orders_are_cancelled_one_by_one_and_all_together(
    simulator: RunningSimulator, client: TradingClient, raw: TradingClient
) -> None:
    first, second, third = (client.submit_order(resting()) for _ in range(3))
    simulator.clock(advance_s=1)
    client.cancel_order_by_id(first.id)
    answers = client.cancel_orders()
    assert [(str(a.id), a.status) for a in answers] == [
        (str(first.id), 422), (str(second.id), 200), (str(third.id), 200),
    ]  # fmt: skip
    assert client.get_order_by_id(second.id).status is OrderStatus.PENDING_CANCEL
    simulator.clock(advance_s=1)
    assert {client.get_order_by_id(o.id).status.value for o in (first, second)} == {"canceled"}
    assert raw.cancel_orders() == []
    with pytest.raises(APIError, match='already in \\\\"canceled\\\\" state') as refused:
        client.cancel_order_by_id(first.id)
    assert refused.value.status_code == 422
    with pytest.raises(APIError, match="order not found") as refused:
        client.cancel_order_by_id(uuid.uuid4())
    assert (refused.value.status_code, refused.value.code) == (404, 40410000)


def test_an_order_is_replaced_by_another(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    old = client.submit_order(resting())
    simulator.clock(advance_s=1)
    change = ReplaceOrderRequest(qty=3, limit_price=51.5, client_order_id="new one")
    new = client.replace_order_by_id(old.id, change)
    assert (new.replaces, new.qty, new.limit_price) == (old.id, "3", "51.5")
    assert client.get_order_by_id(old.id).status is OrderStatus.PENDING_REPLACE
    simulator.clock(advance_s=1)
    assert client.get_order_by_id(old.id).replaced_by == new.id
    assert client.get_order_by_client_id("new one").status is OrderStatus.NEW


def test_positions_are_closed_in_part_and_all_together(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    filled(simulator, client, market(qty=10))
    filled(simulator, client, market("F", "sell", 8))
    assert client.get_open_position("F").side.value == "short"
    part = client.close_position("AAPL", ClosePositionRequest(percentage="50"))
    assert (part.qty, part.side) == ("5", OrderSide.SELL)
    cover = client.close_position("F", ClosePositionRequest(qty="3"))
    simulator.clock(advance_s=1)
    assert (cover.side, client.get_open_position("F").qty) == (OrderSide.BUY, "-5")
    client.submit_order(
        LimitOrderRequest(
            symbol="AAPL", side=OrderSide.SELL, qty=2, limit_price=999, time_in_force="day"
        )
    )
    simulator.clock(advance_s=1)
    answers = client.close_all_positions()
    assert [(answer.symbol, answer.status) for answer in answers] == [("AAPL", 403), ("F", 200)]
    answers = client.close_all_positions(cancel_orders=True)
    assert [answer.status for answer in answers] == [200, 200]
    simulator.clock(advance_s=1)
    assert client.get_all_positions() == []
    with pytest.raises(APIError, match="position does not exist") as refused:
        client.get_open_position("AAPL")
    assert (refused.value.status_code, refused.value.code) == (404, 40410000)


def test_configurations_are_read_changed_and_obeyed(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    settings = client.get_account_configurations()
    settings.suspend_trade = True
    assert client.set_account_configurations(settings).suspend_trade
    with pytest.raises(APIError, match="rejected by user request") as refused:
        client.submit_order(market())
    assert refused.value.status_code == 403
    assert client.get_account().trade_suspended_by_user
    settings.suspend_trade = False
    settings.no_shorting = True
    client.set_account_configurations(settings)
    with pytest.raises(APIError, match="not allowed to short"):
        client.submit_order(market(side="sell"))


def test_fills_are_listed_as_activities_in_pages(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    simulator.exchange(partial_prob=1.0, partial_parts=3)
    orders = [client.submit_order(market(qty=9)) for _ in range(4)]
    simulator.clock(advance_s=2)
    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        asked = {"direction": "asc", "page_size": 5, **token}
        page = client.get("/account/activities/FILL", asked)
        if not page:
            break
        found += page
        token = {"page_token": page[-1]["id"]}
    assert len(found) == 12
    assert len({item["id"] for item in found}) == 12
    parsed = [TradeActivity(**item) for item in found]
    for order in orders:
        mine = [a for a in parsed if a.order_id == order.id]
        assert [(a.type.value, a.cum_qty, a.leaves_qty) for a in mine] == [
            ("partial_fill", 3, 6), ("partial_fill", 6, 3), ("fill", 9, 0),
        ]  # fmt: skip
    newest = client.get("/account/activities", {"activity_types": "FILL", "page_size": 1})
    assert newest == [found[-1]]
    assert client.get("/account/activities/FILL", {"date": "2026-10-04"}) == []
    assert len(client.get("/account/activities/FILL", {"date": "2026-10-05"})) == 12
    middle = found[6]["transaction_time"]
    later = client.get("/account/activities/FILL", {"after": middle, "direction": "asc"})
    assert [a["transaction_time"] > middle for a in later] == [True] * len(later)
    assert client.get("/account/activities/DIV", {}) == []


def test_the_history_of_equity_follows_from_the_books(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    filled(simulator, client, market(qty=100))
    simulator.clock(set="2026-10-05T15:00:00Z")
    history = client.get_portfolio_history(
        GetPortfolioHistoryRequest(period="1D", timeframe="15Min")
    )
    assert len(history.timestamp) == 7  # 9:30 to 11:00
    assert history.equity[:2] == [100_000, 100_000]
    assert history.equity[-1] == pytest.approx(float(client.get_account().equity), abs=0.01)
    assert history.profit_loss[-1] == pytest.approx(history.equity[-1] - 100_000, abs=0.01)
    daily = client.get_portfolio_history(GetPortfolioHistoryRequest(period="1M", timeframe="1D"))
    assert daily.equity[-1] == history.equity[-1]


def test_published_refusals_have_their_own_fields(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    def body(request: Any) -> tuple[int, dict[str, Any]]:
        with pytest.raises(APIError) as refused:
            client.submit_order(request)
        return refused.value.status_code, json.loads(str(refused.value))

    filled(simulator, client, market(qty=3, client_order_id="once"))
    status, told = body(market(qty=3, client_order_id="once"))
    assert (status, told) == (422, {"code": 40010001, "message": "client_order_id must be unique"})
    status, told = body(market(qty=100_000))
    assert (status, told["code"]) == (403, 40310000)
    assert set(told) == {"code", "message", "buying_power", "cost_basis"}
    status, told = body(market(side="sell", qty=4))
    assert set(told) == {
        "available", "code", "existing_qty", "held_for_orders", "message", "symbol",
    }  # fmt: skip
    client.submit_order(resting())
    status, told = body(market(side="sell", qty=1))
    assert set(told) == {"code", "existing_order_id", "message", "reject_reason"}
    assert body(resting(limit_price=290.123))[0] == 422


def test_an_answer_can_fail_after_the_order_was_taken(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    headers = {"APCA-API-KEY-ID": simulator.key, "APCA-API-SECRET-KEY": simulator.secret}

    def post(name: str) -> requests.Response | None:
        body = {
            "symbol": "AAPL", "qty": 1, "side": "buy", "type": "market", "time_in_force": "day",
            "client_order_id": name,
        }  # fmt: skip
        try:
            return requests.post(
                simulator.url + "/v2/orders", json=body, headers=headers, timeout=0.5
            )
        except requests.RequestException:
            return None

    match = {"method": "POST", "path": "/v2/orders"}
    late = "/v2/orders:by_client_order_id?client_order_id=delay False"
    for action, options in (
        ("hang", {}), ("drop", {}), ("rst", {}), ("status", {"code": 504}), ("html", {"code": 502}),
        ("retry_after", {}), ("delay", {"seconds": 0.6}),
    ):  # fmt: skip
        for after in (True, False):
            simulator.clear()
            simulator.fault(action, match=match, times=1, after=after, **options)
            answer = post(f"{action} {after}")
            assert answer is None or answer.status_code != 200
    deadline = time.monotonic() + 10
    while ask(simulator, "GET", late).status_code == 404:  # it is carried out after the delay
        assert time.monotonic() < deadline
    taken = {order["client_order_id"] for order in simulator.truth()["orders"]}
    assert taken >= {f"{a} True" for a in ("hang", "drop", "rst", "status", "html", "retry_after")}
    assert not taken & {f"{a} False" for a in ("hang", "drop", "rst", "status", "html")}
    simulator.fault("truncate", match=match, times=1)
    answer = post("cut")
    assert answer is not None
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert client.get_order_by_client_id("cut").qty == "1"


def test_faults_know_the_symbol_and_id_of_an_order(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    simulator.fault("status", code=500, match={"method": "POST", "symbol": "F"})
    simulator.fault("status", code=503, match={"client_order_id": "late-*"})
    simulator.fault("status", code=502, match={"method": "DELETE", "symbol": "NVDA"})
    other = client.submit_order(resting("NVDA"))
    with pytest.raises(APIError) as refused:
        client.submit_order(market("F"))
    assert refused.value.status_code == 500
    with pytest.raises(APIError) as refused:
        client.submit_order(market(client_order_id="late-1"))
    assert refused.value.status_code == 503
    with pytest.raises(APIError) as refused:
        client.cancel_order_by_id(other.id)
    assert refused.value.status_code == 502
    assert [post["client_order_id"] for post in simulator.truth()["posts"]] == [
        other.client_order_id
    ]


def test_the_truth_tells_every_request_event_and_fill(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    filled(simulator, client, market(qty=3, client_order_id="a"))
    with pytest.raises(APIError):
        client.submit_order(market(qty=3, client_order_id="a"))
    truth = simulator.truth()
    assert [(p["client_order_id"], p["status"], p["key"]) for p in truth["posts"]] == [
        ("a", 200, simulator.key), ("a", 422, simulator.key),
    ]  # fmt: skip
    (order,) = truth["orders"]
    assert [event["event"] for event in order["events"]] == ["pending_new", "new", "fill"]
    (fill,) = truth["fills"]
    assert (fill["client_order_id"], fill["qty"]) == ("a", "3")
    assert fill["execution_id"] == order["events"][-1]["execution_id"]
    assert Decimal(truth["cash"]) == 100_000 - 3 * Decimal(fill["price"])
    assert truth["positions"][0]["qty"] == "3"
    update = {**order["events"][-1], "order": order}
    assert TradeUpdate(**update).position_qty == 3


def test_other_people_trade_on_the_same_account(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    order = simulator.external_order("AAPL", "buy", 7, fill_price="64.00")
    assert (order["status"], order["filled_avg_price"]) == ("filled", "64")
    simulator.external_order("F", "sell", 2, transfer_price="28")
    simulator.external_order("NVDA", "buy", 1, type="limit", limit_price="5")
    held = {p.symbol: p.qty for p in client.get_all_positions()}
    assert held == {"AAPL": "7", "F": "-2"}
    assert [o.symbol for o in client.get_orders()] == ["NVDA"]
    assert simulator.truth()["cash"] == "99552"
    assert {o["origin"] for o in simulator.truth()["orders"]} == {"external"}


def test_the_account_can_be_changed_from_outside(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    simulator.account(equity=1500)
    account = client.get_account()
    assert (account.equity, account.multiplier, account.buying_power) == ("1500", "1", "1500")
    simulator.account(deposit=98_500, trading_blocked=True, omit=["trade_suspended_by_user"])
    account = client.get_account()
    assert (account.equity, account.trading_blocked) == ("100000", True)
    assert account.trade_suspended_by_user is None
    with pytest.raises(APIError, match="not authorized to trade"):
        client.submit_order(market())
    with pytest.raises(ValueError, match="no switch"):
        simulator.account(warp=True)
    simulator.clear()
    assert not client.get_account().trading_blocked


def test_halts_stop_trading_until_they_end(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    simulator.halt("AAPL", code="P", reason="LUDP")
    order, other = client.submit_order(market()), client.submit_order(market("F"))
    simulator.clock(advance_s=300)
    assert client.get_order_by_id(order.id).status is OrderStatus.NEW
    assert client.get_order_by_id(other.id).status is OrderStatus.FILLED
    simulator.halt("AAPL", halted=False)
    simulator.clock(advance_s=1)
    assert client.get_order_by_id(order.id).status is OrderStatus.FILLED


def test_assets_differ_where_a_switch_says_so(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    simulator.exchange(assets={"F": {"shortable": False, "easy_to_borrow": False}})
    assert not client.get_asset("F").shortable
    with pytest.raises(APIError, match='asset \\\\"F\\\\" cannot be sold short'):
        client.submit_order(market("F", "sell"))
    simulator.exchange(assets={"F": {"status": "inactive", "tradable": False}})
    assert "F" not in {asset.symbol for asset in client.get_all_assets()}


def test_a_split_overnight_is_seen_in_the_position(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    before = filled(simulator, client, market("TSLA", qty=10))
    simulator.clock(set="2026-10-06T14:00:00Z")
    position = client.get_open_position("TSLA")
    paid = Decimal(str(before.filled_avg_price))
    assert position.qty == "30"
    assert float(position.avg_entry_price) == pytest.approx(float(paid / 3), abs=1e-8)
    assert float(position.current_price) == pytest.approx(float(paid / 3), rel=0.2)
    assert float(position.lastday_price) == pytest.approx(float(paid / 3), rel=0.2)


def test_damaged_data_are_no_prices_to_deal_at(
    simulator: RunningSimulator, client: TradingClient
) -> None:
    honest = filled(simulator, client, market("F"))
    simulator.clock(set=NOW)
    simulator.reset_account()
    simulator.exchange(size_factor=1e6)
    simulator.damage("spike", "F", "2026-10-05", count=2000, factor=10)
    again = filled(simulator, client, market("F"))
    assert again.filled_avg_price == honest.filled_avg_price


def test_a_venue_of_recorded_trades_has_an_exchange_too(shared_data: Any) -> None:
    with running_simulator(
        replay=shared_data / "tape", now="2013-10-07T15:00:00Z", paused=True, partial_prob=0,
        recent_sip=True,
    ) as replay:  # fmt: skip
        client = TradingClient(replay.key, replay.secret, url_override=replay.url)
        symbol = client.get_all_assets()[0].symbol
        last = ask(replay, "GET", f"/v2/stocks/{symbol}/trades", params={
            "start": "2013-10-07T14:59:00Z", "end": "2013-10-07T15:00:00Z", "feed": "sip",
        }).json()["trades"][-1]["p"]  # fmt: skip
        order = client.submit_order(market(symbol, qty=1))
        replay.clock(advance_s=1)
        done = client.get_order_by_id(order.id)
        assert done.status is OrderStatus.FILLED
        assert float(done.filled_avg_price) == pytest.approx(last, rel=2e-3)
