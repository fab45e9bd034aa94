"""Everything a venue can do to a fetch, and a process that dies anywhere: nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import scripted_venue as sv
from fetching import DAY, PAGE, SYMBOLS, TRADES, fetch, hashes

from alpaca_strategy.broker.transport import Limits
from alpaca_strategy.errors import CredentialsError
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.storage.staging import FetchKey, Staging

pytestmark = pytest.mark.integration
LISTING = {"path": "/v2/stocks/trades"}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with running_simulator(trades=TRADES) as started:
        yield started


@pytest.fixture(scope="module")
def truth(running: RunningSimulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the hashes of an undisturbed fetch."""
    root = tmp_path_factory.mktemp("undisturbed")
    running.clear()
    assert fetch(running, root).failed == {}
    return hashes(root)


@pytest.fixture
def market(running: RunningSimulator, truth: dict[str, str]) -> RunningSimulator:
    running.clear()
    return running


PASSING: dict[str, dict[str, Any]] = {
    "late": {"action": "delay", "seconds": 0.2},
    "hanging": {"action": "hang"},
    "closed": {"action": "drop_before"},
    "reset": {"action": "rst"},
    "500": {"action": "status", "code": 500},
    "gateway page": {"action": "html", "code": 502},
    "page as an answer": {"action": "html", "code": 200},
    "429": {"action": "retry_after", "retry_after": 0.2},
    "cut off": {"action": "truncate", "abrupt": True},
    "cut JSON": {"action": "truncate"},
    "oversize": {"action": "oversize", "bytes": 40_000_000},
    "dripping": {"action": "drip", "bytes": 1, "seconds": 0.01},
    "no listing": {"action": "null_field", "field": "trades"},
    "short page": {"action": "short_page"},
    "page again": {"action": "dup_page"},
    "empty page": {"action": "empty_page"},
}


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_leaves_no_trace(
    name: str, market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    market.fault(match=LISTING | {"nth": [3, 7]}, **PASSING[name])
    summary = fetch(market, tmp_path)
    assert summary.failed == {}
    assert hashes(tmp_path) == truth
    assert market.truth()["faults"][0]["fired"] == 2


STAYING: dict[str, tuple[dict[str, Any], str]] = {
    "down": ({"action": "status", "code": 503}, "HTTP 503"),
    "hanging": ({"action": "hang"}, "no answer within"),
    "web page": ({"action": "html", "code": 502}, "HTTP 502"),
    "cut JSON": ({"action": "truncate"}, "not JSON"),
    "no listing": ({"action": "null_field", "field": "trades"}, "without the object"),
    "endless tokens": ({"action": "token_loop"}, "break the venue's protocol"),
    "429": ({"action": "retry_after", "retry_after": 1}, "HTTP 429"),
    "dripping": ({"action": "drip", "bytes": 1, "seconds": 0.01}, "no whole answer"),
}


@pytest.mark.parametrize("name", STAYING)
def test_a_fault_of_one_symbol_fails_that_symbol_alone(
    name: str, market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    fault, words = STAYING[name]
    market.fault(match=LISTING | {"symbol": "NVDA"}, **fault)
    summary = fetch(market, tmp_path)
    assert list(summary.failed) == ["NVDA"]
    assert words in summary.failed["NVDA"]
    assert Staging(tmp_path).failures(DAY) == summary.failed
    assert hashes(tmp_path) == {s: h for s, h in truth.items() if s != "NVDA"}

    market.clear()
    again = fetch(market, tmp_path)
    assert (again.fetched, again.failed) == (["NVDA"], {})
    assert again.skipped == [s for s in SYMBOLS if s != "NVDA"]
    assert again.requests == -(-again.trades // PAGE)  # the others cost nothing
    assert Staging(tmp_path).failures(DAY) == {}
    assert hashes(tmp_path) == truth


def test_an_empty_token_is_not_taken_for_the_end(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    market.fault("empty_token", LISTING | {"symbol": "TSLA"})
    summary = fetch(market, tmp_path)
    assert list(summary.failed) == ["TSLA"]  # the only one whose end it would be
    assert "token is empty" in summary.failed["TSLA"]
    assert hashes(tmp_path) == {s: h for s, h in truth.items() if s != "TSLA"}


def test_a_venue_that_is_down_does_not_cost_its_patience_for_every_symbol(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    market.fault("status", LISTING, code=503)
    summary = fetch(market, tmp_path)
    assert list(summary.failed) == list(SYMBOLS)
    reasons = list(summary.failed.values())
    assert sum("Not tried" in reason for reason in reasons) == len(SYMBOLS) - 2
    market.clear()
    assert fetch(market, tmp_path).failed == {}
    assert hashes(tmp_path) == truth


def test_an_outage_in_the_middle_is_gone_on_from_where_it_began(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    market.fault("status", LISTING | {"page": "next"}, code=500)
    first = fetch(market, tmp_path)
    assert len(first.failed) == len(SYMBOLS)
    market.clear()
    again = fetch(market, tmp_path)
    assert hashes(tmp_path) == truth
    # One page was there already; one request ends the interrupted symbol alone.
    assert again.requests <= -(-again.trades // PAGE) + 1


def test_429_for_a_while_is_waited_out_without_a_storm(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    market.fault("retry_after", LISTING, retry_after=1, for_s=2.5)
    summary = fetch(market, tmp_path, via={"limits": Limits()})
    assert summary.failed == {}
    assert hashes(tmp_path) == truth
    assert 1 <= market.truth()["faults"][0]["fired"] <= 4  # one request a reset


def test_malformed_trades_are_reported_and_the_rest_is_kept(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    market.fault("malformed_trade", LISTING | {"symbol": "F"}, times=1)
    fetch(market, tmp_path, symbols=["F"])
    manifest = Staging(tmp_path).manifest(DAY, "F")
    assert manifest is not None
    assert manifest.rejected_count >= 1
    assert manifest.rejected_examples


@pytest.mark.parametrize("action", ["nan", "null_field", "wrong_type"])
def test_a_page_of_malformed_trades_is_set_aside_as_a_whole(
    action: str, market: RunningSimulator, tmp_path: Path
) -> None:
    market.fault(action, LISTING | {"nth": 1}, field="p")
    summary = fetch(market, tmp_path, symbols=["F"])
    manifest = Staging(tmp_path).manifest(DAY, "F")
    assert manifest is not None
    assert (summary.failed, manifest.rejected_count) == ({}, PAGE)
    assert len(manifest.rejected_examples) == 10


def test_a_trade_that_comes_twice_is_kept_for_the_quality_gate(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    market.fault("duplicate_trade", LISTING | {"nth": 1})
    fetch(market, tmp_path, symbols=["F"])
    ids = Staging(tmp_path).read_tape(DAY, "F")["id"].to_pylist()
    assert len(ids) == len(set(ids)) + 1


def test_a_token_that_the_venue_forgot_begins_the_symbol_again(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    market.fault("status", LISTING | {"page": "next"}, code=500)
    fetch(market, tmp_path, symbols=["F"])
    checkpoint = Staging(tmp_path).folder(DAY, "F") / "checkpoint.json"
    text = checkpoint.read_text()
    token = Staging(tmp_path).writer(DAY, "F", _key(tmp_path)).next_token
    checkpoint.write_text(text.replace(str(token), "Zm9yZ290dGVu"))
    market.clear()
    assert fetch(market, tmp_path).failed == {}
    assert hashes(tmp_path) == truth


def _key(root: Path) -> Any:
    found = msgspec.json.decode((Staging(root).folder(DAY, "F") / "checkpoint.json").read_bytes())
    return FetchKey(**found["key"])


def test_short_pages_change_nothing(truth: dict[str, str], tmp_path: Path) -> None:
    with running_simulator(trades=TRADES, short_pages=True) as market:
        assert fetch(market, tmp_path).failed == {}
    assert hashes(tmp_path) == truth


def test_keys_that_stop_working_in_the_middle_stop_the_fetch_and_lose_nothing(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    revoked = {"code": 403, "body": {"message": "forbidden."}}
    market.fault("status", LISTING | {"nth": 9}, **revoked)
    with pytest.raises(CredentialsError):
        fetch(market, tmp_path)
    kept = hashes(tmp_path)
    assert 0 < len(kept) < len(SYMBOLS)
    market.clear()
    fetch(market, tmp_path)
    assert hashes(tmp_path) == truth


def test_nobody_listening_fails_with_a_reason_and_is_quick(tmp_path: Path) -> None:
    with sv.scripted_venue(lambda *_: sv.hang) as venue:
        gone = RunningSimulator(venue.url, "K", "S", "", 0)
    summary = fetch(gone, tmp_path)
    assert list(summary.failed) == list(SYMBOLS)
    assert "the connection was refused" in summary.failed["F"]


CHILD = """
    import sys
    sys.path.insert(0, {tests!r})
    from fetching import *
    market = RunningSimulator({url!r}, {key!r}, {secret!r}, "", 0)
    print("ready", flush=True)
    fetch(market, Path({root!r}), via={{"page_limit": 40}}, repull={repull})
    print("done", flush=True)
"""


def start(market: RunningSimulator, root: Path, *, repull: bool = False) -> subprocess.Popen[str]:
    script = CHILD.format(
        tests=str(Path(__file__).parents[1]), url=market.url, key=market.key,
        secret=market.secret, root=str(root), repull=repull,
    )  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def kill_after_pages(market: RunningSimulator, child: subprocess.Popen[str], pages: int) -> bool:
    """Kill a fetch when the venue has served so many requests; False when it ended before."""
    deadline = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline:
        if sum(market.truth()["requests"].values()) >= pages:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.communicate(timeout=60)
    return child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("seed", [1, pytest.param(range(2, 12), marks=pytest.mark.proof)])
def test_a_fetch_killed_anywhere_and_run_again_equals_an_undisturbed_one(
    seed: int | range, market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    for number in [seed] if isinstance(seed, int) else seed:
        draw, root, kills = random.Random(number), tmp_path / str(number), 0
        while True:
            market.clear()
            child = start(market, root)
            if not kill_after_pages(market, child, draw.randint(5, 45)):
                assert child.returncode == 0
                break
            kills += 1
            whole = hashes(root)
            assert whole.items() <= truth.items()  # complete and right, or not there
        assert kills > 0
        assert hashes(root) == truth
        left = {path.name for path in root.rglob("*") if path.is_file()}
        assert not [name for name in left if "checkpoint" in name or name.count(".json.")]


def test_a_killed_fetch_does_not_ask_again_for_finished_pages(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    assert kill_after_pages(market, start(market, tmp_path), 20)
    market.clear()
    summary = fetch(market, tmp_path, via={"page_limit": 40})
    total = sum(Staging(tmp_path).manifest(DAY, s).trade_count for s in SYMBOLS)  # type: ignore[union-attr]
    assert summary.requests <= -(-total // 40) - 20 + 3  # the page in hand, and the chain's seams
    assert hashes(tmp_path) == truth


def test_a_re_pull_killed_in_the_middle_leaves_every_tape_readable(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    fetch(market, tmp_path)
    market.damage("correct_trade", "OXY", DAY, price=1.0)
    market.call("POST", "fault", action="delay", match={}, seconds=0.01)
    assert kill_after_pages(market, start(market, tmp_path, repull=True), 30)
    for symbol in SYMBOLS:
        assert Staging(tmp_path).read_tape(DAY, symbol).num_rows > 0
    summary = fetch(market, tmp_path, repull=True)
    assert set(summary.corrected) <= {"OXY"}
    found = hashes(tmp_path)
    assert {s for s in SYMBOLS if found[s] != truth[s]} == {"OXY"}


def test_two_runs_of_one_session_at_once_share_the_work(
    market: RunningSimulator, truth: dict[str, str], tmp_path: Path
) -> None:
    first, second = start(market, tmp_path), start(market, tmp_path)
    for child in (first, second):
        out, _ = child.communicate(timeout=120)
        assert (child.returncode, out) == (0, "done\n")
    assert hashes(tmp_path) == truth
    total = sum(Staging(tmp_path).manifest(DAY, s).trade_count for s in SYMBOLS)  # type: ignore[union-attr]
    assert sum(market.truth()["requests"].values()) == -(-total // 40)  # fetched once
