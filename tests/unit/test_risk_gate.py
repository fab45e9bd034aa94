"""The gate before the wire: every rule at its limit and just beyond, to enter and to leave."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.domain.orders import OrderType, Side, Ticket
from alpaca_strategy.domain.portfolio import Asset, Position
from alpaca_strategy.strategy.exposure import (
    Holding,
    InFlight,
    LastPrice,
    affordable_qty,
    holdings,
)
from alpaca_strategy.strategy.risk import Block, DenialKind, GateState, Limits, check

D = Decimal
LIMITS = Limits(
    max_order_usd=D(20_000),
    max_order_shares=D(300),
    max_position_usd=D(30_000),
    max_gross_exposure=D("1.05"),
    max_daily_loss=D("0.05"),
    max_orders_per_minute=3,
    max_orders_per_session=10,
    price_collar=D("0.05"),
    max_price_age_s=D(60),
    restricted=frozenset({"TABOO"}),
)
#: Sound in every respect: AAPL costs 100 USD, half of the money is spent on MSFT.
SOUND = GateState(
    market_open=True,
    equity=D(100_000),
    last_equity=D(100_000),
    buying_power=D(50_000),
    positions={
        "AAPL": Holding(D(100), D(100)), "MSFT": Holding(D(200), D(200)),
    },
    held={"AAPL": D(100)},
    assets={
        "AAPL": Asset("AAPL", tradable=True, fractionable=True, active=True),
        "WHOLE": Asset("WHOLE", tradable=True, fractionable=False, active=True),
        "SHUT": Asset("SHUT", tradable=False, fractionable=True, active=True),
        "GONE": Asset("GONE", tradable=True, fractionable=True, active=False),
        "TABOO": Asset("TABOO", tradable=True, fractionable=True, active=True),
    },
    prices={
        name: LastPrice(D(100), 1.0, D(100)) for name in ("AAPL", "WHOLE", "SHUT", "GONE", "TABOO")
    },
)  # fmt: skip


def buy(qty: str = "10", symbol: str = "AAPL", limit: str | None = None) -> Ticket:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    return Ticket("as-1", symbol, Side.BUY, D(qty), kind, None if limit is None else D(limit))


def sell(qty: str = "100", limit: str | None = None) -> Ticket:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    return Ticket("as-2", "AAPL", Side.SELL, D(qty), kind, None if limit is None else D(limit))


def flying(symbol: str, side: Side, qty: str, price: str | None = "100") -> InFlight:
    return InFlight("other", symbol, side, D(qty), None if price is None else D(price))


def ruling(ticket: Ticket, **state: Any) -> DenialKind | None:
    """Return the kind of the denial when this much is different from the sound state."""
    denial = check(
        ticket, reduces=ticket.side is Side.SELL,
        state=dataclasses.replace(SOUND, **state), limits=LIMITS,
    )  # fmt: skip
    return None if denial is None else denial.kind


def at(price: str | None = "100", age_s: float = 1.0, close: str | None = "100") -> dict[str, Any]:
    last = LastPrice(None if price is None else D(price), age_s, close and D(close))
    return {"prices": {"AAPL": last}}


def test_sound_orders_pass() -> None:
    assert ruling(buy()) is None
    assert ruling(sell()) is None


# ------------------------------------------------- what stops purchases and sales alike

ALWAYS: list[tuple[str, Mapping[str, Any], DenialKind]] = [
    ("a kill", {"holds": {"killed": Block("a person", entries_only=False)}}, DenialKind.HOLD),
    ("a closed market", {"market_open": False}, DenialKind.CLOSED),
    ("the fourth in a minute", {"sent_in_minute": 3}, DenialKind.RATE),
    ("the eleventh in a session", {"sent_in_session": 10}, DenialKind.RATE),
    ("a halt", {"halted": {"AAPL": "LULD"}}, DenialKind.HALTED),
    ("an open purchase", {"in_flight": (flying("AAPL", Side.BUY, "1"),)}, DenialKind.DUPLICATE),
    ("an open sale", {"in_flight": (flying("AAPL", Side.SELL, "1"),)}, DenialKind.DUPLICATE),
    ("ids used before", {"spent_ids": frozenset({"as-1", "as-2"})}, DenialKind.DUPLICATE),
]  # fmt: skip


@pytest.mark.parametrize(("state", "kind"), [row[1:] for row in ALWAYS], ids=[r[0] for r in ALWAYS])
def test_some_rules_stop_purchases_and_sales(state: Mapping[str, Any], kind: DenialKind) -> None:
    assert ruling(buy(), **state) is kind
    assert ruling(sell(), **state) is kind


def test_last_order_within_the_rates_passes() -> None:
    assert ruling(buy(), sent_in_minute=2, sent_in_session=9) is None


@pytest.mark.parametrize("qty", ["0", "-1", "NaN", "sNaN", "Infinity", "-Infinity", "1e30"])
def test_quantities_that_cannot_be_ordered(qty: str) -> None:
    assert ruling(buy(qty)) is DenialKind.MALFORMED
    assert ruling(sell(qty)) is DenialKind.MALFORMED


@pytest.mark.parametrize("limit", ["0", "-5", "NaN", "Infinity"])
def test_limit_prices_that_cannot_be(limit: str) -> None:
    assert ruling(buy("1", limit=limit)) is DenialKind.MALFORMED
    assert ruling(sell("1", limit=limit)) is DenialKind.MALFORMED


def test_kind_of_order_and_limit_price_must_fit() -> None:
    without = dataclasses.replace(buy("1", limit="100"), limit_price=None)
    superfluous = dataclasses.replace(buy("1"), limit_price=D(100))
    assert ruling(without) is DenialKind.MALFORMED
    assert ruling(superfluous) is DenialKind.MALFORMED


def test_order_is_no_duplicate_of_itself() -> None:
    itself = InFlight("as-1", "AAPL", Side.BUY, D(10), D(100))
    assert ruling(buy(), in_flight=(itself,)) is None


@pytest.mark.parametrize(
    "same_id",
    [
        InFlight("as-1", "MSFT", Side.BUY, D(1), D(9)),
        InFlight("as-1", "AAPL", Side.SELL, D(1), D(9)),
    ],
)
def test_id_of_another_order_is_a_duplicate(same_id: InFlight) -> None:
    assert ruling(buy(), in_flight=(same_id,)) is DenialKind.DUPLICATE


def test_open_orders_of_other_symbols_are_no_duplicates() -> None:
    assert ruling(buy(), in_flight=(flying("MSFT", Side.SELL, "5"),)) is None


# ------------------------------------------------- sales: never short, else always out


def test_no_more_is_sold_than_is_held() -> None:
    assert ruling(sell("100")) is None
    assert ruling(sell("100.000001")) is DenialKind.OVERSOLD
    assert ruling(sell("1"), held={}) is DenialKind.OVERSOLD
    assert ruling(sell("1"), held={"AAPL": D("NaN")}) is DenialKind.OVERSOLD
    assert ruling(sell("1"), held={"AAPL": D(-3)}) is DenialKind.OVERSOLD


def test_sale_that_reduces_nothing_is_denied_whatever_is_held() -> None:
    denial = check(sell("1"), reduces=False, state=SOUND, limits=LIMITS)
    assert denial is not None
    assert denial.kind is DenialKind.OVERSOLD


def test_purchase_that_is_called_a_reduction_is_judged_as_an_entry() -> None:
    state = dataclasses.replace(SOUND, objection="the account is blocked")
    denial = check(buy(), reduces=True, state=state, limits=LIMITS)
    assert denial is not None
    assert denial.kind is DenialKind.ACCOUNT


def test_grown_position_is_sold_whole_though_no_order_might_buy_it() -> None:
    assert ruling(sell("5000"), held={"AAPL": D(5000)}) is None


# ------------------------------------------------- what stops purchases only

ENTRIES: list[tuple[str, Mapping[str, Any], DenialKind]] = [
    ("an entry hold", {"holds": {"data": Block("none", entries_only=True)}}, DenialKind.HOLD),
    ("the account", {"objection": "the account is blocked"}, DenialKind.ACCOUNT),
    ("an unknown asset", {"assets": {}}, DenialKind.ASSET),
    ("no price", {"prices": {}}, DenialKind.PRICE),
    ("no last price", at(price=None), DenialKind.PRICE),
    ("no last close", at(close=None), DenialKind.PRICE),
    ("a price that is none", at(price="NaN"), DenialKind.PRICE),
    ("a close that is none", at(close="-100"), DenialKind.PRICE),
    ("an old price", at(age_s=60.001), DenialKind.PRICE),
    ("a price of unknown age", at(age_s=math.nan), DenialKind.PRICE),
    ("a price above the collar", at(price="105.01"), DenialKind.PRICE),
    ("a price below the collar", at(price="94.99"), DenialKind.PRICE),
    ("a loss of 5 %", {"equity": D(95_000)}, DenialKind.DAILY_LOSS),
    ("a loss nobody knows", {"last_equity": None}, DenialKind.DAILY_LOSS),
    ("an equity before of nothing", {"last_equity": D(0)}, DenialKind.DAILY_LOSS),
    ("an equity nobody knows", {"equity": None}, DenialKind.DAILY_LOSS),
    ("an equity that is no number", {"equity": D("NaN")}, DenialKind.DAILY_LOSS),
    ("a position at its limit", {"positions": {"AAPL": Holding(D(300), D(100))}},
     DenialKind.POSITION),
    ("a short position", {"positions": {"AAPL": Holding(D(-300), D(100))}}, DenialKind.POSITION),
    ("no room", {"positions": {"FOREIGN": Holding(D(1_045), D(100))}}, DenialKind.EXPOSURE),
    ("no room beside a short", {"positions": {"FOREIGN": Holding(D(-1_045), D(100))}},
     DenialKind.EXPOSURE),
    ("a position without price", {"positions": {"FOREIGN": Holding(D(1), None)}},
     DenialKind.EXPOSURE),
    ("purchases under way", {"in_flight": (flying("MSFT", Side.BUY, "550"),)},
     DenialKind.EXPOSURE),
    ("purchases without price", {"in_flight": (flying("X", Side.BUY, "1", None),)},
     DenialKind.EXPOSURE),
    ("too little money", {"buying_power": D("999.99")}, DenialKind.BUYING_POWER),
    ("money nobody knows", {"buying_power": None}, DenialKind.BUYING_POWER),
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "kind"), [row[1:] for row in ENTRIES], ids=[r[0] for r in ENTRIES]
)
def test_other_rules_stop_purchases_and_let_sales_out(
    state: Mapping[str, Any], kind: DenialKind
) -> None:
    assert ruling(buy(), **state) is kind
    assert ruling(sell("100"), **state) is None


JUST_WITHIN: list[tuple[str, Mapping[str, Any]]] = [
    ("as old as allowed", at(age_s=60.0)),
    ("at the upper collar", at(price="105")),
    ("at the lower collar", at(price="95")),
    ("a cent less lost", {"equity": D("95000.01")}),
    ("a position with just room", {"positions": {"AAPL": Holding(D(290), D(100))}}),
    ("just room", {"positions": {"FOREIGN": Holding(D(1_040), D(100))}}),
    ("just money", {"buying_power": D(1_000)}),
    ("sales under way are no purchases", {"in_flight": (flying("MSFT", Side.SELL, "999"),)}),
    ("a position of none needs no price",
     {"positions": {**SOUND.positions, "FOREIGN": Holding(D(0), None)}}),
]  # fmt: skip


@pytest.mark.parametrize("state", [row[1] for row in JUST_WITHIN], ids=[r[0] for r in JUST_WITHIN])
def test_just_within_the_limits_a_purchase_passes(state: Mapping[str, Any]) -> None:
    assert ruling(buy(), **state) is None


def test_sales_under_way_are_not_credited() -> None:
    # 104,100 USD are held, of which 104,100 are being sold: still no room for 1,000 more.
    full = {"FOREIGN": Holding(D(1_041), D(100))}
    selling = (flying("FOREIGN", Side.SELL, "1041"),)
    assert ruling(buy(), positions=full, in_flight=selling) is DenialKind.EXPOSURE


def test_purchases_under_way_count_at_the_dearer_of_their_price_and_the_last() -> None:
    # 50,000 USD are held and 1,000 are wanted; 105,000 may be. So 54,000 may be under way.
    prices = {**SOUND.prices, "MSFT": LastPrice(D(120), 1.0, D(120))}
    assert ruling(buy(), in_flight=(flying("MSFT", Side.BUY, "540"),)) is None
    dear = (flying("MSFT", Side.BUY, "450"),)  # 45,000 at their price, 54,000 at the last
    assert ruling(buy(), in_flight=dear, prices=prices) is None
    dearer = (flying("MSFT", Side.BUY, "451"),)
    assert ruling(buy(), in_flight=dearer, prices=prices) is DenialKind.EXPOSURE


def test_order_is_measured_in_usd_and_in_shares() -> None:
    roomy = {"positions": {}, "buying_power": D(10**6), "equity": D(10**6)}
    assert ruling(buy("200"), **roomy) is None
    assert ruling(buy("200.01"), **roomy) is DenialKind.ORDER_SIZE
    cheap = {**roomy, **at(price="10", close="10")}
    assert ruling(buy("300"), **cheap) is None
    assert ruling(buy("300.01"), **cheap) is DenialKind.ORDER_SIZE


def test_limit_above_the_last_price_is_what_a_purchase_may_cost() -> None:
    assert ruling(buy("10", limit="104"), buying_power=D(1_040)) is None
    assert ruling(buy("10", limit="104"), buying_power=D("1039.99")) is DenialKind.BUYING_POWER


def test_limit_below_the_last_price_buys_what_is_worth_the_last() -> None:
    # 200 shares at 96 cost 19,200, and are worth 20,000 once bought; 201 are worth too much.
    roomy = {"positions": {}, "buying_power": D(10**6)}
    assert ruling(buy("200", limit="96"), **roomy) is None
    assert ruling(buy("201", limit="96"), **roomy) is DenialKind.ORDER_SIZE


@pytest.mark.parametrize(("limit", "passes"), [("105", True), ("105.01", False), ("94.99", False)])
def test_limit_price_of_a_purchase_has_a_collar_and_that_of_a_sale_none(
    limit: str, passes: bool
) -> None:
    assert ruling(buy("1", limit=limit)) is (None if passes else DenialKind.PRICE)
    assert ruling(sell("1", limit=limit)) is None


def test_symbols_that_may_not_be_bought() -> None:
    assert ruling(buy(symbol="TABOO")) is DenialKind.RESTRICTED
    assert ruling(buy(symbol="SHUT")) is DenialKind.ASSET
    assert ruling(buy(symbol="GONE")) is DenialKind.ASSET
    assert ruling(buy("1.5", symbol="WHOLE")) is DenialKind.ASSET
    assert ruling(buy("2", symbol="WHOLE")) is None
    assert ruling(buy("1.5", symbol="AAPL")) is None


# ------------------------------------------------- answers and limits


def test_only_the_rates_latch_and_only_room_is_waited_for() -> None:
    kinds = {
        "rate": check(buy(), reduces=False, limits=LIMITS,
                      state=dataclasses.replace(SOUND, sent_in_minute=3)),
        "money": check(buy(), reduces=False, limits=LIMITS,
                       state=dataclasses.replace(SOUND, buying_power=D(0))),
        "room": check(buy(), reduces=False, limits=LIMITS, state=dataclasses.replace(
            SOUND, positions={"FOREIGN": Holding(D(2_000), D(100))})),
        "halt": check(buy(), reduces=False, limits=LIMITS,
                      state=dataclasses.replace(SOUND, halted={"AAPL": "LULD"})),
    }  # fmt: skip
    assert {k: (d.latches, d.passes_with_room) for k, d in kinds.items() if d} == {
        "rate": (True, False), "money": (False, True), "room": (False, True),
        "halt": (False, False),
    }  # fmt: skip


def test_sentence_names_value_and_limit() -> None:
    denial = check(buy("200.01"), reduces=False, limits=LIMITS,
                   state=dataclasses.replace(SOUND, buying_power=D(10**6)))  # fmt: skip
    assert denial is not None
    assert denial.sentence == "The order is worth 20001.00 USD, and may be worth 20000.00 USD."


CHANGED: dict[str, Any] = {
    "max_order_usd": D(20_001), "max_order_shares": D(301), "max_position_usd": D(30_001),
    "max_gross_exposure": D("1.06"), "max_daily_loss": D("0.051"), "max_orders_per_minute": 4,
    "max_orders_per_session": 11, "price_collar": D("0.051"), "max_price_age_s": D(61),
    "restricted": frozenset({"TABOO", "MORE"}),
}  # fmt: skip


def test_fingerprint_changes_with_every_limit_and_only_with_them() -> None:
    assert set(CHANGED) == {one.name for one in dataclasses.fields(Limits)}
    prints = {dataclasses.replace(LIMITS, **{k: v}).fingerprint() for k, v in CHANGED.items()}
    assert len(prints | {LIMITS.fingerprint()}) == len(CHANGED) + 1
    same = dataclasses.replace(LIMITS, max_order_usd=D("20000.0"), max_gross_exposure=D("1.050"))
    assert same.fingerprint() == LIMITS.fingerprint()
    assert len(LIMITS.fingerprint()) == 8
    assert int(LIMITS.fingerprint(), 16) >= 0


def test_limits_cannot_be_changed_and_must_be_positive_numbers() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LIMITS.max_order_usd = D(1)  # type: ignore[misc]
    for bad in (D(0), D(-1), D("NaN"), D("Infinity")):
        with pytest.raises(ValueError, match="max_daily_loss"):
            dataclasses.replace(LIMITS, max_daily_loss=bad)


# ------------------------------------------------- what the account holds


def test_holdings_are_ours_and_the_others_at_the_newest_price_that_is_known() -> None:
    listed = {
        "AAPL": Position("AAPL", D(7), D(90), current_price=D(95)),
        "MSFT": Position("MSFT", D(3), D(200), current_price=D(210)),
        "NVDA": Position("NVDA", D(-4), D(50)),
    }
    found = holdings(
        listed, {"AAPL": D(10), "NEW": D(2)}, {"AAPL": D(1), "MSFT": D(3), "NVDA": D(-4)},
        {"AAPL": LastPrice(D(100), 1.0, None), "MSFT": LastPrice(D("NaN"), 1.0, None)},
    )  # fmt: skip
    assert found == {
        "AAPL": Holding(D(11), D(100)),
        "MSFT": Holding(D(3), D(210)),
        "NVDA": Holding(D(-4), D(50)),
        "NEW": Holding(D(2), None),
    }


@pytest.mark.parametrize(
    ("qty", "money", "price", "whole", "expected"),
    [
        ("10", "1000", "100", True, "10"),
        ("10", "999.99", "100", True, "9"),
        ("10", "999.99", "100", False, "9.9999"),
        ("10", "1", "3", False, "0.333333"),
        ("10", "99", "100", True, "0"),
        ("10", "0", "100", True, "0"),
        ("10", "-5", "100", True, "0"),
        ("NaN", "100", "1", True, "0"),
        ("10", "NaN", "1", True, "0"),
        ("10", "100", "NaN", True, "0"),
        ("10", "100", "0", True, "0"),
    ],
)
def test_affordable_shares(qty: str, money: str, price: str, whole: bool, expected: str) -> None:
    assert affordable_qty(D(qty), D(money), D(price), whole=whole) == D(expected)


# ------------------------------------------------- properties

anything = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(min_value=-1000, max_value=1000, places=2),
    st.sampled_from([D("sNaN"), D("-0"), D("1e-400"), D("1e400"), D("1e15"), D("-1e15")]),
)
maybe = st.none() | anything


def mostly(sound: Any, otherwise: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return something sound as often as not, so that every rule has its turn."""
    return st.just(sound) | otherwise


@settings(max_examples=1000)
@given(
    side=st.sampled_from(Side),
    kind=mostly(OrderType.MARKET, st.sampled_from(OrderType)),
    reduces=mostly(True, st.booleans()),
    qty=mostly(D(1), anything),
    limit=mostly(None, maybe),
    equity=mostly(D(100_000), maybe),
    before=mostly(D(100_000), maybe),
    power=mostly(D(100_000), maybe),
    held=mostly(D(100), anything),
    position=st.tuples(mostly(D(100), anything), mostly(D(100), maybe)),
    flight=st.tuples(mostly(D(1), anything), mostly(D(100), maybe)),
    price=mostly(D(100), maybe),
    close=mostly(D(100), maybe),
    age=mostly(1.0, st.floats()),
)
def test_gate_never_raises_and_lets_no_nonsense_through(
    side: Side, kind: OrderType, reduces: bool, qty: Decimal, limit: Decimal | None,
    equity: Decimal | None, before: Decimal | None, power: Decimal | None, held: Decimal,
    position: tuple[Decimal, Decimal | None], flight: tuple[Decimal, Decimal | None],
    price: Decimal | None, close: Decimal | None, age: float,
) -> None:  # fmt: skip
    state = dataclasses.replace(
        SOUND, equity=equity, last_equity=before, buying_power=power, held={"AAPL": held},
        positions={"AAPL": Holding(*position)}, prices={"AAPL": LastPrice(price, age, close)},
        in_flight=(InFlight("x", "MSFT", Side.BUY, *flight),),
    )  # fmt: skip
    ticket = Ticket("as-1", "AAPL", side, qty, kind, limit)
    denial = check(ticket, reduces=reduces, state=state, limits=LIMITS)
    if denial is not None:
        assert denial.sentence.endswith(".")
        return
    assert qty.is_finite()
    assert qty > 0
    if side is Side.BUY:
        values = [equity, before, power, price, close, *position]
        assert all(one is not None and one.is_finite() for one in values if position[0] != 0)
        assert math.isfinite(age)
    else:
        assert reduces
        assert qty <= held


steps = st.lists(
    st.tuples(
        st.sampled_from(["AAPL", "MSFT", "NVDA"]),
        st.sampled_from(Side),
        st.decimals(min_value="0.01", max_value=400, places=2),
        st.none() | st.decimals(min_value=1, max_value=200, places=2),
        st.sampled_from(["fill", "fly", "die"]),
    ),
    max_size=40,
)
PRICES = {"AAPL": D(100), "MSFT": D("33.3"), "NVDA": D(7)}


def worth(shares: Mapping[str, Decimal]) -> Decimal:
    return sum((abs(qty) * PRICES[symbol] for symbol, qty in shares.items()), D(0))


@settings(max_examples=300, deadline=None)
@given(steps, st.decimals(min_value=1_000, max_value=60_000, places=2))
def test_no_sequence_of_permitted_orders_breaks_a_limit_when_all_of_it_fills(
    wanted: Sequence[tuple[str, Side, Decimal, Decimal | None, str]], equity: Decimal
) -> None:
    """Whatever was permitted and may still fill fills at the last price."""
    held, flights = {"NVDA": D(0)}, list[InFlight]()
    foreign = {"MSFT": D(50)}
    loose = dataclasses.replace(LIMITS, max_orders_per_minute=99, max_orders_per_session=99)
    for n, (symbol, side, qty, limit, fate) in enumerate(wanted):
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        ticket = Ticket(f"as-{n}", symbol, side, qty, kind, limit)
        prices = {name: LastPrice(price, 1.0, price) for name, price in PRICES.items()}
        asset = Asset(symbol, tradable=True, fractionable=True, active=True)
        state = GateState(
            market_open=True, equity=equity, last_equity=equity, buying_power=D(10**9),
            positions=holdings({}, held, foreign, prices), held=dict(held),
            in_flight=tuple(flights), assets={symbol: asset}, prices=prices,
        )  # fmt: skip
        if check(ticket, reduces=True, state=state, limits=loose) is None:
            if fate == "fill":
                held[symbol] = held.get(symbol, D(0)) + side.sign * qty
            elif fate == "fly":
                flights.append(InFlight(ticket.client_order_id, symbol, side, qty, limit))
        after = {name: held.get(name, D(0)) + foreign.get(name, D(0)) for name in PRICES}
        for order in flights:
            if order.side is Side.BUY:
                after[order.symbol] += order.remaining
        grown = any(one[1] is Side.BUY for one in wanted[: n + 1]) and after != foreign
        if grown and worth(after) > worth(foreign):
            assert worth(after) <= D("1.05") * equity
        assert all(qty * PRICES[name] <= LIMITS.max_position_usd for name, qty in after.items())
        assert all(qty >= 0 for qty in held.values())
