"""A real browser shows a backtest's report within the console within Airflow's frame, shut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from playwright.sync_api import Browser, expect
from recorded_backtests import ABOUT, a_backtest
from registered_models import add

from alpaca_strategy.bootstrap import services
from alpaca_strategy.config import load_settings
from alpaca_strategy.console.app import create_app
from alpaca_strategy.storage.database import migrate

pytestmark = [pytest.mark.browser, pytest.mark.integration]

#: As Airflow frames the pages of a plugin.
AIRFLOW = "allow-scripts allow-same-origin allow-forms allow-downloads"
#: A report whose script tries what it must not be able to do.
REPORT = b"""<!doctype html><title>report</title><p id="ran">no</p><p id="read">no</p>
<p id="sent">no</p><script>
ran.textContent = `yes, origin ${self.origin}`;
try { read.textContent = parent.document.title } catch { read.textContent = "kept out" }
fetch("/alpaca/backtests/").then(() => { sent.textContent = "answered" },
                                 () => { sent.textContent = "kept in" });
</script>"""


@pytest.fixture
def site(home: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the console below a page that frames it, behind a login like Airflow's."""
    monkeypatch.setenv("ALPACA_STRATEGY_VENUE", "simulator")
    monkeypatch.setenv("ALPACA_STRATEGY_DATABASE_URL", database_url)
    load_settings.cache_clear()
    services.cache_clear()
    migrate(services().catalog.engine)

    def check_login(request: Request) -> None:
        if request.cookies.get("_token") != "known":
            raise HTTPException(401)

    outside = FastAPI()
    outside.mount("/alpaca", create_app([Depends(check_login)]))

    @outside.get("/")
    def front() -> HTMLResponse:
        frame = f'<iframe src="/alpaca/backtests/" sandbox="{AIRFLOW}" height="800" width="1200">'
        answer = HTMLResponse(f"<!doctype html><title>outside</title>{frame}</iframe>")
        answer.set_cookie("_token", "known", samesite="lax")
        return answer

    config = uvicorn.Config(outside, port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
    services().catalog.engine.dispose()
    services.cache_clear()


def test_a_report_runs_in_the_console_and_reaches_nothing(chromium: Browser, site: str) -> None:
    made = a_backtest(add(services().registry, "a"))
    services().backtests.record(made, REPORT, **ABOUT)
    asked: list[str] = []
    tab = chromium.new_page()
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(site)
    console = tab.frame_locator("iframe")
    console.get_by_role("link", name=made.id).last.click()
    report = console.frame_locator("iframe.report")
    expect(report.locator("#ran")).to_have_text("yes, origin null")
    expect(report.locator("#read")).to_have_text("kept out")
    expect(report.locator("#sent")).to_have_text("kept in")
    page = f"{site}/alpaca/backtests/{made.id}"
    assert asked[-2:] == [page, f"{page}/report"]

    with tab.expect_download() as table:
        console.get_by_role("link", name="All trades as CSV").click()
    assert table.value.suggested_filename == f"backtest-{made.id}-trades.csv"
    assert len(Path(table.value.path()).read_text().splitlines()) == 3

    console.get_by_role("link", name="Open the report").click()
    alone: Any = console.locator("#ran")
    expect(alone).to_have_text("yes, origin null")  # also where it is not framed by the console
    expect(console.locator("#sent")).to_have_text("kept in")
    tab.close()
