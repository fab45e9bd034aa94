"""Trades of the synthetic market: one symbol and day at a time, from seeds alone.

A day is generated in two parts, the trades on IEX and those elsewhere, each from its own seed;
the SIP feed merges them. Arrivals cluster (a branching process), signs run and follow the
pressure of `signal`, prices sit on either side of the efficient price, on a one-cent tick.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import pairwise

import numpy as np

from alpaca_strategy.simulator import calendar, prints, signal
from alpaca_strategy.simulator.signal import STEP_S, STEPS, TICK
from alpaca_strategy.simulator.tape import Floats, Ints, Tape, empty, join, merge
from alpaca_strategy.simulator.world import OVERNIGHT_SHARE, World, rng

OFFSPRING = 0.65  # children a trade brings about
RUN = 0.3  # chance that a trade within a second of another copies its sign
FLOOR = 5 / 6  # of the wanted number of trades; 6,000 never gives fewer than 5,000
STRETCH_TRADES = 250_000  # on IEX; a session with more is made in several stretches
_STEP_NS = STEP_S * 1_000_000_000
_MINUTE_NS = 60 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some minutes of a session, from `first` up to `last`, with their share of its activity."""

    first: int
    last: int
    share: float
    minutes: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Trades' times (ns since the open), signs, and the log return of news up to each of them."""

    arrival: Ints
    sign: Floats
    walk: Floats


class SyntheticMarket:
    """The synthetic source: prices and tapes of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._bridges: OrderedDict[tuple[str, int], Floats] = OrderedDict()
        self._calibrations: dict[int, signal.Calibration] = {}

    @property
    def symbols(self) -> list[str]:
        """Return the symbols, sorted."""
        return sorted(self.world.companies)

    def days(self, symbol: str, first: date, last: date) -> list[date]:
        """Return the days with trades of a symbol in a range."""
        del symbol  # every company trades every session
        last = min(last, self.world.days[-1])
        first = max(first, self.world.days[0])
        return [day.date for day in calendar.sessions(first, last)] if first <= last else []

    def calibration(self, minutes: int) -> signal.Calibration:
        """Return the signal's calibration for a session length."""
        if minutes not in self._calibrations:
            self._calibrations[minutes] = signal.calibrate(self.world, minutes)
        return self._calibrations[minutes]

    def tape(self, feed: str, symbol: str, day: date) -> Tape:
        """Generate a symbol's trades of a day: ``iex`` or ``sip``."""
        session = calendar.session(day)
        if session is None or day not in self.world.positions:
            return empty(self.world.companies[symbol].tape)
        pieces = []
        for stretch in self._stretches(session.minutes):
            piece = self._part(symbol, session, "iex", stretch)
            if feed != "iex":
                piece = merge(piece, self._part(symbol, session, "away", stretch))
            pieces.append(piece)
        return join(pieces)

    def _stretches(self, minutes: int) -> list[Stretch]:
        """Cut a session with very many trades, so that making them takes bounded memory."""
        count = 1 + int(self.world.parameters.trades * minutes / 390) // STRETCH_TRADES
        done = _done(minutes)[::STEPS]
        edges = np.searchsorted(done, np.linspace(0, 1, count + 1)[1:-1]).tolist()
        cuts = sorted({0, *edges, minutes})
        return [Stretch(a, b, float(done[b] - done[a]), minutes) for a, b in pairwise(cuts)]

    def log_path(self, symbol: str, session: calendar.Day) -> Floats:
        """Return what moves the log price from outside, unadjusted, every five seconds.

        The market, the sector and the signal's drift; the company's own news are in `Flow.walk`.
        """
        world, company = self.world, self.world.companies[symbol]
        position, minutes = world.positions[session.date], session.minutes
        path = np.zeros(minutes * STEPS + 1)
        for source, loading, vol in world.factors(company)[:-1]:
            path += loading * self._bridge(source, vol, position, minutes)
        path += self._drift(symbol, session)
        start = world.opening_log_price(symbol, session.date)
        path += start - np.log(world.split_factor(symbol, session.date))
        return path

    def _bridge(self, source: str, vol: float, position: int, minutes: int) -> Floats:
        """Return a source's log return since the open; it ends at the day's return."""
        key = (source, position)
        if key in self._bridges:
            self._bridges.move_to_end(key)
            return self._bridges[key]
        share = signal.clock_shape(minutes)
        draw = rng(self.world.parameters.seed, source, position, "path")
        walk = np.zeros(len(share) + 1)
        scale = vol * np.sqrt(1 - OVERNIGHT_SHARE)
        np.cumsum(draw.standard_normal(len(share)) * np.sqrt(share) * scale, out=walk[1:])
        target = float(self.world.returns(source, vol)[1][position])
        walk += _done(minutes) * (target - walk[-1])
        self._bridges[key] = walk
        if len(self._bridges) > 128:
            self._bridges.popitem(last=False)
        return walk

    def _drift(self, symbol: str, session: calendar.Day) -> Floats:
        """Return what the signal adds to the path; it too is tied to the day's return."""
        world, minutes = self.world, session.minutes
        ic = world.parameters.ic(session.date)
        z = signal.pressure(world, symbol, world.positions[session.date], minutes)
        size = self.calibration(minutes).drift(ic) * world.companies[symbol].vol
        by_minute = np.zeros(minutes)
        by_minute[1:] = size * z[:-1] * signal.minute_volatility(minutes)[1:]
        path = np.zeros(minutes * STEPS + 1)
        np.cumsum(np.repeat(by_minute / STEPS, STEPS), out=path[1:])
        path -= _done(minutes) * path[-1]
        return path

    def _rng(self, symbol: str, session: calendar.Day, *words: int | str) -> np.random.Generator:
        return rng(self.world.parameters.seed, symbol, self.world.positions[session.date], *words)

    def _part(self, symbol: str, session: calendar.Day, part: str, stretch: Stretch) -> Tape:
        """Generate the trades of one group of venues in a stretch of the session."""
        company = self.world.companies[symbol]
        draw = self._rng(symbol, session, part, stretch.first)
        flow = self._flow(draw, symbol, session, part, stretch)
        path, news = self.log_path(symbol, session), flow.walk
        if part == "away":  # the company's news are those that IEX trades tell
            first = self._rng(symbol, session, "iex", stretch.first)
            leading = self._flow(first, symbol, session, "iex", stretch)
            told = np.concatenate([[self._levels(symbol, session, stretch)[0]], leading.walk])
            news = told[np.searchsorted(leading.arrival, flow.arrival, "right")]
        price = _prices(path, news, flow.arrival, flow.sign, company.half_spread)
        prints_ = prints.body(draw, flow.arrival + session.open_ns, price)
        if stretch.first == 0 or stretch.last == session.minutes:
            ends = float(np.exp(path[0])), float(np.exp(path[-1] + news[-1]))
            count = self._count(symbol, session, part)
            before, after = prints.edges(
                self._rng(symbol, session, part, "edges"), session, ends, count
            )
            prints_ = before.then(prints_) if stretch.first == 0 else prints_
            prints_ = prints_.then(after) if stretch.last == session.minutes else prints_
        hours = (session.open_ns + stretch.first * _MINUTE_NS, session.close_ns)
        return prints.report(draw, prints_, part, company.tape, hours)

    def _count(self, symbol: str, session: calendar.Day, part: str) -> int:
        """Return how many trades the regular hours have."""
        wanted = self.world.parameters.trades * session.minutes / 390
        if part == "away":
            wanted *= 1 / self.world.parameters.iex_share - 1
        busy = float(np.exp(0.12 * self._rng(symbol, session, part, "count").standard_normal()))
        return max(int(np.ceil(wanted * max(busy, FLOOR))), 1)

    def _levels(self, symbol: str, session: calendar.Day, stretch: Stretch) -> tuple[float, float]:
        """Return the log return of the company's news at both ends of a stretch."""
        source, _, vol = self.world.factors(self.world.companies[symbol])[-1]
        position = self.world.positions[session.date]
        if stretch.last - stretch.first == session.minutes:
            return 0.0, float(self.world.returns(source, vol)[1][position])
        path = self._bridge(source, vol, position, session.minutes)
        return float(path[stretch.first * STEPS]), float(path[stretch.last * STEPS])

    def _mean_sign(self, symbol: str, session: calendar.Day) -> Floats:
        """Return the expected sign of a trade in each minute."""
        position = self.world.positions[session.date]
        z = signal.pressure(self.world, symbol, position, session.minutes)
        mean: Floats = np.clip(signal.FLOW * z, -signal.FLOW_LIMIT, signal.FLOW_LIMIT)
        return mean

    def _flow(
        self, draw: np.random.Generator, symbol: str, session: calendar.Day, part: str,
        stretch: Stretch,
    ) -> Flow:  # fmt: skip
        """Draw times, signs, and the news that the signs carry.

        The price moves by what is unexpected of a sign, so that the flow alone foretells nothing
        (Glosten and Milgrom 1985); yet a buy ticks up and a sale down, as the tick rule assumes.
        """
        count = max(int(np.ceil(self._count(symbol, session, part) * stretch.share)), 1)
        arrival = arrivals(draw, stretch, count)
        expected = self._mean_sign(symbol, session)[arrival // _MINUTE_NS]
        buy = draw.random(count, np.float32) < 0.5 + 0.5 * expected
        sign = np.where(buy, 1.0, -1.0)
        # An order worked in pieces: a trade on the heels of another often has its sign.
        close = np.diff(arrival, prepend=-(10**12)) <= 1_000_000_000
        fresh = ~close | (draw.random(count, np.float32) >= RUN)
        sign = sign[np.maximum.accumulate(np.where(fresh, np.arange(count), 0))]
        expected = np.where(close, RUN * np.roll(sign, 1) + (1 - RUN) * expected, expected)
        walk = np.cumsum((sign - expected) * (0.5 + 0.5 * draw.standard_exponential(count)))
        # 1.25 is the mean square of the factor above.
        surprise = 1.25 * float(np.mean(1 - expected * expected)) * count
        vol = self.world.companies[symbol].vol
        walk *= vol * np.sqrt((1 - OVERNIGHT_SHARE) * stretch.share / surprise)
        start, end = self._levels(symbol, session, stretch)
        walk += start + np.arange(1, count + 1) * ((end - start - walk[-1]) / count)
        return Flow(arrival, sign, walk)


@lru_cache(maxsize=8)
def _done(minutes: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(signal.clock_shape(minutes))])


@lru_cache(maxsize=64)
def _inverse_clock(stretch: Stretch) -> Floats:
    """Return the nanosecond at 4,097 equal steps of a stretch's trading activity."""
    steps = np.arange(stretch.minutes * STEPS + 1) * float(_STEP_NS)
    done = _done(stretch.minutes)
    first, last = done[stretch.first * STEPS], done[stretch.last * STEPS]
    table: Floats = np.interp(np.linspace(first, last, 4097), done, steps)
    return table


def arrivals(draw: np.random.Generator, stretch: Stretch, count: int) -> Ints:
    """Return nanoseconds since the open of `count` clustered trades, increasing.

    A Hawkes process by its branches: immigrants follow the session's clock, every trade brings
    about Poisson(0.65) others after 0.15 s or 12 s on average.
    """
    first = int(np.ceil(count * (1 - OFFSPRING)))
    table = _inverse_clock(stretch)
    spot = draw.random(first) * 4096
    whole = spot.astype(np.int64)
    parents = table[whole] + (table[whole + 1] - table[whole]) * (spot - whole)
    found, total = [parents], first
    while total < count:
        children = np.repeat(parents, draw.poisson(OFFSPRING, len(parents)))[: count - total]
        if not len(children):  # the family died out early: it has another branch
            children = found[0][: count - total]
        lag = draw.standard_exponential(len(children))
        lag *= np.where(draw.random(len(children), np.float32) < 0.6, 0.15e9, 12e9)
        parents = children + lag
        found.append(parents)
        total += len(parents)
    spread = np.concatenate(found)
    start, end = stretch.first * float(_MINUTE_NS), stretch.last * float(_MINUTE_NS)
    spread = np.where(spread >= end, start + (spread - end) % (end - start), spread)
    times: Ints = spread.astype(np.int64)
    times.sort()
    return times


def _prices(path: Floats, news: Floats, arrival: Ints, sign: Floats, half: float) -> Floats:
    """Return trade prices: the bid or the ask around the efficient price, on the tick."""
    step = arrival // _STEP_NS
    part = (arrival - step * _STEP_NS) / _STEP_NS
    middle = path[step]
    middle += (path[step + 1] - middle) * part
    middle += news
    np.exp(middle, out=middle)
    u = arrival * (2.0 / ((len(path) - 1) * _STEP_NS)) - 1.0
    u *= u
    wide = middle * half * (1 + 0.8 * u * u) / TICK
    wide -= 0.5
    np.maximum(wide, 0.0, out=wide)
    ticks = np.ceil(sign * middle / TICK + wide)  # a seller's price is the mirror of a buyer's
    price: Floats = np.maximum(np.abs(ticks), 1.0) / (1 / TICK)
    return price
