"""What each of the two streams speaks: how one introduces oneself, and what refusals mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from alpaca_strategy.broker.stream_connection import Talk
from alpaca_strategy.broker.stream_messages import (
    Answer,
    DataMessages,
    Refusal,
    Subscription,
    Success,
)
from alpaca_strategy.broker.stream_socket import Ailment, LostError
from alpaca_strategy.broker.update_messages import Reply, UpdateMessages
from alpaca_strategy.domain.streams import Stream, StreamEvent, StreamNonsense

Keys = tuple[str, str]

_UPDATES: Final = "trade_updates"
_MAX_QUOTE: Final = 120
_SAYS: Final[dict[int, tuple[str, Ailment]]] = {
    400: ("the venue does not understand the subscription; a symbol may be wrong", Ailment.REFUSED),
    401: ("the venue says that we are not authenticated", Ailment.REFUSED),
    402: ("the venue refuses the keys", Ailment.REFUSED),
    404: ("the venue says that we authenticated too late", Ailment.PASSING),
    405: ("the account may not follow so many symbols", Ailment.REFUSED),
    406: ("the account's connections are all taken", Ailment.BUSY),
    407: ("the venue says that we read too slowly", Ailment.PASSING),
    409: ("the account's subscription does not include this feed", Ailment.REFUSED),
    410: ("the feed does not have what we asked for", Ailment.REFUSED),
}
#: After the greeting: what ends a connection. Others are told, and the stream goes on.
_ENDS: Final = frozenset({402, 404, 406, 407, 409})


class DataDialogue:
    """The market-data stream: welcome, authentication, one subscription, its acknowledgement."""

    stream = Stream.DATA

    def __init__(
        self, url: str, keys: Keys, symbols: Sequence[str], channels: Sequence[str], *, packed: bool
    ) -> None:
        self.url = url
        kind = "application/msgpack" if packed else "application/json"
        self.headers: Mapping[str, str] = {"Content-Type": kind}
        self._keys = keys
        self._symbols = tuple(symbols)
        self._channels = tuple(channels)
        self._packed = packed
        self._messages = DataMessages()

    @property
    def unknown(self) -> Counter[str]:
        """How many messages came of each kind that we do not know."""
        return self._messages.unknown

    def read(self, frame: bytes) -> tuple[Sequence[StreamEvent], Sequence[Answer]]:
        """Return what a frame tells, and what in it answers us."""
        return self._messages.read(frame)

    def held(self) -> Sequence[StreamEvent]:
        """Return what was read and not told yet."""
        return self._messages.held()

    async def greet(self, talk: Talk[Answer]) -> None:
        """Authenticate and subscribe.

        Raises:
            LostError: The venue refuses, or grants less than we asked for.
        """
        await self._success(talk, "connected", "a welcome")
        key, secret = self._keys
        await talk.send(self._encoded({"action": "auth", "key": key, "secret": secret}))
        await self._success(talk, "authenticated", "an answer to our keys")
        wanted = dict.fromkeys(self._channels, self._symbols)
        await talk.send(self._encoded({**wanted, "action": "subscribe"}))
        granted = await talk.answer()
        if not isinstance(granted, Subscription):
            raise self._refused(granted, "an acknowledgement of our subscription")
        self._check(granted)

    def heed(self, answer: Answer) -> Sequence[StreamEvent]:
        """Return what an answer means that nobody asked for.

        Raises:
            LostError: It is the end.
        """
        if isinstance(answer, Subscription):
            self._check(answer)
        elif isinstance(answer, Refusal):
            error = self._refused(answer, "")
            if answer.code in _ENDS:
                raise error
            return (StreamNonsense(Stream.DATA, str(error)),)
        return ()

    def _check(self, granted: Subscription) -> None:
        for channel in self._channels:
            lacking = granted.lacks(channel, self._symbols)
            if lacking:
                few = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
                msg = (
                    f"the venue granted {channel} of {len(self._symbols) - len(lacking)} of "
                    f"{len(self._symbols)} symbols, without {few}"
                )
                raise LostError(msg, Ailment.REFUSED)

    async def _success(self, talk: Talk[Answer], word: str, due: str) -> None:
        answer = await talk.answer()
        if not isinstance(answer, Success) or answer.msg != word:
            raise self._refused(answer, due)

    def _refused(self, answer: Answer, due: str) -> LostError:
        if not isinstance(answer, Refusal):
            return LostError(f"the venue sent something else where {due} was due")
        sentence, ailment = _SAYS.get(answer.code, ("the venue tells an error", Ailment.PASSING))
        words = hidden(answer.msg, self._keys)
        return LostError(f"{sentence} ({f'{answer.code} {words}'.strip()})", ailment)

    def _encoded(self, content: Mapping[str, Any]) -> bytes | str:
        if self._packed:
            return msgspec.msgpack.encode(content)
        return msgspec.json.encode(content).decode()


class UpdatesDialogue:
    """The trading stream: authentication, listening, its acknowledgement. There is no welcome."""

    stream = Stream.UPDATES
    headers: Mapping[str, str] = {}

    def __init__(self, url: str, keys: Keys) -> None:
        self.url = url
        self._keys = keys
        self._messages = UpdateMessages()

    def read(self, frame: bytes) -> tuple[Sequence[StreamEvent], Sequence[Reply]]:
        """Return what a frame tells, and what in it answers us."""
        return self._messages.read(frame)

    def held(self) -> Sequence[StreamEvent]:
        """Return nothing: every update is told at once."""
        return ()

    async def greet(self, talk: Talk[Reply]) -> None:
        """Authenticate and listen.

        Raises:
            LostError: The venue refuses.
        """
        key, secret = self._keys
        await self._say(talk, "authenticate", {"key_id": key, "secret_key": secret})
        answer = await talk.answer()
        if answer.stream != "authorization" or answer.data.get("status") != "authorized":
            raise self._refused(answer)
        await self._say(talk, "listen", {"streams": [_UPDATES]})
        answer = await talk.answer()
        streams = answer.data.get("streams")
        if answer.stream != "listening" or not isinstance(streams, list):
            raise self._refused(answer)
        if _UPDATES not in streams:
            msg = "the venue does not let us listen to trade updates"
            raise LostError(msg, Ailment.REFUSED)

    def heed(self, answer: Reply) -> Sequence[StreamEvent]:
        """Return what an answer means that nobody asked for.

        Raises:
            LostError: It is the end.
        """
        if answer.stream == "authorization" and answer.data.get("status") != "authorized":
            raise self._refused(answer)
        if answer.stream == "listening" and _UPDATES not in (answer.data.get("streams") or ()):
            msg = "the venue does not let us listen to trade updates any more"
            raise LostError(msg)
        if answer.stream in {"authorization", "listening"}:
            return ()
        words = hidden(f"{answer.stream} {answer.data}", self._keys)
        return (StreamNonsense(Stream.UPDATES, f"the venue says: {words}"),)

    def _refused(self, answer: Reply) -> LostError:
        if answer.stream == "authorization" and answer.data.get("status") == "unauthorized":
            return LostError("the venue refuses the keys", Ailment.REFUSED)
        words = hidden(f"{answer.stream} {answer.data}", self._keys)
        return LostError(f"the venue answers our introduction with: {words}")

    @staticmethod
    async def _say(talk: Talk[Reply], action: str, data: Mapping[str, Any]) -> None:
        await talk.send(msgspec.json.encode({"action": action, "data": data}).decode())


def hidden(words: str, keys: Keys) -> str:
    """Return what the venue says, short, printable, and without our keys."""
    for key in keys:
        if key:
            words = words.replace(key, "…")
    return "".join(c for c in words if c.isprintable())[:_MAX_QUOTE]
