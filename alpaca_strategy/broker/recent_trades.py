"""What no stream has delivered: the trades of a gap, page by page, and splits since an entry."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import structlog

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.market.schema import TRADE_SCHEMA

log = structlog.get_logger(__name__)


class RecentTrades:
    """The venue's tape, asked by one thread at a time."""

    def __init__(self, market: MarketData) -> None:
        self._market = market
        self._lock = threading.Lock()  # the client beneath is not for several threads at once

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pa.Table:
        """Return trades in TRADE_SCHEMA, by symbol, in tape order.

        Args:
            symbols: Which; none is no question.
            start: First moment, aware.
            end: Last moment, aware.

        Raises:
            VenueError: The venue gives no usable answer, or not the whole of it.
        """
        tables = [TRADE_SCHEMA.empty_table()]
        if not symbols or end < start:
            return tables[0]
        with self._lock:
            for page in self._market.trade_pages(list(symbols), start, end):
                if page.rejected:
                    log.warning(
                        "trades_set_aside", count=len(page.rejected), first=page.rejected[0]
                    )
                tables.append(page.table)
        return pa.concat_tables(tables)

    def splits(self, since: Mapping[str, date], until: date) -> dict[str, Decimal]:
        """Return shares for one old, of symbols that have split.

        Args:
            since: By symbol, the day after which splits count.
            until: The last day that counts.

        Raises:
            VenueError: The venue gives no usable answer.
        """
        if not since:
            return {}
        with self._lock:
            actions = self._market.corporate_actions(sorted(since), min(since.values()), until)
        found: dict[str, Decimal] = {}
        for one in actions.to_pylist():
            symbol, old, new = one["symbol"], one["old_rate"], one["new_rate"]
            if old and new and symbol in since and since[symbol] < one["ex_date"] <= until:
                factor = Decimal(repr(new)) / Decimal(repr(old))
                found[symbol] = found.get(symbol, Decimal(1)) * factor
        return found

    def close(self) -> None:
        """Close the connections."""
        self._market.close()
