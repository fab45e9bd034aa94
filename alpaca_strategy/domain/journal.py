"""Words for the trader's journal: what was decided, what was intended, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from alpaca_strategy.domain.orders import Fill, IntentState, Ticket


@dataclass(frozen=True, slots=True)
class Book:
    """Whose journal it is; two books share nothing.

    Attributes:
        account: The venue's account number.
        strategy: The first part of every client order id.
    """

    account: str
    strategy: str


@dataclass(frozen=True, slots=True)
class TraderRun:
    """One life of a trader process.

    Attributes:
        id: A random identifier.
        book: Whose orders it sends.
        mode: simulated, paper or live.
        session: The session that it trades.
        model_id: The model in service.
        code_version: Of this program.
        config_hash: SHA-256 of the settings that decide what is traded.
        host: The machine.
        pid: The process.
        started_at: UTC.
    """

    id: str
    book: Book
    mode: str
    session: date
    model_id: str
    code_version: str
    config_hash: str
    host: str
    pid: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class NameDecision:
    """What a decision did with one name.

    Attributes:
        symbol: The symbol.
        reason: A `strategy.reasons.Reason`, as a number.
        score: From 0 to 1; None without one.
        expected_bps: Expected return until the hold ends; None without one.
        close: Last observed close in USD; None without one.
        shares: Held by the strategy before the decision.
        denial: Why the risk gate refused what was decided, or None.
    """

    symbol: str
    reason: int
    score: float | None
    expected_bps: float | None
    close: float | None
    shares: Decimal
    denial: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, made or skipped.

    Attributes:
        session: The session.
        minute: That had just closed, from 0.
        due_at: When the minute had closed and the grace was over, UTC.
        decided_at: When it was made, UTC.
        watermark: Time of the newest trade it knew, UTC; None before the first.
        input_hash: SHA-256 of everything that it was made from.
        model_id: The model that scored.
        equity: Of the account in USD.
        names: One for every name, in universe order; none when skipped.
        skipped: Why no decision was made, or None.
    """

    session: date
    minute: int
    due_at: datetime
    decided_at: datetime
    watermark: datetime | None
    input_hash: str
    model_id: str
    equity: Decimal
    names: tuple[NameDecision, ...] = ()
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """An order that we mean to send.

    Attributes:
        ticket: The order.
        session: Of the decision.
        minute: Of the decision.
        reason: Why, a `strategy.reasons.Reason` as a number.
        price: The last close when it was decided, in USD: what slippage is measured from.
        created_at: UTC.
    """

    ticket: Ticket
    session: date
    minute: int
    reason: int
    price: Decimal | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StateChange:
    """A step of an intent.

    Attributes:
        client_order_id: The intent's.
        state: The state after it.
        at: When we learned of it, UTC.
        order_id: The venue's, once known.
        status: The venue's word for the order, once known.
        filled_qty: Shares executed so far.
        filled_avg_price: Their mean price in USD.
        detail: What happened, in a few words.
    """

    client_order_id: str
    state: IntentState
    at: datetime
    order_id: str | None = None
    status: str | None = None
    filled_qty: Decimal = Decimal(0)
    filled_avg_price: Decimal | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A change of a position that is no fill: a split, or a person's word at a re-arming.

    Attributes:
        symbol: The symbol.
        qty: Shares added to what the strategy holds; negative takes away.
        reason: Why.
        at: UTC.
    """

    symbol: str
    qty: Decimal
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class KnownIntent:
    """An intent with the newest step of it that the journal holds."""

    intent: Intent
    last: StateChange


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a trader that starts finds in its journal.

    Attributes:
        intents: Those that are not final, of any session, and all of the session's own.
        shares: What the strategy holds by its fills and adjustments, by symbol; nothing is left
            out but zeros.
        entered: When each of these positions was entered, UTC, by symbol.
        exited: When a symbol was last sold within the session, UTC.
        decided: Minutes of the session for which a decision is recorded.
        orders_today: Orders sent in the session.
        fills: The session's fills, in the order in which they were recorded.
    """

    intents: tuple[KnownIntent, ...] = ()
    shares: Mapping[str, Decimal] = field(default_factory=dict)
    entered: Mapping[str, datetime] = field(default_factory=dict)
    exited: Mapping[str, datetime] = field(default_factory=dict)
    decided: frozenset[int] = frozenset()
    orders_today: int = 0
    fills: tuple[Fill, ...] = ()


class SwitchKind(StrEnum):
    """What a person, or the trader itself, turned."""

    KILL = "kill"  # nothing is sent any more, open orders are cancelled
    HALT = "halt"  # nothing is bought any more; the trader did it
    REARM = "rearm"  # a person allows trading again


@dataclass(frozen=True, slots=True)
class Switch:
    """The newest turn of the switch; it stays over restarts until the next one.

    Attributes:
        kind: What was turned.
        flatten: At a kill: sell what the strategy holds, once.
        reason: Why.
        by: Who.
        at: UTC.
        position: Counts the turns, from 1.
    """

    kind: SwitchKind
    flatten: bool
    reason: str
    by: str
    at: datetime
    position: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What the trader tells about itself once a second.

    Attributes:
        run_id: The run.
        at: UTC, by the machine's clock.
        venue_at: UTC, by the venue's clock.
        phase: starting, waiting, trading, flat, stopped.
        holds: What keeps it from trading now: reason to detail.
        minute: Of the session that closed last; None before the first.
        last_data_at: Newest trade, UTC.
        detail: Equity, positions, open orders, counters: plain data for people to read.
    """

    run_id: str
    at: datetime
    venue_at: datetime
    phase: str
    holds: Mapping[str, str]
    minute: int | None
    last_data_at: datetime | None
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A comparison of our books with the venue's.

    Attributes:
        at: UTC.
        cause: Why it was made: start, reconnect, timer, decision, close, surprise.
        differences: What does not agree and is not explained, in words; none when all is well.
        positions: What the venue shows, by symbol.
        foreign: Shares that the strategy did not buy, by symbol.
    """

    at: datetime
    cause: str
    differences: tuple[str, ...]
    positions: Mapping[str, Decimal]
    foreign: Mapping[str, Decimal]
