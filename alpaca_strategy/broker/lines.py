"""Lines to the trading host: a client each, taken by one call at a time, with a turn to ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from alpaca.common.rest import RESTClient

from alpaca_strategy.broker.answers import No, Terms, is_exhausted, until_reset
from alpaca_strategy.broker.budget import Budget, Lane
from alpaca_strategy.broker.classify import is_absent
from alpaca_strategy.broker.rest import Rest
from alpaca_strategy.broker.transport import Limits
from alpaca_strategy.errors import (
    AlpacaStrategyError,
    CredentialsError,
    RateLimitedError,
    VenueError,
    VenueUnavailableError,
)

#: Gateways close connections that were idle for a minute. An order that meets such a close half-way
#: would be unknown, so an older connection is not used again.
_IDLE_S: Final = 30.0


class AbsentError(VenueError):
    """The venue definitely has no such thing."""


def refusal(no: No) -> AlpacaStrategyError:
    """Return what a refused question means; always a VenueError, as nothing was learnt."""
    if is_absent(no.status, no.body.encode()):
        return AbsentError(f"{no.host} has nothing at {no.path}{no.quote}; look for another id.")
    if no.status in {401, 403}:
        msg = (
            f"{no.host} refuses the keys with HTTP {no.status}{no.quote}; check ALPACA_API_KEY "
            f"and ALPACA_SECRET_KEY."
        )
        return CredentialsError(msg)
    if no.status == 404:
        return VenueUnavailableError(f"{no.host} has no {no.path}{no.quote}; correct trading_url.")
    msg = (
        f"{no.host} refused {no.path} with HTTP {no.status}{no.quote}; tell the venue if it stays "
        f"so."
    )
    return VenueUnavailableError(msg)


#: Of everything that is asked with the keys for trading.
TRADING_TERMS: Final = Terms("trading_url", "trading.requests_per_minute", refusal)


class _Turns:
    """The pace of questions: turns of the account's budget, in the last lane."""

    def __init__(self, budget: Budget, within_s: float) -> None:
        self._budget, self._within_s = budget, within_s
        self.newest = 0

    def acquire(self) -> None:
        turn = self._budget.acquire(Lane.READ, self._within_s)
        if turn is None:
            msg = (
                f"No request was free within {self._within_s:g} s, as orders go first or the venue "
                f"answers 429; stop what else uses these keys, or raise "
                f"{TRADING_TERMS.rate}."
            )
            raise RateLimitedError(msg)
        self.newest = turn

    def push_back(self, seconds: float) -> None:
        self._budget.push_back(seconds)


class Line:
    """One client, for one thread at a time.

    Attributes:
        rest: Asks questions.
        client: Sends what is sent once.
    """

    def __init__(self, client: RESTClient, budget: Budget, limits: Limits) -> None:
        self._budget = budget
        self._turns = _Turns(budget, limits.patience_s)
        self.client = client
        self.rest = Rest(
            client, pace=self._turns, limits=limits, terms=TRADING_TERMS, on_exhausted=budget.hold
        )

    @property
    def status(self) -> int:
        """HTTP status of the last answer; 0 where none came."""
        return self.rest.adapter.status

    def heed_question(self) -> None:
        """Tell the budget how the last question ended."""
        self._answered(self._turns.newest)

    def heed_sending(self, turn: int) -> None:
        """Tell the budget how what was sent in a turn ended."""
        headers = self.rest.adapter.headers
        if self.status == 429:
            self._budget.push_back(until_reset(headers))
        elif is_exhausted(headers):
            self._budget.hold(until_reset(headers))
        self._answered(turn)

    def _answered(self, turn: int) -> None:
        if self.status not in {0, 429}:
            self._budget.answered(turn)

    def hang_up(self) -> None:
        """Close the connections; the next request opens one."""
        self.rest.adapter.close()


class Lines:
    """As many lines as calls are made at once, kept for the next ones."""

    def __init__(
        self, new: Callable[[], Line], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._new, self._clock = new, clock
        self._lock = threading.Lock()
        self._free: list[tuple[float, Line]] = []
        self._closed = False

    @contextmanager
    def take(self) -> Iterator[Line]:
        """Have a line for oneself: the one used last, as its connection is the freshest."""
        with self._lock:
            used_at, line = self._free.pop() if self._free else (self._clock(), None)
        if line is None:
            line = self._new()
        elif self._clock() - used_at > _IDLE_S:
            line.hang_up()
        try:
            yield line
        finally:
            with self._lock:
                if self._closed:
                    line.rest.close()
                else:
                    self._free.append((self._clock(), line))

    def close(self) -> None:
        """Close all lines; those in use when their call ends."""
        with self._lock:
            self._closed = True
            for _, line in self._free:
                line.rest.close()
            self._free.clear()
