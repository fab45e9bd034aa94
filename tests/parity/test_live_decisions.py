"""The trader's decisions, filled as a backtest fills them, give the backtest's own executions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
from backtest_worlds import FREE, HALF, Weather, World, make_history, rules, weathers
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_strategy.backtest.engine import simulate
from alpaca_strategy.domain.market import Session
from alpaca_strategy.domain.orders import Side
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.strategy.decide import is_due
from alpaca_strategy.strategy.rules import Rules
from alpaca_strategy.trader.deciding import Situation, Wish, resolve


@dataclass
class Floor:
    """One session, traded minute by minute from what the trader wishes; no costs, no limits."""

    world: World
    session: Session
    cash: float
    shares: dict[str, Decimal] = field(default_factory=dict)
    entered: dict[str, datetime] = field(default_factory=dict)
    exited: dict[str, datetime] = field(default_factory=dict)
    orders: list[Wish] = field(default_factory=list)
    fills: list[tuple[int, str, float, float]] = field(default_factory=list)

    def run(self) -> None:
        history = self.world.history
        minutes = int(history.first_row[1])
        for minute in range(minutes):
            self.execute(minute)
            if not is_due(minute, minutes, self.world.rules):
                continue
            self.orders = [one for one in self.orders if one.side is Side.SELL]
            situation = Situation(
                session=self.session,
                minute=minute,
                symbols=history.symbols,
                closes=history.close[: minute + 1].copy(),
                scores=history.scores[minute],
                expected_bps=history.expected_bps[minute],
                shares=dict(self.shares),
                entered=self.entered,
                exited=self.exited,
                pending={one.symbol: one.side for one in self.orders},
                excluded={},
                equity=Decimal(repr(self.equity(minute))),
            )
            self.orders += resolve(situation, self.world.rules)[1]

    def execute(self, minute: int) -> None:
        left = []
        for order in self.orders:
            price = self.world.history.open[minute, self.world.history.symbols.index(order.symbol)]
            qty = order.qty
            if order.side is Side.BUY and not np.isnan(price):
                affordable = Decimal(repr(float(self.cash / price)))
                step = Decimal(1) if self.world.rules.whole_shares else Decimal("0.000001")
                qty = min(qty, affordable // step * step)
            if np.isnan(price) or qty <= 0:
                left.append(order)
                continue
            self.fill(order, qty, float(price), minute)
            if qty < order.qty:
                rest = order.qty - qty
                left.append(Wish(order.symbol, order.side, rest, order.reason, order.price))
        self.orders = left

    def fill(self, order: Wish, qty: Decimal, price: float, minute: int) -> None:
        at = self.session.opens_at + timedelta(minutes=minute, seconds=30)
        before = self.shares.get(order.symbol, Decimal(0))
        after = before + order.side.sign * qty
        self.cash -= order.side.sign * float(qty) * price
        self.shares[order.symbol] = after
        if before == 0:
            self.entered[order.symbol] = at
        if order.side is Side.SELL:
            self.exited[order.symbol] = at
        self.fills.append((minute, order.symbol, order.side.sign * float(qty), price))

    def equity(self, minute: int) -> float:
        history, value = self.world.history, 0.0
        last = history.last_prices()[minute]
        for i, symbol in enumerate(history.symbols):
            held = self.shares.get(symbol, Decimal(0))
            if held:
                value += float(held) * last[i]
        return float(self.cash + value)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    symbols=st.integers(1, 6),
    weather=weathers,
    cash=st.sampled_from([100_000.0, 1e7, 2_500.0]),
    rules=rules,
)
def test_live_decisions_lead_to_the_backtests_executions(
    seed: int, symbols: int, weather: Weather, cash: float, rules: Rules
) -> None:
    world = World(make_history(seed, [HALF], symbols, weather), rules, FREE, cash)
    session = exchange_calendar().session(date(2026, 11, 27))
    assert session.minutes == HALF
    floor = Floor(world, session, world.cash)
    floor.run()

    run = simulate(world.history, world.rules, world.costs, cash=world.cash)
    wanted = [
        (int(one["row"]), world.history.symbols[one["symbol"]], one["shares"], one["price"])
        for one in run.fills
    ]
    assert [one[:2] for one in floor.fills] == [one[:2] for one in wanted]
    np.testing.assert_allclose(
        np.array([one[2:] for one in floor.fills]).reshape(-1, 2),
        np.array([one[2:] for one in wanted]).reshape(-1, 2),
        rtol=1e-9,
        atol=2e-6,
    )
