"""The two tables everything stands on, as Arrow schemas.

A *tape* holds trades as the venue sent them, in tape order; a *bar table* holds one row for every
calendar minute of the session and symbol, traded or not. Both are sorted by symbol, then time.
"""

from __future__ import annotations

import pyarrow as pa

TRADE_SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("ts_ns", pa.int64()),  # nanoseconds since 1970 UTC (Delta keeps microseconds only)
        ("price", pa.float64()),  # USD, unadjusted
        ("size", pa.int64()),  # shares
        ("exchange", pa.string()),  # one letter
        ("conditions", pa.string()),  # comma-joined in the venue's order: "@,I"; " " is regular A/B
        ("tape", pa.string()),  # A, B, C, N or O
        ("id", pa.int64()),  # unique within symbol, exchange and day
        ("update", pa.string()),  # null, "canceled", "incorrect" (superseded) or "corrected"
    ]
)

#: Names of the numeric columns of a bar, in the order in which arrays hold them.
BAR_COLUMNS = (
    "open",  # USD; prices are NaN in a minute without a bar
    "high",
    "low",
    "close",
    "vwap",
    "volume",  # shares
    "trade_count",
    "price_mean",
    "price_std",  # sample standard deviation, NaN for fewer than two trades
    "dollar_volume",
    "regular_count",  # trades with condition "@" (tape C) or " " (tapes A and B)
    "odd_lot_count",  # trades with condition "I"
    "tiny_count",  # size < 100
    "small_count",  # 100..499
    "mid_count",  # 500..1999
    "large_count",  # 2000 and more
    "buy_volume",  # shares on an up-tick; the sign carries over unchanged prices
    "sell_volume",
    "buy_count",
    "sell_count",
    "size_std",
    "size_max",
    "intertrade_ms_mean",
)

#: Bar columns that count; integers in the lake, exact in float64 arrays.
COUNT_COLUMNS = frozenset(
    name for name in BAR_COLUMNS if name.endswith(("_count", "volume")) and name != "dollar_volume"
) | {"size_max"}

BAR_SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("minute", pa.int16()),  # 0 is the minute that starts at the open
        ("start_at", pa.timestamp("us", tz="UTC")),
        *((n, pa.int64() if n in COUNT_COLUMNS else pa.float64()) for n in BAR_COLUMNS),
        ("observed", pa.bool_()),  # the condition table lets the minute have a bar
    ]
)

#: Corporate actions as announced, one row each; rates are per share.
CORPORATE_ACTION_SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # the venue's, unique
        ("kind", pa.string()),  # the venue's word, singular: "forward_split", "cash_dividend", …
        ("symbol", pa.string()),
        ("ex_date", pa.date32()),  # first session that trades under the new terms
        ("process_date", pa.date32()),
        ("old_rate", pa.float64()),  # splits: old_rate shares become new_rate shares
        ("new_rate", pa.float64()),
        ("cash_rate", pa.float64()),  # USD a share, dividends
        ("new_symbol", pa.string()),  # renames and mergers
    ]
)
