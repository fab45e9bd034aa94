"""What a trader tells of itself, read with care, and what its orders come to.

A heartbeat's detail is plain data that any version of the trader may have written: whatever is
missing, or is not what it should be, is not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from alpaca_strategy.domain.journal import KnownIntent
from alpaca_strategy.domain.orders import IntentState
from alpaca_strategy.storage.trading_records import LastBeat

#: In which order a decision goes through its stages; the database does not keep it.
_STAGES: Final = (
    "bars", "features", "scores", "rules", "decision", "journal", "last_order",
    "last_order_without_venue", "orders",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Holding:
    """Shares of a symbol.

    Attributes:
        symbol: The symbol.
        shares: As they were told.
        value: In USD; None where it was not told.
        since: When the position was entered, UTC; None where that was not told.
    """

    symbol: str
    shares: str
    value: float | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the newest heartbeat of a trader tells.

    Attributes:
        mode: simulated, paper or live; a question mark where nobody told.
        model: The model that scores; None where nobody told.
        session: Which session it trades.
        equity: Of the account in USD.
        day_return: Since the session before closed, as a fraction.
        positions: What the strategy holds.
        foreign: What the account holds and the strategy did not buy.
        open_orders: Their client order ids.
        unresolved: Of orders that may have left, and of which nobody knows what became.
        orders_sent: In the session.
        decisions: In the session, those that were skipped included.
        trades: Of the tape.
        gaps: How often the market data stream was lost.
        differences: Between our books and the venue's, in words.
        halted: Symbols that are halted, and why.
        stages_ms: Milliseconds of each stage of the newest decision.
        since: When each hold came into force, UTC, as far as told.
    """

    mode: str
    model: str | None
    session: date | None
    equity: float | None
    day_return: float | None
    positions: tuple[Holding, ...]
    foreign: tuple[Holding, ...]
    open_orders: tuple[str, ...]
    unresolved: tuple[str, ...]
    orders_sent: int
    decisions: int
    trades: int
    gaps: int
    differences: tuple[str, ...]
    halted: tuple[tuple[str, str], ...]
    stages_ms: tuple[tuple[str, float], ...]
    since: Mapping[str, datetime]


def read_told(last: LastBeat) -> Told:
    """Return what a heartbeat tells; of what it leaves out, what the run's record has."""
    detail, run = dict(last.heartbeat.detail), last.run
    stages = [(name, number_of(value)) for name, value in _mapping(detail, "stages_ms")]
    stages.sort(key=lambda one: _STAGES.index(one[0]) if one[0] in _STAGES else len(_STAGES))
    since = ((name, _moment(value)) for name, value in _mapping(detail, "holds_since"))
    return Told(
        mode=_text(detail.get("mode")) or (run.mode if run else "?"),
        model=_text(detail.get("model")) or (run.model_id if run else None),
        session=_day(detail.get("session")) or (run.session if run else None),
        equity=number_of(detail.get("equity")),
        day_return=number_of(detail.get("day_return")),
        positions=tuple(_holding(name, about) for name, about in _mapping(detail, "positions")),
        foreign=tuple(_holding(name, about) for name, about in _mapping(detail, "foreign")),
        open_orders=_names(detail.get("open_orders")),
        unresolved=_names(detail.get("unresolved_orders")),
        orders_sent=_count(detail.get("orders_sent")),
        decisions=_count(detail.get("decisions")),
        trades=_count(detail.get("trades")),
        gaps=_count(detail.get("gaps")),
        differences=_names(detail.get("differences")),
        halted=tuple((name, str(why)) for name, why in _mapping(detail, "halted_symbols")),
        stages_ms=tuple((name, ms) for name, ms in stages if ms is not None),
        since={name: at for name, at in since if at is not None},
    )


@dataclass(frozen=True, slots=True)
class OrderFigures:
    """What the orders of a session came to.

    Attributes:
        sent: How many left, or may have.
        filled: How many were executed in full.
        refused: By the venue.
        abandoned: How many never reached the venue.
        awaited: How many have not come to their end.
        unknown: Of how many nobody knows what became.
        notional: Executed, in USD.
        slippage_bps: Over everything executed, weighted by notional; positive cost us.
    """

    sent: int
    filled: int
    refused: int
    abandoned: int
    awaited: int
    unknown: int
    notional: float
    slippage_bps: float | None


_UNSENT = frozenset({IntentState.PENDING, IntentState.ABANDONED})
UNKNOWN = frozenset({IntentState.SENDING, IntentState.UNKNOWN})


def figures_of(orders: Sequence[KnownIntent]) -> OrderFigures:
    """Return what orders came to."""
    states = [one.last.state for one in orders]
    slips = [(slippage_bps(one), notional_of(one)) for one in orders]
    known = [(slip, float(usd)) for slip, usd in slips if slip is not None and usd]
    weight = sum(usd for _, usd in known)
    return OrderFigures(
        sent=sum(state not in _UNSENT for state in states),
        filled=states.count(IntentState.FILLED),
        refused=states.count(IntentState.REJECTED),
        abandoned=states.count(IntentState.ABANDONED),
        awaited=sum(not state.is_final for state in states),
        unknown=sum(state in UNKNOWN for state in states),
        notional=float(sum((usd for _, usd in slips), Decimal(0))),
        slippage_bps=sum(slip * usd for slip, usd in known) / weight if weight else None,
    )


def notional_of(order: KnownIntent) -> Decimal:
    """Return what was executed of an order, in USD; 0 while its mean price is not known."""
    return order.last.filled_qty * (order.last.filled_avg_price or Decimal(0))


def slippage_bps(order: KnownIntent) -> float | None:
    """Return how much worse an order was executed than at the close it was decided on, in bps.

    None where nothing was executed, or a price is not known; negative where it was better.
    """
    paid, close = order.last.filled_avg_price, order.intent.price
    if not paid or not close:
        return None
    return float((paid / close - 1) * 10_000 * order.intent.ticket.side.sign)


def number_of(value: Any) -> float | None:
    """Return what should be a number, if it is a finite one."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _holding(symbol: str, about: Any) -> Holding:
    if not isinstance(about, Mapping):
        return Holding(symbol, str(about))
    value, since = number_of(about.get("value")), _moment(about.get("since"))
    return Holding(symbol, str(about.get("qty", "?")), value, since)


def _mapping(detail: Mapping[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    found = detail.get(name)
    if not isinstance(found, Mapping):
        return ()
    return sorted(((str(key), value) for key, value in found.items()), key=lambda one: one[0])


def _names(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list | tuple) else ()


def _count(value: Any) -> int:
    return int(number_of(value) or 0)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def _moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None
