"""A symbol's bars as one file for other tools."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import NotPublishedError, UserError
from alpaca_strategy.market.schema import BAR_SCHEMA
from alpaca_strategy.storage.actions import PRICES, SHARES, split_factors
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.files import writing
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.panel import published_rows
from alpaca_strategy.storage.records import SessionRow


class _Writer(Protocol):
    def write_table(self, table: pa.Table) -> None: ...


def export_bars(
    *,
    lake: Lake,
    catalog: Catalog,
    feed: Feed,
    symbol: str,
    path: Path,
    start: date | None = None,
    end: date | None = None,
    adjusted: bool = False,
) -> int:
    """Write a symbol's published bars as Parquet or CSV, whole or not at all.

    Args:
        lake: The lake.
        catalog: What is published in it.
        feed: The feed.
        symbol: The symbol.
        path: Ends in .parquet or .csv; an older file is replaced.
        start: First session; the first published when None.
        end: Last session; the last published when None.
        adjusted: Adjust for the splits up to the last session written; volumes become fractions.

    Returns:
        Rows written.

    Raises:
        UserError: Another suffix, a folder that does not exist, or end before start.
        NotPublishedError: The symbol has no published bars there.
    """
    if path.suffix not in {".parquet", ".csv"}:
        msg = f"{path.name} ends in {path.suffix or 'nothing'}; name it .parquet or .csv."
        raise UserError(msg)
    if not path.parent.is_dir():
        msg = f"There is no folder {path.parent}; create it, or choose another."
        raise UserError(msg)
    if start and end and end < start:
        msg = f"The end {end} lies before the start {start}; exchange them."
        raise UserError(msg)
    rows = published_rows(catalog, feed, None, start, end)
    schema = _schema(adjusted=adjusted)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    written = 0
    try:
        with writing(str(path.parent)):
            with _open(temporary, schema, path.suffix) as writer:
                for table in _tables(lake, rows, symbol, schema, adjusted=adjusted):
                    writer.write_table(table)
                    written += table.num_rows
            if written:
                temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if not written:
        msg = (
            f"{symbol} has no published bars from {rows[0].session} to {rows[-1].session}; "
            "`alpaca-strategy sessions` lists what is there."
        )
        raise NotPublishedError(msg)
    return written


def _schema(*, adjusted: bool) -> pa.Schema:
    kinds = [
        pa.field(f.name, pa.float64()) if adjusted and f.name in SHARES else f for f in BAR_SCHEMA
    ]
    return pa.schema([pa.field("session", pa.date32()), *kinds])


def _open(path: Path, schema: pa.Schema, suffix: str) -> AbstractContextManager[_Writer]:
    if suffix == ".parquet":
        writer: AbstractContextManager[_Writer] = pq.ParquetWriter(path, schema, compression="zstd")
        return writer
    csv: AbstractContextManager[_Writer] = arrow_csv.CSVWriter(
        path, schema, write_options=arrow_csv.WriteOptions(quoting_style="needed")
    )
    return csv


def _tables(
    lake: Lake, rows: list[SessionRow], symbol: str, schema: pa.Schema, *, adjusted: bool
) -> Iterator[pa.Table]:
    """Yield one table a session, so that memory does not grow with their number."""
    days = [row.session for row in rows]
    factors = (
        split_factors(lake, [symbol], days, days[-1])[:, 0] if adjusted else np.ones(len(days))
    )
    for row, factor in zip(rows, factors, strict=True):
        bars = lake.read_files("bars", row.bars_files, symbols=[symbol])
        if not bars.num_rows:
            continue
        columns = [pa.array([row.session] * bars.num_rows, pa.date32())]
        for field in BAR_SCHEMA:
            column = bars.column(field.name)
            if factor != 1 and field.name in PRICES | SHARES:
                values = column.to_numpy().astype(np.float64)
                scaled = values / factor if field.name in PRICES else values * factor
                column = pa.array(scaled, pa.float64())
            columns.append(column.cast(schema.field(field.name).type))
        yield pa.table(columns, schema=schema)
