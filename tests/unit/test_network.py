"""The network's promises: symbols in any order, and nothing of what is masked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alpaca_strategy.model.layers import FADING, AttentionPooling, Standardize, Time2Vec
from alpaca_strategy.model.network import MIN_USABLE_MINUTES, Ranker
from alpaca_strategy.model.presets import NetworkShape, Preset, network_shape, training_plan

SMALL = NetworkShape(symbols=6, hidden=16, heads=4, feedforward=32, minutes_per_token=20)


def network(shape: NetworkShape = SMALL, seed: int = 0) -> Ranker:
    torch.manual_seed(seed)
    return Ranker(shape).eval()


def batch(seed: int, symbols: int = 6, decisions: int = 2) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(decisions, 240, symbols, 30, generator=draw)
    usable = torch.rand(decisions, 240, symbols, generator=draw) < 0.7
    usable[:, -1] = True
    return x.masked_fill(~usable.unsqueeze(-1), float("nan")), usable


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_permuting_the_symbols_permutes_the_logits(order: list[int]) -> None:
    x, usable = batch(1)
    ranker, places = network(), torch.tensor(order)
    with torch.inference_mode():
        plain = ranker(x, usable)
        permuted = ranker(x[:, :, places], usable[:, :, places], places)
    torch.testing.assert_close(permuted, plain[:, places], atol=1e-5, rtol=1e-5)
    assert plain.std() > 1e-4  # not because all are equal


def test_symbols_are_told_apart_by_their_embedding() -> None:
    x, usable = batch(2)
    x[:, :, 1], usable[:, :, 1] = x[:, :, 0], usable[:, :, 0]
    with torch.inference_mode():
        logits = network()(x, usable)
    assert not torch.isclose(logits[:, 0], logits[:, 1], atol=1e-5).any()


def test_what_is_masked_says_nothing() -> None:
    x, usable = batch(3)
    other = torch.where(usable.unsqueeze(-1), x, 1e30)
    with torch.inference_mode():
        torch.testing.assert_close(network()(x, usable), network()(other, usable))


def test_a_symbol_that_is_not_scored_says_nothing_to_the_others() -> None:
    x, usable = batch(4)
    usable[:, :, 2] = False
    usable[:, : MIN_USABLE_MINUTES - 1, 2] = True  # too few, and long ago
    x = torch.nan_to_num(x)
    other = x.clone()
    other[:, :, 2] += 3.0
    with torch.inference_mode():
        first, second = network()(x, usable), network()(other, usable)
    assert torch.isnan(first[:, 2]).all()
    kept = [0, 1, 3, 4, 5]
    assert torch.isfinite(first[:, kept]).all()
    torch.testing.assert_close(first[:, kept], second[:, kept])


@pytest.mark.parametrize("silent", ["a symbol", "all symbols"])
def test_silence_gives_no_score_and_no_nan_gradient(silent: str) -> None:
    x, usable = batch(5)
    usable[:, :, 0 if silent == "a symbol" else slice(None)] = False
    ranker = network().train()
    logits = ranker(x, usable)
    assert torch.isnan(logits[:, 0]).all()
    torch.nan_to_num(logits).sum().backward()
    for name, parameter in ranker.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_every_parameter_learns() -> None:
    x, usable = batch(6)
    ranker = network().train()
    (ranker(x, usable) * torch.randn(2, 6)).nan_to_num().sum().backward()
    still = [n for n, p in ranker.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_each_symbol_has_its_own_scaler_and_outliers_are_clipped() -> None:
    layer = Standardize(3, 2)
    layer.mean.copy_(torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]))
    layer.std.copy_(torch.tensor([[1.0, 2.0], [1.0, 4.0], [0.5, 1.0]]))
    x = torch.full((1, 1, 2, 2), 5.0)
    usable = torch.ones(1, 1, 2, dtype=torch.bool)
    out = layer(x, usable, torch.tensor([2, 0]))
    np.testing.assert_allclose(out[0, 0], [[2.0, 0.0], [5.0, 2.0]])
    assert layer(x * 1e9, usable, torch.tensor([2, 0])).max() == 8.0


def test_time2vec_is_linear_in_its_first_dimension_and_periodic_in_the_others() -> None:
    torch.manual_seed(0)
    layer = Time2Vec(8)
    time = torch.linspace(-1, 0, 5)
    out = layer(time).detach().numpy()
    frequency, phase = layer.frequency.detach().numpy(), layer.phase.detach().numpy()
    angle = time.numpy()[:, None] * frequency + phase
    np.testing.assert_allclose(out[:, 0], angle[:, 0], rtol=1e-5)
    np.testing.assert_allclose(out[:, 1:], np.sin(angle[:, 1:]), rtol=1e-4, atol=1e-6)


def test_pooling_is_a_weighted_mean_of_the_known_tokens_and_begins_with_the_newest() -> None:
    torch.manual_seed(1)
    pooling = AttentionPooling(NetworkShape(symbols=1, hidden=4, minutes_per_token=48))
    states = torch.randn(3, 5, 4)
    known = torch.tensor([[True] * 5, [False, True, False, True, False], [False] * 4 + [True]])
    out = pooling(states, known).detach()
    torch.testing.assert_close(out[2], states[2, 4])
    low, high = states[1, [1, 3]].amin(0), states[1, [1, 3]].amax(0)
    assert ((out[1] >= low - 1e-6) & (out[1] <= high + 1e-6)).all()
    weights = pooling(torch.eye(5, 4).expand(1, 5, 4) * 1e-6, known[:1]).detach()[0] * 1e6
    assert weights[3] / weights[2] == pytest.approx(np.exp(FADING * 48), rel=1e-2)


@pytest.mark.parametrize("preset", list(Preset))
def test_presets_have_all_parts_and_all_240_minutes(preset: Preset) -> None:
    shape = network_shape(preset, 30)
    assert (shape.symbols, shape.features, shape.window) == (30, 30, 240)
    assert (shape.temporal_layers, shape.heads, shape.cross_layers) == (2, 8, 1)
    assert shape.time_dimensions == 8
    assert shape.window % shape.minutes_per_token == 0
    assert training_plan(preset).batch_decisions == 16


def test_the_full_preset_has_the_missions_sizes() -> None:
    shape, plan = network_shape(Preset.FULL, 30), training_plan(Preset.FULL)
    assert (shape.hidden, shape.minutes_per_token, plan.epochs) == (256, 1, 300)


def test_the_oldest_minute_still_counts() -> None:
    x, usable = batch(7)
    usable[:] = True
    x = torch.nan_to_num(x)
    other = x.clone()
    other[:, 0] += 1.0
    with torch.inference_mode():
        assert not torch.equal(network()(x, usable), network()(other, usable))


def test_minutes_that_a_token_cannot_hold_evenly_are_refused() -> None:
    with pytest.raises(ValueError, match="7 minutes a token do not divide 240 minutes"):
        Ranker(NetworkShape(symbols=2, hidden=8, heads=2, minutes_per_token=7))
