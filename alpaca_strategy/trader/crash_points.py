"""Labelled places at which a proof may kill the trader, as a power cut would.

`TRADER_CRASH_AT=label:n` ends the process without any warning at the n-th time that a
place is passed; with `TRADER_CRASH_BY=stop` it freezes there, until somebody lets it go on. Only
the proofs set them; without them nothing happens here.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Final

#: In the order in which an order passes them.
CRASH_POINTS: Final = (
    "decision_made",  # nothing is written
    "intents_committed",
    "sending_committed",  # and nothing has left
    "order_answered",  # the answer has come, and nobody has looked at it
    "fact_known",  # what became of an order is known, and not written
    "fact_written",
    "cancel_answered",
    "reconciled",
    "recovered",
)
_label, _, _nth = os.environ.get("TRADER_CRASH_AT", "").partition(":")
_by: Final = signal.SIGSTOP if os.environ.get("TRADER_CRASH_BY") == "stop" else signal.SIGKILL
_passed: Counter[str] = Counter()


def pass_by(label: str) -> None:
    """Pass a place; it is the last one if somebody has said so."""
    if not _label:
        return
    _passed[label] += 1
    if label == _label and _passed[label] == int(_nth or 1):
        os.kill(os.getpid(), _by)
