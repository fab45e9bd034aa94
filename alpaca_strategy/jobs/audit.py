"""The check of one staged session: judged, reported, recorded, and noted for its publication."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
import structlog

from alpaca_strategy import __version__
from alpaca_strategy.bootstrap import Services
from alpaca_strategy.domain.market import Session, Severity
from alpaca_strategy.jobs.history import recent_history, splits_on
from alpaca_strategy.market.bars import build_session_bars
from alpaca_strategy.market.schema import TRADE_SCHEMA
from alpaca_strategy.quality.gate import Decision, check_session
from alpaca_strategy.quality.gate import QualityResult as Judgement
from alpaca_strategy.quality.inputs import CheckInput, Rejected
from alpaca_strategy.quality.report import render
from alpaca_strategy.storage.records import (
    QualityResult,
    QualityRun,
    SymbolSession,
    SymbolStatus,
)

log = structlog.get_logger(__name__)

#: Names of what is staged beside the tapes.
CHECK, BARS = "check", "bars"


def audit(home: Services, day: Session) -> tuple[Judgement, str]:
    """Judge the staged session, keep its report, and note what publication may do.

    Returns:
        The judgement, and where the report is.
    """
    feed, asked, now = home.settings.data.feed, home.settings.symbols(), datetime.now(UTC)
    judgement = check_session(
        _check_input(home, day, asked, now),
        min_symbols_published=home.settings.quality.min_symbols_published,
        max_examples=home.settings.quality.max_examples,
    )
    page = render(judgement, session=day, feed=feed, generated_at=now, version=__version__)
    name = f"quality/{day.day}/{feed.value}-{now:%Y%m%dT%H%M%SZ}.html"
    uri = home.objects.put(name, page.encode())
    failed = home.staging.failures(day.day)
    _record(home, day, judgement, uri, failed)
    worst = _worst(judgement)
    refused = judgement.verdict is Decision.REFUSE
    note = {
        "refused": judgement.sentence if refused else None,
        "quarantined": judgement.quarantined,
        "failed": failed,
        "severity": worst.value if worst else None,
        "report_uri": uri,
        "tapes": tape_hashes(home, day, asked),  # publication refuses any other
    }
    home.staging.write_note(day.day, CHECK, note)
    log.info("session_checked", session=str(day.day), verdict=judgement.verdict.value, report=uri)
    return judgement, uri


def tape_hashes(home: Services, day: Session, symbols: Sequence[str]) -> dict[str, str]:
    """Return the content hash of each staged tape."""
    found = {symbol: home.staging.manifest(day.day, symbol) for symbol in symbols}
    return {symbol: manifest.tape_hash for symbol, manifest in found.items() if manifest}


def staged_bars(home: Services, day: Session, symbols: Sequence[str]) -> pa.Table:
    """Return the bars of the symbols; those without any get unobserved minutes."""
    tables = {s: home.staging.read_table(day.day, s, BARS) for s in symbols}
    missing = [symbol for symbol, table in tables.items() if table is None]
    empty = build_session_bars(TRADE_SCHEMA.empty_table(), day, missing, home.conditions)
    return pa.concat_tables([*(t for t in tables.values() if t is not None), empty])


def _check_input(home: Services, day: Session, asked: Sequence[str], now: datetime) -> CheckInput:
    manifests = {s: m for s in asked if (m := home.staging.manifest(day.day, s))}

    def tape(symbol: str) -> pa.Table | None:
        return home.staging.read_tape(day.day, symbol) if symbol in manifests else None

    return CheckInput(
        session=day,
        feed=home.settings.data.feed,
        symbols=tuple(asked),
        bars=staged_bars(home, day, asked),
        tape=tape,
        conditions=home.conditions,
        failed=home.staging.failures(day.day),
        rejected={
            s: Rejected(m.rejected_count, m.rejected_examples)
            for s, m in manifests.items()
            if m.rejected_count
        },
        history=recent_history(home, day.day, asked),
        splits=splits_on(home, day.day, asked),
        as_of=now,
    )


def _worst(judgement: Judgement) -> Severity | None:
    broken = {r.severity for r in judgement.results if r.success is False}
    return next((severity for severity in Severity if severity in broken), None)


def _record(
    home: Services, day: Session, judgement: Judgement, uri: str, failed: dict[str, str]
) -> None:
    """Write the check into Postgres, and the refusal where it is one."""
    feed = home.settings.data.feed
    home.catalog.record_quality(
        QualityRun(
            session=day.day,
            feed=feed,
            verdict=judgement.verdict.value,
            critical_count=judgement.critical,
            warning_count=judgement.warning,
            report_uri=uri,
            results=tuple(
                QualityResult(
                    suite=r.suite,
                    expectation=r.expectation,
                    severity=r.severity,
                    success=r.success is not False,
                    column=r.column,
                    unexpected_count=r.unexpected_count,
                    unexpected_fraction=r.unexpected_count / max(r.element_count, 1),
                    symbols=r.symbols,
                )
                for r in judgement.results
                if r.success is not None
            ),
        )
    )
    if judgement.verdict is Decision.REFUSE:
        symbols = [
            SymbolSession(
                symbol=s,
                status=SymbolStatus.FAILED if s in failed else SymbolStatus.QUARANTINED,
                reason=failed.get(s) or judgement.quarantined.get(s) or judgement.sentence,
            )
            for s in home.settings.symbols()
        ]
        home.catalog.refuse(
            day.day,
            feed,
            venue=home.settings.resolved_venue,
            reason=judgement.sentence,
            symbols=symbols,
            report_uri=uri,
        )
