"""What becomes of everything that a venue may answer, or not: real sockets, no real waiting."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import scripted_venue as sv
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.broker.rest import DecodeError, Rest, data_client
from alpaca_strategy.broker.transport import Limits
from alpaca_strategy.errors import (
    CredentialsError,
    EntitlementError,
    MalformedResponseError,
    RateLimitedError,
    SettingsError,
    UnknownSymbolError,
    UserError,
    VenueUnavailableError,
)

# pragma: allowlist nextline secret
KEY, SECRET = "PKVISIBLE123", "very/secret+456"
SHORT = Limits(connect_s=2, read_s=0.2, deadline_s=0.4, max_body_bytes=100_000)
GOOD = sv.reply({"ok": 1})


@dataclass
class Pace:
    """Lets everybody pass, and remembers what it was told."""

    pushed: list[float] = field(default_factory=list)
    turns: int = 0

    def acquire(self) -> None:
        self.turns += 1

    def push_back(self, seconds: float) -> None:
        self.pushed.append(seconds)


@dataclass
class Client:
    rest: Rest
    pace: Pace
    slept: list[float]

    def get(self) -> Any:
        return self.rest.get("/stocks/trades", {"symbols": "SPY", "feed": "sip"}, decode)


def decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise DecodeError("a body that is not JSON") from error


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Return clients whose sleeping only moves their own clock."""
    opened: list[Client] = []

    def make(url: str, limits: Limits = SHORT) -> Client:
        pace, slept = Pace(), []
        rest = Rest(
            data_client(KEY, SECRET, url), pace=pace, limits=limits, sleep=slept.append,
            clock=lambda: sum(slept),
        )  # fmt: skip
        opened.append(Client(rest, pace, slept))
        return opened[-1]

    yield make
    for client in opened:
        client.rest.close()


def failing_first(bad: sv.Answer) -> sv.Script:
    return lambda _, number: bad if number == 0 else GOOD


def always(answer: sv.Answer) -> sv.Script:
    return lambda _, __: answer


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TRANSIENT = {
    "reset": sv.reset,
    "closed without a word": sv.raw(b""),
    "not even HTTP": sv.raw(b"\x00\x01garbage\r\n\r\n"),
    "500": sv.reply({"message": "oops"}, 500),
    "502 page": sv.page(502),
    "503 empty": sv.reply(b"", 503),
    "504 page": sv.page(504),
    "408": sv.reply({"message": "slow"}, 408),
    "200 with a web page": sv.page(200),
    "403 with a proxy's page": sv.page(403),
    "418 with a page": sv.page(418),
    "body cut short": sv.raw(HEAD + b'Content-Length: 100\r\n\r\n{"ok"'),
    "chunk cut short": sv.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n64\r\nabc"),
    "JSON cut short": sv.reply(b'{"ok": '),
    "empty": sv.reply(b""),
    "broken gzip": sv.reply(b"\x1f\x8bnonsense", headers={"Content-Encoding": "gzip"}),
    "hanging": sv.hang,
    "dripping headers": sv.drip(HEAD),
    "dripping body": sv.drip(HEAD + b"Content-Length: 100000\r\n\r\n" + b" " * 1000, 0.01),
    "dripping chunks": sv.drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 999),
    "too large": sv.reply(b" " * 100_001),
    "gzip bomb": sv.reply(gzip.compress(b" " * 5_000_000), headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("kind", TRANSIENT)
def test_what_may_pass_is_asked_again(kind: str, connect: Callable[..., Client]) -> None:
    with sv.scripted_venue(failing_first(TRANSIENT[kind])) as venue:
        client = connect(venue.url)
        assert client.get() == {"ok": 1}
        assert len(venue.seen) == client.rest.requests == client.pace.turns == 2
        assert len(client.slept) == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("reset", "the connection was refused or broke off"),
        ("502 page", "HTTP 502"),
        ("200 with a web page", "a web page where data were due"),
        ("403 with a proxy's page", "HTTP 403 with a web page"),
        ("hanging", "no answer within 0.2 s"),
        ("dripping headers", "no whole answer within 0.4 s"),
        ("dripping body", "no whole answer within 0.4 s"),
        ("dripping chunks", "no whole answer within 0.4 s"),
        ("too large", "a body of more than 100,000 bytes"),
        ("gzip bomb", "a body of more than 100,000 bytes"),
    ],
)
def test_what_does_not_pass_ends_in_one_sentence(
    kind: str, words: str, connect: Callable[..., Client]
) -> None:
    limits = Limits(connect_s=2, read_s=0.2, deadline_s=0.4, max_body_bytes=100_000, patience_s=0.3)
    with sv.scripted_venue(always(TRANSIENT[kind])) as venue:
        client = connect(venue.url, limits)
        with pytest.raises(VenueUnavailableError) as caught:
            client.get()
    sentence = str(caught.value)
    assert words in sentence
    assert "check the network" in sentence
    assert len(client.slept) < len(venue.seen) == client.rest.requests


def test_nobody_listening_is_no_usable_answer(connect: Callable[..., Client]) -> None:
    with sv.scripted_venue(always(GOOD)) as venue:
        gone = venue.url
    with pytest.raises(VenueUnavailableError, match="the connection was refused"):
        connect(gone).get()


def test_a_body_that_stays_unreadable_is_malformed(connect: Callable[..., Client]) -> None:
    with sv.scripted_venue(always(sv.reply(b'{"ok": '))) as venue:
        with pytest.raises(MalformedResponseError, match="not JSON, 3 times"):
            connect(venue.url).get()
        assert len(venue.seen) == 3


def test_keys_do_not_follow_a_redirect(connect: Callable[..., Client]) -> None:
    with sv.scripted_venue(always(GOOD)) as thief:
        there = sv.reply(b"", 302, {"Location": thief.url + "/v2/stocks/trades"})
        with sv.scripted_venue(always(there)) as venue:
            with pytest.raises(VenueUnavailableError, match=r"redirect .HTTP 302.*data_url"):
                connect(venue.url).get()
            assert len(venue.seen) == 1
        assert thief.seen == []


REFUSALS = [
    (401, {"message": "unauthorized."}, CredentialsError, "HTTP 401.*ALPACA_DATA_KEY"),
    (403, {"message": "forbidden."}, CredentialsError, "HTTP 403.*ALPACA_DATA_KEY"),
    (403, b"", CredentialsError, "HTTP 403"),
    (
        403,
        {"code": 42210000, "message": "subscription does not permit querying recent SIP data"},
        EntitlementError,
        "may not read sip.*subscription",
    ),
    (400, {"message": "invalid symbol: SPY$"}, UnknownSymbolError, "SPY.*universe"),
    (422, {"message": "invalid symbol(s): XX", "code": 42210000}, UnknownSymbolError, "XX"),
    (400, {"message": "end should not be before start"}, UserError, "end should not be before"),
    (404, {"message": "endpoint not found."}, UserError, "has no /stocks/trades.*data_url"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), REFUSALS)
def test_a_definite_refusal_is_not_asked_again(
    status: int, body: object, kind: type[Exception], words: str, connect: Callable[..., Client]
) -> None:
    with sv.scripted_venue(always(sv.reply(body, status))) as venue:
        with pytest.raises(kind, match=words) as caught:
            connect(venue.url).get()
        assert type(caught.value) is kind
        assert len(venue.seen) == 1


def test_no_sentence_and_no_cause_holds_a_key(connect: Callable[..., Client]) -> None:
    answers = [*TRANSIENT.values(), *(sv.reply(body, status) for status, body, *_ in REFUSALS)]
    limits = Limits(read_s=0.05, deadline_s=0.1, max_body_bytes=1000, patience_s=0)
    for answer in answers:
        with sv.scripted_venue(always(answer)) as venue, pytest.raises(Exception) as caught:  # noqa: PT011
            connect(venue.url, limits).get()
        error: BaseException | None = caught.value
        while error is not None:
            assert SECRET not in str(error)
            assert KEY not in str(error)
            error = error.__cause__ or error.__context__
        assert str(caught.value).count(". ") == 0


def test_after_429_everybody_waits_until_the_reset(connect: Callable[..., Client]) -> None:
    headers = {"Date": "Thu, 01 Oct 2026 13:30:00 GMT", "X-RateLimit-Reset": "1790861417"}
    full = sv.reply({"message": "too many requests."}, 429, headers)
    with sv.scripted_venue(failing_first(full)) as venue:
        client = connect(venue.url)
        assert client.get() == {"ok": 1}
    assert client.pace.pushed == [17.0]  # by the venue's own clock
    assert client.slept == []  # the pace makes us wait, so that others wait too


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "nan"}, 1.0),
        ({"X-RateLimit-Reset": "0", "Date": "yesterday"}, 0.05),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "soon"}, 1.0),
        ({}, 1.0),
        ({"Retry-After": "86400"}, 90.0),
    ],
)
def test_429_without_a_usable_reset_still_waits(
    headers: dict[str, str], wait: float, connect: Callable[..., Client]
) -> None:
    with sv.scripted_venue(failing_first(sv.reply({}, 429, headers))) as venue:
        client = connect(venue.url)
        client.get()
    assert client.pace.pushed == [wait]


def test_429_for_too_long_is_rate_limited(connect: Callable[..., Client]) -> None:
    full = sv.reply({"message": "rate limit exceeded"}, 429, {"Retry-After": "60"})
    with sv.scripted_venue(always(full)) as venue:
        with pytest.raises(RateLimitedError, match=r"429 for 300 s.*requests_per_minute"):
            connect(venue.url).get()
        assert len(venue.seen) == 6  # 5 minutes of patience, a minute each


def test_the_last_request_of_a_window_stops_everybody_before_a_429(
    connect: Callable[..., Client],
) -> None:
    headers = {
        "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790861405",
        "Date": "Thu, 01 Oct 2026 13:30:00 GMT",
    }  # fmt: skip
    with sv.scripted_venue(always(sv.reply({"ok": 1}, 200, headers))) as venue:
        client = connect(venue.url)
        client.get()
    assert client.pace.pushed == [5.0]


def test_pauses_grow_are_jittered_and_bounded(connect: Callable[..., Client]) -> None:
    with sv.scripted_venue(always(sv.reply({}, 500))) as venue:
        client = connect(venue.url)
        with pytest.raises(VenueUnavailableError):
            client.get()
    bounds = [min(0.5 * 2**n, 10.0) for n in range(len(client.slept))]
    assert all(b / 2 <= s <= b for s, b in zip(client.slept, bounds, strict=True))
    assert len(set(client.slept)) == len(client.slept)
    assert 80 < sum(client.slept) <= SHORT.patience_s


def test_the_genuine_client_makes_the_request(connect: Callable[..., Client]) -> None:
    with sv.scripted_venue(always(GOOD)) as venue:
        connect(venue.url + "/").get()
        (request,) = venue.seen
    assert request.path == "/v2/stocks/trades"
    assert request.query == {"symbols": "SPY", "feed": "sip"}
    assert request.headers["APCA-API-KEY-ID"] == KEY
    assert request.headers["APCA-API-SECRET-KEY"] == SECRET
    assert request.headers["User-Agent"].startswith("APCA-PY/")


def test_a_proxy_of_the_environment_does_not_get_loopback_requests(
    connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sv.scripted_venue(always(GOOD)) as venue, sv.scripted_venue(always(sv.page())) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert connect(venue.url).get() == {"ok": 1}
        assert proxy.seen == []


@pytest.mark.parametrize(
    "url", ["localhost:8090", "ftp://host", "http://", "http://host:port", "http://[::1", "venue"]
)
def test_an_address_that_is_no_url_is_a_setting_to_correct(
    url: str, connect: Callable[..., Client]
) -> None:
    with pytest.raises(SettingsError, match=r"is no URL.*data_url"):
        connect(url)


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text())))
def test_any_json_reaches_the_decoder_as_it_was_sent(value: object) -> None:
    body = json.dumps(value).encode()
    with sv.scripted_venue(always(sv.reply(body))) as venue:
        rest = Rest(data_client(KEY, SECRET, venue.url), pace=Pace(), limits=Limits())
        try:
            assert rest.get("/stocks/trades", {}, bytes) == body
        finally:
            rest.close()
