"""The model learns what there is to know, and nothing else.

All judgement is out of sample, on worlds of `tests.worlds` whose best possible answer is known. The
networks are those of the `demo` preset, in one thread, so that anybody gets these figures again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.features.fingerprint import fingerprint
from alpaca_strategy.features.kernel import session_features
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.model.aggregates import aggregate
from alpaca_strategy.model.dataset import (
    WINDOW,
    Dataset,
    SessionBars,
    build_dataset,
    decision_rows,
)
from alpaca_strategy.model.decay import decay_alarm
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.presets import NetworkShape, TrainingPlan
from alpaca_strategy.model.scorer import predict
from alpaca_strategy.model.splits import Split, split_sessions
from alpaca_strategy.model.training import fit_scaler
from tests.learning.trials import contest, judged, judged_on_other_returns, trained, words
from tests.worlds import HORIZON, World

Record = Callable[[str, object], None]
#: By chance |t| lies beyond it in less than one of a thousand judgements by 21 sessions or more.
CHANCE_T = 3.5
#: A strong signal, so that a network of seconds finds it.
STRONG = World(ic=0.3, symbols=12, seed=4)
SHAPE = NetworkShape(symbols=12, hidden=8, heads=2, feedforward=16, minutes_per_token=24)
PLAN = TrainingPlan(epochs=6, patience=6, learning_rate=3e-3, averaging=0.98)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("kind", "ic"), [("linear", 0.2), ("linear", -0.2), ("ordered", 0.2)])
def test_the_worlds_hold_what_they_say(kind: str, ic: float) -> None:
    close, found = BAR_COLUMNS.index("close"), []
    for bars, signal in World(kind, ic=ic, until=12, seed=5).sessions(24):
        price = np.log(bars.values[:, :, close])
        pairs = zip(signal[20:370:HORIZON], (price[HORIZON:] - price[:-HORIZON])[20:370:HORIZON],
                    strict=True)  # fmt: skip
        found.append(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs]))
    # A session of 35 decisions on 30 symbols is uncertain by 1 / sqrt(29 * 35).
    error = 1 / np.sqrt(29 * 35 * 12)
    # The push itself makes returns wilder: that takes a few hundredths of the correlation away.
    assert abs(np.mean(found[:12]) - ic) < 3.5 * error + 0.1 * abs(ic)
    assert abs(np.mean(found[12:])) < 3.5 * error


def test_a_strong_signal_is_found_and_when_it_turns_round_the_scores_are_wrong() -> None:
    count = 16
    dataset, split = STRONG.dataset(count), split_sessions(count, holdout=3)
    rows = decision_rows(dataset, split.holdout)
    network = trained(dataset, split, shape=SHAPE, plan=PLAN)
    said = predict(network, dataset, rows)
    found = judged_on_other_returns(said, said.returns).metric("ic").value
    oracle = replace(said, scores=STRONG.signal(count)[rows])
    known = judged_on_other_returns(oracle, said.returns).metric("ic").value
    assert known == pytest.approx(0.3, abs=0.06)
    assert 0.5 * known <= found <= known
    turned = replace(STRONG, ic=-STRONG.ic).dataset(count)
    assert judged(network, turned, split.holdout).metric("ic").high < 0


@pytest.mark.proof
@pytest.mark.parametrize("seed", [0, 1])
def test_in_a_linear_world_it_finds_half_of_what_there_is_and_loses_to_nobody_by_an_error_bar(
    seed: int, record_property: Record
) -> None:
    """The baselines see the answer's own form, and learn from the validation sessions as well.

    Paired session by session they stay ahead by some thousandths; an error bar is the standard
    error of an IC on so many sessions.
    """
    found = contest(World(ic=0.06, seed=seed), 50, seed)
    for name, figure in found.figures().items():
        record_property(name, figure)
    assert found.judged["oracle"].metric("ic_t").value > CHANCE_T
    assert found.ic("network") >= 0.5 * found.ic("oracle")
    lead, error = found.lead("oracle")
    assert lead <= 3 * error
    for other in ("ridge", "lightgbm"):
        theirs = found.judged[other].metric("ic")
        error_bar = (theirs.high - theirs.low) / (2 * 1.96)
        assert error_bar < 0.01
        assert found.lead(other)[0] >= -error_bar


@pytest.mark.proof
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_in_the_order_of_minutes_the_network_alone_finds(
    seed: int, record_property: Record
) -> None:
    found = contest(World("ordered", ic=0.1, seed=seed), 50, seed)
    for name, figure in found.figures().items():
        record_property(name, figure)
    for other in ("ridge", "lightgbm"):
        lead, error = found.lead(other)
        assert lead > 3 * error
        # Nor do their intervals meet.
        others = found.judged[other].metric("ic")
        assert found.judged["network"].metric("ic").low > others.high


@pytest.mark.proof
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_there_is_no_signal_none_is_found(seed: int, record_property: Record) -> None:
    nothing_is_found(World(ic=0.0, seed=seed).dataset(40), seed, record_property)


@pytest.mark.proof
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_from_shuffled_labels_nothing_is_learnt(seed: int, record_property: Record) -> None:
    """Returns of each minute change places among the symbols, in training and where it is judged.

    Judged on the true returns, t would be spread wider than chance: a network that has fitted noise
    points somewhere, a little towards the planted signal or away from it. That is only recorded.
    """
    dataset = World(ic=0.06, seed=seed).dataset(40)
    returns = np.random.default_rng(seed).permuted(dataset.returns, axis=1)
    assert np.nanmean(np.abs(returns - dataset.returns)) > 1e-4
    network = nothing_is_found(replace(dataset, returns=returns), seed, record_property)
    holdout = split_sessions(len(dataset.sessions)).holdout
    record_property("judged on the true returns", words(judged(network, dataset, holdout)))


@pytest.mark.proof
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_time_reversed_nothing_is_known(seed: int, record_property: Record) -> None:
    """Sessions are played backwards, in a world where the flow moves the very next minute alone.

    See `tests.worlds` for why a window then says nothing of its label. Somebody who sees a minute
    too far sees the flow behind the label.
    """
    dataset = World("momentary", ic=0.12, seed=seed, backwards=True).dataset(40)
    nothing_is_found(dataset, seed, record_property)


def nothing_is_found(dataset: Dataset, seed: int, record_property: Record) -> Ranker:
    """Assert that a network trained on a dataset knows nothing of its last sessions; return it."""
    split = split_sessions(len(dataset.sessions))
    network = trained(dataset, split, seed=seed)
    result = judged(network, dataset, split.holdout)
    record_property("network", words(result))
    assert abs(result.metric("ic_t").value) < CHANCE_T
    assert abs(result.metric("rank_ic_t").value) < CHANCE_T
    return network


@pytest.mark.proof
@pytest.mark.parametrize("sign", [1, -1])
def test_a_signal_turned_round_turns_the_ic_round(sign: int, record_property: Record) -> None:
    """Whichever way it points it is found, and scores made for the one are wrong for the other."""
    world = World(ic=sign * 0.12, seed=3)
    dataset, split = world.dataset(40), split_sessions(40)
    network = trained(dataset, split)
    here = judged(network, dataset, split.holdout)
    turned = judged(network, replace(world, ic=-world.ic).dataset(40), split.holdout)
    record_property("network", words(here))
    record_property("in the world turned round", words(turned))
    assert here.metric("ic_t").value > CHANCE_T
    assert turned.metric("ic_t").value < -CHANCE_T


@pytest.mark.proof
@pytest.mark.parametrize("seed", [0])
def test_when_the_signal_ends_the_decay_is_seen_and_an_alarm_raised(
    seed: int, record_property: Record
) -> None:
    last, after = 40, 21
    world = World(ic=0.08, until=last, seed=seed)
    dataset, split = world.dataset(last + after), split_sessions(last)
    network = trained(dataset, split, seed=seed)
    before = judged(network, dataset, split.holdout)
    later = judged(network, dataset, range(last, last + after))
    record_property("before", words(before))
    record_property("after", words(later))
    assert before.metric("rank_ic_t").value > CHANCE_T
    assert abs(later.metric("rank_ic_t").value) < CHANCE_T
    alarm = decay_alarm(before.rank_ic, later.rank_ic)
    assert alarm is not None
    record_property("alarm", alarm)
    assert decay_alarm(before.rank_ic[:11], before.rank_ic[11:]) is None


ALTERED, MINUTES = 2, 390
BARS = [bars for bars, _ in World(symbols=5, quiet=0.2, seed=6).sessions(4)]
NAMES = World(symbols=5).names


def dataset_of(bars: list[SessionBars]) -> Dataset:
    return build_dataset(
        bars,
        minutes=[len(one.observed) for one in bars],
        symbols=NAMES,
        fingerprint=fingerprint(
            feed="iex", condition_fingerprint="none", symbols=NAMES, horizon=HORIZON
        ),
        horizon=HORIZON,
    )


def altered_after(minute: int, seed: int) -> list[SessionBars]:
    """Return bars of which everything after that minute of the third session is another's."""
    draw = np.random.default_rng(seed)
    other = [bars for bars, _ in World(symbols=5, quiet=0.5, seed=99).sessions(4)]
    values, observed = BARS[ALTERED].values.copy(), BARS[ALTERED].observed.copy()
    values[minute + 1 :] = other[0].values[minute + 1 :] * draw.uniform(0.1, 10.0)
    observed[minute + 1 :] = other[0].observed[minute + 1 :]
    return [*BARS[:ALTERED], SessionBars(BARS[ALTERED].day, values, observed), other[1]]


def small_network(dataset: Dataset, training: tuple[int, ...]) -> Ranker:
    """Return an untrained network with the scaler of these sessions."""
    torch.manual_seed(8)
    network = Ranker(NetworkShape(5, hidden=8, heads=2, feedforward=16, minutes_per_token=20))
    scaler = fit_scaler(dataset, training)
    network.standardize.mean.copy_(torch.from_numpy(scaler.mean))
    network.standardize.std.copy_(torch.from_numpy(scaler.std))
    return network.eval()


@settings(max_examples=25, deadline=None)
@given(minute=st.integers(0, MINUTES - 2), seed=st.integers(0, 1000))
def test_what_comes_after_a_minute_changes_nothing_at_or_before_it(minute: int, seed: int) -> None:
    split = Split(training=(0, 1), validation=(), holdout=(2, 3))
    plain, other = dataset_of(BARS), dataset_of(altered_after(minute, seed))
    row = ALTERED * MINUTES + minute
    past, labelled = slice(0, row + 1), slice(0, max(row - HORIZON + 1, ALTERED * MINUTES))
    np.testing.assert_array_equal(plain.features[past], other.features[past])
    np.testing.assert_array_equal(plain.usable[past], other.usable[past])
    np.testing.assert_array_equal(plain.returns[labelled], other.returns[labelled])
    scalers = [fit_scaler(one, split.training) for one in (plain, other)]
    np.testing.assert_array_equal(scalers[0].mean, scalers[1].mean)
    np.testing.assert_array_equal(scalers[0].std, scalers[1].std)
    rows = np.unique(np.r_[np.arange(WINDOW - 1, row, 97), row - np.arange(3)])
    np.testing.assert_array_equal(aggregate(plain, rows), aggregate(other, rows))
    logits = [predict(small_network(one, split.training), one, rows).scores
              for one in (plain, other)]  # fmt: skip
    np.testing.assert_array_equal(logits[0], logits[1])
    assert np.isfinite(logits[0]).any()
    # And it was indeed another world from there on.
    assert not np.array_equal(plain.features[row + 1 :], other.features[row + 1 :], equal_nan=True)
    later = np.array([len(plain.minute) - 1])
    told = [predict(small_network(one, split.training), one, later).scores
            for one in (plain, other)]  # fmt: skip
    assert not np.array_equal(told[0], told[1], equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(minute=st.integers(0, MINUTES - 1))
def test_features_do_not_need_what_comes_after_them(minute: int) -> None:
    bars = BARS[ALTERED]
    whole = session_features(bars.values, bars.observed, weekday=2)
    known = slice(0, minute + 1)
    cut = session_features(bars.values[known], bars.observed[known], weekday=2)
    np.testing.assert_array_equal(cut, whole[known])
