"""What the console shows about traders: how each is, what it holds, and what it did and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from alpaca_strategy.bootstrap import services
from alpaca_strategy.domain.journal import (
    Book,
    Decision,
    KnownIntent,
    NameDecision,
    Switch,
    SwitchKind,
)
from alpaca_strategy.domain.orders import IntentState, Side
from alpaca_strategy.errors import CalendarRangeError, NotASessionError, UserError
from alpaca_strategy.jobs import trader_words as words
from alpaca_strategy.jobs.trader_figures import figures_of, read_told, slippage_bps
from alpaca_strategy.jobs.trader_views import (
    DecisionLine,
    DecisionPage,
    HeldBack,
    HistoryPage,
    NameLine,
    OrderLine,
    OrderPage,
    SessionPage,
    TraderLine,
    TraderPage,
    TradersPage,
)
from alpaca_strategy.jobs.trader_words import TraderState
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.storage.trading_records import LastBeat, TradingReader
from alpaca_strategy.strategy.reasons import Reason

SESSIONS = 200  # between which a page leads to and fro
LISTED = 20  # of them, and of traders
NEWEST = 6  # decisions on a trader's page
EVENTS = 100
_DAY_S = 86_400
_MARKS = {
    IntentState.FILLED: "good",
    IntentState.REJECTED: "bad",
    IntentState.ABANDONED: "warn",
    IntentState.SENDING: "warn",
    IntentState.UNKNOWN: "bad",
}


def traders_page() -> TradersPage:
    """Return every trader that was ever heard of, and all about the one heard of last.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    reader = _reader()
    lines = [_line(last) for last in reader.heartbeats()]
    if not lines:
        return TradersPage(None, (), ())
    newest = lines[0]
    trouble = (one for one in lines[1:] if one.state is TraderState.DEAD and _matters(one))
    return TradersPage(_page(reader, newest), tuple(lines[:LISTED]), tuple(trouble))


def trader_page(account: str, strategy: str) -> TraderPage:
    """Return all about a trader now.

    Raises:
        UserError: It was never heard of.
        ServiceUnavailableError: Postgres does not answer.
    """
    reader = _reader()
    return _page(reader, _known(reader, Book(account, strategy)))


def session_page(account: str, strategy: str, session: date) -> SessionPage:
    """Return what a trader did in a session; nothing is an answer, too.

    Raises:
        UserError: The trader was never heard of.
        ServiceUnavailableError: Postgres does not answer.
    """
    reader, book = _reader(), Book(account, strategy)
    line = _known(reader, book)
    orders, decisions = reader.orders(book, session), reader.decisions(book, session)
    days = reader.sessions(book, limit=SESSIONS)
    return SessionPage(
        line=line,
        session=session,
        orders=tuple(_order(one) for one in reversed(orders)),
        decisions=_decisions(decisions, orders),
        figures=figures_of(orders),
        models=tuple(sorted({one.model_id for one in decisions if words.is_model(one.model_id)})),
        runs=tuple(run for run in reader.runs(book) if run.session == session),
        earlier=max((day for day in days if day < session), default=None),
        later=min((day for day in days if day > session), default=None),
    )


def order_page(account: str, strategy: str, session: date, order: str) -> OrderPage:
    """Return all about an order, by its client order id.

    Raises:
        UserError: There is none, or the trader was never heard of.
        ServiceUnavailableError: Postgres does not answer.
    """
    reader, book = _reader(), Book(account, strategy)
    _known(reader, book)
    orders = reader.orders(book, session)
    found = next((one for one in orders if one.last.client_order_id == order), None)
    if found is None:
        msg = f"There is no order {order} of account {account} in session {session}."
        raise UserError(msg)
    decision = reader.decision(book, session, found.intent.minute)
    fills = [one for one in reader.fills(book, session) if one.order_id == found.last.order_id]
    return OrderPage(_order(found), book, tuple(fills), decision, _model_of(decision))


def decision_page(account: str, strategy: str, session: date, minute: int) -> DecisionPage:
    """Return all about a decision.

    Raises:
        UserError: There is none, or the trader was never heard of.
        ServiceUnavailableError: Postgres does not answer.
    """
    reader, book = _reader(), Book(account, strategy)
    _known(reader, book)
    decision = reader.decision(book, session, minute)
    if decision is None:
        msg = f"There is no decision at minute {minute} of session {session} (account {account})."
        raise UserError(msg)
    orders = [one for one in reader.orders(book, session) if one.intent.minute == minute]
    minutes = [one.minute for one in reader.decisions(book, session)]
    return DecisionPage(
        line=_decisions([decision], orders)[0],
        book=book,
        names=_names(decision.names, orders),
        model=_model_of(decision),
        earlier=max((one for one in minutes if one < minute), default=None),
        later=min((one for one in minutes if one > minute), default=None),
    )


def history_page(account: str, strategy: str) -> HistoryPage:
    """Return what became of a trader over time.

    Raises:
        UserError: It was never heard of.
        ServiceUnavailableError: Postgres does not answer.
    """
    reader, book = _reader(), Book(account, strategy)
    events = reader.events(book, limit=EVENTS)
    return HistoryPage(
        line=_known(reader, book),
        differing=tuple(reader.reconciliations(book, differing=True, limit=EVENTS)),
        turns=tuple(reader.turns(book, limit=EVENTS)),
        events=tuple((one, words.say_facts(one.detail)) for one in events),
        adjustments=tuple(reader.adjustments(book, limit=EVENTS)),
        runs=tuple(reader.runs(book)),
    )


def _reader() -> TradingReader:
    return TradingReader(services().catalog.engine)


def _known(reader: TradingReader, book: Book) -> TraderLine:
    last = reader.heartbeat(book)
    if last is None:
        msg = f"No trader of account {book.account} and strategy {book.strategy} was ever heard of."
        raise UserError(msg)
    return _line(last)


def _line(last: LastBeat) -> TraderLine:
    return TraderLine(last, words.state_of(last), read_told(last))


def _matters(line: TraderLine) -> bool:
    """Return whether a trader that died left something behind that a person must look after."""
    left = line.told.positions or line.told.open_orders or line.told.unresolved
    return bool(left) and line.told.mode != "simulated" and line.last.age_s < 7 * _DAY_S


def _page(reader: TradingReader, line: TraderLine) -> TraderPage:
    last, state, told = line.last, line.state, line.told
    book, session = last.book, told.session
    orders = reader.orders(book, session) if session else []
    decisions = reader.decisions(book, session)[-NEWEST:] if session else []
    switch = reader.switch(book)
    return TraderPage(
        last=last,
        state=state,
        told=told,
        headline=words.say_how_it_is(last, state),
        notices=words.find_notices(last, state, told),
        holds=_holds(line, switch),
        switch=switch,
        under_way=tuple(_order(one) for one in orders if not one.last.state.is_final),
        decisions=_decisions(decisions, orders),
        sessions=tuple(reader.sessions(book, limit=LISTED)),
        model=told.model if words.is_model(told.model) else None,
    )


def _holds(line: TraderLine, switch: Switch | None) -> tuple[HeldBack, ...]:
    since = dict(line.told.since)
    turned = {SwitchKind.KILL: "killed", SwitchKind.HALT: "halted"}
    if switch is not None and switch.kind in turned:
        since[turned[switch.kind]] = switch.at
    found = [
        HeldBack(
            name, words.stops_everything(name), since.get(name), str(detail),
            words.explain_hold(name),
        )
        for name, detail in line.last.heartbeat.holds.items()
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda one: not one.everything))


def _order(order: KnownIntent) -> OrderLine:
    last = order.last
    return OrderLine(
        order=order,
        state=words.say_what_came_of_it(order),
        mark=_MARKS.get(last.state, ""),
        reason=words.say_why(order.intent.reason),
        detail="" if last.detail in {"fill", last.status} else last.detail,
        slippage_bps=slippage_bps(order),
        ended=_end_of(order.intent.session, order.intent.minute),
    )


def _decisions(
    decisions: Sequence[Decision], orders: Sequence[KnownIntent]
) -> tuple[DecisionLine, ...]:
    traded: dict[tuple[int, Side], list[str]] = {}
    for one in orders:
        ticket = one.intent.ticket
        traded.setdefault((one.intent.minute, ticket.side), []).append(ticket.symbol)
    return tuple(
        DecisionLine(
            decision=one,
            late_s=(one.decided_at - one.due_at).total_seconds(),
            bought=tuple(traded.get((one.minute, Side.BUY), ())),
            sold=tuple(traded.get((one.minute, Side.SELL), ())),
            ended=_end_of(one.session, one.minute),
        )
        for one in reversed(decisions)
    )


def _names(names: Sequence[NameDecision], orders: Sequence[KnownIntent]) -> tuple[NameLine, ...]:
    ordered = {one.intent.ticket.symbol: _order(one) for one in orders}
    lines = [
        NameLine(
            name=one,
            reason=_LEFT_ALONE if _is_left_alone(one) else words.say_why(one.reason),
            acted=one.symbol in ordered or one.reason == Reason.BUY or one.reason in _SALES,
            order=ordered.get(one.symbol),
        )
        for one in names
    ]
    return tuple(sorted(lines, key=_rank))


_SALES = frozenset(reason.value for reason in Reason if reason.sells)
_LEFT_ALONE = "left alone"


def _is_left_alone(name: NameDecision) -> bool:
    """Return whether a name was excluded: its score was not looked at, and no reason says that."""
    return name.denial is not None and name.reason == Reason.NO_SCORE and name.score is not None


def _rank(line: NameLine) -> tuple[bool, bool, float]:
    score = line.name.score
    return not line.acted, score is None, -(score or 0.0)


def _model_of(decision: Decision | None) -> str | None:
    return decision.model_id if decision and words.is_model(decision.model_id) else None


def _end_of(session: date, minute: int) -> datetime | None:
    try:
        opens_at = exchange_calendar().session(session).opens_at
    except (NotASessionError, CalendarRangeError):
        return None
    return opens_at + timedelta(minutes=minute + 1)
