"""Where data rest: the Delta lake, the catalog in Postgres, objects, and the staging area."""
