"""Answers and parameters as the venue has them: JSON, error bodies, times, lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from alpaca_strategy.simulator import encode

MAX_LIMIT = 10_000


class RefusedError(Exception):
    """A request that the venue answers with an error.

    Attributes:
        status: HTTP status.
        body: The JSON object sent.
    """

    def __init__(self, status: int, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message} if code is None else {"code": code, "message": message}


def answer(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON response."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Response(body, status, headers, "application/json; charset=utf-8")


def refusal(error: RefusedError) -> Response:
    """Return the response of a refused request."""
    return answer(error.body, error.status)


def text_list(request: Request, name: str) -> tuple[str, ...]:
    """Return a comma-separated parameter without blanks, each once."""
    raw = request.query_params.get(name, "")
    return tuple(dict.fromkeys(part.strip() for part in raw.split(",") if part.strip()))


def moment(request: Request, name: str, default: int, *, end_of_day: bool = False) -> int:
    """Return a time parameter in nanoseconds; a bare date means midnight, or the day's end.

    Raises:
        RefusedError: It cannot be read as a time.
    """
    raw = request.query_params.get(name)
    if not raw:
        return default
    try:
        value = encode.parse_timestamp(raw)
    except (ValueError, OverflowError) as error:
        raise RefusedError(400, f"invalid {name}: {raw}") from error
    if len(raw) <= 10 and end_of_day:
        value += 86_400 * 1_000_000_000 - 1
    return value


def integer(request: Request, name: str, default: int, low: int, high: int) -> int:
    """Return a whole number within bounds.

    Raises:
        RefusedError: It is none, or out of bounds.
    """
    raw = request.query_params.get(name)
    if raw is None:
        return default
    try:
        value = int(raw)
    except ValueError as error:
        raise RefusedError(400, f"invalid {name}: {raw}") from error
    if not low <= value <= high:
        raise RefusedError(400, f"invalid {name}: {value} (must be between {low} and {high})")
    return value


def choice(request: Request, name: str, default: str, allowed: tuple[str, ...]) -> str:
    """Return one of a few words.

    Raises:
        RefusedError: It is another word.
    """
    value = request.query_params.get(name) or default
    if value not in allowed:
        raise RefusedError(400, f"invalid {name}: {value}")
    return value


def envelope(kind: str, found: Mapping[str, list[bytes]], token: str | None, **more: Any) -> bytes:
    """Return a page: items by symbol from pieces that end with commas, and the next token."""
    parts = [b'{"', kind.encode(), b'":{']
    for n, (symbol, pieces) in enumerate(found.items()):
        parts += [b"," if n else b"", msgspec.json.encode(symbol), b":["]
        parts += [*pieces[:-1], pieces[-1][:-1], b"]"]
    parts += [b'},"next_page_token":', msgspec.json.encode(token)]
    for name, value in more.items():
        parts += [b',"', name.encode(), b'":', msgspec.json.encode(value)]
    return b"".join([*parts, b"}"])
