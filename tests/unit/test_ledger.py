"""The ledger: whatever is heard, in whatever order and how often, it comes to the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.domain.journal import (
    Adjustment,
    Intent,
    KnownIntent,
    Recovered,
    StateChange,
)
from alpaca_strategy.domain.orders import (
    Fill,
    IntentState,
    OrderStatus,
    Side,
    Ticket,
    TradeUpdate,
    VenueOrder,
)
from alpaca_strategy.domain.outcomes import Done, Refusal, Refused, Unknown
from alpaca_strategy.trader.ledger import Ledger

D = Decimal
OPEN = datetime(2026, 10, 1, 13, 30, tzinfo=UTC)
LATE = OPEN + timedelta(hours=6)  # when we hear of it, if nothing better is known
FINAL_STATES = {
    "filled": IntentState.FILLED, "canceled": IntentState.CANCELED,
    "expired": IntentState.EXPIRED, "rejected": IntentState.REJECTED, "new": IntentState.OPEN,
}  # fmt: skip


def second(n: float) -> datetime:
    return OPEN + timedelta(seconds=n)


def intent(name: str, side: Side = Side.BUY, qty: str = "10", symbol: str = "AAPL") -> Intent:
    ticket = Ticket(name, symbol, side, D(qty))
    return Intent(ticket, date(2026, 10, 1), 9, 1, D(100), OPEN)


def shown(of: Intent, status: str, filled: str = "0", price: str | None = None,
          at: datetime | None = None) -> VenueOrder:  # fmt: skip
    """Return an order as the venue shows it; its id there is that of ours with a V."""
    ticket = of.ticket
    return VenueOrder(
        id=f"V{ticket.client_order_id}", client_order_id=ticket.client_order_id,
        symbol=ticket.symbol, side=ticket.side, qty=ticket.qty, filled_qty=D(filled),
        filled_avg_price=None if price is None else D(price), status=OrderStatus.read(status),
        status_text=status, submitted_at=OPEN, updated_at=at,
    )  # fmt: skip


def executed(of: Intent, cum: str, qty: str, at: datetime, price: str = "100") -> Fill:
    ticket = of.ticket
    return Fill(
        f"V{ticket.client_order_id}", D(cum), ticket.symbol, ticket.side, D(qty), D(price), at
    )


def sending(*intents: Intent) -> Ledger:
    """Return a ledger whose orders are just being sent."""
    ledger = Ledger()
    for one in intents:
        ledger.add_intent(one)
        ledger.start_sending(one.ticket.client_order_id, OPEN)
    return ledger


# ------------------------------------------------- a true history, told badly


@dataclass(frozen=True)
class Happened:
    """What befell an order: its executions (seconds, shares, price), and its end."""

    intent: Intent
    fills: tuple[tuple[int, Decimal, Decimal], ...]
    end: str

    @property
    def filled(self) -> Decimal:
        return sum((qty for _, qty, _ in self.fills), D(0))

    def price(self, count: int) -> Decimal | None:
        part = self.fills[:count]
        shares = sum((qty for _, qty, _ in part), D(0))
        cost = sum((qty * price for _, qty, price in part), D(0))
        return (cost / shares).quantize(D("0.0001")) if part else None

    def order(self, count: int, status: str) -> VenueOrder:
        filled = sum((qty for _, qty, _ in self.fills[:count]), D(0))
        price = self.price(count)
        at = second(self.fills[count - 1][0]) if count else OPEN
        return shown(self.intent, status, str(filled), price and str(price), at)

    def updates(self) -> list[TradeUpdate]:
        """Return what the stream tells when it tells everything, in order."""
        told = [TradeUpdate("new", self.order(0, "new"), None, None, OPEN)]
        if self.end == "rejected":
            return [TradeUpdate("rejected", self.order(0, "rejected"), None, None, OPEN)]
        cum = D(0)
        for n, (at, qty, price) in enumerate(self.fills, 1):
            cum += qty
            last = self.end == "filled" and n == len(self.fills)
            order = self.order(n, "filled" if last else "partially_filled")
            fill = executed(self.intent, str(cum), str(qty), second(at), str(price))
            event = "fill" if last else "partial_fill"
            told.append(TradeUpdate(event, order, fill, None, second(at)))
        if self.end in {"canceled", "expired"}:
            told.append(TradeUpdate(self.end, self.last(), None, None, LATE))
        return told

    def last(self) -> VenueOrder:
        """Return what the venue shows when everything has happened."""
        return self.order(len(self.fills), self.end)


@st.composite
def histories(draw: st.DrawFn) -> list[Happened]:
    """Draw what befell up to four orders of two symbols; no two things at the same second."""
    times = iter(draw(st.permutations(range(1, 20))))
    found = []
    for n in range(draw(st.integers(1, 4))):
        symbol, side = draw(st.sampled_from(["AAPL", "MSFT"])), draw(st.sampled_from(Side))
        end = draw(st.sampled_from(sorted(FINAL_STATES)))
        parts = 0 if end == "rejected" else draw(st.integers(1 if end == "filled" else 0, 4))
        seconds = sorted(next(times) for _ in range(parts))
        shares = st.decimals(min_value="0.001", max_value=50, places=3)
        prices = st.decimals(min_value=1, max_value=200, places=2)
        fills = tuple((at, draw(shares), draw(prices)) for at in seconds)
        filled = sum((qty for _, qty, _ in fills), D(0))
        qty = filled if end == "filled" else filled + 1
        found.append(Happened(intent(f"as-{n}", side, str(qty), symbol), fills, end))
    return found


def shares_of(history: Sequence[Happened]) -> dict[str, Decimal]:
    held: dict[str, Decimal] = {}
    for one in history:
        ticket = one.intent.ticket
        held[ticket.symbol] = held.get(ticket.symbol, D(0)) + ticket.side.sign * one.filled
    return {symbol: qty for symbol, qty in held.items() if qty}


def times_of(history: Sequence[Happened]) -> tuple[dict[str, datetime], dict[str, datetime]]:
    """Return by symbol since when it is held, and when it was last sold, second after second."""
    held: dict[str, Decimal] = {}
    entered, exited = {}, {}
    for now in range(1, 20):
        for one in history:
            for at, qty, _ in one.fills:
                if at != now:
                    continue
                symbol, sign = one.intent.ticket.symbol, one.intent.ticket.side.sign
                before = held.get(symbol, D(0))
                held[symbol] = after = before + sign * qty
                if sign < 0:
                    exited[symbol] = second(now)
                if after == 0:
                    entered.pop(symbol)
                elif before == 0 or (before > 0) != (after > 0):
                    entered[symbol] = second(now)
    return entered, exited


def tell(ledger: Ledger, what: TradeUpdate | VenueOrder) -> tuple[StateChange | None, Fill | None]:
    if isinstance(what, TradeUpdate):
        return ledger.apply_update(what, LATE)
    return ledger.apply_order(what, LATE), None


def agrees(ledger: Ledger, history: Sequence[Happened]) -> None:
    """Fail where the ledger is not the truth."""
    assert ledger.shares() == shares_of(history)
    for one in history:
        name = one.intent.ticket.client_order_id
        entry = ledger.by_order_id(f"V{name}")
        assert entry is not None
        assert entry.state is FINAL_STATES[one.end]
        assert entry.filled_qty == one.filled
        assert entry.filled_avg_price == one.price(len(one.fills))
        left = entry.intent.ticket.qty - one.filled if one.end == "new" else 0
        assert entry.remaining == left
    alive = {one.intent.ticket.client_order_id for one in history if one.end == "new"}
    assert {one.client_order_id for one in ledger.open_orders()} == alive
    assert ledger.unresolved() == []


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_duplicated_permuted_and_lost_news_come_to_the_truth(data: st.DataObject) -> None:
    history = data.draw(histories())
    ledger = sending(*(one.intent for one in history))
    told: list[TradeUpdate | VenueOrder] = []
    for one in history:
        for update in one.updates():
            told += [update] * data.draw(st.integers(0, 3))
        told.append(one.last())
    steps: dict[str, StateChange] = {}
    fills = []
    for what in data.draw(st.permutations(told)):
        step, fill = tell(ledger, what)
        fills += [fill] if fill else []
        if step is not None:
            before = steps.get(step.client_order_id)
            assert before is None or replace(step, at=LATE) != replace(before, at=LATE)
            assert before is None or step.filled_qty >= before.filled_qty
            steps[step.client_order_id] = step
    agrees(ledger, history)
    heard = {one.fill for one in told if isinstance(one, TradeUpdate) and one.fill}
    assert sorted(fills, key=repr) == sorted(heard, key=repr)
    for one in history:  # the journal knows as much as the ledger
        step = steps[one.intent.ticket.client_order_id]
        assert step.state is FINAL_STATES[one.end]
        assert step.filled_qty == one.filled
        assert step.filled_avg_price == one.price(len(one.fills))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_times_of_positions_do_not_depend_on_the_order_of_news(data: st.DataObject) -> None:
    history = data.draw(histories())
    ledger = sending(*(one.intent for one in history))
    told = [update for one in history for update in one.updates() for _ in range(2)]
    for update in data.draw(st.permutations(told)):
        ledger.apply_update(update, LATE)
    entered, exited = times_of(history)
    assert ledger.entered() == entered
    assert ledger.exited() == exited


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_restart_between_any_two_news_comes_to_the_same_end(data: st.DataObject) -> None:
    history = data.draw(histories())
    told: list[TradeUpdate | VenueOrder] = [one.last() for one in history]
    told += [update for one in history for update in one.updates()]
    told = data.draw(st.permutations(told))
    cut = data.draw(st.integers(0, len(told)))
    first = sending(*(one.intent for one in history))
    steps = {one.intent.ticket.client_order_id: StateChange(
        one.intent.ticket.client_order_id, IntentState.SENDING, OPEN) for one in history
    }  # fmt: skip
    fills = []
    for what in told[:cut]:
        step, fill = tell(first, what)
        fills += [fill] if fill else []
        if step is not None:
            steps[step.client_order_id] = step
    second_life = Ledger()
    known = (KnownIntent(one.intent, steps[one.intent.ticket.client_order_id]) for one in history)
    second_life.restore(Recovered(
        intents=tuple(known), shares=first.shares(), entered=first.entered(),
        exited=first.exited(), fills=tuple(fills),
    ))  # fmt: skip
    for what in told:  # the venue is asked for everything again
        _, fill = tell(second_life, what)
        assert fill not in fills
    agrees(second_life, history)


# ------------------------------------------------- one order


def test_order_goes_from_intent_to_fill_and_each_step_is_told_once() -> None:
    one = intent("as-1")
    ledger = Ledger()
    ledger.add_intent(one)
    assert ledger.state("as-1") is IntentState.PENDING
    assert ledger.pending_sides() == {"AAPL": Side.BUY}
    assert ledger.under_way() == []
    sent = ledger.start_sending("as-1", second(1))
    assert (sent.state, sent.at) == (IntentState.SENDING, second(1))
    assert [entry.client_order_id for entry in ledger.unresolved()] == ["as-1"]
    opened = ledger.apply_outcome("as-1", Done(shown(one, "new")), second(2))
    assert opened is not None
    assert (opened.state, opened.order_id) == (IntentState.OPEN, "Vas-1")
    assert ledger.apply_order(shown(one, "new"), second(3)) is None
    part = TradeUpdate("partial_fill", shown(one, "partially_filled", "4", "100"),
                       executed(one, "4", "4", second(4)), None, second(4))  # fmt: skip
    step, fill = ledger.apply_update(part, second(5))
    assert (step and step.filled_qty, fill) == (D(4), part.fill)
    assert ledger.apply_update(part, second(6)) == (None, None)
    assert ledger.open_orders()[0].remaining == 6
    whole = TradeUpdate("fill", shown(one, "filled", "10", "101"),
                        executed(one, "10", "6", second(7)), None, second(7))  # fmt: skip
    step, _ = ledger.apply_update(whole, second(8))
    assert step is not None
    assert (step.state, step.filled_avg_price) == (IntentState.FILLED, D(101))
    assert ledger.shares() == {"AAPL": D(10)}
    assert ledger.entered() == {"AAPL": second(4)}
    assert ledger.pending_sides() == {}


def test_fill_before_the_answer_to_the_sending_is_a_fill() -> None:
    one = intent("as-1")
    ledger = sending(one)
    ledger.apply_order(shown(one, "filled", "10", "99"), LATE)
    assert ledger.apply_outcome("as-1", Done(shown(one, "new")), LATE) is None
    assert ledger.apply_outcome("as-1", Unknown("no answer within 10 s"), LATE) is None
    assert ledger.state("as-1") is IntentState.FILLED
    assert ledger.shares() == {"AAPL": D(10)}


def test_lost_answer_is_unknown_until_the_venue_shows_the_order() -> None:
    one = intent("as-1")
    ledger = sending(one)
    step = ledger.apply_outcome("as-1", Unknown("no answer within 10 s"), LATE)
    assert step is not None
    assert (step.state, step.detail) == (IntentState.UNKNOWN, "no answer within 10 s")
    assert len(ledger.under_way()) == 1
    ledger.apply_order(shown(one, "accepted"), LATE)
    assert ledger.state("as-1") is IntentState.OPEN


def test_refusal_ends_an_order_and_a_known_id_does_not() -> None:
    refused, known = intent("as-1"), intent("as-2")
    ledger = sending(refused, known)
    no = Refused(Refusal.BUYING_POWER, "insufficient buying power", 403)
    step = ledger.apply_outcome("as-1", no, LATE)
    assert step is not None
    assert (step.state, step.detail) == (IntentState.REJECTED, "refused: insufficient buying power")
    duplicate = Refused(Refusal.DUPLICATE_ID, "client_order_id must be unique", 422)
    ledger.apply_outcome("as-2", duplicate, LATE)
    assert ledger.state("as-2") is IntentState.UNKNOWN


def test_refusal_of_a_second_sending_does_not_end_the_order_that_arrived() -> None:
    one = intent("as-1", Side.SELL)
    ledger = sending(one)
    ledger.apply_outcome("as-1", Unknown("no answer"), LATE)
    ledger.start_sending("as-1", LATE)
    ledger.apply_order(shown(one, "new"), LATE)
    no = Refused(Refusal.OTHER, "refused", 422)
    assert ledger.apply_outcome("as-1", no, LATE) is None
    assert ledger.state("as-1") is IntentState.OPEN


def test_shares_held_at_a_second_sending_may_be_held_by_the_first() -> None:
    held = Refused(Refusal.SHARES_HELD, "insufficient qty available", 403)
    once, twice = intent("as-1", Side.SELL), intent("as-2", Side.SELL)
    ledger = sending(once, twice)
    ledger.apply_outcome("as-1", held, LATE)
    assert ledger.state("as-1") is IntentState.REJECTED
    ledger.apply_outcome("as-2", Unknown("no answer"), LATE)
    ledger.start_sending("as-2", LATE)
    ledger.apply_outcome("as-2", held, LATE)
    assert ledger.state("as-2") is IntentState.UNKNOWN


def test_answer_about_another_order_is_no_answer() -> None:
    one, other = intent("as-1"), intent("as-2")
    ledger = sending(one, other)
    ledger.apply_outcome("as-1", Done(shown(other, "new")), LATE)
    assert ledger.state("as-1") is IntentState.UNKNOWN
    assert ledger.state("as-2") is IntentState.SENDING


def test_what_was_given_up_and_turns_up_is_ours_again() -> None:
    one = intent("as-1")
    ledger = sending(one)
    ledger.apply_outcome("as-1", Unknown("no answer"), LATE)
    assert ledger.abandon("as-1", LATE, "too late") is not None
    assert ledger.pending_sides() == {}
    ledger.apply_order(shown(one, "partially_filled", "3", "100"), LATE)
    assert ledger.state("as-1") is IntentState.OPEN
    assert ledger.shares() == {"AAPL": D(3)}


def test_what_the_venue_has_is_not_given_up() -> None:
    one = intent("as-1")
    ledger = sending(one)
    ledger.apply_order(shown(one, "new"), LATE)
    assert ledger.abandon("as-1", LATE, "too late") is None
    assert ledger.state("as-1") is IntentState.OPEN


@pytest.mark.parametrize("end", ["abandoned", "rejected"])
def test_order_that_never_was_is_never_sent(end: str) -> None:
    ledger = sending(intent("as-1"))
    if end == "abandoned":
        ledger.abandon("as-1", LATE, "too late")
    else:
        ledger.apply_outcome("as-1", Refused(Refusal.OTHER, "no", 422), LATE)
    with pytest.raises(ValueError, match=f"as-1 is {end}"):
        ledger.start_sending("as-1", LATE)


def test_late_word_of_an_ended_order_does_not_replace_its_last() -> None:
    one = intent("as-1")
    ledger = sending(one)
    ledger.apply_order(shown(one, "canceled"), LATE)
    ledger.apply_order(shown(one, "pending_cancel"), LATE)
    entry = ledger.by_order_id("Vas-1")
    assert entry is not None
    assert entry.status == "canceled"


def test_mean_price_is_never_that_of_fewer_shares() -> None:
    one = intent("as-1")
    ledger = sending(one)
    ledger.apply_order(shown(one, "partially_filled", "4", "100"), LATE)
    step, _ = ledger.apply_fill(executed(one, "7", "3", second(1), "110"), LATE)
    assert step is not None
    assert (step.filled_qty, step.filled_avg_price) == (D(7), None)
    told = ledger.apply_order(shown(one, "partially_filled", "7", "104.2857"), LATE)
    assert told is not None
    assert told.filled_avg_price == D("104.2857")


def test_last_execution_of_all_shares_fills_the_order() -> None:
    one = intent("as-1")
    ledger = sending(one)
    ledger.apply_order(shown(one, "new"), LATE)
    fill = executed(one, "10", "10", second(5))
    step, news = ledger.apply_fill(fill, LATE)
    assert (step and step.state, news) == (IntentState.FILLED, fill)
    assert ledger.apply_fill(fill, LATE) == (None, None)


def test_time_of_an_execution_counts_more_than_that_of_a_snapshot() -> None:
    one = intent("as-1")
    ledger = sending(one)
    ledger.apply_order(shown(one, "filled", "10", "100"), LATE)
    assert ledger.entered() == {"AAPL": LATE}
    ledger.apply_fill(executed(one, "10", "10", second(5)), LATE)
    assert ledger.entered() == {"AAPL": second(5)}
    ledger.apply_order(shown(one, "filled", "10", "100", LATE), LATE)
    assert ledger.entered() == {"AAPL": second(5)}


# ------------------------------------------------- what is not ours


def test_orders_of_others_change_nothing() -> None:
    ledger = sending(intent("as-1"))
    stranger = intent("theirs")
    told = TradeUpdate("fill", shown(stranger, "filled", "10", "100"),
                       executed(stranger, "10", "10", second(1)), None, None)  # fmt: skip
    assert not ledger.knows("theirs")
    assert ledger.apply_update(told, LATE) == (None, None)
    assert ledger.apply_order(told.order, LATE) is None
    assert ledger.apply_outcome("theirs", Unknown("?"), LATE) is None
    assert ledger.apply_fill(executed(stranger, "10", "10", second(1)), LATE) == (None, None)
    assert ledger.abandon("theirs", LATE, "?") is None
    assert ledger.by_order_id("Vtheirs") is None
    assert ledger.shares() == {}


@pytest.mark.parametrize(
    "other",
    [{"symbol": "MSFT"}, {"side": Side.SELL}, {"id": "another"}],
    ids=["symbol", "side", "id of the venue"],
)
def test_order_that_contradicts_ours_changes_nothing(other: dict[str, Any]) -> None:
    one = intent("as-1")
    ledger = sending(one)
    ledger.apply_order(shown(one, "new"), LATE)
    false = replace(shown(one, "filled", "10", "100"), **other)
    fill = replace(executed(one, "10", "10", LATE), order_id=false.id)
    assert ledger.apply_update(TradeUpdate("fill", false, fill, None, None), LATE) == (None, None)
    assert ledger.apply_order(false, LATE) is None
    assert ledger.shares() == {}
    assert ledger.state("as-1") is IntentState.OPEN


@pytest.mark.parametrize("qty", ["NaN", "-5", "Infinity"])
def test_quantity_that_cannot_be_changes_nothing(qty: str) -> None:
    one = intent("as-1")
    ledger = sending(one)
    ledger.apply_order(shown(one, "partially_filled", "2", "100"), LATE)
    ledger.apply_order(shown(one, "partially_filled", qty, "100"), LATE)
    assert ledger.apply_fill(executed(one, qty, "1", LATE), LATE) == (None, None)
    assert ledger.shares() == {"AAPL": D(2)}


def test_two_intents_of_one_name_are_a_defect() -> None:
    ledger = Ledger()
    ledger.add_intent(intent("as-1"))
    ledger.add_intent(intent("as-1"))
    with pytest.raises(ValueError, match="another intent of the name as-1"):
        ledger.add_intent(intent("as-1", qty="11"))


# ------------------------------------------------- positions


def test_position_is_entered_anew_after_it_was_left() -> None:
    bought, sold, again = intent("as-1"), intent("as-2", Side.SELL), intent("as-3", qty="5")
    ledger = sending(bought, sold, again)
    for one, cum, at in ((bought, "10", 1), (sold, "10", 20), (again, "5", 30)):
        ledger.apply_order(shown(one, "new"), OPEN)
        ledger.apply_fill(executed(one, cum, cum, second(at)), LATE)
    assert ledger.shares() == {"AAPL": D(5)}
    assert ledger.entered() == {"AAPL": second(30)}
    assert ledger.exited() == {"AAPL": second(20)}


def test_sale_of_a_part_leaves_the_position_as_old_as_it_is() -> None:
    bought, sold = intent("as-1"), intent("as-2", Side.SELL, "4")
    ledger = sending(bought, sold)
    for one, cum, at in ((bought, "10", 1), (sold, "4", 20)):
        ledger.apply_order(shown(one, "new"), OPEN)
        ledger.apply_fill(executed(one, cum, cum, second(at)), LATE)
    assert ledger.entered() == {"AAPL": second(1)}


def test_both_sides_of_a_symbol_are_awaited_as_a_sale() -> None:
    ledger = sending(intent("as-1", Side.SELL), intent("as-2", Side.BUY))
    assert ledger.pending_sides() == {"AAPL": Side.SELL}


def test_split_changes_shares_and_not_their_age() -> None:
    ledger = Ledger()
    ledger.restore(Recovered(shares={"AAPL": D(10)}, entered={"AAPL": second(1)}))
    ledger.adjust(Adjustment("AAPL", D(30), "split 4:1", second(9)))
    assert ledger.shares() == {"AAPL": D(40)}
    assert ledger.entered() == {"AAPL": second(1)}


def test_adjustment_to_nothing_ends_a_position() -> None:
    ledger = Ledger()
    ledger.restore(Recovered(shares={"AAPL": D(10)}, entered={"AAPL": second(1)}))
    ledger.adjust(Adjustment("AAPL", D(-10), "a person's word", second(9)))
    assert ledger.shares() == {}
    assert ledger.entered() == {}
    assert ledger.exited() == {}
    again = intent("as-1", qty="5")
    ledger.add_intent(again)
    ledger.start_sending("as-1", OPEN)
    ledger.apply_order(shown(again, "filled", "5", "100", second(30)), LATE)
    assert ledger.entered() == {"AAPL": second(30)}


def test_recovered_executions_are_not_booked_twice() -> None:
    one = intent("as-1")
    last = StateChange("as-1", IntentState.OPEN, second(2), "Vas-1", "new", D(4), D(100))
    fill = executed(one, "4", "4", second(1))
    ledger = Ledger()
    ledger.restore(Recovered(
        intents=(KnownIntent(one, last),), shares={"AAPL": D(7)}, entered={"AAPL": second(-60)},
        fills=(fill,),
    ))  # fmt: skip
    assert ledger.apply_fill(fill, LATE) == (None, None)
    ledger.apply_order(shown(one, "filled", "10", "100"), LATE)
    assert ledger.shares() == {"AAPL": D(13)}
    assert ledger.entered() == {"AAPL": second(-60)}


def test_recovered_executions_that_are_told_again_do_not_enter_a_position() -> None:
    """Of a purchase of 10, 4 were bought and sold again before the restart."""
    one = intent("as-1")
    last = StateChange("as-1", IntentState.OPEN, second(2), "Vas-1", "new", D(4), D(100))
    ledger = Ledger()
    ledger.restore(Recovered(intents=(KnownIntent(one, last),)))
    ledger.apply_fill(executed(one, "4", "4", second(1)), LATE)
    assert ledger.entered() == {}
    ledger.apply_fill(executed(one, "10", "6", second(9)), LATE)
    assert ledger.shares() == {"AAPL": D(6)}
    assert ledger.entered() == {"AAPL": second(9)}


def test_part_of_a_recovered_execution_that_is_told_again_changes_no_age() -> None:
    one = intent("as-1")
    last = StateChange("as-1", IntentState.OPEN, second(2), "Vas-1", "new", D(4), D(100))
    ledger = Ledger()
    ledger.restore(Recovered(
        intents=(KnownIntent(one, last),), shares={"AAPL": D(1)}, entered={"AAPL": second(-60)},
    ))  # fmt: skip
    ledger.apply_fill(executed(one, "2", "2", second(1)), LATE)
    ledger.apply_fill(executed(one, "4", "2", second(2)), LATE)
    assert ledger.shares() == {"AAPL": D(1)}
    assert ledger.entered() == {"AAPL": second(-60)}


def test_recovered_intent_that_was_not_sent_has_not_been_sent() -> None:
    pending = StateChange("as-1", IntentState.PENDING, OPEN)
    lost = StateChange("as-2", IntentState.UNKNOWN, OPEN)
    ledger = Ledger()
    ledger.restore(Recovered(intents=(
        KnownIntent(intent("as-1"), pending), KnownIntent(intent("as-2"), lost),
    )))  # fmt: skip
    assert [one.client_order_id for one in ledger.sent()] == ["as-2"]
