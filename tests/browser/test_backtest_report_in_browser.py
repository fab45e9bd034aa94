"""A real browser draws a backtest's report in a sandbox under a strict policy, and says nothing."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect
from reported_backtests import make_backtest, make_history

from alpaca_strategy.backtest.content import Backtest
from alpaca_strategy.backtest.report.page import content_policy, render
from alpaca_strategy.strategy.rules import Rules

pytestmark = pytest.mark.browser

EVIL = '<script>top.document.title="run"</script>'
FORMULA = '=HYPERLINK("http://x","y")'
SANDBOX = "sandbox allow-scripts; "
OUTER = b"""<!doctype html><title>outer</title><link rel="icon" href="data:,">
<iframe sandbox="allow-scripts" src="/report" width="1150" height="880"></iframe>"""


class Site:
    """A server of one report, and what a browser did with it."""

    def __init__(self, page: bytes) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = {"/": OUTER, "/report": site.page}.get(self.path)
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                if self.path == "/report":
                    self.send_header("Content-Security-Policy", SANDBOX + content_policy())
                self.end_headers()
                self.wfile.write(found or b"")

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def watch(self, tab: Page) -> None:
        """Write down what a tab asks for and complains of."""
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))


@contextmanager
def served(backtest: Backtest) -> Iterator[Site]:
    site = Site(render(backtest))
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        thread.join()
        site.server.server_close()


@pytest.fixture(scope="module")
def backtest() -> Backtest:
    """Return two months of a universe in which two names mean harm."""
    names = (EVIL, FORMULA, "@SUM(1)", *(f"S{n:02}" for n in range(9)))
    history = make_history(40, names, first=date(2024, 6, 18), skill=0.25)
    made = make_backtest(history)
    assert len(made.run.trades) > 100
    return made


@pytest.fixture(scope="module")
def site(backtest: Backtest) -> Iterator[Site]:
    with served(backtest) as found:
        yield found


@pytest.fixture
def tab(chromium: Browser, site: Site) -> Iterator[Page]:
    """Open the report in a sandboxed frame."""
    page = chromium.new_page(viewport={"width": 1180, "height": 900}, color_scheme="light")
    site.asked.clear()
    site.complaints.clear()
    site.watch(page)
    page.goto(site.url)
    yield page
    page.close()


def drawn(frame: Page | FrameLocator, name: str) -> Locator:
    """Scroll to a chart and return it once it is drawn."""
    chart = frame.locator(f'[data-chart="{name}"]')
    chart.scroll_into_view_if_needed()
    expect(chart).to_have_attribute("data-drawn", "yes", timeout=15_000)
    return chart


def drawn_by_scrolling(frame: FrameLocator) -> int:
    """Scroll from chart to chart and return how many were drawn."""
    plots = frame.locator(".plot")
    count = plots.count()
    for i in range(count):
        plots.nth(i).scroll_into_view_if_needed()
        expect(plots.nth(i)).to_have_attribute("data-drawn", "yes", timeout=15_000)
        expect(plots.nth(i).locator(".main-svg").first).to_be_visible()
    return count


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_every_chart_in_a_sandboxed_frame_and_asks_for_nothing_else(
    tab: Page, site: Site, scheme: Literal["light", "dark"]
) -> None:
    tab.emulate_media(color_scheme=scheme)
    frame = tab.frame_locator("iframe")
    expect(frame.locator("h1")).to_contain_text("in 40 sessions after costs")
    assert drawn_by_scrolling(frame) >= 25
    assert tab.title() == "outer"
    assert site.complaints == []
    paths = [url.removeprefix(site.url) for url in site.asked]
    assert [path for path in paths if path not in {"/", "/report", "/favicon.ico"}] == []


def test_charts_are_drawn_only_when_they_come_into_view(tab: Page) -> None:
    frame = tab.frame_locator("iframe")
    expect(frame.locator('[data-chart="equity"]')).to_have_attribute("data-drawn", "yes")
    assert frame.locator(".plot[data-drawn]").count() < 6
    assert frame.locator('[data-chart="replay-5"] svg').count() == 0


@pytest.mark.parametrize("how", ["no trade", "one trade", "one session"])
def test_it_draws_what_there_is_of_almost_nothing(chromium: Browser, how: str) -> None:
    history = make_history({"no trade": 21, "one trade": 2, "one session": 1}[how], ("A", "B", "C"))
    if how == "one trade":
        history.scores[40:] = float("nan")
    rules = Rules(min_score=2.0) if how == "no trade" else Rules()
    with served(make_backtest(history, rules=rules)) as site:
        page = chromium.new_page()
        site.watch(page)
        page.goto(site.url)
        frame = page.frame_locator("iframe")
        assert drawn_by_scrolling(frame) >= 3
        assert frame.get_by_text("There is nothing to show").count() >= 1
        page.close()
        assert site.complaints == []


def test_it_follows_the_change_to_dark_while_it_is_open(tab: Page) -> None:
    frame = tab.frame_locator("iframe")
    line = drawn(frame, "equity").locator(".scatterlayer .js-line").nth(1)
    expect(line).to_have_css("stroke", "rgb(24, 82, 134)")
    tab.emulate_media(color_scheme="dark")
    expect(line).to_have_css("stroke", "rgb(140, 192, 238)")
    expect(frame.locator("body")).to_have_css("background-color", "rgb(20, 24, 30)")


def test_names_from_outside_are_text_in_tables_and_charts(tab: Page, site: Site) -> None:
    frame = tab.frame_locator("iframe")
    shown = drawn(frame, "attribution").locator(".ytick text").all_text_contents()
    assert "<script>top.doc…" in shown
    assert '=HYPERLINK("htt…' in shown
    assert frame.get_by_text(EVIL).count() > 0
    assert frame.locator("script").count() == 3
    assert tab.title() == "outer"
    assert site.complaints == []


# ---------------------------------------------------------------------------------------- controls


def ticks(frame: FrameLocator) -> list[str]:
    return frame.locator('[data-chart="equity"] .xtick text').all_text_contents()


def test_buttons_and_dragging_choose_the_stretch_shown(tab: Page, backtest: Backtest) -> None:
    frame = tab.frame_locator("iframe")
    chart = drawn(frame, "equity")
    assert "1 Jul" in ticks(frame)
    button = frame.get_by_role("button", name="1 session")
    button.click()
    assert ticks(frame)[0] == "10:00"
    expect(button).to_have_attribute("aria-pressed", "true")
    frame.get_by_role("button", name="All", exact=True).click()
    assert "1 Jul" in ticks(frame)
    box = chart.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    y, left = box["y"] + box["height"] / 2, box["x"]
    tab.mouse.move(left + box["width"] * 0.1, y)
    tab.mouse.down()
    tab.mouse.move(left + box["width"] * 0.2, y, steps=5)
    tab.mouse.up()
    expect(frame.get_by_role("button", name="All", exact=True)).to_have_attribute(
        "aria-pressed", "false"
    )
    zoomed = ticks(frame)
    assert zoomed
    assert "1 Jul" not in zoomed
    tab.mouse.dblclick(left + box["width"] / 2, y)
    expect(frame.get_by_role("button", name="All", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    assert "1 Jul" in ticks(frame)


def test_hovering_tells_the_session_and_the_minute(tab: Page, backtest: Backtest) -> None:
    frame = tab.frame_locator("iframe")
    chart = drawn(frame, "equity")
    frame.get_by_role("button", name="1 session").click()
    box = chart.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    tab.mouse.move(box["x"] + box["width"] - 4, box["y"] + 40)
    label = chart.locator(".hoverlayer")
    last = backtest.history.sessions[-1]
    expect(label).to_contain_text(f"{last:%a} {last.day} {last:%b %Y}, 16:00")
    expect(label).to_contain_text("Equal-weighted universe")


def test_costs_are_chosen_from_a_list(tab: Page, backtest: Backtest) -> None:
    frame = tab.frame_locator("iframe")
    chart = drawn(frame, "grid")
    for label, cost in (("5.0 bps a side", 5.0), ("0.0 bps a side", 0.0)):
        frame.locator('[data-choice="grid"]').select_option(label)
        point = next(p for p in backtest.grid if (p.cost_bps, p.top_k, p.hold) == (cost, 5, 60))
        expect(chart).to_contain_text(f"{point.sharpe:.2f}".replace("-", "\u2212"))


def test_the_trades_can_be_searched_sorted_and_paged(tab: Page, backtest: Backtest) -> None:
    frame = tab.frame_locator("iframe")
    rows = frame.locator("table.trades tbody tr")
    where = frame.locator("#trades-where")
    trades, symbols = backtest.run.trades, backtest.history.symbols
    expect(where).to_have_text(f"1 to 20 of {len(trades):,}")
    frame.get_by_role("button", name="Next").click()
    expect(where).to_have_text(f"21 to 40 of {len(trades):,}")
    head = frame.get_by_role("columnheader", name="USD").last
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    best = float(trades["profit"].max())
    expect(rows.first).to_contain_text(f"+{best:.2f}")
    head.get_by_role("button").press("Enter")  # by keyboard, and the other way round
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(rows.first).to_contain_text(f"\u2212{abs(float(trades['profit'].min())):.2f}")
    of = [int((trades["symbol"] == i).sum()) for i in range(len(symbols))]
    frame.get_by_label("Search").fill("s05")
    expect(where).to_have_text(re.compile(rf"of {of[symbols.index('S05')]}$"))
    frame.locator("#trades-which").select_option("lost")
    lost = int(((trades["symbol"] == symbols.index("S05")) & (trades["profit"] <= 0)).sum())
    expect(where).to_have_text(re.compile(rf"of {lost}$"))
    frame.get_by_label("Search").fill("nothing like this")
    expect(where).to_have_text("no trade fits")
    expect(rows).to_have_count(0)


def test_a_spreadsheet_takes_no_name_for_a_formula(tab: Page, backtest: Backtest) -> None:
    frame = tab.frame_locator("iframe")
    expect(frame.get_by_role("button", name="Save as CSV")).to_be_hidden()  # a sandbox forbids it
    frame.get_by_role("button", name="CSV as text").click()
    lines = frame.locator("#trades-csv").input_value().splitlines()
    assert len(lines) == len(backtest.run.trades) + 1
    cells = {line.partition('","')[0] for line in lines[1:]}
    assert any(cell.startswith("\"'=HYPERLINK(") for cell in cells)
    assert any(cell.startswith("\"'@SUM(1)") for cell in cells)
    assert not any(cell[1] in "=+-@" for cell in cells)


def test_opened_from_a_file_it_saves_the_trades(
    chromium: Browser, site: Site, tmp_path: Path, backtest: Backtest
) -> None:
    file = tmp_path / "backtest_report.html"
    file.write_bytes(site.page)
    page = chromium.new_page()
    page.goto(file.as_uri())
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    assert saved.value.suggested_filename == "trades.csv"
    lines = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
    page.close()
    head = '"Symbol","Entered","Left","Minutes","Shares","Paid","Got","Costs","USD","bps","Score"'
    assert lines[0] == f'{head},"Why sold"'
    last = sorted(backtest.run.trades, key=lambda t: t["entry_row"])[0]
    assert f",{last['shares']:.0f}," in lines[1]
    assert f",{round(float(last['profit']), 2):g}," in lines[1]


# ---------------------------------------------------------------------------------------- printing


def test_printed_it_draws_all_charts_in_light_colours(
    chromium: Browser, site: Site, tmp_path: Path
) -> None:
    page = chromium.new_page(color_scheme="dark")
    site.complaints.clear()
    site.watch(page)
    page.goto(f"{site.url}/report")
    drawn(page, "equity")
    page.evaluate(
        """() => addEventListener("beforeprint", () => {
          const line = document.querySelector('[data-chart="equity"] .js-line');
          const drawn = [...document.querySelectorAll(".plot .main-svg:first-of-type")];
          document.body.dataset.drawn = drawn.length;
          document.body.dataset.widest = Math.max(...drawn.map((svg) => svg.clientWidth));
          document.body.dataset.stroke = getComputedStyle(line).stroke;
        })"""
    )
    printed = page.pdf(format="A4", print_background=True)
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 5
    left = page.locator("body")
    assert int(left.get_attribute("data-drawn") or 0) >= page.locator(".plot").count()
    assert float(left.get_attribute("data-widest") or 0) <= 690
    expect(left).to_have_attribute("data-stroke", "rgb(125, 136, 150)")
    # Back on the screen, it is as dark and as wide as before.
    expect(page.locator('[data-chart="equity"] .js-line').first).to_have_css(
        "stroke", "rgb(128, 139, 153)"
    )
    equity = page.locator('[data-chart="equity"] .main-svg').first
    expect(equity).not_to_have_attribute("width", "690")
    page.close()
    assert site.complaints == []


def test_nothing_is_wider_than_a_narrow_screen(chromium: Browser, site: Site) -> None:
    page = chromium.new_page(viewport={"width": 420, "height": 800})
    page.goto(f"{site.url}/report")
    drawn(page, "equity")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    page.close()
