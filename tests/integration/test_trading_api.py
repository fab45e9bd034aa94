"""The trading adapter against the exchange, which keeps its own ledger and may fail on command."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow.compute as pc
import pytest

from alpaca_strategy.broker.addresses import Access, Mode, check_access, check_account
from alpaca_strategy.broker.budget import Budget
from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.broker.recent_trades import RecentTrades
from alpaca_strategy.broker.trading import TRADING_LIMITS, TradingApi
from alpaca_strategy.domain.market import Feed
from alpaca_strategy.domain.orders import OrderStatus, OrderType, Side, Ticket, VenueOrder
from alpaca_strategy.domain.outcomes import Done, Refusal, Refused, Unknown
from alpaca_strategy.errors import CredentialsError, MalformedResponseError, RateLimitedError
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.storage.pacing import ProcessPace

pytestmark = pytest.mark.integration
OPEN = datetime(2026, 10, 1, 13, 30, tzinfo=UTC)
#: So that a failure is over soon; the exchange itself answers within milliseconds.
SOON = replace(TRADING_LIMITS, read_s=0.5, deadline_s=1.0, patience_s=0.5, backoff_s=0.01)
PATH = {"method": "POST", "path": "/v2/orders"}


@pytest.fixture(scope="module")
def venue() -> Iterator[RunningSimulator]:
    """Start an exchange during a session."""
    with running_simulator(now="2026-10-01T14:00:00Z") as running:
        yield running


@pytest.fixture
def simulator(venue: RunningSimulator) -> RunningSimulator:
    """Return the exchange with a new account, sound again, half an hour into the session."""
    venue.clear()
    venue.reset_account()
    venue.clock(set="2026-10-01T14:00:00Z")
    return venue


Connect = Callable[..., TradingApi]


@pytest.fixture
def connect(simulator: RunningSimulator) -> Iterator[Connect]:
    opened: list[TradingApi] = []

    def make(per_minute: int = 100_000, **options: Any) -> TradingApi:
        keys = {"key": simulator.key, "secret": simulator.secret} | {"limits": SOON} | options
        opened.append(TradingApi(url=simulator.url, budget=Budget(per_minute=per_minute), **keys))
        return opened[-1]

    yield make
    for api in opened:
        api.close()


def ticket(name: str, side: Side = Side.BUY, qty: object = 10, symbol: str = "F") -> Ticket:
    return Ticket(name, symbol, side, Decimal(str(qty)))


def far(name: str, side: Side = Side.BUY, qty: object = 1) -> Ticket:
    """Return an order that does not trade for its limit."""
    price = Decimal("1.005") if side is Side.BUY else Decimal(900)
    return replace(ticket(name, side, qty), type=OrderType.LIMIT, limit_price=price)


def placed(outcome: object) -> VenueOrder:
    assert isinstance(outcome, Done), outcome
    order = outcome.value
    assert isinstance(order, VenueOrder)
    return order


def test_an_order_is_followed_to_the_books(simulator: RunningSimulator, connect: Connect) -> None:
    api = connect()
    order = placed(api.submit(ticket("life-1")))
    assert order.qty == 10
    simulator.clock(advance_s=10)
    found = api.order_by_client_id("life-1")
    assert found is not None
    assert (found.id, found.status, found.filled_qty) == (order.id, OrderStatus.FILLED, 10)
    truth = simulator.truth()
    fills = api.fills_since(OPEN)
    assert [(one.order_id, str(one.cum_qty), str(one.price)) for one in fills] == [
        (one["order_id"], one["cum_qty"], one["price"]) for one in truth["fills"]
    ]
    assert fills[-1].cum_qty == 10
    (position,) = api.positions()
    assert (position.symbol, position.qty) == ("F", 10)
    paid = sum(one.qty * one.price for one in fills)
    assert api.account().cash == Decimal(truth["cash"]) == 100_000 - paid
    assert api.open_orders() == []
    assert [one.client_order_id for one in api.orders_since(OPEN)] == ["life-1"]


def test_a_known_id_is_refused_and_nothing_is_ordered_twice(
    simulator: RunningSimulator, connect: Connect
) -> None:
    api = connect()
    first = placed(api.submit(ticket("twice")))
    again = api.submit(ticket("twice"))
    assert isinstance(again, Refused)
    assert again.why is Refusal.DUPLICATE_ID
    found = api.order_by_client_id("twice")
    assert found is not None
    assert found.id == first.id
    assert len(simulator.truth()["orders"]) == 1


def test_every_refusal_has_its_kind(simulator: RunningSimulator, connect: Connect) -> None:
    api = connect()

    def why(wanted: Ticket) -> Refusal:
        found = api.submit(wanted)
        assert isinstance(found, Refused), found
        assert found.message
        return found.why

    placed(api.submit(ticket("base")))
    simulator.clock(advance_s=10)
    assert why(ticket("r-1", qty=1_000_000)) is Refusal.BUYING_POWER
    assert why(ticket("r-2", Side.SELL, 11)) is Refusal.SHARES_HELD
    assert why(ticket("r-3", symbol="NOSUCH")) is Refusal.OTHER
    placed(api.submit(far("resting", Side.SELL, 5)))
    assert why(ticket("r-4")) is Refusal.WASH_TRADE
    simulator.exchange(assets={"MSFT": {"shortable": False}})
    assert why(ticket("r-5", Side.SELL, 1, "MSFT")) is Refusal.NOT_SHORTABLE
    simulator.account(day_trading="entry")
    assert why(ticket("r-6", symbol="MSFT")) is Refusal.DAY_TRADING
    simulator.account(reset=True, trading_blocked=True)
    assert why(ticket("r-7", symbol="MSFT")) is Refusal.OTHER
    assert api.account().objection == "the account says trading_blocked True"
    assert len(simulator.truth()["orders"]) == 2


def test_foreign_keys_are_refused_by_name_of_the_setting(connect: Connect) -> None:
    key = "SIMOTHER"
    api = connect(key=key)
    assert api.submit(ticket("keys")) == Refused(Refusal.CREDENTIALS, "unauthorized", 401)
    with pytest.raises(CredentialsError, match="ALPACA_API_KEY") as caught:
        api.account()
    assert key not in str(caught.value)


FAULTS: dict[str, dict[str, Any]] = {
    "hang": {},
    "drop_before": {},
    "rst": {},
    "html": {"code": 504},
    "status": {"code": 500},
    "truncate": {},
    "drip": {"bytes": 1, "seconds": 0.05},
    "oversize": {},
}


@pytest.mark.parametrize("action", FAULTS)
def test_an_order_that_was_taken_but_not_answered_is_unknown_and_found(
    action: str, simulator: RunningSimulator, connect: Connect
) -> None:
    simulator.fault(action, PATH, after=True, times=1, **FAULTS[action])
    api = connect()
    assert isinstance(api.submit(ticket("lost-answer")), Unknown)
    assert api.orders_sent == 1
    found = api.order_by_client_id("lost-answer")
    truth = simulator.truth()["orders"]
    assert found is not None
    assert [one["id"] for one in truth] == [found.id]


@pytest.mark.parametrize("action", ["hang", "drop_before", "rst", "html", "status"])
def test_an_order_that_did_not_arrive_is_unknown_absent_and_taken_once_under_its_id(
    action: str, simulator: RunningSimulator, connect: Connect
) -> None:
    simulator.fault(action, PATH, times=1, **FAULTS[action])
    api = connect()
    assert isinstance(api.submit(ticket("lost-order")), Unknown)
    assert api.order_by_client_id("lost-order") is None
    assert simulator.truth()["orders"] == []
    placed(api.submit(ticket("lost-order")))
    assert len(simulator.truth()["orders"]) == 1


def test_a_cancellation_is_asked_for_and_its_end_seen(
    simulator: RunningSimulator, connect: Connect
) -> None:
    api = connect()
    order = placed(api.submit(far("rest-1")))
    assert order.limit_price == 1  # 1.005 is no price
    simulator.clock(advance_s=1)
    assert [one.id for one in api.open_orders()] == [order.id]
    assert api.cancel(order.id) == Done(None)
    simulator.clock(advance_s=1)
    assert api.open_orders() == []
    found = api.order_by_client_id("rest-1")
    assert found is not None
    assert found.status is OrderStatus.CANCELED
    late = api.cancel(order.id)
    assert isinstance(late, Refused)
    assert late.why is Refusal.NOT_CANCELABLE
    strange = api.cancel("00000000-0000-0000-0000-000000000000")
    assert isinstance(strange, Refused)
    assert strange.why is Refusal.NOT_FOUND


def test_a_cancellation_whose_answer_is_lost_has_happened_all_the_same(
    simulator: RunningSimulator, connect: Connect
) -> None:
    api = connect()
    order = placed(api.submit(far("rest-2")))
    simulator.clock(advance_s=1)
    simulator.fault("rst", {"method": "DELETE"}, after=True, times=1)
    assert isinstance(api.cancel(order.id), Unknown)
    simulator.clock(advance_s=1)
    assert api.open_orders() == []


def test_more_orders_and_fills_than_pages_hold_are_all_told(
    simulator: RunningSimulator, connect: Connect
) -> None:
    api = connect(limits=TRADING_LIMITS)
    with ThreadPoolExecutor(4) as threads:
        rest = threads.map(lambda n: placed(api.submit(far(f"rest-{n}"))), range(510))
        bought = threads.map(lambda n: placed(api.submit(ticket(f"buy-{n}", qty=1))), range(130))
        ids, filled = {one.id for one in rest}, {one.id for one in bought}
    simulator.clock(advance_s=30)
    assert len(ids) == 510
    assert [one.id for one in api.open_orders()] == [
        one["id"] for one in simulator.truth()["orders"] if one["id"] in ids
    ]
    assert {one.id for one in api.orders_since(OPEN)} == ids | filled
    fills = api.fills_since(OPEN)
    assert {one.order_id for one in fills} == filled
    assert sum(one.qty for one in fills) == 130
    assert api.orders_sent == 640


def test_partial_fills_add_up_by_order_and_quantity(
    simulator: RunningSimulator, connect: Connect
) -> None:
    simulator.exchange(partial_prob=1.0, partial_parts=3)
    api = connect()
    order = placed(api.submit(ticket("parts", qty=30)))
    simulator.clock(advance_s=30)
    fills = api.fills_since(OPEN)
    assert len(fills) >= 3
    assert len({(one.order_id, one.cum_qty) for one in fills}) == len(fills)
    total = Decimal(0)
    for one in fills:
        total += one.qty
        assert (one.order_id, one.cum_qty) == (order.id, total)
    assert total == 30


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/v2/positions", TradingApi.positions),
        ("/v2/account", TradingApi.account),
        ("/v2/orders", TradingApi.open_orders),
        ("/v2/account/activities/FILL", lambda api: api.fills_since(OPEN)),
    ],
)
@pytest.mark.parametrize(
    ("action", "options"), [("html", {"code": 502}), ("rst", {}), ("truncate", {}), ("drip", {})]
)
def test_a_question_survives_a_burst_of_errors(
    path: str, ask: Callable[[TradingApi], object], action: str, options: dict[str, Any],
    simulator: RunningSimulator, connect: Connect,
) -> None:  # fmt: skip
    api = connect(limits=replace(SOON, patience_s=5))
    placed(api.submit(ticket("burst")))
    simulator.clock(advance_s=10)
    simulator.clock(paused=True)
    try:
        sound = ask(api)
        simulator.fault(action, {"path": path}, times=2, **{"seconds": 0.7} | options)
        assert ask(api) == sound
    finally:
        simulator.clock(paused=False)


def test_a_list_with_a_field_spoilt_is_no_answer(
    simulator: RunningSimulator, connect: Connect
) -> None:
    api = connect()
    placed(api.submit(far("spoilt")))
    simulator.fault("null_field", {"path": "/v2/orders", "method": "GET"}, field="filled_qty")
    with pytest.raises(MalformedResponseError, match="3 times"):
        api.open_orders()


def test_a_storm_of_429_sees_one_request_and_no_order_twice(
    simulator: RunningSimulator, connect: Connect
) -> None:
    api = connect(order_wait_s=0.05, cancel_wait_s=0.05, limits=replace(SOON, patience_s=0.05))
    simulator.fault("retry_after", {}, retry_after=60)
    refused = api.submit(ticket("storm"))
    assert isinstance(refused, Refused)
    assert (refused.why, refused.status) == (Refusal.RATE_LIMIT, 429)
    begin = threading.Barrier(6)

    def ask(n: int) -> None:
        begin.wait(20)
        if n % 2:
            with pytest.raises(RateLimitedError):
                api.positions()
        else:
            assert isinstance(api.submit(ticket(f"storm-{n}")), Refused)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, range(6)))
    truth = simulator.truth()
    assert truth["orders"] == []
    assert truth["requests"] == {f"{simulator.key} POST /v2/orders": 1}
    assert api.orders_sent == 1


def test_the_meter_of_the_venue_is_never_overrun() -> None:
    with running_simulator(now="2026-10-01T14:00:00Z", requests_per_minute=40) as metered:
        api = TradingApi(
            key=metered.key, secret=metered.secret, url=metered.url,
            budget=Budget(per_minute=40), limits=replace(SOON, patience_s=0.05),
        )  # fmt: skip
        answered = limited = 0
        for n in range(30):
            try:
                api.account() if n % 2 else api.clock()
                answered += 1
            except RateLimitedError:
                limited += 1
        assert isinstance(api.submit(ticket("still")), Done)
        assert metered.truth()["rate_limited"] == {}
        assert answered >= 5
        assert limited > 0
        api.close()


def test_the_simulator_is_what_a_simulated_session_takes(
    simulator: RunningSimulator, connect: Connect
) -> None:
    access = Access(Mode.SIMULATED, simulator.url, (simulator.url,), (), simulator.key)
    check_access(access)
    check_account(Mode.SIMULATED, connect().account().number)


def test_recent_trades_are_the_tape_by_symbol(simulator: RunningSimulator) -> None:
    market = MarketData(
        key=simulator.key, secret=simulator.secret, feed=Feed.IEX, url=simulator.url,
        pace=ProcessPace(per_minute=10_000), page_limit=500,
    )  # fmt: skip
    history = RecentTrades(market)
    end = OPEN + timedelta(minutes=20)
    found = history.trades(["MSFT", "F"], OPEN, end)
    assert found.num_rows > 600
    alone = history.trades(["F"], OPEN, end)
    assert found.filter(pc.equal(found["symbol"], "F")).equals(alone)
    symbols = found["symbol"].to_pylist()
    assert symbols == sorted(symbols)
    history.close()
