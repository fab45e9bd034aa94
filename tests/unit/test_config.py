"""The one configuration: what overrides what, and what nonsense is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_strategy.config import explain_settings, load_settings
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.errors import SettingsError, UnknownSymbolError


def test_environment_overrides_env_file_overrides_settings_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_text("ALPACA_STRATEGY_DATA__FEED=sip\nALPACA_STRATEGY_VENUE=simulator\n")
    assert load_settings().data.feed is Feed.SIP
    load_settings.cache_clear()
    monkeypatch.setenv("ALPACA_STRATEGY_DATA__FEED", "iex")
    settings = load_settings()
    assert settings.data.feed is Feed.IEX
    assert settings.data.chunk_symbols == 10
    sources = {name: source for name, _, source in explain_settings()}
    assert sources["data.feed"] == "environment ALPACA_STRATEGY_DATA__FEED"
    assert sources["venue"] == ".env ALPACA_STRATEGY_VENUE"
    assert sources["data.chunk_symbols"] == "settings.yaml"
    assert sources["database_url"] == "default"


def test_the_universe_is_the_missions_thirty(home: Path) -> None:
    expected = (
        "TSLA RIVN F GM NVDA AMD INTC META CRM GOOGL MSFT AAPL NFLX PYPL ORCL MPC DVN OXY APA HAL "
        "REGN VRTX BIIB LLY MRNA ROST BBWI TPR ULTA ETSY"
    )
    assert load_settings().symbols() == tuple(expected.split())
    assert all(row["sector"] for row in load_settings().universe())


def test_without_credentials_the_venue_is_the_simulator_and_with_them_the_paper_account(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().resolved_venue is Venue.SIMULATOR
    load_settings.cache_clear()
    (home / ".env").write_text("ALPACA_DATA_KEY=canary-key\nALPACA_DATA_SECRET=canary-secret\n")
    assert load_settings().resolved_venue is Venue.PAPER
    shown = repr(explain_settings()) + repr(load_settings())
    assert "canary" not in shown


def test_explicit_simulator_wins_over_credentials(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_STRATEGY_VENUE", "simulator")
    monkeypatch.setenv("ALPACA_DATA_KEY", "k")
    monkeypatch.setenv("ALPACA_DATA_SECRET", "s")
    assert load_settings().resolved_venue is Venue.SIMULATOR


def test_locations_stand_under_the_home_of_their_venue(home: Path) -> None:
    settings = load_settings()
    assert settings.location(settings.storage.lake) == str(home / "data/simulator/lake")
    assert settings.location("s3://bucket/{venue}") == "s3://bucket/simulator"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ALPACA_STRATEGY_VENU", "paper", "no setting named venu"),
        ("ALPACA_STRATEGY_DATA__FED", "iex", "data.fed"),
        ("ALPACA_STRATEGY_DATA__FEED", "nasdaq", "data.feed: Input should be 'iex' or 'sip'"),
        ("ALPACA_STRATEGY_DATA__CHUNK_SYMBOLS", "0", "data.chunk_symbols"),
        ("ALPACA_STRATEGY_DATA", "nonsense", "Settings cannot be read"),
        ("ALPACA_DATA_KEY", "canary", "Only one of ALPACA_DATA_KEY and ALPACA_DATA_SECRET"),
        ("ALPACA_STRATEGY_VENUE", "paper", "ALPACA_DATA_KEY and ALPACA_DATA_SECRET are not set"),
        ("ALPACA_STRATEGY_SETTINGS", "/nowhere.yaml", "cannot be read"),
    ],
)
def test_a_nonsense_setting_gets_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_damaged_settings_file_gets_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "settings.yaml"
    monkeypatch.setenv("ALPACA_STRATEGY_SETTINGS", str(path))
    path.write_text("data: [unclosed\n")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings()
    path.write_text("- a list\n")
    with pytest.raises(SettingsError, match="must hold sections"):
        load_settings()
    path.write_text("dta:\n  feed: iex\n")
    with pytest.raises(SettingsError, match="no setting named dta"):
        load_settings()


def test_a_symbol_outside_the_universe_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_STRATEGY_DATA__SYMBOLS", "TSLA,XYZQ")
    with pytest.raises(UnknownSymbolError, match="Unknown symbol XYZQ"):
        load_settings().symbols()


def test_a_universe_without_sectors_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "universe.csv"
    path.write_text("symbol,name\nTSLA,Tesla\n")
    monkeypatch.setenv("ALPACA_STRATEGY_DATA__UNIVERSE", str(path))
    with pytest.raises(SettingsError, match="needs the columns symbol, name, sector"):
        load_settings().symbols()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("LAKE", "data/{venu}/lake", "only {venue} is replaced"),
        ("OBJECTS", "results/{venue", "only {venue} is replaced"),
        ("STAGING", "s3://bucket/staging", "a folder on this machine"),
    ],
)
def test_a_nonsense_location_is_refused_at_the_door(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"ALPACA_STRATEGY_STORAGE__{name}", value)
    with pytest.raises(SettingsError, match=told):
        load_settings()


@pytest.mark.parametrize("name", [".env", "settings.yaml"])
def test_a_settings_file_that_is_no_text_is_told_in_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (home / name).write_bytes(b"venue: \xff\xfe")
    if name == "settings.yaml":
        monkeypatch.setenv("ALPACA_STRATEGY_SETTINGS", str(home / name))
    with pytest.raises(SettingsError, match=f"{name} cannot be read"):
        load_settings()


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (b"TSLA,a,b\nF,c,d\nTSLA,e,f\n", "'TSLA', which stands there twice"),
        (b"../x,a,b\n", "'../x', which is no symbol"),
        (b"tsla,a,b\n", "'tsla', which is no symbol"),
        (b"\xff\xfe,a,b\n", "cannot be read"),
    ],
)
def test_a_universe_of_nonsense_is_told_in_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, rows: bytes, told: str
) -> None:
    (home / "universe.csv").write_bytes(b"symbol,name,sector\n" + rows)
    monkeypatch.setenv("ALPACA_STRATEGY_DATA__UNIVERSE", str(home / "universe.csv"))
    with pytest.raises(SettingsError, match=told):
        load_settings().universe()
