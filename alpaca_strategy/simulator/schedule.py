"""What is planned to happen to the venue, in simulated time: a list in YAML.

::

    - at: "+00:45:00"                    # after the start; or 2026-10-05T10:15:00-04:00
      do: ws
      action: drop
      stream: updates
      for_s: 60
    - at: "+01:00:00"
      do: trading_halt
      symbol: F

What may be done are the pages of the side door that take a body: fault, ws, exchange, account,
trading_halt, external_order, reset_account, damage (the page market), clock and clear. With the
same seed and the same schedule a run in lock-step is the same run.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import yaml

from alpaca_strategy.errors import SettingsError
from alpaca_strategy.simulator import encode
from alpaca_strategy.simulator.damage import KINDS
from alpaca_strategy.simulator.faults import Rule
from alpaca_strategy.simulator.stream_faults import StreamRule
from alpaca_strategy.simulator.wire import RefusedError

if TYPE_CHECKING:
    from alpaca_strategy.simulator.venue import Venue

_SECOND = 1_000_000_000
_AFTER = re.compile(r"\+(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")
log = structlog.get_logger(__name__)

Page = Callable[["Venue", dict[str, Any]], object]


@dataclass(slots=True)
class Item:
    """One thing that is planned.

    Attributes:
        at_ns: Simulated time.
        do: A name in the list of what may be done.
        body: What the side door's page is told.
        outcome: "", then "done", or why it could not be done.
    """

    at_ns: int
    do: str
    body: dict[str, Any]
    outcome: str = ""

    def report(self) -> dict[str, Any]:
        """Return the item as JSON."""
        at = encode.timestamp(self.at_ns)
        return {"at": at, "do": self.do, "outcome": self.outcome, **self.body}


class Schedule:
    """Everything planned, by time and in the order of the file.

    Attributes:
        pages: What may be done, by name.
        items: All of it, done or not.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.items: list[Item] = []
        self._ahead: list[tuple[int, int]] = []

    def add(self, raw: object, start_ns: int) -> None:
        """Plan what a list names; nothing is planned if any of it is wrong.

        Raises:
            ValueError: Something cannot be read, lies before the start, or does not exist.
        """
        if not isinstance(raw, list):
            msg = "a schedule is a list of items with `at` and `do`"
            raise TypeError(msg)
        found = [self._read(number, one, start_ns) for number, one in enumerate(raw, 1)]
        for item in found:
            heapq.heappush(self._ahead, (item.at_ns, len(self.items)))
            self.items.append(item)

    def _read(self, number: int, raw: object, start_ns: int) -> Item:
        where = f"item {number}"
        if not isinstance(raw, dict) or "at" not in raw or "do" not in raw:
            msg = f"{where} needs `at` and `do`, got {raw!r}"
            raise ValueError(msg)
        body = {str(name): value for name, value in raw.items() if name not in {"at", "do"}}
        do = str(raw["do"])
        if do not in self.pages:
            msg = f"{where}: `do: {do}` does not exist; there are {', '.join(sorted(self.pages))}"
            raise ValueError(msg)
        try:
            at = moment(raw["at"], start_ns)
            _check(do, body)
        except (ValueError, TypeError) as error:
            msg = f"{where}: {error}"
            raise ValueError(msg) from error
        if at < start_ns:
            msg = f"{where}: {raw['at']} lies before the start, {encode.timestamp(start_ns)}"
            raise ValueError(msg)
        return Item(at, do, body)

    def next_due(self) -> int | None:
        """Return when the next item is due."""
        return self._ahead[0][0] if self._ahead else None

    def due(self, now_ns: int) -> list[Item]:
        """Return what is due by a time, and take it off the list of what is ahead."""
        found = []
        while self._ahead and self._ahead[0][0] <= now_ns:
            found.append(self.items[heapq.heappop(self._ahead)[1]])
        return found

    def carry_out(self, item: Item, venue: Venue) -> None:
        """Do what an item says; one that cannot be done is noted, and the run goes on."""
        try:
            self.pages[item.do](venue, dict(item.body))
        except (ValueError, KeyError, IndexError, TypeError, RefusedError) as error:
            item.outcome = f"{type(error).__name__}: {error}"
            log.warning("schedule_item_failed", do=item.do, why=item.outcome)
        else:
            item.outcome = "done"
            log.info("schedule_item_done", do=item.do, at=encode.timestamp(item.at_ns))

    def report(self) -> list[dict[str, Any]]:
        """Return everything planned and what came of it."""
        return [item.report() for item in self.items]


def moment(raw: object, start_ns: int) -> int:
    """Return a time of a schedule in nanoseconds.

    Raises:
        ValueError: It is neither a time nor a time after the start.
    """
    if isinstance(raw, datetime):  # YAML reads times by itself, and turns aware ones to UTC
        if raw.tzinfo is None:
            msg = f"{raw} has no time zone; write it as 2026-10-05T10:15:00-04:00"
            raise ValueError(msg)
        since = raw.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds * 1000
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return start_ns + round(raw * _SECOND)  # YAML reads +10:00:00 as its number of seconds
    text = str(raw)
    after = _AFTER.fullmatch(text)
    if after is not None:
        hours, minutes, seconds = (float(part) for part in after.groups())
        return start_ns + round((hours * 3600 + minutes * 60 + seconds) * _SECOND)
    try:
        return encode.parse_timestamp(text)
    except ValueError as error:
        msg = f"{text!r} is not a time; write 2026-10-05T10:15:00-04:00, or +00:45:00 after start"
        raise ValueError(msg) from error


def _check(do: str, body: dict[str, Any]) -> None:
    """Refuse now what would be refused when its time comes, as far as that is known.

    Raises:
        ValueError: It would be refused.
        TypeError: A value in it is of another kind.
    """
    if do == "fault":
        Rule.parse(body)
    elif do == "ws":
        StreamRule.parse(body, 0, 0)
    elif do == "damage" and body.get("kind") not in {"split", *KINDS}:
        msg = (
            f"kind {body.get('kind')!r} does not exist; there are split, {', '.join(sorted(KINDS))}"
        )
        raise ValueError(msg)


def read(path: Path) -> object:
    """Return what a schedule's file says.

    Raises:
        SettingsError: It cannot be read.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        msg = f"The schedule {path} cannot be read ({why}); correct the file."
        raise SettingsError(msg) from error
