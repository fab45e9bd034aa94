"""The trading side of the venue: orders come to life here and meet their ends in simulated time.

Everything happens as events of one agenda; whoever asks first calls `run_until`. With the same
seed, the same requests at the same times give the same journal: identifiers and delays follow
from the seed and the client order ids.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from alpaca_strategy.simulator import calendar, matching
from alpaca_strategy.simulator.clock import SimClock
from alpaca_strategy.simulator.floor import UNSENT, Floor
from alpaca_strategy.simulator.hours import (
    SECOND,
    at_ns,
    hours,
    new_york_day,
    next_hours,
    trading_hours,
)
from alpaca_strategy.simulator.order_rules import tick
from alpaca_strategy.simulator.orders import WORKING, Order
from alpaca_strategy.simulator.quotes import Quotes
from alpaca_strategy.simulator.world import Split


class Exchange(Floor):
    """Orders, executions and the account of the venue.

    Args:
        clock: The venue's.
        quotes: What orders are filled against.
        seed: Of everything that chance decides.
        asset_id: Gives a symbol's identifier; None for one that is not listed.
        cash: The account's opening balance in USD.
        splits: Gives a symbol's splits.
    """

    def __init__(
        self,
        clock: SimClock,
        quotes: Quotes,
        asset_id: Callable[[str], str | None],
        *,
        seed: int = 7,
        cash: Decimal = Decimal(100_000),
        splits: Callable[[str], list[Split]] = lambda _: [],
    ) -> None:
        self.asset_id = asset_id
        self.splits = splits
        self._steps: dict[str, Callable[[Order], None]] = {
            "ack": self._ack,
            "match": self._match,
            "auction": self._auction,
            "cancel": self._cancel,
            "expire": self._expire,
            "replace": self._replace,
            "drop": self._drop,
        }
        super().__init__(clock, quotes, seed, cash)

    def open_account(self, cash: Decimal) -> None:
        """Begin with nothing but cash: no order of before is left, nor its id."""
        super().open_account(cash)
        self._plan_day()

    # Time

    def happen(self, kind: str, subject: str) -> None:
        """Let an event happen."""
        if kind == "morning":
            self._morning()
        elif kind == "close":
            self._end_session()
        elif self.orders[subject].is_open:
            self._steps[kind](self.orders[subject])

    def went_back(self) -> None:
        """Plan the day anew after somebody set the clock back."""
        self.drop("morning", "close")
        self._plan_day()

    def _plan_day(self) -> None:
        day = hours(new_york_day(self.now_ns))
        if day is None or self.now_ns >= day.close_ns:
            day = next_hours(new_york_day(self.now_ns))
        if self.now_ns < day.early_ns:
            self.plan(day.early_ns, "morning")
        self.plan(day.close_ns, "close")

    def _end_session(self) -> None:
        day = new_york_day(self.now_ns)
        self.ledger.closed(lambda symbol: self.quotes.close(symbol, day) or self.mark(symbol))
        following = next_hours(day)
        self.plan(following.early_ns, "morning")
        self.plan(following.close_ns, "close")

    def _morning(self) -> None:
        """Carry out splits: on positions, and on the orders that lived overnight."""
        today = new_york_day(self.now_ns)
        symbols = sorted({*self.ledger.positions, *(s for s, found in self.open.items() if found)})
        for symbol in symbols:
            for split in self.splits(symbol):
                if split.ex_date == today:
                    self.ledger.split(self.now_ns, symbol, split.new, split.old)
                    for order in list(self.open[symbol].values()):
                        self._restate(order, split)

    def _restate(self, order: Order, split: Split) -> None:
        if order.qty is not None:
            order.qty = order.qty * split.new / split.old
            order.filled_qty = order.filled_qty * split.new / split.old
        for name in ("limit_price", "stop_price"):
            price = getattr(order, name)
            if price is not None:
                price = price * split.old / split.new
                setattr(order, name, price.quantize(tick(price)))
        order.reserve = order.reserve * split.old / split.new
        self.emit(order, "restated")

    # What happens to an order

    def launch(self, order: Order) -> None:
        """Plan the first steps of an order just taken."""
        day = trading_hours(self.now_ns, extended=order.extended_hours)
        start, end = day.window(extended=order.extended_hours)
        self.limit_life(order, end)
        self.emit(order, order.status)
        if order.status == "pending_new":
            self.soon("ack", order, "ack_ms")
        elif order.time_in_force in {"ioc", "fok"}:  # nothing to execute against at once
            self.soon("drop", order, "ack_ms")
        elif order.time_in_force == "opg":
            self.schedule(start - 1, "ack", order)
        else:
            self.schedule(start + self.delay(order, "ack_ms"), "ack", order)

    def limit_life(self, order: Order, session_end: int) -> None:
        """Let an order expire when its time is over."""
        lasts = {"day": session_end, "gtc": self._gtc_end()}.get(order.time_in_force)
        order.expires_ns = lasts
        if lasts is not None:
            self.schedule(lasts, "expire", order)

    def _gtc_end(self) -> int:
        """Return the end of an order good till cancelled: 16:15 after 90 days, by the venue."""
        ninety = new_york_day(self.now_ns + 90 * 86_400 * SECOND)
        day = ninety if hours(ninety) is not None else calendar.next_session(ninety).date
        return at_ns(day, 16, 15)

    def _ack(self, order: Order) -> None:
        if order.status == "pending_cancel":  # the order reaches the market before its cancel
            order.before = "new"
            self.soon("match", order, "fill_delay_ms")
        if order.status not in UNSENT:
            return
        concerned = self.engine.concerns(order.symbol)
        if self.engine.hold_pending and concerned:
            order.parked = True
            return
        unlucky = self.chance(order, "reject") < self.engine.reject_prob
        if concerned and (unlucky or self.engine.reject_next > 0):
            self.engine.reject_next = max(self.engine.reject_next - 1, 0)
            self.finish(order, "rejected", "failed_at")
            return
        self.become(order, "new")
        if order.time_in_force in {"opg", "cls"}:
            self._plan_auction(order)
        else:
            self.soon("match", order, "fill_delay_ms")

    def _plan_auction(self, order: Order) -> None:
        day = trading_hours(self.now_ns, extended=False)
        book = self.quotes.book(order.symbol, day.date)
        is_open = order.time_in_force == "opg"
        print_ = book.opening if is_open else book.closing
        at = print_[0] if print_ else day.open_ns if is_open else day.close_ns
        self.schedule(at, "auction", order)

    def _auction(self, order: Order) -> None:
        if order.status not in WORKING:
            return
        day = new_york_day(self.now_ns)
        book = self.quotes.book(order.symbol, day)
        print_ = book.opening if order.time_in_force == "opg" else book.closing
        price = print_[1] if print_ else self.mark(order.symbol)
        if self.held_up(order) or price is None or not order.allows(price):
            self._drop(order)
        else:
            self.execute(order, order.leaves, price)

    def _match(self, order: Order) -> None:
        if order.status not in WORKING:
            return
        if self.held_up(order):
            order.parked = True
            return
        step = matching.step(order, self.now_ns, self.quotes, self.engine, self.seed)
        if isinstance(step, matching.Wait):
            self.schedule(step.until, "match", order)
        elif isinstance(step, matching.Drop):
            self._drop(order)
        else:
            self.execute(order, step.qty, step.price)
            if order.is_open and order.time_in_force == "ioc":
                self._drop(order)
            elif order.is_open:
                self.soon("match", order, "part_delay_ms", order.parts)

    def halt(self, symbol: str | None, *, halted: bool, code: str, reason: str) -> None:
        """Halt a symbol or the whole market, or let it trade again."""
        now = self.catch_up()
        about = {
            "symbol": symbol, "halted": halted, "code": code, "reason": reason, "at_ns": now,
        }  # fmt: skip
        if halted:
            self.halts[symbol or ""] = about
        elif symbol is None:
            self.halts.clear()
        else:
            self.halts.pop(symbol, None)
        for listener in self.halt_listeners:
            listener(about)
        if not halted:
            self.release()

    def _cancel(self, order: Order) -> None:
        if order.status != "pending_cancel":
            return
        race = self.engine.cancel_race if self.engine.concerns(order.symbol) else ""
        if self.chance(order, "cancel_race") >= self.engine.cancel_race_prob:
            race = ""
        if race == "stuck":
            order.parked = True
        elif race == "reject":
            self.become(order, self._before(order), "order_cancel_rejected")
            self.soon("match", order, "fill_delay_ms")  # it may have been parked meanwhile
        elif race != "fill" or not self.fill_at_once(order):
            self._drop(order)

    @staticmethod
    def _before(order: Order) -> str:
        """Return the status of an order that is neither cancelled nor replaced after all."""
        return "partially_filled" if order.filled_qty else order.before or "new"

    def _drop(self, order: Order) -> None:
        self.finish(order, "canceled", "canceled_at")

    def fill_at_once(self, order: Order) -> bool:
        """Execute what is left of an order at the quote, if it may trade there now."""
        day = trading_hours(self.now_ns, extended=order.extended_hours)
        quote = self.quotes.at(order.symbol, self.now_ns)
        if quote is None or self.now_ns < day.window(extended=order.extended_hours)[0]:
            return False
        price = quote.ask if order.side == "buy" else quote.bid
        if not order.allows(price):
            price = order.cap or price
        if order.notional is not None and order.target is None:
            order.target = (order.notional / price).quantize(Decimal("1e-9"))
        self.execute(order, order.leaves, price)
        return True

    def _expire(self, order: Order) -> None:
        if order.expires_ns == self.now_ns:
            self.finish(order, "expired", "expired_at")

    def _replace(self, order: Order) -> None:
        """Put a replacement in the place of the order that it replaces."""
        old = self.orders[order.replaces or ""]
        race = self.engine.replace_race if self.engine.concerns(order.symbol) else ""
        if old.status == "pending_replace" and race == "fill":
            self.fill_at_once(old)
        qty = (order.qty or Decimal(0)) - old.filled_qty
        if old.status != "pending_replace" or qty <= 0 or race == "reject":
            self.finish(order, "rejected", "failed_at")
            if old.status == "pending_replace":
                self.become(old, self._before(old), "order_replace_rejected")
            else:
                self.emit(old, "order_replace_rejected")
            return
        order.qty = qty
        order.triggered = old.triggered and order.stop_price == old.stop_price
        old.replaced_by = order.id
        self.finish(old, "replaced", "replaced_at")
        self.become(order, "new")
        self.soon("match", order, "fill_delay_ms")
