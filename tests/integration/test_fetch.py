"""A session's tape from the simulator into the staging area, through the genuine clients."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from alpaca.data.enums import DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import StockTradesRequest
from fetching import DAY, PAGE, SYMBOLS, TRADES, client, fetch, hashes, session

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import (
    CredentialsError,
    EntitlementError,
    NotASessionError,
)
from alpaca_strategy.market.schema import CORPORATE_ACTION_SCHEMA
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.storage.staging import Staging

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with running_simulator(trades=TRADES, split=["TSLA:2026-09-15:3/1"]) as started:
        yield started


@pytest.fixture
def market(running: RunningSimulator) -> RunningSimulator:
    running.clear()
    return running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "staging"


def genuine_tape(market: RunningSimulator, symbol: str) -> list[dict[str, object]]:
    """Return a symbol's trades as plain alpaca-py fetches them."""
    plain = StockHistoricalDataClient(
        market.key, market.secret, raw_data=True, url_override=market.url
    )
    plain._session.trust_env = False
    margin = timedelta(minutes=30)
    trades = plain.get_stock_trades(
        StockTradesRequest(
            symbol_or_symbols=symbol,
            feed=DataFeed.IEX,
            start=session().opens_at - margin,
            end=session().closes_at + margin,
        )
    )
    plain._session.close()
    return list(trades[symbol])


def test_what_is_staged_is_what_plain_alpaca_py_fetches(
    market: RunningSimulator, root: Path
) -> None:
    summary = fetch(market, root)
    assert summary.fetched == list(SYMBOLS)
    assert summary.failed == {}
    staging, total = Staging(root), 0
    for symbol in SYMBOLS:
        genuine, tape = genuine_tape(market, symbol), staging.read_tape(DAY, symbol)
        total += len(genuine)
        assert tape["symbol"].unique().to_pylist() == [symbol]
        assert tape["price"].to_pylist() == [trade["p"] for trade in genuine]
        assert tape["size"].to_pylist() == [trade["s"] for trade in genuine]
        assert tape["id"].to_pylist() == [trade["i"] for trade in genuine]
        assert tape["exchange"].to_pylist() == [trade["x"] for trade in genuine]
        assert tape["tape"].to_pylist() == [trade["z"] for trade in genuine]
        assert tape["conditions"].to_pylist() == [",".join(trade["c"]) for trade in genuine]
        assert tape["update"].to_pylist() == [trade.get("u") for trade in genuine]
        stamps = [datetime.fromisoformat(str(trade["t"])[:19] + "+00:00") for trade in genuine]
        digits = [(str(trade["t"])[20:-1] + "0" * 9)[:9] for trade in genuine]
        expected = [
            int(stamp.timestamp()) * 10**9 + int(part)
            for stamp, part in zip(stamps, digits, strict=True)
        ]
        assert tape["ts_ns"].to_pylist() == expected
    assert summary.trades == total > 0.8 * TRADES * len(SYMBOLS)


def test_many_symbols_share_requests(market: RunningSimulator, root: Path) -> None:
    summary = fetch(market, root)
    assert summary.requests == -(-summary.trades // PAGE)  # every page is full but the last


def test_the_tape_does_not_depend_on_pages_or_chains(market: RunningSimulator, root: Path) -> None:
    fetch(market, root)
    for number, limit in enumerate((10_000, 997, 83)):
        other = root.with_name(f"other-{number}")
        for symbol in SYMBOLS if limit == 997 else (SYMBOLS,):
            symbols = [symbol] if isinstance(symbol, str) else symbol
            fetch(market, other, via={"page_limit": limit}, symbols=symbols)
        assert hashes(other) == hashes(root)


def test_what_is_complete_is_not_fetched_again(market: RunningSimulator, root: Path) -> None:
    fetch(market, root, symbols=SYMBOLS[:2])
    summary = fetch(market, root)
    assert summary.skipped == list(SYMBOLS[:2])
    assert summary.fetched == list(SYMBOLS[2:])
    assert fetch(market, root).requests == 0


def test_a_rewrite_fetches_everything_again(market: RunningSimulator, root: Path) -> None:
    first = fetch(market, root)
    before = hashes(root)
    again = fetch(market, root, rewrite=True)
    assert (again.fetched, again.requests, again.corrected) == (list(SYMBOLS), first.requests, [])
    assert hashes(root) == before


def test_a_re_pull_names_the_tapes_that_were_corrected(
    market: RunningSimulator, root: Path
) -> None:
    fetch(market, root)
    before = hashes(root)
    market.damage("correct_trade", "NVDA", DAY, price=1.0)
    market.damage("cancel_trade", "TSLA", DAY)
    assert fetch(market, root).fetched == []
    summary = fetch(market, root, repull=True)
    assert summary.corrected == ["NVDA", "TSLA"]
    assert {s for s in SYMBOLS if hashes(root)[s] != before[s]} == {"NVDA", "TSLA"}
    tape = Staging(root).read_tape(DAY, "NVDA")
    assert set(tape["update"].unique().to_pylist()) >= {"incorrect", "corrected"}
    assert fetch(market, root, repull=True).corrected == []


def test_a_damaged_tape_is_fetched_again(market: RunningSimulator, root: Path) -> None:
    fetch(market, root)
    before = hashes(root)
    next(Staging(root).folder(DAY, "F").glob("part-*")).unlink()
    assert fetch(market, root).fetched == ["F"]
    assert hashes(root) == before


def test_another_feed_or_margin_is_another_tape(market: RunningSimulator, root: Path) -> None:
    small = fetch(market, root, margin=timedelta(0)).trades
    assert fetch(market, root).fetched == list(SYMBOLS)
    assert fetch(market, root).skipped == list(SYMBOLS)
    assert small < fetch(market, root, via={"feed": Feed.SIP}).trades
    assert Staging(root).manifest(DAY, "F").key.feed == "sip"


def test_a_tape_of_another_feed_does_not_outlive_a_failed_fetch(
    market: RunningSimulator, root: Path
) -> None:
    fetch(market, root)
    market.fault("status", {"symbol": "F"}, code=500)
    summary = fetch(market, root, via={"feed": Feed.SIP}, symbols=["F"])
    assert list(summary.failed) == ["F"]
    assert Staging(root).manifest(DAY, "F") is None


@pytest.mark.parametrize(
    ("now", "over"),
    [
        ("2026-10-01T15:00:00+00:00", False),
        ("2026-10-01T20:29:59+00:00", False),
        ("2026-10-01T20:30:00+00:00", True),
    ],
)
def test_a_session_that_is_not_over_is_not_fetched(
    market: RunningSimulator, root: Path, now: str, over: bool
) -> None:
    moment = datetime.fromisoformat(now)
    if over:
        assert fetch(market, root, now=moment, symbols=["F"]).fetched == ["F"]
        return
    with pytest.raises(NotASessionError, match=r"2026-10-01 is not over before.*20:30 UTC"):
        fetch(market, root, now=moment)
    assert not root.exists()


def test_wrong_keys_stop_everything_at_once(market: RunningSimulator, root: Path) -> None:
    with pytest.raises(CredentialsError) as caught:
        # pragma: allowlist nextline secret
        fetch(market, root, via={"secret": "not-the-secret"})
    assert "not-the-secret" not in str(caught.value)
    assert market.truth()["requests"] == {}


def test_recent_data_of_a_feed_that_is_not_subscribed_stop_everything(root: Path) -> None:
    with running_simulator(trades=50, now="2026-10-01T20:31:00Z", paused=True) as market:
        with pytest.raises(EntitlementError, match="may not read sip"):
            fetch(market, root, via={"feed": Feed.SIP})
        assert sum(market.truth()["requests"].values()) == 1


def test_an_unknown_symbol_fails_alone(market: RunningSimulator, root: Path) -> None:
    summary = fetch(market, root, symbols=[*SYMBOLS, "NOSUCH"])
    assert summary.fetched == list(SYMBOLS)
    assert list(summary.failed) == ["NOSUCH"]
    assert "NOSUCH" in summary.failed["NOSUCH"]
    assert summary.transient == []  # waiting does not make it known
    listed = (root / str(DAY) / "failed_symbols.txt").read_text()
    assert listed.startswith("NOSUCH\t")


def test_progress_is_told_symbol_by_symbol(market: RunningSimulator, root: Path) -> None:
    told: list[tuple[int, int, str]] = []
    fetch(market, root, progress=lambda *about: told.append(about))
    assert told == [(n + 1, 5, s) for n, s in enumerate(SYMBOLS)] + [(5, 5, "done")]


def test_recorded_trades_arrive_unchanged(shared_data: Path, root: Path) -> None:
    day = date(2013, 10, 7)
    with running_simulator(replay=shared_data / "tape") as market:
        summary = fetch(
            market, root, session=session(day), symbols=["AIG", "IBM"],
            via={"feed": Feed.SIP, "page_limit": 10_000},
        )  # fmt: skip
    assert summary.failed == {}
    recorded = pq.read_table(shared_data / "tape" / "trades_2013-10-07.parquet")
    start, end = session(day).opens_at, session(day).closes_at
    margin = timedelta(minutes=30)
    for symbol in ("AIG", "IBM"):
        within = (pc.field("symbol") == symbol) & (pc.field("t") >= start - margin)
        expected = recorded.filter(within & (pc.field("t") <= end + margin))
        tape = Staging(root).read_tape(day, symbol)
        assert sorted(tape["id"].to_pylist()) == sorted(expected["i"].to_pylist())
        assert pc.sum(tape["size"]) == pc.sum(expected["s"])
        by_id = dict(zip(tape["id"].to_pylist(), tape["ts_ns"].to_pylist(), strict=True))
        times = expected["t"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_pylist()
        assert by_id == dict(zip(expected["i"].to_pylist(), times, strict=True))


def test_corporate_actions_are_a_table(market: RunningSimulator) -> None:
    with client(market) as market_data:
        table = market_data.corporate_actions(SYMBOLS, date(2026, 9, 1), date(2026, 9, 30))
    assert table.schema == CORPORATE_ACTION_SCHEMA
    splits = table.filter(pc.field("symbol") == "TSLA").to_pylist()
    (split,) = [row for row in splits if row["ex_date"] == date(2026, 9, 15)]
    assert (split["kind"], split["old_rate"], split["new_rate"]) == ("forward_split", 1.0, 3.0)


def test_keys_of_a_venue_of_ones_own_never_go_to_alpaca(market: RunningSimulator) -> None:
    with client(market, trading_url=None) as market_data:
        market_data.clock()
    assert market.truth()["requests"] == {f"{market.key} GET /v2/clock": 1}


def test_the_trading_host_tells_clock_calendar_and_assets(market: RunningSimulator) -> None:
    with client(market) as market_data:
        assert market_data.clock()["is_open"] in {True, False}
        days = market_data.calendar(date(2026, 11, 25), date(2026, 11, 28))
        assert [(d["date"], d["open"], d["close"]) for d in days] == [
            ("2026-11-25", "09:30", "16:00"),
            ("2026-11-27", "09:30", "13:00"),
        ]
        assert {asset["symbol"] for asset in market_data.assets()} >= set(SYMBOLS)


@pytest.mark.proof
def test_five_million_trades_of_a_symbol_are_fetched_in_bounded_memory(
    root: Path, record_property: pytest.RecordProperty
) -> None:
    with running_simulator(trades=6_000_000) as market:
        script = f"""
            import sys
            sys.path.insert(0, {str(Path(__file__).parents[1])!r})
            from fetching import *
            market = RunningSimulator({market.url!r}, {market.key!r}, {market.secret!r}, "", 0)
            slow = Limits(read_s=120, deadline_s=180)
            summary = fetch(market, Path({str(root)!r}), symbols=["F"],
                            via={{"page_limit": 10_000, "limits": slow}})
            assert not summary.failed, summary.failed
            print(summary.trades, peak_mib())
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    trades, mebibytes = (int(word) for word in done.stdout.split()[-2:])
    record_property("trades", trades)
    record_property("peak_mib", mebibytes)
    assert trades > 5_000_000
    assert mebibytes < 500
