"""One way to ask the venue: the genuine clients, with retries and errors at this layer only.

Only reads go through here, so that a question may be asked again. What the venue says becomes one
of our errors: refused (keys, entitlement, a bad question), 429, no usable answer, nonsense.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.trading.client import TradingClient
from requests.exceptions import RequestException

from alpaca_strategy.broker.answers import (
    DATA_TERMS,
    No,
    Terms,
    error_body,
    host_of,
    is_exhausted,
    transport_reason,
    until_reset,
)
from alpaca_strategy.broker.transport import Limits, RedirectError, bound
from alpaca_strategy.errors import (
    MalformedResponseError,
    RateLimitedError,
    VenueUnavailableError,
)

T = TypeVar("T")
log = structlog.get_logger(__name__)

_LOOPBACK = ("127.", "localhost", "::1")


class Pace(Protocol):
    """Says when the next request may leave."""

    def acquire(self) -> None:
        """Wait for one's turn."""

    def push_back(self, seconds: float) -> None:
        """Let nobody pass for so long; the venue said so."""


class DecodeError(Exception):
    """A body is not what the caller knows how to read; the message says what it is."""


@dataclass(slots=True)
class _Fault:
    """A try that failed, and may go better next time."""

    reason: str
    malformed: bool = False
    rate_limited: bool = False


class Rest:
    """Ask one host through one genuine client. Not for several threads at once.

    Attributes:
        client: The genuine client, bounded; for what is not a question, and sent once.
        adapter: Knows what the last answer's head said.
        host: The venue's host and port.
        requests: How many questions were sent so far.
    """

    def __init__(
        self,
        client: RESTClient,
        *,
        pace: Pace,
        limits: Limits | None = None,
        terms: Terms = DATA_TERMS,
        on_exhausted: Callable[[float], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put the limits on a client.

        Args:
            client: Of alpaca-py, with raw data.
            pace: Says when the next question may leave.
            limits: What is put up with.
            terms: Of the host.
            on_exhausted: Told for how long nothing is left of the venue's limit; the pace by
                default.
            sleep: Waits between two tries.
            clock: Seconds that only go forward.

        Raises:
            SettingsError: The client's address is no URL.
        """
        self.client = client
        self._pace = pace
        self._terms = terms
        self._on_exhausted = on_exhausted or pace.push_back
        self._limits = limits or Limits()
        self._sleep = sleep
        self._clock = clock
        self._random = random.Random()  # noqa: S311  # spreads retries; nothing secret
        base = client._base_url  # noqa: SLF001  # alpaca-py offers no other way to any of these
        self.host = host_of(str(getattr(base, "value", base)), terms.url)
        loopback = self.host.strip("[").startswith(_LOOPBACK)
        self.adapter = bound(client._session, self._limits, loopback=loopback)  # noqa: SLF001
        client._retry = 0  # noqa: SLF001  # else 429 and 504 block for 9 s inside the client
        self.requests = 0

    def close(self) -> None:
        """Close the connections."""
        self.client._session.close()  # noqa: SLF001

    def get(self, path: str, parameters: Mapping[str, object], decode: Callable[[bytes], T]) -> T:
        """Return the decoded answer to a question, asked again until it is good.

        Args:
            path: Below the version, such as ``/stocks/trades``.
            parameters: Of the query; None leaves one out.
            decode: Reads a body; raises DecodeError for one that it cannot read.

        Raises:
            CredentialsError: The keys are refused.
            EntitlementError: The account may not read this.
            UnknownSymbolError: A symbol does not exist.
            UserError: The question is refused for another reason.
            RateLimitedError: 429 for longer than we wait.
            VenueUnavailableError: No usable answer within our patience.
            MalformedResponseError: The body stays unreadable.
        """
        tries = malformed = 0
        waited = limited = 0.0
        while True:
            self._pace.acquire()
            started = self._clock()
            tries += 1
            found = self._try(path, parameters, decode)
            if not isinstance(found, _Fault):
                return found
            if found.rate_limited:
                wait = until_reset(self.adapter.headers)
                limited += wait
                self._pace.push_back(wait)
            else:
                wait = self._pause(tries)
                malformed += found.malformed
                waited += self._clock() - started + wait
            self._give_up(found, tries, malformed, waited, limited)
            log.warning(
                "request_failed", path=path, tries=tries, reason=found.reason, wait_s=round(wait, 2)
            )
            if not found.rate_limited:
                self._sleep(wait)

    def _try(
        self, path: str, parameters: Mapping[str, object], decode: Callable[[bytes], T]
    ) -> T | _Fault:
        self.requests += 1
        try:
            body = self.client.get(path, dict(parameters))
        except APIError as error:
            return self._refused(path, parameters, error)
        except RedirectError as error:
            msg = (
                f"{self.host} answered {path} with {error}, and keys are not carried to another "
                f"address; correct {self._terms.url}, or log in to the network that sends you "
                f"there."
            )
            raise VenueUnavailableError(msg) from error
        except RequestException as error:
            return _Fault(transport_reason(error, self._limits))
        self._heed_remaining()
        if self.adapter.status not in {200, 204}:
            return _Fault(f"HTTP {self.adapter.status}")
        return _decoded(body, decode)

    def _refused(self, path: str, parameters: Mapping[str, object], error: APIError) -> _Fault:
        status = int(error.status_code or 0)
        body = str(error)
        if status == 429:
            return _Fault("HTTP 429, too many requests", rate_limited=True)
        if status in {408, 425} or status >= 500:
            return _Fault(f"HTTP {status}")
        if body.strip() and error_body(body) is None:  # a proxy's page, not the venue's word
            return _Fault(f"HTTP {status} with a web page")
        no = No(self.host, path, parameters, status, body)
        raise self._terms.refusal(no) from error

    def _give_up(
        self, fault: _Fault, tries: int, malformed: int, waited: float, limited: float
    ) -> None:
        """Raise when patience is at its end."""
        limits = self._limits
        if fault.rate_limited and limited > limits.rate_limit_patience_s:
            msg = (
                f"{self.host} answered HTTP 429 for {limits.rate_limit_patience_s:.0f} s; lower "
                f"{self._terms.rate}, or stop what else uses these keys."
            )
            raise RateLimitedError(msg)
        if malformed >= limits.decode_tries:
            msg = (
                f"{self.host} sent {fault.reason}, {malformed} times; try again later, and tell "
                f"the venue if it stays so."
            )
            raise MalformedResponseError(msg)
        if waited > limits.patience_s:
            msg = (
                f"{self.host} gave no usable answer within {limits.patience_s:g} s (tries: "
                f"{tries}, last: {fault.reason}); check the network and the venue's status, then "
                f"run again."
            )
            raise VenueUnavailableError(msg)

    def _pause(self, tries: int) -> float:
        """Return an exponential back-off with jitter, in seconds."""
        longest = self._limits.backoff_s * 2.0 ** min(tries - 1, 20)
        return min(longest, self._limits.backoff_max_s) * self._random.uniform(0.5, 1.0)

    def _heed_remaining(self) -> None:
        """Stop everybody before the venue has to: nothing is left until the reset."""
        if is_exhausted(self.adapter.headers):
            self._on_exhausted(until_reset(self.adapter.headers))


def _decoded(body: object, decode: Callable[[bytes], T]) -> T | _Fault:
    if not isinstance(body, bytes):
        return _Fault("an empty answer", malformed=True)
    try:
        return decode(body)
    except DecodeError as error:
        if body.lstrip()[:1] == b"<":
            return _Fault("a web page where data were due")
        return _Fault(str(error), malformed=True)


def data_client(key: str, secret: str, url: str | None) -> RESTClient:
    """Return alpaca-py's client for historical market data."""
    return StockHistoricalDataClient(key, secret, raw_data=True, url_override=_root(url))


def corporate_actions_client(key: str, secret: str, url: str | None) -> RESTClient:
    """Return alpaca-py's client for corporate actions."""
    return CorporateActionsClient(key, secret, raw_data=True, url_override=_root(url))


def trading_client(key: str, secret: str, url: str | None) -> RESTClient:
    """Return alpaca-py's client for trading; for the paper host where no other is given."""
    return TradingClient(key, secret, paper=True, raw_data=True, url_override=_root(url))


def _root(url: str | None) -> str | None:
    return url.rstrip("/") if url else None  # a trailing slash would make //v2 on the wire
