"""What the trader knows of the market: the tape so far, whether it is whole, and who is halted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import inf
from typing import Final

import structlog

from alpaca_strategy.domain.market import Session
from alpaca_strategy.domain.streams import HaltNotice, MarketFrame, Stream
from alpaca_strategy.errors import AlpacaStrategyError
from alpaca_strategy.market.live_tape import LiveTape
from alpaca_strategy.trader.clocks import SECOND_NS
from alpaca_strategy.trader.holds import Hold, Holds
from alpaca_strategy.trader.ports import Clock, History, Streams
from alpaca_strategy.trader.work import Work

log = structlog.get_logger(__name__)
#: Trades are reported up to ten seconds late; so far before a gap is asked for again.
_OVERLAP: Final = timedelta(seconds=30)
#: The venue's clock may be ahead of ours, and a stream begins by the venue's.
_AHEAD: Final = timedelta(seconds=5)
#: And once more so long after it, for what the venue's history learns later than its stream.
_SECOND_LOOK_S: Final = 10
_RETRY_S: Final = 2
_STREAM: Final = object()
_LOOK_AGAIN_NS: Final = 15 * SECOND_NS


class Feed:
    """The tape of the session, from the stream, its gaps filled from the venue's history.

    Attributes:
        tape: The trades.
        halted: Symbols whose trading is halted, and why.
        gaps: How often the stream was lost.
    """

    def __init__(
        self, session: Session, tape: LiveTape, *, clock: Clock, history: History,
        streams: Streams, work: Work, holds: Holds, stale_s: float,
    ) -> None:  # fmt: skip
        self.tape = tape
        self.halted: dict[str, str] = {}
        self.gaps = 0
        self._session = session
        self._clock = clock
        self._history = history
        self._streams = streams
        self._work = work
        self._holds = holds
        self._stale_ns = int(stale_s * SECOND_NS)
        self._whole_until = session.opens_at  # everything before is on the tape
        self._generation = 0  # of the connection
        self._opens_ns = int(session.opens_at.timestamp()) * SECOND_NS
        self._closes_ns = int(session.closes_at.timestamp()) * SECOND_NS
        self._heard_ns = 0  # the newest trade of the stream
        self._tried_ns = 0  # the newest connection, or the newest try to get another
        self._in_doubt = False
        # What the tape is not to be trusted without: the stream itself, and gaps to be filled.
        self._owed: set[object] = {_STREAM}
        # Halted before the newest connection began: that they trade again may have been missed.
        self._halted_before: set[str] = set()
        self._connected_ns = 0
        holds.set(Hold.DATA, "the market data stream is not connected yet")

    def take(self, frame: MarketFrame) -> None:
        """Take a frame of the stream."""
        if frame.trades:
            self.tape.extend(frame.trades)
            before, self._heard_ns = self._heard_ns, self._clock.now_ns()
            if self._holds.lift(Hold.STALE):
                self._silence_ended(_moment(before))
            if self._halted_before:
                self._end_missed_halts()
        if frame.corrections:
            self.tape.correct(frame.corrections)
        if frame.cancels:
            self.tape.cancel(frame.cancels)
        for halt in frame.halts:
            self._note_halt(halt)

    def _silence_ended(self, since: datetime) -> None:
        """What was not told in the silence is asked for, before anything is decided on the tape."""
        self._holds.set(Hold.DATA, "the tape of the silence is asked for")
        self._whole_until = min(self._whole_until, since)
        self._begin_to_catch_up()

    def ready(self) -> None:
        """The stream delivers from now on; what it missed is asked for."""
        self._generation += 1
        self._tried_ns = self._clock.now_ns()
        self._heard_ns = self._heard_ns or self._tried_ns
        self._connected_ns = self._tried_ns
        self._halted_before = set(self.halted)
        if Hold.MARKET in self._holds:
            self._halted_before.update(self.tape.symbols)
        self._owed.clear()
        self._begin_to_catch_up()

    def lost(self, reason: str) -> None:
        """The stream delivers nothing any more."""
        self._generation += 1
        self._owed = {_STREAM}
        if self._holds.set(Hold.DATA, reason):
            self.gaps += 1
            # The stream may have been dead or mute since its last trade, and leaky before that.
            self._whole_until = max(self._whole_until, _moment(self._heard_ns) - _OVERLAP)
        log.warning("market_data_lost", reason=reason)

    def doubt(self) -> None:
        """Something came that could not be read: what it may have told is asked for."""
        if not self._in_doubt:
            self._in_doubt = True
            self._work.start(self._ask_again(self._generation))

    async def _ask_again(self, generation: int) -> None:
        await self._work.until(self._clock.now_ns() + _RETRY_S * SECOND_NS)
        self._in_doubt = False
        await self._fill(generation, self._now() - _OVERLAP, self._now(), object())

    def check(self) -> int:
        """Notice a stream that is connected, and mute; return when to look again.

        Only a trade that the stream brings shows that it is not: a new connection does not.
        """
        now = self._clock.now_ns()
        if not self._opens_ns <= now < self._closes_ns:
            self._holds.lift(Hold.STALE)
            return max(self._opens_ns, now + self._stale_ns)
        if Hold.DATA in self._holds or Hold.MARKET in self._holds:  # silence is as it should be
            return now + min(self._stale_ns, _LOOK_AGAIN_NS)
        since_ns = max(self._heard_ns, self._opens_ns)
        if (due_ns := max(since_ns, self._tried_ns) + self._stale_ns) > now:
            return due_ns
        reason = f"no trade of any symbol for {(now - since_ns) / SECOND_NS:.0f} s"
        self._holds.set(Hold.STALE, reason)
        log.warning("market_data_stale", reason=reason)
        self._tried_ns = now
        self._streams.reconnect(Stream.DATA, reason)
        return now + self._stale_ns

    def price(self, symbol: str) -> Decimal | None:
        """Return the price of a symbol's newest trade in USD; None before the first."""
        price = self.tape.last_price(symbol)
        return None if price is None else Decimal(repr(price))

    def age_s(self, symbol: str) -> float:
        """Return how old that price is, in seconds of the venue's time."""
        newest = self.tape.newest_by_symbol().get(symbol)
        return inf if newest is None else (self._clock.now_ns() - newest) / SECOND_NS

    @property
    def newest(self) -> datetime | None:
        """When the newest trade was made, UTC."""
        ns = self.tape.newest_ns
        return None if ns is None else datetime.fromtimestamp(ns / SECOND_NS, UTC)

    def _begin_to_catch_up(self) -> None:
        gap = object()
        self._owed.add(gap)
        self._work.start(self._catch_up(self._generation, self._now(), gap))

    async def _catch_up(self, generation: int, until: datetime, gap: object) -> None:
        """Fill the gap before a connection began; trading on its data begins after that."""
        if not await self._fill(generation, self._whole_until, until, gap):
            return
        await self._work.until(self._clock.now_ns() + _SECOND_LOOK_S * SECOND_NS)
        if await self._fill(generation, self._whole_until, until, gap):
            self._whole_until = max(self._whole_until, until)

    async def _fill(
        self, generation: int, start: datetime, until: datetime, gap: object
    ) -> bool:  # fmt: skip
        """Ask for the trades of a gap until they come; False when the stream is lost meanwhile.

        While it is owed nothing is decided on the tape, and no longer.
        """
        start, until = start - _OVERLAP, min(until + _AHEAD, self._session.closes_at)
        while generation == self._generation:
            if until <= self._session.opens_at:
                return self._filled(generation, gap)  # nothing before the open enters a bar
            try:
                found = await self._work.venue(
                    self._history.trades, self.tape.symbols, start, until
                )
            except AlpacaStrategyError as error:  # a refusal, too: the session may outlast it
                self._owed.add(gap)
                self._holds.set(Hold.DATA, f"the gap in the tape is not filled: {error}")
                log.warning("gap_not_filled", reason=str(error))
                await self._work.until(self._clock.now_ns() + _RETRY_S * SECOND_NS)
                continue
            added = self.tape.extend_table(found)
            log.info("gap_filled", start=start.isoformat(), end=until.isoformat(), trades=added)
            return self._filled(generation, gap)
        return False

    def _filled(self, generation: int, gap: object) -> bool:
        if generation != self._generation:
            return False
        self._owed.discard(gap)
        if not self._owed:
            self._holds.lift(Hold.DATA)
        return True

    def _end_missed_halts(self) -> None:
        """A name that has traded since the connection began is not halted, whoever told of it."""
        newest = self.tape.newest_by_symbol()
        for symbol in self._halted_before & newest.keys():
            if newest[symbol] > self._connected_ns:
                self._halted_before.discard(symbol)
                self._holds.lift(Hold.MARKET)
                if self.halted.pop(symbol, None) is not None:
                    log.warning("halt_ended_unseen", symbol=symbol)

    def _note_halt(self, halt: HaltNotice) -> None:
        self._halted_before.discard(halt.symbol)
        if halt.market_wide:
            self._halted_before.clear()
            self._holds.put(Hold.MARKET, halt.why if halt.halted else None)
        elif halt.halted:
            self.halted[halt.symbol] = halt.why
        else:
            self.halted.pop(halt.symbol, None)
        log.warning("trading_status", symbol=halt.symbol, halted=halt.halted, why=halt.why)

    def _now(self) -> datetime:
        return _moment(self._clock.now_ns())


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / SECOND_NS, UTC)
