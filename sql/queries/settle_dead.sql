-- Puts the messages $1 (tokens $2) into the DLQ at once, with error $3 and error kind $4.
-- Answers (id, dead, queue_id, ordering_key); a missing id was fenced. Index: pgflow_active_pkey, as in settle_done. Fence: (id, token).
WITH gone AS (
  DELETE FROM {schema}.pgflow_active WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM unnest($1::bigint[], $2::bigint[]) AS t(id, token)
    CROSS JOIN LATERAL (SELECT ctid FROM {schema}.pgflow_active WHERE id = t.id AND token = t.token LIMIT 1) a))
  RETURNING *),
judged AS (SELECT gone.*, t.error, t.error_kind, q.queue_id, q.name AS queue_name
  FROM gone JOIN unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) AS t(id, token, error, error_kind) USING (id, token)
  JOIN {schema}.pgflow_lanes USING (lane_id) JOIN {schema}.pgflow_queues q USING (queue_id)),
died AS (
  INSERT INTO {schema}.pgflow_dlq (id, queue_name, error, error_kind, lane_id, attempt, token, session_id, claimed_at, published_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, queue_name, error, error_kind, lane_id, attempt, token, session_id, claimed_at, created_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id
  FROM judged)
SELECT id, true AS dead, queue_id, ordering_key FROM judged
