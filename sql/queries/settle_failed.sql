-- Puts the messages $1 (tokens $2) back to wait, or into the DLQ when their retries are used up.
-- $3 event (failed, panicked, timed_out, snoozed), $4 error text, $5 delay in ms (null: the queue's backoff with +-10 % jitter).
-- A snooze gives its try back. Answers (id, dead, queue_id, ordering_key); a missing id was fenced.
-- Index: pgflow_active_pkey, as in settle_done. Fence: (id, token).
WITH gone AS (
  DELETE FROM {schema}.pgflow_active WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM unnest($1::bigint[], $2::bigint[]) AS t(id, token)
    CROSS JOIN LATERAL (SELECT ctid FROM {schema}.pgflow_active WHERE id = t.id AND token = t.token LIMIT 1) a))
  RETURNING *),
judged AS (
  SELECT gone.*, t.event, t.error, q.queue_id, q.name AS queue_name, t.event <> 'snoozed' AND gone.attempt > q.max_retries AS dead,
         coalesce(t.delay_ms, least(q.retry_delay_ms_max, q.retry_delay_ms * power(2, least(gone.attempt - 1, 40))) * (0.9 + random() * 0.2)) AS wait_ms
  FROM gone JOIN unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[]) AS t(id, token, event, error, delay_ms) USING (id, token)
  JOIN {schema}.pgflow_lanes USING (lane_id) JOIN {schema}.pgflow_queues q USING (queue_id)),
noted AS (
  INSERT INTO {schema}.pgflow_attempts (id, event, attempt, token, session_id, claimed_at, detail)
  SELECT id, event, attempt, token, session_id, claimed_at, error FROM judged WHERE NOT dead),
waiting AS (
  INSERT INTO {schema}.pgflow_scheduled (id, run_at, attempt, last_error, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, clock_timestamp() + wait_ms * interval '1 millisecond', attempt - (event = 'snoozed')::int, error, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id
  FROM judged WHERE NOT dead),
died AS (
  INSERT INTO {schema}.pgflow_dlq (id, queue_name, error, error_kind, lane_id, attempt, token, session_id, claimed_at, published_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, queue_name, error, 'retries_exhausted', lane_id, attempt, token, session_id, claimed_at, created_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id
  FROM judged WHERE dead)
SELECT id, dead, queue_id, ordering_key FROM judged
