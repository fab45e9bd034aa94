"""A tape in the making, however it comes, gives the bits of the finished one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from alpaca_strategy.market.bars import BarBuilder, build_session_bars
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.conditions import ConditionTable, load_condition_table
from alpaca_strategy.market.live_tape import LiveTape
from alpaca_strategy.market.schema import BAR_COLUMNS, TRADE_SCHEMA
from alpaca_strategy.market.stream_trades import (
    StreamTrade,
    TradeCancel,
    TradeCorrection,
    nanoseconds,
)
from alpaca_strategy.market.symbol_tape import SymbolTape

MINUTE = 60_000_000_000
SESSION = exchange_calendar().session(date(2026, 9, 15))
OPEN = int(SESSION.opens_at.timestamp()) * 10**9
ALPACA = load_condition_table("alpaca")
VENDOR = load_condition_table("vendor-2013")
SYMBOLS = ("SPY", "AIG", "BAC")

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class T:
    """A trade, at a time counted from the open."""

    at: int
    id: int
    price: float = 10.0
    size: int = 100
    symbol: str = "AIG"
    exchange: str = "N"
    conditions: str = "@"
    tape: str = "A"
    update: str | None = None

    def streamed(self) -> StreamTrade:
        marks = tuple(self.conditions.split(",")) if self.conditions else None
        return StreamTrade(
            symbol=self.symbol, id=self.id, price=self.price, size=self.size,
            at=stamp(OPEN + self.at), tape=self.tape, exchange=self.exchange, conditions=marks,
        )  # fmt: skip

    def correction(self, corrected: T, told_at: int = 0) -> TradeCorrection:
        marks = tuple(corrected.conditions.split(",")) if corrected.conditions else None
        return TradeCorrection(
            symbol=self.symbol, exchange=self.exchange, original_id=self.id, id=corrected.id,
            price=corrected.price, size=corrected.size, at=stamp(OPEN + told_at),
            tape=corrected.tape, conditions=marks,
        )  # fmt: skip

    def cancel(self) -> TradeCancel:
        return TradeCancel(symbol=self.symbol, exchange=self.exchange, original_id=self.id)

    @property
    def key(self) -> tuple[str, int, int, str]:
        return self.symbol, self.at, self.id, self.exchange


def stamp(ns: int) -> Ext:
    """Return a MessagePack timestamp, by the specification's own words."""
    seconds, rest = divmod(ns, 10**9)
    if rest == 0:
        return Ext(-1, seconds.to_bytes(4, "big"))
    return Ext(-1, (rest << 34 | seconds).to_bytes(8, "big"))


def lake(trades: Sequence[T]) -> pa.Table:
    """Return trades as the lake would hold them: by symbol, then time, then id, then exchange."""
    rows = [
        {
            "symbol": t.symbol, "ts_ns": OPEN + t.at, "price": t.price, "size": t.size,
            "exchange": t.exchange, "conditions": t.conditions, "tape": t.tape, "id": t.id,
            "update": t.update,
        }
        for t in sorted(trades, key=lambda t: (SYMBOLS.index(t.symbol), *t.key[1:]))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, TRADE_SCHEMA)


def batch(trades: Sequence[T], table: ConditionTable = ALPACA) -> tuple[bytes, bytes]:
    bars = build_session_bars(lake(trades), SESSION, SYMBOLS, table)
    shape = (len(SYMBOLS), SESSION.minutes)
    values = np.stack(
        [np.asarray(bars[name].cast(pa.float64())).reshape(shape) for name in BAR_COLUMNS], axis=-1
    )
    observed = np.asarray(bars["observed"]).reshape(shape)
    return values.transpose(1, 0, 2).tobytes(), observed.T.tobytes()


def bits(tape: LiveTape) -> tuple[bytes, bytes]:
    values, observed = tape.bars()
    assert values.shape == (SESSION.minutes, len(SYMBOLS), len(BAR_COLUMNS))
    return values.tobytes(), observed.tobytes()


def new_tape(table: ConditionTable = ALPACA) -> LiveTape:
    return LiveTape(SESSION, SYMBOLS, table)


# Prices on few ticks, times crowded into few minutes and instants: everything happens at once.
trades = st.lists(
    st.builds(
        T,
        at=st.one_of(
            st.integers(0, 3 * MINUTE).map(lambda ns: ns // 10**9 * 10**9),
            st.integers(0, 6 * MINUTE),
            st.integers(388 * MINUTE, 391 * MINUTE),
            st.integers(-MINUTE, 0),
        ),
        id=st.integers(0, 1000),
        price=st.integers(990, 1010).map(lambda cents: cents / 100),
        size=st.sampled_from([1, 99, 100, 500, 2000]),
        symbol=st.sampled_from(SYMBOLS),
        exchange=st.sampled_from("NPV"),
        conditions=st.sampled_from(["@", "@", "@,I", "", " ", "O", "6", "W", "Q", "@,T", "@,?"]),
        tape=st.sampled_from("AC"),
    ),
    unique_by=lambda t: t.key,
    max_size=80,
)


@given(trades, st.data(), st.sampled_from([ALPACA, VENDOR]))
@patient
def test_any_order_repetition_and_source_gives_the_bits_of_the_whole_tape(
    wanted: list[T], data: st.DataObject, table: ConditionTable
) -> None:
    order = sorted(wanted, key=lambda t: t.at)
    if data.draw(st.booleans(), label="shuffled"):
        order = data.draw(st.permutations(wanted))
    arriving = list(order)
    for again in data.draw(st.lists(st.sampled_from(order), max_size=20)) if order else []:
        arriving.insert(data.draw(st.integers(0, len(arriving))), again)
    tape = new_tape(table)
    rest = arriving
    so_far: list[T] = []
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        piece, rest = rest[:size], rest[size:]
        so_far += piece
        if data.draw(st.booleans(), label="from the history"):
            tape.extend_table(lake(piece))
        else:
            tape.extend([t.streamed() for t in piece])
        if data.draw(st.booleans(), label="look"):
            assert bits(tape) == batch(list({t.key: t for t in so_far}.values()), table)
    assert bits(tape) == batch(wanted, table)
    assert tape.table().equals(lake(wanted))
    counts = tape.counts
    assert (counts.trades, counts.duplicates) == (len(wanted), len(arriving) - len(wanted))
    assert counts.rejected == 0


@given(trades, st.data())
@patient
def test_corrections_and_cancels_give_the_bits_of_the_corrected_tape(
    first: list[T], data: st.DataObject
) -> None:
    first = list({(t.symbol, t.exchange, t.id): t for t in first}.values())  # ids as they must be
    events: list[tuple[str, Any]] = [("trade", t.streamed()) for t in first]
    final: dict[tuple[str, int, int, str], T] = {t.key: t for t in first}
    amended = data.draw(st.lists(st.sampled_from(first), unique=True)) if first else []
    for number, t in enumerate(amended):
        if data.draw(st.booleans(), label="cancel"):
            final[t.key] = replace(t, update="canceled")
            amendment: tuple[str, Any] = ("cancel", t.cancel())
        else:
            right = replace(t, id=2000 + number, price=t.price + 0.5, size=7, update="corrected")
            final[t.key] = replace(t, update="incorrect")
            final[right.key] = right
            # The time of telling must not matter.
            amendment = ("correction", t.correction(right, told_at=data.draw(st.integers(0, 10))))
        events.insert(data.draw(st.integers(0, len(events))), amendment)
    tape = new_tape()
    for kind, event in events:
        if kind == "trade":
            tape.extend([event])
        elif kind == "cancel":
            tape.cancel([event])
        else:
            tape.correct([event])
        if data.draw(st.booleans(), label="look"):
            tape.bars()
    assert bits(tape) == batch(list(final.values()))
    assert tape.table().equals(lake(list(final.values())))
    # The history, read afterwards, has nothing new to say.
    assert tape.extend_table(lake(list(final.values()))) == 0
    assert bits(tape) == batch(list(final.values()))


def test_the_history_tells_of_cancels_and_corrections_that_the_stream_did_not() -> None:
    before = [T(1, 1), T(2, 2, 11.0), T(MINUTE, 3)]
    right = T(2, 9, 10.5, update="corrected")
    after = [replace(before[0], update="canceled"), replace(before[1], update="incorrect"), right,
             before[2]]  # fmt: skip
    tape = new_tape()
    tape.extend([t.streamed() for t in before])
    tape.bars()
    assert tape.extend_table(lake(after)) == 1
    assert bits(tape) == batch(after)
    tape.extend([t.streamed() for t in before])  # what is undone stays so when it comes again
    assert bits(tape) == batch(after)
    assert tape.counts.duplicates == 6


def test_a_history_that_takes_a_trade_back_and_has_nothing_new() -> None:
    before = [T(1, 1), T(MINUTE, 2, 11.0), T(2 * MINUTE, 3)]
    after = [before[0], replace(before[1], update="canceled"), before[2]]
    tape = new_tape()
    for t in before:
        tape.extend([t.streamed()])
        assert bits(tape) != batch(after)
    assert tape.extend_table(lake(after)) == 0
    assert bits(tape) == batch(after)


def test_going_back_does_not_add_a_priceless_minute_to_the_bar_before_it_twice() -> None:
    """The vendor's rules give the volume of a minute without a price to the bar before it."""
    many = [
        T(0, 1), T(MINUTE, 2, size=700, conditions="F"), T(2 * MINUTE + 10, 3),
        T(2 * MINUTE + 5, 4),
    ]  # fmt: skip
    tape = new_tape(VENDOR)
    for t in many:
        tape.extend([t.streamed()])
        tape.bars()
    values, _ = tape.bars(1)
    assert values[0, SYMBOLS.index("AIG"), BAR_COLUMNS.index("volume")] == 800
    assert bits(tape) == batch(many, VENDOR)


def test_a_corrected_trade_has_the_time_that_the_history_gives_it() -> None:
    wrong, other = T(5, 1, 99.0), T(2 * MINUTE, 2)
    tape = new_tape()
    tape.extend([wrong.streamed(), other.streamed()])
    tape.correct([wrong.correction(T(0, 3, 10.0), told_at=7)])
    assert bits(tape) == batch(
        [replace(wrong, update="incorrect"), T(5, 3, update="corrected"), other]
    )
    history = [replace(wrong, update="incorrect"), T(MINUTE, 3, update="corrected"), other]
    tape.extend_table(lake(history))
    assert bits(tape) == batch(history)
    assert tape.table().equals(lake(history))
    tape.correct([wrong.correction(T(0, 3, 10.0))])  # told again: the history still stands
    assert bits(tape) == batch(history)


def test_the_first_minutes_alone_have_the_same_bits() -> None:
    many = [T(n * MINUTE // 7, n, 10 + n % 5) for n in range(90)]
    tape = new_tape()
    tape.extend([t.streamed() for t in many])
    values, observed = tape.bars(4)
    whole, seen = tape.bars()
    assert values.shape == (4, 3, len(BAR_COLUMNS))
    assert values.tobytes() == whole[:4].tobytes()
    assert observed.tobytes() == seen[:4].tobytes()
    assert observed[:, 1].all()


def test_what_comes_in_is_counted() -> None:
    tape = new_tape()
    assert tape.newest_ns is None
    sound = [T(10, 1), T(5, 2), T(20, 3), T(7, 4), T(20, 3), T(3, 5, symbol="BAC")]
    bad: list[dict[str, Any]] = [
        {"price": math.nan}, {"price": math.inf}, {"price": 0.0}, {"price": -1.0}, {"size": 0},
        {"size": -5}, {"size": 2**32}, {"size": 2**70}, {"id": -1}, {"id": 2**63},
        {"at": stamp(OPEN - 86_400 * 10**9)}, {"at": Ext(-1, b"abc")}, {"at": Ext(-1, b"\xff" * 8)},
        {"at": "yesterday"}, {"at": "2026-09-15T13:31:00"},
    ]  # fmt: skip
    arriving = [t.streamed() for t in sound]
    arriving += [msgspec.structs.replace(T(30, 50 + n).streamed(), **b) for n, b in enumerate(bad)]
    arriving += [msgspec.structs.replace(T(40, 90).streamed(), symbol="ELSE")]
    tape.extend(arriving)
    assert tape.counts.rejected == len(bad)
    assert (tape.counts.trades, tape.counts.late, tape.counts.duplicates) == (5, 2, 1)
    assert tape.newest_ns == OPEN + 20
    assert tape.newest_by_symbol() == {"AIG": OPEN + 20, "BAC": OPEN + 3}
    assert bits(tape) == batch([sound[0], sound[1], sound[2], sound[3], sound[5]])


def test_lateness_is_the_same_however_many_are_taken_up_at_once() -> None:
    arriving = [T(at, number) for number, at in enumerate([10, 5, 20, 15, 20, 30, 1])]
    together, alone = new_tape(), new_tape()
    together.extend([t.streamed() for t in arriving])
    for t in arriving:
        alone.extend([t.streamed()])
        alone.bars(1)
    assert together.counts == alone.counts
    assert together.counts.late == 3


def test_missing_values_of_the_history_are_set_aside() -> None:
    table = lake([T(1, 1), T(2, 2), T(3, 3), T(4, 4), T(5, 5)])
    for row, name in enumerate(["ts_ns", "price", "size", "id"]):
        column = table[name].to_pylist()
        column[row] = None
        place = table.column_names.index(name)
        table = table.set_column(
            place, TRADE_SCHEMA.field(name), pa.array(column, table[name].type)
        )
    tape = new_tape()
    assert tape.extend_table(table) == 1
    assert tape.counts.rejected == 4
    assert tape.extend_table(TRADE_SCHEMA.empty_table()) == 0
    assert tape.table()["id"].to_pylist() == [5]


def test_an_empty_tape_has_bars_of_nothing() -> None:
    tape = new_tape()
    assert bits(tape) == batch([])
    assert tape.table().equals(TRADE_SCHEMA.empty_table())
    tape.extend([])
    assert tape.counts.trades == 0


def test_a_late_trade_costs_its_symbol_the_last_minutes_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tape = new_tape()
    regular = [T(n * MINUTE // 100, n, 10 + n % 3) for n in range(10_000)]
    others = [T(n * MINUTE // 100, n, symbol="BAC") for n in range(10_000)]
    for n in range(0, 10_000, 50):  # as a stream brings them
        tape.extend([t.streamed() for t in (*regular[n : n + 50], *others[n : n + 50])])
        tape.bars(1)
    late = T(99 * MINUTE + 5, 20_000, 12.0)
    wanted = batch([*regular, *others, late])
    fed: list[int] = []
    push = BarBuilder.push_arrays

    def counting(builder: BarBuilder, arrays: Any) -> None:
        fed.append(len(arrays.ts_ns))
        push(builder, arrays)

    monkeypatch.setattr(BarBuilder, "push_arrays", counting)
    tape.extend([late.streamed()])
    assert bits(tape) == wanted
    assert sum(fed) <= 201


def test_a_day_of_trades_takes_32_bytes_each() -> None:
    tape = SymbolTape()
    assert tape.records.dtype.itemsize == 32
    live = new_tape()
    live.extend([T(n, n).streamed() for n in range(50_000)])
    assert len(live._aside) < 5_000
    assert live.counts.trades == 50_000


@given(st.integers(0, 2**33 * 10**9 - 1))
def test_times_keep_their_nanoseconds(ns: int) -> None:
    seconds, rest = divmod(ns, 10**9)
    twelve = Ext(-1, rest.to_bytes(4, "big") + seconds.to_bytes(8, "big"))
    assert nanoseconds([stamp(ns), twelve]).tolist() == [ns, ns]
    written = pc.strftime(pa.scalar(seconds, pa.timestamp("s", "UTC")), "%Y-%m-%dT%H:%M:%S")
    text = f"{written.as_py()}.{rest:09}Z"
    assert nanoseconds([text]).tolist() == [ns]


def test_json_and_messagepack_say_the_same() -> None:
    told = {"T": "t", "S": "AIG", "i": 7, "x": "V", "p": 10.25, "s": 100, "c": ["@", "I"],
            "t": "2026-09-15T13:30:00.123456789Z", "z": "C"}  # fmt: skip
    ns = 1_789_479_000_123_456_789
    packed = msgspec.msgpack.encode({**told, "t": stamp(ns)})
    tapes = [new_tape(), new_tape()]
    tapes[0].extend([msgspec.json.decode(json.dumps(told), type=StreamTrade)])
    tapes[1].extend([msgspec.msgpack.decode(packed, type=StreamTrade)])
    assert tapes[0].table().equals(tapes[1].table())
    assert tapes[0].newest_ns == ns
    assert tapes[0].table()["conditions"].to_pylist() == ["@,I"]
