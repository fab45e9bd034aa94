"""Bars as a table: from the arrays of a session to rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alpaca_strategy.domain.market import Session
from alpaca_strategy.market import kernel
from alpaca_strategy.market.schema import BAR_COLUMNS, BAR_SCHEMA, COUNT_COLUMNS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def opening_ns(session: Session) -> int:
    """Return when a session opens, nanoseconds since 1970 UTC."""
    return (session.opens_at - _EPOCH) // timedelta(microseconds=1) * 1000


def bar_table(
    session: Session,
    symbols: Sequence[str],
    values: npt.NDArray[np.float64],
    observed: npt.NDArray[np.bool_],
) -> pa.Table:
    """Return bars in ``BAR_SCHEMA``, sorted by symbol as given, then minute.

    Args:
        session: Whose minutes they are.
        symbols: In the order of the arrays.
        values: Shape (columns, symbols, minutes).
        observed: Shape (symbols, minutes).
    """
    rows, minutes = observed.shape
    minute = np.tile(np.arange(minutes, dtype=np.int16), rows)
    opens_us, minute_us = opening_ns(session) // 1000, kernel.MINUTE_NS // 1000
    names = pa.DictionaryArray.from_arrays(
        np.repeat(np.arange(rows, dtype=np.int32), minutes), pa.array(symbols, pa.string())
    )
    return pa.table(
        [
            names.cast(pa.string()),
            pa.array(minute),
            pa.array(opens_us + minute * np.int64(minute_us)).cast(
                BAR_SCHEMA.field("start_at").type
            ),
            *(
                pa.array(column.astype(np.int64) if name in COUNT_COLUMNS else column)
                for name, column in zip(
                    BAR_COLUMNS, values.reshape(len(BAR_COLUMNS), -1), strict=True
                )
            ),
            pa.array(observed.reshape(-1)),
        ],
        schema=BAR_SCHEMA,
    )
