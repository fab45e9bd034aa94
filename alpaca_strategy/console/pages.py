"""Templates, and how figures are written in them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from alpaca_strategy import __version__
from alpaca_strategy.config import PROJECT_ROOT

TEMPLATES = PROJECT_ROOT / "include" / "templates" / "console"

#: What a state is called, and the sign that says it without colour.
STATES = {
    "published": ("published", "✓"),
    "partial": ("published in part", "◐"),
    "refused": ("refused", "✕"),
    "missing": ("missing", "?"),
    "unfetched": ("not fetched", ""),
    "ahead": ("ahead", ""),
    "closed": ("closed", ""),
    "unknown": ("beyond the calendar", ""),
}


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, new_york=new_york, weekday=weekday, short=short)
    environment.globals.update(STATES=STATES, version=__version__)
    return environment


def render(template: str, **values: Any) -> str:
    """Return a page."""
    return _environment().get_template(template).render(**values)


def number(value: float) -> str:
    """Write a count with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def short(value: float) -> str:
    """Write a count so that it fits a small cell: 950, 12 k, 3.4 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.1f} {unit}" if scaled < 10 else f"{scaled:.0f} {unit}"
    return str(value)


def new_york(moment: datetime | None) -> str:
    """Write a moment in the exchange's time."""
    if moment is None:
        return "\N{EN DASH}"
    local = moment.astimezone(UTC).astimezone(ZoneInfo("America/New_York"))
    return f"{local:%Y-%m-%d %H:%M} {local.tzname()}"


def weekday(day: date) -> str:
    """Write a date with its weekday."""
    return f"{day:%A}, {day.day} {day:%B %Y}"
