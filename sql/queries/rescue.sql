-- Takes the active messages of session $1 back, if its liveness lock is free (one that polls without a session has none) or
-- its heartbeat is older than $2 ms; at most $3.
-- A message at its last try goes to the DLQ (process_died): what kills its process must not go round for ever.
-- An old place may be below a low-water mark: everybody is told of each lane's first, under the lock that the
-- INSERT takes.
-- Answers (id, dead, queue_id, ordering_key). Index: none, the table is small. SKIP LOCKED: a settle in flight wins.
WITH judge AS MATERIALIZED (
  SELECT $1::int AS session_id
  WHERE (pg_try_advisory_xact_lock_shared({space}, 65536 + $1::int)
         AND NOT EXISTS (SELECT 1 FROM {schema}.pgflow_instances WHERE session_id = $1 AND ended_at IS NULL AND listener_pid IS NULL))
     OR EXISTS (SELECT 1 FROM {schema}.pgflow_instances
                WHERE session_id = $1 AND heartbeat_at < clock_timestamp() - $2::bigint * interval '1 millisecond')),
gone AS (
  DELETE FROM {schema}.pgflow_active WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM judge JOIN {schema}.pgflow_active a ON a.session_id = judge.session_id
    LIMIT $3::int FOR UPDATE OF a SKIP LOCKED))
  RETURNING *),
judged AS (SELECT gone.*, q.queue_id, q.name AS queue_name, gone.attempt > q.max_retries AS dead
  FROM gone JOIN {schema}.pgflow_lanes USING (lane_id) JOIN {schema}.pgflow_queues q USING (queue_id)),
noted AS (
  INSERT INTO {schema}.pgflow_attempts (id, event, attempt, token, session_id, claimed_at, detail)
  SELECT id, 'process_died', attempt, token, session_id, claimed_at, 'its process died' FROM judged WHERE NOT dead),
back AS (
  INSERT INTO {schema}.pgflow_ready (id, seq, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, seq, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id FROM judged WHERE NOT dead
  RETURNING lane_id, seq),
told AS MATERIALIZED (SELECT pg_notify('pgflow_{space}_low', lane_id || ' ' || min(seq)) AS each FROM back GROUP BY lane_id),
died AS (
  INSERT INTO {schema}.pgflow_dlq (id, queue_name, error, error_kind, lane_id, attempt, token, session_id, claimed_at, published_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, queue_name, 'its process died in every one of its ' || attempt || ' tries', 'process_died', lane_id, attempt, token, session_id, claimed_at, created_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id
  FROM judged WHERE dead)
SELECT id, dead, queue_id, ordering_key, (SELECT count(each) FROM told) FROM judged
