"""A backtest from the command line: models, sessions, two engines, a report that is kept."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.errors import (
    ModelRefusedError,
    NotASessionError,
    NotPublishedError,
    SettingsError,
    UserError,
)
from alpaca_strategy.jobs import backtest
from alpaca_strategy.jobs.rules import rules_of
from alpaca_strategy.jobs.scored_history import score_history
from alpaca_strategy.jobs.scoring import load_version, scorer_of
from alpaca_strategy.jobs.training_data import load_dataset
from alpaca_strategy.jobs.unseen import share_out
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.model.dataset import SessionBars
from alpaca_strategy.storage.actions import write_actions
from tests.integration.test_retrain import LAST, SESSIONS, SYMBOLS, a_model, bars_of, filled, run
from tests.stored_sessions import publish
from tests.worlds import World

__all__ = ["filled"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

#: Six names: so many that the filter would leave little to trade.
EASY = {"min_score": 0.4, "top_k": 2}


def test_without_a_model_there_is_one_sentence(filled: Path) -> None:
    with pytest.raises(ModelRefusedError, match="no model to score with yet; train one"):
        backtest.plan({})
    with pytest.raises(UserError, match="no model 2024-01-01-00000000"):
        backtest.plan({"model": "2024-01-01-00000000"})


def test_a_backtest_is_run_kept_shown_and_refused(filled: Path, tmp_path: Path) -> None:
    home = services()
    model = a_model()
    version = home.registry.version(model)
    home.registry.promote(model, expected_champion=None, reason="to try", by="me")

    planned = backtest.plan(EASY)
    assert planned == {
        "model": model,
        "first": version.holdout[0].isoformat(),
        "last": LAST.isoformat(),
        "sessions": 21,
        "symbols": list(SYMBOLS),
        "in_sample": False,
        "origin": "command",
        "changes": {"min_score": 0.4, "top_k": 2},
    }
    refusals(version.holdout[0], version.training[-1])

    done = backtest.run(planned)
    row = home.backtests.read(done["id"])
    assert (row.venue, row.feed, row.models) == (Venue.SIMULATOR, Feed.IEX, (model,))
    assert row.trades == done["trades"] == done["agreed"] == row.agreed > 50
    assert (row.first_session, row.last_session, row.sessions) == (version.holdout[0], LAST, 21)
    assert row.difference is None
    trades = home.backtests.trades(done["id"])
    assert len(trades) == row.trades
    figures = {figure.name: figure.value for figure in home.backtests.metrics(done["id"])}
    assert figures["trades"] == len(trades)
    assert figures["total_return"] == done["total_return"]
    profit = sum(trade.profit for trade in trades)
    assert figures["final_value"] == pytest.approx(100_000 + profit, abs=0.01)  # flat at the end
    page = (filled / "results" / "backtest_report.html").read_bytes()
    assert home.backtests.page(done["id"]) == (done["id"], page)
    assert re.search(rf"engines agree on (all )?{row.trades}\b", page.decode())

    again = backtest.run(planned)  # the same is kept once
    assert again["id"] == done["id"]
    assert len(home.backtests.recent()) == 1
    other = backtest.run(backtest.plan({**EASY, "symbols": "tsla, F"}))
    assert {trade.symbol for trade in home.backtests.trades(other["id"])} == {"TSLA", "F"}

    words = run("report", done["id"], "--out", str(tmp_path / "page.html"))
    assert done["id"] in words
    assert (tmp_path / "page.html").read_bytes() == page
    words = run("backtest", "--min-score", "0.99")
    assert "agree on 0 of 0 trades" in words
    table = tmp_path / "sweep.csv"
    words = run("sweep", "--try", "top_k=1,2", "--try", "min_score=0.4,0.6", "--csv", str(table))
    assert "4 sets tried" in words
    with table.open(newline="") as file:
        sharpes = [float(line["sharpe"] or "-inf") for line in csv.DictReader(file)]
    assert sharpes == sorted(sharpes, reverse=True)

    # What a new model sets off is made once, whatever was asked for by hand before.
    announced = {"model": model, "origin": "new_model", "symbols": "F, TSLA, NVDA"}
    for one in backtest.plan_all([announced]):
        backtest.run(one)
    assert home.backtests.newest(model).origin == "new_model"
    assert backtest.plan_all([announced]) == []

    seen = backtest.plan({**EASY, "first": str(version.training[-2]), "in_sample": True})
    marked = backtest.run(seen)
    assert home.backtests.read(marked["id"]).in_sample
    assert any(sentence.startswith("In-sample") for sentence in marked["warnings"])


def refusals(unseen: date, learned: date) -> None:
    """Check what a form may not ask for."""
    for form, error, words in (
        ({"first": str(learned)}, ModelRefusedError, f"begin on {unseen}, or ask"),
        ({"first": "yesterday"}, UserError, "is not a date"),
        ({"first": "2024-02-20", "last": "2024-02-01"}, UserError, "lies after the last one"),
        ({"first": "2030-01-01"}, NotPublishedError, "not published|No iex session"),
        ({"first": "2024-02-24", "last": "2024-02-25"}, NotASessionError, "no session"),
        ({"symbols": ["GME"]}, UserError, "GME is none of the 6 symbols"),
        ({"top_k": 7}, SettingsError, "top_k is 7, but names are chosen among 6"),
        ({"hold_minutes": -1}, SettingsError, "hold_minutes"),
        ({"min_score": 2}, SettingsError, "min_score"),
    ):
        with pytest.raises(error, match=words):
            backtest.plan(form)


def test_walk_forward_gives_each_session_to_the_newest_model_that_had_not_seen_it(
    filled: Path,
) -> None:
    home = services()
    newest = home.registry.version(a_model())
    shares = share_out(home, "walk-forward", None, None, in_sample=False)
    assert [(share.version.id, share.days) for share in shares] == [(newest.id, newest.holdout)]
    scored = score_history(home, shares, interval=10)
    history = scored.history
    decided = np.isfinite(history.scores).any(axis=1)
    assert set(history.minute_of_row[decided] % 10) == {9}
    assert history.first_row[-1] == 21 * 390
    assert set(scored.decay) == {1, 5, 10, 20, 30, 60}
    # What follows a decision begins at the next open, not at the last close.
    row, seat = np.argwhere(np.isfinite(scored.returns))[0]
    ahead = history.close[row + 10, seat] / history.open[row + 1, seat] - 1
    assert scored.returns[row, seat] == pytest.approx(ahead, abs=1e-6)
    with pytest.raises(ModelRefusedError, match=f"begin on {newest.holdout[0]}, or train one"):
        share_out(home, "walk-forward", newest.training[-1], None, in_sample=False)
    with pytest.raises(UserError, match="leave out one of the two"):
        share_out(home, "walk-forward", None, None, in_sample=True)


def republish(
    home: Services, days: Sequence[date], change: Callable[[date, SessionBars], None]
) -> None:
    """Publish the world's sessions again, as a change leaves them."""
    for bars, _ in World(symbols=6, ic=0.3, seed=2).sessions(SESSIONS):
        if bars.day in days:
            change(bars.day, bars)
            publish(
                home.lake, home.catalog, day=bars.day, symbols=SYMBOLS, tape=None,
                bars=bars_of(bars.values, bars.observed, bars.day),
                condition_table="alpaca", condition_fingerprint=home.conditions.sha256,
            )  # fmt: skip


def test_nothing_before_a_minute_changes_with_what_comes_after_it(filled: Path) -> None:
    home = services()
    model = home.registry.version(a_model())
    shares = share_out(home, model.id, None, None, in_sample=False)
    rules, costs = rules_of(home.settings, SYMBOLS, EASY)
    before = score_history(home, shares, interval=10)
    traded = simulate(before.history, rules, costs, cash=1e5)

    day, minute = model.holdout[10], 204
    random = np.random.default_rng(1)

    def shuffle(session: date, bars: SessionBars) -> None:
        start = minute + 1 if session == day else 0
        later = bars.values[start:]
        later *= random.uniform(0.8, 1.25, (len(later), 6, 1))
        bars.observed[start:] = random.random((len(later), 6)) < 0.8

    republish(home, model.holdout[10:], shuffle)
    after = score_history(home, shares, interval=10)
    again = simulate(after.history, rules, costs, cash=1e5)
    row = 10 * 390 + minute
    for name in ("scores", "expected_bps"):
        old, new = (getattr(one.history, name) for one in (before, after))
        np.testing.assert_array_equal(old[: row + 1], new[: row + 1])
        assert not np.array_equal(old[row + 1 :], new[row + 1 :], equal_nan=True)
    for one in ("fills", "trades"):
        ended = "row" if one == "fills" else "exit_row"
        old, new = (getattr(run_, one) for run_ in (traded, again))
        assert (old[ended] <= row).sum() > 50
        np.testing.assert_array_equal(old[old[ended] <= row], new[new[ended] <= row])
    # The first row is scored by the window that ends with it, as the trader would cut it.
    dataset = load_dataset(home, after.pins, symbols=model.symbols, horizon=model.horizon)
    scorer = scorer_of(home, load_version(home, model), dataset)
    for at in (9, 389, row - 5):  # minutes 9, 389 and 199 of their sessions: decisions
        end = 390 + at + 1  # behind the session before
        window = slice(max(0, end - 240), end)
        logits = scorer.logits(dataset.features[window], dataset.usable[window])
        expected = scorer.model.calibration.score(logits)
        np.testing.assert_allclose(after.history.scores[at], expected, atol=1e-5)


def test_other_data_are_another_backtest_and_splits_are_of_the_night_before(filled: Path) -> None:
    home = services()
    model = home.registry.version(a_model())
    first = backtest.run(backtest.plan({**EASY, "model": model.id}))
    calendar = exchange_calendar()
    day_before = calendar.previous_session(model.holdout[0]).day

    def rise(session: date, bars: SessionBars) -> None:
        bars.values[-60:, :3, :5] *= np.linspace(1.0, 1.1, 60)[:, None, None]

    republish(home, [day_before], rise)
    second = backtest.run(backtest.plan({**EASY, "model": model.id}))
    assert second["id"] != first["id"]
    assert len(home.backtests.recent()) == 2

    split = {"id": "a", "kind": "forward_split", "symbol": "NVDA", "ex_date": model.holdout[3]}
    rest = {"new_symbol": None, "old_rate": 1.0, "new_rate": 4.0, "cash_rate": None}
    rest["process_date"] = model.holdout[3]
    write_actions(home.lake, pa.Table.from_pylist([split | rest]))
    history = score_history(
        home, share_out(home, model.id, None, None, in_sample=False), interval=10
    ).history
    expected = np.ones((21, 6))
    expected[3, SYMBOLS.index("NVDA")] = 4.0
    np.testing.assert_array_equal(history.split_factor, expected)

    # A session in which a name was quarantined: it has neither bars nor scores, and is not traded.
    quarantined = model.holdout[5]
    publish(
        home.lake, home.catalog, day=quarantined, symbols=SYMBOLS, tape=None,
        bars=without("TSLA", quarantined),
        condition_table="alpaca", condition_fingerprint=home.conditions.sha256,
    )  # fmt: skip
    third = backtest.run(backtest.plan({**EASY, "model": model.id}))
    assert third["agreed"] == third["trades"] > 50
    by_day = {
        (trade.symbol, trade.entered_at.date()) for trade in home.backtests.trades(third["id"])
    }
    assert ("TSLA", quarantined) not in by_day
    assert ("TSLA", model.holdout[4]) in by_day
    assert {day for name, day in by_day if name != "TSLA"} >= {quarantined}


def without(symbol: str, day: date) -> pa.Table:
    """Return the bars of a session of the world, without a symbol's."""
    (bars,) = (
        one for one, _ in World(symbols=6, ic=0.3, seed=2).sessions(SESSIONS) if one.day == day
    )
    table = bars_of(bars.values, bars.observed, day)
    return table.filter(pc.not_equal(table["symbol"], symbol))
