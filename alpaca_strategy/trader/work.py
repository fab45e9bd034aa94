"""The trader's own time table and its hands: what waits, what works, and who knows that it does."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.trader.hands import Hands

P = ParamSpec("P")
T = TypeVar("T")
FOREVER_NS: Final = 2**63 - 1


class Agenda:
    """What is to happen when, in the venue's time; fired by the main loop alone."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[], object]]] = []
        self._count = itertools.count()

    def at(self, when_ns: int, what: Callable[[], object]) -> None:
        """Note something; what has been noted first happens first at the same time."""
        heapq.heappush(self._heap, (when_ns, next(self._count), what))

    def next_ns(self) -> int:
        """Return when the next thing is due."""
        return self._heap[0][0] if self._heap else FOREVER_NS

    def fire(self, now_ns: int) -> None:
        """Do what is due."""
        while self._heap and self._heap[0][0] <= now_ns:
            heapq.heappop(self._heap)[2]()


class Work:
    """Coroutines that work beside the main loop, and threads for calls that block.

    Attributes:
        changed: Set whenever the main loop should look up.
        on_journal_failure: Called whenever the journal could not be read or written.
    """

    def __init__(self, agenda: Agenda, *, settled: Callable[[], None] = lambda: None) -> None:
        """Prepare.

        Args:
            agenda: The time table.
            settled: Called whenever something has been finished.
        """
        self.changed = asyncio.Event()
        self.on_journal_failure: Callable[[], None] = lambda: None
        self._agenda = agenda
        self._settled = settled
        self._busy = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._venue = Hands(8, "venue")
        self._sending = Hands(32, "orders")
        # One thread, so that what is written later stands later.
        self._journal = Hands(1, "journal")
        self._thinking = Hands(1, "scores")
        self.defect: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether something works, and does not merely wait for the venue's time."""
        return self._busy > 0

    def start(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Let a coroutine work beside the main loop; an error in it is a defect and ends all."""
        self._busy += 1
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._busy -= 1
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.defect = self.defect or task.exception()
        self.changed.set()
        self._settled()

    async def venue(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the venue, in a thread of its own."""
        return await self._thread(self._venue, lambda: call(*args, **kwargs))

    async def sending(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Send something to the venue; questions that hang do not hold it up."""
        return await self._thread(self._sending, lambda: call(*args, **kwargs))

    async def journal(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call to the journal; one after the other, in order."""
        try:
            return await self._thread(self._journal, lambda: call(*args, **kwargs))
        except EnvironmentFaultError:
            self.on_journal_failure()
            raise

    async def thinking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the model, without holding up what comes in."""
        return await self._thread(self._thinking, lambda: call(*args, **kwargs))

    @staticmethod
    async def _thread(hands: Hands, call: Callable[[], T]) -> T:
        return await asyncio.wrap_future(hands.ask(call))

    async def until(self, when_ns: int, event: asyncio.Event | None = None) -> None:
        """Wait within `start`ed work until that time, or until the event is set."""
        loop = asyncio.get_running_loop()
        due: asyncio.Future[None] = loop.create_future()
        self._agenda.at(when_ns, lambda: None if due.done() else due.set_result(None))
        self.changed.set()  # the main loop may be waiting for something later
        waits: list[asyncio.Future[Any]] = [due]
        if event is not None:
            waits.append(loop.create_task(event.wait()))
        self._busy -= 1
        self._settled()
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._busy += 1
            for one in waits:
                one.cancel()

    async def close(self) -> None:
        """Stop everything that still works beside the main loop."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for hands in (self._venue, self._sending, self._journal, self._thinking):
            hands.close()
