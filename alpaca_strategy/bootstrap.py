"""The only wiring: settings in, connected services out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from alpaca_strategy.broker.market_data import MarketData
from alpaca_strategy.config import Settings, home, load_settings
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.errors import CredentialsError, ServiceUnavailableError
from alpaca_strategy.market.conditions import ConditionTable, load_condition_table
from alpaca_strategy.state import StackState, read_state
from alpaca_strategy.storage.backtests import Backtests
from alpaca_strategy.storage.catalog import Catalog
from alpaca_strategy.storage.database import connect
from alpaca_strategy.storage.lake import Lake
from alpaca_strategy.storage.objects import ObjectStore
from alpaca_strategy.storage.pacing import PostgresPace
from alpaca_strategy.storage.registry import Registry
from alpaca_strategy.storage.staging import Staging


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a job may use."""

    settings: Settings
    catalog: Catalog
    registry: Registry
    backtests: Backtests
    lake: Lake
    objects: ObjectStore
    staging: Staging
    conditions: ConditionTable

    def market_data(self) -> MarketData:
        """Return the venue's market data, paced over all processes.

        Raises:
            CredentialsError: No keys are configured, and no simulator has been started.
        """
        settings, state = self.settings, _state(self.settings)
        key, secret = settings.alpaca_data_key, settings.alpaca_data_secret
        pair = (key.get_secret_value(), secret.get_secret_value()) if key and secret else None
        simulated = settings.resolved_venue is Venue.SIMULATOR
        if pair is None and simulated and state and state.simulator_key and state.simulator_secret:
            pair = (state.simulator_key, state.simulator_secret)
        if pair is None:
            msg = (
                "There are no keys for market data; start the simulator with `make run`, or set "
                "ALPACA_DATA_KEY and ALPACA_DATA_SECRET in .env."
            )
            raise CredentialsError(msg)
        url = state.simulator_url if simulated and state else None
        pace = PostgresPace(
            self.catalog.engine,
            name=f"data:{settings.resolved_venue.value}",
            per_minute=(settings.simulator if simulated else settings.data).requests_per_minute,
        )
        return MarketData(
            key=pair[0],
            secret=pair[1],
            feed=settings.data.feed,
            url=settings.data_url or url,
            trading_url=settings.trading_url or url,
            pace=pace,
            page_limit=settings.data.page_limit,
        )


def _state(settings: Settings) -> StackState | None:
    return read_state(home(), settings.resolved_venue.value)


@lru_cache(maxsize=1)
def services() -> Services:
    """Connect what this process needs, once.

    Raises:
        ServiceUnavailableError: No database is configured, and no stack has been started.
        SettingsError: The settings are not usable.
    """
    settings = load_settings()
    state = _state(settings)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
    elif state is not None:
        url = state.database_url
    else:
        msg = "There is no database yet; start the stack with `make run`."
        raise ServiceUnavailableError(msg)
    engine = connect(url)
    staging = Staging(Path(settings.location(settings.storage.staging)))
    objects = ObjectStore(settings.location(settings.storage.objects))
    return Services(
        settings=settings,
        catalog=Catalog(engine),
        registry=Registry(engine),
        backtests=Backtests(engine, objects),
        lake=Lake(settings.location(settings.storage.lake)),
        objects=objects,
        staging=staging,
        conditions=load_condition_table(settings.data.condition_table),
    )
