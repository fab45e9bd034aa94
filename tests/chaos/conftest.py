"""Databases for the proofs: one in the common server, and a server that a test may stop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from own_server import OwnServer, own_server

from alpaca_strategy.storage.database import connect, migrate


def with_tables(url: str) -> str:
    """Return the address of a database after its tables have been made."""
    engine = connect(url)
    migrate(engine)
    engine.dispose()
    return url


@pytest.fixture
def trading_database(database_url: str) -> str:
    """Make a database with our tables in the common server."""
    return with_tables(database_url)


@pytest.fixture
def own_database() -> Iterator[OwnServer]:
    """Start a Postgres of the test's own, with our tables."""
    with own_server() as server:
        with_tables(server.url)
        yield server
