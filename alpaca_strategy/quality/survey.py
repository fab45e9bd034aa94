"""One walk over a session, symbol by symbol: figures for the suites, examples, coverage.

Only one symbol's tape is held at a time, and nothing larger than a symbol becomes an array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from alpaca_strategy.market.schema import BAR_SCHEMA
from alpaca_strategy.quality.bar_gauge import BarArrays, measure_bars
from alpaca_strategy.quality.coverage import SILENT, Coverage, volume_levels
from alpaca_strategy.quality.inputs import (
    CheckInput,
    Rejected,
    conform,
    split_by_symbol,
    tape_reader,
)
from alpaca_strategy.quality.rules import Measured, Rule
from alpaca_strategy.quality.session_gauge import measure_session, measure_symbol
from alpaca_strategy.quality.suites import bound_of
from alpaca_strategy.quality.tape_gauge import MinuteCounts, TradeGauge

_SHOWN_BAR = (
    "symbol", "minute", "start_at", "open", "high", "low", "close", "vwap", "volume",
    "trade_count", "observed",
)  # fmt: skip

Row = dict[str, Any]
MinutesOf = Callable[[pa.Table, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of one symbol that offend one rule: the first few, and all their minutes."""

    rows: pa.Table
    minutes: np.ndarray


@dataclass(slots=True)
class Survey:
    """What one walk over a session found.

    Attributes:
        coverage: Minutes with bars.
        rows: Suite to its frame: one row a symbol, or one for the session.
        found: Suite, column and symbol to the offending rows.
    """

    coverage: Coverage
    rows: dict[str, list[Row]] = field(default_factory=dict)
    found: dict[tuple[str, str, str], Found] = field(default_factory=dict)

    def keep(
        self, suite: str, measured: Measured, table: pa.Table, minutes_of: MinutesOf, most: int
    ) -> None:
        """Remember the rows that offend a suite's rules, and their minutes."""
        symbol = str(table["symbol"][0])
        for column, rows in measured.offenders.items():
            first = table.take(pa.array(rows[:most]))
            minutes = np.unique(minutes_of(table, rows))
            inside = (minutes >= 0) & (minutes < self.coverage.level.shape[1])
            shown = first if suite == "trades" else first.select(_SHOWN_BAR)
            self.found[suite, column, symbol] = Found(shown, minutes[inside])

    def examples_of(
        self, suite: str, rule: Rule, symbols: tuple[str, ...], data: CheckInput, most: int
    ) -> tuple[Row, ...]:
        """Return offending rows of a failed rule, taking turns between symbols."""
        told = []
        for symbol in symbols:
            found = self.found.get((suite, rule.column, symbol))
            if found is None:
                told.append(self._figures(suite, rule, symbol, data))
            else:
                told.append(_as_rows(found.rows))
        turns = (row for turn in zip_longest(*told) for row in turn if row is not None)
        return tuple(row for row, _ in zip(turns, range(most), strict=False))

    def _figures(self, suite: str, rule: Rule, symbol: str, data: CheckInput) -> list[Row]:
        if rule.column == "not_fetched":
            return [{"symbol": symbol, "reason": data.failed[symbol]}]
        if rule.column.startswith("rejected"):
            texts = data.rejected.get(symbol, Rejected(0)).examples
            return [{"symbol": symbol, "row": text} for text in texts]
        for row in self.rows[suite]:
            if row["symbol"] == symbol:
                limit = row[rule.other] if rule.other else bound_of(rule, data.feed)
                return [{"symbol": symbol, "found": row[rule.column], "limit": limit}]
        return []


def take_survey(data: CheckInput, max_examples: int) -> Survey:
    """Walk over a session once.

    Raises:
        DataError: Bars or trades lack a column or hold another type.
    """
    bars = dict(split_by_symbol(conform(data.bars, BAR_SCHEMA, "bars")))
    read = None if data.tape is None else tape_reader(data.tape)
    gauge = TradeGauge(data)
    minutes = data.session.minutes
    symbols = (*data.symbols, *sorted(set(bars) - set(data.symbols)))
    survey = Survey(Coverage(symbols, np.full((len(symbols), minutes), SILENT, np.uint8)))
    survey.rows = {"session": [], "symbols": [], "trades": [], "bars": []}
    for row, symbol in enumerate(symbols):
        table = bars.get(symbol)
        tape = None if read is None else read(symbol)
        counts, trades = None, float("nan") if read is None else 0.0
        if tape is not None and tape.num_rows:
            measured, counts = gauge.measure(tape)
            trades = float(tape.num_rows)
            survey.rows["trades"].append({"symbol": symbol, **measured.values})
            survey.keep("trades", measured, tape, gauge.minutes_of, max_examples)
        elif read is not None:
            counts = MinuteCounts.none(minutes)
        arrays = None if table is None else BarArrays.of(table)
        if arrays is not None and table is not None:
            measured = measure_bars(arrays, data, counts)
            survey.rows["bars"].append({"symbol": symbol, **measured.values})
            survey.keep("bars", measured, table, _minutes_of_bars, max_examples)
        figures = measure_symbol(symbol, arrays, table, trades, data)
        survey.rows["symbols"].append({"symbol": symbol, **figures})
        survey.coverage.level[row] = volume_levels(arrays, minutes)
    whole = measure_session(survey.coverage.seen)
    survey.rows["session"].append({"symbol": "the session", **whole})
    return survey


def _minutes_of_bars(table: pa.Table, rows: np.ndarray) -> np.ndarray:
    return np.asarray(table["minute"].fill_null(-1).to_numpy()[rows])


def _as_rows(table: pa.Table) -> list[Row]:
    """Return a table's rows as plain values that JSON can hold; what is not a number is None."""
    rows = []
    for row in table.to_pylist():
        told: Row = {}
        for name, value in row.items():
            if name == "ts_ns":
                told["time"] = _time(value)
            elif isinstance(value, datetime):
                told[name] = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
            elif isinstance(value, float) and not np.isfinite(value):
                told[name] = None
            else:
                told[name] = value
        rows.append(told)
    return rows


def _time(ts_ns: int | None) -> str | None:
    """Return nanoseconds since 1970 as ISO 8601 in UTC, to the nanosecond."""
    if ts_ns is None:
        return None
    return f"{np.datetime64(ts_ns, 'ns')}Z"
