"""A trading floor for proofs: the simulator, the real trader as a process, and a judge.

The judge looks at the exchange's own ledger, and at the trader's journal, and at nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from alpaca_strategy.domain.journal import Book
from alpaca_strategy.market.calendar import exchange_calendar
from alpaca_strategy.simulator.launch import RunningSimulator, running_simulator
from alpaca_strategy.storage.database import connect
from alpaca_strategy.storage.journal import TradingJournal
from alpaca_strategy.storage.trading_records import TradingReader

PROCESS = Path(__file__).with_name("trader_process.py")
NEW_YORK = ZoneInfo("America/New_York")
SESSION = date(2026, 10, 5)
SYMBOLS = ("TSLA", "F", "NVDA", "MSFT", "OXY", "LLY")
#: Trades often, so that little time is enough to see much.
SETTINGS: dict[str, Any] = {
    "venue": "simulator",
    "data": {"symbols": list(SYMBOLS)},
    "strategy": {
        "interval_minutes": 2, "hold_minutes": 2, "top_k": 2, "max_positions": 3,
        "cooldown_minutes": 0, "trend_filter": False, "momentum_filter": False, "min_rsi": None,
        "min_score": None, "keep_chosen": True,
    },
    "trading": {"grace_s": 1.0, "metrics_port": 0, "min_coverage": 0.5},
    "logging": {"format": "json"},
}  # fmt: skip


@dataclass
class Floor:
    """One exchange, one account, and whoever trades on it."""

    simulator: RunningSimulator
    database_url: str
    folder: Path
    account: str
    session: date = SESSION
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=lambda: SETTINGS)
    told: dict[str, Any] = field(default_factory=dict)  # more for the process to know
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def book(self) -> Book:
        return Book(self.account, "as")

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Start a trader."""
        settings = self.folder / "settings.yaml"
        settings.write_text(yaml.safe_dump(self.settings))
        told = {
            "url": self.simulator.url, "key": self.simulator.key, "secret": self.simulator.secret,
            "token": self.simulator.token, "session": self.session.isoformat(),
            "account": self.account, "database_url": self.database_url, "seed": self.seed,
            **self.told,
        }  # fmt: skip
        log = (self.folder / f"trader-{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, str(PROCESS), json.dumps(told)], stdout=subprocess.PIPE, stderr=log,
            text=True,
            env={
                **os.environ, "ALPACA_STRATEGY_HOME": str(self.folder),
                "ALPACA_STRATEGY_SETTINGS": str(settings), "OMP_NUM_THREADS": "1", **environment,
            },
        )  # fmt: skip
        log.close()
        self.processes.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], within_s: float = 120) -> dict[str, Any]:
        """Wait for a trader's orderly end, and return what it says of it."""
        output, _ = process.communicate(timeout=within_s)
        assert process.returncode == 0, self.log()
        ending: dict[str, Any] = json.loads(output)
        return ending

    def play_out(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Stop a trader and the venue's clock, and let one that moves it end the session."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            self.finish(process)
        self.simulator.clock(paused=True)
        return self.finish(self.start())

    def log(self, lines: int = 60) -> str:
        """Return the end of what the newest trader has logged."""
        path = self.folder / f"trader-{len(self.processes) - 1}.log"
        return "\n".join(path.read_text().splitlines()[-lines:])

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return what all traders have logged of one kind."""
        logs = (self.folder / f"trader-{n}.log" for n in range(len(self.processes)))
        lines = [line for log in logs for line in log.read_text().splitlines()]
        return [json.loads(line) for line in lines if f'"event": "{event}"' in line]

    def until(self, what: Callable[[], object], within_s: float = 60) -> None:
        """Wait until something is the case."""
        deadline = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def reader(self) -> TradingReader:
        return TradingReader(connect(self.database_url))

    def judge(self, *, flat: bool = True, foreign: Mapping[str, int] | None = None) -> list[str]:
        """Return every violation of the invariants, from the morning of the session on.

        Args:
            flat: The account should hold nothing at the end, but for what is others'.
            foreign: Shares of others, by symbol.
        """
        truth = self.simulator.truth()
        truth["orders"] = [one for one in truth["orders"] if _day(one) >= self.session]
        journal = TradingJournal(self.database_url, self.book)
        left = journal.recover(self.session)
        journal.close()
        reader = self.reader()
        intents = {one.intent.ticket.client_order_id: one for one in
                   reader.orders(self.book, self.session)}  # fmt: skip
        reader.engine.dispose()
        return [
            *_one_order_an_intent(truth, intents),
            *_same_positions(truth, left.shares, foreign or {}),
            *_within_limits(truth, self.session),
            *_all_settled(intents),
            *([f"not flat: {dict(left.shares)}"] if flat and left.shares else []),
        ]


def _day(order: dict[str, Any]) -> date:
    return datetime.fromisoformat(order["submitted_at"]).astimezone(NEW_YORK).date()


def _one_order_an_intent(truth: dict[str, Any], intents: dict[str, Any]) -> Iterator[str]:
    """I1 and I5: every order at the exchange is one intent's, as it was meant, and only one."""
    seen: set[str] = set()
    for order in truth["orders"]:
        name = order["client_order_id"]
        if not name.startswith("as-"):
            continue  # a person's
        if name in seen:
            yield f"I1: two orders {name}"
        seen.add(name)
        if name not in intents:
            yield f"I5: the exchange has {name}, and the journal has no such intent"
            continue
        ticket = intents[name].intent.ticket
        if (order["symbol"], order["side"]) != (ticket.symbol, ticket.side.value):
            yield f"I5: {name} is {order['side']} {order['symbol']} at the exchange"
        if Decimal(str(order["qty"])) != ticket.qty:
            yield f"I5: {name} is for {order['qty']}, and was meant for {ticket.qty}"


def _same_positions(
    truth: dict[str, Any], ours: Mapping[str, Decimal], foreign: Mapping[str, int]
) -> Iterator[str]:
    """I2: what the trader believes to hold is what the exchange says."""
    theirs = {one["symbol"]: Decimal(str(one["qty"])) for one in truth["positions"]}
    both = {name: ours.get(name, 0) + Decimal(foreign.get(name, 0)) for name in {*ours, *foreign}}
    if theirs != {name: qty for name, qty in both.items() if qty}:
        yield f"I2: the exchange has {theirs}, the journal {dict(ours)}, others {dict(foreign)}"


def _within_limits(truth: dict[str, Any], session: date) -> Iterator[str]:
    """I3 and I4: never short, never beyond a limit, never outside of the session."""
    hours = exchange_calendar().session(session)
    held: dict[str, Decimal] = {}
    worth: dict[str, Decimal] = {}
    for fill in truth["fills"]:
        symbol, price = fill["symbol"], Decimal(str(fill["price"]))
        sign = 1 if fill["side"] == "buy" else -1
        held[symbol] = held.get(symbol, Decimal(0)) + sign * Decimal(str(fill["qty"]))
        worth[symbol] = held[symbol] * price
        if held[symbol] < 0:
            yield f"I3: {symbol} is short {held[symbol]} after {fill}"
        if sign > 0 and sum(worth.values()) > 110_000:
            yield f"I3: {sum(worth.values()):.0f} USD invested of about 100,000"
    for order in truth["orders"]:
        at = datetime.fromisoformat(order["submitted_at"]).astimezone(UTC)
        if not hours.opens_at <= at < hours.closes_at:
            yield f"I4: {order['client_order_id']} was sent at {at}"


def _all_settled(intents: dict[str, Any]) -> Iterator[str]:
    """I6: nothing is left of which nobody knows what became."""
    for name, known in intents.items():
        if not known.last.state.is_final:
            yield f"I6: {name} is still {known.last.state}"


@contextmanager
def trading_floor(
    database_url: str, folder: Path, *, start: str = "15:40", rate: float = 0.0, seed: int = 0,
    settings: dict[str, Any] | None = None, session: date = SESSION, **options: Any,
) -> Iterator[Floor]:  # fmt: skip
    """Open a floor shortly before the close; a rate of 0 lets the trader move the clock."""
    options = {"trades": 3000, "zombie_s": 0, **options}
    pace = {"paused": True} if rate == 0 else {"rate": rate}
    now = datetime.fromisoformat(f"{session}T{start}:00").replace(tzinfo=NEW_YORK).isoformat()
    with running_simulator(now=now, key="SIMFLOOR", seed=7 + seed, **pace, **options) as simulator:
        folder.mkdir(parents=True, exist_ok=True)
        floor = Floor(
            simulator, database_url, folder, f"SIM-{uuid.uuid4().hex[:12]}", session, seed,
            settings=merged(SETTINGS, settings or {}),
        )  # fmt: skip
        try:
            yield floor
        finally:
            for process in floor.processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return settings with some of a section changed."""
    return {
        name: {**base.get(name, {}), **changes.get(name, {})}
        if isinstance(base.get(name, {}), dict)
        else changes.get(name, base.get(name))
        for name in {*base, *changes}
    }
