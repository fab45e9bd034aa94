"""Recorded trades from Parquet files in Alpaca's field names: symbol, t, p, s, x, c, i, z[, u].

A boolean column that the venue has no field for, such as ``suspicious``, travels as one more
condition, "+suspicious". The files are served as the SIP feed; the IEX feed is what of them
printed on exchange V. Trades of equal time keep the order of the file, as ids must too.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alpaca_strategy.errors import SettingsError
from alpaca_strategy.simulator.store import new_york_day
from alpaca_strategy.simulator.tape import UPDATES, Tape, empty

_NEEDED = ("symbol", "t", "p", "s", "x", "c", "i", "z")
_KEPT = 4  # symbol-days in memory here; the store keeps more


class Replay:
    """A folder of recorded trades as a source.

    Args:
        folder: Every ``*.parquet`` in it that has the columns is served; others are left alone.

    Raises:
        SettingsError: There is no such file, or the folder is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[tuple[str, date], list[Path]] = {}
        self._kept: OrderedDict[tuple[str, date], Tape] = OrderedDict()
        if not folder.is_dir():
            msg = f"The folder {folder} does not exist; give --replay one with Parquet files."
            raise SettingsError(msg)
        for path in sorted(folder.glob("*.parquet")):
            self._index(path)
        if not self._files:
            msg = (
                f"The folder {folder} holds no Parquet file with the columns {', '.join(_NEEDED)}; "
                f"give --replay another."
            )
            raise SettingsError(msg)

    def _index(self, path: Path) -> None:
        """Note which symbols and days a file holds."""
        try:
            names = pq.read_schema(path).names
        except (OSError, pa.ArrowInvalid) as error:
            msg = f"The file {path} cannot be read as Parquet ({error}); remove or replace it."
            raise SettingsError(" ".join(msg.split())) from error
        if not set(_NEEDED) <= set(names):
            return
        table = pq.read_table(path, columns=["symbol", "t"])
        hours = pc.floor_temporal(table["t"], unit="hour")
        seen = pa.table({"symbol": table["symbol"], "hour": hours}).group_by(["symbol", "hour"])
        for row in seen.aggregate([]).to_pylist():
            key = (row["symbol"], new_york_day(int(row["hour"].timestamp()) * 1_000_000_000))
            files = self._files.setdefault(key, [])
            if path not in files:
                files.append(path)

    @property
    def symbols(self) -> list[str]:
        """Return the symbols recorded, sorted."""
        return sorted({symbol for symbol, _ in self._files})

    def days(self, symbol: str, first: date, last: date) -> list[date]:
        """Return the recorded days of a symbol in a range."""
        return sorted(d for s, d in self._files if s == symbol and first <= d <= last)

    def tape(self, feed: str, symbol: str, day: date) -> Tape:
        """Return a symbol's recorded trades of a day."""
        tape = self._whole(symbol, day)
        return tape if feed == "sip" else tape.take(tape.exchange == ord("V"))

    def _whole(self, symbol: str, day: date) -> Tape:
        key = (symbol, day)
        if key not in self._kept:
            self._kept[key] = self._read(symbol, day)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]

    def _read(self, symbol: str, day: date) -> Tape:
        parts = [
            pq.read_table(path, filters=pc.field("symbol") == symbol)
            for path in self._files.get((symbol, day), [])
        ]
        if not parts:
            return empty()
        table = pa.concat_tables(parts, promote_options="permissive")
        tape = _tape(table)
        return tape.take(_of_day(tape, day))


def _of_day(tape: Tape, day: date) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which trades belong to a New York date."""
    hours, which = np.unique(tape.ts // 3_600_000_000_000, return_inverse=True)
    belongs = np.array([new_york_day(int(hour) * 3_600_000_000_000) == day for hour in hours])
    chosen: np.ndarray[tuple[int], np.dtype[np.bool_]] = belongs[which]
    return chosen


def _tape(table: pa.Table) -> Tape:
    """Turn recorded columns into a tape, sorted by time and id."""
    codes, marks = _conditions(table)
    ts = table["t"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
    update = np.zeros(len(ts), np.uint8)
    if "u" in table.column_names:
        texts = pc.fill_null(table["u"].cast(pa.string()), "")
        for code, text in enumerate(UPDATES):
            if text is not None:
                update[pc.equal(texts, text).to_numpy()] = code
    ids = table["i"].cast(pa.int64()).to_numpy()
    order = np.lexsort((ids, ts))
    letters = table["x"].cast(pa.string()).combine_chunks().dictionary_encode()
    table_of = np.array([ord(text) for text in letters.dictionary.to_pylist()], np.uint8)
    return Tape(
        ts=ts[order],
        price=table["p"].cast(pa.float64()).to_numpy()[order],
        size=table["s"].cast(pa.int64()).to_numpy()[order],
        exchange=table_of[letters.indices.to_numpy()][order],
        condition=codes[order],
        trade_id=ids[order],
        update=update[order],
        tape=table["z"][0].as_py(),
        conditions=marks,
    )


def _conditions(
    table: pa.Table,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int16]], tuple[tuple[str, ...], ...]]:
    """Return each trade's index into the condition lists that occur, and those lists."""
    joined = pc.binary_join(table["c"].cast(pa.list_(pa.string())).combine_chunks(), "\x1f")
    for field in table.schema:
        if pa.types.is_boolean(field.type):
            extra = pc.if_else(pc.fill_null(table[field.name], False), f"\x1f+{field.name}", "")  # noqa: FBT003  # pyarrow's signature
            joined = pc.binary_join_element_wise(joined, extra.combine_chunks(), "")
    encoded = joined.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    marks = tuple(
        tuple(mark for mark in text.split("\x1f") if mark)
        for text in encoded.dictionary.to_pylist()
    )
    return encoded.indices.to_numpy().astype(np.int16), marks
