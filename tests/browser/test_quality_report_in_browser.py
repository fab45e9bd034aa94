"""A real browser shows the report in a sandboxed frame under a strict policy, without complaint."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser
from quality_sessions import change_tape, make_input

from alpaca_strategy.quality.gate import check_session
from alpaca_strategy.quality.report import render

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_shows_in_a_sandboxed_frame(
    chromium: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    symbols = ('"><script>document.title="run"</script>', *(f"S{n:02}" for n in range(29)))
    data = make_input(symbols=symbols, trades=200)
    data = change_tape(data, lambda tape: tape[tape.symbol != symbols[0]])
    report = render(
        check_session(data),
        session=data.session,
        feed=data.feed,
        generated_at=datetime(2024, 3, 5, 22, tzinfo=UTC),
        version="1",
    )
    outer = tmp_path / "outer.html"
    outer.write_text(
        "<!doctype html><title>outer</title>"
        f'<iframe sandbox="" width="1100" height="3000" srcdoc="{html.escape(report)}"></iframe>'
    )
    asked: list[str] = []
    complaints: list[str] = []
    tab = chromium.new_page(color_scheme=scheme)
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(outer.as_uri())
    frame = tab.frame_locator("iframe")
    assert frame.locator("h1").inner_text().startswith("The session 2024-03-05 on IEX")
    shown = frame.locator(f"image.on-{scheme}")
    hidden = frame.locator("image.on-dark" if scheme == "light" else "image.on-light")
    assert shown.is_visible()
    assert not hidden.is_visible()
    assert tab.title() == "outer"
    tab.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("data:", "file:", "about:"))] == []
