"""Run both engines over a scored history, and work out everything that a report shows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

import alpaca_strategy
from alpaca_strategy.backtest.cerebro import run_cerebro
from alpaca_strategy.backtest.content import Backtest, Fold, GridPoint
from alpaca_strategy.backtest.doubts import warnings_of
from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.metrics import measure, session_returns
from alpaca_strategy.backtest.parity import compare
from alpaca_strategy.backtest.ratios import sharpe
from alpaca_strategy.backtest.result import Run
from alpaca_strategy.backtest.sweep import TOP_K, grid, ladder
from alpaca_strategy.bootstrap import Services
from alpaca_strategy.config import PROJECT_ROOT
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.jobs.candidate import code_version
from alpaca_strategy.jobs.scored_history import ScoredHistory
from alpaca_strategy.jobs.unseen import Share, learned_from
from alpaca_strategy.model.evaluation import SUSPICIOUS_IC
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

Progress = Callable[[int, int, str], None]
#: Whose code decides what a backtest says, beside that of the model's scores.
_CODE = (
    "strategy/*.py",
    "backtest/**/*.py",
    "storage/actions.py",
    "jobs/examination.py",
    "jobs/rules.py",
    "jobs/scored_history.py",
    "jobs/unseen.py",
)


def examine(
    home: Services, shares: tuple[Share, ...], scored: ScoredHistory, rules: Rules, costs: Costs,
    *, progress: Progress | None = None,
) -> Backtest:  # fmt: skip
    """Run both engines over a scored history, and work out everything that the report shows."""
    history, cash = scored.history, home.settings.backtest.cash
    ours = simulate(history, rules, costs, cash=cash)
    theirs = run_cerebro(history, rules, costs, cash=cash, progress=progress)
    agreement = compare(ours, theirs, history)
    names = [k for k in TOP_K if k <= len(history.traded)]
    sensitivity = grid(history, rules, costs, cash=cash, threads=_threads(), top_k=names)
    tried = _tried(sensitivity, costs)
    figures = measure(history, ours, trials=max(1, len(tried)), trial_sharpes=tried)
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
        warnings=(
            *warnings_of(figures, simulated=simulated, in_sample=in_sample),
            *([] if simulated else _suspicions(scored)),
        ),
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


def _tried(points: Sequence[GridPoint], costs: Costs) -> list[float]:
    """Return the Sharpe ratios of strategies that might have been chosen instead.

    Only at the costs that are charged: other costs are no other strategy.
    """
    cost = costs.half_spread_bps + costs.slippage_bps
    same = [point for point in points if point.cost_bps == cost and point.sharpe is not None]
    outcomes = {(point.total_return, point.trades): point.sharpe for point in same}
    return [sharpe for sharpe in outcomes.values() if sharpe is not None]


def _suspicions(scored: ScoredHistory) -> list[str]:
    """Return what is too good to be true about the scores themselves, whatever costs hide."""
    return [
        f"The scores of {model} have a rank IC of {value:.3f}, beyond {SUSPICIOUS_IC:.2f}: more "
        f"than real intraday data give, so a leak of the future is suspected."
        for model, value in scored.rank_ic.items()
        if value is not None and abs(value) > SUSPICIOUS_IC
    ]


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
            for pin in scored.pins  # the first may be of the day before, where windows begin
        ],
        "traded": list(scored.history.traded),
        "content": _content(scored.history),
        "venue": home.settings.resolved_venue.value,
        "feed": home.settings.data.feed.value,
        "rules": {name: _plain(value) for name, value in rules._asdict().items()},
        "costs": costs._asdict(),
        "cash": home.settings.backtest.cash,
        "code": f"{code_version()}-{_code()}",
    }


def _plain(value: Any) -> Any:
    return None if value == float("-inf") else value


def _content(history: History) -> str:
    """Return a hash of everything that the engines read."""
    digest = hashlib.sha256()
    for field in fields(history):
        value = getattr(history, field.name)
        whole = isinstance(value, np.ndarray)
        digest.update(np.ascontiguousarray(value).data if whole else repr(value).encode())
    return digest.hexdigest()


def _code() -> str:
    """Return a hash of the code that decides what is traded, filled, measured and shown."""
    package = Path(alpaca_strategy.__file__).parent
    files = [file for pattern in _CODE for file in package.glob(pattern)]
    files += (PROJECT_ROOT / "include" / "templates").glob("backtest_*")
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _name(last: date, lineage: Mapping[str, Any]) -> str:
    text = json.dumps(lineage, sort_keys=True)
    return f"{last.isoformat()}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _threads() -> int:
    return os.cpu_count() or 1
