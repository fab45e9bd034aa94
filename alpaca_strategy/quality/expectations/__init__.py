"""Every expectation, as data, by suite."""

from __future__ import annotations

from alpaca_strategy.quality.expectations import bars, session, symbols, trades
from alpaca_strategy.quality.rules import Rule

#: In the order in which a report shows them.
SUITES: dict[str, tuple[Rule, ...]] = {
    "session": session.RULES,
    "symbols": symbols.RULES,
    "trades": trades.RULES,
    "bars": bars.RULES,
}
