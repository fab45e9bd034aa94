"""The genuine alpaca-py clients, unmodified, against a running simulator."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import CorporateActionsType
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.requests import (
    CorporateActionsRequest,
    StockBarsRequest,
    StockLatestTradeRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import GetAssetsRequest, GetCalendarRequest

from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator

pytestmark = pytest.mark.integration
OPEN, CLOSE = datetime(2026, 10, 1, 13, 30, tzinfo=UTC), datetime(2026, 10, 1, 20, tzinfo=UTC)
LAST_MINUTE = CLOSE - timedelta(microseconds=1)


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(
        seed=7, now="2026-10-05T14:00:00Z", paused=True, split="TSLA:2026-10-02:3/1"
    ) as running:
        yield running


@pytest.fixture
def data(simulator: RunningSimulator) -> StockHistoricalDataClient:
    return StockHistoricalDataClient(simulator.key, simulator.secret, url_override=simulator.url)


@pytest.fixture
def raw(simulator: RunningSimulator) -> StockHistoricalDataClient:
    return StockHistoricalDataClient(
        simulator.key, simulator.secret, raw_data=True, url_override=simulator.url
    )


@pytest.fixture
def trading(simulator: RunningSimulator) -> TradingClient:
    # A slash too many, as users write it: the client then asks for //v2/clock.
    return TradingClient(simulator.key, simulator.secret, url_override=simulator.url + "/")


def get(simulator: RunningSimulator, path: str, **parameters: object) -> requests.Response:
    headers = {"APCA-API-KEY-ID": simulator.key, "APCA-API-SECRET-KEY": simulator.secret}
    return requests.get(simulator.url + path, params=parameters, headers=headers, timeout=10)  # type: ignore[arg-type]


def day_of(symbols: str | list[str], **more: Any) -> StockTradesRequest:
    more = {"start": OPEN, "end": LAST_MINUTE, "feed": "iex", **more}
    return StockTradesRequest(symbol_or_symbols=symbols, **more)


def test_trades_of_several_symbols_come_whole_and_in_order(data: StockHistoricalDataClient) -> None:
    found = data.get_stock_trades(day_of(["TSLA", "AAPL"]))
    assert list(found.data) == ["AAPL", "TSLA"]
    for symbol in ("AAPL", "TSLA"):
        trades = found[symbol]
        assert len(trades) >= 5000
        assert len({trade.id for trade in trades}) == len(trades)
        assert all(a.timestamp <= b.timestamp for a, b in pairwise(trades))
        assert OPEN <= trades[0].timestamp <= trades[-1].timestamp < CLOSE


def test_raw_and_parsed_models_hold_the_same_trades(
    data: StockHistoricalDataClient, raw: StockHistoricalDataClient
) -> None:
    plain = raw.get_stock_trades(day_of("F", limit=50))
    parsed = data.get_stock_trades(day_of("F", limit=50))["F"]
    assert len(parsed) == 50
    assert [t["i"] for t in plain["F"]] == [t.id for t in parsed]
    assert [t["p"] for t in plain["F"]] == [t.price for t in parsed]
    assert [t["c"] for t in plain["F"]] == [t.conditions for t in parsed]
    assert {t["x"] for t in plain["F"]} == {"V"}
    assert {t["z"] for t in plain["F"]} == {"A"}


def test_the_limit_counts_all_symbols_and_tokens_resume_anywhere(
    simulator: RunningSimulator,
) -> None:
    asked = {"symbols": "MSFT,F", "start": OPEN.isoformat(), "end": LAST_MINUTE.isoformat()}
    whole = get(simulator, "/v2/stocks/trades", limit=10_000, feed="iex", **asked).json()
    pages, token = [], None
    while token or not pages:
        more = {"page_token": token} if token else {}
        page = get(simulator, "/v2/stocks/trades", limit=3000, feed="iex", **asked, **more).json()
        again = get(simulator, "/v2/stocks/trades", limit=3000, feed="iex", **asked, **more).json()
        assert page == again  # stateless
        pages.append(page)
        token = page["next_page_token"]
    assert [sum(map(len, p["trades"].values())) for p in pages[:-1]] == [3000] * (len(pages) - 1)
    assert "MSFT" not in pages[0]["trades"]
    joined = [t for p in pages for symbol in ("F", "MSFT") for t in p["trades"].get(symbol, [])]
    first = [t for symbol in ("F", "MSFT") for t in whole["trades"].get(symbol, [])]
    assert len(first) == 10_000
    assert joined[:10_000] == first


def test_the_single_symbol_page_has_the_same_trades(simulator: RunningSimulator) -> None:
    asked = {"start": OPEN.isoformat(), "end": LAST_MINUTE.isoformat(), "limit": 20, "feed": "iex"}
    one = get(simulator, "/v2/stocks/AAPL/trades", **asked).json()
    many = get(simulator, "/v2/stocks/trades", symbols="AAPL", **asked).json()
    assert one == {
        "trades": many["trades"]["AAPL"],
        "symbol": "AAPL",
        "next_page_token": many["next_page_token"],
    }


def test_short_pages_hold_less_than_the_limit_and_lose_nothing() -> None:
    with running_simulator(short_pages=True, now="2026-10-05T14:00:00Z", paused=True) as short:
        client = StockHistoricalDataClient(short.key, short.secret, url_override=short.url)
        got = client.get_stock_trades(day_of("AAPL"))["AAPL"]
        page = get(
            short, "/v2/stocks/trades", symbols="AAPL", start=OPEN.isoformat(), limit=1000
        ).json()
    assert len(page["trades"]["AAPL"]) < 1000
    assert page["next_page_token"]
    assert len(got) >= 5000
    assert len({trade.id for trade in got}) == len(got)


def test_minute_bars_follow_from_the_trades_served(raw: StockHistoricalDataClient) -> None:
    request = StockBarsRequest(
        symbol_or_symbols=["AAPL", "F"], start=OPEN, end=LAST_MINUTE, feed="iex",
        timeframe=TimeFrame.Minute,
    )  # fmt: skip
    bars = raw.get_stock_bars(request)
    trades = raw.get_stock_trades(day_of(["AAPL", "F"]))
    for symbol in ("AAPL", "F"):
        assert 330 < len(bars[symbol]) <= 390
        by_minute: dict[str, list[dict[str, Any]]] = {}
        for trade in trades[symbol]:
            if not set(trade["c"]) - {"@", " ", "F", "I", "O"} and "u" not in trade:
                by_minute.setdefault(trade["t"][:16], []).append(trade)
        checked = 0
        rare = {t["t"][:16] for t in trades[symbol] if set(t["c"]) & set("47BWZPQM") or "u" in t}
        for bar in bars[symbol]:
            minute = bar["t"][:16]
            if minute in rare:
                continue
            mine = by_minute[minute]
            setting = [t["p"] for t in mine if "I" not in t["c"]]
            assert (bar["o"], bar["c"]) == (setting[0], setting[-1])
            assert (bar["h"], bar["l"]) == (max(setting), min(setting))
            assert (bar["v"], bar["n"]) == (sum(t["s"] for t in mine), len(mine))
            checked += 1
        assert checked > 300


@pytest.mark.parametrize(
    ("timeframe", "count"),
    [(TimeFrame(15, TimeFrameUnit.Minute), 26), (TimeFrame.Hour, 7), (TimeFrame.Day, 3),
     (TimeFrame.Week, 2), (TimeFrame.Month, 1)],
)  # fmt: skip
def test_longer_bars_have_the_venues_labels(
    data: StockHistoricalDataClient, timeframe: TimeFrame, count: int
) -> None:
    long = timeframe.unit_value in {TimeFrameUnit.Day, TimeFrameUnit.Week, TimeFrameUnit.Month}
    start = datetime(2026, 9, 28, 4, tzinfo=UTC) if long else OPEN - timedelta(minutes=30)
    if timeframe.unit_value is TimeFrameUnit.Minute:
        start = OPEN
    if timeframe.unit_value is TimeFrameUnit.Day:
        start = datetime(2026, 10, 1, 4, tzinfo=UTC)
    end = None if long else LAST_MINUTE
    found = data.get_stock_bars(
        StockBarsRequest(
            symbol_or_symbols="AAPL", start=start, end=end, feed="iex", timeframe=timeframe
        )
    )["AAPL"]
    assert len(found) == count
    if long:
        assert {bar.timestamp.hour for bar in found} == {4}  # midnight in New York, summer time


def test_a_split_shows_in_raw_bars_in_adjusted_ones_and_among_corporate_actions(
    data: StockHistoricalDataClient, simulator: RunningSimulator
) -> None:
    asked = {
        "symbol_or_symbols": "TSLA", "timeframe": TimeFrame.Day, "feed": "iex",
        "start": datetime(2026, 10, 1, 4, tzinfo=UTC), "end": datetime(2026, 10, 2, 5, tzinfo=UTC),
    }  # fmt: skip
    before, after = data.get_stock_bars(StockBarsRequest(**asked))["TSLA"]
    assert before.close / after.open == pytest.approx(3, rel=0.08)
    split, same = data.get_stock_bars(StockBarsRequest(**asked, adjustment="split"))["TSLA"]
    assert split.close == pytest.approx(before.close / 3, abs=1e-5)
    assert split.volume == pytest.approx(before.volume * 3)
    assert same.close == after.close
    client = CorporateActionsClient(simulator.key, simulator.secret, url_override=simulator.url)
    actions = client.get_corporate_actions(
        CorporateActionsRequest(
            symbols=["TSLA"], start=date(2026, 10, 1), end=date(2026, 10, 5),
            types=[CorporateActionsType.FORWARD_SPLIT, CorporateActionsType.CASH_DIVIDEND],
        )
    )  # fmt: skip
    (found,) = actions.data["forward_splits"]
    assert (found.new_rate, found.old_rate, found.ex_date) == (3, 1, date(2026, 10, 2))


def test_corporate_actions_come_in_pages(simulator: RunningSimulator) -> None:
    asked = {"start": "2010-01-01", "end": "2026-10-01"}
    whole = get(simulator, "/v1/corporate-actions", limit=1000, **asked).json()["corporate_actions"]
    pages, token = [], None
    while token or not pages:
        more = {"page_token": token} if token else {}
        page = get(simulator, "/v1/corporate-actions", limit=7, **asked, **more).json()
        pages.append(page["corporate_actions"])
        token = page["next_page_token"]
    for kind in ("forward_splits", "reverse_splits"):
        assert [item for page in pages for item in page.get(kind, [])] == whole[kind]
    assert whole["forward_splits"]


def test_the_latest_trade_is_one_that_sets_a_price(data: StockHistoricalDataClient) -> None:
    request = StockLatestTradeRequest(symbol_or_symbols=["AAPL", "F"], feed="iex")
    found = data.get_stock_latest_trade(request)
    assert set(found) == {"AAPL", "F"}
    now = datetime(2026, 10, 5, 14, tzinfo=UTC)
    for trade in found.values():
        assert now - timedelta(minutes=5) < trade.timestamp <= now
        assert "I" not in trade.conditions


def test_clock_calendar_assets_and_account_parse(trading: TradingClient) -> None:
    clock = trading.get_clock()
    assert clock.is_open
    assert clock.timestamp == datetime(2026, 10, 5, 14, tzinfo=UTC)
    assert clock.next_close == datetime(2026, 10, 5, 20, tzinfo=UTC)
    assert clock.next_open == datetime(2026, 10, 6, 13, 30, tzinfo=UTC)
    days = trading.get_calendar(
        GetCalendarRequest(start=date(2026, 11, 25), end=date(2026, 11, 30))
    )
    assert [(d.date, d.close.hour) for d in days] == [
        (date(2026, 11, 25), 16), (date(2026, 11, 27), 13), (date(2026, 11, 30), 16),
    ]  # fmt: skip
    assets = trading.get_all_assets(GetAssetsRequest(status="active", asset_class="us_equity"))
    assert len(assets) == 30
    one = trading.get_asset("AAPL")
    assert one == trading.get_asset(str(one.id))
    assert one.exchange == "NASDAQ"
    assert trading.get_account().account_number.startswith("SIM")


@pytest.mark.parametrize(
    ("moment", "is_open", "next_open", "next_close"),
    [
        ("2026-11-26T15:00:00Z", False, "2026-11-27T09:30", "2026-11-27T13:00"),
        ("2026-11-27T18:00:00Z", False, "2026-11-30T09:30", "2026-11-30T16:00"),
        ("2026-11-27T17:59:59Z", True, "2026-11-30T09:30", "2026-11-27T13:00"),
        ("2026-11-27T14:29:59Z", False, "2026-11-27T09:30", "2026-11-27T13:00"),
    ],
)
def test_the_clock_knows_holidays_and_half_days(
    simulator: RunningSimulator, moment: str, is_open: bool, next_open: str, next_close: str
) -> None:
    simulator.clock(set=moment)
    try:
        clock = get(simulator, "/v2/clock").json()
    finally:
        simulator.clock(set="2026-10-05T14:00:00Z")
    assert clock["is_open"] is is_open
    assert (clock["next_open"][:16], clock["next_close"][:16]) == (next_open, next_close)


def test_nothing_of_the_future_is_served(raw: StockHistoricalDataClient) -> None:
    later = {"start": datetime(2026, 10, 6, tzinfo=UTC), "end": datetime(2026, 10, 8, tzinfo=UTC)}
    assert raw.get_stock_trades(day_of("AAPL", **later)).get("AAPL", []) == []
    running = {"start": datetime(2026, 10, 5, 13, 30, tzinfo=UTC), "end": later["end"]}
    today = raw.get_stock_trades(day_of("AAPL", **running))["AAPL"]
    assert today
    assert today[-1]["t"] < "2026-10-05T14:00:00"
    bars = StockBarsRequest(
        symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, feed="iex", **running
    )
    assert raw.get_stock_bars(bars)["AAPL"][-1]["t"] < "2026-10-05T14:00:00Z"


@pytest.mark.parametrize(
    ("path", "parameters", "status", "says"),
    [
        ("/v2/stocks/trades", {"symbols": "NOPE"}, 422, "NOPE"),
        ("/v2/stocks/trades", {}, 400, "symbols"),
        ("/v2/stocks/trades", {"symbols": "AAPL", "limit": "10001"}, 400, "limit"),
        ("/v2/stocks/trades", {"symbols": "AAPL", "limit": "many"}, 400, "limit"),
        ("/v2/stocks/trades", {"symbols": "AAPL", "start": "yesterday"}, 400, "start"),
        ("/v2/stocks/trades", {"symbols": "AAPL", "feed": "otc"}, 400, "feed"),
        ("/v2/stocks/trades", {"symbols": "AAPL", "page_token": "abc"}, 400, "page_token"),
        ("/v2/stocks/trades", {"symbols": "AAPL", "sort": "up"}, 400, "sort"),
        ("/v2/stocks/trades", {"symbols": "F", "start": "2026-10-02", "end": "2026-10-01"}, 400,
         "end"),
        ("/v2/stocks/bars", {"symbols": "AAPL", "timeframe": "7Years"}, 400, "timeframe"),
        ("/v2/stocks/bars", {"symbols": "F", "timeframe": "1Day", "adjustment": "x"}, 400,
         "adjustment"),
        ("/v2/calendar", {"start": "soon"}, 422, "start"),
        ("/v2/assets/NOPE", {}, 404, "NOPE"),
        ("/v2/watchlists", {}, 404, "not found"),
        ("/v9/anything", {}, 404, "not found"),
        ("/v1/corporate-actions", {"limit": "1001"}, 400, "limit"),
    ],
)  # fmt: skip
def test_bad_questions_get_an_error_in_json(
    simulator: RunningSimulator, path: str, parameters: dict[str, str], status: int, says: str
) -> None:
    response = get(simulator, path, **parameters)
    assert response.status_code == status
    assert says in response.json()["message"]


def test_recent_sip_needs_a_subscription_and_older_sip_does_not(
    simulator: RunningSimulator,
) -> None:
    asked = {"symbols": "AAPL", "feed": "sip", "start": "2026-10-05T13:30:00Z", "limit": 10}
    refused = get(simulator, "/v2/stocks/trades", **asked, end="2026-10-05T13:50:00Z")
    assert refused.status_code == 403
    assert refused.json() == {
        "code": 42210000,
        "message": "subscription does not permit querying recent SIP data",
    }
    for end in ({"end": "2026-10-05T13:45:00Z"}, {}):  # without an end: fifteen minutes ago
        allowed = get(simulator, "/v2/stocks/trades", **asked, **end)
        assert allowed.status_code == 200
        assert len(allowed.json()["trades"]["AAPL"]) == 10


def test_wrong_credentials_are_refused_in_each_hosts_own_way(simulator: RunningSimulator) -> None:
    data = StockHistoricalDataClient(simulator.key, "wrong", url_override=simulator.url)
    with pytest.raises(APIError) as refused:
        data.get_stock_trades(day_of("AAPL"))
    assert (refused.value.status_code, refused.value.message) == (403, "forbidden.")
    trading = TradingClient("nobody", simulator.secret, url_override=simulator.url)
    with pytest.raises(APIError) as refused:
        trading.get_clock()
    assert (refused.value.status_code, refused.value.message) == (401, "unauthorized.")


def test_the_rate_limit_is_per_key_and_host_and_says_when_it_ends() -> None:
    with running_simulator(
        requests_per_minute=3,
        rate_window_s=600,
        key="ONE,TWO",
        secret="a,b",  # pragma: allowlist secret
    ) as limited:

        def ask(key: str, secret: str, path: str) -> requests.Response:
            headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
            return requests.get(limited.url + path, headers=headers, timeout=10)

        answers = [ask("ONE", "a", "/v2/clock") for _ in range(5)]
        assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
        assert [a.headers["X-RateLimit-Remaining"] for a in answers] == ["2", "1", "0", "0", "0"]
        assert {a.headers["X-RateLimit-Limit"] for a in answers} == {"3"}
        assert len({a.headers["X-RateLimit-Reset"] for a in answers}) <= 2  # rounding to seconds
        assert answers[-1].json() == {"code": 42910000, "message": "rate limit exceeded"}
        assert ask("TWO", "b", "/v2/clock").status_code == 200
        assert ask("ONE", "a", "/v2/stocks/meta/exchanges").status_code == 200
        truth = limited.truth()
    assert truth["rate_limited"] == {"ONE": 2}
    assert truth["requests_by_key"] == {"ONE": 4, "TWO": 1}


def test_payloads_have_the_fields_that_the_venues_have(
    simulator: RunningSimulator, shared_data: Path
) -> None:
    with gzip.open(shared_data / "oracles" / "alpaca_payloads.json.gz", "rt") as file:
        fixtures = {item["id"]: item["payload"] for item in json.load(file)["fixtures"]}
    asked = {"symbols": "AAPL", "start": OPEN.isoformat(), "limit": 500, "feed": "iex"}

    def kinds(item: dict[str, Any]) -> dict[str, str]:
        number = {int: "number", float: "number"}
        return {k: str(number.get(type(v), type(v).__name__)) for k, v in item.items()}

    pairs = [
        (fixtures[55]["trades"]["AAPL"][0], "/v2/stocks/trades", asked, ("trades", "AAPL", 0)),
        (fixtures[58]["trades"]["AAPL"], "/v2/stocks/trades/latest",
         {"symbols": "AAPL", "feed": "iex"}, ("trades", "AAPL")),
        (fixtures[120]["trade"], "/v2/stocks/AAPL/trades/latest", {"feed": "iex"}, ("trade",)),
        (fixtures[47]["bars"]["AAPL"][0], "/v2/stocks/bars", {**asked, "timeframe": "1Day"},
         ("bars", "AAPL", 0)),
        (fixtures[118], "/v2/clock", {}, ()),
        (fixtures[119][0], "/v2/calendar", {"start": "2026-10-01"}, (0,)),
        (fixtures[84], "/v2/assets/AAPL", {}, ()),
        (fixtures[14]["corporate_actions"]["reverse_splits"][0], "/v1/corporate-actions",
         {"start": "2000-01-01", "types": "reverse_split"},
         ("corporate_actions", "reverse_splits", 0)),
        (fixtures[197]["corporate_actions"]["forward_splits"][0], "/v1/corporate-actions",
         {"start": "2000-01-01", "types": "forward_split"},
         ("corporate_actions", "forward_splits", 0)),
    ]  # fmt: skip
    for theirs, path, parameters, where in pairs:
        ours: Any = get(simulator, path, **parameters).json()
        for step in where:
            ours = ours[step]
        missing = set(kinds(theirs).items()) - set(kinds(ours).items())
        # Optional by the venue's own description; a broker's assets have a price as well.
        optional = {"due_bill_redemption_date", "last_price", "last_close_pct_change"}
        assert {name for name, _ in missing} <= optional, path
    # The page token has the venue's own form: symbol|time|exchange|id, in base 64.
    token = get(simulator, "/v2/stocks/trades", **asked).json()["next_page_token"]
    ours, theirs = (base64.b64decode(t).decode() for t in (token, fixtures[149]["next_page_token"]))
    assert [len(part) for part in ours.split("|")] == [len(part) for part in theirs.split("|")]


def test_code_tables_explain_every_code_on_the_tape(
    simulator: RunningSimulator, raw: StockHistoricalDataClient
) -> None:
    conditions = get(simulator, "/v2/stocks/meta/conditions/trade", tape="C").json()
    exchanges = get(simulator, "/v2/stocks/meta/exchanges").json()
    for trade in raw.get_stock_trades(day_of("AAPL", feed="sip"))["AAPL"]:
        assert trade["x"] in exchanges
        assert set(trade["c"]) <= set(conditions)


def test_the_planted_signal_is_told_with_its_break_even_cost(simulator: RunningSimulator) -> None:
    told = simulator.truth(symbol="AAPL", session="2026-10-01")
    assert told["signal"]["oracle_ic"] == 0.06
    assert 1 < told["signal"]["break_even_round_trip_bps"] < 5
    assert len(told["pressure"]) == 390
