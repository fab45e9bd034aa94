"""The parts of the network, one idea each.

Letters in shapes: B decisions, S symbols, T minutes of the window, F features, N tokens, H hidden.
A mask is true where something is known; what is masked never reaches what is not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alpaca_strategy.features.scaler import CLIP
from alpaca_strategy.model.presets import NetworkShape

#: By how much an untrained network's attention fades with a minute of age: half in 3.5 minutes.
FADING = 0.2


class Standardize(nn.Module):
    """Take each symbol's features to mean 0 and deviation 1; what is masked becomes 0.

    The statistics are part of the network, so that training and live cannot differ in them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, symbols: int, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(symbols, features))
        self.register_buffer("std", torch.ones(symbols, features))

    def forward(self, x: Tensor, usable: Tensor, symbols: Tensor) -> Tensor:
        """Standardize ``x`` (B, T, S, F) where ``usable`` (B, T, S); ``symbols`` (S,) are rows."""
        scaled = (x - self.mean[symbols]) / self.std[symbols]
        return torch.where(usable.unsqueeze(-1), scaled.clamp(-CLIP, CLIP), 0.0)


class Time2Vec(nn.Module):
    """A learned encoding of time: one linear part, the others periodic.

    Source:
        Kazemi et al., Time2Vec: Learning a Vector Representation of Time (2019), equation 1.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(dimensions))
        self.phase = nn.Parameter(torch.randn(dimensions))

    def forward(self, time: Tensor) -> Tensor:
        """Encode times (T,) as (T, dimensions)."""
        angle = time.unsqueeze(-1) * self.frequency + self.phase
        return torch.cat([angle[..., :1], torch.sin(angle[..., 1:])], dim=-1)


class Stem(nn.Module):
    """Turn minutes into tokens: features, their place in the window, and whether they are known."""

    place: Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        if shape.window % shape.minutes_per_token:
            msg = f"{shape.minutes_per_token} minutes a token do not divide {shape.window} minutes."
            raise ValueError(msg)
        self.minutes = shape.minutes_per_token
        self.time = Time2Vec(shape.time_dimensions)
        self.register_buffer("place", torch.linspace(-1.0, 0.0, shape.window), persistent=False)
        # One linear layer over all three, in parts: only the first is as large as the window.
        self.of_features = nn.Linear(self.minutes * shape.features, shape.hidden)
        self.of_time = nn.Linear(self.minutes * shape.time_dimensions, shape.hidden, bias=False)
        self.of_usable = nn.Linear(self.minutes, shape.hidden, bias=False)

    def forward(self, x: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (B, S, N, H) of ``x`` (B, T, S, F), and which know a minute (B, S, N)."""
        batch, window, symbols, _ = x.shape
        fold = (batch, window // self.minutes, self.minutes, symbols)
        folded = x.reshape(*fold, -1).permute(0, 3, 1, 2, 4).flatten(3)
        known = usable.reshape(fold).permute(0, 3, 1, 2)
        time = self.time(self.place).reshape(fold[1], -1)
        tokens = self.of_features(folded) + self.of_usable(known.to(x.dtype)) + self.of_time(time)
        return tokens, known.any(dim=3)


class TemporalEncoder(nn.Module):
    """What the minutes of one symbol say together: a transformer, then an LSTM both ways."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.transformer = _transformer(shape, shape.temporal_layers)
        self.lstm = nn.LSTM(shape.hidden, shape.hidden // 2, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor, known: Tensor) -> Tensor:
        """Encode tokens (sequences, N, H) of which ``known`` (sequences, N) say something."""
        encoded = self.transformer(tokens, src_key_padding_mask=_padding(known))
        states: Tensor = self.lstm(torch.where(known.unsqueeze(-1), encoded, 0.0))[0]
        return states


class AttentionPooling(nn.Module):
    """One state for a sequence: the mean of its tokens, weighted by what they say and their age."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.weigh = nn.Linear(shape.hidden, 1)
        # What foretells minutes is mostly minutes old. Training moves this, but from all ages alike
        # it takes four times as many sessions to come as far.
        age = torch.arange(shape.window // shape.minutes_per_token - 1, -1, -1.0)
        self.by_age = nn.Parameter(-FADING * shape.minutes_per_token * age)

    def forward(self, states: Tensor, known: Tensor) -> Tensor:
        """Pool (sequences, N, H) to (sequences, H) over the known tokens."""
        importance = self.weigh(states).squeeze(-1) + self.by_age
        weights = torch.softmax(importance.masked_fill(_padding(known), float("-inf")), dim=-1)
        return torch.einsum("qn,qnh->qh", weights, states)


class CrossSection(nn.Module):
    """What the symbols say of each other; a symbol is known by its embedding."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.symbols, shape.hidden)
        nn.init.normal_(self.embedding.weight, std=0.02)  # the states speak first
        self.transformer = _transformer(shape, shape.cross_layers)

    def forward(self, states: Tensor, scored: Tensor, symbols: Tensor) -> Tensor:
        """Let (B, S, H) look at each other, but for those that are not ``scored`` (B, S)."""
        named = states + self.embedding(symbols)
        mixed: Tensor = self.transformer(named, src_key_padding_mask=_padding(scored))
        return mixed


class Head(nn.Module):
    """Two layers from a state to one number."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(shape.hidden),
            nn.Linear(shape.hidden, shape.hidden),
            nn.ReLU(),
            nn.Dropout(shape.dropout),
            nn.Linear(shape.hidden, 1),
        )

    def forward(self, states: Tensor) -> Tensor:
        """Return one logit for each state (B, S, H)."""
        logits: Tensor = self.layers(states).squeeze(-1)
        return logits


def _transformer(shape: NetworkShape, layers: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        shape.hidden,
        shape.heads,
        shape.feedforward,
        shape.dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    # Nested tensors would leave masked tokens out of the result's shape.
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def _padding(known: Tensor) -> Tensor:
    """Return what attention passes over; in a sequence that knows nothing, all but the last.

    A softmax over nothing would be NaN, and its gradient too; nobody reads that sequence's result.
    """
    nothing = ~known.any(dim=-1, keepdim=True)
    last = torch.zeros_like(known)
    last[..., -1] = True
    return ~(known | (nothing & last))
