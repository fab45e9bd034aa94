"""Which model scores which session of a backtest: only such as never saw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from alpaca_strategy.bootstrap import Services
from alpaca_strategy.domain.models import VersionStatus
from alpaca_strategy.errors import ModelRefusedError, NotPublishedError, UserError
from alpaca_strategy.jobs.market_data import latest_session
from alpaca_strategy.jobs.training_data import features_fingerprint
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.storage.panel import published_rows
from alpaca_strategy.storage.registry_records import VersionRow

#: Asks for every session to be scored by the newest model that had not seen it.
WALK_FORWARD = "walk-forward"


@dataclass(frozen=True, slots=True)
class Share:
    """The sessions of one model.

    Attributes:
        version: The model.
        days: Its sessions, oldest first.
    """

    version: VersionRow
    days: tuple[date, ...]


def share_out(
    home: Services, model: str, first: date | None, last: date | None, *, in_sample: bool
) -> tuple[Share, ...]:
    """Choose the sessions of a backtest and who scores each.

    Args:
        home: The services.
        model: A model's id, `WALK_FORWARD`, or empty for the one in service.
        first: First day; when None, the first session that the models have not seen.
        last: Last day; when None, the last published session.
        in_sample: Whether a model may score sessions that it has learned from.

    Raises:
        ModelRefusedError: There is no such model, or it has seen one of the sessions.
        UserError: The days end before they begin, or walk-forward is asked for in sample.
        NotPublishedError: Sessions are missing.
        NotASessionError: The exchange was closed all that time.
    """
    if model == WALK_FORWARD and in_sample:
        msg = "Walk-forward never scores what a model has learned from; leave out one of the two."
        raise UserError(msg)
    versions = _versions(home, model)
    begin = first or min(version.holdout[0] for version in versions)
    if last is not None and last < begin:
        msg = (
            f"The last day, {last}, lies before {begin}, the first session that the model has not "
            f"learned from; choose a later one, or name a first day too."
        )
        raise UserError(msg)
    days = _days(home, begin, last)
    if model == WALK_FORWARD:
        return _newest_unseen(versions, days)
    only = versions[0]
    if days[0] < only.holdout[0] and not in_sample:
        msg = (
            f"{only.id} learned from sessions up to {only.validation[-1]}, so that a backtest over "
            f"{days[0]} would show what it remembers; begin on {only.holdout[0]}, or ask for it "
            f"with --in-sample."
        )
        raise ModelRefusedError(msg)
    return (Share(only, days),)


def _newest_unseen(versions: Sequence[VersionRow], days: Sequence[date]) -> tuple[Share, ...]:
    """Give each session to the newest model that had not seen it."""
    shares: dict[str, list[date]] = {}
    for day in days:
        unseen = [version for version in versions if version.holdout[0] <= day]
        if not unseen:
            earliest = min(version.holdout[0] for version in versions)
            msg = (
                f"No model is left that had not learned from {day} or later; begin on {earliest}, "
                f"or train one on earlier sessions: alpaca-strategy train --until DAY"
            )
            raise ModelRefusedError(msg)
        newest = max(unseen, key=lambda version: (version.holdout[0], version.created_at))
        shares.setdefault(newest.id, []).append(day)
    by_id = {version.id: version for version in versions}
    return tuple(Share(by_id[name], tuple(own)) for name, own in shares.items())


def _versions(home: Services, model: str) -> list[VersionRow]:
    """Return the models that may score, at least one."""
    settings = home.settings
    if model == WALK_FORWARD:
        symbols = settings.symbols()
        found = [
            version
            for version in home.registry.versions(1000, feed=settings.data.feed)
            if version.status is VersionStatus.REGISTERED
            and version.venue is settings.resolved_venue
            and version.symbols == symbols
            and version.horizon == settings.model.horizon_minutes
            and version.fingerprint == features_fingerprint(home, symbols, version.horizon)
        ]
        if found:
            return found
    elif model:
        return [_of_here(home, home.registry.version(model))]
    elif champion := home.registry.champion(settings.resolved_venue, settings.data.feed):
        return [home.registry.version(champion.version)]
    msg = "There is no model to score with yet; train one: alpaca-strategy train"
    raise ModelRefusedError(msg)


def _of_here(home: Services, version: VersionRow) -> VersionRow:
    """Return a version, which must be of the venue and feed in force."""
    settings = home.settings
    here = (settings.resolved_venue, settings.data.feed)
    if (version.venue, version.feed) != here:
        msg = (
            f"{version.id} is a model of {version.venue.value} and feed {version.feed.value}, not "
            f"of {here[0].value} and {here[1].value}, which are in force; choose one of those: "
            f"alpaca-strategy models"
        )
        raise ModelRefusedError(msg)
    return version


def _days(home: Services, first: date, last: date | None) -> tuple[date, ...]:
    """Return the sessions from first to last, all of which must be published."""
    rows = published_rows(home.catalog, home.settings.data.feed, None, first, last)
    days = [row.session for row in rows]
    calendar = exchange_calendar()
    # What is still to come cannot be published: then the last session there is will do.
    until = min(last or days[-1], latest_session())
    wanted = [session.day for session in calendar.sessions(first, until)]
    if missing := sorted(set(wanted) - set(days)):
        msg = (
            f"{len(missing)} of {len(wanted)} sessions from {wanted[0]} to {wanted[-1]} are not "
            f"published, the first {missing[0]}; publish them: alpaca-strategy backfill "
            f"--start {missing[0]} --end {missing[-1]}"
        )
        raise NotPublishedError(msg)
    return tuple(days)


def learned_from(shares: Sequence[Share]) -> bool:
    """Return whether a model scores a session that it has learned from."""
    return any(share.days[0] < share.version.holdout[0] for share in shares)
