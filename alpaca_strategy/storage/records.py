"""What the catalog says about a session, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from alpaca_strategy.domain.market import Feed, Severity, Venue


@dataclass(frozen=True, slots=True)
class Pin:
    """The exact files of one session in one table.

    Attributes:
        version: The Delta version whose commit made them current.
        files: Paths relative to the table's folder, in row order.
        rows: Rows in all of them.
    """

    version: int
    files: tuple[str, ...]
    rows: int


class SessionStatus(StrEnum):
    """Whether readers may see a session."""

    PUBLISHED = "published"
    REFUSED = "refused"


class SymbolStatus(StrEnum):
    """What became of a symbol that was asked for."""

    PUBLISHED = "published"
    QUARANTINED = "quarantined"  # a critical expectation failed; the rows stay in staging
    FAILED = "failed"  # the venue did not give its trades
    MISSING = "missing"  # neither bars nor a failure


@dataclass(frozen=True, slots=True)
class SymbolSession:
    """One symbol of one session.

    Attributes:
        symbol: The symbol.
        status: What became of it.
        reason: Why it is not published; None when it is.
        trade_count: Trades on its tape.
        observed_minutes: Minutes that have a bar.
        tape_hash: Content hash of its tape; None where no tape was kept.
    """

    symbol: str
    status: SymbolStatus
    reason: str | None = None
    trade_count: int = 0
    observed_minutes: int = 0
    tape_hash: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedSession:
    """What `Catalog.publish` writes.

    Attributes:
        session: The session.
        feed: The feed all its prices come from.
        venue: The venue they were fetched from.
        trades: The pinned tape; None where none is kept.
        bars: The pinned bars.
        minutes: Calendar minutes of the session.
        symbols: Every symbol that was asked for.
        content_hash: Hash of the content, independent of when and how it was published.
        condition_table: Name of the table of trade conditions behind the bars.
        condition_fingerprint: Fingerprint of that table.
        quality_severity: Worst failed expectation; None when all held.
        report_uri: The quality report.
    """

    session: date
    feed: Feed
    venue: Venue
    trades: Pin | None
    bars: Pin
    minutes: int
    symbols: tuple[SymbolSession, ...]
    content_hash: str
    condition_table: str
    condition_fingerprint: str
    quality_severity: Severity | None = None
    report_uri: str | None = None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What the catalog holds about a session; the fields of `PublishedSession` and its history.

    A session that was published and then refused stays published as it was; ``refused_at`` and
    ``refused_reason`` tell of the last refusal.
    """

    session: date
    feed: Feed
    status: SessionStatus
    revision: int
    venue: Venue
    trades_version: int | None
    trades_files: tuple[str, ...]
    bars_version: int | None
    bars_files: tuple[str, ...]
    minutes: int | None
    symbols_asked: int
    symbols_published: int
    trade_count: int
    bar_count: int
    observed_minutes: int
    content_hash: str | None
    condition_table: str | None
    condition_fingerprint: str | None
    quality_severity: Severity | None
    report_uri: str | None
    published_at: datetime | None
    refused_at: datetime | None
    refused_reason: str | None
    tape_dropped_at: datetime | None


@dataclass(frozen=True, slots=True)
class QualityResult:
    """One expectation of a check."""

    suite: str
    expectation: str
    severity: Severity
    success: bool
    column: str | None = None
    unexpected_count: int = 0
    unexpected_fraction: float = 0.0
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QualityRun:
    """One check of a session, with every expectation."""

    session: date
    feed: Feed
    verdict: str
    critical_count: int
    warning_count: int
    report_uri: str | None = None
    results: tuple[QualityResult, ...] = field(default=())
    run_at: datetime | None = None  # None when recording: the database's time
