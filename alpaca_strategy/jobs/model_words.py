"""The sentences of the pages about models: who serves, what was decided, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from alpaca_strategy.domain.models import VerdictKind, VersionStatus
from alpaca_strategy.storage.registry_records import (
    ChampionRow,
    ChangeRow,
    DecisionRow,
    VersionRow,
)

_NEW_YORK = ZoneInfo("America/New_York")
_PROGRAM = "alpaca-strategy"
_WHY = '--reason "…"'


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should know now.

    Attributes:
        text: What is the matter, and what to do.
        command: With which command; None when a command is no help.
        bad: Whether nothing trades until it is mended.
    """

    text: str
    command: str | None = None
    bad: bool = False


def say_who_serves(champion: ChampionRow | None, now: datetime) -> str:
    """Return which model is in service, as a sentence."""
    if champion is None:
        return "No model is in service."
    name, end = champion.version, _day(champion.expires_at)
    if champion.status is not VersionStatus.REGISTERED:
        return f"The model in service, {name}, is {champion.status.value} and must not trade."
    if champion.expires_at <= now:
        return f"The model in service, {name}, expired on {end} and must not trade."
    how = ", provisionally," if champion.provisional else ""
    return f"{name} has been in service since {_day(champion.since)}{how} and expires on {end}."


def say_what_was_decided(model: str, decision: DecisionRow | None) -> str:
    """Return what the gate made of a model, as a sentence."""
    if decision is None:
        return f"The gate has not judged {model}."
    other = decision.champion
    first = f"{model} went into service provisionally, as the first model."
    return {
        VerdictKind.PROMOTE: f"{model} took the place of {other}.",
        VerdictKind.PROVISIONAL: f"{model} took the place of {other}, provisionally."
        if other
        else first,
        VerdictKind.KEEP: f"{other} stayed in service, and {model} did not take its place.",
        VerdictKind.ASK: f"Whether {model} takes the place of {other} was left to a person.",
        VerdictKind.SUSPECT: f"{model} looks too good to be true and was held for a person.",
        VerdictKind.REFUSED: f"The gate refused {model}.",
    }[decision.verdict]


def find_notices(
    champion: ChampionRow,
    version: VersionRow,
    changes: Sequence[ChangeRow],
    *,
    near_expiry_days: int,
    now: datetime,
) -> tuple[Notice, ...]:
    """Return what a person should know about the model in service, the worst first.

    Args:
        champion: The model in service.
        version: The same, as it was registered.
        changes: Every change of the champion, oldest first.
        near_expiry_days: From how many days before its end on to speak of it.
        now: The moment, UTC.
    """
    found = []
    left = champion.expires_at - now
    if version.status is not VersionStatus.REGISTERED:
        why = _sentence(version.status_reason or "No reason was given")
        found.append(_unfit(f"It is marked as {version.status.value}: {why}", champion))
    if left <= timedelta(0):
        found.append(_unfit("The trader refuses a model that has expired.", champion))
    elif left <= timedelta(days=near_expiry_days):
        then = (
            "Pinned as it is, no successor takes its place before that."
            if champion.pinned
            else "The DAG model_retrain_weekly puts a successor that is no worse into service; see "
            "that it runs in time."
        )
        found.append(Notice(f"It expires {_in_days(left)}, and then the trader refuses it. {then}"))
    if champion.pinned:
        pin = changes[-1]  # whatever follows a pin lifts it
        text = (
            f"Pinned by {pin.changed_by} on {_day(pin.changed_at)} ({pin.reason.rstrip('.')}). No "
            "challenger takes its place until you unpin it:"
        )
        found.append(Notice(text, f"{_PROGRAM} unpin"))
    return tuple(found)


def find_obstacle(version: VersionRow, champion: ChampionRow | None, now: datetime) -> str | None:
    """Return why a model cannot be put into service; None when it can, or is."""
    if champion is not None and champion.version == version.id:
        return None
    if version.status is not VersionStatus.REGISTERED:
        return f"It is {version.status.value}, so it cannot be put into service."
    if version.expires_at <= now:
        return f"It expired on {_day(version.expires_at)}, so it cannot be put into service."
    if champion is not None and champion.pinned:
        return f"{champion.version} is pinned in service; unpin it before you promote another."
    return None


def list_commands(
    version: VersionRow, champion: ChampionRow | None, now: datetime
) -> tuple[tuple[str, str], ...]:
    """Return what can be done with a model: a purpose and a command each."""
    model = version.id
    again = "Train it again from its lineage, and compare the two files bit by bit"
    found = [(again, f"{_PROGRAM} models reproduce {model}")]
    if champion is None or champion.version != model:
        beside = "Judge it again beside the model in service; nothing changes"
        found.append((beside, f"{_PROGRAM} evaluate {model}"))
        if find_obstacle(version, champion, now) is None:
            found.append(("Put it into service", f"{_PROGRAM} promote {model} {_WHY}"))
        return tuple(found)
    if champion.previous:
        found.append((f"Roll back to {champion.previous}", f"{_PROGRAM} rollback {_WHY}"))
    if champion.pinned:
        found.append(("Let a challenger take its place again", f"{_PROGRAM} unpin {_WHY}"))
    else:
        found.append(("Keep it in service, whatever comes", f"{_PROGRAM} pin {_WHY}"))
    return tuple(found)


def _unfit(text: str, champion: ChampionRow) -> Notice:
    if champion.previous:
        more = f"To trade again, roll back to {champion.previous}:"
        return Notice(f"{text} {more}", f"{_PROGRAM} rollback", bad=True)
    more = "There is none to roll back to, so train another, then promote it:"
    return Notice(f"{text} {more}", f"{_PROGRAM} train", bad=True)


def _in_days(left: timedelta) -> str:
    if left.days < 1:
        return "in less than a day"
    return "in 1 day" if left.days == 1 else f"in {left.days} days"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _day(moment: datetime) -> str:
    local = moment.astimezone(_NEW_YORK)
    return f"{local.day} {local:%B %Y}"
