"""Create schema trading: the trader's journal, its switch and its heartbeat."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BOOK = "account text NOT NULL, strategy text NOT NULL"
OF_RUN = """
    run_id text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (run_id, account, strategy) REFERENCES trading.run (id, account, strategy)
"""

# `x < 'Infinity'` is false of NaN as well, which Postgres takes for the greatest number of all.
# What a venue reports is a fact and must be kept, so of executions only nonsense is refused.
TABLES = f"""
CREATE TABLE trading.run (
    id text PRIMARY KEY,
    {BOOK},
    mode text NOT NULL,
    session date NOT NULL,
    model_id text NOT NULL,
    code_version text NOT NULL,
    config_hash text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT run_of_one_book UNIQUE (id, account, strategy),
    CONSTRAINT book_has_names CHECK (account <> '' AND strategy <> ''),
    CONSTRAINT mode_is_known CHECK (mode IN ('simulated', 'paper', 'live')),
    CONSTRAINT says_what_runs CHECK (
        id <> '' AND model_id <> '' AND code_version <> '' AND config_hash <> ''
    ),
    CONSTRAINT says_where_it_runs CHECK (host <> '' AND pid > 0)
);

CREATE TABLE trading.decision (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    {BOOK},
    session date NOT NULL,
    minute integer NOT NULL,
    due_at timestamptz NOT NULL,
    decided_at timestamptz NOT NULL,
    watermark timestamptz,
    input_hash text NOT NULL,
    model_id text NOT NULL,
    equity numeric NOT NULL,
    skipped text,
    {OF_RUN},
    CONSTRAINT one_decision_a_minute UNIQUE (account, strategy, session, minute),
    CONSTRAINT minute_is_of_a_session CHECK (minute >= 0),
    CONSTRAINT made_from_something_or_skipped CHECK (skipped IS NOT NULL OR input_hash <> ''),
    CONSTRAINT skipped_says_why CHECK (skipped <> ''),
    CONSTRAINT equity_is_a_number CHECK (equity > '-Infinity' AND equity < 'Infinity')
);

CREATE TABLE trading.decision_name (
    decision_id bigint NOT NULL REFERENCES trading.decision (id),
    position integer NOT NULL,
    symbol text NOT NULL,
    reason smallint NOT NULL,
    score double precision,
    expected_bps double precision,
    close numeric,
    shares numeric NOT NULL,
    denial text,
    PRIMARY KEY (decision_id, symbol),
    CONSTRAINT has_a_place CHECK (position > 0),
    CONSTRAINT reason_is_a_number CHECK (reason > 0),
    CONSTRAINT score_is_a_fraction CHECK (score BETWEEN 0 AND 1),
    CONSTRAINT what_is_not_a_number_is_null
        CHECK (expected_bps > '-Infinity' AND expected_bps < 'Infinity'),
    CONSTRAINT close_is_a_price CHECK (close > 0 AND close < 'Infinity'),
    CONSTRAINT shares_are_a_number CHECK (shares > '-Infinity' AND shares < 'Infinity'),
    CONSTRAINT denied_says_why CHECK (denial <> '')
);

CREATE TABLE trading.intent (
    {BOOK},
    client_order_id text NOT NULL,
    session date NOT NULL,
    minute integer NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL,
    qty numeric NOT NULL,
    type text NOT NULL,
    limit_price numeric,
    time_in_force text NOT NULL,
    reason smallint NOT NULL,
    price numeric,
    created_at timestamptz NOT NULL,
    {OF_RUN},
    PRIMARY KEY (account, strategy, client_order_id),
    CONSTRAINT id_begins_with_the_strategy CHECK (starts_with(client_order_id, strategy || '-')),
    CONSTRAINT id_fits_the_venue CHECK (length(client_order_id) <= 128),
    CONSTRAINT minute_is_of_a_session CHECK (minute >= 0),
    CONSTRAINT symbol_is_named CHECK (symbol <> ''),
    CONSTRAINT side_is_known CHECK (side IN ('buy', 'sell')),
    CONSTRAINT orders_some_shares CHECK (qty > 0 AND qty < 'Infinity'),
    CONSTRAINT type_is_known CHECK (type IN ('market', 'limit')),
    CONSTRAINT only_a_limit_order_has_a_limit CHECK ((type = 'limit') = (limit_price IS NOT NULL)),
    CONSTRAINT limit_is_a_price CHECK (limit_price > 0 AND limit_price < 'Infinity'),
    CONSTRAINT time_in_force_is_known CHECK (time_in_force IN ('day', 'ioc')),
    CONSTRAINT reason_is_a_number CHECK (reason > 0),
    CONSTRAINT price_is_a_price CHECK (price > 0 AND price < 'Infinity')
);
-- Not the book first: until statistics say better, a look for one intent would take this index.
CREATE INDEX intent_by_session ON trading.intent (session, account, strategy);

CREATE TABLE trading.intent_step (
    {BOOK},
    client_order_id text NOT NULL,
    number integer NOT NULL,
    state text NOT NULL,
    at timestamptz NOT NULL,
    order_id text,
    status text,
    filled_qty numeric NOT NULL,
    filled_avg_price numeric,
    detail text NOT NULL,
    {OF_RUN},
    PRIMARY KEY (account, strategy, client_order_id, number),
    CONSTRAINT is_a_step_of_an_intent FOREIGN KEY (account, strategy, client_order_id)
        REFERENCES trading.intent (account, strategy, client_order_id),
    CONSTRAINT steps_are_counted_from_one CHECK (number > 0),
    CONSTRAINT state_is_known CHECK (
        state IN ('pending', 'sending', 'unknown', 'open', 'filled', 'canceled', 'expired',
                  'rejected', 'abandoned')
    ),
    CONSTRAINT order_id_is_told_or_null CHECK (order_id <> ''),
    CONSTRAINT filled_is_a_number CHECK (filled_qty >= 0 AND filled_qty < 'Infinity'),
    CONSTRAINT mean_price_is_a_price CHECK (filled_avg_price >= 0 AND filled_avg_price < 'Infinity')
);
CREATE INDEX step_by_order ON trading.intent_step (account, order_id) WHERE order_id IS NOT NULL;

CREATE TABLE trading.fill (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    {BOOK},
    order_id text NOT NULL,
    cum_qty numeric NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL,
    qty numeric NOT NULL,
    price numeric NOT NULL,
    at timestamptz NOT NULL,
    execution_id text,
    {OF_RUN},
    CONSTRAINT a_fill_is_counted_once UNIQUE (account, order_id, cum_qty),
    CONSTRAINT side_is_known CHECK (side IN ('buy', 'sell')),
    CONSTRAINT fills_some_shares
        CHECK (qty > 0 AND qty < 'Infinity' AND cum_qty > 0 AND cum_qty < 'Infinity'),
    CONSTRAINT price_is_a_price CHECK (price >= 0 AND price < 'Infinity')
);

CREATE TABLE trading.adjustment (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    {BOOK},
    symbol text NOT NULL,
    qty numeric NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    {OF_RUN},
    CONSTRAINT an_adjustment_is_counted_once UNIQUE (account, strategy, symbol, at, qty, reason),
    CONSTRAINT changes_something
        CHECK (qty <> 0 AND qty > '-Infinity' AND qty < 'Infinity'),
    CONSTRAINT says_why CHECK (reason <> '')
);

CREATE TABLE trading.reconciliation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    {BOOK},
    at timestamptz NOT NULL,
    cause text NOT NULL,
    differences text[] NOT NULL,
    positions jsonb NOT NULL,
    foreign_shares jsonb NOT NULL,
    {OF_RUN},
    CONSTRAINT says_what_it_was_made_for CHECK (cause <> ''),
    CONSTRAINT says_what_differs CHECK (
        array_position(differences, NULL) IS NULL AND array_position(differences, '') IS NULL
    )
);
CREATE INDEX reconciliation_by_book ON trading.reconciliation (account, strategy, id);

CREATE TABLE trading.event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    {BOOK},
    kind text NOT NULL,
    detail jsonb NOT NULL,
    run_id text,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (run_id, account, strategy) REFERENCES trading.run (id, account, strategy),
    CONSTRAINT book_has_names CHECK (account <> '' AND strategy <> ''),
    CONSTRAINT kind_is_named CHECK (kind <> '')
);
CREATE INDEX event_by_book ON trading.event (account, strategy, id);

CREATE TABLE trading.switch (
    {BOOK},
    position integer NOT NULL,
    kind text NOT NULL,
    flatten boolean NOT NULL,
    reason text NOT NULL,
    turned_by text NOT NULL,
    turned_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, strategy, position),
    CONSTRAINT book_has_names CHECK (account <> '' AND strategy <> ''),
    CONSTRAINT turns_are_counted_from_one CHECK (position > 0),
    CONSTRAINT kind_is_known CHECK (kind IN ('kill', 'halt', 'rearm')),
    CONSTRAINT only_a_kill_flattens CHECK (kind = 'kill' OR NOT flatten),
    CONSTRAINT says_why_and_who CHECK (reason <> '' AND turned_by <> '')
);

CREATE TABLE trading.heartbeat (
    {BOOK},
    run_id text NOT NULL,
    at timestamptz NOT NULL,
    venue_at timestamptz NOT NULL,
    phase text NOT NULL,
    holds jsonb NOT NULL,
    minute integer,
    last_data_at timestamptz,
    detail jsonb NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, strategy),
    CONSTRAINT book_has_names CHECK (account <> '' AND strategy <> ''),
    CONSTRAINT phase_is_named CHECK (phase <> '')
) WITH (fillfactor = 50);
"""

# What was turned since the last re-arming, the strongest of it, and of equals the newest: a halt
# takes nothing back from a kill, and a kill that only stops takes nothing back from one that sells.
IN_FORCE = """
CREATE VIEW trading.switch_in_force AS
SELECT DISTINCT ON (s.account, s.strategy)
    s.account, s.strategy, s.position, s.kind, s.flatten, s.reason, s.turned_by, s.turned_at
FROM trading.switch AS s
WHERE NOT EXISTS (
    SELECT FROM trading.switch AS r
    WHERE r.account = s.account AND r.strategy = s.strategy AND r.kind = 'rearm'
        AND r.position > s.position
)
ORDER BY s.account, s.strategy, s.kind = 'kill' DESC, s.flatten DESC, s.kind = 'halt' DESC,
    s.position DESC
"""

# Grants do not bind the owner, and the embedded stack works as owner; triggers bind everybody.
REFUSE_CHANGE = """
CREATE FUNCTION trading.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of trading.% are never changed or deleted', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$
"""

INSERT_ONLY = """
CREATE TRIGGER is_insert_only BEFORE UPDATE OR DELETE ON trading.{table}
    FOR EACH ROW EXECUTE FUNCTION trading.refuse_change();
CREATE TRIGGER is_kept_whole BEFORE TRUNCATE ON trading.{table}
    FOR EACH STATEMENT EXECUTE FUNCTION trading.refuse_change();
"""

#: In the order in which they may be dropped. Only the heartbeat is not among them.
INSERT_ONLY_TABLES = (
    "switch",
    "event",
    "reconciliation",
    "adjustment",
    "fill",
    "intent_step",
    "intent",
    "decision_name",
    "decision",
    "run",
)

# Roles belong to the whole server, so another database may have created them, even just now.
CREATE_TRADER = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'strategy_trader')
       AND (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        CREATE ROLE strategy_trader NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""

FOR_ROLE = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        {statements}
    END IF;
END $$
"""

GRANTS = {
    # It asks the venue for history at the same shared rate as everybody else.
    "strategy_trader": f"""
GRANT USAGE ON SCHEMA market, model, trading TO strategy_trader;
GRANT SELECT ON ALL TABLES IN SCHEMA market, model, trading TO strategy_trader;
GRANT INSERT, UPDATE ON market.rate_limit TO strategy_trader;
GRANT INSERT ON {", ".join(f"trading.{table}" for table in INSERT_ONLY_TABLES)}
    TO strategy_trader;
GRANT INSERT, UPDATE ON trading.heartbeat TO strategy_trader;
""",
    "strategy_reader": """
GRANT USAGE ON SCHEMA trading TO strategy_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA trading TO strategy_reader;
""",
}

UNGRANT = """
REVOKE ALL ON ALL TABLES IN SCHEMA market, model FROM strategy_trader;
REVOKE ALL ON SCHEMA market, model FROM strategy_trader;
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS trading")
    op.execute(TABLES)
    op.execute(IN_FORCE)
    op.execute(REFUSE_CHANGE)
    for table in INSERT_ONLY_TABLES:
        op.execute(INSERT_ONLY.format(table=table))
    op.execute("REVOKE ALL ON SCHEMA trading FROM PUBLIC")
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA trading FROM PUBLIC")
    op.execute(CREATE_TRADER)
    for role, grants in GRANTS.items():
        op.execute(FOR_ROLE.format(role=role, statements=grants))


def downgrade() -> None:
    op.execute("DROP VIEW trading.switch_in_force")
    for table in (*INSERT_ONLY_TABLES, "heartbeat"):
        op.execute(f"DROP TABLE trading.{table}")
    op.execute("DROP FUNCTION trading.refuse_change()")
    op.execute("DROP SCHEMA trading")
    op.execute(FOR_ROLE.format(role="strategy_trader", statements=UNGRANT))
