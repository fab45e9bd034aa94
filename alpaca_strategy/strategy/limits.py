"""What the risk gate is given for a session, and what it answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Limits:
    """What stands for a whole session.

    Attributes:
        max_order_usd: What one purchase may be worth.
        max_order_shares: How many shares it may be.
        max_position_usd: What the account may hold of one symbol.
        max_gross_exposure: All positions and open purchases, as a share of the equity.
        max_daily_loss: At this loss, as a share of the equity at the last close, buying ends.
        max_orders_per_minute: Orders sent within a minute.
        max_orders_per_session: Orders sent within a session.
        price_collar: How far a price may be from the last close, as a fraction of it.
        max_price_age_s: How old the last price may be.
        restricted: Symbols that are never bought.

    Raises:
        ValueError: A limit is no positive number.
    """

    max_order_usd: Decimal
    max_order_shares: Decimal
    max_position_usd: Decimal
    max_gross_exposure: Decimal
    max_daily_loss: Decimal
    max_orders_per_minute: int
    max_orders_per_session: int
    price_collar: Decimal
    max_price_age_s: Decimal
    restricted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, value in self._numbers().items():
            if not value.is_finite() or value <= 0:
                msg = f"The limit {name} is {value}, and must be a positive number."
                raise ValueError(msg)

    def _numbers(self) -> dict[str, Decimal]:
        names = (one.name for one in fields(self) if one.name != "restricted")
        return {name: Decimal(getattr(self, name)) for name in names}

    def fingerprint(self) -> str:
        """Return 8 hexadecimal digits that change with any limit; 50000 and 50000.0 are equal."""
        lines = [f"{name}={value.normalize():f}" for name, value in self._numbers().items()]
        lines.append(f"restricted={' '.join(sorted(self.restricted))}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


class DenialKind(StrEnum):
    """Which rule denies; see the table of `strategy.risk`."""

    HOLD = "hold"
    MALFORMED = "malformed"
    CLOSED = "closed"
    RATE = "rate"
    DUPLICATE = "duplicate"
    HALTED = "halted"
    OVERSOLD = "oversold"
    ACCOUNT = "account"
    RESTRICTED = "restricted"
    ASSET = "asset"
    PRICE = "price"
    ORDER_SIZE = "order_size"
    DAILY_LOSS = "daily_loss"
    POSITION = "position"
    EXPOSURE = "exposure"
    BUYING_POWER = "buying_power"


@dataclass(frozen=True, slots=True)
class Denial:
    """Why an order is not sent.

    Attributes:
        kind: The rule.
        sentence: What is the case, with value and limit.
    """

    kind: DenialKind
    sentence: str

    @property
    def latches(self) -> bool:
        """Whether everything is to stop until a person allows it again."""
        return self.kind is DenialKind.RATE

    @property
    def passes_with_room(self) -> bool:
        """Whether the order may pass once sales that are under way have been filled."""
        return self.kind in {DenialKind.EXPOSURE, DenialKind.BUYING_POWER}
