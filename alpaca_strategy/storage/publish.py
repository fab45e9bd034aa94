"""The last step of write, audit, publish: make a checked session visible, all of it at once.

Nothing a reader looks at changes before the catalog's row does, and that is one transaction. A
process that dies anywhere leaves at most files that no row names (maintenance removes them); the
same call again ends as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import structlog

from alpaca_strategy.domain.market import Feed, Severity, Venue
from alpaca_strategy.errors import DamagedFileError, QualityError
from alpaca_strategy.market.schema import BAR_SCHEMA, TRADE_SCHEMA
from alpaca_strategy.storage.arrange import arrange_bars, symbol_states
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.content import ContentHash, hash_facts, hash_table, split_by_symbol
from alpaca_strategy.storage.files import LakeFile
from alpaca_strategy.storage.lake import Lake, Rows
from alpaca_strategy.storage.locking import LOCK_WAIT_S, SessionLock
from alpaca_strategy.storage.records import (
    Pin,
    PublishedSession,
    SessionRow,
    SessionStatus,
    SymbolSession,
    SymbolStatus,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication came to.

    Attributes:
        session: The session.
        changed: Whether readers see something new.
        revision: The revision in force.
        content_hash: Hash of what is published.
        symbols: Every symbol asked for, with what became of it.
        trade_count: Trades of the published symbols.
        bar_count: Rows of the bar table.
    """

    session: date
    changed: bool
    revision: int
    content_hash: str
    symbols: tuple[SymbolSession, ...]
    trade_count: int
    bar_count: int


def publish_session(
    *,
    lake: Lake,
    catalog: Catalog,
    session: date,
    feed: Feed,
    venue: Venue,
    tape: Rows | None,
    bars: pa.Table,
    symbols: Sequence[str],
    quarantined: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
    condition_table: str,
    condition_fingerprint: str,
    quality_severity: Severity | None = None,
    report_uri: str | None = None,
    lock: SessionLock | None = None,
    lock_wait_s: float = LOCK_WAIT_S,
    expected_bytes: int = 0,
) -> Published:
    """Publish a checked session; the same content again changes nothing.

    Args:
        lake: Where trades and bars go.
        catalog: Where the session becomes visible.
        session: The session.
        feed: The feed of all its trades.
        venue: The venue they were fetched from.
        tape: Trades in TRADE_SCHEMA, each symbol's together and in tape order; a table, or any
            iterable of tables or batches, read once and never held whole. None keeps the tape that
            is already published.
        bars: Bars in BAR_SCHEMA: every minute of the session for every symbol.
        symbols: The symbols that were asked for.
        quarantined: Symbol to reason; their rows are left out of both tables.
        failed: Symbol to reason, for those the venue did not give.
        condition_table: Name of the trade-condition table behind the bars.
        condition_fingerprint: Its fingerprint.
        quality_severity: Worst failed expectation; None when all held.
        report_uri: The quality report.
        lock: The session's lock where the caller holds it already.
        lock_wait_s: How long to wait for another run of the session.
        expected_bytes: Room the files will need, where the caller can tell.

    Raises:
        BusyError: Another run is working on the session.
        QualityError: No symbol is left to publish.
        DiskSpaceError: No room; readers see what they saw before.
        ServiceUnavailableError: Postgres or the object storage does not answer; likewise.
        ValueError: The tables break their contract.
    """
    states = symbol_states(symbols, quarantined or {}, failed or {}, bars)
    kept = [name for name, state in states.items() if state.status is SymbolStatus.PUBLISHED]
    if not kept:
        msg = f"None of the {len(symbols)} symbols of {session} can be published; see the report."
        raise QualityError(msg)
    bars = arrange_bars(bars, kept)
    minutes = bars.num_rows // len(kept)
    held_lock = (
        nullcontext(lock) if lock else catalog.session_lock(session, feed, wait_s=lock_wait_s)
    )
    with held_lock as ours:
        work = _Publication(lake, catalog, session, feed, states, kept)
        try:
            work.stage_tape(tape, expected_bytes)
            content = hash_facts(
                {
                    "session": session.isoformat(),
                    "feed": feed.value,
                    "symbols": {n: [s.status.value, s.tape_hash] for n, s in states.items()},
                    "bars": hash_table(bars, BAR_SCHEMA),
                    "conditions": condition_fingerprint,
                }
            )
            same = work.held is not None and work.held.content_hash == content
            if same and work.is_intact():
                return work.result(changed=False, content=content)
            trades, bars_pin = work.commit(bars)
            record = PublishedSession(
                session=session,
                feed=feed,
                venue=venue,
                trades=trades,
                bars=bars_pin,
                minutes=minutes,
                symbols=tuple(states.values()),
                content_hash=content,
                condition_table=condition_table,
                condition_fingerprint=condition_fingerprint,
                quality_severity=quality_severity,
                report_uri=report_uri,
            )
            if same:  # the rows were right but their files were not
                catalog.restate(ours, trades=trades, bars=bars_pin)
                return work.result(changed=False, content=content)
            revision, _ = catalog.publish(record, ours)
        finally:
            work.discard()
    log.info("session_published", session=str(session), feed=feed.value, revision=revision)
    return work.result(changed=True, content=content, revision=revision)


@dataclass
class _Publication:
    """The moving parts of one publication."""

    lake: Lake
    catalog: Catalog
    session: date
    feed: Feed
    states: dict[str, SymbolSession]
    kept: list[str]
    held: SessionRow | None = None
    bar_count: int = 0
    _staged: dict[str, list[LakeFile]] = field(default_factory=dict)
    _tape: Pin | None = None

    def __post_init__(self) -> None:
        row = self.catalog.session(self.session, self.feed)
        self.held = row if row and row.status is SessionStatus.PUBLISHED else None

    def stage_tape(self, tape: Rows | None, expected_bytes: int) -> None:
        """Write the tape's file, or keep the published one, and note the symbols' hashes."""
        if tape is None:
            tape = self._published_tape()
        if tape is None:
            return
        tables = [tape] if isinstance(tape, pa.Table) else tape
        tapes: dict[str, ContentHash] = {}
        self._staged["trades"] = self.lake.stage(
            "trades",
            feed=self.feed,
            session=self.session,
            rows=self._hashed(tables, tapes),
            expected_bytes=expected_bytes,
        )
        for symbol, content in tapes.items():
            self._note(symbol, content.rows, content.hexdigest())

    def _hashed(
        self, tables: Iterable[pa.Table | pa.RecordBatch], tapes: dict[str, ContentHash]
    ) -> Iterator[pa.Table]:
        kept = set(self.kept)
        for symbol, piece in split_by_symbol(tables):
            if symbol not in self.states:
                msg = f"The tape of {self.session} holds {symbol}, which was not asked for."
                raise ValueError(msg)
            if symbol in kept:
                tapes.setdefault(symbol, ContentHash(TRADE_SCHEMA)).update(piece)
                yield piece

    def _published_tape(self) -> Rows | None:
        """Return the published tape without what no longer is; None to keep it as it is."""
        held = self.held
        if held is None:
            return None
        known = self.catalog.symbol_sessions(self.session, self.session, self.feed)
        tapes = {name: row for (_, name), row in known.items() if row.tape_hash is not None}
        if held.trades_files and not set(tapes) <= set(self.kept):
            return self.lake.iter_files("trades", held.trades_files, symbols=self.kept)
        for name in sorted(set(tapes) & set(self.kept)):
            self._note(name, tapes[name].trade_count, tapes[name].tape_hash)
        if held.trades_files:  # else retention let it go, and what it said stays true
            self._tape = Pin(held.trades_version or 0, held.trades_files, held.trade_count)
        return None

    def _note(self, symbol: str, trades: int, tape_hash: str | None) -> None:
        was = self.states[symbol]
        self.states[symbol] = SymbolSession(
            symbol, was.status, was.reason, trades, was.observed_minutes, tape_hash
        )

    def is_intact(self) -> bool:
        """Return whether the published files are the tables' current ones and can be read."""
        held = self.held
        if held is None:
            return False
        try:
            for name, files in (("bars", held.bars_files), ("trades", held.trades_files)):
                if not files:
                    continue
                current = self.lake.current_files(name, feed=self.feed, session=self.session)
                if set(current) != set(files):
                    return False
                for _ in self.lake.iter_files(name, files):
                    pass
        except DamagedFileError as error:
            log.warning("published_file_found_damaged", session=str(self.session), error=str(error))
            return False
        return True

    def commit(self, bars: pa.Table) -> tuple[Pin | None, Pin]:
        """Make the staged files current in both tables."""
        self._staged["bars"] = self.lake.stage(
            "bars", feed=self.feed, session=self.session, rows=bars, expected_bytes=bars.nbytes // 2
        )
        trades = self._tape
        if "trades" in self._staged:
            trades = self.lake.commit(
                "trades", feed=self.feed, session=self.session, staged=self._staged["trades"]
            )
            self._staged["trades"] = []
        pin = self.lake.commit(
            "bars", feed=self.feed, session=self.session, staged=self._staged["bars"]
        )
        self._staged["bars"] = []
        self.bar_count = pin.rows
        return trades if trades and trades.files else None, pin

    def discard(self) -> None:
        """Delete what was staged and not committed."""
        for name, staged in self._staged.items():
            self.lake.discard(name, staged)

    def result(self, *, changed: bool, content: str, revision: int | None = None) -> Published:
        """Return what the publication came to."""
        held = self.held
        return Published(
            session=self.session,
            changed=changed,
            revision=revision if revision is not None else held.revision if held else 0,
            content_hash=content,
            symbols=tuple(self.states.values()),
            trade_count=sum(self.states[name].trade_count for name in self.kept),
            bar_count=self.bar_count or (held.bar_count if held else 0),
        )
