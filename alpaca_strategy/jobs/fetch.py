"""Fetch a session's tape into the staging area: resumable, symbol by symbol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import structlog

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.domain.market import Session
from alpaca_strategy.errors import (
    CredentialsError,
    DataError,
    EntitlementError,
    NotASessionError,
    UserError,
    VenueError,
)
from alpaca_strategy.storage.staging import FetchKey, Manifest, Staging

log = structlog.get_logger(__name__)


@dataclass
class FetchSummary:
    """What a fetch came to.

    Attributes:
        session: The session.
        fetched: Symbols whose tape is new.
        skipped: Symbols that were complete before.
        failed: Symbols that could not be fetched, each with its reason.
        trades: Trades of the fetched symbols.
    """

    session: date
    fetched: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    trades: int = 0


def fetch_tape(
    *,
    market_data: MarketData,
    staging: Staging,
    session: Session,
    symbols: Sequence[str],
    now: datetime,
    rewrite: bool = False,
    margin: timedelta = timedelta(minutes=30),
    progress: Callable[[int, int, str], None] | None = None,
) -> FetchSummary:
    """Fetch the trades of a session; a symbol that is complete is skipped unless rewritten.

    Args:
        market_data: The venue.
        staging: Where the tape goes.
        session: Which session.
        symbols: Which symbols.
        now: The present; a session that is not over is refused.
        rewrite: Fetch again what is complete.
        margin: Fetched before the open and after the close, where auctions' prints arrive.
        progress: Told (symbols done, symbols in all, symbol).

    Raises:
        NotASessionError: The session is not over yet.
        CredentialsError: The keys are refused; other symbols would be too.
        EntitlementError: The feed is not for this account; likewise.
        DiskSpaceError: There is no room; what was fetched is kept.
    """
    if now < session.closes_at + margin:
        msg = (
            f"The session {session.day} is not over before "
            f"{session.closes_at + margin:%Y-%m-%d %H:%M} UTC; fetch it then."
        )
        raise NotASessionError(msg)
    span = session.opens_at - margin, session.closes_at + margin
    summary = FetchSummary(session.day)
    for number, symbol in enumerate(symbols):
        if progress:
            progress(number, len(symbols), symbol)
        try:
            manifest = _fetch_symbol(
                market_data, staging, session.day, symbol, span, rewrite=rewrite
            )
        except (CredentialsError, EntitlementError):
            raise
        except (VenueError, UserError, DataError) as error:
            summary.failed[symbol] = str(error)
            staging.note_failure(session.day, symbol, str(error))
            log.warning(
                "symbol_not_fetched", session=str(session.day), symbol=symbol, why=str(error)
            )
            continue
        if manifest is None:
            summary.skipped.append(symbol)
        else:
            summary.fetched.append(symbol)
            summary.trades += manifest.trade_count
        if staging.failures(session.day).get(symbol):
            staging.note_failure(session.day, symbol, None)
    if progress:
        progress(len(symbols), len(symbols), "done")
    return summary


def _fetch_symbol(
    market_data: MarketData,
    staging: Staging,
    day: date,
    symbol: str,
    span: tuple[datetime, datetime],
    *,
    rewrite: bool,
) -> Manifest | None:
    """Return the new manifest, None when the tape was complete before."""
    start, end = span
    key = FetchKey(market_data.feed.value, start.isoformat(), end.isoformat())
    with staging.symbol_lock(day, symbol):
        known = staging.manifest(day, symbol)
        if known and known.key == key and not rewrite:
            return None
        writer = staging.writer(day, symbol, key, afresh=known is not None)
        if not writer.complete:
            for page in market_data.trade_pages(symbol, start, end, writer.next_token):
                writer.append(page.table, page.next_token, page.rejected)
        return writer.finish(datetime.now(UTC))
