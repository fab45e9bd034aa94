"""The door of the venue: slashes, keys, rate limits and faults, in this order.

It is plain ASGI because some faults happen to the connection, below any framework.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alpaca_strategy.simulator import wire
from alpaca_strategy.simulator.faults import ANSWERS, CONNECTION, INSTEAD, Asked, Rule
from alpaca_strategy.simulator.venue import Venue
from alpaca_strategy.simulator.wire import RefusedError

_ORDERS = "/v2/orders"
_IDENTIFIER = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATA = ("/v2/stocks", "/v1/corporate-actions", "/v1beta1")
_GATEWAY_PAGE = (
    "<html>\r\n<head><title>{code} {name}</title></head>\r\n<body>\r\n<center><h1>{code} {name}"
    "</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_NAMES = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Temporarily Unavailable",
          504: "Gateway Time-out"}  # fmt: skip


@dataclass(slots=True)
class _Captured:
    """A response held back."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def send(self, message: Message) -> None:
        """Take one message of the response."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    def start(self, length: int) -> Message:
        """Return the first message, announcing another length."""
        headers = [(n, v) for n, v in self.headers if n != b"content-length"]
        headers.append((b"content-length", str(length).encode()))
        return {"type": "http.response.start", "status": self.status, "headers": headers}


class Gate:
    """Let requests through to the venue's pages, or not."""

    def __init__(self, pages: ASGIApp, venue: Venue) -> None:
        self._pages = pages
        self._venue = venue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        scope["path"] = path = re.sub("/{2,}", "/", scope["path"])
        if path.startswith("/_sim/"):
            await self._pages(scope, receive, send)
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        host = "data" if path.startswith(_DATA) else "trading"
        key = self._key(headers)
        if key is None:
            await self._refuse(host)(scope, receive, send)
            return
        allowed, tell = self._venue.meter.take(key, host)
        limits = [(n.lower().encode(), v.encode()) for n, v in tell.items()]
        send = _adding(send, limits)
        if not allowed:
            body = {"code": 42910000, "message": "rate limit exceeded"}
            await wire.answer(body, 429)(scope, receive, send)
            return
        counted = _IDENTIFIER.sub("{id}", path)  # else every order would have a count of its own
        self._venue.meter.served[f"{key} {scope['method']} {counted}"] += 1
        await self._serve(scope, receive, send)

    def _key(self, headers: dict[str, str]) -> str | None:
        """Return the key id of a request with the right secret."""
        options = self._venue.options
        key = headers.get("apca-api-key-id", "")
        secret = headers.get("apca-api-secret-key", "")
        wanted = options.keys.get(key)
        if wanted is None or not hmac.compare_digest(wanted.encode(), secret.encode()):
            return None
        return key

    @staticmethod
    def _refuse(host: str) -> Response:
        refused = RefusedError(403, "forbidden.")
        if host == "trading":
            refused = RefusedError(401, "unauthorized.")
        return wire.refusal(refused)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        faults = self._venue.faults
        if not faults.rules:
            await self._pages(scope, receive, send)
            return
        body, receive = await _read(scope, receive)
        asked = _asked(scope, self._venue, body)
        rule = faults.decide(asked)
        if rule is not None and rule.after and rule.action in ANSWERS:
            await self._fail_after(rule, scope, receive, send)
        elif rule is None or rule.action == "delay":
            if rule is not None:
                await asyncio.sleep(float(rule.options.get("seconds", 1.0)))
            await self._plain(asked, scope, receive, send)
        elif rule.action in INSTEAD:
            await _instead(rule)(scope, receive, send)
        elif rule.action in {"hang", "drop_before", "rst"}:
            await _cut(rule.action, scope, receive)
        else:
            held = await self._hold(scope, receive)
            if rule.action in CONNECTION:
                await _mangle(rule, held, scope, send)
            else:
                if held.status == 200:
                    held.body = faults.spoil(rule, asked, held.body)
                await _whole(held, send)

    async def _fail_after(self, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry a request out, then let the answer fail."""
        held = await self._hold(scope, receive)
        if rule.action == "delay":
            await asyncio.sleep(float(rule.options.get("seconds", 1.0)))
            await _whole(held, send)
        elif rule.action in INSTEAD:
            await _instead(rule)(scope, receive, send)
        else:
            await _cut(rule.action, scope, receive)

    async def _hold(self, scope: Scope, receive: Receive) -> _Captured:
        held = _Captured()
        await self._pages(scope, receive, held.send)
        return held

    async def _plain(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve without a fault, but keep the page for a later one."""
        if not self._venue.faults.watches_pages():
            await self._pages(scope, receive, send)
            return
        held = await self._hold(scope, receive)
        if held.status == 200:
            self._venue.faults.remember(asked.path, held.body)
        await _whole(held, send)


async def _read(scope: Scope, receive: Receive) -> tuple[bytes, Receive]:
    """Read the body of a new order, and return it with what gives it again."""
    if scope["method"] != "POST" or scope["path"] != _ORDERS:
        return b"", receive
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    again: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return again.pop() if again else await receive()

    return body, replay


def _asked(scope: Scope, venue: Venue, body: bytes) -> Asked:
    query = parse_qs(scope["query_string"].decode())
    symbols = {part for value in query.get("symbols", []) for part in value.split(",")}
    symbols |= set(scope["path"].split("/"))
    token = query.get("page_token", [None])[0]
    order = venue.exchange.orders.get(scope["path"].removeprefix(f"{_ORDERS}/"))
    if order is not None:
        symbols.add(order.symbol)
    posted = _decoded(body)
    symbols.add(str(posted.get("symbol", "")))
    word = str(posted.get("client_order_id") or "")
    return Asked(scope["method"], scope["path"], frozenset(symbols), token, word)


def _decoded(body: bytes) -> dict[str, object]:
    """Return the object of a body, or nothing where it is none: the page will refuse it."""
    try:
        return msgspec.json.decode(body, type=dict[str, object]) if body else {}
    except (msgspec.DecodeError, msgspec.ValidationError):
        return {}


def _adding(send: Send, extra: list[tuple[bytes, bytes]]) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return add


def _instead(rule: Rule) -> Response:
    """Return an error in place of the answer."""
    options = rule.options
    if rule.action == "html":
        code = int(options.get("code", 502))
        page = _GATEWAY_PAGE.format(code=code, name=_NAMES.get(code, "Error"))
        return Response(page, code, media_type="text/html")
    if rule.action == "retry_after":
        wait = options.get("retry_after", 1)
        headers = {} if wait is None else {"Retry-After": str(wait)}
        return wire.answer({"message": "too many requests."}, 429, headers)
    code = int(options.get("code", 500))
    default = {"message": "internal server error occurred"}
    return wire.answer(options.get("body", default), code, options.get("headers"))


async def _cut(action: str, scope: Scope, receive: Receive) -> None:
    """Leave a request without an answer, and wait until the client is gone."""
    transport = scope["extensions"]["simulator.transport"]
    if action == "drop_before":
        transport.close()
    elif action == "rst":
        linger = struct.pack("ii", 1, 0)  # closing now sends a reset
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _whole(held: _Captured, send: Send) -> None:
    await send(held.start(len(held.body)))
    await send({"type": "http.response.body", "body": held.body})


async def _mangle(rule: Rule, held: _Captured, scope: Scope, send: Send) -> None:
    """Send a body that is cut, padded, or slow."""
    options, body = rule.options, held.body
    if rule.action == "oversize":
        blanks = b" " * max(int(options.get("bytes", 50_000_000)) - len(body), 0)
        held.body = body[:-1] + blanks + body[-1:]
        await _whole(held, send)
        return
    if rule.action == "drip":
        await send(held.start(len(body)))
        step = int(options.get("bytes", 64))
        for at in range(0, len(body), step):
            more = at + step < len(body)
            piece = body[at : at + step]
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            await asyncio.sleep(float(options.get("seconds", 0.05)))
        return
    kept = body[: int(len(body) * float(options.get("keep", 0.5)))]
    if not options.get("abrupt"):
        held.body = kept
        await _whole(held, send)
        return
    await send(held.start(len(body)))
    await send({"type": "http.response.body", "body": kept, "more_body": True})
    scope["extensions"]["simulator.transport"].close()


def requests_by_key(served: Counter[str]) -> dict[str, int]:
    """Return how many requests each key made."""
    total: Counter[str] = Counter()
    for name, count in served.items():
        total[name.split(" ", 1)[0]] += count
    return dict(total)
