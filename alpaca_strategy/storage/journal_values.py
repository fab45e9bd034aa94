"""The journal's words into values of schema ``trading``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import numpy as np

from alpaca_strategy.domain.journal import (
    Adjustment,
    Decision,
    Heartbeat,
    Intent,
    Reconciliation,
    StateChange,
    TraderRun,
)
from alpaca_strategy.domain.orders import Fill

#: Longer texts are cut: a venue may say anything, and a journal is no place for pages.
_LONGEST: Final = 2_000
_QUICK: Final = (str, int, float, Decimal, datetime)  # the slow question is asked of others


def run_values(run: TraderRun) -> dict[str, Any]:
    """Return a row of ``trading.run``."""
    return {
        "id": run.id,
        "mode": run.mode,
        "session": run.session,
        "model_id": run.model_id,
        "code_version": run.code_version,
        "config_hash": run.config_hash,
        "host": run.host,
        "pid": run.pid,
        "started_at": aware(run.started_at),
    }


def decision_values(decision: Decision) -> dict[str, Any]:
    """Return a row of ``trading.decision``, and those of its names as one document."""
    return {
        "session": decision.session,
        "minute": decision.minute,
        "due_at": aware(decision.due_at),
        "decided_at": aware(decision.decided_at),
        "watermark": aware(decision.watermark) if decision.watermark else None,
        "input_hash": decision.input_hash,
        "model_id": decision.model_id,
        "equity": decision.equity,
        "skipped": None if decision.skipped is None else clean(decision.skipped),
        "names": document(
            [
                {
                    "position": position,
                    "symbol": name.symbol,
                    "reason": name.reason,
                    "score": number(name.score),
                    "expected_bps": number(name.expected_bps),
                    "close": number(name.close),
                    "shares": name.shares,
                    "denial": name.denial,
                }
                for position, name in enumerate(decision.names, 1)
            ]
        ),
    }


def intents_document(intents: Sequence[Intent]) -> str:
    """Return rows of ``trading.intent``."""
    return document(
        [
            {
                "client_order_id": intent.ticket.client_order_id,
                "session": intent.session,
                "minute": intent.minute,
                "symbol": intent.ticket.symbol,
                "side": intent.ticket.side,
                "qty": intent.ticket.qty,
                "type": intent.ticket.type,
                "limit_price": intent.ticket.limit_price,
                "time_in_force": intent.ticket.time_in_force,
                "reason": intent.reason,
                "price": intent.price,
                "created_at": intent.created_at,
            }
            for intent in intents
        ]
    )


def steps_document(changes: Sequence[StateChange]) -> str:
    """Return rows of ``trading.intent_step``."""
    return document(
        [
            {
                "n": n,
                "client_order_id": change.client_order_id,
                "state": change.state,
                "at": change.at,
                "order_id": change.order_id,
                "status": change.status,
                "filled_qty": change.filled_qty,
                "filled_avg_price": change.filled_avg_price,
                "detail": change.detail,
            }
            for n, change in enumerate(changes)
        ]
    )


def fills_document(fills: Sequence[Fill]) -> str:
    """Return rows of ``trading.fill``."""
    return document(
        [
            {
                "n": n,
                "order_id": fill.order_id,
                "cum_qty": fill.cum_qty,
                "symbol": fill.symbol,
                "side": fill.side,
                "qty": fill.qty,
                "price": fill.price,
                "at": fill.at,
                "execution_id": fill.execution_id,
            }
            for n, fill in enumerate(fills)
        ]
    )


def adjustments_document(adjustments: Sequence[Adjustment]) -> str:
    """Return rows of ``trading.adjustment``."""
    return document(
        [
            {"symbol": one.symbol, "qty": one.qty, "reason": one.reason[:500], "at": one.at}
            for one in adjustments
        ]
    )


def reconciliation_values(reconciliation: Reconciliation) -> dict[str, Any]:
    """Return a row of ``trading.reconciliation``."""
    return {
        "at": aware(reconciliation.at),
        "cause": reconciliation.cause,
        "differences": [clean(one) for one in reconciliation.differences],
        "positions": document(reconciliation.positions),
        "foreign_shares": document(reconciliation.foreign),
    }


def heartbeat_values(heartbeat: Heartbeat) -> dict[str, Any]:
    """Return a row of ``trading.heartbeat``."""
    last = heartbeat.last_data_at
    return {
        "run_id": heartbeat.run_id,
        "at": aware(heartbeat.at),
        "venue_at": aware(heartbeat.venue_at),
        "phase": heartbeat.phase,
        "holds": document(heartbeat.holds),
        "minute": heartbeat.minute,
        "last_data_at": aware(last) if last else None,
        "detail": document(heartbeat.detail),
    }


def document(content: object) -> str:
    """Return anything as JSON that Postgres takes; what is no number in it becomes null."""
    return json.dumps(plain(content), allow_nan=False)


def plain(value: object) -> object:
    """Return a value in types of JSON; decimals as their exact text, times in UTC."""
    if isinstance(value, _QUICK):
        return _scalar(value)
    if isinstance(value, Mapping):
        return {str(_scalar(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return _scalar(value)


def _scalar(value: object) -> object:
    if type(value) is str:
        return clean(value)
    if value is None or (isinstance(value, int) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return aware(value).isoformat()
    if isinstance(value, Enum):
        return _scalar(value.value)
    return int(value) if isinstance(value, np.integer) else clean(str(value))


def number(value: float | None) -> str | None:
    """Return a float as its shortest exact text; NaN as well, which the tables refuse by name."""
    return None if value is None else repr(float(value))


def clean(said: str) -> str:
    """Return a text that Postgres takes, whatever came over the wire."""
    if said.isascii() and "\0" not in said:
        return said[:_LONGEST]
    return said[:_LONGEST].encode("utf-8", "replace").decode().replace("\0", "�")


def aware(moment: datetime) -> datetime:
    """Return a time in UTC.

    Raises:
        ValueError: It has no zone, so nobody knows when it is.
    """
    if moment.tzinfo is None:
        msg = f"{moment.isoformat()} has no time zone; every time in the journal needs one."
        raise ValueError(msg)
    return moment.astimezone(UTC)
