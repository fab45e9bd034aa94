"""The venue's websocket connections: who may open one, and who is told what."""

from __future__ import annotations

import hmac
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from alpaca_strategy.simulator.stream_connection import Connection
from alpaca_strategy.simulator.stream_faults import AT_ONCE, SILENT, StreamFaults, StreamRule
from alpaca_strategy.simulator.telling import Event

if TYPE_CHECKING:
    from alpaca_strategy.simulator.venue import Options


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How the venue treats its websocket clients.

    Attributes:
        frame_trades: Items of market data that may share a message, from 1 to 200.
        max_connections: Connections that a key may have on each market-data endpoint.
        max_update_connections: Connections that a key may have on /stream.
        symbols_limit: Symbols that a connection may have trades or quotes of; 0 is no limit.
        zombie_s: A connection that ends without a word holds its place so long, wall seconds.
        auth_timeout_s: A client must authenticate within this, wall seconds.
        send_buffer: Bytes that may wait for a slow client before it is dropped.
        late_share: Share of recorded trades that are told up to 10 s late; 0 makes every trade,
            synthetic ones too, arrive at its own time.
        deflate: Market data are compressed too, where the client agreed to compression.
    """

    frame_trades: int = 50
    max_connections: int = 1
    max_update_connections: int = 1
    symbols_limit: int = 30
    zombie_s: float = 90.0
    auth_timeout_s: float = 10.0
    send_buffer: int = 16 << 20
    late_share: float = 0.002
    deflate: bool = False


@dataclass
class Slots:
    """Places for connections by endpoint and key; the dead hold theirs for a while."""

    zombie_s: float
    _live: Counter[tuple[str, str]] = field(default_factory=Counter)
    _dead: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def take(self, place: tuple[str, str], limit: int) -> bool:
        """Take a place if one is free."""
        now = time.monotonic()
        self._dead[place] = [until for until in self._dead[place] if until > now]
        if self._live[place] + len(self._dead[place]) >= limit:
            return False
        self._live[place] += 1
        return True

    def leave(self, place: tuple[str, str], *, clean: bool) -> None:
        """Give a place back, at once or when the venue notices."""
        self._live[place] -= 1
        if not clean and self.zombie_s > 0:
            self._dead[place].append(time.monotonic() + self.zombie_s)

    def bury(self) -> None:
        """Forget the dead."""
        self._dead.clear()


class Streams:
    """Every open websocket of the venue, and the faults between them and the truth.

    Args:
        options: How the venue treats its clients.
        seed: Of what faults leave to chance.
        now_ns: Gives the simulated time that streams have reached.
        plan: Gives the plan of a symbol: A, B or C.
        catch_up: Lets everything happen that is due by the clock.

    Attributes:
        live: Open connections by serial number, oldest first.
        opened: How many were opened on each endpoint.
        turned_away: How many clients found no place on each endpoint.
        dropped: How many clients were too slow on each endpoint.
        told: Trade updates so far, whether anyone listened or not.
        last_update: The last of them.
        heard: Called when somebody has begun to listen: there may be something to tell at once.
        sip_allowed: The account may listen to /v2/sip.
    """

    def __init__(
        self,
        options: Options,
        seed: int,
        now_ns: Callable[[], int],
        plan: Callable[[str], str],
        catch_up: Callable[[], None],
    ) -> None:
        self.options, self._keys = options.streams, options.keys
        self.sip_allowed = options.recent_sip
        self.now_ns, self._plan, self.catch_up = now_ns, plan, catch_up
        self.faults = StreamFaults(seed)
        self.slots = Slots(self.options.zombie_s)
        self.live: dict[int, Connection] = {}
        self.opened: Counter[str] = Counter()
        self.turned_away: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.told = 0
        self.last_update: dict[str, Any] | None = None
        self.heard: Callable[[], None] = lambda: None
        self._serial = 0

    # Connections

    def knows(self, key: object, secret: object) -> bool:
        """Tell whether a key and its secret are accepted."""
        wanted = self._keys.get(str(key))
        return wanted is not None and hmac.compare_digest(wanted.encode(), str(secret).encode())

    def open(self, connection: Connection) -> None:
        """Count a new connection among the live ones."""
        self._serial += 1
        connection.serial = self._serial
        self.opened[connection.endpoint] += 1
        self.live[connection.serial] = connection
        for rule in self._silences(connection.stream):
            if not rule.victims and rule.options["connections"] == "live":
                rule.victims.add(connection.serial)
        self.refresh()

    def closed(self, connection: Connection) -> None:
        """Forget a connection that has ended; a place of its key may stay taken for a while."""
        self.live.pop(connection.serial, None)
        if connection.place is not None:
            self.slots.leave(connection.place, clean=connection.socket.parted)

    def of(self, stream: str) -> list[Connection]:
        """Return the live connections of a stream, oldest first."""
        return [one for one in self.live.values() if one.stream == stream]

    def frames(self, stream: str) -> int:
        """Return the data messages sent on the newest live connection; 0 without one."""
        found = self.of(stream)
        return found[-1].frames if found else 0

    def drop_slow(self) -> None:
        """Drop the clients that do not take what they are sent."""
        for connection in self.overloaded():
            self.dropped[connection.endpoint] += 1
            connection.error(407, close=False)
            connection.socket.shut(1006)

    def overloaded(self) -> list[Connection]:
        """Return the connections whose clients are too slow."""
        limit = self.options.send_buffer
        return [one for one in self.live.values() if one.socket.backlog > limit]

    # What is told

    def update(self, data: dict[str, Any]) -> None:
        """Tell a trade update to everyone who listens."""
        self.told, self.last_update = self.told + 1, data
        content = msgspec.json.encode({"stream": "trade_updates", "data": data})
        event = Event(content, str(data["order"]["symbol"]), str(data["event"]))
        for connection in self.of("updates"):
            if connection.ready:
                connection.tell([event], self.now_ns())

    def halt(self, about: dict[str, Any]) -> None:
        """Tell a change of a halt as a trading status."""
        for connection in self.of("data"):
            connection.halt(about, self._plan)

    def release(self, now_ns: int) -> None:
        """Tell what was held back until now."""
        for connection in self.live.values():
            connection.release(now_ns)

    def next_due(self, now_ns: int) -> int | None:
        """Return when something held back is due or a fault ends."""
        times = [self.faults.next_end(now_ns)] if self.faults.rules else []
        times += [connection.telling.next_due() for connection in self.live.values()]
        return min((at for at in times if at is not None), default=None)

    # Faults

    def add_fault(self, raw: dict[str, Any]) -> None:
        """Put a fault in force.

        Raises:
            ValueError: It cannot be read.
            TypeError: A value in it is of another kind.
        """
        for rule in self.faults.add(raw, self.now_ns()):
            for connection in self.of(rule.stream):
                if rule.action in AT_ONCE and connection.ready:
                    self._strike(rule, connection)
                elif rule.action in SILENT and rule.options["connections"] == "live":
                    rule.victims.add(connection.serial)
        self.refresh()

    def became_ready(self, connection: Connection) -> None:
        """Let the faults that waited for a connection strike."""
        connection.ready = True
        self.heard()
        for rule in self.faults.of(AT_ONCE, connection.stream, self.now_ns()):
            self._strike(rule, connection)

    def _strike(self, rule: StreamRule, connection: Connection) -> None:
        """Strike a connection: once if it ends by that, else as often as the rule may."""
        now, once = self.now_ns(), rule.action in {"close", "error"} or rule.times is None
        while rule.alive(now):
            rule.fired += 1
            connection.strike(rule)
            if once:
                return

    def _silences(self, stream: str) -> list[StreamRule]:
        return self.faults.of(SILENT, stream, self.now_ns())

    def refresh(self) -> None:
        """Silence the connections that faults silence at this time, and no others."""
        for connection in self.live.values():
            actions = set()
            for rule in self._silences(connection.stream):
                if rule.options["connections"] == "all" or connection.serial in rule.victims:
                    rule.victims.add(connection.serial)
                    actions.add(rule.action)
            connection.muted = bool(actions)
            connection.socket.listen(deaf="blackhole" in actions)

    def clear(self) -> None:
        """Remove every fault, tell what was held back, empty the places of the dead, count anew."""
        self.faults.rules.clear()
        self.refresh()
        for connection in self.live.values():
            connection.send(connection.telling.flush())
        self.slots.bury()
        for count in (self.opened, self.turned_away, self.dropped):
            count.clear()
        self.told = 0

    def report(self) -> dict[str, Any]:
        """Return what became of connections, and what faults did."""
        return {
            "opened": dict(self.opened),
            "turned_away": dict(self.turned_away),
            "dropped": dict(self.dropped),
            "updates_told": self.told,
            "live": [one.report() for one in self.live.values()],
            "faults": self.faults.report(),
        }
