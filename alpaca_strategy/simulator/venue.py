"""The venue's whole state: what it knows, who may ask, what time it is, what is broken."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from alpaca_strategy.simulator import bars as bar_rules
from alpaca_strategy.simulator.clock import SimClock
from alpaca_strategy.simulator.damage import Damages
from alpaca_strategy.simulator.faults import Faults
from alpaca_strategy.simulator.limits import Meter
from alpaca_strategy.simulator.store import Source, Store
from alpaca_strategy.simulator.synthetic import SyntheticMarket
from alpaca_strategy.simulator.wire import RefusedError
from alpaca_strategy.simulator.world import Split

_NAMESPACE = uuid.UUID("5f1d1e0c-3a8e-4c60-9a3c-0a1f6f1c7d11")
_BARS_KEPT = 2000


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
    """

    keys: Mapping[str, str]
    token: str
    requests_per_minute: int = 10_000
    rate_window_s: float = 60.0
    short_pages: bool = False
    recent_sip: bool = False


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
