"""What all DAGs share: assets, defaults, notifications, and where a run's session comes from."""
