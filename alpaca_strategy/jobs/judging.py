"""Judge a candidate on the sessions held out, beside baselines, and register it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.errors import EnvironmentFaultError
from alpaca_strategy.jobs.candidate import Candidate, read_artifact, read_candidate
from alpaca_strategy.jobs.scoring import positions_of, scorer_of
from alpaca_strategy.jobs.training_data import load_dataset, load_returns
from alpaca_strategy.model.baselines import fit_lightgbm, fit_ridge
from alpaca_strategy.model.checkpoint import Model, load_model
from alpaca_strategy.model.dataset import decision_rows
from alpaca_strategy.model.evaluation import Evaluation, evaluate, suspicion
from alpaca_strategy.model.evaluation_report import breakdown, comparison
from alpaca_strategy.model.training import fit_scaler
from alpaca_strategy.storage.registry_records import Metric, ModelVersion

log = structlog.get_logger(__name__)

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
        "rank_ic": finite(rank_ic.value),
        "low": finite(rank_ic.low),
        "high": finite(rank_ic.high),
        "suspicion": suspicion(evaluations["model"], simulated=simulated),
    }


def _evaluations(home: Services, about: Candidate, model: Model) -> dict[str, Evaluation]:
    dataset = load_dataset(home, about.data, symbols=about.symbols, horizon=about.recipe.horizon)
    rows = decision_rows(dataset, positions_of(dataset, about.holdout))
    said = scorer_of(home, model, dataset).predict(dataset, rows)
    learned = positions_of(dataset, (*about.training, *about.validation))
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


def _metrics(name: str, judged: Evaluation) -> list[Metric]:
    """Return figures as the registry keeps them; those of a baseline under its name."""
    prefix = "" if name == "model" else f"{name}."
    return [
        Metric(f"{prefix}{m.name}", m.value, finite(m.low), finite(m.high), m.n, m.slice)
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


def finite(value: float | None) -> float | None:
    """Return a number, or None for what is not one."""
    return value if value is not None and math.isfinite(value) else None
