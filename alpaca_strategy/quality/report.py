"""The report of one check: a single HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from alpaca_strategy.config import PROJECT_ROOT
from alpaca_strategy.domain.market import Feed, Session, Severity
from alpaca_strategy.quality.expectations import SUITES
from alpaca_strategy.quality.gate import Decision, ExpectationResult, QualityResult
from alpaca_strategy.quality.picture import DARK, LIGHT, draw, legend
from alpaca_strategy.quality.rules import Demand, Rule
from alpaca_strategy.quality.suites import figure
from alpaca_strategy.quality.tape_gauge import NEW_YORK

TEMPLATES = PROJECT_ROOT / "include" / "templates"
_LONGEST_CELL = 160
_SHOWN_SYMBOLS = 40
_RULES: dict[str, Rule] = {rule.name: rule for rules in SUITES.values() for rule in rules}
_SUITE_TITLES = {
    "session": "The session as a whole",
    "symbols": "Each symbol's session",
    "trades": "Trades",
    "bars": "Bars",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation as the page shows it."""

    name: str
    severity: str
    state: str
    expected: str
    seen: str
    symbols: str
    action: str
    columns: tuple[str, ...]
    examples: tuple[tuple[str, ...], ...]


def render(
    result: QualityResult, *, session: Session, feed: Feed, generated_at: datetime, version: str
) -> str:
    """Return the report as one HTML page without scripts or outside references.

    Args:
        result: The gate's answer.
        session: The session that was checked.
        feed: The tape it comes from.
        generated_at: Moment of the check.
        version: Of this program.
    """
    suites = {
        suite: [_check(r) for r in result.results if r.suite == suite] for suite in _SUITE_TITLES
    }
    broken = [check for checks in suites.values() for check in checks if check.state == "failed"]
    broken.sort(key=lambda check: list(Severity).index(Severity(check.severity)))
    template = _environment().get_template("quality_report.html")
    return template.render(
        result=result,
        refused=result.verdict is Decision.REFUSE,
        session=session,
        opens=session.opens_at.astimezone(NEW_YORK),
        closes=session.closes_at.astimezone(NEW_YORK),
        feed="IEX" if feed is Feed.IEX else "SIP",
        tiles=_tiles(result, session),
        picture=draw(result.coverage, session, tuple(result.quarantined)),
        legend=legend(),
        palettes={"light": _hex(LIGHT), "dark": _hex(DARK)},
        suites=[(_SUITE_TITLES[suite], checks) for suite, checks in suites.items()],
        broken=broken,
        generated_at=generated_at.astimezone(UTC),
        version=version,
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # symbols, conditions and reasons come from outside
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    return environment


def cell(value: object) -> str:
    """Return any value as the text of a table cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    text = f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def _tiles(result: QualityResult, session: Session) -> list[tuple[str, str, str]]:
    """Return the page's headline figures: value, name, tone."""
    coverage = result.coverage
    share = float(coverage.share.mean()) if coverage.symbols else 0.0
    rows = {r.expectation: r.element_count for r in result.results}
    held = sum(r.success is True for r in result.results)
    return [
        (f"{len(result.published):,}", "symbols fit to publish", ""),
        (f"{len(result.quarantined):,}", "quarantined", "bad" if result.quarantined else ""),
        (f"{result.critical:,}", "critical findings", "bad" if result.critical else ""),
        (f"{result.warning:,}", "warnings", "warn" if result.warning else ""),
        (f"{held:,}", "expectations held", ""),
        (f"{rows['trade_prices_are_positive']:,}", "trades checked", ""),
        (f"{rows['bar_prices_are_positive']:,}", "bars checked", ""),
        (f"{share * 100:.0f} %", f"of {session.minutes} minutes have a bar", ""),
    ]


def _check(result: ExpectationResult) -> Check:
    columns = tuple(dict.fromkeys(name for row in result.examples for name in row))
    return Check(
        name=result.expectation,
        severity=result.severity.value,
        state={True: "held", False: "failed", None: "not judged"}[result.success],
        expected=result.expected,
        seen=_seen(result),
        symbols=_listed(result.symbols),
        action=result.action,
        columns=columns,
        examples=tuple(tuple(_cells(row, columns)) for row in result.examples),
    )


def _cells(row: Mapping[str, Any], columns: Iterable[str]) -> Iterable[str]:
    for name in columns:
        value = row.get(name, "")
        if name == "conditions" and isinstance(value, str):
            value = value.replace(" ", "(blank)")  # a condition of its own, which nobody would see
        yield str(value) if name == "id" else cell(value)


def _seen(result: ExpectationResult) -> str:
    rule, value = _RULES[result.expectation], result.observed_value
    if value is None:
        return "nothing to judge"
    if rule.demand is Demand.NONE:
        found = value if rule.of else float(len(result.symbols))
        return f"{figure(found) if value else 'none'} of {result.element_count:,}"
    text = figure(value, percent=rule.percent)
    if rule.demand is Demand.EQUAL:
        return text
    extreme = "lowest" if rule.demand is Demand.AT_LEAST else "highest"
    return text if result.suite == "session" else f"{extreme} {text}"


def _listed(symbols: tuple[str, ...]) -> str:
    shown = ", ".join(cell(symbol) for symbol in symbols[:_SHOWN_SYMBOLS])
    more = len(symbols) - _SHOWN_SYMBOLS
    return f"{shown} and {more:,} more" if more > 0 else shown


def _hex(palette: Iterable[tuple[int, int, int]]) -> list[str]:
    return ["#" + "".join(f"{part:02x}" for part in colour) for colour in palette]
