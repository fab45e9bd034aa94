"""Templates, and how figures are written in them."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from alpaca_strategy import __version__
from alpaca_strategy.backtest.catalogue import Unit
from alpaca_strategy.config import PROJECT_ROOT
from alpaca_strategy.console.charts import plot_of, scale_of
from alpaca_strategy.jobs.backtest_figures import Measured
from alpaca_strategy.jobs.model_figures import HEADLINES, Measure
from alpaca_strategy.jobs.trader_words import is_model, say_for_how_long

TEMPLATES = PROJECT_ROOT / "include" / "templates" / "console"

_UNITS = {Unit.BPS: "bps", Unit.MINUTES: "min"}
_MODEL_NAME = re.compile(r"\b\d{4}-\d\d-\d\d-[0-9a-f]{8}\b")

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

#: How a model stands, and the sign that says it without colour.
MODEL_STATES = {
    "serving": ("in service", "●"),
    "provisional": ("in service, provisional", "◐"),
    "overdue": ("in service, expired", "✕"),
    "unfit": ("in service, may not trade", "✕"),
    "earlier": ("has served", "○"),
    "expired": ("expired", ""),
    "registered": ("never served", ""),
    "refused": ("refused", "✕"),
    "damaged": ("damaged", "✕"),
    "retired": ("retired", ""),
}

#: How a trader is, the sign that says it without colour, and whether that is good.
TRADER_STATES = {
    "trading": ("trading", "●", "good"),
    "waiting": ("alive, waiting", "○", "good"),
    "starting": ("alive, starting", "◌", "good"),
    "held": ("alive, buys nothing", "◐", "warn"),
    "blocked": ("alive, sends nothing", "✕", "bad"),
    "dead": ("dead or hanging", "✕", "bad"),
    "stopped": ("stopped", "■", "quiet"),
}

#: Signs that say without colour how an order ended.
ORDER_SIGNS = {"good": "✓", "warn": "◐", "bad": "✕", "": ""}

#: How the switch was turned, and how that stands.
TURNS = {
    "kill": ("killed", "✕", "bad"),
    "halt": ("halted", "◐", "warn"),
    "rearm": ("re-armed", "✓", "good"),
}

#: What a gate decided, in a word or two.
VERDICTS = {
    "promote": "promoted",
    "provisional": "provisional",
    "keep": "not promoted",
    "ask": "left to a person",
    "suspect": "suspected",
    "refused": "refused",
}

#: What became of the champion.
CHANGES = {
    "promote": "into service",
    "rollback": "rolled back to",
    "pin": "pinned",
    "unpin": "unpinned",
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
    environment.filters.update(
        number=number,
        new_york=new_york,
        weekday=weekday,
        short=short,
        signed=signed,
        plain=plain,
        setting=setting,
        tick=tick,
        dollars=dollars,
        measured=measured,
        percent=percent,
        whole_names=whole_names,
        written=written,
        clock=clock,
        moment=moment,
        lately=lately,
        exactly=exactly,
        span=say_for_how_long,
        shell=shlex.quote,
    )
    environment.tests.update(model_name=is_model)
    environment.globals.update(
        STATES=STATES,
        MODEL_STATES=MODEL_STATES,
        VERDICTS=VERDICTS,
        CHANGES=CHANGES,
        TRADER_STATES=TRADER_STATES,
        ORDER_SIGNS=ORDER_SIGNS,
        TURNS=TURNS,
        HEADLINES=HEADLINES,
        plot_of=plot_of,
        scale_of=scale_of,
        version=__version__,
    )
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


def plain(value: float | None, digits: int) -> str:
    """Write a figure; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    rounded = round(value, digits) + 0.0  # which makes a zero of a minus zero
    return f"{rounded:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None, digits: int) -> str:
    """Write a figure whose sign means something; a dash where there is none."""
    text = plain(value, digits)
    return f"+{text}" if value is not None and round(value, digits) > 0 else text


def tick(value: float, digits: int) -> str:
    """Write a number of an axis; zero has no digits."""
    return signed(value, digits) if value else "0"


def written(value: float | None, measure: Measure) -> str:
    """Write a figure as its measure asks for."""
    return (signed if measure.signed else plain)(value, measure.digits)


def percent(value: float | None, digits: int = 2, *, plus: bool = True) -> str:
    """Write a fraction as a percentage; a dash where there is none."""
    text = (signed if plus else plain)(None if value is None else value * 100, digits)
    return text if value is None else f"{text}\N{NO-BREAK SPACE}%"


def dollars(value: float | None, *, plus: bool = False) -> str:
    """Write an amount of USD to the cent; a dash where there is none."""
    text = (signed if plus else plain)(value, 2)
    if value is None:
        return text
    sign = text[0] if not text[0].isdigit() else ""
    return f"{sign}${_grouped(text.removeprefix(sign))}"


def measured(value: float | None, what: Measured) -> str:
    """Write a figure of a backtest, or an end of its interval, with its unit."""
    unit, digits = what.about.unit, what.about.digits
    if unit is Unit.FRACTION:
        return percent(value, digits, plus=what.signed)
    if unit is Unit.USD:
        return dollars(value, plus=what.signed)
    text = _grouped((signed if what.signed else plain)(value, digits))
    words = _UNITS.get(unit) if value is not None else None
    return f"{text}\N{NO-BREAK SPACE}{words}" if words else text


def _grouped(text: str) -> str:
    """Write a number with thin spaces between thousands."""
    whole, point, part = text.partition(".")
    spaced = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", "\N{NARROW NO-BREAK SPACE}", whole)
    return f"{spaced}{point}{part}"


def setting(value: object) -> str:
    """Write the value of a setting."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "\N{EN DASH}" if value is None else str(value)


def whole_names(text: str) -> Markup:
    """Write a sentence in which no line breaks within the name of a model."""
    return Markup(_MODEL_NAME.sub(r'<span class="nowrap">\g<0></span>', str(escape(text))))  # noqa: S704 - escaped


def new_york(moment: datetime | None) -> str:
    """Write a moment in the exchange's time."""
    if moment is None:
        return "\N{EN DASH}"
    local = moment.astimezone(UTC).astimezone(ZoneInfo("America/New_York"))
    return f"{local:%Y-%m-%d %H:%M} {local.tzname()}"


def clock(moment: datetime | None, *, seconds: bool = True) -> str:
    """Write the time of day in the exchange's time."""
    if moment is None:
        return "\N{EN DASH}"
    local = moment.astimezone(UTC).astimezone(ZoneInfo("America/New_York"))
    return f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"


def moment(at: datetime | None) -> str:
    """Write a moment in the exchange's time, to the second."""
    if at is None:
        return "\N{EN DASH}"
    local = at.astimezone(UTC).astimezone(ZoneInfo("America/New_York"))
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def lately(at: datetime | None, now: datetime) -> str:
    """Write the time of day in the exchange's time; with the date unless that is today's."""
    zone = ZoneInfo("America/New_York")
    today = at is not None and at.astimezone(zone).date() == now.astimezone(zone).date()
    return clock(at) if today else moment(at)


def exactly(value: Decimal) -> str:
    """Write shares or a price with all of its digits."""
    return _grouped(f"{value:f}".replace("-", "\N{MINUS SIGN}"))


def weekday(day: date) -> str:
    """Write a date with its weekday."""
    return f"{day:%A}, {day.day} {day:%B %Y}"
