"""Twenty sessions in a row, each with troubles of its own: the books hold, and nothing grows."""

from __future__ import annotations

import os
import random
import subprocess
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trading_floor import NEW_YORK, SYMBOLS, Floor, trading_floor

from alpaca_strategy.market.calendar import exchange_calendar

DAYS = 20
TROUBLES_A_DAY = 8
CALM: dict[str, Any] = {
    "strategy": {"interval_minutes": 5, "hold_minutes": 5, "top_k": 1, "max_positions": 2,
                 "exposure": 0.3},
}  # fmt: skip
MEBIBYTE = 2**20

STREAM_TROUBLES: tuple[dict[str, Any], ...] = (
    {"action": "dup", "stream": "updates", "for_s": 1800},
    {"action": "reorder", "stream": "updates", "window": 10, "seconds": 20, "for_s": 1800},
    {"action": "delay", "stream": "updates", "seconds": 60, "for_s": 1800},
    {"action": "drop", "stream": "updates", "prob": 0.2, "for_s": 3600},
    {"action": "garbage", "stream": "both", "times": 5},
    {"action": "null_data", "stream": "updates", "times": 3},
    {"action": "unknown_event", "stream": "updates", "times": 3},
    {"action": "unknown_type", "stream": "data", "times": 3},
    {"action": "close", "stream": "data", "code": 1006},
    {"action": "close", "stream": "updates", "code": 1011},
    {"action": "error", "stream": "data", "code": 407, "close": True},
    {"action": "mute", "stream": "data"},
    {"action": "drop", "stream": "data", "for_s": 240},
    {"action": "split_frame", "stream": "both", "for_s": 600},
)
REST_TROUBLES: tuple[dict[str, Any], ...] = (
    {"action": "rst", "after": True, "match": {"method": "POST", "path": "/v2/orders"}, "times": 1},
    {"action": "drop_before", "match": {"method": "POST", "path": "/v2/orders"}, "times": 1},
    {"action": "html", "code": 502, "match": {"path": "/v2/*"}, "times": 4},
    {"action": "status", "code": 500, "match": {"path": "/v2/positions"}, "times": 2},
    {"action": "truncate", "match": {"method": "GET", "path": "/v2/account"}, "times": 2},
    {"action": "html", "code": 504, "match": {"path": "/v2/stocks/*"}, "times": 2},
)
ENGINE_TROUBLES: tuple[dict[str, Any], ...] = (
    {"partial_prob": 1.0},
    {"reject_next": 1},
    {"refuse_next": 1},
    {"fill_delay_ms": 4000.0},
    {"cancel_race": "fill"},
)


@dataclass(frozen=True)
class Sample:
    """What the trader's process had at a minute of its session."""

    minute: int
    resident: float  # MiB
    files: int


def troubles(draw: random.Random, session: date) -> list[dict[str, Any]]:
    """Plan a day's troubles, none so late that the close is not in peace."""
    hours = exchange_calendar().session(session)
    last = hours.minutes - 40
    found: list[dict[str, Any]] = []
    for _ in range(TROUBLES_A_DAY):
        at = hours.opens_at + timedelta(
            minutes=draw.randrange(10, last), seconds=draw.random() * 60
        )
        kind = draw.choice(("ws", "ws", "fault", "exchange", "halt"))
        if kind == "ws":
            trouble = dict(draw.choice(STREAM_TROUBLES), do="ws", seed=draw.randrange(1000))
        elif kind == "fault":
            trouble = dict(draw.choice(REST_TROUBLES), do="fault")
        elif kind == "exchange":
            trouble = dict(draw.choice(ENGINE_TROUBLES), do="exchange")
        else:
            trouble = {"do": "trading_halt", "symbol": draw.choice(SYMBOLS)}
        found.append({"at": at.isoformat(), **trouble})
    # All is well again, twice: a stream that was down may have missed it the first time.
    for before in (30, 12):
        at = hours.closes_at - timedelta(minutes=before)
        found.append({"at": at.isoformat(), "do": "clear"})
        found += [
            {"at": at.isoformat(), "do": "trading_halt", "symbol": symbol, "halted": False}
            for symbol in SYMBOLS
        ]
    return found


def watch(floor: Floor, process: subprocess.Popen[str]) -> list[Sample]:
    """Look at the trader's memory and open files until it ends."""
    opens_at = exchange_calendar().session(floor.session).opens_at
    found: list[Sample] = []
    while process.poll() is None:
        now = datetime.fromisoformat(floor.simulator.clock()["now"])
        minute = int((now - opens_at).total_seconds() // 60)
        sample = measured(process.pid, minute)
        if sample is not None:
            found.append(sample)
        time.sleep(0.1)
    return found


def measured(pid: int, minute: int) -> Sample | None:
    """Return what a process has now; None where it has just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except (OSError, IndexError):
        return None
    return Sample(minute, pages * os.sysconf("SC_PAGESIZE") / MEBIBYTE, files)


def near(samples: list[Sample], minute: int) -> Sample:
    """Return the sample nearest to a minute."""
    return min(samples, key=lambda one: abs(one.minute - minute))


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [2026])
def test_twenty_troubled_sessions_in_a_row(
    trading_database: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    soak(trading_database, tmp_path, seed, DAYS, record_property)


def soak(database: str, folder: Path, seed: int, days: int, record_property: Any) -> None:
    draw = random.Random(seed)
    late, growth, files, faults, fills = [], [], [], 0, 0
    with trading_floor(
        database, folder, seed=seed, start="09:25", settings=CALM, trades=2000
    ) as floor:
        for _ in range(days):
            plan = troubles(draw, floor.session)
            floor.simulator.schedule(*plan)
            process = floor.start()
            samples = watch(floor, process)
            ending = floor.finish(process)
            assert ending["reason"] == "closed", floor.log()
            assert ending["flat"], floor.log()
            assert not ending["differences"], floor.log()
            assert floor.judge() == [], f"{floor.session}\n{floor.log()}"
            minutes = exchange_calendar().session(floor.session).minutes
            early, end = near(samples, minutes // 3), near(samples, minutes - 15)
            late.append(end.resident)
            growth.append(end.resident - early.resident)
            files.append((early.files, end.files))
            faults += TROUBLES_A_DAY
            fills = len(floor.simulator.truth()["fills"])
            tomorrow(floor)
        assert not floor.logged("trading_halted")
    assert fills > days, "nothing was traded, so nothing is shown"
    slope = float(np.polyfit(np.arange(days), late, 1)[0]) if days > 1 else 0.0
    record_property("sessions", days)
    record_property("troubles", faults)
    record_property("fills", fills)
    record_property("rss_slope_mib_a_day", round(slope, 3))
    record_property("rss_mib", f"{min(late):.0f} to {max(late):.0f}")
    record_property("rss_growth_within_a_day_mib", round(max(growth), 1))
    record_property("open_files", f"{min(f[1] for f in files)} to {max(f[1] for f in files)}")
    assert slope < 1.0, late
    assert max(growth) < 32, growth
    assert max(end for _, end in files) - min(end for _, end in files) <= 6, files
    assert max(end - early for early, end in files) <= 6, files


def tomorrow(floor: Floor) -> None:
    """Let the night pass, up to shortly before the next open."""
    floor.simulator.clear()
    session = exchange_calendar().next_session(floor.session)
    floor.session = session.day
    opens_at = session.opens_at.astimezone(NEW_YORK) - timedelta(minutes=5)
    floor.simulator.advance(opens_at.isoformat())


@pytest.mark.integration
def test_two_troubled_afternoons_in_a_row(
    trading_database: str, tmp_path: Path, record_property: Any
) -> None:
    """The soak itself, in small: what it would find is found."""
    draw = random.Random(5)
    with trading_floor(
        trading_database, tmp_path, seed=5, start="14:30", settings=CALM, trades=2000
    ) as floor:
        day = floor.session
        plan = [one for one in troubles(draw, day)
                if datetime.fromisoformat(one["at"]).astimezone(NEW_YORK).hour >= 15]  # fmt: skip
        floor.simulator.schedule(*plan)
        process = floor.start()
        samples = watch(floor, process)
        ending = floor.finish(process)
        assert ending["flat"], floor.log()
        assert floor.judge() == [], floor.log()
        assert samples[-1].files <= samples[len(samples) // 2].files + 6
        record_property("rss_mib", round(samples[-1].resident))
