"""How often the gate decides wrongly, by simulation: python -m alpaca_strategy.model.gate_power."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from alpaca_strategy.model.gate_figures import Floats, GatePolicy, bounds
from alpaca_strategy.model.gate_worlds import (
    CORRELATION,
    SESSION_NOISE,
    WORLDS,
    World,
    next_week,
    session_noise,
    train,
)

Bools = npt.NDArray[np.bool_]

DIFFERENCES = (-0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02)
_WEEK_DAYS, _WEEKS = 7, 52
_COUNTED = ("replaced", "worse", "much", "mistaken", "dark")
_MUCH = 0.01


@dataclass(frozen=True, slots=True)
class OneGate:
    """How often one gate lets a challenger serve.

    Attributes:
        correlation: Of both models' session ICs.
        difference: True rank IC, challenger less champion.
        any_week: Share of gates that let it serve when the champion has long to live.
        near_expiry: Share when the champion expires soon.
        last_week: Share when the champion expires before the next gate.
        asks: Share of the weeks with long to live that would ask a person, if so configured.
    """

    correlation: float
    difference: float
    any_week: float
    near_expiry: float
    last_week: float
    asks: float


@dataclass(frozen=True, slots=True)
class Alone:
    """How often a challenger serves that has nobody to be compared with.

    Attributes:
        rank_ic: What it truly can do.
        first: As the first model.
        for_unusable: In place of a champion that cannot be scored.
    """

    rank_ic: float
    first: float
    for_unusable: float


OTHER_POLICIES = (
    GatePolicy(),
    GatePolicy(confidence=0.9),
    GatePolicy(confidence=0.99),
    GatePolicy(margin=0.005),
    GatePolicy(margin=0.02),
    GatePolicy(expiry_days=28, near_expiry_days=14),
    GatePolicy(expiry_days=35, near_expiry_days=10),
    GatePolicy(expiry_days=56, near_expiry_days=28),
)


@dataclass(frozen=True, slots=True)
class OneYear:
    """What 52 gates do to whoever trusts them; means over simulated years.

    Attributes:
        policy: Confidence, margin, days to live, and days in which no worse is good enough.
        world: Its name.
        replaced: How often the champion was replaced.
        by_worse: How often by one that was truly worse.
        by_much_worse: How often by one that was worse by more than 0.01.
        taken_for_better: How often by one that was worse and looked better, whatever the expiry.
        unserved_weeks: Weeks in which an expired champion was all there was.
        gain: Rank IC in service, less that of always serving the newest.
        best_gain: The same for whoever knew the true rank IC and kept the best.
    """

    policy: str
    world: str
    replaced: float
    by_worse: float
    by_much_worse: float
    taken_for_better: float
    unserved_weeks: float
    gain: float
    best_gain: float


def serves(difference: Floats, own: Floats, left_days: Floats | float, policy: GatePolicy) -> Bools:
    """Return where challengers serve, as `gate.judge` decides; none is suspected or pinned.

    Args:
        difference: Shape (trials, sessions), challenger less champion.
        own: Shape (trials, sessions), the challenger's.
        left_days: Shape (trials,) or one for all: how long the champion may still serve.
        policy: What is asked for.
    """
    _, low, _ = bounds(difference, policy.confidence)
    _, own_low, own_high = bounds(own, policy.confidence)
    close = np.asarray(left_days) <= policy.near_expiry_days
    last = np.asarray(left_days) < policy.serving_days
    passes = (low > 0) | (close & (low > -policy.margin)) | (last & (own_low > -policy.margin))
    return np.asarray(passes & (own_high >= 0))


def one_gate(
    policy: GatePolicy,
    *,
    correlation: float = CORRELATION,
    rank_ic: float = 0.02,
    trials: int = 20_000,
    seed: int = 1,
) -> list[OneGate]:
    """Return how often one gate replaces a champion of a rank IC, by the true difference."""
    draw = np.random.default_rng(seed)
    shape = (trials, policy.holdout_sessions)
    shared, own, others = session_noise(draw, shape, correlation)
    rows = []
    for difference in DIFFERENCES:
        challenger = rank_ic + difference + shared + own
        between = challenger - (rank_ic + shared + others)
        leaning = bounds(between, policy.ask_confidence)[1] > 0
        passes = serves(between, challenger, np.inf, policy)
        rows.append(
            OneGate(
                correlation=correlation,
                difference=difference,
                any_week=float(passes.mean()),
                near_expiry=_share(between, challenger, policy.near_expiry_days, policy),
                last_week=_share(between, challenger, 0.0, policy),
                asks=float((leaning & ~passes).mean()),
            )
        )
    return rows


def _share(between: Floats, challenger: Floats, left_days: float, policy: GatePolicy) -> float:
    return float(serves(between, challenger, left_days, policy).mean())


def alone(policy: GatePolicy, *, trials: int = 20_000, seed: int = 1) -> list[Alone]:
    """Return how often a challenger serves that has nobody to be compared with."""
    draw = np.random.default_rng(seed)
    noise = SESSION_NOISE * draw.standard_normal((trials, policy.holdout_sessions))
    rows = []
    for rank_ic in DIFFERENCES:
        _, low, high = bounds(rank_ic + noise, policy.confidence)
        fit = (low > -policy.margin) & (high >= 0)
        rows.append(Alone(rank_ic, float((high >= 0).mean()), float(fit.mean())))
    return rows


def one_year(
    policy: GatePolicy,
    world: World,
    *,
    correlation: float = CORRELATION,
    trials: int = 2_000,
    seed: int = 1,
) -> OneYear:
    """Return what a year of weekly gates does in a world.

    The champion keeps its noise on the sessions that it was judged on: whoever was promoted by
    luck meets the next challenger with it.
    """
    draw = np.random.default_rng(seed)
    shape = (trials, policy.holdout_sessions)
    shared, luck, _ = session_noise(draw, shape, correlation)
    skill, weeks_old = train(draw, world, trials), np.zeros(trials)
    best = skill
    counts = {name: np.zeros(trials) for name in _COUNTED}
    served, newest, ideal = np.zeros(trials), np.zeros(trials), np.zeros(trials)
    for _ in range(_WEEKS):
        weeks_old += 1
        shared, luck = next_week(draw, shared, luck, correlation)
        _, own, _ = session_noise(draw, shape, correlation)
        fresh, current = train(draw, world, trials), skill - world.decay * weeks_old
        challenger = fresh[:, None] + shared + own
        between = challenger - (current[:, None] + shared + luck)
        left = policy.expiry_days - _WEEK_DAYS * weeks_old
        passes = serves(between, challenger, left, policy)
        counts["replaced"] += passes
        counts["worse"] += passes & (fresh < current)
        counts["much"] += passes & (fresh < current - _MUCH)
        better = serves(between, challenger, np.inf, policy)
        counts["mistaken"] += better & (fresh < current)
        skill, luck = np.where(passes, fresh, skill), np.where(passes[:, None], own, luck)
        weeks_old = np.where(passes, 0.0, weeks_old)
        dark = policy.expiry_days - _WEEK_DAYS * weeks_old < policy.serving_days
        counts["dark"] += dark
        served += np.where(dark, 0.0, skill - world.decay * weeks_old)
        best = np.maximum(best - world.decay, fresh)
        newest, ideal = newest + fresh, ideal + best
    means = [float(counts[name].mean()) for name in _COUNTED]
    gains = [float((total - newest).mean() / _WEEKS) for total in (served, ideal)]
    return OneYear(_name(policy), world.name, *means, *gains)


def _name(policy: GatePolicy) -> str:
    days = f"{policy.expiry_days:g}/{policy.near_expiry_days:g} days"
    return f"{policy.confidence:g}, {policy.margin:g}, {days}"


@dataclass(frozen=True, slots=True)
class IntervalError:
    """How often a bound of 95 % confidence lies on the wrong side of the truth.

    Attributes:
        noise: What the differences of sessions are like.
        student: With Student's bound.
        bootstrap: With the percentile of a bootstrap over sessions.
    """

    noise: str
    student: float
    bootstrap: float


def interval_errors(
    *, sessions: int = 21, trials: int = 20_000, draws: int = 500, seed: int = 1
) -> list[IntervalError]:
    """Return what two kinds of interval promise and keep; 0.05 is promised."""
    draw = np.random.default_rng(seed)
    normal = draw.standard_normal((trials, sessions))
    series = draw.standard_normal((trials, sessions))
    for i in range(1, sessions):
        series[:, i] = 0.2 * series[:, i - 1] + np.sqrt(1 - 0.2**2) * series[:, i]
    kinds = {
        "normal": normal,
        "heavy tails (Student, 4)": draw.standard_t(4, (trials, sessions)),
        "alike from day to day (0.2)": series,
    }
    drawn = draw.multinomial(sessions, np.full(sessions, 1 / sessions), size=draws) / sessions
    return [
        IntervalError(
            name,
            float((bounds(noise, 0.95)[1] > 0).mean()),
            float((np.quantile(noise @ drawn.T, 0.05, axis=1) > 0).mean()),
        )
        for name, noise in kinds.items()
    ]


def table(rows: Sequence[Any]) -> str:
    """Return rows of one kind as a Markdown table."""
    names = [field.name.replace("_", " ") for field in fields(rows[0])]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [cell if isinstance(cell, str) else f"{cell:.4f}" for cell in astuple(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables behind the gate's defaults."""
    policy = GatePolicy()
    gates = [row for r in (0.3, 0.5, CORRELATION, 0.9) for row in one_gate(policy, correlation=r)]
    years = [one_year(policy, world) for world in WORLDS]
    others = [one_year(other, world) for world in WORLDS[2::2] for other in OTHER_POLICIES]
    for title, rows in (
        ("One gate: share of challengers that serve", gates),
        ("Nobody to compare with: share that serves", alone(policy)),
        ("A year of weekly gates", years),
        ("The same with other policies", others),
        ("How often a 95 % bound errs on 21 sessions", interval_errors()),
    ):
        sys.stdout.write(f"{title}\n\n{table(rows)}\n\n")


if __name__ == "__main__":
    main()
