# ruff: noqa: PLR0917, FBT001 - compiled functions take arrays by position
"""The compiled pass over the tape: trades in, minute statistics out.

One state row per symbol is carried from trade to trade, so that feeding a day at once, in chunks,
or one trade at a time does the same operations in the same order and gives the same bits. Sums of
prices and sizes are taken as distances from the first value of the minute: that keeps their
digits, and makes a minute at one price exact.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numba
import numpy as np

from alpaca_strategy.market.conditions import (
    CLOSING,
    HIGH_LOW,
    ODD_LOT,
    OPEN_CLOSE,
    OPENING,
    REGULAR,
    TICK,
    VOLUME,
)
from alpaca_strategy.market.schema import BAR_COLUMNS

MINUTE_NS: Final = 60_000_000_000
_FOREVER: Final = 2**63 - 1
_REGULAR_SHIFT: Final = REGULAR.bit_length() - 1
_ODD_LOT_SHIFT: Final = ODD_LOT.bit_length() - 1
_TICK_SHIFT: Final = TICK.bit_length() - 1
_HIGH_LOW_SHIFT: Final = HIGH_LOW.bit_length() - 1

# Floating state of a symbol. All but the last belong to the open minute.
(
    _OPEN,
    _HIGH,
    _LOW,
    _CLOSE,
    _PRICE_0,  # first price of the minute that may set high or low
    _PRICE_SUM,  # of distances from it, over the trades that may set high or low
    _PRICE_SQUARES,
    _PRICE_SIZE,  # distance times size, over those of them that count in volume
    _DOLLARS,
    _SIZE_SUM,  # of distances from the first size
    _SIZE_SQUARES,
    _LAST_PRICE,  # of the tick rule; carried through the session
) = range(12)
FLOAT_STATE: Final = 12

# Integer state. From _SIGN on it is carried through the session, the rest is the minute's.
(
    _OPENS,  # trades that may set open and close
    _PRICES,  # trades that may set high and low
    _PRICED_VOLUME,
    _VOLUME,
    _COUNT,
    _REGULARS,
    _ODD_LOTS,
    _FROM_100,
    _FROM_500,
    _FROM_2000,
    _BUY_VOLUME,
    _SELL_VOLUME,
    _BUYS,
    _SELLS,
    _SIZE_0,
    _SIZE_MAX,
    _FIRST_TS,
    _CLOSE_IS_SET,  # by the closing auction
    _SIGN,
    _MINUTE,  # the open one, or -1
    _LAST_TS,  # of the last counted trade, 0 before the first
    _BEFORE_TS,  # of the last counted trade before the open minute, 0 for none
    _LAST_BAR,  # the last minute with a bar, or -1
    _OPENING_SEEN,
    _CLOSING_SEEN,
) = range(25)
INT_STATE: Final = 25

# Numba keeps compiled code until this file changes, with the values that other files' constants
# had then. So what is compiled in is repeated here, and must be changed here too.
_COLUMNS: Final = (
    "open", "high", "low", "close", "vwap", "volume", "trade_count", "price_mean", "price_std",
    "dollar_volume", "regular_count", "odd_lot_count", "tiny_count", "small_count", "mid_count",
    "large_count", "buy_volume", "sell_volume", "buy_count", "sell_count", "size_std", "size_max",
    "intertrade_ms_mean",
)  # fmt: skip
_BITS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_IN_FORCE = (OPEN_CLOSE, HIGH_LOW, VOLUME, TICK, REGULAR, ODD_LOT, OPENING, CLOSING)
if _COLUMNS != BAR_COLUMNS or _BITS != _IN_FORCE:
    msg = "The columns or bits of market/kernel.py differ from schema.py or conditions; align them."
    raise RuntimeError(msg)

_COL = {name: i for i, name in enumerate(_COLUMNS)}
_C_OPEN, _C_HIGH, _C_LOW, _C_CLOSE = (_COL[n] for n in ("open", "high", "low", "close"))
_C_VWAP, _C_MEAN, _C_STD = (_COL[n] for n in ("vwap", "price_mean", "price_std"))
_C_VOLUME, _C_COUNT, _C_DOLLARS = (_COL[n] for n in ("volume", "trade_count", "dollar_volume"))
_C_REGULAR, _C_ODD = _COL["regular_count"], _COL["odd_lot_count"]
_C_TINY, _C_SMALL, _C_MID, _C_LARGE = (
    _COL[n] for n in ("tiny_count", "small_count", "mid_count", "large_count")
)
_C_BUY_VOLUME, _C_SELL_VOLUME = _COL["buy_volume"], _COL["sell_volume"]
_C_BUYS, _C_SELLS = _COL["buy_count"], _COL["sell_count"]
_C_SIZE_STD, _C_SIZE_MAX = _COL["size_std"], _COL["size_max"]
_C_BETWEEN = _COL["intertrade_ms_mean"]

#: Columns that are NaN where there is nothing to measure; the others are 0.
NAN_COLUMNS: Final = (
    _C_OPEN,
    _C_HIGH,
    _C_LOW,
    _C_CLOSE,
    _C_VWAP,
    _C_MEAN,
    _C_STD,
    _C_SIZE_STD,
    _C_BETWEEN,
)


def new_state(symbols: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the state before the first trade: floats and integers, one row a symbol."""
    floats = np.zeros((symbols, FLOAT_STATE))
    floats[:, _LAST_PRICE] = np.nan
    integers = np.zeros((symbols, INT_STATE), np.int64)
    integers[:, [_MINUTE, _LAST_BAR]] = -1
    return floats, integers


def open_minute(integers: Any) -> int:
    """Return the minute that a symbol's state has begun and not written, or -1."""
    return int(integers[_MINUTE])


def last_bar(integers: Any) -> int:
    """Return the last minute with a bar of a symbol's state, or -1."""
    return int(integers[_LAST_BAR])


@numba.njit(cache=True, nogil=True)
def first_late(ts: Any, run_starts: Any, run_rows: Any, newest: Any) -> int:
    """Return the first trade older than one of its symbol before it, or -1; update ``newest``.

    ``newest`` is only updated when no trade is late.
    """
    after = newest.copy()
    for r in range(len(run_rows)):
        row = run_rows[r]
        if row < 0:
            continue
        low, high = run_starts[r], run_starts[r + 1]
        if ts[low] < after[row]:
            return int(low)
        later, earlier = ts[low + 1 : high], ts[low : high - 1]
        late = 0
        for i in range(len(later)):  # without a way out, so that it becomes vector instructions
            late |= int(later[i] < earlier[i])
        for i in range(len(later) if late else 0):
            if later[i] < earlier[i]:
                return int(low + 1 + i)
        after[row] = ts[high - 1]
    newest[:] = after
    return -1


@numba.njit(cache=True, nogil=True)
def feed(
    ts: Any,
    price: Any,
    size: Any,
    codes: Any,
    bits: Any,
    exchange_offsets: Any,
    exchange: Any,
    run_starts: Any,
    run_rows: Any,
    primary: Any,
    opens: int,
    joins_previous: bool,
    floats: Any,
    integers: Any,
    out: Any,
    seen: Any,
) -> None:
    """Take trades into the state, and write each minute that they end.

    Args:
        ts: Nanoseconds since 1970 UTC, never falling within a symbol.
        price: USD.
        size: Shares.
        codes: Into ``bits``.
        bits: What a trade of that code updates (see `conditions`).
        exchange_offsets: Where each trade's exchange letter is in ``exchange``.
        exchange: Bytes.
        run_starts: First trade of each run of one symbol, and the end.
        run_rows: The state row of each run; below 0 to pass over it.
        primary: The letter of each row's primary exchange, 0 where auctions are like any trade.
        opens: The session's open, nanoseconds since 1970 UTC.
        joins_previous: Whether a minute without prices goes to the bar before it.
        floats: State, changed in place.
        integers: State, changed in place.
        out: Shape (columns, rows, minutes), changed in place.
        seen: Shape (rows, minutes): whether the minute has a bar; changed in place.
    """
    minutes = out.shape[2]
    for r in range(len(run_rows)):
        row = run_rows[r]
        if row < 0:
            continue
        f, k = floats[row], integers[row]
        i, end = run_starts[r], run_starts[r + 1]
        while i < end:
            minute = (ts[i] - opens) // MINUTE_NS
            stop, until = end, opens + (minute + 1) * MINUTE_NS
            if minute < 0:
                i += 1
                continue
            if minute >= minutes:
                # only a closing auction is booked after the close, into the last minute
                if not (bits[codes[i]] & CLOSING and primary[row] and k[_CLOSING_SEEN] == 0):
                    i += 1
                    continue
                minute, stop, until = minutes - 1, i + 1, _FOREVER
            if minute != k[_MINUTE]:
                _end_minute(f, k, row, joins_previous, out, seen)
                _start_minute(f, k, minute)
            i = _take(
                ts, price, size, codes, bits, exchange_offsets, exchange, primary[row],
                i, stop, until, f, k,
            )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def finish(joins_previous: bool, floats: Any, integers: Any, out: Any, seen: Any) -> None:
    """Write the minute that is still open in every row."""
    for row in range(len(floats)):
        _end_minute(floats[row], integers[row], row, joins_previous, out, seen)
        integers[row, _MINUTE] = -1


@numba.njit(cache=True, nogil=True)
def _start_minute(f: Any, k: Any, minute: int) -> None:
    for j in range(_LAST_PRICE):
        f[j] = 0.0
    for j in range(_SIGN):
        k[j] = 0
    k[_MINUTE] = minute
    k[_BEFORE_TS] = k[_LAST_TS]


@numba.njit(cache=True, nogil=True)
def _take(  # noqa: PLR0915 - the hot loop: locals live in registers
    ts: Any, price: Any, size: Any, codes: Any, bits: Any, exchange_offsets: Any, exchange: Any,
    primary: int, i: int, end: int, until: int, f: Any, k: Any,
) -> int:  # fmt: skip
    """Take the trades of one minute, from i up to the time ``until``; return the next trade."""
    high, low, close, opened = f[_HIGH], f[_LOW], f[_CLOSE], f[_OPEN]
    price_0, price_sum, price_squares = f[_PRICE_0], f[_PRICE_SUM], f[_PRICE_SQUARES]
    price_size, dollars = f[_PRICE_SIZE], f[_DOLLARS]
    size_sum, size_squares, last_price = f[_SIZE_SUM], f[_SIZE_SQUARES], f[_LAST_PRICE]
    opens, prices, priced_volume, volume = k[_OPENS], k[_PRICES], k[_PRICED_VOLUME], k[_VOLUME]
    count, regulars, odd_lots = k[_COUNT], k[_REGULARS], k[_ODD_LOTS]
    from_100, from_500, from_2000 = k[_FROM_100], k[_FROM_500], k[_FROM_2000]
    buy_volume, sell_volume, buys, sells = k[_BUY_VOLUME], k[_SELL_VOLUME], k[_BUYS], k[_SELLS]
    size_0, size_max, first_ts = k[_SIZE_0], k[_SIZE_MAX], k[_FIRST_TS]
    sign, last_ts, close_is_set = k[_SIGN], k[_LAST_TS], k[_CLOSE_IS_SET]
    # Whether a trade prices or ticks is close to a coin toss on a tape full of odd lots, and a
    # mispredicted branch costs more than all this arithmetic: hence the selections.
    while i < end and ts[i] < until:
        b, p, q, at = np.int64(bits[codes[i]]), price[i], size[i], ts[i]
        if b & (OPENING | CLOSING) and primary:
            letter = exchange_offsets[i]
            ours = exchange_offsets[i + 1] > letter and exchange[letter] == primary
            seen = _OPENING_SEEN if b & OPENING else _CLOSING_SEEN
            if not ours or k[seen]:
                i += 1
                continue
            k[seen] = 1
            if b & OPENING and b & OPEN_CLOSE and k[_MINUTE] == 0:
                opens = 0  # whatever was the open before
        i += 1
        if not b & VOLUME:
            continue
        if count == 0:
            size_0, first_ts = q, at
        count += 1
        volume += q
        dollars += p * q
        regulars += (b >> _REGULAR_SHIFT) & 1
        odd_lots += (b >> _ODD_LOT_SHIFT) & 1
        from_100 += q >= 100
        from_500 += q >= 500
        from_2000 += q >= 2000
        e = float(q - size_0)
        size_sum += e
        size_squares += e * e
        size_max = max(size_max, q)
        last_ts = at

        ticks = (b >> _TICK_SHIFT) & 1
        move = np.int64(p > last_price) - np.int64(p < last_price)
        sign = move if ticks & move else sign
        last_price = p if ticks else last_price
        bought, sold = ticks & np.int64(sign > 0), ticks & np.int64(sign < 0)
        buys += bought
        sells += sold
        buy_volume += q & -bought
        sell_volume += q & -sold

        prices_too = (b >> _HIGH_LOW_SHIFT) & 1
        if prices == 0 and prices_too:
            high = low = price_0 = p
        x = p if prices_too else price_0  # at no distance from price_0 it changes nothing
        high, low = max(high, x), min(low, x)
        d = x - price_0
        price_sum += d
        price_squares += d * d
        price_size += d * q
        prices += prices_too
        priced_volume += q & -prices_too

        sets = b & OPEN_CLOSE
        if opens == 0 and sets:
            opened = p
        opens += sets
        close = p if sets & ~close_is_set else close
        if b & CLOSING and primary:
            close_is_set = 1
    f[_HIGH], f[_LOW], f[_CLOSE], f[_OPEN] = high, low, close, opened
    f[_PRICE_0], f[_PRICE_SUM], f[_PRICE_SQUARES] = price_0, price_sum, price_squares
    f[_PRICE_SIZE], f[_DOLLARS] = price_size, dollars
    f[_SIZE_SUM], f[_SIZE_SQUARES], f[_LAST_PRICE] = size_sum, size_squares, last_price
    k[_OPENS], k[_PRICES], k[_PRICED_VOLUME], k[_VOLUME] = opens, prices, priced_volume, volume
    k[_COUNT], k[_REGULARS], k[_ODD_LOTS] = count, regulars, odd_lots
    k[_FROM_100], k[_FROM_500], k[_FROM_2000] = from_100, from_500, from_2000
    k[_BUY_VOLUME], k[_SELL_VOLUME], k[_BUYS], k[_SELLS] = buy_volume, sell_volume, buys, sells
    k[_SIZE_0], k[_SIZE_MAX], k[_FIRST_TS] = size_0, size_max, first_ts
    k[_SIGN], k[_LAST_TS], k[_CLOSE_IS_SET] = sign, last_ts, close_is_set
    return i


@numba.njit(cache=True, nogil=True)
def _deviation(total: float, squares: float, n: int) -> float:
    """Return the sample standard deviation from sums of distances; NaN for fewer than two."""
    if n < 2:
        return np.nan
    return math.sqrt(max(0.0, squares - total * total / n) / (n - 1))


@numba.njit(cache=True, nogil=True)
def _end_minute(f: Any, k: Any, row: int, joins_previous: bool, out: Any, seen: Any) -> None:
    """Write the row's open minute, if there is one."""
    minute, n = k[_MINUTE], k[_COUNT]
    if minute < 0 or n == 0:
        return
    has_bar = k[_OPENS] > 0 and k[_PRICES] > 0 and k[_VOLUME] > 0
    at = minute
    if joins_previous and not has_bar:
        at = k[_LAST_BAR]
        if at < 0:
            return
    out[_C_VOLUME, row, at] += k[_VOLUME]
    out[_C_COUNT, row, at] += n
    out[_C_DOLLARS, row, at] += f[_DOLLARS]
    out[_C_REGULAR, row, at] += k[_REGULARS]
    out[_C_ODD, row, at] += k[_ODD_LOTS]
    out[_C_TINY, row, at] += n - k[_FROM_100]
    out[_C_SMALL, row, at] += k[_FROM_100] - k[_FROM_500]
    out[_C_MID, row, at] += k[_FROM_500] - k[_FROM_2000]
    out[_C_LARGE, row, at] += k[_FROM_2000]
    out[_C_BUY_VOLUME, row, at] += k[_BUY_VOLUME]
    out[_C_SELL_VOLUME, row, at] += k[_SELL_VOLUME]
    out[_C_BUYS, row, at] += k[_BUYS]
    out[_C_SELLS, row, at] += k[_SELLS]
    out[_C_SIZE_MAX, row, at] = max(out[_C_SIZE_MAX, row, at], k[_SIZE_MAX])
    if at != minute:
        return
    out[_C_SIZE_STD, row, at] = _deviation(f[_SIZE_SUM], f[_SIZE_SQUARES], n)
    # the gap before the first trade of the minute belongs to it; the session's first has none
    start = k[_BEFORE_TS] if k[_BEFORE_TS] > 0 else k[_FIRST_TS]
    gaps = n if k[_BEFORE_TS] > 0 else n - 1
    if gaps > 0:
        out[_C_BETWEEN, row, at] = (k[_LAST_TS] - start) / gaps / 1e6
    if not has_bar:
        return
    seen[row, at] = True
    k[_LAST_BAR] = at
    high, low, price_0 = f[_HIGH], f[_LOW], f[_PRICE_0]
    out[_C_OPEN, row, at], out[_C_CLOSE, row, at] = f[_OPEN], f[_CLOSE]
    out[_C_HIGH, row, at], out[_C_LOW, row, at] = high, low
    out[_C_MEAN, row, at] = min(max(price_0 + f[_PRICE_SUM] / k[_PRICES], low), high)
    out[_C_STD, row, at] = _deviation(f[_PRICE_SUM], f[_PRICE_SQUARES], k[_PRICES])
    if k[_PRICED_VOLUME] > 0:
        vwap = price_0 + f[_PRICE_SIZE] / k[_PRICED_VOLUME]
        out[_C_VWAP, row, at] = min(max(vwap, low), high)
