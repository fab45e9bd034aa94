"""What is true of every DAG, and the shape of each."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.serialization.serialized_objects import DagSerialization
from orchestration.defaults import RETRY_POLICY
from orchestration.notifications import report_failure

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
SHARED = sorted((ROOT / "dags" / "orchestration").glob("*.py"))
HEAVY = {
    "torch", "pandas", "polars", "numpy", "great_expectations", "numba", "deltalake", "pyarrow",
    "alpaca", "backtrader", "pytorch_lightning", "lightgbm", "sklearn", "scipy",
}  # fmt: skip

#: Task -> what follows it. A change here is a change of what a night does.
EDGES = {
    "backtest_report": {"plan": {"run"}, "run": set()},
    "lake_maintenance_weekly": {"maintain": set()},
    "market_data_nightly": {
        "plan": {"chunk.fetch", "chunk.bars"},  # the chunks are mapped over
        "chunk.fetch": {"chunk.bars"},
        "chunk.bars": {"check"},
        "check": {"publish"},
        "publish": {"corrections"},
        "corrections": set(),
    },
    "model_retrain_weekly": {
        "window": {"train"},
        "train": {"evaluate"},
        "evaluate": {"gate"},
        "gate": {"route", "promote"},
        "route": {"approve", "promote"},
        "approve": {"promote"},
        "promote": set(),
    },
}

#: Parses all DAG files in a process of its own and tells what that loaded, what came out and what
#: is read back from it. (Airflow switches operator links off for a whole process when a test runs
#: its scheduler's code, so what the API server would show can only be asked of a fresh one.)
PROBE = """
import hashlib, json, logging, sys
logging.disable(logging.CRITICAL)
import airflow.sdk
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.providers.standard.decorators import python
from airflow.serialization.serialized_objects import DagSerialization
bare = set(sys.modules)
bag = BundleDagBag(sys.argv[1], bundle_path=sys.argv[1])
from airflow.plugins_manager import ensure_plugins_loaded, get_plugin_info
ensure_plugins_loaded()
out = {i: json.dumps(DagSerialization.to_dict(d), sort_keys=True) for i, d in bag.dags.items()}
loaded = set(sys.modules) - bare
back = {i: DagSerialization.from_dict(json.loads(text)) for i, text in out.items()}
print(json.dumps({
    "loaded": sorted({m.partition(".")[0] for m in loaded}),
    "package": sorted(m for m in loaded if m.startswith("alpaca_strategy")),
    "plugins": sorted(p["name"] for p in get_plugin_info()),
    "errors": bag.import_errors,
    "dags": out,
    "timetables": {i: d.timetable.summary for i, d in back.items()},
    "buttons": {
        f"{i}.{t.task_id}": [link.name for link in t.operator_extra_links]
        for i, d in back.items() for t in d.tasks
    },
}))
"""


@pytest.fixture(scope="module")
def probe() -> dict:
    environment = {**os.environ, "PYTHONHASHSEED": "1234", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE, str(ROOT / "dags")],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=[file.stem for file in FILES])
def dag(request, dagbag):
    return dagbag.dags[request.param]


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(node: ast.AST) -> set[str]:
    """Return the modules that the statements below a node import."""
    names: set[str] = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            names |= {alias.name for alias in child.names}
        elif isinstance(child, ast.ImportFrom):
            names.add(child.module or "")
    return names


def test_every_file_parses_and_has_one_dag_of_its_name(dagbag):
    assert dagbag.import_errors == {}
    assert {dag_id: Path(dag.fileloc).stem for dag_id, dag in dagbag.dags.items()} == {
        file.stem: file.stem for file in FILES
    }


def test_the_tasks_follow_each_other_as_written_here(dagbag):
    assert {
        dag_id: {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}
        for dag_id, dag in dagbag.dags.items()
    } == EDGES


def test_it_explains_itself_to_who_is_woken_up(dag):
    for word in (
        "**Schedule.**",
        "**Reads**",
        "**Writes**",
        "**When it fails,**",
        "**To run again,",
    ):
        assert word in dag.doc_md
    assert dag.tags
    assert not dag.catchup
    assert dag.max_active_runs <= 4


def test_every_task_has_the_defaults(dag):
    pools = {"default_pool", *json.loads((ROOT / "include" / "pools.json").read_text())}
    for task in dag.tasks:
        kwargs = getattr(task, "partial_kwargs", {})

        def value(name, task=task, kwargs=kwargs):
            return kwargs.get(name) or getattr(task, name)

        assert value("owner") == "alpaca-strategy"
        assert value("retries") >= 1
        assert value("retry_exponential_backoff")
        assert value("max_retry_delay")
        assert value("execution_timeout")
        assert value("retry_policy") is RETRY_POLICY
        assert value("pool") in pools
        callbacks = value("on_failure_callback")
        assert report_failure in (callbacks if isinstance(callbacks, list | tuple) else [callbacks])


def test_a_run_by_hand_needs_no_answer_to_any_question(dag):
    for name in dag.params:
        param = dag.params.get_param(name)
        param.resolve()  # the default satisfies its own schema
        assert param.schema.get("title")
        assert param.description


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dag_file_is_short_and_imports_jobs_only_inside_tasks(file):
    tree = tree_of(file)
    code = ast.unparse(ast.Module(tree.body[1:], []))
    assert len([line for line in code.splitlines() if line.strip()]) <= 80
    outside = {name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
               for name in imported(node)}  # fmt: skip
    approval = "airflow.providers.standard.operators.hitl"  # airflow.sdk does not offer it
    allowed = ("airflow.sdk", "orchestration", "session_timetable", approval)
    assert all(n.startswith(allowed) or n in sys.stdlib_module_names for n in outside), outside
    inside = imported(tree) - outside
    assert inside <= {"alpaca_strategy.jobs"}, inside


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_task_is_one_call_of_a_job(file):
    for function in tree_of(file).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        jobs = {alias.asname or alias.name for node in ast.walk(function)
                if isinstance(node, ast.ImportFrom) for alias in node.names}  # fmt: skip
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)
                 and isinstance(node.func, ast.Attribute)
                 and getattr(node.func.value, "id", None) in jobs]  # fmt: skip
        assert len(calls) == len(jobs), f"{function.name} calls {len(calls)} of {jobs}"


@pytest.mark.parametrize("file", [*FILES, *SHARED], ids=lambda file: file.stem)
def test_nothing_makes_two_parses_differ(file):
    tree = tree_of(file)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}
    assert not names & {
        "now",
        "today",
        "utcnow",
        "random",
        "uuid4",
        "Variable",
        "environ",
        "getenv",
    }


def test_parsing_and_plugins_load_nothing_heavy(probe):
    assert not HEAVY & set(probe["loaded"])
    assert not [m for m in probe["package"] if m.startswith("alpaca_strategy.bootstrap")]
    assert probe["errors"] == {}
    assert {"alpaca_console", "alpaca_session_timetable"} <= set(probe["plugins"])


def test_two_parses_in_different_processes_serialise_alike(dagbag, probe):
    assert {
        dag_id: json.dumps(DagSerialization.to_dict(dag), sort_keys=True)
        for dag_id, dag in dagbag.dags.items()
    } == probe["dags"]


def test_what_was_serialised_comes_back_with_its_timetable_and_button(probe):
    assert probe["timetables"]["market_data_nightly"] == "XNYS 4 h 15 min after the close"
    assert probe["buttons"]["market_data_nightly.check"] == ["Quality report"]
    assert probe["buttons"]["market_data_nightly.plan"] == []
    assert probe["buttons"]["backtest_report.run"] == ["Backtest report"]


def test_it_runs_without_being_switched_on_because_it_only_handles_data(dagbag):
    assert dagbag.dags["market_data_nightly"].is_paused_upon_creation is False


@pytest.mark.parametrize(
    ("alias", "producer"),
    [
        ("changed bars", ("market_data_nightly", "publish")),
        ("new model", ("model_retrain_weekly", "evaluate")),
        ("changed champion", ("model_retrain_weekly", "promote")),
    ],
)
def test_an_asset_has_one_producer(dagbag, alias, producer):
    producers = {
        (dag_id, task.task_id)
        for dag_id, dag in dagbag.dags.items()
        for task in dag.tasks
        if any(getattr(outlet, "name", None) == alias for outlet in task.outlets)
    }
    assert producers == {producer}


def test_a_new_model_sets_off_its_backtest_and_nothing_else_does(dagbag):
    listens = {
        dag_id: {asset.name for asset in condition.objects}
        for dag_id, dag in dagbag.dags.items()
        if (condition := getattr(dag.timetable, "asset_condition", None))
    }
    assert listens == {"backtest_report": {"model"}}
