"""The venue's whole state: what it knows, who may ask, what time it is, what is broken."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from alpaca_strategy.simulator import bars as bar_rules
from alpaca_strategy.simulator.clock import SimClock
from alpaca_strategy.simulator.damage import Damages
from alpaca_strategy.simulator.exchange import Exchange
from alpaca_strategy.simulator.faults import Faults
from alpaca_strategy.simulator.limits import Meter
from alpaca_strategy.simulator.pump import Pump
from alpaca_strategy.simulator.quotes import Quotes
from alpaca_strategy.simulator.store import Source, Store
from alpaca_strategy.simulator.streams import StreamOptions
from alpaca_strategy.simulator.synthetic import SyntheticMarket
from alpaca_strategy.simulator.tape import Tape
from alpaca_strategy.simulator.wire import RefusedError
from alpaca_strategy.simulator.world import Split

_NAMESPACE = uuid.UUID("5f1d1e0c-3a8e-4c60-9a3c-0a1f6f1c7d11")
_BARS_KEPT = 2000
_HALF_SPREAD = 1e-4  # where nobody says better


@dataclass(frozen=True, slots=True)
class Options:
    """How the venue treats its clients.

    Attributes:
        keys: The secret of each key id that is accepted.
        token: Opens the side door.
        requests_per_minute: Rate limit for each host.
        rate_window_s: Length of the limit's window in seconds, for tests in a hurry.
        short_pages: Pages may hold fewer items than asked for although more are to come.
        recent_sip: The account may read SIP trades of the last fifteen minutes.
        cash: The account's opening balance in USD.
        multiplier: How many times its equity the account may hold within a day: 4, 2 or 1.
        partial_prob: Chance that an order is first filled in part.
        streams: How the websockets' clients are treated.
    """

    keys: Mapping[str, str]
    token: str
    requests_per_minute: int = 10_000
    rate_window_s: float = 60.0
    short_pages: bool = False
    recent_sip: bool = False
    cash: Decimal = Decimal(100_000)
    multiplier: int = 4
    partial_prob: float = 0.1
    streams: StreamOptions = field(default_factory=StreamOptions)


@dataclass
class Venue:
    """Everything that a request handler needs."""

    options: Options
    source: Source
    universe: list[dict[str, str]]
    clock: SimClock = field(default_factory=SimClock)
    damages: Damages = field(default_factory=Damages)
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.meter = Meter(self.options.requests_per_minute, self.options.rate_window_s)
        self.store = Store(self.source, self.damages.apply)
        self._bars: OrderedDict[tuple[str, str, date, bool], list[bar_rules.Bar]] = OrderedDict()
        self._known = frozenset(self.source.symbols)
        self.exchange = Exchange(
            self.clock,
            Quotes(self.seed, self._true_tape, self._half_spread),
            lambda symbol: self.asset_id(symbol) if symbol in self._known else None,
            seed=self.seed,
            cash=self.options.cash,
            splits=self.splits,
        )
        self.exchange.engine.partial_prob = self.options.partial_prob
        self.exchange.standing.multiplier = self.options.multiplier
        self.pump = Pump(self)

    @property
    def seed(self) -> int:
        """Return the seed of everything that chance decides."""
        market = self.synthetic
        return 7 if market is None else market.world.parameters.seed

    def _half_spread(self, symbol: str) -> float:
        market = self.synthetic
        return _HALF_SPREAD if market is None else market.world.companies[symbol].half_spread

    def _true_tape(self, feed: str, symbol: str, day: date) -> Tape:
        """Return a day's trades without damage."""
        if any(order.applies(symbol, day) for order in self.damages.orders):
            return self.source.tape(feed, symbol, day)
        return self.store.tape(feed, symbol, day)

    @property
    def synthetic(self) -> SyntheticMarket | None:
        """Return the synthetic market, or None when recorded trades are replayed."""
        return self.source if isinstance(self.source, SyntheticMarket) else None

    def asset_id(self, symbol: str) -> str:
        """Return a symbol's identifier, the same in every run."""
        return str(uuid.uuid5(_NAMESPACE, symbol))

    def check(self, symbols: tuple[str, ...]) -> tuple[str, ...]:
        """Return the symbols if every one is listed here.

        Raises:
            RefusedError: There is none, or an unknown one.
        """
        if not symbols:
            raise RefusedError(400, "symbols is required")
        unknown = [symbol for symbol in symbols if symbol not in self._known]
        if unknown:
            raise RefusedError(422, f"invalid symbol(s): {', '.join(unknown)}", 42210000)
        return symbols

    def splits(self, symbol: str) -> list[Split]:
        """Return the splits of a symbol, oldest first."""
        market = self.synthetic
        return [] if market is None else market.world.splits(symbol)

    def bars(self, feed: str, symbol: str, day: date, *, daily: bool) -> list[bar_rules.Bar]:
        """Return a day's minute bars or its daily bar, from trades up to now."""
        tape = self.store.tape(feed, symbol, day)
        now = self.clock.now_ns()
        if len(tape) and tape.ts[-1] > now:  # the day is not over: nothing to keep
            return bar_rules.from_trades(tape.take(tape.ts <= now), day, daily=daily)
        key = (feed, symbol, day, daily)
        if key not in self._bars:
            self._bars[key] = bar_rules.from_trades(tape, day, daily=daily)
            if len(self._bars) > _BARS_KEPT:
                self._bars.popitem(last=False)
        return self._bars[key]

    def changed(self) -> None:
        """Forget everything derived from tapes, after a tape has changed."""
        self.store.forget()
        self._bars.clear()
        self.exchange.quotes.forget()
        self.pump.changed()
