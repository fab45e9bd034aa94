"""A window made during the session has the bits that the finished session's dataset has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import World

from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.model.dataset import WINDOW as MODEL_WINDOW
from alpaca_strategy.model.dataset import build_dataset
from alpaca_strategy.trader.window import WINDOW, SessionBefore, Windows


@pytest.mark.parametrize("minute", [0, 19, 100, 238, 239, 240, 330, 389])
@pytest.mark.parametrize("half_day_before", [False, True])
def test_window_of_a_live_minute_equals_the_datasets(minute: int, half_day_before: bool) -> None:
    world = World(symbols=5, quiet=0.2)
    bars = [one for one, _ in world.sessions(3)]
    if half_day_before:
        bars[1] = replace(bars[1], values=bars[1].values[:210], observed=bars[1].observed[:210])
    lengths = [len(one.observed) for one in bars]
    dataset = build_dataset(bars, minutes=lengths, symbols=world.names, fingerprint="none")
    row = lengths[0] + lengths[1] + minute
    wanted = slice(row - WINDOW + 1, row + 1)

    today = bars[2]
    windows = Windows(
        exchange_calendar().session(today.day),
        [SessionBefore(one.day, one.values, one.observed) for one in bars[:2]],
    )
    window = windows.at(today.values[: minute + 1], today.observed[: minute + 1])

    np.testing.assert_array_equal(window.usable, dataset.usable[wanted])
    np.testing.assert_array_equal(window.features, dataset.features[wanted])


def test_what_came_before_may_be_too_short() -> None:
    world = World(symbols=3)
    first, second = (one for one, _ in world.sessions(2))
    windows = Windows(
        exchange_calendar().session(second.day),
        [SessionBefore(first.day, first.values[:100], first.observed[:100])],
    )
    window = windows.at(second.values[:20], second.observed[:20])
    assert not window.usable[: WINDOW - 120].any()
    assert np.isnan(window.features[: WINDOW - 120]).all()
    assert window.usable[WINDOW - 120 :].any()


def test_the_trader_looks_back_as_far_as_the_model() -> None:
    assert WINDOW == MODEL_WINDOW
