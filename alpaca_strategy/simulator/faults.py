"""Faults of the service: which request meets one, and how a good answer is spoilt.

A rule is a JSON object::

    {"match": {"method": "GET", "path": "/v2/stocks/*", "nth": 2, "prob": 0.1, "symbol": "F",
               "page": "first" | "next"},
     "action": "delay", "seconds": 1.5, "times": 3, "for_s": 60}

Every part of ``match`` is optional; ``nth`` counts the requests that the other parts match, from
1, and may be a list. ``times`` is how often the rule fires, ``for_s`` how long it lives. Of
several rules the first that fires wins. ``symbol`` is one that the address or an order's body
names, or that of the order named; ``client_order_id`` is a pattern for a new order's.

``"after": true`` carries the request out first and then lets the answer fail: an order is taken,
and its sender does not hear of it.

=============== ==================================================================================
action          what happens (options with their defaults)
=============== ==================================================================================
delay           the answer comes late (seconds 1)
hang            no answer, the connection stays open
drop_before     the connection closes without an answer (drop is the same)
rst             the connection is reset
status          another status (code 500, body, headers)
html            a gateway's page (code 502)
retry_after     429 (retry_after 1, a number of seconds, or null for no header)
truncate        the body ends early (keep 0.5; abrupt false: the length given is the cut one)
oversize        a body padded with blanks (bytes 50,000,000)
drip            the body in small pieces (bytes 64, seconds 0.05 between them)
null_field      a field of every item is null (field p); with field trades the whole listing
nan             a field is NaN, which JSON does not have (field p)
wrong_type      a field is a text (field p)
empty_page      no items, the page token as it would be
short_page      half of the items, and the token that belongs to them
dup_page        the page before comes again, with the token of this one
token_loop      the token leads back to this page, for ever
empty_token     the last page's token is "" and not null
duplicate_trade the first item of the page comes twice
malformed_trade an item without its price and with a text for its time
=============== ==================================================================================
"""

from __future__ import annotations

import fnmatch
import random
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alpaca_strategy.simulator.store import Place

CONNECTION = frozenset({"delay", "hang", "drop_before", "rst", "drip", "truncate", "oversize"})
INSTEAD = frozenset({"status", "html", "retry_after"})
#: What happens in place of an answer, whether the request has been carried out or not.
ANSWERS = INSTEAD | {"delay", "hang", "drop_before", "rst"}
_MATCH = ("method", "path", "nth", "prob", "symbol", "page", "client_order_id")
LISTINGS = ("trades", "bars", "corporate_actions")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as far as rules look at it."""

    method: str
    path: str
    symbols: frozenset[str]
    page_token: str | None
    client_order_id: str = ""


@dataclass(slots=True)
class Rule:
    """One fault and when it strikes."""

    action: str
    match: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    times: int | None = None
    dies_at: float | None = None
    after: bool = False
    seen: int = 0
    fired: int = 0

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Rule:
        """Read a rule from JSON.

        Raises:
            ValueError: The action or a part of the match does not exist.
        """
        options = dict(raw)
        action, match = str(options.pop("action", "")), dict(options.pop("match", {}))
        action = "drop_before" if action == "drop" else action
        if action not in ACTIONS:
            msg = f"action {action!r} does not exist; there are {', '.join(sorted(ACTIONS))}"
            raise ValueError(msg)
        unknown = set(match) - set(_MATCH)
        if unknown:
            msg = f"match knows {', '.join(_MATCH)} and not {sorted(unknown)}"
            raise ValueError(msg)
        after = options.pop("after", False)
        if not isinstance(after, bool):
            msg = f"after must be true or false, got {after!r}"
            raise TypeError(msg)
        times, life = options.pop("times", None), options.pop("for_s", None)
        dies_at = None if life is None else time.monotonic() + float(life)
        times = None if times is None else int(times)
        return cls(action, match, options, times, dies_at, after)

    def strikes(self, asked: Asked, draw: random.Random) -> bool:
        """Tell whether the rule fires on a request; counts the request if it matches."""
        if self.dies_at is not None and time.monotonic() > self.dies_at:
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        if not self._fits(asked):
            return False
        self.seen += 1
        nth = self.match.get("nth")
        if nth is not None and self.seen not in (nth if isinstance(nth, list) else [nth]):
            return False
        if draw.random() >= float(self.match.get("prob", 1.0)):
            return False
        self.fired += 1
        return True

    def _fits(self, asked: Asked) -> bool:
        match = self.match
        page = "next" if asked.page_token else "first"
        return (
            match.get("method", asked.method) == asked.method
            and fnmatch.fnmatchcase(asked.path, match.get("path", "*"))
            and ("symbol" not in match or match["symbol"] in asked.symbols)
            and match.get("page", page) == page
            and fnmatch.fnmatchcase(asked.client_order_id, match.get("client_order_id", "*"))
        )


@dataclass
class Faults:
    """The rules in force."""

    seed: int = 0
    rules: list[Rule] = field(default_factory=list)
    _pages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def clear(self) -> None:
        """Remove every rule."""
        self.rules.clear()
        self._pages.clear()
        self._draw = random.Random(self.seed)

    def decide(self, asked: Asked) -> Rule | None:
        """Return the fault that a request meets, or None."""
        return next((rule for rule in self.rules if rule.strikes(asked, self._draw)), None)

    def watches_pages(self) -> bool:
        """Tell whether pages must be remembered, to be served again."""
        return any(rule.action == "dup_page" for rule in self.rules)

    def remember(self, path: str, body: bytes) -> None:
        """Keep the page last served under a path."""
        self._pages[path] = msgspec.json.decode(body)

    def spoil(self, rule: Rule, asked: Asked, body: bytes) -> bytes:
        """Return a good answer's body, spoilt."""
        page = msgspec.json.decode(body)
        if not isinstance(page, dict):
            page = {"items": page}
        if rule.action == "dup_page":
            before = self._pages.get(asked.path, page)
            page = {**before, "next_page_token": page.get("next_page_token")}
            return msgspec.json.encode(page)
        _SPOIL[rule.action](page, rule.options, asked)
        listing = page.get("items", page)
        return msgspec.json.encode(listing).replace(b'"@nan@"', b"NaN")


def _groups(page: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return (name, items) of a listing; items are shared with the page."""
    for kind in LISTINGS:
        listing = page.get(kind)
        if isinstance(listing, dict):
            return [(name, v if isinstance(v, list) else [v]) for name, v in listing.items()]
        if isinstance(listing, list):
            return [("", listing)]
    return [("", page["items"] if isinstance(page.get("items"), list) else [page])]


def _set_field(page: dict[str, Any], name: str, value: object) -> None:
    if name in page:
        page[name] = value
        return
    for _, items in _groups(page):
        for item in items:
            item[name] = value


def _null_field(page: dict[str, Any], options: dict[str, Any], _: Asked) -> None:
    _set_field(page, options.get("field", "p"), None)


def _nan(page: dict[str, Any], options: dict[str, Any], _: Asked) -> None:
    _set_field(page, options.get("field", "p"), "@nan@")


def _wrong_type(page: dict[str, Any], options: dict[str, Any], _: Asked) -> None:
    _set_field(page, options.get("field", "p"), "abc")


def _empty_page(page: dict[str, Any], _options: dict[str, Any], _: Asked) -> None:
    for kind in LISTINGS:
        if kind in page:
            page[kind] = [] if isinstance(page[kind], list) else {}


def _short_page(page: dict[str, Any], _options: dict[str, Any], _: Asked) -> None:
    groups = _groups(page)
    total = sum(len(items) for _, items in groups)
    left, last = max(total // 2, 1), None
    for name, items in groups:
        del items[left:]
        left -= len(items)
        last = (name, items[-1]) if items else last
    if "trades" in page and isinstance(page["trades"], dict):
        page["trades"] = {name: items for name, items in groups if items}
        if last is not None:
            page["next_page_token"] = _token_of(*last)


def _token_of(symbol: str, item: dict[str, Any]) -> str:
    from alpaca_strategy.simulator.encode import parse_timestamp  # noqa: PLC0415  # rarely needed

    return Place(symbol, parse_timestamp(item["t"]), item["x"], item["i"]).token()


def _token_loop(page: dict[str, Any], _options: dict[str, Any], asked: Asked) -> None:
    groups = [(name, items) for name, items in _groups(page) if items]
    if asked.page_token:
        page["next_page_token"] = asked.page_token
    elif groups and "i" in groups[0][1][0]:
        # Page one has no token of its own: the one that leads behind its first item repeats it.
        page["next_page_token"] = _token_of(groups[0][0], groups[0][1][0])


def _empty_token(page: dict[str, Any], _options: dict[str, Any], _: Asked) -> None:
    page["next_page_token"] = page.get("next_page_token") or ""


def _duplicate_trade(page: dict[str, Any], _options: dict[str, Any], _: Asked) -> None:
    for _name, items in _groups(page):
        items[:1] = items[:1] * 2


def _malformed_trade(page: dict[str, Any], _options: dict[str, Any], _: Asked) -> None:
    for _name, items in _groups(page)[:1]:
        if items:
            items[len(items) // 2].pop("p", None)
            items[len(items) // 2]["t"] = "yesterday"


_SPOIL = {
    "null_field": _null_field,
    "nan": _nan,
    "wrong_type": _wrong_type,
    "empty_page": _empty_page,
    "short_page": _short_page,
    "token_loop": _token_loop,
    "empty_token": _empty_token,
    "duplicate_trade": _duplicate_trade,
    "malformed_trade": _malformed_trade,
}
ACTIONS = CONNECTION | INSTEAD | frozenset(_SPOIL) | {"dup_page"}
