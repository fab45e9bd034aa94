"""Run a job in an interpreter of its own, and take its answer or its error as one's own.

Airflow forks its tasks from a process that has run for long; PyTorch's threads do not survive a
fork. The child shares the task's process group, so that who ends the task ends the training; what
it logs is logged here again, so that it stands in the task's log as if it had happened here.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import structlog

from alpaca_strategy import errors
from alpaca_strategy.errors import AlpacaStrategyError, EnvironmentFaultError, TrainingError

log = structlog.get_logger(__name__)

_PATIENCE_S = 5


def run_apart(job: str, **arguments: Any) -> Any:
    """Return what a job returns.

    Args:
        job: ``module:function`` below `alpaca_strategy.jobs`.
        arguments: Its keyword arguments, JSON values.

    Raises:
        AlpacaStrategyError: The one that the job raised.
        EnvironmentFaultError: Its process was killed.
        TrainingError: It ended by a defect.
    """
    with tempfile.TemporaryDirectory(prefix="job-") as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", __name__, job, json.dumps(arguments), str(answer)]
        environment = {**os.environ, "ALPACA_STRATEGY_LOGGING__FORMAT": "json"}
        with subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child:
            try:
                for line in child.stdout or ():
                    _relay(line.rstrip())
            except BaseException:  # a time limit, say: what nobody waits for must not go on
                _end(child)
                raise
        status = child.returncode
        if not answer.exists():
            raise _death(job, status)
        said = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in said:
        raise getattr(errors, said["error"])(said["message"])
    return said["answer"]


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()


def _death(job: str, status: int) -> AlpacaStrategyError:
    if status >= 0:
        msg = f"{job} ended with status {status}, a defect of ours: its traceback stands above."
        return TrainingError(msg)
    msg = (
        f"The process of {job} was ended by signal {-status}; if memory ran out, ask for fewer "
        f"sessions or symbols, or a smaller model.preset, then run it again."
    )
    return EnvironmentFaultError(msg)


def _relay(line: str) -> None:
    """Log again what a child has logged; what is no log entry of ours is passed on as it is."""
    try:
        entry = json.loads(line)
        level, event = entry.pop("level"), entry.pop("event")
    except (ValueError, KeyError, AttributeError, TypeError):
        log.info("child_said", line=line)
        return
    entry.pop("timestamp", None)
    getattr(log, level, log.info)(event, **entry)


def _main(job: str, arguments: str, answer: str) -> int:
    from alpaca_strategy.config import load_settings
    from alpaca_strategy.logs import configure_logging

    said: dict[str, Any]
    try:
        configure_logging(load_settings().logging)
        module, function = job.split(":")
        call = getattr(importlib.import_module(f"alpaca_strategy.jobs.{module}"), function)
        said = {"answer": call(**json.loads(arguments))}
    except AlpacaStrategyError as error:
        said = {"error": type(error).__name__, "message": str(error)}
    Path(answer).write_text(json.dumps(said), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
