"""What the websockets send, as bytes: MessagePack or JSON items, messages, websocket frames.

Trades are laid out many at once, a row of bytes each, as `encode` does for pages; everything else
is rare and encoded one by one. Integers of trades have fixed widths, as the venue's own encoder
writes them; times are MessagePack timestamps (extension -1).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpaca_strategy.simulator import encode
from alpaca_strategy.simulator.tape import Bytes, Codes, Floats, Ints, Tape

Matrix = npt.NDArray[np.uint8]
Part = tuple[Matrix, npt.NDArray[np.bool_] | None]
_SECOND = 1_000_000_000
_TEXT, _BINARY = 1, 2


class Moment:
    """A time in nanoseconds since 1970 UTC, told as each encoding tells times."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        self.ns = int(ns)


def extension(ns: int) -> msgspec.msgpack.Ext:
    """Return a time as a MessagePack timestamp, in four bytes if they suffice."""
    seconds, rest = divmod(ns, _SECOND)
    if rest == 0 and 0 <= seconds < 1 << 32:
        return msgspec.msgpack.Ext(-1, struct.pack(">I", seconds))
    return msgspec.msgpack.Ext(-1, struct.pack(">Q", rest << 34 | seconds))


def _for_msgpack(value: object) -> msgspec.msgpack.Ext:
    if isinstance(value, Moment):
        return extension(value.ns)
    raise NotImplementedError


def _for_json(value: object) -> str:
    if isinstance(value, Moment):
        return encode.timestamp(value.ns)
    raise NotImplementedError


_MSGPACK = msgspec.msgpack.Encoder(enc_hook=_for_msgpack)
_JSON = msgspec.json.Encoder(enc_hook=_for_json)


@dataclass(frozen=True, slots=True)
class Columns:
    """Trades of several symbols, in the order in which they are told.

    Attributes:
        symbol: Index into `symbols`.
        symbols: Their names.
        plans: The plan of each symbol: A, B or C.
        condition: Index into `conditions`.
        conditions: The condition lists that occur.
        ts: Times to print.
    """

    symbol: Ints
    symbols: Sequence[str]
    plans: Sequence[str]
    ts: Ints
    price: Floats
    size: Ints
    exchange: Bytes
    condition: Codes
    conditions: Sequence[tuple[str, ...]]
    trade_id: Ints

    def row(self, n: int) -> dict[str, Any]:
        """Return one trade as an object."""
        which = int(self.symbol[n])
        return {
            "T": "t",
            "S": self.symbols[which],
            "i": int(self.trade_id[n]),
            "x": chr(self.exchange[n]),
            "p": float(self.price[n]),
            "s": int(self.size[n]),
            "c": list(self.conditions[self.condition[n]]),
            "t": Moment(int(self.ts[n])),
            "z": self.plans[which],
        }


class Codec:
    """One of the two encodings of the market-data stream.

    Args:
        binary: MessagePack; otherwise JSON as text.
    """

    def __init__(self, *, binary: bool) -> None:
        self.binary = binary
        self.opcode = _BINARY if binary else _TEXT

    def item(self, content: object) -> bytes:
        """Return one object."""
        return _MSGPACK.encode(content) if self.binary else _JSON.encode(content)

    def message(self, items: Sequence[bytes]) -> bytes:
        """Return an array of encoded objects."""
        if not self.binary:
            return b"[" + b",".join(items) + b"]"
        count = len(items)
        head = bytes((0x90 | count,)) if count < 16 else struct.pack(">BH", 0xDC, count)
        return head + b"".join(items)

    def prepend(self, item: bytes, message: bytes) -> bytes:
        """Return an array with one more encoded object at its beginning."""
        if not self.binary:
            return b"[" + item + b"," + message[1:]
        short = message[0] != 0xDC
        count = message[0] & 0x0F if short else int.from_bytes(message[1:3], "big")
        return struct.pack(">BH", 0xDC, count + 1) + item + message[1 if short else 3 :]

    def decode(self, raw: str | bytes) -> Any:
        """Return what a client sent.

        Raises:
            msgspec.DecodeError: It cannot be read.
        """
        if isinstance(raw, bytes) and self.binary:
            return msgspec.msgpack.decode(raw)
        return msgspec.json.decode(raw)

    def trades(self, columns: Columns) -> list[bytes]:
        """Return trades, each an encoded object."""
        if not len(columns.ts):
            return []
        return _packed(columns) if self.binary else _as_text(columns)


MSGPACK, JSON = Codec(binary=True), Codec(binary=False)


def frame(payload: bytes, opcode: int, *, last: bool = True) -> bytes:
    """Return a websocket frame as a server sends it: without a mask, not compressed.

    Source: RFC 6455, 5.2; RFC 7692, 6 lets single messages go uncompressed.
    """
    first, length = (0x80 if last else 0) | opcode, len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 1 << 16:
        return struct.pack(">BBH", first, 126, length) + payload
    return struct.pack(">BBQ", first, 127, length) + payload


def fragments(payload: bytes, opcode: int, size: int) -> bytes:
    """Return one message as several frames of at most `size` bytes of payload."""
    cuts = list(range(0, len(payload), size)) or [0]
    parts = []
    for at in cuts:
        code = opcode if at == 0 else 0
        parts.append(frame(payload[at : at + size], code, last=at == cuts[-1]))
    return b"".join(parts)


def framed(payload: bytes, opcode: int, piece: int | None) -> bytes:
    """Return a message as one frame, or in fragments of a size."""
    return frame(payload, opcode) if piece is None else fragments(payload, opcode, piece)


def _weave(parts: list[Part], rows: int) -> tuple[bytes, list[int]]:
    """Return rows of bytes one after another without the places that are masked, and their ends."""
    width = sum(part.shape[1] for part, _ in parts)
    matrix, mask = np.empty((rows, width), np.uint8), np.ones((rows, width), bool)
    at = 0
    for part, shown in parts:
        matrix[:, at : at + part.shape[1]] = part
        if shown is not None:
            mask[:, at : at + part.shape[1]] = shown
        at += part.shape[1]
    ends = np.cumsum(mask.sum(axis=1, dtype=np.int64))
    return matrix[mask].tobytes(), [0, *ends.tolist()]


def _choice(texts: list[bytes], index: npt.NDArray[np.integer]) -> Part:
    """Return one of a few texts a row, by index."""
    width = max(len(text) for text in texts)
    table, shown = np.zeros((len(texts), width), np.uint8), np.zeros((len(texts), width), bool)
    for n, text in enumerate(texts):
        table[n, : len(text)] = np.frombuffer(text, np.uint8)
        shown[n, : len(text)] = True
    short = any(len(text) < width for text in texts)
    return table[index], shown[index] if short else None


def _constant(text: bytes, rows: int) -> Part:
    raw = np.frombuffer(text, np.uint8)
    return np.broadcast_to(raw, (rows, len(raw))), None


def _wide(values: npt.NDArray[Any], kind: str, rows: int) -> Part:
    """Return numbers as their big-endian bytes."""
    return np.ascontiguousarray(values, kind).view(np.uint8).reshape(rows, -1), None


def _text(text: str) -> bytes:
    return msgspec.msgpack.encode(text)


def _packed(columns: Columns) -> list[bytes]:
    """Return trades as MessagePack maps of nine."""
    rows = len(columns.ts)
    seconds, rest = np.divmod(columns.ts, _SECOND)
    heads = [b"\x89\xa1T\xa1t\xa1S" + _text(name) + b"\xa1i\xcf" for name in columns.symbols]
    marks = [
        b"\xa1c" + msgspec.msgpack.encode(list(m)) + b"\xa1t\xd7\xff" for m in columns.conditions
    ]
    tails = [b"\xa1z" + _text(plan) for plan in columns.plans]
    body, ends = _weave(
        [
            _choice(heads, columns.symbol),
            _wide(columns.trade_id, ">u8", rows),
            _constant(b"\xa1x\xa1", rows),
            (columns.exchange[:, None], None),
            _constant(b"\xa1p\xcb", rows),
            _wide(columns.price, ">f8", rows),
            _constant(b"\xa1s\xce", rows),
            _wide(np.clip(columns.size, 0, 2**32 - 1), ">u4", rows),
            _choice(marks, columns.condition),
            _wide(rest << 34 | seconds, ">u8", rows),
            _choice(tails, columns.symbol),
        ],
        rows,
    )
    return [body[a:b] for a, b in pairwise(ends)]


def _as_text(columns: Columns) -> list[bytes]:
    """Return trades as JSON objects; what pages print of them, and whose they are."""
    result: list[bytes] = [b""] * len(columns.ts)
    for which in np.unique(columns.symbol).tolist():
        rows = np.flatnonzero(columns.symbol == which)
        tape = Tape(
            ts=columns.ts[rows],
            price=columns.price[rows],
            size=columns.size[rows],
            exchange=columns.exchange[rows],
            condition=columns.condition[rows],
            trade_id=columns.trade_id[rows],
            update=np.zeros(len(rows), np.uint8),
            tape=columns.plans[which],
            conditions=tuple(columns.conditions),
        )
        body, offsets = encode.trades(tape)
        head = b'{"T":"t","S":' + msgspec.json.encode(columns.symbols[which]) + b","
        # Each piece is an object followed by a comma: the first and the last byte are replaced.
        for row, (a, b) in zip(rows.tolist(), pairwise(offsets.tolist()), strict=True):
            result[row] = head + body[a + 1 : b - 1]
    return result
