"""What the nightly path makes of a session that a trader has just lived through.

Everything here comes from the venue's REST tape and the trader's journal: what a decision was made
from is computed anew, without the trader's tape, its window, its ledger or its clock.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from trader_process import ScriptedScorer, quiet_sessions
from trading_floor import Floor

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.config import Settings
from alpaca_strategy.domain.journal import Decision, KnownIntent
from alpaca_strategy.domain.market import Feed, Session
from alpaca_strategy.domain.orders import Fill, Side
from alpaca_strategy.jobs.rules import rules_of
from alpaca_strategy.market.bars import build_session_bars
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.strategy.rules import Rules
from alpaca_strategy.trader.deciding import Situation, Wish, hash_inputs, resolve
from alpaca_strategy.trader.window import Windows

#: The simulator tells of a cancel or a correction so long after the trade.
_AMENDED_AFTER_NS = 60 * 10**9
_CLOSE = BAR_COLUMNS.index("close")


class _NoPace:
    """The judge is in no hurry, and nobody shares its key's budget."""

    def acquire(self) -> None:
        """Let it go."""

    def push_back(self, seconds: float) -> None:
        """Wait for nothing."""


def rest_tape(floor: Floor) -> pa.Table:
    """Return the session's tape as the venue's history has it, asked after its end."""
    session, simulator = exchange_calendar().session(floor.session), floor.simulator
    market = MarketData(
        key=simulator.key, secret=simulator.secret, feed=Feed.IEX, pace=_NoPace(),
        url=simulator.url,
    )  # fmt: skip
    symbols = floor.settings["data"]["symbols"]
    pages = market.trade_pages(symbols, session.opens_at, session.closes_at)
    tape = pa.concat_tables([page.table for page in pages])
    market.close()
    return tape


@dataclass(frozen=True)
class Past:
    """A finished session as the nightly path has it.

    Attributes:
        values: Shape (minutes, symbols, columns of BAR_COLUMNS).
        observed: Shape (minutes, symbols).
    """

    session: Session
    symbols: tuple[str, ...]
    grace_s: float
    tape: pa.Table
    values: npt.NDArray[np.float64]
    observed: npt.NDArray[np.bool_]

    def bars(self, minute: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return values and observed of the minutes up to one, as they were known when it was due.

        What was cancelled or corrected later was a trade like any other by then.
        """
        end_ns = int((self.session.opens_at.timestamp() + (minute + 1) * 60 + self.grace_s) * 1e9)
        ts = self.tape["ts_ns"].to_numpy()
        amended = self.tape["update"].is_valid().to_numpy(zero_copy_only=False)
        unknown = amended & (ts < end_ns) & (ts > end_ns - _AMENDED_AFTER_NS)
        values, observed = self.values, self.observed
        if unknown.any():
            values, observed = _arrays(_before(self.tape, unknown), self.session, self.symbols)
        return values[: minute + 1], observed[: minute + 1]

    def window(self, minute: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return features and usable rows of the window that ends with a minute."""
        before = quiet_sessions(self.session.day, len(self.symbols))
        found = Windows(self.session, before).at(*self.bars(minute))
        return found.features, found.usable

    def window_hash(self, minute: int) -> str:
        """Return the SHA-256 of that window, as the witness writes it down."""
        return hashlib.sha256(np.ascontiguousarray(self.window(minute)[0]).data).hexdigest()


def past_of(floor: Floor) -> Past:
    """Return the floor's session, from the venue's history alone."""
    session = exchange_calendar().session(floor.session)
    symbols = tuple(floor.settings["data"]["symbols"])
    tape = rest_tape(floor)
    grace_s = float(floor.settings["trading"]["grace_s"])
    return Past(session, symbols, grace_s, tape, *_arrays(tape, session, symbols))


def _before(tape: pa.Table, unknown: npt.NDArray[np.bool_]) -> pa.Table:
    """Return the tape as it was before some of its rows were cancelled or corrected."""
    words = tape["update"].to_pylist()
    shown = [None if hidden else word for word, hidden in zip(words, unknown, strict=True)]
    at = tape.schema.get_field_index("update")
    told = tape.set_column(at, tape.schema.field(at), pa.array(shown, pa.string()))
    born = [word == "corrected" for word in words]
    return told.filter(pa.array(~(unknown & np.array(born))))


def _arrays(
    tape: pa.Table, session: Session, symbols: tuple[str, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return what the nightly path builds of a tape, as arrays."""
    table = load_condition_table(Settings().data.condition_table)
    bars = build_session_bars(tape, session, symbols, table)
    shape = len(symbols), session.minutes

    def column(name: str) -> npt.NDArray[Any]:
        return bars[name].to_numpy(zero_copy_only=False).reshape(shape).T

    values = np.stack([column(name).astype(np.float64) for name in BAR_COLUMNS], axis=-1)
    return values, np.ascontiguousarray(column("observed").astype(bool))


def witnessed(file: Path) -> dict[int, str]:
    """Return the hash of the window that a scorer was shown, by minute."""
    lines = map(json.loads, file.read_text().splitlines())
    return {int(one["minute"]): one["window"] for one in lines if one["minute"]}


def wrong_windows(floor: Floor, file: Path) -> tuple[list[int], int]:
    """Return the minutes whose window was not what the history says, and how many were seen."""
    past, seen = past_of(floor), witnessed(file)
    return [minute for minute, found in seen.items() if found != past.window_hash(minute)], len(
        seen
    )


def input_hashes(floor: Floor) -> dict[int, str]:
    """Return the hashes of what the decisions were made from, by minute."""
    reader = floor.reader()
    found = {one.minute: one.input_hash for one in reader.decisions(floor.book, floor.session)}
    reader.engine.dispose()
    return found


@dataclass(frozen=True)
class Journal:
    """What a trader wrote down of a session."""

    decisions: tuple[Decision, ...]
    orders: tuple[KnownIntent, ...]
    fills: tuple[Fill, ...]


def journal_of(floor: Floor) -> Journal:
    """Return it, with the names of every decision."""
    reader, book, day = floor.reader(), floor.book, floor.session
    whole = (reader.decision(book, day, one.minute) for one in reader.decisions(book, day))
    found = Journal(
        tuple(one for one in whole if one is not None),
        tuple(reader.orders(book, day)),
        tuple(reader.fills(book, day)),
    )
    reader.engine.dispose()
    return found


def decided_anew(
    past: Past, scorer: ScriptedScorer, rules: Rules, journal: Journal, decision: Decision
) -> tuple[str, tuple[Wish, ...]]:
    """Return the input hash and the wishes of a decision, from history and executions alone."""
    features, usable = past.window(decision.minute)
    closing = past.session.minutes - 1 - decision.minute <= rules.flat_minutes
    count = len(past.symbols)
    scores, expected = np.full(count, np.nan), np.full(count, np.nan)
    inputs = b""
    if not closing:
        scores, expected = scorer.score(features, usable)
        inputs = hashlib.sha256(np.ascontiguousarray(features).data).digest()
    values, observed = past.bars(decision.minute)
    closes = np.where(observed, values[:, :, _CLOSE], np.nan)
    shares, entered, exited = book_at(journal.fills, decision.decided_at)
    now = Situation(
        session=past.session, minute=decision.minute, symbols=past.symbols, closes=closes,
        scores=scores, expected_bps=expected, shares=shares, entered=entered, exited=exited,
        pending={}, excluded={}, equity=decision.equity,
    )  # fmt: skip
    return hash_inputs(now, rules, [np.frombuffer(inputs, np.uint8)]), resolve(now, rules)[1]


def book_at(
    fills: tuple[Fill, ...], at: datetime
) -> tuple[dict[str, Decimal], dict[str, datetime], dict[str, datetime]]:
    """Return holdings, and when they were entered and last left, by what had been executed."""
    shares: dict[str, Decimal] = {}
    entered: dict[str, datetime] = {}
    exited: dict[str, datetime] = {}
    for fill in sorted(fills, key=lambda one: one.at):
        if fill.at > at:
            continue
        before = shares.get(fill.symbol, Decimal(0))
        shares[fill.symbol] = before + fill.side.sign * fill.qty
        if before == 0:
            entered[fill.symbol] = fill.at
        if fill.side is Side.SELL:
            exited[fill.symbol] = fill.at
    held = {symbol: qty for symbol, qty in shares.items() if qty}
    return held, {symbol: entered[symbol] for symbol in held}, exited


def rules_on(floor: Floor) -> Rules:
    """Return the rules that the floor's traders follow."""
    settings = Settings.model_validate(floor.settings)
    return rules_of(settings, settings.symbols())[0]
