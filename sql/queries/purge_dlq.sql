-- Moves up to $2 dead letters of the queue $1 (null: of all), or the one with the id $3 (null: any), into history, where they
-- stay readable as dead; answers how many.
-- Fence: SKIP LOCKED, a retry in flight wins. A rescue's death leaves its token out: see find_settled.
WITH gone AS (
  DELETE FROM {schema}.pgflow_dlq WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {schema}.pgflow_dlq WHERE ($1::text IS NULL OR queue_name = $1) AND ($3::bigint IS NULL OR id = $3) ORDER BY id LIMIT $2::int FOR UPDATE SKIP LOCKED))
  RETURNING *),
noted AS (INSERT INTO {schema}.pgflow_attempts (id, event, attempt, detail) SELECT id, 'purged', attempt, error_kind FROM gone),
kept AS (
  INSERT INTO {schema}.pgflow_history (id, status, finished_at, token, session_id, claimed_at, lane_id, attempt, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id, error)
  SELECT id, 'dead', {schema}.pgflow_kept_time('pgflow_history', created_at), CASE WHEN error_kind <> 'process_died' THEN token END, session_id, claimed_at,
         lane_id, attempt, version, codec, message_id, published_at, kind, body, headers, ordering_key, source, broadcast_id, error FROM gone RETURNING 1)
SELECT count(*) FROM kept
