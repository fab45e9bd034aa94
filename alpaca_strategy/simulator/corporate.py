"""Corporate actions; in this market there are splits only."""

from __future__ import annotations

import uuid
import zlib
from datetime import date, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from alpaca_strategy.simulator import wire
from alpaca_strategy.simulator.calendar import NEW_YORK
from alpaca_strategy.simulator.data_api import venue_of
from alpaca_strategy.simulator.venue import Venue
from alpaca_strategy.simulator.wire import RefusedError
from alpaca_strategy.simulator.world import Split

_PLURAL = {"forward_split": "forward_splits", "reverse_split": "reverse_splits"}
_ANNOUNCED_DAYS = 30  # how long before the ex-date an action is known


async def actions(request: Request) -> Response:
    """Serve the corporate actions processed in a range."""
    venue = venue_of(request)
    limit = wire.integer(request, "limit", 100, 1, 1000)
    today = venue.clock.now().date()
    first = _day(request, "start", today)
    last = _day(request, "end", today)
    if last < first:
        raise RefusedError(400, "end should not be before start")
    symbols = wire.text_list(request, "symbols")
    symbols = venue.check(symbols) if symbols else tuple(venue.source.symbols)
    types = wire.text_list(request, "types") or tuple(_PLURAL)
    descending = wire.choice(request, "sort", "asc", ("asc", "desc")) == "desc"
    rows = [
        (split.ex_date, symbol, _split_json(venue, split))
        for symbol in symbols
        for split in venue.splits(symbol)
        if first <= split.ex_date <= min(last, today + timedelta(days=_ANNOUNCED_DAYS))
    ]
    rows = [row for row in rows if row[2][0] in types]
    rows.sort(key=lambda row: (row[0], row[1]), reverse=descending)
    skip = _offset(request.query_params.get("page_token"))
    grouped: dict[str, list[dict[str, object]]] = {}
    for _, _, (kind, item) in rows[skip : skip + limit]:
        grouped.setdefault(_PLURAL[kind], []).append(item)
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
