"""Mounts the web console in Airflow's UI, behind Airflow's own login.

Every Airflow process loads its plugins, also those that serve nothing; so everything but names is
imported when the first page is asked for.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/alpaca"
NIGHTLY = "market_data_nightly"


class LazyConsole:
    """The console as an ASGI application, put together on the first request."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        app = await asyncio.to_thread(_console)  # the imports would hold up every other request
        await app(scope, receive, send)


@cache
def _console() -> Any:
    from airflow.api_fastapi.auth.managers.models.resource_details import (  # noqa: PLC0415
        AccessView,
    )
    from airflow.api_fastapi.core_api.security import requires_access_view  # noqa: PLC0415
    from fastapi import Depends, Request  # noqa: PLC0415

    from alpaca_strategy.console.app import create_app  # noqa: PLC0415

    # Airflow does not ask for a login on behalf of a plugin.
    app = create_app(dependencies=[Depends(requires_access_view(AccessView.PLUGINS))])

    def report(request: Request, dag_id: str, run_id: str) -> Any:
        return report_of_run(request, dag_id, run_id)

    report.__annotations__["request"] = Request
    app.get("/runs/{dag_id}/{run_id:path}")(report)
    return app


def report_of_run(request: Any, dag_id: str, run_id: str) -> Any:
    """Lead from a DAG run to the report of its session."""
    from urllib.parse import quote  # noqa: PLC0415

    from fastapi.responses import PlainTextResponse, RedirectResponse  # noqa: PLC0415

    session = _session_of_run(dag_id, run_id) if dag_id == NIGHTLY else None
    if session is None:
        return PlainTextResponse(f"Only runs of {NIGHTLY} have a quality report.", status_code=404)
    return RedirectResponse(f"{request.scope['root_path']}/quality/{quote(session, safe='')}")


def _session_of_run(dag_id: str, run_id: str) -> str | None:
    from airflow.models.dagrun import DagRun  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415
    from session_timetable import SessionTimetable  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415

    with create_session() as database:
        run = database.scalar(select(DagRun).filter_by(dag_id=dag_id, run_id=run_id))
        if run is None:
            return None
        asked = (run.conf or {}).get("session")
        opens_at, run_after = run.data_interval_start, run.run_after
    if asked:
        return str(asked)
    if opens_at is None:  # triggered without a logical date
        opens_at = SessionTimetable("close").infer_manual_data_interval(run_after=run_after).start
    return str(opens_at.date())  # sessions open in the UTC day that is theirs


class ConsolePlugin(AirflowPlugin):
    """Registers the console and where it appears."""

    name = "alpaca_console"
    fastapi_apps = [  # noqa: RUF012 - Airflow's own form, here and below
        {"app": LazyConsole(), "url_prefix": PREFIX, "name": "alpaca-console"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Alpaca",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "url_route": "alpaca",
            "nav_top_level": True,
        },
        {
            "name": "Data quality",
            "href": f"{PREFIX}/runs/{{DAG_ID}}/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "data-quality",
        },
    ]
