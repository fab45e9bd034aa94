"""Rows of schema ``trading`` into the journal's words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from alpaca_strategy.domain.journal import (
    Decision,
    Intent,
    KnownIntent,
    NameDecision,
    StateChange,
    Switch,
    SwitchKind,
)
from alpaca_strategy.domain.orders import Fill, IntentState, OrderType, Side, Ticket, TimeInForce


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def switch_of(row: Row[Any]) -> Switch:
    """Return a turn of the switch."""
    return Switch(
        kind=SwitchKind(row.kind),
        flatten=row.flatten,
        reason=row.reason,
        by=row.turned_by,
        at=row.turned_at.astimezone(UTC),
        position=row.position,
    )


def intent_of(row: Row[Any]) -> Intent:
    """Return an intent."""
    return Intent(
        ticket=Ticket(
            client_order_id=row.client_order_id,
            symbol=row.symbol,
            side=Side(row.side),
            qty=row.qty,
            type=OrderType(row.type),
            limit_price=row.limit_price,
            time_in_force=TimeInForce(row.time_in_force),
        ),
        session=row.session,
        minute=row.minute,
        reason=row.reason,
        price=row.price,
        created_at=row.created_at.astimezone(UTC),
    )


def known_intent_of(row: Row[Any]) -> KnownIntent:
    """Return an intent with what is known of it; without a step it is pending."""
    intent = intent_of(row)
    if row.state is None:
        name, at = row.client_order_id, intent.created_at
        return KnownIntent(intent, StateChange(name, IntentState.PENDING, at))
    return KnownIntent(
        intent,
        StateChange(
            client_order_id=row.client_order_id,
            state=IntentState(row.state),
            at=row.at.astimezone(UTC),
            order_id=row.order_id,
            status=row.status,
            filled_qty=row.filled,
            filled_avg_price=row.mean_price,
            detail=row.detail,
        ),
    )


def fill_of(row: Row[Any]) -> Fill:
    """Return an execution."""
    return Fill(
        order_id=row.order_id,
        cum_qty=row.cum_qty,
        symbol=row.symbol,
        side=Side(row.side),
        qty=row.qty,
        price=row.price,
        at=row.at.astimezone(UTC),
        execution_id=row.execution_id,
    )


def name_of(row: Row[Any]) -> NameDecision:
    """Return what a decision did with a name."""
    return NameDecision(
        symbol=row.symbol,
        reason=row.reason,
        score=row.score,
        expected_bps=row.expected_bps,
        close=None if row.close is None else float(row.close),
        shares=row.shares,
        denial=row.denial,
    )


def decision_of(row: Row[Any], names: Sequence[NameDecision]) -> Decision:
    """Return a decision."""
    return Decision(
        session=row.session,
        minute=row.minute,
        due_at=row.due_at.astimezone(UTC),
        decided_at=row.decided_at.astimezone(UTC),
        watermark=_utc(row.watermark),
        input_hash=row.input_hash,
        model_id=row.model_id,
        equity=row.equity,
        names=tuple(names),
        skipped=row.skipped,
    )
