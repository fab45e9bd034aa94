"""A backtest from the command line: models, sessions, two engines, a report that is kept."""

from __future__ import annotations

import csv
import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from alpaca_strategy.bootstrap import services
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.errors import (
    ModelRefusedError,
    NotASessionError,
    NotPublishedError,
    SettingsError,
    UserError,
)
from alpaca_strategy.jobs import backtest
from alpaca_strategy.jobs.scored_history import score_history
from alpaca_strategy.jobs.unseen import share_out
from tests.integration.test_retrain import LAST, SYMBOLS, a_model, filled, run

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
    with pytest.raises(ModelRefusedError, match="Every model had learned from"):
        share_out(home, "walk-forward", newest.training[-1], None, in_sample=False)
