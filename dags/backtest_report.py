"""What the strategy would have earned and lost with a model, by two engines that must agree.

**Schedule.** Once for every model that `model_retrain_weekly` registers, whether it will serve or
not (the asset `model`); not for the models of a backfill. And by hand, with a form: which model,
sessions and symbols, and other parameters than those of the settings.

**Reads** the model, the published bars of the sessions that it has not learned from, and the
settings `strategy`, `costs` and `backtest`. Other sessions only where the form says so.

**Writes** the report to object storage, the newest also to `results/backtest_report.html`; then
its figures, every trade and what it came from to Postgres (schema `report`), all or nothing. It
cannot trade, and decides about no model.

**When it fails,** the log's last line says why and what to do. `plan` fails where sessions are
missing, or were learned from. `run` fails when the two engines differ: its report is kept and says
where; trust neither before that is explained. Its button *Backtest report* leads to the page.

**To run again,** clear the failed task: the same models, sessions, parameters and code are the same
backtest, which is kept once. Without Airflow: `alpaca-strategy backtest`.
"""

from datetime import timedelta

from airflow.sdk import dag, get_current_context, task
from orchestration.assets import MODEL
from orchestration.backtests import FORM, forms_of, lead_to_backtest
from orchestration.defaults import DEFAULT_ARGS, TRAINING_QUEUE
from orchestration.links import with_backtest_page


@task
def plan() -> list[dict]:
    """Settle what each backtest is about; none for a model that has its own already."""
    from alpaca_strategy.jobs import backtest

    return backtest.plan_all(forms_of(get_current_context()))


@task(
    queue=TRAINING_QUEUE,
    execution_timeout=timedelta(hours=4),
    multiple_outputs=False,
    map_index_template="{{ task.op_kwargs['planned']['model'] }}",
)
def run(planned: dict) -> dict:
    """Score, run both engines and write the report, in a process of its own."""
    from alpaca_strategy.jobs import backtest

    context = get_current_context()
    lead_to_backtest(context)
    return lead_to_backtest(context, backtest.run_apart(planned))


@dag(
    schedule=[MODEL],
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    params=FORM,
    tags=["model"],
    doc_md=__doc__,
)
def backtest_report() -> None:
    """Backtest a model and report on it."""
    with_backtest_page(run.expand(planned=plan()))


backtest_report()
