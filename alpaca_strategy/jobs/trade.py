"""Trade one session, from the checks before it to the last comparison after it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.broker.addresses import Access, Mode, check_access, check_live
from alpaca_strategy.broker.trading import TradingApi
from alpaca_strategy.config import Settings, home
from alpaca_strategy.domain.market import Session, Venue
from alpaca_strategy.errors import CredentialsError, NotASessionError, SettingsError, UserError
from alpaca_strategy.jobs.in_service import model_in_service, sessions_before
from alpaca_strategy.jobs.trader_metrics import served
from alpaca_strategy.jobs.trader_wiring import Gateway, broker_of, limits_of, market_of, wire
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.storage.records import SessionStatus

_STREAMS = "wss://stream.data.alpaca.markets"
_HOSTS = {"paper": "https://paper-api.alpaca.markets", "live": "https://api.alpaca.markets"}
NEW_YORK = ZoneInfo("America/New_York")


def trade(progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Trade today's session at Alpaca, on paper unless three opt-ins say otherwise.

    Raises:
        CredentialsError: Keys are missing, refused, or of another kind of account.
        SettingsError: Live trading is not allowed, or addresses and mode do not fit.
        NotASessionError: The exchange has no session left today.
        ModelRefusedError: No model may trade.
        BusyError: Another trader is at work.
    """
    settings = services().settings
    gateway = alpaca(settings)
    broker = broker_of(settings, gateway)
    number = broker.account().number
    check_live(
        _access(gateway), confirmation=settings.live_confirmation, account=number,
        limits_hash=limits_of(settings).fingerprint(), today=datetime.now(UTC).date(),
    )  # fmt: skip
    session = session_now(broker)
    progress(f"{gateway.mode} account {number}, session {session.day}")
    return _trade(services(), gateway, broker, number, session)


def simulate(gateway: Gateway, day: date) -> dict[str, Any]:
    """Trade a session on a simulator.

    Args:
        gateway: The simulator.
        day: The session.

    Raises:
        ModelRefusedError: No model may trade.
    """
    check_access(_access(gateway))
    house = services()
    if house.settings.resolved_venue is not Venue.SIMULATOR:
        msg = (
            "The data and models here are Alpaca's, and a simulated market is another one; to "
            "simulate, set venue to simulator and start `make run`."
        )
        raise SettingsError(msg)
    broker = broker_of(house.settings, gateway)
    # Every simulated exchange begins anew, and so do its books.
    book = f"{broker.account().number}-{secrets.token_hex(3)}"
    return _trade(house, gateway, broker, book, exchange_calendar().session(day))


def _trade(
    house: Services, gateway: Gateway, broker: TradingApi, account: str, session: Session
) -> dict[str, Any]:
    settings = house.settings
    market = market_of(settings, gateway)
    scorer = model_in_service(house, session.opens_at)
    before = sessions_before(house, session.day, market)
    url = house.catalog.engine.url.render_as_string(hide_password=False)

    async def run() -> dict[str, Any]:
        trader = wire(
            settings, gateway, account=account, database_url=url, session=session, scorer=scorer,
            before=before, broker=broker, market=market, logs=logs_folder(),
        )  # fmt: skip
        with served(settings.trading.metrics_port, trader.parts) as look:
            trader.parts.on_beat = look
            ending = await trader.run()
        return asdict(ending) | {
            "account": account,
            "session": session.day.isoformat(),
            "model": scorer.model_id,
            "decisions": len(trader.parts.rounds.decided),
            "orders": trader.parts.gatekeeper.orders_sent,
            "equity": str(trader.parts.books.equity),
            "day_return": trader.parts.books.day_return,
        }

    try:
        return asyncio.run(run())
    finally:
        broker.close()
        market.close()


def alpaca(settings: Settings) -> Gateway:
    """Return the way to Alpaca that the settings describe, checked as far as it can be unasked.

    Raises:
        CredentialsError: Keys are missing, or of another kind.
        SettingsError: Addresses and mode do not fit.
    """
    mode = settings.trading.mode
    key, secret = settings.alpaca_api_key, settings.alpaca_secret_key
    data_key, data_secret = settings.alpaca_data_key or key, settings.alpaca_data_secret or secret
    feed = settings.data.feed.value
    gateway = Gateway(
        mode=mode,
        url=settings.trading_url,
        key=key.get_secret_value() if key else "",
        secret=secret.get_secret_value() if secret else "",
        data_url=settings.data_url,
        data_key=data_key.get_secret_value() if data_key else "",
        data_secret=data_secret.get_secret_value() if data_secret else "",
        data_stream=f"{_STREAMS}/v2/{feed}",
        updates_stream=f"{_HOSTS[mode].replace('https', 'wss')}/stream",
    )
    check_access(_access(gateway))
    if settings.resolved_venue is not Venue.PAPER:
        msg = (
            "Data and models here are the simulator's, and cannot trade at Alpaca; set "
            "ALPACA_DATA_KEY and ALPACA_DATA_SECRET, or use --simulate."
        )
        raise CredentialsError(msg)
    return gateway


def _access(gateway: Gateway) -> Access:
    return Access(
        mode=Mode(gateway.mode),
        trading_url=gateway.url,
        data_urls=tuple(url for url in (gateway.data_url, gateway.data_stream) if url),
        update_urls=(gateway.updates_stream,),
        key=gateway.key or None,
        has_secret=bool(gateway.secret),
        data_key=gateway.data_key or None,
    )


def session_now(broker: TradingApi) -> Session:
    """Return today's session, as the venue has it: it knows of closures that no calendar foresaw.

    Raises:
        NotASessionError: None is left today.
        VenueError: The venue does not say.
    """
    clock = broker.clock()
    today = clock.now.astimezone(NEW_YORK).date()
    session = exchange_calendar().session(today)
    closes = clock.next_close.astimezone(UTC)
    if closes.astimezone(NEW_YORK).date() != today:
        msg = f"The session of {today} is over or does not take place, says the venue."
        raise NotASessionError(msg)
    return session if closes == session.closes_at else replace(session, closes_at=closes)


def day_to_simulate(text: str | None) -> date:
    """Return the session that was asked for, or the one after the last published.

    Raises:
        UserError: It is no date, or no session.
    """
    house = services()
    if text is not None:
        try:
            return exchange_calendar().session(date.fromisoformat(text)).day
        except ValueError as error:
            msg = f"{text!r} is not a date; write it as YYYY-MM-DD."
            raise UserError(msg) from error
    rows = house.catalog.sessions(None, None, house.settings.data.feed)
    days = [row.session for row in rows if row.status is SessionStatus.PUBLISHED]
    last = max(days, default=datetime.now(UTC).date() - timedelta(days=7))
    return exchange_calendar().next_session(last).day


def logs_folder() -> Path:
    """Return where orders, trades and positions are written as CSV."""
    return home() / "results" / "logs"
