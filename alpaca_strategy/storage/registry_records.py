"""What the registry says about models, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.domain.models import ChampionChange, VerdictKind, VersionStatus


def new_version_id(created_at: datetime, artifact_sha256: str) -> str:
    """Return the name of a model: the UTC day it was made, and the start of its artifact's hash."""
    return f"{created_at.astimezone(UTC):%Y-%m-%d}-{artifact_sha256[:8]}"


@dataclass(frozen=True, slots=True)
class DataPin:
    """What a model read of one session.

    Attributes:
        session: The session.
        revision: Its revision.
        content_hash: Hash of its content.
        bars_version: The Delta version that made its bars current.
        bars_files: Its bar files, relative to the table's folder; vacuum keeps them.
    """

    session: date
    revision: int
    content_hash: str
    bars_version: int
    bars_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a model on its held-out sessions.

    Attributes:
        name: What is measured, such as ``rank_ic``.
        value: The figure; NaN where there is none.
        low: Lower bound of its interval; None where it has none.
        high: Upper bound.
        n: How many observations are behind it.
        slice: ``all``, or a part such as ``hour 10`` or ``symbol TSLA``.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    slice: str = "all"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A trained model whose artifact is stored.

    Attributes:
        id: Its name; see `new_version_id`.
        created_at: When it was made, UTC.
        venue: Whose data it learned from.
        feed: Of its bars; models of different feeds are never compared.
        preset: The name of its sizes.
        fingerprint: Of its features.
        seed: Of its training.
        code_version: Of the program that made it.
        config: Every setting that its training read.
        environment: Python, PyTorch, machine.
        dataset_hash: Of features and labels.
        horizon: Minutes of its labels.
        symbols: In the order of its scores.
        training: Sessions that it was fitted on, oldest first.
        validation: Sessions that stopped its training and calibrated it.
        holdout: Sessions that judge it.
        artifact_uri: Where its file is.
        artifact_sha256: Hash of that file.
        expires_at: From then on the trader refuses it, UTC.
    """

    id: str
    created_at: datetime
    venue: Venue
    feed: Feed
    preset: str
    fingerprint: str
    seed: int
    code_version: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    dataset_hash: str
    horizon: int
    symbols: tuple[str, ...]
    training: tuple[date, ...]
    validation: tuple[date, ...]
    holdout: tuple[date, ...]
    artifact_uri: str
    artifact_sha256: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class VersionRow(ModelVersion):
    """A registered version, and how it stands.

    Attributes:
        status: Whether it may serve.
        status_reason: Why it stands so; None when nobody ever changed it.
        status_at: Since when, UTC.
        status_by: Who said so.
    """

    status: VersionStatus
    status_reason: str | None
    status_at: datetime
    status_by: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a gate found about a challenger.

    Attributes:
        challenger: The version judged.
        champion: The version in force when it was judged; None when there was none.
        verdict: What is to be done.
        reason: Why, in one sentence.
        difference: Challenger less champion; None where they were not compared.
        low: Lower bound of its interval.
        high: Upper bound.
        evidence: The figures behind it, plain data.
        decided_by: Who or what decided.
    """

    challenger: str
    champion: str | None
    verdict: VerdictKind
    reason: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    decided_by: str = "gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow(Decision):
    """A recorded decision.

    Attributes:
        id: Its number.
        decided_at: When, UTC.
    """

    id: int
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change of the champion.

    Attributes:
        position: 1 for the first; the highest is in force.
        kind: What was done.
        version: The champion since then.
        provisional: Whether it serves without having been shown to be as good as another.
        decision: The gate's decision that did it; None when a person did.
        reason: Why, in one sentence.
        changed_at: When, UTC.
        changed_by: Who or what did it.
    """

    position: int
    kind: ChampionChange
    version: str
    provisional: bool
    decision: int | None
    reason: str
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True)
class ChampionRow:
    """The version in force.

    Attributes:
        version: Its id.
        since: Since when it has been, UTC.
        provisional: Whether it was never shown to be as good as another.
        pinned: Whether a person wants it to stay; the gate then never replaces it.
        status: Whether it may serve at all: a damaged champion may not.
        expires_at: From then on it may not either, UTC.
        previous: What a rollback would return to; None when nothing is fit to serve.
        reason: Why it is the champion.
        changed_by: Who made it so.
        position: Of the newest change of the log, which every change moves.
    """

    version: str
    since: datetime
    provisional: bool
    pinned: bool
    status: VersionStatus
    expires_at: datetime
    previous: str | None
    reason: str
    changed_by: str
    position: int = 0
