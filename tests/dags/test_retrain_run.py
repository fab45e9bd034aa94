"""The weekly DAG in Airflow's own runner: real jobs in processes of their own, a real Postgres."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.utils.session import create_session
from sqlalchemy import select

from alpaca_strategy.bootstrap import services
from alpaca_strategy.domain.market import Feed, Venue
from tests.integration.test_retrain import LAST, filled  # noqa: F401 - a fixture

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("airflow_database")]

SATURDAY = datetime(2024, 2, 24, 11, 0, tzinfo=UTC)


def run(dagbag: Any) -> tuple[str, dict[str, str]]:
    with warnings.catch_warnings():  # Airflow's runner uses what Airflow has deprecated
        warnings.simplefilter("ignore")
        done = dagbag.dags["model_retrain_weekly"].test(logical_date=SATURDAY)
        states = {task.task_id: str(task.state) for task in done.get_task_instances()}
    return str(done.state), states


def announced(asset: str) -> list[str]:
    """Return the models of all events of an asset, oldest first."""
    query = select(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
    with create_session() as database:
        events = database.scalars(query.where(AssetModel.name == asset).order_by(AssetEvent.id))
        return [dict(event.extra)["model"] for event in events]


@pytest.mark.timeout(600)
def test_a_saturday_trains_judges_promotes_and_announces_and_may_be_repeated(
    dagbag: Any,
    filled: Path,  # noqa: F811
) -> None:
    state, states = run(dagbag)
    assert state == "success"
    assert states == {
        "window": "success",
        "train": "success",
        "evaluate": "success",
        "gate": "success",
        "route": "success",
        "approve": "skipped",
        "promote": "success",
    }
    registry = services().registry
    champion = registry.champion(Venue.SIMULATOR, Feed.IEX)
    assert champion is not None
    assert registry.version(champion.version).holdout[-1] == LAST
    assert announced("champion") == announced("model") == [champion.version]

    state, states = run(dagbag)
    assert state == "success"
    assert (states["gate"], states["promote"]) == ("success", "skipped")
    assert announced("champion") == announced("model") == [champion.version]
    assert len(registry.versions()) == 1
