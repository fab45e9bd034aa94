"""Create schema report: backtests, their metrics, folds and trades."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# `x < 'Infinity'` is false of NaN as well, which Postgres takes for the greatest number of all.
TABLES = """
CREATE TABLE report.backtest (
    id text PRIMARY KEY,
    made_at timestamptz NOT NULL,
    venue text NOT NULL,
    feed text NOT NULL,
    models text[] NOT NULL,
    first_session date NOT NULL,
    last_session date NOT NULL,
    sessions integer NOT NULL,
    symbols text[] NOT NULL,
    rules jsonb NOT NULL,
    costs jsonb NOT NULL,
    cash double precision NOT NULL,
    in_sample boolean NOT NULL,
    origin text NOT NULL,
    trades integer NOT NULL,
    agreed integer NOT NULL,
    difference text,
    warnings text[] NOT NULL,
    lineage jsonb NOT NULL,
    report_uri text NOT NULL,
    report_sha256 text NOT NULL,
    code_version text NOT NULL,
    made_by text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT id_is_day_and_hash CHECK (id ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{8}$'),
    CONSTRAINT hash_is_sha256 CHECK (report_sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT somebody_scored CHECK (cardinality(models) > 0),
    CONSTRAINT ran_over_sessions CHECK (
        sessions BETWEEN 1 AND last_session - first_session + 1
    ),
    CONSTRAINT something_was_traded CHECK (cardinality(symbols) > 0),
    CONSTRAINT began_with_cash CHECK (cash > 0 AND cash < 'Infinity'),
    CONSTRAINT origin_is_known CHECK (origin IN ('new_model', 'by_hand', 'command')),
    CONSTRAINT agreed_on_some_trades CHECK (agreed BETWEEN 0 AND trades),
    CONSTRAINT agrees_or_says_where CHECK (
        difference <> '' AND (difference IS NOT NULL OR agreed = trades)
    ),
    CONSTRAINT says_what_it_warns_of CHECK (
        array_position(warnings, NULL) IS NULL AND array_position(warnings, '') IS NULL
    ),
    CONSTRAINT says_with_what_and_who CHECK (code_version <> '' AND made_by <> '')
);
CREATE INDEX backtest_by_age ON report.backtest (feed, made_at);
CREATE INDEX backtest_by_model ON report.backtest USING gin (models);

CREATE TABLE report.metric (
    backtest_id text NOT NULL REFERENCES report.backtest (id),
    name text NOT NULL,
    value double precision,
    low double precision,
    high double precision,
    PRIMARY KEY (backtest_id, name),
    CONSTRAINT bounds_are_ordered CHECK (low <= high),
    CONSTRAINT both_bounds_or_none CHECK ((low IS NULL) = (high IS NULL)),
    CONSTRAINT what_is_not_a_number_is_null
        CHECK (value <> 'NaN' AND low <> 'NaN' AND high <> 'NaN')
);

CREATE TABLE report.fold (
    backtest_id text NOT NULL REFERENCES report.backtest (id),
    position integer NOT NULL,
    model text NOT NULL REFERENCES model.version (id),
    trained_until date NOT NULL,
    first_session date NOT NULL,
    last_session date NOT NULL,
    sessions integer NOT NULL,
    trades integer NOT NULL,
    total_return double precision,
    sharpe double precision,
    rank_ic double precision,
    PRIMARY KEY (backtest_id, position),
    CONSTRAINT ran_over_sessions CHECK (
        sessions BETWEEN 1 AND last_session - first_session + 1
    ),
    CONSTRAINT counts_something CHECK (position > 0 AND trades >= 0),
    CONSTRAINT what_is_not_a_number_is_null
        CHECK (total_return <> 'NaN' AND sharpe <> 'NaN' AND rank_ic <> 'NaN')
);

CREATE TABLE report.trade (
    backtest_id text NOT NULL REFERENCES report.backtest (id),
    position integer NOT NULL,
    symbol text NOT NULL,
    entered_at timestamptz NOT NULL,
    exited_at timestamptz NOT NULL,
    shares double precision NOT NULL,
    entry_price double precision NOT NULL,
    exit_price double precision NOT NULL,
    cost double precision NOT NULL,
    profit double precision NOT NULL,
    entry_score double precision,
    exit_reason text NOT NULL,
    PRIMARY KEY (backtest_id, position),
    CONSTRAINT has_a_place CHECK (position > 0),
    CONSTRAINT ends_after_it_began CHECK (exited_at > entered_at),
    CONSTRAINT has_shares CHECK (shares > 0 AND shares < 'Infinity'),
    CONSTRAINT has_prices CHECK (
        entry_price > 0 AND entry_price < 'Infinity' AND exit_price > 0 AND exit_price < 'Infinity'
    ),
    CONSTRAINT costs_something_or_nothing CHECK (cost >= 0 AND cost < 'Infinity'),
    CONSTRAINT profit_is_a_number CHECK (profit > '-Infinity' AND profit < 'Infinity'),
    CONSTRAINT score_is_a_fraction CHECK (entry_score BETWEEN 0 AND 1),
    CONSTRAINT reason_is_known CHECK (exit_reason IN ('close', 'flatten'))
);
"""

# Grants do not bind the owner, and the embedded stack works as owner; triggers bind everybody.
TRIGGERS = """
CREATE FUNCTION report.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of report.% are never changed or deleted', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION report.refuse_strangers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM unnest(NEW.models) AS named (id)
        WHERE NOT EXISTS (
            SELECT FROM model.version AS v
            WHERE v.id = named.id AND v.venue = NEW.venue AND v.feed = NEW.feed
        )
    ) THEN
        RAISE EXCEPTION 'a model of backtest % is not registered for % and %',
            NEW.id, NEW.venue, NEW.feed USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION report.refuse_parts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    there integer;
BEGIN
    SELECT count(*) INTO there FROM report.trade WHERE backtest_id = NEW.id;
    IF there <> NEW.trades THEN
        RAISE EXCEPTION 'backtest % has % trades and brings %', NEW.id, NEW.trades, there
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER models_are_registered BEFORE INSERT ON report.backtest
    FOR EACH ROW EXECUTE FUNCTION report.refuse_strangers();
CREATE CONSTRAINT TRIGGER comes_with_all_its_trades AFTER INSERT ON report.backtest
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION report.refuse_parts();
"""

INSERT_ONLY = """
CREATE TRIGGER is_insert_only BEFORE UPDATE OR DELETE ON report.{table}
    FOR EACH ROW EXECUTE FUNCTION report.refuse_change();
CREATE TRIGGER is_kept_whole BEFORE TRUNCATE ON report.{table}
    FOR EACH STATEMENT EXECUTE FUNCTION report.refuse_change();
"""

INSERT_ONLY_TABLES = ("trade", "fold", "metric", "backtest")

FOR_ROLE = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        {statements}
    END IF;
END $$
"""

GRANTS = {
    "strategy_trainer": """
GRANT USAGE ON SCHEMA report TO strategy_trainer;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA report TO strategy_trainer;
""",
    "strategy_reader": """
GRANT USAGE ON SCHEMA report TO strategy_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA report TO strategy_reader;
""",
    # Whoever deletes pages that belong to no backtest must see which belong to one.
    "strategy_ingest": """
GRANT USAGE ON SCHEMA report TO strategy_ingest;
GRANT SELECT ON report.backtest TO strategy_ingest;
""",
}


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS report")
    op.execute(TABLES)
    op.execute(TRIGGERS)
    for table in INSERT_ONLY_TABLES:
        op.execute(INSERT_ONLY.format(table=table))
    op.execute("REVOKE ALL ON SCHEMA report FROM PUBLIC")
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA report FROM PUBLIC")
    for role, grants in GRANTS.items():
        op.execute(FOR_ROLE.format(role=role, statements=grants))


def downgrade() -> None:
    for table in INSERT_ONLY_TABLES:
        op.execute(f"DROP TABLE report.{table}")
    op.execute(
        "DROP FUNCTION report.refuse_change(), report.refuse_strangers(), report.refuse_parts()"
    )
    op.execute("DROP SCHEMA report")
