"""Wire to bar: trades a second from the socket to finished bars, beside alpaca-py's own stream.

A server of its own process blasts frames that were encoded before: trades of 30 symbols over a
session, as MessagePack, in frames of one trade and of 50. It greets, and acknowledges what is
asked for, as the venue does; to it, all clients are alike. What is timed, from the first frame to
the end:

- ours: `VenueStreams`, typed decoding, the live tape, and the bars of the whole session at the end;
- alpaca-py parsed: `StockDataStream`, from the socket to a handler that counts its Trade objects;
- alpaca-py raw: the same with `raw_data`, so that dictionaries reach the handler.

Before timing, every trade that each client got must be the same (to the microsecond, as alpaca-py
has no more), and our bars must have the bits of the bars of the same tape in one piece. Each client
lives in its own process, and they take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from run import machine

SYMBOLS = tuple(f"S{n:02d}" for n in range(30))
DAY = date(2026, 9, 15)
SIZES = {1: 150_000, 50: 600_000}  # trades in a frame, and in a run
CLIENTS = ("ours", "alpaca-py parsed", "alpaca-py raw")
GOAL = 5.0
CONDITIONS = (["@"], ["@", "I"], ["@", "F"], ["@", "F", "I"], ["@", "T"], ["@", "4"])
CHUNK = 1 << 16  # bytes written at once
KEYS = ("key", "secret")


def trades(count: int) -> list[dict[str, Any]]:
    """Return messages of trades in order of time."""
    from alpaca_strategy.market.calendar import exchange_calendar

    session = exchange_calendar().session(DAY)
    draw = np.random.default_rng(5)
    opens = int(session.opens_at.timestamp()) * 10**9
    ts = opens + np.sort(draw.integers(0, 390 * 60 * 10**9, count))
    symbol = draw.integers(0, len(SYMBOLS), count)
    price = np.round(100 + symbol + np.cumsum(draw.choice([-1, 0, 0, 1], count)) * 0.001, 2)
    size = np.where(draw.random(count) < 0.5, draw.integers(1, 100, count), 100)
    kind = draw.choice(len(CONDITIONS), count, p=[0.4, 0.4, 0.09, 0.09, 0.01, 0.01])
    columns = (ts.tolist(), symbol.tolist(), price.tolist(), size.tolist(), kind.tolist())
    return [
        {
            "T": "t", "S": SYMBOLS[s], "i": n, "x": "V", "p": p, "s": q, "c": CONDITIONS[c],
            "t": msgspec.msgpack.Ext(-1, ((t % 10**9) << 34 | t // 10**9).to_bytes(8, "big")),
            "z": "C",
        }
        for n, (t, s, p, q, c) in enumerate(zip(*columns, strict=True))
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------ server
def framed(payload: bytes) -> bytes:
    """Return a websocket frame as servers send it."""
    size = len(payload)
    head = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return b"\x82" + head + payload


async def serve_frames() -> None:
    """Serve /v2/1, /v2/50 and /stream on a free port, and print it."""
    from websockets.asyncio.server import ServerConnection, serve

    chunks: dict[str, list[bytes]] = {}
    for size, count in SIZES.items():
        told = trades(count)
        encode = msgspec.msgpack.Encoder().encode
        frames = [framed(encode(told[n : n + size])) for n in range(0, count, size)]
        per = max(1, CHUNK // len(frames[0]))
        chunks[f"/v2/{size}"] = [b"".join(frames[n : n + per]) for n in range(0, len(frames), per)]

    async def client(socket: ServerConnection) -> None:
        path = socket.request.path if socket.request else ""
        if path == "/stream":
            for stream, data in (("authorization", {"status": "authorized"}),
                                 ("listening", {"streams": ["trade_updates"]})):  # fmt: skip
                await socket.recv()
                await socket.send(json.dumps({"stream": stream, "data": data}))
            await socket.wait_closed()
            return
        await socket.send(msgspec.msgpack.encode([{"T": "success", "msg": "connected"}]))
        await socket.recv()
        await socket.send(msgspec.msgpack.encode([{"T": "success", "msg": "authenticated"}]))
        asked = msgspec.msgpack.decode(await socket.recv())
        del asked["action"]
        await socket.send(msgspec.msgpack.encode([{"T": "subscription", **asked}]))
        for chunk in chunks[path]:
            socket.transport.write(chunk)
            await socket.drain()
        await socket.wait_closed()

    async with serve(client, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


# ----------------------------------------------------------------------------------------- clients
Saved = dict[str, Any]


def ours(url: str, size: int, *, save: bool) -> tuple[float, Saved]:
    """Return the seconds of one run of ours, and what arrived."""
    from alpaca_strategy.broker.streams import VenueStreams
    from alpaca_strategy.domain.streams import MarketFrame, StreamEvent
    from alpaca_strategy.market.bars import build_session_bars
    from alpaca_strategy.market.calendar import exchange_calendar
    from alpaca_strategy.market.conditions import load_condition_table
    from alpaca_strategy.market.live_tape import LiveTape
    from alpaca_strategy.market.schema import BAR_COLUMNS

    session, table = exchange_calendar().session(DAY), load_condition_table("alpaca")
    tape = LiveTape(session, SYMBOLS, table)
    tape.bars()  # the kernel is compiled, as it is when a trader has started
    streams = VenueStreams(
        data_url=f"{url}/v2/{size}", updates_url=f"{url}/stream", symbols=SYMBOLS, data_keys=KEYS,
        keys=KEYS, channels=["trades"],
    )  # fmt: skip
    left, began, done = SIZES[size], 0.0, asyncio.Event()

    def listener(event: StreamEvent) -> None:
        nonlocal left, began
        if isinstance(event, MarketFrame):
            began = began or time.perf_counter()
            tape.extend(event.trades)
            left -= len(event.trades)
            if left == 0:
                done.set()

    async def run() -> tuple[float, Any]:
        task = asyncio.create_task(streams.run(listener))
        await done.wait()
        values, observed = tape.bars()
        seconds = time.perf_counter() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return seconds, (values, observed)

    seconds, (values, observed) = asyncio.run(run())
    if not save:
        return seconds, {}
    whole = tape.table()
    bars = build_session_bars(whole, session, SYMBOLS, table)
    shape = (len(SYMBOLS), session.minutes)
    for n, name in enumerate(BAR_COLUMNS):
        wanted = np.asarray(bars[name], np.float64).reshape(shape).T
        if wanted.tobytes() != np.ascontiguousarray(values[:, :, n]).tobytes():
            raise SystemExit(f"our bars differ from the whole tape's in {name}")
    if not np.array_equal(np.asarray(bars["observed"]).reshape(shape).T, observed):
        raise SystemExit("our bars are observed in other minutes than the whole tape's")
    return seconds, {
        "symbol": np.array(whole["symbol"].to_pylist()),
        "us": whole["ts_ns"].to_numpy() // 1000,
        "price": whole["price"].to_numpy(),
        "size": whole["size"].to_numpy(),
        "id": whole["id"].to_numpy(),
        "conditions": np.array(whole["conditions"].to_pylist()),
    }


def theirs(url: str, size: int, *, save: bool, raw: bool) -> tuple[float, Saved]:
    """Return the seconds of one run of alpaca-py's, and what arrived."""
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.data.live import StockDataStream

    stream = StockDataStream(*KEYS, url_override=f"{url}/v2/{size}", raw_data=raw)
    left, began, ended = SIZES[size], 0.0, 0.0
    kept: list[Any] = []

    async def handler(trade: Any) -> None:
        nonlocal left, began, ended
        began = began or time.perf_counter()
        if save:
            kept.append(trade)
        left -= 1
        if left == 0:
            ended = time.perf_counter()
            await stream.stop_ws()

    stream.subscribe_trades(handler, *SYMBOLS)
    stream.run()
    if not save:
        return ended - began, {}
    if raw:
        rows = [(t["S"], t["t"].to_unix_nano() // 1000, t["p"], t["s"], t["i"], ",".join(t["c"]))
                for t in kept]  # fmt: skip
    else:
        rows = [(t.symbol, round(t.timestamp.timestamp() * 1e6), t.price, int(t.size), t.id,
                 ",".join(t.conditions)) for t in kept]  # fmt: skip
    rows.sort(key=lambda row: (row[0], row[1], row[4]))
    names = ("symbol", "us", "price", "size", "id", "conditions")
    columns = zip(*rows, strict=True)
    return ended - began, {n: np.array(c) for n, c in zip(names, columns, strict=True)}


def work(client: str, url: str, folder: Path) -> None:
    """Obey standard input: "save 50" keeps what arrived, "run 50" does not."""
    run: Callable[..., tuple[float, Saved]] = ours
    if client != "ours":
        raw = client.endswith("raw")

        def run(*given: Any, **named: Any) -> tuple[float, Saved]:
            return theirs(*given, **named, raw=raw)

    for line in sys.stdin:
        verb, size = line.split()
        seconds, saved = run(url, int(size), save=verb == "save")
        if saved:
            np.savez(folder / f"{client}-{size}.npz", **saved)
        print(seconds, flush=True)


# ---------------------------------------------------------------------------------- taking turns
def compare(folder: Path, client: str, size: int) -> None:
    """End unless a client got what we got."""
    with np.load(folder / f"ours-{size}.npz") as a, np.load(folder / f"{client}-{size}.npz") as b:
        for name in a.files:
            same = np.abs(a[name] - b[name]).max() <= 1 if name == "us" else (a[name] == b[name])
            if a[name].shape != b[name].shape or not np.all(same):
                raise SystemExit(f"{client} got another {name} than we, in frames of {size}")


def tell(worker: subprocess.Popen[str], line: str) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{line}\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit("a worker ended before its time; its message is above")
    return float(answer)


def measure(rounds: int) -> dict[int, dict[str, list[float]]]:
    """Return the seconds of every round, by frame size and client."""
    seconds: dict[int, dict[str, list[float]]] = {
        size: {client: [] for client in CLIENTS} for size in SIZES
    }
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, __file__, "--serve"], **pipes)]
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            assert processes[0].stdout is not None
            url = f"ws://127.0.0.1:{int(processes[0].stdout.readline())}"
            workers: dict[str, subprocess.Popen[str]] = {}
            for client in CLIENTS:
                command = [sys.executable, __file__, "--work", client, url, name]
                workers[client] = subprocess.Popen(command, **pipes)
                processes.append(workers[client])
            for size in SIZES:
                for client, worker in workers.items():
                    tell(worker, f"save {size}")
                    if client != "ours":
                        compare(folder, client, size)
            for _ in range(rounds):
                for size in SIZES:
                    for client, worker in workers.items():
                        seconds[size][client].append(tell(worker, f"run {size}"))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return seconds


def figures_of(seconds: dict[int, dict[str, list[float]]]) -> list[dict[str, Any]]:
    figures = []
    for size, by_client in seconds.items():
        rate = {
            client: SIZES[size] / statistics.median(taken) / 1e3
            for client, taken in by_client.items()
        }
        for client in CLIENTS[1:]:
            goal = GOAL if client.endswith("parsed") else None
            ratio = rate["ours"] / rate[client]
            figures.append({
                "name": f"wire to bar, {size} trade{'s' * (size > 1)} a frame",
                "value": round(rate["ours"]),
                "unit": "k trades/s",
                "peer": client,
                "peer_value": round(rate[client], 1),
                "ratio": round(ratio, 1),
                "goal": goal and f">= {goal:g}x",
                "holds": None if goal is None else ratio >= goal,
            })  # fmt: skip
    return figures


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve_frames())
        return
    if given.work:
        client, url, folder = given.work
        work(client, url, Path(folder))
        return
    seconds = measure(given.rounds)
    about = {**machine(), "rounds": given.rounds, "seconds": seconds}
    figures = figures_of(seconds)
    print(json.dumps({"figures": figures, "machine": about}, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
