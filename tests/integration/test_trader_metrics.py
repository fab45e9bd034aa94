"""The trader's figures as Prometheus reads them: over HTTP, from a trader that is put together."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from traded_books import BOOK, DAY, a_decision, a_fill, a_run, an_intent, order_of

from alpaca_strategy.config import load_settings
from alpaca_strategy.domain.orders import OrderStatus, Side, TradeUpdate, VenueOrder
from alpaca_strategy.domain.outcomes import Refusal, Refused, Unknown
from alpaca_strategy.domain.portfolio import Account, Position
from alpaca_strategy.domain.streams import Stream, StreamLost, StreamNonsense
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.jobs.rules import rules_of
from alpaca_strategy.jobs.trader_metrics import Meter, served
from alpaca_strategy.jobs.trader_wiring import limits_of
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.live_tape import LiveTape
from alpaca_strategy.market.stream_trades import StreamTrade
from alpaca_strategy.trader.holds import Hold
from alpaca_strategy.trader.parts import Parts
from alpaca_strategy.trader.plan import Plan, World
from alpaca_strategy.trader.trader import Trader
from alpaca_strategy.trader.work import Agenda, Work

SYMBOLS = ("AIG", "F", "TSLA", "NVDA", "MSFT")
SESSION = exchange_calendar().session(DAY)
NOW = SESSION.opens_at + timedelta(minutes=31)
DETAIL = "a detail that names the account"


class StandingClock:
    seconds = 0

    def now_ns(self) -> int:
        return (int(NOW.timestamp()) + self.seconds) * 1_000_000_000


class SilentScorer:
    model_id = "2026-01-01-aaaaaaaa"


@pytest.fixture
def parts(home: Path) -> Parts:
    """Put a trader together that is connected to nothing."""
    settings = load_settings()
    plan = Plan(
        a_run(), SESSION, SYMBOLS, rules_of(settings, SYMBOLS)[0], limits_of(settings),
        settings.trading, settings.risk,
    )  # fmt: skip
    nobody: Any = None
    clock: Any = StandingClock()
    world = World(clock, nobody, nobody, nobody, nobody, SilentScorer())
    agenda = Agenda()
    tape = LiveTape(SESSION, SYMBOLS, load_condition_table(settings.data.condition_table))
    return Parts(
        plan, world, tape=tape, windows=nobody, logs=None, work=Work(agenda), agenda=agenda
    )


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def read(port: int) -> tuple[str, dict[str, float]]:
    """Return what a scrape gets: the page, and its samples by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return text, samples


def a_trade(number: int, second: int) -> StreamTrade:
    at = SESSION.opens_at + timedelta(seconds=second)
    return StreamTrade(
        symbol="F", id=number, price=10.0, size=100, at=f"{at:%Y-%m-%dT%H:%M:%S}Z", tape="A",
        exchange="N", conditions=("@",),
    )  # fmt: skip


def live(parts: Parts) -> None:
    """Let a trader have seen, bought, been refused, and wondered."""
    parts.holds.lift(Hold.STARTING)
    parts.holds.set(Hold.DATA, DETAIL)
    parts.minute = 30
    parts.feed.tape.extend([a_trade(1, 1800), a_trade(2, 1840), a_trade(3, 1830), a_trade(2, 1840)])
    parts.feed.gaps = 2
    for what in ("nonsense", "nonsense", "data_lost", "journal_failures"):
        parts.count(what)
    parts.rounds.stages.update(bars=0.002, scores=0.03)
    ledger = parts.ledger
    bought, refused, lost = an_intent("AIG"), an_intent("F"), an_intent("TSLA")
    for intent in (bought, refused, lost):
        ledger.add_intent(intent)
        ledger.start_sending(intent.ticket.client_order_id, NOW)
    order = VenueOrder(
        id=order_of(bought), client_order_id=bought.ticket.client_order_id, symbol="AIG",
        side=Side.BUY, qty=Decimal(10), filled_qty=Decimal(4), filled_avg_price=None,
        status=OrderStatus.PARTIALLY_FILLED, status_text="partially_filled", submitted_at=NOW,
        updated_at=NOW,
    )  # fmt: skip
    ledger.apply_update(TradeUpdate("partial_fill", order, a_fill(bought, 4), None, NOW), NOW)
    whole = replace(order, filled_qty=Decimal(10), status=OrderStatus.FILLED)
    ledger.apply_update(TradeUpdate("fill", whole, a_fill(bought, 10, 6), None, NOW), NOW)
    no = Refused(Refusal.BUYING_POWER, "no", 403)
    ledger.apply_outcome(refused.ticket.client_order_id, no, NOW)
    ledger.apply_outcome(lost.ticket.client_order_id, Unknown("no answer"), NOW)
    parts.gatekeeper.orders_before = 3
    books = parts.books
    money = Decimal("100000")
    books.account = Account(
        BOOK.account, "ACTIVE", Decimal("101000"), money, money, money, False, False, False
    )
    books.opening_equity = money
    books.positions = {
        "AIG": Position("AIG", Decimal(10), Decimal("10.30"), None, Decimal("104.00")),
        "XOM": Position("XOM", Decimal(-2), Decimal("100.00")),
    }
    books.foreign = {"XOM": Decimal(-2)}
    books.differences = (DETAIL, DETAIL)


def test_a_scrape_tells_how_the_trader_stands(parts, port):
    live(parts)
    with served(port, parts) as look:
        parts.rounds.on_decision(a_decision(15))
        parts.rounds.on_decision(a_decision(30, skipped="late"))
        parts.rounds.on_decision(a_decision(45, skipped="late"))
        look(parts.heartbeat())
        text, told = read(port)
    assert 0 <= told.pop("alpaca_trader_heartbeat_age_seconds") < 60
    ours = {name: value for name, value in told.items() if name.startswith("alpaca_trader_")}
    holds = {hold.value: 0.0 for hold in Hold} | {"data": 1.0, "updates": 1.0}
    states = dict.fromkeys(("sending", "open", "canceled", "expired", "abandoned"), 0.0)
    states |= {"filled": 1.0, "rejected": 1.0, "unknown": 1.0}
    phases = {"starting": 0.0, "waiting": 0.0, "trading": 1.0, "stopped": 0.0}
    run = "alpaca_trader_run_info{mode=paper,model=2026-01-01-aaaaaaaa,session=2026-01-05}"
    assert ours == {
        run: 1.0,
        **{f"alpaca_trader_phase{{phase={name}}}": value for name, value in phases.items()},
        **{f"alpaca_trader_hold{{hold={name}}}": value for name, value in holds.items()},
        "alpaca_trader_newest_trade_age_seconds": 20.0,
        "alpaca_trader_trades_total": 3.0,
        "alpaca_trader_late_trades_total": 1.0,
        "alpaca_trader_rejected_trades_total": 0.0,
        "alpaca_trader_duplicate_trades_total": 1.0,
        "alpaca_trader_data_gaps_total": 2.0,
        "alpaca_trader_nonsense_total": 2.0,
        "alpaca_trader_streams_lost_total{stream=data}": 1.0,
        "alpaca_trader_streams_lost_total{stream=updates}": 0.0,
        "alpaca_trader_equity_usd": 101000.0,
        "alpaca_trader_gross_exposure_usd": 304.0,
        "alpaca_trader_gross_exposure_ratio": pytest.approx(304 / 101000),
        "alpaca_trader_day_return_ratio": pytest.approx(0.01),
        "alpaca_trader_positions": 1.0,
        "alpaca_trader_foreign_positions": 1.0,
        "alpaca_trader_books_differences": 2.0,
        "alpaca_trader_orders_sent_total": 3.0,
        **{f"alpaca_trader_orders{{state={name}}}": value for name, value in states.items()},
        "alpaca_trader_unresolved_orders": 1.0,
        "alpaca_trader_fills_total": 2.0,
        "alpaca_trader_decisions_total{outcome=made}": 1.0,
        "alpaca_trader_decisions_total{outcome=skipped}": 2.0,
        "alpaca_trader_decision_stage_seconds{stage=bars}": 0.002,
        "alpaca_trader_decision_stage_seconds{stage=scores}": 0.03,
        "alpaca_trader_journal_failures_total": 1.0,
    }
    assert told["process_resident_memory_bytes"] > 1e6
    assert BOOK.account not in text
    assert DETAIL not in text


def test_counters_end_as_counters_do_and_nothing_else_does(parts, port):
    live(parts)
    with served(port, parts) as look:
        look(parts.heartbeat())
        text, _ = read(port)
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name


def test_what_is_not_known_yet_is_left_out_and_not_zero(parts, port):
    with served(port, parts) as look:
        _, told = read(port)
        assert [name for name in told if name.startswith("alpaca_")] == [
            "alpaca_trader_heartbeat_age_seconds"
        ]
        look(parts.heartbeat())
        _, told = read(port)
    assert told["alpaca_trader_phase{phase=starting}"] == 1
    assert told["alpaca_trader_trades_total"] == 0
    for unknown in ("equity_usd", "newest_trade_age_seconds", "gross_exposure_usd"):
        assert f"alpaca_trader_{unknown}" not in told


def test_a_loop_that_hangs_grows_older_from_scrape_to_scrape(parts):
    now = [100.0]
    meter = Meter(parts, now=lambda: now[0])

    def age() -> float:
        first = next(iter(meter.collect()))
        assert first.name == "alpaca_trader_heartbeat_age_seconds"
        return float(first.samples[0].value)

    now[0] = 103.0
    assert age() == 3.0  # it has not beaten at all
    meter.look(parts.heartbeat())
    assert age() == 0.0
    now[0] = 110.5
    assert age() == 7.5


def test_what_is_told_is_what_was_noted_and_not_what_the_loop_is_changing(parts, port):
    with served(port, parts) as look:
        look(parts.heartbeat())
        parts.holds.set(Hold.KILLED, "by a person")
        parts.count("nonsense")
        _, told = read(port)
        assert told["alpaca_trader_hold{hold=killed}"] == 0
        assert told["alpaca_trader_nonsense_total"] == 0
        look(parts.heartbeat())
        _, told = read(port)
    assert told["alpaca_trader_hold{hold=killed}"] == 1
    assert told["alpaca_trader_nonsense_total"] == 1


def test_a_corrected_trade_that_leaves_the_tape_lets_no_counter_fall(parts, port, monkeypatch):
    parts.feed.tape.extend([a_trade(1, 10), a_trade(2, 20)])
    with served(port, parts) as look:
        look(parts.heartbeat())
        fewer = replace(parts.feed.tape.counts, trades=1)
        monkeypatch.setattr(LiveTape, "counts", fewer)
        look(parts.heartbeat())
        assert read(port)[1]["alpaca_trader_trades_total"] == 2


def test_one_who_connects_and_asks_nothing_holds_up_nobody(parts, port):
    with served(port, parts) as look:
        look(parts.heartbeat())
        mute = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        assert "alpaca_trader_hold{hold=data}" in read(port)[1]
        for one in mute:
            one.close()


def test_it_listens_on_loopback_only_and_no_longer_than_the_trader_lives(parts, port):
    with served(port, parts):
        read(port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_taken_port_is_told_in_one_line_and_the_trader_goes_on(parts):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with capture_logs() as lines, served(port, parts) as look:
            look(parts.heartbeat())
            parts.rounds.on_decision(a_decision())
    assert [(one["event"], one["port"], one["log_level"]) for one in lines] == [
        ("metrics_not_served", port, "warning")
    ]


def test_port_0_serves_nothing(parts):
    before = threading.enumerate()
    with capture_logs() as lines, served(0, parts) as look:
        look(parts.heartbeat())
        assert threading.enumerate() == before
    assert lines == []


def test_what_the_trader_counts_is_read_by_the_names_it_counts_under(parts, port, monkeypatch):
    trader = Trader(parts._plan, parts._world, parts)
    monkeypatch.setattr(parts.feed, "doubt", lambda: None)  # it would ask the venue
    trader.hear(StreamNonsense(Stream.DATA, "?"))
    trader.hear(StreamLost(Stream.UPDATES, "gone"))
    with served(port, parts) as look:
        look(parts.heartbeat())
        told = read(port)[1]
    assert told["alpaca_trader_nonsense_total"] == 1
    assert told["alpaca_trader_streams_lost_total{stream=updates}"] == 1


def test_a_heartbeat_is_noted_as_it_is_made_and_tells_since_when_something_holds(parts):
    beats: list[Any] = []
    parts.on_beat = beats.append
    first = parts.heartbeat()
    clock: Any = parts._world.clock
    clock.seconds = 65
    parts.holds.lift(Hold.DATA)
    parts.holds.set(Hold.JOURNAL, "it is full")
    second = parts.heartbeat()
    assert beats == [first, second]
    assert first.detail["holds_since"]["updates"] == "2026-01-05T15:01:00+00:00"
    since = second.detail["holds_since"]
    assert since["updates"] == "2026-01-05T15:01:00+00:00"
    assert since["journal"] == "2026-01-05T15:02:05+00:00"
    assert set(since) == set(second.holds)


async def _fail(work: Work) -> None:
    def call() -> None:
        raise EnvironmentFaultError("the disk is full")

    for _ in range(2):
        with pytest.raises(EnvironmentFaultError):
            await work.journal(call)
    assert await work.journal(lambda: 7) == 7


def test_every_call_that_the_journal_fails_is_counted(parts, port):
    asyncio.run(_fail(parts.work))
    with served(port, parts) as look:
        look(parts.heartbeat())
        assert read(port)[1]["alpaca_trader_journal_failures_total"] == 2
