from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from alpaca_strategy.model.evaluation import Evaluation, Metric, evaluate, suspicion
from alpaca_strategy.model.evaluation_report import breakdown, comparison
from alpaca_strategy.model.predictions import Predictions
from alpaca_strategy.resampling import bootstrap, ratio

Floats = npt.NDArray[np.float64]
NAN = np.nan
FIRST = date(2026, 9, 1)


def predictions_of(scores: Any, returns: Any, per_session: list[int] | int) -> Predictions:
    """Lay decisions ten minutes apart, the first after ten minutes of each session."""
    scores, returns = np.array(scores, float), np.array(returns, float)
    counts = per_session
    if isinstance(counts, int):
        counts = [counts] * (len(scores) // counts)
    return Predictions(
        scores=scores,
        returns=returns,
        session_index=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        minute=np.array([i * 10 + 9 for n in counts for i in range(n)], np.int16),
        sessions=tuple(FIRST + timedelta(i) for i in range(len(counts))),
        symbols=tuple(f"S{i}" for i in range(scores.shape[1])),
        horizon=10,
    )


def noisy_world(
    seed: int, *, sessions: int = 20, decisions: int = 12, symbols: int = 12, ic: float = 0.1
) -> Predictions:
    """Draw scores and returns that correlate, some of both missing."""
    draw = np.random.default_rng(seed)
    scores = draw.standard_normal((sessions * decisions, symbols))
    returns = 2e-3 * (ic * scores + np.sqrt(1 - ic**2) * draw.standard_normal(scores.shape))
    scores[draw.random(scores.shape) < 0.1] = NAN
    returns[draw.random(scores.shape) < 0.1] = NAN
    return predictions_of(scores, returns, decisions)


def value(evaluation: Evaluation, name: str, of: str = "all") -> float:
    return evaluation.metric(name, of).value


def row_correlations(predictions: Predictions, method: str) -> pd.Series[float]:
    scores, returns = pd.DataFrame(predictions.scores), pd.DataFrame(predictions.returns)
    pairs = [
        (a[both], b[both])
        for (_, a), (_, b) in zip(scores.iterrows(), returns.iterrows(), strict=True)
        for both in [a.notna() & b.notna()]
    ]
    return pd.Series([a.corr(b, method=method) if len(a) > 2 else NAN for a, b in pairs])  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "method"), [("ic", "pearson"), ("rank_ic", "spearman")])
def test_ic_is_the_mean_of_pandas_correlations(name: str, method: str) -> None:
    world = noisy_world(1)
    expected = row_correlations(world, method)
    assert value(evaluate(world), name) == pytest.approx(expected.mean(), rel=1e-12)


few_values = arrays(
    float, (4, 6), elements=st.sampled_from([NAN, -2.0, 0.0, 1.0, 1.0, 3.5]), unique=False
)


@settings(deadline=None, max_examples=60)
@given(scores=few_values, returns=few_values)
def test_rank_ic_with_ties_and_holes_is_scipys_spearman(scores: Floats, returns: Floats) -> None:
    expected = []
    for a, b in zip(scores, returns, strict=True):
        both = np.isfinite(a) & np.isfinite(b)
        if both.sum() >= 3 and np.ptp(a[both]) > 0 and np.ptp(b[both]) > 0:
            expected.append(stats.spearmanr(a[both], b[both]).statistic)
    found = evaluate(predictions_of(scores, returns, 2), draws=10).metric("rank_ic")
    assert found.n == len(expected)
    if expected:
        assert found.value == pytest.approx(np.mean(expected), abs=1e-12)
    else:
        assert np.isnan(found.value)


def test_ic_of_returns_of_a_thousandth_of_a_basis_point_or_of_huge_scores_is_the_same() -> None:
    world = noisy_world(2)
    scaled = predictions_of(world.scores * 1e150, world.returns * 1e-170, 12)
    assert value(evaluate(scaled), "ic") == pytest.approx(value(evaluate(world), "ic"), rel=1e-9)


def test_session_figures_and_icir_are_those_of_grouped_correlations() -> None:
    world = noisy_world(3)
    found = evaluate(world)
    by_session = row_correlations(world, "pearson").groupby(world.session_index)
    np.testing.assert_allclose(found.ic, by_session.mean())
    np.testing.assert_array_equal(found.decisions, by_session.count())
    ranked = row_correlations(world, "spearman").groupby(world.session_index)
    np.testing.assert_allclose(found.rank_ic, ranked.mean())
    assert found.sessions == world.sessions
    expected = by_session.mean().mean() / by_session.mean().std()
    assert value(found, "icir") == pytest.approx(expected)
    assert value(found, "ic", "session 2026-09-03") == pytest.approx(by_session.mean()[2])


def test_t_statistic_is_that_of_session_means_when_sessions_are_equally_long() -> None:
    draw = np.random.default_rng(4)
    world = predictions_of(*draw.standard_normal((2, 200, 8)), 10)
    found = evaluate(world)
    expected = stats.ttest_1samp(found.ic, 0.0).statistic
    assert value(found, "ic_t") == pytest.approx(expected)
    assert value(found, "rank_ic_t") == pytest.approx(stats.ttest_1samp(found.rank_ic, 0).statistic)


def test_a_session_of_few_decisions_weighs_less() -> None:
    up, down = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]
    world = predictions_of([up] * 4, [up, up, up, down], [3, 1])
    assert value(evaluate(world), "ic") == pytest.approx(0.5)


def test_sessions_of_the_dataset_without_decisions_are_not_judged() -> None:
    world = noisy_world(5, sessions=3)
    shifted = Predictions(
        world.scores,
        world.returns,
        world.session_index + np.int32(2),
        world.minute,
        tuple(FIRST + timedelta(i) for i in range(9)),
        world.symbols,
        10,
    )
    found = evaluate(shifted)
    assert found.sessions == tuple(FIRST + timedelta(i) for i in (2, 3, 4))
    assert len(found.ic) == 3


# Six symbols, returns in bps: the top two of the decisions are {0, 1}, {0, 2}, {2, 3}; then, in
# another session, {0, 1}.
HAND_SCORES = [[6, 5, 4, 3, 2, 1], [6, 4, 5, 3, 2, 1], [3, 4, 6, 5, 2, 1], [6, 5, 4, 3, 2, 1]]
HAND_RETURNS = [
    [10, 20, 0, 0, 0, -30],
    [5, 5, 15, 5, 5, -5],
    [0, 0, 30, -12, 6, 0],
    [-8, 0, 0, 0, 8, 0],
]


def test_top_k_figures_of_a_hand_made_example() -> None:
    world = predictions_of(HAND_SCORES, np.array(HAND_RETURNS) / 1e4, [3, 1])
    found = evaluate(world, top_k=2)
    best = [15.0, 10.0, 9.0, -4.0]
    worst = [-15.0, 0.0, 3.0, 4.0]
    middle = [0.0, 5.0, 4.0, 0.0]
    assert value(found, "top_k_return_bps") == pytest.approx(np.mean(best))
    assert value(found, "long_short_bps") == pytest.approx(np.mean(best) - np.mean(worst))
    excess = np.mean(best) - np.mean(middle)
    assert value(found, "top_k_excess_bps") == pytest.approx(excess)
    # Medians 0, 5, 0, 0: both above; one at and one above; one above and one below; below and at.
    assert value(found, "hit_rate") == pytest.approx(np.mean([1, 0.75, 0.5, 0.25]))
    # One of two leaves, then one of two; the new session starts afresh.
    turnover = found.metric("turnover")
    assert (turnover.value, turnover.n) == (0.5, 2)
    assert value(found, "break_even_bps") == pytest.approx(excess / 0.5)


def test_break_even_is_unknown_when_nothing_is_traded() -> None:
    world = predictions_of([HAND_SCORES[0]] * 6, np.array([HAND_RETURNS[0]] * 6) / 1e4, 3)
    found = evaluate(world, top_k=2)
    assert value(found, "turnover") == 0
    assert np.isnan(value(found, "break_even_bps"))


def test_equal_scores_at_the_edge_share_the_places() -> None:
    scores = [[9, 5, 5, 1, 0, 0]]
    returns = np.array([[1, 2, 4, 0, 0, 0]]) / 1e4
    found = evaluate(predictions_of(scores, returns, 1), top_k=2)
    assert value(found, "top_k_return_bps") == pytest.approx((1 + (2 + 4) / 2) / 2)


def test_top_and_bottom_never_overlap() -> None:
    found = evaluate(predictions_of([[3, 2, 1]], [[3e-4, 2e-4, 1e-4]], 1), top_k=3)
    assert value(found, "long_short_bps") == pytest.approx(2.0)


def test_nothing_is_judged_of_fewer_than_three_pairs() -> None:
    scores = [[1, 2, NAN, 4], [1, 2, 3, NAN]]
    returns = [[1e-4, 3e-4, 2e-4, NAN], [1e-4, 2e-4, 3e-4, 9e-4]]
    found = evaluate(predictions_of(scores, returns, 2))
    assert found.metric("ic").n == 1
    assert value(found, "ic") == pytest.approx(1.0)
    assert found.metric("top_k_return_bps").n == 1


@pytest.mark.parametrize(
    ("score", "return_"), [(NAN, 1e-4), (0.5, None), (0.1, None), (None, NAN), (NAN, NAN)]
)
def test_without_anything_to_judge_figures_are_nan_of_none(
    score: float | None, return_: float | None
) -> None:
    draw = np.random.default_rng(6)
    some = draw.standard_normal((12, 7))
    scores = np.full_like(some, score) if score is not None else some
    returns = np.full_like(some, return_) if return_ is not None else some
    sectors = {"S0": "Energy"}
    found = evaluate(
        predictions_of(scores, returns, 4),
        sectors=sectors,
        decay={30: returns},
        expected_bps=scores,
    )
    assert all(m.n == 0 and np.isnan([m.value, m.low, m.high]).all() for m in found.metrics)
    assert np.isnan(found.ic).all()
    assert not found.decisions.any()
    assert suspicion(found, simulated=False) is None


def test_no_decisions_at_all_are_no_error() -> None:
    found = evaluate(predictions_of(np.empty((0, 5)), np.empty((0, 5)), []))
    assert found.metric("ic").n == 0
    assert found.sessions == ()


def test_one_session_has_a_value_but_no_interval() -> None:
    found = evaluate(noisy_world(7, sessions=1)).metric("ic")
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high]).all()


def session_sums(draw: np.random.Generator, sessions: int) -> Floats:
    """Draw sums of figures around 0.3; a session's share a shock, and some are half-days."""
    lengths = np.where(draw.random(sessions) < 0.1, 20, 38)
    shock = 0.3 + 0.5 * draw.standard_normal(sessions)
    noise = draw.standard_normal(sessions) * np.sqrt(lengths)
    return np.stack([lengths * shock + noise, lengths], axis=1).astype(float)


@pytest.mark.parametrize("sessions", [10, 21, 60])
def test_intervals_hold_the_truth_as_often_as_they_say(sessions: int) -> None:
    rounds = 1500
    draw = np.random.default_rng(sessions)
    held = 0
    for _ in range(rounds):
        found = bootstrap(session_sums(draw, sessions), ratio, draws=1000)
        held += found.low <= 0.3 <= found.high
    # Chance alone moves the share by 0.0056; the rest is what a percentile interval may miss.
    assert 0.93 <= held / rounds <= 0.97


def test_sessions_with_nothing_to_judge_leave_the_interval_as_it_is() -> None:
    sums = session_sums(np.random.default_rng(1), 12)
    with_empty = np.insert(sums, [0, 5, 12], 0.0, axis=0)
    assert bootstrap(with_empty, ratio) == bootstrap(sums, ratio)


def test_intervals_by_decision_would_be_too_narrow() -> None:
    draw = np.random.default_rng(8)
    shocks = np.repeat(0.2 * draw.standard_normal(40), 20)[:, None]
    scores = draw.standard_normal((800, 10))
    world = predictions_of(scores, shocks * scores + draw.standard_normal(scores.shape), 20)
    found = evaluate(world).metric("ic")
    naive = row_correlations(world, "pearson").sem() * 1.96
    assert found.high - found.low > 1.4 * 2 * naive


def test_blocks_of_sessions_are_drawn_as_if_they_were_one_session() -> None:
    world = noisy_world(9, sessions=20)
    pairs = predictions_of(world.scores, world.returns, 24)
    found, expected = evaluate(world, block_sessions=2), evaluate(pairs)
    for name in ("ic", "ic_t", "hit_rate"):
        assert found.metric(name) == expected.metric(name)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    world = noisy_world(10)
    first, same, other = (evaluate(world, seed=seed).metric("ic") for seed in (1, 1, 2))
    assert first == same
    assert first.low != other.low
    assert first.value == other.value


def test_hours_are_new_yorks() -> None:
    world = noisy_world(11, sessions=4, decisions=39)
    found = evaluate(world)
    hours = [m.slice for m in found.metrics if m.name == "ic" and m.slice.startswith("hour")]
    assert hours == [f"hour {h}" for h in range(9, 16)]
    at_ten = (world.minute >= 30) & (world.minute < 90)
    expected = row_correlations(world, "pearson")[at_ten]
    assert value(found, "ic", "hour 10") == pytest.approx(expected.mean())
    assert found.metric("ic", "hour 9").n == 4 * 3


def test_symbols_and_sectors_share_out_the_whole() -> None:
    world = noisy_world(12)
    complete = predictions_of(
        np.nan_to_num(world.scores), np.nan_to_num(world.returns), 12
    )  # so that every symbol counts in every decision
    sectors = {s: "Energy" if i < 5 else "Banks" for i, s in enumerate(world.symbols[:-1])}
    found = evaluate(complete, sectors=sectors)
    for name in ("ic", "rank_ic"):
        parts = [value(found, name, f"symbol {s}") for s in world.symbols]
        assert np.mean(parts) == pytest.approx(value(found, name))
        assert value(found, name, "sector Energy") == pytest.approx(np.mean(parts[:5]))
        assert value(found, name, "sector Banks") == pytest.approx(np.mean(parts[5:-1]))
    shares = [value(found, "top_k_share", f"symbol {s}") for s in world.symbols]
    assert sum(shares) == pytest.approx(1.0)
    returns = [value(found, "top_k_return_bps", f"symbol {s}") for s in world.symbols]
    assert np.dot(shares, returns) == pytest.approx(value(found, "top_k_return_bps"))


def test_a_symbol_that_carries_the_signal_has_the_higher_part_of_the_ic() -> None:
    draw = np.random.default_rng(13)
    scores, returns = draw.standard_normal((2, 2000, 8))
    returns[:, 3] += scores[:, 3]
    found = evaluate(predictions_of(scores, returns, 50))
    parts = [found.metric("ic", f"symbol S{i}") for i in range(8)]
    assert parts[3].low > max(part.high for i, part in enumerate(parts) if i != 3)


def test_permuted_symbols_change_no_figure() -> None:
    world = noisy_world(14)
    ties = np.round(world.scores)  # equals must not be told apart by where they stand
    order = np.random.default_rng(0).permutation(len(world.symbols))
    first = evaluate(predictions_of(ties, world.returns, 12))
    second = evaluate(predictions_of(ties[:, order], world.returns[:, order], 12))
    names = {f"symbol S{new}": f"symbol S{old}" for new, old in enumerate(order)}
    for metric in second.metrics:
        before = first.metric(metric.name, names.get(metric.slice, metric.slice))
        assert metric.n == before.n
        np.testing.assert_allclose(
            [metric.value, metric.low, metric.high],
            [before.value, before.low, before.high],
            rtol=1e-9,
            atol=1e-12,
        )


def test_decay_is_the_ic_with_returns_of_other_horizons() -> None:
    world = noisy_world(15)
    later = noisy_world(16)
    found = evaluate(world, decay={30: later.returns, 1: world.returns})
    assert value(found, "ic", "horizon 1") == value(found, "ic")
    expected = row_correlations(predictions_of(world.scores, later.returns, 12), "pearson")
    assert value(found, "ic", "horizon 30") == pytest.approx(expected.mean())
    assert [m.slice for m in found.metrics if "horizon" in m.slice and m.name == "ic"] == [
        "horizon 1",
        "horizon 30",
    ]


def test_calibration_slope_is_the_regression_of_what_came_on_what_was_expected() -> None:
    draw = np.random.default_rng(17)
    expected_bps = draw.standard_normal((600, 10))
    market = draw.standard_normal((600, 1)) * 30  # common to all, so nobody's expectation
    returns = (0.5 * expected_bps + market + draw.standard_normal((600, 10))) / 1e4
    found = evaluate(predictions_of(expected_bps, returns, 20), expected_bps=expected_bps)
    frame = pd.DataFrame(expected_bps)
    x = frame.sub(frame.mean(axis=1), axis=0).to_numpy().ravel()
    frame = pd.DataFrame(returns * 1e4)
    y = frame.sub(frame.mean(axis=1), axis=0).to_numpy().ravel()
    slope = found.metric("calibration_slope")
    assert slope.value == pytest.approx(stats.linregress(x, y).slope)
    assert slope.low < 0.5 < slope.high < 0.6


def test_shuffled_labels_give_no_ic() -> None:
    draw = np.random.default_rng(18)
    for seed in range(5):
        world = noisy_world(seed, sessions=40, ic=0.3)
        shuffled = draw.permuted(np.nan_to_num(world.returns), axis=1)
        assert abs(value(evaluate(predictions_of(world.scores, shuffled, 12)), "ic_t")) < 3.5
    assert value(evaluate(noisy_world(0, sessions=40, ic=0.3)), "ic_t") > 10


def test_a_flipped_sign_flips_the_figures() -> None:
    world = noisy_world(19)
    flipped = evaluate(predictions_of(-world.scores, world.returns, 12))
    for name in ("ic", "rank_ic", "ic_t", "icir", "long_short_bps"):
        assert value(flipped, name) == pytest.approx(-value(evaluate(world), name))


def test_an_ic_too_good_to_be_true_is_said_to_be_one_on_real_data_only() -> None:
    good = evaluate(noisy_world(20, sessions=60, ic=0.2))
    sentence = suspicion(good, simulated=False)
    assert sentence is not None
    assert f"{value(good, 'ic'):.3f}" in sentence
    assert "0.10" in sentence
    assert "leak" in sentence
    assert suspicion(good, simulated=True) is None
    assert suspicion(evaluate(noisy_world(20, sessions=60, ic=0.04)), simulated=False) is None
    backwards = evaluate(noisy_world(20, sessions=60, ic=-0.2))
    assert suspicion(backwards, simulated=False) is not None


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"draws": 0}, {"block_sessions": 0}])
def test_numbers_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is 0"):
        evaluate(noisy_world(21), **wrong)  # type: ignore[arg-type]


def test_returns_of_other_decisions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 12\)"):
        evaluate(noisy_world(22), decay={30: np.zeros((3, 12))})


def test_a_figure_that_does_not_exist_is_named() -> None:
    with pytest.raises(KeyError, match="symbol SQ"):
        evaluate(noisy_world(23)).metric("ic", "symbol SQ")


def test_the_table_sets_evaluations_side_by_side() -> None:
    model, ridge = noisy_world(24), noisy_world(25)
    expected = np.nan_to_num(model.scores)
    table = comparison(
        {"model": evaluate(model, expected_bps=expected, decay={30: model.returns}),
         "ridge": evaluate(ridge)}
    )  # fmt: skip
    lines = table.splitlines()
    assert len({len(line) for line in lines if line.startswith("|")}) == 1
    assert lines[0].split("|")[2:4] == [f"{name:>{len(lines[0].split('|')[2]) - 1}} "
                                        for name in ("model", "ridge")]  # fmt: skip
    found = evaluate(ridge).metric("ic")
    row = next(line for line in lines if line.startswith("| IC "))
    assert row.rstrip("| ").endswith(f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]")
    assert next(line for line in lines if "top 3 over all" in line)
    slope = next(line for line in lines if "calibration slope" in line)
    assert slope.split("|")[3].strip() == ""
    assert any(line.startswith("| IC over 30 minutes") for line in lines)
    assert "1,000 draws of sessions" in lines[-1]


def test_the_table_says_none_where_there_is_nothing() -> None:
    empty = evaluate(predictions_of(np.full((4, 5), NAN), np.zeros((4, 5)), 2))
    assert "none" in next(s for s in comparison({"m": empty}).splitlines() if "| IC " in s)


def test_a_breakdown_lists_every_slice_once() -> None:
    world = noisy_world(26, sessions=3)
    text = breakdown({"a": evaluate(world), "b": evaluate(world)}, "session")
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:]] == [
        "2026-09-01",
        "2026-09-02",
        "2026-09-03",
    ]
    assert len(breakdown({"a": evaluate(world)}, "symbol", name="top_k_share").splitlines()) == 14


def test_metrics_are_plain_numbers() -> None:
    for metric in evaluate(noisy_world(27, sessions=2)).metrics:
        assert isinstance(metric, Metric)
        assert [type(x) for x in (metric.value, metric.low, metric.high, metric.n)] == [
            float,
            float,
            float,
            int,
        ]
