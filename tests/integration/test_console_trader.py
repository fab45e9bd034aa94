"""The pages about traders over a database that a journal has filled, as a browser gets them."""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI
from registered_models import add
from sqlalchemy import text as sql
from traded_books import (
    DAY,
    a_book,
    a_decision,
    a_fill,
    a_journal,
    a_run,
    a_step,
    an_intent,
    at,
    filled,
    opened,
    order_of,
    sending,
)

from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import load_settings
from alpaca_strategy.console.app import create_app
from alpaca_strategy.domain.journal import (
    Adjustment,
    Book,
    Heartbeat,
    NameDecision,
    Reconciliation,
    SwitchKind,
)
from alpaca_strategy.domain.orders import IntentState, Side
from alpaca_strategy.jobs import trader_words
from alpaca_strategy.storage.database import migrate
from alpaca_strategy.storage.journal import TradingJournal
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.trader.holds import Hold

with warnings.catch_warnings():  # starlette asks for httpx2, which Airflow's client does not take
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    from starlette.testclient import TestClient

pytestmark = pytest.mark.integration

MODEL = "2026-01-01-aaaaaaaa"
EVIL = '<script>alert("x")</script>'
DETAIL: dict[str, Any] = {
    "session": DAY.isoformat(),
    "mode": "paper",
    "model": MODEL,
    "equity": "101234.50",
    "day_return": 0.01234,
    "positions": {
        "AAA": {"qty": "10", "since": "2026-01-05T17:30:09+00:00", "value": "103.00"},
        "BBB": {"qty": "-2.5", "since": None, "value": None},
    },
    "foreign": {"ZZZ": "7"},
    "open_orders": ["daytrade-20260105-030-b0-CCC"],
    "unresolved_orders": [],
    "orders_sent": 1204,
    "decisions": 2,
    "trades": 1_234_567,
    "gaps": 1,
    "differences": [],
    "halted_symbols": {"QQQ": "T1: news"},
    "stages_ms": {"orders": 800, "scores": 31.5, "bars": 1.24},
    "holds_since": {"data": "2026-01-05T17:29:03+00:00"},
}


@pytest.fixture
def client(home: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("ALPACA_STRATEGY_VENUE", "simulator")
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", database_url)
    load_settings.cache_clear()
    services.cache_clear()
    migrate(services().catalog.engine)
    yield TestClient(create_app(), raise_server_exceptions=True)
    services().catalog.engine.dispose()
    services.cache_clear()


@pytest.fixture
def book() -> Book:
    return a_book()


@pytest.fixture
def journal(client: TestClient, database_url: str, book: Book) -> Iterator[TradingJournal]:
    with a_journal(database_url, book) as journal:
        yield journal


def beat(
    journal: TradingJournal, phase: str = "trading", holds: dict[str, str] | None = None,
    **detail: Any,
) -> None:  # fmt: skip
    journal.beat(
        Heartbeat(
            run_id="r", at=at(1), venue_at=at(30.5), phase=phase, holds=holds or {}, minute=30,
            last_data_at=at(30.4), detail=DETAIL | detail,
        )
    )  # fmt: skip


def fall_silent(book: Book, seconds: int) -> None:
    """Let the newest heartbeat of a book have been written so long ago."""
    with services().catalog.engine.begin() as connection:
        connection.execute(
            sql(
                "UPDATE trading.heartbeat SET written_at = clock_timestamp() - "
                "make_interval(secs => :s) WHERE account = :a"
            ),
            {"s": seconds, "a": book.account},
        )


def words(text: str) -> str:
    """Return what a reader sees of a piece of a page."""
    text = re.sub(r'<[^>]*data-sign="([^"]*)"[^>]*>', r" \1 ", text)
    text = re.sub(r"<[^>]*>", " ", re.sub(r"</?(span|code|a|b)\b[^>]*>", "", text))
    return " ".join(html.unescape(text).replace("\N{NARROW NO-BREAK SPACE}", "_").split())


def heading(text: str) -> str:
    (found,) = re.findall(r"<h1>(.*?)</h1>", text, re.DOTALL)
    return words(found)


def section(text: str, title: str) -> str:
    return next(part for part in text.split("<h2>") if part.startswith(title))


def row(text: str, *, of: str) -> str:
    """Return the words of the first table row with this text."""
    rows = [words(one) for one in re.findall(r"<tr\b.*?</tr>", text, re.DOTALL)]
    return next(one for one in rows if of in one)


def place(book: Book, more: str = "") -> str:
    return f"/trader/{book.account}/{book.strategy}{more}"


def refreshes(text: str) -> bool:
    return '<meta http-equiv="refresh" content="5">' in text


# ---------------------------------------------------------------- how a trader is


@pytest.mark.parametrize("path", ["/trader", "/trader/"])
def test_without_a_trader_the_page_says_how_to_start_one(client, path):
    text = client.get(path).text
    assert heading(text) == "No trader has been heard of."
    assert "alpaca-strategy trade --simulate" in text
    assert not refreshes(text)
    assert "<table" not in text


def test_a_trader_that_lives_is_shown_as_it_is_and_the_page_asks_again(client, journal, book):
    beat(journal)
    text = client.get("/trader/").text
    assert heading(text) == f"The trader of {book.account} is trading."
    assert refreshes(text)
    tiles = words(text.split('<dl class="tiles">')[1].split("</dl>")[0])
    assert tiles == (
        "Equity $101_234.50 +1.23 % today Session 2026-01-05 minute 30 has ended "
        "Venue's time 12:30:30 newest trade 12:30:24 "
        f"Model {MODEL} 2 decisions in the session Orders sent 1_204 1 open "
        "Of unknown fate 0 orders that may have left Positions 2 1 of others "
        "Trades seen 1_234_567 1 gap in the stream"
    )
    assert f'href="/models/{MODEL}"' in text
    assert "paper ● trading heard of less than a second ago" in words(text)
    back = section(text, "What holds it back")
    assert "Nothing." in back
    assert "Switch never turned" in words(back)
    assert "QQQ (T1: news)" in words(back)
    assert "bars 1.2 ms, scores 31.5 ms, orders 800.0 ms" in words(back)
    assert row(section(text, "What it holds"), of="AAA") == "AAA 10 $103.00 12:30:09"
    assert row(section(text, "What it holds"), of="BBB") == "BBB -2.5 – –"
    assert row(section(text, "What others hold"), of="ZZZ") == "ZZZ 7"


def test_a_trader_that_is_not_heard_of_looks_dead_and_the_page_says_what_it_left(
    client, journal, book
):
    beat(journal, unresolved_orders=["x"])
    fall_silent(book, 4)
    assert heading(client.get("/trader/").text) == f"The trader of {book.account} is trading."
    fall_silent(book, 130)
    text = client.get("/trader/").text
    assert heading(text) == (
        f"The trader of {book.account} is dead or hangs: nothing was heard of it for 2 minutes."
    )
    assert "It left 2 positions and 2 open orders, and nobody watches." in text
    assert '<p class="notice bad" role="status">' in text
    assert "<code>alpaca-strategy trade</code>" in text
    assert not refreshes(text)
    assert "This is what it told before it fell silent." in text


def test_a_simulation_that_was_killed_leaves_nothing_to_worry_about(client, journal, book):
    beat(journal, mode="simulated")
    fall_silent(book, 7200)
    text = client.get("/trader/").text
    assert "Nothing is lost: every simulation begins anew." in text
    assert "notice bad" not in text
    assert heading(text).endswith("nothing was heard of it for 2 hours.")


def test_the_process_of_a_silent_trader_is_named(client, journal, book):
    run = a_run(book)
    journal.open_run(run)
    journal.beat(Heartbeat(run.id, at(1), at(1), "trading", {}, None, None, {}))
    fall_silent(book, 60)
    text = words(client.get("/trader/").text)
    assert "(process 77 on here)" in text
    assert "paper ✕ dead or hanging heard of 1 minute ago" in text  # from the run's record
    assert MODEL in text
    assert "no trade yet" in text
    assert "Equity – today's return is not known" in text


def test_a_trader_that_stopped_is_not_dead_and_what_it_left_is_told(client, journal, book):
    beat(journal, "stopped")
    text = client.get("/trader/").text
    assert heading(text) == f"The trader of {book.account} stopped less than a second ago."
    assert "It left 2 positions and 1 open order, and nobody watches." in text
    assert not refreshes(text)
    beat(journal, "stopped", positions={})
    assert "nobody watches" not in client.get("/trader/").text


@pytest.mark.parametrize(
    ("phase", "holds", "sentence"),
    [
        ("starting", {"starting": "x"}, "is starting."),
        ("waiting", {"closed": "the session opens at 14:30 UTC"},
         "waits: the session opens at 14:30 UTC."),
        ("trading", {"data": "x", "updates": "y"}, "buys nothing: data and updates."),
        ("trading", {"stale": "x", "killed": "y"}, "sends nothing: killed and stale."),
        ("trading", {"stale": "x", "books": "y", "killed": "z"},
         "sends nothing: killed, books and stale."),
        ("waiting", {"closed": "x", "lock": "y"}, "sends nothing: lock."),
        ("trading", {"a hold of tomorrow": "x"}, "sends nothing: a hold of tomorrow."),
    ],
)  # fmt: skip
def test_the_heading_says_what_it_does_not_do(client, journal, book, phase, holds, sentence):
    beat(journal, phase, holds)
    assert heading(client.get("/trader/").text) == f"The trader of {book.account} {sentence}"


def test_every_hold_comes_with_its_time_its_detail_and_what_to_do_the_gravest_first(
    client, journal, book
):
    turned = journal.switch(SwitchKind.KILL, reason="too hot", by="ann", flatten=True)
    beat(journal, holds={"data": "closed by the venue", "killed": "too hot, says ann"})
    back = section(client.get("/trader/").text, "What holds it back")
    since = turned.at.astimezone(ZoneInfo("America/New_York"))  # another day than the session
    assert row(back, of="killed") == (
        f"killed ✕ everything {since:%Y-%m-%d %H:%M:%S %Z} too hot, says ann A person stopped "
        "it, and its open orders are cancelled. To trade again: alpaca-strategy trader rearm"
    )
    assert row(back, of="data").startswith(
        "data ◐ purchases 12:29:03 closed by the venue Market data are missing."
    )
    assert back.index("killed") < back.index("closed by the venue")
    assert "Switch ✕ killed by ann" in words(back)
    assert "too hot (and everything was to be sold)" in words(back)


def test_an_unknown_hold_is_shown_as_one_that_stops_everything(client, journal):
    beat(journal, holds={"tomorrow": "new"})
    told = row(section(client.get("/trader/").text, "What holds it back"), of="tomorrow")
    assert told.startswith("tomorrow ✕ everything – new This version does not know it")


def test_words_cover_every_hold_and_every_reason_as_the_docs_do():
    assert set(trader_words.HOLDS) == set(Hold)
    assert set(trader_words.REASONS) == set(Reason)
    docs = Path(__file__).resolve().parents[2].joinpath("docs/trading.md").read_text()
    for hold in Hold:
        stops = next(
            line for line in docs.splitlines() if f"`{hold.value}`" in line and "|" in line
        )
        assert ("everything" in stops.split("|")[2]) == trader_words.stops_everything(hold.value)


def test_differences_of_the_books_and_orders_of_unknown_fate_come_first(client, journal):
    beat(journal, differences=["The venue shows 3 AAA."], unresolved_orders=["a", "b"])
    text = client.get("/trader/").text
    notices = re.findall(r'<p class="notice(?: bad)?" role="status">(.*?)</p>', text, re.DOTALL)
    assert words(notices[0]).startswith("Nobody knows what became of 2 orders that may have left.")
    assert "The venue shows 3 AAA." in words(notices[1])
    assert '/history">What differed before</a>' in notices[1]


def test_all_traders_are_listed_and_one_that_died_with_positions_is_told_of(
    client, journal, book, database_url
):
    beat(journal)
    fall_silent(book, 400)
    other = a_book()
    with a_journal(database_url, other) as another:
        beat(another, mode="simulated", positions={})
    text = client.get("/trader/").text
    assert heading(text) == f"The trader of {other.account} is trading."
    assert f'of account\n  <a href="{place(book)}">{book.account}</a>, is dead or hangs' in text
    assert row(section(text, "All traders"), of=book.account) == (
        f"{book.account} strategy daytrade ✕ dead or hanging paper 2026-01-05 $101_234.50 +1.23 % "
        "2 6 minutes ago"
    )
    assert heading(client.get(place(book)).text).startswith(f"The trader of {book.account} is dead")


# ---------------------------------------------------------------- what it did


def a_session(journal: TradingJournal) -> dict[str, Any]:
    """Fill the journal with a purchase, a sale, a refusal, one not sent and one not known."""
    bought, refused, dropped = an_intent("AAA"), an_intent("CCC"), an_intent("DDD")
    sold, lost = an_intent("BBB", Side.SELL, Decimal("3.5")), an_intent("EEE", minute=45)
    names = (
        NameDecision("ZZZ", Reason.NO_SCORE, 0.99, 8.0, 5.0, Decimal(0), denial="others hold it"),
        NameDecision("BBB", Reason.CLOSE, None, None, None, Decimal("3.5")),
        NameDecision("AAA", Reason.BUY, 0.9, 12.5, 10.25, Decimal(0)),
        NameDecision("FFF", Reason.OUTRANKED, 0.7, -3.25, 1234.5, Decimal(0)),
        NameDecision("GGG", 99, 0.8, 1.0, 2.0, Decimal(0)),
    )
    first = replace(a_decision(30), names=names)
    journal.record_decision(first, [bought, refused, dropped, sold])
    journal.record_decision(a_decision(45), [lost])
    journal.record_decision(a_decision(60, skipped="data: closed by the venue"), [])
    journal.begin_sending([sending(one) for one in (bought, refused, sold, lost)])
    journal.record(
        [
            opened(bought), replace(filled(bought), detail="fill"),
            replace(a_step(refused, IntentState.REJECTED), detail="refused: insufficient power"),
            replace(a_step(dropped, IntentState.ABANDONED), detail="beyond the limit of an order"),
            a_step(lost, IntentState.UNKNOWN, after=0.2),
            replace(opened(sold, 2), filled_avg_price=Decimal("10.2295")),
        ],
        [a_fill(bought, 4, 4), a_fill(bought, 10, 6)],
    )  # fmt: skip
    return {"bought": bought, "refused": refused, "dropped": dropped, "sold": sold, "lost": lost}


def test_the_orders_of_a_session_are_told_with_what_they_cost_and_what_became_of_them(
    client, journal, book
):
    a_session(journal)
    beat(journal)
    text = client.get(place(book, f"/{DAY}/orders")).text
    assert heading(text) == "Orders of Monday, 5 January 2026"
    assert refreshes(text)
    # 10.30 for 10.25 is +48.8 bps; a sale at 10.2295 for 10.25 costs 20 bps.
    assert row(text, of="buy 10 AAA") == (
        "buy 10 AAA 30 10:01 ✓ filled 10 $10.3000 +48.8 bps bought: among the best"
    )
    assert row(text, of="sell 3.5 BBB") == (
        "sell 3.5 BBB 30 10:01 open, 2 of 3.5 filled 2 $10.2295 +20.0 bps "
        "sold: held for long enough, and no longer among the best told"
    )
    assert row(text, of="CCC") == (
        "buy 10 CCC 30 10:01 ✕ refused 0 – – bought: among the best refused: insufficient power"
    )
    assert row(text, of="DDD") == (
        "buy 10 DDD 30 10:01 ◐ abandoned 0 – – bought: among the best beyond the limit of an order"
    )
    assert "✕ not known" in row(text, of="EEE")
    tiles = words(text.split('<dl class="tiles">')[1].split("</dl>")[0])
    # 103.00 at 48.78 bps and 20.459 at 20.00 bps: 44.0 by amount.
    assert tiles == (
        "Sent 4 $123.46 traded Filled 1 2 not at their end Refused 1 1 abandoned, 1 not known "
        "Slippage +44.0 bps mean, by amount"
    )
    assert text.index("EEE") < text.index("AAA")  # newest first
    assert f'href="/models/{MODEL}"' in text
    assert f'href="{place(book, f"/{DAY}/decisions/30")}"' in text


def test_an_order_leads_to_its_decision_and_to_its_model(client, journal, book):
    made = a_session(journal)
    beat(journal)
    add(services().registry, "a")
    name = made["bought"].ticket.client_order_id
    orders = client.get(place(book, f"/{DAY}/orders")).text
    link = place(book, f"/{DAY}/orders/{name}")
    assert f'href="{link}"' in orders
    text = client.get(link).text
    assert heading(text) == "Buy 10 AAA: filled"
    fills = section(text, "Its executions")
    assert row(fills, of="4 $10.30 4") == "2026-01-05 12:30:09 EST 4 $10.30 4"
    assert row(fills, of="6 $10.30 10")
    assert order_of(made["bought"]) in text
    origin = section(text, "What it came from")
    (decision,) = re.findall(r'href="([^"]*/decisions/30)"', origin)
    assert "d" * 64 in origin
    assert f'href="/models/{MODEL}"' in origin
    assert client.get(decision).status_code == 200
    back = client.get(decision).text
    assert f'href="{link}"' in back


def test_an_order_that_no_decision_asked_for_says_so(client, journal, book):
    sale = replace(an_intent("AAA", Side.SELL, minute=77), reason=int(Reason.FLATTEN))
    journal.record_intents([sale])
    beat(journal)
    text = client.get(place(book, f"/{DAY}/orders")).text
    assert "/decisions/77" not in text
    name = sale.ticket.client_order_id
    text = client.get(place(book, f"/{DAY}/orders/{name}")).text
    assert "none at minute 77: it was not decided by the strategy" in text
    assert "None is recorded." in section(text, "Its executions")
    assert "sold: the session ends" in text


def test_a_decision_tells_of_every_name_why_and_what_was_acted_on_first(client, journal, book):
    a_session(journal)
    beat(journal)
    text = client.get(place(book, f"/{DAY}/decisions/30")).text
    assert heading(text) == "At minute 30, 10:01, 3 to buy and 1 to sell of 5 names."
    table = section(text, "Every name")
    symbols = re.findall(r'<td class="symbol">(\w+)</td>', table)
    assert symbols == ["AAA", "BBB", "ZZZ", "GGG", "FFF"]  # acted on first, then by score
    assert row(table, of="AAA") == (
        "AAA 0.900 +12.5 bps $10.25 0 bought: among the best buy 10 ✓ filled"
    )
    assert row(table, of="FFF") == "FFF 0.700 −3.2 bps $1_234.50 0 not bought: others score higher"
    assert row(table, of="ZZZ") == (
        "ZZZ 0.990 +8.0 bps $5.00 0 left alone ◐ denied: others hold it"
    )
    assert "BBB – – – 3.5 sold: held for long enough, and no longer among the best" in row(
        table, of="BBB"
    )
    assert "reason 99, which this version does not know" in row(table, of="GGG")
    assert "0.600 s after it was due" in text
    assert f'href="{place(book, f"/{DAY}/decisions/45")}">minute 45 →' in text


def test_the_decisions_of_a_session_are_told_and_a_skipped_one_says_why(client, journal, book):
    a_session(journal)
    beat(journal, session="2026-01-06")
    text = client.get(place(book, f"/{DAY}/decisions")).text
    assert not refreshes(text)  # the trader is alive, and trades another session
    assert row(text, of="AAA") == "30 10:01 12:30:00 0.60 s $100_000.50 AAA, CCC, DDD BBB"
    assert row(text, of="skipped") == (
        "60 10:31 13:00:00 0.60 s $100_000.50 ◐ skipped: data: closed by the venue"
    )
    text = client.get(place(book, f"/{DAY}/decisions/60")).text
    assert heading(text) == "The decision at minute 60 was skipped."
    assert "data: closed by the venue" in text
    assert "<table" not in text


def test_under_way_are_the_orders_without_an_end_and_sessions_lead_to_all(client, journal, book):
    a_session(journal)
    beat(journal)
    text = client.get("/trader/").text
    open_ones = section(text, "Orders under way")
    assert "sell 3.5 BBB" in row(open_ones, of="BBB")
    assert "✕ not known" in row(open_ones, of="EEE")
    assert not any(f" {symbol} " in words(open_ones) for symbol in ("AAA", "CCC", "DDD"))
    newest = section(text, "Its newest decisions")
    assert newest.index("/decisions/60") < newest.index("/decisions/45")
    sessions = section(text, "What it did, by session")
    assert f'href="{place(book, f"/{DAY}/orders")}"' in sessions


def test_sessions_lead_to_the_ones_before_and_after(client, journal, book):
    beat(journal)
    for day in (date(2026, 1, 2), DAY, date(2026, 1, 7)):
        journal.record_decision(a_decision(session=day), [])
    text = client.get(place(book, f"/{DAY}/decisions")).text
    assert f'href="{place(book, "/2026-01-02/decisions")}">← 2026-01-02' in text
    assert f'href="{place(book, "/2026-01-07/decisions")}">2026-01-07 →' in text
    empty = client.get(place(book, "/2026-01-06/orders")).text
    assert "No order was decided on in this session." in empty
    assert "/2026-01-07/orders" in empty


def test_history_tells_what_did_not_agree_who_turned_the_switch_and_what_happened(
    client, journal, book
):
    beat(journal)
    for cause, differences in (("timer", ()), ("decision", ("The venue shows 3 AAA.", "And B."))):
        journal.record_reconciliation(Reconciliation(at(31), cause, differences, {}, {}))
    journal.switch(SwitchKind.HALT, reason="books differ", by="trader")
    journal.switch(SwitchKind.REARM, reason="looked at it", by="ann")
    journal.record_event("refused_to_start", {"why": "no model", "tries": 3})
    journal.record_adjustments([Adjustment("AAA", Decimal(-3), "a split", at(40))])
    text = client.get(place(book, "/history")).text
    assert heading(text) == "1 comparison of the books did not agree."
    assert row(text, of="decision") == (
        "2026-01-05 12:31:00 EST decision The venue shows 3 AAA. And B."
    )
    turns = section(text, "Turns of the switch")
    assert row(turns, of="ann").endswith("✓ re-armed ann looked at it")
    assert row(turns, of="halted").endswith("◐ halted trader books differ")
    assert turns.index("re-armed") < turns.index("halted")
    assert row(text, of="refused to start").endswith("why no model, tries 3")
    assert row(text, of="a split") == "2026-01-05 12:40:00 EST AAA −3 a split"
    assert "77 on here" in row(section(text, "Lives of the trader"), of="paper")


# ---------------------------------------------------------------- what cannot be trusted


def test_nothing_that_postgres_tells_is_taken_for_markup(client, journal, book):
    made = an_intent("AAA")
    names = (NameDecision("<b>", 1, 0.5, 1.0, 1.0, Decimal(0), denial=EVIL),)
    journal.record_decision(replace(a_decision(), names=names, model_id=EVIL), [made])
    journal.record_decision(replace(a_decision(45), names=(), skipped=EVIL), [])
    journal.begin_sending([sending(made)])
    journal.record([replace(opened(made), detail=EVIL, status=EVIL)])
    journal.record_reconciliation(Reconciliation(at(31), EVIL, (EVIL,), {}, {}))
    journal.switch(SwitchKind.KILL, reason=EVIL, by=EVIL)
    journal.record_event(EVIL, {EVIL: EVIL})
    journal.record_adjustments([Adjustment("AAA", Decimal(1), EVIL, at(1))])
    beat(
        journal, EVIL, {"killed": EVIL, EVIL: EVIL}, mode=EVIL, model=EVIL, differences=[EVIL],
        positions={EVIL: {"qty": EVIL, "since": EVIL, "value": EVIL}}, foreign={EVIL: EVIL},
        halted_symbols={EVIL: EVIL}, stages_ms={EVIL: 1.0, "x": EVIL}, open_orders=[EVIL],
        unresolved_orders=[EVIL], holds_since={EVIL: EVIL},
    )  # fmt: skip
    name = made.ticket.client_order_id
    paths = (
        "", f"/{DAY}/orders", f"/{DAY}/orders/{name}", f"/{DAY}/decisions", "/history",
        f"/{DAY}/decisions/30", f"/{DAY}/decisions/45",
    )  # fmt: skip
    for path in ("/trader/", *(place(book, one) for one in paths)):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "<script" not in answer.text, path
        assert "&lt;script&gt;" in answer.text, path
        assert not re.search(r'href="[^"]*(?:script|%3C)', answer.text), path
        assert "script-src" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"positions": {"AAA": 10}, "equity": "nan", "day_return": "much", "session": "soon"},
        {"positions": [1], "foreign": "x", "open_orders": 3, "stages_ms": None, "trades": "1e999"},
        {"equity": True, "differences": {"a": 1}, "holds_since": {"data": "2026-01-05T10:00:00"}},
    ],
)
def test_a_heartbeat_of_any_shape_has_a_page(client, journal, detail):
    journal.beat(Heartbeat("r", at(1), at(1), "trading", {"data": "x"}, None, None, detail))
    answer = client.get("/trader/")
    assert answer.status_code == 200
    assert "Equity –" in words(answer.text)
    assert "nan" not in words(answer.text).split()


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/trader/PA1/as", "No trader of account PA1 and strategy as was ever heard of."),
        ("/trader/PA1/as/history", "No trader of account PA1"),
        ("/trader/PA1/as/2026-01-05/orders", "No trader of account PA1"),
        ("/trader/PA1/as/2026-01-05/orders/x", "No trader of account PA1"),
        ("/trader/PA1/as/2026-01-05/decisions", "No trader of account PA1"),
        ("/trader/PA1/as/2026-01-05/decisions/3", "No trader of account PA1"),
        ("/trader/PA1/as/today/orders", "There is no such page"),
        ("/trader/PA1/as/2026-01-05/decisions/x", "There is no such page"),
        ("/trader/%3Cscript%3E/as", "There is no such page"),
        ("/trader/PA1%00/as", "There is no such page"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(client, path, sentence):
    answer = client.get(path)
    assert answer.status_code == 404
    assert sentence in answer.text
    assert "<script" not in answer.text


def test_an_order_and_a_decision_that_are_not_there_are_said_in_a_sentence(client, journal, book):
    beat(journal)
    for path, sentence in (
        (f"/{DAY}/orders/x", f"There is no order x of account {book.account}"),
        (f"/{DAY}/decisions/3", "There is no decision at minute 3 of session 2026-01-05"),
    ):
        answer = client.get(place(book, path))
        assert answer.status_code == 404
        assert sentence in answer.text


def test_links_stay_below_the_prefix_and_no_page_offers_to_trade(client, journal, book):
    made = a_session(journal)
    beat(journal)
    outside = FastAPI(root_path="/airflow")
    outside.mount("/alpaca", client.app)
    name = made["bought"].ticket.client_order_id
    for path in ("", f"/{DAY}/orders", f"/{DAY}/orders/{name}", f"/{DAY}/decisions/30", "/history"):
        text = TestClient(outside).get(f"/airflow/alpaca{place(book, path)}").text
        links = re.findall(r'(?:href|src)="([^"]*)"', text)
        assert len(links) > 4
        assert all(link.startswith("/airflow/alpaca/") for link in links)
        assert not re.search(r"<(form|button|input)\b", text)
        assert client.post(place(book, path)).status_code == 405


def test_without_a_database_there_is_a_page_and_no_traceback(home, monkeypatch):
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", "postgresql://u@127.0.0.1:1/none")
    load_settings.cache_clear()
    services.cache_clear()
    answer = TestClient(create_app()).get("/trader/")
    services.cache_clear()
    assert answer.status_code == 503
    assert "Postgres at 127.0.0.1:1/none does not answer" in answer.text
