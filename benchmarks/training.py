"""What a training costs: seconds, waiting for data, and memory.

The worlds are those of the proofs: arrays of bars, 30 symbols, with a planted signal. Each part
runs in a process of its own on two threads (with `--only`: on OMP_NUM_THREADS):

- `demo`: bars, features, training, calibration, and the file, on 50 sessions; imports count too.
- `cpu`: one whole epoch on 60 sessions. A step reaches from the start of one to the start of the
  next, in Lightning's own loop; waiting for data is the time in `Windows.take`. The projection is
  that epoch, its validation included, times all epochs of the preset: early stopping ends sooner.
- memory: the peak of a process that builds 250 sessions, one session of bars at a time, and holds
  them with their windows. Everything that it imports, torch among it, counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from run import machine, peak_mib

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from alpaca_strategy.features.fingerprint import fingerprint
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.model.dataset import Dataset, build_dataset, decision_rows
from tests.worlds import World

SYMBOLS, THREADS = 30, 2
DEMO_SESSIONS, CPU_SESSIONS, MEMORY_SESSIONS = 50, 60, 250
DEMO_S, CPU_S, MEMORY_MIB = 240, 7200, 1024
WORLD = World(symbols=SYMBOLS, ic=0.06, quiet=0.1)


def build(sessions: int) -> Dataset:
    """Return so many sessions; of their bars one session at a time is held."""
    days = exchange_calendar().sessions(date(2024, 1, 2), date(2027, 6, 30))[:sessions]
    return build_dataset(
        (bars for bars, _ in WORLD.sessions(sessions)),
        minutes=[day.minutes for day in days],
        symbols=WORLD.names,
        fingerprint=fingerprint(
            feed="iex", condition_fingerprint="none", symbols=WORLD.names, horizon=10
        ),
    )


def memory() -> dict[str, float]:
    """Build and hold a large dataset."""
    from alpaca_strategy.model.windows import windows_of

    dataset = build(MEMORY_SESSIONS)
    windows = windows_of(dataset)
    return {"peak_mib": peak_mib(), "windows": len(windows.features)}


def train_on(sessions: int, name: str, epochs: int | None) -> dict[str, float]:
    """Train a preset, with a watch on its steps and on the making of its batches."""
    from alpaca_strategy.model.calibration import fit_calibration
    from alpaca_strategy.model.checkpoint import Card, Model, dump_model
    from alpaca_strategy.model.learner import Learner
    from alpaca_strategy.model.presets import Preset, network_shape, training_plan
    from alpaca_strategy.model.scorer import predict
    from alpaca_strategy.model.splits import split_sessions
    from alpaca_strategy.model.training import train
    from alpaca_strategy.model.windows import Windows

    preset, split = Preset(name), split_sessions(sessions)
    plan = training_plan(preset)
    dataset = build(sessions)
    starts: list[float] = []
    waited: list[float] = []
    take, begin = Windows.take, Learner.on_train_batch_start

    def timed_take(windows: Windows, rows: np.ndarray) -> object:
        began = time.perf_counter()
        batch = take(windows, rows)
        waited.append(time.perf_counter() - began)
        return batch

    def timed_begin(learner: Learner, batch: object, batch_idx: int) -> None:
        if batch_idx == 0:
            starts.append(float("nan"))  # what lies between two epochs is no step
        starts.append(time.perf_counter())
        begin(learner, batch, batch_idx)  # type: ignore[arg-type]

    Windows.take, Learner.on_train_batch_start = timed_take, timed_begin  # type: ignore[method-assign,assignment]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = train(
            dataset,
            split,
            shape=network_shape(preset, SYMBOLS),
            plan=replace(plan, epochs=epochs or plan.epochs),
            seed=0,
            folder=Path(folder) / "training",
        )
        seconds = time.perf_counter() - began
        rows = decision_rows(dataset, split.validation)
        batches = len(waited)
        calibration = fit_calibration(predict(done.network, dataset, rows))
        days = ("", "")
        card = Card(dataset.fingerprint, "iex", dataset.symbols, 10, name, 0, dataset.content_hash,
                    days, days, days, "")  # fmt: skip
        (Path(folder) / "last.ckpt").write_bytes(dump_model(Model(done.network, calibration, card)))
    steps = np.diff(starts)
    step = float(np.nanmedian(steps))
    return {
        "seconds": seconds,
        "epochs": done.epochs,
        "most_epochs": plan.epochs,
        "steps": int(np.isfinite(steps).sum()),
        "step": step,
        "share": statistics.median(waited[:batches]) / step,
        "validation_loss": done.validation_loss,
    }


def in_a_process(part: str) -> dict[str, float]:
    """Run one part in a process of its own; its seconds from start to end are `process`."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--only", part],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
    )
    seconds = time.perf_counter() - began
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "process": seconds}


PARTS = {
    "demo": lambda: train_on(DEMO_SESSIONS, "demo", None),
    "cpu": lambda: train_on(CPU_SESSIONS, "cpu", 1),
    "memory": memory,
}


def limited(name: str, value: float, unit: str, goal: float) -> dict[str, object]:
    return {
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "ratio": round(value / goal, 3),
        "goal": f"<= {goal:,} {unit}",
        "holds": value <= goal,
    }


def measure() -> list[dict[str, object]]:
    """Return the figures."""
    held, demo, cpu = (in_a_process(part) for part in ("memory", "demo", "cpu"))
    projected = cpu["seconds"] / cpu["epochs"] * cpu["most_epochs"]
    return [
        limited(
            f"`demo` from bars to last.ckpt, {DEMO_SESSIONS} sessions x {SYMBOLS} symbols, "
            f"{demo['epochs']:.0f} epochs",
            demo["process"], "s", DEMO_S,
        ),
        *(
            {"name": f"share of a `{name}` step spent waiting for data", "value": part["share"],
             "unit": ""}
            for name, part in (("demo", demo), ("cpu", cpu))
        ),
        *(
            {"name": f"a training step of `{name}`, median of {part['steps']:.0f}",
             "value": part["step"], "unit": "s"}
            for name, part in (("demo", demo), ("cpu", cpu))
        ),
        limited(
            f"`cpu` on {CPU_SESSIONS} sessions, one epoch times all {cpu['most_epochs']:.0f}",
            projected, "s", CPU_S,
        ),
        limited(
            f"peak memory of building and holding {MEMORY_SESSIONS} sessions x {SYMBOLS} symbols",
            held["peak_mib"], "MiB", MEMORY_MIB,
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=PARTS, help="print what one part finds")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(PARTS[given.only]()))
        return
    result = {"figures": measure(), "machine": machine()}
    print(json.dumps(result, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
