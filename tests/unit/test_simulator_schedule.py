"""Schedules are read whole or not at all, and carried out in order of time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from alpaca_strategy.config import load_settings
from alpaca_strategy.errors import SettingsError
from alpaca_strategy.simulator import server
from alpaca_strategy.simulator.clock import SimClock
from alpaca_strategy.simulator.encode import parse_timestamp
from alpaca_strategy.simulator.pump import Pump
from alpaca_strategy.simulator.schedule import Schedule, moment, read
from alpaca_strategy.simulator.streams import Slots, StreamOptions
from alpaca_strategy.simulator.venue import Options, Venue
from alpaca_strategy.simulator.world import Parameters

START = parse_timestamp("2026-10-05T13:30:00Z")
SECOND = 1_000_000_000


@pytest.fixture
def venue() -> Venue:
    options = Options(keys={"key": "secret"}, token="token", streams=StreamOptions(zombie_s=0))
    made = server.build_venue(options, Parameters(seed=7), load_settings().universe())
    made.clock.set(now_ns=START, paused=True)
    return made


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("+00:45:00", 2700),
        ("+00:00:01.5", 1.5),
        ("+30:00:00", 108_000),
        (36_000, 36_000),  # what YAML makes of +10:00:00
        ("2026-10-05T10:15:00-04:00", 2700),
        ("2026-10-05T14:15:00Z", 2700),
        (datetime(2026, 10, 5, 14, 15, tzinfo=UTC), 2700),
    ],
)
def test_times_are_absolute_or_after_the_start(raw: object, seconds: float) -> None:
    assert moment(raw, START) == START + int(seconds * SECOND)


@pytest.mark.parametrize("raw", ["45 minutes", "00:45:00", None, True, "2026-13-01T00:00:00Z"])
def test_other_times_are_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        moment(raw, START)


def test_yaml_reads_a_time_with_its_zone(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("- {at: 2026-10-05T10:15:00-04:00, do: clear}\n- {at: +10:00:00, do: clear}\n")
    items: Any = read(path)
    assert [moment(item["at"], START) - START for item in items] == [
        2700 * SECOND,
        36_000 * SECOND,
    ]


def test_an_empty_file_plans_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("# nothing yet\n")
    assert read(path) == []
    with pytest.raises(SettingsError, match="cannot be read"):
        read(tmp_path / "absent.yaml")


def test_items_are_done_by_time_and_then_by_place() -> None:
    done: list[Any] = []
    schedule = Schedule()
    schedule.pages = {"note": lambda _, body: done.append(body["n"])}
    later, sooner = {"at": "+00:00:09", "do": "note"}, {"at": "+00:00:03", "do": "note"}
    schedule.add([{**later, "n": 1}, {**sooner, "n": 2}, {**sooner, "n": 3}], START)
    assert schedule.next_due() == START + 3 * SECOND
    assert schedule.due(START + 3 * SECOND - 1) == []
    for item in schedule.due(START + 9 * SECOND):
        schedule.carry_out(item, None)  # type: ignore[arg-type]
    assert done == [2, 3, 1]
    assert schedule.next_due() is None
    assert [item["outcome"] for item in schedule.report()] == ["done"] * 3


def test_one_wrong_item_leaves_everything_unplanned() -> None:
    schedule = Schedule()
    schedule.pages = {"note": lambda *_: None}
    good = {"at": "+00:00:09", "do": "note"}
    with pytest.raises(ValueError, match=r"item 2: `do: dance` does not exist; there are note"):
        schedule.add([good, {**good, "do": "dance"}], START)
    assert schedule.items == []
    assert schedule.next_due() is None


def test_an_item_that_fails_is_noted_and_the_rest_goes_on(venue: Venue) -> None:
    schedule = venue.pump.schedule
    schedule.add(
        [
            {"at": "+00:00:01", "do": "trading_halt", "symbol": "NOSUCH"},
            {"at": "+00:00:02", "do": "trading_halt", "symbol": "F"},
        ],
        START,
    )
    venue.clock.set(now_ns=START)
    venue.clock.stand_at(START + 3 * SECOND)
    venue.pump.catch_up()
    outcomes = [item["outcome"] for item in schedule.report()]
    assert "NOSUCH" in outcomes[0]
    assert outcomes[1] == "done"
    assert list(venue.exchange.halts) == ["F"]
    assert venue.exchange.halts["F"]["at_ns"] >= START + 2 * SECOND


def test_what_a_schedule_may_do_is_what_the_side_door_can_change(venue: Venue) -> None:
    assert set(venue.pump.schedule.pages) == {
        "fault", "ws", "damage", "clock", "clear", "exchange", "account", "trading_halt",
        "external_order", "reset_account",
    }  # fmt: skip


def test_the_clock_may_be_paused_by_the_schedule(venue: Venue) -> None:
    venue.clock.set(paused=False, rate=1000)
    venue.pump.schedule.add([{"at": "+00:00:01", "do": "clock", "paused": True}], START)
    while venue.clock.now_ns() < START + 2 * SECOND:
        pass
    venue.pump.catch_up()
    assert venue.clock.paused


def test_whoever_watches_the_clock_is_told_of_jumps() -> None:
    clock, told = SimClock(epoch_ns=START, paused=True), []
    clock.watchers.append(lambda *, jumped: told.append(jumped))
    clock.set(rate=5)
    clock.set(advance_s=3)
    clock.set(now_ns=START)
    clock.stand_at(START + SECOND)
    assert told == [False, True, True]
    assert clock.now_ns() == START + SECOND


def test_the_wait_for_a_simulated_time_is_in_wall_seconds() -> None:
    clock = SimClock(epoch_ns=START, paused=True)
    assert clock.wall_s_until(START + SECOND) == float("inf")
    clock.set(rate=100, paused=False)
    assert 5 < clock.wall_s_until(START + 1000 * SECOND) <= 10


def test_places_are_limited_by_endpoint_and_key() -> None:
    slots = Slots(zombie_s=60)
    assert slots.take(("/v2/iex", "a"), 1)
    assert not slots.take(("/v2/iex", "a"), 1)
    assert slots.take(("/v2/iex", "b"), 1)
    assert slots.take(("/v2/test", "a"), 1)
    slots.leave(("/v2/iex", "a"), clean=True)
    assert slots.take(("/v2/iex", "a"), 1)
    slots.leave(("/v2/iex", "a"), clean=False)
    assert not slots.take(("/v2/iex", "a"), 1)
    slots.bury()
    assert slots.take(("/v2/iex", "a"), 1)


def test_nothing_is_generated_for_symbols_that_nobody_asked_for(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, date]] = []
    made = venue.source.tape

    def tape(feed: str, symbol: str, day: date) -> Any:
        asked.append((feed, symbol, day))
        return made(feed, symbol, day)

    monkeypatch.setattr(venue.source, "tape", tape)
    venue.clock.stand_at(START + 3600 * SECOND)
    venue.pump.catch_up()
    assert isinstance(venue.pump, Pump)
    assert asked == []
