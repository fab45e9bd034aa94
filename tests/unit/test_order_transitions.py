"""Every pair of a state and an event of an intent, and what every word of the venue means."""

from __future__ import annotations

import itertools
from datetime import date

import pytest

from alpaca_strategy.domain.orders import (
    MAX_CLIENT_ORDER_ID,
    IntentEvent,
    IntentState,
    OrderStatus,
    Side,
    advance,
    client_order_id,
    event_of,
)

S, E = IntentState, IntentEvent
EVENTS = [E.SEND, E.ACK, E.REFUSE, E.LOSE, E.ABANDON, E.FILL, E.CANCEL, E.EXPIRE]
#: What follows in the order of EVENTS; None: nothing changes.
TABLE: dict[IntentState, list[IntentState | None]] = {
    # Nothing has left: only our own doing changes it.
    S.PENDING: [S.SENDING, None, None, None, S.ABANDONED, None, None, None],
    S.SENDING: [
        None, S.OPEN, S.REJECTED, S.UNKNOWN, S.ABANDONED, S.FILLED, S.CANCELED, S.EXPIRED,
    ],
    # Like SENDING, but it may be sent once more.
    S.UNKNOWN: [
        S.SENDING, S.OPEN, S.REJECTED, None, S.ABANDONED, S.FILLED, S.CANCELED, S.EXPIRED,
    ],
    # The venue has it: neither our giving up nor a lost answer changes that.
    S.OPEN: [None, None, S.REJECTED, None, None, S.FILLED, S.CANCELED, S.EXPIRED],
    S.FILLED: [None] * 8,
    S.CANCELED: [None] * 8,
    S.EXPIRED: [None] * 8,
    S.REJECTED: [None] * 8,
    # What we gave up may have arrived after all.
    S.ABANDONED: [None, S.OPEN, None, None, None, S.FILLED, S.CANCELED, S.EXPIRED],
}  # fmt: skip


def test_table_names_every_state_and_event() -> None:
    assert set(TABLE) == set(S)
    assert sorted(EVENTS) == sorted(E)
    assert all(len(row) == len(EVENTS) for row in TABLE.values())


@pytest.mark.parametrize(("state", "column"), list(itertools.product(S, range(8))))
def test_every_pair_of_state_and_event(state: IntentState, column: int) -> None:
    expected = TABLE[state][column]
    assert advance(state, EVENTS[column]) is (state if expected is None else expected)


@pytest.mark.parametrize("end", [S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED])
def test_end_absorbs_whatever_comes_late(end: IntentState) -> None:
    for events in itertools.product(E, repeat=2):
        state = end
        for event in events:
            state = advance(state, event)
        assert state is end


def test_final_are_the_states_in_which_nothing_is_awaited() -> None:
    final = {state for state in S if state.is_final}
    assert final == {S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED, S.ABANDONED}


MEANINGS = {
    "new": E.ACK, "partially_filled": E.ACK, "filled": E.FILL, "done_for_day": E.ACK,
    "canceled": E.CANCEL, "expired": E.EXPIRE, "replaced": E.CANCEL, "pending_cancel": E.ACK,
    "pending_replace": E.ACK, "pending_review": E.ACK, "accepted": E.ACK, "pending_new": E.ACK,
    "accepted_for_bidding": E.ACK, "stopped": E.ACK, "rejected": E.REFUSE, "suspended": E.ACK,
    "calculated": E.ACK, "held": E.ACK, "a word of tomorrow": E.ACK,
}  # fmt: skip


@pytest.mark.parametrize(("word", "event"), MEANINGS.items())
def test_every_word_of_the_venue_means_an_event(word: str, event: IntentEvent) -> None:
    assert event_of(OrderStatus.read(word)) is event


def test_no_word_of_the_venue_is_forgotten() -> None:
    assert {OrderStatus.read(word) for word in MEANINGS} == set(OrderStatus)


def test_only_five_words_end_an_order() -> None:
    final = {word for word in MEANINGS if OrderStatus.read(word).is_final}
    assert final == {"filled", "canceled", "expired", "replaced", "rejected"}


def test_two_traders_that_decide_the_same_give_an_order_the_same_id() -> None:
    day = date(2026, 10, 1)
    assert client_order_id("as", day, 9, "BRK.B", Side.SELL) == "as-20261001-009-s0-BRK.B"
    assert client_order_id("as", day, 389, "X", Side.BUY, attempt=1) == "as-20261001-389-b1-X"


def test_id_that_is_too_long_for_the_venue_is_no_id() -> None:
    day, room = date(2026, 10, 1), MAX_CLIENT_ORDER_ID - len("-20261001-009-b0-X")
    assert len(client_order_id("a" * room, day, 9, "X", Side.BUY)) == MAX_CLIENT_ORDER_ID
    with pytest.raises(ValueError, match="more than 128 characters"):
        client_order_id("a" * (room + 1), day, 9, "X", Side.BUY)
