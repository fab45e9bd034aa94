"""What the pages about traders are made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from alpaca_strategy.domain.journal import (
    Adjustment,
    Book,
    Decision,
    KnownIntent,
    NameDecision,
    Reconciliation,
    Switch,
    TraderRun,
)
from alpaca_strategy.domain.orders import Fill
from alpaca_strategy.jobs.trader_figures import OrderFigures, Told
from alpaca_strategy.jobs.trader_words import Notice, TraderState
from alpaca_strategy.storage.trading_records import EventRow, LastBeat


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A hold in force.

    Attributes:
        name: Of the hold.
        everything: Whether it stops everything, or only purchases.
        since: When it began, UTC; None where that is not known.
        detail: What the trader says of it.
        meaning: What it means, and what to do.
    """

    name: str
    everything: bool
    since: datetime | None
    detail: str
    meaning: str


@dataclass(frozen=True, slots=True)
class OrderLine:
    """An order in a list.

    Attributes:
        order: As the journal has it.
        state: How far it has come, in words.
        mark: good, bad, warn or nothing, by that.
        reason: Why it was decided.
        detail: What happened, where the state does not say that already.
        slippage_bps: What its execution cost beyond the close it was decided on.
        ended: When the minute that it was decided on had ended, UTC; None off the calendar.
    """

    order: KnownIntent
    state: str
    mark: str
    reason: str
    detail: str
    slippage_bps: float | None
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """A decision in a list.

    Attributes:
        decision: As the journal has it, without its names.
        late_s: Seconds from when it was due.
        bought: Symbols with an order to buy.
        sold: Symbols with an order to sell.
        ended: When its minute had ended, UTC; None off the calendar.
    """

    decision: Decision
    late_s: float
    bought: tuple[str, ...]
    sold: tuple[str, ...]
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class TraderLine:
    """A trader in the list of all."""

    last: LastBeat
    state: TraderState
    told: Told


@dataclass(frozen=True, slots=True)
class TraderPage:
    """All about one trader now.

    Attributes:
        last: Its newest heartbeat.
        state: How it is.
        told: What the heartbeat tells.
        headline: How it is, as a sentence.
        notices: What a person should know, the worst first.
        holds: What keeps it from trading, the gravest first.
        switch: As it stands; None where it was never turned.
        under_way: Orders that have not come to their end, as far as the journal has them.
        decisions: The newest of its session, newest first.
        sessions: The newest with a decision or an order, newest first.
        model: The model that scores, if its name is one.
    """

    last: LastBeat
    state: TraderState
    told: Told
    headline: str
    notices: tuple[Notice, ...]
    holds: tuple[HeldBack, ...]
    switch: Switch | None
    under_way: tuple[OrderLine, ...]
    decisions: tuple[DecisionLine, ...]
    sessions: tuple[date, ...]
    model: str | None


@dataclass(frozen=True, slots=True)
class TradersPage:
    """All traders.

    Attributes:
        newest: The one that was heard of last; None where there never was one.
        lines: All of them, the freshest first.
        trouble: Others that died within a day and leave something behind.
    """

    newest: TraderPage | None
    lines: tuple[TraderLine, ...]
    trouble: tuple[TraderLine, ...]


@dataclass(frozen=True, slots=True)
class SessionPage:
    """What a trader did in a session.

    Attributes:
        line: The trader.
        session: The session.
        orders: Newest first.
        decisions: Newest first.
        figures: What the orders came to.
        models: That scored.
        runs: Lives of the trader in the session, newest first.
        earlier: The session before with a decision or an order.
        later: The one after.
    """

    line: TraderLine
    session: date
    orders: tuple[OrderLine, ...]
    decisions: tuple[DecisionLine, ...]
    figures: OrderFigures
    models: tuple[str, ...]
    runs: tuple[TraderRun, ...]
    earlier: date | None
    later: date | None

    @property
    def is_live(self) -> bool:
        """Whether more may come at any moment."""
        return self.line.state.is_alive and self.line.told.session == self.session

    @property
    def minutes(self) -> frozenset[int]:
        """Minutes with a decision; an order may also come of a kill."""
        return frozenset(one.decision.minute for one in self.decisions)


@dataclass(frozen=True, slots=True)
class OrderPage:
    """All about one order.

    Attributes:
        line: The order.
        book: Whose.
        fills: Its executions, oldest first.
        decision: That it follows from; None where that is not recorded.
        model: That scored, if its name is one.
    """

    line: OrderLine
    book: Book
    fills: tuple[Fill, ...]
    decision: Decision | None
    model: str | None


@dataclass(frozen=True, slots=True)
class NameLine:
    """A name in a decision.

    Attributes:
        name: What was decided.
        reason: Why, in words.
        acted: Whether it was to be bought or sold.
        order: What was ordered; None for nothing.
    """

    name: NameDecision
    reason: str
    acted: bool
    order: OrderLine | None


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """All about one decision.

    Attributes:
        line: The decision.
        book: Whose.
        names: What was bought and sold first, then by score.
        model: That scored, if its name is one.
        earlier: Minute of the decision before it.
        later: Minute of the decision after it.
    """

    line: DecisionLine
    book: Book
    names: tuple[NameLine, ...]
    model: str | None
    earlier: int | None
    later: int | None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """What a person may ask about later.

    Attributes:
        line: The trader.
        differing: Comparisons that did not agree, newest first.
        turns: Of the switch, newest first.
        events: Newest first, with their facts in one line.
        adjustments: Changes of positions that are no executions, newest first.
        runs: Lives of the trader, newest first.
    """

    line: TraderLine
    differing: tuple[Reconciliation, ...]
    turns: tuple[Switch, ...]
    events: tuple[tuple[EventRow, str], ...]
    adjustments: tuple[Adjustment, ...]
    runs: tuple[TraderRun, ...]
