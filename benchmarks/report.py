"""Render the report of a year's backtest, and open it in Chromium.

    python benchmarks/report.py [--json] [--sessions 252] [--symbols 30] [--runs 5]

The sessions are seeded and synthetic, the run is the engine's own, and the page holds everything
that a page can. Rendering is timed in this process, after one page that nobody counts. Interactive
is a page when what is in view is drawn and the last task of more than 50 ms is done, from the
request on, in a sandboxed frame under the policy that it is served with, each time in a fresh
Chromium without a cache. There is no peer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from alpaca_strategy.backtest.report.page import MOST_BYTES, content_policy, render  # noqa: E402
from tests.reported_backtests import make_backtest, make_history, universe  # noqa: E402

RENDER_GOAL_S, INTERACTIVE_GOAL_S = 20.0, 3.0
OUTER = b'<!doctype html><iframe sandbox="allow-scripts" src="/report" width="1180" height="900">'
#: Of quiet, after which no more work is expected.
QUIET_MS = 1500
#: Returns when the last task of more than 50 ms ended, in ms since the page was asked for.
LAST_LONG_TASK = """() => new Promise((done) => {
  let end = 0;
  const seen = (list) => list.getEntries().forEach((task) => {
    end = Math.max(end, task.startTime + task.duration);
  });
  new PerformanceObserver(seen).observe({ type: "longtask", buffered: true });
  setTimeout(() => done(end), 200);
})"""


class Handler(BaseHTTPRequestHandler):
    page = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        if self.path == "/report":
            self.send_header(
                "Content-Security-Policy", f"sandbox allow-scripts; {content_policy()}"
            )
        self.end_headers()
        self.wfile.write(self.page if self.path == "/report" else OUTER)

    def log_message(self, *_: object) -> None:
        pass


def interactive_s(page: bytes, runs: int) -> list[float]:
    """Return seconds from asking for a page until a person can use it."""
    Handler.page = page
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("Chromium is not installed; Debian and Ubuntu: apt-get install chromium")
    took = []
    with sync_playwright() as playwright:
        for _ in range(runs):
            browser = playwright.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-gpu"]
            )
            tab = browser.new_page()
            tab.goto(f"http://127.0.0.1:{server.server_port}/", wait_until="commit")
            drawn = tab.frame_locator("iframe").locator(".plot[data-drawn]").first
            drawn.wait_for(timeout=60_000)
            tab.wait_for_timeout(QUIET_MS)
            took.append(drawn.evaluate(LAST_LONG_TASK) / 1000)
            browser.close()
    server.shutdown()
    server.server_close()
    return took


def measure(sessions: int, count: int, runs: int) -> list[dict[str, object]]:
    names = list(universe())
    names += [f"S{i:03d}" for i in range(count - len(names))]
    backtest = make_backtest(make_history(sessions, tuple(names[:count]), skill=0.22))
    took = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        page = render(backtest)
        took.append(time.perf_counter() - begin)
    render_s = statistics.median(took[1:])
    open_s = statistics.median(interactive_s(page, runs))
    what = f"{sessions} sessions x {count} symbols, {len(backtest.run.trades):,} trades"
    return [
        {
            "name": f"render the report of {what}",
            "value": round(render_s, 3),
            "unit": "s",
            "goal": f"<= {RENDER_GOAL_S:g} s",
            "holds": render_s <= RENDER_GOAL_S,
        },
        {
            "name": "the page's size",
            "value": round(len(page) / 1e6, 3),
            "unit": "MB",
            "goal": f"<= {MOST_BYTES / 1e6:g} MB",
            "holds": len(page) <= MOST_BYTES,
        },
        {
            "name": "until it is interactive in Chromium",
            "value": round(open_s, 3),
            "unit": "s",
            "goal": f"<= {INTERACTIVE_GOAL_S:g} s",
            "holds": open_s <= INTERACTIVE_GOAL_S,
        },
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sessions", type=int, default=252)
    parser.add_argument("--symbols", type=int, default=30)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    figures = measure(options.sessions, options.symbols, options.runs)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if options.json:
        print(json.dumps({"figures": figures, "machine": machine}))
        return
    for figure in figures:
        print(f"{figure['name']}: {figure['value']} {figure['unit']} (goal: {figure['goal']})")


if __name__ == "__main__":
    main()
