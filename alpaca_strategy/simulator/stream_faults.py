"""Faults of the streams: what is told twice, late, out of order, never, or in a strange voice.

A rule is a JSON object::

    {"action": "dup", "stream": "updates", "for_s": 60, "seed": 3, "event": "fill"}

``stream`` is data, updates or both (the default). ``times`` is how often it strikes on each
stream, ``for_s`` how many simulated seconds it lives; both are optional. ``symbol`` and ``event``
(an update's event, or T of a data item) narrow what is struck. Only the telling is faulty: the
exchange's books stay as they are.

=============== ==================================================================================
action          what happens (options with their defaults)
=============== ==================================================================================
mute            nothing is told any more, pings are answered (connections live: those open at the
                time, or the next one; all: new ones too)
blackhole       nothing is told and nothing heard, pings are not answered (connections live)
close           the connection is closed (code 1011, reason "", 1006 means without a word)
error           an error is told (code 500, close false)
dup             each event is told some times (min 0, max 3)
drop            an event is not told (prob 1)
delay           each event is told later (seconds 5, simulated)
reorder         events are told in another order (window 5 of them, at most seconds 5 late)
garbage         a message of random bytes (bytes 64)
split_frame     messages come in many frames (bytes 16 in each)
huge_frame      the next message is padded (bytes 1,500,000)
null_data       an update whose data is null
unknown_event   an update with an event that nobody knows
unknown_type    a data message of a type that nobody knows
handshake_429   the next handshake is refused (code 429)
no_welcome      the next connection is accepted, and no more is heard on it
auth_fail       the next authentication fails
short_ack       the next subscription is acknowledged without some symbols (count 1, symbols [])
=============== ==================================================================================

The actions that happen once (close, error, garbage, null_data, unknown_*) happen at once on every
connection that is ready, else on the next one that is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

STREAMS = ("data", "updates")
_OPTIONS: dict[str, dict[str, Any]] = {
    "mute": {"connections": "live"},
    "blackhole": {"connections": "live"},
    "close": {"code": 1011, "reason": ""},
    "error": {"code": 500, "close": False},
    "dup": {"min": 0, "max": 3},
    "drop": {"prob": 1.0},
    "delay": {"seconds": 5.0},
    "reorder": {"window": 5, "seconds": 5.0},
    "garbage": {"bytes": 64},
    "split_frame": {"bytes": 16},
    "huge_frame": {"bytes": 1_500_000},
    "null_data": {},
    "unknown_event": {},
    "unknown_type": {},
    "handshake_429": {"code": 429},
    "no_welcome": {},
    "auth_fail": {},
    "short_ack": {"count": 1, "symbols": []},
}
SILENT = frozenset({"mute", "blackhole"})
AT_ONCE = frozenset({"close", "error", "garbage", "null_data", "unknown_event", "unknown_type"})
ENTRY = frozenset({"handshake_429", "no_welcome", "auth_fail", "short_ack"})
EVENTS = frozenset({"dup", "drop", "delay", "reorder"})
_ONCE = AT_ONCE | ENTRY | {"huge_frame"}
_ONLY = {"null_data": "updates", "unknown_event": "updates", "unknown_type": "data",
         "short_ack": "data"}  # fmt: skip
_COMMON = ("stream", "times", "for_s", "seed", "symbol", "event")
_SECOND = 1_000_000_000


@dataclass(slots=True)
class StreamRule:
    """One fault of the streams.

    Attributes:
        action: What happens.
        stream: data or updates.
        options: How, with every default filled in.
        symbol: The only symbol that is struck, or None.
        event: The only event that is struck, or None.
        times: How often it may strike, or None.
        dies_at: Simulated time in ns at which it ends, or None.
        victims: The connections that it silences.
    """

    action: str
    stream: str
    options: dict[str, Any]
    symbol: str | None
    event: str | None
    times: int | None
    dies_at: int | None
    draw: random.Random
    fired: int = 0
    victims: set[int] = field(default_factory=set)

    @classmethod
    def parse(cls, raw: dict[str, Any], now_ns: int, seed: int) -> list[StreamRule]:
        """Read a rule from JSON; there is one for each stream.

        Raises:
            ValueError: The action, the stream or an option does not exist.
            TypeError: A value is of another kind.
        """
        given = dict(raw)
        action = str(given.pop("action", ""))
        if action not in _OPTIONS:
            msg = f"action {action!r} does not exist; there are {', '.join(sorted(_OPTIONS))}"
            raise ValueError(msg)
        stream = str(given.pop("stream", _ONLY.get(action, "both")))
        streams = STREAMS if stream == "both" else (stream,)
        possible = (_ONLY[action],) if action in _ONLY else STREAMS
        if not set(streams) <= set(possible):
            msg = f"{action} happens on {' or '.join(possible)}, not on {stream!r}"
            raise ValueError(msg)
        times, life = given.pop("times", None), given.pop("for_s", None)
        times = 1 if times is None and action in _ONCE and life is None else times
        seed = int(given.pop("seed", seed))
        symbol, event = given.pop("symbol", None), given.pop("event", None)
        options = _OPTIONS[action] | given
        _check(action, options)
        return [
            cls(
                action=action,
                stream=one,
                options=options,
                symbol=symbol,
                event=event,
                times=None if times is None else int(times),
                dies_at=None if life is None else now_ns + int(float(life) * _SECOND),
                draw=random.Random(seed + n),
            )
            for n, one in enumerate(streams)
        ]

    def alive(self, now_ns: int) -> bool:
        """Tell whether the rule may still strike."""
        if self.dies_at is not None and now_ns >= self.dies_at:
            return False
        return self.times is None or self.fired < self.times

    def hits(self, symbol: str, event: str) -> bool:
        """Tell whether an event is one that the rule strikes."""
        return self.symbol in {None, symbol} and self.event in {None, event}


def _check(action: str, options: dict[str, Any]) -> None:
    """Refuse a value that cannot work.

    Raises:
        ValueError: It is out of range.
        TypeError: It is of another kind.
    """
    unknown = set(options) - set(_OPTIONS[action])
    if unknown:
        allowed = ", ".join([*_OPTIONS[action], *_COMMON])
        msg = f"{action} knows {allowed} and not {sorted(unknown)}"
        raise ValueError(msg)
    for name, default in _OPTIONS[action].items():
        value = options[name]
        numeric = isinstance(default, int | float) and not isinstance(default, bool)
        wanted: Any = (int, float) if numeric else type(default)
        if not isinstance(value, wanted) or (numeric and isinstance(value, bool)):
            msg = f"{name} must be {type(default).__name__}, got {value!r}"
            raise TypeError(msg)
        if numeric and value < 0:
            msg = f"{name} must not be negative, got {value}"
            raise ValueError(msg)
    if action in SILENT and options["connections"] not in {"live", "all"}:
        msg = f"connections must be live or all, got {options['connections']!r}"
        raise ValueError(msg)
    if action == "dup" and options["min"] > options["max"]:
        msg = f"min must not exceed max, got {options['min']} and {options['max']}"
        raise ValueError(msg)


@dataclass
class StreamFaults:
    """The rules in force on the streams."""

    seed: int = 0
    rules: list[StreamRule] = field(default_factory=list)

    def add(self, raw: dict[str, Any], now_ns: int) -> list[StreamRule]:
        """Put a rule in force, on one stream or on both.

        Raises:
            ValueError: It cannot be read.
            TypeError: A value is of another kind.
        """
        rules = StreamRule.parse(raw, now_ns, self.seed + len(self.rules))
        self.rules += rules
        return rules

    def of(self, actions: frozenset[str], stream: str, now_ns: int) -> list[StreamRule]:
        """Return the live rules of some actions on a stream, oldest first."""
        return [
            rule
            for rule in self.rules
            if rule.action in actions and rule.stream == stream and rule.alive(now_ns)
        ]

    def take(self, action: str, stream: str, now_ns: int) -> StreamRule | None:
        """Let the oldest live rule of an action strike once, and return it."""
        rules = self.of(frozenset({action}), stream, now_ns)
        if not rules:
            return None
        rules[0].fired += 1
        return rules[0]

    def next_end(self, now_ns: int) -> int | None:
        """Return when the next rule ends by time."""
        return min(
            (r.dies_at for r in self.rules if r.dies_at is not None and r.dies_at > now_ns),
            default=None,
        )

    def report(self) -> list[dict[str, Any]]:
        """Return what is in force and how often it struck."""
        return [
            {
                "action": rule.action,
                "stream": rule.stream,
                "fired": len(rule.victims) if rule.action in SILENT else rule.fired,
            }
            for rule in self.rules
        ]
