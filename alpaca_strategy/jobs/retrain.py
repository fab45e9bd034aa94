"""One retraining: choose the sessions, train, judge and register, decide, promote.

Each step is a function of small JSON values, so that a DAG's task is one call. All of them may be
repeated: an interrupted training goes on, the same training gives the same file, a file is one
version, and a decision is made of what the registry holds at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import structlog

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.config import home as home_folder
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.domain.models import VerdictKind, VersionStatus
from alpaca_strategy.errors import SupersededError, UserError
from alpaca_strategy.jobs.apart import run_apart
from alpaca_strategy.jobs.candidate import Recipe, write_candidate
from alpaca_strategy.jobs.fitting import chosen_plan, fit
from alpaca_strategy.jobs.market_data import latest_session
from alpaca_strategy.jobs.training_data import newest_sessions, pins_of
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.storage.registry_records import Decision, new_version_id
from alpaca_strategy.storage.whole import write_bytes

log = structlog.get_logger(__name__)

Progress = Callable[[int, int, str], None]


def window(until: str | None = None) -> dict[str, Any]:
    """Choose the sessions of a training: the newest ones up to a day, without a gap.

    Returns:
        first and last (ISO dates), and sessions (their number).

    Raises:
        UserError: The text is not a date.
        NotPublishedError: Sessions are missing; names them.
        TooFewSessionsError: There are not enough.
    """
    from alpaca_strategy.model.splits import split_sessions

    home, latest = services(), latest_session()
    try:
        asked = date.fromisoformat(until) if until else latest
    except ValueError:
        msg = f"{until!r} is not a date; write it as YYYY-MM-DD."
        raise UserError(msg) from None
    days = newest_sessions(home, min(asked, latest), home.settings.training.sessions)
    split_sessions(len(days))
    return {"first": days[0].isoformat(), "last": days[-1].isoformat(), "sessions": len(days)}


def train(
    first: str,
    last: str,
    preset: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Train a model on the sessions from first to last, and store its file.

    Args:
        first: ISO date.
        last: ISO date.
        preset: Size of the network; the settings' when None.
        seed: Of weights, order and dropout; the settings' when None.
        progress: Told after every epoch.

    Returns:
        The name of the candidate in object storage, which `judging.evaluate_candidate`
        takes.

    Raises:
        BusyError: Another retraining is at work.
        TrainingError: It came to no usable model.
    """
    home = services()
    settings = home.settings
    sessions = exchange_calendar().sessions(date.fromisoformat(first), date.fromisoformat(last))
    recipe = Recipe(
        preset=resolve_preset(home, preset),
        seed=settings.training.seed if seed is None else seed,
        horizon=settings.model.horizon_minutes,
        plan=chosen_plan(settings),
    )
    with home.registry.retraining_lock(settings.resolved_venue, settings.data.feed):
        pins = pins_of(home, [session.day for session in sessions])
        candidate, data, traces = fit(
            home, pins, recipe, symbols=settings.symbols(), progress=progress
        )
        model = new_version_id(datetime.now(UTC), candidate.artifact_sha256)
        name = f"models/{model}"
        uri = home.objects.put(f"{name}/last.ckpt", data)
        write_candidate(home, name, replace(candidate, artifact_uri=uri))
        _write_newest(data)
        traces.keep_as(model)  # not before: what came of it is safe now
    return name


def train_apart(sessions: dict[str, Any], preset: str | None) -> str:
    """Do what `train` does in a process of its own."""
    arguments = {"first": sessions["first"], "last": sessions["last"], "preset": preset}
    return str(run_apart("retrain:train", **arguments))


def evaluate_apart(candidate: str) -> dict[str, Any]:
    """Do what `judging.evaluate_candidate` does in a process of its own."""
    return dict(run_apart("judging:evaluate_candidate", candidate=candidate))


def decide_apart(model: str) -> dict[str, Any]:
    """Judge a version beside the champion, and record the decision unless it is to serve.

    A decision that puts a model into service is recorded when it does so, by `promote`.

    Returns:
        What `deciding.decide` returns, and next: promote, ask or keep.
    """
    decided = dict(run_apart("deciding:decide", model=model))
    log.info("gate_decided", model=model, verdict=decided["verdict"], reason=decided["reason"])
    if decided.get("alarm"):
        log.error("champion_decayed", model=decided["champion"], reason=decided["alarm"])
    if decided["verdict"] is None:
        return {**decided, "next": "keep"}
    registry, verdict = services().registry, VerdictKind(decided["verdict"])
    if decided["champion_damaged"]:
        registry.mark(
            decided["champion"], VersionStatus.DAMAGED, reason=decided["reason"], by="gate"
        )
    if verdict.serves:
        return {**decided, "next": "promote"}
    number = registry.decide(_decision(decided))
    return {**decided, "number": number, "next": "ask" if verdict is VerdictKind.ASK else "keep"}


def promote(decided: dict[str, Any]) -> dict[str, Any]:
    """Put a model into service, as was decided or a person approved; again changes nothing.

    Returns:
        model, and changed (whether it serves by this decision).

    Raises:
        SupersededError: The champion changed meanwhile, so it must be decided again.
    """
    registry = services().registry
    version = registry.version(decided["model"])
    champion = registry.champion(version.venue, version.feed)
    if champion is not None and champion.version == version.id:
        return {"model": version.id, "changed": True}  # by an attempt that died before it said so
    if (champion.position if champion else 0) != decided["position"]:
        msg = (
            f"The model in service changed after {version.id} was judged; judge it again: clear "
            f"the task `gate`."
        )
        raise SupersededError(msg)
    if decided["next"] == "ask":
        registry.promote(
            version.id,
            reason="A person approved it.",
            by="approval",
            expected_champion=decided["champion"],
            decision=decided["number"],
        )
    else:
        registry.decide(_decision(decided))
    return {"model": version.id, "changed": True}


def _decision(decided: dict[str, Any]) -> Decision:
    names = ("champion", "reason", "difference", "low", "high", "evidence")
    return Decision(
        challenger=decided["model"],
        verdict=VerdictKind(decided["verdict"]),
        **{name: decided[name] for name in names},
    )


def resolve_preset(home: Services, asked: str | None) -> str:
    """Return the preset in force.

    Raises:
        SettingsError: There is none of that name.
    """
    from alpaca_strategy.model.presets import Preset, preset_named
    from alpaca_strategy.model.training import has_gpu

    name = asked or home.settings.model.preset
    if name == "auto" and home.settings.resolved_venue is Venue.SIMULATOR:
        return Preset.DEMO.value
    if name == "auto":
        return (Preset.FULL if has_gpu() else Preset.CPU).value
    return preset_named(name).value


def _write_newest(data: bytes) -> None:
    """Put the newest model where the mission's README names it."""
    write_bytes(home_folder() / "results" / "last.ckpt", data)
