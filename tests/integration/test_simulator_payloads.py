"""The simulator's trading answers beside payloads that others have published."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from alpaca.trading.models import (
    AccountConfiguration,
    Asset,
    Calendar,
    Clock,
    ClosePositionResponse,
    Order,
    PortfolioHistory,
    Position,
    TradeAccount,
    TradeActivity,
)
from alpaca.trading.requests import CancelOrderResponse

from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.simulator.order_rules import parse
from alpaca_strategy.simulator.wire import RefusedError

pytestmark = pytest.mark.integration

#: Published fields that the venue's trading API has no more, or never had for such an account.
GONE = {
    # The pattern-day-trader rule ended in 2026, and its fields with it.
    "pattern_day_trader", "daytrade_count", "daytrading_buying_power", "dtbp_check", "pdt_check",
    "commission",  # a broker's orders have it
    "usd",  # of accounts in another currency
    "last_price", "last_close_pct_change",  # a broker's assets
}  # fmt: skip


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(
        seed=7, now="2026-10-05T14:00:00Z", paused=True, partial_prob=0
    ) as running:
        yield running


@pytest.fixture
def fixtures(shared_data: Path) -> list[dict[str, Any]]:
    with gzip.open(shared_data / "oracles" / "alpaca_payloads.json.gz", "rt") as file:
        found: list[dict[str, Any]] = json.load(file)["fixtures"]
    return found


def ask(simulator: RunningSimulator, method: str, path: str, **body: Any) -> requests.Response:
    headers = {"APCA-API-KEY-ID": simulator.key, "APCA-API-SECRET-KEY": simulator.secret}
    return requests.request(
        method, simulator.url + path, json=body or None, headers=headers, timeout=10
    )


def subject(fixture: dict[str, Any]) -> tuple[str, str] | None:
    """Return the method and path that a published payload answers, or None for other hosts'."""
    url = str(fixture.get("url")).split("?", maxsplit=1)[0]
    url = re.sub(r"^\{BaseURL[^}]*\}", "", url)
    url = url.removeprefix("https://api.alpaca.markets")
    url = url.replace("/v1/trading/accounts/{account_id}", "/v2")
    path = re.sub(r"\{[^}]*\}", "*", url)
    old = {"/v1/clock": "/v2/clock", "/v1/calendar": "/v2/calendar"}  # the same objects since v1
    path = old.get(path, path)
    wanted = fixture["kind"] == "rest" and fixture.get("status") == 200
    return (fixture["method"], path) if wanted and path.startswith("/v2/") else None


def items(payload: Any) -> list[dict[str, Any]]:
    return payload if isinstance(payload, list) else [payload]


def kind(value: Any) -> str:
    """Return what a value is: numbers may be written as texts, as the venue does."""
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    if isinstance(value, int | float) or (
        isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value)
    ):
        return "number"
    return type(value).__name__


class Answers:
    """What our venue answers to each request, from an account that has done a bit of everything."""

    def __init__(self, simulator: RunningSimulator) -> None:
        self.simulator = simulator
        simulator.clear()
        simulator.reset_account()
        self.buy("F", 10)
        self.buy("AAPL", 10)
        simulator.clock(advance_s=1)
        self.resting = self.buy("NVDA", 2, type="limit", limit_price="5")
        simulator.clock(advance_s=1)

    def buy(self, symbol: str, qty: int, **more: Any) -> dict[str, Any]:
        body = {"symbol": symbol, "qty": qty, "side": "buy", "type": "market", **more}
        answer = ask(self.simulator, "POST", "/v2/orders", time_in_force="day", **body)
        found: dict[str, Any] = answer.json()
        return found

    def get(self, path: str) -> Any:
        return ask(self.simulator, "GET", path).json()

    def of(self, method: str, path: str) -> Any:
        first = self.resting["id"]
        match (method, path):
            case ("POST", "/v2/orders"):
                return self.buy("NVDA", 1)
            case ("GET", "/v2/orders"):
                return self.get("/v2/orders?status=all")
            case ("GET", "/v2/orders/*"):
                return self.get(f"/v2/orders/{first}")
            case ("GET", "/v2/orders:by_client_order_id"):
                word = self.resting["client_order_id"]
                return self.get(f"/v2/orders:by_client_order_id?client_order_id={word}")
            case ("PATCH", "/v2/orders/*"):
                return ask(self.simulator, "PATCH", f"/v2/orders/{first}", qty=1).json()
            case ("DELETE", "/v2/orders"):
                return ask(self.simulator, "DELETE", "/v2/orders").json()
            case ("DELETE", "/v2/positions"):
                return ask(self.simulator, "DELETE", "/v2/positions").json()
            case ("DELETE", "/v2/positions/*"):
                return ask(self.simulator, "DELETE", "/v2/positions/F").json()
            case ("GET", _):
                return self.get(path.replace("*", "AAPL"))
        raise AssertionError((method, path))


MODELS = {
    ("POST", "/v2/orders"): Order,
    ("GET", "/v2/orders"): Order,
    ("GET", "/v2/orders/*"): Order,
    ("GET", "/v2/orders:by_client_order_id"): Order,
    ("PATCH", "/v2/orders/*"): Order,
    ("DELETE", "/v2/orders"): CancelOrderResponse,
    ("DELETE", "/v2/positions"): ClosePositionResponse,
    ("DELETE", "/v2/positions/*"): Order,
    ("GET", "/v2/positions"): Position,
    ("GET", "/v2/positions/*"): Position,
    ("GET", "/v2/account"): TradeAccount,
    ("GET", "/v2/account/configurations"): AccountConfiguration,
    ("GET", "/v2/account/portfolio/history"): PortfolioHistory,
    ("GET", "/v2/assets"): Asset,
    ("GET", "/v2/assets/*"): Asset,
    ("GET", "/v2/clock"): Clock,
    ("GET", "/v2/calendar"): Calendar,
}


def test_answers_have_the_published_fields(
    simulator: RunningSimulator, fixtures: list[dict[str, Any]]
) -> None:
    compared: Counter[tuple[str, str]] = Counter()
    values = 0
    for fixture in fixtures:
        asked = subject(fixture)
        if asked not in MODELS:
            continue
        ours = items(Answers(simulator).of(*asked))
        assert ours, asked
        for item in ours:
            MODELS[asked](**item)  # alpaca-py's own model takes it
        for theirs in items(fixture["payload"]):
            missing = set(theirs) - set(ours[0]) - GONE
            if "body" in missing:  # there for a refusal only, and where a position was closed
                assert asked == ("DELETE", "/v2/orders")
                missing.remove("body")
            assert not missing, (fixture["id"], asked)
            for name, value in theirs.items():
                mine = {kind(item.get(name)) for item in ours} - {"NoneType"}
                if value is not None and mine and "{" not in str(value):
                    assert kind(value) in mine, (fixture["id"], asked, name)
                    values += 1
        compared[asked] += 1
    assert set(compared) == set(MODELS)
    assert sum(compared.values()) >= 35
    assert values > 400


def test_published_error_bodies_are_ours(
    simulator: RunningSimulator, fixtures: list[dict[str, Any]]
) -> None:
    answers = Answers(simulator)
    triggers: dict[str, tuple[str, str, dict[str, Any]]] = {
        "qty or notional is required": ("POST", "/v2/orders", {}),
        "only one of qty or notional is accepted": (
            "POST",
            "/v2/orders",
            {"qty": 1, "notional": 1},
        ),
        "qty must be integer": ("PATCH", f"/v2/orders/{answers.resting['id']}", {"qty": 1.5}),
    }
    order = {"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day"}
    compared = 0
    for fixture in fixtures:
        payload = fixture["payload"]
        said = payload.get("message") if isinstance(payload, dict) else None
        if fixture["kind"] != "rest" or said not in triggers:
            continue
        method, path, body = triggers[said]
        answer = ask(simulator, method, path, **(order if method == "POST" else {}), **body)
        assert (answer.status_code, answer.json()) == (fixture["status"], payload)
        compared += 1
    assert compared == len(triggers)


def test_a_refused_cancel_has_the_published_fields(
    simulator: RunningSimulator, fixtures: list[dict[str, Any]]
) -> None:
    published = [
        item["body"]
        for fixture in fixtures
        if subject(fixture) == ("DELETE", "/v2/orders")
        for item in fixture["payload"]
        if "body" in item
    ]
    answers = Answers(simulator)
    ask(simulator, "DELETE", f"/v2/orders/{answers.resting['id']}")
    (refused,) = ask(simulator, "DELETE", "/v2/orders").json()
    assert published
    assert {frozenset(body) for body in published} == {frozenset(refused["body"])}
    CancelOrderResponse(**refused)


def test_activities_parse_and_have_the_documented_fields(simulator: RunningSimulator) -> None:
    found = Answers(simulator).get("/v2/account/activities/FILL")
    assert len(found) == 2
    for item in found:
        assert re.fullmatch(r"\d{17}::[0-9a-f-]{36}", item["id"])
        assert set(item) == {
            "id", "account_id", "activity_type", "transaction_time", "type", "price", "qty",
            "side", "symbol", "leaves_qty", "order_id", "cum_qty", "order_status",
        }  # fmt: skip
        TradeActivity(**item)


def test_published_rounding_gives_prices_that_are_taken(fixtures: list[dict[str, Any]]) -> None:
    (cases,) = [f["payload"] for f in fixtures if f["category"] == "limit_price_rounding"]
    order = {"symbol": "AAPL", "qty": 10, "type": "limit", "time_in_force": "day"}
    for case in cases:
        good = parse({**order, "side": case["side"], "limit_price": case["expected"]})
        assert str(good.limit_price) == case["expected"]
        if case["price"] != case["expected"]:
            with pytest.raises(RefusedError, match="sub-penny"):
                parse({**order, "side": case["side"], "limit_price": case["price"]})
    assert len(cases) >= 4
