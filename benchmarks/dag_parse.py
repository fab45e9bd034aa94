"""Parse every DAG file as the DAG processor does, each time in a process of its own.

    python benchmarks/dag_parse.py [--json] [--runs 5]

The DAG processor forks a process that has imported Airflow already, so that is the state in which
the clock starts: what is measured is the file, what it imports, and our plugins. The goal is ours;
the peer is a file with an empty DAG.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOAL_S = 2.0
EMPTY = "from airflow.sdk import DAG\n\ndag = DAG('empty', schedule=None)\n"
PROBE = """
import json, logging, sys, time
logging.disable(logging.CRITICAL)
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.decorators import python
sys.path.append(sys.argv[1])
began = time.perf_counter()
bag = DagBag(sys.argv[2], bundle_path=sys.argv[1])
took = time.perf_counter() - began
assert not bag.import_errors, bag.import_errors
assert len(bag.dags) == 1, list(bag.dags)
print(json.dumps(took))
"""


def parse_s(folder: Path, file: Path, home: str) -> float:
    """Return the seconds that one parse of a file took."""
    environment = os.environ | {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE, str(folder), str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise SystemExit(f"{file} does not parse:\n{done.stderr[-3000:]}")
    return float(done.stdout.splitlines()[-1])


def figures(runs: int) -> list[dict[str, object]]:
    """Return a figure for each DAG file, files and runs in turn."""
    with tempfile.TemporaryDirectory() as home:
        empty = Path(home) / "bundle" / "empty.py"
        empty.parent.mkdir()
        empty.write_text(EMPTY)
        files = [empty, *sorted((ROOT / "dags").glob("*.py"))]
        times: dict[Path, list[float]] = {file: [] for file in files}
        for _ in range(runs):
            for file in files:
                times[file].append(parse_s(file.parent, file, home))
    peer = statistics.median(times.pop(empty))
    found: list[dict[str, object]] = []
    for file, seconds in times.items():
        value = statistics.median(seconds)
        found.append(
            {
                "name": f"parse {file.name}",
                "value": round(value, 3),
                "unit": "s",
                "peer": "an empty DAG",
                "peer_value": round(peer, 3),
                "ratio": round(value / peer, 2),
                "goal": f"at most {GOAL_S:g} s",
                "holds": value <= GOAL_S,
            }
        )
    return found


def main() -> int:
    """Print the figures and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    found = figures(options.runs)
    if options.json:
        print(json.dumps({"figures": found, "machine": machine}))
    else:
        for figure in found:
            print(
                f"{figure['name']}: {figure['value']} s ({figure['peer']} {figure['peer_value']})"
            )
    return 0 if all(figure["holds"] for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
