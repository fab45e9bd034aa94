"""The network: 240 minutes of every symbol in, one logit a symbol out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alpaca_strategy.model.dataset import MIN_USABLE_MINUTES, RECENT_MINUTES
from alpaca_strategy.model.layers import (
    AttentionPooling,
    CrossSection,
    Head,
    Standardize,
    Stem,
    TemporalEncoder,
)
from alpaca_strategy.model.presets import NetworkShape


class Ranker(nn.Module):
    """Ranks the symbols of a cross-section.

    Time2Vec and the stem, a transformer and an LSTM over time, attention pooling; the stock's
    embedding, a transformer over stocks, and a head of two layers. Where symbols stand in the
    arrays does not matter: whoever permutes them, with ``symbols``, permutes the logits.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.standardize = Standardize(shape.symbols, shape.features)
        self.stem = Stem(shape)
        self.temporal = TemporalEncoder(shape)
        self.pooling = AttentionPooling(shape)
        self.cross = CrossSection(shape)
        self.head = Head(shape)

    def forward(self, x: Tensor, usable: Tensor, symbols: Tensor | None = None) -> Tensor:
        """Return logits (B, S); NaN where a symbol has too little to be scored.

        Args:
            x: Features (B, 240, S, 30), oldest minute first, unscaled; anything where not usable.
            usable: Which minutes are known (B, 240, S).
            symbols: Which symbol stands in each place (S,); 0, 1, … when None.
        """
        batch, _, count, _ = x.shape
        if symbols is None:
            symbols = torch.arange(count, device=x.device)
        tokens, known = self.stem(self.standardize(x, usable, symbols), usable)
        sequences, known = tokens.flatten(0, 1), known.flatten(0, 1)
        states = self.pooling(self.temporal(sequences, known), known).view(batch, count, -1)
        scored = is_scored(usable)
        logits: Tensor = self.head(self.cross(states, scored, symbols))
        return logits.masked_fill(~scored, float("nan"))


def is_scored(usable: Tensor) -> Tensor:
    """Return which symbols (B, S) have enough usable minutes (B, 240, S) to be scored."""
    enough = usable.sum(dim=1) >= MIN_USABLE_MINUTES
    return enough & usable[:, -RECENT_MINUTES:].any(dim=1)
