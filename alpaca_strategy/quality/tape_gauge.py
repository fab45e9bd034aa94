"""One pass over a symbol's tape that counts what breaks a rule.

One symbol at a time, in numpy, so that a tape of millions of trades is never turned into a data
frame; Great Expectations then judges one row of figures a symbol.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.market.conditions import (
    CLOSING,
    HIGH_LOW,
    OPEN_CLOSE,
    OPENING,
    VOLUME,
    ConditionTable,
)
from alpaca_strategy.quality.inputs import CheckInput
from alpaca_strategy.quality.rules import Measured
from alpaca_strategy.quality.thresholds import (
    CLOSE_GRACE_S,
    EXCHANGES,
    EXTENDED_CONDITIONS,
    OPEN_GRACE_S,
    limit,
)

NEW_YORK = ZoneInfo("America/New_York")
MINUTE_NS = 60_000_000_000
_NEVER = np.iinfo(np.int64).max
_SETS_A_BAR = OPEN_CLOSE | HIGH_LOW | VOLUME


@dataclass(frozen=True, slots=True)
class MinuteCounts:
    """What the tape holds in each regular minute; arrays of shape (minutes,), int64.

    Attributes:
        counted: Trades that count in a bar.
        volume: Their shares.
        plain: Those that set every price and count: one is enough for a bar.
        day_volume: Shares of the whole day, before the open and after the close too.
    """

    counted: np.ndarray
    volume: np.ndarray
    plain: np.ndarray
    day_volume: int = 0

    @classmethod
    def none(cls, minutes: int) -> MinuteCounts:
        """Return the counts of an empty tape."""
        nothing = np.zeros(minutes, np.int64)
        return cls(nothing, nothing, nothing)


class TradeGauge:
    """Measures tapes of one session; built once, used for each symbol."""

    def __init__(self, data: CheckInput) -> None:
        self._data = data
        session = data.session
        days = (session.day, session.day + timedelta(days=1))
        self._day = tuple(_ns(datetime.combine(day, time(), NEW_YORK)) for day in days)
        self._open, self._close = _ns(session.opens_at), _ns(session.closes_at)
        self._as_of = _NEVER if data.as_of is None else _ns(data.as_of)

    def measure(self, tape: pa.Table) -> tuple[Measured, MinuteCounts]:
        """Return what a symbol's tape is like, and its counts by minute.

        Args:
            tape: TRADE_SCHEMA, one symbol, in tape order.
        """
        feed, count = self._data.feed, tape.num_rows
        when, size, ids = (_integers(tape[name]) for name in ("ts_ns", "size", "id"))
        price = tape["price"].to_numpy()
        letters, exchange = _encoded(tape["exchange"])
        foreign = np.array([letter not in EXCHANGES[feed] for letter in letters], bool)
        from_iex = np.array([letter == "V" for letter in letters], bool)
        conditions = _Conditions.of(tape, self._data.conditions)
        live = ~_superseded(tape["update"])
        inside = (when >= self._open) & (when < self._close)
        near = (when >= self._open - OPEN_GRACE_S * 10**9) & (
            when < self._close + CLOSE_GRACE_S * 10**9
        )
        repeated, shared = _repeats(ids, exchange, (when, price, size), live)
        valid = price > 0
        masks = {
            "duplicated": repeated,
            "shared_id": shared,
            "bad_price": ~(valid & np.isfinite(price)),
            "bad_size": size < 1,
            "huge_size": size > limit("trade_size", feed),
            "far_price": _far(price, valid, limit("far_price_factor", feed)),
            "other_day": (when < self._day[0]) | (when >= self._day[1]),
            "future": when > self._as_of,
            "backwards": np.concatenate(([False], when[1:] < when[:-1])) if count else ~live,
            "foreign_exchange": foreign[exchange],
            "unknown_condition": conditions.unknown,
            "extended_inside_share": conditions.extended & inside,
            "regular_outside_share": ~conditions.extended & ~near,
        }
        measured = Measured.of({"trades": float(count)}, masks)
        values = measured.values
        values["extended_inside_share"] = _share(values["extended_inside_share"], inside.sum())
        regular = count - int(conditions.extended.sum())
        values["regular_outside_share"] = _share(values["regular_outside_share"], regular)
        values["unknown_condition_share"] = _share(values["unknown_condition"], count)
        enough = feed is Feed.SIP and count >= 200  # a share of few trades says nothing
        values["iex_share"] = float(from_iex[exchange].mean()) if enough else float("nan")
        if "unknown_condition" in measured.offenders:
            measured.offenders["unknown_condition_share"] = measured.offenders["unknown_condition"]
        counts = self._by_minute(when, size, inside & live, conditions)
        return measured, replace(counts, day_volume=int(size[live].sum()))

    def minutes_of(self, tape: pa.Table, rows: np.ndarray) -> np.ndarray:
        """Return the minutes since the open in which rows of a tape fall; some lie outside."""
        return np.asarray((_integers(tape["ts_ns"])[rows] - self._open) // MINUTE_NS)

    def _by_minute(
        self, when: np.ndarray, size: np.ndarray, mask: np.ndarray, conditions: _Conditions
    ) -> MinuteCounts:
        minutes = self._data.session.minutes
        chosen = mask & conditions.counted
        minute = (when - self._open) // MINUTE_NS
        at = minute[chosen]
        volume = np.bincount(at, weights=size[chosen], minlength=minutes)
        plain = np.bincount(minute[mask & conditions.plain], minlength=minutes)
        return MinuteCounts(np.bincount(at, minlength=minutes), volume.astype(np.int64), plain)


@dataclass(frozen=True, slots=True)
class _Conditions:
    """Masks over a tape, worked out once for each distinct list of conditions and tape letter."""

    unknown: np.ndarray
    extended: np.ndarray
    counted: np.ndarray
    plain: np.ndarray

    @classmethod
    def of(cls, tape: pa.Table, table: ConditionTable | None) -> _Conditions:
        texts, code = _encoded(tape["conditions"])
        letters, letter = _encoded(tape["tape"])
        pair = code.astype(np.int64) * len(letters) + letter
        verdicts = np.zeros((4, len(texts) * len(letters)), bool)
        for at in np.flatnonzero(np.bincount(pair, minlength=verdicts.shape[1])).tolist():
            text, on = texts[at // len(letters)] or "", letters[at % len(letters)] or ""
            bits = 0 if table is None else table.updates(text, on)
            auction = table is not None and table.primary_exchange and bits & (OPENING | CLOSING)
            verdicts[:, at] = (
                table is not None and bool(table.unknown(text, on)),
                bool(EXTENDED_CONDITIONS.intersection(text.split(","))),
                bool(bits & VOLUME),
                bits & _SETS_A_BAR == _SETS_A_BAR and not auction,
            )
        return cls(*(verdict[pair] for verdict in verdicts))


def _ns(moment: datetime) -> int:
    # Whole microseconds, since a float of nanoseconds would lose some.
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    filled = pc.fill_null(column, 0) if column.null_count else column
    return np.asarray(filled.to_numpy(), dtype=np.int64)


def _encoded(column: pa.ChunkedArray) -> tuple[list[str | None], np.ndarray]:
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)


def _superseded(column: pa.ChunkedArray) -> np.ndarray:
    if column.null_count == len(column):
        return np.zeros(len(column), bool)
    gone = pc.is_in(column, value_set=pa.array(["canceled", "incorrect"]))
    return np.asarray(gone.to_numpy(), dtype=bool)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _far(price: np.ndarray, valid: np.ndarray, factor: float) -> np.ndarray:
    if not valid.any():
        return np.zeros(price.size, bool)
    median = np.median(price[valid])
    return np.asarray(valid & ((price > median * factor) | (price < median / factor)))


def _repeats(
    ids: np.ndarray, exchange: np.ndarray, rest: tuple[np.ndarray, ...], live: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows repeat an earlier row wholly, and which share only its id."""
    repeated, shared = np.zeros(ids.size, bool), np.zeros(ids.size, bool)
    ordered = np.sort(ids)
    ties = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not ties.size:
        return repeated, shared
    rows = np.flatnonzero(np.isin(ids, ties) & live)
    keys = [column[rows] for column in (*reversed(rest), exchange, ids)]
    order = np.lexsort(keys)  # by id, exchange, time, price, size, then position
    same_id = np.ones(max(rows.size - 1, 0), bool)
    for key in keys[-2:]:
        same_id &= key[order][1:] == key[order][:-1]
    same = same_id.copy()
    for key in keys[:-2]:
        same &= key[order][1:] == key[order][:-1]
    repeated[rows[order[1:][same]]] = True
    shared[rows[order[1:][same_id & ~same]]] = True
    return repeated, shared
