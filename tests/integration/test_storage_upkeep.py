"""Maintenance takes nothing from readers; exports are whole files or none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from stored_sessions import DAY, SYMBOLS, make_bars, make_tape, publish

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import NotPublishedError, UserError
from alpaca_strategy.storage.actions import write_actions
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.export import export_bars
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.maintenance import compact, drop_old_tapes, maintain, vacuum
from alpaca_strategy.storage.panel import read_panel
from alpaca_strategy.storage.records import SessionRow

pytestmark = pytest.mark.integration
DAYS = [date(2024, 1, n) for n in (2, 3, 4)]
NOW = timedelta(0)


@pytest.fixture
def catalog(database_url: str) -> Iterator[Catalog]:
    engine = connect(database_url)
    migrate(engine)
    yield Catalog(engine)
    engine.dispose()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def row_of(catalog: Catalog, day: date = DAY) -> SessionRow:
    row = catalog.session(day, Feed.IEX)
    assert row is not None
    return row


def data_files(lake: Lake) -> set[str]:
    return {p.name for p in Path(lake.root).rglob("feed=*/**/*.parquet")}


def names(*pins: tuple[str, ...]) -> set[str]:
    return {path.rpartition("/")[2] for pin in pins for path in pin}


def test_vacuum_deletes_what_nobody_pins_and_nothing_else(lake: Lake, catalog: Catalog) -> None:
    publish(lake, catalog, 1)
    old = row_of(catalog)
    publish(lake, catalog, 2)
    model = row_of(catalog)
    publish(lake, catalog, 3)
    lake.stage("bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS))
    assert vacuum(lake, catalog, keep=timedelta(days=1)) == (0, 0)
    pinned = [f"bars/{path}" for path in model.bars_files]
    count, freed = vacuum(lake, catalog, keep=NOW, also_pinned=pinned)
    assert count == 4  # two tapes, one bar file, one that was staged and never committed
    assert freed > 0
    new = row_of(catalog)
    assert data_files(lake) == names(new.bars_files, new.trades_files, model.bars_files)
    assert lake.read_files("bars", model.bars_files).equals(make_bars(SYMBOLS, 2))
    assert not set(old.bars_files) & catalog.pinned_files("bars", keep=timedelta(days=1))
    panel = read_panel(
        lake=lake,
        catalog=catalog,
        feed=Feed.IEX,
        symbols=SYMBOLS,
        sessions=[DAY],
        columns=["close"],
    )
    assert (panel.values == 3).all()


def test_vacuum_keeps_what_the_catalog_pins_though_the_table_moved_on(
    lake: Lake, catalog: Catalog
) -> None:
    publish(lake, catalog, 1)
    lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS, 2))
    vacuum(lake, catalog, keep=NOW)
    assert lake.read_files("bars", row_of(catalog).bars_files).equals(make_bars(SYMBOLS, 1))


def test_compaction_restates_the_pins_and_keeps_the_rows(lake: Lake, catalog: Catalog) -> None:
    publish(lake, catalog, 1)
    before = row_of(catalog)
    where = {"feed": Feed.IEX, "session": DAY}
    parts = [
        file
        for first in (0, 390, 780)
        for file in lake.stage("bars", **where, rows=make_bars(SYMBOLS).slice(first, 390))  # type: ignore[arg-type]
    ]
    pin = lake.commit("bars", **where, staged=parts)  # type: ignore[arg-type]
    with catalog.session_lock(DAY, Feed.IEX) as lock:
        catalog.restate(lock, bars=pin)
    assert len(row_of(catalog).bars_files) == 3
    assert compact(lake, catalog, Feed.IEX) == 1
    after = row_of(catalog)
    assert len(after.bars_files) == 1
    assert after.bars_files == lake.current_files("bars", **where)  # type: ignore[arg-type]
    assert lake.read_files("bars", after.bars_files).equals(make_bars(SYMBOLS))
    assert (after.revision, after.content_hash) == (before.revision, before.content_hash)
    assert not publish(lake, catalog, 1).changed


def test_only_the_newest_tapes_are_kept(lake: Lake, catalog: Catalog) -> None:
    for seed, day in enumerate(DAYS, start=1):
        publish(lake, catalog, seed, day=day)
    assert drop_old_tapes(lake, catalog, Feed.IEX, 0) == 0
    assert drop_old_tapes(lake, catalog, Feed.IEX, 2) == 1
    assert drop_old_tapes(lake, catalog, Feed.IEX, 2) == 0
    gone, kept = row_of(catalog, DAYS[0]), row_of(catalog, DAYS[1])
    assert gone.trades_files == ()
    assert gone.tape_dropped_at is not None
    assert kept.trades_files
    assert set(pl.read_delta(lake.uri("trades"))["session"]) == set(DAYS[1:])
    assert set(pl.read_delta(lake.uri("bars"))["session"]) == set(DAYS)
    assert vacuum(lake, catalog, keep=NOW)[0] == 1
    assert not publish(lake, catalog, 1, day=DAYS[0], tape=None).changed


def test_a_full_round_may_run_beside_readers_and_twice(lake: Lake, catalog: Catalog) -> None:
    for seed in (1, 2):
        publish(lake, catalog, seed)
    assert maintain(lake=lake, catalog=catalog, keep=NOW).files_deleted == 2
    again = maintain(lake=lake, catalog=catalog, keep=NOW)
    assert (again.files_deleted, again.sessions_compacted, again.tapes_dropped) == (0, 0, 0)
    assert lake.read_files("bars", row_of(catalog).bars_files).equals(make_bars(SYMBOLS, 2))
    assert pl.read_delta(lake.uri("bars")).height == 1170


def test_an_export_holds_the_published_bars(lake: Lake, catalog: Catalog, tmp_path: Path) -> None:
    for seed, day in enumerate(DAYS, start=1):
        publish(lake, catalog, seed, day=day)
    target = tmp_path / "bbb.parquet"
    arguments = {"lake": lake, "catalog": catalog, "feed": Feed.IEX, "symbol": "BBB"}
    assert export_bars(**arguments, path=target, start=DAYS[1]) == 780  # type: ignore[arg-type]
    found = pl.read_parquet(target)
    assert found["session"].unique(maintain_order=True).to_list() == DAYS[1:]
    assert found["close"].to_list() == [2.0] * 390 + [3.0] * 390
    expected = make_bars(SYMBOLS, 3, day=DAYS[2]).to_pandas().query("symbol == 'BBB'")
    last = found.filter(pl.col("session") == DAYS[2])
    assert last["vwap"].to_list() == expected.vwap.to_list()
    assert export_bars(**arguments, path=tmp_path / "bbb.csv") == 1170  # type: ignore[arg-type]
    text = pl.read_csv(tmp_path / "bbb.csv")
    assert text["volume"].to_list()[-390:] == expected.volume.to_list()
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {"bbb.parquet", "bbb.csv"}


def test_an_adjusted_export_divides_prices_before_the_split(
    lake: Lake, catalog: Catalog, tmp_path: Path
) -> None:
    for day in DAYS:
        publish(lake, catalog, 6, day=day)
    split = {"id": "1", "kind": "forward_split", "symbol": "AAA", "ex_date": DAYS[1]}
    rest = {"process_date": None, "old_rate": 1.0, "new_rate": 3.0, "cash_rate": None}
    write_actions(lake, pa.Table.from_pylist([split | rest | {"new_symbol": None}]))
    path = tmp_path / "aaa.parquet"
    export_bars(lake=lake, catalog=catalog, feed=Feed.IEX, symbol="AAA", path=path, adjusted=True)
    found = pl.read_parquet(path)
    assert found["close"].to_list() == [2.0] * 390 + [6.0] * 780
    volume = make_bars(SYMBOLS, 6).column("volume").to_pylist()[:390]
    assert found["volume"].to_list()[:390] == [v * 3 for v in volume]


def test_an_export_that_cannot_be_says_why_and_leaves_no_file(
    lake: Lake, catalog: Catalog, tmp_path: Path
) -> None:
    def attempt(**changes: object) -> None:
        arguments = {"symbol": "AAA", "path": tmp_path / "x.csv"} | changes
        export_bars(lake=lake, catalog=catalog, feed=Feed.IEX, **arguments)  # type: ignore[arg-type]

    with pytest.raises(NotPublishedError, match="No iex session is published"):
        attempt()
    publish(lake, catalog, tape=make_tape(SYMBOLS), quarantined={"BBB": "spike"})
    with pytest.raises(UserError, match=r"\.parquet or \.csv"):
        attempt(path=tmp_path / "x.xlsx")
    with pytest.raises(UserError, match="no folder"):
        attempt(path=tmp_path / "nowhere" / "x.csv")
    with pytest.raises(UserError, match="lies before the start"):
        attempt(start=DAYS[1], end=DAYS[0])
    with pytest.raises(NotPublishedError, match="BBB has no published bars"):
        attempt(symbol="BBB")
    assert [p.name for p in tmp_path.iterdir()] == ["lake"]
