"""Asking a model: windows in, logits out; live and batch alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from alpaca_strategy.errors import ModelRefusedError
from alpaca_strategy.model.checkpoint import Model
from alpaca_strategy.model.dataset import Dataset
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.predictions import Predictions
from alpaca_strategy.model.windows import windows_of

Floats = npt.NDArray[np.float64]
_BATCH = 32


class Scorer:
    """A model in service, for symbols in any order.

    A symbol that the model does not know is never scored.
    """

    def __init__(
        self, model: Model, *, fingerprint: str, feed: str, symbols: Sequence[str]
    ) -> None:
        """Take a model into service.

        Args:
            model: The model.
            fingerprint: Of the features that will be handed in.
            feed: Of the bars behind them.
            symbols: In the order of the arrays that will be handed in.

        Raises:
            ModelRefusedError: It was made for other features, symbols, or another feed.
        """
        card = model.card
        for name, made_for, given in (
            ("feed", card.feed, feed),
            ("symbols", card.symbols, tuple(symbols)),
            ("features", card.fingerprint, fingerprint),
        ):
            if made_for != given:
                msg = (
                    f"The model was made for other {name} ({_short(made_for)}, not "
                    f"{_short(given)}); train one: alpaca-strategy train."
                )
                raise ModelRefusedError(msg)
        self.model = model

    def logits(self, features: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]) -> Floats:
        """Return the logits of one decision; the model's calibration makes scores of them.

        Args:
            features: Shape (240, symbols, 30), the newest minute last.
            usable: Shape (240, symbols).

        Returns:
            Shape (symbols,), the same bits at any number of threads; NaN where a symbol has too
            little to be scored.
        """
        # Copies, as torch takes neither arrays that are locked nor such as run backwards.
        one = torch.from_numpy(features.copy())[None], torch.from_numpy(usable.copy())[None]
        with _one_thread():
            logits: Floats = _ask(self.model.network, *one)[0]
        return logits

    def predict(self, dataset: Dataset, rows: npt.NDArray[np.int64]) -> Predictions:
        """Return logits of many decisions, which rank as scores do, beside what followed."""
        return predict(self.model.network, dataset, rows)


def predict(network: Ranker, dataset: Dataset, rows: npt.NDArray[np.int64]) -> Predictions:
    """Return a network's logits of many decisions beside what followed."""
    windows = windows_of(dataset)
    batches = (rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH))
    parts = [_ask(network, *windows.take(batch)[:2]) for batch in batches]
    nothing = np.empty((0, len(dataset.symbols)))
    return Predictions(
        scores=np.concatenate([nothing, *parts]),
        returns=dataset.returns[rows].astype(np.float64),
        session_index=dataset.session_index[rows],
        minute=dataset.minute[rows],
        sessions=dataset.sessions,
        symbols=dataset.symbols,
        horizon=dataset.horizon,
    )


def _ask(network: Ranker, features: torch.Tensor, usable: torch.Tensor) -> Floats:
    with torch.inference_mode(), _fused_attention():
        logits: Floats = network(features, usable).double().numpy()
    return logits


@contextmanager
def _one_thread() -> Iterator[None]:
    """Work on one thread.

    Several wait for each other at every step: beside other work on the same cores that makes
    seconds of milliseconds. And what they share out changes the last digits of sums.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Keep transformers from torch's shortcut for inference.

    The shortcut writes out every attention matrix; on a CPU the fused kernel that training uses is
    faster, the more so the longer the sequences (see benchmarks/decision.py).
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _short(value: object) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
