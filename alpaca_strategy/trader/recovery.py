"""Starting is recovering: what an earlier trader left is looked up before anything new is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, TypeVar

import structlog

from alpaca_strategy.domain.journal import KnownIntent
from alpaca_strategy.domain.orders import IntentState
from alpaca_strategy.errors import BusyError, VenueError
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.crash_points import pass_by
from alpaca_strategy.trader.holds import Hold
from alpaca_strategy.trader.parts import Parts
from alpaca_strategy.trader.plan import Plan, World, nanoseconds

log = structlog.get_logger(__name__)
T = TypeVar("T")
_RETRY_S: Final = 1.0  # of this machine's time
_TRIES: Final = 5


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
    parts.books.splits = await _splits(plan, world, parts)
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


async def _splits(plan: Plan, world: World, parts: Parts) -> Mapping[str, Decimal]:
    """Return what has become of one old share, of symbols that split since they were entered.

    Where the venue does not tell, nothing is explained: a split then shows as a difference.
    """
    since = {symbol: at.date() for symbol, at in parts.ledger.entered().items()}
    for _ in range(_TRIES if since else 0):
        try:
            found = await parts.work.venue(world.history.splits, since, plan.session.day)
        except VenueError as error:
            log.warning("splits_not_known", reason=str(error))
            await asyncio.sleep(_RETRY_S)
        else:
            return found
    return {}


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
    """Compare the trader's time with the venue's; decisions by a wrong clock are wrong.

    An answer that took long tells the venue's time less exactly; only what is surely off counts.
    """
    if not plan.checks_clock:
        return
    before = world.clock.now_ns()
    try:
        clock = await parts.work.venue(world.broker.clock)
    except VenueError:
        return  # the hold of the venue tells
    after = world.clock.now_ns()
    ahead_s = ((before + after) / 2 - nanoseconds(clock.now)) / SECOND_NS
    doubt_s = (after - before) / 2 / SECOND_NS
    bound = plan.risk.max_clock_skew_s
    objection = None
    if abs(ahead_s) - doubt_s > bound:
        objection = (
            f"this machine's clock was {ahead_s:+.1f} s off the venue's, and {bound:g} s are "
            f"allowed; set it right and start the trader anew"
        )
    if parts.holds.put(Hold.CLOCK, objection):
        log.warning("clock_compared", ahead_s=round(ahead_s, 2), objection=objection)
