"""A new model every week, put into service only where it deserves the place of the one before.

**Schedule.** Saturdays at 06:00 in New York: the week's last session has been published, and there
is time until Monday's open.

**Reads** the newest published sessions of the lake (`training.sessions`; all of them must be
there), and the model in service. The last 21 of those sessions take no part in training; on them
both are judged.

**Writes** the model file to object storage, the newest also to `results/last.ckpt`; what it was
made from, its figures and the decision to Postgres (schema `model`); TensorBoard's logs. Announces
the asset `model` when `evaluate` registered one, which sets off its backtest, and the asset
`champion` when `promote` put one into service, neither otherwise. It cannot trade.

**When it fails,** the model in service stays in service; the log's last line says why and what to
do. `window` fails when sessions are missing: backfill them, then clear it. A training that was
killed goes on where it stopped when `train` is cleared. The task `gate` tells the decision and the
reason; its button *Model* shows the figures.

**To run again,** clear the failed task, or trigger a run: it trains on the sessions up to a day
that you may choose. The same sessions, settings and seed give the same model. Without Airflow:
`alpaca-strategy train`; back to the model before: `alpaca-strategy rollback`.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task
from orchestration.assets import CHANGED_CHAMPION, NEW_MODEL, announce_champion, announce_model
from orchestration.defaults import DEFAULT_ARGS, TRAINING_QUEUE
from orchestration.links import with_model_page
from orchestration.sessions import DAY_PARAM, day_of


@task
def window() -> dict:
    """Choose the sessions to train on; fails when one of them is not published."""
    from alpaca_strategy.jobs import retrain

    return retrain.window(day_of(get_current_context()))


@task(queue=TRAINING_QUEUE, execution_timeout=timedelta(hours=12))
def train(sessions: dict) -> str:
    """Train a model, in a process of its own; killed, it goes on where it stopped."""
    from alpaca_strategy.jobs import retrain

    preset = get_current_context()["params"].get("preset")
    return retrain.train_apart(sessions, preset)


@task(
    queue=TRAINING_QUEUE,
    outlets=[NEW_MODEL],
    execution_timeout=timedelta(hours=2),
    multiple_outputs=False,
)
def evaluate(model: str) -> dict:
    """Judge it and two baselines on the sessions held out, and register it."""
    from alpaca_strategy.jobs import retrain

    return announce_model(get_current_context(), retrain.evaluate_apart(model))


@task(multiple_outputs=False)
def gate(evaluated: dict) -> dict:
    """Decide whether it takes the champion's place, and say why."""
    from alpaca_strategy.jobs import retrain

    return retrain.decide_apart(evaluated["model"])


@task.branch
def route(decided: dict) -> str | None:
    """Choose what follows from the decision: promotion, a person's approval, or nothing."""
    return {"promote": "promote", "ask": "approve"}.get(decided["next"])


@task(
    outlets=[CHANGED_CHAMPION], multiple_outputs=False, trigger_rule="none_failed_min_one_success"
)
def promote(decided: dict) -> dict:
    """Put the model into service."""
    from alpaca_strategy.jobs import retrain

    return announce_champion(get_current_context(), retrain.promote(decided))


@dag(
    schedule=CronTriggerTimetable("0 6 * * 6", timezone="America/New_York"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    params={
        "until": DAY_PARAM,
        "preset": Param(
            None,
            type=["null", "string"],
            enum=[None, "demo", "cpu", "full"],
            title="Preset",
            description="Size of the network. Empty: model.preset of the settings.",
        ),
    },
    tags=["model"],
    doc_md=__doc__,
)
def model_retrain_weekly() -> None:
    """Train, judge, and promote what is better."""
    decided = with_model_page(gate(evaluate(train(window()))))
    approve = ApprovalOperator(
        task_id="approve",
        subject="Shall {{ ti.xcom_pull('gate')['model'] }} take the champion's place?",
        body="{{ ti.xcom_pull('gate')['reason'] }}",
        defaults="Reject",
        response_timeout=timedelta(hours=36),
    )
    promoted = promote(decided)
    route(decided) >> [approve, promoted]
    approve >> promoted


model_retrain_weekly()
