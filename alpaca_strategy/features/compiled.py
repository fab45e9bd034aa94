# ruff: noqa: PLR0917 - compiled functions take arrays by position
"""The compiled pass over a session's bars: minutes in, the features of `catalogue` out.

The same minutes give the same bits, whether they come as a whole session or as its last few: sums
over windows are taken of whole numbers only (counts, shares, dollars, and reaches in steps of
2^-40), which float64 adds without rounding, so that a sum that slides along equals one begun
afresh. Logarithms are worked out here, of operations that round alike on every machine and in
every place of an array, which a library's need not.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from alpaca_strategy.features.catalogue import CARRY, LONG, LOOKBACK, NAMES, SHORT
from alpaca_strategy.market.schema import BAR_COLUMNS

# Numba keeps compiled code until this file changes, with the values that other files' constants
# had then. So what is compiled in is repeated here, and must be changed here too.
_COLUMNS: Final = (
    "open", "high", "low", "close", "vwap", "volume", "trade_count", "price_mean", "price_std",
    "dollar_volume", "regular_count", "odd_lot_count", "tiny_count", "small_count", "mid_count",
    "large_count", "buy_volume", "sell_volume", "buy_count", "sell_count", "size_std", "size_max",
    "intertrade_ms_mean",
)  # fmt: skip
_FEATURES: Final = (
    "open", "high", "low", "close", "volume", "trade_count", "vwap", "mean", "std",
    "dollar_volume", "cond_is_regular", "odd_lot_count", "cnt_tiny", "cnt_small", "cnt_mid",
    "cnt_large", "buy_volume", "sell_volume", "order_flow_imbalance", "buy_trade_count",
    "sell_trade_count", "avg_trade_size", "trade_size_std", "max_trade_size",
    "intertrade_ms_mean", "order_flow_ratio", "buy_sell_ratio", "volatility_proxy",
    "minute_of_day", "day_of_week",
)  # fmt: skip
_SHORT, _LONG, _CARRY, _LOOKBACK = 10, 60, 30, 89
_HERE = (_COLUMNS, _FEATURES, _SHORT, _LONG, _CARRY, _LOOKBACK)
if _HERE != (BAR_COLUMNS, NAMES, SHORT, LONG, CARRY, LOOKBACK):
    msg = "features/compiled.py differs from catalogue.py or the bars' schema; align them."
    raise RuntimeError(msg)

_C_OPEN, _C_HIGH, _C_LOW, _C_CLOSE, _C_VWAP = range(5)
_C_VOLUME, _C_TRADES, _C_MEAN, _C_STD, _C_DOLLARS, _C_REGULAR, _C_ODD = range(5, 12)
_C_TINY, _C_SMALL, _C_MID, _C_LARGE, _C_BOUGHT, _C_SOLD, _C_BUYS, _C_SELLS = range(12, 20)
_C_SIZE_STD, _C_SIZE_MAX, _C_BETWEEN = range(20, 23)
(
    _OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _TRADES, _VWAP, _MEAN, _STD, _DOLLARS, _REGULAR, _ODD,
    _TINY, _SMALL, _MID, _LARGE, _BOUGHT, _SOLD, _IMBALANCE, _BUYS, _SELLS, _SIZE, _SIZE_STD,
    _SIZE_MAX, _BETWEEN, _FLOW, _BALANCE, _VOLATILITY, _MINUTE, _WEEKDAY,
) = range(30)  # fmt: skip

# Logarithms of prices, in the order in which they are kept.
_L_OPEN, _L_HIGH, _L_LOW, _L_CLOSE, _L_VWAP, _L_MEAN = range(6)
_PRICES: Final = 6
#: Features that are the logarithm of a quotient, in the order in which those are written.
_LOGGED: Final = (
    _VOLUME, _TRADES, _DOLLARS, _REGULAR, _SMALL, _MID, _LARGE, _BOUGHT, _SOLD, _SIZE, _SIZE_STD,
    _BETWEEN, _BALANCE, _VOLATILITY,
)  # fmt: skip
_LOGARITHMS: Final = 14
#: Features that are a quotient as it stands, likewise.
_SHARES: Final = (_STD, _ODD, _TINY, _IMBALANCE, _BUYS, _SELLS, _SIZE_MAX, _FLOW)
_QUOTIENTS: Final = 8

# State of a symbol.
_PRIOR, _LAST_ROW, _REACH, _REACH_SUM, _BARS, _REACH60 = range(6)
_STATE: Final = 6
_LIMIT: Final = 2.0**46  # of one number: 60 of them add up exactly
_STEPS: Final = 2.0**40  # to a reach of 1
_FARTHEST: Final = 8.0  # reach
_BASIS_POINT, _BASIS_POINTS = 1e-4, 1e4
_SECOND_MS: Final = 1000.0
_LOT: Final = 100.0
_FULL_SESSION: Final = 390.0
_HALF_ROOT: Final = 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
_LN2_HIGH: Final = float.fromhex("0x1.62e42fee00000p-1")  # few bits: times an exponent it is exact
_LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")
# By the calling convention of arrays, calls of small functions would cost more than their work.
_part = numba.njit(nogil=True, error_model="numpy", forceinline=True)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fill(
    values: Any, observed: Any, first: int, stop: int, first_minute: int, weekday: int, out: Any
) -> None:
    """Write the features of the symbols from ``first`` up to ``stop``.

    Sums, quotients and logarithms are taken in flat loops over all symbols, which become vector
    instructions.

    Args:
        values: Shape (minutes, symbols, columns of BAR_COLUMNS), consecutive minutes of a session.
        observed: Shape (minutes, symbols).
        first: The first symbol.
        stop: The one after the last.
        first_minute: Minutes from the open to the first row.
        weekday: 0 is Monday.
        out: Shape (minutes, symbols, 30), changed in place.
    """
    minutes, width, columns = len(values), stop - first, values.shape[2]
    flat = values.reshape(minutes, values.shape[1] * columns)
    long, short = np.zeros((width, columns)), np.zeros((width, columns))
    prices, ones = np.ones((width, _PRICES)), np.ones(width * _PRICES)
    logs, logs_below = np.ones((width, _LOGARITHMS)), np.ones((width, _LOGARITHMS))
    shares, shares_below = np.ones((width, _QUOTIENTS)), np.ones((width, _QUOTIENTS))
    state = np.zeros((width, _STATE))
    state[:, _LAST_ROW] = -_CARRY - 1
    known = np.zeros((minutes, width), np.bool_)
    steps = np.zeros((minutes, width))  # of each minute's reach
    clear = 0 if first_minute == 0 else _LOOKBACK  # the first row that sees all it may look at
    for i in range(minutes):
        _read_prices(values, observed, i, first, known, prices)
        _logarithms(prices.reshape(-1), ones)
        _slide(flat, i, first * columns, long.reshape(-1), short.reshape(-1))
        for s in range(width):
            _measure(prices, i, s, known, steps, state)
            if known[i, s]:
                _compare(values, i, first + s, long, short, s, state, logs, logs_below)
                _divide_up(values, i, first + s, long, short, s, shares, shares_below)
        _logarithms(logs.reshape(-1), logs_below.reshape(-1))
        _quotients(shares.reshape(-1), shares_below.reshape(-1))
        clock, day = (first_minute + i) / _FULL_SESSION, weekday / 4.0
        for s in range(width):
            out[i, first + s] = np.nan
            if known[i, s]:
                if i >= clear:
                    _write(prices, logs, shares, state, s, out, i, first + s)
                    out[i, first + s, _MINUTE], out[i, first + s, _WEEKDAY] = clock, day
                state[s, _PRIOR], state[s, _LAST_ROW] = prices[s, _L_CLOSE], i


@_part
def _logarithms(x: Any, below: Any) -> None:
    """Replace x by the natural logarithm of x / below, both positive, to about 1e-15.

    With x / below = 2^k m, m from sqrt(1/2) to sqrt(2), and s = (m - 1) / (m + 1): ln m =
    2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ...), of which s^19 is the first too small to matter.
    """
    for j in range(len(x)):
        bits = np.float64(x[j] / below[j]).view(np.int64)
        k = (bits - _HALF_ROOT) >> 52
        m = np.int64(bits - (k << 52)).view(np.float64)
        s = (m - 1.0) / (m + 1.0)
        z = s * s
        p = z * (1 / 15 + z * (1 / 17))
        p = z * (1 / 11 + z * (1 / 13 + p))
        p = z * (1 / 7 + z * (1 / 9 + p))
        p = z * (1 / 3 + z * (1 / 5 + p))
        x[j] = k * _LN2_HIGH + (2.0 * s + (2.0 * s * p + k * _LN2_LOW))


@_part
def _quotients(x: Any, below: Any) -> None:
    """Replace x by x / below, or by 0 where that is not positive."""
    for j in range(len(x)):
        positive = below[j] > 0.0
        x[j] = x[j] / (below[j] if positive else 1.0) if positive else 0.0


@_part
def _slide(flat: Any, i: int, start: int, long: Any, short: Any) -> None:
    """Take a minute into the sums over windows, and out what leaves them.

    All columns are summed, wanted or not: in one piece they become vector instructions.
    """
    stop = start + len(long)
    new = flat[i, start:stop]
    for c in range(len(long)):
        number = np.rint(_real(new[c]))
        long[c] += number
        short[c] += number
    if i >= _SHORT:
        old = flat[i - _SHORT, start:stop]
        for c in range(len(short)):
            short[c] -= np.rint(_real(old[c]))
    if i >= _LONG:
        old = flat[i - _LONG, start:stop]
        for c in range(len(long)):
            long[c] -= np.rint(_real(old[c]))


@_part
def _real(x: float) -> float:
    """Return a number that is neither negative, nor beyond the limit, nor NaN."""
    positive = x if x > 0.0 else 0.0
    return positive if positive < _LIMIT else _LIMIT


@_part
def _price(x: float, otherwise: float) -> float:
    return x if 0.0 < x < np.inf else otherwise


@_part
def _read_prices(values: Any, observed: Any, i: int, first: int, known: Any, prices: Any) -> None:
    for s in range(len(prices)):
        close = values[i, first + s, _C_CLOSE]
        known[i, s] = observed[i, first + s] and 0.0 < close < np.inf
        if known[i, s]:
            vwap = _price(values[i, first + s, _C_VWAP], close)
            prices[s, _L_OPEN] = _price(values[i, first + s, _C_OPEN], close)
            prices[s, _L_HIGH] = _price(values[i, first + s, _C_HIGH], close)
            prices[s, _L_LOW] = _price(values[i, first + s, _C_LOW], close)
            prices[s, _L_CLOSE], prices[s, _L_VWAP] = close, vwap
            prices[s, _L_MEAN] = _price(values[i, first + s, _C_MEAN], vwap)


@_part
def _measure(prices: Any, i: int, s: int, known: Any, steps: Any, state: Any) -> None:
    """Find the prior close, the minute's reach and its mean."""
    if i >= _LONG:
        state[s, _REACH_SUM] -= steps[i - _LONG, s]
        state[s, _BARS] -= known[i - _LONG, s]
    if not known[i, s]:
        return
    if i - state[s, _LAST_ROW] > _CARRY:
        state[s, _PRIOR] = prices[s, _L_OPEN]
    prior = state[s, _PRIOR]
    reach = max(prices[s, _L_HIGH], prior) - min(prices[s, _L_LOW], prior)
    reach = min(max(reach, 0.0), _FARTHEST)
    steps[i, s] = np.rint(reach * _STEPS)
    state[s, _REACH] = reach
    state[s, _REACH_SUM] += steps[i, s]
    state[s, _BARS] += 1.0
    state[s, _REACH60] = state[s, _REACH_SUM] / _STEPS / state[s, _BARS]


@_part
def _compare(
    values: Any, i: int, symbol: int, long: Any, short: Any, s: int, state: Any, x: Any, below: Any
) -> None:
    """Write what is to become the logarithms of `_LOGGED`, in their order."""
    one, one_short = 1.0 / min(i + 1, _LONG), 1.0 / min(i + 1, _SHORT)
    volume, trades = _real(values[i, symbol, _C_VOLUME]), _real(values[i, symbol, _C_TRADES])
    usual, half = long[s, _C_VOLUME] * one, long[s, _C_VOLUME] * one * 0.5
    x[s, 0], below[s, 0] = _LOT + volume, _LOT + usual
    x[s, 1], below[s, 1] = 1.0 + trades, 1.0 + long[s, _C_TRADES] * one
    money = np.rint(_real(values[i, symbol, _C_DOLLARS]))
    money_usual = long[s, _C_DOLLARS] * one
    x[s, 2] = (_BASIS_POINT + state[s, _REACH]) * (1.0 + money_usual)
    below[s, 2] = (_BASIS_POINT + state[s, _REACH60]) * (1.0 + money)
    x[s, 3] = 1.0 + short[s, _C_REGULAR] * one_short
    below[s, 3] = 1.0 + long[s, _C_REGULAR] * one
    for j in range(3):
        x[s, 4 + j] = 1.0 + _real(values[i, symbol, _C_SMALL + j])
        below[s, 4 + j] = 1.0 + long[s, _C_SMALL + j] * one
    x[s, 7], below[s, 7] = _LOT + _real(values[i, symbol, _C_BOUGHT]), _LOT + half
    x[s, 8], below[s, 8] = _LOT + _real(values[i, symbol, _C_SOLD]), _LOT + half
    size = short[s, _C_VOLUME] * long[s, _C_TRADES]
    size_usual = short[s, _C_TRADES] * long[s, _C_VOLUME]
    comparable = size > 0.0 and size_usual > 0.0
    x[s, 9], below[s, 9] = (size, size_usual) if comparable else (1.0, 1.0)
    spread = _real(values[i, symbol, _C_SIZE_STD]) * trades
    x[s, 10], below[s, 10] = (volume + spread, volume) if volume > 0.0 else (1.0, 1.0)
    between = values[i, symbol, _C_BETWEEN]
    x[s, 11] = _SECOND_MS + _real(between) * trades if between >= 0.0 else 61.0 * _SECOND_MS
    below[s, 11] = 61.0 * _SECOND_MS
    x[s, 12], below[s, 12] = _LOT + short[s, _C_BOUGHT], _LOT + short[s, _C_SOLD]
    mean, deviation = values[i, symbol, _C_MEAN], _real(values[i, symbol, _C_STD])
    mean = mean if 0.0 < mean < np.inf else values[i, symbol, _C_CLOSE]
    x[s, 13], below[s, 13] = _BASIS_POINT * mean + deviation, _BASIS_POINT * mean


@_part
def _divide_up(
    values: Any, i: int, symbol: int, long: Any, short: Any, s: int, x: Any, below: Any
) -> None:
    """Write what is to become the quotients of `_SHARES`, in their order."""
    volume, trades = _real(values[i, symbol, _C_VOLUME]), _real(values[i, symbol, _C_TRADES])
    bought, sold = _real(values[i, symbol, _C_BOUGHT]), _real(values[i, symbol, _C_SOLD])
    buys, sells = _real(values[i, symbol, _C_BUYS]), _real(values[i, symbol, _C_SELLS])
    x[s, 0] = _real(values[i, symbol, _C_STD])
    below[s, 0] = values[i, symbol, _C_HIGH] - values[i, symbol, _C_LOW]
    x[s, 1], below[s, 1] = short[s, _C_ODD], short[s, _C_TRADES]
    x[s, 2], below[s, 2] = _real(values[i, symbol, _C_TINY]), trades
    x[s, 3], below[s, 3] = bought - sold, 1.0 + long[s, _C_VOLUME] / min(i + 1, _LONG)
    x[s, 4], below[s, 4] = buys - sells, trades
    x[s, 5] = 1.0 + long[s, _C_SELLS]
    below[s, 5] = 2.0 + long[s, _C_BUYS] + long[s, _C_SELLS]
    x[s, 6], below[s, 6] = _real(values[i, symbol, _C_SIZE_MAX]), volume
    x[s, 7], below[s, 7] = bought - sold, volume


@_part
def _write(
    prices: Any, logs: Any, shares: Any, state: Any, s: int, out: Any, i: int, symbol: int
) -> None:
    unit = 1.0 / state[s, _REACH60] if state[s, _REACH60] > 0.0 else 0.0
    close, prior = prices[s, _L_CLOSE], state[s, _PRIOR]
    out[i, symbol, _OPEN] = (prices[s, _L_OPEN] - prior) * _BASIS_POINTS
    out[i, symbol, _HIGH] = (prices[s, _L_HIGH] - close) * unit
    out[i, symbol, _LOW] = (prices[s, _L_LOW] - close) * unit
    out[i, symbol, _CLOSE] = (close - prior) * _BASIS_POINTS
    out[i, symbol, _VWAP] = (prices[s, _L_VWAP] - close) * _BASIS_POINTS
    out[i, symbol, _MEAN] = (prices[s, _L_MEAN] - prices[s, _L_VWAP]) * _BASIS_POINTS
    for j in range(_LOGARITHMS):
        out[i, symbol, _LOGGED[j]] = logs[s, j]
    for j in range(_QUOTIENTS):
        out[i, symbol, _SHARES[j]] = shares[s, j]
