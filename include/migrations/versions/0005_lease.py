"""Create the trader's lease: what is wanted, what runs, and the log of both."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE trading.lease (
    name text PRIMARY KEY,
    desired text NOT NULL DEFAULT 'stop',
    generation bigint NOT NULL DEFAULT 0,
    session date,
    owner text,
    deadline_at timestamptz,
    terms jsonb NOT NULL DEFAULT '{}',
    reason text NOT NULL DEFAULT '',
    changed_by text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now(),
    agent text,
    agent_seen_at timestamptz,
    account text,
    process_generation bigint,
    pid integer,
    started_at timestamptz,
    exited_at timestamptz,
    exit_code integer,
    last_words text NOT NULL DEFAULT '',
    question text,
    answered text,
    answer jsonb,
    CONSTRAINT lease_has_a_name CHECK (name <> ''),
    CONSTRAINT desired_is_known CHECK (desired IN ('run', 'stop')),
    CONSTRAINT generations_are_counted_from_zero CHECK (generation >= 0),
    CONSTRAINT runs_for_a_session CHECK (
        desired = 'stop' OR (session IS NOT NULL AND deadline_at IS NOT NULL)
    ),
    CONSTRAINT process_is_of_a_generation CHECK (process_generation <= generation)
) WITH (fillfactor = 50);

CREATE TABLE trading.lease_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL REFERENCES trading.lease (name),
    generation bigint NOT NULL,
    session date,
    kind text NOT NULL,
    reason text NOT NULL,
    caused_by text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT kind_is_named CHECK (kind <> '')
);
CREATE INDEX lease_event_newest ON trading.lease_event (name, id DESC);
"""

INSERT_ONLY = """
CREATE TRIGGER is_insert_only BEFORE UPDATE OR DELETE ON trading.lease_event
    FOR EACH ROW EXECUTE FUNCTION trading.refuse_change();
CREATE TRIGGER is_kept_whole BEFORE TRUNCATE ON trading.lease_event
    FOR EACH STATEMENT EXECUTE FUNCTION trading.refuse_change();
"""

# A generation is never given twice, whatever a person does to the row.
ONLY_FORWARD = """
CREATE FUNCTION trading.refuse_older_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the generation of lease % only grows', OLD.name
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER only_grows BEFORE UPDATE ON trading.lease
    FOR EACH ROW WHEN (NEW.generation < OLD.generation)
    EXECUTE FUNCTION trading.refuse_older_generation();
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
    "strategy_trader": """
GRANT SELECT, INSERT, UPDATE ON trading.lease TO strategy_trader;
GRANT SELECT, INSERT ON trading.lease_event TO strategy_trader;
""",
    "strategy_reader": """
GRANT SELECT ON trading.lease, trading.lease_event TO strategy_reader;
""",
}


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(INSERT_ONLY)
    op.execute(ONLY_FORWARD)
    op.execute("REVOKE ALL ON trading.lease, trading.lease_event FROM PUBLIC")
    for role, grants in GRANTS.items():
        op.execute(FOR_ROLE.format(role=role, statements=grants))


def downgrade() -> None:
    op.execute("DROP TABLE trading.lease_event")
    op.execute("DROP TABLE trading.lease")
    op.execute("DROP FUNCTION trading.refuse_older_generation()")
