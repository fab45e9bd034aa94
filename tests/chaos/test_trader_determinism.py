"""The same session twice is the same journal; and what was decided live is decided by the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch_path import (
    Journal,
    decided_anew,
    input_hashes,
    journal_of,
    past_of,
    rules_on,
    witnessed,
    wrong_windows,
)
from trader_process import ScriptedScorer
from trading_floor import SYMBOLS, Floor, trading_floor

from alpaca_strategy.domain.journal import Decision

#: No trade is told late: what is on the tape at a minute's end is what the history has of it.
PUNCTUAL: dict[str, Any] = {"late_share": 0, "partial_prob": 0.3}


def live_through(floor: Floor) -> Journal:
    """Let a trader live through the session, and return its journal."""
    floor.told["seen"] = str(floor.folder / "seen.jsonl")
    ending = floor.finish(floor.start())
    assert ending["reason"] == "closed", floor.log()
    assert floor.judge() == [], floor.log()
    return journal_of(floor)


def timeless(journal: Journal) -> list[object]:
    """Return all of a journal but the times at which this machine did something."""
    return [
        *((one.minute, one.input_hash, one.skipped, one.equity, one.names)
          for one in journal.decisions),
        *((one.intent.ticket, one.intent.reason, one.intent.price, one.last.state,
           one.last.order_id, one.last.filled_qty, one.last.filled_avg_price)
          for one in journal.orders),
        *((one.order_id, one.qty, one.price, one.at, one.cum_qty) for one in journal.fills),
    ]  # fmt: skip


def play_twice(database: str, folder: Path, seed: int, start: str) -> int:
    journals = []
    for turn in ("first", "second"):
        with trading_floor(
            database, folder / turn, seed=seed, start=start, partial_prob=0.3
        ) as floor:
            journals.append(live_through(floor))
    assert timeless(journals[0]) == timeless(journals[1])
    assert journals[0].fills, "nothing was traded, so nothing is shown"
    assert all(one.input_hash for one in journals[0].decisions if one.skipped is None)
    return len(timeless(journals[0]))


@pytest.mark.integration
def test_same_session_twice_is_the_same_journal(trading_database: str, tmp_path: Path) -> None:
    assert play_twice(trading_database, tmp_path, seed=3, start="15:50") > 10


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(6))
def test_same_afternoon_twice_is_the_same_journal(
    trading_database: str, tmp_path: Path, seed: int
) -> None:
    play_twice(trading_database, tmp_path, seed=seed, start="14:30")


def play_live_and_batch(database: str, folder: Path, seed: int, start: str) -> int:
    with trading_floor(database, folder, seed=seed, start=start, **PUNCTUAL) as floor:
        journal = live_through(floor)
        past, rules, scorer = past_of(floor), rules_on(floor), ScriptedScorer(seed, len(SYMBOLS))
        decisions = [one for one in journal.decisions if one.skipped is None]
        for decision in decisions:
            wanted, wishes = decided_anew(past, scorer, rules, journal, decision)
            assert decision.input_hash == wanted, f"minute {decision.minute}\n{floor.log()}"
            assert ordered(journal, decision) == sorted(
                (one.symbol, one.side, one.qty, int(one.reason), one.price) for one in wishes
            )
        assert not wrong_windows(floor, floor.folder / "seen.jsonl")[0]
        assert journal.fills, "nothing was traded, so nothing is shown"
    return len(decisions)


def ordered(journal: Journal, decision: Decision) -> list[Any]:
    """Return what a decision ordered, by symbol."""
    intents = [one.intent for one in journal.orders if one.intent.minute == decision.minute]
    return sorted(
        (one.ticket.symbol, one.ticket.side, one.ticket.qty, one.reason, one.price)
        for one in intents
    )


@pytest.mark.integration
def test_live_decisions_are_the_batchs(trading_database: str, tmp_path: Path) -> None:
    assert play_live_and_batch(trading_database, tmp_path, seed=2, start="15:46") >= 5


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
def test_a_days_live_decisions_are_the_batchs(
    trading_database: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    decisions = play_live_and_batch(trading_database, tmp_path, seed=seed, start="09:25")
    record_property("decisions", decisions)
    assert decisions > 150


def play_with_future(
    database: str, folder: Path, *, minute: int, damages: list[dict[str, Any]]
) -> tuple[dict[int, str], dict[int, str]]:
    """Return the input hashes and the windows of an afternoon whose later hours are altered."""
    with trading_floor(database, folder, seed=4, start="15:44", **PUNCTUAL) as floor:
        for damage in damages:
            about = {name: value for name, value in damage.items() if name != "kind"}
            floor.simulator.damage(damage["kind"], None, floor.session, **about)
        live_through(floor)
        assert len(damages) == floor.simulator.truth()["damages"]
        return input_hashes(floor), witnessed(floor.folder / "seen.jsonl")


def altered_after(minute: int) -> list[list[dict[str, Any]]]:
    """Return futures that begin right after a minute."""
    return [
        [{"kind": "frozen_feed", "minute": minute + 1}],
        [{"kind": "spike", "minute": minute + 1, "count": 20, "factor": 1.02}],
        [{"kind": "missing_minutes", "first": minute + 1, "count": 3}],
        [{"kind": "absurd_volume", "minute": minute + 2, "count": 3}],
    ]


def check_future(database: str, folder: Path, minute: int, futures: list[Any]) -> None:
    plain, seen = play_with_future(database, folder / "plain", minute=minute, damages=[])
    before = [one for one in plain if one <= minute]
    assert len(before) >= 2
    for n, damages in enumerate(futures):
        other, shown = play_with_future(
            database, folder / f"future-{n}", minute=minute, damages=damages
        )
        assert [other[one] for one in before] == [plain[one] for one in before], damages
        assert all(shown[one] == seen[one] for one in before), damages
        # The future was altered indeed, and it is seen as soon as it is the past.
        assert any(other[one] != plain[one] for one in plain if one > minute), damages


@pytest.mark.integration
def test_decisions_know_nothing_of_an_altered_future(trading_database: str, tmp_path: Path) -> None:
    check_future(trading_database, tmp_path, 379, altered_after(379)[:1])


@pytest.mark.proof
@pytest.mark.parametrize("minute", [377, 379, 381])
def test_decisions_know_nothing_of_any_altered_future(
    trading_database: str, tmp_path: Path, minute: int
) -> None:
    check_future(trading_database, tmp_path, minute, altered_after(minute))
