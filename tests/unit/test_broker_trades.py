"""Pages of trades: what is kept to the last digit, what is set aside, what is refused."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import scripted_venue as sv
from hypothesis import given
from hypothesis import strategies as st

from alpaca_strategy.broker import paging
from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.broker.rest import DecodeError
from alpaca_strategy.broker.trades import TradePage, decode_page
from alpaca_strategy.broker.transport import Limits
from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import MalformedResponseError
from alpaca_strategy.market.schema import TRADE_SCHEMA

START, END = (datetime.fromisoformat(f"2026-10-01T{hour}:00:00+00:00") for hour in (13, 21))


class NoPace:
    def acquire(self) -> None: ...
    def push_back(self, seconds: float) -> None: ...


def trade(second: float = 0, **fields: Any) -> dict[str, Any]:
    """Return a trade as the venue writes it, some seconds after 14:00 UTC."""
    moment = f"2026-10-01T14:{int(second) // 60:02d}:{second % 60:09.6f}Z"
    basis = {"t": moment, "x": "V", "p": 100.25, "s": 10, "c": ["@", "I"], "i": 7, "z": "C"}
    return {**basis, **fields}


def page(token: str | None = None, **trades: Any) -> dict[str, Any]:
    return {"trades": trades, "next_page_token": token}


def decode(content: object, *symbols: str) -> TradePage:
    return decode_page(json.dumps(content).encode(), frozenset(symbols or {"SPY"}))


def test_a_trade_becomes_a_row_of_the_schema() -> None:
    found = decode(
        page("abc", SPY=[trade(t="2026-10-01T13:30:00.123456789Z", u="canceled"), trade(1, c=None)])
    )
    assert found.next_token == "abc"
    assert found.table.schema == TRADE_SCHEMA
    first, second = found.table.to_pylist()
    assert first == {
        "symbol": "SPY", "ts_ns": 1_790_861_400_123_456_789, "price": 100.25, "size": 10,
        "exchange": "V", "conditions": "@,I", "tape": "C", "id": 7, "update": "canceled",
    }  # fmt: skip
    assert (second["update"], second["conditions"]) == (None, "")


@given(
    st.integers(-(10**9), 4 * 10**9),
    st.text("0123456789", max_size=9),
    st.sampled_from(["Z", "+00:00", "-04:00", "+05:30"]),
)
def test_every_digit_of_a_time_survives(second: int, digits: str, zone: str) -> None:
    moment = datetime(1970, 1, 1) + timedelta(seconds=second)  # noqa: DTZ001  # the zone follows
    text = moment.isoformat() + ("." + digits if digits else "") + zone
    offset = {"Z": 0, "+00:00": 0, "-04:00": -4 * 3600, "+05:30": 19_800}[zone]
    expected = (second - offset) * 10**9 + int((digits + "0" * 9)[:9])
    assert decode(page(SPY=[trade(t=text)])).table["ts_ns"].to_pylist() == [expected]


MALFORMED = {
    "no price": {"p": None},
    "price of zero": {"p": 0},
    "negative price": {"p": -1.5},
    "NaN": {"p": float("nan")},
    "infinite": {"p": float("inf")},
    "price as text": {"p": "100"},
    "size of zero": {"s": 0},
    "negative size": {"s": -5},
    "half a share": {"s": 0.5},
    "absurd size": {"s": 10**30},
    "size a truth": {"s": True},
    "id beyond the lake": {"i": 2**63},
    "negative id": {"i": -1},
    "no zone": {"t": "2026-10-01T14:00:00"},
    "no time": {"t": "yesterday"},
    "ten digits": {"t": "2026-10-01T14:00:00.1234567891Z"},
    "time out of range": {"t": "9999-10-01T14:00:00Z"},
    "conditions no list": {"c": "@"},
    "exchange no text": {"x": 5},
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_trade_is_set_aside_with_its_reason_and_the_others_stay(kind: str) -> None:
    bad = trade(2, **MALFORMED[kind])
    found = decode(
        page("t", SPY=[trade(1, i=1), bad, trade(3, i=3)], F=[trade(4, i=4)]), "SPY", "F"
    )
    assert found.table["id"].to_pylist() == [4, 1, 3]
    (reason,) = found.rejected
    assert found.parts[1].rejected == (reason,)
    assert len(reason) < 400
    assert found.next_token == "t"


@pytest.mark.parametrize("missing", ["t", "p", "s", "x", "i", "z"])
def test_a_trade_without_a_field_is_set_aside(missing: str) -> None:
    incomplete = {name: value for name, value in trade().items() if name != missing}
    found = decode(page(SPY=[incomplete, "nonsense", None, trade(i=9)]))
    assert found.table["id"].to_pylist() == [9]
    assert len(found.rejected) == 3
    assert missing in found.rejected[0]


@pytest.mark.parametrize(
    "content",
    [
        None, [], 7, "text", {}, {"message": "hello"}, {"trades": {}}, page() | {"trades": None},
        page() | {"trades": []}, page(SPY=None), page(SPY={}), page() | {"next_page_token": 5},
        page(SPY=[trade()]) | {"next_page_token": False}, page(QQQ=[trade()]),
    ],
)  # fmt: skip
def test_an_absurd_body_is_refused(content: object) -> None:
    with pytest.raises(DecodeError):
        decode(content)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else_than_a_refusal(body: bytes) -> None:
    for text in (body, b'{"trades":{"SPY":[' + body + b']},"next_page_token":null}'):
        try:
            found = decode_page(text, frozenset({"SPY"}))
        except DecodeError:
            continue
        assert found.table.schema == TRADE_SCHEMA


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode_page(b"[" * 200_000, frozenset({"SPY"}))


def follow(pages: list[dict[str, Any]], **options: Any) -> tuple[list[TradePage], list[str | None]]:
    """Fetch a chain whose n-th request gets the n-th page; also return the tokens asked for."""
    with sv.scripted_venue(lambda _, n: sv.reply(pages[min(n, len(pages) - 1)])) as venue:
        market_data = MarketData(
            key="K", secret="S", feed=Feed.IEX, pace=NoPace(), url=venue.url,
            limits=Limits(backoff_s=0.001),
        )  # fmt: skip
        try:
            found = [*market_data.trade_pages(["SPY", "F"], START, END, **options)]
        finally:
            market_data.close()
            asked = [request.query.get("page_token") for request in venue.seen]
    return found, asked


def ids(pages: list[TradePage]) -> list[int]:
    return pa.concat_tables([found.table for found in pages])["id"].to_pylist()


def test_a_chain_is_followed_token_by_token_to_its_end() -> None:
    pages = [
        page("a", F=[trade(1, i=1)]),
        page("b", F=[trade(2, i=2)], SPY=[trade(0, i=3)]),
        page(SPY=[trade(0, i=4)]),
    ]
    found, asked = follow(pages)
    assert ids(found) == [1, 2, 3, 4]
    assert asked == [None, "a", "b"]


def test_what_a_page_repeats_of_the_one_before_is_dropped_and_counted() -> None:
    one, two, three = trade(1, i=1), trade(2, i=2), trade(2, i=3)
    found, _ = follow([page("a", F=[one, two]), page(F=[two, three])])
    assert ids(found) == [1, 2, 3]
    assert found[1].repeated == 1


def test_the_first_page_after_an_interruption_is_compared_with_the_last_before_it() -> None:
    one, two = trade(1, i=1), trade(2, i=2)
    before = decode(page(F=[one]), "F").table
    found, asked = follow([page(F=[one, two])], page_token="mid", previous=before)
    assert ids(found) == [2]
    assert asked == ["mid"]


def test_equal_trades_on_one_page_stay_for_the_quality_gate_to_see() -> None:
    found, _ = follow([page(F=[trade(1), trade(1)])])
    assert found[0].table.num_rows == 2


def test_a_page_that_comes_again_is_asked_for_again() -> None:
    first, second = page("a", F=[trade(1, i=1)]), page(F=[trade(2, i=2)])
    again = first | {"next_page_token": None}
    found, asked = follow([first, again, second])
    assert ids(found) == [1, 2]
    assert asked == [None, "a", "a"]


def test_a_page_that_comes_again_and_again_is_refused() -> None:
    first = page("a", F=[trade(1)])
    with pytest.raises(MalformedResponseError, match=r"F to SPY.*repeats the one before"):
        follow([first, first | {"next_page_token": "b"}])


def test_an_empty_page_in_the_middle_is_asked_for_again() -> None:
    first, second = page("a", F=[trade(1, i=1)]), page("b", F=[trade(2, i=2)])
    found, asked = follow([first, page("b"), second, page()])
    assert ids(found) == [1, 2]
    assert asked == [None, "a", "a", "b"]


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        ([page("", F=[trade(1)])], "token is empty"),
        ([page("a", F=[trade(1)]), page("a", F=[trade(2)])], "token comes again"),
        (
            [page("a", F=[trade(1)]), page("b", F=[trade(2)]), page("a", F=[trade(3)])],
            "token comes again",
        ),
        ([page("a", F=[trade(2)]), page("b", F=[trade(1)])], "goes back"),
        ([page("a", SPY=[trade(2)]), page("b", F=[trade(3)])], "goes back"),
    ],
)
def test_a_chain_without_progress_is_refused(pages: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(MalformedResponseError, match=words):
        follow(pages)


def test_empty_pages_without_end_are_refused() -> None:
    pages = [page(str(n // 3)) for n in range(3 * paging.MAX_IDLE_PAGES)]
    with pytest.raises(MalformedResponseError, match="no new trade"):
        follow(pages)


def test_a_chain_longer_than_any_session_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGES", 5)
    with pytest.raises(MalformedResponseError, match="more than 5 pages"):
        follow([page(str(n), F=[trade(n)]) for n in range(10)])


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30),
    st.lists(st.integers(1, 6), min_size=1, max_size=30),
)
def test_the_tape_does_not_depend_on_where_pages_end(
    moments: list[tuple[int, int]], sizes: list[int]
) -> None:
    """Also when every page repeats the last trade of the one before."""
    rows = [trade(second, i=n) for n, (second, _) in enumerate(sorted(moments))]
    chain, previous, taken = paging.Chain("F", None, None), [], []
    number = 0
    while rows:
        size = sizes[number % len(sizes)]
        body = page(str(number), F=[*previous[-1:], *rows[:size]])
        found = chain.check(decode(body, "F"))
        chain.accept(found)
        taken += found.table["id"].to_pylist()
        previous, rows, number = rows[:size], rows[size:], number + 1
    assert taken == list(range(len(moments)))
