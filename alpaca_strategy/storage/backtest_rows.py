"""Backtests into rows of schema ``report``, and rows into records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Row, text

from alpaca_strategy import __version__
from alpaca_strategy.domain.market import Feed, Venue
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.storage.backtest_records import (
    BacktestMetric,
    BacktestRow,
    FoldRow,
    Origin,
    TradeRow,
)
from alpaca_strategy.storage.registry_rows import plain
from alpaca_strategy.strategy.reasons import Reason

if TYPE_CHECKING:  # importing it compiles; who only reads backtests need not wait for that
    from alpaca_strategy.backtest.content import Backtest
    from alpaca_strategy.backtest.history import Ints

#: Trades written by one statement: more gain nothing, and all at once would take memory twice.
CHUNK = 10_000

#: One array a column takes about half as long as a row of values for each trade.
INSERT_TRADES = text("""
    INSERT INTO report.trade
    SELECT :backtest, :before + position, symbol, to_timestamp(entered), to_timestamp(exited),
        shares, entry_price, exit_price, cost, profit, entry_score, exit_reason
    FROM unnest(
        CAST(:symbol AS text[]), CAST(:entered AS bigint[]), CAST(:exited AS bigint[]),
        CAST(:shares AS float8[]), CAST(:entry_price AS float8[]), CAST(:exit_price AS float8[]),
        CAST(:cost AS float8[]), CAST(:profit AS float8[]), CAST(:entry_score AS float8[]),
        CAST(:exit_reason AS text[])
    ) WITH ORDINALITY AS new (
        symbol, entered, exited, shares, entry_price, exit_price, cost, profit, entry_score,
        exit_reason, position
    )
""")


def backtest_values(backtest: Backtest) -> dict[str, Any]:
    """Return what a backtest says itself of its row in ``report.backtest``."""
    sessions = backtest.history.sessions
    return {
        "id": backtest.id,
        "made_at": backtest.made_at,
        "models": list(dict.fromkeys(fold.model for fold in backtest.folds)),
        "first_session": sessions[0],
        "last_session": sessions[-1],
        "sessions": len(sessions),
        "symbols": _scored_symbols(backtest),
        "rules": plain(backtest.rules._asdict()),
        "costs": plain(backtest.costs._asdict()),
        "cash": backtest.run.cash,
        "in_sample": backtest.in_sample,
        "trades": len(backtest.run.trades),
        "agreed": backtest.agreement.agreed,
        "difference": backtest.agreement.difference,
        "warnings": list(backtest.warnings),
        "lineage": plain(backtest.lineage),
        "code_version": str(backtest.lineage.get("code", __version__)),
    }


def backtest_row(row: Row[Any]) -> BacktestRow:
    """Return a row of ``report.backtest`` as a record."""
    values = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's documented name
    return BacktestRow(
        **values
        | {
            "venue": Venue(values["venue"]),
            "feed": Feed(values["feed"]),
            "origin": Origin(values["origin"]),
        }
        | {name: tuple(values[name]) for name in ("models", "symbols", "warnings")}
    )


def metric_values(backtest: Backtest) -> list[dict[str, Any]]:
    """Return what a backtest writes to ``report.metric``."""
    return [
        {
            "backtest_id": backtest.id,
            "name": figure.name,
            "value": plain(figure.value),
            "low": plain(figure.low),
            "high": plain(figure.high),
        }
        for figure in backtest.figures
    ]


def metric_row(row: Row[Any]) -> BacktestMetric:
    """Return a row of ``report.metric`` as a record."""
    return BacktestMetric(row.name, row.value, row.low, row.high)


def fold_values(backtest: Backtest) -> list[dict[str, Any]]:
    """Return what a backtest writes to ``report.fold``."""
    return [
        {
            "backtest_id": backtest.id,
            "position": position,
            "model": fold.model,
            "trained_until": fold.trained_until,
            "first_session": fold.first,
            "last_session": fold.last,
            "sessions": fold.sessions,
            "trades": fold.trades,
            "total_return": plain(fold.total_return),
            "sharpe": plain(fold.sharpe),
            "rank_ic": plain(fold.rank_ic),
        }
        for position, fold in enumerate(backtest.folds, 1)
    ]


def fold_row(row: Row[Any]) -> FoldRow:
    """Return a row of ``report.fold`` as a record."""
    values = dict(row._mapping)  # noqa: SLF001
    del values["backtest_id"]
    return FoldRow(**values)


def trade_chunks(backtest: Backtest) -> Iterator[dict[str, Any]]:
    """Return what a backtest writes to ``report.trade``: parameters of `INSERT_TRADES`."""
    trades, history = backtest.run.trades, backtest.history
    begins = _begins_of_minutes(backtest)
    symbols = np.array(history.symbols, object)
    reasons = {reason.value: reason.name.lower() for reason in Reason}
    for before in range(0, len(trades), CHUNK):
        part = trades[before : before + CHUNK]
        numbers = ("shares", "entry_price", "exit_price", "cost", "profit")
        yield {
            "backtest": backtest.id,
            "before": before,
            "symbol": symbols[part["symbol"]].tolist(),
            "entered": begins[part["entry_row"]].tolist(),
            "exited": begins[part["exit_row"]].tolist(),
            "entry_score": plain(part["entry_score"].tolist()),
            "exit_reason": [reasons[reason] for reason in part["exit_reason"].tolist()],
        } | {name: part[name].tolist() for name in numbers}


def trade_row(row: Row[Any]) -> TradeRow:
    """Return a row of ``report.trade`` as a record."""
    values = dict(row._mapping)  # noqa: SLF001
    del values["backtest_id"]
    for name in ("entered_at", "exited_at"):
        values[name] = values[name].astimezone(UTC)
    return TradeRow(**values)


def _scored_symbols(backtest: Backtest) -> list[str]:
    """Return the symbols that might have been traded; all where none was ever scored."""
    history = backtest.history
    scored = np.flatnonzero(np.isfinite(history.scores).any(axis=0))
    return [history.symbols[i] for i in scored] or list(history.symbols)


def _begins_of_minutes(backtest: Backtest) -> Ints:
    """Return when the minute of each row begins, in seconds since 1970; shape (rows,)."""
    calendar, history = exchange_calendar(), backtest.history
    opens = [int(calendar.session(day).opens_at.timestamp()) for day in history.sessions]
    begins: Ints = np.array(opens, np.int64)[history.session_of_row] + 60 * history.minute_of_row
    return begins
