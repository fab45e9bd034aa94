"""Who tells the gate how things stand: everything counted, at this very moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from alpaca_strategy.domain.journal import Intent
from alpaca_strategy.domain.orders import IntentState, Side
from alpaca_strategy.domain.portfolio import Asset
from alpaca_strategy.strategy.exposure import InFlight, LastPrice, holdings
from alpaca_strategy.strategy.limits import Denial
from alpaca_strategy.strategy.risk import Block, GateState, check
from alpaca_strategy.trader.books import Books
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.desk import Desk
from alpaca_strategy.trader.feed import Feed
from alpaca_strategy.trader.holds import Hold, Holds
from alpaca_strategy.trader.plan import Plan

_MINUTE_NS: Final = 60 * SECOND_NS
_NOTHING: Final = Decimal(0)
_NEVER_WERE: Final = frozenset({IntentState.REJECTED, IntentState.ABANDONED})


@dataclass
class Gatekeeper:
    """Judges orders by the limits of the session.

    Attributes:
        assets: What the venue says of the symbols.
        orders_before: Orders that earlier traders sent in this session.
        flattening: Whether sales pass although the switch says kill.
    """

    plan: Plan
    desk: Desk
    books: Books
    feed: Feed
    holds: Holds
    assets: Mapping[str, Asset] = field(default_factory=dict)
    orders_before: int = 0
    flattening: Callable[[], bool] = lambda: False
    _sent: deque[tuple[int, str]] = field(default_factory=deque)

    @property
    def orders_sent(self) -> int:
        """Orders of this session, those of earlier traders included."""
        return self.orders_before + len(self._sent)

    def judge(self, intent: Intent) -> Denial | None:
        """Return why an order must not be sent now, or None where it may."""
        name = intent.ticket.client_order_id
        denial = check(
            intent.ticket,
            reduces=self.books.sellable().get(intent.ticket.symbol, _NOTHING) > 0,
            state=self._state(intent),
            limits=self.plan.limits,
        )
        if denial is not None and denial.latches:
            self.books.halt(denial.sentence)
        if denial is None and all(name != known for _, known in self._sent):
            self._sent.append((self.desk.clock.now_ns(), name))
        return denial

    def _state(self, intent: Intent) -> GateState:
        books, ledger, account = self.books, self.desk.ledger, self.books.account
        name = intent.ticket.client_order_id
        prices = self._prices(intent)
        foreign = books.foreign or {}
        sent = [(at, one) for at, one in self._sent if one != name]
        since = self.desk.clock.now_ns() - _MINUTE_NS
        return GateState(
            market_open=Hold.CLOSED not in self.holds,
            equity=account.equity if account else None,
            last_equity=account.last_equity if account else None,
            buying_power=self._buying_power(name, prices),
            positions=holdings(books.positions, ledger.shares(), foreign, prices),
            held=books.sellable(),
            in_flight=tuple(
                InFlight(
                    one.client_order_id, one.intent.ticket.symbol, one.intent.ticket.side,
                    one.remaining, one.intent.ticket.limit_price or one.intent.price,
                )
                for one in ledger.under_way()
            ),
            # It may be judged once more, or sent once more under its own id.
            spent_ids=frozenset(one.client_order_id for one in ledger.sent()) - {name},
            sent_in_minute=sum(at > since for at, _ in sent),
            sent_in_session=self.orders_before + len(sent),
            objection=account.objection if account else "the account is not known",
            holds=self._blocks(),
            halted=self.feed.halted,
            assets=self.assets,
            prices=prices,
        )  # fmt: skip

    def _blocks(self) -> dict[str, Block]:
        details = self.holds.as_dict()
        if self.flattening():
            details.pop(Hold.KILLED.value, None)
        return {name: Block(why, not Hold(name).stops_everything) for name, why in details.items()}

    def _prices(self, intent: Intent) -> dict[str, LastPrice]:
        """Return prices of everything that is held, under way, or judged."""
        wanted = {intent.ticket.symbol, *self.desk.ledger.shares(), *(self.books.foreign or {})}
        wanted |= {one.intent.ticket.symbol for one in self.desk.ledger.under_way()}
        closes = {intent.ticket.symbol: intent.price}
        return {
            symbol: LastPrice(self.feed.price(symbol), self.feed.age_s(symbol), closes.get(symbol))
            for symbol in wanted
        }

    def _buying_power(self, name: str, prices: Mapping[str, LastPrice]) -> Decimal | None:
        """Return what may be spent: as the venue said, and what was bought and sold since."""
        books = self.books
        if books.account is None or books.asked_at is None:
            return None
        spent = _NOTHING
        for one in self.desk.ledger.sent():
            ticket = one.intent.ticket
            since = one.sent_at is not None and one.sent_at > books.asked_at
            if ticket.side is Side.BUY and since and one.state not in _NEVER_WERE:
                last = prices.get(ticket.symbol)
                price = (last.price if last else None) or one.intent.price or _NOTHING
                spent += (_NOTHING if one.client_order_id == name else ticket.qty) * price
        return books.account.buying_power - spent + books.proceeds
