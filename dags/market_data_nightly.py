"""One exchange session: fetch its trades, build minute bars, check them, publish what is good.

**Schedule.** Once a session of the New York Stock Exchange, 4 h 15 min after its close: 20:15 in
New York, 17:15 on half-days. On both, late trading ends 4 h after the close and late reports with
it; a quarter of an hour is how long a free account must wait for recent trades.

**Reads** Alpaca's trades and corporate actions (pool `alpaca_api`: all share one request limit).

**Writes** the staging area; the lake's tables `trades`, `bars` and `corporate_actions`; the quality
report; last of all the session's row in Postgres, which makes it visible. Announces the asset
`bars` when `publish` made a session visible or changed it, never otherwise (`corrections` does not
announce); the events of a backfill say so and set off no training. It cannot trade.

**When it fails,** the log's last line says why and what to do. `check` fails when fewer than 90 %
of the symbols are good: its button *Quality report* shows what was seen; nothing is published, and
what was published before stays. A venue that is down, or another run busy with the same session, is
tried again for half an hour and more. Wrong keys are not: correct `.env`, then clear the task.

**To run again,** clear the failed task, or trigger a run and give it a session. Every step may be
repeated: what is fetched is skipped, equal content changes nothing, and
*Rewrite* fetches anew. Many sessions: *Trigger → Backfill*, or `airflow backfill create`; without
Airflow `alpaca-strategy backfill`.
"""

from datetime import timedelta

from airflow.sdk import Param, chain, dag, get_current_context, task, task_group
from orchestration.assets import CHANGED_BARS, announce_bars
from orchestration.defaults import DEFAULT_ARGS, VENUE_POOL, again_while_symbols_fail
from orchestration.links import with_quality_report
from orchestration.sessions import SESSION_PARAM, is_backfill, session_of
from session_timetable import SessionTimetable


@task
def plan() -> list[list[str]]:
    """Split the universe into chunks of symbols."""
    from alpaca_strategy.jobs import market_data

    return market_data.plan(session_of(get_current_context()))["chunks"]


@task(pool=VENUE_POOL, execution_timeout=timedelta(hours=3), multiple_outputs=False)
def fetch(symbols: list[str]) -> dict:
    """Fetch a chunk's trades; what is there already is skipped."""
    from alpaca_strategy.jobs import market_data

    context = get_current_context()
    rewrite = bool(context["params"].get("rewrite"))
    done = market_data.fetch(session_of(context), symbols, rewrite=rewrite)
    return again_while_symbols_fail(context, done)


@task(multiple_outputs=False)
def bars(symbols: list[str]) -> dict:
    """Build a chunk's minute bars from its trades."""
    from alpaca_strategy.jobs import market_data

    return market_data.build_bars(session_of(get_current_context()), symbols)


@task_group
def chunk(symbols: list[str]) -> None:
    """One chunk of symbols, which does not wait for the others."""
    fetch(symbols) >> bars(symbols)


@task(multiple_outputs=False)
def check() -> dict:
    """Judge the session; fails when too few symbols are good."""
    from alpaca_strategy.jobs import market_data

    return market_data.check(session_of(get_current_context()))


@task(outlets=[CHANGED_BARS], multiple_outputs=False)
def publish() -> dict:
    """Make the good symbols visible; announced only where something changed."""
    from alpaca_strategy.jobs import market_data

    context = get_current_context()
    return announce_bars(context, market_data.publish(session_of(context)))


@task(pool=VENUE_POOL, multiple_outputs=False)
def corrections() -> dict:
    """Fetch the sessions before once more, and publish those whose tape was corrected."""
    from alpaca_strategy.jobs import market_data

    context = get_current_context()
    if is_backfill(context):
        return {"republished": []}  # a backfill fetches each of its sessions already
    return market_data.corrections(session_of(context))


@dag(
    schedule=SessionTimetable("close", offset_minutes=4 * 60 + 15),
    catchup=False,
    max_active_runs=2,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    params={
        "session": SESSION_PARAM,
        "rewrite": Param(
            default=False,
            type="boolean",
            title="Rewrite",
            description="Fetch anew what is there already.",
        ),
    },
    tags=["market data"],
    doc_md=__doc__,
)
def market_data_nightly() -> None:
    """Fetch, check and publish one session."""
    chain(chunk.expand(symbols=plan()), with_quality_report(check()), publish(), corrections())


market_data_nightly()
