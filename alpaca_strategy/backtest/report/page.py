"""The report of one backtest: a single interactive HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC
from functools import lru_cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from alpaca_strategy import __version__
from alpaca_strategy.backtest.content import Backtest
from alpaca_strategy.backtest.report.allocation import allocation_section
from alpaca_strategy.backtest.report.costs import costs_section
from alpaca_strategy.backtest.report.equity import equity_section, returns_section
from alpaca_strategy.backtest.report.lineage import lineage_section
from alpaca_strategy.backtest.report.palette import DARK, LIGHT, palettes
from alpaca_strategy.backtest.report.parts import Section
from alpaca_strategy.backtest.report.replay import replay_section
from alpaca_strategy.backtest.report.risk import risk_section
from alpaca_strategy.backtest.report.robustness import robustness_section
from alpaca_strategy.backtest.report.signal import signal_section
from alpaca_strategy.backtest.report.summary import agreement_text, headline, tiles, verdict
from alpaca_strategy.backtest.report.trades import trades_for_script, trades_section
from alpaca_strategy.backtest.report.view import View, view_of
from alpaca_strategy.config import PROJECT_ROOT

TEMPLATES = PROJECT_ROOT / "include" / "templates"
#: What a page may weigh.
MOST_BYTES = 8_000_000
_SECTIONS = (
    equity_section, returns_section, risk_section, trades_section, allocation_section,
    costs_section, signal_section, robustness_section, replay_section, lineage_section,
)  # fmt: skip


def render(backtest: Backtest) -> bytes:
    """Return the report as one HTML page, UTF-8, at most `MOST_BYTES` long.

    It asks for nothing from outside and runs two scripts, whose hashes its own policy names.
    """
    view = view_of(backtest)
    sections = [section(view) for section in _SECTIONS]
    word, alarming = verdict(backtest)
    page = _environment().get_template("backtest_report.html").render(
        backtest=backtest,
        policy=content_policy(),
        verdict=word,
        alarming=alarming,
        headline=headline(view),
        agreement=agreement_text(backtest.agreement),
        tiles=tiles(backtest),
        sections=sections,
        step=view.step,
        made_at=backtest.made_at.astimezone(UTC),
        palettes={"light": LIGHT, "dark": DARK},
        data=Markup(as_data(_for_script(view, sections))),  # noqa: S704 - see as_data
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - the packaged library
        script=Markup(_script()),  # noqa: S704 - a file of this project
        version=__version__,
    )  # fmt: skip
    return page.encode(errors="replace")  # a name may hold half a character


def content_policy() -> str:
    """Return the policy that the page is written for, in its own tag and fit for a header.

    Whoever serves the page puts ``sandbox allow-scripts;`` in front: it needs no origin.
    """
    hashes = " ".join(_hash(script) for script in (_script(), get_plotlyjs()))
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    )


def as_data(value: Any) -> str:
    """Return plain data as JSON that ends no script element, whatever names it holds."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@lru_cache(maxsize=1)
def _script() -> str:
    return (TEMPLATES / "backtest_report.js").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # symbols, models and lineage come from outside
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _for_script(view: View, sections: list[Section]) -> dict[str, Any]:
    history = view.history
    return {
        "palettes": palettes(),
        "sessions": [session.isoformat() for session in history.sessions],
        "firstRow": history.first_row.tolist(),
        "symbols": list(history.symbols),
        "curve": {
            "session": view.session[view.shown].tolist(),
            "minute": (view.minute[view.shown] + 1).tolist(),  # a minute's close
        },
        "charts": {
            chart.name: chart.for_script() for section in sections for chart in section.charts
        },
        "trades": trades_for_script(view),
    }
