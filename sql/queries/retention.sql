-- Upkeep by the leader: old dead letters and instances ($1 days) and dedup keys ($2 days) are removed, and what is known of
-- spools that nothing came from for $3 days (their folders know it, too). Of dead letters and of dedup keys at most $4.
-- Answers whether there may be more. Index: pgflow_dlq_created, pgflow_dedup_created.
-- SKIP LOCKED: a dedup key that a publisher repeats just now is waited for by nobody, and stays until the next time.
WITH dead AS (
  DELETE FROM {schema}.pgflow_dlq WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {schema}.pgflow_dlq WHERE created_at < clock_timestamp() - $1::int * interval '1 day' ORDER BY created_at LIMIT $4::int FOR UPDATE SKIP LOCKED))
  RETURNING 1),
dedup AS (
  DELETE FROM {schema}.pgflow_dedup WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {schema}.pgflow_dedup WHERE created_at < clock_timestamp() - $2::int * interval '1 day' ORDER BY created_at LIMIT $4::int FOR UPDATE SKIP LOCKED))
  RETURNING 1),
old AS (DELETE FROM {schema}.pgflow_instances WHERE ended_at < clock_timestamp() - $1::int * interval '1 day'),
spools AS (DELETE FROM {schema}.pgflow_spools WHERE forwarded_at < clock_timestamp() - $3::int * interval '1 day')
SELECT greatest((SELECT count(*) FROM dead), (SELECT count(*) FROM dedup)) >= $4::int
