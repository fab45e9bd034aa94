"""The synthetic market: the same whenever asked, and shaped like a market."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from alpaca_strategy.config import load_settings
from alpaca_strategy.simulator import calendar
from alpaca_strategy.simulator.store import BadTokenError, Place, Query, Store
from alpaca_strategy.simulator.synthetic import SyntheticMarket
from alpaca_strategy.simulator.tape import Tape
from alpaca_strategy.simulator.world import Parameters, Split, World

FULL, HALF = date(2026, 10, 1), date(2026, 11, 27)


def market(**parameters: object) -> SyntheticMarket:
    return SyntheticMarket(World(Parameters(**parameters), load_settings().universe()))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def usual() -> SyntheticMarket:
    return market()


def same(first: Tape, second: Tape) -> bool:
    columns = ("ts", "price", "size", "exchange", "condition", "trade_id", "update")
    return all(np.array_equal(getattr(first, c), getattr(second, c)) for c in columns)


def regular(tape: Tape, day: date) -> Tape:
    session = calendar.session(day)
    assert session is not None
    return tape.take((tape.ts >= session.open_ns) & (tape.ts < session.close_ns))


def test_a_tape_does_not_depend_on_what_was_asked_before(usual: SyntheticMarket) -> None:
    fresh = market()
    alone = fresh.tape("iex", "TSLA", FULL)
    for symbol in ("AAPL", "F", "TSLA"):
        fresh.tape("sip", symbol, HALF)
        fresh.tape("iex", symbol, FULL)
    assert same(alone, fresh.tape("iex", "TSLA", FULL))
    assert same(alone, usual.tape("iex", "TSLA", FULL))


def test_another_seed_symbol_or_day_gives_another_tape(usual: SyntheticMarket) -> None:
    here = usual.tape("iex", "TSLA", FULL)
    assert not same(here, market(seed=8).tape("iex", "TSLA", FULL))
    assert not same(here, usual.tape("iex", "AAPL", FULL))
    assert not same(here, usual.tape("iex", "TSLA", HALF))


def test_every_full_symbol_session_has_at_least_5000_trades(usual: SyntheticMarket) -> None:
    counts = [len(regular(usual.tape("iex", symbol, FULL), FULL)) for symbol in usual.symbols]
    assert len(counts) == 30
    assert min(counts) >= 5000
    assert 5500 < np.mean(counts) < 6800
    half = regular(usual.tape("iex", "AAPL", HALF), HALF)
    assert 0.4 < len(half) / np.mean(counts) < 0.7


def test_iex_is_the_part_of_sip_that_prints_on_exchange_v(usual: SyntheticMarket) -> None:
    iex, sip = usual.tape("iex", "ORCL", FULL), usual.tape("sip", "ORCL", FULL)
    assert set(iex.exchange.tolist()) == {ord("V")}
    assert same(iex, sip.take(sip.exchange == ord("V")))
    assert 0.2 < len(iex) / len(sip) < 0.3
    assert len({chr(x) for x in sip.exchange}) >= 8


def test_ids_are_unique_and_grow_except_where_a_report_was_late(usual: SyntheticMarket) -> None:
    late = total = 0
    for symbol in ("AAPL", "F", "LLY"):
        tape = usual.tape("sip", symbol, FULL)
        assert len(np.unique(tape.trade_id)) == len(tape)
        assert (np.diff(tape.ts) >= 0).all()
        assert (np.diff(tape.ts) == 0).any()  # a sweep's legs share their time
        late, total = late + int((np.diff(tape.trade_id) < 0).sum()), total + len(tape)
    assert 0.0005 < late / total < 0.006


def test_conditions_of_auctions_odd_lots_and_extended_hours_are_there(
    usual: SyntheticMarket,
) -> None:
    tape = usual.tape("sip", "MSFT", FULL)
    session = calendar.session(FULL)
    assert session is not None
    marks = [set(tape.conditions[code]) for code in tape.condition]
    seen = set().union(*marks)
    assert {"@", "F", "I", "T", "O", "Q", "6", "M"} <= seen
    odd = np.array(["I" in m for m in marks])
    assert np.array_equal(
        odd, (tape.size < 100) & ~np.array([bool(m & set("OQ6M9")) for m in marks])
    )
    assert 0.45 < odd.mean() < 0.65
    outside = (tape.ts < session.open_ns) | (tape.ts >= session.close_ns)
    plain = np.array([not m & set("OQ6M9") for m in marks])
    extended = np.array(["T" in m for m in marks])
    assert np.array_equal(extended, outside & plain)
    assert {" "} <= set().union(*map(set, usual.tape("iex", "F", FULL).conditions))


def test_prices_bounce_cluster_and_follow_a_u_shaped_day(usual: SyntheticMarket) -> None:
    bounce, burst, shares = [], [], []
    for symbol in usual.symbols:
        tape = regular(usual.tape("iex", symbol, FULL), FULL)
        change = np.diff(np.log(tape.price))
        bounce.append(np.corrcoef(change[1:], change[:-1])[0, 1])
        gap = np.diff(tape.ts)
        burst.append(gap.std() / gap.mean())
        shares.append(np.histogram(tape.ts - tape.ts[0], 13)[0] / len(tape))
    assert -0.45 < np.mean(bounce) < -0.1
    assert max(bounce) < 0
    assert np.mean(burst) > 1.5  # a Poisson process has 1
    day = np.mean(shares, axis=0)
    assert day[0] > 2.5 * day[6] < day[-1]


def test_names_move_together_and_more_so_within_a_sector() -> None:
    world = market(seed=3).world
    company = {c.symbol: c for c in world.companies.values()}
    moves = {
        symbol: sum(
            loading * sum(world.returns(source, vol)) for source, loading, vol in world.factors(c)
        )
        for symbol, c in company.items()
    }
    symbols = sorted(moves)
    table = np.corrcoef(np.array([moves[symbol] for symbol in symbols]))
    sector = np.array([company[symbol].sector for symbol in symbols])
    together = sector[:, None] == sector[None, :]
    others = ~np.eye(len(symbols), dtype=bool)
    assert 0.2 < table[others].mean() < 0.35
    assert table[others & together].mean() > table[~together].mean() + 0.05


def test_the_session_joins_the_night_without_a_seam(usual: SyntheticMarket) -> None:
    days = [day.date for day in calendar.sessions(date(2026, 9, 1), date(2026, 9, 30))]
    nights, sessions = [], []
    for symbol in ("AAPL", "ETSY", "MRNA", "NVDA", "DVN", "TPR"):
        ends = []
        for day in days:
            tape = regular(usual.tape("iex", symbol, day), day)
            factor = usual.world.split_factor(symbol, day)
            ends.append((np.log(tape.price[0] * factor), np.log(tape.price[-1] * factor)))
        first, last = np.array(ends).T
        nights += list(first[1:] - last[:-1])
        sessions += list(last - first)
    assert 0.4 < np.std(nights) / np.std(sessions) < 0.8  # a quarter of the variance


def test_a_split_divides_printed_prices_from_its_day_on() -> None:
    split = Split("AAPL", date(2026, 10, 2), 4, 1)
    plain, divided = market(), market(scheduled_splits=(split,))
    assert same(plain.tape("iex", "AAPL", FULL), divided.tape("iex", "AAPL", FULL))
    before = regular(divided.tape("iex", "AAPL", FULL), FULL).price[-1]
    after = regular(divided.tape("iex", "AAPL", split.ex_date), split.ex_date).price[0]
    assert before / after == pytest.approx(4, rel=0.08)
    assert split in divided.world.splits("AAPL")


def test_splits_that_chance_brings_keep_prices_in_bounds(usual: SyntheticMarket) -> None:
    found = [split for symbol in usual.symbols for split in usual.world.splits(symbol)]
    assert 100 < len(found) < 400  # about one in four years for each of 30 names
    assert all(calendar.is_session(split.ex_date) for split in found)
    for symbol in usual.symbols:
        factors = [
            usual.world.split_factor(symbol, date(year, 12, 31)) for year in range(2000, 2036)
        ]
        assert set(factors) <= {1.0, 2.0, 3.0, 4.0}


def test_a_day_without_a_session_has_no_trades(usual: SyntheticMarket) -> None:
    assert len(usual.tape("iex", "AAPL", date(2026, 10, 3))) == 0
    assert usual.days("AAPL", date(2026, 10, 2), date(2026, 10, 5)) == [
        date(2026, 10, 2),
        date(2026, 10, 5),
    ]


def _store(source: SyntheticMarket) -> Store:
    return Store(source, lambda _feed, _symbol, _day, tape: tape)


def _range(limit: int, *, descending: bool = False, place: Place | None = None) -> Query:
    first, last = calendar.session(FULL), calendar.session(date(2026, 10, 5))
    assert first is not None
    assert last is not None
    symbols = ("F", "AAPL")
    return Query("iex", symbols, first.open_ns, last.close_ns, limit, descending, place)


@pytest.mark.parametrize("limit", [1, 7, 997, 6000, 10_000])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_of_any_size_add_up_to_the_whole(limit: int, descending: bool) -> None:
    source = market(trades=60 if limit < 10 else 6000)
    store, whole, place = _store(source), b"", None
    everything, _, count = store.page(_range(10**9, descending=descending))
    total = 0
    while True:
        found, token, served = store.page(_range(limit, descending=descending, place=place))
        whole += b"".join(piece for pieces in found.values() for piece in pieces)
        total += served
        if token is None:
            break
        assert served == limit
        place = Place.parse(token)
    assert total == count > 0
    assert list(everything) == ["AAPL", "F"]
    assert whole == b"".join(piece for pieces in everything.values() for piece in pieces)


def test_a_token_that_was_not_ours_is_refused() -> None:
    for token in ("abc", "QUFQTA==", "%%%", "QUFQTHxEfDIwMjI="):
        with pytest.raises(BadTokenError):
            Place.parse(token)


def test_a_session_of_very_many_trades_is_one_seamless_tape() -> None:
    source = market(trades=900_000)
    tape = source.tape("iex", "AAPL", FULL)
    session = calendar.session(FULL)
    assert session is not None
    assert len(regular(tape, FULL)) >= 750_000
    assert (np.diff(tape.ts) >= 0).all()
    assert len(np.unique(tape.trade_id)) == len(tape)
    plain = np.array([set(marks) <= {"@", "F", "I"} for marks in tape.conditions])
    price = tape.price[plain[tape.condition]]
    assert np.abs(np.diff(np.log(price))).max() < 0.01  # no jump where stretches meet
    per_second = np.bincount((tape.ts - session.open_ns)[regular_rows(tape, FULL)] // 10**9)
    assert (per_second[:-1] > 0).mean() > 0.98
    assert same(tape, market(trades=900_000).tape("iex", "AAPL", FULL))


def regular_rows(tape: Tape, day: date) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    session = calendar.session(day)
    assert session is not None
    rows: np.ndarray[tuple[int], np.dtype[np.bool_]] = (tape.ts >= session.open_ns) & (
        tape.ts < session.close_ns
    )
    return rows
