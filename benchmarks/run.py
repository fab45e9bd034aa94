"""Run every benchmark in this folder, print one table, and fail where a goal does not hold.

The figures go to results.json beside this file, and as a page to docs/benchmarks.md.
"""

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
        "system": f"{platform.system()} {platform.machine()}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def peak_mib() -> float:
    """Return this process's own peak memory.

    Not `ru_maxrss`: across exec Linux hands down the peak of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


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


def page(results: dict[str, list[dict[str, object]]], at: dict[str, object]) -> str:
    """Return the figures as a page of the documentation."""
    where = f"{at['cores']} cores, {at['system']}, Python {at['python']}"
    lines = [
        "# Figures",
        "",
        f"Written by `make bench` on {at['at']}: {where}.",
        "A ratio is ours to the peer's, or to the goal's limit, in one run on the same work. How",
        "each figure is measured stands at the top of its script in `benchmarks/`.",
    ]
    for name, figures in results.items():
        lines += [
            "",
            f"## {name}",
            "",
            "| figure | value | peer | ratio | goal | |",
            "|" + "---|" * 6,
        ]
        for figure in figures:
            holds = figure.get("holds")
            verdict = "" if holds is None else ("holds" if holds else "**missed**")
            peer = f"{figure.get('peer') or ''} {show(figure.get('peer_value'))}".strip()
            value = f"{show(figure.get('value'))} {figure.get('unit') or ''}".strip()
            cells = (figure["name"], value, peer, show(figure.get("ratio")), figure.get("goal"))
            lines.append("| " + " | ".join(str(c or "") for c in cells) + f" | {verdict} |")
    return "\n".join(lines) + "\n"


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
    merged, at = {**before, **results}, machine()
    path.write_text(json.dumps({"machine": at, "benchmarks": merged}, indent=1) + "\n")
    (HERE.parent / "docs" / "benchmarks.md").write_text(page(merged, at))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
