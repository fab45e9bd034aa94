"""What the model shall foretell: returns over the horizon, and the names that come out on top."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def log_returns(
    opened: npt.NDArray[np.float64],
    close: npt.NDArray[np.float64],
    observed: npt.NDArray[np.bool_],
    horizon: int,
) -> npt.NDArray[np.float32]:
    """Return what one earns who buys when a minute has closed, and sells when the horizon ends.

    It begins at the open of the next bar, not at a close that is past: nobody gets that price. On
    sparse real bars a return from the last close looks foretellable (IC 0.15) for the catch-up and
    the bid-ask bounce that are in it, and from the next open not at all. It ends at the last close
    within the horizon.

    Args:
        opened: In USD, shape (minutes, symbols): all minutes of one session, oldest first.
        close: Likewise.
        observed: Shape (minutes, symbols): the minute has a bar.
        horizon: Minutes, at least 1.

    Returns:
        Log returns, shape (minutes, symbols), at the minute that has closed. NaN where no bar
        follows within the horizon, and always in the last ``horizon`` minutes, whose return would
        end after the session.

    Raises:
        ValueError: The horizon is below 1, or shapes differ.
    """
    if horizon < 1 or not opened.shape == close.shape == observed.shape:
        msg = (
            f"A horizon must be 1 or more and shapes must agree, got {horizon}, {opened.shape}, "
            f"{close.shape} and {observed.shape}."
        )
        raise ValueError(msg)
    minutes = len(close)
    returns = np.full(close.shape, np.nan, np.float32)
    if minutes <= horizon:
        return returns
    row = np.arange(minutes)[:, None]
    priced = observed & (close > 0) & (close < np.inf) & (opened > 0) & (opened < np.inf)
    last = np.maximum.accumulate(np.where(priced, row, -1), axis=0)
    first = np.minimum.accumulate(np.where(priced, row, minutes)[::-1], axis=0)[::-1]
    starts, ends = first[1 : minutes - horizon + 1], last[horizon:]
    known = ends > row[:-horizon]  # then a bar that follows lies within the horizon
    columns = np.broadcast_to(np.arange(close.shape[1]), known.shape)[known]
    ratio = close[ends[known], columns] / opened[starts[known], columns]
    returns[:-horizon][known] = np.log(ratio)
    return returns


def top_k(returns: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    """Return 1 for the k best of each row, 0 for the others, NaN where there is no return.

    Of equal returns the one further left is the better; a row with fewer than k returns has
    nothing but ones.

    Args:
        returns: Shape (rows, symbols).
        k: At least 1.

    Raises:
        ValueError: k is below 1.
    """
    if k < 1:
        msg = f"The best k of a cross-section are at least 1, got {k}."
        raise ValueError(msg)
    known = ~np.isnan(returns)
    best = np.argsort(-returns, axis=1, kind="stable")[:, :k]  # NaN is sorted last
    label = np.where(known, np.float32(0), np.float32(np.nan))
    np.put_along_axis(label, best, 1, axis=1)
    label[~known] = np.nan
    return label
