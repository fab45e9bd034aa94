"""The check of one staged session: judged, reported, recorded, and noted for its publication."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
import structlog

from alpaca_strategy import __version__
from alpaca_strategy.bootstrap import Services
from alpaca_strategy.domain.market import Session, Severity
from alpaca_strategy.errors import DataError
from alpaca_strategy.jobs.history import recent_history, splits_on
from alpaca_strategy.jobs.staged import CHECK, basis, failures, staged_bars, tape_of
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


def audit(home: Services, day: Session) -> tuple[Judgement, str]:
    """Judge the staged session, keep its report, and note what publication may do.

    Returns:
        The judgement, and where the report is.

    Raises:
        DataError: Nothing is staged, or it is not of the settings in force.
    """
    feed, asked, now = home.settings.data.feed, home.settings.symbols(), datetime.now(UTC)
    judged, failed = basis(home, day, asked), failures(home, day, asked)
    if not judged["tapes"] and not failed:
        msg = f"No trades of {day.day} are staged; run `alpaca-strategy fetch --session {day.day}`."
        raise DataError(msg)
    judgement = check_session(
        _check_input(home, day, asked, now),
        min_symbols_published=home.settings.quality.min_symbols_published,
        max_examples=home.settings.quality.max_examples,
    )
    page = render(judgement, session=day, feed=feed, generated_at=now, version=__version__)
    name = f"quality/{day.day}/{feed.value}-{now:%Y%m%dT%H%M%SZ}.html"
    uri = home.objects.put(name, page.encode())
    _record(home, day, judgement, uri, failed)
    worst = _worst(judgement)
    refused = judgement.verdict is Decision.REFUSE
    note = {
        "refused": judgement.sentence if refused else None,
        "quarantined": judgement.quarantined,
        "failed": failed,
        "severity": worst.value if worst else None,
        "report_uri": uri,
        "basis": judged,
    }
    home.staging.write_note(day.day, CHECK, note)
    log.info("session_checked", session=str(day.day), verdict=judgement.verdict.value, report=uri)
    return judgement, uri


def _check_input(home: Services, day: Session, asked: Sequence[str], now: datetime) -> CheckInput:
    manifests = {s: m for s in asked if (m := tape_of(home, day.day, s))}

    def tape(symbol: str) -> pa.Table | None:
        return home.staging.read_tape(day.day, symbol) if symbol in manifests else None

    return CheckInput(
        session=day,
        feed=home.settings.data.feed,
        symbols=tuple(asked),
        bars=staged_bars(home, day, asked),
        tape=tape,
        conditions=home.conditions,
        failed=failures(home, day, asked),
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
