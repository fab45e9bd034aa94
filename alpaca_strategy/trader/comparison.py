"""Reconciliation: what the venue shows beside what our books say, without mending either.

At the first comparison, what the account holds beside the strategy's shares is taken as given; from
then on a change of it that no execution of ours explains is a difference. An order under way
explains one in its own direction, up to what is left of it and for `EXPLAINS_FOR`: the venue may
show an execution before we have heard of it. A split that is announced explains one exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Final

from alpaca_strategy.domain.journal import Adjustment
from alpaca_strategy.domain.orders import Side, VenueOrder
from alpaca_strategy.domain.portfolio import Position
from alpaca_strategy.trader.entries import Entry
from alpaca_strategy.trader.ledger import Ledger

#: By then the end of an order is known, or it has been seen to be open.
EXPLAINS_FOR: Final = timedelta(seconds=60)
_NOTHING: Final = Decimal(0)
_WHOLE: Final = Decimal(1)
_SMALLEST: Final = Decimal("1e-9")  # part of a share that the venue keeps


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a comparison.

    Attributes:
        differences: What nothing explains, one sentence each.
        foreign: Shares that the strategy did not buy, by symbol, as they are taken as given: what
            the next comparison starts from. An unexplained change is not in it.
        available: Shares that the strategy may sell of symbols of which something is missing.
        lookups: Orders of ours that should be open and are not listed: nothing is known of them
            until the venue has been asked by their ids.
        foreign_orders: Listed orders that are not in the ledger.
        adjustments: What a split has made of the strategy's shares; to be written and booked.
    """

    differences: tuple[str, ...]
    foreign: Mapping[str, Decimal]
    available: Mapping[str, Decimal]
    lookups: tuple[Entry, ...] = ()
    foreign_orders: tuple[VenueOrder, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()

    def sellable(self, symbol: str, held: Decimal) -> Decimal:
        """Return how much of what the strategy holds is there to be sold."""
        return max(min(held, self.available.get(symbol, held)), _NOTHING)


@dataclass(slots=True)
class _Findings:
    differences: list[str] = field(default_factory=list)
    foreign: dict[str, Decimal] = field(default_factory=dict)
    available: dict[str, Decimal] = field(default_factory=dict)
    adjustments: list[Adjustment] = field(default_factory=list)


def compare(
    ledger: Ledger,
    positions: Sequence[Position],
    previous_foreign: Mapping[str, Decimal] | None,
    *,
    at: datetime | None = None,
    orders: Sequence[VenueOrder] | None = None,
    split_factors: Mapping[str, Decimal] | None = None,
) -> Result:
    """Compare holdings and orders.

    Args:
        ledger: Our orders and holdings, with everything that the venue told of open orders.
        positions: What the venue shows.
        previous_foreign: What others held when it was last taken as given; None to take what is
            there as given now. Even then the venue may not show less than we hold.
        at: Now, UTC. Without it an order explains a difference however long ago it was sent.
        orders: Every open order that the venue lists; None where it was not asked.
        split_factors: Shares for one old one, of symbols that may have split since the books
            agreed; read together with the time.
    """
    found = _Findings()
    venue = {one.symbol: one.qty for one in positions}
    ours, given, alive = ledger.shares(), previous_foreign or {}, ledger.under_way()
    for symbol in sorted({*venue, *ours, *given}):
        there, held = venue.get(symbol, _NOTHING), ours.get(symbol, _NOTHING)
        expected = given.get(symbol, _NOTHING)
        bounds = _under_way(alive, symbol, at)
        split = _split(there, held, expected, (split_factors or {}).get(symbol))
        if split is not None and at is not None:
            found.adjustments.append(Adjustment(symbol, split - held, "split", at))
            held, expected = split, there - split
        elif previous_foreign is None:
            expected = _given(there - held, held, bounds)
        _look_at(found, symbol, (there, held, expected), bounds)
    lookups, strangers = _orders(found, ledger, orders)
    adjustments = tuple(one for one in found.adjustments if one.qty)
    texts = tuple(found.differences)
    return Result(texts, found.foreign, found.available, lookups, strangers, adjustments)


def concede(
    ledger: Ledger, positions: Sequence[Position], *, at: datetime, reason: str
) -> tuple[Adjustment, ...]:
    """Return what takes from our books what the venue does not show: for a person to decide on.

    Shares that an order under way may have sold are not conceded.
    """
    venue = {one.symbol: one.qty for one in positions}
    alive, found = ledger.under_way(), []
    for symbol, held in sorted(ledger.shares().items()):
        least, _ = _under_way(alive, symbol, at)
        missing = held - max(venue.get(symbol, _NOTHING), _NOTHING) + least
        if missing > 0:
            found.append(Adjustment(symbol, -missing, reason, at))
    return tuple(found)


def _given(surplus: Decimal, held: Decimal, bounds: tuple[Decimal, Decimal]) -> Decimal:
    """Return how much of a surplus is taken for somebody else's at the first comparison.

    What an order of ours under way may have bought or sold is not.
    """
    least, most = bounds
    theirs = surplus > most or (held == 0 and surplus < least)
    return surplus if theirs else _NOTHING


def _look_at(
    found: _Findings, symbol: str, shares: tuple[Decimal, Decimal, Decimal],
    bounds: tuple[Decimal, Decimal],
) -> None:  # fmt: skip
    there, held, expected = shares
    least, most = bounds
    change = there - held - expected
    if expected:
        found.foreign[symbol] = expected
    if not least <= change <= most:
        found.differences.append(_sentence(symbol, there, held, expected))
    if change < 0 or there < held:  # others may be short, and the venue nets that
        found.available[symbol] = max(there - max(expected, _NOTHING), _NOTHING)


def _under_way(
    entries: Iterable[Entry], symbol: str, at: datetime | None
) -> tuple[Decimal, Decimal]:
    """Return the least and the most by which orders under way may have moved the venue's books."""
    least = most = _NOTHING
    for one in entries:
        if one.intent.ticket.symbol != symbol:
            continue
        if at is not None and one.sent_at is not None and at - one.sent_at > EXPLAINS_FOR:
            continue
        if one.intent.ticket.side is Side.BUY:
            most += one.remaining
        else:
            least -= one.remaining
    return least, most


def _split(
    there: Decimal, held: Decimal, expected: Decimal, factor: Decimal | None
) -> Decimal | None:
    """Return what of the venue's shares is ours if a split explains them, else None.

    A fraction that comes of it is kept, or paid out in cash.
    """
    if factor is None or there == held + expected:
        return None
    whole = ((held + expected) * factor).quantize(_SMALLEST, ROUND_HALF_EVEN)
    if there not in {whole, whole.quantize(_WHOLE, ROUND_DOWN)}:
        return None
    return min((held * factor).quantize(_SMALLEST, ROUND_HALF_EVEN), max(there, _NOTHING))


def _orders(
    found: _Findings, ledger: Ledger, orders: Sequence[VenueOrder] | None
) -> tuple[tuple[Entry, ...], tuple[VenueOrder, ...]]:
    """Return our orders that are not listed, and listed ones that are not ours."""
    if orders is None:
        return (), ()
    for one in orders:
        entry = ledger.entry(one.client_order_id)
        if entry is None:
            continue
        if not entry.may_be(one):
            found.differences.append(
                f"The venue shows an order to {one.side.value} {one.symbol} under the name "
                f"{one.client_order_id}, and it is not the one that was sent."
            )
        elif entry.state.is_final:
            found.differences.append(
                f"The venue shows {one.client_order_id} as open, and it is {entry.state.value} by "
                f"our books."
            )
    listed = {one.client_order_id for one in orders}
    missing = [one for one in ledger.under_way() if one.client_order_id not in listed]
    return tuple(missing), tuple(one for one in orders if not ledger.knows(one.client_order_id))


def _sentence(symbol: str, there: Decimal, held: Decimal, expected: Decimal) -> str:
    others = f", and others {expected}" if expected else ""
    return (
        f"The venue shows {there} {symbol}, but the strategy holds {held}{others}; no order "
        f"explains it."
    )
