"""Which host may see which key: every wrong pair is one sentence, and no sentence holds a key."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_strategy.broker.addresses import (
    Access,
    Mode,
    check_access,
    check_account,
    check_confirmation,
    check_live,
    is_loopback,
    sentence_to_type,
)
from alpaca_strategy.errors import AlpacaStrategyError, CredentialsError, SettingsError

# pragma: allowlist nextline secret
PK, AK, SIM = "PKVISIBLE123", "AKVISIBLE123", "SIMVISIBLE123"
PAPER = Access(
    Mode.PAPER, None, ("wss://stream.data.alpaca.markets/v2/iex",),
    ("wss://paper-api.alpaca.markets/stream",), PK,
)  # fmt: skip
LIVE = Access(
    Mode.LIVE, "https://api.alpaca.markets", ("https://data.alpaca.markets",),
    ("wss://api.alpaca.markets/stream",), AK,
)  # fmt: skip
SIMULATED = Access(
    Mode.SIMULATED, "http://127.0.0.1:8090", ("ws://127.0.0.1:8090/v2/iex",),
    ("ws://127.0.0.1:8090/stream",), SIM,
)  # fmt: skip
TODAY = date(2026, 10, 1)


@pytest.mark.parametrize(
    "access",
    [
        PAPER,
        replace(PAPER, trading_url="https://paper-api.alpaca.markets"),
        replace(PAPER, trading_url="https://paper-api.alpaca.markets:443/"),
        replace(PAPER, data_key=AK),
        replace(PAPER, key="NEWKINDOFKEY"),
        LIVE,
        replace(LIVE, trading_url="https://api.alpaca.markets/", data_key=PK),
        SIMULATED,
        replace(SIMULATED, trading_url="http://localhost:1"),
        replace(SIMULATED, trading_url="http://[::1]:8090", data_urls=(), update_urls=()),
        replace(SIMULATED, key="ANOTHERKEY"),
    ],
)
def test_what_fits_together_may_be_used(access: Access) -> None:
    check_access(access)


WRONG = [
    # Alpaca's hosts without credentials.
    (replace(PAPER, key=None), CredentialsError, "needs ALPACA_API_KEY and ALPACA_SECRET_KEY"),
    (replace(PAPER, key=""), CredentialsError, "--simulate"),
    (replace(LIVE, has_secret=False), CredentialsError, "needs ALPACA_API_KEY"),
    # A simulator's keys elsewhere.
    (replace(PAPER, key=SIM), CredentialsError, "a simulator's key, which no host"),
    (replace(LIVE, key=SIM), CredentialsError, "a simulator's key"),
    (replace(PAPER, data_key=SIM), CredentialsError, "ALPACA_DATA_KEY is a simulator's key"),
    (
        replace(SIMULATED, trading_url="https://paper-api.alpaca.markets"),
        CredentialsError,
        "a simulator's key",
    ),
    (replace(SIMULATED, trading_url=None), CredentialsError, "a simulator's key"),
    (
        replace(SIMULATED, update_urls=("wss://api.alpaca.markets/stream",)),
        CredentialsError,
        "a simulator's key",
    ),
    # A simulator's address with money in mind.
    (
        replace(PAPER, trading_url="http://127.0.0.1:8090"),
        SettingsError,
        "a simulator on this machine, but the mode is paper",
    ),
    (replace(LIVE, trading_url="http://localhost:8090"), SettingsError, "the mode is live"),
    (replace(PAPER, data_urls=("http://127.0.0.1:8090",)), SettingsError, "data_url is http"),
    (replace(LIVE, update_urls=("ws://[::1]:1/stream",)), SettingsError, "the trading stream"),
    # A simulation elsewhere.
    (
        replace(SIMULATED, trading_url="http://10.0.0.1:8090", key="OTHER"),
        SettingsError,
        "stays on this machine",
    ),
    (
        replace(SIMULATED, trading_url="http://localhost.evil.example", key="OTHER"),
        SettingsError,
        "stays on this machine",
    ),
    (replace(SIMULATED, trading_url=None, key="OTHER"), SettingsError, "needs the simulator's"),
    # Paper and live confused.
    (
        replace(PAPER, trading_url="https://api.alpaca.markets"),
        SettingsError,
        "Alpaca's live host, but the mode is paper",
    ),
    (
        replace(LIVE, trading_url="https://paper-api.alpaca.markets"),
        SettingsError,
        "Alpaca's paper host, but the mode is live",
    ),
    (
        replace(PAPER, update_urls=("wss://api.alpaca.markets/stream",)),
        SettingsError,
        "Alpaca's live host",
    ),
    (
        replace(LIVE, update_urls=("wss://paper-api.alpaca.markets/stream",)),
        SettingsError,
        "Alpaca's paper host",
    ),
    (replace(PAPER, key=AK), CredentialsError, "a live account's key, but the mode is paper"),
    (replace(LIVE, key=PK), CredentialsError, "a paper account's key, but the mode is live"),
    (replace(SIMULATED, key=PK), CredentialsError, "a paper account's key"),
    (replace(SIMULATED, data_key=AK), CredentialsError, "ALPACA_DATA_KEY is a live account's"),
    # Live without its address written out.
    (replace(LIVE, trading_url=None), SettingsError, "is not https://api.alpaca.markets"),
    # Strangers, and keys in the open.
    (
        replace(PAPER, trading_url="https://alpaca.markets.evil.example"),
        SettingsError,
        "no trading",
    ),
    (
        replace(PAPER, trading_url="http://paper-api.alpaca.markets"),
        SettingsError,
        "only over https",
    ),
    (replace(LIVE, trading_url="https://api.alpaca.markets:8443"), SettingsError, "on port 443"),
    (replace(LIVE, trading_url="http://api.alpaca.markets"), SettingsError, "only over https"),
    (replace(PAPER, data_urls=("wss://stream.evil.example",)), SettingsError, "not a host of"),
    (replace(PAPER, update_urls=("ws://paper-api.alpaca.markets/stream",)), SettingsError, "wss"),
    (replace(PAPER, trading_url="https://u:p@paper-api.alpaca.markets"), SettingsError, "no addr"),
    (replace(PAPER, trading_url="https://paper-api.alpaca.markets/v2"), SettingsError, "no addr"),
    (replace(PAPER, trading_url="paper-api.alpaca.markets"), SettingsError, "no address"),
    (replace(PAPER, trading_url=""), SettingsError, "no address"),
    (replace(PAPER, trading_url="https://[::1"), SettingsError, "no address"),
]


@pytest.mark.parametrize(("access", "kind", "words"), WRONG)
def test_what_does_not_fit_is_refused_with_one_sentence_without_keys(
    access: Access, kind: type[AlpacaStrategyError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        check_access(access)
    sentence = str(caught.value)
    assert type(caught.value) is kind
    assert words in sentence
    assert sentence.endswith(".")
    assert ". " not in sentence
    assert "VISIBLE" not in sentence
    assert "u:p@" not in sentence
    assert "VISIBLE" not in repr(access)


HOSTS = st.sampled_from(
    [
        None, "https://api.alpaca.markets", "https://paper-api.alpaca.markets",
        "http://127.0.0.1:8090", "http://localhost:8090", "https://evil.example",
        "http://api.alpaca.markets", "https://api.alpaca.markets@evil.example",
    ]
)  # fmt: skip


@given(st.sampled_from(Mode), HOSTS, HOSTS, st.sampled_from([PK, AK, SIM, "OTHER", None]))
def test_no_pair_is_let_through_that_mixes_worlds(
    mode: Mode, trading: str | None, stream: str | None, key: str | None
) -> None:
    access = Access(mode, trading, (), (stream,) if stream else (), key)
    try:
        check_access(access)
    except AlpacaStrategyError:
        return
    used = {url for url in (trading or "https://paper-api.alpaca.markets", stream) if url}
    allowed = {
        Mode.SIMULATED: {"http://127.0.0.1:8090", "http://localhost:8090"},
        Mode.PAPER: {"https://paper-api.alpaca.markets"},
        Mode.LIVE: {"https://api.alpaca.markets"},
    }[mode]
    assert used <= allowed
    assert key in {Mode.SIMULATED: {SIM, "OTHER"}, Mode.PAPER: {PK, "OTHER"}}.get(
        mode, {AK, "OTHER"}
    )


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("127.0.0.1", True), ("127.255.1.2", True), ("::1", True), ("localhost", True),
        ("10.0.0.1", False), ("127.0.0.1.evil.example", False), ("localhost.evil.example", False),
        ("0.0.0.0", False), ("", False), (None, False),
    ],
)  # fmt: skip
def test_only_this_machine_is_this_machine(host: str | None, near: bool) -> None:
    assert is_loopback(host) is near


@pytest.mark.parametrize(
    ("mode", "number", "fits"),
    [
        (Mode.SIMULATED, "SIM000000001", True), (Mode.PAPER, "PA3XYZ", True),
        (Mode.LIVE, "123456789", True), (Mode.LIVE, "PA3XYZ", False),
        (Mode.LIVE, "SIM000000001", False), (Mode.PAPER, "123456789", False),
        (Mode.PAPER, "SIM000000001", False), (Mode.SIMULATED, "PA3XYZ", False),
    ],
)  # fmt: skip
def test_the_account_that_answers_is_of_the_mode(mode: Mode, number: str, fits: bool) -> None:
    if fits:
        check_account(mode, number)
        return
    with pytest.raises(SettingsError, match=f"{number} that answered .*the mode is {mode}"):
        check_account(mode, number)


def confirm(typed: str | None, *, account: str = "123456789", limits: str = "1a2b3c4d") -> date:
    return check_confirmation(typed, account=account, limits_hash=limits, today=TODAY)


def test_the_sentence_to_type_is_the_sentence_that_counts() -> None:
    typed = sentence_to_type("123456789", "1a2b3c4d", date(2026, 12, 31))
    assert typed == "I trade account 123456789 live with limits 1a2b3c4d until 2026-12-31"
    assert confirm(typed) == date(2026, 12, 31)
    assert confirm(f"  {typed.replace(' ', '  ')}. ") == date(2026, 12, 31)


SENTENCE = "I trade account 123456789 live with limits 1a2b3c4d until "


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        (None, "is missing or is not the sentence"),
        ("", "is missing"),
        ("yes", "is not the sentence"),
        ("I trade account 987654321 live with limits 1a2b3c4d until 2026-12-31", "names account"),
        ("I trade account 123456789 live with limits ffffffff until 2026-12-31", "names limits"),
        (SENTENCE + "2026-09-30", "ended on 2026-09-30"),
        (SENTENCE + "2026-02-30", "which is no day"),
        (SENTENCE + "9999-12-31", "too far ahead"),
        (SENTENCE + "2026-12-31 and more", "is not the sentence"),
        (SENTENCE.lower() + "2026-12-31", "is not the sentence"),
    ],
)
def test_a_confirmation_of_something_else_is_refused_and_the_right_one_is_told(
    typed: str | None, fault: str
) -> None:
    with pytest.raises(SettingsError, match=fault) as caught:
        confirm(typed)
    told = str(caught.value).split('"')[1]
    assert confirm(told) > TODAY


def test_a_confirmation_is_good_on_its_last_day() -> None:
    assert confirm(SENTENCE + "2026-10-01") == TODAY


@given(st.text(max_size=80))
def test_nothing_else_that_is_typed_confirms(typed: str) -> None:
    with pytest.raises(SettingsError):
        confirm(typed)


@pytest.mark.parametrize("missing", ["mode", "address", "sentence"])
def test_live_needs_all_three_opt_ins(missing: str) -> None:
    typed: str | None = SENTENCE + "2026-12-31"
    given_ = {"account": "123456789", "limits_hash": "1a2b3c4d", "today": TODAY}
    check_live(LIVE, confirmation=typed, **given_)  # type: ignore[arg-type]
    access = LIVE
    if missing == "mode":
        access = replace(LIVE, mode=Mode.PAPER)
    elif missing == "address":
        access = replace(LIVE, trading_url=None)
    else:
        typed = None
    with pytest.raises(AlpacaStrategyError):
        check_live(access, confirmation=typed, **given_)  # type: ignore[arg-type]


def test_paper_needs_no_sentence() -> None:
    check_live(PAPER, confirmation=None, account="PA1", limits_hash="x", today=TODAY)
