"""Fetch a session's tape into the staging area: resumable, in few requests, symbol by symbol.

Symbols are fetched several in one chain of pages. The venue sorts by symbol, so that a symbol is
complete when the next one begins, and only one at a time is in the middle. Where such a chain
breaks, its symbols are tried one by one, so that whose fault it is stays alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import structlog

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.broker.trades import SymbolTrades, TradePage
from alpaca_strategy.domain.market import Session
from alpaca_strategy.errors import (
    AlpacaStrategyError,
    CredentialsError,
    DamagedFileError,
    EntitlementError,
    MalformedResponseError,
    NotASessionError,
    RateLimitedError,
    UserError,
    VenueError,
    VenueUnavailableError,
)
from alpaca_strategy.storage.staging import FetchKey, Manifest, Staging, TapeWriter

log = structlog.get_logger(__name__)

Progress = Callable[[int, int, str], None]

#: Symbols asked for in one chain of pages; the address of a request has a limit.
_CHAIN_SYMBOLS = 200
#: Symbols that fail in a row because the venue does not answer; the rest would wait in vain.
_HOPELESS = 2
#: The other symbols would meet the same.
_FATAL = (CredentialsError, EntitlementError)
_OF_A_SYMBOL = (VenueError, UserError, DamagedFileError)


@dataclass
class FetchSummary:
    """What a fetch came to.

    Attributes:
        session: The session.
        fetched: Symbols whose tape was fetched.
        skipped: Symbols that were complete before.
        corrected: Symbols that had a tape before, and now have another one.
        failed: Symbols that could not be fetched, each with its reason.
        transient: Those of them for which another attempt may go better.
        trades: Trades of the fetched symbols.
        requests: Requests that it took.
    """

    session: date
    fetched: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    transient: list[str] = field(default_factory=list)
    trades: int = 0
    requests: int = 0


def fetch_tape(
    *,
    market_data: MarketData,
    staging: Staging,
    session: Session,
    symbols: Sequence[str],
    now: datetime,
    rewrite: bool = False,
    repull: bool = False,
    margin: timedelta = timedelta(minutes=30),
    progress: Progress | None = None,
) -> FetchSummary:
    """Fetch the trades of a session; a symbol that is complete is skipped unless asked otherwise.

    Until a new tape is complete, the one before stays as it is.

    Args:
        market_data: The venue.
        staging: Where the tape goes.
        session: Which session.
        symbols: Which symbols.
        now: The present; a session that is not over is refused.
        rewrite: Fetch everything again, from the first page.
        repull: Fetch complete symbols again too, to see whether they were corrected.
        margin: Fetched before the open and after the close, where auctions' prints arrive.
        progress: Told (symbols done, symbols in all, symbol).

    Raises:
        NotASessionError: The session is not over yet.
        CredentialsError: The keys are refused; other symbols would be too.
        EntitlementError: The feed is not for this account; likewise.
        BusyError: Another run is fetching one of the symbols and does not come to an end.
        DiskSpaceError: There is no room; what was fetched is kept.
    """
    over = session.closes_at + margin
    if now < over:
        msg = f"The session {session.day} is not over before {over:%Y-%m-%d %H:%M} UTC; wait."
        raise NotASessionError(msg)
    start, end = session.opens_at - margin, over
    key = FetchKey(market_data.feed.value, start.isoformat(), end.isoformat())
    names = sorted(set(symbols))
    run = _Run(
        market_data=market_data,
        staging=staging,
        day=session.day,
        key=key,
        window=(start, end),
        symbols=len(names),
        rewrite=rewrite,
        progress=progress,
        summary=FetchSummary(session.day),
    )
    asked = market_data.requests
    with ExitStack() as locks:
        for symbol in names:  # always in this order, so that two runs never wait for each other
            locks.enter_context(staging.symbol_lock(session.day, symbol))
        todo = [s for s in names if rewrite or repull or not run.is_complete(s)]
        run.summary.skipped = [s for s in names if s not in set(todo)]
        run.drop_other_feeds(todo)
        try:
            run.fetch(todo)
        finally:
            staging.note_failures(session.day, run.unfetched())
    run.summary.requests = market_data.requests - asked
    run.tell("done")
    return run.summary


@dataclass(kw_only=True)
class _Run:
    """One call of `fetch_tape`."""

    market_data: MarketData
    staging: Staging
    day: date
    key: FetchKey
    window: tuple[datetime, datetime]
    symbols: int
    rewrite: bool
    progress: Progress | None
    summary: FetchSummary

    def is_complete(self, symbol: str) -> bool:
        """Tell whether the staged tape is whole and of what is asked for now."""
        manifest = self._manifest(symbol)
        return manifest is not None and manifest.key == self.key

    def _manifest(self, symbol: str) -> Manifest | None:
        try:
            return self.staging.manifest(self.day, symbol)
        except DamagedFileError as error:
            log.warning("staged_tape_damaged", symbol=symbol, reason=str(error))
            return None

    def drop_other_feeds(self, symbols: Sequence[str]) -> None:
        """Remove tapes of another feed: should the fetch fail, nobody may take them for ours."""
        for symbol in symbols:
            manifest = self._manifest(symbol)
            if manifest is not None and manifest.key.feed != self.key.feed:
                self.staging.remove_tape(self.day, symbol)

    def unfetched(self) -> dict[str, str]:
        """Return the failures of symbols that have no tape of an earlier fetch either."""
        failed = self.summary.failed.items()
        return {symbol: why for symbol, why in failed if self._manifest(symbol) is None}

    def tell(self, symbol: str) -> None:
        """Report progress."""
        done = self.summary
        if self.progress is not None:
            count = len(done.fetched) + len(done.skipped) + len(done.failed)
            self.progress(count, self.symbols, symbol)

    def fetch(self, todo: Sequence[str]) -> None:
        """Fetch symbols: interrupted chains first, then the rest in one chain."""
        waiting = list(todo)
        while waiting:
            chain, writer = self._next_chain(waiting)
            wanted = [s for s in waiting if s in chain and (writer is None or s >= waiting[0])]
            waiting = [s for s in waiting if s not in set(wanted)]
            try:
                self._follow(chain, wanted, writer)
            except _FATAL:
                raise
            except _OF_A_SYMBOL as error:
                done = {*self.summary.fetched, *self.summary.failed}
                left = [s for s in wanted if s not in done]
                log.warning(
                    "chain_broken", session=str(self.day), symbols=len(left), reason=str(error)
                )
                self._one_by_one(left)

    def _next_chain(self, waiting: list[str]) -> tuple[tuple[str, ...], TapeWriter | None]:
        """Return the symbols to ask for, and the writer that goes on where one stopped."""
        if not self.rewrite:
            for position, symbol in enumerate(waiting):
                writer = self._writer(symbol)
                if writer.next_token is not None and symbol in writer.chain:
                    waiting.insert(0, waiting.pop(position))
                    return writer.chain, writer
        return tuple(waiting[:_CHAIN_SYMBOLS]), None

    def _writer(self, symbol: str, *, afresh: bool = False) -> TapeWriter:
        afresh = afresh or self.rewrite
        return self.staging.writer(self.day, symbol, self.key, afresh=afresh)

    def _one_by_one(self, symbols: Sequence[str]) -> None:
        """Fetch each symbol alone, so that a failure is its own."""
        unanswered, last = 0, VenueError()
        for symbol in symbols:
            if unanswered >= _HOPELESS:
                msg = f"Not tried, because the venue does not answer: {last}"
                self._fail(symbol, VenueUnavailableError(msg))
                continue
            try:
                self._alone(symbol)
                unanswered = 0
            except _FATAL:
                raise
            except (VenueUnavailableError, RateLimitedError) as error:
                unanswered, last = unanswered + 1, error
                self._fail(symbol, error)
            except _OF_A_SYMBOL as error:
                unanswered = 0
                self._fail(symbol, error)

    def _alone(self, symbol: str) -> None:
        writer = self._writer(symbol)
        try:
            self._follow((symbol,), [symbol], writer)
        except (MalformedResponseError, UserError, DamagedFileError):
            if not writer.resumed:
                raise
            # What it went on from may be the cause: a token that the venue forgot, a damaged part.
            self._follow((symbol,), [symbol], self._writer(symbol, afresh=True))

    def _fail(self, symbol: str, error: AlpacaStrategyError) -> None:
        reason = str(error)
        self.summary.failed[symbol] = reason
        if isinstance(error, VenueError):  # an unknown symbol, say, waits for a person instead
            self.summary.transient.append(symbol)
        log.warning("symbol_not_fetched", session=str(self.day), symbol=symbol, reason=reason)
        self.tell(symbol)

    def _follow(
        self, chain: tuple[str, ...], wanted: Sequence[str], writer: TapeWriter | None
    ) -> None:
        """Follow one chain of pages and write what is wanted of it.

        Args:
            chain: The symbols that are asked for.
            wanted: Those of them that are written; the first one is in the middle or begins.
            writer: Of the first one.
        """
        waiting = list(wanted)
        current = writer or self._writer(waiting[0], afresh=True)
        pages = self.market_data.trade_pages(
            chain, *self.window, current.next_token, previous=current.last_part()
        )
        for page in pages:
            parts = {part.symbol: part for part in page.parts}
            while waiting and _ends_on(page, waiting[0]):
                symbol = waiting.pop(0)
                _append(current, parts.get(symbol))
                self._finish(symbol, current)
                if waiting:
                    current = self._writer(waiting[0], afresh=True)
            if not waiting:
                return
            _append(current, parts.get(waiting[0]))
            if page.next_token is not None:
                current.checkpoint(page.next_token, chain)

    def _finish(self, symbol: str, writer: TapeWriter) -> None:
        manifest, before = writer.finish(datetime.now(UTC))
        self.summary.fetched.append(symbol)
        self.summary.trades += manifest.trade_count
        if before and before.key == manifest.key and before.tape_hash != manifest.tape_hash:
            self.summary.corrected.append(symbol)
        if manifest.rejected_count:
            log.warning("trades_rejected", symbol=symbol, count=manifest.rejected_count)
        self.tell(symbol)


def _ends_on(page: TradePage, symbol: str) -> bool:
    """Tell whether a symbol is complete with this page: a later one began, or it is the last."""
    return page.next_token is None or any(part.symbol > symbol for part in page.parts)


def _append(writer: TapeWriter, part: SymbolTrades | None) -> None:
    if part is not None:
        writer.append(part.table, part.rejected, part.repeated)
