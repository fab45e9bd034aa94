"""A venue on a real socket that answers exactly what a test tells it, byte for byte."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


Answer = Callable[[socket.socket, threading.Event], None]
Script = Callable[[Request, int], Answer]


def raw(text: bytes) -> Answer:
    """Send these bytes and close."""

    def send(sock: socket.socket, _: threading.Event) -> None:
        sock.sendall(text)

    return send


def reply(
    body: object = b"", status: int = 200, headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
) -> Answer:  # fmt: skip
    """Send a whole answer; objects become JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Type: {kind}",
        f"Content-Length: {len(content)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


def page(code: int = 502) -> Answer:
    """Send a gateway's page."""
    return reply(b"<html><body>Bad Gateway</body></html>", code, kind="text/html")


def drip(text: bytes, every_s: float = 0.02) -> Answer:
    """Send one byte now and then, for ever: the last one again and again."""

    def send(sock: socket.socket, stopped: threading.Event) -> None:
        at = 0
        while not stopped.wait(every_s):
            sock.sendall(text[min(at, len(text) - 1) :][:1])
            at += 1

    return send


def hang(sock: socket.socket, stopped: threading.Event) -> None:
    """Say nothing, and keep the connection."""
    stopped.wait()


def reset(sock: socket.socket, _: threading.Event) -> None:
    """Reset the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@dataclass
class ScriptedVenue:
    """A running venue.

    Attributes:
        url: Its root.
        seen: The requests so far, oldest first.
    """

    url: str = ""
    seen: list[Request] = field(default_factory=list)


@contextmanager
def scripted_venue(script: Script) -> Iterator[ScriptedVenue]:
    """Answer each request with what the script returns for it and its number, from 0."""
    listener = socket.create_server(("127.0.0.1", 0))
    venue = ScriptedVenue(f"http://127.0.0.1:{listener.getsockname()[1]}")
    stopped, threads = threading.Event(), []

    def serve(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(65536)
                if not piece:
                    return
                head += piece
            text, _, body = head.partition(b"\r\n\r\n")
            request = _parse(text.decode())
            length = int(request.headers.get("Content-Length", 0))
            while len(body) < length:
                body += sock.recv(65536)
            request = replace(request, body=body)
            number = len(venue.seen)
            venue.seen.append(request)
            script(request, number)(sock, stopped)

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                thread = threading.Thread(target=serve, args=(sock,), daemon=True)
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield venue
    finally:
        stopped.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [acceptor, *threads]:
            thread.join(5)


def _parse(head: str) -> Request:
    first, *lines = head.split("\r\n\r\n", maxsplit=1)[0].split("\r\n")
    method, target, _ = first.split(" ")
    parts = urlsplit(target)
    headers = dict(line.split(": ", 1) for line in lines)
    return Request(method, parts.path, dict(parse_qsl(parts.query)), headers)
