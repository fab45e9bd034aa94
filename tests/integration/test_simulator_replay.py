"""Recorded trades served again: everything that was recorded, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from alpaca_strategy.errors import ServiceUnavailableError
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator

pytestmark = pytest.mark.integration


def fetch(simulator: RunningSimulator, symbol: str, day: str, **more: Any) -> list[dict[str, Any]]:
    headers = {"APCA-API-KEY-ID": simulator.key, "APCA-API-SECRET-KEY": simulator.secret}
    asked = {"symbols": symbol, "start": day, "end": day, "limit": 10_000, "feed": "sip", **more}
    trades: list[dict[str, Any]] = []
    while True:
        answer = requests.get(
            simulator.url + "/v2/stocks/trades", asked, headers=headers, timeout=30
        )
        answer.raise_for_status()
        got = answer.json()
        trades += got["trades"].get(symbol, [])
        if got["next_page_token"] is None:
            return trades
        asked["page_token"] = got["next_page_token"]


def test_every_recorded_trade_comes_back_with_its_flags(shared_data: Path) -> None:
    with running_simulator(replay=shared_data / "tape") as simulator:
        for day in ("2013-10-07", "2013-10-08"):
            table = pq.read_table(shared_data / "tape" / f"trades_{day}.parquet")
            for symbol in ("AIG", "IBM"):
                rows = table.filter(pa.compute.equal(table["symbol"], symbol)).to_pylist()
                wanted = [
                    (
                        row["t"].value,
                        row["p"],
                        row["s"],
                        row["x"],
                        row["c"]
                        + [f"+{f}" for f in ("suspicious", "trade_through_exempt") if row[f]],
                        row["i"],
                        row["z"],
                    )
                    for row in rows
                ]
                got = fetch(simulator, symbol, day)
                assert len(got) == len(wanted) > 20_000
                served = [
                    (_ns(t["t"]), t["p"], t["s"], t["x"], t["c"], t["i"], t["z"]) for t in got
                ]
                assert served == wanted
        assert fetch(simulator, "AIG", "2013-10-09") == []
        assert fetch(simulator, "AIG", "2013-10-07", feed="iex") == []  # IEX was no exchange yet
        flagged = {mark for t in got for mark in t["c"] if mark[0] == "+"}
        assert flagged >= {"+trade_through_exempt"}


def _ns(text: str) -> int:
    head, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.strptime(head, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + int(f"{fraction:0<9}" or 0)


def test_trades_of_equal_time_cancellations_and_other_files(tmp_path: Path) -> None:
    at = datetime(2020, 3, 2, 15, tzinfo=UTC)
    table = pa.table(
        {
            "symbol": ["X"] * 5,
            "t": pa.array([at] * 5, pa.timestamp("us", "UTC")),
            "p": [10.0, 10.1, 10.2, 10.3, 10.123456],
            "s": [1, 2, 3, 4, 5],
            "x": ["V", "Q", "V", "Q", "V"],
            "c": [["@"], ["@", "I"], [], ["@"], ["@"]],
            "i": [1, 2, 3, 4, 5],
            "z": ["C"] * 5,
            "u": [None, "canceled", None, "incorrect", "corrected"],
            "halted": [False, None, True, False, False],
        }
    )
    pq.write_table(table, tmp_path / "trades.parquet")
    pq.write_table(pa.table({"something": [1]}), tmp_path / "else.parquet")
    with running_simulator(replay=tmp_path) as simulator:
        whole = fetch(simulator, "X", "2020-03-02")
        assert [t["i"] for t in fetch(simulator, "X", "2020-03-02", limit=1)] == [1, 2, 3, 4, 5]
        assert [t["i"] for t in fetch(simulator, "X", "2020-03-02", limit=2, sort="desc")] == [
            5, 4, 3, 2, 1,
        ]  # fmt: skip
        assert [t["i"] for t in fetch(simulator, "X", "2020-03-02", feed="iex")] == [1, 3, 5]
    assert [t.get("u") for t in whole] == [None, "canceled", None, "incorrect", "corrected"]
    assert [t["p"] for t in whole] == [10, 10.1, 10.2, 10.3, 10.123456]
    assert whole[2]["c"] == ["+halted"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is not a table PAR1")
    with (
        pytest.raises(ServiceUnavailableError, match=r"bad\.parquet cannot be read"),
        running_simulator(replay=tmp_path),
    ):
        pass
