"""Halts, half-days, holidays, changes of the clock, and clocks that are wrong."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from batch_path import journal_of
from trading_floor import SESSION, SYMBOLS, Floor, trading_floor

from alpaca_strategy.broker.budget import Budget
from alpaca_strategy.broker.trading import TradingApi
from alpaca_strategy.domain.portfolio import VenueClock
from alpaca_strategy.errors import NotASessionError, VenueError, VenueUnavailableError
from alpaca_strategy.jobs.trade import session_now
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.sections import RiskSettings
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.trader import clocks
from alpaca_strategy.trader.clocks import SECOND_NS, RealClock
from alpaca_strategy.trader.holds import Hold, Holds
from alpaca_strategy.trader.recovery import check_clock
from alpaca_strategy.trader.work import Agenda, Work


def at(clock: str) -> str:
    return f"{SESSION}T{clock}-04:00"


def moment(clock: str) -> datetime:
    return datetime.fromisoformat(at(clock))


def live_through(floor: Floor, *items: dict[str, Any], flat: bool = True) -> dict[str, Any]:
    """Let a trader live through what is left of the session, and judge it."""
    if items:
        floor.simulator.schedule(*items)
    ending = floor.finish(floor.start())
    assert ending["reason"] == "closed", floor.log()
    assert floor.judge(flat=flat) == [], floor.log()
    outcomes = [one["outcome"] for one in floor.simulator.schedule()]
    assert outcomes == ["done"] * len(outcomes)
    return ending


def orders_between(floor: Floor, first: str, last: str) -> list[dict[str, Any]]:
    return [
        one
        for one in floor.simulator.truth()["orders"]
        if moment(first) <= datetime.fromisoformat(one["submitted_at"]) < moment(last)
    ]


def held_at(floor: Floor, clock: str) -> dict[str, float]:
    """Return what the account held at a moment, by the exchange's executions."""
    held: dict[str, float] = {}
    for fill in floor.simulator.truth()["fills"]:
        if datetime.fromisoformat(fill["at"]) < moment(clock):
            sign = 1 if fill["side"] == "buy" else -1
            held[fill["symbol"]] = held.get(fill["symbol"], 0.0) + sign * float(fill["qty"])
    return {symbol: qty for symbol, qty in held.items() if qty}


def halt(clock: str, symbol: str | None, *, halted: bool = True, **about: str) -> dict[str, Any]:
    return {"at": at(clock), "do": "trading_halt", "symbol": symbol, "halted": halted, **about}


# ---------------------------------------------------------------- halts

PAUSED = ("TSLA", "F", "NVDA", "OXY")
KINDS = {
    "news": {"code": "H", "reason": "T1"},
    "band": {"code": "P", "reason": "LUDP"},
}


def play_halts(database: str, folder: Path, kind: str, seed: int) -> None:
    with trading_floor(database, folder, seed=seed, start="15:44") as floor:
        live_through(
            floor,
            *(halt("15:47:30", symbol, **KINDS[kind]) for symbol in PAUSED),
            *(halt("15:52:30", symbol, halted=False) for symbol in PAUSED),
        )
        kept = held_at(floor, "15:47:30").keys() & set(PAUSED)
        assert kept, "nothing that was held was halted; choose another seed"
        meanwhile = orders_between(floor, "15:47:30", "15:52:30")
        assert not {one["symbol"] for one in meanwhile} & set(PAUSED), floor.log()
        assert kept <= held_at(floor, "15:52:30").keys()
        told = [
            name
            for one in journal_of(floor).decisions
            for name in one.names
            if 377 < one.minute < 382 and name.symbol in PAUSED
        ]
        assert told
        assert all(name.denial for name in told), told
        assert orders_between(floor, "15:52:30", "16:00:00")


@pytest.mark.integration
def test_nothing_is_ordered_of_halted_names_until_they_trade_again(
    trading_database: str, tmp_path: Path
) -> None:
    play_halts(trading_database, tmp_path, "news", seed=0)


@pytest.mark.proof
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 3, 4])
def test_halts_of_every_kind(trading_database: str, tmp_path: Path, kind: str, seed: int) -> None:
    play_halts(trading_database, tmp_path, kind, seed)


@pytest.mark.proof
def test_position_that_is_halted_over_the_close_is_left_and_told_of(
    trading_database: str, tmp_path: Path
) -> None:
    with trading_floor(trading_database, tmp_path, seed=0, start="15:44") as floor:
        halts = [halt("15:50:30", symbol, **KINDS["news"]) for symbol in SYMBOLS]
        ending = live_through(floor, *halts, flat=False)
        kept = held_at(floor, "15:50:30")
        assert kept
        assert not ending["flat"]
        assert held_at(floor, "16:00:00") == kept
        assert not orders_between(floor, "15:50:30", "16:00:00"), floor.log()
        reader = floor.reader()
        beat = reader.heartbeat(floor.book)
        reader.engine.dispose()
        assert beat is not None
        assert set(beat.heartbeat.detail["halted_symbols"]) == set(SYMBOLS)
        assert set(beat.heartbeat.detail["positions"]) == set(kept)


@pytest.mark.integration
def test_market_wide_halt_stops_all_and_ends(trading_database: str, tmp_path: Path) -> None:
    play_market_halt(trading_database, tmp_path, "MWC1", seed=1)


def play_market_halt(database: str, folder: Path, reason: str, seed: int) -> None:
    with trading_floor(database, folder, seed=seed, start="15:44") as floor:
        live_through(
            floor,
            halt("15:46:30", None, code="H", reason=reason),
            halt("15:50:30", None, halted=False),
        )
        assert orders_between(floor, "15:44:00", "15:46:30")
        assert not orders_between(floor, "15:46:30", "15:50:30"), floor.log()
        after = orders_between(floor, "15:50:30", "15:55:00")
        assert any(one["side"] == "buy" for one in after), floor.log()


@pytest.mark.proof
@pytest.mark.parametrize("reason", ["MWC1", "MWC2", "MWC3"])
@pytest.mark.parametrize("seed", range(2))
def test_market_wide_halts_of_every_level(
    trading_database: str, tmp_path: Path, reason: str, seed: int
) -> None:
    play_market_halt(trading_database, tmp_path, reason, seed)


# ---------------------------------------------------------------- the calendar

#: When everything is sold and when the session ends, as the exchange's own calendar and the law on
#: daylight saving have it: on 2026-03-08 clocks went forward, on 2026-11-01 they went back.
DAYS = {
    "half_day": (date(2026, 11, 27), "12:50", "2026-11-27T17:55:00Z", "2026-11-27T18:00:00Z"),
    "christmas_eve": (date(2026, 12, 24), "12:50", "2026-12-24T17:55:00Z", "2026-12-24T18:00:00Z"),
    "last_winter_day": (date(2026, 3, 6), "15:50", "2026-03-06T20:55:00Z", "2026-03-06T21:00:00Z"),
    "first_summer_day": (date(2026, 3, 9), "15:50", "2026-03-09T19:55:00Z", "2026-03-09T20:00:00Z"),
    "last_summer_day": (
        date(2026, 10, 30), "15:50", "2026-10-30T19:55:00Z", "2026-10-30T20:00:00Z",
    ),
    "first_winter_day": (
        date(2026, 11, 2), "15:50", "2026-11-02T20:55:00Z", "2026-11-02T21:00:00Z",
    ),
}  # fmt: skip


def play_day(database: str, folder: Path, name: str) -> None:
    day, start, flat_at, closes_at = DAYS[name]
    flat, closes = datetime.fromisoformat(flat_at), datetime.fromisoformat(closes_at)
    with trading_floor(database, folder, start=start, session=day, seed=1) as floor:
        live_through(floor)
        orders = floor.simulator.truth()["orders"]
        times = {one["client_order_id"]: datetime.fromisoformat(one["submitted_at"])
                 for one in orders}  # fmt: skip
        bought = [times[one["client_order_id"]] for one in orders if one["side"] == "buy"]
        assert bought
        assert max(bought) < flat, floor.log()
        last = max(times.values())
        assert flat <= last < flat + timedelta(seconds=10), floor.log()
        ended = datetime.fromisoformat(floor.simulator.clock()["now"])
        assert closes < ended < closes + timedelta(seconds=30)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["half_day"])
def test_day_ends_by_the_calendars_close(trading_database: str, tmp_path: Path, name: str) -> None:
    play_day(trading_database, tmp_path, name)


@pytest.mark.proof
@pytest.mark.parametrize("name", DAYS)
def test_every_odd_day_ends_by_the_calendars_close(
    trading_database: str, tmp_path: Path, name: str
) -> None:
    play_day(trading_database, tmp_path, name)


def told_by(simulator: RunningSimulator) -> TradingApi:
    return TradingApi(
        key=simulator.key, secret=simulator.secret, url=simulator.url,
        budget=Budget(per_minute=1000),
    )  # fmt: skip


def clock_says(now: str, *, is_open: bool, next_close: str) -> dict[str, Any]:
    """Return the fault that puts words into the venue's clock's mouth."""
    body = {"timestamp": now, "is_open": is_open, "next_open": next_close,
            "next_close": next_close}  # fmt: skip
    return {"match": {"path": "/v2/clock"}, "action": "status", "code": 200, "body": body}


@pytest.mark.integration
def test_session_of_today_is_the_venues() -> None:
    with running_simulator(now="2026-11-27T09:00:00-05:00", paused=True) as simulator:
        broker = told_by(simulator)
        assert session_now(broker).closes_at == datetime(2026, 11, 27, 18, tzinfo=UTC)
        for over in ("2026-11-27T13:00:00-05:00", "2026-11-28T10:00:00-05:00",
                     "2026-12-25T10:00:00-05:00"):  # fmt: skip
            simulator.clock(set=over)
            with pytest.raises(NotASessionError):
                session_now(broker)
        # Nobody foresaw that the exchange closes at noon on this day, or not that it stays closed.
        simulator.clock(set="2026-12-01T09:00:00-05:00")
        assert session_now(broker).closes_at == datetime(2026, 12, 1, 21, tzinfo=UTC)
        early, today = "2026-12-01T12:00:00-05:00", "2026-12-01T09:00:00-05:00"
        simulator.fault(**clock_says(today, is_open=False, next_close=early))
        assert session_now(broker).closes_at == datetime(2026, 12, 1, 17, tzinfo=UTC)
        simulator.clear()
        simulator.fault(**clock_says(today, is_open=False, next_close="2026-12-02T16:00:00-05:00"))
        with pytest.raises(NotASessionError):
            session_now(broker)
        broker.close()


@pytest.mark.integration
def test_exchange_that_closes_unforeseen_gets_no_more_orders(
    trading_database: str, tmp_path: Path
) -> None:
    with trading_floor(trading_database, tmp_path, seed=1, start="15:46") as floor:
        says = clock_says(at("15:50:00"), is_open=False, next_close="2026-10-06T16:00:00-04:00")
        ending = live_through(floor, {"at": at("15:50:10"), "do": "fault", **says}, flat=False)
        assert orders_between(floor, "15:46:00", "15:50:10")
        assert not orders_between(floor, "15:50:40", "16:00:00"), floor.log()
        assert ending["flat"] == (not held_at(floor, "16:00:00"))
        assert any(one["closed"] for one in floor.logged("session_watched"))


# ---------------------------------------------------------------- clocks


@dataclass
class VenueTime:
    """A broker of which only the clock is asked."""

    ahead_s: float = 0.0
    fails: bool = False

    def clock(self) -> VenueClock:
        if self.fails:
            msg = "The venue does not answer."
            raise VenueUnavailableError(msg)
        now = datetime.now(UTC) + timedelta(seconds=self.ahead_s)
        return VenueClock(now, True, now, now)


class Slow(RealClock):
    """Time of which six seconds pass between any two looks."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def now_ns(self) -> int:
        self._looks += 1
        return super().now_ns() + 6 * SECOND_NS * (self._looks - 1)


def hold_after(broker: VenueTime, clock: RealClock | None = None) -> str | None:
    """Return the hold after a comparison of clocks."""
    plan = SimpleNamespace(checks_clock=True, risk=RiskSettings())
    world = SimpleNamespace(clock=clock or RealClock(), broker=broker)

    async def compared() -> str | None:
        parts: Any = SimpleNamespace(work=Work(Agenda()), holds=Holds())
        await check_clock(plan, world, parts)  # type: ignore[arg-type]
        await parts.work.close()
        return parts.holds.as_dict().get(Hold.CLOCK.value)  # type: ignore[no-any-return]

    return asyncio.run(compared())


@pytest.mark.parametrize("ahead_s", [-300.0, -2.5, 2.5, 300.0])
def test_clock_that_is_off_holds_purchases(ahead_s: float) -> None:
    said = hold_after(VenueTime(ahead_s))
    assert said is not None
    assert f"{-ahead_s:+.0f}"[:3] in said or f"{-ahead_s:+.1f}" in said
    assert not Hold.CLOCK.stops_everything  # positions may still be closed


@pytest.mark.parametrize("ahead_s", [-1.0, 0.0, 1.0])
def test_clock_that_is_right_holds_nothing(ahead_s: float) -> None:
    assert hold_after(VenueTime(ahead_s)) is None


def test_slow_answer_is_no_wrong_clock_and_no_answer_is_no_clock() -> None:
    assert hold_after(VenueTime(), Slow()) is None
    assert hold_after(VenueTime(ahead_s=-300), Slow()) is not None
    assert hold_after(VenueTime(fails=True)) is None
    assert issubclass(VenueUnavailableError, VenueError)


def test_hold_goes_with_its_reason() -> None:
    holds = Holds()
    holds.set(Hold.CLOCK, "off")
    plan = SimpleNamespace(checks_clock=True, risk=RiskSettings())
    world = SimpleNamespace(clock=RealClock(), broker=VenueTime())

    async def compared() -> None:
        parts: Any = SimpleNamespace(work=Work(Agenda()), holds=holds)
        await check_clock(plan, world, parts)  # type: ignore[arg-type]
        await parts.work.close()

    asyncio.run(compared())
    assert Hold.CLOCK not in holds


@pytest.mark.parametrize("leap_s", [300, -300])
def test_setting_the_machines_clock_moves_no_minute(
    monkeypatch: pytest.MonkeyPatch, leap_s: int
) -> None:
    clock = RealClock()
    before, real = clock.now_ns(), time.time_ns
    monkeypatch.setattr(clocks.time, "time_ns", lambda: real() + leap_s * SECOND_NS)
    passed = clock.now_ns() - before
    assert 0 <= passed < SECOND_NS
    assert hold_after(VenueTime(), clock) is None


def test_calendar_knows_no_session_on_a_holiday() -> None:
    for day in (date(2026, 11, 26), date(2026, 12, 25), date(2026, 3, 8), date(2026, 11, 1)):
        with pytest.raises(NotASessionError):
            exchange_calendar().session(day)
