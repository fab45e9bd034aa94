"""Numbers, dates and names as the report's sentences, tables and charts show them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from html import escape

import numpy as np
import numpy.typing as npt

from alpaca_strategy.backtest.catalogue import CATALOGUE, Unit
from alpaca_strategy.backtest.content import Figure
from alpaca_strategy.backtest.history import Floats

_OPENS_AT = 9 * 60 + 30  # New York
_SESSION = 390  # minutes
_LONGEST_NAME = 28
_NO_BREAK = "\u00a0"
_MINUS = "\u2212"
NOTHING = "–"


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _signed(text: str, value: float, *, plus: bool) -> str:
    if not any(digit in text for digit in "123456789"):
        return text  # neither -0.0 nor +0.0
    return (_MINUS if value < 0 else "+" if plus else "") + text


def number(value: float | None, digits: int = 2, *, plus: bool = False) -> str:
    """Return a number with so many decimals, or a dash for none."""
    if value is None or not _known(value):
        return NOTHING if value is None or math.isnan(value) else "∞"
    return _signed(f"{abs(value):,.{digits}f}", value, plus=plus)


def percent(value: float | None, digits: int | None = None, *, plus: bool = False) -> str:
    """Return a fraction as a percentage, with fewer decimals the larger it is."""
    if value is None or not _known(value):
        return number(value)
    if digits is None:
        digits = 2 if abs(value) < 0.0995 else 1 if abs(value) < 9.995 else 0
    return number(value * 100, digits, plus=plus) + _NO_BREAK + "%"


def usd(value: float | None, digits: int = 0, *, plus: bool = False) -> str:
    """Return an amount of dollars."""
    if value is None or not _known(value):
        return number(value)
    return _signed(f"${abs(value):,.{digits}f}", value, plus=plus)


def bps(value: float | None, digits: int = 1, *, plus: bool = False) -> str:
    """Return hundredths of a percent."""
    text = number(value, digits, plus=plus)
    return text if text == NOTHING else text + _NO_BREAK + "bps"


def counted(count: int, noun: str, many: str | None = None) -> str:
    """Return a count and its noun: 1 trade, 1,204 trades."""
    return f"{count:,}{_NO_BREAK}{noun if count == 1 else many or noun + 's'}"


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence lists them: a, b and c."""
    *others, last = list(names) or [""]
    return f"{', '.join(others)} and {last}" if others else last


def day(value: date) -> str:
    """Return a date: 4 March 2024."""
    return f"{value.day}{_NO_BREAK}{value:%B}{_NO_BREAK}{value.year}"


def short_day(value: date) -> str:
    """Return a date as tables show it: Mon 4 Mar 2024."""
    return f"{value:%a} {value.day} {value:%b %Y}".replace(" ", _NO_BREAK)


def clock(minute: int) -> str:
    """Return the New York time at which a session's minute begins: 10:40."""
    at = _OPENS_AT + int(minute)
    return f"{at // 60:02}:{at % 60:02}"


def clipped(name: object, longest: int = _LONGEST_NAME) -> str:
    """Return a name from outside, cut where it is long, without characters nobody would see."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(name))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def label(name: object) -> str:
    """Return a name from outside as text of a chart, where Plotly would read it as markup.

    Dollars would be read as the signs around a formula.
    """
    return escape(clipped(name), quote=False).replace("$", "&#36;")


def labels(names: Iterable[object], longest: int = 16) -> list[str]:
    """Return names from outside as places on an axis, of which no two are the same."""
    out: list[str] = []
    for name in names:
        text, copy = label(clipped(name, longest)), 1
        while (text if copy == 1 else f"{text} ({copy})") in out:
            copy += 1
        out.append(text if copy == 1 else f"{text} ({copy})")
    return out


def plain(values: npt.ArrayLike, digits: int) -> list[float | int | None]:
    """Return numbers for a chart: rounded, None where there is none, whole ones without a point."""
    array: Floats = np.asarray(values, np.float64).round(digits)
    out: list[float | int | None] = []
    for value in array.ravel().tolist():
        if not math.isfinite(value):
            out.append(None)
        else:
            out.append(int(value) if value.is_integer() else value)
    return out


def figure_text(name: str, value: float | None, *, plus: bool = False) -> str:
    """Return a figure's value as the catalogue wants it shown."""
    told = CATALOGUE[name]
    if told.unit is Unit.FRACTION:
        return percent(value, told.digits, plus=plus)
    if told.unit is Unit.USD:
        return usd(value, told.digits, plus=plus)
    if told.unit is Unit.BPS:
        return bps(value, told.digits, plus=plus)
    text = number(value, told.digits, plus=plus)
    if told.unit is Unit.MINUTES and value is not None:
        sessions = f" ({value / _SESSION:.0f}{_NO_BREAK}sessions)" if value >= 2 * _SESSION else ""
        return f"{text}{_NO_BREAK}min{sessions}"
    return text


def interval_text(figure: Figure) -> str:
    """Return the ends of a figure's interval, or nothing where it has none."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = (figure_text(figure.name, end) for end in (figure.low, figure.high))
    return f"{low} to {high}"
