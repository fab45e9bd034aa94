"""The gate's rules in the order in which they are asked; the first that applies decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from alpaca_strategy.domain.models import VerdictKind
from alpaca_strategy.model.gate_figures import GatePolicy, Interval

#: What is to be done, and the sentence that says why.
Ruling: TypeAlias = tuple[VerdictKind, str] | None


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules look at.

    Attributes:
        policy: What is asked for.
        own: The challenger's mean rank IC.
        own_ic: The challenger's mean IC.
        other: The champion's mean rank IC, where both have one; None where not to be had.
        difference: Challenger less champion, session by session; None where not to be had.
        leaning: The same difference with the bounds of a borderline case.
        unusable: Why the champion cannot be scored; None when it can, or when there is none.
        left_days: How long the champion may still serve; None when nobody said.
        pinned: A person wants the champion to stay.
    """

    policy: GatePolicy
    own: Interval
    own_ic: Interval
    other: Interval | None
    difference: Interval | None
    leaning: Interval | None
    unusable: str | None
    left_days: float | None
    pinned: bool

    @property
    def expires_soon(self) -> bool:
        """Whether a challenger that is no worse may take its place."""
        return self.left_days is not None and self.left_days <= self.policy.near_expiry_days

    @property
    def cannot_go_on(self) -> bool:
        """Whether the champion expires before the next gate."""
        return self.left_days is not None and self.left_days < self.policy.serving_days

    @property
    def stands_alone(self) -> bool:
        """Whether the challenger is not worse than ranking by chance, by the margin."""
        return self.own.low > -self.policy.margin

    def own_figures(self) -> str:
        """Return the challenger's figures as words."""
        return f"rank IC on {self.own.n} held-out sessions {self._with_bounds(self.own)}"

    def figures(self) -> str:
        """Return both models' figures, or those there are, as words."""
        if self.difference is None or self.other is None:
            return f"the challenger's {self.own_figures()}"
        return (
            f"rank IC on the same {self.difference.n} held-out sessions: challenger "
            f"{self.other.mean + self.difference.mean:+.4f}, champion {self.other.mean:+.4f}, "
            f"difference {self._with_bounds(self.difference)}"
        )

    def expiry(self) -> str:
        """Return how long the champion may serve, as words."""
        if self.left_days is None or self.left_days > 0:
            return f"the champion expires in {self.left_days or 0:.0f} days"
        return f"the champion expired {-self.left_days:.0f} days ago"

    def _with_bounds(self, one: Interval) -> str:
        level = round(200 * self.policy.confidence - 100)
        return f"{one.mean:+.4f} ({level} % interval {one.low:+.4f} to {one.high:+.4f})"


def _too_few_sessions(case: Case) -> Ruling:
    if case.own.n >= case.policy.min_sessions:
        return None
    return VerdictKind.REFUSED, (
        f"Refused: the challenger has a rank IC on only {case.own.n} held-out sessions, and "
        f"{case.policy.min_sessions} are the least; look at its scores and at those sessions."
    )


def _too_good(case: Case) -> Ruling:
    best, limit = max(case.own.mean, case.own_ic.mean), case.policy.suspicious_ic
    if case.policy.simulated or not best > limit:
        return None
    return VerdictKind.SUSPECT, (
        f"Held for a person: the challenger's IC on {case.own.n} held-out sessions is "
        f"{best:.4f}, above {limit:.2f}, which on real intraday data points to a leak; find it, or "
        f"promote the model by hand."
    )


def _backwards(case: Case) -> Ruling:
    if case.own.high >= 0:
        return None
    return VerdictKind.REFUSED, (
        f"Refused: the challenger ranks backwards, its {case.own_figures()}, below 0."
    )


def _first(case: Case) -> Ruling:
    if case.other is not None or case.unusable is not None:
        return None
    certain = "above 0" if case.own.low > 0 else "not certainly above 0"
    return VerdictKind.PROVISIONAL, (
        f"Serves provisionally as the first model, with none to compare it with: "
        f"{case.own_figures()}, {certain}."
    )


def _pinned(case: Case) -> Ruling:
    if not case.pinned:
        return None
    fault = "" if case.unusable is None else f", though it cannot be scored: {case.unusable}"
    late = f", although {case.expiry()}" if case.cannot_go_on else ""
    return VerdictKind.KEEP, f"The champion is pinned and stays{fault}{late}; {case.figures()}."


def _champion_unusable(case: Case) -> Ruling:
    if case.unusable is None:
        return None
    why, margin = f"The champion cannot be scored ({case.unusable})", case.policy.margin
    if case.stands_alone:
        return VerdictKind.PROVISIONAL, (
            f"{why}, so the challenger was held against 0 and serves provisionally: "
            f"{case.own_figures()}, not below 0 by the margin of {margin:g}."
        )
    return VerdictKind.KEEP, (
        f"{why}, but the challenger is not fit either: {case.own_figures()}, perhaps below 0 by "
        f"the margin of {margin:g}; train again, or roll back."
    )


def _superior(case: Case) -> Ruling:
    if case.difference is None or case.difference.low <= 0:
        return None
    return VerdictKind.PROMOTE, f"Promoted, better than the champion: {case.figures()}, above 0."


def _not_worse_in_time(case: Case) -> Ruling:
    margin = case.policy.margin
    if case.difference is None or not case.expires_soon or case.difference.low <= -margin:
        return None
    return VerdictKind.PROMOTE, (
        f"Promoted, since {case.expiry()} and the challenger is not worse by the margin of "
        f"{margin:g}: {case.figures()}."
    )


def _better_than_nobody(case: Case) -> Ruling:
    """A champion that expires is no alternative: without a successor nothing would serve."""
    if not (case.cannot_go_on and case.stands_alone):
        return None
    return VerdictKind.PROVISIONAL, (
        f"Serves provisionally, since {case.expiry()}: not shown to be as good "
        f"({case.figures()}), the challenger was held against 0, and its {case.own_figures()} is "
        f"not below 0 by the margin of {case.policy.margin:g}."
    )


def _borderline(case: Case) -> Ruling:
    if not case.policy.ask_person or case.leaning is None:
        return None
    ahead = case.leaning.low > 0
    if not ahead and not (case.expires_soon and case.leaning.low > -case.policy.margin):
        return None
    what = "better" if ahead else "no worse"
    late = f" and {case.expiry()}" if case.expires_soon else ""
    return VerdictKind.ASK, (
        f"A person decides: the challenger looks {what} than the champion, but not with "
        f"{100 * case.policy.confidence:.0f} % confidence{late}; {case.figures()}."
    )


def _keep(case: Case) -> Ruling:
    lacking = "not above 0 for certain"
    late = ""
    if case.expires_soon:
        lacking = f"perhaps below 0 by the margin of {case.policy.margin:g}"
        late = f", and {case.expiry()}"
    if case.cannot_go_on:
        late += ", so nothing will serve: train again"
    return VerdictKind.KEEP, f"The champion stays: {case.figures()}, {lacking}{late}."


RULES: tuple[Callable[[Case], Ruling], ...] = (
    _too_few_sessions,
    _too_good,
    _backwards,
    _first,
    _pinned,
    _champion_unusable,
    _superior,
    _not_worse_in_time,
    _better_than_nobody,
    _borderline,
    _keep,
)
