"""One way to ask the venue: the genuine clients, with retries and errors at this layer only.

Only reads go through here, so that a question may be asked again. What the venue says becomes one
of our errors: refused (keys, entitlement, a bad question), 429, no usable answer, nonsense.
"""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.trading.client import TradingClient
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import (
    ConnectTimeout,
    RequestException,
    SSLError,
    Timeout,
)

from alpaca_strategy.broker.transport import (
    DeadlineError,
    Limits,
    OversizeError,
    RedirectError,
    bound,
)
from alpaca_strategy.errors import (
    AlpacaStrategyError,
    CredentialsError,
    EntitlementError,
    MalformedResponseError,
    RateLimitedError,
    SettingsError,
    UnknownSymbolError,
    UserError,
    VenueUnavailableError,
)

T = TypeVar("T")
log = structlog.get_logger(__name__)

_LOOPBACK = ("127.", "localhost", "::1")
_MAX_PUSH_BACK_S = 90.0  # a reset further away than this is not believed
_MAX_QUOTE = 200


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
    """Ask one host through one genuine client. Not for several threads at once."""

    def __init__(
        self,
        client: RESTClient,
        *,
        pace: Pace,
        limits: Limits | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._pace = pace
        self._limits = limits or Limits()
        self._sleep = sleep
        self._clock = clock
        self._random = random.Random()  # noqa: S311  # spreads retries; nothing secret
        base = client._base_url  # noqa: SLF001  # alpaca-py offers no other way to any of these
        self.host = _host(str(getattr(base, "value", base)))
        loopback = self.host.strip("[").startswith(_LOOPBACK)
        self._adapter = bound(client._session, self._limits, loopback=loopback)  # noqa: SLF001
        client._retry = 0  # noqa: SLF001  # else 429 and 504 block for 9 s inside the client
        self.requests = 0

    def close(self) -> None:
        """Close the connections."""
        self._client._session.close()  # noqa: SLF001

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
                wait = self._until_reset()
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
            body = self._client.get(path, dict(parameters))
        except APIError as error:
            return self._refused(path, parameters, error)
        except RedirectError as error:
            msg = (
                f"{self.host} answered {path} with {error}, and keys are not carried to another "
                f"address; correct data_url, or log in to the network that sends you there."
            )
            raise VenueUnavailableError(msg) from error
        except RequestException as error:
            return _Fault(_transport_reason(error, self._limits))
        self._heed_remaining()
        if not isinstance(body, bytes):
            return _Fault("an empty answer", malformed=True)
        try:
            return decode(body)
        except DecodeError as error:
            if body.lstrip()[:1] == b"<":
                return _Fault("a web page where data were due")
            return _Fault(str(error), malformed=True)

    def _refused(self, path: str, parameters: Mapping[str, object], error: APIError) -> _Fault:
        status = int(error.status_code or 0)
        said = _said(str(error))
        if status == 429:
            return _Fault("HTTP 429, too many requests", rate_limited=True)
        if status in {408, 425} or status >= 500:
            return _Fault(f"HTTP {status}")
        if said is None and str(error).strip():  # a proxy's page, not the venue's word
            return _Fault(f"HTTP {status} with a web page")
        raise self._refusal(status, said or "", path, parameters) from error

    def _refusal(
        self, status: int, said: str, path: str, parameters: Mapping[str, object]
    ) -> AlpacaStrategyError:
        """Return what a definite refusal means."""
        quote = f' ("{said}")' if said else ""
        if status == 403 and any(word in said.lower() for word in ("subscription", "permit")):
            feed = parameters.get("feed", "this feed")
            msg = (
                f"The account may not read {feed} for this range{quote}; use data.feed iex, a "
                f"later hour, or a subscription."
            )
            return EntitlementError(msg)
        if status in {401, 403}:
            msg = (
                f"{self.host} refuses the keys with HTTP {status}{quote}; check ALPACA_DATA_KEY "
                f"and ALPACA_DATA_SECRET."
            )
            return CredentialsError(msg)
        if status == 404:
            msg = f"{self.host} has no {path}{quote}; correct data_url."
            return UserError(msg)
        if "symbol" in said.lower():
            msg = (
                f"{self.host} does not know a symbol of {parameters.get('symbols', '?')}{quote}; "
                f"correct the universe."
            )
            return UnknownSymbolError(msg)
        msg = f"{self.host} refused {path} with HTTP {status}{quote}; correct what was asked for."
        return UserError(msg)

    def _give_up(
        self, fault: _Fault, tries: int, malformed: int, waited: float, limited: float
    ) -> None:
        """Raise when patience is at its end."""
        limits = self._limits
        if fault.rate_limited and limited > limits.rate_limit_patience_s:
            msg = (
                f"{self.host} answered HTTP 429 for {limits.rate_limit_patience_s:.0f} s; lower "
                f"data.requests_per_minute, or stop what else uses these keys."
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

    def _until_reset(self) -> float:
        """Return the seconds until the venue's limit is reset, by its own clock."""
        headers = self._adapter.headers
        wait = _number(headers.get("Retry-After"))
        reset = _number(headers.get("X-RateLimit-Reset"))
        if wait is None and reset is not None:
            wait = reset - _sent_at(headers.get("Date"))
        return min(max(1.0 if wait is None else wait, 0.05), _MAX_PUSH_BACK_S)

    def _heed_remaining(self) -> None:
        """Stop everybody before the venue has to: nothing is left until the reset."""
        headers = self._adapter.headers
        if headers.get("X-RateLimit-Remaining") == "0" and "X-RateLimit-Reset" in headers:
            self._pace.push_back(self._until_reset())


def _host(url: str) -> str:
    """Return host and port of the venue."""
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts.netloc.rpartition("@")[2]  # reading the port has checked it
    except ValueError:
        pass
    msg = f"The venue's address {url!r} is no URL; write data_url as https://host or http://host:port."
    raise SettingsError(msg)


def _number(text: str | None) -> float | None:
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _sent_at(text: str | None) -> float:
    """Return when the venue sent its answer, by its own clock where it tells."""
    try:
        if text is not None:
            return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        pass
    return time.time()


def _said(body: str) -> str | None:
    """Return the message of an error body, or None where it is not the venue's JSON."""
    try:
        message = msgspec.json.decode(body.encode(), type=dict[str, Any]).get("message", "")
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return " ".join(str(message).split()).rstrip(".")[:_MAX_QUOTE]


def _transport_reason(error: RequestException, limits: Limits) -> str:
    """Return in a few words why no answer came; never the request itself."""
    if isinstance(error, DeadlineError | OversizeError):
        return str(error)
    if isinstance(error, ConnectTimeout):
        return f"no connection within {limits.connect_s:g} s"
    if isinstance(error, Timeout):
        return f"no answer within {limits.read_s:g} s"
    if isinstance(error, SSLError):
        return "the TLS handshake failed"
    if isinstance(error, RequestsConnectionError):
        return "the connection was refused or broke off"
    return type(error).__name__


def data_client(key: str, secret: str, url: str | None) -> RESTClient:
    """Return alpaca-py's client for historical market data."""
    return StockHistoricalDataClient(key, secret, raw_data=True, url_override=_root(url))


def corporate_actions_client(key: str, secret: str, url: str | None) -> RESTClient:
    """Return alpaca-py's client for corporate actions."""
    return CorporateActionsClient(key, secret, raw_data=True, url_override=_root(url))


def trading_client(key: str, secret: str, url: str | None) -> RESTClient:
    """Return alpaca-py's client for the paper trading host."""
    return TradingClient(key, secret, paper=True, raw_data=True, url_override=_root(url))


def _root(url: str | None) -> str | None:
    return url.rstrip("/") if url else None  # a trailing slash would make //v2 on the wire
