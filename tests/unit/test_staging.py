"""The staging area: nothing is half there, nothing is lost, damage is named."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.errors import BusyError, DamagedFileError, DiskSpaceError, UserError
from alpaca_strategy.market.schema import TRADE_SCHEMA
from alpaca_strategy.storage.staging import FetchKey, Manifest, Staging, TapeWriter

DAY = date(2026, 10, 1)
KEY = FetchKey("iex", "2026-10-01T13:00:00+00:00", "2026-10-01T20:30:00+00:00")
NOW = datetime(2026, 10, 2, tzinfo=UTC)


def tape(count: int = 10, first: int = 0, price: float = 100.0) -> pa.Table:
    """Return trades of SPY a second apart."""
    rows = range(first, first + count)
    columns = {
        "symbol": ["SPY"] * count,
        "ts_ns": [1_790_861_400_000_000_000 + n * 10**9 for n in rows],
        "price": [price + n for n in rows],
        "size": [100] * count,
        "exchange": ["V"] * count,
        "conditions": ["@,I"] * count,
        "tape": ["C"] * count,
        "id": list(rows),
        "update": [None] * count,
    }
    return pa.table(columns, schema=TRADE_SCHEMA)


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "staging")


def write(staging: Staging, pages: list[pa.Table], **options: bool) -> Manifest:
    writer = staging.writer(DAY, "SPY", KEY, now=NOW, **options)
    for page in pages:
        writer.append(page)
    return writer.finish(NOW)[0]


def files(staging: Staging) -> set[str]:
    return {path.name for path in staging.folder(DAY, "SPY").iterdir()}


def test_a_tape_is_read_as_it_was_written(staging: Staging) -> None:
    manifest = write(staging, [tape(10), tape(5, 10)])
    assert staging.read_tape(DAY, "SPY").equals(tape(15))
    assert [batch.num_rows for batch in staging.tape_batches(DAY, "SPY")] == [10, 5]
    assert manifest.trade_count == 15
    assert staging.manifest(DAY, "SPY") == manifest
    assert staging.symbols(DAY) == ["SPY"]
    assert staging.sessions() == [DAY]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=8), st.integers(0, 40))
def test_the_hash_is_of_the_content_whatever_the_pages(
    tmp_path_factory: pytest.TempPathFactory, borders: list[int], count: int
) -> None:
    staging, pages, first = Staging(tmp_path_factory.mktemp("s")), [], 0
    for size in borders:
        size = min(size, count - first)  # noqa: PLW2901  # as many as are left
        pages.append(tape(size, first))
        first += size
    cut = write(staging, [*pages, tape(count - first, first)])
    whole = write(staging, [tape(count)], afresh=True)
    assert cut.tape_hash == whole.tape_hash
    changed = tape(count).set_column(2, "price", pa.array(np.arange(count) + 100.01))
    if count:
        assert write(staging, [changed], afresh=True).tape_hash != whole.tape_hash


def test_trades_out_of_order_within_a_page_are_put_in_order_and_equal_times_stay(
    staging: Staging,
) -> None:
    mixed = tape(4).take([2, 0, 3, 1]).set_column(
        1, "ts_ns", pa.array([30, 10, 30, 20], pa.int64())
    )  # fmt: skip
    write(staging, [mixed])
    assert staging.read_tape(DAY, "SPY")["id"].to_pylist() == [0, 1, 2, 3]


def test_a_symbol_without_trades_has_an_empty_tape(staging: Staging) -> None:
    assert write(staging, []).trade_count == 0
    assert staging.read_tape(DAY, "SPY").equals(TRADE_SCHEMA.empty_table())


def test_an_interrupted_tape_goes_on_after_the_last_checkpoint(staging: Staging) -> None:
    writer = staging.writer(DAY, "SPY", KEY, now=NOW)
    writer.append(tape(10), ("bad price",), 2)
    writer.checkpoint("token-1", ("SPY", "TSLA"))
    writer.append(tape(99, 10))  # written, but the process ends before the checkpoint
    assert staging.manifest(DAY, "SPY") is None
    assert staging.symbols(DAY) == []

    again = staging.writer(DAY, "SPY", KEY, now=NOW)
    assert (again.resumed, again.next_token, again.chain) == (True, "token-1", ("SPY", "TSLA"))
    assert again.trade_count == 10
    assert again.last_part().equals(tape(10))
    again.append(tape(5, 10))
    manifest, before = again.finish(NOW)
    assert before is None
    assert (manifest.rejected_count, manifest.repeated_count) == (1, 2)
    assert manifest.rejected_examples == ("bad price",)
    assert staging.read_tape(DAY, "SPY").equals(tape(15))
    assert files(staging) == {"manifest.json", *(part.name for part in manifest.parts)}


@pytest.mark.parametrize("spoil", ["key", "checkpoint", "part gone", "part cut"])
def test_what_cannot_be_gone_on_with_begins_again(staging: Staging, spoil: str) -> None:
    writer = staging.writer(DAY, "SPY", KEY, now=NOW)
    writer.append(tape(10))
    writer.checkpoint("token-1", ("SPY",))
    folder = staging.folder(DAY, "SPY")
    (part,) = folder.glob("part-*")
    if spoil == "checkpoint":
        (folder / "checkpoint.json").write_text("{")
    elif spoil == "part gone":
        part.unlink()
    elif spoil == "part cut":
        part.write_bytes(part.read_bytes()[:-1])
    key = FetchKey("sip", KEY.start, KEY.end) if spoil == "key" else KEY
    again = staging.writer(DAY, "SPY", key, now=NOW)
    assert (again.resumed, again.next_token, again.trade_count) == (False, None, 0)
    again.append(tape(3))
    again.finish(NOW)
    assert staging.read_tape(DAY, "SPY").num_rows == 3


def test_a_tape_stays_until_its_successor_is_whole(staging: Staging) -> None:
    write(staging, [tape(10)])
    staging.write_table(DAY, "SPY", "bars", tape(1))
    writer = staging.writer(DAY, "SPY", KEY, now=NOW, afresh=True)
    writer.append(tape(10, price=200.0))
    writer.checkpoint("token", ("SPY",))
    assert staging.read_tape(DAY, "SPY").equals(tape(10))
    assert staging.read_table(DAY, "SPY", "bars") is not None
    _, before = writer.finish(NOW)
    assert before is not None
    assert staging.read_tape(DAY, "SPY").equals(tape(10, price=200.0))
    assert staging.read_table(DAY, "SPY", "bars") is None  # they were of the other tape


def test_tables_stay_when_the_same_tape_comes_again(staging: Staging) -> None:
    write(staging, [tape(10)])
    staging.write_table(DAY, "SPY", "bars", tape(1))
    write(staging, [tape(4), tape(6, 4)], afresh=True)
    assert staging.read_table(DAY, "SPY", "bars").equals(tape(1))
    assert staging.read_tape(DAY, "SPY").equals(tape(10))


def test_leftovers_of_a_killed_process_are_cleaned(staging: Staging) -> None:
    write(staging, [tape(10)])
    folder = staging.folder(DAY, "SPY")
    (folder / ".manifest.json.123").write_text("half")
    (folder / "part-009-00000.parquet").write_bytes(b"half")
    write(staging, [tape(3)], afresh=True)
    assert len(files(staging)) == 2


@pytest.mark.parametrize("where", ["last bytes", "middle", "cut", "gone", "another table"])
def test_a_damaged_part_is_named_with_its_remedy(staging: Staging, where: str) -> None:
    (part,) = write(staging, [tape(1000)]).parts
    path = staging.folder(DAY, "SPY") / part.name
    content = bytearray(path.read_bytes())
    if where == "last bytes":
        content[-4:] = b"XXXX"
    elif where == "middle":
        content[len(content) // 3] ^= 0xFF
    elif where == "cut":
        content = content[:-7]
    elif where == "another table":
        write(staging, [tape(999)], afresh=True)
        (other,) = staging.folder(DAY, "SPY").glob("part-*")
        content = bytearray(other.read_bytes())
        path = other
        manifest = staging.folder(DAY, "SPY") / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"rows": 999', '"rows": 1000'))
    path.write_bytes(content)
    if where == "gone":
        path.unlink()
    with pytest.raises(DamagedFileError, match=r"part-.*fetch --session 2026-10-01 --rewrite"):
        staging.read_tape(DAY, "SPY")


def test_a_damaged_manifest_or_table_is_named(staging: Staging) -> None:
    write(staging, [tape(10)])
    staging.write_table(DAY, "SPY", "bars", tape(1))
    folder = staging.folder(DAY, "SPY")
    (folder / "bars.parquet").write_bytes(b"PAR1nonsense")
    with pytest.raises(DamagedFileError, match=r"bars\.parquet.*alpaca-strategy bars"):
        staging.read_table(DAY, "SPY", "bars")
    (folder / "manifest.json").write_text(json.dumps({"key": 5}))
    with pytest.raises(DamagedFileError, match=r"manifest\.json.*--rewrite"):
        staging.manifest(DAY, "SPY")
    write(staging, [tape(4)], afresh=True)
    assert staging.read_tape(DAY, "SPY").num_rows == 4


def test_a_tape_that_is_not_there_is_said_so(staging: Staging) -> None:
    with pytest.raises(DamagedFileError, match=r"no tape.*alpaca-strategy fetch"):
        staging.read_tape(DAY, "SPY")


def test_failures_are_listed_until_there_is_a_tape(staging: Staging) -> None:
    staging.note_failures(DAY, {"SPY": "HTTP 500", "F": "unknown"})
    listed = staging.root / "2026-10-01" / "failed_symbols.txt"
    assert listed.read_text() == "F\tunknown\nSPY\tHTTP 500\n"
    write(staging, [tape(1)])
    staging.note_failures(DAY, {})
    assert staging.failures(DAY) == {"F": "unknown"}
    assert listed.read_text() == "F\tunknown\n"
    assert staging.symbols(DAY) == ["SPY"]


@pytest.mark.parametrize("symbol", ["../etc", "a", "", "A/B", ".SPY", "S" * 21])
def test_a_symbol_cannot_leave_its_folder(staging: Staging, symbol: str) -> None:
    with pytest.raises(UserError):
        staging.folder(DAY, symbol)


def test_notes_are_kept_by_session(staging: Staging) -> None:
    assert staging.read_note(DAY, "check") is None
    staging.write_note(DAY, "check", {"refused": None, "n": 3})
    assert staging.read_note(DAY, "check") == {"refused": None, "n": 3}
    staging.discard(DAY)
    assert staging.sessions() == []


def test_a_symbol_belongs_to_one_run_at_a_time(staging: Staging) -> None:
    held = staging.symbol_lock(DAY, "SPY")
    with held:
        with staging.symbol_lock(DAY, "F", wait_s=0):
            pass
        with pytest.raises(BusyError, match="SPY"), staging.symbol_lock(DAY, "SPY", wait_s=0):
            pass
    with staging.symbol_lock(DAY, "SPY", wait_s=0):
        pass


def limit_file_size() -> None:
    """Let the kernel refuse to write more than 20,000 bytes to a file, as a full disk would."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_no_room_leaves_nothing_half_written(staging: Staging) -> None:
    before = write(staging, [tape(100)])
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_staging import *
        writer = Staging(Path({str(staging.root)!r})).writer(DAY, "SPY", KEY, afresh=True)
        limit_file_size()
        try:
            writer.append(tape(100_000))
        except DiskSpaceError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert "There is no room left to write to" in done.stdout
    assert staging.manifest(DAY, "SPY") == before
    assert files(staging) == {"manifest.json", before.parts[0].name}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_device_is_no_room(
    staging: Staging, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has room for the part, but not for the manifest."""
    writer = staging.writer(DAY, "SPY", KEY, now=NOW)
    writer.append(tape(10))

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskSpaceError):
        writer.finish(NOW)
    assert staging.manifest(DAY, "SPY") is None
    assert isinstance(writer, TapeWriter)
