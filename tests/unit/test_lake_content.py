"""The content hash says what rows say, and nothing about how they came."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_sessions import make_tape

from alpaca_strategy.storage.content import ContentHash, hash_table, split_by_symbol, symbol_runs

SCHEMA = pa.schema(
    [("symbol", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("b", pa.bool_())]
)
texts = st.one_of(st.none(), st.text(max_size=4))
rows = st.lists(
    st.tuples(
        texts,
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        st.one_of(st.none(), st.floats()),
        st.one_of(st.none(), st.booleans()),
    ),
    max_size=20,
)


def table_of(values: list[tuple[object, ...]]) -> pa.Table:
    columns = zip(*values, strict=True) if values else [[]] * len(SCHEMA)
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


@given(rows, st.lists(st.integers(0, 20), max_size=4))
def test_hash_does_not_depend_on_chunks(values: list[tuple[object, ...]], cuts: list[int]) -> None:
    whole = table_of(values)
    content = ContentHash(SCHEMA)
    borders = sorted({0, len(values), *(min(c, len(values)) for c in cuts)})
    for start, stop in pairwise(borders):
        content.update(whole.slice(start, stop - start))
    assert content.hexdigest() == hash_table(whole)


@given(rows, rows)
def test_equal_hash_means_equal_rows(
    left: list[tuple[object, ...]], right: list[tuple[object, ...]]
) -> None:
    def told(values: list[tuple[object, ...]]) -> str:
        return repr(values)  # tells NaN from None and 0.0 from -0.0, as the hash does

    same = hash_table(table_of(left)) == hash_table(table_of(right))
    assert same == (told(left) == told(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([("ab", 1, 1.0, True), ("c", 1, 1.0, True)], [("a", 1, 1.0, True), ("bc", 1, 1.0, True)]),
        ([(None, 1, 1.0, True)], [("", 1, 1.0, True)]),
        ([("a", None, 1.0, True)], [("a", 0, 1.0, True)]),
        ([("a", 1, None, True)], [("a", 1, 0.0, True)]),
        ([("a", 1, 1.0, None)], [("a", 1, 1.0, False)]),
        ([("a", 1, 1.0, True), ("b", 2, 1.0, True)], [("b", 2, 1.0, True), ("a", 1, 1.0, True)]),
    ],
)
def test_near_misses_have_different_hashes(left: list[object], right: list[object]) -> None:
    assert hash_table(table_of(left)) != hash_table(table_of(right))  # type: ignore[arg-type]


def test_encoding_of_strings_does_not_count() -> None:
    plain = table_of([("a", 1, 1.0, True), (None, 2, 2.0, False), ("a", 3, 3.0, True)])
    encoded = plain.set_column(0, "symbol", plain.column("symbol").dictionary_encode())
    large = plain.set_column(0, "symbol", plain.column("symbol").cast(pa.large_string()))
    assert hash_table(encoded, SCHEMA) == hash_table(large, SCHEMA) == hash_table(plain)


def test_every_nan_is_the_same_nan() -> None:
    quiet = pa.array([float("nan")])
    other = pa.Array.from_buffers(
        pa.float64(), 1, [None, pa.py_buffer((0x7FF8_0000_0000_0001).to_bytes(8, "little"))]
    )
    assert hash_table(pa.table({"x": quiet})) == hash_table(pa.table({"x": other}))


def test_runs_cover_the_table_once() -> None:
    tape = pa.concat_tables(make_tape(("AAA", "BBB"), trades=3))
    assert symbol_runs(tape) == [("AAA", 0, 3), ("BBB", 3, 6)]
    assert symbol_runs(tape.slice(0, 0)) == []


def test_a_symbol_that_comes_back_is_refused() -> None:
    a, b = make_tape(("AAA", "BBB"), trades=3)
    with pytest.raises(ValueError, match="AAA are not together"):
        list(split_by_symbol([a, b, a]))
