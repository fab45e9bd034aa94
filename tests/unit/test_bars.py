from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from math import isnan, nan
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alpaca_strategy.errors import DataError, LateTradeError, SettingsError
from alpaca_strategy.market.bars import BarBuilder, build_session_bars
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.conditions import (
    HIGH_LOW,
    OPEN_CLOSE,
    TICK,
    VOLUME,
    load_condition_table,
)
from alpaca_strategy.market.schema import BAR_COLUMNS, BAR_SCHEMA, COUNT_COLUMNS, TRADE_SCHEMA

MINUTE = 60_000_000_000
SESSION = exchange_calendar().session(date(2026, 9, 15))
HALF_DAY = exchange_calendar().session(date(2026, 11, 27))
OPEN = int(SESSION.opens_at.timestamp()) * 10**9
ALPACA = load_condition_table("alpaca")
VENDOR = load_condition_table("vendor-2013")

# The first example compiles the kernel, and a busy machine draws examples slowly.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class T:
    """A trade, at a time counted from the open."""

    at: int
    price: float
    size: int = 100
    conditions: str = "@"
    symbol: str = "AIG"
    exchange: str = "N"
    tape: str = "C"
    update: str | None = None


def minutes(n: float) -> int:
    return int(n * MINUTE)


def tape_of(trades: Iterable[T]) -> pa.Table:
    rows = [
        {
            "symbol": t.symbol,
            "ts_ns": OPEN + t.at,
            "price": t.price,
            "size": t.size,
            "exchange": t.exchange,
            "conditions": t.conditions,
            "tape": t.tape,
            "id": number,
            "update": t.update,
        }
        for number, t in enumerate(trades)
    ]
    return pa.Table.from_pylist(rows, TRADE_SCHEMA)


def bars(
    trades: Iterable[T], table: Any = ALPACA, symbols: Sequence[str] = ("AIG",)
) -> pl.DataFrame:
    frame = pl.from_arrow(build_session_bars(tape_of(trades), SESSION, symbols, table))
    assert isinstance(frame, pl.DataFrame)
    return frame


def bits_of(table: pa.Table) -> list[bytes]:
    """Return every column's bytes, so that NaN equals NaN and -0.0 differs from 0.0."""
    columns = [table[name].combine_chunks() for name in table.column_names if name != "symbol"]
    return [
        np.asarray(column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)
        .tobytes()
        for column in columns
    ]  # fmt: skip


def expected_minute(trades: Sequence[T], minute: int) -> dict[str, float]:
    """Work out a minute of one symbol from the definitions, slowly."""
    regular = [t for t in trades if 0 <= t.at < minutes(SESSION.minutes)]
    rule = {t: ALPACA.updates(t.conditions, t.tape) for t in regular}
    counting = [t for t in regular if rule[t] & VOLUME and t.update is None]
    side: dict[int, int] = {}
    last, sign = nan, 0
    for position, t in enumerate(counting):
        if rule[t] & TICK:
            sign = 1 if t.price > last else -1 if t.price < last else sign
            last = t.price
            side[position] = sign
    gaps = {i + 1: (b.at - a.at) / 1e6 for i, (a, b) in enumerate(pairwise(counting))}
    mine = [i for i, t in enumerate(counting) if t.at // MINUTE == minute]
    now = [counting[i] for i in mine]
    priced = [t for t in now if rule[t] & HIGH_LOW and rule[t] & OPEN_CLOSE]
    prices, sizes = [t.price for t in priced], [t.size for t in now]
    between = [gaps[i] for i in mine if i in gaps]
    row: dict[str, float] = {
        "open": prices[0] if priced else nan,
        "high": max(prices, default=nan),
        "low": min(prices, default=nan),
        "close": prices[-1] if priced else nan,
        "vwap": sum(t.price * t.size for t in priced) / sum(t.size for t in priced)
        if priced
        else nan,
        "volume": sum(sizes),
        "trade_count": len(now),
        "price_mean": statistics.fmean(prices) if priced else nan,
        "price_std": statistics.stdev(prices) if len(priced) > 1 else nan,
        "dollar_volume": sum(t.price * t.size for t in now),
        "regular_count": sum({"@", " "} & set(t.conditions.split(",")) != set() for t in now),
        "odd_lot_count": sum("I" in t.conditions.split(",") for t in now),
        "tiny_count": sum(s < 100 for s in sizes),
        "small_count": sum(100 <= s < 500 for s in sizes),
        "mid_count": sum(500 <= s < 2000 for s in sizes),
        "large_count": sum(s >= 2000 for s in sizes),
        "size_std": statistics.stdev(sizes) if len(sizes) > 1 else nan,
        "size_max": max(sizes, default=0),
        "intertrade_ms_mean": statistics.fmean(between) if between else nan,
        "observed": bool(priced),
    }
    for name, wanted in (("buy", 1), ("sell", -1)):
        taken = [counting[i] for i in mine if side.get(i) == wanted]
        row[f"{name}_volume"] = sum(t.size for t in taken)
        row[f"{name}_count"] = len(taken)
    return row


# Cents, so that equal prices are common; times crowd into few minutes, some outside the session.
cents = st.integers(9_900, 10_100).map(lambda c: c / 100)
sizes = st.one_of(st.integers(1, 99), st.sampled_from([100, 200, 499, 500, 1999, 2000, 1_000_000]))
kinds = st.sampled_from(
    ["@", "@", "@,I", "@,F", " ", "", "@,T", "@,4", "@,M", "B", "W", "@,?", "Z", "@,F,T,I,X,L,K,O"]
)
times = st.one_of(
    st.integers(0, minutes(4) - 1),
    st.integers(minutes(388), minutes(391)),
    st.integers(-minutes(2), minutes(1)),
)
trades_of_one = st.lists(
    st.builds(
        T,
        at=times,
        price=cents,
        size=sizes,
        conditions=kinds,
        tape=st.sampled_from("AC"),
        update=st.sampled_from([None, None, None, None, "corrected", "canceled", "incorrect"]),
    ),
    max_size=60,
).map(lambda ts: sorted(ts, key=lambda t: t.at))


@given(trades_of_one)
@patient
def test_every_column_equals_its_definition(trades: list[T]) -> None:
    trades = [replace(t, update=None if t.update == "corrected" else t.update) for t in trades]
    found = bars(trades)
    busy = {t.at // MINUTE for t in trades} & set(range(390)) | {5}
    for row in found.filter(pl.col("minute").is_in(busy)).to_dicts():
        for name, value in expected_minute(trades, row["minute"]).items():
            assert row[name] == pytest.approx(value, rel=1e-12, abs=1e-9, nan_ok=True), name
        if row["observed"]:
            assert row["low"] <= row["price_mean"] <= row["high"]
            assert row["low"] <= row["vwap"] <= row["high"]
            assert row["low"] <= min(row["open"], row["close"])
            assert max(row["open"], row["close"]) <= row["high"]
    idle = found.filter(~pl.col("minute").is_in(busy))
    assert idle["trade_count"].sum() == 0
    assert not idle["observed"].any()


many = st.lists(
    st.builds(
        T,
        at=times,
        price=cents,
        size=sizes,
        conditions=st.one_of(kinds, st.sampled_from(["O", "6", "F", "F,T", "W,+suspicious"])),
        symbol=st.sampled_from(["AIG", "BAC", "SPY", "NOT ASKED FOR"]),
        exchange=st.sampled_from("NPQ"),
        update=st.sampled_from([None, None, None, "canceled"]),
    ),
    max_size=60,
).map(lambda ts: sorted(ts, key=lambda t: t.at))


@given(many, st.data(), st.sampled_from([ALPACA, VENDOR]))
@patient
def test_any_chunks_give_the_same_bits_as_all_at_once(
    trades: list[T], data: st.DataObject, table: Any
) -> None:
    symbols = ("SPY", "AIG", "BAC", "IBM")
    tape = tape_of(trades)
    whole = build_session_bars(tape.sort_by("symbol"), SESSION, symbols, table)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(trades)))))
    chunked = BarBuilder(SESSION, symbols, table)
    for start, end in pairwise([0, *cuts, len(trades)]):
        chunked.push(tape.slice(start, end - start))
        chunked.rows()  # looking must not change anything
    single = BarBuilder(SESSION, symbols, table)
    for t in trades:
        if t.update is None:  # a stream sends no canceled trade
            single.push_trade(
                symbol=t.symbol,
                ts_ns=OPEN + t.at,
                price=t.price,
                size=t.size,
                conditions=t.conditions,
                tape=t.tape,
                exchange=t.exchange,
            )
    assert bits_of(chunked.rows()) == bits_of(whole)
    assert bits_of(single.rows()) == bits_of(whole)
    assert bits_of(chunked.close()) == bits_of(whole)


@given(many, st.randoms(use_true_random=False))
@patient
def test_a_tape_in_any_order_is_read_by_time_then_as_it_stands(
    trades: list[T], random: Any
) -> None:
    """Equal times keep their order: shuffle whole instants, not the trades within one."""
    instants: dict[int, list[T]] = {}
    for t in trades:
        instants.setdefault(t.at, []).append(t)
    shuffled = list(instants.values())
    random.shuffle(shuffled)
    symbols = ("AIG", "BAC", "SPY")
    assert bits_of(
        build_session_bars(tape_of([t for i in shuffled for t in i]), SESSION, symbols, ALPACA)
    ) == bits_of(build_session_bars(tape_of(trades), SESSION, symbols, ALPACA))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.cast(pa.schema(
            [pa.field(f.name, pa.large_string() if f.type == pa.string() else f.type)
             for f in TRADE_SCHEMA])),
        lambda t: pa.table({
            n: t[n].dictionary_encode() if t.schema.field(n).type == pa.string() else t[n]
            for n in t.column_names}),
        lambda t: pa.concat_tables([t.slice(0, 3), t.slice(3, 1), t.slice(4)]),
        lambda t: pa.concat_tables([t, t]).slice(len(t)),
        lambda t: pl.from_arrow(t).to_arrow(),
        lambda t: t.cast(pa.schema(
            [pa.field(f.name, pa.string_view() if f.type == pa.string() else f.type)
             for f in TRADE_SCHEMA])),
    ],
    ids=["large strings", "dictionaries", "chunks", "a slice", "through Polars", "views"],
)  # fmt: skip
def test_the_arrow_layout_of_the_tape_does_not_matter(change: Any) -> None:
    kinds = ["@", "@,I", "@,F,T,I,X", "", "@,F,T,I,L", "@,4"]
    trades = [T(minutes(n / 7), 100 + n % 5, 50 * n + 1, kinds[n % 6]) for n in range(60)]
    trades += [replace(t, symbol="BAC", tape="A") for t in trades]
    trades[7] = replace(trades[7], update="canceled")
    tape = tape_of(trades)
    wanted = build_session_bars(tape, SESSION, ("BAC", "AIG"), ALPACA)
    assert bits_of(build_session_bars(change(tape), SESSION, ("BAC", "AIG"), ALPACA)) == bits_of(
        wanted
    )


def test_the_table_has_every_minute_of_every_symbol_in_the_order_given() -> None:
    found = build_session_bars(tape_of([T(0, 10.0)]), HALF_DAY, ("ZZZ", "AIG"), ALPACA)
    assert found.schema == BAR_SCHEMA
    assert found["symbol"].to_pylist() == ["ZZZ"] * 210 + ["AIG"] * 210
    assert found["minute"].to_pylist() == [*range(210), *range(210)]
    assert found["start_at"].to_pylist()[:210] == [
        HALF_DAY.opens_at + timedelta(minutes=n) for n in range(210)
    ]
    assert not any(found["observed"].to_pylist())  # the trade is of another day
    for name in BAR_COLUMNS:
        values = np.asarray(found[name])
        counted = name in COUNT_COLUMNS or name == "dollar_volume"
        assert (values == 0).all() if counted else np.isnan(values).all(), name


def test_an_empty_tape_gives_unobserved_minutes() -> None:
    found = build_session_bars(TRADE_SCHEMA.empty_table(), SESSION, ("AIG",), ALPACA)
    assert found.num_rows == 390
    assert not any(found["observed"].to_pylist())


def test_minutes_are_closed_left_and_open_right() -> None:
    found = bars([
        T(-1, 1.0), T(0, 2.0), T(MINUTE - 1, 3.0), T(MINUTE, 4.0),
        T(minutes(390) - 1, 5.0), T(minutes(390), 6.0),
    ]).filter("observed")  # fmt: skip
    assert found.select("minute", "open", "close").rows() == [
        (0, 2.0, 3.0), (1, 4.0, 4.0), (389, 5.0, 5.0),
    ]  # fmt: skip


def test_a_lone_odd_lot_is_volume_without_a_bar() -> None:
    row = bars([T(0, 10.0, 7, "@,I")]).to_dicts()[0]
    assert row["volume"] == 7
    assert row["trade_count"] == row["odd_lot_count"] == row["tiny_count"] == 1
    assert not row["observed"]
    assert all(isnan(row[n]) for n in ("open", "high", "low", "close", "vwap", "price_mean"))


def test_the_tick_rule_carries_its_sign_over_unchanged_prices_and_minutes() -> None:
    rows = bars([
        T(0, 10.0, 1), T(1, 10.0, 2),  # no direction yet
        T(2, 10.01, 4), T(3, 10.01, 8),  # up, and still up
        T(4, 99.0, 16, "@,W"),  # an average price: nobody's tick
        T(minutes(3), 10.01, 32), T(minutes(3) + 1, 10.0, 64),  # still up, minutes later; down
    ]).to_dicts()  # fmt: skip
    assert (rows[0]["buy_volume"], rows[0]["sell_volume"], rows[0]["volume"]) == (12, 0, 31)
    assert (rows[3]["buy_volume"], rows[3]["sell_volume"]) == (32, 64)
    assert (rows[3]["buy_count"], rows[3]["sell_count"]) == (1, 1)


def test_trades_before_the_open_do_not_move_the_tick_rule() -> None:
    row = bars([T(-5, 9.0), T(0, 10.0)]).to_dicts()[0]
    assert (row["buy_count"], row["sell_count"]) == (0, 0)
    assert isnan(row["intertrade_ms_mean"])


def test_nothing_is_filled_forward_or_back() -> None:
    rows = bars([T(minutes(1), 10.0), T(minutes(3), 11.0)]).to_dicts()
    assert [row["observed"] for row in rows[:5]] == [False, True, False, True, False]
    assert [isnan(row["close"]) for row in rows[:5]] == [True, False, True, False, True]


def test_a_minute_at_one_price_is_exact() -> None:
    row = bars([T(n, 10.1, 3 * n + 1) for n in range(1000)]).to_dicts()[0]
    assert row["vwap"] == row["price_mean"] == row["high"] == row["low"] == 10.1
    assert row["price_std"] == 0.0


def test_the_deviation_keeps_its_digits_at_high_prices() -> None:
    """A naive sum of squares has no correct digit left here."""
    prices = [700_000 + n % 2 * 0.01 for n in range(10_000)]
    row = bars([T(n, p) for n, p in enumerate(prices)]).to_dicts()[0]
    assert row["price_std"] == pytest.approx(statistics.stdev(prices), rel=1e-9)


def test_canceled_and_superseded_trades_are_left_out_and_corrections_count() -> None:
    row = bars([
        T(0, 10.0), T(1, 99.0, update="canceled"), T(2, 0.01, update="incorrect"),
        T(2, 10.5, update="corrected"),
    ]).to_dicts()[0]  # fmt: skip
    assert (row["high"], row["low"], row["trade_count"]) == (10.5, 10.0, 2)


def test_a_late_trade_is_refused_and_leaves_the_builder_as_it_was() -> None:
    builder = BarBuilder(SESSION, ("AIG", "BAC"), ALPACA)
    builder.push(tape_of([T(minutes(2), 10.0)]))
    before = bits_of(builder.rows())
    late = tape_of([T(0, 8.0, symbol="BAC"), T(minutes(3), 11.0), T(minutes(1), 9.0)])
    with pytest.raises(LateTradeError, match=r"AIG at \d+ ns is older .* rebuild"):
        builder.push(late)
    with pytest.raises(DataError, match="AIG"):
        builder.push_trade(symbol="AIG", ts_ns=OPEN, price=9.0, size=1, conditions="@", tape="C")
    assert bits_of(builder.rows()) == before
    builder.push(tape_of([T(0, 8.0, symbol="BAC")]))  # another symbol may be behind
    assert pl.from_arrow(builder.rows())["trade_count"].sum() == 2


def test_closed_bars_take_no_more_trades() -> None:
    builder = BarBuilder(SESSION, ("AIG",), ALPACA)
    builder.close()
    with pytest.raises(ValueError, match="new builder"):
        builder.push(tape_of([T(0, 10.0)]))


def test_values_are_minutes_by_symbols_by_columns() -> None:
    builder = BarBuilder(SESSION, ("BAC", "AIG"), ALPACA)
    builder.push(tape_of([T(minutes(2), 10.0), T(minutes(5), 11.0)]))
    values = builder.values(minutes=4)
    assert values.shape == (4, 2, len(BAR_COLUMNS))
    assert values[2, 1, BAR_COLUMNS.index("close")] == 10.0
    assert np.isnan(values[[0, 1, 3], 1, BAR_COLUMNS.index("close")]).all()
    assert values[:, 0, BAR_COLUMNS.index("volume")].sum() == 0
    assert builder.values().shape[0] == 390


def test_unknown_conditions_are_counted_by_letter() -> None:
    builder = BarBuilder(SESSION, ("AIG",), ALPACA)
    builder.push(tape_of([T(0, 10.0, conditions="@,?"), T(1, 10.0), T(2, 10.0, conditions="?,~")]))
    builder.push_trade(symbol="AIG", ts_ns=OPEN + 3, price=1.0, size=1, conditions="~", tape="C")
    assert builder.unknown_conditions == {"?": 2, "~": 2}
    assert builder.values(1)[0, 0, BAR_COLUMNS.index("high")] == 10.0


def test_a_trade_without_a_price_is_refused() -> None:
    tape = tape_of([T(0, 10.0), T(1, 10.0)])
    prices = pa.array([10.0, None])
    broken = tape.set_column(tape.column_names.index("price"), TRADE_SCHEMA.field("price"), prices)
    with pytest.raises(DataError, match="lacks price in 1 of 2 trades"):
        build_session_bars(broken, SESSION, ("AIG",), ALPACA)


def test_more_kinds_of_trades_than_a_tape_can_have_are_refused() -> None:
    with pytest.raises(DataError, match="2048 different combinations"):
        bars(T(n, 10.0, conditions=f"@,?{n}") for n in range(2049))
    assert bars(T(n, 10.0, conditions=f"@,?{n}") for n in range(2048))["volume"].sum() == 204_800


def test_symbols_are_asked_for_once() -> None:
    with pytest.raises(ValueError, match="must differ"):
        BarBuilder(SESSION, ("AIG", "AIG"), ALPACA)


def test_the_vendor_takes_the_first_opening_print_of_the_primary_exchange() -> None:
    rows = bars(
        [
            T(0, 10.0), T(1, 10.5, 200, "O", exchange="Q"), T(2, 11.0, 300, "O"),
            T(3, 12.0, 400, "O"), T(4, 10.2),
        ],
        VENDOR,
    ).to_dicts()  # fmt: skip
    assert [rows[0][n] for n in ("open", "high", "low", "close", "volume")] == [
        11.0, 11.0, 10.0, 10.2, 500,
    ]  # fmt: skip


def test_the_vendor_books_the_closing_print_into_the_last_minute() -> None:
    rows = bars(
        [
            T(minutes(380), 10.0), T(minutes(390) + 5, 10.4, 50, "6", exchange="Q"),
            T(minutes(390) + 6, 10.6, 70, "6"), T(minutes(390) + 7, 10.8, 90, "6"),
            T(minutes(390) + 8, 11.0, 110, "@,T"),
        ],
        VENDOR,
    ).to_dicts()  # fmt: skip
    assert (rows[389]["close"], rows[389]["volume"]) == (10.6, 70)
    assert bars([T(minutes(390) + 6, 10.6, 70, "6")])["volume"].sum() == 0  # Alpaca's does not


def test_the_vendors_closing_print_stays_the_close() -> None:
    rows = bars([T(minutes(390) - 9, 10.0, 100, "6"), T(minutes(390) - 5, 11.0)], VENDOR).to_dicts()
    assert (rows[389]["close"], rows[389]["high"], rows[389]["volume"]) == (10.0, 11.0, 200)


def test_the_vendor_adds_a_minute_without_a_price_to_the_bar_before() -> None:
    rows = bars(
        [
            T(0, 9.0, 1, "F"),  # no bar before it: lost
            T(minutes(1), 10.0, 100), T(minutes(2), 10.5, 30, "F"), T(minutes(4), 10.5, 4, "F"),
            T(minutes(5), 10.0, 5),
        ],
        VENDOR,
    ).to_dicts()  # fmt: skip
    assert [row["volume"] for row in rows[:6]] == [0, 134, 0, 0, 0, 5]
    assert [row["trade_count"] for row in rows[:6]] == [0, 3, 0, 0, 0, 1]
    assert [row["observed"] for row in rows[:6]] == [False, True, False, False, False, True]


def test_a_symbol_without_a_known_primary_exchange_is_refused_by_the_vendors_table() -> None:
    with pytest.raises(SettingsError, match="primary exchange of TSLA"):
        bars([], VENDOR, ("AIG", "TSLA"))
