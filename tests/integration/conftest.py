"""A house without Airflow: a simulator, a database and an empty lake, wired by the environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from alpaca_strategy.bootstrap import Services, services
from alpaca_strategy.config import load_settings
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.storage.database import connect, migrate


@dataclass(frozen=True)
class House:
    """What a test of the jobs works in."""

    home: Path
    simulator: RunningSimulator

    @property
    def services(self) -> Services:
        """Return the connected services."""
        return services()


@pytest.fixture(scope="session")
def simulator() -> Iterator[RunningSimulator]:
    """Start one synthetic market for the whole test session."""
    with running_simulator() as running:
        yield running


@pytest.fixture
def house(
    home: Path,
    database_url: str,
    simulator: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[House]:
    """Wire an empty home to the simulator and a fresh database; six symbols keep it quick."""
    simulator.clear()
    environment = {
        "ALPACA_STRATEGY_VENUE": "simulator",
        "ALPACA_STRATEGY_DATABASE_URL": database_url,
        "ALPACA_STRATEGY_DATA_URL": simulator.url,
        "ALPACA_STRATEGY_TRADING_URL": simulator.url,
        "ALPACA_DATA_KEY": simulator.key,
        "ALPACA_DATA_SECRET": simulator.secret,
        "ALPACA_STRATEGY_DATA__SYMBOLS": "TSLA,F,NVDA,MSFT,OXY,LLY",
        "ALPACA_STRATEGY_DATA__REQUESTS_PER_MINUTE": "10000",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    engine = connect(database_url)
    migrate(engine)
    engine.dispose()
    load_settings.cache_clear()
    services.cache_clear()
    yield House(home, simulator)
    services().catalog.engine.dispose()
    services.cache_clear()
