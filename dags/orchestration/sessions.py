"""Which session a run is about."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

_NEW_YORK = ZoneInfo("America/New_York")

SESSION_PARAM = Param(
    None,
    type=["null", "string"],
    format="date",
    title="Session",
    description="Day of the exchange session. Empty: the run's own, the latest that is over.",
)


DAY_PARAM = Param(
    None,
    type=["null", "string"],
    format="date",
    title="Until",
    description="Last day of the sessions to train on. Empty: the latest that is over.",
)


def day_of(context: Any) -> str:
    """Return the last day that a run may know of: the one asked for, else that of the run itself.

    A backfilled or scheduled run looks no further than its own date, however late it runs.
    """
    run, asked = context["dag_run"], context["params"].get("until")
    moment = run.logical_date or run.run_after
    return str(asked or moment.astimezone(_NEW_YORK).date())


def session_of(context: Any) -> str:
    """Return the day of the run's session: the one asked for, else that of the run's own interval.

    A run's interval begins when its session opens; the day is the exchange's, not that of UTC. A
    run that was triggered without a logical date has no interval: the timetable says which.

    Raises:
        AirflowFailException: A backfill was given a session, which all of its runs would do again.
    """
    run, asked = context["dag_run"], context["params"].get("session")
    if asked and is_backfill(context):
        msg = f"This backfill asks for session {asked} in every run; leave the session empty."
        raise AirflowFailException(msg)
    if asked:
        return str(asked)
    opens_at = run.data_interval_start
    if opens_at is None:
        timetable = context["dag"].timetable
        opens_at = timetable.infer_manual_data_interval(run_after=run.run_after).start
    return str(opens_at.astimezone(_NEW_YORK).date())


def is_backfill(context: Any) -> bool:
    """Return whether the run belongs to a backfill."""
    return bool(context["dag_run"].run_type == "backfill")  # a str enum, or its text
