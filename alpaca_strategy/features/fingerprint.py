"""What makes two sets of features the same: a model asks for the fingerprint it was made with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple

from alpaca_strategy.features.catalogue import FEATURES, KERNEL_VERSION, Feature


def fingerprint(
    *,
    feed: str,
    condition_fingerprint: str,
    symbols: Sequence[str],
    horizon: int,
    features: Sequence[Feature] = FEATURES,
    kernel_version: int = KERNEL_VERSION,
) -> str:
    """Return the SHA-256 of everything that a model's input rests on, in hexadecimal.

    Args:
        feed: Whose tape the bars are made from.
        condition_fingerprint: Of the rules by which trades become bars.
        symbols: In the order of the model's arrays.
        horizon: Minutes of a label.
        features: Their names, formulas, lookbacks and versions, in their order.
        kernel_version: Of what works them out.
    """
    content = {
        "conditions": condition_fingerprint,
        "features": [astuple(feature) for feature in features],
        "feed": feed,
        "horizon": horizon,
        "kernel": kernel_version,
        "symbols": list(symbols),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
