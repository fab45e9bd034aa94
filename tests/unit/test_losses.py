"""The loss ranks in the right direction, as scipy does, and every part of it has a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from alpaca_strategy.model import losses
from alpaca_strategy.model.losses import correlation, hard_ranks, ranking_loss, soft_ranks


def draw(seed: int, decisions: int = 4, symbols: int = 12) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((decisions, symbols)))


def test_a_perfect_ranking_has_the_least_loss_and_a_reversed_one_the_most() -> None:
    returns = draw(0) * 1e-3
    right = ranking_loss(returns * 50, returns)
    wrong = ranking_loss(-returns * 50, returns)
    noise = ranking_loss(draw(1), returns)
    assert right.total < noise.total < wrong.total
    assert right.ic == pytest.approx(1.0, abs=1e-5)
    assert right.spearman < 0.03
    assert wrong.spearman > 1.97


@pytest.mark.parametrize("seed", range(5))
def test_the_spearman_part_is_scipys_value_as_comparisons_become_sharp(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "TEMPERATURE", 1e-8)
    logits, returns = draw(seed), draw(seed + 100)
    expected = [
        stats.spearmanr(x, y).statistic
        for x, y in zip(logits.numpy(), returns.numpy(), strict=True)
    ]
    known = torch.ones_like(logits, dtype=torch.bool)
    ours = correlation(soft_ranks(logits, known), hard_ranks(returns, known), known)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert ranking_loss(logits, returns).spearman == pytest.approx(1 - np.mean(expected), abs=1e-4)


@given(hnp.arrays(np.float64, 8, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
def test_hard_ranks_share_the_mean_among_equals_as_scipy_does(values: np.ndarray) -> None:
    x = torch.from_numpy(values)[None]
    ours = hard_ranks(x, torch.ones_like(x, dtype=torch.bool))[0]
    np.testing.assert_allclose(
        ours + 0.5, stats.rankdata(values)
    )  # an element is above half itself


def test_a_step_down_the_gradient_ranks_better_and_every_part_has_one() -> None:
    returns = draw(3) * 1e-3
    for weight in ("TEMPERATURE", "MSE_WEIGHT", "IC_WEIGHT"):
        assert getattr(losses, weight) > 0
    logits = draw(4).requires_grad_()
    known = torch.ones_like(logits, dtype=torch.bool)
    parts = {
        "spearman": correlation(soft_ranks(logits, known), hard_ranks(returns, known), known),
        "ic": correlation(logits, returns, known),
    }
    for part in parts.values():
        (slope,) = torch.autograd.grad(part.sum(), logits, retain_graph=True)
        moved = correlation(logits + 0.05 * slope / slope.norm(), returns, known).sum()
        assert moved > correlation(logits, returns, known).sum()
    before = ranking_loss(logits, returns)
    (slope,) = torch.autograd.grad(before.total, logits)
    after = ranking_loss(logits - 0.1 * slope / slope.norm(), returns)
    assert after.total < before.total
    assert after.spearman < before.spearman


def test_what_is_missing_changes_nothing_and_has_no_gradient() -> None:
    logits, returns = draw(5, symbols=6), draw(6, symbols=6)
    gap = torch.full((4, 3), float("nan"), dtype=logits.dtype)
    wide = torch.cat([logits, gap, draw(7, symbols=3)], dim=1).requires_grad_()
    labels = torch.cat([returns, draw(8, symbols=3), gap], dim=1)
    alone, among = ranking_loss(logits, returns), ranking_loss(wide, labels)
    torch.testing.assert_close(alone.total, among.total)
    (slope,) = torch.autograd.grad(among.total, wide)
    assert torch.isfinite(slope).all()
    assert (slope[:, 6:] == 0).all()
    assert (slope[:, :6] != 0).all()


def test_decisions_with_fewer_than_three_symbols_take_no_part() -> None:
    logits, returns = draw(9), draw(10)
    returns[1:, 2:] = float("nan")
    few = ranking_loss(logits, returns)
    assert few.decisions == 1
    torch.testing.assert_close(few.total, ranking_loss(logits[:1], returns[:1]).total)
    none = ranking_loss(logits, torch.full_like(returns, float("nan")))
    assert (none.total.item(), none.decisions) == (0.0, 0)
    none.total.backward()


def test_equal_logits_and_equal_returns_give_finite_gradients() -> None:
    logits = torch.zeros(2, 5, requires_grad=True)
    returns = torch.zeros(2, 5)
    returns[0] = torch.arange(5) * 1e-9
    ranking_loss(logits, returns).total.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_size_of_returns_does_not_matter() -> None:
    logits, returns = draw(11), draw(12)
    torch.testing.assert_close(
        ranking_loss(logits, returns).total, ranking_loss(logits, returns * 1e-7).total
    )
