"""The exchange behind the simulator: orders, executions and books, on a tape made by hand."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.config import load_settings
from alpaca_strategy.simulator import order_entry
from alpaca_strategy.simulator.clock import SimClock
from alpaca_strategy.simulator.exchange import Exchange
from alpaca_strategy.simulator.orders import Order
from alpaca_strategy.simulator.portfolio import Ledger
from alpaca_strategy.simulator.quotes import Quotes
from alpaca_strategy.simulator.synthetic import SyntheticMarket
from alpaca_strategy.simulator.tape import Tape, empty
from alpaca_strategy.simulator.wire import RefusedError
from alpaca_strategy.simulator.world import Parameters, Split, World

D = Decimal
FRIDAY, MONDAY, TUESDAY = date(2026, 10, 2), date(2026, 10, 5), date(2026, 10, 6)
PLENTY = 1e9
SUB_PENNY = "sub-penny increment does not fulfill minimum pricing criteria"


def ns(day: date, clock: str) -> int:
    """Return the nanoseconds of a New York time in October, four hours behind UTC."""
    hour, minute, second = (float(part) for part in clock.split(":"))
    midnight = datetime(day.year, day.month, day.day, 4, tzinfo=UTC)
    return int(midnight.timestamp()) * 10**9 + int((hour * 3600 + minute * 60 + second) * 1e9)


#: Four prints each, so that the middle of the quote is the price itself and ask - bid is two cents.
LEVELS = {
    FRIDAY: [("9:30:1", 100.0)],
    MONDAY: [("9:30:1", 100.0), ("10:0:0", 101.0), ("10:30:0", 99.0), ("11:0:0", 100.0),
             ("15:59:0", 102.0)],
    TUESDAY: [("9:30:1", 103.0), ("12:0:0", 98.0)],
}  # fmt: skip


def tape(levels: list[tuple[int, float]], day: date) -> Tape:
    rows = [(at + n, price, 0) for at, price in levels for n in range(4)]
    rows += [(ns(day, "9:30:0.2"), levels[0][1] + 0.5, 1), (ns(day, "16:0:0.3"), 102.25, 2)]
    rows.sort()
    at, price, mark = (np.array(column) for column in zip(*rows, strict=True))
    count = len(rows)
    return Tape(
        ts=at.astype(np.int64), price=price, size=np.full(count, 100),
        exchange=np.full(count, ord("V"), np.uint8), condition=mark.astype(np.int16),
        trade_id=np.arange(count), update=np.zeros(count, np.uint8), tape="C",
        conditions=(("@",), ("@", "O"), ("@", "6")),
    )  # fmt: skip


class Venue:
    """An exchange at a clock that the test moves."""

    def __init__(self, start: str = "9:45:0", day: date = MONDAY, **options: Any) -> None:
        self.clock = SimClock()
        self.clock.set(now_ns=ns(day, start), paused=True)
        quotes = Quotes(options.get("seed", 7), self._tape, lambda _: 1e-4)
        self.exchange = Exchange(
            self.clock, quotes, lambda s: f"id of {s}" if s in {"X", "Y"} else None, **options
        )
        self.exchange.engine.change({"partial_prob": 0.0, "size_factor": PLENTY})
        self.told: list[tuple[str, str]] = []
        self.exchange.listeners.append(
            lambda update: self.told.append((update["event"], update["order"]["client_order_id"]))
        )

    @staticmethod
    def _tape(feed: str, symbol: str, day: date) -> Tape:
        levels = LEVELS.get(day)
        if feed != "iex" or levels is None:
            return empty()
        return tape([(ns(day, at), price) for at, price in levels], day)

    def to(self, at: str, day: date = MONDAY) -> None:
        self.clock.set(now_ns=ns(day, at))
        self.exchange.catch_up()

    def after(self, seconds: float) -> None:
        self.clock.set(advance_s=seconds)
        self.exchange.catch_up()

    def send(self, side: str = "buy", qty: object = 10, **more: Any) -> Order:
        kind = "limit" if "limit_price" in more else "market"
        body = {"symbol": "X", "side": side, "qty": qty, "type": kind, "time_in_force": "day"}
        return order_entry.submit(self.exchange, {**body, **more})

    def bought(self, qty: object = 10) -> None:
        order = self.send(qty=qty)
        self.after(1)
        assert order.status == "filled"

    def events(self, order: Order) -> list[str]:
        return [event["event"] for event in order.events]

    def refused(self, *args: Any, **more: Any) -> tuple[int, dict[str, Any]]:
        with pytest.raises(RefusedError) as error:
            self.send(*args, **more)
        return error.value.status, error.value.body


@pytest.fixture
def venue() -> Venue:
    return Venue()


# Executions


def test_a_market_order_takes_the_far_side_after_a_while(venue: Venue) -> None:
    order = venue.send(qty=10)
    assert (order.status, venue.exchange.ledger.cash) == ("pending_new", 100_000)
    venue.after(0.006)
    assert order.status == "new"
    venue.after(1)
    assert venue.events(order) == ["pending_new", "new", "fill"]
    assert (order.status, order.average) == ("filled", D("100.01"))
    assert venue.exchange.ledger.cash == D("100000") - 10 * D("100.01")
    times = [event["at_ns"] for event in order.events]
    assert times == sorted(times)
    assert times[2] > times[1] > times[0]
    sale = venue.send("sell", 4)
    venue.after(1)
    assert sale.average == D("99.99")
    assert venue.exchange.ledger.qty("X") == 6
    assert sale.events[-1]["position_qty"] == "6"


def test_what_stands_is_limited_and_the_rest_goes_a_tick_deeper(venue: Venue) -> None:
    venue.exchange.engine.change({"size_factor": 1.0})
    quote = venue.exchange.quotes.at("X", venue.exchange.now_ns)
    assert quote is not None
    shown = quote.ask_size
    order = venue.send(qty=4 * shown)
    venue.after(5)
    parts = [(e["qty"], e["price"]) for e in order.events if "qty" in e]
    assert parts == [(str(shown), "100.01"), (str(2 * shown), "100.02"), (str(shown), "100.03")]
    assert order.average == (D("100.01") + 2 * D("100.02") + D("100.03")) / 4


def test_a_limit_that_cannot_trade_waits_and_trades_at_its_own_price(venue: Venue) -> None:
    low = venue.send(limit_price="99.50", client_order_id="low")
    venue.to("10:29:59")
    assert low.status == "new"
    venue.to("10:30:1")  # the market falls to 99
    assert (low.status, low.average) == ("filled", D("99.50"))
    assert ns(MONDAY, "10:30:0") <= low.times["filled_at"] < ns(MONDAY, "10:30:0") + 100


def test_a_limit_that_can_trade_gets_the_better_quote(venue: Venue) -> None:
    order = venue.send(limit_price="105")
    venue.after(1)
    assert order.average == D("100.01")


def test_a_limit_never_trades_beyond_its_price_however_large(venue: Venue) -> None:
    venue.exchange.engine.change({"size_factor": 0.01})
    order = venue.send(qty=900, limit_price="100.02")
    venue.after(600)
    assert order.status == "partially_filled"
    prices = {D(e["price"]) for e in order.events if "price" in e}
    assert prices == {D("100.01"), D("100.02")}


def test_stops_wait_for_their_price(venue: Venue) -> None:
    stop = venue.send(type="stop", stop_price="100.80", client_order_id="stop")
    capped = venue.send(
        type="stop_limit", stop_price="100.80", limit_price="100.90", client_order_id="capped"
    )
    venue.to("9:59:59")
    assert (stop.status, capped.status) == ("new", "new")
    venue.to("10:0:1")
    assert (stop.status, stop.average) == ("filled", D("101.01"))
    assert capped.status == "new"
    venue.to("10:31:0")
    assert (capped.status, capped.average) == ("filled", D("100.90"))
    down = venue.send("sell", 5, type="stop", stop_price="98.99")
    venue.after(1)
    assert down.average == D("98.99")


@pytest.mark.parametrize(("life", "expected"), [("ioc", ["canceled"]), ("fok", ["canceled"])])
def test_immediate_orders_do_not_wait(venue: Venue, life: str, expected: list[str]) -> None:
    order = venue.send(limit_price="99", time_in_force=life)
    venue.after(1)
    assert venue.events(order)[2:] == expected
    venue.exchange.engine.change({"size_factor": 0.001})  # one share stands there
    large = venue.send(qty=3, time_in_force=life)
    venue.after(1)
    assert (large.status, large.filled_qty) == ("canceled", 1 if life == "ioc" else 0)


def test_auction_orders_trade_at_the_auctions_prices() -> None:
    venue = Venue("9:0:0")
    opening = venue.send(time_in_force="opg", client_order_id="o")
    far = venue.send(time_in_force="opg", limit_price="50", client_order_id="far")
    closing = venue.send(time_in_force="cls", client_order_id="c")
    assert {opening.status, closing.status} == {"accepted"}
    venue.to("9:31:0")
    assert (opening.average, far.status, closing.status) == (D("100.5"), "canceled", "new")
    venue.to("16:0:2")
    assert (closing.average, closing.events[-1]["at_ns"]) == (D("102.25"), ns(MONDAY, "16:0:0.3"))
    assert venue.refused(time_in_force="cls")[1]["code"] == 42210000


def test_an_order_before_the_open_waits_for_the_first_quote_of_the_session() -> None:
    venue = Venue("8:0:0")
    order = venue.send()
    venue.to("9:29:59")
    assert (order.status, order.expires_ns) == ("accepted", ns(MONDAY, "16:0:0"))
    venue.to("9:30:0.1")
    assert order.status == "new"  # the tape begins with the auction, at 9:30:00.2
    venue.to("9:31:0")
    assert order.average == D("100.51")
    assert venue.events(order) == ["accepted", "new", "fill"]


def test_day_orders_end_at_the_close_and_others_live_on(venue: Venue) -> None:
    day = venue.send(limit_price="98.50")
    gtc = venue.send(limit_price="98.50", time_in_force="gtc")
    venue.to("16:0:0")
    assert (day.status, venue.events(day)[-1]) == ("expired", "expired")
    assert day.times["expired_at"] == ns(MONDAY, "16:0:0")
    venue.to("11:59:0", TUESDAY)
    assert gtc.status == "new"
    venue.to("12:0:1", TUESDAY)
    assert (gtc.status, gtc.average) == ("filled", D("98.50"))


def test_orders_of_the_evening_belong_to_the_next_session() -> None:
    venue = Venue("17:0:0")
    order = venue.send()
    late = venue.send(limit_price="105", extended_hours=True)
    venue.after(1)
    assert (order.status, order.expires_ns) == ("accepted", ns(TUESDAY, "16:0:0"))
    assert (late.status, late.average) == ("filled", D("102.07"))  # the last quote still stands
    ioc = venue.send(time_in_force="ioc")
    venue.after(1)
    assert venue.events(ioc) == ["accepted", "canceled"]


def test_an_amount_of_money_buys_fractions_and_never_more(venue: Venue) -> None:
    order = venue.send(qty=None, notional="250.00")
    venue.after(1)
    assert order.qty is None
    assert order.filled_qty == D("2.499750024")  # 250 / 100.01, cut to nine places
    assert D("249.99") < order.value <= 250
    venue.send("sell", "2.499750024")
    venue.after(1)
    assert venue.exchange.ledger.positions == {}


def test_chance_splits_an_order_and_nothing_is_lost(venue: Venue) -> None:
    venue.exchange.engine.change({"partial_prob": 1.0, "partial_parts": 4})
    order = venue.send(qty=10)
    venue.after(5)
    parts = [D(e["qty"]) for e in order.events if "qty" in e]
    assert (parts, venue.events(order)[-1]) == ([2, 2, 3, 3], "fill")
    venue.exchange.engine.change({"partial_parts": 0})
    order = venue.send(qty=1000, symbol="Y")
    venue.after(5)
    parts = [D(e["qty"]) for e in order.events if "qty" in e]
    assert len(parts) == 2
    assert sum(parts) == 1000


# Cancels and replacements


def test_a_cancel_takes_effect_later(venue: Venue) -> None:
    order = venue.send(limit_price="99")
    venue.after(1)
    order_entry.cancel(venue.exchange, order)
    assert order.status == "pending_cancel"
    with pytest.raises(RefusedError, match='already in "pending_cancel"'):
        order_entry.cancel(venue.exchange, order)
    venue.after(1)
    assert venue.events(order)[2:] == ["pending_cancel", "canceled"]
    with pytest.raises(RefusedError, match='already in "canceled"'):
        order_entry.cancel(venue.exchange, order)


def test_a_fill_on_its_way_beats_the_cancel(venue: Venue) -> None:
    venue.exchange.engine.change({"cancel_ms": 500.0})
    order = venue.send()
    order_entry.cancel(venue.exchange, order)
    venue.after(2)
    assert venue.events(order) == ["pending_new", "pending_cancel", "fill"]


@pytest.mark.parametrize(
    ("race", "ends"),
    [("fill", ["fill"]), ("reject", ["order_cancel_rejected"]), ("stuck", [])],
)
def test_a_cancel_can_be_made_to_lose(venue: Venue, race: str, ends: list[str]) -> None:
    order = venue.send(limit_price="99")
    venue.after(1)
    venue.exchange.engine.change({"cancel_race": race})
    order_entry.cancel(venue.exchange, order)
    venue.after(1)
    assert venue.events(order)[3:] == ends
    assert order.status == {"fill": "filled", "reject": "new", "stuck": "pending_cancel"}[race]
    venue.exchange.engine.change({"cancel_race": ""})
    venue.exchange.release()
    venue.after(1)
    assert (order.status == "canceled") == (race == "stuck")


def test_a_replacement_has_a_new_id_and_the_old_order_ends(venue: Venue) -> None:
    old = venue.send(limit_price="99", client_order_id="old")
    venue.after(1)
    new = order_entry.replace(venue.exchange, old, {"qty": 12, "limit_price": "99.20"})
    assert (old.status, new.status, new.replaces) == ("pending_replace", "pending_new", old.id)
    assert venue.exchange.reserved() == 12 * D("99.20")  # the larger of the two, not both
    venue.after(1)
    assert (old.status, old.replaced_by, new.status) == ("replaced", new.id, "new")
    assert [event for event in venue.told if event[0] in {"replaced", "pending_replace"}] == [
        ("pending_replace", "old"), ("replaced", "old"),
    ]  # fmt: skip
    venue.to("10:31:0")
    assert (new.filled_qty, new.average, old.filled_qty) == (12, D("99.20"), 0)


def test_a_replacement_is_for_what_is_left(venue: Venue) -> None:
    venue.exchange.engine.change({"partial_prob": 1.0, "partial_parts": 2, "part_delay_ms": 1e6})
    old = venue.send(qty=10)
    venue.after(1)
    assert (old.status, old.filled_qty) == ("partially_filled", 5)
    with pytest.raises(RefusedError, match="filled_qty 5"):
        order_entry.replace(venue.exchange, old, {"qty": 5})
    venue.exchange.engine.change({"partial_prob": 0.0})
    new = order_entry.replace(venue.exchange, old, {"qty": 8})
    venue.after(1)
    assert (new.qty, new.status) == (3, "filled")
    assert venue.exchange.ledger.qty("X") == 8


@pytest.mark.parametrize("race", ["fill", "reject"])
def test_a_replacement_can_be_made_to_lose(venue: Venue, race: str) -> None:
    venue.exchange.engine.change({"replace_race": race})
    old = venue.send(limit_price="99")
    venue.after(1)
    new = order_entry.replace(venue.exchange, old, {"limit_price": "99.20"})
    venue.after(1)
    assert (new.status, old.status) == ("rejected", "filled" if race == "fill" else "new")
    assert venue.events(old)[-1] == "order_replace_rejected"
    assert venue.exchange.ledger.qty("X") == (10 if race == "fill" else 0)


def test_what_is_not_new_cannot_be_replaced(venue: Venue) -> None:
    order = venue.send()
    with pytest.raises(RefusedError, match="pending_new"):
        order_entry.replace(venue.exchange, order, {"qty": 3})
    venue.after(1)
    with pytest.raises(RefusedError, match="filled"):
        order_entry.replace(venue.exchange, order, {"qty": 3})


# Halts and switches


@pytest.mark.parametrize("which", ["X", None])
def test_a_halted_symbol_takes_orders_but_does_not_trade(venue: Venue, which: str | None) -> None:
    told: list[dict[str, Any]] = []
    venue.exchange.halt_listeners.append(told.append)
    venue.exchange.halt(which, halted=True, code="H", reason="T1")
    order = venue.send()
    other = venue.send(symbol="Y")
    venue.after(901)
    assert (order.status, other.status) == ("new", "new" if which is None else "filled")
    venue.exchange.halt(which, halted=False, code="T", reason="R4")
    venue.after(1)
    assert (order.status, order.average) == ("filled", D("101.01"))
    assert [(about["symbol"], about["halted"], about["reason"]) for about in told] == [
        (which, True, "T1"), (which, False, "R4"),
    ]  # fmt: skip


@pytest.mark.parametrize(("switch", "held"), [("hold_new", "new"), ("hold_pending", "pending_new")])
def test_orders_can_be_held(venue: Venue, switch: str, held: str) -> None:
    venue.exchange.engine.change({switch: True, "only": ["X"]})
    order, other = venue.send(), venue.send(symbol="Y")
    venue.after(60)
    assert (order.status, other.status) == (held, "filled")
    venue.exchange.engine.change({switch: False})
    venue.exchange.release()
    venue.after(1)
    assert order.status == "filled"


def test_orders_can_be_rejected_late_or_refused_at_once(venue: Venue) -> None:
    venue.exchange.engine.change({"reject_next": 1, "refuse_next": 1, "refuse_status": 422})
    assert venue.refused(client_order_id="a") == (
        422,
        {"code": 40310000, "message": "order refused"},
    )
    order = venue.send(client_order_id="a")
    venue.after(1)
    assert (order.status, venue.events(order)[-1]) == ("rejected", "rejected")
    assert [post["status"] for post in venue.exchange.posts] == [422, 200]


def test_switches_refuse_what_they_do_not_know(venue: Venue) -> None:
    engine = venue.exchange.engine
    with pytest.raises(ValueError, match="no switch"):
        engine.change({"partial_prob": 1.0, "warp": 9})
    with pytest.raises(TypeError, match="hold_new"):
        engine.change({"hold_new": "yes"})
    with pytest.raises(ValueError, match="cancel_race"):
        engine.changed({"cancel_race": "explode"})
    assert (engine.partial_prob, engine.hold_new) == (0.0, False)


# Refusals


@pytest.mark.parametrize(
    ("changes", "status", "code", "message"),
    [
        ({"qty": None}, 422, 40010001, "qty or notional is required"),
        ({"notional": 5}, 422, 40010001, "only one of qty or notional is accepted"),
        ({"symbol": "NOPE"}, 422, 42210000, 'asset "NOPE" not found'),
        ({"symbol": None}, 422, 40010001, "symbol is required"),
        ({"side": "hold"}, 422, 42210000, "invalid side: hold"),
        ({"type": "peg"}, 422, 42210000, "invalid type: peg"),
        ({"time_in_force": "gtd"}, 422, 42210000, "invalid time_in_force: gtd"),
        ({"qty": -1.0}, 422, 42210000, "qty must be > 0"),
        ({"qty": "many"}, 422, 42210000, "invalid qty: many"),
        ({"qty": 1e300}, 422, 42210000, "invalid qty: 1e+300"),
        ({"qty": [1]}, 422, 42210000, "invalid qty: [1]"),
        ({"limit_price": "290.123"}, 422, 42210000, f"invalid limit_price 290.123. {SUB_PENNY}"),
        ({"limit_price": 0.1 + 0.2}, 422, 42210000,
         f"invalid limit_price 0.30000000000000004. {SUB_PENNY}"),
        ({"limit_price": "0.12345"}, 422, 42210000, f"invalid limit_price 0.12345. {SUB_PENNY}"),
        ({"type": "limit"}, 422, 40010001, "limit orders require limit_price"),
        ({"type": "stop"}, 422, 40010001, "stop orders require stop_price"),
        ({"type": "market", "limit_price": 5}, 422, 42210000,
         "market orders must not have limit_price"),
        ({"qty": 0.5, "time_in_force": "gtc"}, 422, 42210000,
         "fractional orders must be DAY orders"),
        ({"extended_hours": True}, 422, 42210000, "extended hours order must be DAY limit orders"),
        ({"order_class": "bracket"}, 422, 42210000,
         "order class bracket is not supported by this venue"),
        ({"type": "trailing_stop", "trail_percent": 1}, 422, 42210000,
         "trailing_stop orders are not supported by this venue"),
        ({"client_order_id": "x" * 129}, 422, 40010001,
         "client_order_id must be no more than 128 characters"),
        ({"qty": "0.001"}, 403, 40310000, "cost basis must be >= minimal amount of order 1"),
        ({"time_in_force": "opg"}, 422, 42210000,
         "opg orders are not accepted at this time of day"),
        ({"side": "sell", "qty": 0.5}, 422, 42210000, "fractional orders cannot be sold short"),
        ({"position_intent": "buy_to_close"}, 422, 42210000,
         "position intent mismatch, inferred: buy_to_open, specified: buy_to_close"),
    ],
)  # fmt: skip
def test_malformed_orders_are_refused(
    venue: Venue, changes: dict[str, Any], status: int, code: int, message: str
) -> None:
    assert venue.refused(**changes) == (status, {"code": code, "message": message})
    assert venue.exchange.orders == {}
    assert len(venue.exchange.posts) == 1


def test_a_client_order_id_is_used_once_and_for_ever(venue: Venue) -> None:
    venue.send(client_order_id="mine")
    unique = (422, {"code": 40010001, "message": "client_order_id must be unique"})
    assert venue.refused(client_order_id="mine") == unique
    venue.after(1)
    assert venue.refused("sell", client_order_id="mine") == unique
    assert len(venue.exchange.orders) == 1
    assert [post["status"] for post in venue.exchange.posts] == [200, 422, 422]


def test_buying_power_is_four_times_the_equity_less_what_is_open(venue: Venue) -> None:
    status, body = venue.refused(qty=4000)
    assert (status, body) == (
        403,
        {
            "buying_power": "400000",
            "code": 40310000,
            "cost_basis": "400040",
            "message": "insufficient buying power",
        },
    )
    venue.send(qty=3000, limit_price="99")
    assert venue.exchange.buying_power() == 400_000 - 297_000
    assert venue.refused(qty=1031, symbol="Y")[1]["message"] == "insufficient buying power"
    venue.send(qty=1029, symbol="Y")
    cash_account = Venue()
    cash_account.exchange.standing.change({"multiplier": 1})
    assert cash_account.exchange.buying_power() == 100_000
    cash_account.exchange.standing.change({"buying_power": "55.5"})
    assert cash_account.refused(qty=1)[1]["buying_power"] == "55.5"


def test_shares_that_are_spoken_for_cannot_be_sold_twice(venue: Venue) -> None:
    venue.bought(3)
    venue.send("sell", 2, limit_price="200")
    assert venue.refused("sell", 3) == (
        403,
        {
            "available": "1",
            "code": 40310000,
            "existing_qty": "3",
            "held_for_orders": "2",
            "message": "insufficient qty available for order (requested: 3, available: 1)",
            "symbol": "X",
        },
    )
    venue.send("sell", 1)


@pytest.mark.parametrize(
    ("resting", "new", "refused"),
    [
        ({"limit_price": "99"}, {}, True),
        ({"limit_price": "99"}, {"limit_price": "99.01"}, False),
        ({"limit_price": "99"}, {"limit_price": "99"}, True),
        ({"type": "stop", "stop_price": "110"}, {"limit_price": "120"}, True),
        ({"type": "stop_limit", "stop_price": "110", "limit_price": "111"},
         {"limit_price": "112"}, False),
    ],
)  # fmt: skip
def test_one_cannot_trade_with_oneself(
    venue: Venue, resting: dict[str, Any], new: dict[str, Any], refused: bool
) -> None:
    venue.bought(10)
    order = venue.send("buy", 5, **resting)
    if not refused:
        assert venue.send("sell", 5, **new).is_open
        return
    status, body = venue.refused("sell", 5, **new)
    assert status == 403
    assert body == {
        "code": 40310000,
        "existing_order_id": order.id,
        "message": "potential wash trade detected. use complex orders",
        "reject_reason": f"opposite side {order.type} order exists",
    }


def test_short_sales_are_checked_and_covered(venue: Venue) -> None:
    engine, standing = venue.exchange.engine, venue.exchange.standing
    engine.change({"assets": {"X": {"shortable": False}}})
    cannot = (422, {"code": 42210000, "message": 'asset "X" cannot be sold short'})
    assert venue.refused("sell") == cannot
    engine.change({"assets": {"X": {"easy_to_borrow": False}}})
    assert venue.refused("sell") == cannot
    engine.change({"assets": {}, "ssr": ["X"]})
    assert "short sale restriction" in venue.refused("sell")[1]["message"]
    assert venue.send("sell", limit_price="100.50").is_open
    engine.change({"ssr": []})
    standing.change({"shorting_enabled": False})
    assert venue.refused("sell", symbol="Y")[0] == 403
    standing.change({"shorting_enabled": True})
    short = venue.send("sell", 20, symbol="Y")
    assert venue.exchange.buying_power() == pytest.approx(
        D(400_000) - 10 * D("103.0103") - 20 * D("103.0103")  # 1.03 times the ask
    )
    venue.after(1)
    assert (short.position_intent, venue.exchange.ledger.qty("Y")) == ("sell_to_open", -20)
    assert venue.refused("buy", 21, symbol="Y")[1]["available"] == "20"
    cover = venue.send("buy", 20, symbol="Y")
    venue.after(1)
    assert (cover.position_intent, venue.exchange.ledger.qty("Y")) == ("buy_to_close", 0)


@pytest.mark.parametrize(
    ("switch", "opening", "closing"),
    [
        ({"trading_blocked": True}, "account is not authorized to trade", "account is not"),
        ({"account_blocked": True}, "account is not authorized to trade", "account is not"),
        ({"status": "ONBOARDING"}, "account is not authorized to trade", "account is not"),
        (
            {"trade_suspended_by_user": True},
            "new orders are rejected by user request",
            "new orders",
        ),
        ({"closing_only": True}, "your account is set to liquidation only", ""),
        ({"margin_deficit": "500"}, "account has an intraday margin deficit", ""),
        ({"day_trading": "entry"}, "trade denied due to pattern day trading protection", ""),
        ({"day_trading": "both"}, "trade denied due to pattern", "trade denied due to pattern"),
    ],
)
def test_a_blocked_account_may_not_trade_or_only_close(
    venue: Venue, switch: dict[str, Any], opening: str, closing: str
) -> None:
    venue.bought(5)
    venue.exchange.standing.change(switch)
    status, body = venue.refused()
    assert status == 403
    assert body["message"].startswith(opening)
    if closing:
        assert venue.refused("sell", 5)[1]["message"].startswith(closing)
    else:
        venue.send("sell", 5)


def test_the_old_day_trading_rule_lets_shares_of_yesterday_go(venue: Venue) -> None:
    venue.bought(5)
    venue.exchange.standing.change({"day_trading": "exit"})
    assert venue.refused("sell", 5)[1]["code"] == 40310100
    venue.to("10:0:0", TUESDAY)
    venue.send("sell", 5)


# The books


def test_equity_at_the_close_and_over_the_night(venue: Venue) -> None:
    venue.bought(100)
    assert venue.exchange.ledger.last_equity == 100_000
    venue.to("9:0:0", TUESDAY)
    cash = D(100_000) - 100 * D("100.01")
    assert venue.exchange.ledger.last_equity == cash + 100 * D("102.25")  # the closing auction
    venue.to("9:31:0", TUESDAY)
    assert venue.exchange.figures().equity == cash + 100 * D("103")


def test_a_split_overnight_changes_positions_and_orders_but_no_money() -> None:
    venue = Venue(splits=lambda symbol: [Split(symbol, TUESDAY, 4, 1)] if symbol == "X" else [])
    venue.bought(10)
    order = venue.send(qty=8, limit_price="88.02", time_in_force="gtc")
    spent = 100_000 - venue.exchange.ledger.cash
    venue.to("5:0:0", TUESDAY)
    held = venue.exchange.ledger.positions["X"]
    assert (held.qty, held.cost, held.average) == (40, spent, D("25.0025"))
    assert (order.qty, order.limit_price, order.events[-1]["event"]) == (32, D("22.00"), "restated")
    assert 100_000 - venue.exchange.ledger.cash == spent
    venue.to("5:0:0", date(2026, 10, 7))
    assert held.qty == 40


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("XY"),
            st.integers(-50, 50).filter(bool),
            st.integers(1, 20_000).map(lambda cents: D(cents) / 100),
        ),
        max_size=40,
    )
)
def test_the_books_balance_whatever_is_traded(trades: list[tuple[str, int, Decimal]]) -> None:
    ledger = Ledger(D(100_000))
    queues: dict[str, list[Decimal]] = {"X": [], "Y": []}  # each share on its own, signed prices
    for n, (symbol, qty, price) in enumerate(trades):
        ledger.trade(n, symbol, D(qty), price)
        queues[symbol] += [price.copy_sign(qty)] * abs(qty)
    marks = {"X": D(7), "Y": D("3.5")}
    assert ledger.cash == D(100_000) - sum((p for q in queues.values() for p in q), D(0))
    for symbol, queue in queues.items():
        net = sum(1 if price > 0 else -1 for price in queue)
        assert ledger.qty(symbol) == net
    unrealized = sum(
        (held.qty * marks[symbol] - held.cost for symbol, held in ledger.positions.items()), D(0)
    )
    equity = ledger.equity(lambda symbol: marks[symbol])
    assert float(equity - 100_000) == pytest.approx(float(ledger.realized + unrealized), abs=1e-9)
    cash, shares = ledger.at(len(trades))
    assert (cash, shares) == (ledger.cash, {s: p.qty for s, p in ledger.positions.items()})


def test_the_average_price_changes_only_when_shares_are_added() -> None:
    ledger = Ledger(D(0))
    for qty, price in ((10, 100), (10, 110), (-5, 200)):
        ledger.trade(0, "X", D(qty), D(price))
    assert (ledger.positions["X"].average, ledger.realized) == (105, 5 * 95)
    ledger.trade(0, "X", D(-25), D(90))
    held = ledger.positions["X"]
    assert (held.qty, held.average, ledger.realized) == (-10, 90, 475 - 15 * 15)


# Time


def journal(seed: int) -> str:
    venue = Venue(seed=seed)
    venue.exchange.engine.change({"partial_prob": 0.5, "size_factor": 1.0})
    updates: list[dict[str, Any]] = []
    venue.exchange.listeners.append(updates.append)
    for n in range(40):
        venue.after(7.5)
        order = venue.send(("buy", "sell")[n % 4 == 3], 10 + n, client_order_id=f"c{n}")
        if n % 5 == 0:
            order_entry.cancel(venue.exchange, order)
    venue.after(5)
    venue.send(qty=3, limit_price="99.10")
    venue.to("16:30:0")
    assert len(updates) > 120
    text = json.dumps([updates, [order.record() for order in venue.exchange.orders.values()]])
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_same_seed_and_requests_give_the_same_journal() -> None:
    assert journal(7) == journal(7)
    assert journal(7) != journal(8)


def test_small_steps_of_the_clock_and_one_large_one_come_to_the_same() -> None:
    small, large = Venue(), Venue()
    for venue in (small, large):
        venue.exchange.engine.change({"partial_prob": 1.0, "size_factor": 1.0})
        venue.send(qty=900, client_order_id="a")
        venue.send(qty=50, limit_price="99.30", client_order_id="b")
    for _ in range(4 * 3600):
        small.after(0.5)
    large.to("11:45:0")
    small.to("11:45:0")
    assert small.told == large.told
    records = [[o.record() for o in v.exchange.orders.values()] for v in (small, large)]
    assert records[0] == records[1]


def test_whoever_waits_is_told_of_an_earlier_event(venue: Venue) -> None:
    poked: list[int | None] = []
    venue.exchange.poke = lambda: poked.append(venue.exchange.next_due())
    before = venue.exchange.next_due()
    venue.send()
    assert before == ns(MONDAY, "16:0:0")
    assert poked
    due = venue.exchange.next_due()
    assert due is not None
    assert venue.exchange.now_ns < due < venue.exchange.now_ns + 10_000_000
    venue.exchange.run_until(due)
    assert venue.told == [("pending_new", venue.told[0][1]), ("new", venue.told[0][1])]


def test_the_clock_may_be_set_back_and_days_still_end(venue: Venue) -> None:
    venue.to("12:0:0", TUESDAY)
    venue.clock.set(now_ns=ns(MONDAY, "9:45:0"))
    venue.bought(10)
    venue.to("16:30:0")
    cash = D(100_000) - 10 * D("100.01")
    assert venue.exchange.ledger.last_equity == cash + 10 * D("102.25")


def test_a_new_account_remembers_nothing(venue: Venue) -> None:
    venue.send(client_order_id="mine")
    first = venue.exchange.by_client_id["mine"].id
    venue.exchange.open_account(D(500))
    assert (venue.exchange.orders, venue.exchange.posts) == ({}, [])
    venue.send(qty=1, client_order_id="mine")
    venue.after(1)
    assert venue.exchange.by_client_id["mine"].id != first
    assert venue.exchange.ledger.cash == D("399.99")


# The quotes of the synthetic market


def test_quotes_lie_around_the_trades_of_the_tape() -> None:
    market = SyntheticMarket(World(Parameters(), load_settings().universe()))
    spreads = {symbol: company.half_spread for symbol, company in market.world.companies.items()}
    quotes = Quotes(7, market.tape, lambda symbol: spreads[symbol])
    for symbol in ("AAPL", "F", "TSLA"):
        book = quotes.book(symbol, MONDAY)
        day = market.tape("iex", symbol, MONDAY)
        assert (book.bid < book.ask).all()
        assert (np.diff(book.ts) > 0).all()
        assert (book.bid % 100 == 0).all()
        assert (book.ask % 100 == 0).all()
        wide = (book.ask - book.bid) / book.bid
        assert 1e-4 < np.median(wide) < 6e-4
        rows = np.searchsorted(book.ts, day.ts[200:-200], "left") - 1  # what stood before a trade
        mid = (book.bid + book.ask)[rows] / 20_000
        away = np.abs(day.price[200:-200] / mid - 1)
        assert np.quantile(away, 0.95) < 1e-3
        # Nobody gains by trading at once with whoever trades next.
        assert np.mean(day.price[200:-200] / mid - 1) == pytest.approx(0, abs=2e-5)
    opening, closing = book.opening, book.closing
    assert opening is not None
    assert closing is not None
    assert opening[0] - ns(MONDAY, "9:30:0") < 10**9
    assert 0 < closing[0] - ns(MONDAY, "16:0:0") < 2 * 10**9
    assert quotes.close("TSLA", MONDAY) == closing[1]


def test_before_the_first_trade_of_a_day_the_last_quote_stands() -> None:
    quotes = Venue().exchange.quotes
    standing = quotes.standing("X", ns(MONDAY, "8:0:0"))
    assert standing is not None
    assert standing[0] == ns(FRIDAY, "16:0:0.3")
    assert standing[1].mid == pytest.approx(D("100.5625"), abs=D("0.01"))
    assert quotes.at("X", ns(date(2026, 9, 1), "12:0:0")) is None
