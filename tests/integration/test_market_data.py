"""The nightly jobs from the wire to the lake, against the simulator and a real Postgres."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from alpaca_strategy.errors import (
    CalendarRangeError,
    CredentialsError,
    DataError,
    NotASessionError,
    QualityError,
    UnknownSymbolError,
    UserError,
)
from alpaca_strategy.jobs import backfill, lake, market_data
from alpaca_strategy.storage.panel import read_panel
from alpaca_strategy.storage.records import SessionStatus, SymbolStatus
from tests.integration.conftest import House

pytestmark = pytest.mark.integration
DAY = "2026-11-19"


def run_all(day: str) -> dict[str, object]:
    """Do what a run of the DAG does, in one process."""
    for chunk in market_data.plan(day)["chunks"]:
        market_data.fetch(day, chunk)
        market_data.build_bars(day, chunk)
    market_data.check(day)
    return market_data.publish(day)


def test_a_session_goes_from_the_wire_to_the_lake(house: House) -> None:
    done = run_all(DAY)
    assert done["changed"]
    assert done["symbols"] == 6
    home = house.services
    panel = read_panel(
        lake=home.lake,
        catalog=home.catalog,
        feed=home.settings.data.feed,
        symbols=home.settings.symbols(),
        columns=("close", "volume"),
        sessions=[date.fromisoformat(DAY)],
    )
    assert panel.values.shape == (390, 6, 2)
    assert panel.observed.mean() > 0.9
    assert np.nanmin(panel.values[:, :, 0]) > 0


def test_the_same_session_again_changes_nothing(house: House) -> None:
    first = run_all(DAY)
    again = run_all(DAY)
    assert first["changed"]
    assert not again["changed"]
    assert again["revision"] == first["revision"] == 1


def test_a_damaged_symbol_is_quarantined_and_the_rest_is_published(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_STRATEGY_QUALITY__MIN_SYMBOLS_PUBLISHED", "0.8")
    market_data.load_settings.cache_clear()
    house.simulator.damage("spike", "NVDA", DAY)
    done = run_all(DAY)
    assert done["symbols"] == 5
    home, day = house.services, date.fromisoformat(DAY)
    states = home.catalog.symbol_sessions(day, day, home.settings.data.feed)
    assert states[day, "NVDA"].status is SymbolStatus.QUARANTINED
    assert states[day, "NVDA"].reason
    bars = pl.read_delta(home.lake.uri("bars"))
    assert set(bars["symbol"].unique()) == {"TSLA", "F", "MSFT", "OXY", "LLY"}
    row = home.catalog.session(day, home.settings.data.feed)
    assert row is not None
    assert b"NVDA" in home.objects.get(home.objects.name_of(str(row.report_uri)))


def test_a_refused_session_keeps_what_was_published_and_its_report(house: House) -> None:
    first = run_all(DAY)
    house.simulator.damage("spike", None, DAY)
    market_data.fetch(DAY, rewrite=True)
    market_data.build_bars(DAY)
    with pytest.raises(QualityError, match=f"/alpaca/quality/{DAY}"):
        market_data.check(DAY)
    with pytest.raises(QualityError):
        market_data.publish(DAY)
    home, day = house.services, date.fromisoformat(DAY)
    row = home.catalog.session(day, home.settings.data.feed)
    assert row is not None
    assert (row.status, row.revision) == (SessionStatus.PUBLISHED, first["revision"])
    assert row.refused_reason
    assert home.catalog.quality_runs(day, home.settings.data.feed)[-1].verdict == "refuse"


def test_what_was_not_checked_is_not_published(house: House) -> None:
    market_data.plan(DAY)
    with pytest.raises(DataError, match=f"staged; run `alpaca-strategy fetch --session {DAY}`"):
        market_data.build_bars(DAY)
    market_data.fetch(DAY)
    market_data.build_bars(DAY)
    with pytest.raises(DataError, match="has not been checked"):
        market_data.publish(DAY)
    market_data.check(DAY)
    house.simulator.damage("cancel_trade", "TSLA", DAY)
    market_data.fetch(DAY, rewrite=True)
    with pytest.raises(DataError, match="changed after the check"):
        market_data.publish(DAY)


def test_a_corrected_tape_is_republished_the_day_after_and_an_equal_one_is_not(
    house: House,
) -> None:
    run_all(DAY)
    assert market_data.corrections("2026-11-20")["republished"] == []
    house.simulator.damage("cancel_trade", "TSLA", DAY)
    assert market_data.corrections("2026-11-20")["republished"] == [DAY]
    home, day = house.services, date.fromisoformat(DAY)
    row = home.catalog.session(day, home.settings.data.feed)
    assert row is not None
    assert row.revision == 2
    assert market_data.corrections("2026-11-20")["republished"] == []


def test_a_backfill_publishes_in_order_skips_what_is_there_and_says_what_failed(
    house: House,
) -> None:
    run_all("2026-11-18")
    house.simulator.damage("spike", None, "2026-11-19")
    done = backfill.backfill(date(2026, 11, 17), date(2026, 11, 20), workers=2)
    assert (done["published"], done["skipped"]) == (2, 1)
    assert list(done["failed"]) == ["2026-11-19"]
    house.simulator.clear()
    market_data.fetch("2026-11-19", rewrite=True)
    again = backfill.backfill(None, date(2026, 11, 20), sessions=4)
    assert again == {"published": 1, "skipped": 3, "failed": {}}
    rows = lake.list_sessions(None, date(2026, 11, 20))
    assert {r["status"] for r in rows} == {"published"}


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (date(2026, 11, 20), date(2026, 11, 17), "lies before the start"),
        (date(2026, 11, 14), date(2026, 11, 15), "had no session"),
        (date(2026, 11, 20), date(2027, 11, 19), "after the latest finished session"),
        (None, date(2026, 11, 20), "Say which sessions"),
    ],
)
def test_a_nonsense_range_gets_one_sentence(
    house: House, start: date | None, end: date, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        backfill.backfill(start, end)


@pytest.mark.parametrize(
    ("day", "kind", "told"),
    [
        ("yesterday", UserError, "is not a date"),
        ("2026-11-26", NotASessionError, "2026-11-26"),
        ("2026-11-22", NotASessionError, "2026-11-22"),
        ("2031-01-02", CalendarRangeError, "2027-12-31"),
        ("2027-01-04", NotASessionError, "is not over"),
    ],
)
def test_a_nonsense_day_gets_one_sentence(
    house: House, day: str, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told) as caught:
        market_data.fetch(day)
    assert "\n" not in str(caught.value)


def test_a_symbol_outside_the_universe_is_refused(house: House) -> None:
    with pytest.raises(UnknownSymbolError, match="Unknown symbol ZZZZ"):
        market_data.fetch(DAY, ["ZZZZ"])


def test_the_command_line_goes_from_the_wire_to_a_file(house: House, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "alpaca_strategy", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for verb in ("fetch", "bars", "check", "publish"):
        done = run(verb, "--session", DAY)
        assert done.returncode == 0, done.stderr
    target = tmp_path / "TSLA_1min.parquet"
    assert run("export", "TSLA", str(target)).returncode == 0
    bars = pl.read_parquet(target)
    assert len(bars) == 390
    assert DAY in run("sessions").stdout
    refused = run("export", "ZZZZ", str(target))
    assert refused.returncode == 5
    assert "Traceback" not in refused.stderr
    assert house.simulator.secret not in done.stdout + done.stderr
    wrong = run("fetch", "--session", "2026-11-22")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)


def test_refused_keys_end_a_backfill_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_DATA_SECRET", "another")
    with pytest.raises(CredentialsError, match="check ALPACA_DATA_KEY"):
        backfill.backfill(date(2026, 11, 17), date(2026, 11, 20), workers=1)
    assert lake.list_sessions(None, date(2026, 11, 20)) == []
