-- Puts messages older than $1 ms into the DLQ whose addressee has not been live for as long (addressee_gone).
-- Answers (id, dead, queue_id, ordering_key). Index: pgflow_lanes_target, pgflow_ready_pkey.
WITH lost AS MATERIALIZED (
  SELECT l.lane_id, l.queue_id, l.target, q.name AS queue_name FROM {schema}.pgflow_lanes l JOIN {schema}.pgflow_queues q USING (queue_id)
  WHERE l.target IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM {schema}.pgflow_instances i WHERE i.name = l.target
    AND (i.ended_at IS NULL OR i.ended_at > clock_timestamp() - $1::bigint * interval '1 millisecond'))),
gone_ready AS (
  DELETE FROM {schema}.pgflow_ready r USING lost WHERE r.lane_id = lost.lane_id AND r.created_at < clock_timestamp() - $1::bigint * interval '1 millisecond'
  RETURNING coalesce(r.id, r.seq) AS id, r.attempt, r.lane_id, r.version, r.codec, r.message_id, r.created_at, r.kind, r.body, r.headers, r.ordering_key, r.source, r.broadcast_id),
gone_scheduled AS (
  DELETE FROM {schema}.pgflow_scheduled r USING lost WHERE r.lane_id = lost.lane_id AND r.created_at < clock_timestamp() - $1::bigint * interval '1 millisecond'
  RETURNING r.id, r.attempt, r.lane_id, r.version, r.codec, r.message_id, r.created_at, r.kind, r.body, r.headers, r.ordering_key, r.source, r.broadcast_id),
judged AS (SELECT g.*, lost.queue_id, lost.queue_name, lost.target FROM (SELECT * FROM gone_ready UNION ALL SELECT * FROM gone_scheduled) g JOIN lost USING (lane_id)),
died AS (
  INSERT INTO {schema}.pgflow_dlq (id, queue_name, error, error_kind, lane_id, attempt, published_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, queue_name, 'addressee gone: no instance "' || target || '" is live', 'addressee_gone', lane_id, attempt, created_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id
  FROM judged)
SELECT id, true AS dead, queue_id, ordering_key FROM judged
