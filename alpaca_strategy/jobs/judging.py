"""Judge a model on the sessions held out: beside baselines, and beside the champion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.domain.models import ChampionChange
from alpaca_strategy.errors import DamagedFileError, EnvironmentFaultError, ModelRefusedError
from alpaca_strategy.jobs.candidate import Candidate, read_artifact, read_candidate
from alpaca_strategy.jobs.training_data import (
    features_fingerprint,
    load_dataset,
    load_returns,
)
from alpaca_strategy.model.baselines import fit_lightgbm, fit_ridge
from alpaca_strategy.model.checkpoint import Model, load_model
from alpaca_strategy.model.dataset import Dataset, decision_rows
from alpaca_strategy.model.decay import decay_alarm
from alpaca_strategy.model.evaluation import Evaluation, evaluate, suspicion
from alpaca_strategy.model.evaluation_report import breakdown, comparison
from alpaca_strategy.model.gate import GatePolicy, SessionScores, judge
from alpaca_strategy.model.scorer import Scorer
from alpaca_strategy.model.training import fit_scaler
from alpaca_strategy.storage.registry_records import (
    ChampionRow,
    DataPin,
    Metric,
    ModelVersion,
    VersionRow,
)

log = structlog.get_logger(__name__)
Rows = npt.NDArray[np.int64]

#: Horizons, in minutes, over which the IC's decay is shown beside the model's own.
DECAY = (1, 5, 20, 30, 60)


def evaluate_candidate(candidate: str) -> dict[str, Any]:
    """Judge a candidate and the baselines, and register it with its figures.

    Returns:
        model (its id), new (whether it was registered now), rank_ic, low, high, and suspicion (a
        sentence, or None).

    Raises:
        DamagedFileError: The candidate or its file is gone or has changed.
    """
    home = services()
    about = read_candidate(home, candidate)
    data = read_artifact(home, about.artifact_uri, about.artifact_sha256)
    evaluations = _evaluations(home, about, load_model(data, about.artifact_uri))
    table = comparison(evaluations)
    parts = [f"## By {kind}\n\n{breakdown(evaluations, kind)}" for kind in ("session", "hour")]
    home.objects.put(f"{candidate}/evaluation.md", "\n\n".join([table, *parts]).encode())
    log.info("model_judged", candidate=candidate)
    for line in table.splitlines():
        log.info(line)  # a table in one entry is no table where logs are looked at
    metrics = [m for name, one in evaluations.items() for m in _metrics(name, one)]
    model, new = home.registry.register(
        _version(home, candidate.rpartition("/")[2], about), metrics, about.data
    )
    simulated = home.settings.resolved_venue is Venue.SIMULATOR
    rank_ic = evaluations["model"].metric("rank_ic")
    return {
        "model": model,
        "new": new,
        "rank_ic": _number(rank_ic.value),
        "low": _number(rank_ic.low),
        "high": _number(rank_ic.high),
        "suspicion": suspicion(evaluations["model"], simulated=simulated),
    }


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
    rows = decision_rows(dataset, _positions(dataset, days))
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
        "low": _number(verdict.low),
        "high": _number(verdict.high),
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


def check_fit(home: Services, version: VersionRow) -> None:
    """Refuse a version that could not score today's bars.

    Raises:
        DamagedFileError: Its file is gone, has changed or cannot be read.
        ModelRefusedError: It was made for other features, symbols, another feed or venue.
    """
    settings = home.settings
    if version.venue is not settings.resolved_venue:
        msg = (
            f"{version.id} is of venue {version.venue.value}, not {settings.resolved_venue.value}."
        )
        raise ModelRefusedError(msg)
    symbols = settings.symbols()
    Scorer(
        load_version(home, version),
        fingerprint=features_fingerprint(home, symbols, version.horizon),
        feed=settings.data.feed.value,
        symbols=symbols,
    )


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


def load_version(home: Services, version: VersionRow) -> Model:
    """Return the model of a version.

    Raises:
        DamagedFileError: Its file is gone, has changed or cannot be read.
        ModelRefusedError: It is no model of this program.
    """
    data = read_artifact(home, version.artifact_uri, version.artifact_sha256)
    return load_model(data, version.artifact_uri)


def _evaluations(home: Services, about: Candidate, model: Model) -> dict[str, Evaluation]:
    dataset = load_dataset(home, about.data, symbols=about.symbols, horizon=about.recipe.horizon)
    rows = decision_rows(dataset, _positions(dataset, about.holdout))
    said = _scorer(model, dataset, home).predict(dataset, rows)
    learned = _positions(dataset, (*about.training, *about.validation))
    basis: dict[str, Any] = {
        "top_k": home.settings.model.top_k,
        "sectors": {row["symbol"]: row["sector"] for row in home.settings.universe()},
        "decay": {
            minutes: load_returns(home, about.data, symbols=about.symbols, horizon=minutes)[rows]
            for minutes in DECAY
        },
    }
    expected = model.calibration.expected_bps(said.scores)
    found = {"model": evaluate(said, expected_bps=expected, **basis)}
    if home.settings.training.baselines:
        # They choose their own strength, so they may learn of all that the model learned of.
        learning, scaler = decision_rows(dataset, learned), fit_scaler(dataset, learned)
        for name, fit in (("ridge", fit_ridge), ("lightgbm", fit_lightgbm)):
            try:
                baseline = fit(dataset, learning, mean=scaler.mean, std=scaler.std)
            except EnvironmentFaultError as error:  # a library that does not load judges nobody
                log.warning("baseline_left_out", baseline=name, reason=str(error))
                continue
            found[name] = evaluate(baseline.predict(dataset, rows), **basis)
    return found


def _scores(home: Services, version: VersionRow, dataset: Dataset, rows: Rows) -> SessionScores:
    """Return a version's figures of each session.

    Raises:
        DamagedFileError: Its file is gone or damaged.
        ModelRefusedError: It was made for other features, symbols or another feed.
    """
    said = _scorer(load_version(home, version), dataset, home).predict(dataset, rows)
    judged = evaluate(said, draws=1)  # its intervals are not looked at
    return SessionScores(judged.sessions, judged.rank_ic, judged.ic)


def _scorer(model: Model, dataset: Dataset, home: Services) -> Scorer:
    feed = home.settings.data.feed.value
    return Scorer(model, fingerprint=dataset.fingerprint, feed=feed, symbols=dataset.symbols)


def _with_history(home: Services, version: VersionRow) -> list[DataPin]:
    """Return the pins of a version's held-out sessions and of the one before them."""
    pins = home.registry.data(version.id)
    first = next(i for i, pin in enumerate(pins) if pin.session == version.holdout[0])
    return pins[max(first - 1, 0) :]


def _positions(dataset: Dataset, days: Sequence[date]) -> tuple[int, ...]:
    wanted = set(days)
    return tuple(i for i, day in enumerate(dataset.sessions) if day in wanted)


def _metrics(name: str, judged: Evaluation) -> list[Metric]:
    """Return figures as the registry keeps them; those of a baseline under its name."""
    prefix = "" if name == "model" else f"{name}."
    return [
        Metric(f"{prefix}{m.name}", m.value, _number(m.low), _number(m.high), m.n, m.slice)
        for m in judged.metrics
        if name == "model" or m.slice == "all"
    ]


def _version(home: Services, name: str, about: Candidate) -> ModelVersion:
    made = datetime.now(UTC)
    return ModelVersion(
        id=name,
        created_at=made,
        venue=home.settings.resolved_venue,
        feed=home.settings.data.feed,
        preset=about.recipe.preset,
        fingerprint=about.fingerprint,
        seed=about.recipe.seed,
        code_version=about.code_version,
        config={
            "plan": about.recipe.plan,
            "epochs": about.epochs,
            "best_epoch": about.best_epoch,
            "validation_loss": about.validation_loss,
            "gate": home.settings.gate.model_dump(),
        },
        environment=about.environment,
        dataset_hash=about.dataset_hash,
        horizon=about.recipe.horizon,
        symbols=about.symbols,
        training=about.training,
        validation=about.validation,
        holdout=about.holdout,
        artifact_uri=about.artifact_uri,
        artifact_sha256=about.artifact_sha256,
        expires_at=made + timedelta(days=home.settings.gate.expiry_days),
    )


def _days(span: timedelta) -> float:
    return span / timedelta(days=1)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
