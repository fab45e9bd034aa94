"""The nightly jobs from the wire to the lake, against the simulator and a real Postgres."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from alpaca_strategy.errors import QualityError
from alpaca_strategy.jobs import lake, market_data
from alpaca_strategy.storage.panel import read_panel
from tests.integration.conftest import House

pytestmark = pytest.mark.integration
DAY = "2026-11-19"


def run_all(day: str) -> dict[str, object]:
    """Do what a run of the DAG does, in one process."""
    for chunk in market_data.plan(day)["chunks"]:
        market_data.fetch(day, chunk)
        market_data.build_bars(day, chunk)
    market_data.check(day)
    return market_data.publish(day)


def test_a_session_goes_from_the_wire_to_the_lake(house: House) -> None:
    done = run_all(DAY)
    assert done["changed"]
    assert done["symbols"] == 6
    home = house.services
    panel = read_panel(
        lake=home.lake,
        catalog=home.catalog,
        feed=home.settings.data.feed,
        symbols=home.settings.symbols(),
        columns=("close", "volume"),
        sessions=[date.fromisoformat(DAY)],
    )
    assert panel.values.shape == (390, 6, 2)
    assert panel.observed.mean() > 0.9
    assert np.nanmin(panel.values[:, :, 0]) > 0


def test_the_same_session_again_changes_nothing(house: House) -> None:
    first = run_all(DAY)
    again = run_all(DAY)
    assert first["changed"]
    assert not again["changed"]
    assert again["revision"] == first["revision"] == 1
