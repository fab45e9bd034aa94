"""Corporate actions in the lake, and prices adjusted by them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from alpaca_strategy.market.schema import CORPORATE_ACTION_SCHEMA
from alpaca_strategy.storage import files as parquet
from alpaca_strategy.storage.content import hash_table
from alpaca_strategy.storage.delta import Change
from alpaca_strategy.storage.lake import Lake

FloatArray = npt.NDArray[np.float64]

SPLITS = ("forward_split", "reverse_split")
#: USD a share: divided by the split factor. Dollar volume does not change.
PRICES = frozenset({"open", "high", "low", "close", "vwap", "price_mean", "price_std"})
#: Shares: multiplied. Counts by size class stay as printed; they cannot be told anew from bars.
SHARES = frozenset({"volume", "buy_volume", "sell_volume", "size_std", "size_max"})


def write_actions(lake: Lake, actions: pa.Table) -> bool:
    """Add corporate actions, replacing those with the same id; return whether anything changed.

    Safe to call at once from many processes: who loses the commit merges again.

    Raises:
        DiskSpaceError: No room; the table is as before.
    """
    actions = actions.select(CORPORATE_ACTION_SCHEMA.names).cast(CORPORATE_ACTION_SCHEMA)
    if not actions.num_rows:
        return False
    changed = False
    written: list[parquet.LakeFile] = []

    def change(table: DeltaTable) -> Change:
        nonlocal changed
        current = sorted(lake.paths(table))
        if written and written[0].path in current:  # a commit that we took for lost has landed
            return Change((), ())
        lake.discard("corporate_actions", written)
        written.clear()
        before = lake.read_files("corporate_actions", current)
        kept = before.filter(pc.invert(pc.is_in(before.column("id"), actions.column("id"))))
        after = _sorted(pa.concat_tables([kept, actions]))
        changed = hash_table(after) != hash_table(_sorted(before))
        if not changed:
            return Change((), ())
        with parquet.writing(lake.uri("corporate_actions")):
            written.append(
                parquet.write_file(
                    lake.filesystem,
                    lake.folder("corporate_actions"),
                    f"{uuid.uuid4().hex}.parquet",
                    CORPORATE_ACTION_SCHEMA,
                    [after],
                )
            )
        return Change(tuple(written), current)

    lake.change("corporate_actions", {}, change)
    return changed


def _sorted(actions: pa.Table) -> pa.Table:
    keys = [(name, "ascending") for name in ("symbol", "ex_date", "id")]
    return actions.sort_by(keys).combine_chunks()


def read_actions(lake: Lake, symbols: Sequence[str] | None = None) -> pa.Table:
    """Return the known corporate actions in CORPORATE_ACTION_SCHEMA, by symbol and ex-date."""
    files = sorted(lake.paths(lake.open("corporate_actions")))
    return lake.read_files("corporate_actions", files, symbols=symbols)


def split_factors(
    lake: Lake, symbols: Sequence[str], sessions: Sequence[date], as_of: date
) -> FloatArray:
    """Return how many of today's shares a share of each session is, shape (sessions, symbols).

    Args:
        lake: The lake.
        symbols: The symbols.
        sessions: The sessions.
        as_of: Splits with a later ex-date do not count.
    """
    factors = np.ones((len(sessions), len(symbols)))
    seats = {name: i for i, name in enumerate(symbols)}
    for action in read_actions(lake, symbols).to_pylist():
        if action["kind"] not in SPLITS or action["ex_date"] is None or action["ex_date"] > as_of:
            continue
        before = [i for i, day in enumerate(sessions) if day < action["ex_date"]]
        factors[before, seats[action["symbol"]]] *= action["new_rate"] / action["old_rate"]
    return factors


def adjust(values: FloatArray, columns: Sequence[str], factors: FloatArray) -> None:
    """Apply split factors in place: prices divided, shares multiplied.

    Args:
        values: Shape (minutes, symbols, columns).
        columns: Names along the last axis.
        factors: Shape (minutes, symbols).
    """
    changed = (factors != 1).any(axis=0)
    for i, name in enumerate(columns):
        if name in PRICES:
            values[:, changed, i] /= factors[:, changed]
        elif name in SHARES:
            values[:, changed, i] *= factors[:, changed]
