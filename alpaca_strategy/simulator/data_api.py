"""The market-data host: trades, bars, code tables, corporate actions."""

from __future__ import annotations

import uuid
import zlib
from datetime import date, datetime, timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from alpaca_strategy.simulator import bars as bar_rules
from alpaca_strategy.simulator import encode, wire
from alpaca_strategy.simulator.bars import Bar, Timeframe
from alpaca_strategy.simulator.calendar import NEW_YORK
from alpaca_strategy.simulator.store import BadTokenError, Place, Query, new_york_day
from alpaca_strategy.simulator.tape import CANCELED, EXCHANGES, INCORRECT, TRADE_CONDITIONS
from alpaca_strategy.simulator.venue import Venue
from alpaca_strategy.simulator.wire import RefusedError
from alpaca_strategy.simulator.world import Split

FEEDS = ("iex", "sip", "delayed_sip")
EMBARGO_NS = 15 * 60 * 1_000_000_000
_SPLIT_KEYS = {"forward_split": "forward_splits", "reverse_split": "reverse_splits"}
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
    left, found, token = _limit(venue, request), {}, None
    last: Place | None = None
    for symbol in sorted(symbols):
        if place is not None and symbol < place.symbol:
            continue
        here = place if place is not None and place.symbol == symbol else None
        made = _bars_of(venue, symbol, feed, timeframe, (start, end))
        rows = [bar for bar in made if start <= bar.start <= end]
        rows = rows[::-1] if descending else rows
        if here is not None:
            rows = [b for b in rows if (b.start < here.ts if descending else b.start > here.ts)]
        if rows and left == 0:
            token = None if last is None else last.token()
            break
        pieces = [_bar_json(venue, symbol, bar, adjust=adjust) for bar in rows[:left]]
        if pieces:
            found[symbol] = pieces
            left -= len(pieces)
            last = Place(symbol, rows[len(pieces) - 1].start, timeframe.unit, 0)
        if len(pieces) < len(rows):
            token = None if last is None else last.token()
            break
    if "symbol" in request.path_params:
        symbol = symbols[0]
        return wire.answer(_single("bars", symbol, found.get(symbol, []), token))
    return wire.answer(wire.envelope("bars", found, token, **_common(request)))


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


async def corporate_actions(request: Request) -> Response:
    """Serve corporate actions; in this market there are splits only."""
    venue = venue_of(request)
    limit = wire.integer(request, "limit", 100, 1, 1000)
    today = venue.clock.now().date()
    first = _day(request, "start", today)
    last = _day(request, "end", today)
    if last < first:
        raise RefusedError(400, "end should not be before start")
    symbols = wire.text_list(request, "symbols")
    symbols = venue.check(symbols) if symbols else tuple(venue.source.symbols)
    types = wire.text_list(request, "types") or tuple(_SPLIT_KEYS)
    descending = wire.choice(request, "sort", "asc", ("asc", "desc")) == "desc"
    rows = [
        (split.ex_date, symbol, _split_json(venue, split))
        for symbol in symbols
        for split in venue.splits(symbol)
        # Alpaca knows of an action only when it processes it.
        if first <= split.ex_date <= min(last, today + timedelta(days=30))
    ]
    rows = [row for row in rows if row[2][0] in types]
    rows.sort(key=lambda row: (row[0], row[1]), reverse=descending)
    skip = _offset(request.query_params.get("page_token"))
    grouped: dict[str, list[dict[str, object]]] = {}
    for _, _, (kind, item) in rows[skip : skip + limit]:
        grouped.setdefault(_SPLIT_KEYS[kind], []).append(item)
    token = f"{skip + limit:x}" if skip + limit < len(rows) else None
    return wire.answer({"corporate_actions": grouped, "next_page_token": token})


def _offset(token: str | None) -> int:
    try:
        return int(token, 16) if token else 0
    except ValueError as error:
        raise RefusedError(400, "invalid page_token") from error


def _day(request: Request, name: str, default: date) -> date:
    ns = wire.moment(request, name, 0)
    return datetime.fromtimestamp(ns // 1_000_000_000, NEW_YORK).date() if ns else default


def _split_json(venue: Venue, split: Split) -> tuple[str, dict[str, object]]:
    day = split.ex_date.isoformat()
    cusip = f"{zlib.crc32(split.symbol.encode()) % 10**9:09d}"
    item: dict[str, object] = {
        "id": str(uuid.uuid5(uuid.UUID(venue.asset_id(split.symbol)), day)),
        "symbol": split.symbol,
        "new_rate": split.new,
        "old_rate": split.old,
        "process_date": day,
        "ex_date": day,
        "record_date": day,
        "payable_date": day,
    }
    if split.new > split.old:
        return "forward_split", {**item, "cusip": cusip}
    return "reverse_split", {**item, "old_cusip": cusip, "new_cusip": f"{cusip[:8]}R"}
