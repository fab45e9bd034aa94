"""Backtests for tests of what is kept and shown of them; what came of them is given, not run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from alpaca_strategy.backtest.content import Agreement, Backtest, Figure, Fold
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.result import FILL, TRADE, Run
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.storage.backtest_records import Origin
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

ABOUT: dict[str, Any] = {"venue": Venue.SIMULATOR, "feed": Feed.IEX, "origin": Origin.COMMAND}
PAGE = b"<!doctype html><p>It earned <b>nothing</b>.</p>"
DAYS = (date(2024, 1, 2), date(2024, 1, 3))
CASH = 100_000.0

#: Symbol, entry and exit row, shares, prices, cost, profit, score, reason; of two sessions.
TRADES = np.array(
    [
        (1, 10, 20, 100.0, 10.5, 10.25, 1.5, -26.5, 0.75, 4),
        (0, 389, 390, 7.5, 200.0, 201.0, 0.25, 7.25, np.nan, 5),
    ],
    TRADE,
)


def a_history(symbols: tuple[str, ...] = ("TSLA", "F")) -> History:
    """Return two whole sessions in which nothing moves and everything is scored."""
    panel = np.full((780, len(symbols)), 10.0)
    return History(
        symbols, DAYS, np.array([0, 390, 780]), panel, panel, panel, panel, panel,
        np.full(panel.shape, 0.5), np.zeros(panel.shape), np.ones((2, len(symbols))),
    )  # fmt: skip


def a_fold(model: str, **changes: Any) -> Fold:
    values: dict[str, Any] = {
        "model": model,
        "trained_until": date(2023, 12, 28),
        "first": DAYS[0],
        "last": DAYS[1],
        "sessions": 2,
        "trades": 2,
        "total_return": 0.01,
        "sharpe": None,
        "rank_ic": 0.02,
    }
    return Fold(**values | changes)


def a_backtest(model: str, trades: np.ndarray = TRADES, **changes: Any) -> Backtest:
    """Return a backtest over 2 and 3 January 2024 whose trades are given."""
    history, flat = a_history(), np.full(780, CASH)
    basis = Backtest(
        id="2024-01-03-0badf00d",
        made_at=datetime(2026, 11, 24, 23, 5, tzinfo=UTC),
        history=history,
        run=Run(CASH, np.empty(0, FILL), trades, flat, np.zeros(780)),
        rules=Rules(),
        costs=Costs(),
        figures=(Figure("sharpe", 1.5, -0.5, 3.5),),
        warnings=("Only 2 sessions.",),
        agreement=Agreement(len(trades), len(trades), None),
        folds=(a_fold(model),),
        ladder=(),
        grid=(),
        returns=np.zeros((780, 2)),
        decay={},
        sectors={},
        simulated=True,
        in_sample=False,
        lineage={"code": "0.1.0+abc", "bars": 412},
    )
    return replace(basis, **changes)
