"""The few calls of Airflow's REST API that bringing it up needs."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import date
from pathlib import Path
from typing import Any

from alpaca_strategy.errors import ServiceUnavailableError

#: Straight to our own port: a proxy of the environment is not for this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_UNREACHABLE = (OSError, http.client.HTTPException, ValueError)


def answers(url: str) -> bool:
    """Tell whether a page of our own machine can be had."""
    try:
        with _OPENER.open(url, timeout=2):
            return True
    except _UNREACHABLE:
        return False


class AirflowApi:
    """Airflow's REST API, as the admin of the stack."""

    def __init__(self, url: str, user: str, password: str, *, timeout_s: float = 20) -> None:
        self._url, self._user, self._password = url, user, password
        self._timeout_s = timeout_s
        self._token: str | None = None

    def health(self) -> dict[str, str]:
        """Return the status of each component; empty while the API does not answer."""
        try:
            answer = self._send("GET", "/api/v2/monitor/health")
            return {name: str(part.get("status")) for name, part in answer.items()}
        except (*_UNREACHABLE, AttributeError):
            return {}

    def import_pools(self, file: Path) -> None:
        """Create the pools of a file, or set them to what it says."""
        pools = json.loads(file.read_text(encoding="utf-8"))
        entities = [
            {"name": name, "include_deferred": False, "description": "", **pool}
            for name, pool in pools.items()
        ]
        action = {"action": "create", "action_on_existence": "overwrite", "entities": entities}
        answer = self._request("PATCH", "/api/v2/pools", {"actions": [action]})
        if errors := answer.get("create", {}).get("errors"):
            msg = f"Airflow refuses the pools of {file}: {errors}."
            raise ServiceUnavailableError(msg)

    def dag_ids(self) -> set[str]:
        """Return the DAGs that have been read, active ones only."""
        answer = self._request("GET", "/api/v2/dags?limit=100&exclude_stale=true")
        return {dag["dag_id"] for dag in answer["dags"]}

    def import_errors(self) -> dict[str, str]:
        """Return the last line of the error of each DAG file that cannot be read."""
        answer = self._request("GET", "/api/v2/importErrors?limit=100")
        return {
            Path(item["filename"]).name: item["stack_trace"].strip().splitlines()[-1]
            for item in answer["import_errors"]
        }

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run on its schedule."""
        self._request("PATCH", f"/api/v2/dags/{dag_id}?update_mask=is_paused", {"is_paused": False})

    def backfill(self, dag_id: str, first: date, last: date, *, max_active_runs: int) -> None:
        """Run a DAG for every interval of a range of days that has no run yet."""
        body = {
            "dag_id": dag_id,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T23:59:59Z",
            "reprocess_behavior": "none",
            "max_active_runs": max_active_runs,
            "run_backwards": False,
            "dag_run_conf": {},
        }
        self._request("POST", "/api/v2/backfills", body)

    def trigger(self, dag_id: str) -> str:
        """Start a run by hand; return its id."""
        body: dict[str, Any] = {"logical_date": None, "conf": {}}
        return str(self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def newest_run(self, dag_id: str) -> str | None:
        """Return the id of the run that was started last, if there is one."""
        runs = self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns?limit=1&order_by=-run_after")
        return next((str(run["dag_run_id"]) for run in runs["dag_runs"]), None)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success or failed."""
        run = urllib.parse.quote(run_id, safe="")
        return str(self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run}")["state"])

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            if self._token is None:
                login = {"username": self._user, "password": self._password}
                self._token = str(self._send("POST", "/auth/token", login)["access_token"])
            return self._send(method, path, body)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:300]
            msg = f"Airflow answers {error.code} to {method} {path}: {said}"
            raise ServiceUnavailableError(msg) from error
        except _UNREACHABLE as error:
            msg = f"Airflow does not answer {method} {path}: {error}."
            raise ServiceUnavailableError(msg) from error

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(  # noqa: S310 - always our own http address
            self._url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
            method=method,
        )
        with _OPENER.open(request, timeout=self._timeout_s) as response:
            text = response.read()
        return json.loads(text) if text else {}
