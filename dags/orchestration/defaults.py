"""Defaults of every task: who owns it, when it is tried again, and how long it may take."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, conf

from alpaca_strategy import errors
from orchestration.notifications import report_failure

#: Tasks that ask the venue for data; its size is in include/pools.json.
VENUE_POOL = "alpaca_api"

#: Where trainings run: AIRFLOW__ALPACA_STRATEGY__TRAINING_QUEUE=gpu sends them to workers that have
#: one, and that listen on it; the local executor has one queue only.
TRAINING_QUEUE = conf.get("alpaca_strategy", "training_queue", fallback="default")

#: By cause: what time can heal is tried again, what a person must change fails at once.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[
                errors.UserError,
                errors.CredentialsError,
                errors.EntitlementError,
                errors.QualityError,
                errors.DamagedFileError,
                errors.LateTradeError,
                errors.TrainingError,
                errors.TooFewSessionsError,
                errors.ModelRefusedError,
                errors.EnginesDisagreeError,
                errors.SupersededError,  # before BusyError, which it is one of
            ],
            action=RetryAction.FAIL,
            reason="another attempt would meet the same; a person must change something",
        ),
        RetryRule(
            exception=errors.RateLimitedError,
            action=RetryAction.RETRY,
            retry_delay=timedelta(minutes=5),
            reason="the venue's limit is counted by the minute, and others ask too",
        ),
        RetryRule(
            exception=[
                errors.VenueUnavailableError,
                errors.ServiceUnavailableError,
                errors.BusyError,
            ],
            action=RetryAction.RETRY,
            reason="it may be back, or free, in a while",
        ),
    ],
)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "alpaca-strategy",
    "retries": 5,  # after 1, 2, 4, 8 and 16 minutes: half an hour in all
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=20),
    "retry_policy": RETRY_POLICY,
    "execution_timeout": timedelta(hours=1),
    "on_failure_callback": report_failure,
}


def again_while_symbols_fail(context: Any, fetched: dict[str, Any]) -> dict[str, Any]:
    """Return what a fetch came to, or have it tried again for the symbols that failed.

    The next attempt skips what is there already. Where it would meet the same, as for an unknown
    symbol, and after the last one, the session goes on without those symbols, and the quality gate
    decides whether enough remain.

    Raises:
        VenueUnavailableError: Symbols failed that another attempt may get, and one is left.
    """
    failed, task = fetched["failed"], context["ti"]
    if fetched["transient"] and task.try_number <= task.max_tries:
        first = next(iter(failed.values()))
        msg = f"{len(failed)} symbols were not fetched: {', '.join(failed)} ({first})."
        raise errors.VenueUnavailableError(msg)
    return fetched
