"""Registered models at work: read, checked, and asked for scores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from alpaca_strategy.bootstrap import Services
from alpaca_strategy.errors import ModelRefusedError
from alpaca_strategy.jobs.candidate import read_artifact
from alpaca_strategy.jobs.training_data import features_fingerprint
from alpaca_strategy.model.checkpoint import Model, load_model
from alpaca_strategy.model.dataset import Dataset
from alpaca_strategy.model.scorer import Scorer
from alpaca_strategy.storage.registry_records import VersionRow


def load_version(home: Services, version: VersionRow) -> Model:
    """Return the model of a version.

    Raises:
        DamagedFileError: Its file is gone, has changed or cannot be read.
        ModelRefusedError: It is no model of this program.
    """
    data = read_artifact(home, version.artifact_uri, version.artifact_sha256)
    return load_model(data, version.artifact_uri)


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


def scorer_of(home: Services, model: Model, dataset: Dataset) -> Scorer:
    """Return a model ready to score a dataset.

    Raises:
        ModelRefusedError: It was made for other features, symbols or another feed.
    """
    feed = home.settings.data.feed.value
    return Scorer(model, fingerprint=dataset.fingerprint, feed=feed, symbols=dataset.symbols)


def positions_of(dataset: Dataset, days: Sequence[date]) -> tuple[int, ...]:
    """Return where these sessions stand in a dataset; those that it lacks are left out."""
    wanted = set(days)
    return tuple(i for i, day in enumerate(dataset.sessions) if day in wanted)
