"""The side door's pages about trading: switches, halts, other people's orders, and the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

from alpaca_strategy.simulator import order_entry
from alpaca_strategy.simulator.orders import Execution, number, stamp
from alpaca_strategy.simulator.positions_api import account_json, position_json
from alpaca_strategy.simulator.venue import Venue

_HALT = ("H", "T1")


def change_engine(venue: Venue, body: dict[str, Any]) -> object:
    """Change switches of the engine; ``{"reset": true}`` puts all back first."""
    exchange = venue.exchange
    exchange.catch_up()
    given = {name: value for name, value in body.items() if name != "reset"}
    exchange.engine.changed(given)
    if body.get("reset"):
        exchange.engine.reset()
        exchange.engine.partial_prob = venue.options.partial_prob
    exchange.engine.change(given)
    exchange.release()
    return exchange.engine.as_json()


def change_account(venue: Venue, body: dict[str, Any]) -> object:
    """Change what the account may do, or what it has.

    Switches of `Standing`; ``equity`` brings the equity there by a deposit (or withdrawal),
    ``deposit`` adds money, ``reset`` puts the switches back first.
    """
    exchange = venue.exchange
    exchange.catch_up()
    switches = dict(body)
    reset = switches.pop("reset", False)
    equity, deposit = switches.pop("equity", None), switches.pop("deposit", None)
    amounts = [None if value is None else _decimal(value) for value in (equity, deposit)]
    trial = type(exchange.standing)()
    trial.change(switches)
    if reset:
        exchange.standing.reset()
        exchange.standing.multiplier = venue.options.multiplier
    exchange.standing.change(switches)
    if amounts[0] is not None:
        exchange.ledger.deposit(exchange.now_ns, amounts[0] - exchange.figures().equity)
    if amounts[1] is not None:
        exchange.ledger.deposit(exchange.now_ns, amounts[1])
    return {**exchange.standing.as_json(), "account": account_json(venue)}


def _decimal(value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation as error:
        msg = f"{value!r} is not a number"
        raise ValueError(msg) from error


def trading_halt(venue: Venue, body: dict[str, Any]) -> object:
    """Halt a symbol (or all, when it is null), or let it trade again: symbol, halted, code, reason.

    A limit-up limit-down pause is a halt with code P and reason LUDP.
    """
    symbol = body.get("symbol")
    if symbol is not None:
        venue.check((symbol,))
    halted = body.get("halted", True)
    if not isinstance(halted, bool):
        msg = f"halted must be true or false, got {halted!r}"
        raise TypeError(msg)
    code, reason = _HALT if halted else ("T", "R4")
    venue.exchange.halt(
        symbol,
        halted=halted,
        code=str(body.get("code", code)),
        reason=str(body.get("reason", reason)),
    )
    return {"halts": list(venue.exchange.halts.values())}


def external_order(venue: Venue, body: dict[str, Any]) -> object:
    """Let a person trade on the same account: an order's fields, and one of these.

    ``fill_price`` executes it at once at that price; ``transfer_price`` brings the shares without
    money or order, valued at that price. With neither it is an order like any other.
    """
    exchange = venue.exchange
    exchange.catch_up()
    given = dict(body)
    fill, transfer = given.pop("fill_price", None), given.pop("transfer_price", None)
    if transfer is not None:
        symbol, qty = str(given["symbol"]), _decimal(given["qty"])
        venue.check((symbol,))
        signed = qty if given.get("side", "buy") == "buy" else -qty
        held = exchange.ledger.transfer(exchange.now_ns, symbol, signed, _decimal(transfer))
        return {"symbol": symbol, "position_qty": number(held)}
    price = None if fill is None else _decimal(fill)
    wanted = {"type": "market", "time_in_force": "day", **given}
    order = order_entry.submit(exchange, wanted, source="external")
    if price is not None:
        order_entry.at_once(exchange, order, price)
    return order.json()


def reset_account(venue: Venue, body: dict[str, Any]) -> object:
    """Open a new account with ``cash``; orders, positions and switches of the old one are gone."""
    exchange = venue.exchange
    exchange.catch_up()
    cash = _decimal(body.get("cash", venue.options.cash))
    exchange.open_account(cash)
    put_back(venue)
    exchange.poke()
    return account_json(venue)


def put_back(venue: Venue) -> None:
    """Put every switch back to what the options say, and end halts."""
    change_engine(venue, {"reset": True})
    change_account(venue, {"reset": True})
    for symbol in list(venue.exchange.halts):
        trading_halt(venue, {"symbol": symbol or None, "halted": False})


def ledger(venue: Venue) -> dict[str, object]:
    """Tell the whole truth about trading: what was asked for, and what became of it."""
    exchange = venue.exchange
    exchange.catch_up()
    books = exchange.ledger
    return {
        "orders": [order.record() for order in exchange.orders.values()],
        "posts": exchange.posts,
        "fills": [_fill(execution) for execution in exchange.executions],
        "positions": [position_json(venue, held) for _, held in sorted(books.positions.items())],
        "cash": number(books.cash),
        "opening_cash": number(books.opening),
        "realized_pl": number(books.realized.quantize(Decimal("1e-4"))),
        "books": [
            {**asdict(entry), "qty": number(entry.qty), "cash": number(entry.cash)}
            for entry in books.entries
        ],
        "account": account_json(venue),
        "halts": list(exchange.halts.values()),
        "engine": exchange.engine.as_json(),
        "standing": exchange.standing.as_json(),
    }


def _fill(execution: Execution) -> dict[str, Any]:
    found = asdict(execution)
    told = {name: number(v) if isinstance(v, Decimal) else v for name, v in found.items()}
    return {**told, "at": stamp(execution.at_ns), "activity_id": execution.activity_id}


PAGES: dict[str, Callable[[Venue, dict[str, Any]], object]] = {
    "exchange": change_engine,
    "account": change_account,
    "trading_halt": trading_halt,
    "external_order": external_order,
    "reset_account": reset_account,
}
