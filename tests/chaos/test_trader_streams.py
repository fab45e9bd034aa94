"""The streams lie, stammer, fall silent and break; the books stay right, and so do the bars."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from batch_path import wrong_windows
from trading_floor import SESSION, Floor, trading_floor

from alpaca_strategy.market.calendar import exchange_calendar

#: At a rate this machine's milliseconds are the venue's seconds, so there is more grace.
PATIENT = {"trading": {"grace_s": 25.0, "decision_deadline_s": 30.0}}


def at(clock: str) -> str:
    """Return a New York time of the session, as a schedule takes it."""
    return f"{SESSION}T{clock}-04:00"


def ws(clock: str, action: str, stream: str, **options: Any) -> dict[str, Any]:
    """Plan a fault of the streams: at a time of the session, or so long after now."""
    when = clock if clock.startswith("+") else at(clock)
    return {"at": when, "do": "ws", "action": action, "stream": stream, **options}


def planned(floor: Floor, action: str) -> datetime:
    """Return when a fault was planned to begin."""
    return next(
        datetime.fromisoformat(one["at"])
        for one in floor.simulator.schedule()
        if one.get("action") == action
    )


def live_through(floor: Floor, *items: dict[str, Any]) -> None:
    """Let a trader live through an afternoon with what is planned, and judge it.

    In lock-step the plan stands before the trader starts; at a rate it begins when that is ready.
    """
    floor.told["seen"] = str(floor.folder / "seen.jsonl")
    paced = not floor.simulator.clock()["paused"]
    if items and not paced:
        floor.simulator.schedule(*items)
    process = floor.start()
    if items and paced:
        floor.until(lambda: floor.logged("gap_filled"))
        floor.simulator.schedule(*items)
    ending = floor.finish(process)
    assert ending["reason"] == "closed", floor.log()
    assert ending["flat"], floor.log()
    assert not ending["differences"], floor.log()
    assert floor.judge() == [], floor.log()
    outcomes = [one["outcome"] for one in floor.simulator.schedule()]
    assert outcomes == ["done"] * len(outcomes)
    assert floor.simulator.truth()["fills"], "nothing was traded, so nothing is shown"


def struck(floor: Floor, action: str) -> int:
    """Return how often a fault of the streams has struck."""
    faults = floor.simulator.truth()["connections"]["faults"]
    return sum(one["fired"] for one in faults if one["action"] == action)


def told(floor: Floor) -> dict[str, Any]:
    """Return the figures that the trader told of itself last."""
    reader = floor.reader()
    beat = reader.heartbeat(floor.book)
    reader.engine.dispose()
    assert beat is not None
    return dict(beat.heartbeat.detail)


def bought_between(floor: Floor, first: datetime, last: datetime) -> list[dict[str, Any]]:
    return [
        one
        for one in floor.simulator.truth()["orders"]
        if one["side"] == "buy" and first <= datetime.fromisoformat(one["submitted_at"]) < last
    ]


def when(line: dict[str, Any]) -> datetime:
    """Return when a line was logged, by this machine's clock."""
    return datetime.fromisoformat(line["timestamp"])


# ---------------------------------------------------------------- trade updates that lie


#: Every event twice or thrice or not at all, in any order, up to two minutes late.
CONFUSED = (
    {"action": "dup", "min": 0, "max": 3},
    {"action": "reorder", "window": 10, "seconds": 30},
    {"action": "delay", "seconds": 120},
)


def play_confused(database: str, folder: Path, seed: int, start: str) -> int:
    with trading_floor(database, folder, seed=seed, start=start, partial_prob=0.5) as floor:
        for rule in CONFUSED:
            floor.simulator.ws(**rule, stream="updates", seed=seed)
        live_through(floor)
        assert all(struck(floor, str(rule["action"])) for rule in CONFUSED)
        assert executed(floor) == {
            (one["order_id"], Decimal(str(one["price"])), Decimal(str(one["qty"])))
            for one in floor.simulator.truth()["fills"]
        }
        return sum(struck(floor, str(rule["action"])) for rule in CONFUSED)


def executed(floor: Floor) -> set[tuple[str, Decimal, Decimal]]:
    """Return the executions that the trader wrote down, each of which it has once."""
    reader = floor.reader()
    found = reader.fills(floor.book, floor.session)
    reader.engine.dispose()
    assert len({(one.order_id, one.cum_qty) for one in found}) == len(found)
    return {(one.order_id, one.price, one.qty) for one in found}


@pytest.mark.integration
def test_updates_that_come_twice_late_and_in_disorder_leave_the_books_right(
    trading_database: str, tmp_path: Path
) -> None:
    play_confused(trading_database, tmp_path, seed=11, start="15:46")


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(25))
def test_any_disorder_of_updates_leaves_the_books_right(
    trading_database: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    record_property("faults", play_confused(trading_database, tmp_path, seed, "15:20"))


def learned_after(floor: Floor) -> list[float]:
    """Return the venue's seconds after which the trader knew of each order's end."""
    reader = floor.reader()
    known = {one.last.client_order_id: one.last.at for one in
             reader.orders(floor.book, floor.session)}  # fmt: skip
    reader.engine.dispose()
    ends = {one["client_order_id"]: one["filled_at"] for one in floor.simulator.truth()["orders"]}
    return [
        (known[name] - datetime.fromisoformat(end)).total_seconds()
        for name, end in ends.items()
        if end is not None
    ]


def play_dropped(database: str, folder: Path, seed: int, start: str, prob: float) -> float:
    with trading_floor(database, folder, seed=seed, start=start, partial_prob=0.3) as floor:
        floor.simulator.ws("drop", "updates", prob=prob, seed=seed)
        live_through(floor)
        assert struck(floor, "drop")
        lags = learned_after(floor)
        assert lags
        assert max(lags) <= 31, lags  # one period of comparison, and the answer's way
        return max(lags)


@pytest.mark.integration
def test_lost_fill_is_found_within_one_comparison(trading_database: str, tmp_path: Path) -> None:
    assert play_dropped(trading_database, tmp_path, seed=5, start="15:48", prob=0.6) > 1


@pytest.mark.proof
@pytest.mark.parametrize("prob", [0.2, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_lost_fills_are_found_within_one_comparison(
    trading_database: str, tmp_path: Path, seed: int, prob: float, record_property: Any
) -> None:
    lag = play_dropped(trading_database, tmp_path, seed, "15:10", prob)
    record_property("longest_lag_s", round(lag, 1))


# ---------------------------------------------------------------- nonsense

NONSENSE = ("garbage", "null_data", "unknown_event", "unknown_type")


def play_nonsense(database: str, folder: Path, seed: int, times: int) -> None:
    with trading_floor(database, folder, seed=seed, start="15:48", late_share=0) as floor:
        items = [
            ws("15:50:20", "garbage", "both", times=times),
            ws("15:50:40", "null_data", "updates", times=times),
            ws("15:51:20", "unknown_event", "updates", times=times),
            ws("15:51:40", "unknown_type", "data", times=times),
            # A frame of trades that cannot be read: its trades are lost with it.
            ws("15:52:25", "drop", "data", for_s=10),
            ws("15:52:35", "garbage", "data", times=times, bytes=4000),
        ]
        live_through(floor, *items)
        assert all(struck(floor, action) >= times for action in NONSENSE)
        assert struck(floor, "drop")
        # Data of an unknown type is no surprise; everything else is counted one by one.
        assert told(floor)["counts"]["nonsense"] == 5 * times, floor.log()
        reader = floor.reader()
        causes = [one.cause for one in reader.reconciliations(floor.book, limit=500)]
        reader.engine.dispose()
        assert causes.count("surprise") >= 2
        wrong, seen = wrong_windows(floor, floor.folder / "seen.jsonl")
        assert not wrong, floor.log()
        assert seen >= 3


@pytest.mark.integration
def test_nonsense_is_counted_and_what_it_hid_is_asked_for(
    trading_database: str, tmp_path: Path
) -> None:
    play_nonsense(trading_database, tmp_path, seed=1, times=1)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(6))
def test_much_nonsense_does_no_harm(trading_database: str, tmp_path: Path, seed: int) -> None:
    play_nonsense(trading_database, tmp_path, seed, times=20)


# ---------------------------------------------------------------- streams that break or fall mute


def check_bars(floor: Floor, least: int, *, mute: datetime | None = None) -> None:
    """Check that every decision saw what the venue's history says, bit for bit.

    For 90 s after a stream has fallen mute nobody can tell that from a quiet market.
    """
    wrong, seen = wrong_windows(floor, floor.folder / "seen.jsonl")
    opens_at = exchange_calendar().session(floor.session).opens_at
    ends = {minute: opens_at + timedelta(minutes=minute + 1) for minute in wrong}
    found = [
        minute
        for minute, end in ends.items()
        if mute is None or not mute <= end <= mute + timedelta(seconds=90)
    ]
    assert not found, f"minutes {found}, mute since {mute}\n{floor.log()}"
    assert seen >= least


def skipped(floor: Floor) -> dict[int, str]:
    reader = floor.reader()
    found = {one.minute: one.skipped for one in reader.decisions(floor.book, floor.session)
             if one.skipped is not None}  # fmt: skip
    reader.engine.dispose()
    return found


@pytest.mark.integration
def test_gap_mute_stream_and_dismissal_as_too_slow(
    trading_database: str, tmp_path: Path, record_property: Any
) -> None:
    with trading_floor(
        trading_database, tmp_path, seed=3, rate=60.0, start="15:41", late_share=0,
        settings=PATIENT,
    ) as floor:  # fmt: skip
        live_through(
            floor,
            ws("+0:00:30", "handshake_429", "data", code=503, for_s=25),
            ws("+0:00:30", "close", "data", code=1006),
            # Connected, pings answered, and mute; known for longer than decisions are apart.
            ws("+0:02:10", "drop", "data", for_s=240),
            ws("+0:07:20", "error", "data", code=407, close=True),
        )
        check_bars(floor, least=2, mute=planned(floor, "drop"))
        stale = floor.logged("market_data_stale")
        assert stale, floor.log()
        assert float(stale[0]["reason"].split()[-2]) <= 91, stale
        assert any("slow client" in one["reason"] or "407" in one["reason"]
                   for one in floor.logged("market_data_lost")), floor.log()  # fmt: skip
        assert told(floor)["counts"]["data_lost"] >= 3
        # From 90 s after the last trade on until trades came again, nothing was bought.
        mute = planned(floor, "drop")
        assert not bought_between(
            floor, mute + timedelta(seconds=95), mute + timedelta(seconds=240)
        )
        assert any(why.startswith(("stale", "data")) for why in skipped(floor).values())
        # Whoever asks later why nothing was bought finds when that began and when it ended.
        reader = floor.reader()
        noted = [(one.kind, one.detail["hold"]) for one in reader.events(floor.book, limit=1000)]
        reader.engine.dispose()
        assert {("hold_began", "stale"), ("hold_ended", "stale")} <= set(noted), noted
        record_property("gaps", told(floor)["gaps"])


@pytest.mark.integration
@pytest.mark.parametrize(
    "symbol", ["F", pytest.param(None, marks=pytest.mark.proof)], ids=["one", "all"]
)
def test_end_of_a_halt_that_no_stream_told_of_is_seen_by_trades(
    trading_database: str, tmp_path: Path, symbol: str | None
) -> None:
    with trading_floor(
        trading_database, tmp_path, seed=2, rate=60.0, start="15:42", late_share=0,
        settings=PATIENT,
    ) as floor:  # fmt: skip
        stop = {"do": "trading_halt", "symbol": symbol}
        why = {"code": "H", "reason": "T1" if symbol else "MWC1"}
        live_through(
            floor,
            {"at": "+0:00:20", "halted": True, **why, **stop},
            ws("+0:01:00", "handshake_429", "data", code=503, for_s=60),
            ws("+0:01:00", "close", "data", code=1006),
            {"at": "+0:01:30", "halted": False, **stop},
        )
        assert [one["halted"] for one in floor.logged("trading_status")][-1] is True
        assert told(floor)["gaps"] == 1
        assert told(floor)["halted_symbols"] == {}
        reader = floor.reader()
        ended = reader.events(floor.book, limit=1000, kind="hold_ended")
        reader.engine.dispose()
        assert symbol is not None or "market" in {one.detail["hold"] for one in ended}


@pytest.mark.proof
@pytest.mark.parametrize("seconds", [1, 5, 20, 60, 150, 300])
def test_bars_after_a_gap_are_the_histories(
    trading_database: str, tmp_path: Path, seconds: int, record_property: Any
) -> None:
    with trading_floor(
        trading_database, tmp_path, seed=seconds, rate=60.0, start="15:36", late_share=0,
        settings=PATIENT,
    ) as floor:  # fmt: skip
        live_through(
            floor,
            ws("+0:01:50", "handshake_429", "data", code=503, for_s=seconds),
            ws("+0:01:50", "close", "data", code=1006),
        )
        check_bars(floor, least=3)
        lost, filled = floor.logged("market_data_lost"), floor.logged("gap_filled")
        back = next(when(one) for one in filled if when(one) > when(lost[0]))
        record_property("recovery_s", round((back - when(lost[0])).total_seconds() * 60, 1))


@pytest.mark.proof
@pytest.mark.parametrize("action", ["mute", "drop"])
def test_mute_stream_is_found_in_time_and_nothing_is_bought(
    trading_database: str, tmp_path: Path, action: str, record_property: Any
) -> None:
    """A connection alone is mute, or every one of the next five minutes is."""
    with trading_floor(
        trading_database, tmp_path, seed=8, rate=40.0, start="15:36", late_share=0,
        settings=PATIENT,
    ) as floor:  # fmt: skip
        life = {"for_s": 300} if action == "drop" else {}
        live_through(floor, ws("+0:02:05", action, "data", **life))
        stale = floor.logged("market_data_stale")
        assert float(stale[0]["reason"].split()[-2]) <= 91, stale
        if action == "drop":
            assert len(stale) >= 2  # tried again and again
            mute = planned(floor, "drop")
            assert not bought_between(
                floor, mute + timedelta(seconds=95), mute + timedelta(seconds=300)
            )
        check_bars(floor, least=4, mute=planned(floor, action))
        record_property("found_times", len(stale))


# ---------------------------------------------------------------- lines that are dead


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process for the while: its sockets stay open, and nothing comes out of them."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def found_after(floor: Floor, began: datetime) -> dict[str, float]:
    """Return after how many of this machine's seconds each stream was known to be lost."""
    events = {"data": "market_data_lost", "updates": "updates_lost"}
    return {
        name: min((when(one) - began).total_seconds() for one in floor.logged(event)
                  if when(one) >= began)
        for name, event in events.items()
    }  # fmt: skip


def trading(floor: Floor) -> Callable[[], bool]:
    return lambda: bool(floor.simulator.truth()["fills"])


def filled_since(floor: Floor, began: datetime) -> bool:
    return any(when(one) >= began for one in floor.logged("gap_filled"))


@pytest.mark.integration
def test_dead_lines_are_found_and_nothing_is_bought_meanwhile(
    trading_database: str, tmp_path: Path, record_property: Any
) -> None:
    with trading_floor(
        trading_database, tmp_path, seed=6, rate=40.0, start="15:48", late_share=0,
        settings=PATIENT,
    ) as floor:  # fmt: skip
        floor.told["seen"] = str(tmp_path / "seen.jsonl")
        process = floor.start()
        floor.until(trading(floor))
        began, mute = datetime.now(UTC), datetime.fromisoformat(floor.simulator.clock()["now"])
        floor.simulator.ws("blackhole")
        ending = floor.finish(process)
        assert ending["flat"], floor.log()
        assert floor.judge() == [], floor.log()
        found = found_after(floor, began)
        assert max(found.values()) <= 15, found
        assert filled_since(floor, began)
        check_bars(floor, least=1, mute=mute)
        record_property("found_s", {name: round(s, 1) for name, s in found.items()})


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(3))
def test_venue_that_stands_still_is_found_and_survived(
    trading_database: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    with trading_floor(
        trading_database, tmp_path, seed=seed, rate=20.0, start="15:42", late_share=0,
        settings=PATIENT,
    ) as floor:  # fmt: skip
        floor.told["seen"] = str(tmp_path / "seen.jsonl")
        process = floor.start()
        floor.until(trading(floor))
        time.sleep(seed)  # somewhere between two decisions
        began, mute = datetime.now(UTC), datetime.fromisoformat(floor.simulator.clock()["now"])
        with stopped(floor.simulator.pid):
            floor.until(lambda: len(found_now(floor, began)) == 2)
            frozen = len(floor.logged("order_sent"))
            time.sleep(3)
            assert len(floor.logged("order_sent")) == frozen, floor.log()
        ended = datetime.now(UTC)
        ending = floor.finish(process)
        assert ending["flat"], floor.log()
        assert floor.judge() == [], floor.log()
        found = found_after(floor, began)
        assert max(found.values()) <= 15, found
        filled = min(when(one) for one in floor.logged("gap_filled") if when(one) >= ended)
        assert filled - ended < timedelta(seconds=40)
        check_bars(floor, least=1, mute=mute)
        record_property("found_s", {name: round(s, 1) for name, s in found.items()})
        record_property("recovery_s", round((filled - ended).total_seconds(), 1))


def found_now(floor: Floor, began: datetime) -> set[str]:
    """Return which streams are known to be lost since a moment."""
    return {
        event
        for event in ("market_data_lost", "updates_lost")
        if any(when(one) >= began for one in floor.logged(event))
    }
