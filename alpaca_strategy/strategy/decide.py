# ruff: noqa: PLR0917 - compiled functions take arrays by position
"""The decision kernel: scores in, what to buy and what to sell out.

One compiled function for both backtest engines and the live trader. It sees nothing after the
minute that has just closed, keeps no state and allocates only what it returns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from alpaca_strategy.compilation import njit
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.strategy.rules import Book, Rules
from alpaca_strategy.strategy.technical import weakness

_BUY, _KEEP, _YOUNG, _CLOSE = (
    int(Reason.BUY), int(Reason.KEEP), int(Reason.YOUNG), int(Reason.CLOSE),
)  # fmt: skip
_FLATTEN, _LEAVING, _ORDERED = int(Reason.FLATTEN), int(Reason.LEAVING), int(Reason.ORDERED)
_NO_SCORE, _LOW_SCORE, _COOLING = (
    int(Reason.NO_SCORE), int(Reason.LOW_SCORE), int(Reason.COOLING),
)  # fmt: skip
_SMALL_EDGE, _OUTRANKED = int(Reason.SMALL_EDGE), int(Reason.OUTRANKED)
_NO_ROOM, _TOO_LATE = int(Reason.NO_ROOM), int(Reason.TOO_LATE)


@njit
def is_due(minute: int, minutes: int, rules: Rules) -> bool:
    """Return whether something is decided when a minute has closed.

    Args:
        minute: That has just closed, from 0.
        minutes: Of the session: 390, or 210 on a half-day.
        rules: The rules.
    """
    if minute + 1 >= minutes:
        return False  # nothing can be filled any more
    return bool((minute + 1) % rules.interval == 0 or is_ending(minute, minutes, rules))


@njit
def is_ending(minute: int, minutes: int, rules: Rules) -> bool:
    """Return whether everything is sold because the session ends."""
    return bool(rules.flat_minutes > 0 and minute + 1 >= minutes - rules.flat_minutes)


@njit
def decide(
    scores: Any, expected_bps: Any, closes: Any, book: Book, minute: int, minutes: int, rules: Rules
) -> tuple[Any, Any]:  # fmt: skip
    """Decide what to do with every name at the close of a minute.

    Orders that follow from it can be filled from the next minute's open on. Unfilled purchases of
    the decision before must have been cancelled.

    Args:
        scores: Shape (symbols,), float64 from 0 to 1; NaN where a name has none.
        expected_bps: Expected return until the hold ends, shape (symbols,), float64.
        closes: Of this session until now, shape (minutes, symbols), float64 USD, oldest first, NaN
            where unobserved; only the last `WINDOW` rows are read.
        book: The positions.
        minute: Of the session that has just closed, from 0.
        minutes: Of the session: 390, or 210 on a half-day.
        rules: The rules.

    Returns:
        A `Reason` for every name, shape (symbols,), int8; and the names to buy, best first, int64.
        What is to be sold follows from the reasons: CLOSE and FLATTEN.
    """
    # Taken out of the tuple once: each time costs as much as the whole test of a name.
    shares, entered, exited, pending = book
    reason = np.zeros(len(scores), np.int8)
    if is_ending(minute, minutes, rules):
        for s in range(len(reason)):
            held = shares[s] > 0.0
            reason[s] = _LEAVING if pending[s] < 0 else _FLATTEN if held else _TOO_LATE
        return reason, np.empty(0, np.int64)
    chosen = np.empty(rules.top_k, np.int64)
    n = 0
    for s in range(len(reason)):
        against = _objection(
            scores[s], expected_bps[s], shares[s] > 0.0, minute + 1 - exited[s], pending[s], rules
        )
        if against == 0:
            against = weakness(closes, s, rules)
        if against == 0:
            against = _OUTRANKED
            n = _insert(chosen, n, scores, s)
        reason[s] = against
    for i in range(n):
        reason[chosen[i]] = _KEEP if shares[chosen[i]] > 0.0 else _BUY
    taken = _settle(shares, entered, pending, minute, rules, reason)
    buys = np.empty(n, np.int64)
    bought = 0
    for i in range(n):
        s = chosen[i]
        if reason[s] != _BUY:
            continue
        if taken + bought >= rules.max_positions:
            reason[s] = _NO_ROOM
            continue
        buys[bought] = s
        bought += 1
    return reason, buys[:bought]


@njit
def _objection(  # noqa: PLR0911 - one for each rule
    score: float, expected_bps: float, held: Any, since_exit: int, pending: int, rules: Rules
) -> int:
    """Return why a name may not be chosen, whatever its prices did, or 0."""
    if pending != 0:
        return _LEAVING if pending < 0 else _ORDERED
    if held and not rules.keep_chosen:
        return _YOUNG  # or old: that is settled by its age
    if np.isnan(score):
        return _NO_SCORE
    if score < rules.min_score:
        return _LOW_SCORE
    if not held and since_exit < rules.cooldown:
        return _COOLING
    # Not <=, so that an expectation that is not a number is no edge.
    if not held and rules.edge_over_cost and not expected_bps > rules.round_trip_bps:
        return _SMALL_EDGE
    return 0


@njit
def _insert(chosen: Any, n: int, scores: Any, s: int) -> int:
    """Put a name in its place among the best, equal ones as they come; return their number."""
    k = len(chosen)
    if n < k:
        place = n
        n += 1
    elif k > 0 and scores[s] > scores[chosen[k - 1]]:
        place = k - 1
    else:
        return n
    while place > 0 and scores[chosen[place - 1]] < scores[s]:
        chosen[place] = chosen[place - 1]
        place -= 1
    chosen[place] = s
    return n


@njit
def _settle(shares: Any, entered: Any, pending: Any, minute: int, rules: Rules, reason: Any) -> int:
    """Say of every position whether it stays; return how many names still take a place."""
    taken = 0
    for s in range(len(reason)):
        if pending[s] != 0:
            taken += 1
        elif shares[s] > 0.0:
            if reason[s] == _KEEP:
                taken += 1
            elif minute + 1 - entered[s] < rules.hold:
                reason[s] = _YOUNG
                taken += 1
            else:
                reason[s] = _CLOSE
    return taken
