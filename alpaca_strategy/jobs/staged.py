"""What is staged of a session, as far as it is of what is in force now; and when it may go.

Settings may change between two steps: bars of another tape or condition table, or trades of another
feed, are never taken for those that were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from alpaca_strategy.bootstrap import Services
from alpaca_strategy.domain.market import Session
from alpaca_strategy.errors import DataError
from alpaca_strategy.market.bars import build_session_bars
from alpaca_strategy.market.schema import TRADE_SCHEMA
from alpaca_strategy.storage.records import SessionStatus
from alpaca_strategy.storage.staging import Manifest

#: Names of what is staged beside the tapes.
CHECK, BARS = "check", "bars"
_PUBLISHED = "published"  # a note: no step of any run is at work on the session


def tape_of(home: Services, day: date, symbol: str) -> Manifest | None:
    """Return the manifest of a symbol's tape, None while there is none.

    Raises:
        DataError: The tape is of another feed.
    """
    manifest = home.staging.manifest(day, symbol)
    feed = home.settings.data.feed.value
    if manifest is not None and manifest.key.feed != feed:
        msg = (
            f"The staged trades of {symbol} on {day} are of feed {manifest.key.feed}, not {feed}; "
            f"run `alpaca-strategy fetch --session {day}`."
        )
        raise DataError(msg)
    return manifest


def tape_hashes(home: Services, day: Session, symbols: Sequence[str]) -> dict[str, str]:
    """Return the content hash of each staged tape."""
    found = {symbol: tape_of(home, day.day, symbol) for symbol in symbols}
    return {symbol: manifest.tape_hash for symbol, manifest in found.items() if manifest}


def failures(home: Services, day: Session, symbols: Sequence[str]) -> dict[str, str]:
    """Return those of the symbols that have no tape because of a failure, with the reason."""
    failed = home.staging.failures(day.day)
    return {symbol: failed[symbol] for symbol in symbols if symbol in failed}


def basis(home: Services, day: Session, symbols: Sequence[str]) -> dict[str, Any]:
    """Return all that a check is about; publication refuses to follow the check of another."""
    return {
        "symbols": list(symbols),
        "tapes": tape_hashes(home, day, symbols),
        "conditions": home.conditions.sha256,
    }


def checked_tapes(home: Services, day: Session, note: dict[str, Any]) -> dict[str, str]:
    """Return the staged tapes, which must be what was checked.

    Raises:
        DataError: Trades, universe or condition table changed after the check.
    """
    now = basis(home, day, home.settings.symbols())
    if note["basis"] != now:
        changed = " and ".join(name for name, value in now.items() if note["basis"][name] != value)
        msg = (
            f"The {changed} of {day.day} changed after the check; run `alpaca-strategy check "
            f"--session {day.day}` again, then publish."
        )
        raise DataError(msg)
    tapes: dict[str, str] = now["tapes"]
    return tapes


def keep_published(home: Services, day: Session, failed: dict[str, str]) -> None:
    """Refuse to take away symbols that are published, only because the venue failed today.

    Raises:
        DataError: There are such symbols.
    """
    known = home.catalog.symbol_sessions(day.day, day.day, home.settings.data.feed)
    lost = [s for s in failed if (row := known.get((day.day, s))) and row.tape_hash]
    if lost:
        msg = (
            f"{', '.join(lost)} of {day.day} is published and could not be fetched again "
            f"({failed[lost[0]].rstrip('.')}); run fetch, bars, check and publish again later."
        )
        raise DataError(msg)


def write_bars(home: Services, day: Session, symbol: str, tape_hash: str) -> pa.Table:
    """Build a symbol's bars from its staged tape, stage and return them."""
    tape = home.staging.read_tape(day.day, symbol)
    bars = build_session_bars(tape, day, [symbol], home.conditions)
    marked = bars.replace_schema_metadata(_origin(home, tape_hash))
    home.staging.write_table(day.day, symbol, BARS, marked)
    return bars


def staged_bars(home: Services, day: Session, symbols: Sequence[str]) -> pa.Table:
    """Return the bars of the symbols; those without a tape get unobserved minutes.

    Raises:
        DataError: Bars are missing, or are not those of the tape and the condition table.
    """
    hashes = tape_hashes(home, day, symbols)
    tables = []
    for symbol, tape_hash in hashes.items():
        table = home.staging.read_table(day.day, symbol, BARS)
        if table is None or table.schema.metadata != _origin(home, tape_hash):
            state = "not built" if table is None else "of other trades or another condition table"
            msg = (
                f"The bars of {symbol} on {day.day} are {state}; run `alpaca-strategy bars "
                f"--session {day.day}`."
            )
            raise DataError(msg)
        tables.append(table.replace_schema_metadata())
    missing = [symbol for symbol in symbols if symbol not in hashes]
    empty = build_session_bars(TRADE_SCHEMA.empty_table(), day, missing, home.conditions)
    return pa.concat_tables([*tables, empty])


def _origin(home: Services, tape_hash: str) -> dict[bytes, bytes]:
    return {b"tape": tape_hash.encode(), b"conditions": home.conditions.sha256.encode()}


def take_up(home: Services, day: date) -> None:
    """Say that a step of a run is at work on the session, so that nobody tidies it away."""
    home.staging.remove_note(day, _PUBLISHED)


def lay_down(home: Services, day: date) -> None:
    """Say that the session is published as it is staged, and that its files may go."""
    home.staging.write_note(day, _PUBLISHED, {"at": datetime.now(UTC).isoformat()})


def tidy(home: Services) -> None:
    """Remove staged files of published sessions that no re-pull will look at again."""
    feed = home.settings.data.feed
    keep = home.settings.data.repull_sessions + 1
    for day in home.staging.sessions()[:-keep]:
        row = home.catalog.session(day, feed)
        published = row is not None and row.status is SessionStatus.PUBLISHED
        if published and home.staging.read_note(day, _PUBLISHED) is not None:
            home.staging.discard(day)
