"""The nightly DAG in Airflow's own runner: real jobs, a real simulator, a real Postgres."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime
from typing import Any

import pytest
from airflow.models.asset import AssetEvent
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from alpaca_strategy.domain.market import Feed
from tests.integration.conftest import House, house, simulator  # noqa: F401 - fixtures

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("airflow_database")]

SESSION = "2026-11-19"
AFTER_CLOSE = datetime(2026, 11, 20, 1, 15, tzinfo=UTC)


def run(dagbag: Any, **conf: Any) -> tuple[str, dict[str, list[str]], Any]:
    """Run once as if triggered after the close; return its state and those of its tasks."""
    with warnings.catch_warnings():  # Airflow's runner uses what Airflow has deprecated
        warnings.simplefilter("ignore")
        done = dagbag.dags["market_data_nightly"].test(logical_date=AFTER_CLOSE, run_conf=conf)
        states: dict[str, list[str]] = {}
        for task in done.get_task_instances():
            states.setdefault(task.task_id, []).append(str(task.state))
    return str(done.state), states, done


def events() -> list[dict[str, Any]]:
    with create_session() as database:
        return [dict(event.extra) for event in database.scalars(select(AssetEvent))]


def xcom(done: Any, task_id: str, key: str) -> Any:
    with create_session() as database:
        query = XComModel.get_many(run_id=done.run_id, task_ids=task_id, key=key)
        found = database.execute(query.with_only_columns(XComModel.value)).first()
    return found and found[0]


def test_a_night_publishes_once_announces_once_and_may_be_repeated(
    dagbag,
    house: House,  # noqa: F811
) -> None:
    before = len(events())
    state, states, done = run(dagbag)
    assert state == "success"
    assert {task: set(found) for task, found in states.items()} == {
        task: {"success"}
        for task in ("plan", "chunk.fetch", "chunk.bars", "check", "publish", "corrections")
    }
    row = house.services.catalog.session(date.fromisoformat(SESSION), Feed.IEX)
    assert (row.status, row.revision, row.symbols_published) == ("published", 1, 6)
    assert events()[before:] == [{"session": SESSION, "revision": 1, "backfill": False}]
    assert f"/alpaca/quality/{SESSION}" in str(xcom(done, "check", "quality_report"))

    state, states, _ = run(dagbag)
    assert state == "success"
    assert states["publish"] == ["success"]
    assert states["corrections"] == ["success"]
    assert len(events()) == before + 1


def test_a_session_that_is_not_good_enough_fails_at_once_and_keeps_its_report(
    dagbag,
    house: House,  # noqa: F811
) -> None:
    for symbol in ("TSLA", "F", "NVDA"):
        house.simulator.damage("missing_symbol", symbol, SESSION)
    before = len(events())
    state, states, done = run(dagbag)
    assert state == "failed"
    assert states["check"] == ["failed"]  # not up for retry: the data will not change by waiting
    assert states["publish"] == ["upstream_failed"]
    assert len(events()) == before
    assert f"/alpaca/quality/{SESSION}" in str(xcom(done, "check", "quality_report"))
    assert house.services.catalog.quality_runs(date.fromisoformat(SESSION), Feed.IEX)[-1].report_uri
