"""An account at a scripted venue: what its orders look like, and clients with little patience."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import scripted_venue as sv

from alpaca_strategy.broker.budget import Budget
from alpaca_strategy.broker.trading import TRADING_LIMITS, TradingApi
from alpaca_strategy.domain.orders import Side, Ticket

# pragma: allowlist nextline secret
KEY, SECRET = "PKVISIBLE123", "very/secret+456"
SHORT = replace(
    TRADING_LIMITS, connect_s=2, read_s=0.3, deadline_s=0.5, patience_s=0.6, backoff_s=0.01,
    rate_limit_patience_s=0.5,
)  # fmt: skip
TICKET = Ticket("as-20261001-010-b0-SPY", "SPY", Side.BUY, Decimal(3))
ORDER_ID = "61e69015-8549-4bfd-b9c3-01e75843f47d"
SINCE = datetime(2026, 10, 1, 13, 30, tzinfo=UTC)


def order(**fields: Any) -> dict[str, Any]:
    return {
        "id": ORDER_ID, "client_order_id": TICKET.client_order_id, "symbol": "SPY", "side": "buy",
        "qty": "3", "filled_qty": "0", "filled_avg_price": None, "status": "new", "type": "market",
        "submitted_at": "2026-10-01T14:00:00Z", "updated_at": None, "limit_price": None, **fields,
    }  # fmt: skip


Connect = Callable[..., TradingApi]


@contextmanager
def connections() -> Iterator[Connect]:
    """Return accounts at a venue, with a budget that is never the matter unless given."""
    opened: list[TradingApi] = []

    def make(url: str, budget: Budget | None = None, **options: Any) -> TradingApi:
        options = {"limits": SHORT, "order_wait_s": 0.2, "cancel_wait_s": 0.2} | options
        budget = budget or Budget(per_minute=100_000)
        opened.append(TradingApi(key=KEY, secret=SECRET, url=url, budget=budget, **options))
        return opened[-1]

    yield make
    for api in opened:
        api.close()


def always(answer: sv.Answer) -> sv.Script:
    return lambda _, __: answer


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = json.dumps(order()).encode()
LENGTH = f"Content-Length: {len(BODY)}\r\n\r\n".encode()
#: Answers that leave open what became of a request.
LOST: dict[str, sv.Answer] = {
    "hanging": sv.hang,
    "reset": sv.reset,
    "closed without a word": sv.raw(b""),
    "not even HTTP": sv.raw(b"\x00\x01garbage\r\n\r\n"),
    "endless head": sv.raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
    "a status of letters": sv.raw(b"HTTP/1.1 yes OK\r\n\r\n"),
    "a negative length": sv.raw(HEAD + b"Content-Length: -5\r\n\r\n" + BODY[:5]),
    "504 after it was taken": sv.page(504),
    "502": sv.page(502),
    "500": sv.reply({"code": 50010000, "message": "internal server error occurred"}, 500),
    "503 empty": sv.reply(b"", 503),
    "429 with a page": sv.page(429),
    "403 with a page": sv.page(403),
    "200 with a page": sv.page(200),
    "200 empty": sv.reply(b""),
    "JSON cut short": sv.reply(BODY[:-30]),
    "body cut short": sv.raw(HEAD + LENGTH + BODY[:-30]),
    "chunk cut short": sv.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + BODY[:20]),
    "broken gzip": sv.reply(b"\x1f\x8bnonsense", headers={"Content-Encoding": "gzip"}),
    "NaN": sv.reply(BODY.replace(b'"3"', b"NaN")),
    "1e308": sv.reply(BODY.replace(b'"3"', b"1e308")),
    "wrong types": sv.reply(order(symbol=["SPY"], qty={})),
    "null for the order": sv.reply(b"null"),
    "another order": sv.reply(order(client_order_id="as-20261001-000-b0-SPY")),
    "dripping head": sv.drip(HEAD),
    "dripping body": sv.drip(HEAD + LENGTH + BODY, 0.02),
    "dripping chunks": sv.drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 999),
    "a redirect": sv.reply(b"", 307, {"Location": "http://127.0.0.1:9/v2/orders"}),
    "202": sv.reply(order(), 202),
    "204": sv.raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
}
#: The venue says that it got too many requests.
FULL = sv.reply(
    {"code": 42910000, "message": "rate limit exceeded"}, 429, {"Retry-After": "60"}
)  # fmt: skip
