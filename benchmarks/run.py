"""Run every benchmark in this folder, print one table, and fail where a goal does not hold."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent


def machine() -> dict[str, object]:
    """Describe the machine as far as figures depend on it."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def run_script(script: Path) -> list[dict[str, object]]:
    """Run one script with --json and return its figures; a script that fails is a figure too."""
    done = subprocess.run(
        [sys.executable, str(script), "--json"], capture_output=True, text=True, check=False
    )
    try:
        return list(json.loads(done.stdout.strip().splitlines()[-1])["figures"])
    except (json.JSONDecodeError, IndexError, KeyError):
        sys.stderr.write(done.stderr[-2000:])
        return [{"name": f"{script.stem} did not finish", "value": None, "holds": False}]


def show(value: object) -> str:
    """Return a figure as people read it."""
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Run what was asked for and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", help="names without .py; default: all")
    wanted = set(parser.parse_args().scripts)
    scripts = sorted(p for p in HERE.glob("*.py") if p.name != "run.py" and p.name[0] != "_")
    heads = ("benchmark", "figure", "value", "unit", "peer", "peer's value", "ratio", "goal", "")
    table = Table(*heads)
    results, good = {}, True
    for script in scripts:
        if wanted and script.stem not in wanted:
            continue
        sys.stderr.write(f"running {script.stem} …\n")
        figures = run_script(script)
        results[script.stem] = figures
        for figure in figures:
            holds = figure.get("holds")
            good &= holds is not False
            verdict = "" if holds is None else ("holds" if holds else "MISSED")
            columns = ("name", "value", "unit", "peer", "peer_value", "ratio", "goal")
            table.add_row(script.stem, *(show(figure.get(c)) for c in columns), verdict)
    Console(width=180).print(table)
    path = HERE / "results.json"
    before = json.loads(path.read_text())["benchmarks"] if path.exists() and wanted else {}
    merged = {"machine": machine(), "benchmarks": {**before, **results}}
    path.write_text(json.dumps(merged, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
