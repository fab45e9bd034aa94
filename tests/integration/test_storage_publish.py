"""Publication, and what readers see of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sqlalchemy import text
from stored_sessions import DAY, SYMBOLS, make_bars, make_tape, publish

from alpaca_strategy.domain.market import Feed, Severity, Venue
from alpaca_strategy.errors import (
    DamagedFileError,
    NotASessionError,
    NotPublishedError,
    QualityError,
)
from alpaca_strategy.market.schema import BAR_COLUMNS
from alpaca_strategy.storage.actions import write_actions
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.panel import Panel, read_panel
from alpaca_strategy.storage.records import (
    QualityResult,
    QualityRun,
    SessionStatus,
    SymbolSession,
    SymbolStatus,
)

pytestmark = pytest.mark.integration
OTHER = date(2024, 1, 3)


@pytest.fixture
def catalog(database_url: str) -> Iterator[Catalog]:
    engine = connect(database_url)
    migrate(engine)
    yield Catalog(engine)
    engine.dispose()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def panel(
    lake: Lake, catalog: Catalog, symbols: tuple[str, ...] = SYMBOLS, **more: object
) -> Panel:
    arguments: dict[str, object] = {"sessions": [DAY], "feed": Feed.IEX} | more
    return read_panel(lake=lake, catalog=catalog, symbols=symbols, **arguments)  # type: ignore[arg-type]


def expected(seed: int, symbol: str, column: str, day: date = DAY) -> np.ndarray:
    bars = make_bars(SYMBOLS, seed, day=day).to_pandas()
    return bars.loc[bars.symbol == symbol, column].to_numpy(np.float64)


def test_a_published_session_is_described_in_full(lake: Lake, catalog: Catalog) -> None:
    done = publish(lake, catalog, quality_severity=Severity.WARNING, report_uri="file:///r.html")
    row = catalog.latest_published(Feed.IEX)
    assert row == catalog.session(DAY, Feed.IEX)
    assert row is not None
    assert (done.changed, done.revision, row.revision, row.status) == (True, 1, 1, "published")
    assert (row.symbols_asked, row.symbols_published, row.minutes) == (3, 3, 390)
    assert (row.trade_count, row.bar_count) == (1500, 1170)
    assert row.observed_minutes == make_bars(SYMBOLS).column("observed").to_numpy().sum()
    assert (row.quality_severity, row.report_uri) == (Severity.WARNING, "file:///r.html")
    assert row.content_hash == done.content_hash
    assert lake.read_files("bars", row.bars_files).equals(make_bars(SYMBOLS))
    assert lake.read_files("trades", row.trades_files).equals(pa.concat_tables(make_tape(SYMBOLS)))


def test_equal_content_changes_nothing(lake: Lake, catalog: Catalog) -> None:
    first = publish(lake, catalog)
    before = catalog.session(DAY, Feed.IEX)
    files = sorted(Path(lake.root).rglob("*"))
    shuffled = list(make_tape(SYMBOLS))[::-1]
    bars = make_bars(SYMBOLS).sort_by([("minute", "descending"), ("symbol", "descending")])
    again = publish(
        lake, catalog, tape=(t.slice(i, 7) for t in shuffled for i in range(0, 500, 7)), bars=bars
    )
    assert (again.changed, again.revision) == (False, 1)
    assert again.content_hash == first.content_hash
    assert catalog.session(DAY, Feed.IEX) == before
    assert sorted(Path(lake.root).rglob("*")) == files


@pytest.mark.parametrize("what", ["tape", "bars", "quarantine", "conditions"])
def test_any_other_content_is_a_new_revision(lake: Lake, catalog: Catalog, what: str) -> None:
    first = publish(lake, catalog)
    changes: dict[str, object] = {
        "tape": {"tape": make_tape(SYMBOLS, 2)},
        "bars": {"bars": make_bars(SYMBOLS, 2)},
        "quarantine": {"quarantined": {"BBB": "negative price"}},
        "conditions": {"condition_fingerprint": "1" * 16},
    }[what]  # type: ignore[assignment]
    second = publish(lake, catalog, **changes)  # type: ignore[arg-type]
    assert (second.changed, second.revision) == (True, 2)
    assert second.content_hash != first.content_hash


def test_what_is_left_out_is_nowhere_but_in_the_catalog(lake: Lake, catalog: Catalog) -> None:
    publish(
        lake,
        catalog,
        symbols=("AAA", "BBB", "CCC", "DDD", "EEE"),
        tape=make_tape(("AAA", "BBB", "CCC")),
        bars=make_bars(("AAA", "BBB", "CCC")),
        quarantined={"BBB": "3 prices are negative"},
        failed={"DDD": "the venue answered 500"},
    )
    states = catalog.symbol_sessions(DAY, DAY, Feed.IEX)
    assert {s: (v.status, v.reason) for (_, s), v in states.items()} == {
        "AAA": (SymbolStatus.PUBLISHED, None),
        "BBB": (SymbolStatus.QUARANTINED, "3 prices are negative"),
        "CCC": (SymbolStatus.PUBLISHED, None),
        "DDD": (SymbolStatus.FAILED, "the venue answered 500"),
        "EEE": (SymbolStatus.MISSING, "no bars were built"),
    }
    for name in ("bars", "trades"):
        assert set(pl.read_delta(lake.uri(name))["symbol"]) == {"AAA", "CCC"}
    read = panel(lake, catalog, ("AAA", "BBB", "EEE"))
    assert np.isnan(read.values[:, 1:]).all()
    assert not read.observed[:, 1:].any()
    assert (read.values[:, 0, BAR_COLUMNS.index("close")] == 1).all()


def test_without_a_tape_the_published_one_stays(lake: Lake, catalog: Catalog) -> None:
    publish(lake, catalog)
    before = catalog.session(DAY, Feed.IEX)
    assert not publish(lake, catalog, tape=None).changed
    assert publish(lake, catalog, tape=None, bars=make_bars(SYMBOLS, 2)).revision == 2
    after = catalog.session(DAY, Feed.IEX)
    assert before is not None
    assert after is not None
    assert (after.trades_files, after.trade_count) == (before.trades_files, 1500)
    publish(lake, catalog, tape=None, bars=make_bars(SYMBOLS, 2), quarantined={"AAA": "spike"})
    row = catalog.session(DAY, Feed.IEX)
    assert row is not None
    rest = lake.read_files("trades", row.trades_files)
    assert rest.equals(pa.concat_tables(make_tape(("BBB", "CCC"))))


def test_a_damaged_file_is_mended_by_publishing_again(lake: Lake, catalog: Catalog) -> None:
    publish(lake, catalog)
    row = catalog.session(DAY, Feed.IEX)
    assert row is not None
    path = Path(lake.folder("bars")) / row.bars_files[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match=path.name):
        panel(lake, catalog)
    done = publish(lake, catalog)
    assert (done.changed, done.revision) == (False, 1)
    assert (panel(lake, catalog, columns=["close"]).values == 1).all()


@pytest.mark.parametrize(
    "bars",
    [
        make_bars(SYMBOLS).slice(1),
        pa.concat_tables([make_bars(SYMBOLS), make_bars(["AAA"])]),
        pa.concat_tables([make_bars(["AAA"], minutes=210), make_bars(["BBB", "CCC"])]),
    ],
    ids=["a minute short", "a symbol twice", "days of different length"],
)
def test_bars_that_break_their_contract_are_refused(
    lake: Lake, catalog: Catalog, bars: pa.Table
) -> None:
    with pytest.raises(ValueError, match="every minute once"):
        publish(lake, catalog, bars=bars)
    assert catalog.session(DAY, Feed.IEX) is None


def test_symbols_that_were_not_asked_for_are_refused(lake: Lake, catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="ZZZ"):
        publish(lake, catalog, tape=make_tape((*SYMBOLS, "ZZZ")))
    with pytest.raises(ValueError, match="ZZZ"):
        publish(lake, catalog, bars=make_bars((*SYMBOLS, "ZZZ")))
    assert not list(Path(lake.root).rglob("*.parquet"))


def test_a_session_without_any_good_symbol_is_not_published(lake: Lake, catalog: Catalog) -> None:
    with pytest.raises(QualityError, match="None of the 3 symbols"):
        publish(lake, catalog, quarantined=dict.fromkeys(SYMBOLS, "frozen feed"))


def test_a_refusal_is_recorded_and_takes_nothing_away(lake: Lake, catalog: Catalog) -> None:
    bad = [SymbolSession("AAA", SymbolStatus.QUARANTINED, "frozen feed")]
    more = {"venue": Venue.SIMULATOR, "reason": "0 of 1 symbols are good", "symbols": bad}
    catalog.refuse(OTHER, Feed.IEX, **more)  # type: ignore[arg-type]
    refused = catalog.session(OTHER, Feed.IEX)
    assert refused is not None
    assert (refused.status, refused.revision) == (SessionStatus.REFUSED, 0)
    assert catalog.latest_published(Feed.IEX) is None
    publish(lake, catalog)
    before = catalog.session(DAY, Feed.IEX)
    catalog.refuse(DAY, Feed.IEX, **more)  # type: ignore[arg-type]
    after = catalog.session(DAY, Feed.IEX)
    assert before is not None
    assert after is not None
    assert after.refused_reason == "0 of 1 symbols are good"
    assert replace(after, refused_at=None, refused_reason=None) == before
    assert len(catalog.symbol_sessions(DAY, DAY, Feed.IEX)) == 3
    publish(lake, catalog, day=OTHER)  # what was refused may be good later
    assert [r.status for r in catalog.sessions(None, None, Feed.IEX)] == ["published"] * 2


def test_quality_is_recorded_with_every_expectation(catalog: Catalog) -> None:
    results = (
        QualityResult(
            "bars",
            "prices_positive",
            Severity.CRITICAL,
            success=False,
            column="low",
            unexpected_count=3,
            unexpected_fraction=0.25,
            symbols=("AAA", "BBB"),
        ),
        QualityResult("session", "all_symbols_present", Severity.WARNING, success=True),
    )
    run = QualityRun(DAY, Feed.IEX, "quarantined", 1, 0, "file:///r.html", results)
    catalog.record_quality(run)
    (found,) = catalog.quality_runs(DAY, Feed.IEX)
    assert replace(found, run_at=None) == run
    assert found.run_at is not None
    assert catalog.quality_runs(OTHER, Feed.IEX) == []


def test_a_panel_holds_what_was_published_in_the_order_asked_for(
    lake: Lake, catalog: Catalog
) -> None:
    publish(lake, catalog, 1)
    publish(lake, catalog, 2, day=OTHER, bars=make_bars(SYMBOLS, 2, day=OTHER, minutes=210))
    columns = ("volume", "vwap", "close")
    read = panel(
        lake, catalog, ("CCC", "AAA"), columns=columns, sessions=None, start=DAY, end=OTHER
    )
    assert read.values.shape == (600, 2, 3)
    assert read.values.flags.c_contiguous
    assert read.sessions == (DAY, OTHER)
    assert read.session_index.tolist() == [0] * 390 + [1] * 210
    assert read.minute.tolist() == [*range(390), *range(210)]
    for seat, symbol in enumerate(read.symbols):
        for i, column in enumerate(columns):
            np.testing.assert_array_equal(read.values[:390, seat, i], expected(1, symbol, column))
    half_day = make_bars(SYMBOLS, 2, day=OTHER, minutes=210).to_pandas()
    observed = half_day.loc[half_day.symbol == "AAA", "observed"].to_numpy()
    np.testing.assert_array_equal(read.observed[390:, 1], observed)


def test_a_panel_is_split_adjusted_on_request(lake: Lake, catalog: Catalog) -> None:
    for day in (DAY, OTHER):
        publish(lake, catalog, 8, day=day)
    row = {"id": "1", "kind": "forward_split", "symbol": "BBB", "ex_date": OTHER}
    rates = {"process_date": OTHER, "old_rate": 1.0, "new_rate": 4.0, "cash_rate": None}
    write_actions(lake, pa.Table.from_pylist([row | rates | {"new_symbol": None}]))
    columns = ("close", "volume", "dollar_volume", "trade_count")
    raw = panel(lake, catalog, columns=columns, sessions=[DAY, OTHER])
    read = panel(lake, catalog, columns=columns, sessions=[DAY, OTHER], adjusted=True)
    np.testing.assert_array_equal(read.values[:390, 1], raw.values[:390, 1] * [0.25, 4, 1, 1])
    np.testing.assert_array_equal(read.values[390:], raw.values[390:])
    np.testing.assert_array_equal(read.values[:, [0, 2]], raw.values[:, [0, 2]])
    alone = panel(lake, catalog, columns=columns, sessions=[DAY], adjusted=True)
    np.testing.assert_array_equal(alone.values, raw.values[:390])  # the split came later


def test_missing_sessions_are_named_with_the_command_that_makes_them(
    lake: Lake, catalog: Catalog
) -> None:
    publish(lake, catalog)
    with pytest.raises(NotPublishedError) as caught:
        panel(lake, catalog, sessions=[DAY, OTHER, date(2024, 1, 4)])
    assert "2024-01-03, 2024-01-04" in str(caught.value)
    assert "backfill --start 2024-01-03 --end 2024-01-04" in str(caught.value)
    with pytest.raises(NotPublishedError, match="All sessions are not published"):
        panel(lake, catalog, sessions=None, start=OTHER, end=OTHER)
    with pytest.raises(NotPublishedError):
        panel(lake, catalog, feed=Feed.SIP)
    weekend = {"start": date(2024, 1, 6), "end": date(2024, 1, 7)}
    with pytest.raises(NotASessionError, match="had no session from 2024-01-06 to 2024-01-07"):
        panel(lake, catalog, sessions=None, **weekend)


def test_unknown_columns_are_refused(lake: Lake, catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="colour"):
        panel(lake, catalog, columns=["colour"])


def test_old_revisions_stay_known(lake: Lake, catalog: Catalog) -> None:
    publish(lake, catalog, 1)
    old = catalog.session(DAY, Feed.IEX)
    publish(lake, catalog, 2)
    assert old is not None
    assert set(old.bars_files) <= catalog.pinned_files("bars", keep=timedelta(days=1))
    assert not set(old.bars_files) & catalog.pinned_files("bars", keep=timedelta(0))
    with catalog.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT revision, content_hash FROM market.session_revision ORDER BY 1")
        ).all()
    assert [row.revision for row in rows] == [1, 2]
    assert rows[0].content_hash == old.content_hash
