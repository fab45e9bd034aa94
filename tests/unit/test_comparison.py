"""Our books beside the venue's: what explains a difference, what does not, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_strategy.domain.journal import Adjustment, Intent, Recovered
from alpaca_strategy.domain.orders import OrderStatus, Side, Ticket, VenueOrder
from alpaca_strategy.domain.outcomes import Unknown
from alpaca_strategy.domain.portfolio import Position
from alpaca_strategy.trader.comparison import Result, compare, concede
from alpaca_strategy.trader.ledger import Ledger

D = Decimal
SENT = datetime(2026, 10, 1, 14, 0, tzinfo=UTC)
NOW = SENT + timedelta(seconds=5)
NOTHING: dict[str, Decimal] = {}


def books(**shares: str) -> Ledger:
    ledger = Ledger()
    ledger.restore(Recovered(shares={symbol: D(qty) for symbol, qty in shares.items()}))
    return ledger


def venue(**shares: str) -> list[Position]:
    return [Position(symbol, D(qty), D(100)) for symbol, qty in shares.items()]


def send(ledger: Ledger, name: str, side: Side, qty: str, symbol: str = "AAPL") -> Intent:
    ticket = Ticket(name, symbol, side, D(qty))
    intent = Intent(ticket, date(2026, 10, 1), 30, 1, D(100), SENT)
    ledger.add_intent(intent)
    ledger.start_sending(name, SENT)
    return intent


def listed(name: str, side: Side, filled: str = "0", status: str = "new", symbol: str = "AAPL",
           id_: str = "V1") -> VenueOrder:  # fmt: skip
    return VenueOrder(
        id=id_, client_order_id=name, symbol=symbol, side=side, qty=D(10), filled_qty=D(filled),
        filled_avg_price=None, status=OrderStatus.read(status), status_text=status,
        submitted_at=SENT, updated_at=SENT,
    )  # fmt: skip


def compared(
    ledger: Ledger, positions: list[Position], foreign: Mapping[str, Decimal] | None = NOTHING,
    *, later_s: float = 5.0,
) -> Result:  # fmt: skip
    return compare(ledger, positions, foreign, at=SENT + timedelta(seconds=later_s))


# ------------------------------------------------- the first comparison, and later ones


def test_books_that_agree_have_no_difference() -> None:
    assert compared(books(AAPL="10", MSFT="0.5"), venue(AAPL="10", MSFT="0.5")) == Result(
        (), {}, {}
    )


def test_first_comparison_takes_what_others_hold_as_given() -> None:
    result = compared(books(AAPL="10"), venue(AAPL="15", MSFT="3", NVDA="-4"), None)
    assert result.differences == ()
    assert result.foreign == {"AAPL": D(5), "MSFT": D(3), "NVDA": D(-4)}


@pytest.mark.parametrize("there", [{}, {"AAPL": "9"}, {"AAPL": "-2"}])
def test_even_at_first_the_venue_may_not_show_less_than_we_hold(there: dict[str, str]) -> None:
    result = compared(books(AAPL="10"), venue(**there), None)
    assert len(result.differences) == 1
    assert result.foreign == {}


@pytest.mark.parametrize(
    ("there", "symbol", "shows", "holds"),
    [
        ({"AAPL": "10", "MSFT": "4"}, "MSFT", "4", "0, and others 3"),
        ({"AAPL": "10"}, "MSFT", "0", "0, and others 3"),
        ({"AAPL": "11", "MSFT": "3"}, "AAPL", "11", "10"),
        ({"MSFT": "3"}, "AAPL", "0", "10"),
        ({"AAPL": "10", "MSFT": "3", "NVDA": "1"}, "NVDA", "1", "0"),
    ],
)
def test_later_change_that_no_execution_explains_is_a_difference(
    there: dict[str, str], symbol: str, shows: str, holds: str
) -> None:
    result = compared(books(AAPL="10"), venue(**there), {"MSFT": D(3)})
    assert result.differences == (
        f"The venue shows {shows} {symbol}, but the strategy holds {holds}; no order explains it.",
    )


def test_unexplained_change_is_not_taken_as_given_by_and_by() -> None:
    ledger, there = books(AAPL="10"), venue(AAPL="10", MSFT="4")
    first = compared(ledger, there, {"MSFT": D(3)})
    assert first.foreign == {"MSFT": D(3)}
    assert compared(ledger, there, first.foreign).differences == first.differences


def test_our_own_executions_beside_foreign_shares_are_no_difference() -> None:
    ledger = books(AAPL="10")
    send(ledger, "as-1", Side.BUY, "10", "MSFT")
    ledger.apply_order(listed("as-1", Side.BUY, "10", "filled", "MSFT"), NOW)
    result = compared(ledger, venue(AAPL="10", MSFT="13"), {"MSFT": D(3)}, later_s=600)
    assert result.differences == ()
    assert result.foreign == {"MSFT": D(3)}


# ------------------------------------------------- orders under way


@pytest.mark.parametrize(
    ("side", "there", "explained"),
    [
        (Side.BUY, "20", True), (Side.BUY, "25", True), (Side.BUY, "30", True),
        (Side.BUY, "30.000001", False), (Side.BUY, "19.99", False),
        (Side.SELL, "20", True), (Side.SELL, "15", True), (Side.SELL, "10", True),
        (Side.SELL, "9.99", False), (Side.SELL, "20.01", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("fate", ["sending", "unknown", "open"])
def test_order_under_way_explains_in_its_direction_up_to_what_is_left(
    side: Side, there: str, explained: bool, fate: str
) -> None:
    ledger = books(AAPL="20")
    send(ledger, "as-1", side, "10")
    if fate == "unknown":
        ledger.apply_outcome("as-1", Unknown("no answer"), NOW)
    elif fate == "open":
        ledger.apply_order(listed("as-1", side), NOW)
    assert (compared(ledger, venue(AAPL=there)).differences == ()) is explained


def test_only_what_is_left_of_an_order_explains() -> None:
    ledger = books()
    send(ledger, "as-1", Side.BUY, "10")
    ledger.apply_order(listed("as-1", Side.BUY, "7", "partially_filled"), NOW)
    assert compared(ledger, venue(AAPL="10")).differences == ()
    assert len(compared(ledger, venue(AAPL="11")).differences) == 1


@pytest.mark.parametrize(("later_s", "explained"), [(60.0, True), (60.1, False)])
def test_order_explains_for_a_minute_and_no_longer(later_s: float, explained: bool) -> None:
    ledger = books()
    send(ledger, "as-1", Side.BUY, "10")
    result = compared(ledger, venue(AAPL="10"), later_s=later_s)
    assert (result.differences == ()) is explained


def test_orders_that_have_ended_or_have_not_left_explain_nothing() -> None:
    ledger = books()
    send(ledger, "as-1", Side.BUY, "10")
    ledger.apply_order(listed("as-1", Side.BUY, "0", "canceled"), NOW)
    waiting = Ticket("as-2", "AAPL", Side.BUY, D(10))
    ledger.add_intent(Intent(waiting, date(2026, 10, 1), 30, 1, D(100), SENT))
    assert len(compared(ledger, venue(AAPL="10")).differences) == 1


def test_what_our_own_order_may_have_bought_is_not_taken_for_somebody_elses() -> None:
    ledger = books()
    intent = send(ledger, "as-1", Side.BUY, "10")
    ledger.apply_outcome("as-1", Unknown("no answer"), NOW)
    first = compared(ledger, venue(AAPL="10"), None)
    assert (first.differences, first.foreign) == ((), {})
    ledger.apply_order(listed(intent.ticket.client_order_id, Side.BUY, "10", "filled"), NOW)
    assert compared(ledger, venue(AAPL="10"), first.foreign).differences == ()


@given(
    held=st.integers(0, 50), foreign=st.integers(-20, 20), bought=st.integers(1, 20),
    sold=st.integers(1, 20), data=st.data(),
)  # fmt: skip
def test_any_part_of_what_is_under_way_may_have_been_executed_unheard(
    held: int, foreign: int, bought: int, sold: int, data: st.DataObject
) -> None:
    ledger = books(AAPL=str(held))
    send(ledger, "as-1", Side.BUY, str(bought))
    send(ledger, "as-2", Side.SELL, str(sold))
    done = data.draw(st.integers(0, bought)) - data.draw(st.integers(0, sold))
    there = venue(AAPL=str(held + foreign + done))
    assert compared(ledger, there, {"AAPL": D(foreign)}).differences == ()
    for beyond in (bought + 1, -sold - 1):
        there = venue(AAPL=str(held + foreign + beyond))
        assert len(compared(ledger, there, {"AAPL": D(foreign)}).differences) == 1


# ------------------------------------------------- what may be sold


@pytest.mark.parametrize(
    ("there", "foreign", "sellable"),
    [
        ("10", "0", "10"), ("7", "0", "7"), ("0", "0", "0"), ("-3", "0", "0"), ("12", "0", "10"),
        ("15", "5", "10"), ("12", "5", "7"), ("4", "5", "0"), ("8", "-2", "8"), ("5", "-2", "5"),
    ],
)  # fmt: skip
def test_no_more_is_sold_than_is_there_and_nothing_of_what_others_hold(
    there: str, foreign: str, sellable: str
) -> None:
    # A foreign short position beside ours: the venue nets them, and only what it shows is there.
    result = compared(books(AAPL="10"), venue(AAPL=there), {"AAPL": D(foreign)})
    assert result.sellable("AAPL", D(10)) == D(sellable)


def test_symbol_without_difference_is_sold_whole() -> None:
    result = compared(books(AAPL="10"), venue(AAPL="10"))
    assert result.sellable("AAPL", D(10)) == 10
    assert result.sellable("MSFT", D(0)) == 0


# ------------------------------------------------- orders that are listed, and that are not


def test_our_orders_that_are_not_listed_are_to_be_looked_up() -> None:
    ledger = books()
    for name in ("as-open", "as-lost", "as-unknown", "as-ended"):
        send(ledger, name, Side.BUY, "10", name.upper())
    for name in ("as-open", "as-lost", "as-ended"):
        ledger.apply_order(listed(name, Side.BUY, symbol=name.upper(), id_=name), NOW)
    ledger.apply_outcome("as-unknown", Unknown("no answer"), NOW)
    ended = listed("as-ended", Side.BUY, "10", "filled", "AS-ENDED", "as-ended")
    ledger.apply_order(ended, NOW)
    there = [listed("as-open", Side.BUY, symbol="AS-OPEN", id_="as-open"),
             listed("theirs", Side.SELL, symbol="MSFT", id_="x")]  # fmt: skip
    result = compare(ledger, venue(**{"AS-ENDED": "10"}), NOTHING, at=NOW, orders=there)
    assert {one.client_order_id for one in result.lookups} == {"as-lost", "as-unknown"}
    assert [one.client_order_id for one in result.foreign_orders] == ["theirs"]
    assert result.differences == ()


def test_without_a_listing_nothing_is_missing_from_it() -> None:
    ledger = books()
    send(ledger, "as-1", Side.BUY, "10")
    result = compare(ledger, [], NOTHING, at=NOW)
    assert (result.lookups, result.foreign_orders) == ((), ())


def test_order_that_has_ended_by_our_books_and_is_listed_as_open_is_a_difference() -> None:
    ledger = books()
    send(ledger, "as-1", Side.BUY, "10")
    ledger.apply_order(listed("as-1", Side.BUY, "0", "canceled"), NOW)
    result = compare(ledger, [], NOTHING, at=NOW, orders=[listed("as-1", Side.BUY)])
    sentence = "The venue shows as-1 as open, and it is canceled by our books."
    assert result.differences == (sentence,)


def test_order_under_our_name_that_is_another_is_a_difference() -> None:
    ledger = books()
    send(ledger, "as-1", Side.BUY, "10")
    result = compare(ledger, [], NOTHING, at=NOW, orders=[listed("as-1", Side.SELL)])
    sentence = (
        "The venue shows an order to sell AAPL under the name as-1, and it is not the one that "
        "was sent."
    )
    assert result.differences == (sentence,)


# ------------------------------------------------- splits, and a person's word


@pytest.mark.parametrize(
    ("held", "factor", "there", "adjusted"),
    [
        ("10", "4", "40", "30"),
        ("10", "1.5", "15", "5"),
        ("100", "0.1", "10", "-90"),
        ("105", "0.1", "10", "-95"),  # the half share is paid out
        ("105", "0.1", "10.5", "-94.5"),  # or kept
        ("30", str(D(1) / 3), "10", "-20"),
    ],
)
@pytest.mark.parametrize("foreign", [None, NOTHING])
def test_announced_split_explains_a_difference_and_adjusts_the_books(
    held: str, factor: str, there: str, adjusted: str, foreign: Mapping[str, Decimal] | None
) -> None:
    ledger = books(AAPL=held)
    splits = {"AAPL": D(factor)}
    result = compare(ledger, venue(AAPL=there), foreign, at=NOW, split_factors=splits)
    assert result.adjustments == (Adjustment("AAPL", D(adjusted), "split", NOW),)
    assert (result.differences, result.foreign) == ((), {})
    for one in result.adjustments:
        ledger.adjust(one)
    again = compare(ledger, venue(AAPL=there), NOTHING, at=NOW, split_factors=splits)
    assert (again.adjustments, again.differences) == ((), ())


def test_split_that_does_not_fit_explains_nothing() -> None:
    result = compare(
        books(AAPL="10"), venue(AAPL="39"), NOTHING, at=NOW, split_factors={"AAPL": D(4)}
    )
    assert result.adjustments == ()
    assert len(result.differences) == 1


def test_split_multiplies_what_others_hold_too() -> None:
    splits = {"AAPL": D(4), "MSFT": D(2)}
    result = compare(
        books(AAPL="10"), venue(AAPL="48", MSFT="6"), {"AAPL": D(2), "MSFT": D(3)}, at=NOW,
        split_factors=splits,
    )  # fmt: skip
    assert [(one.symbol, one.qty) for one in result.adjustments] == [("AAPL", D(30))]
    assert result.foreign == {"AAPL": D(8), "MSFT": D(6)}
    assert result.differences == ()


def test_what_is_missing_is_conceded_only_by_a_persons_word() -> None:
    ledger = books(AAPL="10", MSFT="5", NVDA="2")
    there = venue(AAPL="7", MSFT="9", NVDA="-1")
    assert compared(ledger, there, None).adjustments == ()
    conceded = concede(ledger, there, at=NOW, reason="a person re-armed")
    assert conceded == (
        Adjustment("AAPL", D(-3), "a person re-armed", NOW),
        Adjustment("NVDA", D(-2), "a person re-armed", NOW),
    )
    for one in conceded:
        ledger.adjust(one)
    after = compared(ledger, there, None)
    assert (after.differences, after.foreign) == ((), {"MSFT": D(4), "NVDA": D(-1)})


def test_what_a_sale_under_way_may_have_sold_is_not_conceded() -> None:
    ledger = books(AAPL="10")
    send(ledger, "as-1", Side.SELL, "4")
    conceded = concede(ledger, venue(AAPL="5"), at=NOW, reason="a person re-armed")
    assert [one.qty for one in conceded] == [D(-1)]
