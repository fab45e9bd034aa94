"""The trader's parts when answers are late, missing or old, and when a person steps in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

import pytest
from acting_trader import PRICE, Stage, stage, venue_order

from alpaca_strategy.domain.journal import SwitchKind
from alpaca_strategy.domain.orders import Fill, IntentState, OrderStatus, Side, Ticket, TradeUpdate
from alpaca_strategy.domain.streams import Stream, StreamLost, StreamNonsense, StreamReady
from alpaca_strategy.errors import UserError, VenueUnavailableError
from alpaca_strategy.trader.holds import Hold

pytestmark = pytest.mark.usefixtures("home")


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 60))


def turn(on: Stage, kind: SwitchKind, *, flatten: bool = False) -> None:
    on.trader.obey(on.journal.switch(kind, reason="a test", by="test", flatten=flatten))


def cancelled(on: Stage) -> bool:
    return bool(on.venue.orders) and all(one.status.is_final for one in on.venue.orders.values())


def test_rearm_gives_up_nothing_that_was_bought_since_the_last_comparison() -> None:
    async def scene() -> None:
        async with stage() as on:
            assert await on.parts.books.compare("timer")
            on.hold("AAPL", 100)
            turn(on, SwitchKind.REARM)
            asked = len(on.venue.calls)
            await on.until(lambda: on.venue.calls[asked:].count("positions") >= 1)
            await on.until(lambda: on.parts.books.foreign is not None)
            assert on.parts.ledger.shares() == {"AAPL": Decimal(100)}
            assert not any(on.parts.books.foreign.values())

    play(scene())


def test_kill_cancels_what_is_known_although_the_venue_lists_nothing() -> None:
    async def scene() -> None:
        async with stage() as on:
            on.place("AAPL", Side.BUY, 100)
            on.venue.broken.add("open_orders")
            turn(on, SwitchKind.KILL)
            await on.until(lambda: cancelled(on))

    play(scene())


def test_kill_cancels_an_order_that_was_on_its_way() -> None:
    async def scene() -> None:
        async with stage() as on:
            on.hold("AAPL", 100)
            assert await on.parts.books.compare("timer")
            arrives = threading.Event()
            on.venue.hooks["submit AAPL"] = lambda: arrives.wait(30)
            # It has left already when the kill comes, so nothing can hold it back.
            on.parts.desk.may_leave = lambda: True
            sale = on.intend("AAPL", Side.SELL, 100, "as-20260105-2-s0-AAPL")
            sending = on.parts.work.start(on.parts.desk.send([sale]))
            await on.until(lambda: "submit AAPL" in on.venue.calls)
            turn(on, SwitchKind.KILL)
            await on.until(lambda: on.venue.calls.count("open_orders") >= 2)
            arrives.set()
            await sending
            await on.until(lambda: cancelled(on))

    play(scene())


def test_order_that_waits_for_its_turn_does_not_leave_after_a_kill() -> None:
    async def scene() -> None:
        async with stage() as on:
            on.hold("AAPL", 100)
            assert await on.parts.books.compare("timer")
            waits = threading.Event()
            on.venue.hooks["submit AAPL"] = lambda: waits.wait(30)
            sale = on.intend("AAPL", Side.SELL, 100, "as-20260105-2-s0-AAPL")
            sending = on.parts.work.start(on.parts.desk.send([sale]))
            await on.until(lambda: "submit AAPL" in on.venue.calls)
            turn(on, SwitchKind.KILL)
            waits.set()
            await sending
            name = sale.ticket.client_order_id
            assert name not in on.venue.orders
            assert on.parts.ledger.state(name) is IntentState.ABANDONED

    play(scene())


def test_flatten_waits_for_the_end_of_the_start_and_is_over_with_a_rearming() -> None:
    async def scene() -> None:
        async with stage() as on:
            on.hold("AAPL", 100)
            assert await on.parts.books.compare("timer")
            on.parts.holds.set(Hold.STARTING, "not yet recovered")
            on.parts.books.recovered.clear()
            turn(on, SwitchKind.KILL, flatten=True)
            await on.until(lambda: on.venue.calls.count("open_orders") >= 2)
            assert "submit AAPL" not in on.venue.calls
            on.parts.holds.lift(Hold.STARTING)
            on.parts.books.recovered.set()
            await on.until(lambda: "submit AAPL" in on.venue.calls)
            turn(on, SwitchKind.REARM)
            assert not on.parts.emergency.flattening

    play(scene())


def test_updates_count_again_only_when_a_comparison_has_succeeded_on_this_connection() -> None:
    async def scene() -> None:
        async with stage() as on:
            on.trader.hear(StreamLost(Stream.UPDATES, "broke"))
            on.venue.broken.add("positions")
            on.trader.hear(StreamReady(Stream.UPDATES))
            await on.until(lambda: "positions" in on.venue.calls)
            await on.until(lambda: Hold.VENUE in on.parts.holds)
            assert Hold.UPDATES in on.parts.holds
            on.venue.broken.clear()
            await on.until(lambda: Hold.UPDATES not in on.parts.holds)
            # Lost again while that is asked: a success says nothing of the new connection.
            goes_on = threading.Event()
            on.venue.hooks["positions"] = lambda: goes_on.wait(30)
            on.trader.hear(StreamLost(Stream.UPDATES, "broke"))
            on.trader.hear(StreamReady(Stream.UPDATES))
            asked = on.venue.calls.count("positions")
            await on.until(lambda: on.venue.calls.count("positions") > asked)
            on.trader.hear(StreamLost(Stream.UPDATES, "broke again"))
            goes_on.set()
            assert await on.parts.books.compare("timer")
            assert on.parts.holds.as_dict()["updates"] == "broke again"

    play(scene())


@pytest.mark.parametrize("error", [VenueUnavailableError("x"), UserError("HTTP 403")])
def test_gap_that_is_filled_in_the_end_holds_nothing_back(error: Exception) -> None:
    async def scene() -> None:
        async with stage() as on:
            on.trader.hear(StreamLost(Stream.DATA, "broke"))
            on.trader.hear(StreamReady(Stream.DATA))
            await on.until(lambda: Hold.DATA not in on.parts.holds)
            on.around.history_fails = [error]
            on.parts.feed.doubt()
            await on.until(lambda: Hold.DATA in on.parts.holds)
            await on.until(lambda: Hold.DATA not in on.parts.holds)

    play(scene())


def test_history_does_not_stand_for_a_stream_that_is_down() -> None:
    async def scene() -> None:
        async with stage() as on:
            on.trader.hear(StreamLost(Stream.DATA, "broke"))
            on.trader.hear(StreamNonsense(Stream.DATA, "a page during the handshake"))
            await on.until(lambda: on.around.asked)
            await on.parts.work.start(asyncio.sleep(0.1))
            assert on.parts.holds.as_dict()["data"] == "broke"

    play(scene())


def test_many_executions_of_another_hand_ask_once_or_twice() -> None:
    async def scene() -> None:
        async with stage() as on:
            assert await on.parts.books.compare("timer")
            goes_on = threading.Event()
            on.venue.hooks["account"] = lambda: goes_on.wait(30)
            on.venue.calls.clear()
            about = Ticket("by hand", "SPY", Side.SELL, Decimal(1000))
            for n in range(1, 101):
                order = venue_order(about, OrderStatus.PARTIALLY_FILLED, Decimal(n), "an-order")
                now = on.parts.desk.now()
                fill = Fill("an-order", Decimal(n), "SPY", Side.SELL, Decimal(1), PRICE, now)
                on.trader.hear(TradeUpdate("partial_fill", order, fill, None, now))
            goes_on.set()
            assert await on.parts.books.compare("timer")
            assert on.venue.calls.count("account") <= 6  # each may be asked up to three times

    play(scene())


def test_purchase_is_given_up_when_its_deadline_has_passed_while_sales_were_sent() -> None:
    async def scene() -> None:
        async with stage() as on:
            on.hold("AAPL", 100)
            assert await on.parts.books.compare("timer")
            answers = threading.Event()
            on.venue.hooks["submit AAPL"] = lambda: answers.wait(30)
            sale = on.intend("AAPL", Side.SELL, 100, "as-20260105-2-s0-AAPL")
            purchase = on.intend("MSFT", Side.BUY, 10)
            deadline = on.parts.desk.clock.now_ns() + 200_000_000
            trading = on.parts.work.start(on.parts.desk.carry_out([sale, purchase], deadline))
            await on.until(lambda: on.parts.desk.clock.now_ns() > deadline)
            answers.set()
            await trading
            assert "submit MSFT" not in on.venue.calls
            state = on.parts.ledger.state(purchase.ticket.client_order_id)
            assert state is IntentState.ABANDONED

    play(scene())


def test_start_takes_nothing_as_given_while_an_execution_of_ours_is_found() -> None:
    async def scene() -> None:
        async with stage() as on:
            on.hold("AAPL", 100)
            sale = on.place("AAPL", Side.SELL, 100)
            on.parts.books.foreign = None
            # The positions are read, then the sale is executed, and no stream tells of it.
            happened: list[object] = []

            def execute() -> None:
                if not happened:
                    happened.append(on.venue.fill(sale))

            on.venue.hooks["positions"] = execute
            await on.until(lambda: True)
            while not await on.parts.books.compare("start"):
                pass
            assert happened
            assert not any((on.parts.books.foreign or {}).values())
            assert on.parts.books.differences == ()

    play(scene())
