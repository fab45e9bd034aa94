"""The compiled engine against backtrader: the same executions, round trips and value, in any world.

The two share the decision, the sizes and the costs, and nothing else; see `backtest/cerebro.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from backtest_worlds import FREE, FULL, HALF, Floats, Weather, World, make_history, worlds
from hypothesis import HealthCheck, given, settings

from alpaca_strategy.backtest.cerebro import run_analysed, run_cerebro
from alpaca_strategy.backtest.content import Agreement
from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.backtest.history import History
from alpaca_strategy.backtest.parity import compare
from alpaca_strategy.backtest.result import Run
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.strategy.costs import Costs
from alpaca_strategy.strategy.rules import Rules

PANEL = "panel/minute_bars_2024-01_2024-09.parquet"
ROUGH = Weather(quiet=0.05, halts=0.3, absent=0.05, splits=0.1, volume=3_000.0, unscored=0.1)
# A world runs for a tenth of a second, longer where the first one compiles.
patient = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def both(world: World) -> tuple[Run, Run, Agreement]:
    history, rules, costs = world.history, world.rules, world.costs
    ours = simulate(history, rules, costs, cash=world.cash)
    theirs = run_cerebro(history, rules, costs, cash=world.cash)
    return ours, theirs, compare(ours, theirs, history)


def trades_agreed(world: World) -> int:
    _, _, agreement = both(world)
    assert agreement.difference is None
    assert agreement.agreed == agreement.trades
    return agreement.trades


# ------------------------------------------------------------------------------------ both engines
@settings(patient, max_examples=25)
@given(worlds())
def test_both_engines_make_the_same_trades_in_any_world(world: World) -> None:
    trades_agreed(world)


@pytest.mark.proof
def test_both_engines_make_the_same_trades_in_200_worlds(
    record_property: Callable[[str, object], None],
) -> None:
    trades: list[int] = []

    @settings(patient, max_examples=200)
    @given(worlds())
    def agree(world: World) -> None:
        trades.append(trades_agreed(world))

    agree()
    assert len(trades) >= 200
    assert sum(trades) > 1000
    record_property("worlds", len(trades))
    record_property("trades", sum(trades))


@pytest.mark.parametrize(
    ("sessions", "weather"),
    [(5, Weather()), (60, ROUGH), pytest.param(60, Weather(), marks=pytest.mark.proof)],
    ids=["5 calm", "60 rough", "60 calm"],
)
def test_both_engines_make_the_same_trades_over_30_symbols(
    sessions: int, weather: Weather, record_property: Callable[[str, object], None]
) -> None:
    lengths = [HALF if i % 20 == 3 else FULL for i in range(sessions)]
    history = make_history(7, lengths, 30, weather)
    trades = trades_agreed(World(history, Rules(), Costs(), 1e6))
    assert trades > 50 * sessions
    record_property("trades", trades)


@pytest.mark.proof
def test_both_engines_make_the_same_trades_over_nine_months_of_real_bars(
    shared_data: Path, record_property: Callable[[str, object], None]
) -> None:
    history = recorded_history(shared_data, seed=11)
    for name, rules in {
        "trades": Rules(),
        "trades held overnight": Rules(
            flat_minutes=0, hold=60, trend=False, whole_shares=False, top_k=6
        ),
    }.items():
        trades = trades_agreed(World(history, rules, Costs(), 1e6))
        assert trades > 2000
        record_property(name, trades)
    record_property("sessions", len(history.sessions))


def recorded_history(folder: Path, seed: int) -> History:
    """Return the panel's bars with random scores."""
    bars = pl.read_parquet(folder / PANEL).with_columns(pl.col("symbol").cast(pl.String))
    names = bars["symbol"].unique().sort().to_list()
    days = exchange_calendar().sessions(date(2024, 1, 2), date(2024, 9, 30))
    opens = np.array([int(day.opens_at.timestamp()) for day in days])
    lengths = np.array([day.minutes for day in days])
    first_row = np.concatenate([[0], np.cumsum(lengths)])
    shape = (int(first_row[-1]), len(names))
    at = np.searchsorted(opens, bars["ts_utc_s"], side="right") - 1
    minute = (bars["ts_utc_s"].to_numpy() - opens[at]) // 60
    inside = (minute >= 0) & (minute < lengths[at])
    place = (first_row[at] + minute)[inside], np.searchsorted(names, bars["symbol"])[inside]
    panels = {name: np.full(shape, np.nan) for name in ("open", "high", "low", "close")}
    for name, panel in panels.items():
        panel[place] = bars[f"{name}_e4"].to_numpy()[inside] / 1e4
    panels["volume"] = np.zeros(shape)
    panels["volume"][place] = bars["volume"].to_numpy()[inside]
    draw = np.random.default_rng(seed)
    return History(
        symbols=tuple(names),
        sessions=tuple(day.day for day in days),
        first_row=first_row,
        **panels,
        scores=draw.random(shape),
        expected_bps=draw.normal(0.0, 20.0, shape),
        split_factor=np.ones((len(days), len(names))),  # its prices are adjusted
    )


def test_both_engines_agree_until_nothing_is_left() -> None:
    history = make_history(9, [FULL, FULL], 5)
    rules = Rules(
        interval=1, hold=1, cooldown=0, keep_chosen=False, trend=False, momentum=False, min_rsi=0.0,
        whole_shares=False,
    )  # fmt: skip
    world = World(history, rules, Costs(half_spread_bps=200.0, slippage_bps=300.0), 5_000.0)
    ours, _, agreement = both(world)
    assert agreement.difference is None
    assert agreement.agreed == agreement.trades > 500
    assert 0.0 <= ours.equity[-1] < 1.0


@pytest.mark.parametrize("engine", [simulate, run_cerebro])
def test_a_position_is_split_overnight_between_two_parts_of_its_sale(
    engine: Callable[..., Run],
) -> None:
    """Worked out by hand; 100 shares at 60 become 300 at 20, and no bar says so until minute 3."""
    history = make_history(1, [HALF, HALF], 1)
    first, second = slice(0, HALF), slice(HALF, 2 * HALF)
    for panel in (history.open, history.high, history.low, history.close):
        panel[first], panel[second] = 60.0, 20.0
        panel[HALF : HALF + 3] = np.nan
    history.volume[:] = 0.0
    history.scores[:] = 0.0
    history.scores[9] = 1.0
    history.volume[10] = 100.0  # bought at once
    history.volume[HALF - 1] = 40.0  # of the sale no more is filled on the first day
    history.volume[HALF + 15] = 1_000.0
    history.split_factor[1] = 3.0
    rules = Rules(trend=False, momentum=False, min_rsi=0.0, flat_minutes=0, exposure=0.6, slots=1)
    run = engine(history, rules, FREE._replace(participation=1.0), cash=10_000.0)
    assert run.fills[["row", "shares", "price"]].tolist() == [
        (10, 100.0, 60.0),
        (HALF - 1, -40.0, 60.0),
        (HALF + 15, -180.0, 20.0),
    ]
    (trade,) = run.trades
    assert trade["entry_row"] == 10
    assert trade["exit_row"] == HALF + 15
    assert trade["shares"] == 300.0  # 120 of those were 40
    assert trade["entry_price"] == pytest.approx(20.0)
    assert trade["exit_price"] == pytest.approx(20.0)
    assert trade["profit"] == pytest.approx(0.0)
    np.testing.assert_allclose(run.equity, 10_000.0)
    # 60 shares at 60 before, 180 at 20 after, also while no bar shows the new price.
    np.testing.assert_allclose(run.invested[HALF - 1 : HALF + 15], 3_600.0)


def test_backtraders_analyzers_find_what_our_run_says() -> None:
    history = make_history(3, [FULL, HALF, FULL, FULL], 6, ROUGH)
    rules = Rules(trend=False, momentum=False, min_rsi=0.0)
    ours = simulate(history, rules, Costs(), cash=1e5)
    theirs, found = run_analysed(history, rules, Costs(), cash=1e5)
    assert compare(ours, theirs, history).holds
    profit, ended = ours.trades["profit"], len(ours.trades)
    assert ended > 100
    assert found.trades.total.closed == ended
    assert found.trades.won.total == np.count_nonzero(profit >= 0)
    assert found.trades.lost.total == np.count_nonzero(profit < 0)
    assert found.trades.pnl.net.total == pytest.approx(profit.sum(), abs=0.01)
    assert found.trades.won.pnl.max == pytest.approx(profit.max(), abs=1e-6)
    peak = np.maximum.accumulate(ours.equity)
    assert found.drawdown.max.moneydown == pytest.approx((peak - ours.equity).max(), abs=0.01)
    assert found.drawdown.max.drawdown == pytest.approx(100 * (1 - ours.equity / peak).max())
    closes = np.concatenate([[1e5], ours.equity[history.first_row[1:] - 1]])
    assert [day.date() for day in found.returns] == list(history.sessions)
    assert list(found.returns.values()) == pytest.approx(closes[1:] / closes[:-1] - 1)


def test_backtrader_tells_how_far_it_is() -> None:
    history = make_history(3, [HALF, HALF], 2)
    told: list[tuple[int, int, str]] = []
    run_cerebro(history, Rules(), Costs(), cash=1e5, progress=lambda *now: told.append(now))
    assert told == [(210, 420, "2024-01-02"), (420, 420, "2024-01-03")]


def test_backtrader_refuses_to_begin_without_cash() -> None:
    with pytest.raises(ValueError, match="cash is 0"):
        run_cerebro(make_history(3, [HALF], 1), Rules(), Costs(), cash=0.0)


# ----------------------------------------------------------------------------- what is a difference
@pytest.fixture(scope="module")
def agreeing() -> tuple[History, Run]:
    history = make_history(5, [FULL, HALF], 3, Weather(volume=2_000.0))
    rules = Rules(trend=False, momentum=False, min_rsi=0.0)
    run = simulate(history, rules, Costs(), cash=1e5)
    assert len(run.trades) > 30
    assert compare(run, run, history).holds
    return history, run


def changed(records: Any, place: int, **fields: float) -> Any:
    records = records.copy()
    for name, value in fields.items():
        records[place][name] = value
    return records


def test_a_fill_of_one_share_more_is_told_with_name_and_minute(
    agreeing: tuple[History, Run],
) -> None:
    history, run = agreeing
    place = int(np.flatnonzero(run.fills["row"] >= FULL)[4])
    fill = run.fills[place]
    other = replace(run, fills=changed(run.fills, place, shares=fill["shares"] + 1))
    agreement = compare(run, other, history)
    assert agreement.agreed == agreement.trades  # the round trips are still the same
    minute = 570 + int(fill["row"]) - FULL
    assert agreement.difference is not None
    assert agreement.difference.startswith(
        f"First difference: S{int(fill['symbol']):02} at {minute // 60:02}:{minute % 60:02} in New "
        "York on 2024-01-03. The compiled engine "
    )
    did, now = (
        "bought" if shares > 0 else "sold" for shares in (fill["shares"], fill["shares"] + 1)
    )
    assert f"compiled engine {did} {abs(fill['shares']):,.10g} shares at" in agreement.difference
    assert f"backtrader {now} {abs(fill['shares'] + 1):,.10g} shares at" in agreement.difference


def test_a_fill_that_only_one_engine_has_is_told_as_such(agreeing: tuple[History, Run]) -> None:
    history, run = agreeing
    lacking = replace(run, fills=np.delete(run.fills, 6))
    ours, theirs = (compare(*runs, history).difference for runs in ((run, lacking), (lacking, run)))
    assert ours is not None
    assert ours.endswith("; backtrader did nothing.")
    assert theirs is not None
    assert "The compiled engine did nothing; backtrader " in theirs


def test_the_order_of_names_in_a_minute_counts(agreeing: tuple[History, Run]) -> None:
    history, run = agreeing
    place = int(np.flatnonzero(np.diff(run.fills["row"]) == 0)[0])
    fills = run.fills.copy()
    fills[[place, place + 1]] = fills[[place + 1, place]]
    difference = compare(run, replace(run, fills=fills), history).difference
    assert difference is not None
    assert "not traded in the same order" in difference


@pytest.mark.parametrize(
    ("field", "by"),
    [("exit_row", 1), ("shares", 1), ("entry_price", 1e-6), ("profit", 0.02), ("cost", 0.02),
     ("entry_score", 1e-12), ("exit_reason", 1)],
)  # fmt: skip
def test_a_trade_that_differs_is_not_counted_as_agreed(
    agreeing: tuple[History, Run], field: str, by: float
) -> None:
    history, run = agreeing
    other = replace(run, trades=changed(run.trades, 9, **{field: run.trades[9][field] + by}))
    agreement = compare(run, other, history)
    assert (agreement.trades, agreement.agreed) == (len(run.trades), len(run.trades) - 1)
    assert agreement.difference is not None
    assert f"the trade in S{int(run.trades[9]['symbol']):02} that ends at" in agreement.difference


def test_a_trade_too_few_spoils_only_itself(agreeing: tuple[History, Run]) -> None:
    history, run = agreeing
    agreement = compare(run, replace(run, trades=np.delete(run.trades, 3)), history)
    assert agreement.agreed == len(run.trades) - 1
    assert agreement.difference is not None
    assert not agreement.holds


def test_two_cents_of_equity_are_told_and_half_a_cent_is_not(agreeing: tuple[History, Run]) -> None:
    history, run = agreeing
    less, more, none = (run.equity.copy() for _ in range(3))
    less[100] += 0.005
    more[100] += 0.02
    none[100] = np.nan
    assert compare(run, replace(run, equity=less), history).holds
    difference = compare(run, replace(run, equity=more), history).difference
    assert difference is not None
    assert "the value of the account after 11:10 in New York on 2024-01-02" in difference
    assert not compare(run, replace(run, equity=none), history).holds
    assert not compare(run, replace(run, equity=run.equity[:-1]), history).holds


# -------------------------------------------------------------------- what holds of any run at all
@dataclass(frozen=True)
class Ledger:
    """A run added up anew from its executions; what is held is shown at the close of every row."""

    world: World
    run: Run
    cash: Floats
    shares: Floats
    entered: Floats  # the row of a position's first execution, of this session; -inf before it

    def could_fill(self, symbol: int, rows: slice) -> Floats:
        """Return how many shares each of these rows could trade."""
        part, history = self.world.costs.participation, self.world.history
        seen = ~np.isnan(history.open[rows, symbol])
        if part == 0:
            return np.where(seen, np.inf, 0.0)
        unit = 1 if self.world.rules.whole_shares else 1_000_000
        return np.where(seen, np.floor(history.volume[rows, symbol] * part * unit) / unit, 0.0)

    def decisions(self) -> Iterator[tuple[int, slice, slice, bool]]:
        """Yield of each decision its row, rows until the next and until the close, if it ends."""
        rules, first = self.world.rules, self.world.history.first_row
        for begin, end in itertools.pairwise(first.tolist()):
            closed = np.arange(1, end - begin)  # minutes; the last one decides nothing
            flat = closed >= end - begin - rules.flat_minutes if rules.flat_minutes else closed < 0
            due = closed[(closed % rules.interval == 0) | flat]
            for minutes, following in itertools.pairwise([*due.tolist(), end - begin]):
                row = begin + minutes - 1
                ending = bool(flat[minutes - 1])
                yield row, slice(row + 1, begin + following), slice(row + 1, end), ending


def ledger_of(world: World) -> Ledger:
    history = world.history
    run = simulate(history, world.rules, world.costs, cash=world.cash)
    cash, shares = world.cash, np.zeros(len(history.symbols))
    entered = np.full(len(history.symbols), -np.inf)
    out = Ledger(world, run, np.empty(len(history.close)), *np.empty((2, *history.close.shape)))
    fills = iter([*run.fills, None])
    fill = next(fills)
    for session, (begin, end) in enumerate(itertools.pairwise(history.first_row.tolist())):
        shares = shares * history.split_factor[session]
        entered[:] = -np.inf
        for row in range(begin, end):
            while fill is not None and fill["row"] == row:
                symbol = fill["symbol"]
                if shares[symbol] == 0:
                    entered[symbol] = row
                cash -= fill["shares"] * fill["price"] + fill["fee"]
                shares[symbol] += fill["shares"]
                if abs(shares[symbol]) < 1e-9:
                    shares[symbol] = 0.0
                fill = next(fills)
            out.cash[row], out.shares[row], out.entered[row] = cash, shares, entered
    assert fill is None
    return out


@settings(patient, max_examples=60)
@given(worlds())
def test_value_is_cash_and_shares_at_last_prices_and_cash_is_never_negative(world: World) -> None:
    ledger, history = ledger_of(world), world.history
    assert (ledger.cash >= -1e-6).all()
    assert (ledger.shares >= 0).all()
    grown = np.cumprod(history.split_factor, axis=0)[history.session_of_row]
    last = (pd.DataFrame(history.close * grown).ffill() / grown).to_numpy()
    held = np.where(ledger.shares > 0, ledger.shares * last, 0.0).sum(axis=1)
    np.testing.assert_allclose(ledger.run.invested, held, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(ledger.run.equity, ledger.cash + held, rtol=1e-9, atol=1e-6)


@settings(patient, max_examples=60)
@given(worlds())
def test_fills_are_where_bars_are_at_a_price_against_us_and_within_the_volume(
    world: World,
) -> None:
    history, costs = world.history, world.costs
    fills = simulate(history, world.rules, costs, cash=world.cash).fills
    at = history.open[fills["row"], fills["symbol"]]
    assert not np.isnan(at).any()
    against = (costs.half_spread_bps + costs.slippage_bps) * 1e-4
    side = np.sign(fills["shares"])
    np.testing.assert_allclose(fills["price"], at * (1 + side * against), rtol=1e-12)
    size = np.abs(fills["shares"])
    assert (size > 0).all()
    if costs.participation:
        limit = history.volume[fills["row"], fills["symbol"]] * costs.participation
        assert (size <= limit + 1e-9).all()
    bought = fills[side > 0]
    length = np.diff(history.first_row)[history.session_of_row[bought["row"]]]
    left = length - history.minute_of_row[bought["row"]]
    assert (left > world.rules.flat_minutes).all()


@settings(patient, max_examples=60)
@given(worlds())
def test_no_purchase_takes_names_above_the_maximum_unless_a_sale_is_stuck(world: World) -> None:
    ledger = ledger_of(world)
    fills = ledger.run.fills
    bought = fills["row"][fills["shares"] > 0]
    for row, until, _, _ in ledger.decisions():
        if not ((bought >= until.start) & (bought < until.stop)).any():
            continue
        before, after = ledger.shares[row], ledger.shares[until.stop - 1]
        stuck = [
            s
            for s in np.flatnonzero((before > 0) & (after > 0))
            if ledger.could_fill(s, until).sum() < before[s] - 1e-9
        ]
        assert np.count_nonzero(after) - len(stuck) <= world.rules.max_positions


@settings(patient, max_examples=60)
@given(worlds())
def test_a_position_older_than_the_hold_is_sold_or_chosen_again(world: World) -> None:
    ledger, rules = ledger_of(world), world.rules
    sold = {(f["row"], f["symbol"]) for f in ledger.run.fills if f["shares"] < 0}
    for row, _, close, ending in ledger.decisions():
        kept = 0
        for s in np.flatnonzero(ledger.shares[row]):
            if row + 1 - ledger.entered[row, s] < rules.hold and not ending:
                continue
            rows = close.start + np.flatnonzero(ledger.could_fill(s, close) > 0)
            if not len(rows) or (rows[0], s) in sold:
                continue
            kept += 1
            assert rules.keep_chosen
            assert not ending
            assert world.history.scores[row, s] >= rules.min_score
        assert kept <= rules.top_k


@settings(patient, max_examples=30)
@given(worlds())
def test_without_rules_that_wait_hold_or_filter_every_decision_fills_its_slots(
    world: World,
) -> None:
    """The other tests would pass for an engine that never trades."""
    history = make_history(1, np.diff(world.history.first_row).tolist(), 6)
    rules = world.rules._replace(
        min_score=-np.inf, cooldown=0, trend=False, momentum=False, min_rsi=0.0, slots=8,
        edge_over_cost=False, keep_chosen=False, exposure=0.3, flat_minutes=2,
    )  # fmt: skip
    ledger = ledger_of(World(history, rules, FREE, 1e7))
    for row, until, _, ending in ledger.decisions():
        held = np.count_nonzero(ledger.shares[until.stop - 1])
        before = np.count_nonzero(ledger.shares[row])
        old = np.count_nonzero(
            (ledger.shares[row] > 0) & (row + 1 - ledger.entered[row] >= rules.hold)
        )
        free = 6 - before
        room = rules.max_positions - (before - old)
        expected = 0 if ending else before - old + max(0, min(rules.top_k, free, room))
        assert held == expected
