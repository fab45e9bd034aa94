"""Is a chain of pages sound: it goes forward, repeats nothing, and comes to an end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from alpaca_strategy.broker.trades import SymbolTrades, TradePage
from alpaca_strategy.errors import MalformedResponseError

#: A night of 30 of the busiest symbols has about 15,000 pages; more than this is a defect.
MAX_PAGES = 50_000
#: Pages in a row without a single trade, although more are announced.
MAX_IDLE_PAGES = 20


class Chain:
    """Watches one chain of pages, and drops what a page repeats of the one before it."""

    def __init__(self, what: str, token: str | None, previous: pa.Table | None) -> None:
        """Begin, or go on after a page that was taken before.

        Args:
            what: What the chain is of, for people.
            token: Of the page to come; None at the beginning.
            previous: The last trades that were taken, in TRADE_SCHEMA.
        """
        self._what = what
        self._tokens = {token}
        self._previous: dict[str, pa.Table] = {}
        self._newest = ("", np.iinfo(np.int64).min)
        self._pages = self._idle = 0
        if previous is not None and previous.num_rows:
            symbol = previous["symbol"][-1].as_py()
            self._take(symbol, previous)

    def check(self, page: TradePage) -> TradePage:
        """Return the page without what the page before held; taking it is `accept`'s business.

        Raises:
            MalformedResponseError: The page goes back behind the one before it.
        """
        return replace(page, parts=tuple(self._fresh(part) for part in page.parts))

    def accept(self, page: TradePage) -> None:
        """Take a checked page as the latest of the chain.

        Raises:
            MalformedResponseError: The chain does not come to an end.
        """
        self._previous = {part.symbol: part.table for part in page.parts}
        for part in page.parts:
            if part.table.num_rows:
                self._take(part.symbol, part.table)
        self._pages += 1
        self._idle = 0 if any(part.table.num_rows for part in page.parts) else self._idle + 1
        token = page.next_token
        if token is None:
            return
        if not token:
            raise self._broken("a page token is empty")
        if token in self._tokens:
            raise self._broken("a page token comes again, so the pages would never end")
        if self._idle >= MAX_IDLE_PAGES:
            raise self._broken(f"{self._idle} pages in a row hold no new trade")
        if self._pages >= MAX_PAGES:
            raise self._broken(f"there are more than {MAX_PAGES:,} pages")
        self._tokens.add(token)

    def _take(self, symbol: str, table: pa.Table) -> None:
        self._previous[symbol] = table
        self._newest = (symbol, int(table["ts_ns"][-1].as_py()))

    def _fresh(self, part: SymbolTrades) -> SymbolTrades:
        """Drop trades of the page before; equal times are fine, earlier ones are not."""
        if not part.table.num_rows:
            return part
        first = (part.symbol, int(part.table["ts_ns"][0].as_py()))
        if first > self._newest:
            return part
        known = self._known(part.symbol, first[1])
        rows = part.table.to_pylist()
        new = np.array([tuple(row.values()) not in known for row in rows], bool)
        table = part.table.filter(pa.array(new))
        if table.num_rows and (part.symbol, int(table["ts_ns"][0].as_py())) < self._newest:
            symbol, newest = self._newest
            raise self._broken(
                f"a page goes back to {part.symbol} at {table['ts_ns'][0]} ns after {symbol} at "
                f"{newest} ns"
            )
        return replace(part, table=table, repeated=len(rows) - table.num_rows)

    def _known(self, symbol: str, since_ns: int) -> set[tuple[object, ...]]:
        """Return the rows of the page before, as far as a new page may repeat them."""
        before = self._previous.get(symbol)
        if before is None:
            return set()
        late = before.filter(pa.array(before["ts_ns"].to_numpy() >= since_ns))
        return {tuple(row.values()) for row in late.to_pylist()}

    def repeats(self, page: TradePage) -> MalformedResponseError:
        """Return the error for a page that holds the one before it again, and nothing else."""
        return self._broken(f"a page repeats the one before it ({page.repeated} trades)")

    def _broken(self, why: str) -> MalformedResponseError:
        return MalformedResponseError(
            f"The pages of {self._what} break the venue's protocol: {why}; what came before is "
            f"kept, fetch again later."
        )
