"""A model as one file: weights, scaler, calibration and card, as tensors and plain data only.

Nothing in it is code, so loading runs none: `torch.load(weights_only=True)` builds tensors,
numbers, texts, lists and dictionaries, and refuses anything else. It is a zip archive, whose
checksums are compared first: torch ignores them, and would build another model of a file in which
a bit has flipped.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from alpaca_strategy.errors import DamagedFileError, ModelRefusedError
from alpaca_strategy.model.calibration import Calibration
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.presets import NetworkShape

FORMAT = "alpaca-strategy model 1"
#: What zip, pickle and torch make of bytes that are not whole, or not data.
_UNREADABLE = (
    zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError,
    LookupError, TypeError, AttributeError, ArithmeticError, OSError,
)  # fmt: skip
#: What parts of another kind or size run into; torch asserts some of its sizes.
_UNFIT = (
    LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError,
    AssertionError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Card:
    """What a model is of, and under which conditions its scores mean anything.

    Attributes:
        fingerprint: Of its features; see `features.fingerprint`.
        feed: The feed of its bars.
        symbols: In the order of its embeddings and scalers.
        horizon: Minutes of its labels.
        preset: The name of its sizes.
        seed: Of its training.
        dataset_hash: Of what it was trained, stopped and calibrated on.
        training: First and last training session, ISO dates.
        validation: Likewise.
        holdout: Likewise; no part of training ever saw them.
        code_version: Of the program that made it.
    """

    fingerprint: str
    feed: str
    symbols: tuple[str, ...]
    horizon: int
    preset: str
    seed: int
    dataset_hash: str
    training: tuple[str, str]
    validation: tuple[str, str]
    holdout: tuple[str, str]
    code_version: str


@dataclass(frozen=True, slots=True)
class Model:
    """A network that may be asked, with what one must know of it."""

    network: Ranker
    calibration: Calibration
    card: Card


def dump_model(model: Model) -> bytes:
    """Return a model as the bytes of its file; the same model gives the same bytes."""
    content = {
        "format": FORMAT,
        "shape": asdict(model.network.shape),
        "weights": {name: w.detach().cpu() for name, w in model.network.state_dict().items()},
        "calibration": asdict(model.calibration),
        "card": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(model.card).items()},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def load_model(data: bytes, source: str) -> Model:
    """Return the model in the bytes of a file, ready to be asked.

    Args:
        data: The file's content.
        source: What it is called, for people.

    Raises:
        DamagedFileError: It is cut short, changed, or holds more than data.
        ModelRefusedError: It is whole, but no model of ours.
    """
    try:
        content = _read(data)
    except _UNREADABLE as error:
        msg = (
            f"The model file {source} is damaged, or holds more than numbers and text; it was not "
            f"opened. Roll back, or train again: alpaca-strategy rollback, alpaca-strategy train."
        )
        raise DamagedFileError(msg) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        msg = f"{source} is no model of this program (format {found!r}, not {FORMAT!r}); train one."
        raise ModelRefusedError(msg)
    try:
        shape = NetworkShape(**content["shape"])
        network = Ranker(shape)
        weights: dict[str, Tensor] = content["weights"]
        network.load_state_dict(weights)
        calibration = Calibration(**{k: float(v) for k, v in content["calibration"].items()})
        card = _card(content["card"])
    except _UNFIT as error:
        msg = f"The model file {source} lacks parts of a model or has others; train a new one."
        raise ModelRefusedError(msg) from error
    if wrong := _what_is_wrong(network, calibration, card):
        msg = f"The model file {source} has {wrong}; train a new one."
        raise ModelRefusedError(msg)
    network.eval().requires_grad_(requires_grad=False)
    return Model(network, calibration, card)


def _read(data: bytes) -> object:
    """Return what the file holds.

    Raises:
        zipfile.BadZipFile: Or another of `_UNREADABLE`, when it is not whole.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        # Ours are stored plainly, so that a file never holds more than its size.
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
        if packed or archive.testzip() is not None:
            msg = "packed, or changed since it was written"
            raise zipfile.BadZipFile(msg)
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _what_is_wrong(network: Ranker, calibration: Calibration, card: Card) -> str | None:
    for name, weights in network.state_dict().items():  # as loaded: a large double becomes infinite
        if not bool(torch.isfinite(weights).all()):
            return f"weights that are no numbers ({name})"
    numbers = (calibration.logit_scale, calibration.bps_per_unit)
    if not all(map(math.isfinite, numbers)) or not calibration.logit_scale > 0:
        return f"a calibration that gives no scores (a logit scale of {calibration.logit_scale})"
    if len(card.symbols) != network.shape.symbols:
        return f"{len(card.symbols)} symbols and weights for {network.shape.symbols}"
    return None


def _card(content: dict[str, Any]) -> Card:
    kinds = {"str": str, "int": int}  # everything else is a list of texts
    values: dict[str, Any] = {}
    for field in fields(Card):
        value = content[field.name]
        texts = value if isinstance(value, list) else []
        if not isinstance(value, kinds.get(str(field.type), list)) or not all(
            isinstance(text, str) for text in texts
        ):
            msg = f"{field.name} is {value!r}"
            raise TypeError(msg)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return Card(**values)
