"""Traders with a defect of their own, which what stands behind them has to stop.

Each takes the trader's own code and breaks one place of it, before it is put together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from alpaca_strategy.domain.journal import Decision
from alpaca_strategy.domain.orders import Side, Ticket, client_order_id
from alpaca_strategy.strategy.reasons import Reason
from alpaca_strategy.trader import deciding, rounds
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.deciding import Situation, Wish

_resolve = deciding.resolve
_carry_out = rounds.Rounds._carry_out


def _oversized(now: Situation, rules: Any) -> Any:
    """Wish for a thousand times of what was decided to buy."""
    names, wishes = _resolve(now, rules)
    return names, tuple(
        replace(one, qty=one.qty * 1000) if one.side is Side.BUY else one for one in wishes
    )


def _short(now: Situation, rules: Any) -> Any:
    """Wish to sell everything that is not held, and twice of what is."""
    names, wishes = _resolve(now, rules)
    wanted = {one.symbol for one in wishes}
    more = [
        Wish(symbol, Side.SELL, 2 * now.shares.get(symbol, Decimal(0)) + 5, Reason.CLOSE, None)
        for symbol in now.symbols
        if symbol not in wanted
    ]
    return names, (*wishes, *more)


def _flood(times: int) -> Any:
    async def carry_out(self: rounds.Rounds, decision: Decision, wishes: Sequence[Wish]) -> None:
        """Carry out a decision, and then go on buying single shares for ever."""
        await _carry_out(self, decision, wishes)
        if not wishes:
            return
        for attempt in range(1, times + 1):
            symbol = self.plan.symbols[attempt % len(self.plan.symbols)]
            if attempt % len(self.plan.symbols) == 0:  # what was sent is filled by then
                await self.work.until(self.world.clock.now_ns() + SECOND_NS // 10)
            name = client_order_id(
                self.plan.trading.name, decision.session, decision.minute, symbol, Side.BUY,
                attempt=attempt,
            )  # fmt: skip
            price = self.feed.price(symbol)
            wish = Wish(symbol, Side.BUY, Decimal(1), Reason.BUY, price)
            intent = replace(self._intent(decision, wish), ticket=Ticket(
                name, symbol, Side.BUY, Decimal(1)
            ))  # fmt: skip
            await self.work.journal(self.world.journal.record_intents, [intent])
            self.desk.ledger.add_intent(intent)
            await self.desk.carry_out([intent], self.plan.deadline_ns(decision.minute))

    return carry_out


DEFECTS: Final = ("oversized", "short", "flood")


def break_it(defect: str, times: int) -> None:
    """Give this process a defect."""
    if defect == "oversized":
        rounds.resolve = _oversized
    elif defect == "short":
        rounds.resolve = _short
    elif defect == "flood":
        rounds.Rounds._carry_out = _flood(times)  # type: ignore[method-assign]
    else:
        msg = f"there is no defect {defect}"
        raise ValueError(msg)
