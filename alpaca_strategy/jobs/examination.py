"""Run both engines over a scored history, and work out everything that a report shows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

import alpaca_strategy
from alpaca_strategy.backtest.cerebro import run_cerebro
from alpaca_strategy.backtest.content import Backtest, Fold
from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.metrics import measure, session_returns, warnings_of
from alpaca_strategy.backtest.parity import compare
from alpaca_strategy.backtest.ratios import sharpe
from alpaca_strategy.backtest.result import Run
from alpaca_strategy.backtest.sweep import grid, ladder
from alpaca_strategy.bootstrap import Services
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.jobs.candidate import code_version
from alpaca_strategy.jobs.scored_history import ScoredHistory
from alpaca_strategy.jobs.unseen import Share, learned_from
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

Progress = Callable[[int, int, str], None]


def examine(
    home: Services, shares: tuple[Share, ...], scored: ScoredHistory, rules: Rules, costs: Costs,
    *, progress: Progress | None = None,
) -> Backtest:  # fmt: skip
    """Run both engines over a scored history, and work out everything that the report shows."""
    history, cash = scored.history, home.settings.backtest.cash
    ours = simulate(history, rules, costs, cash=cash)
    theirs = run_cerebro(history, rules, costs, cash=cash, progress=progress)
    agreement = compare(ours, theirs, history)
    sensitivity = grid(history, rules, costs, cash=cash, threads=_threads())
    sharpes = [point.sharpe for point in sensitivity if point.sharpe is not None]
    figures = measure(history, ours, trials=max(1, len(sensitivity)), trial_sharpes=sharpes)
    simulated = home.settings.resolved_venue is Venue.SIMULATOR
    in_sample = learned_from(shares)
    lineage = _lineage(home, shares, scored, rules, costs)
    return Backtest(
        id=_name(history.sessions[-1], lineage),
        made_at=datetime.now(UTC),
        history=history,
        run=ours,
        rules=rules,
        costs=costs,
        figures=figures,
        warnings=warnings_of(figures, simulated=simulated, in_sample=in_sample),
        agreement=agreement,
        folds=_folds(shares, history, ours, scored.rank_ic),
        ladder=ladder(history, rules, costs, cash=cash, threads=_threads()),
        grid=sensitivity,
        returns=scored.returns,
        decay=scored.decay,
        sectors={row["symbol"]: row["sector"] for row in home.settings.universe()},
        simulated=simulated,
        in_sample=in_sample,
        lineage=lineage,
    )


def _folds(
    shares: tuple[Share, ...], history: History, run_: Run, rank_ic: Mapping[str, float | None]
) -> tuple[Fold, ...]:
    returns = session_returns(history, run_)
    entered = history.session_of_row[run_.trades["entry_row"]]
    folds = []
    for share in shares:
        seats = np.array([i for i, day in enumerate(history.sessions) if day in set(share.days)])
        ratio = sharpe(returns[seats])
        folds.append(
            Fold(
                model=share.version.id,
                trained_until=share.version.validation[-1],
                first=share.days[0],
                last=share.days[-1],
                sessions=len(share.days),
                trades=int(np.isin(entered, seats).sum()),
                total_return=float(np.prod(1.0 + returns[seats]) - 1.0),
                sharpe=float(ratio) if ratio is not None and np.isfinite(ratio) else None,
                rank_ic=rank_ic[share.version.id],
            )
        )
    return tuple(folds)


def _lineage(
    home: Services, shares: tuple[Share, ...], scored: ScoredHistory, rules: Rules, costs: Costs
) -> dict[str, Any]:
    """Return what decides a backtest's outcome, as plain values."""
    own = set(scored.history.sessions)
    return {
        "models": [
            {
                "id": share.version.id,
                "sha256": share.version.artifact_sha256,
                "trained_until": share.version.validation[-1].isoformat(),
                "first": share.days[0].isoformat(),
                "last": share.days[-1].isoformat(),
            }
            for share in shares
        ],
        "sessions": [
            {
                "session": pin.session.isoformat(),
                "revision": pin.revision,
                "bars_version": pin.bars_version,
                "content": pin.content_hash,
            }
            for pin in scored.pins
            if pin.session in own
        ],
        "traded": [
            scored.history.symbols[i]
            for i in np.flatnonzero(np.isfinite(scored.history.scores).any(axis=0))
        ],
        "venue": home.settings.resolved_venue.value,
        "feed": home.settings.data.feed.value,
        "rules": {name: _plain(value) for name, value in rules._asdict().items()},
        "costs": costs._asdict(),
        "cash": home.settings.backtest.cash,
        "code": f"{code_version()}-{_engines()}",
    }


def _plain(value: Any) -> Any:
    return None if value == float("-inf") else value


def _engines() -> str:
    """Return a hash of the code that decides what is traded and how it is filled."""
    package = Path(alpaca_strategy.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(
        file for room in ("strategy", "backtest") for file in package.glob(f"{room}/*.py")
    ):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _name(last: date, lineage: Mapping[str, Any]) -> str:
    text = json.dumps(lineage, sort_keys=True)
    return f"{last.isoformat()}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _threads() -> int:
    return os.cpu_count() or 1
