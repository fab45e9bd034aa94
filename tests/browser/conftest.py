"""A whole stack of its own, and a real browser in front of it.

With STACK_HOME set to the home of a running stack, that one is used, and left running.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from alpaca_strategy.state import read_state
from tests.integration.stack_runs import StackRun, new_home

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "ALPACA_STRATEGY_DATA__SYMBOLS": "TSLA,F,NVDA,MSFT,OXY,LLY",
    "ALPACA_STRATEGY_DATA__CHUNK_SYMBOLS": "3",
    "ALPACA_STRATEGY_STACK__PARALLELISM": "4",
}


@dataclass(frozen=True)
class Site:
    """Where Airflow is, and who may log in."""

    url: str
    user: str
    password: str


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Bring a stack up, without a first backfill."""
    run = None
    if given := os.environ.get("STACK_HOME"):
        home = Path(given)
    else:
        home = new_home()
        run = StackRun(home, **SETTINGS)
    try:
        if run is not None:
            run.up_and_ready()
        state = read_state(home, "simulator")
        assert state is not None, f"no stack was ever started in {home}"
        yield Site(state.airflow_url, state.airflow_user, state.airflow_password)
    finally:
        if run is not None:
            run.destroy()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Start Chromium, telling nobody."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed; Debian and Ubuntu: apt-get install chromium")
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Return the folder in which a person may look at what the tests saw."""
    folder = ROOT / "results" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
