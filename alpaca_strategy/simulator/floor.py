"""The trading floor: open orders, executions, halts, and the books that follow from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from alpaca_strategy.simulator.agenda import Agenda
from alpaca_strategy.simulator.behaviour import Engine, Standing
from alpaca_strategy.simulator.clock import SimClock
from alpaca_strategy.simulator.orders import (
    ZERO,
    Execution,
    Order,
    chance,
    named_id,
    number,
    stamp,
)
from alpaca_strategy.simulator.portfolio import Figures, Ledger, figures
from alpaca_strategy.simulator.quotes import Quotes

Update = dict[str, Any]
UNSENT = frozenset({"pending_new", "accepted"})
_EVERYTHING = ""  # the key of a halt of the whole market


class Floor(Agenda):
    """What orders and the account are, and how each change of them is told.

    Attributes:
        listeners: Called with each trade update, in order, as it happens.
        halt_listeners: Called with each change of a halt: symbol (None for the whole market),
            halted, code, reason, at_ns.
        engine: Switches of the engine.
        standing: Switches of the account.
        orders: All, by id, oldest first.
        by_client_id: The order of each client order id.
        open: Those that something can still happen to, by symbol and id.
        posts: Every order that was asked for, refused or not.
        halts: What is halted; "" is the whole market.
    """

    def __init__(self, clock: SimClock, quotes: Quotes, seed: int, cash: Decimal) -> None:
        super().__init__(clock)
        self.quotes = quotes
        self.seed = seed
        self.listeners: list[Callable[[Update], None]] = []
        self.halt_listeners: list[Callable[[dict[str, Any]], None]] = []
        self.engine = Engine()
        self.standing = Standing()
        self._life = 0
        self.open_account(cash)

    def open_account(self, cash: Decimal) -> None:
        """Begin with nothing but cash."""
        self.ledger = Ledger(cash)
        self.orders: dict[str, Order] = {}
        self.by_client_id: dict[str, Order] = {}
        self.open: dict[str, dict[str, Order]] = defaultdict(dict)
        self.executions: list[Execution] = []
        self.posts: list[dict[str, Any]] = []
        self.halts: dict[str, dict[str, Any]] = {}
        self.opened_ns = self.now_ns
        self._life += 1
        self.clear()

    def new_id(self, *words: object) -> str:
        """Return an identifier that follows from the seed and from words."""
        return named_id(self.seed, self._life, *words)

    def schedule(self, at_ns: int, kind: str, order: Order) -> None:
        """Let something happen to an order: ack, match, auction, cancel, expire or replace."""
        self.plan(at_ns, kind, order.id)

    def soon(self, kind: str, order: Order, delay: str, *words: object) -> None:
        """Let something happen to an order after one of the engine's delays."""
        self.schedule(self.now_ns + self.delay(order, delay, *words), kind, order)

    def chance(self, order: Order, *words: object) -> float:
        """Return a number from 0 up to 1 that belongs to an order."""
        return chance(self.seed, order.client_order_id, *words)

    def delay(self, order: Order, name: str, *words: object) -> int:
        """Return one of the engine's delays for an order, in nanoseconds."""
        return self.engine.delay(name, self.chance(order, name, *words))

    def admit(self, order: Order) -> None:
        """Take an order into the books and set it on its way."""
        self.orders[order.id] = self.by_client_id[order.client_order_id] = order
        self.open[order.symbol][order.id] = order

    def execute(self, order: Order, qty: Decimal, price: Decimal) -> None:
        """Execute shares of an order."""
        order.filled_qty += qty
        order.value += qty * price
        order.parts += 1
        order.depth += 1
        done = order.leaves <= 0
        held = self.ledger.trade(self.now_ns, order.symbol, order.sign * qty, price)
        if done:
            order.times["filled_at"] = self.now_ns
            self._close(order, "filled")
        elif order.status == "new":
            order.status = "partially_filled"
        event = "fill" if done else "partial_fill"
        execution_id = self.new_id(order.id, "execution", len(order.events))
        self.executions.append(
            Execution(
                execution_id, order.id, order.client_order_id, order.symbol, order.side, qty,
                price, self.now_ns, order.filled_qty, max(order.leaves, ZERO), held, event,
                "filled" if done else "partially_filled",
            )
        )  # fmt: skip
        told = {"price": number(price), "qty": number(qty), "position_qty": number(held)}
        self.emit(order, event, execution_id, **told)

    def become(self, order: Order, status: str, event: str | None = None) -> None:
        """Give an order another status and tell of it."""
        order.status = status
        self.emit(order, event or status)

    def finish(self, order: Order, status: str, moment: str) -> None:
        """End an order's life and tell of it."""
        order.times[moment] = self.now_ns
        self._close(order, status)
        self.emit(order, status)

    def _close(self, order: Order, status: str) -> None:
        order.status = status
        self.open[order.symbol].pop(order.id, None)

    def emit(self, order: Order, event: str, execution_id: str | None = None, **told: Any) -> None:
        """Tell of an order."""
        order.updated_ns = self.now_ns
        happened: Update = {
            "event": event,
            "execution_id": execution_id or self.new_id(order.id, "event", len(order.events)),
            "timestamp": stamp(self.now_ns),
            **told,
        }
        order.events.append({**happened, "at_ns": self.now_ns, "sequence": self.sequence()})
        update = {**happened, "order": order.json()}
        for listener in self.listeners:
            listener(update)

    # Halts and switches

    def held_up(self, order: Order) -> bool:
        """Tell whether an order's symbol is halted, or a switch holds it."""
        halted = order.symbol in self.halts or _EVERYTHING in self.halts
        return halted or (self.engine.hold_new and self.engine.concerns(order.symbol))

    def release(self) -> None:
        """Let parked orders go on, after a halt has ended or a switch has changed."""
        for order in [o for found in self.open.values() for o in found.values() if o.parked]:
            order.parked = False
            kind = "ack" if order.status in UNSENT else "match"
            stuck = order.status == "pending_cancel" and self.engine.cancel_race != "stuck"
            self.schedule(self.now_ns, "cancel" if stuck else kind, order)

    def halt(self, symbol: str | None, *, halted: bool, code: str, reason: str) -> None:
        """Halt a symbol or the whole market, or let it trade again."""
        now = self.catch_up()
        about = {
            "symbol": symbol, "halted": halted, "code": code, "reason": reason, "at_ns": now,
        }  # fmt: skip
        if halted:
            self.halts[symbol or _EVERYTHING] = about
        elif symbol is None:
            self.halts.clear()
        else:
            self.halts.pop(symbol, None)
        for listener in self.halt_listeners:
            listener(about)
        if not halted:
            self.release()

    # The books

    def mark(self, symbol: str) -> Decimal | None:
        """Return the price at which a position is valued."""
        quote = self.quotes.at(symbol, self.now_ns)
        return None if quote is None else quote.mid

    def reserved(self) -> Decimal:
        """Return the money held back for open orders; of a pair being replaced, the larger."""
        total = ZERO
        for found in self.open.values():
            for order in found.values():
                total += order.reserved
                replaced = found.get(order.replaces or "")
                if replaced is not None:
                    total -= min(order.reserved, replaced.reserved)
        return total

    def figures(self) -> Figures:
        """Return what the books amount to now."""
        return figures(self.ledger, self.mark, self.standing.multiplier, self.reserved())

    def buying_power(self) -> Decimal:
        """Return what may be spent: the true amount, unless a switch gives another."""
        if self.standing.buying_power is not None:
            return self.standing.buying_power
        return ZERO if self.standing.margin_deficit > 0 else self.figures().buying_power
