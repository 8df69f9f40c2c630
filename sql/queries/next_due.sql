-- Milliseconds until the next scheduled message falls due; null when there is none. Index: pgflow_scheduled_due.
SELECT (SELECT extract(epoch FROM s.run_at - clock_timestamp())::float8 * 1000 FROM {schema}.pgflow_scheduled s ORDER BY run_at, id LIMIT 1)
