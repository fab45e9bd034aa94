"""Starting is recovering: what an earlier trader left is looked up before anything new is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, TypeVar

import structlog

from alpaca_strategy.domain.journal import KnownIntent
from alpaca_strategy.domain.orders import IntentState
from alpaca_strategy.errors import BusyError, VenueError
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.crash_points import pass_by
from alpaca_strategy.trader.holds import Hold
from alpaca_strategy.trader.parts import Parts
from alpaca_strategy.trader.plan import Plan, World

log = structlog.get_logger(__name__)
T = TypeVar("T")
_RETRY_S: Final = 1.0  # of this machine's time


async def recover(plan: Plan, world: World, parts: Parts) -> frozenset[int]:
    """Take up where an earlier trader ended; return the minutes that it decided on.

    Raises:
        BusyError: Another trader is at work on this account.
        EnvironmentFaultError: The journal does not work.
    """
    work, journal = parts.work, world.journal
    if not await work.journal(journal.take_lock):
        msg = (
            f"Another trader is at work on account {plan.run.book.account}; stop it first: "
            f"alpaca-strategy trader stop"
        )
        raise BusyError(msg)
    await work.journal(journal.open_run, plan.run)
    parts.pulse.begin()
    switch = await work.journal(journal.read_switch)
    left = await work.journal(journal.recover, plan.session.day)
    parts.ledger.restore(left)
    parts.gatekeeper.orders_before = left.orders_today
    parts.obey(switch)
    await parts.pulse.confirm()
    for known in left.intents:
        await _settle(known, parts)
    while not await parts.books.compare("start"):  # noqa: ASYNC110  # the venue is asked, not told
        await asyncio.sleep(_RETRY_S)
    parts.gatekeeper.assets = await _ask(world.broker.assets, plan.symbols, parts)
    await check_clock(plan, world, parts)
    parts.books.recovered.set()
    pass_by("recovered")
    log.info(
        "recovered", orders=len(left.intents), decided=len(left.decided),
        holdings={symbol: str(qty) for symbol, qty in parts.ledger.shares().items()},
    )  # fmt: skip
    return left.decided


async def _ask(question: Callable[[Sequence[str]], T], about: Sequence[str], parts: Parts) -> T:
    """Ask the venue until it answers."""
    while True:
        try:
            return await parts.work.venue(question, about)
        except VenueError as error:
            log.warning("venue_not_answering", reason=str(error))
            await asyncio.sleep(_RETRY_S)


async def _settle(known: KnownIntent, parts: Parts) -> None:
    """Find out what became of an order."""
    name = known.intent.ticket.client_order_id
    state = parts.ledger.state(name)
    if state is IntentState.PENDING:
        parts.desk.give_up(known.intent, "the trader ended before it was sent")
        return
    if state is None or state.is_final:
        return
    if state is IntentState.SENDING:
        parts.desk.lose(known.intent, "the trader ended while it was sent")
    while True:
        try:
            order = await parts.work.venue(parts.desk.broker.order_by_client_id, name)
        except VenueError as error:
            log.warning("order_not_looked_up", client_order_id=name, reason=str(error))
            await asyncio.sleep(_RETRY_S)
            continue
        if order is not None:
            parts.desk.adopt(order)
        elif parts.ledger.state(name) is IntentState.UNKNOWN:
            parts.desk.follow(known.intent)  # it may still be on its way
        return


async def check_clock(plan: Plan, world: World, parts: Parts) -> None:
    """Compare this machine's time with the venue's; decisions by a wrong clock are wrong."""
    if not plan.checks_clock:
        return
    before = time.time_ns()
    try:
        clock = await parts.work.venue(world.broker.clock)
    except VenueError:
        return  # the hold of the venue tells
    middle = (before + time.time_ns()) / 2 / SECOND_NS
    skew = timedelta(seconds=clock.now.timestamp() - middle)
    bound = plan.risk.max_clock_skew_s
    objection = None
    if abs(skew.total_seconds()) > bound:
        objection = (
            f"this machine's clock is {-skew.total_seconds():+.1f} s off the venue's, and "
            f"{bound:g} s are allowed; set it right"
        )
        log.warning("clock_is_wrong", skew_s=round(skew.total_seconds(), 2))
    parts.holds.put(Hold.CLOCK, objection)
