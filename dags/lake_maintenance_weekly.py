"""Keep the lake small and quick: compact it, drop what nobody pins, apply the tape's retention.

**Schedule.** Sundays at 06:00 in New York, when the exchange is closed and no run publishes.

**Reads** Postgres: which files published sessions and models pin, which backtests there are.

**Writes** the lake's tables. Raw trades of all but the newest `data.keep_tape_sessions` sessions
are dropped (0, the default, keeps all); files that took no part in a published session for
`storage.keep_versions_days` days are deleted, as are reports of backtests that were killed before
they were recorded. Bars and all other reports stay; no reader is disturbed.

**When it fails,** the log's last line says why; a damaged file is named with the command that
mends it. Nothing is lost: what was not tidied is tidied next week.

**To run again,** clear the task or trigger the DAG, as often as you like; without Airflow
`alpaca-strategy maintain`.
"""

from airflow.sdk import CronTriggerTimetable, dag, task
from orchestration.defaults import DEFAULT_ARGS


@task
def maintain() -> str:
    """Tidy the lake and say what was done."""
    from alpaca_strategy.jobs import lake

    return lake.maintain()


@dag(
    schedule=CronTriggerTimetable("0 6 * * 0", timezone="America/New_York"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    tags=["market data"],
    doc_md=__doc__,
)
def lake_maintenance_weekly() -> None:
    """Tidy the lake."""
    maintain()


lake_maintenance_weekly()
