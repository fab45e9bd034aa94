"""Words for what an account holds, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the venue describes it; money in USD.

    A field that the venue leaves out is None, and None is no permission.

    Attributes:
        number: The account's number.
        status: The venue's word; only ACTIVE may trade.
        equity: Cash and positions.
        last_equity: At the close of the session before.
        cash: Cash.
        buying_power: What may be spent on purchases now.
        trading_blocked: Nothing may be traded.
        account_blocked: Nothing may be done at all.
        trade_suspended_by_user: The owner has suspended trading.
        shorting_enabled: Short sales are allowed.
    """

    number: str
    status: str
    equity: Decimal
    last_equity: Decimal | None
    cash: Decimal
    buying_power: Decimal
    trading_blocked: bool | None
    account_blocked: bool | None
    trade_suspended_by_user: bool | None
    shorting_enabled: bool | None = None

    @property
    def objection(self) -> str | None:
        """Why nothing may be bought, or None."""
        if self.status != "ACTIVE":
            return f"the account is {self.status}, not ACTIVE"
        for name in ("trading_blocked", "account_blocked", "trade_suspended_by_user"):
            if getattr(self, name) is not False:
                return f"the account says {name} {getattr(self, name)}"
        return None


@dataclass(frozen=True, slots=True)
class Position:
    """Shares of one symbol that the account holds.

    Attributes:
        symbol: The symbol.
        qty: Shares, negative when short.
        avg_entry_price: In USD.
        current_price: In USD, where told.
        market_value: In USD, negative when short, where told.
    """

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal
    current_price: Decimal | None = None
    market_value: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """What may be done with a symbol.

    Attributes:
        symbol: The symbol.
        tradable: The venue takes orders for it.
        fractionable: Fractions of a share may be ordered.
        active: It is listed.
    """

    symbol: str
    tradable: bool
    fractionable: bool
    active: bool


@dataclass(frozen=True, slots=True)
class VenueClock:
    """The venue's clock; aware times.

    Attributes:
        now: Its time when it answered.
        is_open: Regular trading is on.
        next_open: When it opens next.
        next_close: When it closes next.
    """

    now: datetime
    is_open: bool
    next_open: datetime
    next_close: datetime
