"""Run by Alembic; `alpaca_strategy.storage.database.migrate` hands over the open connection."""

from alembic import context

from alpaca_strategy.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="schema_version",
    version_table_schema="market",
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
