"""What has happened is written down in order, and again until it stands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from alpaca_strategy.domain.journal import StateChange
from alpaca_strategy.domain.orders import Fill
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.trader.crash_points import pass_by
from alpaca_strategy.trader.holds import Hold, Holds
from alpaca_strategy.trader.paper_trail import PaperTrail
from alpaca_strategy.trader.ports import Journal
from alpaca_strategy.trader.work import Work

log = structlog.get_logger(__name__)
_RETRY_S: Final = 1.0  # of this machine's time: the database is on it, not in the venue's
#: The facts can be had from the venue again, so a flood of them must not fill the memory.
_MAX_FACTS: Final = 100_000

Write = Callable[[], object]


class Scribe:
    """Writes facts to the journal beside the main loop.

    Facts are what has happened already; they wait while the database is away, and meanwhile
    nothing new is sent. What is about to happen is not written here: it waits for its commit.
    """

    def __init__(self, journal: Journal, work: Work, holds: Holds, trail: PaperTrail) -> None:
        self._journal = journal
        self._work = work
        self._holds = holds
        self._trail = trail
        self._facts: deque[Write] = deque(maxlen=_MAX_FACTS)
        self._writing: asyncio.Task[None] | None = None

    def note(self, changes: Sequence[StateChange], fills: Sequence[Fill] = ()) -> None:
        """Write steps of orders, and fills."""
        if changes or fills:
            self._trail.orders(changes)
            self._trail.trades(fills)
            self.add(lambda: self._journal.record(changes, fills))

    def add(self, write: Write) -> None:
        """Write something else."""
        self._facts.append(write)
        if self._writing is None or self._writing.done():
            self._writing = self._work.start(self._write())

    async def flush(self) -> None:
        """Return when everything is written."""
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        while self._facts:
            pass_by("fact_known")
            if not await self.attempt(self._facts[0]):
                await asyncio.sleep(_RETRY_S)
                continue
            self._facts.popleft()
            pass_by("fact_written")

    async def attempt(self, write: Write) -> bool:
        """Write once; return whether it stands, and hold trading while it does not."""
        try:
            await self._work.journal(write)
        except EnvironmentFaultError as error:
            if self._holds.set(Hold.JOURNAL, str(error)):
                log.warning("journal_failed", reason=str(error))
            return False
        if self._holds.lift(Hold.JOURNAL):
            log.info("journal_works_again")
        return True
