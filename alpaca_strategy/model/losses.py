"""What training minimises: rank correlation, with a little of two others.

All take logits and returns of shape (decisions, symbols), with NaN where there is none; a decision
of which fewer than three symbols have both takes no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Width of the sigmoid that stands for a comparison, in standard deviations of the logits.
TEMPERATURE = 0.25
MSE_WEIGHT = 0.1
IC_WEIGHT = 0.05
MIN_SYMBOLS = 3
_SMALLEST = 1e-12


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of a loss, each a mean over decisions.

    Attributes:
        total: What is minimised.
        spearman: 1 - correlation of soft ranks with the returns' ranks.
        mse: Of the logits to the standardised returns.
        ic: Pearson correlation of logits and returns, the higher the better.
        decisions: How many took part.
    """

    total: Tensor
    spearman: Tensor
    mse: Tensor
    ic: Tensor
    decisions: int


def ranking_loss(logits: Tensor, returns: Tensor) -> Losses:
    """Return the loss of a batch.

    Every part carries a gradient. The total of a batch without a usable decision is 0.
    """
    known = torch.isfinite(logits) & torch.isfinite(returns)
    enough = known.sum(dim=1) >= MIN_SYMBOLS
    logits, returns, known = logits[enough].float(), returns[enough].float(), known[enough]
    if not len(known):
        nothing = torch.zeros((), device=logits.device, requires_grad=True)
        return Losses(nothing, nothing.detach(), nothing.detach(), nothing.detach(), 0)
    logits = torch.where(known, logits, 0.0)  # before any arithmetic: NaN times 0 is NaN
    target = standardize(torch.where(known, returns, 0.0), known)
    spearman = 1.0 - correlation(soft_ranks(logits, known), hard_ranks(target, known), known)
    squared = torch.where(known, (logits - target) ** 2, 0.0)
    mse = squared.sum(dim=1) / known.sum(dim=1)
    ic = correlation(logits, target, known)
    total = spearman + MSE_WEIGHT * mse + IC_WEIGHT * (1.0 - ic)
    return Losses(
        total.mean(),
        spearman.mean().detach(),
        mse.mean().detach(),
        ic.mean().detach(),
        len(known),
    )


def standardize(x: Tensor, known: Tensor) -> Tensor:
    """Take each row to mean 0 and deviation 1 over what is known; 0 elsewhere."""
    count = known.sum(dim=1, keepdim=True)
    centred = torch.where(known, x - (x * known).sum(dim=1, keepdim=True) / count, 0.0)
    # Relative to the row's own size, so that returns of a basis point are not taken for a tie.
    size = centred.detach().abs().amax(dim=1, keepdim=True).clamp_min(_SMALLEST)
    shape = centred / size
    variance = (shape**2).sum(dim=1, keepdim=True) / count
    return shape / variance.clamp_min(_SMALLEST).sqrt()  # clamped first: a root's slope at 0 is NaN


def soft_ranks(x: Tensor, known: Tensor) -> Tensor:
    """Return how many others each is above, softly, so that it has a gradient.

    Source:
        Qin, Liu, Li, A general approximation framework for direct optimization of information
        retrieval measures (2010), equation 9: a comparison becomes a sigmoid.
    """
    z = standardize(x, known)
    above = torch.sigmoid((z.unsqueeze(2) - z.unsqueeze(1)) / TEMPERATURE)
    return (above * known.unsqueeze(1)).sum(dim=2) * known


def hard_ranks(x: Tensor, known: Tensor) -> Tensor:
    """Return how many others each is above; equals share the mean of their ranks."""
    difference = torch.sign(x.unsqueeze(2) - x.unsqueeze(1))
    return ((0.5 + 0.5 * difference) * known.unsqueeze(1)).sum(dim=2) * known


def correlation(x: Tensor, y: Tensor, known: Tensor) -> Tensor:
    """Return the Pearson correlation of each row over what is known."""
    count = known.sum(dim=1)
    return (standardize(x, known) * standardize(y, known)).sum(dim=1) / count
