-- Upkeep by the leader: partitions made 7 days ahead, old ones dropped, old dead letters, dedup keys and instances removed.
-- $1 history days, $2 dead-letter and attempt days, $3 dedup days. Answers (partitions made, partitions dropped, dead letters removed).
WITH dead AS (DELETE FROM {schema}.pgflow_dlq WHERE created_at < clock_timestamp() - $2::int * interval '1 day' RETURNING 1),
dedup AS (DELETE FROM {schema}.pgflow_dedup WHERE created_at < clock_timestamp() - $3::int * interval '1 day'),
old AS (DELETE FROM {schema}.pgflow_instances WHERE ended_at < clock_timestamp() - $2::int * interval '1 day')
SELECT {schema}.pgflow_ensure_partitions(7), {schema}.pgflow_drop_partitions($1::int, $2::int), (SELECT count(*)::int FROM dead)
