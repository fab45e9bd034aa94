"""Use cases: what a DAG task or a command calls; one module a DAG."""
