"""What the journal sends to Postgres.

Each text goes in one message, and so is one transaction that no client can leave half open.
Rows come as one JSON document: Postgres reads the numbers from their exact text.
"""

from __future__ import annotations

from typing import Final

OPEN_RUN: Final = """
    INSERT INTO trading.run (id, account, strategy, mode, session, model_id, code_version,
        config_hash, host, pid, started_at)
    VALUES (:id, :account, :strategy, :mode, :session, :model_id, :code_version,
        :config_hash, :host, :pid, :started_at)
    ON CONFLICT (id) DO NOTHING
"""

_DECISION = """
    WITH made AS (
        INSERT INTO trading.decision (account, strategy, session, minute, due_at, decided_at,
            watermark, input_hash, model_id, equity, skipped, run_id)
        VALUES (:account, :strategy, :session, :minute, :due_at, :decided_at,
            :watermark, :input_hash, :model_id, :equity, :skipped, :run_id)
        RETURNING id
    )
    INSERT INTO trading.decision_name (decision_id, position, symbol, reason, score,
        expected_bps, close, shares, denial)
    SELECT made.id, n.position, n.symbol, n.reason, n.score, n.expected_bps, n.close, n.shares,
        n.denial
    FROM made, jsonb_to_recordset(CAST(:names AS jsonb)) AS n (position integer, symbol text,
        reason smallint, score float8, expected_bps float8, close numeric, shares numeric,
        denial text)
"""

RECORD_INTENTS: Final = """
    INSERT INTO trading.intent (account, strategy, client_order_id, session, minute, symbol,
        side, qty, type, limit_price, time_in_force, reason, price, created_at, run_id)
    SELECT :account, :strategy, i.client_order_id, i.session, i.minute, i.symbol, i.side, i.qty,
        i.type, i.limit_price, i.time_in_force, i.reason, i.price, i.created_at, :run_id
    FROM jsonb_to_recordset(CAST(:intents AS jsonb)) AS i (client_order_id text, session date,
        minute integer, symbol text, side text, qty numeric, type text, limit_price numeric,
        time_in_force text, reason smallint, price numeric, created_at timestamptz)
"""

RECORD_DECISION: Final = f"{_DECISION};{RECORD_INTENTS}"

#: A step is new where it differs from the one before it: of the same message, or the newest known.
_NEW_STEPS = """
    given AS (
        SELECT g.*, lag(g.n) OVER mine IS NULL AS is_first,
            lag(g.state) OVER mine AS state_before, lag(g.order_id) OVER mine AS order_before,
            lag(g.filled_qty) OVER mine AS filled_before
        FROM jsonb_to_recordset(CAST(:steps AS jsonb)) AS g (n integer, client_order_id text,
            state text, at timestamptz, order_id text, status text, filled_qty numeric,
            filled_avg_price numeric, detail text)
        WINDOW mine AS (PARTITION BY g.client_order_id ORDER BY g.n)
    ),
    compared AS (
        SELECT g.*, coalesce(l.number, 0) AS newest,
            CASE WHEN g.is_first THEN coalesce(l.state, 'pending') ELSE g.state_before END
                AS state_was,
            CASE WHEN g.is_first THEN l.order_id ELSE g.order_before END AS order_was,
            CASE WHEN g.is_first THEN coalesce(l.filled_qty, 0) ELSE g.filled_before END
                AS filled_was
        FROM given AS g
        LEFT JOIN LATERAL (
            SELECT s.number, s.state, s.order_id, s.filled_qty FROM trading.intent_step AS s
            WHERE s.account = :account AND s.strategy = :strategy
                AND s.client_order_id = g.client_order_id
            ORDER BY s.number DESC LIMIT 1
        ) AS l ON true
    )
    INSERT INTO trading.intent_step (account, strategy, client_order_id, number, state, at,
        order_id, status, filled_qty, filled_avg_price, detail, run_id)
    SELECT :account, :strategy, client_order_id,
        newest + row_number() OVER (PARTITION BY client_order_id ORDER BY n), state, at,
        coalesce(order_id, order_was), status, filled_qty, filled_avg_price, detail, :run_id
    FROM compared
    WHERE (state <> state_was OR filled_qty <> filled_was
        OR coalesce(order_id, order_was) IS DISTINCT FROM order_was)
"""

RECORD: Final = f"""
    WITH {_NEW_STEPS};
    INSERT INTO trading.fill (account, strategy, order_id, cum_qty, symbol, side, qty, price, at,
        execution_id, run_id)
    SELECT :account, :strategy, f.order_id, f.cum_qty, f.symbol, f.side, f.qty, f.price, f.at,
        f.execution_id, :run_id
    FROM jsonb_to_recordset(CAST(:fills AS jsonb)) AS f (n integer, order_id text, cum_qty numeric,
        symbol text, side text, qty numeric, price numeric, at timestamptz, execution_id text)
    ORDER BY f.n
    ON CONFLICT (account, order_id, cum_qty) DO NOTHING
"""  # noqa: S608  # our own words alone

READ_SWITCH: Final = """
    SELECT kind, flatten, reason, turned_by, turned_at, position FROM trading.switch_in_force
    WHERE account = :account AND strategy = :strategy
"""

#: One row always. Without a lease of a name there is nothing that could have ended.
_STANDING = """
    standing AS (
        SELECT l.desired, l.generation,
            l.name IS NOT NULL AND (l.desired <> 'run' OR l.generation <> :generation) AS is_over
        FROM (VALUES (1)) AS one
        LEFT JOIN trading.lease AS l ON l.name = CAST(:lease AS text)
    )
"""
_BOTH = "SELECT s.*, standing.* FROM standing LEFT JOIN switch AS s ON true"

#: The locks are shared by sendings and taken alone by a turn of the switch and by a change of the
#: lease: once either has returned, no sending that has not seen it is written. The second statement
#: sees what was committed before the first.
BEGIN_SENDING: Final = f"""
    SELECT pg_advisory_xact_lock_shared(key) FROM unnest(CAST(:keys AS bigint[])) AS key;
    WITH switch AS MATERIALIZED ({READ_SWITCH}), {_STANDING},
    written AS (
        WITH {_NEW_STEPS}
            AND NOT EXISTS (
                SELECT FROM switch WHERE kind = 'kill' AND NOT (flatten AND :flattening)
            )
            AND NOT EXISTS (SELECT FROM standing WHERE is_over)
    )
    {_BOTH}
"""  # noqa: S608  # our own words alone

TURN_SWITCH: Final = f"""
    SELECT pg_advisory_xact_lock(:switch_key);
    INSERT INTO trading.switch (account, strategy, position, kind, flatten, reason, turned_by,
        turned_at)
    SELECT :account, :strategy, coalesce(max(position), 0) + 1, :kind, :flatten, :reason, :by,
        clock_timestamp()
    FROM trading.switch WHERE account = :account AND strategy = :strategy
    HAVING CAST(:newest AS integer) IS NULL OR coalesce(max(position), 0) = :newest
    RETURNING position;
    {READ_SWITCH}
"""  # noqa: S608  # our own words alone

NEWEST_TURN: Final = """
    SELECT coalesce(max(position), 0) FROM trading.switch
    WHERE account = :account AND strategy = :strategy
"""

#: The statement reads the switch as it was before it, which a heartbeat does not change.
BEAT: Final = f"""
    WITH switch AS ({READ_SWITCH}), {_STANDING},
    beat AS (
        INSERT INTO trading.heartbeat (account, strategy, run_id, at, venue_at, phase, holds,
            minute, last_data_at, detail, written_at)
        VALUES (:account, :strategy, :run_id, :at, :venue_at, :phase, CAST(:holds AS jsonb),
            :minute, :last_data_at, CAST(:detail AS jsonb), clock_timestamp())
        ON CONFLICT (account, strategy) DO UPDATE SET
            run_id = excluded.run_id, at = excluded.at, venue_at = excluded.venue_at,
            phase = excluded.phase, holds = excluded.holds, minute = excluded.minute,
            last_data_at = excluded.last_data_at, detail = excluded.detail,
            written_at = excluded.written_at
    )
    {_BOTH}
"""  # noqa: S608  # our own words alone

RECORD_ADJUSTMENTS: Final = """
    INSERT INTO trading.adjustment (account, strategy, symbol, qty, reason, at, run_id)
    SELECT :account, :strategy, a.symbol, a.qty, a.reason, a.at, :run_id
    FROM jsonb_to_recordset(CAST(:adjustments AS jsonb)) AS a (symbol text, qty numeric,
        reason text, at timestamptz)
    ON CONFLICT ON CONSTRAINT an_adjustment_is_counted_once DO NOTHING
"""

RECORD_RECONCILIATION: Final = """
    INSERT INTO trading.reconciliation (account, strategy, at, cause, differences, positions,
        foreign_shares, run_id)
    VALUES (:account, :strategy, :at, :cause, CAST(:differences AS text[]),
        CAST(:positions AS jsonb), CAST(:foreign_shares AS jsonb), :run_id)
"""

RECORD_EVENT: Final = """
    INSERT INTO trading.event (account, strategy, kind, detail, run_id)
    VALUES (:account, :strategy, :kind, CAST(:detail AS jsonb), :run_id)
"""

TAKE_LOCK: Final = "SELECT pg_try_advisory_lock(:key)"

HOLDS_LOCK: Final = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid = CAST(:high AS oid) AND objid = CAST(:low AS oid)
    )
"""

RELEASE_LOCK: Final = "SELECT pg_advisory_unlock(:key)"
