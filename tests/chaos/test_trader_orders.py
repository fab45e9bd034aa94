"""Requests and answers about orders go astray, break, lie or are refused; the books stay right."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from order_histories import (
    moment,
    posts,
    sent_more_than_once,
    steps,
    two_at_once,
    unknown_s,
    watched_wrongly,
)
from trading_floor import SESSION, Floor, trading_floor

pytestmark = pytest.mark.integration
POST = {"method": "POST", "path": "/v2/orders"}
SALE = {**POST, "client_order_id": "*-s0-*"}
BY_NAME = {"method": "GET", "path": "/v2/orders:by_client_order_id"}
#: Everything but market data.
TRADING = {"path": "/v2/[!s]*"}
#: Of the venue's time, from when nobody knew what became of an order to when it was known.
RESOLVED_S = 40


def fired(floor: Floor) -> int:
    """Return how many answers were spoilt."""
    return sum(one["fired"] for one in floor.simulator.truth()["faults"])


def live_through(floor: Floor, *, flat: bool = True) -> None:
    """Let a trader live through what is left of the session, and judge it."""
    ending = floor.finish(floor.start())
    assert ending["reason"] == "closed", floor.log()
    assert floor.judge(flat=flat) == [], floor.log()
    assert list(watched_wrongly(floor)) == []
    assert two_at_once(floor.simulator.truth()["orders"]) == []
    assert floor.simulator.truth()["fills"], "nothing was traded, so nothing is shown"


# ---------------------------------------------------------------- answers that are lost

LOSSES: dict[str, dict[str, Any]] = {
    "reset": {"action": "rst"},
    "closed": {"action": "drop_before"},
    "gateway": {"action": "html", "code": 504},
    "broken": {"action": "status", "code": 500, "body": {"message": "internal server error"}},
    "cut": {"action": "truncate", "keep": 0.4},
    "silent": {"action": "hang"},
}


def play_unanswered(
    database: str, folder: Path, kind: str, seed: int, nth: list[int], *, deaf: bool = False
) -> float:
    """Let orders be taken whose answer is lost; deaf: the stream does not tell of them either."""
    with trading_floor(database, folder, seed=seed, start="15:48") as floor:
        if deaf:
            floor.simulator.ws("drop", "updates", prob=1.0)
        floor.simulator.fault(match={**POST, "nth": nth}, after=True, **LOSSES[kind])
        live_through(floor)
        assert fired(floor) >= min(2, len(nth)), "too few answers were lost to show anything"
        waits = unknown_s(floor)
        assert waits or not deaf, "every answer was understood"
        assert max(waits, default=0) <= RESOLVED_S
        assert sent_more_than_once(floor) == []
        return max(waits, default=0)


def test_order_whose_answer_is_lost_is_found_and_not_sent_again(
    trading_database: str, tmp_path: Path
) -> None:
    play_unanswered(trading_database, tmp_path, "reset", seed=0, nth=[1, 3, 4], deaf=True)


@pytest.mark.proof
@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
def test_answers_lost_in_every_way(
    trading_database: str, tmp_path: Path, kind: str, deaf: bool, record_property: Any
) -> None:
    nth = [1, 2, 3, 5] if kind != "silent" else [1, 4]
    wait = play_unanswered(trading_database, tmp_path, kind, 2, nth, deaf=deaf)
    record_property("longest_unknown_s", wait)


def play_lost_requests(database: str, folder: Path, seed: int, nth: list[int]) -> int:
    with trading_floor(database, folder, seed=seed, start="15:48") as floor:
        floor.simulator.fault("drop_before", match={**SALE, "nth": nth})
        floor.simulator.fault("rst", match={**POST, "nth": [1]})
        live_through(floor)
        again = [one["client_order_id"] for one in floor.logged("order_sent_again")]
        assert again, "no sale was lost, so none was sent again"
        at_the_exchange = Counter(
            one["client_order_id"] for one in floor.simulator.truth()["orders"]
        )
        assert all(at_the_exchange[name] == 1 for name in again)
        assert max(unknown_s(floor)) <= RESOLVED_S
        unknown = [one for one in floor.logged("order_sent") if one["outcome"] == "Unknown"]
        stray = {one["client_order_id"] for one in unknown if one["side"] == "buy"}
        assert stray, "no purchase was lost, so none was given up"
        assert {steps(floor)[name][-1].state for name in stray} == {"abandoned"}
        lost = [name for name, history in steps(floor).items() if history[-1].state == "abandoned"]
        assert not set(lost) & at_the_exchange.keys()
        return len(again)


def test_lost_sale_is_sent_again_once_and_lost_purchase_is_given_up(
    trading_database: str, tmp_path: Path
) -> None:
    play_lost_requests(trading_database, tmp_path, seed=0, nth=[1])


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(6))
def test_requests_lost_on_the_way(
    trading_database: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    again = play_lost_requests(trading_database, tmp_path, seed, [1, 2, 4])
    record_property("sent_again", again)


def play_duplicate(database: str, folder: Path, seed: int) -> None:
    """The venue took a sale, denies it for half a minute, and has it when it is sent again."""
    absent = {"code": 40410000, "message": "order not found"}
    with trading_floor(database, folder, seed=seed, start="15:48") as floor:
        floor.simulator.fault("rst", match={**SALE, "nth": [1]}, after=True)
        then = f"{SESSION}T15:51:30-04:00"  # nothing tells of orders, and none is filled
        floor.simulator.schedule(
            {"at": then, "do": "exchange", "hold_new": True},
            {"at": then, "do": "ws", "action": "drop", "stream": "updates", "prob": 1.0},
            {"at": then, "do": "fault", "action": "status", "match": BY_NAME, "code": 404,
             "body": absent},
            {"at": then, "do": "fault", "action": "status", "code": 200, "body": [],
             "match": {"method": "GET", "path": "/v2/orders"}},
            {"at": f"{SESSION}T15:52:33-04:00", "do": "clear"},
        )  # fmt: skip
        live_through(floor)
        twice = sent_more_than_once(floor)
        assert len(twice) == 1, floor.log()
        told = [one["status"] for one in posts(floor) if one["client_order_id"] in twice]
        assert told == [200, 422]
        states = [one.state for one in steps(floor)[twice[0]]]
        assert "rejected" not in states
        assert states[-1] == "filled", states


def test_known_id_means_that_the_order_has_arrived(trading_database: str, tmp_path: Path) -> None:
    play_duplicate(trading_database, tmp_path, seed=0)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(1, 6))
def test_known_ids_are_adopted(trading_database: str, tmp_path: Path, seed: int) -> None:
    play_duplicate(trading_database, tmp_path, seed)


# ---------------------------------------------------------------- storms


def play_storm(database: str, folder: Path, seed: int, for_s: float, start: str = "15:44") -> int:
    """The venue answers everything with 429 for a while; returns how often it was asked."""
    with trading_floor(database, folder, seed=seed, rate=60.0, start=start) as floor:
        process = floor.start()
        floor.until(lambda: floor.simulator.truth()["fills"])
        floor.simulator.fault("retry_after", match=TRADING, retry_after=1, for_s=for_s)
        began = time.monotonic()
        floor.until(lambda: time.monotonic() > began + for_s + 1)
        over = datetime.fromisoformat(floor.simulator.clock()["now"])
        ending = floor.finish(process)
        assert ending["flat"], floor.log()
        assert floor.judge() == [], floor.log()
        assert list(watched_wrongly(floor)) == []
        # One for every second, and what was under way in several threads when it began.
        asked = fired(floor)
        assert 2 <= asked <= for_s + 10
        assert [one for one in posts(floor) if moment(one) > over], "nothing was sent afterwards"
        return asked


def test_venue_that_says_stop_is_asked_once_a_second(trading_database: str, tmp_path: Path) -> None:
    play_storm(trading_database, tmp_path, seed=3, for_s=3.0)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(3))
def test_ten_minutes_of_stop(
    trading_database: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    record_property("requests", play_storm(trading_database, tmp_path, seed, 10.0, "15:34"))


def play_burst(database: str, folder: Path, seed: int, prob: float, start: str) -> int:
    """A share of all answers is a 5xx, whether the request was carried out or not."""
    with trading_floor(database, folder, seed=seed, start=start) as floor:
        for code in (500, 502, 503):
            floor.simulator.fault("html", match={**TRADING, "prob": prob / 3}, code=code)
        floor.simulator.fault("html", match={**POST, "prob": prob}, code=504, after=True)
        live_through(floor, flat=False)  # a sale of the last minutes may be lost with its answer
        refused = {one["client_order_id"] for one in posts(floor) if one["status"] >= 400}
        for name, history in steps(floor).items():
            assert history[-1].state != "rejected" or name in refused
        return fired(floor)


def test_errors_of_a_gateway_are_neither_acceptance_nor_refusal(
    trading_database: str, tmp_path: Path
) -> None:
    assert play_burst(trading_database, tmp_path, 0, 0.2, "15:50") > 5


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(10))
def test_bursts_of_errors(
    trading_database: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    record_property("faults", play_burst(trading_database, tmp_path, seed, 0.3, "15:44"))


# ---------------------------------------------------------------- answers that are nonsense

PATHS = ("/v2/orders*", "/v2/positions", "/v2/account", "/v2/account/activities/FILL", "/v2/clock",
         "/v2/assets")  # fmt: skip
FIELDS = {"/v2/positions": "qty", "/v2/account": "equity", "/v2/clock": "timestamp",
          "/v2/assets": "tradable", "/v2/account/activities/FILL": "cum_qty"}  # fmt: skip
MEMORY = 200 << 20


def peak(process: Any) -> int:
    """Wait for a process's end; return the most bytes of memory that it had."""
    most, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    return most


def play_nonsense(
    database: str, folder: Path, actions: list[str], seed: int, prob: float, start: str = "15:46"
) -> tuple[int, int]:
    """Spoil answers about trading; return how many were, and the peak of memory in bytes."""
    with trading_floor(database, folder, seed=seed, start=start) as floor:
        for action in actions:
            for path in PATHS:
                field = FIELDS.get(path, "filled_qty")
                floor.simulator.fault(
                    action, match={"path": path, "prob": prob / len(actions)}, field=field,
                    times=20, bytes=100_000_000 if action == "oversize" else 8, seconds=0.005,
                )  # fmt: skip
        process = floor.start()
        most = peak(process)
        floor.finish(process)
        assert floor.judge(flat=False) == [], floor.log()
        assert list(watched_wrongly(floor)) == []
        assert floor.simulator.truth()["fills"], "nothing was traded, so nothing is shown"
        return fired(floor), most


def play_invented(database: str, folder: Path, seed: int) -> int:
    """Orders are taken, and the answer is some other JSON with status 200."""
    draw = random.Random(seed)
    with trading_floor(database, folder, seed=seed, start="15:48") as floor:
        floor.simulator.ws("drop", "updates", prob=1.0)
        for nth in (1, 2, 3, 5):
            floor.simulator.fault(
                "status", match={**POST, "nth": nth}, code=200, body=invented(draw, 3), after=True
            )
        live_through(floor)
        assert sent_more_than_once(floor) == []
        assert max(unknown_s(floor)) <= RESOLVED_S
        return fired(floor)


def invented(draw: random.Random, depth: int) -> Any:
    """Return some JSON, with an order's words in it."""
    words = ("id", "client_order_id", "status", "filled_qty", "qty", "symbol", "side", "code")
    plain: list[Any] = [None, True, 1e308, -1, 0, "", "filled", "NaN", "1e999", "\u2028", "F" * 999]
    kind = draw.randrange(4) if depth else 3
    if kind == 0:
        return [invented(draw, depth - 1) for _ in range(draw.randrange(4))]
    if kind == 3 and depth < 3:
        return draw.choice(plain)
    return {draw.choice(words): invented(draw, depth - 1) for _ in range(draw.randrange(9))}


def test_nonsense_about_trading_is_no_answer(trading_database: str, tmp_path: Path) -> None:
    kinds = ["truncate", "nan", "wrong_type", "null_field", "html"]
    faults, _ = play_nonsense(trading_database, tmp_path, kinds, 1, 0.2, "15:50")
    assert faults > 10


@pytest.mark.proof
@pytest.mark.parametrize("action", ["truncate", "oversize", "drip", "nan", "wrong_type",
                                    "null_field", "html"])  # fmt: skip
def test_nonsense_of_every_kind_at_every_door(
    trading_database: str, tmp_path: Path, action: str, record_property: Any
) -> None:
    quiet, usual = play_nonsense(trading_database, tmp_path / "quiet", ["html"], seed=1, prob=0)
    assert quiet == 0
    faults, most = play_nonsense(trading_database, tmp_path / "loud", [action], seed=1, prob=0.3)
    assert faults > 10
    assert most - usual < MEMORY
    record_property("faults", faults)
    record_property("more_memory_MiB", (most - usual) >> 20)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(12))
def test_invented_answers_leave_it_open_what_became_of_an_order(
    trading_database: str, tmp_path: Path, seed: int
) -> None:
    assert play_invented(trading_database, tmp_path, seed) >= 2


# ---------------------------------------------------------------- partial fills, refusals

LIMITED = {"trading": {"order_type": "limit", "collar_bps": 1.0}}


def play_parts(database: str, folder: Path, seed: int, race: str, start: str) -> int:
    """Orders come in parts, are cancelled with something left, and the cancel meets a fill."""
    with trading_floor(
        database, folder, seed=seed, start=start, partial_prob=1.0, settings=LIMITED
    ) as floor:
        floor.simulator.exchange(
            partial_parts=1 + seed % 5, cancel_race=race, cancel_race_prob=0.5, size_factor=0.1
        )
        if race == "stuck":  # until a few minutes before the end
            calm = {"at": f"{SESSION}T15:54:30-04:00", "do": "exchange", "cancel_race": ""}
            floor.simulator.schedule(calm)
        live_through(floor, flat=False)  # limits may leave something over
        truth = floor.simulator.truth()
        parts = [one for one in truth["orders"] if "partial_fill" in str(one["events"])]
        assert len(parts) > 2
        ours = {name: history[-1].state for name, history in steps(floor).items()}
        for one in truth["orders"]:
            assert ours[one["client_order_id"]] in {one["status"], "expired"}
        return sum(one["cancel_requested_at"] is not None for one in truth["orders"])


def test_purchases_in_parts_and_lost_races_of_cancels_are_booked_exactly(
    trading_database: str, tmp_path: Path
) -> None:
    assert play_parts(trading_database, tmp_path, seed=2, race="fill", start="15:44")


@pytest.mark.proof
@pytest.mark.parametrize("race", ["", "fill", "reject", "stuck"])
@pytest.mark.parametrize("seed", range(5))
def test_parts_and_cancels(
    trading_database: str, tmp_path: Path, seed: int, race: str, record_property: Any
) -> None:
    cancels = play_parts(trading_database, tmp_path, seed, race, "15:30")
    record_property("cancelled", cancels)


REFUSALS: dict[str, dict[str, Any]] = {
    "buying_power": {"refuse_status": 403, "refuse_body": {
        "code": 40310000, "message": "insufficient buying power", "buying_power": "0"}},
    "shares": {"refuse_status": 403, "refuse_body": {
        "code": 40310000, "message": "insufficient qty available for order (requested: 3, "
                                     "available: 0)", "held_for_orders": "10"}},
    "wash": {"refuse_status": 403, "refuse_body": {
        "code": 40310000, "message": "potential wash trade detected. use complex orders"}},
    "short": {"refuse_status": 422, "refuse_body": {
        "code": 42210000, "message": 'asset "F" cannot be sold short'}},
    "parameter": {"refuse_status": 422, "refuse_body": {
        "code": 42210000, "message": "qty must be > 0"}},
    "cost": {"refuse_status": 403, "refuse_body": {
        "code": 40310000, "message": "cost basis must be >= minimal amount of order 1"}},
    "day_trading": {"refuse_status": 403, "refuse_body": {
        "code": 40310100, "message": "trade denied due to pattern day trading protection"}},
    "keys": {"refuse_status": 401, "refuse_body": {"message": "unauthorized."}},
}  # fmt: skip


def play_refused(database: str, folder: Path, kind: str, seed: int) -> int:
    with trading_floor(database, folder, seed=seed, start="15:44") as floor:
        if kind == "late":  # taken first, and rejected then
            floor.simulator.exchange(reject_next=4)
        elif kind == "rate":
            match = {**POST, "nth": [1, 2, 3, 4]}
            floor.simulator.fault("retry_after", match=match, retry_after=1)
        else:
            floor.simulator.exchange(refuse_next=4, **REFUSALS[kind])
        live_through(floor)
        assert sent_more_than_once(floor) == []  # one attempt of every intent
        rejected = [n for n, h in steps(floor).items() if h[-1].state == "rejected"]
        assert len(rejected) == 4, floor.log()
        assert all(steps(floor)[name][-1].detail for name in rejected)  # and it is told why
        asked = posts(floor)
        taken = [one for one in asked if one["status"] == 200]
        assert len(taken) > (4 if kind == "late" else 0), "nothing was sent afterwards"
        return len(asked)


def test_refused_orders_are_not_sent_again(trading_database: str, tmp_path: Path) -> None:
    play_refused(trading_database, tmp_path, "buying_power", seed=0)


@pytest.mark.proof
@pytest.mark.parametrize("kind", [*REFUSALS, "rate", "late"])
@pytest.mark.parametrize("seed", range(2))
def test_refusals_of_every_kind(
    trading_database: str, tmp_path: Path, kind: str, seed: int, record_property: Any
) -> None:
    record_property("posts", play_refused(trading_database, tmp_path, kind, seed))


# ---------------------------------------------------------------- other orders of the account


def test_resting_order_of_a_person_is_met_with_one_attempt_a_decision(
    trading_database: str, tmp_path: Path
) -> None:
    """A sale is refused as a wash trade while a person's purchase rests on the other side."""
    with trading_floor(trading_database, tmp_path, seed=1, start="15:44") as floor:
        for symbol in floor.settings["data"]["symbols"]:
            floor.simulator.schedule({
                "at": f"{SESSION}T15:47:30-04:00", "do": "external_order", "symbol": symbol,
                "side": "buy", "qty": "1", "type": "limit", "limit_price": "1.00",
            })  # fmt: skip
        live_through(floor, flat=False)
        washed = [one for one in posts(floor, "sell") if one["status"] == 403]
        assert washed, "no sale met the resting orders"
        assert sent_more_than_once(floor) == []
        minutes = {one["client_order_id"].rpartition("-s0-")[0] for one in washed}
        assert len(washed) <= len(minutes) * 3


def test_as_many_requests_leave_as_the_journal_has_sendings(
    trading_database: str, tmp_path: Path
) -> None:
    with trading_floor(trading_database, tmp_path, seed=5, start="15:44") as floor:
        live_through(floor)
        sendings = [
            name for name, h in steps(floor).items() if any(s.state == "sending" for s in h)
        ]
        assert sorted(one["client_order_id"] for one in posts(floor)) == sorted(sendings)
        assert len(sendings) == len(floor.simulator.truth()["orders"])
        reader = floor.reader()
        beat = reader.heartbeat(floor.book)
        reader.engine.dispose()
        assert beat is not None
        assert beat.heartbeat.detail["orders_sent"] == len(sendings)
