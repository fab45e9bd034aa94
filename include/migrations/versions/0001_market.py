"""Create schema market: sessions, their symbols and quality, the shared rate limit."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PINS = """
    trades_version bigint,
    trades_files text[] NOT NULL DEFAULT '{}',
    bars_version bigint,
    bars_files text[] NOT NULL DEFAULT '{}',
"""

TABLES = f"""
CREATE TABLE market.session (
    session date NOT NULL,
    feed text NOT NULL,
    status text NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    venue text NOT NULL,
    {PINS}
    minutes integer,
    symbols_asked integer NOT NULL,
    symbols_published integer NOT NULL,
    trade_count bigint NOT NULL DEFAULT 0,
    bar_count bigint NOT NULL DEFAULT 0,
    observed_minutes bigint NOT NULL DEFAULT 0,
    content_hash text,
    condition_table text,
    condition_fingerprint text,
    quality_severity text,
    report_uri text,
    published_at timestamptz,
    refused_at timestamptz,
    refused_reason text,
    tape_dropped_at timestamptz,
    PRIMARY KEY (session, feed),
    CONSTRAINT status_is_known CHECK (status IN ('published', 'refused')),
    CONSTRAINT published_is_pinned CHECK (
        status <> 'published' OR (revision > 0 AND bars_version IS NOT NULL
        AND cardinality(bars_files) > 0 AND content_hash IS NOT NULL
        AND minutes IS NOT NULL AND published_at IS NOT NULL)
    ),
    CONSTRAINT published_were_asked CHECK (symbols_published BETWEEN 0 AND symbols_asked)
);

CREATE TABLE market.session_revision (
    session date NOT NULL,
    feed text NOT NULL,
    revision integer NOT NULL,
    {PINS}
    content_hash text NOT NULL,
    condition_fingerprint text,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session, feed, revision),
    FOREIGN KEY (session, feed) REFERENCES market.session (session, feed) ON DELETE CASCADE
);

CREATE TABLE market.symbol_session (
    session date NOT NULL,
    feed text NOT NULL,
    symbol text NOT NULL,
    status text NOT NULL,
    reason text,
    trade_count bigint NOT NULL DEFAULT 0,
    observed_minutes integer NOT NULL DEFAULT 0,
    tape_hash text,
    PRIMARY KEY (session, feed, symbol),
    FOREIGN KEY (session, feed) REFERENCES market.session (session, feed) ON DELETE CASCADE,
    CONSTRAINT status_is_known
        CHECK (status IN ('published', 'quarantined', 'failed', 'missing')),
    CONSTRAINT what_is_left_out_has_a_reason CHECK (status = 'published' OR reason IS NOT NULL)
);
CREATE INDEX symbol_session_by_symbol ON market.symbol_session (symbol, feed, session);

CREATE TABLE market.quality_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session date NOT NULL,
    feed text NOT NULL,
    run_at timestamptz NOT NULL DEFAULT now(),
    verdict text NOT NULL,
    critical_count integer NOT NULL,
    warning_count integer NOT NULL,
    report_uri text
);
CREATE INDEX quality_run_by_session ON market.quality_run (session, feed, run_at);

CREATE TABLE market.quality_result (
    run_id bigint NOT NULL REFERENCES market.quality_run (id) ON DELETE CASCADE,
    position integer NOT NULL,
    suite text NOT NULL,
    expectation text NOT NULL,
    column_name text,
    severity text NOT NULL,
    success boolean NOT NULL,
    unexpected_count bigint NOT NULL DEFAULT 0,
    unexpected_fraction double precision NOT NULL DEFAULT 0,
    symbols text[] NOT NULL DEFAULT '{{}}',
    PRIMARY KEY (run_id, position),
    CONSTRAINT severity_is_known CHECK (severity IN ('critical', 'warning', 'info'))
);

CREATE TABLE market.rate_limit (
    name text PRIMARY KEY,
    next_at timestamptz NOT NULL
);
"""

# Roles belong to the whole server, so another database may have created them, even just now.
CREATE_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')
       AND (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""

GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        {grants}
    END IF;
END $$
"""

READER = "GRANT SELECT ON ALL TABLES IN SCHEMA market TO strategy_reader;"
INGEST = """
GRANT SELECT ON ALL TABLES IN SCHEMA market TO strategy_ingest;
GRANT INSERT, UPDATE ON market.session, market.session_revision, market.rate_limit
    TO strategy_ingest;
GRANT INSERT, UPDATE, DELETE ON market.symbol_session TO strategy_ingest;
GRANT INSERT ON market.quality_run, market.quality_result TO strategy_ingest;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute("REVOKE ALL ON SCHEMA market FROM PUBLIC")
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA market FROM PUBLIC")
    op.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    for role, grants in (("strategy_ingest", INGEST), ("strategy_reader", READER)):
        op.execute(CREATE_ROLE.format(role=role))
        usage = f"GRANT USAGE ON SCHEMA market TO {role};"
        op.execute(GRANT.format(role=role, grants=usage + grants))


def downgrade() -> None:
    for table in (
        "rate_limit",
        "quality_result",
        "quality_run",
        "symbol_session",
        "session_revision",
        "session",
    ):
        op.execute(f"DROP TABLE market.{table}")
