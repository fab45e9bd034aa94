"""What must not trade does not start: one sentence, an exit status, and nothing sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from trading_floor import Floor, trading_floor

from alpaca_strategy.simulator.launch import running_simulator
from alpaca_strategy.storage.database import connect

pytestmark = pytest.mark.integration
LIVE = "https://api.alpaca.markets"
PAPER = "https://paper-api.alpaca.markets"
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
KEY, SECRET_KEY = "ALPACA_API_KEY", "ALPACA_SECRET_KEY"  # pragma: allowlist secret
URL, MODE = "ALPACA_STRATEGY_TRADING_URL", "ALPACA_STRATEGY_TRADING__MODE"
SECRET = "canary-that-nobody-may-see"  # pragma: allowlist secret
#: Arguments, environment, exit status, and a part of the sentence.
WRONG_WAYS: dict[str, tuple[list[str], dict[str, str], int, str]] = {
    "no_keys": ([], {}, 4, "needs ALPACA_API_KEY and ALPACA_SECRET_KEY"),
    "no_secret": ([], {KEY: "PK1", SECRET_KEY: ""}, 2, "set both"),
    "simulators_key_on_paper": ([], {KEY: "SIM1"}, 4, "is a simulator's key"),
    "simulators_key_live": (
        [], {KEY: "SIM1", MODE: "live", URL: LIVE}, 4, "is a simulator's key",
    ),
    "live_key_on_paper": ([], {KEY: "AK1"}, 4, "is a live account's key"),
    "paper_key_live": (
        [], {KEY: "PK1", MODE: "live", URL: LIVE}, 4, "is a paper account's key",
    ),
    "live_without_its_address": (
        [], {KEY: "AK1", MODE: "live"}, 2, f"trading_url is not {LIVE}",
    ),
    "live_at_the_paper_host": (
        [], {KEY: "AK1", MODE: "live", URL: PAPER}, 2, "the mode is live",
    ),
    "paper_at_the_live_host": ([], {KEY: "PK1", URL: LIVE}, 2, "the mode is paper"),
    "live_at_another_host": (
        [], {KEY: "AK1", MODE: "live", URL: "https://api.alpaca.markets.example.org"},
        2, "no trading host of Alpaca's",
    ),
    "without_encryption": (
        [], {KEY: "PK1", URL: "http://paper-api.alpaca.markets"}, 2, "only over https",
    ),
    "paper_on_this_machine": (
        [], {KEY: "PK1", URL: "http://127.0.0.1:9"}, 2, "a simulator on this machine",
    ),
    "an_address_that_is_none": ([], {KEY: "PK1", URL: "api"}, 2, "no address"),
    "unknown_mode": ([], {KEY: "PK1", MODE: "real"}, 2, "mode"),
    "limit_that_is_none": (
        [], {KEY: "PK1", "ALPACA_STRATEGY_RISK__MAX_ORDER_USD": "-5"}, 2,
        "max_order_usd",
    ),
    "session_without_simulate": (["--session", "2026-10-05"], {}, 2, "add --simulate"),
    "session_that_is_none": (
        ["--simulate", "--session", "tomorrow"], {}, 2, "not a date",
    ),
    "session_on_a_holiday": (["--simulate", "--session", "2026-12-25"], {}, 2, "2026-12-25"),
    "no_database": (["--simulate", "--session", "2026-10-05"], {}, 3, "does not answer"),
}  # fmt: skip
QUICK = ("no_keys", "simulators_key_live", "live_without_its_address", "paper_at_the_live_host")


def ask(home: Path, arguments: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Run `trade` as a user does; return exit status, output and complaint."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ALPACA_", "APCA_", "SIMULATOR_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "alpaca_strategy", "trade", *arguments],
        capture_output=True, text=True, check=False, timeout=120,
        env={
            **clean, "ALPACA_STRATEGY_HOME": str(home), "ALPACA_STRATEGY_DATABASE_URL": NOWHERE,
            "ALPACA_STRATEGY_LOGGING__LEVEL": "error",
            **({SECRET_KEY: SECRET} if "ALPACA_API_KEY" in environment else {}),
            **environment,
        },
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def refused(home: Path, way: str) -> None:
    arguments, environment, status, sentence = WRONG_WAYS[way]
    returned, output, complaint = ask(home, arguments, environment)
    assert returned == status, complaint
    assert sentence in complaint
    lines = complaint.strip().splitlines()
    assert len(lines) == 1, complaint
    assert lines[0].startswith("error: ")
    assert "Traceback" not in complaint
    assert SECRET not in output + complaint


@pytest.mark.parametrize("way", QUICK)
def test_wrong_way_to_trade_is_refused_in_one_sentence(tmp_path: Path, way: str) -> None:
    refused(tmp_path, way)


@pytest.mark.proof
@pytest.mark.parametrize("way", WRONG_WAYS)
def test_every_wrong_way_to_trade_is_refused_in_one_sentence(tmp_path: Path, way: str) -> None:
    refused(tmp_path, way)


def test_simulated_session_without_a_model_is_refused(
    trading_database: str, tmp_path: Path
) -> None:
    returned, _, complaint = ask(
        tmp_path, ["--simulate", "--session", "2026-10-05"],
        {
            "ALPACA_STRATEGY_VENUE": "simulator", "ALPACA_STRATEGY_DATABASE_URL": trading_database,
            "ALPACA_STRATEGY_DATA__SYMBOLS": "TSLA,F,NVDA",
        },
    )  # fmt: skip
    assert returned == 5, complaint
    assert complaint.strip() == (
        "error: No model is in service; train one and promote it: alpaca-strategy train"
    )


# ---------------------------------------------------------------- code and database of two ages


def turned_away(floor: Floor, status: int, sentence: str) -> None:
    """Start a trader that is refused; nothing may have been asked for by then but the clock."""
    process = floor.start()
    assert process.wait(60) == status, floor.log()
    complaint = [line for line in floor.log().splitlines() if line.startswith("error: ")]
    assert len(complaint) == 1, floor.log()
    assert sentence in complaint[0]
    assert "Traceback" not in floor.log()
    truth = floor.simulator.truth()
    assert truth["posts"] == []
    assert truth["orders"] == []


@pytest.mark.parametrize("schema", ["0003", "9999"])
def test_trader_of_another_schema_does_not_start(
    trading_database: str, tmp_path: Path, schema: str
) -> None:
    engine = connect(trading_database)
    with engine.begin() as connection:
        changed = text("UPDATE market.schema_version SET version_num = :schema")
        connection.execute(changed, {"schema": schema})
    engine.dispose()
    with trading_floor(trading_database, tmp_path, start="15:48") as floor:
        turned_away(floor, 3, f"has schema {schema}, and this code was written for")


@pytest.mark.proof
def test_database_without_our_tables_is_told_of(database_url: str, tmp_path: Path) -> None:
    with trading_floor(database_url, tmp_path, start="15:48") as floor:
        turned_away(floor, 3, "lacks our tables")


@pytest.mark.proof
def test_keys_that_the_venue_does_not_know_end_the_trader(
    trading_database: str, tmp_path: Path
) -> None:
    """A stream that is refused for good is not asked for ever."""
    with trading_floor(trading_database, tmp_path, start="15:48") as floor:
        floor.told["secret"] = "not the one"  # pragma: allowlist secret
        process = floor.start()
        assert process.wait(150) in {4, 5}, floor.log()
        assert "Traceback" not in floor.log()
        assert floor.simulator.truth()["posts"] == []


@pytest.mark.proof
def test_simulators_key_is_shown_to_no_other_host(tmp_path: Path) -> None:
    """The address of another host than the key's is refused before anything is asked there."""
    with running_simulator(now="2026-10-05T15:48:00-04:00", paused=True, key="PKOTHER") as other:
        returned, _, complaint = ask(tmp_path, [], {KEY: "SIM1", URL: other.url})
        assert returned in {2, 4}, complaint
        assert len(complaint.strip().splitlines()) == 1
        assert other.truth()["requests"] == {}
        assert json.dumps(other.truth()["requests_by_key"]) == "{}"
