"""The trading stream's messages: JSON into trade updates.

Source:
    Alpaca's documentation of websocket streaming of trade updates. The paper venue sends binary
    frames that hold JSON; updates without content occur (alpacahq/Alpaca-API issue 110).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from alpaca_strategy.broker.entities import order
from alpaca_strategy.broker.fields import (
    decoded,
    maybe,
    moment,
    shares,
    some_shares,
    some_usd,
    struct,
    text,
    wrong,
)
from alpaca_strategy.broker.rest import DecodeError
from alpaca_strategy.domain.orders import Fill, TradeUpdate, VenueOrder
from alpaca_strategy.domain.streams import Stream, StreamEvent, StreamNonsense

_EXECUTIONS: Final = frozenset({"fill", "partial_fill"})
_MAX_QUOTE: Final = 160


class Reply(msgspec.Struct):
    """What the venue answers to what we asked."""

    stream: str
    data: dict[str, Any] = {}


class _Update(msgspec.Struct):
    event: str
    order: dict[str, Any]
    timestamp: datetime | None = None
    price: Decimal | None = None
    qty: Decimal | None = None
    position_qty: Decimal | None = None
    execution_id: str | None = None


class UpdateMessages:
    """Reads the frames of the trading stream."""

    def read(self, frame: bytes) -> tuple[Sequence[StreamEvent], Sequence[Reply]]:
        """Return what a frame tells, and what in it answers us.

        An update that cannot be read in full is told of as nonsense: what it would have said must
        be asked for.
        """
        try:
            message = decoded(frame, dict[str, Any])
            stream, data = message.get("stream"), message.get("data")
            if stream == "trade_updates":
                return (_update(data),), ()
        except DecodeError as error:
            return (StreamNonsense(Stream.UPDATES, str(error)[:_MAX_QUOTE]),), ()
        if not isinstance(stream, str):
            what = "a message of no stream"
            return (StreamNonsense(Stream.UPDATES, what),), ()
        return (), (Reply(stream, data if isinstance(data, dict) else {}),)


def _update(data: object) -> TradeUpdate:
    """Return a trade update; raises DecodeError."""
    if not isinstance(data, Mapping):
        msg = "an update without content"
        raise DecodeError(msg)
    told = struct(data, _Update)
    event = text(told.event, "event")
    after = order(told.order)
    at = maybe(told.timestamp, "timestamp", moment)
    return TradeUpdate(
        event=event,
        order=after,
        fill=_fill(told, after, at) if event in _EXECUTIONS else None,
        position_qty=maybe(told.position_qty, "position_qty", shares),
        at=at,
    )


def _fill(told: _Update, after: VenueOrder, at: datetime | None) -> Fill:
    """Return the execution of an update; raises DecodeError where it is not whole."""
    if told.qty is None or told.price is None or at is None:
        raise wrong("qty, price or timestamp", None)
    qty = some_shares(told.qty, "qty")
    if after.filled_qty < qty:
        raise wrong("filled_qty", f"{after.filled_qty}, less than qty {qty}")
    return Fill(
        order_id=after.id,
        cum_qty=after.filled_qty,
        symbol=after.symbol,
        side=after.side,
        qty=qty,
        price=some_usd(told.price, "price"),
        at=at,
        execution_id=maybe(told.execution_id, "execution_id", text),
    )
