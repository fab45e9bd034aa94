"""What one pass over a symbol's tape and bars finds, against plain counting."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_sessions import change_tape, make_input, make_session, to_table

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import DataError
from alpaca_strategy.market.schema import BAR_SCHEMA, TRADE_SCHEMA
from alpaca_strategy.quality.bar_gauge import BarArrays, longest_run, measure_bars
from alpaca_strategy.quality.coverage import FLAGGED, LEVELS
from alpaca_strategy.quality.inputs import (
    CheckInput,
    bars_fingerprint,
    conform,
    split_by_symbol,
    tape_reader,
)
from alpaca_strategy.quality.session_gauge import silence
from alpaca_strategy.quality.survey import take_survey
from alpaca_strategy.quality.tape_gauge import TradeGauge

ONE = ("DIS",)


@pytest.fixture(scope="module")
def one() -> CheckInput:
    return make_input(symbols=ONE, trades=400)


trade = st.tuples(
    st.integers(0, 3), st.sampled_from("VD"), st.integers(0, 2), st.sampled_from([10.0, 11.0])
)


@given(st.lists(trade, max_size=40))
@settings(deadline=None)
def test_every_repeat_of_a_trade_is_counted_once(rows: list[tuple[int, str, int, float]]) -> None:
    session = make_session()
    opens = int(session.opens_at.timestamp()) * 10**9
    frame = pd.DataFrame(
        {
            "symbol": "KO",
            "ts_ns": [opens + when for _, _, when, _ in rows],
            "price": [price for *_, price in rows],
            "size": 100,
            "exchange": [exchange for _, exchange, _, _ in rows],
            "conditions": "@",
            "tape": "C",
            "id": [number for number, *_ in rows],
            "update": None,
        }
    ).astype({"ts_ns": "int64", "id": "int64", "price": "float64"})
    data = CheckInput(
        session=session, feed=Feed.IEX, symbols=("KO",), bars=BAR_SCHEMA.empty_table(), tape=None
    )
    measured, _ = TradeGauge(data).measure(to_table(frame, TRADE_SCHEMA))
    whole = Counter(rows)
    assert measured.values["duplicated"] == sum(n - 1 for n in whole.values())
    ids = Counter((number, exchange) for number, exchange, _, _ in whole)
    assert measured.values["shared_id"] == sum(n - 1 for n in ids.values())


def test_a_corrected_trade_is_not_a_duplicate(one: CheckInput) -> None:
    def correct(tape: pd.DataFrame) -> pd.DataFrame:
        old = tape.iloc[[50]].assign(update="incorrect")
        new = tape.iloc[[50]].assign(update="corrected")
        return pd.concat([tape.drop(tape.index[50]), old, new]).sort_values("ts_ns", kind="stable")

    tape = change_tape(one, correct, rebuild=False).tape
    measured, _ = TradeGauge(one).measure(tape)
    assert measured.values["duplicated"] == 0


def test_superseded_trades_count_in_no_minute(one: CheckInput) -> None:
    opens = int(one.session.opens_at.timestamp()) * 10**9
    frame = one.tape.to_pandas().assign(update=None)
    frame.loc[frame.index[100:110], "update"] = "canceled"
    _, counts = TradeGauge(one).measure(to_table(frame, TRADE_SCHEMA))
    live = frame[frame["update"].isna()]
    minute = (live.ts_ns - opens) // 60_000_000_000
    inside = live[(minute >= 0) & (minute < 390)]
    assert counts.counted.sum() == len(inside)
    assert counts.volume.sum() == inside["size"].sum()


def test_official_prints_count_in_no_minute(one: CheckInput) -> None:
    frame = one.tape.to_pandas()
    opens = int(one.session.opens_at.timestamp()) * 10**9
    frame["conditions"] = "@,M"
    _, counts = TradeGauge(one).measure(to_table(frame, TRADE_SCHEMA))
    assert (frame.ts_ns >= opens).any()
    assert counts.counted.sum() == 0
    assert counts.plain.sum() == 0


@given(st.lists(st.booleans(), max_size=60))
def test_longest_run_is_the_longest_stretch_of_true(flags: list[bool]) -> None:
    expected = max(
        (len(part) for part in "".join("x" if f else " " for f in flags).split()), default=0
    )
    assert longest_run(np.array(flags, bool)) == expected


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_silence_expects_no_bars_where_there_is_none_missing(flags: list[bool]) -> None:
    seen = np.array(flags, bool)
    found = silence(seen, "x")
    if not seen.any():
        assert all(np.isnan(value) for value in found.values())
        return
    text = "".join("x" if f else " " for f in flags)
    assert (found["x_head"] == 0) == text.startswith("x")
    assert (found["x_tail"] == 0) == text.endswith("x")
    assert (found["x_gap"] == 0) == (" " not in text.strip())
    assert all(0 <= value <= len(flags) * seen.sum() for value in found.values())


def test_silence_of_a_busy_symbol_weighs_more_than_that_of_a_thin_one() -> None:
    busy, thin = np.ones(390, bool), np.zeros(390, bool)
    thin[::10] = True
    busy[330:] = thin[330:] = False
    assert silence(busy, "x")["x_tail"] == pytest.approx(60)
    # 33 bars in the 321 minutes to the last one at 320, then 69 minutes without.
    assert silence(thin, "x")["x_tail"] == pytest.approx(69 * 33 / 321)


def test_a_single_thin_bar_is_judged_without_error() -> None:
    data = make_input(trades=0, symbols=("KO",))
    bars = data.bars.to_pandas()
    bars.loc[7, ["open", "high", "low", "close", "vwap"]] = 10.0
    bars.loc[7, ["volume", "trade_count"]] = [100, 1]
    bars.loc[7, "observed"] = True
    arrays = BarArrays.of(to_table(bars, BAR_SCHEMA))
    values = measure_bars(arrays, data, None).values
    assert values["observed"] == 1
    assert values["spike"] == values["frozen_run"] == values["stale_run"] == 0


def test_fingerprint_tells_sessions_apart_but_not_their_dates() -> None:
    monday = make_input(seed=4, symbols=ONE)
    tuesday = make_input(seed=4, symbols=ONE, day=monday.session.day + timedelta(days=1))
    other = make_input(seed=5, symbols=ONE)
    assert bars_fingerprint(monday.bars) == bars_fingerprint(tuesday.bars)
    assert bars_fingerprint(monday.bars) != bars_fingerprint(other.bars)


def test_rows_of_a_symbol_that_lie_apart_are_joined_in_their_order() -> None:
    data = make_input(symbols=("KO", "LOW"), trades=60)
    whole = data.tape
    mixed = whole.take(pa.array(np.argsort(whole["ts_ns"].to_numpy(), kind="stable")))
    assert [name for name, _ in split_by_symbol(whole)] == ["KO", "LOW"]
    parts = dict(split_by_symbol(mixed))
    assert set(parts) == {"KO", "LOW"}
    for symbol, part in split_by_symbol(whole):
        assert parts[symbol].equals(part.combine_chunks())


def test_a_reader_that_lacks_a_column_is_refused_in_one_sentence(one: CheckInput) -> None:
    read = tape_reader(lambda symbol: one.tape.drop_columns(["conditions"]))
    with pytest.raises(DataError, match=r"^The trades lack the column conditions; "):
        read("DIS")


def test_bars_of_another_type_are_refused_in_one_sentence(one: CheckInput) -> None:
    text = one.bars.set_column(3, "open", pa.array(["x"] * one.bars.num_rows))
    with pytest.raises(DataError, match=r"^The bars do not follow the agreed schema "):
        conform(text, BAR_SCHEMA, "bars")


def test_coverage_levels_follow_volume_beside_the_symbols_own_median() -> None:
    data = make_input(symbols=("KO", "LOW"), trades=600)
    level = take_survey(data, 5).coverage.level
    bars = data.bars.to_pandas().set_index(["symbol", "minute"])
    for row, symbol in enumerate(("KO", "LOW")):
        seen = bars.loc[symbol].observed.to_numpy()
        assert ((level[row] > 0) == seen).all()
        volume = bars.loc[symbol].volume.to_numpy()
        usual = np.median(volume[seen])
        assert (level[row][seen & (volume > 4 * usual)] == LEVELS).all()
        assert (level[row][seen & (volume < usual / 4)] == 1).all()
    assert FLAGGED not in level


def test_one_tape_is_held_at_a_time() -> None:
    data = make_input(symbols=("KO", "LOW", "HD"), trades=100)
    asked: list[str] = []
    parts = dict(split_by_symbol(data.tape))

    def read(symbol: str) -> pa.Table | None:
        asked.append(symbol)
        return parts.get(symbol)

    take_survey(dataclasses.replace(data, tape=read), 5)
    assert asked == ["KO", "LOW", "HD"]
