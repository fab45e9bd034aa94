"""Trade conditions: what a print on the tape may update, as versioned data.

A condition table is a JSON file beside this module. It says for each condition letter (and tape,
where the letter means different things on different tapes) what a trade updates. A trade with
several conditions updates only what all of them allow: the strictest wins. Combinations then
restrict further or, marked `overrides`, replace that answer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from alpaca_strategy.errors import SettingsError

# What a trade updates, and what it is: the bits that the kernel reads.
OPEN_CLOSE: Final = 1
HIGH_LOW: Final = 2
VOLUME: Final = 4  # counts in volume, trade count and the flow statistics
TICK: Final = 8  # its price moves the tick rule, and its side is known from it
REGULAR: Final = 16  # a regular sale: "@", or " " on tapes A and B
ODD_LOT: Final = 32
OPENING: Final = 64  # an auction print, of which the table takes one from the primary exchange
CLOSING: Final = 128

_BITS = {"open_close": OPEN_CLOSE, "high_low": HIGH_LOW, "volume": VOLUME, "tick": TICK}
_PRINTS = {"@": REGULAR, " ": REGULAR, "I": ODD_LOT}


@dataclass(frozen=True, slots=True)
class _Combination:
    all: frozenset[str]
    except_: frozenset[str]
    bits: int
    overrides: bool


@dataclass(frozen=True, eq=False)
class ConditionTable:
    """Which trades make a bar.

    Attributes:
        name: As in ``data.condition_table``.
        version: Raised whenever a rule changes.
        sha256: Of the rules themselves; part of every fingerprint that rests on bars.
        joins_previous: The volume of a minute without a price goes to the bar before it, instead
            of standing in a row without prices.
        primary_exchange: Where the auctions of a symbol are held; empty when the table takes
            auction prints like any other trade.
    """

    name: str
    version: str
    sha256: str
    joins_previous: bool
    primary_exchange: MappingProxyType[str, str]
    _rules: dict[tuple[str, str], int]  # (code, tape or "" for every tape) to bits
    _unknown: int
    _combinations: tuple[_Combination, ...]
    _auction_codes: dict[str, int]
    _memo: dict[tuple[str, str], int] = field(default_factory=dict, compare=False)

    def updates(self, conditions: str, tape: str) -> int:
        """Return the bits of a trade: what it updates, and what it is.

        Args:
            conditions: Comma-joined, as on the tape: ``"@,I"``; empty means no condition.
            tape: A, B, C, N or O.
        """
        known = self._memo.get((conditions, tape))
        if known is None:
            known = self._memo[conditions, tape] = self._work_out(conditions, tape)
        return known

    def unknown(self, conditions: str, tape: str) -> tuple[str, ...]:
        """Return those of the conditions that this table does not know on that tape."""
        return tuple(c for c in _split(conditions) if self._rule(c, tape) is None)

    def _rule(self, code: str, tape: str) -> int | None:
        return self._rules.get((code, tape), self._rules.get((code, "")))

    def _work_out(self, conditions: str, tape: str) -> int:
        codes = frozenset(_split(conditions))
        bits = OPEN_CLOSE | HIGH_LOW | VOLUME | TICK
        for code in codes:
            rule = self._rule(code, tape)
            bits &= self._unknown if rule is None else rule
        matching = [c for c in self._combinations if c.all <= codes and not c.except_ & codes]
        for combination in matching:
            if not combination.overrides:
                bits &= combination.bits
        for combination in matching:
            if combination.overrides:
                bits = combination.bits
        for code in codes:
            bits |= _PRINTS.get(code, 0) | self._auction_codes.get(code, 0)
        return bits if bits & VOLUME else 0


def condition_tables() -> tuple[str, ...]:
    """Return the names of the tables that the package carries."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.json")))


@lru_cache
def load_condition_table(name: str) -> ConditionTable:
    """Return the condition table of that name, read once a process.

    Raises:
        SettingsError: There is no such table.
    """
    if name not in condition_tables():
        msg = (
            f"There is no condition table {name!r}; set data.condition_table to one of "
            f"{', '.join(condition_tables())}."
        )
        raise SettingsError(msg)
    text = Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8")
    return parse_condition_table(json.loads(text))


def parse_condition_table(content: dict[str, Any]) -> ConditionTable:
    """Return the table that a JSON document describes; one outside the package will do too."""
    rules = {name: sum(_BITS[b] for b in bits) for name, bits in content["rules"].items()}
    auctions = content["auctions"] or {"opening": [], "closing": [], "primary_exchange": {}}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return ConditionTable(
        name=content["name"],
        version=content["version"],
        sha256=hashlib.sha256(canonical.encode()).hexdigest(),
        joins_previous={"keep": False, "join_previous": True}[content["priceless_minute"]],
        primary_exchange=MappingProxyType(dict(auctions["primary_exchange"])),
        _rules={
            (entry["code"], tape): rules[entry["updates"]]
            for entry in content["conditions"]
            for tape in entry.get("tapes", ("",))
        },
        _unknown=rules[content["unknown"]],
        _combinations=tuple(
            _Combination(
                frozenset(entry["all"]),
                frozenset(entry.get("except", ())),
                rules[entry["updates"]],
                entry.get("overrides", False),
            )
            for entry in content["combinations"]
        ),
        _auction_codes={
            **dict.fromkeys(auctions["opening"], OPENING),
            **dict.fromkeys(auctions["closing"], CLOSING),
        },
    )


def _split(conditions: str) -> list[str]:
    return conditions.split(",") if conditions else []
