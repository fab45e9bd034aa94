"""The decision kernel: cases worked out by hand, and a second kernel written with sorted lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from backtest_worlds import FREE, Floats
from backtest_worlds import rules as any_rules
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alpaca_strategy.strategy.costs import (
    Costs,
    affordable,
    fee,
    fill_price,
    fillable,
    round_trip_bps,
)
from alpaca_strategy.strategy.decide import decide, is_due, is_ending
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.strategy.rules import NEVER, WINDOW, Book, Rules, empty_book, slots_of
from alpaca_strategy.strategy.sizing import round_down, shares_for
from alpaca_strategy.strategy.technical import relative_strength, weakness

MINUTES = 390
NAN = float("nan")
#: Every rule off that is not the one in question.
PLAIN = Rules(
    min_score=-np.inf, cooldown=0, trend=False, momentum=False, min_rsi=0.0, flat_minutes=0
)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def book_of(
    symbols: int,
    *,
    held: dict[int, int] | None = None,
    exited: dict[int, int] | None = None,
    pending: dict[int, int] | None = None,
) -> Book:
    """Return a book: minutes of entry by name, minutes of exit, orders."""
    book = empty_book(symbols)
    for s, minute in (held or {}).items():
        book.shares[s], book.entered[s] = 10.0, minute
    for s, minute in (exited or {}).items():
        book.exited[s] = minute
    for s, side in (pending or {}).items():
        book.pending[s] = side
    return book


def decided(
    scores: Sequence[float],
    rules: Rules = PLAIN,
    *,
    book: Book | None = None,
    minute: int = 99,
    minutes: int = MINUTES,
    expected: Sequence[float] | None = None,
    closes: Floats | None = None,
) -> tuple[list[Reason], list[int]]:
    n = len(scores)
    reason, buys = decide(
        np.array(scores, float),
        np.zeros(n) if expected is None else np.array(expected, float),
        np.full((WINDOW, n), 100.0) if closes is None else closes,
        book or empty_book(n),
        minute,
        minutes,
        rules,
    )
    return [Reason(int(r)) for r in reason], buys.tolist()


def rising(symbols: int) -> Floats:
    """Return closes that pass the whole filter."""
    return np.repeat(np.linspace(100.0, 101.4, WINDOW)[:, None], symbols, axis=1)


# --------------------------------------------------------------------------------------- when
@pytest.mark.parametrize(
    ("minute", "minutes", "rules", "due"),
    [
        (8, 390, Rules(interval=10), False),
        (9, 390, Rules(interval=10), True),  # ten minutes have closed
        (19, 390, Rules(interval=10), True),
        (0, 390, Rules(interval=1), True),
        (383, 390, Rules(interval=10, flat_minutes=5), False),
        (384, 390, Rules(interval=10, flat_minutes=5), True),  # 385 have closed, five remain
        (388, 390, Rules(interval=10, flat_minutes=5), True),
        (389, 390, Rules(interval=10, flat_minutes=5), False),  # no open follows
        (389, 390, Rules(interval=10, flat_minutes=0), False),
        (204, 210, Rules(interval=10, flat_minutes=5), True),
        (203, 210, Rules(interval=10, flat_minutes=5), False),
        (387, 390, Rules(interval=10, flat_minutes=0), False),
    ],
)
def test_when_something_is_decided(minute: int, minutes: int, rules: Rules, due: bool) -> None:
    assert is_due(minute, minutes, rules) is due


def test_the_session_ends_when_no_more_minutes_than_that_are_left() -> None:
    rules = Rules(flat_minutes=5)
    assert [m for m in range(390) if is_ending(m, 390, rules)] == [384, 385, 386, 387, 388, 389]
    assert not any(is_ending(m, 390, Rules(flat_minutes=0)) for m in range(390))


# ---------------------------------------------------------------------------------------- whom
def test_the_best_are_bought_best_first_and_of_equals_the_first() -> None:
    reasons, buys = decided([0.7, 0.9, 0.7, 0.8, 0.7], PLAIN._replace(top_k=3))
    assert buys == [1, 3, 0]
    assert reasons == [
        Reason.BUY, Reason.BUY, Reason.OUTRANKED, Reason.BUY, Reason.OUTRANKED
    ]  # fmt: skip


def test_asking_for_more_names_than_there_are_buys_all_of_them() -> None:
    assert decided([0.1, 0.2], PLAIN._replace(top_k=50))[1] == [1, 0]


def test_asking_for_no_names_buys_none() -> None:
    assert decided([0.9], PLAIN._replace(top_k=0)) == ([Reason.OUTRANKED], [])


def test_a_score_of_exactly_the_least_is_enough() -> None:
    reasons, buys = decided([0.6, 0.5999, NAN], PLAIN._replace(min_score=0.6))
    assert reasons == [Reason.BUY, Reason.LOW_SCORE, Reason.NO_SCORE]
    assert buys == [0]


def test_a_name_without_a_score_is_not_bought_with_the_score_rule_off() -> None:
    assert decided([NAN, 0.0])[0] == [Reason.NO_SCORE, Reason.BUY]


@pytest.mark.parametrize(
    ("exited", "reason"), [(85, Reason.COOLING), (84, Reason.BUY), (NEVER, Reason.BUY)]
)
def test_a_name_cools_down_for_so_many_minutes_after_a_sale(exited: int, reason: Reason) -> None:
    """Decided after minute 99, a purchase is filled in minute 100: 15 minutes after 85."""
    rules = PLAIN._replace(cooldown=16)
    assert decided([0.9], rules, book=book_of(1, exited={0: exited}))[0] == [reason]


def test_what_is_held_does_not_cool_down() -> None:
    """A part of it may have been sold in the session before."""
    book = book_of(1, held={0: 0}, exited={0: 99})
    assert decided([0.9], PLAIN._replace(cooldown=15), book=book)[0] == [Reason.KEEP]


@pytest.mark.parametrize(
    ("expected", "reason"),
    [(8.0, Reason.SMALL_EDGE), (8.01, Reason.BUY), (-5.0, Reason.SMALL_EDGE),
     (NAN, Reason.SMALL_EDGE)],
)  # fmt: skip
def test_an_edge_that_does_not_exceed_the_cost_is_left_alone(
    expected: float, reason: Reason
) -> None:
    rules = PLAIN._replace(edge_over_cost=True, round_trip_bps=8.0)
    assert decided([0.9], rules, expected=[expected])[0] == [reason]
    assert decided([0.9], PLAIN, expected=[expected])[0] == [Reason.BUY]


def test_what_is_held_needs_no_edge_to_stay() -> None:
    rules = PLAIN._replace(edge_over_cost=True, round_trip_bps=8.0)
    assert decided([0.9], rules, book=book_of(1, held={0: 0}))[0] == [Reason.KEEP]


# ---------------------------------------------------------------------------------- what is held
@pytest.mark.parametrize(
    ("entered", "reason"),
    [(90, Reason.CLOSE), (91, Reason.YOUNG), (NEVER, Reason.CLOSE), (100, Reason.YOUNG)],
)
def test_a_position_is_closed_when_the_hold_is_over(entered: int, reason: Reason) -> None:
    """Decided after minute 99, a sale is filled in minute 100: ten minutes after minute 90."""
    rules = PLAIN._replace(min_score=0.6, hold=10)
    reasons, buys = decided([0.1], rules, book=book_of(1, held={0: entered}))
    assert (reasons, buys) == ([reason], [])


def test_a_position_that_is_chosen_again_stays_and_is_not_bought_again() -> None:
    reasons, buys = decided([0.9, 0.8], book=book_of(2, held={0: 0}))
    assert (reasons, buys) == ([Reason.KEEP, Reason.BUY], [1])


def test_a_position_takes_part_in_the_choice_and_takes_the_place_of_another() -> None:
    rules = PLAIN._replace(top_k=1)
    reasons, buys = decided([0.9, 0.8], rules, book=book_of(2, held={0: 0}))
    assert (reasons, buys) == ([Reason.KEEP, Reason.OUTRANKED], [])


def test_a_position_that_is_not_chosen_again_is_closed_for_one_that_is() -> None:
    rules = PLAIN._replace(top_k=1)
    reasons, buys = decided([0.8, 0.9], rules, book=book_of(2, held={0: 0}))
    assert (reasons, buys) == ([Reason.CLOSE, Reason.BUY], [1])


def test_with_keeping_off_a_position_takes_no_part_in_the_choice() -> None:
    rules = PLAIN._replace(keep_chosen=False, top_k=1)
    reasons, buys = decided([0.9, 0.8, 0.99], rules, book=book_of(3, held={0: 0, 2: 95}))
    assert reasons == [Reason.CLOSE, Reason.BUY, Reason.YOUNG]
    assert buys == [1]


def test_orders_under_way_are_left_to_themselves_and_take_a_place() -> None:
    book = book_of(4, held={0: 0}, pending={0: -1, 1: 1})
    reasons, buys = decided([0.9, 0.9, 0.8, 0.7], PLAIN._replace(max_positions=3), book=book)
    assert reasons == [Reason.LEAVING, Reason.ORDERED, Reason.BUY, Reason.NO_ROOM]
    assert buys == [2]


def test_room_is_given_to_the_best_and_positions_that_close_make_room() -> None:
    rules = PLAIN._replace(max_positions=2, min_score=0.5)
    book = book_of(4, held={0: 95, 1: 0})  # young, old
    reasons, buys = decided([0.1, 0.2, 0.6, 0.7], rules, book=book)
    assert reasons == [Reason.YOUNG, Reason.CLOSE, Reason.NO_ROOM, Reason.BUY]
    assert buys == [3]


def test_when_the_session_ends_all_is_sold_and_nothing_bought() -> None:
    book = book_of(3, held={0: 380, 1: 0}, pending={1: -1})
    rules = PLAIN._replace(flat_minutes=5)
    reasons, buys = decided([0.9, 0.9, 0.9], rules, book=book, minute=384)
    assert reasons == [Reason.FLATTEN, Reason.LEAVING, Reason.TOO_LATE]
    assert buys == []
    assert decided([0.9, 0.9, 0.9], rules, book=book, minute=383)[1] == [2]


def test_only_two_reasons_sell() -> None:
    assert {reason for reason in Reason if reason.sells} == {Reason.CLOSE, Reason.FLATTEN}


# ------------------------------------------------------------------------------------ the filter
def test_the_filter_can_refuse_for_each_of_its_conditions() -> None:
    rules = PLAIN._replace(trend=True, momentum=True, min_rsi=45.0)
    up = rising(1)[:, 0]
    below = up.copy()
    below[-1] = 100.9  # under the mean of the last five
    dip = np.array([100.0] * 9 + [110.0, 100.0, 100.0, 100.0, 100.0, 109.0])
    falling = np.full(WINDOW, 100.0)
    falling[:8] = np.linspace(130.0, 100.0, 8)
    falling[-1] = 100.5
    closes = np.column_stack([up, below, dip, falling])
    assert decided([0.9] * 4, rules._replace(top_k=4), closes=closes)[0][:3] == [
        Reason.BUY, Reason.WEAK_TREND, Reason.WEAK_MOMENTUM
    ]  # fmt: skip
    # Down by 30 and up by 0.5: the index is 100 - 100 / (1 + 0.5 / 30) = 1.64.
    no_trend = rules._replace(trend=False)
    assert decided([0.9], no_trend, closes=falling[:, None])[0] == [Reason.WEAK_RSI]
    off = no_trend._replace(min_rsi=0.0)
    assert decided([0.9], off, closes=falling[:, None])[0] == [Reason.BUY]


def test_the_filter_wants_fifteen_minutes_and_a_price_in_the_first_of_them() -> None:
    rules = PLAIN._replace(momentum=True)
    closes = rising(3)
    closes[0, 1] = NAN
    closes[1, 2] = NAN  # carried forward from the minute before
    assert decided([0.9] * 3, rules, closes=closes)[0] == [
        Reason.BUY, Reason.SHORT_HISTORY, Reason.BUY
    ]  # fmt: skip
    assert decided([0.9] * 3, rules, closes=closes[1:])[0] == [Reason.SHORT_HISTORY] * 3
    assert decided([0.9] * 3, PLAIN, closes=closes[1:])[0] == [Reason.BUY] * 3


def test_the_filter_reads_only_the_last_fifteen_minutes() -> None:
    rules = PLAIN._replace(trend=True, momentum=True, min_rsi=45.0)
    longer = np.vstack([np.full((40, 1), 1e6), rising(1)])
    assert decided([0.9], rules, closes=longer)[0] == [Reason.BUY]


def test_an_unchanged_price_has_no_momentum_and_no_trend() -> None:
    assert weakness(np.full((WINDOW, 1), 5.0), 0, PLAIN._replace(trend=True)) == Reason.WEAK_TREND
    momentum = PLAIN._replace(momentum=True)
    assert weakness(np.full((WINDOW, 1), 5.0), 0, momentum) == Reason.WEAK_MOMENTUM
    rsi = PLAIN._replace(min_rsi=45.0)
    assert weakness(np.full((WINDOW, 1), 5.0), 0, rsi) == Reason.WEAK_RSI


@pytest.mark.parametrize(
    ("changes", "index"),
    [
        ([1.0] * 7 + [-1.0] * 7, 50.0),
        ([3.0] * 7 + [-1.0] * 7, 75.0),
        ([-1.0] * 14, 0.0),
        ([0.0] * 14, 0.0),
        ([0.0] * 13 + [14e-6], 50.0),  # a mean gain of 1e-6 against the floor of the mean loss
        ([0.0] * 13 + [14.0], 100.0 - 100.0 / (1.0 + 1e6)),
    ],
)
def test_the_relative_strength_index_is_of_plain_means(changes: list[float], index: float) -> None:
    price = 50.0 + np.concatenate([[0.0], np.cumsum(changes)])
    assert relative_strength(price) == pytest.approx(index, rel=1e-6, abs=1e-12)


def filter_by_pandas(closes: Floats, rules: Rules) -> npt.NDArray[np.bool_]:
    """Return which names pass, by the formulas as pandas users write them."""
    frame = pd.DataFrame(closes[-WINDOW:]).ffill()
    change = frame.diff().iloc[1:]
    gain = change.clip(lower=0).mean()
    loss = (-change.clip(upper=0)).mean().clip(lower=1e-6)
    rsi = 100 - 100 / (1 + gain / loss)
    last, ma5, ma15 = frame.iloc[-1], frame.iloc[-5:].mean(), frame.mean()
    passes = frame.iloc[0].notna()
    if rules.trend:
        passes &= (last > ma5) & (ma5 > ma15)
    if rules.momentum:
        passes &= frame.iloc[-1] / frame.iloc[-6] - 1 > 0
    if rules.min_rsi > 0:
        passes &= rsi > rules.min_rsi
    return passes.to_numpy()


@pytest.mark.parametrize("trend", [True, False])
@pytest.mark.parametrize("momentum", [True, False])
@pytest.mark.parametrize("min_rsi", [45.0, 0.0])
def test_the_filter_is_what_pandas_makes_of_the_formulas(
    trend: bool, momentum: bool, min_rsi: float
) -> None:
    draw = np.random.default_rng(17)
    rules = PLAIN._replace(trend=trend, momentum=momentum, min_rsi=min_rsi)
    # Not in cents: the mean of 5 prices must not equal that of 15 but for the order of adding.
    closes = 50.0 * np.exp(np.cumsum(draw.normal(1e-4, 1e-3, (30, 4000)), axis=0))
    closes[draw.random(closes.shape) < 0.1] = np.nan
    if not (trend or momentum or min_rsi):
        assert not any(weakness(closes, s, rules) for s in range(closes.shape[1]))
        return
    passes = np.array([weakness(closes, s, rules) == 0 for s in range(closes.shape[1])])
    assert 200 < passes.sum() < 3000
    np.testing.assert_array_equal(passes, filter_by_pandas(closes, rules))


# ------------------------------------------------------------------------- a second kernel
def naive(
    scores: Floats, expected: Floats, closes: Floats, book: Book, minute: int, minutes: int,
    rules: Rules,
) -> tuple[list[str], list[int]]:  # fmt: skip
    """Decide with dictionaries and sorted lists, rule by rule as the documentation states them."""
    names = range(len(scores))
    held = {s for s in names if book.shares[s] > 0}
    selling = {s for s in names if book.pending[s] == -1}
    buying = {s for s in names if book.pending[s] == 1}
    said = dict.fromkeys(names, "")
    if rules.flat_minutes and minutes - (minute + 1) <= rules.flat_minutes:
        for s in names:
            said[s] = "LEAVING" if s in selling else "FLATTEN" if s in held else "TOO_LATE"
        return list(said.values()), []
    weak = {s: Reason(w).name if (w := weakness(closes, s, rules)) else "" for s in names}
    candidates = []
    for s in names:
        if s in selling or s in buying:
            said[s] = "LEAVING" if s in selling else "ORDERED"
        elif s in held and not rules.keep_chosen:
            said[s] = "held"
        elif np.isnan(scores[s]):
            said[s] = "NO_SCORE"
        elif scores[s] < rules.min_score:
            said[s] = "LOW_SCORE"
        elif s not in held and minute + 1 < book.exited[s] + rules.cooldown:
            said[s] = "COOLING"
        elif s not in held and rules.edge_over_cost and not expected[s] > rules.round_trip_bps:
            said[s] = "SMALL_EDGE"
        else:
            said[s] = weak[s] or "OUTRANKED"
            candidates += [] if weak[s] else [s]
    chosen = sorted(candidates, key=lambda s: (-scores[s], s))[: rules.top_k]
    for s in held - selling - buying:
        old = minute + 1 >= book.entered[s] + rules.hold
        said[s] = "KEEP" if s in chosen else "CLOSE" if old else "YOUNG"
    staying = {s for s in held if said[s] in ("KEEP", "YOUNG")} | selling | buying
    wanted = [s for s in chosen if s not in held]
    buys = wanted[: max(0, rules.max_positions - len(staying))]
    for s in wanted:
        said[s] = "BUY" if s in buys else "NO_ROOM"
    return list(said.values()), buys


@st.composite
def situations(draw: st.DrawFn) -> tuple[Any, ...]:
    """Draw what `decide` is given: few distinct scores, ages about the hold, any orders."""
    n = draw(st.integers(1, 12))
    rules = draw(any_rules)
    minutes = draw(st.sampled_from([390, 210]))
    minute = draw(st.one_of(st.integers(0, minutes - 2), st.integers(minutes - 12, minutes - 2)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = generator.choice([0.0, 0.59, 0.6, 0.61, 0.8, 0.95, 1.0, NAN], n)
    expected = generator.choice([-3.0, 0.0, 8.0, 8.5, 30.0, NAN], n)
    closes = 20 * np.exp(np.cumsum(generator.normal(3e-4, 1e-3, (minute + 1, n)), axis=0))
    closes[generator.random(closes.shape) < 0.03] = NAN
    book = empty_book(n)
    book.shares[:] = generator.choice([0.0, 0.0, 5.0], n)
    book.entered[:] = np.where(
        generator.random(n) < 0.1, NEVER, minute + 1 - generator.integers(0, 2 * rules.hold + 1, n)
    )
    book.exited[:] = np.where(
        generator.random(n) < 0.3, minute + 1 - generator.integers(0, 30, n), NEVER
    )
    sale = (book.shares > 0) & (generator.random(n) < 0.15)
    purchase = (book.shares == 0) & (generator.random(n) < 0.05)
    book.pending[:] = np.where(sale, -1, np.where(purchase, 1, 0))
    return scores, expected, closes, book, minute, minutes, rules


@settings(patient, max_examples=400)
@given(situations())
def test_the_kernel_decides_what_sorted_lists_decide(situation: tuple[Any, ...]) -> None:
    reason, buys = decide(*situation)
    said, wanted = naive(*situation)
    assert [Reason(int(r)).name for r in reason] == said
    assert buys.tolist() == wanted


def test_every_reason_occurs_in_such_situations() -> None:
    seen: set[str] = set()

    @settings(patient, max_examples=400, database=None)
    @given(situations())
    def look(situation: tuple[Any, ...]) -> None:
        seen.update(Reason(int(r)).name for r in decide(*situation)[0])

    look()
    assert seen == {reason.name for reason in Reason}


@settings(patient, max_examples=100)
@given(situations())
def test_a_decision_leaves_what_it_was_given_as_it_was(situation: tuple[Any, ...]) -> None:
    def content() -> list[bytes]:
        scores, expected, closes, book, *_ = situation
        return [array.tobytes() for array in (scores, expected, closes, *book)]

    before = content()
    decide(*situation)
    assert content() == before


# -------------------------------------------------------------------------------------- how much
@pytest.mark.parametrize(
    ("equity", "price", "changes", "shares"),
    [
        (100_000.0, 50.0, {"exposure": 0.95, "slots": 3}, 633.0),  # 633.33
        (100_000.0, 50.0, {"exposure": 0.95, "slots": 3, "whole_shares": False}, 633.333333),
        (100_000.0, 31_666.67, {"exposure": 0.95, "slots": 3}, 0.0),  # one is a cent too dear
        (100_000.0, 31_666.66, {"exposure": 0.95, "slots": 3}, 1.0),
        (1.0, 400.0, {"exposure": 1.0, "slots": 1, "whole_shares": False}, 0.0025),
        (0.0, 50.0, {}, 0.0),
        (-10.0, 50.0, {}, 0.0),
        (NAN, 50.0, {}, 0.0),
        (100_000.0, NAN, {}, 0.0),
        (100_000.0, 0.0, {}, 0.0),
        (100_000.0, 50.0, {"slots": 0}, 0.0),
    ],
)
def test_a_slot_buys_its_part_of_the_equity_rounded_down(
    equity: float, price: float, changes: dict[str, Any], shares: float
) -> None:
    assert shares_for(equity, price, Rules(**changes)) == shares


def test_fractions_are_cut_to_a_millionth() -> None:
    assert round_down(1.9999999, False) == 1.999999
    assert round_down(1.9999999, True) == 1.0


@pytest.mark.parametrize(
    ("changes", "slots"),
    [
        ({}, 3),  # three names, held for one decision
        ({"hold": 11}, 6),  # two decisions overlap
        ({"hold": 60}, 6),  # eighteen, but at most six
        ({"hold": 1}, 3),
        ({"top_k": 9}, 6),
        ({"interval": 1, "hold": 2, "top_k": 1}, 2),
    ],
)
def test_slots_are_the_names_that_come_to_be_held(changes: dict[str, int], slots: int) -> None:
    given_ = {"interval": 10, "top_k": 3, "max_positions": 6, "hold": 10, **changes}
    assert slots_of(**given_) == slots


# ---------------------------------------------------------------------------------------- costs
def test_a_market_order_gets_half_the_spread_and_slippage_less() -> None:
    costs = Costs(half_spread_bps=1.0, slippage_bps=1.5)
    assert fill_price(200.0, 1, costs) == pytest.approx(200.05)
    assert fill_price(200.0, -1, costs) == pytest.approx(199.95)


@pytest.mark.parametrize(
    ("shares", "price", "side", "changes", "usd"),
    [
        (1000.0, 50.0, 1, {}, 0.0),
        # 50,000 USD sold: 27.80 USD a million is 1.39 USD; 1000 shares at 0.000166 are 0.166 USD.
        (1000.0, 50.0, -1, {}, 1.556),
        # 100,000 shares at 0.000166 would be 16.60 USD; at most 8.30.
        (100_000.0, 1.0, -1, {}, 2.78 + 8.30),
        (1000.0, 50.0, 1, {"commission_bps": 2.0}, 10.0),
        (1000.0, 50.0, -1, {"commission_bps": 2.0, "commission_per_share": 0.005}, 16.556),
        (0.5, 50.0, 1, {"commission_per_share": 0.005}, 0.0025),
    ],
)
def test_fees_of_an_execution(
    shares: float, price: float, side: int, changes: dict[str, float], usd: float
) -> None:
    assert fee(shares, price, side, Costs(**changes)) == pytest.approx(usd)


@pytest.mark.parametrize(
    ("wanted", "volume", "participation", "whole", "shares"),
    [
        (500.0, 1999.0, 0.1, True, 199.0),
        (500.0, 1999.0, 0.1, False, 199.9),
        (100.0, 1999.0, 0.1, True, 100.0),
        (0.3, 1999.0, 0.1, True, 0.3),  # a fraction that a split left is sold whole
        (500.0, 9.0, 0.1, True, 0.0),
        (500.0, 0.0, 0.1, True, 0.0),
        (500.0, NAN, 0.1, True, 0.0),
        (500.0, NAN, 0.0, True, 500.0),  # without a limit no volume is needed
    ],
)
def test_a_minute_fills_its_share_of_the_volume(
    wanted: float, volume: float, participation: float, whole: bool, shares: float
) -> None:
    costs = Costs(participation=participation)
    assert fillable(wanted, volume, costs, whole) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("cash", "price", "changes", "whole", "shares"),
    [
        (1000.0, 33.0, {}, True, 30.0),
        (1000.0, 33.0, {}, False, 30.303030),
        (1000.0, 100.0, {"commission_bps": 1.0}, True, 9.0),  # ten would cost 1000.10
        (1000.0, 99.0, {"commission_per_share": 1.0}, True, 10.0),
        (99.0, 100.0, {}, True, 0.0),
        (-5.0, 100.0, {}, True, 0.0),
    ],
)
def test_no_more_is_bought_than_cash_pays_for(
    cash: float, price: float, changes: dict[str, float], whole: bool, shares: float
) -> None:
    assert affordable(cash, price, Costs(**changes), whole) == shares


def test_a_round_trip_costs_both_sides_and_the_fees_of_the_sale() -> None:
    costs = Costs(half_spread_bps=1.0, slippage_bps=1.0, commission_bps=0.5)
    # Twice 2.5 bps; 27.80 USD of a million are 0.278 bps; 0.000166 USD of 100 are 0.0166 bps.
    assert round_trip_bps(costs) == pytest.approx(5.2946)
    assert round_trip_bps(FREE) == 0.0


@settings(patient, max_examples=200)
@given(
    st.integers(1, 10_000), st.floats(1.0, 500.0), st.floats(0.0, 30.0), st.floats(0.0, 30.0),
    st.floats(0.0, 10.0),
)  # fmt: skip
def test_the_round_trip_is_what_buying_and_selling_at_one_price_loses(
    shares: int, price: float, half_spread: float, slippage: float, commission: float
) -> None:
    costs = Costs(half_spread, slippage, commission, taf_cap=np.inf)
    paid, got = fill_price(price, 1, costs), fill_price(price, -1, costs)
    fees = fee(shares, paid, 1, costs) + fee(shares, got, -1, costs)
    lost = (shares * (paid - got) + fees) / (shares * price) * 1e4
    assert lost == pytest.approx(round_trip_bps(costs, price), rel=0.01, abs=1e-6)
