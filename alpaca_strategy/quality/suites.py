"""The rules as Great Expectations suites, and the one place that runs them.

Great Expectations judges frames with one row a symbol. Every expectation is first asked for its
verdict alone, which costs about 4 ms; only those that fail are asked again which rows fail.
Importing it takes seconds, so that this module does so inside functions only.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.quality.expectations import SUITES
from alpaca_strategy.quality.rules import Demand, Rule, Values
from alpaca_strategy.quality.thresholds import limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Great Expectations says of one rule.

    Attributes:
        rule: The rule.
        success: Whether every row holds; None where no row could be judged.
        failing: Names in the frame's first column of the rows that do not hold.
    """

    rule: Rule
    success: bool | None
    failing: tuple[str, ...] = ()


class Auditor:
    """Suites of one feed in an ephemeral context; built once a process, used for each session."""

    def __init__(self, feed: Feed) -> None:
        """Build the context and every expectation."""
        gx = _great_expectations()
        from great_expectations.data_context.types.base import (  # noqa: PLC0415  # slow import
            ProgressBarsConfig,
        )

        context = gx.get_context(mode="ephemeral")
        context.enable_analytics(enable=False)
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("quality").add_dataframe_asset("figures")
        self._batches = asset.add_batch_definition_whole_dataframe("session")
        self._suite = gx.ExpectationSuite
        self._expectations = {
            rule.name: to_expectation(rule, feed) for rules in SUITES.values() for rule in rules
        }
        self._cached: dict[tuple[str, ...], Any] = {}

    def judge(self, suite: str, rows: list[dict[str, Any]]) -> list[Verdict]:
        """Judge a suite's figures, one row a symbol, each with the key ``symbol``."""
        import pandas as pd  # noqa: PLC0415  # slow import

        frame = pd.DataFrame.from_records(rows)
        rules = SUITES[suite]
        ready = [r for r in rules if r.column in frame and frame[r.column].notna().any()]
        if not ready:
            return [Verdict(rule, success=None) for rule in rules]
        batch = self._batches.get_batch(batch_parameters={"dataframe": frame})
        verdicts = self._validate(batch, ready, {"result_format": "BOOLEAN_ONLY"})
        broken = [rule for rule in ready if not verdicts[rule.name].success]
        if broken:
            detail = {
                "result_format": "SUMMARY",
                "partial_unexpected_count": len(rows),
                "unexpected_index_column_names": ["symbol"],
            }
            verdicts |= self._validate(batch, broken, detail)
        return [verdicts.get(rule.name, Verdict(rule, success=None)) for rule in rules]

    def _validate(
        self, batch: Any, rules: Iterable[Rule], result_format: dict[str, Any]
    ) -> dict[str, Verdict]:
        by_name = {rule.name: rule for rule in rules}
        key = tuple(by_name)
        if key not in self._cached:
            chosen = [self._expectations[name] for name in key]
            self._cached[key] = self._suite(name="-".join(key)[:60], expectations=chosen)
        answer = batch.validate(self._cached[key], result_format=result_format)
        verdicts = {}
        for item in answer.results:
            name = item.expectation_config.meta["name"]
            if "result" not in item or _raised(item.exception_info):
                msg = f"Great Expectations could not evaluate {name}: {item.exception_info}"
                raise RuntimeError(msg)
            failing = item.result.get("partial_unexpected_index_list") or ()
            names = tuple(str(row["symbol"]) for row in failing)
            verdicts[name] = Verdict(by_name[name], bool(item.success), names)
        return verdicts


@lru_cache(maxsize=2)
def auditor(feed: Feed) -> Auditor:
    """Return the process's auditor of a feed."""
    return Auditor(feed)


def build_suite(name: str, feed: Feed) -> Any:
    """Return one of our suites as a Great Expectations suite, whole.

    Args:
        name: A key of ``expectations.SUITES``.
        feed: Decides the limits.
    """
    gx = _great_expectations()
    rules = SUITES[name]
    return gx.ExpectationSuite(name=name, expectations=[to_expectation(r, feed) for r in rules])


def to_expectation(rule: Rule, feed: Feed) -> Any:
    """Return a rule as an expectation of Great Expectations' core."""
    gxe = _great_expectations().expectations
    told = {
        "severity": rule.severity.value,
        "description": expected(rule, feed),
        "meta": {"name": rule.name, "action": rule.action},
    }
    if rule.demand is Demand.EQUAL:
        return gxe.ExpectColumnPairValuesToBeEqual(
            column_A=rule.column,
            column_B=rule.other,
            ignore_row_if="either_value_is_missing",
            **told,
        )
    bound = bound_of(rule, feed)
    if rule.demand is Demand.AT_LEAST:
        return gxe.ExpectColumnValuesToBeBetween(column=rule.column, min_value=bound, **told)
    return gxe.ExpectColumnValuesToBeBetween(column=rule.column, max_value=bound, **told)


def bound_of(rule: Rule, feed: Feed) -> float:
    """Return the figure that a rule's column is held against."""
    if rule.demand is Demand.NONE or rule.limit is None:
        return 0.0
    return limit(rule.limit, feed)


def expected(rule: Rule, feed: Feed) -> str:
    """Return what a rule demands, in words."""
    return rule.expects.format(limit=_limit_text(rule, feed))


def reason(rule: Rule, feed: Feed, values: Values) -> str:
    """Return what is wrong with a row that breaks a rule, in words."""
    as_share = rule.percent and rule.demand is not Demand.NONE
    return rule.reason.format(
        value=figure(values[rule.column], percent=as_share),
        of=figure(values.get(rule.of, 0.0)) if rule.of else "",
        other=figure(values.get(rule.other, 0.0)) if rule.other else "",
        limit=_limit_text(rule, feed),
    )


def figure(value: float, *, percent: bool = False) -> str:
    """Return a figure as people read it: 1,234 or 0.43 or 5.2 %."""
    if percent:
        return f"{value * 100:,.3g} %" if abs(value) < 1 else f"{value * 100:,.0f} %"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _limit_text(rule: Rule, feed: Feed) -> str:
    return "" if rule.limit is None else figure(limit(rule.limit, feed), percent=rule.percent)


def _raised(info: Any) -> bool:
    if not info:
        return False
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return True  # keyed by metric: only metrics that failed are listed


def _great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        # It imports modules of the standard library that are on their way out.
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx  # noqa: PLC0415  # 3-6 s
        import great_expectations.expectations  # noqa: PLC0415
    return gx
