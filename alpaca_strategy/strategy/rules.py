"""What a person may choose about the strategy, as compiled code takes it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Minutes whose closes the technical filter looks at, the one just closed included.
WINDOW = 15
#: The minute of something that has not happened in this session.
NEVER = -1_000_000_000


class Rules(NamedTuple):
    """The strategy's parameters.

    Attributes:
        interval: Minutes between decisions.
        top_k: Names chosen by a decision.
        min_score: Below it no name is chosen; minus infinity switches the rule off.
        max_positions: Names held at once.
        hold: Minutes after which a position is closed at the next decision.
        keep_chosen: Whether a position that is chosen again stays, without trading.
        cooldown: Minutes after a sale in which a name is not bought; 0 switches the rule off.
        trend: Whether a close above its means over 5 and 15 minutes is asked for, in that order.
        momentum: Whether a close above that of 5 minutes before is asked for.
        min_rsi: The least relative strength index asked for; 0 switches the rule off.
        edge_over_cost: Whether a name whose expected return does not exceed `round_trip_bps` is
            left alone.
        round_trip_bps: What buying and selling costs; read where `edge_over_cost` is on.
        flat_minutes: Before the close, when everything is sold; 0 holds overnight.
        exposure: Share of the equity that is invested when every slot is taken.
        slots: Into how many equal parts that is divided.
        whole_shares: Whether only whole shares are bought.
    """

    interval: int = 10
    top_k: int = 3
    min_score: float = 0.6
    max_positions: int = 6
    hold: int = 10
    keep_chosen: bool = True
    cooldown: int = 15
    trend: bool = True
    momentum: bool = True
    min_rsi: float = 45.0
    edge_over_cost: bool = False
    round_trip_bps: float = 0.0
    flat_minutes: int = 5
    exposure: float = 0.95
    slots: int = 3
    whole_shares: bool = True


def slots_of(*, interval: int, top_k: int, max_positions: int, hold: int) -> int:
    """Return how many positions these rules come to hold, at most the maximum.

    A name is held for at least as many decisions as its hold spans, so that many choices overlap.
    """
    return min(max_positions, top_k * max(1, -(-hold // interval)))


class Book(NamedTuple):
    """What a decision knows of the positions; arrays of shape (symbols,).

    Attributes:
        shares: Held, float64; never negative.
        entered: The minute of the session in which a position was entered, int64; `NEVER` for one
            of an earlier session.
        exited: The minute of the session in which a position was last left, int64, or `NEVER`.
        pending: Orders under way, int8: 1 buys, -1 sells, 0 none.
    """

    shares: np.ndarray[tuple[int], np.dtype[np.float64]]
    entered: np.ndarray[tuple[int], np.dtype[np.int64]]
    exited: np.ndarray[tuple[int], np.dtype[np.int64]]
    pending: np.ndarray[tuple[int], np.dtype[np.int8]]


def empty_book(symbols: int) -> Book:
    """Return the book of somebody who holds nothing."""
    return Book(
        shares=np.zeros(symbols),
        entered=np.full(symbols, NEVER, np.int64),
        exited=np.full(symbols, NEVER, np.int64),
        pending=np.zeros(symbols, np.int8),
    )
