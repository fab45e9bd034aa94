"""How sure the figures of a backtest are: sessions drawn again and again.

Trades of a session share its market, so sessions are drawn, not trades.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alpaca_strategy.resampling import Statistic, bootstrap

Floats = npt.NDArray[np.float64]
_DRAWS = 2000
#: From so many sessions on, blocks of a week are drawn. Volatility lasts for days, which single
#: sessions forget; but of fewer sessions too few weeks are left to draw from, and a strategy that
#: is flat at night carries little from one session to the next.
_MANY, _WEEK = 100, 5


def interval(columns: Floats, statistic: Statistic) -> tuple[float, float] | None:
    """Return the interval that holds a figure with 95 % confidence, or None where there is none.

    There is none with fewer than two blocks, or where all draws agree: of three trades that all
    won, nothing says how often the next ones will.

    Args:
        columns: What the figure is made of, a row a session, shape (sessions, columns). Sessions
            that are 0 throughout take no part.
        statistic: From sums of them to the figure.
    """
    columns = columns[np.any(columns != 0.0, axis=1)]
    if not len(columns):
        return None
    block = _WEEK if len(columns) >= _MANY else 1
    sums = np.add.reduceat(columns, np.arange(0, len(columns), block))
    with np.errstate(all="ignore"):
        found = bootstrap(sums, statistic, draws=_DRAWS)
    if not np.isfinite(found.low) or found.low == found.high:
        return None
    return found.low, found.high
