"""What the risk gate judges an order by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from alpaca_strategy.domain.portfolio import Asset
from alpaca_strategy.strategy.exposure import Holding, InFlight, LastPrice, positive


@dataclass(frozen=True, slots=True)
class Block:
    """A reason not to trade.

    Attributes:
        detail: What is the case.
        entries_only: Positions may still be closed.
    """

    detail: str
    entries_only: bool


@dataclass(frozen=True, slots=True)
class GateState:
    """What an order is judged by; None means unknown, and the unknown is no permission.

    Attributes:
        market_open: The venue says that regular trading is on.
        equity: Of the account in USD.
        last_equity: At the close of the session before.
        buying_power: What may still be spent: as the venue told, less what was sent since.
        positions: Every position of the account, foreign ones too, with what has been filled since
            the venue was asked: see `exposure.holdings`.
        held: What of it the strategy may sell, by symbol.
        in_flight: Orders that are sent, or about to be, and not known to have ended; foreign ones
            too. The judged order may be among them.
        spent_ids: Client order ids that the venue has had; they are never used again.
        sent_in_minute: Orders sent in the last minute, the judged one not counted.
        sent_in_session: Likewise in the session.
        objection: Why the account may not buy, or None.
        holds: What keeps the trader from trading now, by reason.
        halted: Symbols that the exchange has halted, and why.
        assets: What the venue says may be traded, by symbol.
        prices: By symbol.
    """

    market_open: bool
    equity: Decimal | None
    last_equity: Decimal | None
    buying_power: Decimal | None
    positions: Mapping[str, Holding] = field(default_factory=dict)
    held: Mapping[str, Decimal] = field(default_factory=dict)
    in_flight: tuple[InFlight, ...] = ()
    spent_ids: frozenset[str] = frozenset()
    sent_in_minute: int = 0
    sent_in_session: int = 0
    objection: str | None = None
    holds: Mapping[str, Block] = field(default_factory=dict)
    halted: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, Asset] = field(default_factory=dict)
    prices: Mapping[str, LastPrice] = field(default_factory=dict)

    def last(self, symbol: str) -> Decimal | None:
        """Return a symbol's last price, or None."""
        found = self.prices.get(symbol)
        return None if found is None else positive(found.price)
