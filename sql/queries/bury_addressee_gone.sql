-- Puts ready messages older than $1 ms into the DLQ whose addressee has not been live for as long (addressee_gone), at most $2.
-- A scheduled one becomes ready first.
-- Answers (id, dead, queue_id, ordering_key). Index: pgflow_lanes_target, pgflow_ready_pkey.
WITH lost AS MATERIALIZED (
  SELECT l.lane_id, l.queue_id, l.target, q.name AS queue_name FROM {schema}.pgflow_lanes l JOIN {schema}.pgflow_queues q USING (queue_id)
  WHERE l.target IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM {schema}.pgflow_instances i WHERE i.name = l.target
    AND (i.ended_at IS NULL OR i.ended_at > clock_timestamp() - $1::bigint * interval '1 millisecond'))),
gone AS (
  DELETE FROM {schema}.pgflow_ready WHERE ctid = ANY (ARRAY(
    SELECT r.ctid FROM lost CROSS JOIN LATERAL (
      SELECT ctid FROM {schema}.pgflow_ready WHERE lane_id = lost.lane_id AND created_at < clock_timestamp() - $1::bigint * interval '1 millisecond'
      ORDER BY seq LIMIT $2::int FOR UPDATE SKIP LOCKED) r LIMIT $2::int))
  RETURNING coalesce(id, seq) AS id, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id),
judged AS (SELECT g.*, lost.queue_id, lost.queue_name, lost.target FROM gone g JOIN lost USING (lane_id)),
died AS (
  INSERT INTO {schema}.pgflow_dlq (id, queue_name, error, error_kind, lane_id, attempt, published_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, queue_name, 'addressee gone: no instance "' || target || '" is live', 'addressee_gone', lane_id, attempt, created_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id
  FROM judged)
SELECT id, true AS dead, queue_id, ordering_key FROM judged
