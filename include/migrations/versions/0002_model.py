"""Create schema model: versions, what they read, their metrics, decisions, and the champion."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE model.version (
    id text PRIMARY KEY,
    created_at timestamptz NOT NULL,
    venue text NOT NULL,
    feed text NOT NULL,
    preset text NOT NULL,
    fingerprint text NOT NULL,
    seed bigint NOT NULL,
    code_version text NOT NULL,
    config jsonb NOT NULL,
    environment jsonb NOT NULL,
    dataset_hash text NOT NULL,
    horizon integer NOT NULL,
    symbols text[] NOT NULL,
    training_sessions date[] NOT NULL,
    validation_sessions date[] NOT NULL,
    holdout_sessions date[] NOT NULL,
    artifact_uri text NOT NULL,
    artifact_sha256 text NOT NULL,
    expires_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'registered',
    status_reason text,
    status_at timestamptz NOT NULL DEFAULT now(),
    status_by text,
    CONSTRAINT version_of_one_tape UNIQUE (id, venue, feed),
    CONSTRAINT an_artifact_is_one_version UNIQUE (venue, feed, artifact_sha256),
    CONSTRAINT id_is_day_and_hash CHECK (id ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{8}$'),
    CONSTRAINT hash_is_sha256 CHECK (artifact_sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT has_a_horizon CHECK (horizon > 0),
    CONSTRAINT ranks_at_least_two CHECK (cardinality(symbols) >= 2),
    CONSTRAINT expires_after_it_was_made CHECK (expires_at > created_at),
    CONSTRAINT every_part_has_sessions CHECK (
        cardinality(training_sessions) > 0 AND cardinality(validation_sessions) > 0
        AND cardinality(holdout_sessions) > 0
    ),
    CONSTRAINT each_part_before_the_next CHECK (
        training_sessions[cardinality(training_sessions)] < validation_sessions[1]
        AND validation_sessions[cardinality(validation_sessions)] < holdout_sessions[1]
    ),
    CONSTRAINT status_is_known
        CHECK (status IN ('registered', 'refused', 'damaged', 'retired')),
    CONSTRAINT what_may_not_serve_has_a_reason
        CHECK (status = 'registered' OR (status_reason <> '' AND status_by <> ''))
);
CREATE INDEX version_by_age ON model.version (venue, feed, created_at);

CREATE TABLE model.version_data (
    version_id text NOT NULL REFERENCES model.version (id),
    session date NOT NULL,
    revision integer NOT NULL,
    content_hash text NOT NULL,
    bars_version bigint NOT NULL,
    bars_files text[] NOT NULL,
    PRIMARY KEY (version_id, session),
    CONSTRAINT data_are_pinned CHECK (revision > 0 AND cardinality(bars_files) > 0)
);

CREATE TABLE model.metric (
    version_id text NOT NULL REFERENCES model.version (id),
    name text NOT NULL,
    slice text NOT NULL DEFAULT 'all',
    value double precision,
    low double precision,
    high double precision,
    n bigint NOT NULL,
    PRIMARY KEY (version_id, name, slice),
    CONSTRAINT bounds_are_ordered CHECK (low <= high),
    CONSTRAINT what_is_not_a_number_is_null
        CHECK (value <> 'NaN' AND low <> 'NaN' AND high <> 'NaN'),
    CONSTRAINT counts_something CHECK (n >= 0)
);

CREATE TABLE model.decision (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue text NOT NULL,
    feed text NOT NULL,
    challenger text NOT NULL,
    champion text,
    verdict text NOT NULL,
    reason text NOT NULL,
    difference double precision,
    low double precision,
    high double precision,
    evidence jsonb NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now(),
    decided_by text NOT NULL,
    FOREIGN KEY (challenger, venue, feed) REFERENCES model.version (id, venue, feed),
    FOREIGN KEY (champion, venue, feed) REFERENCES model.version (id, venue, feed),
    CONSTRAINT verdict_is_known CHECK (
        verdict IN ('promote', 'provisional', 'keep', 'ask', 'suspect', 'refused')
    ),
    CONSTRAINT judged_against_another CHECK (challenger <> champion),
    CONSTRAINT promoted_over_somebody CHECK (verdict <> 'promote' OR champion IS NOT NULL),
    CONSTRAINT kept_is_somebody CHECK (verdict <> 'keep' OR champion IS NOT NULL),
    CONSTRAINT bounds_are_ordered CHECK (low <= high),
    CONSTRAINT what_is_not_a_number_is_null
        CHECK (difference <> 'NaN' AND low <> 'NaN' AND high <> 'NaN'),
    CONSTRAINT says_why_and_who CHECK (reason <> '' AND decided_by <> '')
);
CREATE INDEX decision_by_challenger ON model.decision (challenger, id);

CREATE TABLE model.champion_change (
    venue text NOT NULL,
    feed text NOT NULL,
    position integer NOT NULL,
    kind text NOT NULL,
    version_id text NOT NULL,
    provisional boolean NOT NULL,
    decision_id bigint REFERENCES model.decision (id),
    reason text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    PRIMARY KEY (venue, feed, position),
    FOREIGN KEY (version_id, venue, feed) REFERENCES model.version (id, venue, feed),
    CONSTRAINT kind_is_known CHECK (kind IN ('promote', 'rollback', 'pin', 'unpin')),
    CONSTRAINT begins_with_a_promotion CHECK (
        position > 1 OR (position = 1 AND kind = 'promote')
    ),
    CONSTRAINT only_promotions_are_decided CHECK (kind = 'promote' OR decision_id IS NULL),
    CONSTRAINT says_why_and_who CHECK (reason <> '' AND changed_by <> '')
);
"""

# Grants do not bind the owner, and the embedded stack works as owner; triggers bind everybody.
TRIGGERS = """
CREATE FUNCTION model.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of model.% are never changed or deleted', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION model.refuse_other_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    may_change CONSTANT text[] := '{status,status_reason,status_at,status_by}';
BEGIN
    IF to_jsonb(NEW) - may_change IS DISTINCT FROM to_jsonb(OLD) - may_change THEN
        RAISE EXCEPTION 'of model.version only the status changes'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER only_the_status_changes BEFORE UPDATE ON model.version
    FOR EACH ROW EXECUTE FUNCTION model.refuse_other_change();
CREATE TRIGGER is_kept BEFORE DELETE ON model.version
    FOR EACH ROW EXECUTE FUNCTION model.refuse_change();
CREATE TRIGGER is_kept_whole BEFORE TRUNCATE ON model.version
    FOR EACH STATEMENT EXECUTE FUNCTION model.refuse_change();
"""

INSERT_ONLY = """
CREATE TRIGGER is_insert_only BEFORE UPDATE OR DELETE ON model.{table}
    FOR EACH ROW EXECUTE FUNCTION model.refuse_change();
CREATE TRIGGER is_kept_whole BEFORE TRUNCATE ON model.{table}
    FOR EACH STATEMENT EXECUTE FUNCTION model.refuse_change();
"""

INSERT_ONLY_TABLES = ("champion_change", "decision", "metric", "version_data")

# Roles belong to the whole server, so another database may have created them, even just now.
CREATE_TRAINER = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'strategy_trainer')
       AND (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        CREATE ROLE strategy_trainer NOLOGIN;
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
    "strategy_trainer": """
GRANT USAGE ON SCHEMA market, model TO strategy_trainer;
GRANT SELECT ON ALL TABLES IN SCHEMA market, model TO strategy_trainer;
GRANT INSERT ON ALL TABLES IN SCHEMA model TO strategy_trainer;
GRANT UPDATE (status, status_reason, status_at, status_by) ON model.version TO strategy_trainer;
""",
    "strategy_reader": """
GRANT USAGE ON SCHEMA model TO strategy_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA model TO strategy_reader;
""",
    # Whoever deletes old files must see which of them a model was trained on.
    "strategy_ingest": """
GRANT USAGE ON SCHEMA model TO strategy_ingest;
GRANT SELECT ON model.version, model.version_data TO strategy_ingest;
""",
}

UNGRANT = """
REVOKE ALL ON ALL TABLES IN SCHEMA market FROM strategy_trainer;
REVOKE ALL ON SCHEMA market FROM strategy_trainer;
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS model")
    op.execute(TABLES)
    op.execute(TRIGGERS)
    for table in INSERT_ONLY_TABLES:
        op.execute(INSERT_ONLY.format(table=table))
    op.execute("REVOKE ALL ON SCHEMA model FROM PUBLIC")
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA model FROM PUBLIC")
    op.execute(CREATE_TRAINER)
    for role, grants in GRANTS.items():
        op.execute(FOR_ROLE.format(role=role, statements=grants))


def downgrade() -> None:
    for table in (*INSERT_ONLY_TABLES, "version"):
        op.execute(f"DROP TABLE model.{table}")
    op.execute("DROP FUNCTION model.refuse_change(), model.refuse_other_change()")
    op.execute("DROP SCHEMA model")
    op.execute(FOR_ROLE.format(role="strategy_trainer", statements=UNGRANT))
