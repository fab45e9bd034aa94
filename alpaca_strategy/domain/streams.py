"""Words for what the venue's two websockets tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from alpaca_strategy.domain.orders import TradeUpdate


class Stream(StrEnum):
    """The venue's websockets."""

    DATA = "data"
    UPDATES = "updates"


@dataclass(frozen=True, slots=True)
class StreamReady:
    """A stream is connected, its keys are accepted and its subscription is acknowledged.

    Whatever happened while it was not must be asked for.
    """

    stream: Stream


@dataclass(frozen=True, slots=True)
class StreamLost:
    """A stream is gone; it is tried again unless that is pointless.

    Attributes:
        stream: Which.
        reason: In one sentence.
        final: It is not tried again: a person must act.
    """

    stream: Stream
    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class StreamNonsense:
    """Something came that could not be read; the stream goes on, but something may be missed."""

    stream: Stream
    what: str


@dataclass(frozen=True, slots=True)
class HaltNotice:
    """The exchange halts a symbol, or trades it again.

    Attributes:
        symbol: The symbol.
        halted: Trading is halted.
        market_wide: The halt is of the whole market.
        why: The exchange's words.
    """

    symbol: str
    halted: bool
    market_wide: bool
    why: str


@dataclass(frozen=True, slots=True)
class MarketFrame:
    """What frames of the data stream say that came together.

    Attributes:
        trades: In the order of arrival, as `market.live_tape` takes them.
        corrections: Of earlier trades, likewise.
        cancels: Of earlier trades, likewise.
        halts: Trading status changes.
    """

    trades: Sequence[Any] = ()
    corrections: Sequence[Any] = ()
    cancels: Sequence[Any] = ()
    halts: Sequence[HaltNotice] = ()


StreamEvent: TypeAlias = StreamReady | StreamLost | StreamNonsense | MarketFrame | TradeUpdate
Listener: TypeAlias = Callable[[StreamEvent], None]
