"""What the console shows about models: which one serves, how good each is, what it came from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.domain.models import VerdictKind, VersionStatus
from alpaca_strategy.jobs import model_words as words
from alpaca_strategy.jobs.model_figures import Figure, Figures, figure_of
from alpaca_strategy.storage.registry_records import (
    ChampionRow,
    ChangeRow,
    DataPin,
    DecisionRow,
    VersionRow,
)

MODELS = 100  # on the page of all
CHANGES = 100


class ModelState(StrEnum):
    """How a model stands."""

    SERVING = "serving"
    PROVISIONAL = "provisional"  # it serves, though nothing showed it to be as good as another
    OVERDUE = "overdue"  # it is the champion, and has expired
    UNFIT = "unfit"  # it is the champion, and may not serve
    EARLIER = "earlier"  # it has served
    EXPIRED = "expired"
    REGISTERED = "registered"  # it may serve, and never has
    REFUSED = "refused"
    DAMAGED = "damaged"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class ModelLine:
    """A model in the list.

    Attributes:
        version: The model.
        state: How it stands.
        rank_ic: On its held-out sessions.
        verdict: Of the newest decision about it; None when there is none.
    """

    version: VersionRow
    state: ModelState
    rank_ic: Figure
    verdict: VerdictKind | None


@dataclass(frozen=True, slots=True)
class ModelsPage:
    """All models.

    Attributes:
        headline: Which one is in service, as a sentence.
        champion: The one in service.
        notices: What a person should know, the worst first.
        lines: The newest models, newest first.
        more: Whether there are older ones.
        changes: The newest changes of the champion, newest first.
        venue: Whose data they learned from.
        feed: Of the bars.
    """

    headline: str
    champion: ChampionRow | None
    notices: tuple[words.Notice, ...]
    lines: tuple[ModelLine, ...]
    more: bool
    changes: tuple[ChangeRow, ...]
    venue: str
    feed: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision about a model.

    Attributes:
        decision: As it was recorded.
        difference: Rank IC, the model less the one in service, with the bounds the gate asks for.
    """

    decision: DecisionRow
    difference: Figure


@dataclass(frozen=True, slots=True)
class ModelPage:
    """All about one model.

    Attributes:
        version: The model.
        state: How it stands.
        headline: What the gate made of it, as a sentence.
        judgements: Newest first.
        figures: On its held-out sessions.
        data: What it read of each session with the part that the session played, oldest first.
        changes: How it came into service and stayed there, newest first.
        commands: What to do with it: a purpose and a command each.
        obstacle: Why it cannot be put into service; None when it can, or is.
    """

    version: VersionRow
    state: ModelState
    headline: str
    judgements: tuple[Judgement, ...]
    figures: Figures
    data: tuple[tuple[DataPin, str], ...]
    changes: tuple[ChangeRow, ...]
    commands: tuple[tuple[str, str], ...]
    obstacle: str | None


def models_page(*, now: datetime | None = None) -> ModelsPage:
    """Return the models of the feed in the settings, and which one is in service.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    home, now = services(), now or datetime.now(UTC)
    venue, feed = home.settings.resolved_venue, home.settings.data.feed
    champion = home.registry.champion(venue, feed)
    changes = home.registry.changes(venue, feed)
    versions = home.registry.versions(MODELS + 1, feed=feed)
    served = {change.version for change in changes}
    return ModelsPage(
        headline=words.say_who_serves(champion, now),
        champion=champion,
        notices=_notices(home, champion, changes, now),
        lines=tuple(_line(home, one, champion, served, now) for one in versions[:MODELS]),
        more=len(versions) > MODELS,
        changes=tuple(reversed(changes[-CHANGES:])),
        venue=venue.value,
        feed=feed.value,
    )


def model_page(model: str, *, now: datetime | None = None) -> ModelPage:
    """Return all about one model.

    Raises:
        UserError: There is no such model.
        ServiceUnavailableError: Postgres does not answer.
    """
    home, now = services(), now or datetime.now(UTC)
    version = home.registry.version(model)
    champion = home.registry.champion(version.venue, version.feed)
    changes = [
        change
        for change in home.registry.changes(version.venue, version.feed)
        if change.version == model
    ]
    decisions = home.registry.decisions(model)
    return ModelPage(
        version=version,
        state=_state(version, champion, {change.version for change in changes}, now),
        headline=words.say_what_was_decided(model, decisions[0] if decisions else None),
        judgements=tuple(Judgement(d, Figure(d.difference, d.low, d.high)) for d in decisions),
        figures=Figures(home.registry.metrics(model)),
        data=tuple((pin, _part(version, pin.session)) for pin in home.registry.data(model)),
        changes=tuple(reversed(changes)),
        commands=words.list_commands(version, champion, now),
        obstacle=words.find_obstacle(version, champion, now),
    )


def _notices(
    home: Services, champion: ChampionRow | None, changes: list[ChangeRow], now: datetime
) -> tuple[words.Notice, ...]:
    if champion is None:
        return ()
    found = words.find_notices(
        champion,
        home.registry.version(champion.version),
        changes,
        near_expiry_days=home.settings.gate.near_expiry_days,
        now=now,
    )
    newest = next(
        (d for d in home.registry.decisions(limit=20) if d.champion == champion.version), None
    )
    alarm = newest.evidence.get("alarm") if newest else None
    return (words.Notice(str(alarm)), *found) if alarm else found


def _line(
    home: Services,
    version: VersionRow,
    champion: ChampionRow | None,
    served: set[str],
    now: datetime,
) -> ModelLine:
    decisions = home.registry.decisions(version.id, limit=1)
    rank_ic = next(
        (m for m in home.registry.metrics(version.id, slice_of="all") if m.name == "rank_ic"),
        None,
    )
    return ModelLine(
        version=version,
        state=_state(version, champion, served, now),
        rank_ic=figure_of(rank_ic) if rank_ic else Figure(),
        verdict=decisions[0].verdict if decisions else None,
    )


def _state(
    version: VersionRow, champion: ChampionRow | None, served: set[str], now: datetime
) -> ModelState:
    expired, fit = version.expires_at <= now, version.status is VersionStatus.REGISTERED
    if champion is not None and champion.version == version.id:
        if not fit:
            return ModelState.UNFIT
        if expired:
            return ModelState.OVERDUE
        return ModelState.PROVISIONAL if champion.provisional else ModelState.SERVING
    if not fit:
        return ModelState(version.status.value)
    if expired:
        return ModelState.EXPIRED
    return ModelState.EARLIER if version.id in served else ModelState.REGISTERED


def _part(version: VersionRow, session: date) -> str:
    parts = (
        ("training", version.training),
        ("validation", version.validation),
        ("held out", version.holdout),
    )
    return next((name for name, days in parts if session in days), "embargo")
