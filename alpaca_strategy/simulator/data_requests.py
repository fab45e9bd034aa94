"""What market-data clients may ask for, and what they are told if they may not."""

from __future__ import annotations

import re
from typing import Any

CHANNELS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")
ELSEWHERE = frozenset({"orderbooks", "news", "imbalances"})  # channels of other feeds
AUTOMATIC = ("corrections", "cancelErrors")  # whoever has trades has these
ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    500: "internal error",
}
FATAL = frozenset({402, 404, 406, 407, 409})
_SYMBOL = re.compile(r"[A-Z][A-Z0-9./\-]{0,20}|\*")


class RefusedActionError(Exception):
    """Something that a client may not do; the argument is the venue's code."""


def wanted_channels(asked: dict[str, Any]) -> dict[str, set[str]]:
    """Return the symbols of each channel that a client names.

    Raises:
        RefusedActionError: A channel or a symbol cannot be.
    """
    found: dict[str, set[str]] = {}
    for channel, symbols in asked.items():
        if channel == "action" or channel in AUTOMATIC:
            continue
        if channel in ELSEWHERE:
            raise RefusedActionError(410)
        good = isinstance(symbols, list) and all(
            isinstance(symbol, str) and _SYMBOL.fullmatch(symbol) for symbol in symbols
        )
        if channel not in CHANNELS or not good:
            raise RefusedActionError(400)
        found[channel] = set(symbols)
    return found
