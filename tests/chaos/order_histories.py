"""What a proof asks of a floor's two ledgers: who sent what when, and how long nobody knew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import text
from trading_floor import Floor

from alpaca_strategy.storage.database import connect

_STEPS = text(
    "SELECT client_order_id, state, at, detail FROM trading.intent_step"
    " WHERE account = :account ORDER BY client_order_id, number"
)
_NO_MORE = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})


@dataclass(frozen=True)
class Step:
    """A step of an intent, as the journal has it; `at` is the venue's time."""

    name: str
    state: str
    at: datetime
    detail: str


def posts(floor: Floor, side: str | None = None) -> list[dict[str, Any]]:
    """Return every request for an order that reached the exchange from a program."""
    asked = [one for one in floor.simulator.truth()["posts"] if one["source"] == "api"]
    return [one for one in asked if side in {None, one["side"]}]


def moment(post: dict[str, Any]) -> datetime:
    """Return when the exchange got a request."""
    return datetime.fromisoformat(post["at"])


def posted_between(
    floor: Floor, first: datetime, last: datetime, side: str | None = None
) -> list[dict[str, Any]]:
    """Return the requests of a span of the venue's time."""
    return [one for one in posts(floor, side) if first <= moment(one) < last]


def steps(floor: Floor) -> dict[str, list[Step]]:
    """Return the steps of every intent, by its name."""
    engine = connect(floor.database_url)
    with engine.connect() as connection:
        rows = connection.execute(_STEPS, {"account": floor.account}).all()
    engine.dispose()
    found: dict[str, list[Step]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(Step(*row))
    return found


def unknown_s(floor: Floor) -> list[float]:
    """Return for how many seconds of the venue's time nobody knew, once for each such order."""
    found = []
    for history in steps(floor).values():
        for one, after in pairwise(history):
            if one.state == "unknown":
                found.append((after.at - one.at).total_seconds())
    return found


def sent_more_than_once(floor: Floor) -> list[str]:
    """Return the names under which more than one request reached the exchange."""
    counted = Counter(one["client_order_id"] for one in posts(floor))
    return [name for name, count in counted.items() if count > 1]


def watched_wrongly(floor: Floor) -> Iterator[str]:
    """Compare requests out with intents in: what the exchange was asked, the journal has sent."""
    known = steps(floor)
    sendings = Counter(
        name for name, history in known.items() for one in history if one.state == "sending"
    )
    for name, count in Counter(one["client_order_id"] for one in posts(floor)).items():
        if name not in known:
            yield f"{name} was sent {count} times, and the journal has no such intent"
        elif not sendings[name]:
            yield f"{name} was sent {count} times, and the journal never began to"


def still_open(floor: Floor) -> list[dict[str, Any]]:
    """Return the strategy's orders that may still be executed, by the exchange's books."""
    return [
        one
        for one in floor.simulator.truth()["orders"]
        if one["client_order_id"].startswith("as-") and one["status"] not in _NO_MORE
    ]


def two_at_once(orders: Iterable[dict[str, Any]]) -> list[str]:
    """Return pairs of the strategy's orders of one symbol that were open at the same time."""
    spans: dict[str, list[tuple[str, str, str]]] = {}
    for one in orders:
        if one["client_order_id"].startswith("as-"):
            ended = one["events"][-1]["timestamp"] if one["status"] in _NO_MORE else "9999"
            span = (one["submitted_at"], ended, one["client_order_id"])
            spans.setdefault(one["symbol"], []).append(span)
    return [
        f"{before[2]} and {after[2]}"
        for mine in spans.values()
        for before, after in pairwise(sorted(mine))
        if datetime.fromisoformat(after[0]) < datetime.fromisoformat(before[1])
    ]
