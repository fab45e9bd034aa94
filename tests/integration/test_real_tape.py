"""Two recorded days of the consolidated tape through the real DAG in a real Airflow.

The simulator replays the tape over Alpaca's protocol; Airflow's own backfill runs the nightly DAG
for both sessions; what the lake then holds is compared with the vendor's own minute bars. See
`tests/parity/test_vendor_2013_bars.py` for the two bars of 3,119 that differ, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from stack_runs import StackRun, new_home, wait_for

from alpaca_strategy.stack.airflow_api import AirflowApi
from alpaca_strategy.state import read_state
from tests.parity.test_vendor_2013_bars import DAYS, PRICES, SYMBOLS, against_vendor, same

pytestmark = [pytest.mark.integration, pytest.mark.stack, pytest.mark.timeout(900)]
DAG = "market_data_nightly"


@pytest.fixture
def stack(shared_data: Path) -> Iterator[StackRun]:
    home = new_home()
    universe = home / "universe.csv"
    rows = "".join(f"{symbol},{symbol},Recorded\n" for symbol in SYMBOLS)
    universe.write_text("symbol,name,sector\n" + rows)
    run = StackRun(
        home,
        ALPACA_STRATEGY_SIMULATOR__REPLAY=str(shared_data / "tape"),
        ALPACA_STRATEGY_DATA__UNIVERSE=str(universe),
        ALPACA_STRATEGY_DATA__FEED="sip",
        ALPACA_STRATEGY_DATA__CONDITION_TABLE="vendor-2013",
    )
    yield run
    run.destroy()


def states(api: AirflowApi) -> dict[str, str]:
    """Return the state of each run of the backfill by the day it opened on."""
    runs = api._request("GET", f"/api/v2/dags/{DAG}/dagRuns?limit=100")["dag_runs"]
    return {r["logical_date"][:10]: r["state"] for r in runs if r["run_type"] == "backfill"}


def test_the_nightly_dag_reproduces_the_vendors_bars_from_the_recorded_tape(
    stack: StackRun, shared_data: Path, record_property: pytest.RecordProperty
) -> None:
    stack.up_and_ready()
    state = read_state(stack.home, "simulator")
    assert state is not None
    api = AirflowApi(state.airflow_url, state.airflow_user, state.airflow_password)
    api.unpause(DAG)
    api.backfill(DAG, DAYS[0], DAYS[1], max_active_runs=2)
    ended = {"success", "failed"}
    wait_for(
        lambda: len(found := states(api)) == 2 and set(found.values()) <= ended, "two runs", 600
    )
    assert states(api) == {str(day): "success" for day in DAYS}

    lake = pl.scan_delta(str(stack.home / "data/simulator/lake/bars"))
    bars = lake.filter("observed").rename({"session": "date"}).collect()
    assert set(bars["date"].unique()) == {date(2013, 10, 7), date(2013, 10, 8)}
    compared = against_vendor(bars, shared_data)
    identical = compared.select(same(*PRICES, "volume").mean()).item()
    record_property("bars compared", len(compared))
    record_property("identical", f"{identical:.4f}")
    assert len(compared) == 3119
    assert identical >= 0.995
