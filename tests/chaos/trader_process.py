"""The real trader with a scorer that needs no network: scores follow from the minute alone.

A scorer may be told to go mad, or have a witness write down what it is shown.

Run as a process by the proofs; what it is told comes as one JSON object on the command line.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from broken_traders import break_it

from alpaca_strategy.config import load_settings
from alpaca_strategy.errors import AlpacaStrategyError
from alpaca_strategy.features.catalogue import NAMES
from alpaca_strategy.jobs.trader_wiring import Gateway, broker_of, market_of, wire
from alpaca_strategy.logs import configure_logging
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.trader.window import SessionBefore

_MINUTE = NAMES.index("minute_of_day")


def minute_of(features: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]) -> int:
    """Return the number in its session of a window's last minute, from the features alone."""
    seen = features[-1, :, _MINUTE][usable[-1]]
    return round(float(seen[0]) * 390) if len(seen) else 0


@dataclass(frozen=True)
class ScriptedScorer:
    """Ranks names anew every minute; which is best follows from the minute and the seed."""

    seed: int
    symbols: int
    model_id: str = "2026-01-02-5c819d00"

    def score(
        self, features: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        minute = minute_of(features, usable)
        draw = np.random.default_rng([self.seed, minute])
        scores = draw.permutation(self.symbols) / self.symbols
        scores[~usable[-10:].any(axis=0)] = np.nan
        return scores, np.full(self.symbols, 10.0)


def mad(kind: str, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return what a model that is out of order would say."""
    if kind == "nan":
        return np.full_like(scores, np.nan)
    if kind == "infinite":
        return np.where(np.arange(len(scores)) == 0, np.inf, scores)
    if kind == "constant":
        return np.full_like(scores, 0.7)
    if kind == "exploded":
        return scores * 1e6
    msg = f"there is no madness {kind}"
    raise ValueError(msg)


@dataclass(frozen=True)
class MadScorer(ScriptedScorer):
    """Goes mad after some minutes, in one way or another; expectations may, too."""

    madness: str = "nan"
    from_minute: int = 0

    def score(
        self, features: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        scores, expected = super().score(features, usable)
        if minute_of(features, usable) < self.from_minute:
            return scores, expected
        if self.madness == "silent":
            time.sleep(3600)
        if self.madness.startswith("expected_"):
            return scores, mad(self.madness.removeprefix("expected_"), expected)
        return mad(self.madness, scores), expected


@dataclass(frozen=True)
class Witness:
    """Writes down what a scorer was shown: the minute, and the hash of the window."""

    scorer: ScriptedScorer
    file: Path

    @property
    def model_id(self) -> str:
        return self.scorer.model_id

    def score(
        self, features: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        digest = hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()
        seen = {"minute": minute_of(features, usable), "window": digest}
        with self.file.open("a") as file:
            file.write(json.dumps(seen) + "\n")
        return self.scorer.score(features, usable)


def scorer_of(told: dict[str, Any], symbols: int) -> ScriptedScorer | Witness:
    """Return the scorer that was asked for."""
    seed = int(told.get("seed", 0))
    scorer = ScriptedScorer(seed, symbols)
    if "madness" in told:
        scorer = MadScorer(
            seed, symbols, madness=told["madness"], from_minute=told.get("mad_from", 0)
        )
    return Witness(scorer, Path(told["seen"])) if "seen" in told else scorer


def quiet_sessions(day: date, symbols: int) -> list[SessionBefore]:
    """Return two sessions before one in which little happened."""
    found = []
    for _ in range(2):
        day = exchange_calendar().previous_session(day).day
        minutes = exchange_calendar().session(day).minutes
        values = np.ones((minutes, symbols, len(BAR_COLUMNS)))
        found.insert(0, SessionBefore(day, values, np.ones((minutes, symbols), np.bool_)))
    return found


async def trade(told: dict[str, Any]) -> dict[str, Any]:
    settings = load_settings()
    configure_logging(settings.logging)
    if "defect" in told:
        break_it(told["defect"], told.get("times", 0))
    day, symbols = date.fromisoformat(told["session"]), settings.symbols()
    url, stream = told["url"], told["url"].replace("http", "ws", 1)
    gateway = Gateway(
        mode="simulated", url=url, key=told["key"], secret=told["secret"], data_url=url,
        data_key=told["key"], data_secret=told["secret"], data_stream=f"{stream}/v2/iex",
        updates_stream=f"{stream}/stream", token=told["token"],
    )  # fmt: skip
    trader = wire(
        settings, gateway, account=told["account"], database_url=told["database_url"],
        session=exchange_calendar().session(day),
        scorer=scorer_of(told, len(symbols)),
        before=quiet_sessions(day, len(symbols)), broker=broker_of(settings, gateway),
        market=market_of(settings, gateway), logs=Path(told["logs"]) if "logs" in told else None,
    )  # fmt: skip
    return asdict(await trader.run())


if __name__ == "__main__":
    try:
        ending = asyncio.run(trade(json.loads(sys.argv[1])))
    except AlpacaStrategyError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_status)
    sys.stdout.write(json.dumps(ending) + "\n")
