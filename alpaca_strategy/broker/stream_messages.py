"""The market-data stream's messages: frames of MessagePack or JSON into typed words.

A frame is an array. Nearly all hold trades and nothing else, and are decoded in one go. Where that
fails, each item is decoded alone: what is of an unknown kind is counted and passed over, what
cannot be read is told of, and the rest of the frame is good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from alpaca_strategy.broker.trading_status import Halts, TradingStatus
from alpaca_strategy.domain.streams import (
    HaltNotice,
    MarketFrame,
    Stream,
    StreamEvent,
    StreamNonsense,
)
from alpaca_strategy.market.stream_trades import StreamTrade, TradeCancel, TradeCorrection

_MAX_QUOTE: Final = 160
_MAX_KINDS: Final = 100  # of unknown messages that are counted apart


class Success(msgspec.Struct, tag_field="T", tag="success"):
    """What was asked for is done."""

    msg: str


class Refusal(msgspec.Struct, tag_field="T", tag="error"):
    """What was asked for is refused, or something is wrong."""

    code: int
    msg: str = ""


class Subscription(msgspec.Struct, tag_field="T", tag="subscription", rename="camel"):
    """Everything that is subscribed to now."""

    trades: list[str] = []
    quotes: list[str] = []
    bars: list[str] = []
    updated_bars: list[str] = []
    daily_bars: list[str] = []
    statuses: list[str] = []
    lulds: list[str] = []
    corrections: list[str] = []
    cancel_errors: list[str] = []

    def lacks(self, channel: str, symbols: Sequence[str]) -> list[str]:
        """Return which of the symbols a channel does not have."""
        has = set(getattr(self, channel))
        return [] if "*" in has else [symbol for symbol in symbols if symbol not in has]


class _Quote(msgspec.Struct, tag_field="T", tag="q"):
    pass


class _Bar(msgspec.Struct, tag_field="T", tag="b"):
    pass


class _UpdatedBar(msgspec.Struct, tag_field="T", tag="u"):
    pass


class _DailyBar(msgspec.Struct, tag_field="T", tag="d"):
    pass


class _Bands(msgspec.Struct, tag_field="T", tag="l"):
    pass


class _Imbalance(msgspec.Struct, tag_field="T", tag="i"):
    pass


class _Any(msgspec.Struct):
    T: str


Answer: TypeAlias = Success | Refusal | Subscription
_ANSWERS: Final = (Success, Refusal, Subscription)
_Passed: TypeAlias = _Quote | _Bar | _UpdatedBar | _DailyBar | _Bands | _Imbalance
_Message: TypeAlias = StreamTrade | TradeCorrection | TradeCancel | TradingStatus | Answer | _Passed
_KNOWN: Final = frozenset("tcxsqbudli") | {"success", "error", "subscription"}
_ONLY_TRADES: Final = frozenset({StreamTrade})
_NOTHING: Final[tuple[tuple[()], tuple[()]]] = ((), ())
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)


class _Codec:
    """One of the two encodings."""

    def __init__(self, module: Any) -> None:
        self.frame = module.Decoder(list[_Message]).decode
        self.items = module.Decoder(list[msgspec.Raw]).decode
        self.item = module.Decoder(_Message).decode
        self.kind = module.Decoder(_Any).decode


_PACKED: Final = _Codec(msgspec.msgpack)
_JSON: Final = _Codec(msgspec.json)


class DataMessages:
    """Reads the frames of the data stream.

    Trades are held until something else comes, or until they are asked for: whoever listens gets
    those of many small frames together.

    Attributes:
        unknown: How many messages came of each kind that we do not know.
    """

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        self._halts = Halts()
        self._trades: list[StreamTrade] = []

    def held(self) -> Sequence[StreamEvent]:
        """Return what is held, and hold nothing any more."""
        if not self._trades:
            return ()
        trades, self._trades = self._trades, []
        return (MarketFrame(trades=trades),)

    def read(self, frame: bytes) -> tuple[Sequence[StreamEvent], Sequence[Answer]]:
        """Return what a frame tells, and what in it answers us; frames of trades are held.

        Nothing is told before what came before it.
        """
        # No MessagePack array begins with these bytes; the encoding is the venue's choice.
        codec = _JSON if frame[:1] in {b"[", b"{"} else _PACKED
        nonsense: list[StreamEvent] = []
        try:
            items = codec.frame(frame)
        except _UNREADABLE:
            items = self._one_by_one(frame, codec, nonsense)
        if items and not nonsense and _ONLY_TRADES.issuperset(map(type, items)):
            self._trades += items
            return _NOTHING
        answers = [item for item in items if isinstance(item, _ANSWERS)]
        halts = self._read_halts(items, nonsense)
        told = MarketFrame(
            trades=[item for item in items if type(item) is StreamTrade],
            corrections=[item for item in items if type(item) is TradeCorrection],
            cancels=[item for item in items if type(item) is TradeCancel],
            halts=halts,
        )
        events = list(self.held())
        if told.trades or told.corrections or told.cancels or told.halts:
            events.append(told)
        return [*events, *nonsense], answers

    def _read_halts(self, items: Sequence[Any], nonsense: list[StreamEvent]) -> list[HaltNotice]:
        halts: list[HaltNotice] = []
        for item in items:
            if type(item) is TradingStatus:
                found = self._halts.read(item)
                if found is None:
                    nonsense.append(_nonsense(f"an unknown trading status: {item.why}"))
                halts += found or []
        return halts

    def _one_by_one(self, frame: bytes, codec: _Codec, nonsense: list[StreamEvent]) -> list[Any]:
        """Return what can be read of a frame, and note what cannot."""
        try:
            pieces = codec.items(frame)
        except _UNREADABLE as error:
            nonsense.append(_nonsense(f"a frame of {len(frame)} bytes that is no array ({error})"))
            return []
        items, wrong, why = [], 0, ""
        for piece in pieces:
            try:
                items.append(codec.item(piece))
            except _UNREADABLE as error:
                kind = _kind(piece, codec)
                if kind is None or kind in _KNOWN:
                    wrong, why = wrong + 1, f"{kind}: {error}"
                else:
                    self._count(kind)
        if wrong:
            text = f"{wrong} of {len(pieces)} messages of a frame (the last of kind {why})"
            nonsense.append(_nonsense(text))
        return items

    def _count(self, kind: str) -> None:
        known = kind in self.unknown or len(self.unknown) < _MAX_KINDS
        self.unknown[kind if known else "others"] += 1


def _kind(piece: msgspec.Raw, codec: _Codec) -> str | None:
    try:
        kind: str = codec.kind(piece).T[:_MAX_QUOTE]
    except _UNREADABLE:
        return None
    return kind


def _nonsense(what: str) -> StreamNonsense:
    return StreamNonsense(Stream.DATA, what[:_MAX_QUOTE])
