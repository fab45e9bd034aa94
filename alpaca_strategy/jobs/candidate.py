"""A trained model that has not been judged yet: its file, and all that it was made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

import alpaca_strategy
from alpaca_strategy.bootstrap import Services
from alpaca_strategy.errors import DamagedFileError, DataError, SettingsError
from alpaca_strategy.storage.registry_records import DataPin

#: Whose code decides what a model's weights are.
_CODE = (
    "market/**/*.py",
    "features/*.py",
    "model/*.py",
    "resampling.py",
    "storage/panel.py",
    "jobs/training_data.py",
    "jobs/fitting.py",
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything but the data that a training depends on.

    Attributes:
        preset: The name of the network's sizes.
        seed: Of weights, order and dropout.
        horizon: Minutes of a label.
        plan: What is trained otherwise than the preset says: names of `TrainingPlan`.
    """

    preset: str
    seed: int
    horizon: int
    plan: dict[str, int | float]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What `train` leaves for `evaluate`.

    Attributes:
        recipe: How it was trained.
        data: What it was trained, stopped and will be judged on.
        symbols: In the order of its scores.
        training: Sessions, oldest first.
        validation: Likewise.
        holdout: Likewise; no part of training saw them.
        fingerprint: Of its features.
        dataset_hash: Of features and labels.
        artifact_uri: Its file.
        artifact_sha256: Of that file.
        code_version: Of the program that trained it.
        environment: Python, PyTorch, machine.
        epochs: How many it took.
        best_epoch: Whose weights were kept, from 1.
        validation_loss: Of that epoch.
    """

    recipe: Recipe
    data: tuple[DataPin, ...]
    symbols: tuple[str, ...]
    training: tuple[date, ...]
    validation: tuple[date, ...]
    holdout: tuple[date, ...]
    fingerprint: str
    dataset_hash: str
    artifact_uri: str
    artifact_sha256: str
    code_version: str
    environment: dict[str, Any]
    epochs: int
    best_epoch: int
    validation_loss: float


def write_candidate(home: Services, name: str, candidate: Candidate) -> None:
    """Keep a candidate under its name in object storage."""
    data = msgspec.json.format(msgspec.json.encode(candidate), indent=1)
    home.objects.put(f"{name}/candidate.json", data)


def read_candidate(home: Services, name: str) -> Candidate:
    """Return a candidate.

    Raises:
        DamagedFileError: There is none of that name.
        DataError: It cannot be read.
    """
    data = home.objects.get(f"{name}/candidate.json")
    try:
        return msgspec.json.decode(data, type=Candidate)
    except msgspec.MsgspecError as error:
        msg = f"The candidate {name} cannot be read ({error}); train again: alpaca-strategy train"
        raise DataError(msg) from error


def read_artifact(home: Services, uri: str, sha256: str) -> bytes:
    """Return a model's file, which must be the one that was written.

    Raises:
        DamagedFileError: It is gone or has changed.
        SettingsError: It was written to another object storage than that in the settings.
    """
    try:
        name = home.objects.name_of(uri)
    except DamagedFileError as error:  # the file may be sound: it is the setting that moved
        msg = f"{uri} lies outside storage.objects; set it back, or move the files back."
        raise SettingsError(msg) from error
    data = home.objects.get(name)
    if hashlib.sha256(data).hexdigest() != sha256:
        msg = (
            f"The model file {uri} is not the one that was registered; roll back, or train again: "
            f"alpaca-strategy rollback, alpaca-strategy train"
        )
        raise DamagedFileError(msg)
    return data


def code_version() -> str:
    """Return the version, and a hash of the code that decides what a model's weights are."""
    package = Path(alpaca_strategy.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(file for pattern in _CODE for file in package.glob(pattern)):
        digest.update(file.relative_to(package).as_posix().encode())
        digest.update(file.read_bytes())
    return f"{alpaca_strategy.__version__}+{digest.hexdigest()[:12]}"
