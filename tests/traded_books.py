"""Small words for tests of the trader's journal: a book, its runs, intents, steps and fills."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Engine, text

from alpaca_strategy.domain.journal import (
    Book,
    Decision,
    Heartbeat,
    Intent,
    NameDecision,
    StateChange,
    TraderRun,
)
from alpaca_strategy.domain.orders import (
    Fill,
    IntentState,
    Side,
    Ticket,
    client_order_id,
)
from alpaca_strategy.storage.database import Deadlines
from alpaca_strategy.storage.journal import TradingJournal

DAY = date(2026, 1, 5)
NOON = datetime(2026, 1, 5, 17, 0, tzinfo=UTC)
BOOK = Book("PA123", "daytrade")
#: For tests in which nothing is to be cut short, however busy the machine is.
PATIENT = Deadlines(connect_s=10, statement_s=30, lock_s=30)


def a_book() -> Book:
    """Return a book that nobody has written in."""
    return Book(f"PA{uuid.uuid4().hex[:12]}", "daytrade")


def a_run(book: Book = BOOK, *, session: date = DAY) -> TraderRun:
    return TraderRun(
        id=uuid.uuid4().hex,
        book=book,
        mode="paper",
        session=session,
        model_id="2026-01-01-aaaaaaaa",
        code_version="1.0",
        config_hash="c" * 64,
        host="here",
        pid=77,
        started_at=NOON,
    )


@contextmanager
def a_journal(
    url: str,
    book: Book = BOOK,
    *,
    deadlines: Deadlines = PATIENT,
    call_s: float = 60.0,
    opened: bool = True,
) -> Iterator[TradingJournal]:
    """Lend a journal, with a run unless not wanted."""
    journal = TradingJournal(url, book, deadlines=deadlines, call_s=call_s)
    try:
        if opened:
            journal.open_run(a_run(book))
        yield journal
    finally:
        journal.close()


def at(minute: float) -> datetime:
    """Return a moment so many minutes after noon."""
    return NOON + timedelta(minutes=minute)


def an_intent(
    symbol: str = "AAA",
    side: Side = Side.BUY,
    qty: Decimal | int = 10,
    *,
    minute: int = 30,
    session: date = DAY,
    book: Book = BOOK,
) -> Intent:
    name = client_order_id(book.strategy, session, minute, symbol, side)
    return Intent(
        ticket=Ticket(name, symbol, side, Decimal(qty)),
        session=session,
        minute=minute,
        reason=1 if side is Side.BUY else 4,
        price=Decimal("10.25"),
        created_at=at(minute),
    )


def a_step(
    intent: Intent,
    state: IntentState,
    filled: Decimal | int = 0,
    *,
    after: float = 0.1,
    order_id: str | None = None,
    price: Decimal | str | None = None,
) -> StateChange:
    """Return a step of an intent, so many minutes after its decision."""
    return StateChange(
        client_order_id=intent.ticket.client_order_id,
        state=state,
        at=at(intent.minute + after),
        order_id=order_id,
        status=None if order_id is None else "new",
        filled_qty=Decimal(filled),
        filled_avg_price=None if price is None else Decimal(price),
        detail="told",
    )


def order_of(intent: Intent) -> str:
    """Return the venue's id of an intent's order."""
    return f"order-{intent.ticket.client_order_id}"


def sending(intent: Intent) -> StateChange:
    return a_step(intent, IntentState.SENDING, after=0.05)


def opened(intent: Intent, filled: Decimal | int = 0, *, after: float = 0.1) -> StateChange:
    return a_step(intent, IntentState.OPEN, filled, after=after, order_id=order_of(intent))


def filled(intent: Intent, *, after: float = 0.2) -> StateChange:
    return a_step(
        intent,
        IntentState.FILLED,
        intent.ticket.qty,
        after=after,
        order_id=order_of(intent),
        price="10.30",
    )


def a_fill(
    intent: Intent, cum: Decimal | int, qty: Decimal | int | None = None, *, after: float = 0.15
) -> Fill:
    return Fill(
        order_id=order_of(intent),
        cum_qty=Decimal(cum),
        symbol=intent.ticket.symbol,
        side=intent.ticket.side,
        qty=Decimal(cum if qty is None else qty),
        price=Decimal("10.30"),
        at=at(intent.minute + after),
        execution_id=None,
    )


def a_decision(minute: int = 30, *, session: date = DAY, skipped: str | None = None) -> Decision:
    names = (
        NameDecision("AAA", 1, 0.9, 12.5, 10.25, Decimal(0)),
        NameDecision("BBB", 9, 0.2, None, None, Decimal("3.5"), denial="too large"),
    )
    return Decision(
        session=session,
        minute=minute,
        due_at=at(minute),
        decided_at=at(minute + 0.01),
        watermark=at(minute - 0.01),
        input_hash="" if skipped else "d" * 64,
        model_id="2026-01-01-aaaaaaaa",
        equity=Decimal("100000.50"),
        names=() if skipped else names,
        skipped=skipped,
    )


def a_beat(phase: str = "trading", *, run_id: str = "r") -> Heartbeat:
    return Heartbeat(
        run_id=run_id,
        at=NOON,
        venue_at=at(1),
        phase=phase,
        holds={"stale": "nothing for 5 s"},
        minute=30,
        last_data_at=None,
        detail={"equity": Decimal("100000.50"), "positions": {"AAA": 10}},
    )


def pause_sendings(engine: Engine) -> None:
    """Let a sending wait, once it has looked at switch and lease, for advisory lock 7."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END';"
                "CREATE TRIGGER pauses BEFORE INSERT ON trading.intent_step"
                " FOR EACH ROW EXECUTE FUNCTION pause()"
            )
        )


def waiting(engine: Engine) -> int:
    """Return how many wait for an advisory lock."""
    query = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def until(what: Callable[[], object]) -> None:
    """Wait for something that is about to happen."""
    ends_at = time.monotonic() + 60
    while not what():
        assert time.monotonic() < ends_at, "it did not happen"
        time.sleep(0.005)
