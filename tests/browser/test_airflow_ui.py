"""What a newcomer does first, in a real browser: log in, look, start a backfill, read a report."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from alpaca_strategy.market.calendar import exchange_calendar
from tests.browser.conftest import Site

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(1800)]

DAG = "market_data_nightly"
SOON_MS = 60_000  # a page, on a machine that does other things as well
RUN_MS = 600_000  # a run of the DAG
expect.set_options(timeout=SOON_MS)


@pytest.fixture
def asked() -> list[str]:
    """Collect where requests went."""
    return []


@pytest.fixture
def tab(chromium: Browser, site: Site, asked: list[str]) -> Any:
    """Open a tab, logged out, in UTC whatever the machine's zone."""
    context = chromium.new_context(
        viewport={"width": 1400, "height": 900}, locale="en-US", timezone_id="UTC"
    )
    context.set_default_timeout(SOON_MS)
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()


def log_in(tab: Page, site: Site) -> None:
    tab.goto(f"{site.url}/")
    tab.get_by_label("Username").fill(site.user)
    tab.get_by_label("Password").fill(site.password)
    tab.get_by_role("button", name="Sign in").click()
    expect(tab.get_by_test_id("nav-dags-link")).to_be_visible()


def newest_finished(tab: Page) -> date:
    """Return the session of the run that Airflow starts by itself, once it has succeeded."""
    row = tab.get_by_role("row").filter(has_text="scheduled__").first
    expect(row).to_contain_text("Success", timeout=RUN_MS)
    found = re.search(r"scheduled__(\d{4}-\d{2}-\d{2})", row.inner_text())
    assert found is not None
    return date.fromisoformat(found.group(1))


def choose_day(tab: Page, dialog: Any, field: str, day: date) -> None:
    dialog.get_by_text("Select date and time").first.click()  # a day chosen takes its place
    tab.get_by_role("textbox", name=field).fill(f"{day:%Y/%m/%d}")
    tab.keyboard.press("Enter")
    dialog.get_by_text("Date Range").click()  # closes the calendar
    expect(dialog.get_by_text(f"{day:%b} {day.day}, {day.year}")).to_be_visible()


def start_backfill(tab: Page, first: date, last: date, shoot: Callable[[str], None]) -> None:
    tab.get_by_role("button", name="Trigger Dag").click()
    dialog = tab.get_by_role("dialog").filter(has_text=DAG)
    dialog.get_by_text("Backfill", exact=True).click()
    choose_day(tab, dialog, "From", first)
    choose_day(tab, dialog, "To", last)
    expect(dialog).to_contain_text("2 runs will be triggered")  # both days count
    shoot("backfill-form")
    dialog.get_by_role("button", name="Run Backfill").click()
    expect(tab.get_by_text("Backfill generated").first).to_be_visible()


def backfilled(tab: Page, day: date) -> Any:
    """Return the row of a session's run, which Airflow names after the moment it was due in UTC."""
    due = exchange_calendar().session(day).closes_at + timedelta(minutes=255)
    return tab.get_by_role("row").filter(has_text=f"backfill__{due:%Y-%m-%d}")


def test_a_newcomer_starts_a_backfill_and_reads_its_quality_report(
    tab: Page, site: Site, screenshots: Path, asked: list[str]
) -> None:
    def shoot(name: str) -> None:
        tab.screenshot(path=screenshots / f"{name}.png")

    log_in(tab, site)
    tab.get_by_test_id("nav-dags-link").click()
    card = tab.get_by_test_id("dag-card").filter(has_text=DAG)
    expect(card).to_contain_text("XNYS 4 h 15 min after the close")
    expect(tab.get_by_text("Dag Import Error")).to_have_count(0)

    tab.goto(f"{site.url}/dags/{DAG}/runs")
    newest = newest_finished(tab)
    tab.goto(f"{site.url}/dags")
    expect(card.get_by_test_id("latest-run")).to_be_visible()
    shoot("dags-green")

    calendar = exchange_calendar()
    last = calendar.previous_session(newest, 4).day
    first = calendar.previous_session(last).day
    tab.goto(f"{site.url}/dags/{DAG}")
    start_backfill(tab, first, last, shoot)
    shoot("backfill-started")

    tab.goto(f"{site.url}/dags/{DAG}/runs")
    for day in (first, last):
        expect(backfilled(tab, day)).to_contain_text("Success", timeout=2 * RUN_MS)
    shoot("backfill-green")

    backfilled(tab, last).get_by_role("link").first.click()
    own = tab.locator("a[href*='/runs/'][href$='/tasks/check']")  # the grid links to all runs'
    own.filter(has_text="check").click()
    tab.get_by_role("link", name="Details", exact=True).click()
    tab.get_by_role("link", name="Quality report").click()
    sentence = f"The session {last} on IEX is fit to publish with 6 of 6 symbols."
    expect(tab.get_by_role("heading", level=1)).to_have_text(sentence)
    assert tab.url == f"{site.url}/alpaca/quality/{last}"
    tab.screenshot(path=screenshots / "quality-report.png", full_page=True)
    assert [url for url in asked if not url.startswith((site.url, "blob:", "data:"))] == []


def test_the_console_shows_sessions_inside_airflow_but_apart_from_it(
    tab: Page, site: Site, screenshots: Path
) -> None:
    log_in(tab, site)
    tab.goto(f"{site.url}/dags/{DAG}/runs")
    newest = newest_finished(tab)
    tab.get_by_role("link", name=f"scheduled__{newest}").click()
    tab.get_by_role("link", name="Data quality").click()
    report = tab.frame_locator("iframe")
    expect(report.get_by_role("heading", level=1)).to_contain_text(f"The session {newest}")
    framed = tab.frames[-1]
    assert framed.url == f"{site.url}/alpaca/quality/{newest}"
    assert framed.evaluate("self.origin") == "null"  # it cannot act as the person who reads it
    tab.screenshot(path=screenshots / "data-quality-tab.png")

    tab.get_by_role("link", name="Alpaca", exact=True).click()
    console = tab.frame_locator("iframe")
    expect(console.get_by_role("heading", level=1)).to_have_text("Sessions and data quality")
    tab.screenshot(path=screenshots / "console-light.png")
    tab.emulate_media(color_scheme="dark")
    tab.screenshot(path=screenshots / "console-dark.png")
    cell = console.locator(f".weeks a[href$='/sessions/{newest}']")
    expect(cell).to_have_class(re.compile(r"\bpublished\b"))
    expect(cell).to_contain_text("6/6 symbols")
    cell.click()
    expect(console.get_by_role("heading", level=1)).to_contain_text(str(newest.day))
    expect(console.get_by_role("row").filter(has_text="NVDA")).to_contain_text("published")
    tab.screenshot(path=screenshots / "session-dark.png")


def test_whoever_is_not_logged_in_sees_nothing(chromium: Browser, site: Site) -> None:
    context = chromium.new_context()
    answer = context.new_page().goto(f"{site.url}/alpaca/")
    assert answer is not None
    assert "Sessions and data quality" not in answer.text()
    context.close()
