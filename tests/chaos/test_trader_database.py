"""Postgres is slow, frozen, crashed, full or gone while the trader trades."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from order_histories import moment, posts, sent_more_than_once, steps, watched_wrongly
from own_server import OwnServer
from sqlalchemy import text
from trading_floor import Floor, trading_floor

from alpaca_strategy.storage.database import connect

pytestmark = pytest.mark.integration
#: What a trader writes, in the order in which an order comes about.
TABLES = ("decision", "intent", "intent_step", "fill", "reconciliation", "heartbeat")
#: How a trader says that something could not be written.
FAILURES = ("journal_failed", "decision_not_written", "orders_not_sent")


def now(floor: Floor) -> datetime:
    """Return the venue's time."""
    return datetime.fromisoformat(floor.simulator.clock()["now"])


def wait(floor: Floor, minutes: float) -> None:
    """Let the venue's time pass."""
    until = now(floor) + timedelta(minutes=minutes)
    floor.until(lambda: now(floor) >= until, 120)


def judged_after(floor: Floor, process: Any) -> None:
    """Let the session come to its end, and judge what was done in it."""
    ending = floor.play_out(process)
    assert ending["reason"] == "closed", floor.log()
    assert not ending["differences"], floor.log()
    assert floor.judge() == [], floor.log()
    assert list(watched_wrongly(floor)) == []
    assert sent_more_than_once(floor) == []


# ---------------------------------------------------------------- one table at a time


@contextmanager
def kept_from(floor: Floor, table: str) -> Iterator[None]:
    """Keep everybody from a table, as a migration or a stuck query does."""
    engine = connect(floor.database_url)
    with engine.connect() as connection:
        connection.execute(text(f"LOCK TABLE trading.{table} IN ACCESS EXCLUSIVE MODE"))
        yield
        connection.rollback()
    engine.dispose()


@contextmanager
def full(floor: Floor, table: str) -> Iterator[None]:
    """Let what is written to a table fail as on a full disk."""
    engine = connect(floor.database_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE OR REPLACE FUNCTION trading.be_full() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN RAISE disk_full USING MESSAGE = ''No space left on device''; END'"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER is_full BEFORE INSERT ON trading.{table}"
                " FOR EACH ROW EXECUTE FUNCTION trading.be_full()"
            )
        )
    yield
    with engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER is_full ON trading.{table}"))
    engine.dispose()


def play_table(
    database: str, folder: Path, table: str, trouble: Callable[[Floor, str], Any], seed: int,
    start: str,
) -> float:  # fmt: skip
    """A table cannot be written for a while; returns the minutes in which nothing was sent."""
    with trading_floor(database, folder, seed=seed, rate=60.0, start=start) as floor:
        process = floor.start()
        floor.until(lambda: floor.logged("order_filled"))
        with trouble(floor, table):
            floor.until(lambda: any(floor.logged(one) for one in FAILURES))
            since = now(floor)
            wait(floor, 4)
            until = now(floor)
            sent = [one for one in posts(floor) if since <= moment(one) < until]
            if table in {"decision", "intent", "intent_step"}:
                # One may have left before: a second of this machine's time is a minute here.
                late = [one for one in sent if moment(one) > since + timedelta(minutes=1)]
                assert late == [], "what was not written was sent"
        floor.until(lambda: floor.logged("journal_works_again"))
        over = now(floor)
        floor.until(lambda: [one for one in posts(floor) if moment(one) > over])  # it goes on
        judged_after(floor, process)
        return (until - since).total_seconds() / 60


@pytest.mark.parametrize("trouble", [kept_from, full])
def test_what_cannot_be_written_is_not_sent(
    trading_database: str, tmp_path: Path, trouble: Callable[[Floor, str], Any]
) -> None:
    table = "intent_step" if trouble is kept_from else "intent"
    play_table(trading_database, tmp_path, table, trouble, seed=0, start="14:30")


@pytest.mark.proof
@pytest.mark.parametrize("trouble", [kept_from, full])
@pytest.mark.parametrize("table", TABLES)
def test_every_table_out_of_reach(
    trading_database: str, tmp_path: Path, table: str, trouble: Callable[[Floor, str], Any]
) -> None:
    play_table(trading_database, tmp_path, table, trouble, seed=1, start="14:30")


# ---------------------------------------------------------------- the whole server


def play_outage(
    server: OwnServer, folder: Path, kind: str, seed: int, *, for_s: float, start: str
) -> float:
    """The server crashes or freezes at a random moment; returns how long it took to recover."""
    draw = random.Random(seed)
    with trading_floor(server.url, folder, seed=seed, rate=60.0, start=start) as floor:
        process = floor.start()
        floor.until(lambda: floor.logged("order_sent"))
        time.sleep(draw.random() * 3)  # any moment will do
        if kind == "frozen":
            with server.frozen():
                gone_at = now(floor)
                time.sleep(for_s)
                back_at = now(floor)
        else:
            server.crash()
            gone_at = now(floor)
            time.sleep(for_s)
            back_at = now(floor)
            server.start()
        began = time.monotonic()
        sent = [one for one in posts(floor) if gone_at < moment(one) < back_at]
        # What was committed before may leave for a second of this machine's time: a minute here.
        assert [one for one in sent if moment(one) > gone_at + timedelta(minutes=1)] == []
        floor.until(lambda: [one for one in posts(floor) if moment(one) > back_at])  # it goes on
        took = time.monotonic() - began
        judged_after(floor, process)
        return took


@pytest.mark.parametrize("kind", ["crashed", "frozen"])
def test_without_its_database_the_trader_sends_nothing_and_loses_nothing(
    own_database: OwnServer, tmp_path: Path, kind: str
) -> None:
    play_outage(own_database, tmp_path, kind, 1, for_s=3.0, start="14:30")


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["crashed", "frozen"])
@pytest.mark.parametrize("seed", range(8))
def test_outages_at_random_moments(
    own_database: OwnServer, tmp_path: Path, kind: str, seed: int, record_property: Any
) -> None:
    took = play_outage(own_database, tmp_path, kind, seed, for_s=5.0, start="14:30")
    record_property("recovered_s", round(took, 2))


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
def test_trader_killed_during_an_outage_is_followed_by_one_that_finds_everything(
    own_database: OwnServer, tmp_path: Path, seed: int
) -> None:
    with trading_floor(own_database.url, tmp_path, seed=seed, rate=60.0, start="14:30") as floor:
        first = floor.start()
        floor.until(lambda: floor.logged("order_sent"))
        time.sleep(random.Random(seed).random() * 3)
        own_database.crash()
        time.sleep(1)
        first.kill()
        first.wait()
        assert floor.start().wait(60) == 3  # without its database it does not start
        assert floor.log().strip().startswith("error: ") or "error: Postgres at" in floor.log()
        own_database.start()
        judged_after(floor, first)


# ---------------------------------------------------------------- disks


def test_full_disk_of_the_trader_itself_stops_nothing(
    trading_database: str, tmp_path: Path
) -> None:
    """The CSV files are for reading only; nothing depends on them."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("orders", "trades", "positions"):
        (logs / f"{name}.csv").symlink_to("/dev/full")
    with trading_floor(trading_database, tmp_path / "floor", seed=0, start="15:48") as floor:
        floor.told["logs"] = str(logs)
        assert floor.finish(floor.start())["flat"]
        assert floor.judge() == [], floor.log()
        assert floor.simulator.truth()["fills"]
        assert "No space left on device" in floor.log(1000)
        assert steps(floor)
