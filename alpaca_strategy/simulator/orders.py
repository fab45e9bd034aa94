"""An order: its life in statuses, its executions, and the venue's JSON for it."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from alpaca_strategy.simulator import encode

ZERO = Decimal(0)
TYPES = ("market", "limit", "stop", "stop_limit")
TIMES_IN_FORCE = ("day", "gtc", "ioc", "fok", "opg", "cls")
FINAL = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
#: The venue has sent the order on, and it may trade.
WORKING = frozenset({"new", "partially_filled", "pending_cancel", "pending_replace"})
_NAMESPACE = uuid.UUID("0f9c1c0a-6a70-4cf0-8e60-1c0dd7f4e0aa")
_TIMES = (
    "filled_at", "expired_at", "cancel_requested_at", "canceled_at", "failed_at", "replaced_at",
)  # fmt: skip


def named_id(*words: object) -> str:
    """Return an identifier that follows from words, the same in every run."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(str(word) for word in words)))


def chance(*words: object) -> float:
    """Return a number from 0 up to 1 that follows from words, and looks random."""
    text = "/".join(str(word) for word in words)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def number(value: Decimal | None) -> str | None:
    """Return a number as the venue prints it: without an exponent or idle zeros."""
    if value is None:
        return None
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def stamp(ns: int | None) -> str | None:
    """Return a time as the venue prints it."""
    return None if ns is None else encode.timestamp(ns)


@dataclass(slots=True)
class Execution:
    """Shares that changed hands."""

    execution_id: str
    order_id: str
    client_order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    at_ns: int
    cum_qty: Decimal
    leaves_qty: Decimal
    position_qty: Decimal
    kind: str
    order_status: str

    @property
    def activity_id(self) -> str:
        """Return the id among the account's activities; it is not the execution's."""
        digits = "".join(c for c in encode.timestamp(self.at_ns)[:19] if c.isdigit())
        return f"{digits}{self.at_ns // 1_000_000 % 1000:03d}::{named_id(self.execution_id)}"


@dataclass(slots=True)
class Order:
    """One order.

    Attributes:
        qty: Shares ordered; None where the order is for an amount of money.
        notional: That amount in USD.
        source: ``api`` for a client's, ``external`` for a person's on the same account.
        target: Shares that are to be executed in the end: `qty`, or what the money buys.
        value: Money of the executions so far.
        reserve: USD held back for each share that is still to be bought, or sold short.
        seen: The quote against which the last part was filled, by its time.
        depth: Parts filled against that quote: each one goes a tick deeper.
        resting: It has waited in the book, so it trades at its own price.
        triggered: The stop price has been reached.
        parked: It waits for a switch or the end of a halt, and not for a time.
        before: The status to return to when a cancel or a replacement is refused.
        times: Moments by their field name, ns since 1970 UTC.
        events: What was told of it, oldest first.
    """

    id: str
    client_order_id: str
    sequence: int
    symbol: str
    asset_id: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    extended_hours: bool
    order_class: str
    position_intent: str
    submitted_ns: int
    source: str = "api"
    status: str = "pending_new"
    filled_qty: Decimal = ZERO
    value: Decimal = ZERO
    reserve: Decimal = ZERO
    target: Decimal | None = None
    updated_ns: int = 0
    expires_ns: int | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    seen: int = 0
    depth: int = 0
    parts: int = 0
    resting: bool = False
    triggered: bool = False
    parked: bool = False
    before: str | None = None
    times: dict[str, int] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether something can still happen to it."""
        return self.status not in FINAL

    @property
    def leaves(self) -> Decimal:
        """Return the shares that are still to be executed."""
        wanted = self.qty if self.target is None else self.target
        return ZERO if wanted is None else wanted - self.filled_qty

    @property
    def reserved(self) -> Decimal:
        """Return the money held back for what is still to be executed."""
        if self.notional is not None and self.reserve:
            return self.notional - self.value
        return self.reserve * self.leaves

    @property
    def average(self) -> Decimal | None:
        """Return the mean price of the executions."""
        if not self.filled_qty:
            return None
        return (self.value / self.filled_qty).quantize(Decimal("1e-6"), ROUND_HALF_UP)

    @property
    def sign(self) -> int:
        """Return 1 for a purchase, -1 for a sale."""
        return 1 if self.side == "buy" else -1

    @property
    def cap(self) -> Decimal | None:
        """Return the worst price allowed; a triggered buy stop has one too.

        Source:
            Alpaca converts buy stops to stop-limits, 4 % up below $50, else 2.5 %.
        """
        if self.limit_price is not None:
            return self.limit_price
        if self.type != "stop" or self.side != "buy" or self.stop_price is None:
            return None
        room = Decimal("1.04") if self.stop_price < 50 else Decimal("1.025")
        return self.stop_price * room

    def allows(self, price: Decimal) -> bool:
        """Tell whether a price is not worse than the order's."""
        cap = self.cap
        return cap is None or (price <= cap if self.side == "buy" else price >= cap)

    def json(self) -> dict[str, Any]:
        """Return the venue's object."""
        return {
            "id": self.id,
            "client_order_id": self.client_order_id,
            "created_at": stamp(self.submitted_ns),
            "updated_at": stamp(self.updated_ns),
            "submitted_at": stamp(self.submitted_ns),
            **{name: stamp(self.times.get(name)) for name in _TIMES},
            "expires_at": stamp(self.expires_ns),
            "replaced_by": self.replaced_by,
            "replaces": self.replaces,
            "asset_id": self.asset_id,
            "symbol": self.symbol,
            "asset_class": "us_equity",
            "notional": number(self.notional),
            "qty": number(self.qty),
            "filled_qty": number(self.filled_qty),
            "filled_avg_price": number(self.average),
            "order_class": self.order_class,
            "order_type": self.type,
            "type": self.type,
            "side": self.side,
            "time_in_force": self.time_in_force,
            "limit_price": number(self.limit_price),
            "stop_price": number(self.stop_price),
            "status": self.status,
            "extended_hours": self.extended_hours,
            "legs": None,
            "trail_percent": None,
            "trail_price": None,
            "hwm": None,
            "position_intent": self.position_intent,
            "subtag": None,
            "source": None,
        }

    def record(self) -> dict[str, Any]:
        """Return everything, with every event, for the judge of a trial."""
        return {**self.json(), "origin": self.source, "events": self.events}
