"""What people do with models: look at them, put them into service by hand, take them back."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from getpass import getuser
from typing import Any

from alpaca_strategy.bootstrap import services
from alpaca_strategy.domain.models import VersionStatus
from alpaca_strategy.errors import DamagedFileError, ModelRefusedError, UserError
from alpaca_strategy.jobs.candidate import Recipe, code_version
from alpaca_strategy.jobs.retrain import Progress
from alpaca_strategy.jobs.training_data import features_fingerprint
from alpaca_strategy.storage.registry_records import Metric, VersionRow


def list_models(limit: int = 30) -> list[dict[str, Any]]:
    """Return the newest models, newest first, as small JSON values."""
    home = services()
    feed = home.settings.data.feed
    champion = home.registry.champion(home.settings.resolved_venue, feed)
    rows = []
    for version in home.registry.versions(limit, feed=feed):
        figures = {m.name: m for m in home.registry.metrics(version.id, slice_of="all")}
        decisions = home.registry.decisions(version.id, limit=1)
        serves = champion is not None and champion.version == version.id
        rows.append(
            {
                "model": version.id,
                "service": service_of(version, serves=serves),
                "rank_ic": with_bounds(figures.get("rank_ic")),
                "decision": decisions[0].verdict.value if decisions else "not judged",
            }
        )
    return rows


def service_of(version: VersionRow, *, serves: bool) -> str:
    """Return in a word whether a version serves, or may."""
    if serves and version.expires_at <= datetime.now(UTC):
        return "champion, expired"
    return "champion" if serves else version.status.value


def with_bounds(metric: Metric | None) -> str:
    """Return a figure with its interval as words; empty where there is none."""
    if metric is None or not math.isfinite(metric.value):
        return ""
    if metric.low is None or metric.high is None:
        return f"{metric.value:+.4f}"
    return f"{metric.value:+.4f} (95 %: {metric.low:+.4f} to {metric.high:+.4f})"


def show(model: str) -> list[tuple[str, str]]:
    """Return everything that is known of a model, as names and words.

    Raises:
        UserError: There is no such model.
    """
    home = services()
    version, data = home.registry.version(model), home.registry.data(model)
    champion = home.registry.champion(version.venue, version.feed)
    serves = champion is not None and champion.version == model
    environment = ", ".join(f"{name} {value}" for name, value in version.environment.items())
    rows = [
        ("model", version.id),
        ("made", f"{version.created_at:%Y-%m-%d %H:%M} UTC, expires {version.expires_at:%Y-%m-%d}"),
        ("service", f"{service_of(version, serves=serves)} {version.status_reason or ''}".strip()),
        ("venue, feed", f"{version.venue.value}, {version.feed.value}"),
        ("preset, seed", f"{version.preset}, {version.seed}"),
        ("training", _span(version.training)),
        ("validation", _span(version.validation)),
        ("held out", _span(version.holdout)),
        ("data", f"{len(data)} sessions, hash {version.dataset_hash[:16]}"),
        ("features", version.fingerprint[:16]),
        ("code", version.code_version),
        ("environment", environment),
        ("file", version.artifact_uri),
    ]
    rows += [
        (m.name, f"{with_bounds(m)}  n {m.n}") for m in home.registry.metrics(model, slice_of="all")
    ]
    for decision in home.registry.decisions(model):
        rows.append((f"decided {decision.decided_at:%Y-%m-%d %H:%M}", decision.reason))
    return rows


def promote(model: str, reason: str) -> str:
    """Put a model into service by hand; return what served before, or a word for nothing.

    Raises:
        UserError: There is no such model, it serves already, or the champion is pinned.
        ModelRefusedError: It may not serve, or could not score today's bars.
        DamagedFileError: Its file is gone, has changed or cannot be read.
    """
    from alpaca_strategy.jobs.scoring import check_fit

    home = services()
    version = home.registry.version(model)
    check_fit(home, version)
    champion = home.registry.champion(version.venue, version.feed)
    before = champion.version if champion else None
    home.registry.promote(model, reason=reason, by=getuser(), expected_champion=before)
    return before or "nothing"


def rollback(reason: str) -> str:
    """Put the champion before this one back into service; return its id.

    One whose file is damaged, or that could not score today's bars, is marked and passed over.

    Raises:
        UserError: There is none.
    """
    from alpaca_strategy.jobs.scoring import check_fit

    home = services()
    venue, feed = home.settings.resolved_venue, home.settings.data.feed
    while (champion := home.registry.champion(venue, feed)) and champion.previous:
        try:
            check_fit(home, home.registry.version(champion.previous))
            break
        except (DamagedFileError, ModelRefusedError) as error:
            damaged = isinstance(error, DamagedFileError)
            status = VersionStatus.DAMAGED if damaged else VersionStatus.REFUSED
            home.registry.mark(champion.previous, status, reason=str(error), by="rollback")
    return home.registry.rollback(venue, feed, reason=reason, by=getuser())


def retire(model: str, reason: str) -> None:
    """Say that nobody needs a model: maintenance may then drop the bar files that it pins.

    Raises:
        UserError: There is no such model, or it is in service.
    """
    services().registry.mark(model, VersionStatus.RETIRED, reason=reason, by=getuser())


def pin(reason: str, *, keep: bool) -> str:
    """Keep the champion whatever comes, or let the gate replace it again; return its id.

    Raises:
        UserError: There is no champion.
    """
    home = services()
    venue, feed = home.settings.resolved_venue, home.settings.data.feed
    change = home.registry.pin if keep else home.registry.unpin
    return change(venue, feed, reason=reason, by=getuser())


def reproduce(model: str, progress: Progress | None = None) -> bool:
    """Train a model again from its lineage alone; return whether the file is the same.

    Raises:
        UserError: There is no such model; or code, trade conditions or feed are not what they were.
        DamagedFileError: Data that it was made from are gone.
        BusyError: A retraining is at work.
    """
    from alpaca_strategy.jobs.fitting import fit

    home = services()
    version, pins = home.registry.version(model), home.registry.data(model)
    made_of = {
        "code": (version.code_version, code_version()),
        "feed": (version.feed.value, home.settings.data.feed.value),
        "features": (
            version.fingerprint,
            features_fingerprint(home, version.symbols, version.horizon),
        ),
    }
    for name, (then, now) in made_of.items():
        if then != now:
            msg = (
                f"{model} was trained with {name} {then}, and here it is {now}; check out and "
                f"configure what it was trained with, then reproduce it."
            )
            raise UserError(msg)
    recipe = Recipe(
        preset=version.preset,
        seed=version.seed,
        horizon=version.horizon,
        plan=dict(version.config["plan"]),
    )
    with home.registry.retraining_lock(version.venue, version.feed):
        again, _, traces = fit(home, pins, recipe, symbols=version.symbols, progress=progress)
        traces.remove()
    return again.artifact_sha256 == version.artifact_sha256


def _span(sessions: tuple[Any, ...]) -> str:
    return f"{len(sessions)} sessions, {sessions[0]} to {sessions[-1]}"
