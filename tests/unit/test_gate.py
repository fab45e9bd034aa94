"""The gate: every way to decide, and how often each is wrong."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alpaca_strategy.domain.models import VerdictKind
from alpaca_strategy.errors import SettingsError
from alpaca_strategy.model.gate import GatePolicy, SessionScores, Verdict, judge
from alpaca_strategy.model.gate_figures import interval
from alpaca_strategy.model.gate_power import (
    DIFFERENCES,
    alone,
    interval_errors,
    one_gate,
    one_year,
    serves,
    table,
)
from alpaca_strategy.model.gate_worlds import SESSION_NOISE, WORLDS, World

POLICY = GatePolicy()
DAYS = tuple(date(2026, 10, 1) + timedelta(days=i) for i in range(21))
#: Mean 0, and a standard deviation (n - 1) of 0.03, as of 21 sessions of a real model.
WIGGLE = np.linspace(-1, 1, 21) / np.linspace(-1, 1, 21).std(ddof=1) * 0.03
OTHER_WIGGLE = np.roll(WIGGLE, 7)
REACH = 1.72472 * 0.03 / np.sqrt(21)  # Student's 0.95 quantile with 20 degrees of freedom


def scores(rank_ic: Any, ic: Any = None, days: tuple[date, ...] = DAYS) -> SessionScores:
    values = np.asarray(rank_ic, np.float64)
    return SessionScores(days, values, values if ic is None else np.asarray(ic, np.float64))


def decide(challenger: Any, champion: Any = None, **changes: Any) -> Verdict:
    policy = changes.pop("policy", POLICY)
    if champion is None and "champion_unusable" not in changes:
        return judge(scores(challenger), None, policy=policy, **changes)
    other = None if champion is None else scores(champion)
    changes = {"expires_in_days": 40.0, "champion_age_days": 2.0} | changes
    return judge(scores(challenger), other, policy=policy, **changes)


# ---------------------------------------------------------------------------- nobody to compare to


def test_the_first_model_serves_provisionally_and_says_how_good_it_is() -> None:
    verdict = decide(0.03 + WIGGLE)
    assert verdict.kind is VerdictKind.PROVISIONAL
    low, high = 0.03 - REACH, 0.03 + REACH
    assert f"+0.0300 (90 % interval {low:+.4f} to {high:+.4f}), above 0" in verdict.reason
    assert (verdict.difference, verdict.low, verdict.high) == (None, None, None)


def test_a_first_model_that_may_be_worth_nothing_serves_and_says_so() -> None:
    verdict = decide(REACH - 0.001 + WIGGLE)
    assert verdict.kind is VerdictKind.PROVISIONAL
    assert "not certainly above 0" in verdict.reason
    assert decide(-REACH + 0.001 + WIGGLE).kind is VerdictKind.PROVISIONAL


def test_a_model_that_ranks_backwards_is_refused_even_where_it_beats_the_champion() -> None:
    backwards = -REACH - 0.001 + WIGGLE
    for verdict in (decide(backwards), decide(backwards, backwards - 0.05)):
        assert verdict.kind is VerdictKind.REFUSED
        assert "ranks backwards" in verdict.reason


@pytest.mark.parametrize("champion", [None, 0.01 + OTHER_WIGGLE])
def test_a_model_without_figures_is_refused(champion: Any) -> None:
    some = np.where(np.arange(21) < 14, 0.05, np.nan)
    verdict = decide(some, champion)
    assert verdict.kind is VerdictKind.REFUSED
    assert "only 14 held-out sessions, and 15 are the least" in verdict.reason
    assert decide(np.full(21, np.nan), champion).kind is VerdictKind.REFUSED
    enough = np.where(np.arange(21) < 15, 0.05 + WIGGLE, np.nan)
    assert decide(enough).kind is VerdictKind.PROVISIONAL


# ---------------------------------------------------------------------------- too good to be true


@pytest.mark.parametrize("champion", [None, 0.02 + OTHER_WIGGLE])
def test_an_ic_that_points_to_a_leak_is_held_for_a_person_unless_data_are_simulated(
    champion: Any,
) -> None:
    leaking = 0.12 + WIGGLE
    verdict = decide(leaking, champion)
    assert verdict.kind is VerdictKind.SUSPECT
    assert "0.1200, above 0.10" in verdict.reason
    assert not verdict.kind.serves
    assert decide(leaking, champion, policy=GatePolicy(simulated=True)).kind.serves


def test_either_correlation_may_raise_the_suspicion() -> None:
    ranks = scores(0.05 + WIGGLE, ic=0.11 + WIGGLE)
    assert judge(ranks, None, policy=POLICY).kind is VerdictKind.SUSPECT
    nothing = scores(0.05 + WIGGLE, ic=np.full(21, np.nan))
    assert judge(nothing, None, policy=POLICY).kind is VerdictKind.PROVISIONAL
    assert decide(0.0999 + WIGGLE).kind is VerdictKind.PROVISIONAL


# ---------------------------------------------------------------------------- against a champion


def test_a_better_challenger_is_promoted_and_the_figures_are_told() -> None:
    champion = 0.02 + OTHER_WIGGLE
    verdict = decide(champion + REACH + 0.001 + WIGGLE, champion)
    assert verdict.kind is VerdictKind.PROMOTE
    assert verdict.difference == pytest.approx(REACH + 0.001)
    assert verdict.low == pytest.approx(0.001, abs=1e-6)
    assert verdict.high == pytest.approx(2 * REACH + 0.001, abs=1e-6)
    assert "challenger +0.0323, champion +0.0200, difference +0.0123" in verdict.reason


def test_a_challenger_that_is_not_certainly_better_is_not_promoted() -> None:
    champion = 0.02 + OTHER_WIGGLE
    verdict = decide(champion + REACH - 0.001 + WIGGLE, champion)
    assert verdict.kind is VerdictKind.KEEP
    assert "not above 0 for certain" in verdict.reason


def test_one_that_is_no_worse_is_promoted_only_when_the_champion_expires_soon() -> None:
    champion = 0.02 + OTHER_WIGGLE
    no_worse = champion - 0.01 + REACH + 0.001 + WIGGLE
    late = decide(no_worse, champion, expires_in_days=21.0)
    assert late.kind is VerdictKind.PROMOTE
    assert "expires in 21 days" in late.reason
    assert "margin of 0.01" in late.reason
    assert decide(no_worse, champion, expires_in_days=21.5).kind is VerdictKind.KEEP
    worse = decide(no_worse - 0.002, champion, expires_in_days=14.0)
    assert worse.kind is VerdictKind.KEEP
    assert "perhaps below 0 by the margin of 0.01, and the champion expires in 14" in worse.reason


def test_a_champion_that_cannot_go_on_gives_way_to_a_worse_one_that_is_better_than_nothing() -> (
    None
):
    champion, weaker = 0.06 + WIGGLE, 0.01 + OTHER_WIGGLE
    assert decide(weaker, champion, expires_in_days=7.0).kind is VerdictKind.KEEP
    for left, words in ((0.1, "expires in 0 days"), (-3.0, "expired 3 days ago")):
        verdict = decide(weaker, champion, expires_in_days=left)
        assert verdict.kind is VerdictKind.PROVISIONAL
        assert words in verdict.reason
    useless = decide(-0.005 + OTHER_WIGGLE, champion, expires_in_days=-3.0)
    assert useless.kind is VerdictKind.KEEP
    assert "nothing will serve: train again" in useless.reason


def test_without_a_word_on_expiry_the_challenger_must_be_better() -> None:
    champion = 0.02 + OTHER_WIGGLE
    assert decide(champion, champion, expires_in_days=None).kind is VerdictKind.KEEP
    assert decide(champion, champion, expires_in_days=14.0).kind is VerdictKind.PROMOTE


@pytest.mark.parametrize("margin_over_zero", [0.001, -0.001])
def test_a_champion_that_cannot_be_scored_gives_way_to_one_that_stands_alone(
    margin_over_zero: float,
) -> None:
    challenger = -0.01 + REACH + margin_over_zero + WIGGLE
    verdict = decide(challenger, champion_unusable="its file is damaged")
    fit = margin_over_zero > 0
    assert verdict.kind is (VerdictKind.PROVISIONAL if fit else VerdictKind.KEEP)
    assert "cannot be scored (its file is damaged)" in verdict.reason
    assert verdict.difference is None
    assert verdict.evidence["champion_unusable"] == "its file is damaged"


def test_a_champion_with_too_few_shared_sessions_cannot_be_scored() -> None:
    champion = np.where(np.arange(21) < 14, 0.5, np.nan)
    verdict = decide(0.03 + WIGGLE, champion)
    assert verdict.kind is VerdictKind.PROVISIONAL
    assert "only 14 held-out sessions have figures of both models" in verdict.reason


@pytest.mark.parametrize("left", [40.0, -1.0])
@pytest.mark.parametrize("unusable", [None, "its file is damaged"])
def test_a_pinned_champion_stays_whatever_comes(left: float, unusable: str | None) -> None:
    champion = None if unusable else 0.0 + OTHER_WIGGLE
    verdict = decide(
        0.09 + WIGGLE,
        champion,
        pinned=True,
        expires_in_days=left,
        champion_unusable=unusable,
    )
    assert verdict.kind is VerdictKind.KEEP
    assert "pinned and stays" in verdict.reason
    assert ("expired 1 days ago" in verdict.reason) is (left < 0)
    assert ("its file is damaged" in verdict.reason) is (unusable is not None)


def test_a_borderline_case_asks_a_person_only_where_that_was_configured() -> None:
    champion, asking = 0.02 + OTHER_WIGGLE, GatePolicy(ask_person=True)
    leaning = champion + 0.008 + WIGGLE  # 0.80 of certainty needs 0.0056, 0.95 needs 0.0113
    assert decide(leaning, champion).kind is VerdictKind.KEEP
    verdict = decide(leaning, champion, policy=asking)
    assert verdict.kind is VerdictKind.ASK
    assert "looks better than the champion, but not with 95 % confidence" in verdict.reason
    assert decide(champion + 0.005 + WIGGLE, champion, policy=asking).kind is VerdictKind.KEEP
    no_worse = champion - 0.002 + WIGGLE
    late = decide(no_worse, champion, policy=asking, expires_in_days=14.0)
    assert late.kind is VerdictKind.ASK
    assert "looks no worse than the champion" in late.reason
    assert decide(no_worse, champion, policy=asking).kind is VerdictKind.KEEP
    certain = champion + 0.02 + WIGGLE
    assert decide(certain, champion, policy=asking).kind is VerdictKind.PROMOTE


# ---------------------------------------------------------------------------- what it looks at


def test_only_sessions_that_both_have_are_compared() -> None:
    champion = 0.02 + OTHER_WIGGLE
    challenger = champion + 0.03 + WIGGLE
    champion[4] = challenger[0] = challenger[9] = np.nan
    verdict = decide(challenger, champion)
    shared = np.isfinite(challenger) & np.isfinite(champion)
    found = scipy.stats.ttest_rel(challenger[shared], champion[shared])
    bounds = found.confidence_interval(0.90)
    assert verdict.kind is VerdictKind.PROMOTE
    assert (verdict.low, verdict.high) == pytest.approx((bounds.low, bounds.high))
    assert "the same 18 held-out sessions" in verdict.reason
    means = (challenger[shared].mean(), champion[shared].mean())
    assert "challenger {:+.4f}, champion {:+.4f},".format(*means) in verdict.reason


def test_older_sessions_than_the_held_out_ones_are_not_looked_at() -> None:
    days = (*(date(2026, 9, n) for n in (1, 2, 3)), *DAYS)
    champion = scores(np.concatenate([[9.0] * 3, 0.02 + OTHER_WIGGLE]), days=days)
    challenger = scores(np.concatenate([[-9.0] * 3, 0.05 + OTHER_WIGGLE + WIGGLE]), days=days)
    verdict = judge(challenger, champion, policy=POLICY)
    assert verdict == decide(
        0.05 + OTHER_WIGGLE + WIGGLE,
        0.02 + OTHER_WIGGLE,
        expires_in_days=None,
        champion_age_days=None,
    )


def test_scores_of_different_sessions_are_not_compared() -> None:
    later = tuple(day + timedelta(days=1) for day in DAYS)
    with pytest.raises(ValueError, match="21 from 2026-10-01 to 2026-10-21, and 21 from"):
        judge(scores(WIGGLE), scores(WIGGLE, days=later), policy=POLICY)
    with pytest.raises(ValueError, match="and none"):
        judge(scores(WIGGLE), scores([], days=()), policy=POLICY)
    with pytest.raises(ValueError, match="unusable: torn"):
        judge(scores(WIGGLE), scores(WIGGLE), policy=POLICY, champion_unusable="torn")


def test_scores_that_are_not_one_a_session_in_order_are_refused() -> None:
    with pytest.raises(ValueError, match="21 sessions need as many figures"):
        scores(WIGGLE[:20])
    with pytest.raises(ValueError, match="oldest first"):
        scores(WIGGLE, days=DAYS[::-1])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"min_sessions": 1}, "2 <= min_sessions"),
        ({"min_sessions": 22}, "min_sessions <= holdout_sessions"),
        ({"confidence": 1.0}, "confidence < 1"),
        ({"ask_confidence": 0.97}, "ask_confidence <= confidence"),
        ({"margin": -0.01}, "margin >= 0"),
        ({"near_expiry_days": 50}, "near_expiry_days <= expiry_days"),
        ({"expiry_days": 3}, "near_expiry_days <= expiry_days"),
        ({"suspicious_ic": 0.0}, "suspicious_ic > 0"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(SettingsError, match=rule):
        GatePolicy(**changes)


SESSION_ICS = arrays(np.float64, 21, elements=st.one_of(st.floats(-0.9, 0.9), st.just(np.nan)))


@settings(max_examples=100, deadline=None)
@given(
    SESSION_ICS,
    st.one_of(st.none(), SESSION_ICS),
    st.floats(-10, 50),
    st.booleans(),
    st.booleans(),
)
def test_every_verdict_is_one_sentence_over_plain_evidence(
    challenger: Any, champion: Any, left: float, asks: bool, pinned: bool
) -> None:
    policy = GatePolicy(ask_person=asks, simulated=True)
    verdict = decide(challenger, champion, policy=policy, expires_in_days=left, pinned=pinned)
    assert verdict.reason.endswith(".")
    assert ". " not in verdict.reason
    assert "nan" not in verdict.reason
    told = json.loads(json.dumps(verdict.evidence, allow_nan=False))
    assert told["sessions"] == [day.isoformat() for day in DAYS]
    known = [math_or_nan(x) for x in told["challenger"]["rank_ic"]]
    np.testing.assert_array_equal(known, challenger)
    assert told["policy"]["margin"] == 0.01


def math_or_nan(value: float | None) -> float:
    return np.nan if value is None else value


@settings(max_examples=50, deadline=None)
@given(SESSION_ICS, SESSION_ICS, arrays(np.float64, 21, elements=st.floats(-0.5, 0.5)))
def test_what_a_day_did_to_both_models_does_not_count(a: Any, b: Any, day: Any) -> None:
    plain, shifted = interval(a - b, 0.95), interval((a + day) - (b + day), 0.95)
    assert plain.n == shifted.n
    if plain.n >= 2:
        np.testing.assert_allclose(
            (plain.mean, plain.low, plain.high),
            (shifted.mean, shifted.low, shifted.high),
            atol=1e-9,
        )


@pytest.mark.parametrize("known", [0, 1])
def test_a_mean_of_too_little_is_bounded_by_nothing(known: int) -> None:
    found = interval(np.array([0.3, np.nan])[1 - known :], 0.95)
    assert found.n == known
    assert (found.low, found.high) == (-np.inf, np.inf)


# ---------------------------------------------------------------------------- how often it is wrong


@pytest.mark.parametrize("left", [40.0, 14.0, 2.0])
def test_the_gate_decides_as_the_paired_t_test_does(left: float) -> None:
    draw = np.random.default_rng(11)
    kinds = set()
    for _ in range(60):
        champion = 0.02 + 0.03 * draw.standard_normal(21)
        challenger = champion + draw.normal(0, 0.01) + 0.02 * draw.standard_normal(21)
        kind = decide(
            challenger, champion, policy=GatePolicy(simulated=True), expires_in_days=left
        ).kind
        between = challenger - champion

        def p(values: Any, mean: float, side: str = "greater") -> float:
            return float(scipy.stats.ttest_1samp(values, mean, alternative=side).pvalue)

        if p(challenger, 0, "less") < 0.05:
            expected = VerdictKind.REFUSED
        elif p(between, 0) < 0.05 or (left < 21 and p(between, -0.01) < 0.05):
            expected = VerdictKind.PROMOTE
        elif left < 6 and p(challenger, -0.01) < 0.05:
            expected = VerdictKind.PROVISIONAL
        else:
            expected = VerdictKind.KEEP
        assert kind is expected
        kinds.add(kind)
    assert len(kinds) >= 2


def test_the_simulation_decides_as_the_gate_does() -> None:
    draw = np.random.default_rng(5)
    count = 300
    day, own, others = 0.03 * draw.standard_normal((3, count, 21))
    champion = 0.8 * day + 0.6 * others + draw.choice([-0.05, 0.02], (count, 1))
    challenger = 0.8 * day + 0.6 * own + draw.uniform(-0.04, 0.05, (count, 1))
    left = draw.choice([40.0, 14.0, 2.0, -5.0], count)
    found = serves(challenger - champion, challenger, left, POLICY)
    policy = GatePolicy(simulated=True)
    expected = [
        decide(c, o, policy=policy, expires_in_days=days).kind.serves
        for c, o, days in zip(challenger, champion, left, strict=True)
    ]
    np.testing.assert_array_equal(found, expected)
    assert 0.2 < found.mean() < 0.8


def test_error_rates_of_one_gate_are_those_of_theory() -> None:
    """The power of a paired t test is known exactly: the noncentral t distribution."""
    trials, correlation = 20_000, 0.7
    rows = one_gate(POLICY, correlation=correlation, rank_ic=0.05, trials=trials)
    assert [row.difference for row in rows] == list(DIFFERENCES)
    error = SESSION_NOISE * np.sqrt(2 * (1 - correlation) / 21)
    for row in rows:
        for share, bound in ((row.any_week, 0.0), (row.near_expiry, -POLICY.margin)):
            power = scipy.stats.nct.sf(
                scipy.stats.t.ppf(0.95, 20), 20, (row.difference - bound) / error
            )
            limits = scipy.stats.binom.ppf([1e-5, 1 - 1e-5], trials, power) / trials
            assert limits[0] <= share <= limits[1]


def test_error_rates_without_a_champion_are_those_of_theory() -> None:
    trials, error = 20_000, SESSION_NOISE / np.sqrt(21)
    quantile = scipy.stats.t.ppf(0.95, 20)
    for row in alone(POLICY, trials=trials):
        expected = {
            "first": scipy.stats.nct.sf(-quantile, 20, row.rank_ic / error),
            "for_unusable": scipy.stats.nct.sf(quantile, 20, (row.rank_ic + 0.01) / error),
        }
        for name, share in expected.items():
            limits = scipy.stats.binom.ppf([1e-5, 1 - 1e-5], trials, share) / trials
            # Bounded on both sides: what is not below 0 and not backwards; both at once are rare.
            assert limits[0] - 0.001 <= getattr(row, name) <= limits[1]


def test_student_s_bounds_keep_their_promise_and_a_percentile_bootstrap_does_not() -> None:
    trials = 20_000
    normal, heavy, alike = interval_errors(trials=trials)
    limits = scipy.stats.binom.ppf([1e-5, 1 - 1e-5], trials, 0.05) / trials
    assert limits[0] <= normal.student <= limits[1]
    for row in (normal, heavy, alike):
        assert row.bootstrap > row.student + 0.01
    assert alike.student > limits[1]  # days that resemble each other would need wider bounds


def one_plain_year(draw: np.random.Generator, spread: float) -> tuple[int, int]:
    """Live through one year gate by gate; return replacements, and those by a worse model."""
    sessions = 21 + 5 * 52
    day = 0.03 * np.sqrt(0.7) * draw.standard_normal(sessions)

    def train() -> tuple[float, Any]:
        ability = 0.02 + spread * draw.standard_normal()
        return ability, ability + day + 0.03 * np.sqrt(0.3) * draw.standard_normal(sessions)

    (ability, ics), born, replaced, worse = train(), 0, 0, 0
    for week in range(1, 53):
        seen, (new_ability, new_ics) = slice(5 * week, 5 * week + 21), train()
        left = 42.0 - 7 * (week - born)
        policy = GatePolicy(simulated=True)
        if decide(new_ics[seen], ics[seen], policy=policy, expires_in_days=left).kind.serves:
            replaced, worse = replaced + 1, worse + (new_ability < ability)
            ability, ics, born = new_ability, new_ics, week
    return replaced, worse


def test_simulated_years_are_as_years_lived_through_gate_by_gate() -> None:
    draw = np.random.default_rng(3)
    lived = np.array([one_plain_year(draw, 0.005) for _ in range(100)])
    year = one_year(POLICY, World("differ", spread=0.005))
    error = lived.std(axis=0, ddof=1) / np.sqrt(len(lived))
    for found, mean, one_error in zip(
        (year.replaced, year.by_worse), lived.mean(axis=0), error, strict=True
    ):
        assert abs(found - mean) < 4 * one_error


def test_a_year_of_gates_among_equals_errs_never_and_interrupts_hardly() -> None:
    year = one_year(POLICY, World("equal"), trials=500)
    assert (year.by_worse, year.by_much_worse, year.taken_for_better) == (0, 0, 0)
    # A champion that nothing surpasses is replaced before it expires: at least every 6 weeks.
    assert 52 / 6 - 1 <= year.replaced <= 52 / 3
    assert year.unserved_weeks < 0.05


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_the_figures_that_the_defaults_rest_on_hold(world: World) -> None:
    year = one_year(POLICY, world, trials=500)
    assert year.taken_for_better < 0.3
    assert year.by_much_worse <= year.by_worse <= year.replaced
    assert year.unserved_weeks < (2 if world.rank_ic == 0 else 0.6)
    assert year.gain <= year.best_gain
    if world.spread:
        assert year.gain > 0  # better than to serve whatever was trained last


def test_more_confidence_errs_less_often_and_a_wider_margin_interrupts_less_often() -> None:
    world = World("differ", spread=0.005)
    usual = one_year(POLICY, world, trials=500)
    strict = one_year(GatePolicy(confidence=0.99), world, trials=500)
    narrow = one_year(GatePolicy(margin=0.002), world, trials=500)
    assert strict.taken_for_better < usual.taken_for_better
    assert narrow.unserved_weeks > usual.unserved_weeks
    assert narrow.replaced < usual.replaced


def test_tables_hold_a_line_a_row() -> None:
    lines = table(alone(POLICY, trials=10)).splitlines()
    assert lines[0] == "| rank ic | first | for unusable |"
    assert len(lines) == 2 + len(DIFFERENCES)
    assert lines[2].startswith("| -0.0200 | ")
