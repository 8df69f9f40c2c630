-- Notes the size of pgflow's tables, once an hour of $1; answers it, what it was the time $2 (seconds) before, and the dead letters.
WITH now AS (
  SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS bytes FROM pg_class c
  WHERE c.relkind = 'r' AND c.relname LIKE 'pgflow\_%' AND pg_table_is_visible(c.oid)),
noted AS (
  INSERT INTO evolution_size_samples (hour, bytes) SELECT date_trunc('hour', $1::timestamptz), bytes FROM now ON CONFLICT DO NOTHING),
forgotten AS (DELETE FROM evolution_size_samples WHERE hour < $1 - 2 * $2::float8 * interval '1 second')
SELECT bytes,
  (SELECT s.bytes FROM evolution_size_samples s WHERE s.hour <= $1 - $2::float8 * interval '1 second' ORDER BY s.hour DESC LIMIT 1) AS before,
  (SELECT count(*) FROM pgflow_dlq) AS dead
FROM now
