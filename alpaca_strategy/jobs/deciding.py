"""Judge a version beside the champion, on sessions that neither learned from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.domain.models import ChampionChange
from alpaca_strategy.errors import DamagedFileError, ModelRefusedError
from alpaca_strategy.jobs.judging import finite
from alpaca_strategy.jobs.scoring import load_version, positions_of, scorer_of
from alpaca_strategy.jobs.training_data import load_dataset
from alpaca_strategy.model.dataset import Dataset, decision_rows
from alpaca_strategy.model.decay import decay_alarm
from alpaca_strategy.model.evaluation import evaluate
from alpaca_strategy.model.gate import GatePolicy, SessionScores, judge
from alpaca_strategy.storage.registry_records import ChampionRow, DataPin, VersionRow

Rows = npt.NDArray[np.int64]


def decide(model: str) -> dict[str, Any]:
    """Judge a version beside the champion on the version's held-out sessions.

    Returns:
        model, champion (id or None), position (of the champion's log), verdict (None where there
        is nothing to decide), reason, difference, low, high, evidence, champion_damaged, alarm (a
        sentence when the champion has become worse, or None); nothing is recorded yet.
    """
    home = services()
    version = home.registry.version(model)
    champion = home.registry.champion(version.venue, version.feed)
    basis = {
        "model": model,
        "champion": champion.version if champion else None,
        "position": champion.position if champion else 0,
    }
    if champion is None:
        return {**basis, **_verdict(home, version, None, version.holdout)}
    other = home.registry.version(champion.version)
    # A version judged long after its time may meet a champion that was trained on its days.
    days = tuple(day for day in version.holdout if day > other.validation[-1])
    settled = None
    if champion.version == model:
        settled = f"{model} is the champion already."
    elif len(days) < min(len(version.holdout), policy(home).min_sessions):
        settled = (
            f"{model} is too old to be judged beside {champion.version}, which learned from its "
            f"held-out sessions."
        )
    elif _was_taken_back(home, version):
        settled = (
            f"{model} was taken out of service by a person, and stays out until a person puts it "
            f"back: alpaca-strategy promote {model}"
        )
    if settled:
        return {**basis, "verdict": None, "reason": settled, "alarm": None}
    return {**basis, **_verdict(home, version, champion, days)}


def _verdict(
    home: Services, version: VersionRow, champion: ChampionRow | None, days: Sequence[date]
) -> dict[str, Any]:
    dataset = load_dataset(
        home, _with_history(home, version), symbols=version.symbols, horizon=version.horizon
    )
    rows = decision_rows(dataset, positions_of(dataset, days))
    theirs, unusable, alarm, damaged = None, None, None, False
    if champion is not None:
        other = home.registry.version(champion.version)
        try:
            theirs = _scores(home, other, dataset, rows)
            alarm = _alarm(home, other, theirs)
        except (DamagedFileError, ModelRefusedError) as error:
            unusable = str(error).rstrip(".")
            damaged = isinstance(error, DamagedFileError)
    now = datetime.now(UTC)
    verdict = judge(
        _scores(home, version, dataset, rows),
        theirs,
        policy=policy(home),
        champion_unusable=unusable,
        champion_age_days=_days(now - champion.since) if champion else None,
        expires_in_days=_days(champion.expires_at - now) if champion else None,
        pinned=champion is not None and champion.pinned,
    )
    return {
        "verdict": verdict.kind.value,
        "reason": verdict.reason,
        "difference": verdict.difference,
        "low": finite(verdict.low),
        "high": finite(verdict.high),
        "evidence": {**verdict.evidence, "alarm": alarm},
        "champion_damaged": damaged,
        "alarm": alarm,
    }


def _was_taken_back(home: Services, version: VersionRow) -> bool:
    """Return whether a version served once and a person rolled back from it."""
    before = ""
    taken: set[str] = set()
    for change in home.registry.changes(version.venue, version.feed):
        if change.kind is ChampionChange.ROLLBACK:
            taken.add(before)
        elif change.kind is ChampionChange.PROMOTE and change.decision is None:
            taken.discard(change.version)  # by hand: a person changed their mind
        before = change.version
    return version.id in taken


def _alarm(home: Services, champion: VersionRow, now: SessionScores) -> str | None:
    """Return a sentence when a champion ranks worse than when it was judged, on sessions since."""
    then = [
        m.value
        for m in home.registry.metrics(champion.id)
        if m.name == "rank_ic" and m.slice.startswith("session ")
    ]
    later = np.array([day > champion.holdout[-1] for day in now.sessions], np.bool_)
    return decay_alarm(np.array(then), now.rank_ic[later])


def policy(home: Services) -> GatePolicy:
    """Return what the settings ask of a challenger."""
    chosen = home.settings.gate.model_dump()
    return GatePolicy(simulated=home.settings.resolved_venue is Venue.SIMULATOR, **chosen)


def _scores(home: Services, version: VersionRow, dataset: Dataset, rows: Rows) -> SessionScores:
    """Return a version's figures of each session.

    Raises:
        DamagedFileError: Its file is gone or damaged.
        ModelRefusedError: It was made for other features, symbols or another feed.
    """
    said = scorer_of(home, load_version(home, version), dataset).predict(dataset, rows)
    judged = evaluate(said, draws=1)  # its intervals are not looked at
    return SessionScores(judged.sessions, judged.rank_ic, judged.ic)


def _with_history(home: Services, version: VersionRow) -> list[DataPin]:
    """Return the pins of a version's held-out sessions and of the one before them."""
    pins = home.registry.data(version.id)
    first = next(i for i, pin in enumerate(pins) if pin.session == version.holdout[0])
    return pins[max(first - 1, 0) :]


def _days(span: timedelta) -> float:
    return span / timedelta(days=1)
