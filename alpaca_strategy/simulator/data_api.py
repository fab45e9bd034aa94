"""The market-data host: trades, bars, code tables."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from alpaca_strategy.simulator import bars as bar_rules
from alpaca_strategy.simulator import encode, wire
from alpaca_strategy.simulator.bars import Bar, Timeframe
from alpaca_strategy.simulator.store import BadTokenError, Place, Query, new_york_day
from alpaca_strategy.simulator.tape import CANCELED, EXCHANGES, INCORRECT, TRADE_CONDITIONS
from alpaca_strategy.simulator.venue import Venue
from alpaca_strategy.simulator.wire import RefusedError

FEEDS = ("iex", "sip", "delayed_sip")
EMBARGO_NS = 15 * 60 * 1_000_000_000
_LOOK_BACK_DAYS = 10


def venue_of(request: Request) -> Venue:
    """Return the venue that serves a request."""
    venue: Venue = request.app.state.venue
    return venue


def _feed(venue: Venue, request: Request, end: int | None) -> str:
    """Return iex or sip; recent SIP data need a subscription."""
    default = "sip" if venue.options.recent_sip else "iex"
    feed = wire.choice(request, "feed", default, FEEDS)
    recent = end is None or end > venue.clock.now_ns() - EMBARGO_NS
    if feed == "sip" and recent and not venue.options.recent_sip:
        message = "subscription does not permit querying recent SIP data"
        raise RefusedError(403, message, 42210000)
    return "iex" if feed == "iex" else "sip"


def _range(venue: Venue, request: Request) -> tuple[int, int, str]:
    """Return start, end and feed of a listing; nothing lies in the future."""
    now = venue.clock.now_ns()
    today = bar_rules.midnight_ns(new_york_day(now))
    start = wire.moment(request, "start", today)
    given = wire.moment(request, "end", 0, end_of_day=True)
    default_sip = request.query_params.get("feed") in {"sip", "delayed_sip"}
    hold_back = EMBARGO_NS if default_sip and not venue.options.recent_sip else 0
    end = min(given, now) if given else now - hold_back
    if given and start > given:
        raise RefusedError(400, "end should not be before start")
    return start, end, _feed(venue, request, end)


def _limit(venue: Venue, request: Request) -> int:
    limit = wire.integer(request, "limit", 1000, 1, wire.MAX_LIMIT)
    if venue.options.short_pages:
        # Fewer than asked for, and not always the same share, yet the same for the same question.
        digest = zlib.crc32(str(request.url.query).encode())
        limit = max(1, limit * (35 + digest % 60) // 100)
    return limit


def _symbols(venue: Venue, request: Request) -> tuple[str, ...]:
    single = request.path_params.get("symbol")
    return venue.check((single,) if single else wire.text_list(request, "symbols"))


def _common(request: Request) -> dict[str, str]:
    currency = wire.choice(request, "currency", "USD", ("USD",))
    return {"currency": currency} if "currency" in request.query_params else {}


def _single(kind: str, symbol: str, pieces: list[bytes], token: str | None) -> bytes:
    items = b"".join(pieces)[:-1]
    tail = msgspec.json.encode({"next_page_token": token, "symbol": symbol})
    return b'{"' + kind.encode() + b'":[' + items + b"]," + tail[1:]


async def trades(request: Request) -> Response:
    """Serve historical trades of one or several symbols."""
    venue = venue_of(request)
    symbols = _symbols(venue, request)
    start, end, feed = _range(venue, request)
    descending = wire.choice(request, "sort", "asc", ("asc", "desc")) == "desc"
    more = _common(request)
    place = _place(request, symbols)
    query = Query(feed, symbols, start, end, _limit(venue, request), descending, place)
    found, token, _ = venue.store.page(query)
    if "symbol" in request.path_params:
        symbol = symbols[0]
        return wire.answer(_single("trades", symbol, found.get(symbol, []), token))
    return wire.answer(wire.envelope("trades", found, token, **more))


def _place(request: Request, symbols: tuple[str, ...]) -> Place | None:
    token = request.query_params.get("page_token")
    if not token:
        return None
    try:
        place = Place.parse(token)
    except BadTokenError as error:
        raise RefusedError(400, "invalid page_token") from error
    if place.symbol not in symbols:
        raise RefusedError(400, "invalid page_token: it belongs to another request")
    return place


async def latest_trades(request: Request) -> Response:
    """Serve each symbol's last trade that sets a price."""
    venue = venue_of(request)
    symbols = _symbols(venue, request)
    feed = _feed(venue, request, None)
    found = {}
    for symbol in sorted(symbols):
        trade = latest_trade(venue, feed, symbol)
        if trade is not None:
            found[symbol] = trade
    if "symbol" in request.path_params:
        if not found:
            raise RefusedError(404, f"no trade found for {symbols[0]}")
        return wire.answer({"symbol": symbols[0], "trade": found[symbols[0]]})
    return wire.answer({"trades": found, **_common(request)})


def latest_trade(venue: Venue, feed: str, symbol: str) -> dict[str, object] | None:
    """Return the last trade up to now whose conditions let it set a price."""
    now = venue.clock.now_ns()
    today = new_york_day(now)
    first = today - timedelta(days=_LOOK_BACK_DAYS)
    for day in reversed(venue.source.days(symbol, first, today)):
        tape = venue.store.tape(feed, symbol, day)
        sets = [bar_rules.rule(marks, tape.tape, daily=False).ends for marks in tape.conditions]
        for row in range(int(tape.ts.searchsorted(now, "right")) - 1, -1, -1):
            withdrawn = tape.update[row] in {CANCELED, INCORRECT}
            if sets[tape.condition[row]] and not withdrawn:
                return encode.as_dict(tape, row)
    return None


async def bars(request: Request) -> Response:
    """Serve historical bars of one or several symbols."""
    venue = venue_of(request)
    symbols = _symbols(venue, request)
    raw = request.query_params.get("timeframe", "")
    try:
        timeframe = Timeframe.parse(raw)
    except ValueError as error:
        raise RefusedError(400, f"invalid timeframe: {raw}") from error
    start, end, feed = _range(venue, request)
    adjust = _adjustment(request)
    descending = wire.choice(request, "sort", "asc", ("asc", "desc")) == "desc"
    place = _place(request, symbols)
    listing = _Listing(venue, feed, timeframe, (start, end), descending, adjust)
    found, token = listing.page(symbols, _limit(venue, request), place)
    if "symbol" in request.path_params:
        symbol = symbols[0]
        return wire.answer(_single("bars", symbol, found.get(symbol, []), token))
    return wire.answer(wire.envelope("bars", found, token, **_common(request)))


@dataclass(frozen=True, slots=True)
class _Listing:
    """A range of bars; both ends included, nanoseconds since 1970 UTC."""

    venue: Venue
    feed: str
    timeframe: Timeframe
    window: tuple[int, int]
    descending: bool
    adjust: bool

    def page(
        self, symbols: tuple[str, ...], limit: int, place: Place | None
    ) -> tuple[dict[str, list[bytes]], str | None]:
        """Return JSON pieces by symbol and the token of the next page or None."""
        found: dict[str, list[bytes]] = {}
        last: Place | None = None
        for symbol in sorted(symbols):
            if place is not None and symbol < place.symbol:
                continue
            rows = self._rows(symbol, place if place and place.symbol == symbol else None)
            if not rows:
                continue
            if limit:
                taken = rows[:limit]
                limit -= len(taken)
                last = Place(symbol, taken[-1].start, self.timeframe.unit, 0)
                found[symbol] = [
                    _bar_json(self.venue, symbol, bar, adjust=self.adjust) for bar in taken
                ]
                rows = rows[len(taken) :]
            if rows:
                return found, None if last is None else last.token()
        return found, None

    def _rows(self, symbol: str, place: Place | None) -> list[Bar]:
        start, end = self.window
        made = _bars_of(self.venue, symbol, self.feed, self.timeframe, self.window)
        rows = [bar for bar in made if start <= bar.start <= end]
        if place is not None:
            rows = [
                bar
                for bar in rows
                if (bar.start < place.ts if self.descending else bar.start > place.ts)
            ]
        return rows[::-1] if self.descending else rows


def _adjustment(request: Request) -> bool:
    """Tell whether splits are taken out; dividends there are none."""
    words = set((request.query_params.get("adjustment") or "raw").split(","))
    if not words <= {"raw", "split", "dividend", "spin-off", "all"}:
        raise RefusedError(400, f"invalid adjustment: {','.join(sorted(words))}")
    return bool(words & {"split", "all"})


def _bars_of(
    venue: Venue, symbol: str, feed: str, timeframe: Timeframe, window: tuple[int, int]
) -> list[Bar]:
    """Return bars, oldest first, that cover a window and maybe a little more."""
    first, last = (new_york_day(edge) for edge in window)
    if timeframe.unit == "Week":
        first, last = first - timedelta(days=first.weekday()), last + timedelta(days=6)
    if timeframe.unit == "Month":
        first = first.replace(
            month=(first.month - 1) // timeframe.amount * timeframe.amount + 1, day=1
        )
        last += timedelta(days=31 * timeframe.amount)
    last = min(last, new_york_day(venue.clock.now_ns()))
    small: list[Bar] = []
    for day in venue.source.days(symbol, first, last):
        small += venue.bars(feed, symbol, day, daily=timeframe.from_daily)
    return bar_rules.regroup(small, timeframe)


def _bar_json(venue: Venue, symbol: str, bar: Bar, *, adjust: bool) -> bytes:
    factor = 1.0
    if adjust:
        day, today = new_york_day(bar.start), new_york_day(venue.clock.now_ns())
        for split in venue.splits(symbol):
            if day < split.ex_date <= today:
                factor *= split.new / split.old
    return msgspec.json.encode(bar.as_dict(encode.timestamp(bar.start), factor)) + b","


async def conditions(request: Request) -> Response:
    """Serve the meaning of condition codes."""
    ticktype = request.path_params["ticktype"]
    if ticktype not in {"trade", "quote"}:
        raise RefusedError(400, f"invalid ticktype: {ticktype}")
    wire.choice(request, "tape", "A", ("A", "B", "C"))
    return wire.answer(
        TRADE_CONDITIONS if ticktype == "trade" else {"R": "Regular, two-sided open"}
    )


async def exchanges(request: Request) -> Response:
    """Serve the meaning of exchange codes."""
    del request
    return wire.answer(EXCHANGES)
