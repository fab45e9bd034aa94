"""The console's pages over a real database, as a browser gets them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from fastapi import FastAPI

from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import load_settings
from alpaca_strategy.console.app import create_app
from alpaca_strategy.domain.market import Feed, Severity, Venue
from alpaca_strategy.storage.database import migrate
from alpaca_strategy.storage.records import (
    Pin,
    PublishedSession,
    QualityResult,
    QualityRun,
    SymbolSession,
    SymbolStatus,
)

with warnings.catch_warnings():  # starlette asks for httpx2, which Airflow's client does not take
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    from starlette.testclient import TestClient

pytestmark = pytest.mark.integration

FRIDAY, MONDAY, HALF_DAY = date(2025, 11, 21), date(2025, 11, 24), date(2025, 11, 28)
THAT_WEEK = "/?until=2025-11-28"
GOOD = SymbolSession("DIS", SymbolStatus.PUBLISHED, trade_count=123_456, observed_minutes=390)
BAD = SymbolSession(
    "TSLA", SymbolStatus.QUARANTINED, reason="prices_positive: 3 rows <b>below</b> 0.01"
)


@pytest.fixture
def client(home: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", database_url)
    monkeypatch.setenv("ALPACA_STRATEGY_STORAGE__OBJECTS", str(home / "objects"))
    load_settings.cache_clear()
    services.cache_clear()
    migrate(services().catalog.engine)
    yield TestClient(create_app(), raise_server_exceptions=True)
    services().catalog.engine.dispose()
    services.cache_clear()


def publish(day: date, symbols: tuple[SymbolSession, ...] = (GOOD, BAD)) -> None:
    catalog = services().catalog
    with catalog.session_lock(day, Feed.IEX) as lock:
        catalog.publish(
            PublishedSession(
                session=day,
                feed=Feed.IEX,
                venue=Venue.SIMULATOR,
                trades=Pin(1, ("t.parquet",), 123_456),
                bars=Pin(1, ("b.parquet",), 390),
                minutes=390,
                symbols=symbols,
                content_hash=f"hash of {day}",
                condition_table="alpaca",
                condition_fingerprint="abc",
                quality_severity=Severity.WARNING,
                report_uri=report(day, b"<p>first report</p>"),
            ),
            lock,
        )


def report(day: date, content: bytes, verdict: str = "publish") -> str:
    home = services()
    number = len(home.catalog.quality_runs(day, Feed.IEX)) + 1
    uri = home.objects.put(f"quality/{day}/{number}.html", content)
    failed = QualityResult("trades", "prices_positive", Severity.CRITICAL, success=False)
    home.catalog.record_quality(
        QualityRun(day, Feed.IEX, verdict, 1, 2, report_uri=uri, results=(failed,))
    )
    return uri


def test_an_empty_system_says_how_to_fill_it_and_blames_no_day(client):
    answer = client.get(THAT_WEEK)
    assert answer.status_code == 200
    assert "No session has been published yet" in answer.text
    assert "market_data_nightly" in answer.text
    assert "Tuesday, 25 November 2025: not fetched" in answer.text


def test_the_overview_tells_of_each_session_of_gaps_holidays_and_half_days(client):
    publish(FRIDAY)
    publish(HALF_DAY, (GOOD,))
    text = client.get(THAT_WEEK).text
    assert "Friday, 21 November 2025: published in part" in text
    assert "Tuesday, 25 November 2025: missing" in text
    assert "Thursday, 27 November 2025: closed" in text
    assert "Friday, 28 November 2025: published, half-day" in text
    assert "Thursday, 20 November 2025: not fetched" in text
    assert "1/2 symbols" in text
    assert "123\N{NARROW NO-BREAK SPACE}456" in text
    assert f'href="/quality/{FRIDAY}"' in text


def test_a_gap_is_a_gap_also_when_the_sessions_before_it_are_on_another_page(client):
    publish(date(2025, 1, 6))
    assert "Tuesday, 25 November 2025: missing" in client.get(THAT_WEEK).text


def test_a_session_lists_its_symbols_with_reasons_and_what_the_check_found(client):
    publish(FRIDAY)
    text = client.get(f"/sessions/{FRIDAY}").text
    assert "<b>TSLA</b>" in text
    assert "prices_positive: 3 rows &lt;b&gt;below&lt;/b&gt; 0.01" in text
    assert "<code>prices_positive</code>" in text
    assert "warning" in text


def test_a_refusal_after_publication_is_told_and_the_session_stays_published(client):
    publish(FRIDAY)
    services().catalog.refuse(
        FRIDAY,
        Feed.IEX,
        venue=Venue.SIMULATOR,
        reason="Only 12 of 30 symbols are good.",
        symbols=(BAD,),
    )
    text = client.get(f"/sessions/{FRIDAY}").text
    assert "What was published before stays" in text
    assert "Only 12 of 30 symbols are good." in text


def test_the_newest_report_is_served_in_a_sandbox_also_when_the_check_failed(client):
    publish(FRIDAY)
    report(FRIDAY, b"<p>the failing check</p>", verdict="refuse")
    answer = client.get(f"/quality/{FRIDAY}")
    assert answer.content == b"<p>the failing check</p>"
    assert answer.headers["Content-Security-Policy"] == (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )


def test_an_older_check_keeps_its_report(client):
    publish(FRIDAY)
    report(FRIDAY, b"<p>the second check</p>")
    assert client.get(f"/quality/{FRIDAY}?check=1").content == b"<p>first report</p>"
    assert client.get(f"/quality/{FRIDAY}?check=3").status_code == 404


def test_a_session_that_only_failed_its_check_has_a_report_too(client):
    report(MONDAY, b"<p>refused</p>", verdict="refuse")
    assert client.get(f"/quality/{MONDAY}").content == b"<p>refused</p>"


def test_pages_load_nothing_and_run_nothing(client):
    publish(FRIDAY)
    for path in (THAT_WEEK, f"/sessions/{FRIDAY}"):
        answer = client.get(path)
        assert "<script" not in answer.text
        assert "http" not in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/quality/2025-11-21", "There is no check of session 2025-11-21"),
        ("/quality/2025-11-22", "is not a session of XNYS"),
        ("/sessions/2025-11-22", "is not a session of XNYS"),
        ("/sessions/2063-04-05", "lies outside the calendar"),
        ("/sessions/yesterday", "a session is written as YYYY-MM-DD"),
        ("/?until=soon", "a session is written as YYYY-MM-DD"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(client, path, sentence):
    answer = client.get(path)
    assert answer.status_code == 404
    assert sentence in answer.text


def test_links_stay_below_the_prefix_that_the_console_is_mounted_under(client):
    publish(FRIDAY)
    outside = FastAPI(root_path="/airflow")
    outside.mount("/alpaca", client.app)
    text = TestClient(outside).get(f"/airflow/alpaca{THAT_WEEK}").text
    assert f'href="/airflow/alpaca/sessions/{FRIDAY}"' in text


def test_without_a_database_there_is_a_page_and_no_traceback(home, monkeypatch):
    # pragma: allowlist nextline secret
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", "postgresql://u:pass-word@127.0.0.1:1/none")
    load_settings.cache_clear()
    services.cache_clear()
    answer = TestClient(create_app()).get("/")
    services.cache_clear()
    assert answer.status_code == 503
    assert "Postgres at 127.0.0.1:1/none does not answer" in answer.text
    assert "pass-word" not in answer.text


def test_before_the_stack_ever_ran_it_says_how_to_start_it(home, monkeypatch):
    monkeypatch.delenv("ALPACA_STRATEGY_DATABASE_URL", raising=False)
    load_settings.cache_clear()
    services.cache_clear()
    answer = TestClient(create_app()).get("/")
    assert answer.status_code == 503
    assert "make run" in answer.text
