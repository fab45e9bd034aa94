"""Many sessions, oldest first: fetched ahead by several processes, published in order by one."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import date
from multiprocessing import active_children, get_context
from typing import Any

from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import load_settings
from alpaca_strategy.errors import (
    AlpacaStrategyError,
    CredentialsError,
    EntitlementError,
    EnvironmentFaultError,
    RateLimitedError,
    UserError,
    VenueUnavailableError,
)
from alpaca_strategy.jobs import market_data
from alpaca_strategy.jobs.market_data import Progress
from alpaca_strategy.logs import configure_logging
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.storage.records import SessionStatus

#: Sessions fetched before their turn to be published: bounds what is staged at once.
_AHEAD = 4


def backfill(
    start: date | None,
    end: date,
    *,
    sessions: int = 0,
    rewrite: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fetch, build, check and publish every session from start to end that is not published.

    Args:
        start: First day; None takes as many sessions as ``sessions`` says, up to the end.
        end: Last day.
        sessions: Instead of start.
        rewrite: Also sessions that are published.
        workers: Processes that fetch ahead; one more checks and publishes, in order.
        progress: Told (sessions done, sessions in all, what is being done).

    Returns:
        published and skipped (counts), failed (session to reason).

    Raises:
        UserError: End lies before start, or neither start nor sessions is given.
        CredentialsError: The keys are refused, so every session would fail.
        VenueUnavailableError: The venue does not answer; likewise.
        EnvironmentFaultError: A worker was killed.
    """
    wanted = _wanted(start, end, sessions)
    known = services().catalog.sessions(wanted[0], wanted[-1], load_settings().data.feed)
    there = {r.session for r in known if r.status is SessionStatus.PUBLISHED and not rewrite}
    todo = [day.isoformat() for day in wanted if day not in there]
    done: dict[str, Any] = {"published": 0, "skipped": len(wanted) - len(todo), "failed": {}}
    if progress:
        progress(len(wanted) - len(todo), len(wanted), "starting")
    if not todo:
        return done
    with _processes(min(workers, len(todo))) as (fetchers, publisher):
        waiting, ahead = deque(todo), deque[tuple[str, Future[None]]]()
        while waiting or ahead:
            while waiting and len(ahead) < workers + _AHEAD:
                day = waiting.popleft()
                ahead.append((day, fetchers.submit(_prepare, day, rewrite)))
            day, future = ahead.popleft()
            try:
                future.result()
                publisher.submit(_publish, day).result()
                done["published"] += 1
            except (CredentialsError, EntitlementError, VenueUnavailableError, RateLimitedError):
                raise  # every other session would meet the same, after as long a wait
            except AlpacaStrategyError as error:
                done["failed"][day] = str(error)
            if progress:
                progress(len(wanted) - len(waiting) - len(ahead), len(wanted), day)
    return done


@contextmanager
def _processes(workers: int) -> Iterator[tuple[ProcessPoolExecutor, ProcessPoolExecutor]]:
    """Yield the fetching processes and the publishing one; on any error they end at once.

    What they were doing is gone on with by the next run, wherever they were stopped.

    Raises:
        EnvironmentFaultError: One of them was killed.
    """
    others = set(active_children())
    spawn = get_context("spawn")  # a fork would carry threads' locks and database connections
    with (
        ProcessPoolExecutor(workers, spawn, initializer=_start) as fetchers,
        ProcessPoolExecutor(1, spawn, initializer=_start) as publisher,
    ):
        try:
            yield fetchers, publisher
        except BaseException as error:
            for process in set(active_children()) - others:
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                msg = (
                    "A process of the backfill was killed, perhaps for want of memory; run it "
                    "again, with fewer --workers: it goes on where it stopped."
                )
                raise EnvironmentFaultError(msg) from error
            raise


def _wanted(start: date | None, end: date, sessions: int) -> Sequence[date]:
    calendar = exchange_calendar()
    if start is None:
        if not sessions:
            msg = "Say which sessions: --start YYYY-MM-DD, or --sessions with their number."
            raise UserError(msg)
        newest = end if calendar.is_session(end) else calendar.previous_session(end).day
        start = calendar.previous_session(newest, sessions - 1).day if sessions > 1 else newest
    if end < start:
        msg = f"The end {end} lies before the start {start}; exchange them."
        raise UserError(msg)
    latest = market_data.latest_session()
    if end > latest:
        msg = f"The end {end} lies after the latest finished session, {latest}; choose up to that."
        raise UserError(msg)
    wanted = [session.day for session in calendar.sessions(start, end)]
    if not wanted:
        msg = f"The exchange had no session from {start} to {end}; choose a longer range."
        raise UserError(msg)
    return wanted


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; the parent ends us
    configure_logging(load_settings().logging.model_copy(update={"level": "error"}))


def _prepare(day: str, rewrite: bool) -> None:  # noqa: FBT001 - crosses to another process
    market_data.plan(day)
    market_data.fetch(day, rewrite=rewrite)
    market_data.build_bars(day)


def _publish(day: str) -> None:
    market_data.check(day)
    market_data.publish(day)
