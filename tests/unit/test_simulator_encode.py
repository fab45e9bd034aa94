"""Trades as JSON: what is written in columns reads back as what a plain encoder would write."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_strategy.simulator import encode
from alpaca_strategy.simulator.tape import UPDATES, Tape

CONDITIONS = ((" ",), ("@", "F", "I"), ("@", '"', "\\"), ())
_trade = st.tuples(
    st.integers(631_152_000_000_000_000, 4_102_444_800_000_000_000),
    st.one_of(
        st.floats(0, 1e6).map(lambda x: round(x, 4)),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.integers(-5, 2**40),
    st.sampled_from("AVDQ"),
    st.integers(0, len(CONDITIONS) - 1),
    st.integers(0, 2**62),
    st.integers(0, len(UPDATES) - 1),
)


def _tape(rows: list[tuple[int, float, int, str, int, int, int]]) -> Tape:
    ts, price, size, exchange, condition, ids, update = zip(*rows, strict=True)
    return Tape(
        np.array(ts, np.int64),
        np.array(price),
        np.array(size, np.int64),
        np.array([ord(letter) for letter in exchange], np.uint8),
        np.array(condition, np.int16),
        np.array(ids, np.int64),
        np.array(update, np.uint8),
        "C",
        CONDITIONS,
    )


def _nanoseconds(text: str) -> int:
    head, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.strptime(head, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + int(f"{fraction:0<9}" or 0)


@given(st.lists(_trade, min_size=1, max_size=20))
def test_every_field_reads_back_exactly(
    rows: list[tuple[int, float, int, str, int, int, int]],
) -> None:
    body, offsets = encode.trades(_tape(rows))
    for row, (start, end) in zip(rows, pairwise(offsets), strict=True):
        text = body[start:end]
        assert text.endswith(b"},")
        trade = json.loads(text[:-1])
        ts, price, size, exchange, condition, trade_id, update = row
        assert _nanoseconds(trade["t"]) == ts
        assert float(trade["p"]) == price
        assert (trade["s"], trade["x"], trade["i"]) == (size, exchange, trade_id)
        assert trade["c"] == list(CONDITIONS[condition])
        assert trade.get("u") == UPDATES[update]
        assert set(trade) - {"u"} == set("txpsciz")


@given(st.integers(0, 4_102_444_800_000_000_000))
def test_a_timestamp_reads_back(ns: int) -> None:
    assert encode.parse_timestamp(encode.timestamp(ns)) == ns == _nanoseconds(encode.timestamp(ns))


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-10-01T13:30:00+00:00", "2026-10-01T13:30:00Z"),
        ("2026-10-01T09:30:00.25-04:00", "2026-10-01T13:30:00.25Z"),
        ("2026-10-01", "2026-10-01T04:00:00Z"),  # a date is midnight in New York
        ("2026-12-01", "2026-12-01T05:00:00Z"),
    ],
)
def test_the_forms_of_time_that_clients_send_are_read(text: str, utc: str) -> None:
    assert encode.timestamp(encode.parse_timestamp(text)) == utc


def test_no_trades_are_no_text() -> None:
    body, offsets = encode.trades(_tape([(10**18, 1.0, 1, "V", 0, 1, 0)]).take(slice(0, 0)))
    assert body == b""
    assert offsets.tolist() == [0]
