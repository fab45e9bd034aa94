"""The coverage picture: a PNG with one pixel a minute and symbol, and the geometry around it."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

import numpy as np

from alpaca_strategy.domain.market import Session
from alpaca_strategy.quality.coverage import LEVELS, Coverage
from alpaca_strategy.quality.tape_gauge import NEW_YORK

RGB = tuple[int, int, int]

#: Silent, five levels of one hue, flagged: told apart by lightness alone, and by hue.
LIGHT: tuple[RGB, ...] = (
    (243, 244, 246), (200, 219, 237), (156, 192, 224), (107, 160, 206), (59, 122, 178),
    (24, 82, 134), (213, 94, 0),
)  # fmt: skip
DARK: tuple[RGB, ...] = (
    (30, 35, 42), (38, 66, 95), (47, 94, 138), (69, 128, 180), (109, 165, 213),
    (164, 204, 238), (240, 132, 48),
)  # fmt: skip

_LEFT, _RIGHT, _TOP, _STRIP, _AXIS = 84.0, 64.0, 4.0, 40.0, 22.0
_MAP_WIDTH = 852.0
_LEGIBLE = 10.0  # pixels a label needs


@dataclass(frozen=True, slots=True)
class Line:
    """One symbol's place in the picture."""

    symbol: str
    y: float
    share: str
    labelled: bool
    quarantined: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything a template needs to draw the coverage; lengths in SVG units."""

    light: str
    dark: str
    width: float
    height: float
    left: float
    map_width: float
    map_top: float
    map_height: float
    strip_top: float
    strip_height: float
    row_height: float
    font: float
    strip: str
    hours: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]


def draw(coverage: Coverage, session: Session, quarantined: Sequence[str]) -> Picture:
    """Return the coverage picture of one session.

    Args:
        coverage: The matrix to draw.
        session: Names the minutes.
        quarantined: Symbols to mark.
    """
    count, minutes = coverage.level.shape
    row = 18.0 if count <= 40 else 12.0 if count <= 160 else 4.0
    map_top = _TOP + _STRIP + 6
    height = row * count
    return Picture(
        light=png_uri(coverage.level, LIGHT),
        dark=png_uri(coverage.level, DARK),
        width=_LEFT + _MAP_WIDTH + _RIGHT,
        height=map_top + height + _AXIS,
        left=_LEFT,
        map_width=_MAP_WIDTH,
        map_top=map_top,
        map_height=height,
        strip_top=_TOP,
        strip_height=_STRIP,
        row_height=row,
        font=min(12.0, max(row * 0.72, 9.0)),
        strip=_strip(coverage, minutes),
        hours=_hours(session),
        lines=_lines(coverage, frozenset(quarantined), row, map_top),
    )


def png_uri(level: np.ndarray, palette: Sequence[RGB]) -> str:
    """Return a matrix of palette indices, uint8 of shape (height, width), as a data URI."""
    height, width = max(level.shape[0], 1), max(level.shape[1], 1)
    pixels = np.zeros((height, width + 1), np.uint8)  # a leading 0: no filter
    pixels[: level.shape[0], 1 : level.shape[1] + 1] = level
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = bytes(part for colour in palette for part in colour)
    body = b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, content)
        for kind, content in (
            (b"IHDR", header),
            (b"PLTE", colours),
            (b"IDAT", zlib.compress(pixels.tobytes(), 9)),
            (b"IEND", b""),
        )
    )
    return "data:image/png;base64," + base64.b64encode(body).decode("ascii")


def legend() -> tuple[tuple[str, str], ...]:
    """Return the names of the levels with the class that colours each."""
    words = (
        "no bar",
        "a quarter or less",
        "half",
        "the usual volume",
        "twice",
        "four times or more",
    )
    names = [(f"level-{level}", word) for level, word in enumerate(words[: LEVELS + 1])]
    return (*names, (f"level-{LEVELS + 1}", "breaks a critical rule"))


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _strip(coverage: Coverage, minutes: int) -> str:
    """Return the share of symbols with a bar in each minute as the points of an area."""
    share = coverage.seen.mean(axis=0) if coverage.symbols else np.zeros(minutes)
    x = _LEFT + np.repeat(np.arange(minutes + 1), 2)[1:-1] * _MAP_WIDTH / minutes
    y = _TOP + _STRIP * (1 - np.repeat(share, 2))
    base = _TOP + _STRIP
    points = [f"{_LEFT:g},{base:g}"]
    points += [f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)]
    return " ".join([*points, f"{_LEFT + _MAP_WIDTH:g},{base:g}"])


def _hours(session: Session) -> tuple[tuple[float, str], ...]:
    """Return where the open and each half hour lie, with their New York time."""
    marks = []
    for minute in range(0, session.minutes + 1, 30):
        at = (session.opens_at + timedelta(minutes=minute)).astimezone(NEW_YORK)
        marks.append((_LEFT + minute * _MAP_WIDTH / session.minutes, f"{at:%H:%M}"))
    return tuple(marks)


def _lines(
    coverage: Coverage, quarantined: frozenset[str], row: float, top: float
) -> tuple[Line, ...]:
    step = ceil(_LEGIBLE / row)
    return tuple(
        Line(
            symbol=symbol if len(symbol) <= 9 else f"{symbol[:8]}…",
            y=top + index * row,
            share=f"{share * 100:.0f} %",
            labelled=index % step == 0,
            quarantined=symbol in quarantined,
        )
        for index, (symbol, share) in enumerate(
            zip(coverage.symbols, coverage.share.tolist(), strict=True)
        )
    )
