"""The loop-nest IR that schedules build and backends print."""
