"""What follows from the journal: what became of every order, and what the strategy holds.

Of an order, the greatest quantity counts that a fill or a step of it has told: a fill that was lost
still counts, and one that was told twice counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, text

from alpaca_strategy.domain.journal import Book, KnownIntent, Recovered
from alpaca_strategy.domain.orders import Fill, IntentState
from alpaca_strategy.storage.journal_rows import fill_of, known_intent_of

_FINAL: Final = [state.value for state in IntentState if state.is_final]

#: The state is that of the newest step; what was executed is the most that is known of it.
_INTENT = """
    i.client_order_id, i.session, i.minute, i.symbol, i.side, i.qty, i.type, i.limit_price,
    i.time_in_force, i.reason, i.price, i.created_at, newest.state, newest.at, newest.status,
    newest.detail, known.order_id, known.was_sent,
    greatest(known.filled, executed.filled) AS filled, (
        SELECT s.filled_avg_price FROM trading.intent_step AS s
        WHERE s.account = i.account AND s.strategy = i.strategy
            AND s.client_order_id = i.client_order_id
            AND s.filled_qty = greatest(known.filled, executed.filled)
        ORDER BY s.number DESC LIMIT 1
    ) AS mean_price
    FROM trading.intent AS i
    LEFT JOIN LATERAL (
        SELECT s.state, s.at, s.status, s.detail FROM trading.intent_step AS s
        WHERE s.account = i.account AND s.strategy = i.strategy
            AND s.client_order_id = i.client_order_id
        ORDER BY s.number DESC LIMIT 1
    ) AS newest ON true
    LEFT JOIN LATERAL (
        SELECT max(s.order_id) AS order_id, max(s.filled_qty) AS filled,
            bool_or(s.state = 'sending') AS was_sent
        FROM trading.intent_step AS s
        WHERE s.account = i.account AND s.strategy = i.strategy
            AND s.client_order_id = i.client_order_id
    ) AS known ON true
    LEFT JOIN LATERAL (
        SELECT max(f.cum_qty) AS filled FROM trading.fill AS f
        WHERE f.account = i.account AND f.order_id = known.order_id
    ) AS executed ON true
"""

_SESSION_INTENTS = text(f"""
    SELECT {_INTENT}
    WHERE i.account = :account AND i.strategy = :strategy AND i.session = :session
    ORDER BY i.created_at, i.client_order_id
""")

_SOME_INTENTS = text(f"""
    SELECT {_INTENT}
    WHERE i.account = :account AND i.strategy = :strategy AND i.client_order_id = ANY(:names)
    ORDER BY i.created_at, i.client_order_id
""")

# Both questions below go over all of the past. They are put as unions and groups, not as joins:
# so they take as long as there are rows, whatever Postgres believes of the tables.

_UNFINISHED = text("""
    WITH step AS (
        SELECT i.client_order_id, 0 AS number, false AS is_end FROM trading.intent AS i
        WHERE i.account = :account AND i.strategy = :strategy
        UNION ALL
        SELECT s.client_order_id, s.number, s.state = ANY(:ends) FROM trading.intent_step AS s
        WHERE s.account = :account AND s.strategy = :strategy
    )
    SELECT client_order_id FROM step GROUP BY client_order_id
    HAVING max(number) FILTER (WHERE NOT is_end) > coalesce(max(number) FILTER (WHERE is_end), -1)
""")

_SHARES = text("""
    WITH told AS (
        SELECT i.client_order_id, i.symbol, CASE i.side WHEN 'buy' THEN 1 ELSE -1 END AS sign,
            NULL AS order_id, NULL AS filled
        FROM trading.intent AS i WHERE i.account = :account AND i.strategy = :strategy
        UNION ALL
        SELECT s.client_order_id, NULL, NULL, s.order_id, s.filled_qty
        FROM trading.intent_step AS s
        WHERE s.account = :account AND s.strategy = :strategy AND s.order_id IS NOT NULL
    ),
    executed AS (
        SELECT max(symbol) AS symbol, max(sign) AS sign, max(order_id) AS order_id,
            max(filled) AS filled
        FROM told GROUP BY client_order_id HAVING max(order_id) IS NOT NULL
        UNION ALL
        SELECT NULL, NULL, f.order_id, f.cum_qty FROM trading.fill AS f WHERE f.account = :account
    ),
    moved AS (
        SELECT max(symbol) AS symbol, max(sign) * max(filled) AS qty
        FROM executed GROUP BY order_id HAVING max(sign) IS NOT NULL
        UNION ALL
        SELECT a.symbol, a.qty FROM trading.adjustment AS a
        WHERE a.account = :account AND a.strategy = :strategy
    )
    SELECT symbol, sum(qty) AS shares FROM moved GROUP BY symbol HAVING sum(qty) <> 0
    ORDER BY symbol
""")

#: Every quantity that an order was told to have reached, and when: by its fill where there is one,
#: else when we learned of it.
_REACHED = """
    mine AS (
        SELECT i.client_order_id, i.symbol, i.side, max(s.order_id) AS order_id
        FROM trading.intent AS i
        JOIN trading.intent_step AS s ON s.account = i.account AND s.strategy = i.strategy
            AND s.client_order_id = i.client_order_id AND s.order_id IS NOT NULL
        WHERE i.account = :account AND i.strategy = :strategy AND {which}
        GROUP BY i.client_order_id, i.symbol, i.side
    ),
    told AS (
        SELECT m.client_order_id, m.symbol, m.side, f.cum_qty AS filled, f.at, true AS is_fill
        FROM mine AS m JOIN trading.fill AS f
            ON f.account = :account AND f.order_id = m.order_id
        UNION ALL
        SELECT m.client_order_id, m.symbol, m.side, s.filled_qty, s.at, false
        FROM mine AS m JOIN trading.intent_step AS s ON s.account = :account
            AND s.strategy = :strategy AND s.client_order_id = m.client_order_id
        WHERE s.filled_qty > 0
    ),
    reached AS (
        SELECT client_order_id, symbol, side, filled,
            coalesce(min(at) FILTER (WHERE is_fill), min(at)) AS at
        FROM told GROUP BY client_order_id, symbol, side, filled
    )
"""

_ENTERED = text(f"""
    WITH {_REACHED.format(which="i.symbol = ANY(:symbols)")},
    moved AS (
        SELECT symbol, at, CASE side WHEN 'buy' THEN 1 ELSE -1 END
            * (filled - coalesce(lag(filled) OVER up, 0)) AS qty
        FROM reached WINDOW up AS (PARTITION BY client_order_id ORDER BY filled)
        UNION ALL
        SELECT a.symbol, a.at, a.qty FROM trading.adjustment AS a
        WHERE a.account = :account AND a.strategy = :strategy AND a.symbol = ANY(:symbols)
    ),
    held AS (
        SELECT symbol, at, qty,
            sum(qty) OVER (PARTITION BY symbol ORDER BY at, qty ROWS UNBOUNDED PRECEDING) AS after
        FROM moved
    )
    SELECT symbol, max(at) AS at FROM held
    WHERE after <> 0 AND sign(after) <> sign(after - qty)
    GROUP BY symbol
""")  # noqa: S608  # our own words alone

_EXITED = text(f"""
    WITH {_REACHED.format(which="i.session = :session AND i.side = 'sell'")}
    SELECT symbol, max(at) AS at FROM reached GROUP BY symbol
""")  # noqa: S608  # our own words alone

_DECIDED = text("""
    SELECT minute FROM trading.decision
    WHERE account = :account AND strategy = :strategy AND session = :session
""")

_FILLS = text("""
    SELECT f.order_id, f.cum_qty, f.symbol, f.side, f.qty, f.price, f.at, f.execution_id
    FROM trading.fill AS f
    WHERE f.account = :account AND f.order_id IN (
        SELECT s.order_id FROM trading.intent AS i
        JOIN trading.intent_step AS s ON s.account = i.account AND s.strategy = i.strategy
            AND s.client_order_id = i.client_order_id
        WHERE i.account = :account AND i.strategy = :strategy AND i.session = :session
            AND s.order_id IS NOT NULL
    )
    ORDER BY f.id
""")


def read_recovered(connection: Connection, book: Book, session: date) -> Recovered:
    """Return what a trader that starts finds; all of it as it was at one moment.

    The connection must be in a transaction of its own for that, at REPEATABLE READ.
    """
    key = _key(book) | {"session": session}
    shares = read_shares(connection, book)
    orders = connection.execute(_SESSION_INTENTS, key).all()
    return Recovered(
        intents=(*_unfinished(connection, book, session), *map(known_intent_of, orders)),
        shares=shares,
        entered=_entered(connection, book, list(shares)) if shares else {},
        exited=_times(connection, _EXITED, key),
        decided=frozenset(connection.execute(_DECIDED, key).scalars()),
        orders_today=sum(bool(row.was_sent) for row in orders),
        fills=tuple(read_fills(connection, book, session)),
    )


def _unfinished(connection: Connection, book: Book, session: date) -> list[KnownIntent]:
    """Return the intents of other sessions whose end is not known, oldest first."""
    key = _key(book)
    names = connection.execute(_UNFINISHED, key | {"ends": _FINAL}).scalars().all()
    found = connection.execute(_SOME_INTENTS, key | {"names": list(names)})
    return [known_intent_of(row) for row in found if row.session != session]


def _entered(connection: Connection, book: Book, symbols: list[str]) -> dict[str, datetime]:
    # All of the past of these symbols is joined, for which a loop in a loop is never good.
    connection.execute(text("SELECT set_config('enable_nestloop', 'off', true)"))
    found = _times(connection, _ENTERED, _key(book) | {"symbols": symbols})
    connection.execute(text("SELECT set_config('enable_nestloop', 'on', true)"))
    return found


def read_shares(connection: Connection, book: Book) -> dict[str, Decimal]:
    """Return what the strategy holds by its journal, by symbol, without zeros."""
    return {row.symbol: row.shares for row in connection.execute(_SHARES, _key(book))}


def read_orders(connection: Connection, book: Book, session: date) -> list[KnownIntent]:
    """Return the intents of a session with what became of them, oldest first."""
    key = _key(book) | {"session": session}
    return [known_intent_of(row) for row in connection.execute(_SESSION_INTENTS, key)]


def read_fills(connection: Connection, book: Book, session: date) -> list[Fill]:
    """Return the executions of a session's orders, in the order in which they were recorded."""
    key = _key(book) | {"session": session}
    return [fill_of(row) for row in connection.execute(_FILLS, key)]


def _times(connection: Connection, query: Any, values: Mapping[str, Any]) -> dict[str, datetime]:
    return {row.symbol: row.at.astimezone(UTC) for row in connection.execute(query, values)}


def _key(book: Book) -> dict[str, Any]:
    return {"account": book.account, "strategy": book.strategy}
