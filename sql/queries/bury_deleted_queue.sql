-- Puts strays of deleted queues into the DLQ (queue_deleted), at most $1 of those that are ready: a publisher's transaction that was open during the delete,
-- or a message that came back from a worker after it. Closes lanes that were made meanwhile. Answers (id, dead, queue_id, ordering_key);
-- the key only of a head, whose key is then free.
-- Index: pgflow_ready_pkey. A queue made again is not deleted: its strays are handled.
WITH deleted AS MATERIALIZED (
  SELECT l.lane_id, q.queue_id, q.name AS queue_name FROM {schema}.pgflow_queues q JOIN {schema}.pgflow_lanes l USING (queue_id) WHERE q.deleted_at IS NOT NULL),
closed AS (
  UPDATE {schema}.pgflow_lanes l SET open = false FROM deleted d WHERE l.lane_id = d.lane_id AND l.open),
gone_ready AS (
  DELETE FROM {schema}.pgflow_ready WHERE ctid = ANY (ARRAY(
    SELECT r.ctid FROM deleted d CROSS JOIN LATERAL (
      SELECT ctid FROM {schema}.pgflow_ready WHERE lane_id = d.lane_id ORDER BY seq LIMIT $1::int FOR UPDATE SKIP LOCKED) r LIMIT $1::int))
  RETURNING coalesce(id, seq) AS id, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id),
gone_scheduled AS (
  DELETE FROM {schema}.pgflow_scheduled r USING deleted d WHERE r.lane_id = d.lane_id
  RETURNING r.id, r.attempt, r.lane_id, r.version, r.codec, r.message_id, r.created_at, r.kind, r.body, r.headers, r.ordering_key, r.source, r.broadcast_id),
gone_parked AS (
  DELETE FROM {schema}.pgflow_parked r USING deleted d WHERE r.lane_id = d.lane_id
  RETURNING r.id, r.attempt, r.lane_id, r.version, r.codec, r.message_id, r.created_at, r.kind, r.body, r.headers, r.ordering_key, r.source, r.broadcast_id, r.reason),
judged AS (
  SELECT g.*, d.queue_id, d.queue_name
  FROM (SELECT *, true AS head FROM gone_ready UNION ALL SELECT *, true FROM gone_scheduled
        UNION ALL SELECT id, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id, reason <> 'key' FROM gone_parked) g
  JOIN deleted d USING (lane_id)),
died AS (
  INSERT INTO {schema}.pgflow_dlq (id, queue_name, error, error_kind, lane_id, attempt, published_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id)
  SELECT id, queue_name, 'queue "' || queue_name || '" was deleted', 'queue_deleted', lane_id, attempt, created_at, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id
  FROM judged)
SELECT id, true AS dead, queue_id, CASE WHEN head THEN ordering_key END AS ordering_key FROM judged
