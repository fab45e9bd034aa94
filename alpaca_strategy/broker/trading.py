"""The trading host: orders sent once, cancellations, and questions that are asked until answered.

The genuine client makes every request. It is not for several threads at once, so each call takes a
line of its own. An order is one request, ever; `classify` tells what became of it. What could not
leave in time is refused and not unknown, as nothing was sent. That no connection came about is
unknown all the same: whoever looks the order up finds none and may send it again under its id,
which costs half a minute, and no reading of a network error has to be trusted with money.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

import structlog
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient
from requests.exceptions import RequestException

from alpaca_strategy.broker import classify, entities
from alpaca_strategy.broker.answers import never_left, transport_reason
from alpaca_strategy.broker.budget import Budget, Lane
from alpaca_strategy.broker.lines import AbsentError, Line, Lines
from alpaca_strategy.broker.rest import DecodeError, trading_client
from alpaca_strategy.broker.tickets import order_body
from alpaca_strategy.broker.transport import Limits
from alpaca_strategy.domain.orders import Fill, Ticket, VenueOrder
from alpaca_strategy.domain.outcomes import Outcome, Refusal, Refused, Unknown
from alpaca_strategy.domain.portfolio import Account, Asset, Position, VenueClock
from alpaca_strategy.errors import MalformedResponseError

T = TypeVar("T")
log = structlog.get_logger(__name__)

#: What trading puts up with; the longest good answer is the list of all assets, about 6 MB.
TRADING_LIMITS: Final = Limits(
    connect_s=3.0, read_s=5.0, deadline_s=8.0, max_body_bytes=16 << 20, patience_s=10.0,
    rate_limit_patience_s=10.0, backoff_s=0.25, backoff_max_s=2.0,
)  # fmt: skip
_ORDERS_PAGE: Final = 500
_FILLS_PAGE: Final = 100
#: A page with fewer is the last. A fuller one may be cut by a limit lower than the one asked for,
#: such as the venue's own default.
_SURELY_LAST: Final = 50
_MAX_PAGES: Final = 200
_OVERLAP: Final = timedelta(seconds=1)


class TradingApi:
    """One account at one trading host, for any number of threads."""

    def __init__(
        self,
        *,
        key: str,
        secret: str,
        budget: Budget,
        url: str | None = None,
        limits: Limits = TRADING_LIMITS,
        order_wait_s: float = 5.0,
        cancel_wait_s: float = 5.0,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            key: Of the account.
            secret: Likewise.
            budget: Of the account, shared by everything that uses its keys here.
            url: The host's root; Alpaca's paper host by default, never the live one.
            limits: What is put up with.
            order_wait_s: How long an order may wait for its turn.
            cancel_wait_s: Likewise a cancellation.

        Raises:
            SettingsError: The address is no URL.
        """
        self._budget, self._limits = budget, limits
        self._waits = {Lane.ORDER: order_wait_s, Lane.CANCEL: cancel_wait_s}
        self._lines = Lines(lambda: Line(trading_client(key, secret, url), budget, limits))
        with self._lines.take():
            pass  # an address that is none is told now
        self._lock = threading.Lock()
        self._orders_sent = 0

    def close(self) -> None:
        """Close the connections; calls under way come to their end."""
        self._lines.close()

    @property
    def orders_sent(self) -> int:
        """Orders that were handed to the wire, whatever became of them."""
        return self._orders_sent

    def submit(
        self, ticket: Ticket, may_leave: Callable[[], bool] = lambda: True
    ) -> Outcome[VenueOrder]:
        """Send an order, once.

        Args:
            ticket: The order.
            may_leave: Asked when its turn has come, right before it leaves: waiting may have taken
                long, and a process may have been frozen meanwhile.
        """
        try:
            body = order_body(ticket)
        except ValueError as error:
            return Refused(Refusal.OTHER, f"not sent: {error}", 0)

        def post(client: RESTClient) -> object:
            with self._lock:
                self._orders_sent += 1
            return client.post("/orders", body)

        return self._send(Lane.ORDER, post, partial(classify.submitted, ticket), may_leave)

    def cancel(self, order_id: str) -> Outcome[None]:
        """Ask for an order's cancellation; done means asked, not cancelled."""
        if not entities.ORDER_ID.fullmatch(order_id):  # without an id it would be all orders
            return Refused(Refusal.NOT_FOUND, f"not sent: {order_id[:40]!r} is no order's id", 0)
        return self._send(
            Lane.CANCEL, lambda client: client.delete(f"/orders/{order_id}"), classify.cancelled
        )

    def order_by_client_id(self, client_order_id: str) -> VenueOrder | None:
        """Return an order; None only where the venue definitely has none.

        Raises:
            VenueError: No usable answer came.
        """

        def read(body: bytes) -> VenueOrder:
            order = entities.decode_order(body)
            if order.client_order_id != client_order_id:
                msg = "another order than the one that was asked for"
                raise DecodeError(msg)
            return order

        asked = {"client_order_id": client_order_id}
        try:
            return self._get("/orders:by_client_order_id", asked, read)
        except AbsentError:
            return None

    def open_orders(self) -> list[VenueOrder]:
        """Return every open order of the account, oldest first.

        Raises:
            VenueError: No usable answer came.
        """
        return self._orders("open", None)

    def orders_since(self, after: datetime) -> list[VenueOrder]:
        """Return every order, open or closed, submitted after a moment, oldest first.

        Raises:
            VenueError: No usable answer came.
        """
        found = self._orders("all", after)
        return [one for one in found if one.submitted_at is None or one.submitted_at > after]

    def positions(self) -> list[Position]:
        """Return every position of the account.

        Raises:
            VenueError: No usable answer came.
        """
        return self._get("/positions", {}, entities.decode_positions)

    def account(self) -> Account:
        """Return the account.

        Raises:
            VenueError: No usable answer came.
        """
        return self._get("/account", {}, entities.decode_account)

    def clock(self) -> VenueClock:
        """Return the venue's clock.

        Raises:
            VenueError: No usable answer came.
        """
        return self._get("/clock", {}, entities.decode_clock)

    def fills_since(self, after: datetime) -> list[Fill]:
        """Return the account's executions after a moment, oldest first.

        Raises:
            VenueError: No usable answer came.
        """
        # Whole seconds, as the venue documents them; what is too early is left out here.
        asked: dict[str, object] = {
            "after": f"{(after - _OVERLAP).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "direction": "asc",
            "page_size": _FILLS_PAGE,
        }
        found: dict[str, Fill] = {}
        for _ in range(_MAX_PAGES):
            page = self._get("/account/activities/FILL", asked, entities.decode_fills)
            before = len(found)
            found |= page
            if _is_last(len(page), len(found) - before, _FILLS_PAGE, "executions"):
                fills = sorted(found.values(), key=lambda one: one.at)
                return [one for one in fills if one.at > after]
            asked["page_token"] = page[-1][0]
        raise _endless("executions")

    def assets(self, symbols: Sequence[str]) -> Mapping[str, Asset]:
        """Return what may be done with these symbols; those that are not active are left out.

        Raises:
            VenueError: No usable answer came.
        """
        asked = {"status": "active", "asset_class": "us_equity"}
        read = partial(entities.decode_assets, symbols=frozenset(symbols))
        return self._get("/assets", asked, read)

    def _orders(self, status: str, after: datetime | None) -> list[VenueOrder]:
        """Return orders page by page.

        A page goes on behind an order, not behind a time: many may have been submitted at once.
        """
        asked: dict[str, object] = {"status": status, "direction": "asc", "limit": _ORDERS_PAGE}
        first = {} if after is None else {"after": after.astimezone(UTC).isoformat()}
        behind: dict[str, str] = {}
        found: dict[str, VenueOrder] = {}
        for _ in range(_MAX_PAGES):
            page = self._get("/orders", asked | (behind or first), entities.decode_orders)
            before = len(found)
            found |= {one.id: one for one in page}
            if _is_last(len(page), len(found) - before, _ORDERS_PAGE, "orders"):
                return sorted(found.values(), key=_when)
            behind = {"after_order_id": page[-1].id}  # not to be combined with a time
        raise _endless("orders")

    def _get(self, path: str, parameters: Mapping[str, object], decode: Callable[[bytes], T]) -> T:
        with self._lines.take() as line:
            try:
                return line.rest.get(path, parameters, decode)
            finally:
                line.heed_question()

    def _send(
        self,
        lane: Lane,
        call: Callable[[RESTClient], object],
        judge: Callable[[int, bytes], Outcome[T]],
        may_leave: Callable[[], bool] = lambda: True,
    ) -> Outcome[T]:
        """Make one request that is not a question, and never another one for it."""
        within_s = self._waits[lane]
        turn = self._budget.acquire(lane, within_s)
        if turn is None:
            msg = f"not sent: no request was free within {within_s:g} s"
            return Refused(Refusal.RATE_LIMIT, msg, 0)
        with self._lines.take() as line:
            if not may_leave():
                return Refused(Refusal.OTHER, "not sent: it must not leave any more", 0)
            try:
                answer = call(line.client)
            except APIError as error:
                answer = str(error).encode()
            except RequestException as error:
                reason = transport_reason(error, self._limits)
                return Unknown(f"{reason}, before it was sent" if never_left(error) else reason)
            except Exception as error:  # noqa: BLE001  # it may have left: whatever breaks, nobody knows
                log.warning("answer_broke_the_client", kind=type(error).__name__)
                return Unknown(f"an answer that breaks the client ({type(error).__name__})")
            finally:
                line.heed_sending(turn)
            return judge(line.status, answer if isinstance(answer, bytes) else b"")


def _is_last(rows: int, new: int, limit: int, what: str) -> bool:
    """Tell whether a page is the last one: it is short, or another one brought nothing new.

    Raises:
        MalformedResponseError: It is full, and all of it is known: what comes next is out of reach.
    """
    if not new and rows >= limit:
        msg = f"The pages of {what} repeat, so some may be missing; try again later."
        raise MalformedResponseError(msg)
    return rows < _SURELY_LAST or not new


def _endless(what: str) -> MalformedResponseError:
    return MalformedResponseError(
        f"There are more than {_MAX_PAGES} pages of {what}; ask for a later time."
    )


def _when(order: VenueOrder) -> datetime:
    return order.submitted_at or datetime.max.replace(tzinfo=UTC)
