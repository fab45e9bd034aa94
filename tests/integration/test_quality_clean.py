"""Sessions in which nothing is wrong raise no critical failure: synthetic ones and real ones."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quality_sessions import make_input, to_table

from alpaca_strategy.config import PROJECT_ROOT
from alpaca_strategy.domain.market import Feed, Session
from alpaca_strategy.market.bars import build_session_bars
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.schema import BAR_COLUMNS, BAR_SCHEMA, COUNT_COLUMNS, TRADE_SCHEMA
from alpaca_strategy.quality.gate import QualityResult, check_session
from alpaca_strategy.quality.inputs import CheckInput, SymbolHistory, bars_fingerprints
from alpaca_strategy.simulator.synthetic import SyntheticMarket
from alpaca_strategy.simulator.tape import UPDATES
from alpaca_strategy.simulator.world import Parameters, World

pytestmark = pytest.mark.integration

RECORDED = ("AIG", "BAC", "IBM", "SPY")
OPEN_INDEX, CLOSE_INDEX = 1, 2


def criticals(result: QualityResult) -> dict[str, tuple[str, ...]]:
    return {
        r.expectation: r.symbols
        for r in result.results
        if r.success is False and r.severity.value == "critical"
    }


def history_of(bars: pa.Table) -> dict[str, SymbolHistory]:
    """Return what a published session leaves behind for the next one."""
    seen = bars.to_pandas()
    hashes = bars_fingerprints(bars)
    return {
        str(symbol): SymbolHistory(
            last_close=rows.close.iloc[-1],
            median_volume=rows.volume.sum(),
            median_trade_count=rows.trade_count.sum(),
            bars_hash=hashes[str(symbol)],
        )
        for symbol, rows in seen[seen.observed].groupby("symbol")
    }


@pytest.mark.parametrize(
    ("feed", "trades", "minutes"),
    [
        (Feed.IEX, 6000, 390),
        (Feed.IEX, 400, 390),
        (Feed.IEX, 40, 390),
        (Feed.SIP, 4000, 390),
        (Feed.IEX, 1500, 210),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_synthetic_sessions_of_any_density_are_published(
    feed: Feed, trades: int, minutes: int, seed: int
) -> None:
    symbols = tuple(f"SYM{n:02}" for n in range(6))
    data = make_input(seed=seed, feed=feed, trades=trades, minutes=minutes, symbols=symbols)
    result = check_session(data)
    assert criticals(result) == {}
    assert result.published == symbols


def simulated(market: SyntheticMarket, feed: Feed, session: Session) -> pa.Table:
    parts = []
    for symbol in market.symbols:
        tape = market.tape(feed.value, symbol, session.day)
        names = np.array([",".join(c) for c in tape.conditions], object)
        columns = {
            "symbol": [symbol] * len(tape),
            "ts_ns": tape.ts,
            "price": tape.price,
            "size": tape.size,
            "exchange": [chr(letter) for letter in tape.exchange],
            "conditions": names[tape.condition],
            "tape": [tape.tape] * len(tape),
            "id": tape.trade_id,
            "update": np.array(UPDATES, object)[tape.update],
        }
        parts.append(pa.table({n: pa.array(c) for n, c in columns.items()}).cast(TRADE_SCHEMA))
    return pa.concat_tables(parts)


def check_simulated(feed: Feed, trades: int, first: date, last: date) -> int:
    """Check each session with the history that the one before it left; return how many."""
    text = (PROJECT_ROOT / "include/config/universe.csv").read_text(encoding="utf-8")
    universe = list(csv.DictReader(text.splitlines()))[:6]
    market = SyntheticMarket(World(Parameters(trades=trades), universe))
    table, history = load_condition_table("alpaca"), {}
    sessions = exchange_calendar().sessions(first, last)
    for session in sessions:
        tape = simulated(market, feed, session)
        symbols = tuple(market.symbols)
        bars = build_session_bars(tape, session, symbols, table)
        splits = {
            symbol: split.new / split.old
            for symbol in symbols
            for split in market.world.splits(symbol)
            if split.ex_date == session.day
        }
        result = check_session(
            CheckInput(
                session=session,
                feed=feed,
                symbols=symbols,
                bars=bars,
                tape=tape,
                conditions=table,
                history=history,
                splits=splits,
                as_of=session.closes_at + timedelta(hours=8),
            )
        )
        assert criticals(result) == {}, session.day
        history = history_of(bars)
    return len(sessions)


@pytest.mark.parametrize(("feed", "trades"), [(Feed.IEX, 6000), (Feed.IEX, 300), (Feed.SIP, 1500)])
def test_sessions_of_the_simulator_are_published(feed: Feed, trades: int) -> None:
    # A half-day and a holiday lie between them.
    assert check_simulated(feed, trades, date(2024, 7, 1), date(2024, 7, 9)) == 6


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("feed", "trades"), [(Feed.IEX, 6000), (Feed.IEX, 300), (Feed.SIP, 1500)])
def test_a_year_of_the_simulator_is_published(feed: Feed, trades: int) -> None:
    assert check_simulated(feed, trades, date(2024, 1, 2), date(2024, 12, 31)) == 252


def recorded_tape(folder: Path, day: date) -> pa.Table:
    """Return a recorded tape as we would have stored it, the recorder's marks as conditions."""
    raw = pq.read_table(folder / f"tape/trades_{day}.parquet").to_pandas()
    marks = [np.where(raw[m], f",+{m}", "") for m in ("suspicious", "trade_through_exempt")]
    frame = pd.DataFrame(
        {
            "symbol": raw.symbol.astype(str),
            "ts_ns": raw.t.astype("int64"),
            "price": raw.p,
            "size": raw.s,
            "exchange": raw.x.astype(str),
            "conditions": raw.c.map(",".join) + marks[0] + marks[1],
            "tape": raw.z.astype(str),
            "id": raw.i,
            "update": None,
        }
    )
    return to_table(frame, TRADE_SCHEMA)


@pytest.mark.parametrize("table", ["alpaca", "vendor-2013"])
@pytest.mark.parametrize("day", [date(2013, 10, 7), date(2013, 10, 8)])
def test_recorded_tapes_are_published_whole(shared_data: Path, day: date, table: str) -> None:
    session, rules = exchange_calendar().session(day), load_condition_table(table)
    tape = recorded_tape(shared_data, day)
    bars = build_session_bars(tape, session, RECORDED, rules)
    data = CheckInput(
        session=session,
        feed=Feed.SIP,
        symbols=RECORDED,
        bars=bars,
        tape=tape,
        conditions=rules,
        as_of=session.closes_at + timedelta(hours=8),
    )
    result = check_session(data)
    assert criticals(result) == {}
    assert result.published == RECORDED


def panel_hours(folder: Path) -> dict[str, tuple[datetime, datetime]]:
    with gzip.open(folder / "oracles/calendar_xnys_sessions_1990_2027.csv.gz", "rt") as file:
        rows = list(csv.reader(file))
    return {
        row[0]: (
            datetime.fromisoformat(row[OPEN_INDEX].replace("Z", "+00:00")),
            datetime.fromisoformat(row[CLOSE_INDEX].replace("Z", "+00:00")),
        )
        for row in rows[1:]
    }


def panel_sessions(folder: Path) -> Iterator[tuple[Session, pd.DataFrame]]:
    """Yield the regular minutes of each day of the recorded panel."""
    frame = pq.read_table(folder / "panel/minute_bars_2024-01_2024-09.parquet").to_pandas()
    frame["start_at"] = pd.to_datetime(frame.ts_utc_s, unit="s", utc=True)
    frame["day"] = frame.start_at.dt.tz_convert("America/New_York").dt.date.astype(str)
    for name in ("open", "high", "low", "close", "vwap"):
        frame[name] = frame[f"{name}_e4"] / 1e4
    hours = panel_hours(folder)
    for day, rows in frame.groupby("day"):
        opens, closes = hours[str(day)]
        regular = rows[(rows.start_at >= opens) & (rows.start_at < closes)].copy()
        regular["minute"] = (regular.start_at - opens) // pd.Timedelta(minutes=1)
        yield Session(date.fromisoformat(str(day)), opens, closes), regular


def panel_bars(session: Session, rows: pd.DataFrame) -> tuple[pa.Table, tuple[str, ...]]:
    """Return a panel day as BAR_SCHEMA; the panel knows no trade counts, so that they are 1."""
    symbols = tuple(sorted(rows.symbol.astype(str).unique()))
    grid = pd.MultiIndex.from_product([symbols, range(session.minutes)], names=["symbol", "minute"])
    rows = rows.assign(symbol=rows.symbol.astype(str)).set_index(["symbol", "minute"])
    bars = rows.reindex(grid).reset_index()
    bars["observed"] = bars.open.notna()
    bars["start_at"] = pd.Timestamp(session.opens_at) + pd.to_timedelta(bars.minute, unit="min")
    bars["trade_count"] = bars.observed.astype("int64")
    bars["volume"] = bars.volume.fillna(0).astype("int64")
    for name in BAR_COLUMNS:
        if name not in bars:
            bars[name] = 0 if name in COUNT_COLUMNS else np.nan
    return to_table(bars, BAR_SCHEMA), symbols


def check_panel(folder: Path, every: int) -> int:
    """Check each session of the panel with the history the day before it left, one in so many."""
    history: dict[str, SymbolHistory] = {}
    checked = 0
    for place, (session, rows) in enumerate(panel_sessions(folder)):
        if place % every > 1:
            continue
        bars, symbols = panel_bars(session, rows)
        if place % every == 1 or every == 1:
            result = check_session(
                CheckInput(
                    session=session,
                    feed=Feed.IEX,  # as thin as that feed
                    symbols=symbols,
                    bars=bars,
                    tape=None,
                    history=history,
                )
            )
            assert criticals(result) == {}, session.day
            checked += 1
        history = history_of(bars)
    return checked


def test_recorded_thin_sessions_raise_nothing_critical(shared_data: Path) -> None:
    assert check_panel(shared_data, every=9) == 21


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_every_recorded_thin_session_raises_nothing_critical(shared_data: Path) -> None:
    assert check_panel(shared_data, every=1) == 188
