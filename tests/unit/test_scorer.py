"""A model is asked only what it was made for, and says the same live and in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alpaca_strategy.errors import ModelRefusedError
from alpaca_strategy.model.calibration import Calibration
from alpaca_strategy.model.checkpoint import Card, Model
from alpaca_strategy.model.dataset import (
    MIN_USABLE_MINUTES,
    RECENT_MINUTES,
    WINDOW,
    Dataset,
    decision_rows,
)
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.presets import NetworkShape
from alpaca_strategy.model.scorer import Scorer
from tests.worlds import World

WORLD = World(symbols=5, quiet=0.3, seed=8)
SHAPE = NetworkShape(symbols=5, hidden=16, heads=2, feedforward=32, minutes_per_token=12)
PRINT = "a" * 64


def model(symbols: Sequence[str] = WORLD.names) -> Model:
    torch.manual_seed(2)
    network = Ranker(SHAPE).eval().requires_grad_(requires_grad=False)
    card = Card(
        PRINT, "iex", tuple(symbols), 10, "demo", 0, "d", ("a", "b"), ("c", "d"), ("e", "f"), "1"
    )
    return Model(network, Calibration(0.5, 1.0), card)


def scorer(
    symbols: Sequence[str] = WORLD.names, feed: str = "iex", fingerprint: str = PRINT
) -> Scorer:
    return Scorer(model(), fingerprint=fingerprint, feed=feed, symbols=symbols)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return WORLD.dataset(3)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def window(dataset: Dataset, row: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    block = slice(row - WINDOW + 1, row + 1)
    return dataset.features[block], dataset.usable[block]


@pytest.mark.parametrize(
    ("given_in", "what"),
    [
        ({"feed": "sip"}, r"other feed \(iex, not sip\)"),
        ({"symbols": WORLD.names[:4]}, r"other symbols \(S00, S01, S02, S03, S04, not S00,"),
        ({"symbols": (*WORLD.names[:4], "TSLA")}, "other symbols"),
        ({"symbols": WORLD.names[::-1]}, r"other symbols \(.*, not S04, S03, S02, S01, S00\)"),
        ({"fingerprint": "b" * 64}, r"other features \(a{37}…, not b{37}…\)"),
    ],
)
def test_what_a_model_was_not_made_for_is_refused(given_in: dict[str, str], what: str) -> None:
    with pytest.raises(ModelRefusedError, match=f"made for {what}") as caught:
        scorer(**given_in)
    assert "train one: alpaca-strategy train" in str(caught.value)


def test_what_it_was_made_for_is_not_refused() -> None:
    assert scorer(symbols=list(WORLD.names)).model.card.feed == "iex"


def test_one_decision_alone_says_what_it_says_among_many(dataset: Dataset) -> None:
    rows = decision_rows(dataset, (0, 1, 2))
    assert len(rows) > 64  # several batches, the last of them not full
    ours = scorer()
    many = ours.predict(dataset, rows)
    alone = np.stack([ours.logits(*window(dataset, int(row))) for row in rows])
    np.testing.assert_allclose(alone, many.scores, atol=1e-5, rtol=0)
    assert np.isfinite(many.scores).all()
    assert many.scores.std(axis=1).min() > 1e-3  # not because all are equal


@pytest.mark.usefixtures("threads")
def test_the_same_decision_gives_the_same_bits_at_any_number_of_threads(dataset: Dataset) -> None:
    ours, said = scorer(), []
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        said.append([ours.logits(*window(dataset, row)) for row in (400, 700, 400)])
        assert torch.get_num_threads() == count  # it leaves others theirs
    for first, other, again in said:
        np.testing.assert_array_equal(first, said[0][0])
        np.testing.assert_array_equal(again, first)
        np.testing.assert_array_equal(other, said[0][1])


def test_predictions_stand_beside_what_followed(dataset: Dataset) -> None:
    rows = decision_rows(dataset, (1, 2))
    found = scorer().predict(dataset, rows)
    assert found.scores.shape == found.returns.shape == (len(rows), 5)
    assert found.scores.dtype == found.returns.dtype == np.float64
    np.testing.assert_array_equal(found.returns, dataset.returns[rows])
    np.testing.assert_array_equal(found.minute, rows % 390)
    np.testing.assert_array_equal(found.session_index, rows // 390)
    assert (found.symbols, found.horizon) == (dataset.symbols, 10)
    assert found.sessions == dataset.sessions


def test_no_decision_gives_no_prediction(dataset: Dataset) -> None:
    found = scorer().predict(dataset, np.empty(0, np.int64))
    assert found.scores.shape == (0, 5)


def test_what_later_minutes_hold_does_not_matter(dataset: Dataset) -> None:
    features, usable = (array.copy() for array in window(dataset, 500))
    later = dataset.features.copy(), dataset.usable.copy()
    later[0][501:], later[1][501:] = 3.0, True
    block = slice(500 - WINDOW + 1, 501)
    np.testing.assert_array_equal(
        scorer().logits(later[0][block], later[1][block]), scorer().logits(features, usable)
    )


@pytest.mark.parametrize(
    ("usable_minutes", "scored"),
    [
        (range(WINDOW - MIN_USABLE_MINUTES, WINDOW), True),
        (range(WINDOW - MIN_USABLE_MINUTES + 1, WINDOW), False),  # one too few
        ((*range(MIN_USABLE_MINUTES - 1), WINDOW - RECENT_MINUTES), True),
        ((*range(MIN_USABLE_MINUTES), WINDOW - RECENT_MINUTES - 1), False),  # none lately
        ((), False),
    ],
)
def test_a_symbol_with_too_few_minutes_is_not_scored_and_the_others_are(
    dataset: Dataset, usable_minutes: Sequence[int], scored: bool
) -> None:
    features, usable = (array.copy() for array in window(dataset, 600))
    features, usable = np.nan_to_num(features), np.ones_like(usable)
    usable[:, 2] = False
    usable[list(usable_minutes), 2] = True
    features[~usable] = np.nan
    logits = scorer().logits(features, usable)
    assert np.isfinite(logits[2]) == scored
    assert np.isfinite(np.delete(logits, 2)).all()


def test_where_nothing_is_known_nothing_is_scored() -> None:
    features = np.full((WINDOW, 5, 30), np.nan, np.float32)
    logits = scorer().logits(features, np.zeros((WINDOW, 5), np.bool_))
    np.testing.assert_array_equal(logits, np.full(5, np.nan))


def test_arrays_may_be_views_that_nobody_may_write_to(dataset: Dataset) -> None:
    features, usable = window(dataset, 600)
    backwards = features[::-1].copy()[::-1], usable[::-1].copy()[::-1]
    frozen = features.copy(), usable.copy()
    for array in frozen:
        array.setflags(write=False)
    expected = scorer().logits(features, usable)
    np.testing.assert_array_equal(scorer().logits(*backwards), expected)
    np.testing.assert_array_equal(scorer().logits(*frozen), expected)


def test_it_leaves_torchs_shortcut_as_it_was(dataset: Dataset) -> None:
    assert torch.backends.mha.get_fastpath_enabled()
    scorer().logits(*window(dataset, 600))
    assert torch.backends.mha.get_fastpath_enabled()


def test_its_answer_is_the_callers_own(dataset: Dataset) -> None:
    ours = scorer()
    first = ours.logits(*window(dataset, 600))
    kept = first.copy()
    ours.logits(*window(dataset, 700))
    np.testing.assert_array_equal(first, kept)
    first[:] = 0.0  # nor is it locked


@settings(deadline=None)
@given(
    logits=hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-8.0, 8.0)),
    scale=st.floats(0.5, 20.0),
)
def test_scores_lie_between_0_and_1_and_keep_the_order(
    logits: npt.NDArray[np.float64], scale: float
) -> None:
    scores = Calibration(scale, 1.0).score(logits)
    assert ((scores > 0) & (scores < 1)).all()
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits / scale)), rtol=1e-9)
    order = np.argsort(logits, kind="stable")
    assert (np.diff(scores[order]) >= 0).all()
    apart = np.diff(logits[order]) > 1e-6
    assert (np.diff(scores[order])[apart] > 0).all()


def test_what_was_not_scored_has_no_score() -> None:
    scores = Calibration(0.5, 1.0).score(np.array([0.0, np.nan, 1.0]))
    np.testing.assert_array_equal(np.isnan(scores), [False, True, False])
    assert scores[0] == 0.5
