"""Our bars of two recorded sessions against the vendor's own.

With the table `vendor-2013`, 3,117 of the 3,119 regular-hours minute bars of AIG, BAC, IBM and SPY
on 2013-10-07 and 2013-10-08 (99.94 %) come out identical in open, high, low, close and volume; all
3,119 in the four prices. The other two are the delayed openings of AIG (2013-10-07, 09:31:13) and
IBM (2013-10-08, 09:31:43): the vendor leaves the volume of that one opening print (48,146 and
88,065 shares) out of the bar of 09:31, and counts it when the stock opens within 09:30. The
one minute without a bar (AIG, 2013-10-07) has none at the vendor's either.

With the table `alpaca`, which lets intermarket sweeps set prices and takes every exchange's
auction prints, 69.5 % are identical, and each price is within one cent in 97 to 99 %.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from alpaca_strategy.market.bars import BarBuilder, build_session_bars
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.schema import TRADE_SCHEMA

SYMBOLS = ("AIG", "BAC", "IBM", "SPY")
DAYS = (date(2013, 10, 7), date(2013, 10, 8))
PRICES = ("open", "high", "low", "close")


def recorded_tape(folder: Path, day: date) -> pa.Table:
    flag = "suspicious", "trade_through_exempt"
    marks = [pl.when(pl.col(f)).then(pl.lit(f",+{f}")).otherwise(pl.lit("")) for f in flag]
    return (
        pl.read_parquet(folder / f"tape/trades_{day}.parquet")
        .select(
            "symbol",
            pl.col("t").dt.timestamp("ns").alias("ts_ns"),
            pl.col("p").alias("price"),
            pl.col("s").alias("size"),
            pl.col("x").alias("exchange"),
            pl.concat_str(pl.col("c").list.join(","), *marks).alias("conditions"),
            pl.col("z").alias("tape"),
            pl.col("i").alias("id"),
            pl.lit(None, pl.String).alias("update"),
        )
        .to_arrow()
        .cast(TRADE_SCHEMA)
    )


def vendor_bars(folder: Path) -> pl.DataFrame:
    """Return the regular-hours bars, prices in 1e-4 USD: minutes 570 to 959 of New York's day."""
    minute = (pl.col("ms") // 60_000 - 570).cast(pl.Int16)
    return (
        pl.read_parquet(folder / "tape/vendor_minute_bars_2013-10-07_08.parquet")
        .select(
            pl.col("date").cast(pl.String).str.to_date("%Y%m%d"),
            pl.col("symbol").cast(pl.String),
            minute.alias("minute"),
            *(f"{name}_e4" for name in PRICES),
            pl.col("volume").alias("vendor_volume"),
        )
        .filter(pl.col("minute").is_between(0, 389))
    )


def compared(folder: Path, table: str) -> pl.DataFrame:
    ours = pl.concat(
        pl.from_arrow(
            build_session_bars(
                recorded_tape(folder, day),
                exchange_calendar().session(day),
                SYMBOLS,
                load_condition_table(table),
            )
        )
        .filter("observed")
        .with_columns(pl.lit(day).alias("date"))
        for day in DAYS
    )
    return against_vendor(ours, folder)


def against_vendor(ours: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Join our observed bars with the vendor's, and say how far apart they are."""
    both = ours.join(
        vendor_bars(folder), on=["date", "symbol", "minute"], how="full", coalesce=True
    )
    off = [
        (pl.col(name) * 1e4 - pl.col(f"{name}_e4")).round().abs().alias(f"{name}_off")
        for name in PRICES
    ]
    return both.with_columns(
        *off, (pl.col("volume") - pl.col("vendor_volume")).abs().alias("volume_off")
    )


def same(*names: str) -> pl.Expr:
    return pl.all_horizontal((pl.col(f"{n}_off") == 0).fill_null(value=False) for n in names)


def test_the_vendors_rules_give_the_vendors_bars(shared_data: Path) -> None:
    bars = compared(shared_data, "vendor-2013")
    assert len(bars) == len(vendor_bars(shared_data)) == 3119
    assert bars.select(same(*PRICES, "volume").mean()).item() >= 0.995
    assert bars.select(same(*PRICES).all()).item()
    residual = bars.filter(~same("volume")).sort("date")
    assert residual.select("date", "symbol", "minute", "volume_off").rows() == [
        (DAYS[0], "AIG", 1, 48_146),
        (DAYS[1], "IBM", 1, 88_065),
    ]


def test_alpacas_rules_give_about_the_vendors_bars(shared_data: Path) -> None:
    bars = compared(shared_data, "alpaca")
    assert 0.68 < bars.select(same(*PRICES, "volume").mean()).item() < 0.71
    within_a_cent = bars.select((pl.col(f"{n}_off") <= 100).mean() for n in PRICES).row(0)
    assert all(0.95 < share < 0.995 for share in within_a_cent), within_a_cent


@pytest.mark.parametrize("table", ["alpaca", "vendor-2013"])
def test_no_condition_of_the_recorded_tape_is_unknown(shared_data: Path, table: str) -> None:
    for day in DAYS:
        builder = BarBuilder(exchange_calendar().session(day), SYMBOLS, load_condition_table(table))
        builder.push(recorded_tape(shared_data, day))
        assert builder.unknown_conditions == {}
