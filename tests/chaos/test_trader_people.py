"""What people do to a trader: start it twice, kill it, stop it, and trade beside it."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from order_histories import moment, posts, sent_more_than_once, still_open, watched_wrongly
from own_server import OwnServer
from sqlalchemy import text
from trading_floor import Floor, trading_floor

from alpaca_strategy.domain.journal import SwitchKind
from alpaca_strategy.storage.database import connect
from alpaca_strategy.storage.journal import TradingJournal

pytestmark = pytest.mark.integration
#: Purchases that rest for a while, so that there is something to cancel.
RESTING = {"trading": {"order_type": "limit", "collar_bps": 1.0}}
#: Any number of traders may try at once.
CROWDED = {"max_connections": 6, "max_update_connections": 6}


def turn(floor: Floor, kind: SwitchKind, *, flatten: bool = False) -> None:
    """Turn the switch, as the command does."""
    journal = TradingJournal(floor.database_url, floor.book)
    journal.switch(kind, reason="a proof", by="test", flatten=flatten)
    journal.close()


def now(floor: Floor) -> datetime:
    """Return the venue's time."""
    return datetime.fromisoformat(floor.simulator.clock()["now"])


def lock_is_free(floor: Floor) -> bool:
    journal = TradingJournal(floor.database_url, floor.book)
    try:
        return journal.take_lock()
    finally:
        journal.close()


def frozen(process: subprocess.Popen[str]) -> bool:
    """Tell whether a process stands still."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


# ---------------------------------------------------------------- two traders


def play_crowd(database: str, folder: Path, count: int, seed: int) -> None:
    """Several traders of one account start at once; one trades, the others say why not."""
    with trading_floor(database, folder, seed=seed, start="15:46") as floor:
        processes = [floor.start() for _ in range(count)]
        floor.until(lambda: sum(one.poll() is not None for one in processes) == count - 1, 90)
        winner = next(one for one in processes if one.poll() is None)
        for number, one in enumerate(processes):
            if one is not winner:
                assert one.returncode == 5
                said = (floor.folder / f"trader-{number}.log").read_text()
                assert said.count("error: Another trader is at work on account") == 1
                assert "Traceback" not in said
        assert floor.finish(winner)["flat"], floor.log()
        assert floor.judge() == []
        assert list(watched_wrongly(floor)) == []
        assert sent_more_than_once(floor) == []
        assert floor.simulator.truth()["fills"]
        assert len({one["run"] for one in runs(floor)}) == 1


def runs(floor: Floor) -> list[dict[str, Any]]:
    """Return which runs have begun to send anything."""
    engine = connect(floor.database_url)
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT DISTINCT run_id AS run FROM trading.intent_step"
                " WHERE account = :account AND state = 'sending'"
            ),
            {"account": floor.account},
        )
        rows = [dict(row._mapping) for row in found]
    engine.dispose()
    return rows


def test_second_trader_of_an_account_ends_at_once(trading_database: str, tmp_path: Path) -> None:
    play_crowd(trading_database, tmp_path, 2, seed=0)


@pytest.mark.proof
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_of_traders_that_start_together_one_trades(
    trading_database: str, tmp_path: Path, count: int
) -> None:
    play_crowd(trading_database, tmp_path, count, seed=count)


def end_sessions(floor: Floor) -> None:
    """Let the database lose its connections to whoever is frozen, as a failover does."""
    engine = connect(floor.database_url)
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name IN ('trader-lock', 'trader-journal')"
                " AND datname = current_database()"
            )
        )
    engine.dispose()
    floor.until(lambda: lock_is_free(floor))


def play_zombie(database: str, folder: Path, label: str, nth: int, seed: int) -> None:
    """A trader freezes, another takes over, and the first one wakes up."""
    with trading_floor(
        database, folder, seed=seed, rate=30.0, start="15:00", **CROWDED,
        settings=RESTING if label == "cancel_answered" else None,
    ) as floor:  # fmt: skip
        if label == "cancel_answered":
            floor.simulator.exchange(size_factor=0.05)
        first = floor.start(TRADER_CRASH_AT=f"{label}:{nth}", TRADER_CRASH_BY="stop")
        floor.until(lambda: frozen(first))
        rival = floor.start()
        assert rival.wait(60) == 5  # the lock is held as long as its connection lives
        end_sessions(floor)
        ready = len(floor.logged("trader_ready"))
        second = floor.start()
        floor.until(lambda: len(floor.logged("trader_ready")) > ready)
        before = sent_by_first(floor)
        first.send_signal(signal.SIGCONT)
        assert first.wait(30) == 5
        said = (floor.folder / "trader-0.log").read_text()
        assert "Another trader has taken over" in said
        assert "Traceback" not in said
        after = now(floor)
        floor.until(lambda: [one for one in posts(floor) if moment(one) > after])  # it trades on
        floor.play_out(second)
        assert floor.judge(flat=label != "cancel_answered") == [], floor.log()
        assert list(watched_wrongly(floor)) == []
        assert sent_more_than_once(floor) == []
        # What it had handed to the wire before it froze may leave; nothing else may.
        late = sent_by_first(floor) - before
        assert label in {"order_answered", "fact_known"} or not late, f"the zombie sent {late}"


def sent_by_first(floor: Floor) -> set[str]:
    """Return what the first trader says that it has sent."""
    lines = (floor.folder / "trader-0.log").read_text().splitlines()
    return {
        line.partition('"client_order_id": "')[2].partition('"')[0]
        for line in lines
        if '"event": "order_sent"' in line
    }


def test_trader_that_wakes_up_after_another_has_taken_over_sends_nothing(
    trading_database: str, tmp_path: Path
) -> None:
    play_zombie(trading_database, tmp_path, "sending_committed", 2, seed=1)


@pytest.mark.proof
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize(
    "label", ["decision_made", "intents_committed", "sending_committed", "order_answered",
              "cancel_answered", "fact_known"],
)  # fmt: skip
def test_zombies_of_every_moment(
    trading_database: str, tmp_path: Path, label: str, nth: int
) -> None:
    play_zombie(trading_database, tmp_path, label, nth, seed=nth)


# ---------------------------------------------------------------- the kill switch


def play_kill(database: str, folder: Path, how: str, seed: int, rate: float = 30.0) -> float:
    """Kill a trader at a random moment; return after how many seconds the last order came."""
    draw = random.Random(seed)
    with trading_floor(
        database, folder, seed=seed, rate=rate, start="15:20", settings=RESTING, partial_prob=0.7
    ) as floor:
        floor.simulator.exchange(size_factor=0.05)
        process = floor.start()
        floor.until(lambda: floor.logged("order_sent"))
        time.sleep(draw.random() * 4)  # any moment will do
        if how == "signal":
            process.send_signal(signal.SIGUSR1)
        else:
            turn(floor, SwitchKind.KILL, flatten=how == "flatten")
        killed_at = now(floor)
        done = "flattened" if how == "flatten" else "open_orders_cancelled"
        floor.until(lambda: floor.logged(done))
        floor.until(lambda: not still_open(floor) or how == "flatten")
        process.send_signal(signal.SIGTERM)
        assert floor.finish(process)["reason"] == "stopped"
        sent = late_posts(floor, killed_at, how)
        # One second of this machine's time, in the venue's.
        assert all(s < rate for s in sent), f"sent {sent} s of the venue's time after the kill"

        again = floor.start()  # the kill stands over restarts
        count = len(posts(floor))
        floor.until(lambda: len(floor.logged("trader_ready")) == 2)
        floor.until(lambda: floor.logged("decision_skipped"))
        assert len(posts(floor)) == count
        turn(floor, SwitchKind.REARM)
        floor.until(lambda: len(posts(floor)) > count)
        floor.play_out(again)
        assert floor.judge(flat=False) == [], floor.log()
        return max((s / rate for s in sent), default=0.0)


def late_posts(floor: Floor, killed_at: datetime, how: str) -> list[float]:
    """Return how many of the venue's seconds after a kill orders were accepted."""
    return [
        (moment(one) - killed_at).total_seconds()
        for one in posts(floor)
        if one["status"] == 200 and moment(one) > killed_at
        and not (how == "flatten" and one["side"] == "sell")
    ]  # fmt: skip


def test_killed_trader_sends_nothing_more_until_a_person_re_arms(
    trading_database: str, tmp_path: Path
) -> None:
    play_kill(trading_database, tmp_path, "signal", 1)


def test_kill_with_flatten_leaves_nothing(trading_database: str, tmp_path: Path) -> None:
    with trading_floor(trading_database, tmp_path, rate=30.0, start="15:30") as floor:
        process = floor.start()
        floor.until(lambda: floor.logged("order_filled"))
        turn(floor, SwitchKind.KILL, flatten=True)
        floor.until(lambda: floor.logged("flattened"))
        floor.until(lambda: not floor.simulator.truth()["positions"])
        process.send_signal(signal.SIGTERM)
        assert floor.finish(process)["reason"] == "stopped"
        assert floor.judge() == [], floor.log()


@pytest.mark.proof
@pytest.mark.parametrize(
    "how",
    [
        "flatten",
        pytest.param("journal", marks=pytest.mark.proof),
        pytest.param("signal", marks=pytest.mark.proof),
    ],
)
@pytest.mark.parametrize("seed", range(10))
def test_kills_at_random_moments(
    trading_database: str, tmp_path: Path, how: str, seed: int, record_property: Any
) -> None:
    record_property(
        "last_order_after_s", round(play_kill(trading_database, tmp_path, how, seed), 2)
    )


def test_kill_by_signal_cancels_although_the_database_is_gone(
    own_database: OwnServer, tmp_path: Path
) -> None:
    """A sale rests, which nobody cancels but the kill."""
    with trading_floor(own_database.url, tmp_path, rate=30.0, start="15:00") as floor:
        process = floor.start()
        floor.until(lambda: floor.logged("order_filled"))
        floor.simulator.exchange(hold_new=True)
        floor.until(lambda: [one for one in still_open(floor) if one["side"] == "sell"])
        own_database.crash()
        process.send_signal(signal.SIGUSR1)
        floor.until(lambda: not still_open(floor), 30)
        count = len(posts(floor))
        own_database.start()
        floor.until(lambda: switch_of(floor) is SwitchKind.KILL)  # and it is written after all
        process.send_signal(signal.SIGTERM)
        assert floor.finish(process)["reason"] == "stopped"
        assert len(posts(floor)) == count
        assert floor.judge(flat=False) == [], floor.log()


def switch_of(floor: Floor) -> SwitchKind | None:
    reader = floor.reader()
    try:
        found = reader.switch(floor.book)
    finally:
        reader.engine.dispose()
    return None if found is None else found.kind


# ---------------------------------------------------------------- an orderly stop


def play_stop(floor: Floor, after_s: float, trouble: Any = None) -> float:
    """Stop a trader some time after its start; return the seconds that it took."""
    process = floor.start()
    floor.until(lambda: floor.logged("session_watched"))
    time.sleep(after_s)  # any moment will do
    if trouble is not None:
        trouble()
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, floor.log()
    took = time.monotonic() - began
    assert took <= 10.0, f"it took {took:.1f} s: {floor.log()}"
    return took


def open_purchases(floor: Floor) -> list[dict[str, Any]]:
    return [one for one in still_open(floor) if one["side"] == "buy"]


def test_stop_ends_a_trader_and_releases_the_account(trading_database: str, tmp_path: Path) -> None:
    with trading_floor(
        trading_database, tmp_path, rate=30.0, start="15:20", settings=RESTING
    ) as floor:
        floor.simulator.exchange(size_factor=0.05)
        play_stop(floor, 0.0, lambda: floor.until(lambda: open_purchases(floor)))
        assert lock_is_free(floor)
        assert open_purchases(floor) == []
        floor.play_out(floor.processes[-1])
        assert floor.judge(flat=False) == [], floor.log()


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(12))
def test_stops_at_random_moments(
    trading_database: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    with trading_floor(
        trading_database, tmp_path, rate=30.0, start="15:30", seed=seed, settings=RESTING
    ) as floor:
        floor.simulator.exchange(size_factor=0.1)
        took = play_stop(floor, random.Random(seed).random() * 6)
        record_property("took_s", round(took, 2))
        assert lock_is_free(floor)
        floor.play_out(floor.processes[-1])
        assert floor.judge(flat=False) == [], floor.log()


@pytest.mark.proof
@pytest.mark.parametrize("action", ["hang", "drip", "html"])
@pytest.mark.parametrize("wait_s", [0.5, 2.0, 3.5, 5.0])
def test_stop_while_the_venue_does_not_answer(
    trading_database: str, tmp_path: Path, action: str, wait_s: float, record_property: Any
) -> None:
    with trading_floor(trading_database, tmp_path, rate=10.0, start="15:30") as floor:

        def broken() -> None:
            floor.simulator.fault(action, match={"path": "/v2/*"}, for_s=30)
            time.sleep(wait_s)  # so that something waits for an answer

        record_property("took_s", round(play_stop(floor, 3.0, broken), 2))
        assert lock_is_free(floor)


@pytest.mark.proof
def test_stop_while_the_database_hangs(
    own_database: OwnServer, tmp_path: Path, record_property: Any
) -> None:
    with trading_floor(own_database.url, tmp_path, rate=10.0, start="15:30") as floor:
        process = floor.start()
        floor.until(lambda: floor.logged("order_filled"))
        with own_database.frozen():
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, floor.log()
            took = time.monotonic() - began
        assert took <= 10.0
        record_property("took_s", round(took, 2))


# ---------------------------------------------------------------- other hands in the account


def test_what_others_hold_is_left_alone(trading_database: str, tmp_path: Path) -> None:
    with trading_floor(trading_database, tmp_path, seed=3, start="15:46") as floor:
        floor.simulator.external_order("F", "buy", 50, fill_price="25")
        floor.simulator.external_order("NVDA", "sell", 7, fill_price="90")
        ending = floor.finish(floor.start())
        assert ending["flat"]
        assert not ending["differences"]
        assert not {one["symbol"] for one in posts(floor)} & {"F", "NVDA"}
        assert posts(floor), "nothing was traded, so nothing is shown"
        theirs = {one["symbol"]: one["qty"] for one in floor.simulator.truth()["positions"]}
        assert theirs == {"F": "50", "NVDA": "-7"}


#: What a person does with seven shares, and what of it is theirs in the end.
HANDS = {"buys_another": 7, "shorts_another": -7, "buys_more": 7, "sells_some": 0}


def play_other_hand(database: str, folder: Path, kind: str, seed: int, rest_min: int) -> None:
    """A person trades beside the trader; it halts purchases, mends nothing, and obeys a person."""
    with trading_floor(database, folder, seed=seed, rate=30.0, start="15:00") as floor:
        process = floor.start()
        floor.until(lambda: len(floor.simulator.truth()["positions"]) > 1)
        symbol = not_held(floor) if kind.endswith("another") else held(floor)
        floor.simulator.external_order(symbol, "buy" if "buys" in kind else "sell", 7)
        floor.until(lambda: floor.logged("trading_halted"))
        halted_at = now(floor)
        floor.until(lambda: now(floor) > halted_at + timedelta(minutes=rest_min))
        # One may have been on its way for a second of this machine's time.
        assert bought_after(floor, halted_at + timedelta(seconds=30)) == []
        turn(floor, SwitchKind.REARM)
        rearmed_at = now(floor)
        floor.until(lambda: bought_after(floor, rearmed_at), 30)
        assert floor.play_out(process)["flat"]
        violations = floor.judge(foreign={symbol: HANDS[kind]})
        if kind == "shorts_another":  # a person may, and the strategy may not
            violations = [one for one in violations if not one.startswith(f"I3: {symbol} is short")]
        assert violations == [], floor.log()
        assert not [one for one in posts(floor) if one["qty"] == "7"]


def bought_after(floor: Floor, since: datetime) -> list[dict[str, Any]]:
    return [one for one in posts(floor, "buy") if moment(one) > since]


def held(floor: Floor) -> str:
    return str(floor.simulator.truth()["positions"][0]["symbol"])


def not_held(floor: Floor) -> str:
    busy = {one["symbol"] for one in floor.simulator.truth()["positions"]}
    return next(one for one in floor.settings["data"]["symbols"] if one not in busy)


def test_another_hand_in_the_account_halts_purchases_until_a_person_re_arms(
    trading_database: str, tmp_path: Path
) -> None:
    play_other_hand(trading_database, tmp_path, "buys_another", seed=0, rest_min=3)


@pytest.mark.proof
@pytest.mark.parametrize("kind", HANDS)
@pytest.mark.parametrize("seed", range(3))
def test_other_hands_of_every_kind(
    trading_database: str, tmp_path: Path, kind: str, seed: int
) -> None:
    play_other_hand(trading_database, tmp_path, kind, seed, rest_min=4)
