"""Every kind of damage is caught by an expectation with a name, and only the right symbol falls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from quality_sessions import (
    SYMBOLS,
    change_bars,
    change_tape,
    from_tape,
    make_input,
    make_session,
    make_tape,
    to_table,
)

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.market.schema import TRADE_SCHEMA
from alpaca_strategy.quality.gate import Decision, QualityResult, check_session
from alpaca_strategy.quality.inputs import (
    CheckInput,
    Rejected,
    SymbolHistory,
    bars_fingerprints,
)

pytestmark = pytest.mark.integration

VICTIM = "DIS"
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
Damage = Callable[[CheckInput], CheckInput]


@pytest.fixture(scope="module")
def clean() -> CheckInput:
    return make_input(seed=11, trades=1500)


def broken(result: QualityResult, severity: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return the symbols of every expectation that failed, by its name."""
    return {
        r.expectation: r.symbols
        for r in result.results
        if r.success is False and severity in (None, r.severity.value)
    }


def of_victim(frame: pd.DataFrame) -> pd.Index:
    return frame.index[frame.symbol == VICTIM]


def set_trade(column: str, value: object, *, nth: int = 700, rebuild: bool = True) -> Damage:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        tape.loc[of_victim(tape)[nth], column] = value
        return tape

    return lambda data: change_tape(data, change, rebuild=rebuild)


def set_bar(column: str, value: object, *, tape: bool = False) -> Damage:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        seen = bars.index[(bars.symbol == VICTIM) & bars.observed]
        bars.loc[seen[60], column] = value
        return bars

    return lambda data: change_bars(data, change, tape=tape)


def scale_bar(column: str, factor: float) -> Damage:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        seen = bars.index[(bars.symbol == VICTIM) & bars.observed]
        bars.loc[seen[60], column] *= factor
        return bars

    return lambda data: change_bars(data, change)


def missing_symbol(data: CheckInput) -> CheckInput:
    return change_tape(data, lambda tape: tape[tape.symbol != VICTIM])


def failed_symbol(data: CheckInput) -> CheckInput:
    return dataclasses.replace(
        missing_symbol(data), failed={VICTIM: "The venue answered 500 to 5 requests."}
    )


def unasked_symbol(data: CheckInput) -> CheckInput:
    return dataclasses.replace(data, symbols=tuple(s for s in data.symbols if s != VICTIM))


def missing_rows(data: CheckInput) -> CheckInput:
    return change_bars(data, lambda b: b.drop(b.index[(b.symbol == VICTIM) & (b.minute > 380)]))


def missing_minutes(data: CheckInput) -> CheckInput:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        gone = (bars.symbol == VICTIM) & bars.minute.between(100, 119)
        bars.loc[gone, ["open", "high", "low", "close", "vwap"]] = np.nan
        bars.loc[gone, ["volume", "trade_count"]] = 0
        return bars.assign(observed=bars.observed & ~gone)

    return change_bars(data, change, tape=True)


def repeated_minute(data: CheckInput) -> CheckInput:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        rows = of_victim(bars)
        bars.loc[rows[200]] = bars.loc[rows[199]]
        return bars

    return change_bars(data, change)


def off_grid(data: CheckInput) -> CheckInput:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        bars.loc[of_victim(bars)[50], "start_at"] += pd.Timedelta(seconds=17)
        return bars

    return change_bars(data, change)


def bars_of_another_day(data: CheckInput) -> CheckInput:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        bars.loc[of_victim(bars), "start_at"] -= pd.Timedelta(days=1)
        return bars

    return change_bars(data, change)


def duplicated_trades(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        again = tape.loc[of_victim(tape)[300:320]]
        return pd.concat([tape, again]).sort_values(["symbol", "ts_ns"], kind="stable")

    return change_tape(data, change)


def price_spike(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        setters = tape.index[(tape.symbol == VICTIM) & ~tape.conditions.str.contains("[IT]")]
        tape.loc[setters[200], "price"] *= 10
        return tape

    return change_tape(data, change)


def price_collapse(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        setters = tape.index[(tape.symbol == VICTIM) & ~tape.conditions.str.contains("[IT]")]
        tape.loc[setters[200], "price"] /= 10
        return tape

    return change_tape(data, change)


def shifted(hours: int) -> Damage:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        tape.loc[of_victim(tape), "ts_ns"] += hours * HOUR_NS
        return tape

    return lambda data: change_tape(data, change)


def extended(data: CheckInput) -> CheckInput:
    """Mark part of the regular trades as extended, as where the open is an hour too early."""

    def change(tape: pd.DataFrame) -> pd.DataFrame:
        tape.loc[of_victim(tape)[100:140], "conditions"] = " ,T"
        return tape

    return change_tape(data, change)


def shifted_and_cut(data: CheckInput) -> CheckInput:
    """Shift a tape by an hour and keep regular hours only, as a fetch of that window would."""
    opens, closes = (int(t.timestamp()) * 10**9 for t in _hours(data))

    def change(tape: pd.DataFrame) -> pd.DataFrame:
        tape = tape[(tape.ts_ns >= opens) & (tape.ts_ns < closes)].copy()
        tape.loc[of_victim(tape), "ts_ns"] += HOUR_NS
        return tape[tape.ts_ns < closes]

    return change_tape(data, change)


def _hours(data: CheckInput) -> tuple:
    return data.session.opens_at, data.session.closes_at


def frozen_feed(data: CheckInput) -> CheckInput:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        stuck = bars.index[(bars.symbol == VICTIM) & bars.observed][100:160]
        columns = ["open", "high", "low", "close", "vwap", "volume", "trade_count"]
        bars.loc[stuck, columns] = bars.loc[stuck[0], columns].to_numpy()
        return bars

    return change_bars(data, change)


def stuck_price(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        rows = of_victim(tape)[200:1400]
        tape.loc[rows, "price"] = tape.loc[rows[0], "price"]
        return tape

    return change_tape(data, change)


def truncated_tape(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        return tape.drop(of_victim(tape)[700:])

    return change_tape(data, change)


def late_start(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        return tape.drop(of_victim(tape)[:700])

    return change_tape(data, change)


def with_history(**known: object) -> Damage:
    def damage(data: CheckInput) -> CheckInput:
        ordinary = history_of(data)
        return dataclasses.replace(
            data, history=ordinary | {VICTIM: dataclasses.replace(ordinary[VICTIM], **known)}
        )

    return damage


def history_of(data: CheckInput) -> dict[str, SymbolHistory]:
    """Return a history in which this session is an ordinary one."""
    bars = data.bars.to_pandas()
    seen = bars[bars.observed].groupby("symbol")
    return {
        symbol: SymbolHistory(
            last_close=rows.open.iloc[0] * 1.01,
            median_volume=rows.volume.sum() * 0.8,
            median_trade_count=rows.trade_count.sum() * 1.2,
            bars_hash="0" * 64,
        )
        for symbol, rows in seen
    }


def unadjusted_split(data: CheckInput) -> CheckInput:
    close = history_of(data)[VICTIM].last_close
    return with_history(last_close=close * 4)(data)


def reverse_split(data: CheckInput) -> CheckInput:
    close = history_of(data)[VICTIM].last_close
    return with_history(last_close=close / 10)(data)


def adjusted_twice(data: CheckInput) -> CheckInput:
    return dataclasses.replace(with_history()(data), splits={VICTIM: 4.0})


def republished(data: CheckInput) -> CheckInput:
    """Serve yesterday's bars again under today's date."""
    yesterday = make_input(seed=11, trades=1500, day=data.session.day - timedelta(days=1))
    return with_history(bars_hash=bars_fingerprints(yesterday.bars)[VICTIM])(data)


def absurd_session_volume(data: CheckInput) -> CheckInput:
    return with_history(median_volume=history_of(data)[VICTIM].median_volume / 500)(data)


def mixed_feeds(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        rows = of_victim(tape)
        tape.loc[rows, "exchange"] = np.resize(list("DQVPK"), rows.size)
        return tape

    return change_tape(data, change)


def unknown_condition(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        tape.loc[of_victim(tape)[100:150], "conditions"] = "@,?"
        return tape

    return change_tape(data, change, rebuild=False)


def disordered(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        rows = of_victim(tape)
        tape.loc[rows] = tape.loc[np.concatenate((rows[800:], rows[:800]))].to_numpy()
        return tape.infer_objects()

    return change_tape(data, change, rebuild=False)


def lost_trades(data: CheckInput) -> CheckInput:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        return tape.drop(of_victim(tape)[500:560])

    return change_tape(data, change, rebuild=False)


def rejected_trades(data: CheckInput) -> CheckInput:
    return dataclasses.replace(data, rejected={VICTIM: Rejected(400, ('{"p": "x"}',))})


DAMAGES: dict[str, tuple[Damage, str]] = {
    "missing symbol": (missing_symbol, "symbol_has_bars"),
    "failed fetch": (failed_symbol, "symbol_was_fetched"),
    "symbol nobody asked for": (unasked_symbol, "symbol_was_asked_for"),
    "missing rows": (missing_rows, "bars_fill_the_session"),
    "missing minutes": (missing_minutes, "traded_minutes_have_bars"),
    "repeated minute": (repeated_minute, "minutes_are_unique"),
    "minute off the grid": (off_grid, "minutes_lie_on_the_grid"),
    "bars of another day": (bars_of_another_day, "bars_belong_to_the_session"),
    "duplicated trades": (duplicated_trades, "trades_are_unique"),
    "negative price": (set_trade("price", -12.5), "trade_prices_are_positive"),
    "zero price": (set_trade("price", 0.0), "trade_prices_are_positive"),
    "price that is not a number": (set_trade("price", np.nan), "trade_prices_are_positive"),
    "zero size": (set_trade("size", 0), "trade_sizes_are_positive"),
    "absurd size": (set_trade("size", 4_294_967_295), "trade_sizes_are_plausible"),
    "absurd volume": (absurd_session_volume, "volume_is_plausible"),
    "spike of ten times": (price_spike, "prices_do_not_spike"),
    "collapse to a tenth": (price_collapse, "prices_do_not_spike"),
    "crossed high and low": (scale_bar("low", 1.2), "high_is_not_below_low"),
    "close above the high": (scale_bar("close", 1.2), "open_and_close_lie_in_range"),
    "vwap in another unit": (scale_bar("vwap", 100), "vwap_lies_near_the_range"),
    "no close in a bar": (set_bar("close", np.nan), "observed_bars_are_complete"),
    "infinite high": (set_bar("high", np.inf), "observed_bars_are_complete"),
    "bar price below zero": (set_bar("low", -1.0), "bar_prices_are_positive"),
    "bar without volume": (set_bar("volume", 0), "volumes_are_positive"),
    "filled silent minute": (set_bar("observed", False), "silent_minutes_are_empty"),
    "clock an hour late": (shifted(1), "regular_trades_lie_inside_the_session"),
    "clock an hour early": (shifted(-1), "regular_trades_lie_inside_the_session"),
    "extended trades in the session": (extended, "extended_trades_lie_outside_the_session"),
    "clock an hour late, cut": (shifted_and_cut, "trading_starts_at_the_open"),
    "frozen feed": (frozen_feed, "bars_are_not_frozen"),
    "stuck price": (stuck_price, "the_price_is_not_stuck"),
    "truncated tape": (truncated_tape, "trading_lasts_to_the_close"),
    "tape that starts late": (late_start, "trading_starts_at_the_open"),
    "unadjusted split": (unadjusted_split, "open_follows_the_previous_close"),
    "unadjusted reverse split": (reverse_split, "open_follows_the_previous_close"),
    "split that never happened": (adjusted_twice, "announced_splits_took_place"),
    "mixed feeds": (mixed_feeds, "trades_come_from_the_feed"),
    "wrong session": (shifted(-24), "trades_belong_to_the_session"),
    "future time stamp": (shifted(20), "trades_are_not_from_the_future"),
    "unknown condition": (unknown_condition, "trade_conditions_are_known"),
    "pages in the wrong order": (disordered, "trades_are_in_time_order"),
    "bars that count lost trades": (lost_trades, "bars_count_the_tape"),
    "miscounted volume": (set_bar("volume", 7, tape=True), "bars_count_the_tape"),
    "malformed trades": (rejected_trades, "few_trades_were_rejected"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_caught_by_name_and_quarantines_its_symbol_only(
    clean: CheckInput, damage: str
) -> None:
    inject, expectation = DAMAGES[damage]
    result = check_session(inject(clean))
    assert broken(result, "critical").get(expectation) == (VICTIM,)
    assert list(result.quarantined) == [VICTIM]
    assert result.verdict is Decision.PUBLISH
    assert result.published == tuple(s for s in SYMBOLS if s != VICTIM)


def test_republished_session_is_caught_by_its_bars(clean: CheckInput) -> None:
    yesterday = make_session(clean.session.day - timedelta(days=1))
    tape = make_tape(VICTIM, yesterday, 1500, seed=11, feed=Feed.IEX)
    before = from_tape(tape, yesterday, (VICTIM,))
    again = tape.assign(ts_ns=tape.ts_ns + DAY_NS)
    rest = clean.tape.to_pandas()
    whole = pd.concat([rest[rest.symbol != VICTIM], again]).sort_values(
        ["symbol", "ts_ns"], kind="stable"
    )
    data = from_tape(
        whole.reset_index(drop=True),
        clean.session,
        SYMBOLS,
        history={VICTIM: SymbolHistory(bars_hash=bars_fingerprints(before.bars)[VICTIM])},
    )
    result = check_session(data)
    assert broken(result, "critical") == {"session_is_not_a_repeat": (VICTIM,)}
    assert list(result.quarantined) == [VICTIM]


def test_consolidated_tape_that_is_only_iex_is_caught() -> None:
    data = make_input(seed=12, feed=Feed.SIP, symbols=SYMBOLS[:11])
    assert check_session(data).critical == 0

    def change(tape: pd.DataFrame) -> pd.DataFrame:
        tape.loc[of_victim(tape), "exchange"] = "V"
        return tape

    result = check_session(change_tape(data, change))
    assert broken(result, "critical") == {"the_tape_is_consolidated": (VICTIM,)}


def everywhere(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Damage:
    return lambda data: change_tape(data, change)


def before_one_o_clock(data: CheckInput) -> CheckInput:
    noon = int((data.session.opens_at + timedelta(hours=3.5)).timestamp()) * 10**9
    return change_tape(data, lambda tape: tape[tape.ts_ns < noon])


def silent_stretch(data: CheckInput) -> CheckInput:
    start = int((data.session.opens_at + timedelta(hours=2)).timestamp()) * 10**9
    stop = start + HOUR_NS // 2
    return change_tape(data, lambda tape: tape[(tape.ts_ns < start) | (tape.ts_ns >= stop)])


def cut_an_hour_late(data: CheckInput) -> CheckInput:
    opens = int(data.session.opens_at.timestamp()) * 10**9
    return change_tape(data, lambda tape: tape[tape.ts_ns >= opens + HOUR_NS])


SESSION_DAMAGES: dict[str, tuple[Damage, str]] = {
    "nothing at all": (everywhere(lambda tape: tape[:0]), "the_market_traded"),
    "truncated day": (before_one_o_clock, "the_session_lasts_to_the_close"),
    "late window": (cut_an_hour_late, "the_session_starts_at_the_open"),
    "lost stretch": (silent_stretch, "the_market_is_never_silent_for_long"),
}


@pytest.mark.parametrize("damage", SESSION_DAMAGES)
def test_damage_to_all_symbols_refuses_the_session(clean: CheckInput, damage: str) -> None:
    inject, expectation = SESSION_DAMAGES[damage]
    result = check_session(inject(clean))
    assert expectation in broken(result, "critical")
    assert result.verdict is Decision.REFUSE
    assert result.published == ()
    assert result.sentence.startswith("The session 2024-03-05 on IEX is refused: no symbol has ")


def test_trades_of_another_day_everywhere_refuse_the_session(clean: CheckInput) -> None:
    def change(tape: pd.DataFrame) -> pd.DataFrame:
        return tape.assign(ts_ns=tape.ts_ns - DAY_NS)

    result = check_session(change_tape(clean, change, rebuild=False))
    assert broken(result, "critical")["trades_belong_to_the_session"] == SYMBOLS
    assert result.verdict is Decision.REFUSE
    assert "0 of 12 symbols are fit to publish, fewer than the 90 % asked for" in result.sentence


def test_too_few_sound_symbols_refuse_the_session(clean: CheckInput) -> None:
    lost = {"AAPL", "BAC"}
    data = change_tape(clean, lambda tape: tape[~tape.symbol.isin(lost)])
    result = check_session(data)
    assert result.verdict is Decision.REFUSE
    assert set(result.quarantined) == lost
    assert "10 of 12 symbols" in result.sentence
    assert "symbol_has_bars fails for 2" in result.sentence
    lenient = check_session(data, min_symbols_published=0.8)
    assert lenient.verdict is Decision.PUBLISH
    assert len(lenient.published) == 10


WARNINGS: dict[str, tuple[Damage, str]] = {
    "vwap just outside": (scale_bar("vwap", 1.01), "vwap_lies_in_range"),
    "one stray condition": (set_trade("conditions", "@,?", rebuild=False), "no_condition_is_new"),
    "busy day": (with_history(median_volume=500.0), "volume_is_usual"),
    "quiet day": (with_history(median_trade_count=1e6), "trade_count_is_usual"),
    "one malformed trade": (
        lambda data: dataclasses.replace(data, rejected={VICTIM: Rejected(1, ("{}",))}),
        "no_trade_was_rejected",
    ),
}


@pytest.mark.parametrize("damage", WARNINGS)
def test_what_is_only_odd_warns_and_is_published(clean: CheckInput, damage: str) -> None:
    inject, expectation = WARNINGS[damage]
    result = check_session(inject(clean))
    assert VICTIM in broken(result, "warning")[expectation]
    assert result.verdict is Decision.PUBLISH


def test_halted_symbol_is_published_with_a_warning(clean: CheckInput) -> None:
    start = int((clean.session.opens_at + timedelta(hours=2)).timestamp()) * 10**9

    def halt(tape: pd.DataFrame) -> pd.DataFrame:
        stopped = (tape.ts_ns >= start) & (tape.ts_ns < start + HOUR_NS)
        return tape[~((tape.symbol == VICTIM) & stopped)]

    result = check_session(change_tape(clean, halt))
    assert broken(result) == {"trading_has_no_long_gap": (VICTIM,)}
    assert VICTIM in result.published


def test_a_true_split_passes(clean: CheckInput) -> None:
    history = history_of(clean)
    before = dataclasses.replace(history[VICTIM], last_close=history[VICTIM].last_close * 4)
    data = dataclasses.replace(clean, history=history | {VICTIM: before}, splits={VICTIM: 4.0})
    assert broken(check_session(data)) == {}


def test_examples_show_the_offending_trades(clean: CheckInput) -> None:
    data = set_trade("price", -12.5)(clean)
    result = check_session(data)
    (found,) = [r for r in result.results if r.expectation == "trade_prices_are_positive"]
    tape = data.tape.to_pandas()
    (row,) = tape[tape.price == -12.5].itertuples()
    assert found.unexpected_count == 1
    assert found.element_count == len(tape)
    assert len(found.examples) == 1
    assert found.examples[0]["symbol"] == VICTIM
    assert found.examples[0]["price"] == -12.5
    assert found.examples[0]["id"] == row.id
    assert found.examples[0]["time"].startswith("2024-03-05T")


def test_a_reader_of_single_symbols_gives_the_same_answer_as_a_table(clean: CheckInput) -> None:
    data = duplicated_trades(clean)
    parts = {
        symbol: to_table(rows, TRADE_SCHEMA)
        for symbol, rows in data.tape.to_pandas().groupby("symbol")
    }
    streamed, whole = check_session(dataclasses.replace(data, tape=parts.get)), check_session(data)
    assert streamed.results == whole.results
    assert streamed.quarantined == whole.quarantined
    assert (streamed.coverage.level == whole.coverage.level).all()
