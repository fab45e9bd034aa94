"""Many parameter sets over the same scored history, by the compiled engine alone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from alpaca_strategy.backtest.sweep import sweep
from alpaca_strategy.bootstrap import services
from alpaca_strategy.errors import UserError
from alpaca_strategy.jobs.backtest import only
from alpaca_strategy.jobs.rules import rules_of
from alpaca_strategy.jobs.scored_history import score_history
from alpaca_strategy.jobs.unseen import share_out

Progress = Callable[[int, int, str], None]
#: So many sets at most; more would try noise until it looks good.
MOST = 10_000


def run_sweep(
    planned: Mapping[str, Any],
    choices: Mapping[str, Sequence[Any]],
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Run every combination of some parameters, and return what came of each, best Sharpe first.

    Args:
        planned: As `backtest.plan` returns it.
        choices: Values to try, by the parameter's name in the settings or ``cost_bps``.
        progress: Told of scored decisions, then of parameter sets.

    Raises:
        UserError: There is nothing to try, or too much.
    """
    names = list(choices)
    sets = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*choices.values())
    ]
    if not names or not 0 < len(sets) <= MOST:
        msg = f"A sweep tries 1 to {MOST} parameter sets, not {len(sets) if names else 0}."
        raise UserError(msg)
    home = services()
    points = [
        rules_of(home.settings, planned["symbols"], {**planned["changes"], **one}) for one in sets
    ]
    intervals = {rules.interval for rules, _ in points}
    if len(intervals) > 1:
        msg = "A sweep tries one interval at a time: other decisions need other scores."
        raise UserError(msg)
    days = (date.fromisoformat(planned[name]) for name in ("first", "last"))
    shares = share_out(home, planned["model"], *days, in_sample=planned["in_sample"])
    scored = score_history(home, shares, interval=intervals.pop(), progress=progress)
    outcomes = sweep(
        only(scored.history, planned["symbols"]),
        points,
        cash=home.settings.backtest.cash,
        threads=os.cpu_count() or 1,
        progress=progress and (lambda done, total: progress(done, total, "parameter sets run")),
    )
    rows = [
        {**one, "total_return": got.total_return, "sharpe": got.sharpe, "trades": got.trades}
        for one, got in zip(sets, outcomes, strict=True)
    ]
    return sorted(rows, key=lambda row: -(row["sharpe"] if row["sharpe"] is not None else -1e9))
