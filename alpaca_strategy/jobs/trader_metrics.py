"""The trader's figures for Prometheus, on loopback.

The main loop notes them once a second as it shows that it lives; a thread of its own hands out
what was noted last. Whoever asks, however often, neither holds up the loop nor reads what it is
changing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from time import monotonic
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from alpaca_strategy.domain.journal import Decision, Heartbeat
from alpaca_strategy.domain.orders import IntentState
from alpaca_strategy.trader.holds import Hold
from alpaca_strategy.trader.parts import Parts

log = structlog.get_logger(__name__)
HOST: Final = "127.0.0.1"
PHASES: Final = ("starting", "waiting", "trading", "stopped")
_PREFIX: Final = "alpaca_trader_"
_LEFT: Final = tuple(state.value for state in IntentState if state is not IntentState.PENDING)


@contextmanager
def served(port: int, parts: Parts) -> Iterator[Callable[[Heartbeat], None]]:
    """Serve a trader's figures meanwhile; one that cannot be served trades all the same.

    Args:
        port: On 127.0.0.1; 0 serves nothing.
        parts: The trader's.

    Yields:
        To be called by the trader's loop with every heartbeat.
    """
    if not port:
        yield lambda _: None
        return
    meter = Meter(parts)
    parts.rounds.on_decision = meter.decided
    registry = CollectorRegistry()
    registry.register(meter)
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, addr=HOST, registry=registry)
    except OSError as error:
        log.warning("metrics_not_served", host=HOST, port=port, reason=str(error))
        yield lambda _: None
        return
    log.info("metrics_served", url=f"http://{HOST}:{port}/metrics")
    try:
        yield meter.look
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Meter(Collector):
    """What the loop noted last."""

    def __init__(self, parts: Parts, now: Callable[[], float] = monotonic) -> None:
        self._parts = parts
        self._now = now
        self._noted: tuple[Metric, ...] = ()
        self._beat_at = now()
        self._decisions: Counter[str] = Counter(made=0, skipped=0)
        self._trades = 0

    def decided(self, decision: Decision) -> None:
        """Count a decision; called by the loop."""
        self._decisions["skipped" if decision.skipped else "made"] += 1

    def look(self, beat: Heartbeat) -> None:
        """Note how things stand; called by the loop."""
        self._noted = (*self._state(beat), *self._data(beat), *self._money(), *self._work(beat))
        self._beat_at = self._now()

    def collect(self) -> Iterable[Metric]:
        """Return what was noted last; called by whichever thread answers."""
        noted, age = self._noted, self._now() - self._beat_at
        yield _gauge("heartbeat_age_seconds", "Since the main loop last showed that it lives.", age)
        yield from noted

    def _state(self, beat: Heartbeat) -> Iterator[Metric]:
        told = beat.detail
        about = {name: str(told.get(name)) for name in ("mode", "model", "session")}
        yield InfoMetricFamily(f"{_PREFIX}run", "What trades, and when.", value=about)
        yield _gauges("phase", "1 for the phase that the trader is in.", "phase",
                      {name: float(name == beat.phase) for name in PHASES})  # fmt: skip
        yield _gauges("hold", "1 while this keeps the trader from trading.", "hold",
                      {hold.value: float(hold.value in beat.holds) for hold in Hold})  # fmt: skip

    def _data(self, beat: Heartbeat) -> Iterator[Metric]:
        counts, feed = _counts(beat), self._parts.feed
        tape = feed.tape.counts
        # A corrected trade may leave the tape, and a counter must not fall.
        self._trades = max(self._trades, tape.trades)
        if beat.last_data_at is not None:
            age_s = (beat.venue_at - beat.last_data_at).total_seconds()
            yield _gauge("newest_trade_age_seconds", "Of the newest trade, in venue time.", age_s)
        yield _counter("trades", "Trades taken up.", self._trades)
        yield _counter("late_trades", "Trades that came after a later one.", tape.late)
        yield _counter("rejected_trades", "Trades that cannot be.", tape.rejected)
        yield _counter(
            "duplicate_trades", "Trades that came again, as from the history.", tape.duplicates
        )
        yield _counter("data_gaps", "How often market data went missing.", feed.gaps)
        yield _counter("nonsense", "Messages that made no sense.", counts.get("nonsense", 0))
        lost = {name: counts.get(f"{name}_lost", 0) for name in ("data", "updates")}
        yield _counters("streams_lost", "Connections that ended.", "stream", lost)

    def _money(self) -> Iterator[Metric]:
        books, ledger = self._parts.books, self._parts.ledger
        if books.account is not None:
            values = (
                one.qty * one.avg_entry_price if one.market_value is None else one.market_value
                for one in books.positions.values()
            )
            gross, equity = sum(map(abs, values), Decimal(0)), books.account.equity
            yield _gauge("equity_usd", "Of the account.", equity)
            yield _gauge("gross_exposure_usd", "Of all positions, others' included.", gross)
            if equity > 0:
                yield _gauge("gross_exposure_ratio", "Of the equity.", gross / equity)
        if books.day_return is not None:
            yield _gauge("day_return_ratio", "Since the session before closed.", books.day_return)
        foreign = sum(bool(qty) for qty in (books.foreign or {}).values())
        yield _gauge("positions", "Symbols that the strategy holds.", len(ledger.shares()))
        yield _gauge("foreign_positions", "Symbols of which others hold something.", foreign)
        yield _gauge(
            "books_differences", "What of the venue's books is not explained.",
            len(books.differences),
        )  # fmt: skip

    def _work(self, beat: Heartbeat) -> Iterator[Metric]:
        parts = self._parts
        ledger, sent = parts.ledger, parts.ledger.sent()
        states = Counter(dict.fromkeys(_LEFT, 0))
        states.update(entry.state.value for entry in sent)
        fills = sum(len(entry.reached.times) for entry in sent)
        yield _counter("orders_sent", "In the session.", parts.gatekeeper.orders_sent)
        yield _gauges("orders", "That left or may have, by how far they came.", "state", states)
        yield _gauge("unresolved_orders", "Of unknown fate.", len(ledger.unresolved()))
        yield _counter("fills", "Executions heard of since the start.", fills)
        yield _counters("decisions", "Since the start.", "outcome", self._decisions)
        yield _gauges(
            "decision_stage_seconds", "Of the newest decision.", "stage", parts.rounds.stages
        )
        failures = _counts(beat).get("journal_failures", 0)
        yield _counter("journal_failures", "Writes that the database did not take.", failures)


def _counts(beat: Heartbeat) -> Mapping[str, int]:
    found = beat.detail.get("counts")
    return found if isinstance(found, Mapping) else {}


def _gauge(name: str, about: str, value: float | Decimal) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, about, value=float(value))


def _counter(name: str, about: str, value: int) -> Metric:
    return CounterMetricFamily(_PREFIX + name, about, value=value)


def _gauges(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, about, labels=[label])
    for one, value in values.items():
        family.add_metric([one], value)
    return family


def _counters(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, about, labels=[label])
    for one, value in values.items():
        family.add_metric([one], value)
    return family
