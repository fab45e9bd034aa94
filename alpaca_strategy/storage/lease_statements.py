"""What the lease sends to Postgres; each text is one transaction.

A change takes the lease's lock alone, which sendings share: what has not seen it is not written.
The statements after the lock see what was committed before it was granted.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

_LOCK = "SELECT pg_advisory_xact_lock(:lease_key);"
_EVENT = """
    INSERT INTO trading.lease_event (name, generation, session, kind, reason, caused_by, detail)
"""
#: In each: what is wanted, who wanted it, and why.
_WANTED = "reason = :reason, changed_by = :by, changed_at = clock_timestamp()"


def _change(update: str, kind: str, detail: str = "CAST('{}' AS jsonb)") -> str:
    return f"""
    {_LOCK}
    WITH changed AS ({update} RETURNING *),
    told AS (
        {_EVENT}
        SELECT name, generation, session, '{kind}', :reason, :by, {detail} FROM changed
    )
    SELECT generation FROM changed
    """  # noqa: S608  # our own words alone


MAKE: Final = "INSERT INTO trading.lease (name) VALUES (:name) ON CONFLICT (name) DO NOTHING"

#: The heartbeat counts only if the trader of the lease's own generation told it.
READ: Final = """
    SELECT l.*, clock_timestamp() AS read_at,
        extract(epoch FROM clock_timestamp() - l.agent_seen_at) AS agent_age_s,
        extract(epoch FROM clock_timestamp() - h.written_at) AS beat_age_s,
        h.phase, h.holds, h.venue_at, h.last_data_at
    FROM trading.lease AS l
    LEFT JOIN trading.heartbeat AS h ON h.account = l.account AND h.strategy = l.name
        AND h.detail @> jsonb_build_object('generation', l.generation)
    WHERE l.name = :name
"""

GRANT: Final = _change(
    f"""
    UPDATE trading.lease SET desired = 'run', generation = generation + 1, session = :session,
        owner = :owner, deadline_at = :deadline_at,
        terms = CAST(:terms AS jsonb), {_WANTED}
    WHERE name = :name AND generation = :after
    """,  # noqa: S608
    "granted",
)

ADOPT: Final = _change(
    f"""
    UPDATE trading.lease SET owner = :owner, {_WANTED}
    WHERE name = :name AND generation = :generation AND desired = 'run'
    """,  # noqa: S608
    "adopted",
)

RESTART: Final = _change(
    f"""
    UPDATE trading.lease SET generation = generation + 1, {_WANTED}
    WHERE name = :name AND generation = :generation AND owner = :owner AND desired = 'run'
        AND :most > (
            SELECT count(*) FROM trading.lease_event AS e
            WHERE e.name = :name AND e.kind = 'restarted' AND e.session = lease.session
                AND e.at > clock_timestamp() - make_interval(secs => :within_s)
        )
    """,  # noqa: S608
    "restarted",
)

RELEASE: Final = _change(
    f"""
    UPDATE trading.lease SET desired = 'stop', {_WANTED}
    WHERE name = :name AND generation <= :generation AND desired = 'run'
        AND (CAST(:owner AS text) IS NULL OR owner = :owner)
    """,  # noqa: S608
    "released",
)

AGENT_SEEN: Final = """
    UPDATE trading.lease SET agent = :agent, agent_seen_at = clock_timestamp(),
        account = coalesce(:account, account)
    WHERE name = :name
"""

STARTED: Final = _change(
    """
    UPDATE trading.lease SET process_generation = :generation, pid = :pid,
        started_at = :started_at, exited_at = NULL, exit_code = NULL, last_words = ''
    WHERE name = :name AND generation = :generation AND desired = 'run'
    """,
    "started",
    "jsonb_build_object('pid', pid)",
)

EXITED: Final = _change(
    """
    UPDATE trading.lease SET exited_at = clock_timestamp(), exit_code = :exit_code,
        last_words = :last_words
    WHERE name = :name AND process_generation = :generation AND pid = :pid AND exited_at IS NULL
    """,
    "exited",
    "jsonb_build_object('pid', pid, 'exit_code', exit_code, 'generation', process_generation)",
)

ASK: Final = "UPDATE trading.lease SET question = :question WHERE name = :name"

ANSWER: Final = """
    UPDATE trading.lease SET answered = :question, answer = CAST(:answer AS jsonb)
    WHERE name = :name AND question = :question
"""

TELL: Final = f"""
    {_EVENT}
    SELECT name, generation, session, :kind, :reason, :by, CAST(:detail AS jsonb)
    FROM trading.lease WHERE name = :name
"""  # noqa: S608

EVENTS: Final = text("""
    SELECT generation, session, kind, reason, caused_by, detail, at FROM trading.lease_event
    WHERE name = :name AND (CAST(:session AS date) IS NULL OR session = :session)
    ORDER BY id DESC LIMIT :limit
""")
