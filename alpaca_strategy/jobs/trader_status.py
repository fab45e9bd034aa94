"""What a person asks of the trader, and the switch that a person turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from getpass import getuser
from typing import Any, Final

from alpaca_strategy.bootstrap import services
from alpaca_strategy.domain.journal import Book, KnownIntent, SwitchKind
from alpaca_strategy.domain.orders import Side
from alpaca_strategy.errors import UserError
from alpaca_strategy.jobs.trader_words import DEAD_S, say_facts
from alpaca_strategy.storage.journal import TradingJournal
from alpaca_strategy.storage.trading_records import LastBeat, TradingReader
from alpaca_strategy.strategy.reasons import Reason

Row = tuple[str, ...]
ORDER_COLUMNS: Final = (
    "minute", "symbol", "side", "qty", "why", "state", "filled", "price", "slippage bps", "detail",
)  # fmt: skip
DECISION_COLUMNS: Final = ("minute", "decided", "late s", "to buy", "to sell", "skipped")
NAME_COLUMNS: Final = ("symbol", "reason", "score", "expected bps", "close", "held", "denied")
EVENT_COLUMNS: Final = ("when", "what", "detail")


def status(account: str | None) -> list[tuple[str, str]]:
    """Return name and value of everything worth knowing about the trader."""
    last = _last(account)
    beat = last.heartbeat
    detail: dict[str, Any] = dict(beat.detail)
    state = beat.phase if _lives(last) or beat.phase == "stopped" else "DEAD or hanging"
    switch = _reader().switch(last.book)
    rows = [
        ("account", f"{last.book.account} ({detail.get('mode', '?')})"),
        ("session", f"{detail.get('session', '?')}, minute {_or_dash(beat.minute)}"),
        ("state", f"{state}, heard of {last.age_s:.0f} s ago"),
        ("venue's time", f"{beat.venue_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("newest trade", _or_dash(beat.last_data_at and f"{beat.last_data_at:%H:%M:%S} UTC")),
        ("model", str(detail.get("model", "?"))),
        ("equity", f"{_money(detail.get('equity'))}, day {_percent(detail.get('day_return'))}"),
        ("decisions", str(detail.get("decisions", 0))),
        ("orders", _orders(detail)),
        ("trades seen", f"{detail.get('trades', 0):,}, {detail.get('gaps', 0)} gaps"),
    ]  # fmt: skip
    if switch is not None:
        rows.append(("switch", f"{switch.kind.value} by {switch.by}: {switch.reason}"))
    since = {name: text[11:19] for name, text in dict(detail.get("holds_since") or {}).items()}
    rows += [
        ("holds back", f"{name} since {since.get(name, '?')}: {why}")
        for name, why in beat.holds.items()
    ]
    rows += [
        ("position", f"{about['qty']} {symbol} since {about['since'] or '?'}")
        for symbol, about in dict(detail.get("positions") or {}).items()
    ]
    rows += [
        ("not ours", f"{qty} {symbol}") for symbol, qty in dict(detail.get("foreign") or {}).items()
    ]
    rows += [("books differ", text) for text in detail.get("differences") or []]
    return rows


def orders(account: str | None, session: str | None) -> list[Row]:
    """Return the orders of a session."""
    book, day = _where(account, session)
    return [_order(one) for one in _reader().orders(book, day)]


def decisions(account: str | None, session: str | None) -> list[Row]:
    """Return the decisions of a session."""
    book, day = _where(account, session)
    reader = _reader()
    traded: dict[tuple[int, Side], list[str]] = {}
    for known in reader.orders(book, day):
        ticket = known.intent.ticket
        traded.setdefault((known.intent.minute, ticket.side), []).append(ticket.symbol)
    return [
        (
            str(one.minute), f"{one.decided_at:%H:%M:%S}",
            f"{(one.decided_at - one.due_at).total_seconds():.1f}",
            " ".join(traded.get((one.minute, Side.BUY), [])),
            " ".join(traded.get((one.minute, Side.SELL), [])), one.skipped or "",
        )
        for one in reader.decisions(book, day)
    ]  # fmt: skip


def names(account: str | None, session: str | None, minute: int) -> list[Row]:
    """Return what a decision did with every name.

    Raises:
        UserError: There is none at that minute.
    """
    book, day = _where(account, session)
    decision = _reader().decision(book, day, minute)
    if decision is None:
        msg = f"There is no decision at minute {minute} of {day}; list them: trader decisions"
        raise UserError(msg)
    return [
        (
            one.symbol, Reason(one.reason).name.lower(), _number(one.score, 3),
            _number(one.expected_bps, 1), _number(one.close, 2), f"{one.shares:f}",
            one.denial or "",
        )
        for one in decision.names
    ]  # fmt: skip


def events(account: str | None) -> list[Row]:
    """Return turns of the switch and comparisons that did not agree, newest first."""
    book, reader = _last(account).book, _reader()
    found: list[tuple[datetime, str, str]] = [
        (turn.at, turn.kind.value, f"by {turn.by}: {turn.reason}") for turn in reader.turns(book)
    ]
    found += [
        (one.at, f"books differ ({one.cause})", "; ".join(one.differences))
        for one in reader.reconciliations(book)
        if one.differences
    ]
    found += [(one.at, one.kind.replace("_", " "), say_facts(one.detail))
              for one in reader.events(book)]  # fmt: skip
    return [(f"{at:%Y-%m-%d %H:%M:%S}", what, why) for at, what, why in sorted(found, reverse=True)]


def kill(account: str | None, *, reason: str, flatten: bool) -> str:
    """Turn the switch to kill; return what that means."""
    last = _meant(account)
    turn = _turn(last.book, lambda journal: journal.switch(
        SwitchKind.KILL, reason=reason, by=getuser(), flatten=flatten
    ))  # fmt: skip
    name = f"turn {turn.position} of account {last.book.account}"
    if not _lives(last):
        return (
            f"{name} is noted and stands, but NO trader runs: nothing was cancelled or sold. Do "
            f"that at the venue, or start the trader, which then cancels and does not trade"
        )
    then = ", and sells what the strategy holds" if flatten else ""
    return (
        f"killed ({name}): the trader sends nothing more and cancels its open orders{then}; see "
        f'`trader status`. To trade again: alpaca-strategy trader rearm --reason "..."'
    )


def rearm(account: str | None, *, reason: str) -> str:
    """Allow trading again."""
    book = _meant(account).book
    turn = _turn(
        book, lambda journal: journal.switch(SwitchKind.REARM, reason=reason, by=getuser())
    )
    return f"re-armed (turn {turn.position}): account {book.account} may trade again"


def _turn(book: Book, turn: Callable[[TradingJournal], Any]) -> Any:
    url = services().catalog.engine.url.render_as_string(hide_password=False)
    journal = TradingJournal(url, book)
    try:
        return turn(journal)
    finally:
        journal.close()


def _reader() -> TradingReader:
    return TradingReader(services().catalog.engine)


def _last(account: str | None) -> LastBeat:
    """Return the newest heartbeat, of an account or of all.

    Raises:
        UserError: No trader has been heard of.
    """
    found = [
        one for one in _reader().heartbeats() if account is None or one.book.account == account
    ]
    if not found:
        of = f" of account {account}" if account else ""
        msg = f"No trader{of} has been heard of; start one: alpaca-strategy trade --simulate"
        raise UserError(msg)
    return min(found, key=lambda one: one.age_s)


def _lives(last: LastBeat) -> bool:
    return last.age_s <= DEAD_S and last.heartbeat.phase != "stopped"


def _meant(account: str | None) -> LastBeat:
    """Return the newest heartbeat of the account that a person can only mean.

    Raises:
        UserError: No trader has been heard of, or several live and none is named.
    """
    living = sorted({one.book.account for one in _reader().heartbeats() if _lives(one)})
    if account is None and len(living) > 1:
        msg = f"Traders of several accounts live; say which: --account {' or '.join(living)}"
        raise UserError(msg)
    return _last(account or (living[0] if living else None))


def _where(account: str | None, session: str | None) -> tuple[Book, date]:
    last = _last(account)
    if session is None:
        days = _reader().sessions(last.book, limit=1)
        return last.book, days[0] if days else last.heartbeat.venue_at.date()
    try:
        return last.book, date.fromisoformat(session)
    except ValueError as error:
        msg = f"{session!r} is not a date; write it as YYYY-MM-DD."
        raise UserError(msg) from error


def _order(one: KnownIntent) -> Row:
    ticket, last = one.intent.ticket, one.last
    slippage = ""
    if last.filled_avg_price and one.intent.price:
        moved = (last.filled_avg_price / one.intent.price - 1) * 10_000 * ticket.side.sign
        slippage = f"{moved:.1f}"
    return (
        str(one.intent.minute), ticket.symbol, ticket.side.value, f"{ticket.qty:f}",
        Reason(one.intent.reason).name.lower(), last.state.value, f"{last.filled_qty:f}",
        "" if last.filled_avg_price is None else f"{last.filled_avg_price:.4f}", slippage,
        last.detail,
    )  # fmt: skip


def _orders(detail: Mapping[str, Any]) -> str:
    under_way = len(detail.get("open_orders", [])), len(detail.get("unresolved_orders", []))
    return f"{detail.get('orders_sent', 0)} sent, {under_way[0]} open, {under_way[1]} unresolved"


def _or_dash(value: object) -> str:
    return "–" if value is None else str(value)


def _money(value: object) -> str:
    return "–" if value is None else f"${Decimal(str(value)):,.2f}"


def _percent(value: Any) -> str:
    return "–" if value is None else f"{float(value):+.2%}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
