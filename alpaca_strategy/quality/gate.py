"""The gate between writing and publishing: publish a session, with or without some symbols, or not.

A critical failure quarantines the symbol. The whole session is refused where a rule over all
symbols fails, or where too few symbols remain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from alpaca_strategy.domain.market import Severity
from alpaca_strategy.quality.coverage import FLAGGED, Coverage
from alpaca_strategy.quality.expectations import SUITES
from alpaca_strategy.quality.inputs import CheckInput
from alpaca_strategy.quality.rules import Demand, Rule
from alpaca_strategy.quality.suites import Verdict, auditor, expected, figure, reason
from alpaca_strategy.quality.survey import Survey, take_survey

#: Most telling first: the reason given for a quarantine is the first that applies.
_TELLING = ("symbols", "trades", "bars")


class Decision(StrEnum):
    """What the gate decides about a session."""

    PUBLISH = "publish"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """One expectation's outcome, as it is kept in Postgres.

    Attributes:
        suite: session, symbols, trades or bars.
        expectation: The rule's name.
        column: The figure that was judged.
        severity: What a failure means.
        success: None where there was nothing to judge.
        expected: What was demanded, in words.
        observed_value: Offenders in total, or the symbol's figure farthest from the limit.
        unexpected_count: Offending rows, or symbols where rows are not counted.
        element_count: Rows looked at, or symbols.
        symbols: Those that fail.
        examples: Offending rows.
        action: What a person does about a failure.
    """

    suite: str
    expectation: str
    column: str
    severity: Severity
    success: bool | None
    expected: str
    observed_value: float | None
    unexpected_count: int
    element_count: int
    symbols: tuple[str, ...]
    examples: tuple[dict[str, Any], ...]
    action: str


@dataclass(frozen=True, slots=True)
class QualityResult:
    """The gate's answer.

    Attributes:
        verdict: Publish or refuse.
        sentence: The same in words, with figures.
        published: Symbols fit to publish; none where the session is refused.
        quarantined: The others, each with its reason.
        critical: Critical expectations that failed.
        warning: Warnings that failed.
        results: Every expectation's outcome, in the suites' order.
        coverage: Minutes with bars, by symbol.
    """

    verdict: Decision
    sentence: str
    published: tuple[str, ...]
    quarantined: dict[str, str]
    critical: int
    warning: int
    results: tuple[ExpectationResult, ...]
    coverage: Coverage


def check_session(
    data: CheckInput, *, min_symbols_published: float = 0.9, max_examples: int = 20
) -> QualityResult:
    """Check one session against every expectation and decide.

    Args:
        data: What was written, and what is known around it.
        min_symbols_published: Share of the symbols asked for that must remain.
        max_examples: Offending rows kept for each expectation.

    Raises:
        DataError: Bars or trades lack a column or hold another type.
    """
    survey = take_survey(data, max_examples)
    judge = auditor(data.feed).judge
    verdicts = {suite: judge(suite, survey.rows[suite]) for suite in SUITES}
    results = tuple(
        _result(suite, verdict, survey, data, max_examples)
        for suite, found in verdicts.items()
        for verdict in found
    )
    broken = [r for r in results if r.success is False]
    quarantined = _quarantined(verdicts, survey, data)
    market = [
        reason(v.rule, data.feed, survey.rows["session"][0])
        for v in verdicts["session"]
        if v.success is False and v.rule.severity is Severity.CRITICAL
    ]
    kept = tuple(symbol for symbol in data.symbols if symbol not in quarantined)
    refusal = _refusal(market, kept, data, min_symbols_published, broken)
    warnings = sum(r.severity is Severity.WARNING for r in broken)
    return QualityResult(
        verdict=Decision.REFUSE if refusal else Decision.PUBLISH,
        sentence=refusal or _acceptance(kept, quarantined, data, warnings),
        published=() if refusal else kept,
        quarantined=quarantined,
        critical=sum(r.severity is Severity.CRITICAL for r in broken),
        warning=warnings,
        results=results,
        coverage=_coverage(survey, verdicts),
    )


def _result(
    suite: str, verdict: Verdict, survey: Survey, data: CheckInput, max_examples: int
) -> ExpectationResult:
    rule = verdict.rule
    rows = [row for row in survey.rows[suite] if not np.isnan(row.get(rule.column, np.nan))]
    counted = rule.demand is Demand.NONE and rule.of is not None
    found = [row[rule.column] for row in rows]
    examples: tuple[dict[str, Any], ...] = ()
    if verdict.success is False:
        examples = survey.examples_of(suite, rule, verdict.failing, data, max_examples)
    return ExpectationResult(
        suite=suite,
        expectation=rule.name,
        column=rule.column,
        severity=rule.severity,
        success=verdict.success,
        expected=expected(rule, data.feed),
        observed_value=_observed(rule, rows) if rows else None,
        unexpected_count=int(sum(found)) if counted else len(verdict.failing),
        element_count=int(sum(row[rule.of] for row in rows)) if counted and rule.of else len(rows),
        symbols=verdict.failing if suite != "session" else (),
        examples=examples,
        action=rule.action,
    )


def _observed(rule: Rule, rows: list[dict[str, Any]]) -> float:
    found = [float(row[rule.column]) for row in rows]
    if rule.demand is Demand.NONE:
        return sum(found)
    if rule.demand is Demand.EQUAL and rule.other is not None:
        off = [row for row in rows if row[rule.column] != row[rule.other]]
        return float((off or rows)[0][rule.column])
    return min(found) if rule.demand is Demand.AT_LEAST else max(found)


def _quarantined(
    verdicts: dict[str, list[Verdict]], survey: Survey, data: CheckInput
) -> dict[str, str]:
    """Return each symbol with a critical failure and its first reason, in the order asked for."""
    reasons: dict[str, list[str]] = {}
    for suite in _TELLING:
        rows = {row["symbol"]: row for row in survey.rows[suite]}
        for verdict in verdicts[suite]:
            if verdict.rule.severity is not Severity.CRITICAL:
                continue
            for symbol in verdict.failing:
                text = reason(verdict.rule, data.feed, rows[symbol])
                if verdict.rule.name == "symbol_was_fetched":
                    text = f"{text}: {data.failed[symbol].rstrip('.')}"
                reasons.setdefault(symbol, []).append(f"{verdict.rule.name}: {text}")
    order = [*(s for s in data.symbols if s in reasons), *sorted(set(reasons) - set(data.symbols))]
    return {symbol: _sentence(reasons[symbol]) for symbol in order}


def _sentence(reasons: list[str]) -> str:
    more = len(reasons) - 1
    if not more:
        return f"{reasons[0]}."
    return f"{reasons[0]} (and {more} other critical finding{'s' if more > 1 else ''})."


def _refusal(
    market: list[str],
    kept: tuple[str, ...],
    data: CheckInput,
    least: float,
    broken: Iterable[ExpectationResult],
) -> str:
    session = f"{data.session.day:%Y-%m-%d} on {data.feed.value.upper()}"
    if market:
        return f"The session {session} is refused: {market[0]}."
    asked = len(data.symbols)
    if asked and len(kept) >= least * asked:
        return ""
    causes = Counter(
        {r.expectation: len(r.symbols) for r in broken if r.severity is Severity.CRITICAL}
    )
    first = causes.most_common(1)
    why = f"; {first[0][0]} fails for {first[0][1]}" if first else ""
    return (
        f"The session {session} is refused: {len(kept)} of {asked} symbols are fit to publish, "
        f"fewer than the {figure(least, percent=True)} asked for{why}."
    )


def _acceptance(
    kept: tuple[str, ...], quarantined: dict[str, str], data: CheckInput, warnings: int
) -> str:
    session = f"{data.session.day:%Y-%m-%d} on {data.feed.value.upper()}"
    asked = len(data.symbols)
    text = f"The session {session} is fit to publish with {len(kept)} of {asked} symbols"
    if quarantined:
        text += f"; {len(quarantined)} quarantined"
    if warnings:
        text += f"; {warnings} warning{'s' if warnings > 1 else ''}"
    return f"{text}."


def _coverage(survey: Survey, verdicts: dict[str, list[Verdict]]) -> Coverage:
    level = survey.coverage.level.copy()
    row_of = {symbol: row for row, symbol in enumerate(survey.coverage.symbols)}
    for suite in ("trades", "bars"):
        for verdict in verdicts[suite]:
            if verdict.rule.severity is not Severity.CRITICAL:
                continue
            for symbol in verdict.failing:
                found = survey.found.get((suite, verdict.rule.column, symbol))
                if found is not None and symbol in row_of:
                    level[row_of[symbol], found.minutes] = FLAGGED
    return Coverage(survey.coverage.symbols, level)
