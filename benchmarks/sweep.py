"""Sweep: 1,000 parameter sets over 60 sessions of 30 symbols, on every core.

Work: the history of backtest.py; names a decision, hold, least score, cool-down and costs vary.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time

from backtest import CASH, SESSIONS, SYMBOLS, history_of, make_bars

from alpaca_strategy.backtest.sweep import sweep
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules, slots_of

GOAL_S, ROUNDS = 30.0, 5


def points() -> list[tuple[Rules, Costs]]:
    """Return 1,000 sets."""
    axes = ((1, 2, 3, 5, 8), (10, 20, 30, 60), (0.5, 0.6, 0.7, 0.8, 0.9), (0, 15), (0, 1, 2, 5, 10))
    return [
        (
            Rules(
                top_k=k, hold=hold, min_score=score, cooldown=rest,
                slots=slots_of(interval=10, top_k=k, max_positions=6, hold=hold),
            ),
            Costs(half_spread_bps=cost, slippage_bps=0.0),
        )
        for k, hold, score, rest, cost in itertools.product(*axes)
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    history, sets = history_of(make_bars(SESSIONS, SYMBOLS)), points()
    assert len(sets) == 1000
    sweep(history, sets[:2], cash=CASH, threads=1)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        sweep(history, sets, cash=CASH, threads=os.cpu_count() or 1)
        seconds.append(time.perf_counter() - start)
    value = statistics.median(seconds)
    figure = {
        "name": "1,000 parameter sets over 60 sessions x 30 symbols, all cores",
        "value": value,
        "unit": "s",
        "ratio": value / GOAL_S,
        "goal": f"<= {GOAL_S:.0f} s",
        "holds": value <= GOAL_S,
    }
    print(json.dumps({"figures": [figure]}) if arguments.json else figure)


if __name__ == "__main__":
    main()
