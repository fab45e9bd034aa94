"""The lake alone: one commit a session, exact pins, faults in one sentence."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_sessions import DAY, SYMBOLS, make_bars, make_tape

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import DamagedFileError, DiskSpaceError
from alpaca_strategy.market.schema import BAR_SCHEMA, CORPORATE_ACTION_SCHEMA, TRADE_SCHEMA
from alpaca_strategy.storage import files
from alpaca_strategy.storage import lake as lake_module
from alpaca_strategy.storage.actions import read_actions, split_factors, write_actions
from alpaca_strategy.storage.lake import Lake

OTHER = date(2024, 1, 3)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def bars_of(lake: Lake, day: date = DAY, feed: Feed = Feed.IEX) -> pa.Table:
    return lake.read_files("bars", lake.current_files("bars", feed=feed, session=day))


def test_what_was_written_is_read_back(lake: Lake) -> None:
    bars = make_bars(SYMBOLS)
    pin = lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=bars)
    assert (pin.version, pin.rows) == (1, bars.num_rows)
    assert lake.read_files("bars", pin.files).equals(bars)


def test_a_new_version_replaces_one_session_of_one_feed_only(lake: Lake) -> None:
    for day, feed in ((DAY, Feed.IEX), (DAY, Feed.SIP), (OTHER, Feed.IEX)):
        lake.write_session("bars", feed=feed, session=day, rows=make_bars(SYMBOLS, 1, day=day))
    old = lake.current_files("bars", feed=Feed.IEX, session=DAY)
    lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS, 2))
    assert bars_of(lake).equals(make_bars(SYMBOLS, 2))
    assert bars_of(lake, OTHER).equals(make_bars(SYMBOLS, 1, day=OTHER))
    assert bars_of(lake, feed=Feed.SIP).equals(make_bars(SYMBOLS, 1))
    assert lake.read_files("bars", old).equals(
        make_bars(SYMBOLS, 1)
    )  # who pinned it still reads it


def test_columns_and_symbols_are_pruned(lake: Lake) -> None:
    symbols = [f"S{i:03d}" for i in range(100)]
    pin = lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=make_bars(symbols))
    file = pq.ParquetFile(f"{lake.folder('bars')}/{pin.files[0]}")
    assert file.num_row_groups > 2
    assert len(files.groups_with(file, ["S050"])) == 1
    found = lake.read_files("bars", pin.files, ["close", "volume"], ["S050", "S003"])
    assert found.column_names == ["close", "volume"]
    assert found.num_rows == 2 * 390
    assert lake.read_files("bars", pin.files, symbols=["nobody"]).num_rows == 0


def test_row_groups_end_at_symbol_borders(lake: Lake) -> None:
    symbols = [f"S{i:03d}" for i in range(60)]
    pin = lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=make_bars(symbols))
    groups = list(lake.iter_files("bars", pin.files, ["symbol"]))
    seen = [set(group.column("symbol").to_pylist()) for group in groups]
    assert sum(len(names) for names in seen) == len(set.union(*seen)) == 60


def test_a_streamed_tape_is_one_file_in_the_order_it_came(lake: Lake) -> None:
    pieces = [
        piece for table in make_tape(SYMBOLS) for piece in table.to_batches(max_chunksize=100)
    ]
    pin = lake.write_session("trades", feed=Feed.IEX, session=DAY, rows=iter(pieces))
    assert len(pin.files) == 1
    expected = pa.concat_tables(make_tape(SYMBOLS))
    assert lake.read_files("trades", pin.files).equals(expected)


def test_a_large_symbol_is_written_in_bounded_memory(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_GROUP_ROWS", 1000)
    (big,) = make_tape(["BIG"], trades=10_500)
    held: list[int] = []

    def stream() -> object:
        for start in range(0, big.num_rows, 250):
            held.append(pa.total_allocated_bytes())
            yield big.slice(start, 250)

    pin = lake.write_session("trades", feed=Feed.IEX, session=DAY, rows=stream())  # type: ignore[arg-type]
    groups = [group.num_rows for group in lake.iter_files("trades", pin.files)]
    assert max(groups) <= 1000
    assert max(held[5:]) - held[0] < big.nbytes / 2


def test_a_session_without_rows_has_no_file(lake: Lake) -> None:
    lake.write_session("trades", feed=Feed.IEX, session=DAY, rows=next(make_tape(["AAA"])))
    pin = lake.write_session("trades", feed=Feed.IEX, session=DAY, rows=TRADE_SCHEMA.empty_table())
    assert pin.files == ()
    assert lake.current_files("trades", feed=Feed.IEX, session=DAY) == ()
    assert not lake.read_files("trades", ()).num_rows


def test_polars_reads_the_tables_without_our_code(lake: Lake) -> None:
    lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS, 3))
    lake.write_session("bars", feed=Feed.IEX, session=OTHER, rows=make_bars(SYMBOLS, 4, day=OTHER))
    lake.write_session("trades", feed=Feed.IEX, session=DAY, rows=make_tape(SYMBOLS, 3))
    scan = pl.scan_delta(lake.uri("bars"))
    one = scan.filter(pl.col("session") == DAY, pl.col("symbol") == "BBB").collect()
    assert one["close"].to_list() == [3.0] * 390
    assert one["minute"].to_list() == list(range(390))
    assert set(scan.collect().columns) == {*BAR_SCHEMA.names, "feed", "session"}
    expected = pl.DataFrame(pa.concat_tables(make_tape(SYMBOLS, 3)))
    assert pl.read_delta(lake.uri("trades")).drop("feed", "session").equals(expected)


@pytest.mark.parametrize("harm", ["truncated", "emptied", "bit flipped", "missing"])
def test_a_damaged_file_is_named_with_its_remedy(lake: Lake, harm: str) -> None:
    pin = lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS))
    path = Path(lake.folder("bars")) / pin.files[0]
    content = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    elif harm == "bit flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if harm == "truncated" else b"")
    with pytest.raises(DamagedFileError) as caught:
        lake.read_files("bars", pin.files)
    assert str(path) in str(caught.value)
    assert "alpaca-strategy backfill --start 2024-01-02 --end 2024-01-02 --rewrite" in str(
        caught.value
    )


def test_too_little_room_is_noticed_before_writing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "SPARE_BYTES", 2**60)
    with pytest.raises(DiskSpaceError, match="MiB are free"):
        lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS))
    assert not Path(lake.root).exists()


def test_a_failing_source_leaves_no_file(lake: Lake) -> None:
    def broken() -> object:
        yield next(make_tape(["AAA"]))
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        lake.write_session("trades", feed=Feed.IEX, session=DAY, rows=broken())  # type: ignore[arg-type]
    assert not list(Path(lake.root).rglob("*.parquet"))


def action(name: str, symbol: str, ex_date: date, old: float, new: float) -> dict[str, object]:
    return {
        "id": name,
        "kind": "forward_split" if new > old else "reverse_split",
        "symbol": symbol,
        "ex_date": ex_date,
        "process_date": ex_date,
        "old_rate": old,
        "new_rate": new,
        "cash_rate": None,
        "new_symbol": None,
    }


def table_of(*actions: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(actions), CORPORATE_ACTION_SCHEMA)


def test_corporate_actions_are_merged_by_id(lake: Lake) -> None:
    split = action("1", "AAA", OTHER, 1, 4)
    assert write_actions(lake, table_of(split))
    assert not write_actions(lake, table_of(split))
    assert write_actions(lake, table_of({**split, "new_rate": 5.0}, action("2", "BBB", DAY, 10, 1)))
    assert [(a["id"], a["new_rate"]) for a in read_actions(lake).to_pylist()] == [
        ("1", 5),
        ("2", 1),
    ]
    assert read_actions(lake, ["BBB"]).num_rows == 1
    assert pl.read_delta(lake.uri("corporate_actions")).height == 2


def test_split_factors_multiply_and_stop_at_the_day_asked_for(lake: Lake) -> None:
    days = [date(2024, 1, d) for d in (2, 3, 4, 5)]
    write_actions(
        lake,
        table_of(
            action("1", "AAA", days[1], 1, 4),
            action("2", "AAA", days[3], 2, 3),
            action("3", "BBB", days[2], 10, 1),
        ),
    )
    full = split_factors(lake, ["AAA", "BBB", "CCC"], days, days[-1])
    assert full.T.tolist() == [[6, 1.5, 1.5, 1], [0.1, 0.1, 1, 1], [1, 1, 1, 1]]
    earlier = split_factors(lake, ["AAA"], days[:3], days[2])
    assert earlier.T.tolist() == [[4, 1, 1]]


def test_relative_roots_mean_the_folder_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lake = Lake("here")
    os.chdir("/")
    lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS))
    assert (tmp_path / "here" / "bars" / "_delta_log").is_dir()
