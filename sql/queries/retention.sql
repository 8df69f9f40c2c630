-- Upkeep by the leader: old dead letters and instances ($1 days) and dedup keys ($2 days) are removed.
-- Answers how many dead letters. Index: pgflow_dlq_created, pgflow_dedup_created.
WITH dead AS (DELETE FROM {schema}.pgflow_dlq WHERE created_at < clock_timestamp() - $1::int * interval '1 day' RETURNING 1),
dedup AS (DELETE FROM {schema}.pgflow_dedup WHERE created_at < clock_timestamp() - $2::int * interval '1 day'),
old AS (DELETE FROM {schema}.pgflow_instances WHERE ended_at < clock_timestamp() - $1::int * interval '1 day')
SELECT count(*)::int FROM dead
