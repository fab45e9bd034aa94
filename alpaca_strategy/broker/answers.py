"""What an HTTP answer says beside its body: errors in words, limits, why there was none."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ConnectTimeout, RequestException, SSLError, Timeout
from urllib3.exceptions import MaxRetryError, NewConnectionError

from alpaca_strategy.broker.transport import (
    DeadlineError,
    Limits,
    OversizeError,
    RedirectError,
)
from alpaca_strategy.errors import (
    AlpacaStrategyError,
    CredentialsError,
    EntitlementError,
    SettingsError,
    UnknownSymbolError,
    UserError,
)

_MAX_PUSH_BACK_S = 90.0  # a reset further away than this is not believed
_MAX_QUOTE = 200


@dataclass(frozen=True, slots=True)
class No:
    """A question that was definitely refused.

    Attributes:
        host: The venue's.
        path: What was asked.
        parameters: Of the query.
        status: HTTP status.
        body: What was said, JSON.
    """

    host: str
    path: str
    parameters: Mapping[str, object]
    status: int
    body: str

    @property
    def quote(self) -> str:
        """The venue's words, to stand behind a statement."""
        words = said(self.body)
        return f' ("{words}")' if words else ""


@dataclass(frozen=True, slots=True)
class Terms:
    """How one host is spoken with.

    Attributes:
        url: The setting with its address, for people.
        rate: The setting with the allowed rate of requests, for people.
        refusal: Returns what a definite refusal means.
    """

    url: str
    rate: str
    refusal: Callable[[No], AlpacaStrategyError]


def data_refusal(no: No) -> AlpacaStrategyError:
    """Return what a refusal of the market data means."""
    text = (said(no.body) or "").lower()
    if no.status == 403 and any(word in text for word in ("subscription", "permit")):
        feed = no.parameters.get("feed", "this feed")
        msg = (
            f"The account may not read {feed} for this range{no.quote}; use data.feed iex, a "
            f"later hour, or a subscription."
        )
        return EntitlementError(msg)
    if no.status in {401, 403}:
        msg = (
            f"{no.host} refuses the keys with HTTP {no.status}{no.quote}; check ALPACA_DATA_KEY "
            f"and ALPACA_DATA_SECRET."
        )
        return CredentialsError(msg)
    if no.status == 404:
        msg = f"{no.host} has no {no.path}{no.quote}; correct data_url."
        return UserError(msg)
    if "symbol" in text:
        msg = (
            f"{no.host} does not know a symbol of {no.parameters.get('symbols', '?')}{no.quote}; "
            f"correct the universe."
        )
        return UnknownSymbolError(msg)
    msg = (
        f"{no.host} refused {no.path} with HTTP {no.status}{no.quote}; correct what was asked for."
    )
    return UserError(msg)


#: Of everything that is read with the keys for market data.
DATA_TERMS = Terms("data_url", "data.requests_per_minute", data_refusal)


def host_of(url: str, setting: str) -> str:
    """Return host and port of a venue.

    Raises:
        SettingsError: It is no URL; the sentence names the setting.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts.netloc.rpartition("@")[2]  # reading the port has checked it
    except ValueError:
        pass
    msg = (
        f"The venue's address {url!r} is no URL; write {setting} as https://host or "
        f"http://host:port."
    )
    raise SettingsError(msg)


def error_body(body: str) -> dict[str, Any] | None:
    """Return the object of an error's body, or None where it is not JSON."""
    try:
        return msgspec.json.decode(body.encode(), type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def quoted(message: object) -> str:
    """Return what the venue says on one line, not too long."""
    return " ".join(str(message).split()).rstrip(".")[:_MAX_QUOTE]


def said(body: str) -> str | None:
    """Return the message of an error's body, or None where it is not the venue's JSON."""
    found = error_body(body)
    return None if found is None else quoted(found.get("message", ""))


def until_reset(headers: Mapping[str, str]) -> float:
    """Return the seconds until the venue's limit is reset, by its own clock."""
    wait = _number(headers.get("Retry-After"))
    reset = _number(headers.get("X-RateLimit-Reset"))
    if wait is None and reset is not None:
        wait = reset - _sent_at(headers.get("Date"))
    return min(max(1.0 if wait is None else wait, 0.05), _MAX_PUSH_BACK_S)


def is_exhausted(headers: Mapping[str, str]) -> bool:
    """Tell whether the venue says that nothing is left until its limit is reset."""
    return headers.get("X-RateLimit-Remaining") == "0" and "X-RateLimit-Reset" in headers


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


def transport_reason(error: RequestException, limits: Limits) -> str:
    """Return in a few words why no answer came; never the request itself."""
    if isinstance(error, DeadlineError | OversizeError | RedirectError):
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


def never_left(error: BaseException) -> bool:
    """Tell whether a request certainly did not leave: there was no connection to send it on."""
    if isinstance(error, ConnectTimeout):
        return True
    cause = error.args[0] if isinstance(error, RequestsConnectionError) and error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)
