"""Market data of a venue: trades page by page, corporate actions, clock, calendar, assets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import msgspec
import pyarrow as pa

from alpaca_strategy.broker.paging import Chain
from alpaca_strategy.broker.rest import (
    DecodeError,
    Pace,
    Rest,
    corporate_actions_client,
    data_client,
    trading_client,
)
from alpaca_strategy.broker.trades import TradePage, decode_page
from alpaca_strategy.broker.transport import Limits
from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import MalformedResponseError
from alpaca_strategy.market.schema import CORPORATE_ACTION_SCHEMA

#: How often a page is asked for that holds nothing new although more is to come.
_PAGE_TRIES = 3
#: Group in the answer, and the word to ask for it with.
_ACTIONS = {
    "forward_splits": "forward_split",
    "reverse_splits": "reverse_split",
    "cash_dividends": "cash_dividend",
    "name_changes": "name_change",
}
_SPLITS = ("forward_split", "reverse_split")


class MarketData:
    """One venue's market data, of one feed."""

    def __init__(
        self,
        *,
        key: str,
        secret: str,
        feed: Feed,
        pace: Pace,
        url: str | None = None,
        trading_url: str | None = None,
        page_limit: int = 10_000,
        limits: Limits | None = None,
    ) -> None:
        self.feed = feed
        self._limit = page_limit
        self._data = Rest(data_client(key, secret, url), pace=pace, limits=limits)
        self._actions = Rest(corporate_actions_client(key, secret, url), pace=pace, limits=limits)
        # One address of one's own is the simulator's: its keys never go to Alpaca's host.
        self._trading = Rest(
            trading_client(key, secret, trading_url or url), pace=pace, limits=limits
        )

    def close(self) -> None:
        """Close the connections."""
        for rest in (self._data, self._actions, self._trading):
            rest.close()

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self._data.requests + self._actions.requests + self._trading.requests

    def trade_pages(
        self,
        symbols: str | Sequence[str],
        start: datetime,
        end: datetime,
        page_token: str | None = None,
        *,
        previous: pa.Table | None = None,
    ) -> Iterator[TradePage]:
        """Yield trades page by page, sorted by symbol and then in tape order, none twice.

        Several symbols in one chain of pages need fewer requests: a page holds the end of one
        symbol and the beginning of the next.

        Args:
            symbols: One symbol or several.
            start: First moment, aware.
            end: Last moment, aware.
            page_token: Where to go on, from an earlier page's ``next_token``.
            previous: The last trades of that earlier page, in TRADE_SCHEMA.

        Raises:
            MalformedResponseError: The pages go back, repeat, or do not come to an end.
            VenueError: As `Rest.get` says.
        """
        wanted = [symbols] if isinstance(symbols, str) else sorted(symbols)
        parameters: dict[str, object] = {
            "symbols": ",".join(wanted),
            "start": start.isoformat(),
            "end": end.isoformat(),
            "limit": self._limit,
            "feed": self.feed.value,
            "sort": "asc",
        }
        what = wanted[0] if len(wanted) == 1 else f"{wanted[0]} to {wanted[-1]}"
        chain = Chain(what, page_token, previous)
        while True:
            asked = parameters | ({"page_token": page_token} if page_token else {})
            page = self._trade_page(asked, frozenset(wanted), chain)
            chain.accept(page)
            yield page
            page_token = page.next_token
            if page_token is None:
                return

    def _trade_page(
        self, asked: dict[str, object], symbols: frozenset[str], chain: Chain
    ) -> TradePage:
        """Ask for a page, and once more where it says nothing new although it should."""
        for _ in range(_PAGE_TRIES):
            page = chain.check(
                self._data.get("/stocks/trades", asked, lambda body: decode_page(body, symbols))
            )
            if page.table.num_rows or page.rejected:
                return page
            if page.next_token is None and not page.repeated:
                return page  # the end of the tape, or there is none
        if page.repeated:
            raise chain.repeats(page)
        return page  # the venue may send an empty page and go on

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pa.Table:
        """Return splits, dividends and renames in CORPORATE_ACTION_SCHEMA, by process date.

        Raises:
            VenueError: As `Rest.get` says.
        """
        rows: list[dict[str, object]] = []
        token: str | None = None
        seen: set[str] = set()
        while True:
            asked: dict[str, object] = {
                "symbols": ",".join(symbols),
                "types": ",".join(_ACTIONS.values()),
                "start": start.isoformat(),
                "end": end.isoformat(),
                "limit": 1000,
                "sort": "asc",
            } | ({"page_token": token} if token else {})
            page = self._actions.get("/corporate-actions", asked, _object)
            rows += _actions(page)
            token = page.get("next_page_token") or None
            if token is None:
                return pa.Table.from_pylist(rows, schema=CORPORATE_ACTION_SCHEMA)
            if token in seen:
                msg = "The pages of corporate actions repeat; try again later."
                raise MalformedResponseError(msg)
            seen.add(token)

    def clock(self) -> dict[str, Any]:
        """Return the venue's clock: timestamp, is_open, next_open, next_close."""
        return self._trading.get("/clock", {}, _object)

    def calendar(self, start: date, end: date) -> list[dict[str, Any]]:
        """Return the venue's sessions: date, open and close in New York time."""
        asked: dict[str, object] = {"start": start.isoformat(), "end": end.isoformat()}
        return self._trading.get("/calendar", asked, _list)

    def assets(self) -> list[dict[str, Any]]:
        """Return the venue's active US equities."""
        asked: dict[str, object] = {"status": "active", "asset_class": "us_equity"}
        return self._trading.get("/assets", asked, _list)


def _object(body: bytes) -> dict[str, Any]:
    content: dict[str, Any] = _decoded(body, dict[str, Any])
    return content


def _list(body: bytes) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = _decoded(body, list[dict[str, Any]])
    return content


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        msg = f"a body that is not the documented JSON ({error})"
        raise DecodeError(msg) from error


def _actions(page: dict[str, Any]) -> list[dict[str, object]]:
    groups = page.get("corporate_actions")
    if not isinstance(groups, dict):
        msg = "The corporate actions are not grouped by kind as documented; try again later."
        raise MalformedResponseError(msg)
    try:
        return [
            _action(kind, item)
            for group, kind in _ACTIONS.items()
            for item in groups.get(group) or []
        ]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"A corporate action lacks what is documented ({error!r}); try again later."
        raise MalformedResponseError(msg) from error


def _action(kind: str, item: dict[str, Any]) -> dict[str, object]:
    renamed = kind == "name_change"
    process_date = date.fromisoformat(item["process_date"])
    return {
        "id": str(item["id"]),
        "kind": kind,
        "symbol": item["old_symbol" if renamed else "symbol"],
        "ex_date": date.fromisoformat(item["ex_date"]) if "ex_date" in item else process_date,
        "process_date": process_date,
        "old_rate": _rate(item["old_rate"]) if kind in _SPLITS else None,
        "new_rate": _rate(item["new_rate"]) if kind in _SPLITS else None,
        "cash_rate": float(item["rate"]) if kind == "cash_dividend" else None,
        "new_symbol": item["new_symbol"] if renamed else None,
    }


def _rate(value: Any) -> float:
    """Return how many shares; a split by nothing would spoil every price before it."""
    rate = float(value)
    if not 0 < rate < math.inf:
        msg = f"rate {value} is not a positive number"
        raise ValueError(msg)
    return rate
