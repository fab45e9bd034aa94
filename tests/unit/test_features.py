"""The 30 features, worked out a second time by pandas, and what must hold for any bars at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alpaca_strategy.config import load_settings
from alpaca_strategy.features.catalogue import (
    FEATURES,
    KERNEL_VERSION,
    LONG,
    LOOKBACK,
    NAMES,
    SHORT,
)
from alpaca_strategy.features.fingerprint import fingerprint
from alpaca_strategy.features.kernel import session_features
from alpaca_strategy.market.bars import build_session_bars
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.market.conditions import load_condition_table
from alpaca_strategy.market.schema import BAR_COLUMNS, COUNT_COLUMNS, TRADE_SCHEMA
from alpaca_strategy.simulator import signal
from alpaca_strategy.simulator.synthetic import SyntheticMarket
from alpaca_strategy.simulator.tape import UPDATES
from alpaca_strategy.simulator.world import Parameters, World

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
COLUMN = {name: i for i, name in enumerate(BAR_COLUMNS)}
AT = {name: i for i, name in enumerate(NAMES)}
FULL, HALF = date(2024, 11, 27), date(2024, 11, 29)
TAPE_STATISTICS = [
    "open", "high", "low", "close", "volume", "trade_count", "vwap", "mean", "std",
    "dollar_volume", "cond_is_regular", "odd_lot_count", "cnt_tiny", "cnt_small", "cnt_mid",
    "cnt_large", "buy_volume", "sell_volume", "order_flow_imbalance", "buy_trade_count",
    "sell_trade_count", "avg_trade_size", "trade_size_std", "max_trade_size",
    "intertrade_ms_mean", "order_flow_ratio", "buy_sell_ratio", "volatility_proxy",
]  # fmt: skip

# The first example compiles the kernel, and a busy machine draws examples slowly.
patient = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Bars:
    """A session's bars, and where it is."""

    values: Floats
    observed: Flags
    day: date

    @property
    def minutes(self) -> int:
        return len(self.observed)

    def features(self, first: int = 0, stop: int | None = None) -> Features:
        """Return the features as they come out when only these minutes are given."""
        return session_features(
            np.ascontiguousarray(self.values[first:stop]),
            self.observed[first:stop],
            weekday=self.day.weekday(),
            first_minute=first,
            session_minutes=390 if self.minutes > 210 else 210,
        )


def simulated(day: date, trades: int, *, ic: float = 0.0, count: int = 30) -> Bars:
    """Return bars that the kernel builds from the synthetic exchange's tapes."""
    universe = load_settings().universe()[:count]
    market = SyntheticMarket(World(Parameters(trades=trades, signal_ic=ic), universe))
    session, tables = exchange_calendar().session(day), []
    for symbol in market.symbols:
        tape = market.tape("iex", symbol, day)
        marks = pa.array([",".join(marks) for marks in tape.conditions])
        columns = {
            "symbol": pa.repeat(pa.scalar(symbol), len(tape)),
            "ts_ns": tape.ts,
            "price": tape.price,
            "size": tape.size,
            "exchange": pa.repeat(pa.scalar("V"), len(tape)),
            "conditions": marks.take(pa.array(tape.condition)),
            "tape": pa.repeat(pa.scalar(tape.tape), len(tape)),
            "id": tape.trade_id,
            "update": pa.array(UPDATES, pa.string()).take(pa.array(tape.update)),
        }
        tables.append(pa.table(columns).cast(TRADE_SCHEMA))
    table = build_session_bars(
        pa.concat_tables(tables), session, market.symbols, load_condition_table("alpaca")
    )
    shape = (len(market.symbols), session.minutes)
    columns = [np.asarray(table[name], float).reshape(shape).T for name in BAR_COLUMNS]
    observed = np.asarray(table["observed"]).reshape(shape).T
    return Bars(np.stack(columns, axis=-1), np.ascontiguousarray(observed), day)


@pytest.fixture(scope="module")
def busy() -> Bars:
    return simulated(FULL, 6000, ic=0.2)


@pytest.fixture(scope="module")
def sparse() -> Bars:
    """Most minutes have no bar, some have volume all the same."""
    return simulated(FULL, 200, count=8)


@pytest.fixture(scope="module")
def half_day() -> Bars:
    return simulated(HALF, 900, count=5)


# ------------------------------------------------------------------------------- the definitions
def test_there_are_the_28_statistics_of_the_tape_and_two_of_time() -> None:
    assert [*TAPE_STATISTICS, "minute_of_day", "day_of_week"] == list(NAMES)
    assert len(FEATURES) == len(set(NAMES)) == 30
    assert max(feature.lookback for feature in FEATURES) == LOOKBACK
    assert all("\n" not in feature.formula and feature.formula for feature in FEATURES)


def by_pandas(bars: Bars, symbol: int) -> pd.DataFrame:
    """Work the features of one symbol out from the catalogue's formulas."""
    x = pd.DataFrame(bars.values[:, symbol], columns=list(BAR_COLUMNS))
    seen = pd.Series(bars.observed[:, symbol])
    prior = x.close.where(seen).ffill(limit=29).shift(1).fillna(x.open)
    higher, lower = np.maximum(x.high, prior), np.minimum(x.low, prior)
    reach = np.log(higher / lower).where(seen)
    reach60 = reach.rolling(60, min_periods=1).mean()
    n = x.fillna(0.0)
    n["dollars"] = n.dollar_volume.round()
    mean60, mean10 = n.rolling(60, min_periods=1).mean(), n.rolling(10, min_periods=1).mean()
    sum60, sum10 = n.rolling(60, min_periods=1).sum(), n.rolling(10, min_periods=1).sum()

    def surprise(name: str, one: float) -> pd.Series:
        return np.log((one + n[name]) / (one + mean60[name]))

    flow, half = n.buy_volume - n.sell_volume, mean60.volume / 2
    impact = (1e-4 + reach) / (1e-4 + reach60) * (1 + mean60.dollars) / (1 + n.dollars)
    size = sum10.volume / sum10.trade_count / (sum60.volume / sum60.trade_count)
    span = (1000 + x.intertrade_ms_mean * x.trade_count) / 61000
    sides = sum60.buy_count + sum60.sell_count
    features = {
        "open": 1e4 * np.log(x.open / prior),
        "high": np.log(x.high / x.close) / reach60,
        "low": np.log(x.low / x.close) / reach60,
        "close": 1e4 * np.log(x.close / prior),
        "volume": surprise("volume", 100),
        "trade_count": surprise("trade_count", 1),
        "vwap": 1e4 * np.log(x.vwap / x.close),
        "mean": 1e4 * np.log(x.price_mean / x.vwap),
        "std": n.price_std / (x.high - x.low),
        "dollar_volume": np.log(impact),
        "cond_is_regular": np.log((1 + mean10.regular_count) / (1 + mean60.regular_count)),
        "odd_lot_count": sum10.odd_lot_count / sum10.trade_count,
        "cnt_tiny": n.tiny_count / n.trade_count,
        "cnt_small": surprise("small_count", 1),
        "cnt_mid": surprise("mid_count", 1),
        "cnt_large": surprise("large_count", 1),
        "buy_volume": np.log((100 + n.buy_volume) / (100 + half)),
        "sell_volume": np.log((100 + n.sell_volume) / (100 + half)),
        "order_flow_imbalance": flow / (1 + mean60.volume),
        "buy_trade_count": (n.buy_count - n.sell_count) / n.trade_count,
        "sell_trade_count": (1 + sum60.sell_count) / (2 + sides),
        "avg_trade_size": np.log(size),
        "trade_size_std": np.log(1 + n.size_std / (n.volume / n.trade_count)),
        "max_trade_size": n.size_max / n.volume,
        "intertrade_ms_mean": np.log(span),
        "order_flow_ratio": flow / n.volume,
        "buy_sell_ratio": np.log((100 + sum10.buy_volume) / (100 + sum10.sell_volume)),
        "volatility_proxy": np.log(1 + 1e4 * n.price_std / x.price_mean),
        "minute_of_day": pd.Series(np.arange(len(x)) / 390),
        "day_of_week": pd.Series(bars.day.weekday() / 4, index=x.index),
    }
    return pd.DataFrame(features).fillna(0.0).where(seen)


@pytest.fixture(scope="module", params=["busy", "sparse", "half_day"])
def both(request: pytest.FixtureRequest) -> tuple[Features, Floats]:
    bars: Bars = request.getfixturevalue(request.param)
    theirs = [by_pandas(bars, symbol) for symbol in range(bars.observed.shape[1])]
    assert all(list(frame) == list(NAMES) for frame in theirs)
    return bars.features(), np.stack([frame.to_numpy() for frame in theirs], axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_is_what_its_formula_says(name: str, both: tuple[Features, Floats]) -> None:
    ours, theirs = (side[..., AT[name]] for side in both)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_sparse_tape_has_what_is_hard(sparse: Bars) -> None:
    volume = sparse.values[..., COLUMN["volume"]]
    gaps = np.diff(np.flatnonzero(sparse.observed[:, 0]))
    assert 0.1 < sparse.observed.mean() < 0.6
    assert ((volume > 0) & ~sparse.observed).any()  # volume without a bar
    assert np.isnan(sparse.values[..., COLUMN["price_std"]][sparse.observed]).any()
    assert gaps.max() > 3


def test_a_minute_without_a_bar_has_no_features(sparse: Bars) -> None:
    features = sparse.features()
    assert np.isnan(features[~sparse.observed]).all()
    assert np.isfinite(features[sparse.observed]).all()


def test_time_counts_from_the_open_on_short_days_too(half_day: Bars) -> None:
    bars = replace(half_day, observed=np.ones_like(half_day.observed))
    bars.values[:] = one_trade(bars.values.shape[:2])
    features = bars.features()
    assert HALF.weekday() == 4
    np.testing.assert_array_equal(features[..., AT["day_of_week"]], 1.0)
    clock = np.arange(210, dtype=np.float64)[:, None] / 390
    np.testing.assert_allclose(features[..., AT["minute_of_day"]], np.tile(clock, (1, 5)), 1e-7)


def test_a_close_is_carried_for_thirty_minutes_and_no_longer() -> None:
    values, observed = one_trade((100, 1)), np.zeros((100, 1), np.bool_)
    observed[[0, 30, 61]] = True
    for minute, price in ((0, 100.0), (30, 101.0), (61, 103.0)):
        values[minute, 0, : COLUMN["vwap"] + 1] = price
    values[~observed] = np.nan
    features = Bars(values, observed, FULL).features()
    assert features[30, 0, AT["open"]] == pytest.approx(1e4 * np.log(1.01), rel=1e-6)
    assert features[61, 0, AT["open"]] == 0.0
    assert features[61, 0, AT["close"]] == 0.0


# ----------------------------------------------------------------------------- any bars whatever
def one_trade(shape: tuple[int, int], price: float = 50.0, size: float = 100.0) -> Floats:
    """Return minutes with one trade each, at one price."""
    values = np.zeros((*shape, len(BAR_COLUMNS)))
    for name in ("open", "high", "low", "close", "vwap", "price_mean"):
        values[..., COLUMN[name]] = price
    for name in ("volume", "size_max"):
        values[..., COLUMN[name]] = size
    for name in ("trade_count", "regular_count", "small_count"):
        values[..., COLUMN[name]] = 1
    values[..., COLUMN["dollar_volume"]] = price * size
    for name in ("price_std", "size_std", "intertrade_ms_mean"):
        values[..., COLUMN[name]] = np.nan
    return values


def random_bars(seed: int, minutes: int, symbols: int, density: float, scale: float) -> Bars:
    """Return bars that are wild, but no wilder than a damaged tape can make them."""
    draw = np.random.default_rng(seed)
    shape = (minutes, symbols)
    values = np.empty((*shape, len(BAR_COLUMNS)))
    close = np.round(50 * np.exp(np.cumsum(draw.standard_normal(shape) * 0.002, axis=0)), 2)
    spread = np.round(draw.exponential(0.05, shape), 2)
    quiet = draw.random(shape) < 0.2
    for name, price in (
        ("open", close + spread * draw.choice([-1, 0, 1], shape)),
        ("high", close + spread),
        ("low", np.maximum(close - spread, 0.01)),
        ("close", close),
        ("vwap", close + spread * draw.uniform(-0.5, 0.5, shape)),
        ("price_mean", close + spread * draw.uniform(-0.5, 0.5, shape)),
        ("price_std", np.where(quiet, np.nan, spread / 2)),
        ("size_std", np.where(quiet, np.nan, draw.exponential(80, shape))),
        ("intertrade_ms_mean", np.where(quiet, np.nan, draw.exponential(9000, shape))),
        ("dollar_volume", draw.exponential(1e5 * scale, shape)),
    ):
        values[..., COLUMN[name]] = price
    for name in COUNT_COLUMNS:
        size = scale * (1000 if "volume" in name else 10)
        values[..., COLUMN[name]] = np.floor(draw.exponential(size, shape)) * (~quiet)
    observed = draw.random(shape) < density
    for name in ("open", "high", "low", "close", "vwap", "price_mean", "price_std"):
        values[..., COLUMN[name]][~observed] = np.nan
    if symbols > 1:  # a symbol that is not published
        values[:, -1], observed[:, -1] = np.nan, False
    return Bars(values, observed, FULL if minutes == 390 else HALF)


@st.composite
def any_bars(draw: st.DrawFn) -> Bars:
    return random_bars(
        seed=draw(st.integers(0, 2**32 - 1)),
        minutes=draw(st.sampled_from([390, 210])),
        symbols=draw(st.integers(1, 4)),
        density=draw(st.sampled_from([0.02, 0.3, 0.9, 1.0])),
        scale=draw(st.sampled_from([0.05, 1.0, 1e9, 1e15])),
    )


def same_bits(first: Features, second: Features) -> bool:
    return first.shape == second.shape and first.tobytes() == second.tobytes()


@patient
@given(any_bars(), st.data())
def test_the_last_minutes_alone_give_the_bits_of_the_whole_session(
    bars: Bars, data: st.DataObject
) -> None:
    whole = bars.features()
    stop = data.draw(st.integers(1, bars.minutes))
    start = data.draw(st.integers(0, max(0, stop - LOOKBACK - 1)))
    part = bars.features(start, stop)
    rows = slice(LOOKBACK if start else 0, None)
    assert same_bits(part[rows], whole[start:stop][rows])
    assert np.isnan(part[: LOOKBACK if start else 0]).all()


def test_every_minute_of_a_live_session_has_the_bits_of_history(sparse: Bars) -> None:
    whole = sparse.features()
    for minute in range(sparse.minutes):
        live = sparse.features(max(0, minute - LOOKBACK), minute + 1)
        assert same_bits(live[-1], whole[minute])


def altered(bars: Bars, rows: slice, seed: int) -> Bars:
    """Return the session with other bars in these rows."""
    other = random_bars(seed, bars.minutes, bars.observed.shape[1], 0.8, 3.0)
    values, observed = bars.values.copy(), bars.observed.copy()
    values[rows], observed[rows] = other.values[rows], other.observed[rows]
    return replace(bars, values=values, observed=observed)


@patient
@given(any_bars(), st.integers(0, 209), st.integers(0, 99))
def test_nothing_later_changes_anything_earlier(bars: Bars, minute: int, seed: int) -> None:
    changed = altered(bars, slice(minute + 1, None), seed).features()
    assert same_bits(changed[: minute + 1], bars.features()[: minute + 1])


@patient
@given(any_bars(), st.integers(0, 209), st.integers(0, 99))
def test_no_feature_looks_further_back_than_it_declares(bars: Bars, minute: int, seed: int) -> None:
    whole = bars.features()
    for lookback in {feature.lookback for feature in FEATURES}:
        changed = altered(bars, slice(0, max(0, minute - lookback)), seed).features()
        names = [AT[feature.name] for feature in FEATURES if feature.lookback == lookback]
        assert same_bits(changed[minute][:, names], whole[minute][:, names])


def test_declared_lookbacks_are_needed(busy: Bars) -> None:
    whole, minute = busy.features(), 200
    for lookback in (SHORT - 1, LONG - 1):
        changed = altered(busy, slice(minute - lookback, minute - lookback + 1), 1).features()
        names = [AT[feature.name] for feature in FEATURES if feature.lookback == lookback]
        assert len(names) > 1
        assert (changed[minute][:, names] != whole[minute][:, names]).any(axis=0).all()
    # a reach of an hour ago that rests on a close half an hour older
    values, observed = busy.values.copy(), busy.observed.copy()
    observed[minute - 88 : minute - 59] = False
    before = replace(busy, observed=observed)
    seen = before.observed[[minute - 89, minute - 59, minute]].all(axis=0)
    assert seen.sum() > 20
    values[minute - 89, :, : COLUMN["vwap"] + 1] *= 1.01
    after = replace(before, values=values)
    changed = before.features()[minute] != after.features()[minute]
    assert changed[seen][:, AT["dollar_volume"]].all()


@patient
@given(any_bars(), st.data())
def test_a_symbol_does_not_feel_the_others(bars: Bars, data: st.DataObject) -> None:
    symbols = bars.observed.shape[1]
    order = data.draw(st.permutations(range(symbols)))[: data.draw(st.integers(1, symbols))]
    some = replace(bars, values=bars.values[:, order], observed=bars.observed[:, order])
    assert same_bits(some.features(), np.ascontiguousarray(bars.features()[:, order]))


@patient
@given(any_bars())
def test_features_are_finite_wherever_there_is_a_bar(bars: Bars) -> None:
    features = bars.features()
    assert np.isfinite(features[bars.observed]).all()
    assert np.isnan(features[~bars.observed]).all()


def nothing(values: Floats) -> None:
    values[:] = 0.0
    values[..., : COLUMN["vwap"] + 1] = 20.0


def huge(values: Floats) -> None:
    values[..., COLUMN["volume"] :] = 1e300
    values[:, ::2] = 1e18


def missing(values: Floats) -> None:
    values[..., COLUMN["volume"] :] = np.nan
    values[..., COLUMN["vwap"]] = np.nan


def prices_only(values: Floats) -> None:
    values[..., COLUMN["volume"] :] = np.nan
    values[..., : COLUMN["vwap"] + 1] *= np.exp(np.sin(np.arange(390)))[:, None, None]


@pytest.mark.parametrize("change", [nothing, huge, missing, prices_only])
def test_odd_numbers_make_no_infinities(change: Callable[[Floats], None]) -> None:
    values = one_trade((390, 4))
    change(values)
    features = Bars(values, np.ones((390, 4), np.bool_), FULL).features()
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 1e7


def test_a_monstrous_minute_leaves_nothing_behind(busy: Bars) -> None:
    values = busy.values.copy()
    values[20, :, COLUMN["volume"] :] = 1e18  # beside which a thousand shares are lost in float64
    after = slice(20 + LOOKBACK + 1, None)
    assert same_bits(replace(busy, values=values).features()[after], busy.features()[after])


def test_a_share_that_always_trades_alike_has_features_at_rest() -> None:
    features = Bars(one_trade((390, 2)), np.ones((390, 2), np.bool_), FULL).features()
    still = [AT[name] for name in NAMES if name not in {"minute_of_day", "max_trade_size"}]
    assert (features[1:, :, still] == features[0, 0, still]).all()
    zero = [AT[n] for n in ("open", "high", "low", "close", "vwap", "mean", "volume", "cnt_small")]
    assert (features[..., zero] == 0).all()
    assert (features[..., AT["max_trade_size"]] == 1).all()


def test_a_bar_without_a_price_is_none(busy: Bars) -> None:
    values = busy.values.copy()
    values[100, :, COLUMN["close"]] = [0.0, -1.0, np.nan, np.inf, *[7.0] * 26]
    features = replace(busy, values=values).features()
    assert np.isnan(features[100, :4]).all()
    assert np.isfinite(features[101][busy.observed[101]]).all()


# ------------------------------------------------------------------------------------ stationary
def test_a_price_in_dollars_is_not_a_feature(busy: Bars) -> None:
    values = busy.values.copy()
    for name in ("open", "high", "low", "close", "vwap", "price_mean", "price_std"):
        values[..., COLUMN[name]] *= 3.0
    values[..., COLUMN["dollar_volume"]] *= 3.0
    dearer = replace(busy, values=values)
    np.testing.assert_allclose(dearer.features(), busy.features(), rtol=1e-3, atol=1e-3)


def test_no_feature_repeats_another(busy: Bars) -> None:
    table = busy.features()[busy.observed].astype(np.float64)[:, : AT["day_of_week"]]
    assert (table.std(axis=0) > 1e-3).all()
    together = np.abs(np.corrcoef(table, rowvar=False)) - np.eye(table.shape[1])
    worst = np.unravel_index(together.argmax(), together.shape)
    assert together.max() < 0.92, (NAMES[worst[0]], NAMES[worst[1]], together.max())


def test_features_of_a_quiet_and_of_a_popular_share_are_alike() -> None:
    few, many = (simulated(FULL, trades, count=6) for trades in (3000, 30_000))
    scales = [bars.features()[bars.observed].std(axis=0) for bars in (few, many)]
    raw = [np.nanstd(bars.values[..., COLUMN["volume"]]) for bars in (few, many)]
    assert raw[1] > 5 * raw[0]
    for name in ("close", "volume", "order_flow_imbalance", "buy_volume", "trade_count"):
        assert 0.4 < scales[1][AT[name]] / scales[0][AT[name]] < 2.5, name


def test_persistent_order_flow_shows_in_the_mean_of_a_quarter_hour(busy: Bars) -> None:
    universe = load_settings().universe()
    world = World(Parameters(signal_ic=0.2), universe)
    place = world.positions[FULL]
    names = SyntheticMarket(world).symbols
    z = np.stack([signal.pressure(world, name, place, 390) for name in names], axis=1)
    flow = pd.DataFrame(busy.features()[..., AT["order_flow_imbalance"]])
    smooth = flow.fillna(0.0).rolling(15).mean().to_numpy()
    seen = np.corrcoef(smooth[60:].ravel(), z[60:].ravel())[0, 1]
    assert seen > 0.9 * signal.VISIBILITY


# ------------------------------------------------------------------------- arrays of other kinds
def test_neither_layout_nor_threads_change_a_bit(
    busy: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, observed = np.tile(busy.values, (1, 14, 1)), np.tile(busy.observed, (1, 14))
    wide = replace(busy, values=values, observed=observed)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    alone = wide.features()
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert same_bits(wide.features(), alone)
    assert same_bits(alone, np.tile(busy.features(), (1, 14, 1)))
    turned = np.asfortranarray(busy.values)
    turned.flags.writeable = False
    out = np.empty((390, 30, 30), np.float32)
    got = session_features(turned, busy.observed, weekday=FULL.weekday(), out=out)
    assert got is out
    assert same_bits(out, busy.features())


def test_arrays_that_do_not_fit_are_refused(busy: Bars) -> None:
    values, observed = busy.values, busy.observed
    with pytest.raises(ValueError, match="shape"):
        session_features(values[..., :5], observed, weekday=0)
    with pytest.raises(ValueError, match="not within 210"):
        session_features(values, observed, weekday=0, session_minutes=210)
    with pytest.raises(ValueError, match="not within 390"):
        session_features(values, observed, weekday=0, first_minute=1)
    with pytest.raises(ValueError, match="float32"):
        session_features(values, observed, weekday=0, out=np.empty((390, 30, 30)))  # type: ignore[arg-type]


def test_other_numbers_need_another_kernel_version() -> None:
    """Whoever changes a bit raises KERNEL_VERSION, or old models would get other inputs.

    Bars are of whole numbers, which every machine draws alike, and the kernel adds, multiplies,
    divides and rounds, which every machine does alike.
    """
    draw = np.random.default_rng(20_240_304)
    values = draw.integers(0, 900, (390, 6, len(BAR_COLUMNS))).astype(np.float64)
    close = 5000 + np.cumsum(draw.integers(-9, 10, (390, 6)), axis=0)
    offsets = {"open": 3, "high": 9, "low": -8, "close": 0, "vwap": 1, "price_mean": 2}
    for name, cents in offsets.items():
        values[..., COLUMN[name]] = (close + cents) / 100
    observed = draw.integers(0, 10, (390, 6)) < 7
    kernel = hashlib.sha256(Bars(values, observed, FULL).features().tobytes()).hexdigest()[:16]
    assert (KERNEL_VERSION, kernel) == (1, "9286687654fa8e36")  # pragma: allowlist secret


# ----------------------------------------------------------------------------------- fingerprint
GIVEN = {"feed": "iex", "condition_fingerprint": "c0ffee", "symbols": ("A", "B"), "horizon": 10}


def variants() -> Iterator[tuple[str, dict[str, object]]]:
    first = FEATURES[0]
    yield "feed", {"feed": "sip"}
    yield "conditions", {"condition_fingerprint": "decaf"}
    yield "order of symbols", {"symbols": ("B", "A")}
    yield "symbols", {"symbols": ("AB",)}
    yield "horizon", {"horizon": 30}
    yield "kernel", {"kernel_version": KERNEL_VERSION + 1}
    yield "order of features", {"features": (FEATURES[1], first, *FEATURES[2:])}
    for part, value in (("name", "x"), ("formula", "1"), ("lookback", 7), ("version", 2)):
        changed = replace(first, **{part: value})  # type: ignore[arg-type]
        yield part, {"features": (changed, *FEATURES[1:])}


@pytest.mark.parametrize("change", [pytest.param(c, id=part) for part, c in variants()])
def test_the_fingerprint_changes_with_each_of_its_parts(change: dict[str, object]) -> None:
    plain = fingerprint(**GIVEN)  # type: ignore[arg-type]
    assert len(bytes.fromhex(plain)) == 32
    assert plain == fingerprint(**{**GIVEN, "symbols": ["A", "B"]})  # type: ignore[arg-type]
    assert plain != fingerprint(**{**GIVEN, **change})  # type: ignore[arg-type]
