"""What a run of a backtest is asked for, by a new model or by a person, and where it leads."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from orchestration.assets import MODEL, new_models

#: Below the web server's own address.
PAGES = "/alpaca/backtests/"
BACKTEST_LINK = "backtest_page"

_DAY = {"type": ["null", "string"], "format": "date"}
_COUNT = {"type": ["null", "integer"], "minimum": 1}

FORM = {
    "model": Param(
        None,
        type=["null", "string"],
        title="Model",
        description="A model's id. Empty: the model in service; walk-forward: each session by the "
        "newest model that had not seen it.",
    ),
    "first": Param(
        None,
        **_DAY,
        title="First session",
        description="Empty: the first that the model has not learned from.",
    ),
    "last": Param(
        None,
        **_DAY,
        title="Last session",
        description="Empty: the last published one.",
    ),
    "symbols": Param(
        None,
        type=["null", "string"],
        title="Symbols",
        description="Trade only these, as in TSLA, F. Empty: all that the model scores.",
    ),
    "in_sample": Param(
        default=False,
        type="boolean",
        title="In sample",
        description="Also over sessions that the model learned from; the report is marked so.",
    ),
    "top_k": Param(
        None,
        **_COUNT,
        title="Names a decision",
        description="Empty, here and below: as in the settings (strategy, costs).",
    ),
    "min_score": Param(
        None,
        type=["null", "number"],
        minimum=0,
        maximum=1,
        title="Least score",
        description="Below it no name is chosen.",
    ),
    "hold_minutes": Param(
        None,
        **_COUNT,
        title="Hold",
        description="Minutes after which a position is closed at the next decision.",
    ),
    "interval_minutes": Param(
        None,
        **_COUNT,
        title="Interval",
        description="Minutes between decisions.",
    ),
    "cost_bps": Param(
        None,
        type=["null", "number"],
        minimum=0,
        title="Cost",
        description="Half-spread and slippage together, of one side, in basis points.",
    ),
}


def forms_of(context: Any) -> list[dict[str, Any]]:
    """Return what a run is asked for, a form each; none where its models are all of backfills.

    A run that models set off backtests each of them by the settings. Any other is a person's.
    """
    events = (context.get("triggering_asset_events") or {}).get(MODEL) or []
    if not events:
        return [{name: context["params"].get(name) for name in FORM} | {"origin": "by_hand"}]
    return [{"model": model, "origin": "new_model"} for model in new_models(events)]


def lead_to_backtest(context: Any, done: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Have the task's button lead to a backtest's page; to that of all before there is one.

    Of a mapped task Airflow asks no link where it leads, but shows what was kept under its key.

    Args:
        context: The context of the task.
        done: What `alpaca_strategy.jobs.backtest.run` returned; None before it did.
    """
    context["ti"].xcom_push(BACKTEST_LINK, f"{PAGES}{done['id']}" if done else PAGES)
    return done
