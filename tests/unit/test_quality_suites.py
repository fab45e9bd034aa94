"""The rules as data, and as Great Expectations suites."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
from quality_sessions import make_input

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.quality import bar_gauge, session_gauge, tape_gauge
from alpaca_strategy.quality.expectations import SUITES
from alpaca_strategy.quality.gate import check_session
from alpaca_strategy.quality.rules import Demand
from alpaca_strategy.quality.suites import auditor, build_suite, expected, figure
from alpaca_strategy.quality.thresholds import LIMITS

RULES = [(suite, rule) for suite, rules in SUITES.items() for rule in rules]


def test_names_are_unique_and_every_limit_is_used_and_explained() -> None:
    names = [rule.name for _, rule in RULES]
    assert len(set(names)) == len(names)
    source = "".join(inspect.getsource(m) for m in (bar_gauge, tape_gauge, session_gauge))
    used = {rule.limit for _, rule in RULES if rule.limit}
    assert used | {"split_tolerance"} == set(LIMITS)
    assert 'limit("split_tolerance"' in source
    assert all(len(entry.why) > 20 for entry in LIMITS.values())


@pytest.mark.parametrize("feed", list(Feed))
def test_every_rule_says_in_words_what_it_demands_and_what_to_do(feed: Feed) -> None:
    for _, rule in RULES:
        said = expected(rule, feed)
        assert said.endswith(".")
        assert "{" not in said
        assert rule.action.endswith(".")
        assert (rule.limit is not None) >= (rule.demand in (Demand.AT_MOST, Demand.AT_LEAST))


@pytest.mark.parametrize("name", list(SUITES))
def test_suites_are_of_great_expectations_own_kinds_with_our_severities(name: str) -> None:
    suite = build_suite(name, Feed.IEX)
    assert {e.meta["name"]: e.severity.value for e in suite.expectations} == {
        rule.name: rule.severity.value for rule in SUITES[name]
    }
    assert {type(e).__module__.split(".")[0] for e in suite.expectations} == {"great_expectations"}


def test_every_figure_that_a_rule_names_is_measured() -> None:
    data = make_input(trades=300)
    result = check_session(data)
    unjudged = {r.expectation for r in result.results if r.success is None}
    # These need earlier sessions, or the consolidated feed; everything else has been judged.
    assert unjudged == {
        "volume_is_plausible",
        "volume_is_usual",
        "trade_count_is_usual",
        "open_follows_the_previous_close",
        "announced_splits_took_place",
        "overnight_move_is_usual",
        "session_is_not_a_repeat",
        "the_tape_is_consolidated",
    }


def test_all_failing_symbols_are_named_however_many() -> None:
    rows = [{"symbol": f"S{n}", "duplicated": float(n % 2), "trades": 9.0} for n in range(400)]
    (verdict,) = [
        v for v in auditor(Feed.IEX).judge("trades", rows) if v.rule.column == "duplicated"
    ]
    assert verdict.failing == tuple(f"S{n}" for n in range(400) if n % 2)


def test_a_figure_that_is_not_a_number_says_nothing() -> None:
    rows = [{"symbol": "KO", "silent_tail": np.nan}, {"symbol": "HD", "silent_tail": 3.0}]
    (verdict,) = [
        v for v in auditor(Feed.IEX).judge("symbols", rows) if v.rule.column == "silent_tail"
    ]
    assert verdict.success is True
    rows = [{"symbol": "KO", "silent_tail": np.nan}]
    assert all(v.success is None for v in auditor(Feed.IEX).judge("symbols", rows))


@pytest.mark.parametrize(
    ("value", "percent", "text"),
    [
        (1234.0, False, "1,234"),
        (0.4321, False, "0.432"),
        (0.052, True, "5.2 %"),
        (123.4, False, "123"),
        (2.5, True, "250 %"),
        (0.0, True, "0 %"),
    ],
)
def test_figures_read_as_people_write_them(value: float, percent: bool, text: str) -> None:
    assert figure(value, percent=percent) == text


def test_importing_the_gate_does_not_import_great_expectations() -> None:
    code = (
        "import sys, alpaca_strategy.quality.gate, alpaca_strategy.quality.report\n"
        "print([m for m in ('great_expectations', 'pandas', 'torch') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
