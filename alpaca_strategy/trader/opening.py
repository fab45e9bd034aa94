"""Whether the session is on, as the venue says: it may close any time."""

from __future__ import annotations

from typing import Final

import structlog

from alpaca_strategy.errors import VenueError
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.holds import Hold, Holds
from alpaca_strategy.trader.plan import Plan, World
from alpaca_strategy.trader.work import Work

log = structlog.get_logger(__name__)
_OPEN_RETRY_S: Final = 5
_STILL_OPEN_S: Final = 30


async def watch_open(plan: Plan, world: World, work: Work, holds: Holds) -> None:
    """While the session should be on, ask the venue whether it is."""
    while world.clock.now_ns() < plan.closes_ns:
        why: str | None = "the venue says that it is closed"
        try:
            if (await work.venue(world.broker.clock)).is_open:
                why = None
        except VenueError as error:  # what it said last stands
            closed = Hold.CLOSED in holds
            why = f"the venue does not say whether it is open: {error}" if closed else None
        if world.clock.now_ns() < plan.closes_ns and holds.put(Hold.CLOSED, why):
            log.info("session_watched", closed=why)
        pause_s = _STILL_OPEN_S if why is None else _OPEN_RETRY_S
        await work.until(world.clock.now_ns() + pause_s * SECOND_NS)
