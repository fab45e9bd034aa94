"""A model as one file: weights, scaler, calibration and card, as tensors and plain data only.

Nothing in it is code, so loading runs none: `torch.load(weights_only=True)` builds tensors,
numbers, texts, lists and dictionaries, and refuses anything else.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from alpaca_strategy.errors import DamagedFileError, ModelRefusedError
from alpaca_strategy.model.calibration import Calibration
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.presets import NetworkShape

FORMAT = "alpaca-strategy model 1"


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
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
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
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        msg = f"The model file {source} lacks parts of a model or has others; train a new one."
        raise ModelRefusedError(msg) from error
    wrong = [name for name, w in weights.items() if not bool(torch.isfinite(w).all())]
    if wrong or len(card.symbols) != shape.symbols:
        what = f"weights that are no numbers ({wrong[0]})" if wrong else "a list of other symbols"
        msg = f"The model file {source} has {what}; train a new one."
        raise ModelRefusedError(msg)
    network.eval().requires_grad_(requires_grad=False)
    return Model(network, calibration, card)


def _card(content: dict[str, Any]) -> Card:
    values: dict[str, Any] = {}
    for field in fields(Card):
        value = content[field.name]
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return Card(**values)
