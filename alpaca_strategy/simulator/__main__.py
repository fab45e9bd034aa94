"""Run the exchange simulator: `python -m alpaca_strategy.simulator --help`."""

# ruff: noqa: FBT002  # typer turns Boolean options into flags

from __future__ import annotations

import os
import secrets
import sys
import threading
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import structlog
import typer

from alpaca_strategy.config import load_settings
from alpaca_strategy.errors import AlpacaStrategyError, SettingsError
from alpaca_strategy.simulator import server
from alpaca_strategy.simulator.clock import MAX_RATE
from alpaca_strategy.simulator.encode import parse_timestamp
from alpaca_strategy.simulator.streams import StreamOptions
from alpaca_strategy.simulator.venue import Options
from alpaca_strategy.simulator.world import Parameters, Split

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        msg = f"{name} {text!r} is not a date; write it as 2026-10-01."
        raise SettingsError(msg) from error


def _split(text: str) -> Split:
    try:
        symbol, day, ratio = text.split(":")
        new, old = ratio.split("/")
        return Split(symbol, date.fromisoformat(day), int(new), int(old))
    except ValueError as error:
        msg = f"--split {text!r} cannot be read; write it as TSLA:2026-10-01:3/1."
        raise SettingsError(msg) from error


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else parse_timestamp(text)
    except ValueError as error:
        msg = f"--now {text!r} is not a time; write it as 2026-10-01T13:30:00Z."
        raise SettingsError(msg) from error


@app.command()
def main(  # noqa: PLR0917  # typer reads every option from the signature
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 lets the system choose.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = server.LOOPBACK,
    allow_any_host: Annotated[
        bool, typer.Option(help="Accept a host other than 127.0.0.1.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the synthetic market.")] = None,
    trades: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000_000, help="Trades of a symbol in a full session on the IEX feed."
        ),
    ] = None,
    iex_share: Annotated[
        float, typer.Option(min=0.001, max=1, help="IEX's share of all trades (SIP has all).")
    ] = 0.25,
    signal_ic: Annotated[
        float | None,
        typer.Option(
            min=-0.5, max=0.5, help="Planted oracle IC; 0 removes it, a minus sign flips it."
        ),
    ] = None,
    signal_from: Annotated[str, typer.Option(help="First session with the signal.")] = "0001-01-01",
    signal_until: Annotated[str, typer.Option(help="Last session with the signal.")] = "9999-12-31",
    split: Annotated[
        list[str] | None, typer.Option(help="A split, as TSLA:2026-10-01:3/1; may be repeated.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Folder of Parquet files with recorded trades to serve.")
    ] = None,
    now: Annotated[
        str | None, typer.Option(help="Simulated time at the start; default: the real time.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.001, max=MAX_RATE, help="Simulated seconds per second.")
    ] = 1.0,
    paused: Annotated[bool, typer.Option(help="Start with the clock standing still.")] = False,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Rate limit per key.")
    ] = None,
    rate_window_s: Annotated[
        float, typer.Option(min=0.1, help="Length of the rate limit's window.")
    ] = 60.0,
    short_pages: Annotated[
        bool, typer.Option(help="Serve fewer items a page than allowed.")
    ] = False,
    recent_sip: Annotated[
        bool, typer.Option(help="Allow SIP data of the last 15 minutes.")
    ] = False,
    cash: Annotated[
        float, typer.Option(min=0, max=1e12, help="The account's opening balance in USD.")
    ] = 100_000,
    multiplier: Annotated[
        int, typer.Option(help="How many times its equity the account may hold: 4, 2 or 1.")
    ] = 4,
    partial_prob: Annotated[
        float, typer.Option(min=0, max=1, help="Chance that an order is first filled in part.")
    ] = 0.1,
    schedule_file: Annotated[
        Path | None, typer.Option("--schedule", help="YAML of faults and events to come.")
    ] = None,
    frame_trades: Annotated[
        int, typer.Option(min=1, max=200, help="Trades that may share a websocket message.")
    ] = 50,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Connections of a key to each market-data stream.")
    ] = 1,
    max_update_connections: Annotated[
        int, typer.Option(min=1, help="Connections of a key to the stream of trade updates.")
    ] = 1,
    stream_symbols_limit: Annotated[
        int, typer.Option(min=0, help="Symbols with trades or quotes on a stream; 0: no limit.")
    ] = 30,
    zombie_s: Annotated[
        float, typer.Option(min=0, help="A lost connection keeps its place for so many seconds.")
    ] = 90.0,
    auth_timeout_s: Annotated[
        float, typer.Option(min=0.05, help="Seconds that a stream's client may take to log in.")
    ] = 10.0,
    send_buffer: Annotated[
        int, typer.Option(min=4096, help="Bytes kept for a slow client before it is dropped.")
    ] = 16 << 20,
    late_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of late recorded trades; 0: none is late.")
    ] = 0.002,
    deflate: Annotated[
        bool, typer.Option(help="Compress market data where the client agrees.")
    ] = False,
    with_parent: Annotated[
        bool, typer.Option(help="End when standard input closes, with whoever started this.")
    ] = False,
) -> None:
    """Serve a simulated exchange that speaks Alpaca's protocol, until interrupted.

    Keys come from the environment: SIMULATOR_KEY and SIMULATOR_SECRET for clients (several pairs
    may be given, separated by commas), SIMULATOR_TOKEN for the side door under /_sim/. A missing
    one is drawn at random.
    """
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if multiplier not in {1, 2, 4}:
        msg = f"--multiplier is 4, 2 or 1, got {multiplier}."
        raise SettingsError(msg)
    settings = load_settings()
    parameters = Parameters(
        seed=settings.simulator.seed if seed is None else seed,
        trades=settings.simulator.trades_per_symbol_session if trades is None else trades,
        iex_share=iex_share,
        signal_ic=settings.simulator.signal_ic if signal_ic is None else signal_ic,
        signal_from=_day(signal_from, "--signal-from"),
        signal_until=_day(signal_until, "--signal-until"),
        scheduled_splits=tuple(_split(text) for text in split or ()),
    )
    options = Options(
        keys=_keys(),
        token=os.environ.get("SIMULATOR_TOKEN") or secrets.token_hex(16),
        requests_per_minute=requests_per_minute or settings.simulator.requests_per_minute,
        rate_window_s=rate_window_s,
        short_pages=short_pages,
        recent_sip=recent_sip,
        cash=Decimal(str(cash)),
        multiplier=multiplier,
        partial_prob=partial_prob,
        streams=StreamOptions(
            frame_trades=frame_trades,
            max_connections=max_connections,
            max_update_connections=max_update_connections,
            symbols_limit=stream_symbols_limit,
            zombie_s=zombie_s,
            auth_timeout_s=auth_timeout_s,
            send_buffer=send_buffer,
            late_share=late_share,
            deflate=deflate,
        ),
    )
    wanted = settings.stack.simulator_port if port is None else port
    listener = server.listen(host, wanted, allow_any_host=allow_any_host)
    venue = server.build_venue(
        options, parameters, settings.universe(), replay or settings.simulator.replay
    )
    venue.clock.set(now_ns=_moment(now), rate=rate, paused=paused)
    if schedule_file is not None:
        server.plan(venue, schedule_file)
    server.serve(venue, listener)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # nothing of a simulated exchange is worth keeping


def _keys() -> dict[str, str]:
    """Return secrets by key id."""
    keys = (os.environ.get("SIMULATOR_KEY") or f"SIM{secrets.token_hex(8).upper()}").split(",")
    words = (os.environ.get("SIMULATOR_SECRET") or secrets.token_hex(20)).split(",")
    if len(keys) != len(words):
        msg = (
            f"SIMULATOR_KEY names {len(keys)} keys but SIMULATOR_SECRET {len(words)} secrets; "
            f"give one secret for each key."
        )
        raise SettingsError(msg)
    return dict(zip(keys, words, strict=True))


def run() -> None:
    """Run the command; errors are one sentence."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        app()
    except AlpacaStrategyError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)


if __name__ == "__main__":
    run()
