"""The account may not, the market does not, or the strategy has gone mad: limits hold."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from order_histories import posted_between, posts, sent_more_than_once, steps, watched_wrongly
from trading_floor import SESSION, Floor, trading_floor

from alpaca_strategy.domain.journal import SwitchKind
from alpaca_strategy.storage.journal import TradingJournal

pytestmark = pytest.mark.integration


def at(clock: str) -> str:
    """Return a New York time of the session, as a schedule takes it."""
    return f"{SESSION}T{clock}-04:00"


def moment(clock: str) -> datetime:
    return datetime.fromisoformat(at(clock))


def live_through(floor: Floor, *items: dict[str, Any], flat: bool = True) -> None:
    """Let a trader live through what is left of the session, and judge it."""
    if items:
        floor.simulator.schedule(*items)
    ending = floor.finish(floor.start(), within_s=900)  # a flood takes a while
    assert ending["reason"] == "closed", floor.log()
    assert floor.judge(flat=flat) == [], floor.log()
    assert list(watched_wrongly(floor)) == []
    assert sent_more_than_once(floor) == []
    assert [one["outcome"] for one in floor.simulator.schedule()] == ["done"] * len(items)


def accepted(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["status"] == 200]


# ---------------------------------------------------------------- what the account may do

#: A switch of the account; whether the account's own page tells of it; whether sales are taken.
STANDINGS: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "trading_blocked": ({"trading_blocked": True}, True, False),
    "account_blocked": ({"account_blocked": True}, True, False),
    "suspended": ({"trade_suspended_by_user": True}, True, False),
    "status": ({"status": "ACCOUNT_CLOSED"}, True, False),
    "fields_missing": ({"omit": ["trading_blocked"]}, True, True),
    "margin_deficit": ({"margin_deficit": "5000"}, False, True),
    "closing_only": ({"closing_only": True}, False, True),
    "day_trading": ({"day_trading": "entry"}, False, True),
}


def play_standing(database: str, folder: Path, kind: str, seed: int) -> None:
    """The account may not at first, and again when it holds something: then closing is tried."""
    switches, shown, sales = STANDINGS[kind]
    with trading_floor(database, folder, seed=seed, start="15:38") as floor:
        floor.simulator.account(**switches)
        live_through(
            floor,
            {"at": at("15:42:30"), "do": "account", "reset": True},
            {"at": at("15:45:30"), "do": "account", **switches},
            {"at": at("15:50:30"), "do": "account", "reset": True},
        )
        first = posted_between(floor, moment("15:38:00"), moment("15:42:30"))
        again = posted_between(floor, moment("15:45:30"), moment("15:50:30"))
        bought = [one for one in first + again if one["side"] == "buy"]
        sold = [one for one in again if one["side"] == "sell"]
        assert not accepted(bought)
        assert max(Counter(one["client_order_id"] for one in first + again).values()) == 1
        if shown:  # then the venue is not even asked
            assert not bought
            assert [one for one in floor.logged("order_dropped") if "account" in one["reason"]]
        else:
            assert bought or floor.logged("order_dropped"), "nothing was to be bought"
        assert sold, "positions were not closed"
        assert bool(accepted(sold)) is sales
        between = posted_between(floor, moment("15:42:30"), moment("15:45:30"))
        after = posted_between(floor, moment("15:50:30"), moment("16:00:00"))
        assert accepted(between), "it did not go on"
        assert accepted(after), "it did not go on afterwards"


def test_blocked_account_buys_nothing_and_goes_on_when_it_may(
    trading_database: str, tmp_path: Path
) -> None:
    play_standing(trading_database, tmp_path, "trading_blocked", seed=0)


@pytest.mark.proof
@pytest.mark.parametrize("kind", STANDINGS)
@pytest.mark.parametrize("seed", range(2))
def test_standings_of_every_kind(
    trading_database: str, tmp_path: Path, kind: str, seed: int
) -> None:
    play_standing(trading_database, tmp_path, kind, seed)


@pytest.mark.proof
def test_small_equity_ends_buying(trading_database: str, tmp_path: Path) -> None:
    """Half of the equity is withdrawn: that is beyond the loss of a day."""
    with trading_floor(trading_database, tmp_path, seed=0, start="15:42") as floor:
        live_through(floor, {"at": at("15:45:30"), "do": "account", "equity": "50000"})
        late = posted_between(floor, moment("15:46:30"), moment("16:00:00"))
        assert not [one for one in late if one["side"] == "buy"]
        assert [one for one in late if one["side"] == "sell"]


def play_buying_power(database: str, folder: Path, seed: int, power: str) -> None:
    """What may be spent shrinks between two decisions; sales go first, and nothing is repeated."""
    with trading_floor(database, folder, seed=seed, start="15:38") as floor:
        live_through(
            floor,
            {"at": at("15:43:30"), "do": "account", "buying_power": power},
            {"at": at("15:49:30"), "do": "account", "buying_power": None},
        )
        meanwhile = posted_between(floor, moment("15:43:30"), moment("15:49:30"))
        sold = [one for one in meanwhile if one["side"] == "sell"]
        bought = [one for one in meanwhile if one["side"] == "buy"]
        assert accepted(sold)
        # What sales bring counts as power at once; the venue may see that otherwise, once each.
        assert not bought or moment_of(bought[0]) >= moment_of(sold[0])
        assert not accepted(bought) or Decimal(power) > 30_000
        assert [
            one for one in floor.logged("order_dropped") if "buying power" in one["reason"]
        ] or (Decimal(power) > 30_000)


def moment_of(post: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(post["at"])


def test_without_buying_power_nothing_is_bought(trading_database: str, tmp_path: Path) -> None:
    play_buying_power(trading_database, tmp_path, seed=1, power="1000")


@pytest.mark.proof
@pytest.mark.parametrize("power", ["0", "20000", "60000"])
@pytest.mark.parametrize("seed", range(3))
def test_shrinking_buying_power(
    trading_database: str, tmp_path: Path, seed: int, power: str
) -> None:
    play_buying_power(trading_database, tmp_path, seed, power)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(3))
def test_buying_power_that_is_gone_when_the_order_arrives_is_not_asked_for_twice(
    trading_database: str, tmp_path: Path, seed: int
) -> None:
    """The account's page still shows what the venue no longer grants."""
    with trading_floor(trading_database, tmp_path, seed=seed, start="15:44") as floor:
        body = {"code": 40310000, "message": "insufficient buying power", "buying_power": "0"}
        floor.simulator.exchange(refuse_next=3, refuse_status=403, refuse_body=body)
        live_through(floor)
        refused = [one for one in posts(floor) if one["status"] == 403]
        assert len(refused) == 3


# ---------------------------------------------------------------- never short


def play_short(database: str, folder: Path, seed: int, switches: dict[str, Any]) -> None:
    """A trader wishes to sell what it does not hold, and more than it holds."""
    with trading_floor(database, folder, seed=seed, start="15:46") as floor:
        floor.told["defect"] = "short"
        floor.simulator.exchange(**switches)
        live_through(floor, flat=False)
        assert floor.simulator.truth()["fills"]
        # Denied on this side of the wire: the venue was never asked.
        words = ("would close nothing", "are to be sold, and the strategy holds")
        last = [history[-1].detail for history in steps(floor).values()]
        denied = [one for one in last if any(word in one for word in words)]
        assert denied
        assert not [one for one in posts(floor, "sell") if one["status"] != 200]
        for one in floor.simulator.truth()["positions"]:
            assert Decimal(one["qty"]) > 0


def test_shares_that_are_not_held_are_never_sold(trading_database: str, tmp_path: Path) -> None:
    play_short(trading_database, tmp_path, 0, {})


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["shortable", "restricted"])
def test_short_sales_do_not_exist(
    trading_database: str, tmp_path: Path, kind: str, seed: int
) -> None:
    hard = {"shortable": False, "easy_to_borrow": False}
    switches: dict[str, Any] = {"assets": {"F": hard, "TSLA": hard}}
    if kind == "restricted":
        switches["ssr"] = ["F", "TSLA", "NVDA"]
    play_short(trading_database, tmp_path, seed, switches)


@pytest.mark.proof
def test_names_that_cannot_be_traded_are_not_bought(trading_database: str, tmp_path: Path) -> None:
    with trading_floor(trading_database, tmp_path, seed=0, start="15:42") as floor:
        floor.simulator.exchange(assets={"F": {"tradable": False}, "OXY": {"status": "inactive"}})
        live_through(floor)
        assert not {one["symbol"] for one in posts(floor)} & {"F", "OXY"}
        assert floor.simulator.truth()["fills"]


# ---------------------------------------------------------------- hard limits

LIMITS: dict[str, dict[str, Any]] = {
    "order_usd": {"max_order_usd": 20_000},
    "order_shares": {"max_order_shares": 300},
    "position": {"max_position_usd": 20_000},
    "exposure": {"max_gross_exposure": 0.4},
}


def play_limit(database: str, folder: Path, kind: str, seed: int, defect: str | None) -> int:
    """A limit is below what the strategy wants, or the strategy wants a thousand times as much."""
    settings = {"risk": LIMITS.get(kind, {})}
    with trading_floor(database, folder, seed=seed, start="15:40", settings=settings) as floor:
        if defect is not None:
            floor.told["defect"] = defect
        live_through(floor)
        bought = [one for one in floor.simulator.truth()["orders"] if one["side"] == "buy"]
        worth = {one["id"]: Decimal(one["qty"]) * Decimal(one["filled_avg_price"] or 0)
                 for one in bought}  # fmt: skip
        risk = LIMITS.get(kind, {})
        assert max(worth.values(), default=Decimal(0)) <= Decimal(str(
            min(risk.get("max_order_usd", 50_000), risk.get("max_position_usd", 60_000))
        )) * Decimal("1.01")  # fmt: skip
        shares = [Decimal(one["qty"]) for one in bought]
        assert max(shares, default=Decimal(0)) <= risk.get("max_order_shares", 10_000)
        assert most_invested(floor) <= Decimal(str(risk.get("max_gross_exposure", 1.05))) * 101_000
        lasts = [history[-1] for history in steps(floor).values()]
        if defect == "oversized":  # the size itself is denied, not only what it would cost
            words = ("shares are more than the", "The order is worth")
            assert any(word in last.detail for last in lasts for word in words)
        return sum(last.state == "abandoned" for last in lasts)


def most_invested(floor: Floor) -> Decimal:
    """Return the most USD that were invested at cost at any time."""
    held: dict[str, Decimal] = {}
    cost: dict[str, Decimal] = {}
    most = Decimal(0)
    for fill in floor.simulator.truth()["fills"]:
        symbol, qty = fill["symbol"], Decimal(fill["qty"])
        if fill["side"] == "buy":
            held[symbol] = held.get(symbol, Decimal(0)) + qty
            cost[symbol] = cost.get(symbol, Decimal(0)) + qty * Decimal(fill["price"])
        else:
            cost[symbol] -= cost[symbol] * qty / held[symbol]
            held[symbol] -= qty
        most = max(most, sum(cost.values(), Decimal(0)))
    return most


def test_a_thousand_times_too_much_is_not_sent(trading_database: str, tmp_path: Path) -> None:
    assert play_limit(trading_database, tmp_path, "none", 0, "oversized") > 3


@pytest.mark.proof
@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("defect", [None, "oversized"])
@pytest.mark.parametrize("seed", range(2))
def test_hard_limits_hold(
    trading_database: str, tmp_path: Path, kind: str, defect: str | None, seed: int,
    record_property: Any,
) -> None:  # fmt: skip
    denied = play_limit(trading_database, tmp_path, kind, seed, defect)
    assert denied > 0
    record_property("denied", denied)


@pytest.mark.proof
def test_restricted_names_are_never_bought(trading_database: str, tmp_path: Path) -> None:
    settings = {"risk": {"restricted": ["F", "TSLA"]}}
    with trading_floor(
        trading_database, tmp_path, seed=2, start="15:40", settings=settings
    ) as floor:
        live_through(floor)
        assert floor.simulator.truth()["fills"]
        assert not {one["symbol"] for one in posts(floor)} & {"F", "TSLA"}


# ---------------------------------------------------------------- the throttle


def play_flood(database: str, folder: Path, times: int, a_minute: int, a_session: int) -> int:
    """A loop goes wild; it is stopped at the limit, and stays stopped until a person has looked."""
    settings = {"risk": {"max_orders_per_minute": a_minute, "max_orders_per_session": a_session}}
    with trading_floor(database, folder, seed=0, start="15:46", settings=settings) as floor:
        floor.told |= {"defect": "flood", "times": times}
        live_through(floor, flat=False)
        sent = posts(floor)
        assert len(sent) <= a_session
        minutes = Counter(one["at"][:16] for one in sent)
        # A minute of the clock may have the ends of two minutes of the throttle.
        assert max(minutes.values()) <= 2 * a_minute
        assert floor.logged("trading_halted"), floor.log()
        assert len(steps(floor)) > times * 0.8, "the loop did not run wild"
        return len(sent)


def test_loop_that_runs_wild_is_stopped_and_stays_stopped(
    trading_database: str, tmp_path: Path
) -> None:
    assert play_flood(trading_database, tmp_path, 200, 20, 1000) >= 10


@pytest.mark.proof
@pytest.mark.parametrize(("a_minute", "a_session"), [(60, 1000), (60, 80)])
def test_ten_thousand_intents_are_stopped(
    trading_database: str, tmp_path: Path, a_minute: int, a_session: int, record_property: Any
) -> None:
    sent = play_flood(trading_database, tmp_path, 10_000, a_minute, a_session)
    record_property("sent", sent)


@pytest.mark.proof
def test_halt_of_the_throttle_stands_over_a_restart_until_a_person_re_arms(
    trading_database: str, tmp_path: Path
) -> None:
    settings = {"risk": {"max_orders_per_minute": 2}}
    with trading_floor(
        trading_database, tmp_path, rate=30.0, start="15:10", settings=settings
    ) as floor:
        first = floor.start()
        floor.until(lambda: floor.logged("trading_halted"))
        floor.until(lambda: floor.logged("switch_turned"))
        first.kill()
        first.wait()
        second = floor.start()
        floor.until(lambda: len(floor.logged("trader_ready")) == 2)
        bought = len(posts(floor, "buy"))
        seen = len(floor.logged("round_played"))
        floor.until(lambda: len(floor.logged("round_played")) > seen + 1)
        assert len(posts(floor, "buy")) == bought
        journal = TradingJournal(floor.database_url, floor.book)
        journal.switch(SwitchKind.REARM, reason="looked at it", by="test")
        journal.close()
        floor.until(lambda: len(posts(floor, "buy")) > bought)
        second.kill()
