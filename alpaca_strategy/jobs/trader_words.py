"""The sentences of the pages about traders: how one is, what holds it back, and why it did what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from alpaca_strategy.domain.journal import KnownIntent
from alpaca_strategy.domain.orders import IntentState
from alpaca_strategy.jobs.trader_figures import Told
from alpaca_strategy.storage.trading_records import LastBeat
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.trader.holds import Hold

_TRADE: Final = "alpaca-strategy trade"
_SIMULATE: Final = f"{_TRADE} --simulate"
_REARM: Final = "alpaca-strategy trader rearm"
#: A trader that has not been heard of for so long is dead, or hangs.
DEAD_S: Final = 5.0
#: Without anything else these are how a day goes, and nothing to wonder about.
_USUAL: Final = frozenset({Hold.STARTING.value, Hold.CLOSED.value})

_MODEL: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{8}")
_NAMED: Final = {hold.value: hold for hold in Hold}

#: What each hold means, and what a person does about it.
HOLDS: Final[Mapping[Hold, str]] = {
    Hold.STARTING: "It looks up what an earlier trader left before it trades. Ends by itself.",
    Hold.STOPPING: f"It was told to stop. Start it again: {_TRADE}",
    Hold.CLOSED: "Outside of the regular session. Ends by itself.",
    Hold.LOCK: "Postgres has not confirmed that no other trader works on this account. Ends when "
    "it does; if it stands, see that Postgres runs and that no second trader does.",
    Hold.JOURNAL: "Postgres does not take what must be written first; only cancellations leave. "
    "Ends when it does; see that it runs and that the disk is not full.",
    Hold.KILLED: "A person stopped it, and its open orders are cancelled. To trade again: "
    f"{_REARM}",
    Hold.HALTED: "It stopped buying until a person has looked; positions are still closed. Read "
    f"the detail and the history, then: {_REARM}",
    Hold.VENUE: "The broker gives no usable answers. Ends when it does; until then, look at the "
    "account at the broker.",
    Hold.DATA: "Market data are missing. Ends when the stream is back and its gap is filled; if "
    "it stands, see the network and the data subscription.",
    Hold.STALE: "The stream is connected, and brings no trade. It connects again by itself; if "
    "the exchange does trade, see the data subscription.",
    Hold.UPDATES: "Nobody would tell of executions. Ends when the stream is back and the books "
    "agree.",
    Hold.BOOKS: "The venue shows other positions than the journal. Ends when they agree; after "
    "ten seconds it becomes halted.",
    Hold.ACCOUNT: "The account may not trade, says the broker. Settle that with the broker; it "
    "ends by itself then.",
    Hold.CLOCK: "This machine and the venue do not agree on the time. Set the machine's clock (by "
    "NTP); it ends by itself then.",
    Hold.MARKET: "Trading is halted in the whole market. Ends by itself.",
}

#: Why a decision did with a name what it did.
REASONS: Final[Mapping[Reason, str]] = {
    Reason.BUY: "bought: among the best",
    Reason.KEEP: "kept: still among the best",
    Reason.YOUNG: "kept: not held for long enough to be sold",
    Reason.CLOSE: "sold: held for long enough, and no longer among the best",
    Reason.FLATTEN: "sold: the session ends",
    Reason.LEAVING: "left alone: its sale is under way",
    Reason.ORDERED: "left alone: its purchase is under way",
    Reason.NO_SCORE: "not bought: it has no score",
    Reason.LOW_SCORE: "not bought: its score is too low",
    Reason.COOLING: "not bought: it was sold a short while ago",
    Reason.SHORT_HISTORY: "not bought: too few prices for the filter",
    Reason.WEAK_TREND: "not bought: the filter finds its trend weak",
    Reason.WEAK_MOMENTUM: "not bought: the filter finds its momentum weak",
    Reason.WEAK_RSI: "not bought: the filter finds its RSI weak",
    Reason.SMALL_EDGE: "not bought: expected to earn less than its trading costs",
    Reason.OUTRANKED: "not bought: others score higher",
    Reason.NO_ROOM: "not bought: as many positions are held as may be",
    Reason.TOO_LATE: "not bought: the session ends",
}


class TraderState(StrEnum):
    """How a trader is."""

    TRADING = "trading"
    WAITING = "waiting"  # outside of the session
    STARTING = "starting"
    HELD = "held"  # it lives, and buys nothing
    BLOCKED = "blocked"  # it lives, and sends nothing
    DEAD = "dead"  # or hanging
    STOPPED = "stopped"  # in an orderly way

    @property
    def is_alive(self) -> bool:
        """Whether it is heard of."""
        return self not in {TraderState.DEAD, TraderState.STOPPED}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should know now.

    Attributes:
        text: What is the matter, and what to do.
        command: With which command; None when a command is no help.
        bad: Whether money is left alone.
    """

    text: str
    command: str | None = None
    bad: bool = False


def state_of(last: LastBeat) -> TraderState:
    """Return how a trader is, by its newest heartbeat."""
    beat = last.heartbeat
    if beat.phase == "stopped":
        return TraderState.STOPPED
    if last.age_s > DEAD_S:
        return TraderState.DEAD
    unusual = [name for name in beat.holds if name not in _USUAL]
    if any(stops_everything(name) for name in unusual):
        return TraderState.BLOCKED
    if beat.phase in {"starting", "waiting"}:
        return TraderState(beat.phase)
    return TraderState.HELD if unusual else TraderState.TRADING


def say_how_it_is(last: LastBeat, state: TraderState) -> str:
    """Return how a trader is, as a sentence."""
    who, holds = f"The trader of {last.book.account}", last.heartbeat.holds
    unusual = (name for name in holds if name not in _USUAL)
    names = _listed(sorted(unusual, key=lambda name: (not stops_everything(name), name)))
    heard = say_for_how_long(last.age_s)
    return {
        TraderState.TRADING: f"{who} is trading.",
        TraderState.WAITING: f"{who} waits: {holds.get('closed') or 'the session is not open'}.",
        TraderState.STARTING: f"{who} is starting.",
        TraderState.HELD: f"{who} buys nothing: {names}.",
        TraderState.BLOCKED: f"{who} sends nothing: {names}.",
        TraderState.DEAD: f"{who} is dead or hangs: nothing was heard of it for {heard}.",
        TraderState.STOPPED: f"{who} stopped {heard} ago.",
    }[state]


def find_notices(last: LastBeat, state: TraderState, told: Told) -> tuple[Notice, ...]:
    """Return what a person should know before everything else, the worst first."""
    found = []
    if state is TraderState.DEAD:
        found.append(_dead(last, told))
    elif state is TraderState.STOPPED and told.positions and told.mode != "simulated":
        text = f"It left {_left(told)}, and nobody watches. Start it again to go on:"
        found.append(Notice(text, _TRADE, bad=True))
    if told.unresolved and state.is_alive:
        many = f"{len(told.unresolved)} order{'s' if len(told.unresolved) > 1 else ''}"
        text = (
            f"Nobody knows what became of {many} that may have left. The trader asks the venue "
            "until it knows; it does not send again what may have arrived."
        )
        found.append(Notice(text))
    return tuple(found)


def _dead(last: LastBeat, told: Told) -> Notice:
    run = last.run
    where = f" (process {run.pid} on {run.host})" if run else ""
    if told.mode == "simulated":
        text = (
            f"Its process{where} has ended or hangs. Nothing is lost: every simulation begins anew."
        )
        return Notice(text, _SIMULATE)
    text = (
        f"It left {_left(told)}, and nobody watches. If it still runs{where}, end it; "
        "then start it again: before it trades it looks up what became of every order."
    )
    return Notice(text, _TRADE, bad=True)


def _left(told: Told) -> str:
    orders = len(told.open_orders) + len(told.unresolved)
    return f"{_counted(len(told.positions), 'position')} and {_counted(orders, 'open order')}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun if count == 1 else noun + 's'}"


def stops_everything(hold: str) -> bool:
    """Return whether nothing is sent while this holds; one that we do not know may do so."""
    known = _NAMED.get(hold)
    return known is None or known.stops_everything


def explain_hold(hold: str) -> str:
    """Return what a hold means, and what to do about it."""
    known = _NAMED.get(hold)
    return HOLDS[known] if known else "This version does not know it; see the log of the trader."


def say_why(reason: int) -> str:
    """Return why a decision did with a name what it did."""
    try:
        return REASONS[Reason(reason)]
    except ValueError:
        return f"reason {reason}, which this version does not know"


def say_what_came_of_it(order: KnownIntent) -> str:
    """Return how far an order has come, in a few words."""
    last, ticket = order.last, order.intent.ticket
    part = f", {last.filled_qty:f} of {ticket.qty:f} filled" if last.filled_qty else ""
    return {
        IntentState.PENDING: "not sent yet",
        IntentState.SENDING: "on its way",
        IntentState.UNKNOWN: f"not known{part}",
        IntentState.OPEN: f"open{part}",
        IntentState.FILLED: "filled",
        IntentState.CANCELED: f"cancelled{part}",
        IntentState.EXPIRED: f"expired{part}",
        IntentState.REJECTED: f"refused{part}",
        IntentState.ABANDONED: "abandoned",
    }[last.state]


def say_for_how_long(seconds: float) -> str:
    """Return a span of time as people say it."""
    whole = max(int(seconds), 0)
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if whole >= size:
            count = whole // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a second"


def say_facts(facts: Mapping[str, Any]) -> str:
    """Return the facts of an event in one line, as a hold: which, why or since when."""
    if "hold" in facts:
        at, since = (str(facts.get(name, ""))[11:19] for name in ("venue_time", "since"))
        told = facts.get("why") or f"stood since {since}"
        return f"{facts['hold']}, at {at} of the venue's time: {told}"
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def is_model(name: str | None) -> bool:
    """Return whether this may be the name of a model, which has a page."""
    return name is not None and _MODEL.fullmatch(name) is not None
