"""A session on a simulator: how it is started, and whether both sides' books agree at the end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from alpaca_strategy.bootstrap import services
from alpaca_strategy.jobs.trader_wiring import Gateway
from alpaca_strategy.market.calendar import exchange_calendar

#: So long before the open the market wakes up, for the trader to be ready in time.
BEFORE_OPEN = timedelta(minutes=2)


def options_of(day: date, rate: float) -> dict[str, Any]:
    """Return the simulator's options for a session: the market of the settings, at a rate.

    Args:
        day: The session.
        rate: Market seconds a second; 0 lets the trader move the clock.
    """
    settings = services().settings
    start = exchange_calendar().session(day).opens_at - BEFORE_OPEN
    options: dict[str, Any] = {
        "now": start.isoformat().replace("+00:00", "Z"),
        "stream_symbols_limit": max(30, len(settings.symbols())),
        "seed": settings.simulator.seed,
        "key": "SIMDAY",
        "zombie_s": 0,
    }
    return options | ({"paused": True} if rate == 0 else {"rate": rate})


def to_simulator(url: str, key: str, secret: str, token: str) -> Gateway:
    """Return the way to a simulator on this machine."""
    feed = services().settings.data.feed.value
    stream = url.replace("http", "ws", 1)
    return Gateway(
        mode="simulated",
        url=url,
        key=key,
        secret=secret,
        data_url=url,
        data_key=key,
        data_secret=secret,
        data_stream=f"{stream}/v2/{feed}",
        updates_stream=f"{stream}/stream",
        token=token,
    )


def judge(done: Mapping[str, Any], truth: Mapping[str, Any]) -> str:
    """Return in one sentence whether the exchange's own ledger agrees with the trader's."""
    at_exchange, ours = len(truth["orders"]), int(done["orders"])
    held = {one["symbol"]: one["qty"] for one in truth["positions"]}
    fills = len(truth["fills"])
    if at_exchange == ours and (not held) is done["flat"]:
        return f"the exchange's ledger agrees: {at_exchange} orders, {fills} executions"
    return (
        f"the exchange's ledger DIFFERS: {at_exchange} orders there and {ours} here, positions "
        f"there {held}"
    )
