"""The same lake and objects in an S3 bucket, against moto's server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer
from recorded_backtests import ABOUT, PAGE, a_backtest
from registered_models import add
from stored_sessions import DAY, SYMBOLS, make_bars, make_tape, publish

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.errors import DamagedFileError, ServiceUnavailableError
from alpaca_strategy.storage.backtests import Backtests
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.database import connect, migrate
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.maintenance import maintain
from alpaca_strategy.storage.objects import ObjectStore
from alpaca_strategy.storage.panel import read_panel
from alpaca_strategy.storage.registry import Registry

pytestmark = pytest.mark.integration


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        # pragma: allowlist nextline secret
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    name = f"market-{uuid.uuid4().hex}"  # moto keeps its buckets as long as the process lives
    boto3.client("s3").create_bucket(Bucket=name)
    yield f"s3://{name}/venue"
    server.stop()


@pytest.fixture
def catalog(database_url: str) -> Iterator[Catalog]:
    engine = connect(database_url)
    migrate(engine)
    yield Catalog(engine)
    engine.dispose()


def test_a_session_is_published_and_read_from_a_bucket(bucket: str, catalog: Catalog) -> None:
    lake = Lake(f"{bucket}/lake")
    assert publish(lake, catalog, 1).revision == 1
    assert not publish(lake, catalog, 1).changed
    assert publish(lake, catalog, 2).revision == 2
    panel = read_panel(
        lake=lake,
        catalog=catalog,
        feed=Feed.IEX,
        symbols=SYMBOLS,
        sessions=[DAY],
        columns=["close"],
    )
    assert (panel.values == 2).all()
    assert maintain(lake=lake, catalog=catalog, keep=timedelta(0)).files_deleted == 2
    storage = {**lake.storage_options}
    assert pl.read_delta(lake.uri("bars"), storage_options=storage)["close"].unique().to_list() == [
        2
    ]


def test_writers_to_a_bucket_lose_no_commit(bucket: str) -> None:
    lake = Lake(f"{bucket}/lake")
    days = [DAY + timedelta(days=n) for n in range(4)]

    def work(day: object) -> None:
        for seed in (1, 2):
            lake.write_session("bars", feed=Feed.IEX, session=day, rows=make_bars(["A"], seed))  # type: ignore[arg-type]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, days))
    table = lake.open("bars")
    assert table.version() == 8
    assert len(lake.paths(table)) == 4


def test_a_missing_object_of_the_lake_is_named(bucket: str) -> None:
    lake = Lake(f"{bucket}/lake")
    pin = lake.write_session("trades", feed=Feed.IEX, session=DAY, rows=make_tape(SYMBOLS))
    lake.delete_files("trades", pin.files)
    with pytest.raises(DamagedFileError, match="is missing"):
        lake.read_files("trades", pin.files)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        return ObjectStore(request.getfixturevalue("bucket") + "/objects")
    return ObjectStore(tmp_path / "objects")


def test_objects_are_put_listed_and_read(store: ObjectStore) -> None:
    assert store.list() == []
    assert not store.exists("a/report.html")
    uri = store.put("a/report.html", b"one")
    assert store.put("a/report.html", b"two") == uri == store.uri("a/report.html")
    store.put("a/b/x.bin", bytes(range(256)))
    store.put("c.txt", b"")
    assert store.get("a/report.html") == b"two"
    assert store.get("a/b/x.bin") == bytes(range(256))
    assert store.get("c.txt") == b""
    assert store.exists("a/report.html")
    assert not store.exists("a")
    assert store.list() == ["a/b/x.bin", "a/report.html", "c.txt"]
    assert store.list("a/b") == ["a/b/x.bin"]
    assert store.name_of(uri) == "a/report.html"


def test_objects_are_deleted_once_and_again(store: ObjectStore) -> None:
    for name in ("a/one.html", "a/two.html"):
        store.put(name, b"x")
    for _ in range(2):
        store.delete("a/one.html")
        assert store.list() == ["a/two.html"]
    store.delete("never/was.html")


def test_reports_of_backtests_may_lie_in_a_bucket(bucket: str, catalog: Catalog) -> None:
    objects = ObjectStore(f"{bucket}/objects")
    backtests = Backtests(catalog.engine, objects)
    made = a_backtest(add(Registry(catalog.engine), "a"))
    assert backtests.delete_orphans() == 0
    assert backtests.record(made, PAGE, **ABOUT)
    objects.put("backtests/x.html", b"of a run that was killed")
    assert backtests.delete_orphans() == 1
    assert backtests.page(made.id) == (made.id, PAGE)
    assert backtests.read(made.id).report_uri.startswith(f"{bucket}/objects/backtests/")


def test_objects_that_are_not_there_or_not_named_well(store: ObjectStore) -> None:
    with pytest.raises(DamagedFileError, match=r"no object nothing\.html"):
        store.get("nothing.html")
    for name in ("", "../x", "/etc/passwd", "a/../b", "a//b"):
        with pytest.raises(ValueError, match="not an object's name"):
            store.put(name, b"")
    with pytest.raises(DamagedFileError, match="does not lie under"):
        store.name_of("s3://elsewhere/x")


def test_a_storage_that_does_not_answer_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(ServiceUnavailableError, match="does not answer") as caught:
        ObjectStore("s3://market/objects").put("a", b"x")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ServiceUnavailableError):
        Lake("s3://market/lake").write_session(
            "bars", feed=Feed.IEX, session=DAY, rows=make_bars(SYMBOLS)
        )
