"""Once a second the main loop shows that it lives, and hears what people want of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from alpaca_strategy.domain.journal import Heartbeat, Switch
from alpaca_strategy.errors import EnvironmentFaultError, LeaseEndedError
from alpaca_strategy.trader.holds import Hold, Holds
from alpaca_strategy.trader.ports import Journal
from alpaca_strategy.trader.work import Work

log = structlog.get_logger(__name__)
BEAT_S: Final = 1.0  # of this machine's time
#: The lock counts as ours for so long after the database has said so.
LOCK_AGE_S: Final = 2.0


class Pulse:
    """Writes the heartbeat, from the main loop and only while that turns.

    A loop that hangs writes nothing, and looks dead, as it should.

    Attributes:
        begun: The lock is ours, and with it the right to speak for the account.
        usurped: Another trader has the lock that was ours.
        dismissed: Why our right to trade is over, or None.
    """

    def __init__(
        self, journal: Journal, work: Work, holds: Holds, *,
        state: Callable[[], Heartbeat], on_switch: Callable[[Switch | None], None],
    ) -> None:  # fmt: skip
        self.usurped = False
        self.dismissed: str | None = None
        self.begun = False
        self._journal = journal
        self._work = work
        self._holds = holds
        self._state = state
        self._on_switch = on_switch
        self._beating: asyncio.Task[None] | None = None
        self._due_at = 0.0
        self._locked_at = 0.0

    def begin(self) -> None:
        """Begin to beat: the lock is ours."""
        self.begun = True
        self._locked_at = time.monotonic()

    def turn(self) -> float:
        """Beat if it is time, called by the main loop at every turn; return when it is next."""
        now = time.monotonic()
        if not self.begun:
            return now + BEAT_S
        if now >= self._due_at and (self._beating is None or self._beating.done()):
            self._due_at = now + BEAT_S
            loop = asyncio.get_running_loop()
            self._beating = loop.create_task(self._beat(self._state()))
        self.watch_lock()
        return self._due_at

    @property
    def lock_is_fresh(self) -> bool:
        """Whether the database has confirmed the lock of late; may be asked by any thread."""
        return time.monotonic() - self._locked_at <= LOCK_AGE_S

    def watch_lock(self) -> None:
        """Send nothing when the database has not confirmed the lock of late.

        Asked before every sending, too: a process that was frozen may wake up right there, and
        somebody else may have the lock by then.
        """
        if not self.lock_is_fresh:
            self._holds.set(Hold.LOCK, "the database has not confirmed the lock of late")

    async def confirm(self) -> None:
        """Ask for the lock now, and beat."""
        if self.begun:
            await self._beat(self._state())

    async def _beat(self, heartbeat: Heartbeat) -> None:
        asked_at = time.monotonic()
        try:
            locked, switch = await self._work.journal(self._write, heartbeat)
        except EnvironmentFaultError as error:
            if self._holds.set(Hold.JOURNAL, str(error)):
                log.warning("journal_failed", reason=str(error))
            return
        except LeaseEndedError as error:
            self.dismissed = str(error)
            return
        if locked:
            self._locked_at = asked_at
            self._holds.lift(Hold.LOCK)
        else:
            self.usurped = True
            self._holds.set(Hold.LOCK, "another trader holds the lock of this account")
        if self._holds.lift(Hold.JOURNAL):
            log.info("journal_works_again")
        self._on_switch(switch)

    def _write(self, heartbeat: Heartbeat) -> tuple[bool, Switch | None]:
        # A lock that went with its connection is taken again, unless somebody was quicker.
        locked = self._journal.holds_lock() or self._journal.take_lock()
        return locked, self._journal.beat(heartbeat)
