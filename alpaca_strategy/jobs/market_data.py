"""One night's market data: plan, fetch, bars, check, publish, and yesterday's corrections.

Every function takes a session as text (YYYY-MM-DD), works on the staging area, and returns a small
JSON value, so that a DAG task is one call. All of them may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.config import load_settings
from alpaca_strategy.domain.market import Session, Severity
from alpaca_strategy.errors import (
    DataError,
    QualityError,
    UnknownSymbolError,
    UserError,
    VenueUnavailableError,
)
from alpaca_strategy.jobs.audit import audit
from alpaca_strategy.jobs.fetch import FetchSummary, fetch_tape
from alpaca_strategy.jobs.staged import (
    CHECK,
    checked_tapes,
    failures,
    keep_published,
    lay_down,
    staged_bars,
    take_up,
    tape_hashes,
    tape_of,
    tidy,
    write_bars,
)
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.quality.gate import Decision
from alpaca_strategy.storage.actions import write_actions
from alpaca_strategy.storage.publish import publish_session
from alpaca_strategy.storage.records import SessionStatus, SymbolStatus

Progress = Callable[[int, int, str], None]

#: Corporate actions are asked for a little around the session: their announcements come late.
_ACTIONS_BEFORE, _ACTIONS_AFTER = timedelta(days=7), timedelta(days=1)


def parse_session(text: str) -> Session:
    """Return the exchange session of that date.

    Raises:
        UserError: The text is not a date.
        NotASessionError: The exchange is closed on that day.
        CalendarRangeError: The day lies outside the known calendar.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a date; write it as YYYY-MM-DD."
        raise UserError(msg) from None
    return exchange_calendar().session(day)


def latest_session(now: datetime | None = None) -> date:
    """Return the latest session that is over, with the margin in which its last trades arrive."""
    moment = (now or datetime.now(UTC)) - timedelta(minutes=load_settings().data.margin_minutes)
    calendar = exchange_calendar()
    newest = calendar.previous_session(moment.date() + timedelta(days=1))
    return newest.day if newest.closes_at <= moment else calendar.previous_session(newest.day).day


def plan(session: str) -> dict[str, Any]:
    """Fetch the corporate actions, and split the universe into chunks of one task each."""
    home, day = services(), parse_session(session)
    settings = home.settings
    symbols, size = settings.symbols(), settings.data.chunk_symbols
    chunks = [list(symbols[i : i + size]) for i in range(0, len(symbols), size)]
    with closing(home.market_data()) as market_data:
        actions = market_data.corporate_actions(
            symbols, day.day - _ACTIONS_BEFORE, day.day + _ACTIONS_AFTER
        )
    write_actions(home.lake, actions)
    return {"session": session, "chunks": chunks}


def fetch(
    session: str,
    symbols: Sequence[str] | None = None,
    *,
    rewrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fetch the trades of a session into the staging area; what is there already is skipped.

    A symbol that fails is listed with its reason and does not stop the others.

    Raises:
        NotASessionError: The session is not over yet.
        CredentialsError: The venue refuses the keys.
    """
    home, day = services(), parse_session(session)
    summary = _fetch(home, day, _asked(home, symbols), rewrite=rewrite, progress=progress)
    return {
        "session": session,
        "fetched": len(summary.fetched),
        "skipped": len(summary.skipped),
        "trades": summary.trades,
        "failed": dict(summary.failed),
        "transient": list(summary.transient),
    }


def build_bars(session: str, symbols: Sequence[str] | None = None) -> dict[str, Any]:
    """Build the minute bars of the staged symbols, each on its own.

    Raises:
        DataError: None of them was ever fetched.
    """
    home, day = services(), parse_session(session)
    take_up(home, day.day)
    asked = _asked(home, symbols)
    if not tape_hashes(home, day, asked) and not failures(home, day, asked):
        msg = f"No trades of {day.day} are staged; run `alpaca-strategy fetch --session {day.day}`."
        raise DataError(msg)
    count = observed = 0
    for symbol in asked:
        manifest = tape_of(home, day.day, symbol)
        if manifest is not None:
            bars = write_bars(home, day, symbol, manifest.tape_hash)
            observed += bars["observed"].to_pylist().count(True)
            count += 1
    bars_built = count * day.minutes
    return {"session": session, "symbols": count, "bars": bars_built, "observed": observed}


def check(session: str) -> dict[str, Any]:
    """Check the staged session, keep the report, and say what may be published.

    Raises:
        DataError: Nothing is staged, or it is not of the settings in force.
        QualityError: The session must not be published; the report tells why.
    """
    home, day = services(), parse_session(session)
    take_up(home, day.day)
    with home.catalog.session_lock(day.day, home.settings.data.feed):
        judgement, uri = audit(home, day)
    link = f"/alpaca/quality/{day.day}"
    if judgement.verdict is Decision.REFUSE:
        msg = f"{judgement.sentence} See the quality report: {link} ({uri})."
        raise QualityError(msg)
    return {
        "session": session,
        "verdict": judgement.verdict.value,
        "critical": judgement.critical,
        "warnings": judgement.warning,
        "quarantined": sorted(judgement.quarantined),
        "report": link,
        "report_uri": uri,
    }


def publish(session: str) -> dict[str, Any]:
    """Publish the checked session; the same content again changes nothing.

    Raises:
        DataError: It has not been checked, or changed since.
        QualityError: The check refused it.
    """
    home, day = services(), parse_session(session)
    feed, asked = home.settings.data.feed, home.settings.symbols()
    with home.catalog.session_lock(day.day, feed) as lock:
        note = home.staging.read_note(day.day, CHECK)
        if note is None:
            return _published_before(home, day)
        if note["refused"]:
            msg = f"{note['refused']} See the quality report: /alpaca/quality/{day.day}."
            raise QualityError(msg)
        tapes = checked_tapes(home, day, note)
        failed = {s: why for s, why in note["failed"].items() if s not in tapes}
        keep_published(home, day, failed)
        done = publish_session(
            lake=home.lake,
            catalog=home.catalog,
            session=day.day,
            feed=feed,
            venue=home.settings.resolved_venue,
            tape=_tape(home, day, [s for s in sorted(tapes) if s not in note["quarantined"]]),
            bars=staged_bars(home, day, list(tapes)),
            symbols=asked,
            quarantined={s: why for s, why in note["quarantined"].items() if s not in failed},
            failed=failed,
            condition_table=home.conditions.name,
            condition_fingerprint=home.conditions.sha256,
            quality_severity=Severity(note["severity"]) if note["severity"] else None,
            report_uri=note["report_uri"],
            lock=lock,
        )
        lay_down(home, day.day)
    tidy(home)
    published = [s for s in done.symbols if s.status is SymbolStatus.PUBLISHED]
    return {
        "session": session,
        "changed": done.changed,
        "revision": done.revision,
        "symbols": len(published),
        "trades": done.trade_count,
    }


def corrections(session: str) -> dict[str, Any]:
    """Fetch the sessions before this one again, and publish those whose tape was corrected."""
    home, day = services(), parse_session(session)
    feed = home.settings.data.feed
    republished = []
    for back in range(home.settings.data.repull_sessions, 0, -1):
        earlier = exchange_calendar().previous_session(day.day, back)
        row = home.catalog.session(earlier.day, feed)
        if row is None or row.status is not SessionStatus.PUBLISHED:
            continue
        text = earlier.day.isoformat()
        fetched = _fetch(home, earlier, home.settings.symbols(), repull=True)
        if not _differing(home, earlier).union(fetched.corrected):
            lay_down(home, earlier.day)
            continue
        build_bars(text)
        check(text)
        if publish(text)["changed"]:
            republished.append(text)
    return {"session": session, "republished": republished}


def _differing(home: Services, day: Session) -> set[str]:
    """Return the symbols whose staged tape is not what was published, or was not to be had then.

    Raises:
        VenueUnavailableError: Published symbols could not be fetched again.
    """
    known = home.catalog.symbol_sessions(day.day, day.day, home.settings.data.feed)
    staged = tape_hashes(home, day, home.settings.symbols())
    failed = home.staging.failures(day.day)
    lost = sorted(s for (_, s), row in known.items() if row.tape_hash and s in failed)
    if lost:
        msg = (
            f"{', '.join(lost)} of {day.day} could not be fetched again ({failed[lost[0]]}); what "
            f"is published stays, run it again later."
        )
        raise VenueUnavailableError(msg)
    return {
        symbol
        for (_, symbol), row in known.items()
        if symbol in staged
        and (row.status is SymbolStatus.FAILED or row.tape_hash not in {None, staged[symbol]})
    }


def _fetch(
    home: Services,
    day: Session,
    symbols: Sequence[str],
    *,
    rewrite: bool = False,
    repull: bool = False,
    progress: Progress | None = None,
) -> FetchSummary:
    take_up(home, day.day)
    with closing(home.market_data()) as market_data:
        return fetch_tape(
            market_data=market_data,
            staging=home.staging,
            session=day,
            symbols=symbols,
            now=datetime.now(UTC),
            rewrite=rewrite,
            repull=repull,
            margin=timedelta(minutes=home.settings.data.margin_minutes),
            progress=progress,
        )


def _asked(home: Services, symbols: Sequence[str] | None) -> tuple[str, ...]:
    universe = home.settings.symbols()
    unknown = [s for s in symbols or () if s not in universe]
    if unknown:
        msg = f"Unknown symbol {', '.join(unknown)}: not in {home.settings.data.universe}."
        raise UnknownSymbolError(msg)
    return tuple(s for s in universe if symbols is None or s in symbols)


def _tape(home: Services, day: Session, symbols: Sequence[str]) -> Iterator[pa.Table]:
    for symbol in symbols:
        yield from home.staging.tape_batches(day.day, symbol)


def _published_before(home: Services, day: Session) -> dict[str, Any]:
    """Answer for a session whose staging was tidied away after its publication."""
    row = home.catalog.session(day.day, home.settings.data.feed)
    unchecked = bool(home.staging.symbols(day.day))
    if row is None or row.status is not SessionStatus.PUBLISHED or unchecked:
        msg = (
            f"The session {day.day} has not been checked; run `alpaca-strategy check --session "
            f"{day.day}` first, or `alpaca-strategy backfill` for all steps."
        )
        raise DataError(msg)
    return {
        "session": day.day.isoformat(),
        "changed": False,
        "revision": row.revision,
        "symbols": row.symbols_published,
        "trades": row.trade_count,
    }
