"""Trades as JSON text, whole columns at a time.

Every trade is laid out in one row of a byte matrix with room for the widest value of each field;
a mask then drops the unused places. Rows whose price needs more than four decimals, or is not a
plain number, are written one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
import numpy.typing as npt

from alpaca_strategy.simulator.tape import UPDATES, Ints, Tape

Matrix = npt.NDArray[np.uint8]
_SECOND = 1_000_000_000
_POWERS = 10 ** np.arange(18, -1, -1, dtype=np.int64)
_ZERO = 48


def timestamp(ns: int) -> str:
    """Return nanoseconds since 1970 as RFC 3339, without trailing zeros, as the venue prints."""
    seconds, rest = divmod(int(ns), _SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"


def parse_timestamp(text: str) -> int:
    """Return nanoseconds since 1970 of an RFC 3339 time or a date (midnight in New York).

    Raises:
        ValueError: It is neither.
    """
    from alpaca_strategy.simulator.calendar import NEW_YORK  # noqa: PLC0415  # no cycle at import

    head, dot, tail = text.partition(".")
    digits = ""
    if dot:
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        head += tail[len(digits) :]
    moment = datetime.fromisoformat(head.replace("Z", "+00:00").replace(" ", "+"))
    if len(text) <= 10:
        moment = moment.replace(tzinfo=NEW_YORK)
    elif moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * _SECOND + int(f"{digits:0<9.9}" or 0)


@dataclass(slots=True)
class _Layout:
    """Columns of bytes with a mask of those that are printed."""

    rows: int
    parts: list[tuple[Matrix, npt.NDArray[np.bool_] | None]]

    def text(self, text: str) -> None:
        """Add the same text to every row."""
        raw = np.frombuffer(text.encode(), np.uint8)
        self.parts.append((np.broadcast_to(raw, (self.rows, len(raw))), None))

    def number(self, value: Ints) -> None:
        """Add non-negative integers without leading zeros."""
        digits = _digits(value, len(str(int(value.max()))))
        shown = np.maximum.accumulate(digits != _ZERO, axis=1)
        shown[:, -1] = True
        self.parts.append((digits, shown))

    def fraction(self, value: Ints, width: int) -> None:
        """Add a decimal point and digits without trailing zeros; nothing for zero."""
        digits = _digits(value, width)
        shown = np.maximum.accumulate((digits != _ZERO)[:, ::-1], axis=1)[:, ::-1]
        point = np.full((self.rows, 1), ord("."), np.uint8)
        self.parts.append((point, shown[:, :1]))
        self.parts.append((digits, shown))

    def choice(self, texts: list[str], index: npt.NDArray[np.integer]) -> None:
        """Add one of a few texts by index."""
        width = max(len(text) for text in texts)
        table = np.zeros((len(texts), width), np.uint8)
        for n, text in enumerate(texts):
            table[n, : len(text)] = np.frombuffer(text.encode(), np.uint8)
        chosen = table[index]
        self.parts.append((chosen, chosen != 0))

    def lines(self) -> tuple[Matrix, npt.NDArray[np.bool_]]:
        """Return the matrix and its mask."""
        width = sum(part.shape[1] for part, _ in self.parts)
        matrix, mask = np.empty((self.rows, width), np.uint8), np.ones((self.rows, width), bool)
        at = 0
        for part, shown in self.parts:
            end = at + part.shape[1]
            matrix[:, at:end] = part
            if shown is not None:
                mask[:, at:end] = shown
            at = end
        return matrix, mask


def _digits(value: Ints, width: int) -> Matrix:
    """Return decimal digits as ASCII, shape (rows, width)."""
    kind = np.int32 if width <= 9 else np.int64
    quotients = value.astype(kind)[:, None] // _POWERS[-width:].astype(kind)
    quotients[:, 1:] -= quotients[:, :-1] * kind(10)
    digits: Matrix = quotients.astype(np.uint8)
    digits += np.uint8(_ZERO)
    return digits


def trades(tape: Tape) -> tuple[bytes, Ints]:
    """Return JSON objects, each followed by a comma, and where each begins and the last ends."""
    count = len(tape)
    if not count:
        return b"", np.zeros(1, np.int64)
    usual = (tape.price >= 0) & (tape.price < 1e8) & (tape.size >= 0)
    scaled = np.round(np.where(usual, tape.price, 0.0) * 10_000)
    plain = usual & (scaled / 10_000 == tape.price)
    units = np.where(plain, scaled, 0).astype(np.int64)
    matrix, mask = _layout(tape, units).lines()
    lengths = mask.sum(axis=1, dtype=np.int64)
    ends = np.cumsum(lengths)
    body = matrix[mask].tobytes()
    offsets = np.concatenate([[0], ends])
    if plain.all():
        return body, offsets
    lines = [body[offsets[n] : offsets[n + 1]] for n in range(count)]
    for n in np.flatnonzero(~plain):
        lines[n] = _one(tape, int(n))
    ends = np.cumsum([len(line) for line in lines])
    return b"".join(lines), np.concatenate([[0], ends]).astype(np.int64)


def _layout(tape: Tape, units: Ints) -> _Layout:
    shown = tape.ts if tape.shown_ts is None else tape.shown_ts
    layout = _Layout(len(tape), [])
    minute, rest = np.divmod(shown, 60 * _SECOND)
    minutes, which = np.unique(minute, return_inverse=True)
    days = {day: timestamp(day * 86_400 * _SECOND)[:11] for day in set((minutes // 1440).tolist())}
    stems = [f'{{"t":"{days[m // 1440]}{m // 60 % 24:02d}:{m % 60:02d}:' for m in minutes.tolist()]
    layout.choice(stems, which)
    second, nanos = np.divmod(rest, _SECOND)
    layout.parts.append((_digits(second, 2), None))
    layout.fraction(nanos, 9)
    letters, which = np.unique(tape.exchange, return_inverse=True)
    layout.choice([f'Z","x":"{chr(letter)}","p":' for letter in letters], which)
    layout.number(units // 10_000)
    layout.fraction(units % 10_000, 4)
    layout.text(',"s":')
    layout.number(np.maximum(tape.size, 0))
    lists = [msgspec.json.encode(list(marks)).decode() for marks in tape.conditions]
    layout.choice([f',"c":{marks},"i":' for marks in lists], tape.condition)
    layout.number(tape.trade_id)
    ends = [f',"z":"{tape.tape}"' + (f',"u":"{u}"' if u else "") + "}," for u in UPDATES]
    layout.choice(ends, tape.update)
    return layout


def as_dict(tape: Tape, n: int) -> dict[str, object]:
    """Return one trade as the venue's object."""
    shown = tape.ts if tape.shown_ts is None else tape.shown_ts
    price = float(tape.price[n])
    trade: dict[str, object] = {
        "t": timestamp(int(shown[n])),
        "x": chr(tape.exchange[n]),
        "p": int(price) if price.is_integer() and abs(price) < 2**53 else price,
        "s": int(tape.size[n]),
        "c": list(tape.conditions[tape.condition[n]]),
        "i": int(tape.trade_id[n]),
        "z": tape.tape,
    }
    update = UPDATES[tape.update[n]]
    return trade if update is None else {**trade, "u": update}


def _one(tape: Tape, n: int) -> bytes:
    return msgspec.json.encode(as_dict(tape, n)) + b","
