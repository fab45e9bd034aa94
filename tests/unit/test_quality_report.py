"""The report is one page that tells what happened and runs nothing that came from outside."""

from __future__ import annotations

import base64
import dataclasses
import re
import struct
import zlib
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from quality_sessions import change_tape, make_input

from alpaca_strategy.domain.market import Feed
from alpaca_strategy.quality.coverage import Coverage
from alpaca_strategy.quality.gate import QualityResult, check_session
from alpaca_strategy.quality.inputs import CheckInput, Rejected
from alpaca_strategy.quality.picture import DARK, LIGHT, draw, png_uri
from alpaca_strategy.quality.report import render

NASTY = '"><script>alert(1)</script>'
AT = datetime(2024, 3, 5, 22, 15, tzinfo=UTC)


def page(result: QualityResult, data: CheckInput) -> str:
    return render(result, session=data.session, feed=data.feed, generated_at=AT, version="1.2.3")


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @classmethod
    def of(cls, html: str) -> Reader:
        reader = cls()
        reader.feed(html)
        return reader

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def hostile() -> tuple[CheckInput, QualityResult]:
    """A session in which everything that comes from outside tries to be markup."""
    symbols = (NASTY, *(f"S{n:02}" for n in range(11)))
    data = make_input(symbols=symbols, trades=300)

    def spoil(tape: pd.DataFrame) -> pd.DataFrame:
        rows = tape.index[tape.symbol == NASTY][:40]
        tape.loc[rows, "conditions"] = "<img src=x onerror=alert(2)>"
        return tape

    data = change_tape(data, spoil, rebuild=False)
    data = dataclasses.replace(
        data,
        rejected={NASTY: Rejected(9, ("<script>alert(3)</script>",))},
        failed={NASTY: "<b onclick=alert(4)>no</b>"},
    )
    return data, check_session(data)


def test_nothing_from_outside_becomes_markup(hostile: tuple[CheckInput, QualityResult]) -> None:
    data, result = hostile
    html = page(result, data)
    found = Reader.of(html)
    assert not {"script", "b", "iframe", "object", "embed", "form", "link"} & {
        t for t, _ in found.tags
    }
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    assert NASTY in found.text
    assert "alert(3)" in found.text
    assert [attrs for tag, attrs in found.tags if tag == "img"] == []


def test_the_page_refers_to_nothing_outside_itself(
    hostile: tuple[CheckInput, QualityResult],
) -> None:
    html = page(hostile[1], hostile[0])
    found = Reader.of(html)
    targets = [v for _, attrs in found.tags for k, v in attrs.items() if k in ("src", "href")]
    assert targets
    assert all(
        target is not None and target.startswith("data:image/png;base64,") for target in targets
    )
    assert "url(" not in html
    assert "@import" not in html
    policy = next(a["content"] for t, a in found.tags if t == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_the_verdict_comes_first_then_reasons_expectations_and_examples(
    hostile: tuple[CheckInput, QualityResult],
) -> None:
    data, result = hostile
    text = Reader.of(page(result, data)).text
    places = [
        text.index(part)
        for part in (
            "Fit to publish",
            "The session 2024-03-05 on IEX is fit to publish with 11 of 12 symbols; 1 quarantined",
            "Quarantined symbols",
            "It could not be fetched: <b onclick=alert(4)>no</b>",
            "Coverage by minute and symbol",
            "What failed",
            "Every symbol asked for was fetched to its end.",
            "Everything that was checked",
            "Checked 2024-03-05 22:15:00 UTC by alpaca-strategy 1.2.3.",
        )
    ]
    assert places == sorted(places)
    for result_row in result.results:
        assert result_row.expectation in text


def test_a_refused_session_says_so_first() -> None:
    data = change_tape(make_input(trades=200), lambda tape: tape[:0])
    result = check_session(data)
    text = Reader.of(page(result, data)).text
    assert text.index("Refused") < text.index(result.sentence)
    assert "no symbol has a single bar" in result.sentence


def test_a_session_without_findings_says_that_everything_held() -> None:
    data = make_input(trades=300)
    text = Reader.of(page(check_session(data), data)).text
    assert "Every expectation held." in text
    assert "Quarantined symbols" not in text


@pytest.mark.parametrize("count", [1, 30, 120, 500])
def test_the_page_stays_small_at_any_size(count: int) -> None:
    rng = np.random.default_rng(3)
    data = make_input(trades=60, symbols=tuple(f"S{n:02}" for n in range(12)), feed=Feed.IEX)
    symbols = tuple(f"SYM{n:03}" for n in range(count))
    noise = rng.integers(0, 7, (count, 390)).astype(np.uint8)
    result = dataclasses.replace(
        check_session(data),
        coverage=Coverage(symbols, noise),
        quarantined=dict.fromkeys(symbols, "trades_are_unique: 12 of 6,000 trades listed twice."),
    )
    assert len(page(result, data).encode()) < 1_000_000


def decode(uri: str) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Read a PNG with a palette and no filters, by the format's own rules."""
    raw = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        kind, body = raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", raw[at + 8 + length : at + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        chunks[kind], at = body, at + 12 + length
    width, height, depth, colours, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colours) == (8, 3)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert (rows[:, 0] == 0).all()
    palette = [tuple(chunks[b"PLTE"][n : n + 3]) for n in range(0, len(chunks[b"PLTE"]), 3)]
    return rows[:, 1:], palette


def test_the_picture_holds_every_minute_of_every_symbol() -> None:
    level = np.random.default_rng(1).integers(0, 7, (5, 390)).astype(np.uint8)
    pixels, palette = decode(png_uri(level, LIGHT))
    assert (pixels == level).all()
    assert palette == list(LIGHT)


def lightness(colour: tuple[int, ...]) -> float:
    """Return relative luminance, as WCAG 2 defines it."""
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_levels_are_told_apart_by_lightness_alone(palette: tuple[tuple[int, ...], ...]) -> None:
    shades = [lightness(colour) for colour in palette[:-1]]
    contrast = [(max(a, b) + 0.05) / (min(a, b) + 0.05) for a, b in pairwise(shades)]
    assert shades in (sorted(shades), sorted(shades, reverse=True))
    assert min(contrast) > 1.25


@pytest.mark.parametrize(("minutes", "last"), [(390, "16:00"), (210, "13:00")])
def test_the_axis_names_new_york_times(minutes: int, last: str) -> None:
    data = make_input(trades=100, minutes=minutes, symbols=("KO",))
    picture = draw(Coverage(("KO",), np.zeros((1, minutes), np.uint8)), data.session, ())
    assert picture.hours[0][1] == "09:30"
    assert picture.hours[-1][1] == last


def test_a_crowd_of_symbols_is_labelled_without_overlap() -> None:
    data = make_input(trades=100, symbols=("KO",))
    for count in (30, 120, 500):
        names = tuple(f"S{n}" for n in range(count))
        picture = draw(Coverage(names, np.zeros((count, 390), np.uint8)), data.session, ("S7",))
        labels = [line.y for line in picture.lines if line.labelled]
        assert min(np.diff(labels)) >= picture.font
        assert [line.symbol for line in picture.lines if line.quarantined] == ["S7"]


def test_markup_in_a_symbol_is_escaped_in_the_picture_too(
    hostile: tuple[CheckInput, QualityResult],
) -> None:
    html = page(hostile[1], hostile[0])
    drawing = re.search(r"<svg.*?</svg>", html, re.DOTALL)
    assert drawing is not None
    assert "&#34;&gt;&lt;scrip" in drawing.group()
