"""What one run of the jobs leaves to another: settings that changed, files tidied, parts failed."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

import pytest

from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import load_settings
from alpaca_strategy.errors import DataError, VenueError
from alpaca_strategy.jobs import lake, market_data
from alpaca_strategy.storage.records import SymbolStatus
from tests.integration.conftest import House

pytestmark = pytest.mark.integration
DAY, NEXT = "2026-11-19", "2026-11-20"
LISTING = {"path": "/v2/stocks/trades"}
SPARING = {"QUALITY__MIN_SYMBOLS_PUBLISHED": "0.5"}


def set_to(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Change settings as a later process would find them."""
    for name, value in settings.items():
        monkeypatch.setenv(f"ALPACA_STRATEGY_{name}", value)
    services().catalog.engine.dispose()
    load_settings.cache_clear()
    services.cache_clear()


def run_all(day: str) -> dict[str, object]:
    market_data.fetch(day)
    market_data.build_bars(day)
    market_data.check(day)
    return market_data.publish(day)


def lose(house: House, symbol: str) -> None:
    """Let the venue refuse every question about this symbol alone."""
    house.simulator.fault("status", LISTING | {"symbol": symbol}, code=422, body={"message": "no"})


def states(house: House, day: str) -> dict[str, SymbolStatus]:
    when = date.fromisoformat(day)
    found = house.services.catalog.symbol_sessions(when, when, house.services.settings.data.feed)
    return {symbol: row.status for (_, symbol), row in found.items()}


def test_a_correction_is_published_although_another_run_tidies_meanwhile(house: House) -> None:
    for day in ("2026-11-16", "2026-11-17", "2026-11-18"):
        run_all(day)
    house.simulator.damage("cancel_trade", "TSLA", "2026-11-16")
    market_data.fetch("2026-11-16", rewrite=True)
    market_data.build_bars("2026-11-16")
    market_data.check("2026-11-16")
    run_all(DAY)
    done = market_data.publish("2026-11-16")
    assert (done["changed"], done["revision"]) == (True, 2)


def test_what_a_run_has_fetched_again_is_not_tidied_under_it(house: House) -> None:
    for day in ("2026-11-17", "2026-11-18"):
        run_all(day)
    market_data.fetch("2026-11-17")
    run_all(DAY)
    run_all(NEXT)
    assert market_data.build_bars("2026-11-17")["symbols"] == 6


def test_a_symbol_that_left_the_universe_does_not_stand_in_the_way(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = house.services
    home.staging.note_failures(date.fromisoformat(DAY), {"NVDA": "the venue said no"})
    set_to(monkeypatch, DATA__SYMBOLS="TSLA,F,MSFT,OXY,LLY")
    assert run_all(DAY)["symbols"] == 5


def test_a_universe_that_changed_after_the_check_needs_another_check(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to(monkeypatch, **SPARING)
    lose(house, "NVDA")
    market_data.fetch(DAY)
    market_data.build_bars(DAY)
    market_data.check(DAY)
    set_to(monkeypatch, DATA__SYMBOLS="TSLA,F,MSFT,OXY,LLY")
    with pytest.raises(DataError, match="changed after the check"):
        market_data.publish(DAY)


def test_bars_of_another_condition_table_are_not_taken_for_those_in_force(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    market_data.fetch(DAY)
    market_data.build_bars(DAY)
    market_data.check(DAY)
    set_to(monkeypatch, DATA__CONDITION_TABLE="vendor-2013")
    with pytest.raises(DataError, match=r"conditions of .* changed after the check"):
        market_data.publish(DAY)
    with pytest.raises(DataError, match="run `alpaca-strategy bars"):
        market_data.check(DAY)


def test_a_tape_of_another_feed_is_not_taken_for_the_one_in_force(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    market_data.fetch(DAY)
    market_data.build_bars(DAY)
    set_to(monkeypatch, DATA__FEED="sip")
    for step in (market_data.build_bars, market_data.check):
        with pytest.raises(DataError, match=r"feed iex.*run `alpaca-strategy fetch"):
            step(DAY)


def test_a_session_of_which_nothing_is_staged_is_not_judged(house: House) -> None:
    with pytest.raises(DataError, match="run `alpaca-strategy fetch"):
        market_data.check(DAY)
    assert lake.list_sessions(None, date.fromisoformat(NEXT)) == []


def test_what_was_published_is_not_taken_away_by_a_symbol_that_fails_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to(monkeypatch, **SPARING)
    run_all(DAY)
    house.services.staging.discard(date.fromisoformat(DAY))
    house.simulator.damage("cancel_trade", "TSLA", DAY)
    lose(house, "NVDA")
    with pytest.raises((VenueError, DataError), match="NVDA"):
        market_data.corrections(NEXT)
    assert states(house, DAY)["NVDA"] is SymbolStatus.PUBLISHED


def test_a_symbol_that_failed_at_night_is_published_by_the_next_days_fetch(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to(monkeypatch, **SPARING)
    lose(house, "NVDA")
    run_all(DAY)
    assert states(house, DAY)["NVDA"] is SymbolStatus.FAILED
    house.simulator.clear()
    assert market_data.corrections(NEXT)["republished"] == [DAY]
    assert states(house, DAY)["NVDA"] is SymbolStatus.PUBLISHED


def test_sessions_are_listed_although_their_reports_lie_elsewhere(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all(DAY)
    set_to(monkeypatch, STORAGE__OBJECTS="elsewhere/{venue}")
    (row,) = lake.list_sessions(None, date.fromisoformat(NEXT))
    assert row["report"].endswith(".html")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "alpaca_strategy", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_what_a_venue_says_is_printed_as_it_is(house: House) -> None:
    house.simulator.fault("status", LISTING, code=422, body={"message": "what is [/b] to us"})
    done = command("fetch", "--session", DAY, "--symbols", "TSLA")
    assert done.returncode == 4
    assert "what is [/b] to us" in done.stderr


def test_a_place_that_cannot_be_written_is_told_in_one_sentence(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all(DAY)
    (house.home / "folder.parquet").mkdir()
    (house.home / "file").write_text("")
    done = command("export", "TSLA", str(house.home / "folder.parquet"))
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    for name in ("LAKE", "OBJECTS", "STAGING"):
        monkeypatch.setenv(f"ALPACA_STRATEGY_STORAGE__{name}", str(house.home / "file" / "x"))
        step = {"LAKE": "publish", "OBJECTS": "check", "STAGING": "fetch"}[name]
        done = command(step, "--session", DAY)
        assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
        assert "cannot be written" in done.stderr
        monkeypatch.delenv(f"ALPACA_STRATEGY_STORAGE__{name}")
