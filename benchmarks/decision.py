"""One decision, from a window of 240 minutes and 30 symbols to scores: ours against plain eager.

The peer is the same network in fp32 without anything of ours: its tensors made beforehand, no
gradient, the sigmoid of the logits, on both cores as torch has it. Both decide the same windows in
turn, and must choose the same three symbols every time.

What serves a model, what does not, and why:

- Not taking torch's shortcut for transformers in inference: kept. The shortcut writes out 240 x 240
  attention matrices of every head and symbol; the fused kernel does not, and needs a third less
  time for `full` on one thread.
- `torch.inference_mode`: kept; it costs nothing and saves some book-keeping.
- One thread: kept. Two wait for each other at every step, so that beside other work on two cores
  `cpu` took 0.1 s in the median and 4 s in the slowest hundredth, against 0.03 s and 0.05 s on one
  thread; and a decision's last digits no longer depend on how many cores there are. On cores of
  their own two threads may well be faster for `full`, which wants a GPU in any case.
- bfloat16: no. Without a unit for its products it gained nothing on one thread, and it moves logits
  by a tenth of their deviation, so that decisions need not stay the same.
- `torch.jit.trace` with `freeze`: no. It saved 3 ms of `cpu` and nothing of `full`, and tracing is
  deprecated.
- `torch.compile`: not tried. It wants a compiler on the machine, and a restarted trader would wait
  for it before its first decision.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from run import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from alpaca_strategy.model.calibration import Calibration
from alpaca_strategy.model.checkpoint import Card, Model
from alpaca_strategy.model.dataset import WINDOW, Dataset, decision_rows
from alpaca_strategy.model.network import Ranker
from alpaca_strategy.model.presets import Preset, network_shape
from alpaca_strategy.model.scorer import Scorer
from tests.worlds import World

SYMBOLS, THREADS, TOP, CALLS, WARM_UP = 30, 2, 3, 200, 3
SCALE = 0.02  # about the deviation of an untrained network's logits
Floats = npt.NDArray[np.float64]


def scorer_of(preset: Preset, dataset: Dataset) -> Scorer:
    """Return an untrained model in service: how long it takes does not depend on its weights."""
    torch.manual_seed(0)
    network = Ranker(network_shape(preset, SYMBOLS)).eval().requires_grad_(requires_grad=False)
    no_days = ("", "")
    card = Card(dataset.fingerprint, "iex", dataset.symbols, dataset.horizon, preset.value, 0,
                dataset.content_hash, no_days, no_days, no_days, "")  # fmt: skip
    return Scorer(
        Model(network, Calibration(SCALE, 1.0), card),
        fingerprint=dataset.fingerprint,
        feed="iex",
        symbols=dataset.symbols,
    )


def chosen(scores: Floats) -> list[int]:
    return [int(place) for place in np.argsort(-scores, kind="stable")[:TOP]]


def measure(preset: Preset, dataset: Dataset, calls: int) -> dict[str, list[float]]:
    """Return seconds of each call of both."""
    scorer = scorer_of(preset, dataset)
    network, calibration = scorer.model.network, scorer.model.calibration
    rows = decision_rows(dataset, (0, 1))
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for call in range(-WARM_UP, calls):
        block = slice(rows[call % len(rows)] - WINDOW + 1, rows[call % len(rows)] + 1)
        features, usable = dataset.features[block], dataset.usable[block]
        tensors = torch.from_numpy(features.copy())[None], torch.from_numpy(usable.copy())[None]
        began = time.perf_counter()
        ours = calibration.score(scorer.logits(features, usable))
        between = time.perf_counter()
        with torch.no_grad():
            theirs = torch.sigmoid(network(*tensors)[0] / SCALE)
        ended = time.perf_counter()
        expected = theirs.double().numpy()
        if chosen(ours) != chosen(expected) or not np.allclose(ours, expected, atol=1e-4):
            msg = f"{preset}: decisions differ, {chosen(ours)} against {chosen(expected)}"
            raise SystemExit(msg)
        if call >= 0:
            seconds["ours"].append(between - began)
            seconds["theirs"].append(ended - between)
    return seconds


def figures(calls: int) -> list[dict[str, object]]:
    """Return the figures of both presets."""
    torch.set_num_threads(THREADS)
    dataset = World(symbols=SYMBOLS, quiet=0.2).dataset(2)
    found: list[dict[str, object]] = []
    for preset in (Preset.CPU, Preset.FULL):
        seconds = measure(preset, dataset, calls)
        for percent in (50, 99):
            ours, theirs = (
                float(np.percentile(seconds[who], percent)) * 1e3 for who in ("ours", "theirs")
            )
            found.append(
                {
                    "name": f"one decision of `{preset}`, p{percent} of {calls}",
                    "value": round(ours, 2),
                    "unit": "ms",
                    "peer": f"the same network in plain eager fp32, {THREADS} threads",
                    "peer_value": round(theirs, 2),
                    "ratio": round(ours / theirs, 3),
                    "goal": "the same decisions",
                    "holds": True,  # or `measure` would have ended
                }
            )
    return found


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=CALLS)
    given = parser.parse_args()
    result = {"figures": figures(given.calls), "machine": machine()}
    print(json.dumps(result, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
