"""The trades of today that a stream has not delivered, page by page from the venue."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime

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

    def close(self) -> None:
        """Close the connections."""
        self._market.close()
