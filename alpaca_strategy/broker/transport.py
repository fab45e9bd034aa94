"""The wire under the genuine clients: every wait has an end, every body has a limit.

alpaca-py sends with a plain `requests` session: no timeout, and the whole body whatever its size.
An adapter is the place that `requests` offers to change that, so the clients stay as they are.
The answer that they get hands out its bytes where they ask for JSON: what is decoded, and into
what, is decided by who knows the type.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.poolmanager import PoolManager, ProxyManager

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much we put up with.

    Attributes:
        connect_s: To open a connection.
        read_s: Between two pieces of an answer.
        deadline_s: For one request from its start to the last byte.
        max_body_bytes: Size of a decoded body; a page of 10,000 trades has about 1.2 MB.
        patience_s: For one question with all its retries, while no good answer comes.
        rate_limit_patience_s: The same while the venue answers 429.
        backoff_s: First pause between two tries; it doubles.
        backoff_max_s: Longest pause.
        decode_tries: How often a body that cannot be read is asked for.
    """

    connect_s: float = 3.0
    read_s: float = 10.0
    deadline_s: float = 30.0
    max_body_bytes: int = 32 << 20
    patience_s: float = 90.0
    rate_limit_patience_s: float = 300.0
    backoff_s: float = 0.5
    backoff_max_s: float = 10.0
    decode_tries: int = 3


class DeadlineError(Timeout):
    """The whole request took too long, however lively it was."""


class OversizeError(RequestException):
    """The body is larger than anything that the venue has to say."""


class RedirectError(RequestException):
    """The venue sent us elsewhere; keys are not carried to another address."""


class RawResponse(Response):
    """A response read to its end, whose JSON is its bytes."""

    def __init__(self, response: Response, body: bytes) -> None:
        super().__init__()
        self.__dict__.update(response.__dict__)
        self._content = body
        self._content_consumed = True
        self.encoding = "utf-8"  # else requests guesses it from the body, slowly

    def json(self, **_: Any) -> bytes:
        """Return the body as it came."""
        return self.content


class _Watch:
    """Shut a request's socket at the deadline.

    Socket timeouts start anew with every byte, so a venue that drips its headers or its body
    would hold us for ever.
    """

    def __init__(self, deadline_s: float) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.expired = False
        self._timer = threading.Timer(deadline_s, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        _here.watch = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None
        _here.watch = None

    def attach(self, sock: socket.socket | None) -> None:
        with self._lock:
            self._socket = sock
            if self.expired:
                self._shut()

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            try:
                # Not SSLSocket's own: that one takes the TLS state away from the reading thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:
                return  # closed already


class _Here(threading.local):
    watch: _Watch | None = None


_here = _Here()


class _WatchedHTTPConnection(HTTPConnection):
    def getresponse(self) -> Any:
        if _here.watch is not None:
            _here.watch.attach(self.sock)
        return super().getresponse()


class _WatchedHTTPSConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        if _here.watch is not None:
            _here.watch.attach(self.sock)
        return super().getresponse()


class _WatchedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHTTPConnection


class _WatchedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPSConnection


def _watch_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _WatchedHTTPPool, "https": _WatchedHTTPSPool}


class BoundedAdapter(HTTPAdapter):
    """Send with timeouts, read with a deadline and a size limit, and refuse redirects.

    Attributes:
        headers: Of the last answer.
        status: Of the last answer; 0 where none came.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.headers: Mapping[str, str] = {}
        self.status = 0
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that the deadline can shut."""
        super().init_poolmanager(*args, **kwargs)
        _watch_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        """Make connections through a proxy that the deadline can shut."""
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        _watch_pools(manager)
        return manager

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:  # type: ignore[override]  # requests passes all by name
        """Send one request and return its answer, read to the end.

        Raises:
            RequestException: No whole answer came within the limits.
        """
        self.headers, self.status = {}, 0
        timeout = (self.limits.connect_s, self.limits.read_s)
        with _Watch(self.limits.deadline_s) as watch:
            try:
                response = super().send(request, **{**kwargs, "stream": True, "timeout": timeout})
                body = self._read(response)
            except (RequestException, OSError) as error:
                if watch.expired:
                    raise self._too_late() from error
                raise
            if watch.expired:  # headers that were cut look like a short answer
                raise self._too_late()
        self.headers, self.status = response.headers, response.status_code
        if response.is_redirect or 300 <= response.status_code < 400:
            msg = f"a redirect (HTTP {response.status_code})"
            raise RedirectError(msg)
        return RawResponse(response, body)

    def _read(self, response: Response) -> bytes:
        pieces, size = [], 0
        try:
            for piece in response.raw.stream(_PIECE, decode_content=True):
                size += len(piece)
                self._check_size(size)
                pieces.append(piece)
        except ReadTimeoutError as error:
            response.close()
            msg = f"silence for {self.limits.read_s:g} s in the middle of the answer"
            raise Timeout(msg) from error
        except HTTPError as error:
            response.close()
            msg = "the answer broke off"
            raise RequestsConnectionError(msg) from error
        except BaseException:
            response.close()
            raise
        return b"".join(pieces)

    def _too_late(self) -> DeadlineError:
        return DeadlineError(f"no whole answer within {self.limits.deadline_s:g} s")

    def _check_size(self, size: int) -> None:
        if size > self.limits.max_body_bytes:
            msg = f"a body of more than {self.limits.max_body_bytes:,} bytes"
            raise OversizeError(msg)


def bound(session: Session, limits: Limits, *, loopback: bool) -> BoundedAdapter:
    """Put the limits on a client's session.

    Args:
        session: The client's.
        limits: In force from now on.
        loopback: The venue is on this machine, so proxies of the environment do not apply.
    """
    adapter = BoundedAdapter(limits)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    session.trust_env = not loopback
    return adapter
