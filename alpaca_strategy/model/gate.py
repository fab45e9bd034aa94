"""The gate: whether a challenger takes the champion's place, judged on the same held-out sessions.

What is compared is the mean rank IC of each session, challenger less champion: a day that was hard
for both counts for neither.

Why the defaults are what they are (`gate_power`; session noise 0.03, correlation 0.7): with
confidence 0.95 and a margin of 0.01 a challenger worse by 0.01 is taken for better by 0.03 % of the
gates and, when the champion expires soon, for no worse by 5.2 %, while one better by 0.01 passes
60 % and 99 % of them, and an equal one 5.2 % and 60 %. In a year of weekly gates whose trainings
differ by 0.005, the champion gives way 0.19 times to a worse one taken for better (0.42 times at
confidence 0.90), and 42 days to live, of which the last 21 are soon, leave 0.05 weeks without a
model that may serve (0.31 at a margin of 0.005, 0.33 at confidence 0.99). Intervals are Student's
over sessions: of bounds that may err 5 % of the time they err 4.7 to 5.0 %, those of a percentile
bootstrap of 21 sessions 6.3 to 7.1 %; were differences of days in a row to correlate by 0.2, 9.2 %
and 11.4 %.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from alpaca_strategy.domain.models import VerdictKind
from alpaca_strategy.model.gate_figures import (
    Floats,
    GatePolicy,
    Interval,
    SessionScores,
    interval,
)
from alpaca_strategy.model.gate_rules import RULES, Case

__all__ = ["GatePolicy", "SessionScores", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a challenger.

    Attributes:
        kind: What is to be done.
        reason: Why, in one sentence with the figures.
        difference: Mean rank IC, challenger less champion; None where they were not compared.
        low: Its lower bound, which holds with the policy's confidence.
        high: Its upper bound, likewise.
        evidence: All that was looked at, as plain data.
    """

    kind: VerdictKind
    reason: str
    difference: float | None
    low: float | None
    high: float | None
    evidence: dict[str, Any]


def judge(
    challenger: SessionScores,
    champion: SessionScores | None,
    *,
    policy: GatePolicy,
    champion_unusable: str | None = None,
    champion_age_days: float | None = None,
    expires_in_days: float | None = None,
    pinned: bool = False,
) -> Verdict:
    """Return what becomes of a challenger.

    Args:
        challenger: Its figures on the held-out sessions.
        champion: The champion's on the same sessions; None when there is no champion, or when it
            cannot be scored.
        policy: What is asked for.
        champion_unusable: Why the champion cannot be scored, such as "its file is damaged"; None
            when it can, or when there is none.
        champion_age_days: How long ago the champion was made.
        expires_in_days: How long the champion may still serve; negative when no longer.
        pinned: A person wants the champion to stay.

    Raises:
        ValueError: The models were scored on different sessions, or the champion was scored and
            cannot be.
    """
    if champion is not None and champion_unusable is not None:
        msg = f"A champion that was scored is called unusable: {champion_unusable}."
        raise ValueError(msg)
    if champion is not None and champion.sessions != challenger.sessions:
        msg = f"Scored on different sessions: {_span(challenger)}, and {_span(champion)}."
        raise ValueError(msg)
    challenger = challenger.last(policy.holdout_sessions)
    champion = None if champion is None else champion.last(policy.holdout_sessions)
    case = _case(challenger, champion, policy, champion_unusable, expires_in_days, pinned=pinned)
    kind, reason = next(ruling for rule in RULES if (ruling := rule(case)))
    compared = case.difference
    return Verdict(
        kind=kind,
        reason=reason,
        difference=None if compared is None else compared.mean,
        low=None if compared is None else compared.low,
        high=None if compared is None else compared.high,
        evidence=_evidence(case, challenger, champion, champion_age_days),
    )


def _case(
    challenger: SessionScores,
    champion: SessionScores | None,
    policy: GatePolicy,
    unusable: str | None,
    left_days: float | None,
    *,
    pinned: bool,
) -> Case:
    other = difference = leaning = None
    if champion is not None:
        between = challenger.rank_ic - champion.rank_ic
        difference = interval(between, policy.confidence)
        if difference.n < policy.min_sessions:
            unusable = (
                f"only {difference.n} held-out sessions have figures of both models, and "
                f"{policy.min_sessions} are the least"
            )
            difference = None
        else:
            leaning = interval(between, policy.ask_confidence)
            shared = champion.rank_ic[np.isfinite(between)]
            other = interval(shared, policy.confidence)
    return Case(
        policy=policy,
        own=interval(challenger.rank_ic, policy.confidence),
        own_ic=interval(challenger.ic, policy.confidence),
        other=other,
        difference=difference,
        leaning=leaning,
        unusable=unusable,
        left_days=left_days,
        pinned=pinned,
    )


def _evidence(
    case: Case, challenger: SessionScores, champion: SessionScores | None, age: float | None
) -> dict[str, Any]:
    return {
        "judged_by": "rank_ic",
        "sessions": [day.isoformat() for day in challenger.sessions],
        "challenger": _figures(case.own, challenger),
        "champion": _figures(case.other, champion),
        "difference": None if case.difference is None else _plain(asdict(case.difference)),
        "champion_unusable": case.unusable,
        "champion_age_days": age,
        "champion_expires_in_days": case.left_days,
        "champion_pinned": case.pinned,
        "policy": asdict(case.policy),
    }


def _figures(mean: Interval | None, scores: SessionScores | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    known = {} if mean is None else _plain(asdict(mean))
    return known | {"rank_ic": _numbers(scores.rank_ic), "ic": _numbers(scores.ic)}


def _numbers(values: Floats) -> list[float | None]:
    return [float(x) if math.isfinite(x) else None for x in values]


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {name: x if math.isfinite(x) else None for name, x in values.items()}


def _span(scores: SessionScores) -> str:
    if not scores.sessions:
        return "none"
    return f"{len(scores.sessions)} from {scores.sessions[0]} to {scores.sessions[-1]}"
