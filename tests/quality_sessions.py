"""Synthetic sessions for the quality gate: trades with known habits, and bars built from them.

The bars come from a plain pandas group-by under three conditions only (regular, odd lot, extended),
so that neither the simulator nor the kernel is needed, and neither is trusted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa

from alpaca_strategy.domain.market import Feed, Session
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.schema import BAR_COLUMNS, BAR_SCHEMA, COUNT_COLUMNS, TRADE_SCHEMA
from alpaca_strategy.quality.inputs import CheckInput

SYMBOLS = ("AAPL", "BAC", "CVX", "DIS", "EOG", "F", "GE", "HD", "IBM", "JPM", "KO", "LOW")
NEW_YORK = ZoneInfo("America/New_York")
DAY = date(2024, 3, 5)
_MIDNIGHT_NS = 24 * 3600 * 10**9


def make_session(day: date = DAY, *, minutes: int = 390) -> Session:
    """Return a session that opens at 09:30 in New York."""
    opens = datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK)
    utc = opens.astimezone(ZoneInfo("UTC"))
    return Session(day, utc, utc + timedelta(minutes=minutes))


def make_tape(symbol: str, session: Session, count: int, *, seed: int, feed: Feed) -> pd.DataFrame:
    """Return one symbol's day: a U-shaped day, clustered, with a pre-market and an after-market."""
    rng = np.random.default_rng([seed, *symbol.encode()])
    opens, closes = (int(t.timestamp()) * 10**9 for t in (session.opens_at, session.closes_at))
    ends, middle = rng.beta(0.6, 0.6, count // 2), rng.random(count - count // 2)
    parents = np.concatenate((ends, middle))
    burst = rng.random(count) < 0.4  # a child follows another trade within seconds
    parents[burst] = rng.choice(parents, burst.sum()) + rng.exponential(2e-4, burst.sum())
    inside = opens + (np.clip(parents, 0, 0.9999999) * (closes - opens)).astype(np.int64)
    early = opens - (rng.random(count // 100) * 5400e9).astype(np.int64) - 1
    late = closes + (rng.random(count // 100) * 3600e9).astype(np.int64)
    when = np.sort(np.concatenate((inside, early, late)))
    n = when.size
    path = np.cumsum(rng.standard_t(4, n)) * 0.015 / np.sqrt(n)
    bounce = rng.choice([-1, 1], n) * 1e-4
    start = float(np.exp(rng.uniform(2, 6)))
    odd = rng.random(n) < 0.55
    letter = "ABC"[sum(symbol.encode()) % 3]
    regular = "@" if letter == "C" else " "
    extended = (when < opens) | (when >= closes)
    conditions = np.where(
        odd, f"{regular},I", np.where(rng.random(n) < 0.3, f"{regular},F", regular)
    )
    venues = list("V") if feed is Feed.IEX else list("DQPZKBJYNXV")
    return pd.DataFrame(
        {
            "symbol": symbol,
            "ts_ns": when,
            "price": np.round(start * np.exp(path + bounce), 2),
            "size": np.where(odd, rng.integers(1, 100, n), 100 * rng.geometric(0.6, n)),
            "exchange": rng.choice(venues, n),
            "conditions": np.where(extended, np.char.add(conditions.astype(str), ",T"), conditions),
            "tape": letter,
            "id": np.arange(n, dtype=np.int64) * 7 + int(rng.integers(1, 10**9)),
            "update": None,
        }
    )


def build_bars(tape: pd.DataFrame, session: Session, symbols: tuple[str, ...]) -> pa.Table:
    """Return BAR_SCHEMA: regular trades set prices, odd lots only count."""
    opens = int(session.opens_at.timestamp()) * 10**9
    frame = tape.assign(minute=(tape.ts_ns - opens) // 60_000_000_000)
    frame = frame[(frame.minute >= 0) & (frame.minute < session.minutes)]
    frame = frame.assign(dollars=frame.price * frame["size"])
    index = pd.MultiIndex.from_product(
        [symbols, range(session.minutes)], names=["symbol", "minute"]
    )
    keys = ["symbol", "minute"]
    every = frame.groupby(keys).agg(volume=("size", "sum"), trade_count=("size", "size"))
    setters = frame[~frame.conditions.str.contains("I")].groupby(keys)
    bars = setters.agg(
        open=("price", "first"), high=("price", "max"), low=("price", "min"),
        close=("price", "last"), shares=("size", "sum"), dollars=("dollars", "sum"),
    )  # fmt: skip
    bars = bars.reindex(index)
    bars["vwap"] = np.clip(bars.dollars / bars.shares, bars.low, bars.high)
    bars["observed"] = bars.open.notna()
    bars = bars.join(every).fillna({"volume": 0, "trade_count": 0}).reset_index()
    bars["start_at"] = pd.Timestamp(session.opens_at) + pd.to_timedelta(bars.minute, unit="min")
    for name in BAR_COLUMNS:
        if name not in bars:
            bars[name] = 0 if name in COUNT_COLUMNS else np.nan
        bars[name] = bars[name].astype("int64" if name in COUNT_COLUMNS else "float64")
    return to_table(bars, BAR_SCHEMA)


def to_table(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return a frame in one of our schemas; NaN stays NaN, as the kernel writes it."""
    columns = {
        field.name: pa.array(
            frame[field.name].to_numpy(),
            type=field.type,
            from_pandas=not pa.types.is_floating(field.type),
        )
        for field in schema
        if not pa.types.is_timestamp(field.type)
    }
    for field in schema:
        if pa.types.is_timestamp(field.type):
            columns[field.name] = pa.Array.from_pandas(frame[field.name], type=field.type)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def make_input(
    *,
    seed: int = 1,
    symbols: tuple[str, ...] = SYMBOLS,
    trades: int = 1200,
    day: date = DAY,
    minutes: int = 390,
    feed: Feed = Feed.IEX,
    **more: Any,
) -> CheckInput:
    """Return a clean session as the gate receives it."""
    session = make_session(day, minutes=minutes)
    tapes = [make_tape(s, session, trades, seed=seed, feed=feed) for s in symbols]
    return from_tape(pd.concat(tapes, ignore_index=True), session, symbols, feed=feed, **more)


def from_tape(
    tape: pd.DataFrame, session: Session, symbols: tuple[str, ...], **more: Any
) -> CheckInput:
    """Return an input whose bars are built from its tape."""
    more.setdefault("feed", Feed.IEX)
    return CheckInput(
        session=session,
        symbols=symbols,
        bars=build_bars(tape, session, symbols),
        tape=to_table(tape, TRADE_SCHEMA),
        conditions=load_condition_table("alpaca"),
        as_of=session.closes_at + timedelta(hours=8),
        **more,
    )


def change_tape(
    data: CheckInput, change: Callable[[pd.DataFrame], pd.DataFrame], *, rebuild: bool = True
) -> CheckInput:
    """Return the input with another tape, and with bars that follow from it unless told not to."""
    tape = change(data.tape.to_pandas().copy()).reset_index(drop=True)
    bars = build_bars(tape, data.session, data.symbols) if rebuild else data.bars
    return dataclasses.replace(data, tape=to_table(tape, TRADE_SCHEMA), bars=bars)


def change_bars(
    data: CheckInput, change: Callable[[pd.DataFrame], pd.DataFrame], *, tape: bool = False
) -> CheckInput:
    """Return the input with other bars; without a tape, unless it is to be kept beside them."""
    bars = to_table(change(data.bars.to_pandas().copy()).reset_index(drop=True), BAR_SCHEMA)
    return dataclasses.replace(data, bars=bars, tape=data.tape if tape else None)
