"""The account's books: cash and positions in Decimal, every entry, and what follows of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from alpaca_strategy.simulator.orders import ZERO

Marks = Callable[[str], Decimal | None]
_LONG_MAINTENANCE = Decimal("0.30")
_MARGIN_EQUITY = 2000  # below it nothing is lent


@dataclass(slots=True)
class Position:
    """Shares of one symbol.

    Attributes:
        qty: Negative when short.
        cost: What was paid for them in USD; negative when short.
        realized: Profit of what has been closed.
        overnight: Shares held at the last close.
    """

    symbol: str
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    overnight: Decimal = ZERO

    @property
    def average(self) -> Decimal:
        """Return the mean entry price."""
        return self.cost / self.qty if self.qty else ZERO

    def trade(self, qty: Decimal, price: Decimal) -> None:
        """Add signed shares at a price."""
        closing = ZERO
        if self.qty * qty < 0:
            closing = -min(abs(qty), abs(self.qty)) * (1 if self.qty > 0 else -1)
            released = self.average * -closing
            self.realized += -closing * price - released
            self.cost -= released
            self.qty += closing
        opening = qty - closing
        self.qty += opening
        self.cost += opening * price


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the books: what changed, and when."""

    at_ns: int
    kind: str
    symbol: str | None
    qty: Decimal
    cash: Decimal


@dataclass
class Ledger:
    """Cash and positions of one account.

    Attributes:
        cash: USD.
        last_equity: At the last close.
        entries: Everything since the opening balance, oldest first.
    """

    opening: Decimal
    positions: dict[str, Position] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    realized: Decimal = ZERO

    def __post_init__(self) -> None:
        self.cash = self.last_equity = self.opening

    def qty(self, symbol: str) -> Decimal:
        """Return the shares held, negative when short."""
        held = self.positions.get(symbol)
        return ZERO if held is None else held.qty

    def trade(self, at_ns: int, symbol: str, qty: Decimal, price: Decimal) -> Decimal:
        """Book signed shares bought or sold; returns the shares held afterwards."""
        return self._book(Entry(at_ns, "fill", symbol, qty, -qty * price), price)

    def transfer(self, at_ns: int, symbol: str, qty: Decimal, price: Decimal) -> Decimal:
        """Book shares that come or go without money, valued at a price."""
        return self._book(Entry(at_ns, "transfer", symbol, qty, ZERO), price)

    def deposit(self, at_ns: int, amount: Decimal) -> None:
        """Book money that comes, or goes when negative."""
        self.cash += amount
        self.entries.append(Entry(at_ns, "deposit", None, ZERO, amount))

    def split(self, at_ns: int, symbol: str, new: int, old: int) -> None:
        """Turn every `old` shares of a symbol into `new` ones."""
        held = self.positions.get(symbol)
        if held is None:
            return
        before = held.qty
        held.qty = before * new / old
        held.overnight = held.overnight * new / old
        self.entries.append(Entry(at_ns, "split", symbol, held.qty - before, ZERO))

    def _book(self, entry: Entry, price: Decimal) -> Decimal:
        symbol = entry.symbol or ""
        held = self.positions.setdefault(symbol, Position(symbol))
        before = held.realized
        held.trade(entry.qty, price)
        self.realized += held.realized - before
        self.cash += entry.cash
        self.entries.append(entry)
        if not held.qty:
            del self.positions[symbol]
        return held.qty

    def values(self, marks: Marks) -> tuple[Decimal, Decimal]:
        """Return the market values of long and of short positions."""
        long = short = ZERO
        for symbol, held in self.positions.items():
            price = marks(symbol)
            value = held.qty * (held.average if price is None else price)
            if value >= 0:
                long += value
            else:
                short += value
        return long, short

    def equity(self, marks: Marks) -> Decimal:
        """Return cash and positions at the marks."""
        return self.cash + sum(self.values(marks), ZERO)

    def at(self, ns: int) -> tuple[Decimal, dict[str, Decimal]]:
        """Return cash and shares as they were at a time, from the entries."""
        cash = self.opening
        shares: dict[str, Decimal] = {}
        for entry in self.entries:
            if entry.at_ns > ns:
                break
            cash += entry.cash
            if entry.symbol is not None:
                shares[entry.symbol] = shares.get(entry.symbol, ZERO) + entry.qty
        return cash, {symbol: qty for symbol, qty in shares.items() if qty}

    def closed(self, marks: Marks) -> None:
        """Note the end of a session."""
        self.last_equity = self.equity(marks)
        for held in self.positions.values():
            held.overnight = held.qty


@dataclass(frozen=True, slots=True)
class Figures:
    """What the books amount to at the moment, in USD."""

    equity: Decimal
    long: Decimal
    short: Decimal
    cash: Decimal
    buying_power: Decimal
    regt_buying_power: Decimal
    multiplier: int

    @property
    def gross(self) -> Decimal:
        """Return the value of all positions without their signs."""
        return self.long - self.short

    @property
    def initial_margin(self) -> Decimal:
        """Return half of the positions."""
        return self.gross / 2

    @property
    def maintenance_margin(self) -> Decimal:
        """Return what must stay in the account."""
        return self.gross * _LONG_MAINTENANCE


def figures(ledger: Ledger, marks: Marks, multiplier: int, reserved: Decimal) -> Figures:
    """Work out what the books amount to.

    Args:
        ledger: The books.
        marks: Current prices.
        multiplier: How many times its equity the account may hold within a day.
        reserved: Held back for open orders.
    """
    long, short = ledger.values(marks)
    equity = ledger.cash + long + short
    if equity < _MARGIN_EQUITY:
        multiplier = 1
    free = ledger.cash - reserved - (2 * -short)  # proceeds of short sales are not one's own
    if multiplier > 1:
        free = multiplier * equity - (long - short) - reserved
    regt = min(multiplier, 2) * equity - (long - short) - reserved
    return Figures(
        equity=equity,
        long=long,
        short=short,
        cash=ledger.cash,
        buying_power=max(free, ZERO),
        regt_buying_power=max(regt, ZERO),
        multiplier=multiplier,
    )
