"""Faults that a REST client can meet, as a client meets them, and damage to the data."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from alpaca_strategy.errors import ServiceUnavailableError
from alpaca_strategy.simulator.damage import KINDS
from alpaca_strategy.simulator.faults import ACTIONS
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator

pytestmark = pytest.mark.integration
SESSION = "2026-10-01"
PATH = "/v2/stocks/trades"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with running_simulator(seed=7, now="2026-10-05T14:00:00Z", paused=True) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: RunningSimulator) -> Iterator[RunningSimulator]:
    running.clear()
    yield running
    running.clear()


def ask(simulator: RunningSimulator, path: str = PATH, **more: Any) -> requests.Response:
    headers = {"APCA-API-KEY-ID": simulator.key, "APCA-API-SECRET-KEY": simulator.secret}
    timeout = more.pop("timeout", 10)
    asked = {} if path != PATH else {
        "symbols": "AAPL", "start": f"{SESSION}T13:30:00Z", "end": f"{SESSION}T19:59:59.999Z",
        "feed": "iex", "limit": 1000,
    }  # fmt: skip
    return requests.get(simulator.url + path, {**asked, **more}, headers=headers, timeout=timeout)


def page(simulator: RunningSimulator, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = ask(simulator, **more).json()
    return found


def whole_day(
    simulator: RunningSimulator, symbol: str = "AAPL", **more: Any
) -> list[dict[str, Any]]:
    trades: list[dict[str, Any]] = []
    token = None
    while True:
        given = {"page_token": token} if token else {}
        got = page(simulator, symbols=symbol, limit=10_000, **more, **given)
        trades += got["trades"].get(symbol, [])
        token = got["next_page_token"]
        if token is None:
            return trades


def test_a_late_answer_is_late_and_whole(simulator: RunningSimulator) -> None:
    good = page(simulator)
    simulator.fault("delay", seconds=0.6, times=1)
    with pytest.raises(requests.ReadTimeout):
        ask(simulator, timeout=0.2)
    assert page(simulator) == good
    simulator.fault("delay", seconds=0.05, times=1)
    assert page(simulator) == good


def test_a_hanging_server_never_answers_but_serves_others(simulator: RunningSimulator) -> None:
    simulator.fault("hang", times=1)
    with pytest.raises(requests.ReadTimeout):
        ask(simulator, timeout=0.3)
    assert ask(simulator).status_code == 200


@pytest.mark.parametrize("action", ["drop_before", "rst"])
def test_a_broken_connection_is_a_connection_error(
    simulator: RunningSimulator, action: str
) -> None:
    simulator.fault(action, times=1)
    with pytest.raises(requests.ConnectionError) as broken:
        ask(simulator)
    assert ("reset" in str(broken.value).lower()) is (action == "rst")
    assert ask(simulator).status_code == 200


@pytest.mark.parametrize("code", [400, 403, 429, 500, 503, 504, 302])
def test_any_status_can_be_given(simulator: RunningSimulator, code: int) -> None:
    simulator.fault("status", code=code, body={"message": "so"}, times=1)
    answer = ask(simulator)
    assert (answer.status_code, answer.json()) == (code, {"message": "so"})


def test_a_gateways_page_is_no_json(simulator: RunningSimulator) -> None:
    simulator.fault("html", code=502, times=1)
    answer = ask(simulator)
    assert answer.status_code == 502
    assert "<html>" in answer.text


def test_429_for_a_time_says_how_long_to_wait(simulator: RunningSimulator) -> None:
    simulator.fault("retry_after", retry_after=2, for_s=0.2)
    answer = ask(simulator)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    deadline = time.monotonic() + 5
    while ask(simulator).status_code == 429:
        assert time.monotonic() < deadline
    simulator.fault("retry_after", retry_after=None, times=1)
    assert "Retry-After" not in ask(simulator).headers


def test_a_truncated_body_is_no_json(simulator: RunningSimulator) -> None:
    simulator.fault("truncate", times=1)
    with pytest.raises(json.JSONDecodeError):
        json.loads(ask(simulator).text)


def test_an_abruptly_truncated_body_breaks_the_connection(simulator: RunningSimulator) -> None:
    simulator.fault("truncate", abrupt=True, times=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        ask(simulator)


def test_an_oversized_body_is_large_and_still_json(simulator: RunningSimulator) -> None:
    good = page(simulator)
    simulator.fault("oversize", bytes=3_000_000, times=1)
    answer = ask(simulator)
    assert len(answer.content) == 3_000_000
    assert answer.json() == good


def test_a_dripping_body_defeats_the_read_timeout(simulator: RunningSimulator) -> None:
    simulator.fault("drip", bytes=8, seconds=0.05, times=1)
    started = time.monotonic()
    assert ask(simulator, limit=1, timeout=0.5).status_code == 200
    assert time.monotonic() - started > 0.5


@pytest.mark.parametrize(
    ("action", "value"), [("null_field", None), ("wrong_type", "abc")]
)  # fmt: skip
def test_fields_can_be_null_or_of_a_wrong_type(
    simulator: RunningSimulator, action: str, value: object
) -> None:
    simulator.fault(action, field="p", times=1)
    assert {trade["p"] for trade in page(simulator)["trades"]["AAPL"]} == {value}
    simulator.fault("null_field", field="trades", times=1)
    assert page(simulator)["trades"] is None


def test_a_field_can_be_what_json_does_not_have(simulator: RunningSimulator) -> None:
    simulator.fault("nan", field="p", times=1)
    text = ask(simulator, limit=3).text
    assert text.count('"p":NaN') == 3


def test_an_empty_page_may_come_before_more(simulator: RunningSimulator) -> None:
    simulator.fault("empty_page", times=1)
    got = page(simulator)
    assert got["trades"] == {}
    assert page(simulator, page_token=got["next_page_token"])["trades"]["AAPL"]


def test_a_short_page_loses_nothing(simulator: RunningSimulator) -> None:
    good = whole_day(simulator)
    simulator.fault("short_page", match={"nth": [1, 2]})
    assert whole_day(simulator) == good


def test_a_page_may_come_twice(simulator: RunningSimulator) -> None:
    simulator.fault("dup_page", match={"nth": 2})
    first = page(simulator)
    second = page(simulator, page_token=first["next_page_token"])
    assert second["trades"] == first["trades"]
    assert second["next_page_token"] != first["next_page_token"]
    third = page(simulator, page_token=second["next_page_token"])
    assert third["trades"] != first["trades"]


def test_a_token_may_lead_in_a_circle(simulator: RunningSimulator) -> None:
    simulator.fault("token_loop", match={"page": "next"})
    token = page(simulator)["next_page_token"]
    looped = page(simulator, page_token=token)
    assert looped["next_page_token"] == token
    assert page(simulator, page_token=token) == looped


def test_the_last_token_may_be_empty_text(simulator: RunningSimulator) -> None:
    simulator.fault("empty_token")
    assert page(simulator, limit=10_000)["next_page_token"] == ""


def test_trades_may_be_doubled_or_malformed(simulator: RunningSimulator) -> None:
    good = page(simulator)["trades"]["AAPL"]
    simulator.fault("duplicate_trade", times=1)
    assert page(simulator)["trades"]["AAPL"] == [good[0], *good]
    simulator.fault("malformed_trade", times=1)
    bad = [t for t in page(simulator)["trades"]["AAPL"] if "p" not in t]
    assert [t["t"] for t in bad] == ["yesterday"]


def test_a_rule_strikes_only_what_it_matches(simulator: RunningSimulator) -> None:
    simulator.fault("status", code=500, match={"path": "/v2/stocks/*", "symbol": "F", "nth": 2})
    assert ask(simulator, "/v2/clock").status_code == 200
    assert [ask(simulator).status_code for _ in range(3)] == [200, 200, 200]
    assert [ask(simulator, symbols="F").status_code for _ in range(3)] == [200, 500, 200]
    simulator.clear()
    simulator.fault("status", match={"prob": 0.5, "method": "GET"})
    codes = [ask(simulator, "/v2/clock").status_code for _ in range(60)]
    assert 15 < codes.count(500) < 45


def test_the_side_door_needs_its_token_and_understands_only_what_exists(
    simulator: RunningSimulator,
) -> None:
    assert requests.get(simulator.url + "/_sim/health", timeout=5).json()["venue"] == "SIMULATED"
    for path in ("truth", "clock"):
        assert requests.get(f"{simulator.url}/_sim/{path}", timeout=5).status_code == 403
    with pytest.raises(ValueError, match="does not exist"):
        simulator.fault("explode")
    with pytest.raises(ValueError, match="match knows"):
        simulator.fault("delay", match={"planet": "mars"})
    with pytest.raises(ValueError, match="does not exist"):
        simulator.damage("explode", "AAPL", SESSION)
    with pytest.raises(ValueError, match="invalid symbol"):
        simulator.damage("spike", "NOPE", SESSION)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rate": "nan"}, "rate"),
        ({"rate": 0}, "rate"),
        ({"rate": -1}, "rate"),
        ({"rate": 1e9}, "rate"),
        ({"advance_s": "inf"}, "advance_s"),
        ({"paused": "false"}, "paused"),
        ({"set": "noon"}, "noon"),
    ],
)
def test_a_nonsense_clock_is_refused_and_nothing_changes(
    simulator: RunningSimulator, change: dict[str, object], told: str
) -> None:
    before = simulator.clock()  # it stands still here
    with pytest.raises(ValueError, match=told):
        simulator.clock(**change)
    assert simulator.clock() == before


def test_every_action_has_been_tried_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [action for action in ACTIONS if f'"{action}"' not in text] == []
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []


def _minutes(trades: list[dict[str, Any]]) -> set[str]:
    return {trade["t"][:16] for trade in trades}


def _near(trades: list[dict[str, Any]], price: float) -> int:
    return sum(abs(trade["p"] / price - 1) < 0.3 for trade in trades)


def _duplicates(trades: list[dict[str, Any]]) -> int:
    return len(trades) - len({trade["i"] for trade in trades})


@pytest.mark.parametrize(
    ("kind", "options", "seen"),
    [
        ("missing_symbol", {}, lambda good, bad: bad == []),
        ("missing_minutes", {"first": 30, "count": 60},
         lambda good, bad: f"{SESSION}T14:29" not in _minutes(bad) > {f"{SESSION}T15:00"}),
        ("truncated_day", {"minute": 90},
         lambda good, bad: max(_minutes(bad)) == f"{SESSION}T14:59"),
        ("duplicate_trades", {"count": 9}, lambda good, bad: _duplicates(bad) == 9),
        ("spike", {"factor": 10, "count": 3},
         lambda good, bad: len(good) - _near(bad, good[0]["p"]) == 3),
        ("negative_price", {"count": 2}, lambda good, bad: sum(t["p"] < 0 for t in bad) == 2),
        ("zero_price", {}, lambda good, bad: sum(t["p"] == 0 for t in bad) == 1),
        ("frozen_feed", {"minute": 60},
         lambda good, bad: len({t["p"] for t in bad if t["t"] > f"{SESSION}T14:30"}) == 1),
        ("absurd_volume", {"size": 4_000_000_000},
         lambda good, bad: max(t["s"] for t in bad) == 4_000_000_000),
        ("unknown_condition", {"count": 5}, lambda good, bad: sum("?" in t["c"] for t in bad) == 5),
        ("shifted_time", {"hours": 5}, lambda good, bad: min(_minutes(bad)) == f"{SESSION}T18:30"),
        ("wrong_session", {"days": -1}, lambda good, bad: min(_minutes(bad)) == "2026-09-30T13:30"),
        ("mixed_feed", {"share": 0.25},
         lambda good, bad: 0.2 < sum(t["x"] == "Q" for t in bad) / len(bad) < 0.3),
        ("unannounced_split", {"factor": 4},
         lambda good, bad: _near(bad, good[0]["p"] / 4) == len(good)),
        ("cancel_trade", {},
         lambda good, bad: [t["u"] for t in bad if t not in good] == ["canceled"]),
        ("correct_trade", {"size": 12_345},
         lambda good, bad: [t["u"] for t in bad if t not in good] == ["incorrect", "corrected"]),
    ],
)  # fmt: skip
def test_damage_shows_on_its_symbol_and_session_alone(
    simulator: RunningSimulator, kind: str, options: dict[str, Any], seen: Any
) -> None:
    good, other = whole_day(simulator), whole_day(simulator, "F")
    simulator.damage(kind, "AAPL", SESSION, **options)
    bad = whole_day(simulator)
    assert bad != good
    assert seen(good, bad)
    assert whole_day(simulator, "F") == other
    simulator.clear()
    assert whole_day(simulator) == good


def test_a_correction_on_the_next_day_changes_the_bar_of_its_minute(
    simulator: RunningSimulator,
) -> None:
    asked = {
        "symbols": "AAPL", "timeframe": "1Min", "start": f"{SESSION}T13:30:00Z",
        "end": f"{SESSION}T19:59:00Z", "limit": 1000, "feed": "iex",
    }  # fmt: skip
    before = ask(simulator, "/v2/stocks/bars", **asked).json()["bars"]["AAPL"]
    target = next(t for t in whole_day(simulator) if t["c"] == ["@"] and t["t"] > f"{SESSION}T16")
    simulator.damage("correct_trade", "AAPL", SESSION, id=target["i"], price=999)
    after = ask(simulator, "/v2/stocks/bars", **asked).json()["bars"]["AAPL"]
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [(bar["t"][:16], bar["h"]) for bar in changed] == [(target["t"][:16], 999)]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alpaca_strategy.simulator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_taken_port_is_one_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = _run("--port", str(port))
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert f"Port {port}" in done.stderr


def test_another_host_needs_an_explicit_yes() -> None:
    done = _run("--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "refuses to listen on 0.0.0.0" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--replay", "/nowhere"), ("--split", "TSLA"), ("--signal-from", "soon"), ("--now", "never")],
)
def test_nonsense_options_are_refused_with_the_value(arguments: tuple[str, str]) -> None:
    done = _run(*arguments, "--port", "0")
    assert done.returncode == 2
    assert arguments[1] in done.stderr
    assert "Traceback" not in done.stderr


def test_the_launcher_tells_why_a_simulator_did_not_start(tmp_path: Path) -> None:
    with (
        pytest.raises(ServiceUnavailableError, match="holds no Parquet file"),
        running_simulator(replay=tmp_path),
    ):
        pass
