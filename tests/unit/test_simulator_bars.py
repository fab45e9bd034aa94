"""The simulator's bar builder against Alpaca's table, worked out by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from alpaca_strategy.simulator import bars
from alpaca_strategy.simulator.bars import MINUTE, Bar, Timeframe
from alpaca_strategy.simulator.tape import CANCELED, CORRECTED, INCORRECT, Tape

DAY = date(2026, 10, 1)
OPEN = bars.midnight_ns(DAY) + 570 * MINUTE


def tape(
    *trades: tuple[float, float, int, str], plan: str = "C", update: dict[int, int] | None = None
) -> Tape:
    """Return a tape of (second after the open, price, size, conditions)."""
    marks = tuple(tuple(conditions) for *_, conditions in trades)
    codes = np.zeros(len(trades), np.uint8)
    for row, code in (update or {}).items():
        codes[row] = code
    return Tape(
        np.array([OPEN + int(second * 1e9) for second, *_ in trades], np.int64),
        np.array([price for _, price, *_ in trades]),
        np.array([size for _, _, size, _ in trades], np.int64),
        np.full(len(trades), ord("V"), np.uint8),
        np.arange(len(trades), dtype=np.int16),
        np.arange(len(trades), dtype=np.int64),
        codes,
        plan,
        marks,
    )


def ohlcv(bar: Bar) -> tuple[float, float, float, float, int, int]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume, bar.count


def minute(*trades: tuple[float, float, int, str], **more: object) -> list[Bar]:
    return bars.from_trades(tape(*trades, **more), DAY, daily=False)  # type: ignore[arg-type]


def test_a_regular_trade_sets_everything_and_an_odd_lot_only_counts() -> None:
    (bar,) = minute((0, 10.0, 100, "@"), (1, 12.0, 7, "@I"), (2, 11.0, 200, "@F"))
    assert ohlcv(bar) == (10.0, 11.0, 10.0, 11.0, 307, 3)
    assert bar.vwap == pytest.approx((10 * 100 + 11 * 200) / 300)  # the odd lot has no say


def test_a_minute_of_odd_lots_alone_has_no_bar() -> None:
    assert minute((0, 10.0, 7, "@I")) == []


def test_official_prices_do_nothing_in_a_minute() -> None:
    (bar,) = minute((0, 9.0, 5000, "@Q"), (1, 10.0, 100, "@"), (2, 11.0, 5000, "@M"))
    assert ohlcv(bar) == (10.0, 10.0, 10.0, 10.0, 100, 1)


def test_b_is_bunched_on_tape_c_and_an_average_price_elsewhere() -> None:
    trades = [(0.0, 10.0, 100, " "), (1.0, 12.0, 100, " B")]
    assert ohlcv(minute(*trades, plan="C")[0])[1] == 12.0
    assert ohlcv(minute(*trades, plan="A")[0])[1] == 10.0


def test_the_strictest_of_several_conditions_wins() -> None:
    (bar,) = minute((0, 10.0, 100, "@"), (1, 12.0, 100, "@FTI"))
    assert ohlcv(bar) == (10.0, 10.0, 10.0, 10.0, 200, 2)


def test_extended_hours_set_a_minute_but_only_count_in_a_day() -> None:
    trades = tape((-60, 9.0, 100, "@T"), (0, 10.0, 100, "@"), (60, 11.0, 50, "@"))
    assert [ohlcv(bar)[0] for bar in bars.from_trades(trades, DAY, daily=False)] == [
        9.0,
        10.0,
        11.0,
    ]
    (day,) = bars.from_trades(trades, DAY, daily=True)
    assert ohlcv(day) == (10.0, 11.0, 10.0, 11.0, 250, 3)


def test_a_late_sale_opens_a_day_only_when_it_comes_first() -> None:
    first = tape((0, 9.0, 100, "@Z"), (1, 10.0, 100, "@"))
    later = tape((0, 10.0, 100, "@"), (1, 9.0, 100, "@Z"))
    assert ohlcv(bars.from_trades(first, DAY, daily=True)[0]) == (9.0, 10.0, 9.0, 10.0, 200, 2)
    assert ohlcv(bars.from_trades(later, DAY, daily=True)[0]) == (10.0, 10.0, 9.0, 10.0, 200, 2)


def test_withdrawn_trades_are_left_out_and_corrections_take_their_place() -> None:
    (bar,) = minute(
        (0, 10.0, 100, "@"), (1, 99.0, 100, "@"), (1, 11.0, 100, "@"), (2, 50.0, 1, "@"),
        update={1: INCORRECT, 2: CORRECTED, 3: CANCELED},
    )  # fmt: skip
    assert ohlcv(bar) == (10.0, 11.0, 10.0, 11.0, 200, 2)


def test_a_trade_at_the_full_minute_belongs_to_the_next_bar() -> None:
    first, second = minute((59.999999, 10.0, 100, "@"), (60, 11.0, 100, "@"))
    assert (first.start, first.close) == (OPEN, 10.0)
    assert (second.start, second.open) == (OPEN + MINUTE, 11.0)


def test_longer_bars_are_made_of_minutes() -> None:
    small = minute(
        (0, 10.0, 100, "@"), (60, 12.0, 300, "@"), (240, 8.0, 100, "@"), (300, 9.0, 100, "@")
    )
    first, second = bars.regroup(small, Timeframe.parse("5Min"))
    assert (first.start, ohlcv(first)) == (OPEN, (10.0, 12.0, 8.0, 8.0, 500, 3))
    assert first.vwap == pytest.approx((10 * 100 + 12 * 300 + 8 * 100) / 500)
    assert second.start == OPEN + 5 * MINUTE
    (hour,) = bars.regroup(small, Timeframe.parse("1H"))
    assert hour.start == OPEN - 30 * MINUTE  # hours start on the hour of the day


@pytest.mark.parametrize("text", ["", "0Min", "60Min", "24H", "2Day", "5Month", "1Year", "Min"])
def test_a_timeframe_that_the_venue_lacks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        Timeframe.parse(text)
