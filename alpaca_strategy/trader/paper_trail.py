"""Orders, trades and positions as CSV files, for whoever looks without a database.

They are for reading only: what counts is the journal.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import structlog

from alpaca_strategy.domain.journal import StateChange
from alpaca_strategy.domain.orders import Fill

log = structlog.get_logger(__name__)
ORDERS: Final = (
    "at", "client_order_id", "state", "order_id", "status", "filled_qty", "filled_avg_price",
    "detail",
)  # fmt: skip
TRADES: Final = ("at", "symbol", "side", "qty", "price", "order_id", "cum_qty", "execution_id")
POSITIONS: Final = ("at", "symbol", "qty", "strategy_qty")


class PaperTrail:
    """Appends to orders.csv, trades.csv and positions.csv of a folder.

    A disk that is full, or a folder that is gone, is told once and stops nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        """Take the folder; None writes nothing."""
        self._folder = folder
        self._failed = False

    def orders(self, changes: Sequence[StateChange]) -> None:
        """Add steps of orders."""
        rows = (
            (
                one.at.isoformat(), one.client_order_id, one.state.value, one.order_id or "",
                one.status or "", one.filled_qty, _text(one.filled_avg_price), one.detail,
            )
            for one in changes
        )  # fmt: skip
        self._append("orders", ORDERS, rows)

    def trades(self, fills: Sequence[Fill]) -> None:
        """Add executions."""
        rows = (
            (
                one.at.isoformat(), one.symbol, one.side.value, one.qty, one.price, one.order_id,
                one.cum_qty, one.execution_id or "",
            )
            for one in fills
        )  # fmt: skip
        self._append("trades", TRADES, rows)

    def positions(
        self, at: datetime, held: Mapping[str, Decimal], ours: Mapping[str, Decimal]
    ) -> None:
        """Add what the account holds at a moment, and what of it the strategy bought."""
        names = sorted({*held, *ours})
        rows = ((at.isoformat(), s, held.get(s, 0), ours.get(s, 0)) for s in names)
        self._append("positions", POSITIONS, rows)

    def _append(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        if self._folder is None:
            return
        found = list(rows)
        if not found:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{name}.csv").open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if file.tell() == 0:
                    writer.writerow(columns)
                writer.writerows(found)
        except OSError as error:
            if not self._failed:
                log.warning("paper_trail_failed", folder=str(self._folder), reason=str(error))
            self._failed = True
            return
        self._failed = False


def _text(value: Decimal | None) -> str:
    return "" if value is None else str(value)
