"""Plain websocket clients of the simulator, and orders to give them something to hear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import requests
from websockets.sync.client import ClientConnection, connect

from alpaca_strategy.simulator.launch import RunningSimulator

PACKED = {"Content-Type": "application/msgpack"}
CONTROL = {"success", "error", "subscription"}
PATIENCE_S = 20.0


class DataClient:
    """A client of a market-data stream; every message is kept as it came."""

    def __init__(self, socket: ClientConnection, *, packed: bool) -> None:
        self.socket, self.packed = socket, packed
        self.raw: list[bytes] = []
        self.items: list[dict[str, Any]] = []

    def send(self, **content: Any) -> None:
        self.socket.send(msgpack.packb(content) if self.packed else json.dumps(content))

    def read(self) -> list[dict[str, Any]]:
        """Return the next message, whatever it is."""
        message = self.socket.recv(PATIENCE_S)
        assert isinstance(message, bytes) == self.packed
        raw = message if isinstance(message, bytes) else message.encode()
        found: list[dict[str, Any]] = msgpack.unpackb(raw) if self.packed else json.loads(raw)
        if found[0]["T"] not in CONTROL:
            self.raw.append(raw)
            self.items += found
        return found

    def answer(self, **content: Any) -> dict[str, Any]:
        """Send something and return the first message that is not data."""
        self.send(**content)
        while True:
            found = self.read()
            if found[0]["T"] in CONTROL:
                assert len(found) == 1  # control messages come alone
                return found[0]

    def log_in(self, simulator: RunningSimulator) -> None:
        assert self.read() == [{"T": "success", "msg": "connected"}]
        answer = self.answer(action="auth", key=simulator.key, secret=simulator.secret)
        assert answer == {"T": "success", "msg": "authenticated"}

    def subscribe(self, **channels: list[str]) -> dict[str, Any]:
        return self.answer(action="subscribe", **channels)

    def drain(self, told: dict[str, int]) -> None:
        """Read until all data messages that a move of the clock reports have come."""
        while len(self.raw) < told["data_frames"]:
            self.read()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.items if item["T"] == kind]


class UpdatesClient:
    """A client of trade updates."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.raw: list[bytes] = []

    def send(self, content: Any) -> None:
        self.socket.send(json.dumps(content))

    def read(self) -> Any:
        message = self.socket.recv(PATIENCE_S)
        assert isinstance(message, bytes)  # JSON, but in binary messages
        found = json.loads(message)
        if found["stream"] == "trade_updates":
            self.raw.append(message)
        return found

    def log_in(self, simulator: RunningSimulator) -> None:
        data = {"key_id": simulator.key, "secret_key": simulator.secret}
        self.send({"action": "authenticate", "data": data})
        assert self.read()["data"]["status"] == "authorized"

    def listen(self) -> None:
        self.send({"action": "listen", "data": {"streams": ["trade_updates"]}})
        assert self.read() == {"stream": "listening", "data": {"streams": ["trade_updates"]}}

    def drain(self, told: dict[str, int]) -> None:
        while len(self.raw) < told["update_frames"]:
            self.read()

    @property
    def events(self) -> list[str]:
        return [json.loads(message)["data"]["event"] for message in self.raw]


@contextmanager
def data_client(
    simulator: RunningSimulator, path: str = "/v2/iex", *, packed: bool = True, **more: Any
) -> Iterator[DataClient]:
    """Connect to a market-data stream, without logging in."""
    headers = {**(PACKED if packed else {}), **more.pop("headers", {})}
    url = simulator.url.replace("http", "ws") + path
    with connect(url, additional_headers=headers, max_size=None, **more) as socket:
        yield DataClient(socket, packed=packed)


@contextmanager
def subscribed(
    simulator: RunningSimulator, *, packed: bool = True, path: str = "/v2/iex", **channels: Any
) -> Iterator[DataClient]:
    """Connect, log in and subscribe."""
    with data_client(simulator, path, packed=packed) as client:
        client.log_in(simulator)
        assert client.subscribe(**channels)["T"] == "subscription"
        yield client


@contextmanager
def updates_client(simulator: RunningSimulator, **more: Any) -> Iterator[UpdatesClient]:
    """Connect to the stream of trade updates, without logging in."""
    with connect(simulator.url.replace("http", "ws") + "/stream", max_size=None, **more) as socket:
        yield UpdatesClient(socket)


@contextmanager
def listening(simulator: RunningSimulator) -> Iterator[UpdatesClient]:
    """Connect, log in and listen."""
    with updates_client(simulator) as client:
        client.log_in(simulator)
        client.listen()
        yield client


def headers(simulator: RunningSimulator) -> dict[str, str]:
    return {"APCA-API-KEY-ID": simulator.key, "APCA-API-SECRET-KEY": simulator.secret}


def get(simulator: RunningSimulator, path: str, **parameters: Any) -> Any:
    """Return the body of a page."""
    answer = requests.get(
        simulator.url + path, params=parameters, headers=headers(simulator), timeout=10
    )
    answer.raise_for_status()
    return answer.json()


def rest(simulator: RunningSimulator, kind: str, symbol: str, **range_: str) -> list[Any]:
    """Return everything of a listing of the IEX feed."""
    found: list[Any] = []
    token = None
    while True:
        page = get(
            simulator, f"/v2/stocks/{symbol}/{kind}", feed="iex", limit=10_000, page_token=token,
            **range_,
        )  # fmt: skip
        found += page[kind]
        token = page["next_page_token"]
        if token is None:
            return found


def order(simulator: RunningSimulator, symbol: str, qty: int, name: str, **more: Any) -> Any:
    """Send a market order, and return what the venue answers."""
    body = {
        "symbol": symbol, "qty": str(qty), "side": "buy", "type": "market",
        "time_in_force": "day", "client_order_id": name, **more,
    }  # fmt: skip
    answer = requests.post(
        f"{simulator.url}/v2/orders", json=body, headers=headers(simulator), timeout=10
    )
    answer.raise_for_status()
    return answer.json()
