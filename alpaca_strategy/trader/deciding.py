"""From scores to wishes: the batch's own decision kernel, asked about the live book."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final

import numpy as np
import numpy.typing as npt

from alpaca_strategy.domain.journal import NameDecision
from alpaca_strategy.domain.market import Session
from alpaca_strategy.domain.orders import Side
from alpaca_strategy.strategy.decide import decide, is_ending
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.strategy.rules import NEVER, WINDOW, Book, Rules
from alpaca_strategy.strategy.sizing import shares_for

Floats = npt.NDArray[np.float64]
_SHARE_DIGITS: Final = Decimal("0.000001")
#: A symbol counts as covered when it has a bar among the last so many minutes.
RECENT: Final = 10
#: Scores closer together than this rank nothing.
_MIN_SPREAD: Final = 1e-9
#: No model expects more of the next minutes; one that says so is out of order.
_MAX_EXPECTED_BPS: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a minute has closed.

    Attributes:
        session: The session.
        minute: That has just closed, from 0.
        symbols: The names, in universe order.
        closes: Shape (minutes so far, symbols), USD, NaN where there was no bar.
        scores: Shape (symbols,), from 0 to 1, NaN without one.
        expected_bps: Shape (symbols,).
        shares: What the strategy holds, by symbol.
        entered: When its positions were entered, UTC.
        exited: When it last left a position, UTC.
        pending: Symbols with an order under way, and its side.
        excluded: Symbols that are left alone, and why.
        equity: Of the account in USD.
    """

    session: Session
    minute: int
    symbols: tuple[str, ...]
    closes: Floats
    scores: Floats
    expected_bps: Floats
    shares: Mapping[str, Decimal]
    entered: Mapping[str, datetime]
    exited: Mapping[str, datetime]
    pending: Mapping[str, Side]
    excluded: Mapping[str, str]
    equity: Decimal


@dataclass(frozen=True, slots=True)
class Wish:
    """Something to buy or to sell.

    Attributes:
        symbol: The symbol.
        side: Buy or sell.
        qty: Shares, positive.
        reason: Why.
        price: Its last close in USD, if there is one.
    """

    symbol: str
    side: Side
    qty: Decimal
    reason: Reason
    price: Decimal | None


def resolve(now: Situation, rules: Rules) -> tuple[tuple[NameDecision, ...], tuple[Wish, ...]]:
    """Decide about every name.

    Returns:
        What was decided about each, in universe order; and what follows from it, sales first, as
        they pay for the purchases, and these best first.
    """
    scores = now.scores.copy()
    for i, symbol in enumerate(now.symbols):
        if symbol in now.excluded:
            scores[i] = np.nan
    reasons, buys = decide(
        scores, now.expected_bps, now.closes[-WINDOW:], _book(now), now.minute,
        now.session.minutes, rules,
    )  # fmt: skip
    last = _last(now.closes)
    wishes = [
        Wish(symbol, Side.SELL, now.shares[symbol], Reason(int(reasons[i])), _price(last[i]))
        for i, symbol in enumerate(now.symbols)
        if Reason(int(reasons[i])).sells and now.shares.get(symbol, Decimal(0)) > 0
    ]
    for i in buys:
        qty = _exact(shares_for(float(now.equity), last[i], rules))
        if qty > 0:
            wish = Wish(now.symbols[i], Side.BUY, qty, Reason.BUY, _price(last[i]))
            wishes.append(wish)
    names = tuple(
        NameDecision(
            symbol=symbol,
            reason=int(reasons[i]),
            score=_number(now.scores[i]),
            expected_bps=_number(now.expected_bps[i]),
            close=_number(last[i]),
            shares=now.shares.get(symbol, Decimal(0)),
            denial=now.excluded.get(symbol),
        )
        for i, symbol in enumerate(now.symbols)
    )
    return names, tuple(wishes)


def objection_to_scores(scores: Floats, expected_bps: Floats) -> str | None:
    """Return why a model's answer cannot be traded on, or None.

    A name may have no score; but a score outside of its range, or the same for all, is no ranking.
    """
    known = scores[~np.isnan(scores)]
    if len(known) < 3:
        return f"only {len(known)} names have a score, and 3 are needed to rank"
    if not ((known >= 0) & (known <= 1)).all():  # infinite ones too
        return f"scores go from {known.min():g} to {known.max():g}, not from 0 to 1"
    if float(known.max() - known.min()) < _MIN_SPREAD:
        return f"all {len(known)} scores are {known[0]:g}"
    expected = expected_bps[~np.isnan(scores)]
    if not (np.abs(expected) <= _MAX_EXPECTED_BPS).all():  # NaN too
        return f"an expected return is beyond {_MAX_EXPECTED_BPS:g} bps, or not a number"
    return None


def coverage(observed: npt.NDArray[np.bool_], before: npt.NDArray[np.bool_]) -> float:
    """Return the share of the symbols that have a bar among the last minutes.

    Args:
        observed: Of this session so far, shape (minutes, symbols).
        before: Of the session before, likewise; it counts until enough minutes have passed.
    """
    recent = np.concatenate([before, observed])[-RECENT:]
    return float(recent.any(axis=0).mean()) if recent.shape[1] else 0.0


def hash_inputs(now: Situation, rules: Rules, arrays: Sequence[npt.NDArray[np.generic]]) -> str:
    """Return the SHA-256 of everything that a decision is made from."""
    digest = hashlib.sha256()
    facts = (
        now.session.day, now.minute, now.symbols, sorted(now.shares.items()),
        sorted(now.entered.items()), sorted(now.exited.items()),
        sorted((symbol, side.value) for symbol, side in now.pending.items()),
        sorted(now.excluded.items()), now.equity, tuple(rules),
    )  # fmt: skip
    digest.update(repr(facts).encode())
    for array in (now.closes[-WINDOW:], now.scores, now.expected_bps, *arrays):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def is_closing_time(minute: int, session: Session, rules: Rules) -> bool:
    """Return whether everything is to be sold because the session ends."""
    return is_ending(minute, session.minutes, rules)


def collared(price: Decimal, side: Side, collar_bps: float) -> Decimal:
    """Return the limit of a marketable order: so far beyond a price, on the venue's tick."""
    limit = price * (1 + side.sign * Decimal(str(collar_bps)) / 10_000)
    tick = Decimal("0.01") if limit >= 1 else Decimal("0.0001")
    return limit.quantize(tick, ROUND_UP if side is Side.BUY else ROUND_DOWN)


def _book(now: Situation) -> Book:
    count = len(now.symbols)
    book = Book(
        shares=np.zeros(count),
        entered=np.full(count, NEVER, np.int64),
        exited=np.full(count, NEVER, np.int64),
        pending=np.zeros(count, np.int8),
    )
    for i, symbol in enumerate(now.symbols):
        book.shares[i] = float(max(now.shares.get(symbol, Decimal(0)), Decimal(0)))
        book.entered[i] = _minute(now.session, now.entered.get(symbol))
        book.exited[i] = _minute(now.session, now.exited.get(symbol))
        side = now.pending.get(symbol)
        book.pending[i] = 0 if side is None else side.sign
    return book


def _minute(session: Session, at: datetime | None) -> int:
    """Return the minute of the session in which something happened; NEVER before it."""
    if at is None or at < session.opens_at:
        return NEVER
    return int((at - session.opens_at).total_seconds() // 60)


def _last(closes: Floats) -> Floats:
    """Return each name's last close, NaN where there is none."""
    last = np.full(closes.shape[1], np.nan)
    for row in closes:
        np.copyto(last, row, where=~np.isnan(row))
    return last


def _exact(shares: float) -> Decimal:
    """Return shares as they are ordered, without zeros behind and without an exponent."""
    qty = Decimal(repr(float(shares))).quantize(_SHARE_DIGITS, ROUND_DOWN)
    whole = qty.to_integral_value()
    return whole if qty == whole else qty.normalize()


def _price(value: float) -> Decimal | None:
    return None if np.isnan(value) else Decimal(repr(float(value)))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
