"""What is said when a task has failed for good."""

from __future__ import annotations

from typing import Any

import structlog

from alpaca_strategy.errors import AlpacaStrategyError

log = structlog.get_logger("alpaca_strategy.dags")


def report_failure(context: dict[str, Any]) -> None:
    """Log which task failed, for which session and why, and what to do about it.

    An error of ours explains itself in a sentence that ends with what to do; any other is a defect
    and is told with its type.
    """
    task, error = context["ti"], context.get("exception")
    known = isinstance(error, AlpacaStrategyError)
    log.error(
        "task_failed",
        dag_id=task.dag_id,
        run_id=task.run_id,
        task_id=task.task_id,
        map_index=task.map_index,
        attempt=task.try_number,
        kind=type(error).__name__,
        reason=" ".join(str(error).split()) or "no message",
        advice=(
            "do what the reason says, then clear the failed task"
            if known
            else "a defect: read the traceback above, mend it, then clear the failed task"
        ),
    )
