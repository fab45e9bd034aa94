"""What tests of fetching share: a market, clients of it, and a fetch in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.broker.transport import Limits
from alpaca_strategy.domain.market import Feed, Session
from alpaca_strategy.jobs.fetch import FetchSummary, fetch_tape
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.simulator.launch import RunningSimulator
from alpaca_strategy.storage.pacing import ProcessPace
from alpaca_strategy.storage.staging import Staging

DAY = date(2026, 10, 1)
NOW = datetime(2026, 10, 2, tzinfo=UTC)
SYMBOLS = ("F", "MSFT", "NVDA", "OXY", "TSLA")
TRADES = 600  # of a symbol and session, in the markets of these tests
PAGE = 250
#: Nothing here waits for long: failures are the point.
QUICK = Limits(
    connect_s=2, read_s=0.7, deadline_s=1.5, backoff_s=0.01, backoff_max_s=0.2, patience_s=2,
    rate_limit_patience_s=1.5,
)  # fmt: skip


def session(day: date = DAY) -> Session:
    """Return the session of these tests."""
    return exchange_calendar().session(day)


@contextmanager
def client(simulator: RunningSimulator, **options: Any) -> Iterator[MarketData]:
    """Connect to a simulator as quickly as it can serve."""
    basis = {
        "key": simulator.key, "secret": simulator.secret, "feed": Feed.IEX, "url": simulator.url,
        "trading_url": simulator.url, "pace": ProcessPace(per_minute=10**6), "page_limit": PAGE,
        "limits": QUICK,
    }  # fmt: skip
    market_data = MarketData(**{**basis, **options})
    try:
        yield market_data
    finally:
        market_data.close()


def fetch(
    simulator: RunningSimulator, root: Path, *, via: dict[str, Any] | None = None, **options: Any
) -> FetchSummary:
    """Fetch the session into a folder."""
    basis: dict[str, Any] = {"session": session(), "symbols": SYMBOLS, "now": NOW}
    with client(simulator, **(via or {})) as market_data:
        return fetch_tape(market_data=market_data, staging=Staging(root), **{**basis, **options})


def peak_mib() -> int:
    """Return this process's own peak memory.

    Not `ru_maxrss`: across exec Linux hands down the peak of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def hashes(root: Path, day: date = DAY) -> dict[str, str]:
    """Return what was staged: the hash of every complete tape."""
    staging = Staging(root)
    found = {symbol: staging.manifest(day, symbol) for symbol in staging.symbols(day)}
    return {symbol: manifest.tape_hash for symbol, manifest in found.items() if manifest}
