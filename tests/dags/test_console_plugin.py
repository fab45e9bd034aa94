"""The console as Airflow's web server mounts it: behind the login, and found from a run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import delete

from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import load_settings

with warnings.catch_warnings():  # starlette asks for httpx2, which Airflow's client does not take
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    from starlette.testclient import TestClient

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NIGHTLY = "market_data_nightly"


@pytest.fixture(scope="module")
def airflow(airflow_database) -> Iterator[TestClient]:
    """Start Airflow's API with our plugins, and log nobody in."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    with warnings.catch_warnings():  # routes of Airflow's own that it has deprecated
        warnings.simplefilter("ignore")
        with TestClient(create_app(apps="core"), follow_redirects=False) as client:
            yield client
    purge_cached_app()


@pytest.fixture
def login(airflow) -> dict[str, str]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    user = SimpleAuthManagerUser(username="somebody", role="viewer")
    return {"Authorization": f"Bearer {get_auth_manager().generate_jwt(user)}"}


@pytest.fixture
def no_stack(home, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", "postgresql://u@127.0.0.1:1/none")
    load_settings.cache_clear()
    services.cache_clear()
    yield
    services.cache_clear()


@pytest.fixture
def dag_run() -> Iterator[object]:
    """Return a function that records a run."""

    def record(
        run_id: str, opens_at: datetime | None, run_after: datetime, conf: dict | None = None
    ) -> None:
        interval = opens_at and (opens_at, opens_at.replace(hour=21))
        with create_session() as database:
            database.add(
                DagRun(
                    dag_id=NIGHTLY,
                    run_id=run_id,
                    run_type=DagRunType.MANUAL,
                    logical_date=opens_at,
                    data_interval=interval,
                    run_after=run_after,
                    conf=conf or {},
                    state=DagRunState.SUCCESS,
                    triggered_by=DagRunTriggeredByType.TEST,
                )
            )

    yield record
    with create_session() as database:
        database.execute(delete(DagRun).where(DagRun.run_id.startswith("test__")))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/sessions/2025-11-21",
        "/quality/2025-11-21",
        f"/runs/{NIGHTLY}/x",
        "/models",
        "/models/",
        "/models/2026-11-21-1a2b3c4d",
        "/backtests",
        "/backtests/",
        "/backtests/2026-11-21-1a2b3c4d",
        "/backtests/2026-11-21-1a2b3c4d/report",
        "/backtests/2026-11-21-1a2b3c4d/trades.csv",
    ],
)
def test_nobody_reads_a_page_without_a_login(airflow, path):
    assert airflow.get(f"/alpaca{path}").status_code == 401


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_no_page_slips_past_the_login(airflow, path):
    assert airflow.get(f"/alpaca{path}").status_code == 404


def test_a_viewer_reads_the_console_and_learns_that_the_database_is_down(airflow, login, no_stack):
    answer = airflow.get("/alpaca/", headers=login)
    assert answer.status_code == 503
    assert "Postgres at 127.0.0.1:1/none does not answer" in answer.text
    assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]


RUN_AFTER = datetime(2026, 11, 21, 1, 15, tzinfo=UTC)  # Friday evening in New York


@pytest.mark.parametrize(
    ("opens_at", "conf", "session"),
    [
        (datetime(2026, 11, 20, 14, 30, tzinfo=UTC), {}, "2026-11-20"),
        (datetime(2026, 11, 20, 14, 30, tzinfo=UTC), {"session": "2013-10-07"}, "2013-10-07"),
        (datetime(2026, 11, 20, 14, 30, tzinfo=UTC), {"session": "//x/y"}, "%2F%2Fx%2Fy"),
        (None, {}, "2026-11-20"),
    ],
)
def test_a_runs_tab_leads_to_the_report_of_its_session(
    airflow, login, dag_run, opens_at, conf, session
):
    dag_run("test__2026-11-21T01:15:00+00:00", opens_at, RUN_AFTER, conf)
    path = f"/alpaca/runs/{NIGHTLY}/test__2026-11-21T01%3A15%3A00%2B00%3A00"
    answer = airflow.get(path, headers=login)
    assert answer.headers["Location"] == f"/alpaca/quality/{session}"


@pytest.mark.parametrize("run", [f"{NIGHTLY}/none_such", "another_dag/scheduled__2026-11-20"])
def test_a_run_without_a_report_says_so(airflow, login, run):
    answer = airflow.get(f"/alpaca/runs/{run}", headers=login)
    assert answer.status_code == 404
    assert NIGHTLY in answer.text


def test_the_ui_is_told_where_the_console_appears(airflow, login):
    admin_only = airflow.get("/api/v2/plugins", headers=login)
    assert admin_only.status_code == 200
    views = {
        view["name"]: (view["destination"], view["href"])
        for plugin in admin_only.json()["plugins"]
        for view in plugin["external_views"]
    }
    assert views["Alpaca"] == ("nav", "/alpaca/")
    assert views["Data quality"] == ("dag_run", "/alpaca/runs/{DAG_ID}/{RUN_ID}")
