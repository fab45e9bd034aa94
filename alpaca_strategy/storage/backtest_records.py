"""What is kept of backtests, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from alpaca_strategy.domain.market import Feed, Venue


class Origin(StrEnum):
    """What set off a backtest."""

    NEW_MODEL = "new_model"  # a model was registered
    BY_HAND = "by_hand"  # a person filled in the form of the DAG
    COMMAND = "command"  # a person ran a command


@dataclass(frozen=True, slots=True)
class BacktestRow:
    """A recorded backtest, without its lineage, which is long.

    Attributes:
        id: ``YYYY-MM-DD-`` and eight hexadecimal digits.
        made_at: When it was made, UTC.
        venue: Whose data it ran over.
        feed: Of the bars.
        models: Ids of those that scored, in the order of their sessions.
        first_session: Of its sessions.
        last_session: Likewise.
        sessions: How many.
        symbols: Which were traded or might have been.
        rules: Of the strategy, by their names in `strategy.rules`.
        costs: By their names in `strategy.costs`.
        cash: At the beginning, in USD.
        in_sample: Whether a model scored sessions that it had learned from.
        origin: What set it off.
        trades: Round trips of the compiled engine.
        agreed: Of those, how many the other engine made too.
        difference: The first difference of the engines in words; None where there is none.
        warnings: Sentences that stand at the top of its report.
        report_uri: Where its report is.
        report_sha256: Hash of the report.
        code_version: Of the program that made it.
        made_by: Who or what did.
        recorded_at: When it was recorded, UTC.
    """

    id: str
    made_at: datetime
    venue: Venue
    feed: Feed
    models: tuple[str, ...]
    first_session: date
    last_session: date
    sessions: int
    symbols: tuple[str, ...]
    rules: Mapping[str, Any]
    costs: Mapping[str, Any]
    cash: float
    in_sample: bool
    origin: Origin
    trades: int
    agreed: int
    difference: str | None
    warnings: tuple[str, ...]
    report_uri: str
    report_sha256: str
    code_version: str
    made_by: str
    recorded_at: datetime

    @property
    def agrees(self) -> bool:
        """Whether the two engines came to the same."""
        return self.difference is None


@dataclass(frozen=True, slots=True)
class BacktestMetric:
    """One figure of a backtest.

    Attributes:
        name: What is measured.
        value: None where there is none.
        low: Lower end of its 95 % interval; None where it has none.
        high: Upper end.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class FoldRow:
    """The sessions of a backtest that one model scored.

    Attributes:
        position: From 1, oldest first.
        model: Its id.
        trained_until: The last session that it learned from.
        first_session: Of its sessions.
        last_session: Likewise.
        sessions: How many.
        trades: Entered in them.
        total_return: A fraction; None where there is none, as for the next two.
        sharpe: Annualised.
        rank_ic: Mean over its decisions.
    """

    position: int
    model: str
    trained_until: date
    first_session: date
    last_session: date
    sessions: int
    trades: int
    total_return: float | None
    sharpe: float | None
    rank_ic: float | None


@dataclass(frozen=True, slots=True)
class TradeRow:
    """One round trip of a backtest.

    Attributes:
        position: From 1, in the order in which they ended.
        symbol: What was traded.
        entered_at: The minute at whose open the first share was bought, UTC.
        exited_at: The minute at whose open the last share was sold, UTC.
        shares: Bought and sold.
        entry_price: Mean by shares, in USD.
        exit_price: Likewise.
        cost: Fees, spread and slippage, in USD.
        profit: After all costs, in USD.
        entry_score: Of the decision behind the first purchase; None where it had none.
        exit_reason: ``close`` or ``flatten``.
    """

    position: int
    symbol: str
    entered_at: datetime
    exited_at: datetime
    shares: float
    entry_price: float
    exit_price: float
    cost: float
    profit: float
    entry_score: float | None
    exit_reason: str
