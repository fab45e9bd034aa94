"""What the trader needs of the world: a clock, a broker, two streams, a journal and a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alpaca_strategy.domain.journal import (
    Adjustment,
    Decision,
    Heartbeat,
    Intent,
    Reconciliation,
    Recovered,
    StateChange,
    Switch,
    SwitchKind,
    TraderRun,
)
from alpaca_strategy.domain.orders import Fill, Ticket, VenueOrder
from alpaca_strategy.domain.outcomes import Outcome
from alpaca_strategy.domain.portfolio import Account, Asset, Position, VenueClock
from alpaca_strategy.domain.streams import Listener

Floats = npt.NDArray[np.float64]


class Clock(Protocol):
    """The venue's time; all of the trader's waits but those of sockets are in it."""

    def now_ns(self) -> int:
        """Return nanoseconds since 1970 UTC."""

    async def wait(self, until_ns: int, wake: asyncio.Event) -> None:
        """Return when that time has come, or the event is set; the event stays as it is."""


class Broker(Protocol):
    """The venue's REST interface; every call blocks, has a deadline, and may come from any thread.

    Questions raise VenueError where no usable answer came: an error is never an empty answer.
    """

    def submit(self, ticket: Ticket, may_leave: Callable[[], bool]) -> Outcome[VenueOrder]:
        """Send an order, once.

        Args:
            ticket: The order.
            may_leave: Asked right before it leaves; where it must not, it is refused with status 0.
        """

    def cancel(self, order_id: str) -> Outcome[None]:
        """Ask for an order's cancellation; done means asked, not cancelled."""

    def order_by_client_id(self, client_order_id: str) -> VenueOrder | None:
        """Return an order; None only where the venue definitely has none."""

    def open_orders(self) -> list[VenueOrder]:
        """Return every open order of the account."""

    def positions(self) -> list[Position]:
        """Return every position of the account."""

    def account(self) -> Account:
        """Return the account."""

    def clock(self) -> VenueClock:
        """Return the venue's clock."""

    def fills_since(self, after: datetime) -> list[Fill]:
        """Return the account's executions after a moment, oldest first."""

    def assets(self, symbols: Sequence[str]) -> Mapping[str, Asset]:
        """Return what may be done with these symbols; unknown ones are left out."""


class History(Protocol):
    """Where that comes from which no stream has delivered."""

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pa.Table:
        """Return trades in TRADE_SCHEMA, by symbol, in tape order. Blocks. Raises VenueError."""

    def splits(self, since: Mapping[str, date], until: date) -> Mapping[str, Decimal]:
        """Return shares for one old, of symbols that have split. Blocks. Raises VenueError.

        Args:
            since: By symbol, the day after which splits count.
            until: The last day that counts.
        """


class Streams(Protocol):
    """Both websockets, run by tasks on the trader's own loop."""

    async def run(self, listener: Listener) -> None:
        """Connect and stay connected until cancelled; the listener is called on the loop."""

    def reconnect(self, stream: str, reason: str) -> None:
        """Drop a connection that is no good, and connect anew."""


class Scorer(Protocol):
    """The model in service."""

    @property
    def model_id(self) -> str:
        """Return the model's version."""

    def score(
        self, features: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """Return scores and expected returns in bps, both shape (symbols,), NaN without one.

        Args:
            features: Shape (240, symbols, 30), the newest minute last.
            usable: Shape (240, symbols).
        """


class Journal(Protocol):
    """The trader's memory; every call blocks, and what it returned from is on disk.

    Every method raises EnvironmentFaultError where that cannot be done; nothing is half-written.
    """

    def take_lock(self) -> bool:
        """Become the account's only trader; False where another is. Held while we live."""

    def holds_lock(self) -> bool:
        """Return whether the lock is still ours; asks the database."""

    def open_run(self, run: TraderRun) -> None:
        """Record that a trader starts; what follows belongs to this run."""

    def recover(self, session: date) -> Recovered:
        """Return what earlier runs left."""

    def record_decision(self, decision: Decision, intents: Sequence[Intent]) -> None:
        """Write a decision and its intents, which are then pending, in one transaction."""

    def record_intents(self, intents: Sequence[Intent]) -> None:
        """Write intents that follow from no decision, such as a person's flatten."""

    def begin_sending(
        self, changes: Sequence[StateChange], *, flattening: bool = False
    ) -> Switch | None:
        """Write that these are about to be sent; return the switch as it stands now.

        Nothing is written where the switch says kill, unless they are the sales that it asked for.
        """

    def record(self, changes: Sequence[StateChange], fills: Sequence[Fill] = ()) -> None:
        """Write steps of intents, and fills; a fill that is known already is left out."""

    def record_adjustments(self, adjustments: Sequence[Adjustment]) -> None:
        """Write changes of positions that are no fills."""

    def record_reconciliation(self, reconciliation: Reconciliation) -> None:
        """Write a comparison with the venue's books."""

    def record_event(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Write something that a person may ask about later."""

    def beat(self, heartbeat: Heartbeat) -> Switch | None:
        """Write the state of the trader; return the switch as it stands now."""

    def switch(self, kind: SwitchKind, *, reason: str, by: str, flatten: bool = False) -> Switch:
        """Turn the switch."""

    def read_switch(self) -> Switch | None:
        """Return the switch as it stands now; None where it was never turned."""
